//! Who meets whom through which boxes, how, and in how much of the world's time: many seeds for each pair of kinds, as
//! a table in `vendor-protocol-notes/nat.md`, beside what Node's hyperdht does in a lab with the same delays.
//! `SECKEL_WRITE=1 cargo test --test sim matrix::the_table -- --ignored` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path as File, PathBuf};

use seckel::base::Span;
use seckel::node::{Event, Path};
use seckel::sim::check::Checker;
use seckel::sim::check::hyperdht::Sockets;
use seckel::sim::{HostId, Kind, Line, NatOptions, World};

use crate::support::{echo, join, key, network, wait};

/// What the table is made of.
const SEEDS: u64 = 300;
/// What every run of the tests looks at.
const FEW: u64 = 3;
/// As in the lab: one way at a public host, and at a box; and up to so much more for each datagram.
const HOST: Span = Span::from_millis(5);
const BOX: Span = Span::from_millis(10);
const JITTER: Span = Span::from_millis(1);
/// DHT nodes besides the first.
const NODES: u8 = 24;
/// A search takes no longer, with the rounds before it. hyperdht.131
const SEARCH_MAX: u64 = 37_000;

/// Node's hyperdht 6.34.0 in such a lab: successes of tries, how, and ms: least, middle, most. Rows are the server's
/// kind, columns the client's, in the order of `Kind::ALL` without the last.
const NODE: [[&str; 6]; 6] = [
    [
        "5/5 direct 114/150/267",
        "5/5 direct 117/175/185",
        "5/5 direct 114/146/257",
        "5/5 direct 112/142/176",
        "5/5 direct 112/176/195",
        "5/5 direct 143/144/352",
    ],
    [
        "5/5 direct 173/181/207",
        "5/5 punch 168/203/232",
        "5/5 punch 201/202/237",
        "5/5 punch 164/232/241",
        "5/5 punch 228/236/242",
        "5/5 random 1995/5010/23698",
    ],
    [
        "5/5 direct 146/178/182",
        "5/5 punch 198/203/249",
        "5/5 punch 206/236/242",
        "5/5 punch 166/202/206",
        "5/5 punch 200/200/234",
        "5/5 random 1291/1876/5718",
    ],
    [
        "5/5 direct 118/151/179",
        "5/5 punch 172/202/234",
        "5/5 punch 171/232/238",
        "5/5 punch 164/228/234",
        "5/5 punch 170/201/217",
        "5/5 random 1743/4298/5697",
    ],
    [
        "5/5 direct 146/149/184",
        "5/5 punch 166/204/237",
        "5/5 punch 167/206/235",
        "5/5 punch 235/238/238",
        "5/5 punch 174/238/239",
        "5/5 random 394/1769/10003",
    ],
    [
        "5/5 direct 114/150/185",
        "5/5 random 1008/4369/14711",
        "5/5 random 1062/2557/5673",
        "5/5 random 777/2313/5670",
        "5/5 random 663/1921/10783",
        "0/5 HOLEPUNCH_ABORTED 349 to 437",
    ],
];

/// A pair of kinds: the server's and the client's place in `Kind::ALL`.
type Cell = (usize, usize);

fn cells() -> impl Iterator<Item = Cell> {
    (0..Kind::ALL.len()).flat_map(|server| (0..Kind::ALL.len()).map(move |client| (server, client)))
}

/// What came of a cell's calls.
#[derive(Default, Debug)]
struct Tally {
    ways: BTreeMap<&'static str, u64>,
    failures: BTreeMap<&'static str, u64>,
    millis: Vec<u64>,
}

impl Tally {
    fn met(&self) -> u64 {
        self.ways.values().sum()
    }

    /// How they met; if they never did, why not.
    fn ways(&self) -> String {
        let of = if self.ways.is_empty() { &self.failures } else { &self.ways };
        of.keys().copied().collect::<Vec<_>>().join(", ")
    }

    /// The same, with what failed although others met.
    fn how(&self) -> String {
        let failures = self.failures.iter().filter(|_| !self.ways.is_empty());
        failures.fold(self.ways(), |text, (why, count)| format!("{text}; {count} {why}"))
    }

    /// Of a hundred calls so many took no longer.
    fn percent(&self, of_hundred: usize) -> u64 {
        let last = self.millis.len() - 1;
        self.millis[last * of_hundred / 100]
    }
}

/// A world with the lab's delays and a DHT.
fn lab(seed: u64) -> World {
    let mut world = World::new(seed);
    let sockets: Box<dyn Checker> = Box::<Sockets>::default();
    world.watch(vec![sockets]);
    world.line = Line { delay: Span::ZERO, jitter: JITTER, ..Line::INTERNET };
    let near = Line { delay: HOST, ..Line::CLEAR };
    for host in network(&mut world, NODES) {
        world.set_uplink(host, near);
        world.set_downlink(host, near);
    }
    world
}

/// A host behind a box of its own that knows nothing yet.
fn behind(world: &mut World, kind: Kind, side: u8, n: u8) -> HostId {
    let home = world.add_box(kind, [30, 0, 100 + side, n], NatOptions::default());
    let line = Line { delay: BOX, ..Line::CLEAR };
    world.set_uplink(home, line);
    world.set_downlink(home, line);
    let inner = if kind.is_transparent() { [30, 0, 200 + side, n] } else { [192, 168, side, 10] };
    let host = world.add_behind(home, inner);
    join(world, host);
    host
}

/// One call between two hosts that were never there before: how they met or why not, and how long it took.
fn one_call(world: &mut World, (server, client): Cell, n: u8) -> (&'static str, bool, Span) {
    let kinds = [server, client].map(|at| Kind::ALL[at]);
    let [server, client] = [(kinds[0], 1), (kinds[1], 2)].map(|(kind, side)| behind(world, kind, side, n));
    world.net(server).listen(&key(n), false).expect("listening");
    if kinds[0] != Kind::BlockedUdp {
        wait(world, 60, |_, from, event| from == server && matches!(event, Event::Listening { .. }));
    }
    let conn = world.net(client).connect(key(n).public, &key(200), false).expect("connecting");
    let (_, event) = wait(world, 90, |_, host, event| {
        host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
    });
    let met = match event {
        Event::Connected { path, took, .. } => {
            // A byte of the server's may come before the client begins.
            let searched = [server, client].iter().any(|&side| world.net(side).connect_stats().searches > 0);
            echo(world, client, conn, server);
            (way(path, searched), true, took)
        }
        Event::ConnectFailed { why, took, .. } => (why.code(), false, took),
        _ => unreachable!("waited for these"),
    };
    world.leave(client);
    world.leave(server);
    met
}

fn way(path: Path, searched: bool) -> &'static str {
    match path {
        Path::Direct | Path::Passive => "direct",
        Path::Punched if searched => "random",
        Path::Punched => "punch",
        Path::Lan => "LAN",
        Path::Relayed => "relay",
    }
}

/// Every cell, once for each seed.
fn tallies(seeds: core::ops::Range<u64>) -> BTreeMap<Cell, Tally> {
    let mut tallies: BTreeMap<Cell, Tally> = BTreeMap::new();
    for seed in seeds {
        let mut world = lab(seed);
        for (cell, n) in cells().zip(10..) {
            let (way, met, took) = one_call(&mut world, cell, n);
            let tally = tallies.entry(cell).or_default();
            let of = if met { &mut tally.ways } else { &mut tally.failures };
            *of.entry(way).or_default() += 1;
            tally.millis.push(took.as_millis());
        }
        assert!(world.violation().is_none(), "seed {seed}: {}", world.violation().expect("there is one"));
    }
    tallies.values_mut().for_each(|tally| tally.millis.sort_unstable());
    tallies
}

const HEAD: &str = "| server | client | met | how | least ms | middle | 90 of 100 | most | Node in the lab |\n\
                    |---|---|---|---|---|---|---|---|---|\n";
const BEGIN: &str = "<!-- simulated -->\n";
const END: &str = "<!-- end of simulated -->";

fn table(tallies: &BTreeMap<Cell, Tally>) -> String {
    let mut table = String::from(HEAD);
    for (&(server, client), tally) in tallies {
        let count = tally.millis.len() as u64;
        let node = NODE.get(server).and_then(|row| row.get(client)).copied().unwrap_or("0/1 PEER_NOT_FOUND");
        writeln!(
            table,
            "| {} | {} | {}/{count} | {} | {} | {} | {} | {} | {node} |",
            Kind::ALL[server],
            Kind::ALL[client],
            tally.met(),
            tally.how(),
            tally.percent(0),
            tally.percent(50),
            tally.percent(90),
            tally.percent(100),
        )
        .expect("fits");
    }
    table
}

fn note() -> (PathBuf, String) {
    let path = File::new(env!("CARGO_MANIFEST_DIR")).join("vendor-protocol-notes/nat.md");
    let text = std::fs::read_to_string(&path).expect("the note");
    (path, text)
}

/// The table as it stands in the note.
fn kept() -> String {
    let (_, text) = note();
    let begin = text.find(BEGIN).expect("the table begins") + BEGIN.len();
    let end = text.find(END).expect("the table ends");
    text[begin..end].to_owned()
}

#[test]
#[ignore = "some minutes"]
fn the_table() {
    let tallies = tallies(0..SEEDS);
    let table = table(&tallies);
    if std::env::var_os("SECKEL_WRITE").is_some_and(|set| !set.is_empty()) {
        let (path, text) = note();
        let begin = text.find(BEGIN).expect("the table begins") + BEGIN.len();
        let end = text.find(END).expect("the table ends");
        std::fs::write(path, format!("{}{table}{}", &text[..begin], &text[end..])).expect("can be written");
    }
    println!("{table}");
    let kept = kept();
    let differs = tallies.iter().find(|(cell, tally)| tally.ways() != row(&kept, **cell).ways);
    assert!(differs.is_none(), "{differs:?}");
}

/// What the table says of a cell.
struct Row {
    met: u64,
    of: u64,
    ways: String,
    middle: u64,
    most: u64,
}

fn row(table: &str, (server, client): Cell) -> Row {
    let begin = format!("| {} | {} |", Kind::ALL[server], Kind::ALL[client]);
    let row = table.lines().find(|line| line.starts_with(&begin)).expect("a row of the table");
    let columns: Vec<&str> = row.split('|').map(str::trim).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (met, of) = columns[3].split_once('/').expect("of how many");
    Row {
        met: number(met),
        of: number(of),
        ways: columns[4].split(';').next().unwrap_or_default().to_owned(),
        middle: number(columns[6]),
        most: number(columns[8]),
    }
}

/// Every pair meets, or does not, as the table says, and in about the time.
#[test]
fn every_pair_of_kinds_meets_as_the_table_says() {
    let table = kept();
    let mut wrong = Vec::new();
    for (cell, tally) in tallies(1000..1000 + FEW) {
        let row = row(&table, cell);
        let most = if row.ways == "random" { SEARCH_MAX } else { row.most * 3 / 2 };
        if tally.how() != row.ways || tally.percent(100) > most {
            wrong.push(format!("{} x {}: {tally:?}", Kind::ALL[cell.0], Kind::ALL[cell.1]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same pairs meet, in the same way, as with Node's hyperdht, and, where no ports are searched for, in no more time
/// in the middle.
#[test]
fn the_table_agrees_with_node() {
    let table = kept();
    for (server, cells) in NODE.iter().enumerate() {
        for (client, node) in cells.iter().enumerate() {
            let node: Vec<&str> = node.split([' ', '/']).collect();
            let row = row(&table, (server, client));
            let name = format!("{} x {}", Kind::ALL[server], Kind::ALL[client]);
            assert!(row.of >= SEEDS, "{name}: hundreds of seeds");
            if node[0] == "0" {
                assert_eq!(row.met, 0, "{name}");
                continue;
            }
            assert_eq!(row.ways, node[2], "{name}");
            if row.ways == "random" {
                // One search in a thousand meets nobody.
                assert!(row.met * 100 >= row.of * 98, "{name}: {} of {}", row.met, row.of);
            } else {
                assert_eq!(row.met, row.of, "{name}");
                let theirs: u64 = node[4].parse().expect("milliseconds");
                assert!(row.middle <= theirs, "{name}: {} ms, Node {theirs}", row.middle);
            }
        }
    }
}
