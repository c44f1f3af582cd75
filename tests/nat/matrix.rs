//! Kinds of boxes × kinds of boxes × whose program is at which end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::lab::{Kind, Lab, Nodes, Program, skipped, without_node};

/// Every kind of box that lets UDP through.
const BOXES: [&str; 6] = ["open", "firewall", "full-cone", "addr-restricted", "restricted", "symmetric"];
/// Server's box and client's box: one cell for each way in which a connection comes about, or does not.
const TELLING: [(&str, &str); 8] = [
    ("open", "restricted"),
    ("restricted", "open"),
    ("firewall", "full-cone"),
    ("full-cone", "addr-restricted"),
    ("restricted", "restricted"),
    ("open", "symmetric"),
    ("restricted", "symmetric"),
    ("symmetric", "symmetric"),
];
/// Who serves and who connects.
const PAIRINGS: [Pairing; 4] = [
    Pairing { server: Kind::Seckel, client: Kind::Seckel },
    Pairing { server: Kind::Seckel, client: Kind::Node },
    Pairing { server: Kind::Node, client: Kind::Seckel },
    Pairing { server: Kind::Node, client: Kind::Node },
];
/// A random search takes up to half a minute.
const OPEN: Duration = Duration::from_secs(60);
const ECHO: Duration = Duration::from_secs(30);
const ECHO_BYTES: usize = 1 << 20;
/// Tries of a cell for the table.
const TRIES: usize = 10;
/// Labs at a time: a try is mostly waiting.
const LABS: usize = 2;
const LABS_WHOLE: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pairing {
    server: Kind,
    client: Kind,
}

impl Pairing {
    fn name(self) -> &'static str {
        match (self.server, self.client) {
            (Kind::Seckel, Kind::Seckel) => "seckel serves, seckel connects",
            (Kind::Seckel, Kind::Node) => "seckel serves, Node connects",
            (Kind::Node, Kind::Seckel) => "Node serves, seckel connects",
            (Kind::Node, Kind::Node) => "Node serves, Node connects",
        }
    }
}

/// Whether two come together from behind these boxes, whoever they are: unless both have random ports.
fn connects((server, client): Cell) -> bool {
    (server, client) != ("symmetric", "symmetric")
}

/// What came of one try.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Open {
        open_ms: u64,
        echo_ms: u64,
        whole: bool,
    },
    /// It opened, and then the echo did not come.
    Broken {
        open_ms: u64,
        why: String,
    },
    Failed {
        why: String,
        ms: u64,
    },
    /// Neither open nor failed.
    Nothing,
}

/// The ends of one lab: one of each kind on each host.
struct Ends {
    lab: Lab,
    servers: [Program; 2],
    clients: [Program; 2],
}

fn index(kind: Kind) -> usize {
    match kind {
        Kind::Seckel => 0,
        Kind::Node => 1,
    }
}

impl Ends {
    fn new() -> Ends {
        let lab = Lab::with_dht(&[], Nodes::Both);
        let [servers, clients] =
            ["a", "b"].map(|host| [Kind::Seckel, Kind::Node].map(|kind| lab.end(host, kind)));
        Ends { lab, servers, clients }
    }

    /// Boxes of other kinds, which know nothing yet.
    fn set(&self, server: &str, client: &str) {
        self.lab.set("kind", &["nat-a", server]);
        self.lab.set("kind", &["nat-b", client]);
    }

    fn attempt(&mut self, pairing: Pairing) -> Outcome {
        let server = &mut self.servers[index(pairing.server)];
        let client = &mut self.clients[index(pairing.client)];
        server.join();
        client.join();
        server.joined();
        server.ask(&json!({"do": "listen"}));
        let key = server.listening();
        client.joined();
        client.ask(&json!({"do": "connect", "key": key, "echo": ECHO_BYTES}));
        let outcome = outcome(client);
        client.close();
        server.close();
        outcome
    }
}

fn outcome(client: &mut Program) -> Outcome {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let number = |value: &serde_json::Value| value.as_u64().expect("milliseconds");
    let Some(first) = client.hear_any(&["open", "failed"], OPEN) else { return Outcome::Nothing };
    if first["event"] == "failed" {
        return Outcome::Failed { why: text(&first["why"]), ms: number(&first["ms"]) };
    }
    let open_ms = number(&first["ms"]);
    match client.hear_any(&["echo", "closed"], ECHO) {
        Some(echo) if echo["event"] == "echo" => {
            let whole = echo["whole"].as_bool().expect("a truth");
            Outcome::Open { open_ms, echo_ms: number(&echo["ms"]), whole }
        }
        Some(closed) => Outcome::Broken { open_ms, why: text(&closed["why"]) },
        None => Outcome::Broken { open_ms, why: "silence".to_owned() },
    }
}

type Cell = (&'static str, &'static str);
/// By cell and pairing.
type Results = BTreeMap<(Cell, usize), Vec<Outcome>>;

/// Tries each cell so often with each pairing: all cells once, then all again, and the pairings of a cell one after the
/// other, so that what else the machine does meets all alike. `look` sees what there is after each round.
fn measure(
    cells: &[Cell],
    pairings: &[Pairing],
    tries: usize,
    labs: usize,
    look: impl Fn(&Results) + Sync,
) -> Results {
    let all = (0..tries).flat_map(|_| cells.iter().copied());
    let queue: Mutex<VecDeque<Cell>> = Mutex::new(all.collect());
    let results = Mutex::new(Results::new());
    std::thread::scope(|scope| {
        for _ in 0..labs {
            scope.spawn(|| {
                let mut ends = Ends::new();
                loop {
                    let (left, cell) = {
                        let mut queue = queue.lock().expect("no panic");
                        let Some(cell) = queue.pop_front() else { return };
                        (queue.len(), cell)
                    };
                    for (n, pairing) in pairings.iter().enumerate() {
                        ends.set(cell.0, cell.1);
                        let outcome = ends.attempt(*pairing);
                        println!("{} × {}, {}: {outcome:?}", cell.0, cell.1, pairing.name());
                        results.lock().expect("no panic").entry((cell, n)).or_default().push(outcome);
                    }
                    if left % cells.len() == 0 {
                        look(&results.lock().expect("no panic"));
                    }
                }
            });
        }
    });
    results.into_inner().expect("no panic")
}

/// Cells where something else came out than must.
fn wrong(results: &Results) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((cell, n), outcomes) in results {
        let pairing = PAIRINGS[*n];
        let connects = connects(*cell);
        for outcome in outcomes {
            let right = match outcome {
                Outcome::Open { whole, .. } => *whole && connects,
                Outcome::Failed { .. } => !connects,
                Outcome::Broken { .. } | Outcome::Nothing => false,
            };
            if !right {
                wrong.push(format!("{} × {}, {}: {outcome:?}", cell.0, cell.1, pairing.name()));
            }
        }
    }
    wrong
}

/// `SECKEL_NAT=SERVER,CLIENT,TRIES`: that cell alone, so often.
fn one_cell() -> Option<(Cell, usize)> {
    let wanted = std::env::var("SECKEL_NAT").ok()?;
    let [server, client, tries] = wanted.split(',').collect::<Vec<_>>().try_into().ok()?;
    let named = |name: &str| BOXES.into_iter().find(|kind| *kind == name).expect("a kind of box");
    Some(((named(server), named(client)), tries.parse().expect("how often")))
}

#[test]
fn the_matrix_of_boxes() {
    if skipped("the_matrix_of_boxes") {
        return;
    }
    if without_node() {
        return;
    }
    let results = if let Some((cell, tries)) = one_cell() {
        measure(&[cell], &PAIRINGS, tries, LABS, |_| {})
    } else if super::whole() {
        let cells: Vec<Cell> =
            BOXES.iter().flat_map(|server| BOXES.iter().map(move |client| (*server, *client))).collect();
        let results = measure(&cells, &PAIRINGS, TRIES, LABS_WHOLE, write_table);
        write_table(&results);
        // Node alone is the measure.
        for (n, pairing) in PAIRINGS.iter().enumerate().take(3) {
            let [ours, theirs] = [n, 3].map(|n| middle(times(&results, n, false)));
            // The client makes the difference; where that is Node's, it is the same.
            assert!(ours * 10 <= theirs * 11, "{}: {ours} ms, Node alone {theirs} ms", pairing.name());
        }
        results
    } else {
        measure(&TELLING, &PAIRINGS[..3], 1, LABS, |_| {})
    };
    let wrong = wrong(&results);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn middle(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// What a cell of the table says: successes of tries, and milliseconds until open: least, middle, most.
fn cell_text(outcomes: &[Outcome]) -> String {
    let mut times: Vec<u64> = Vec::new();
    let mut whys: Vec<&str> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Open { open_ms, whole: true, .. } => times.push(*open_ms),
            Outcome::Open { .. } => whys.push("garbled"),
            Outcome::Broken { why, .. } | Outcome::Failed { why, .. } => whys.push(why),
            Outcome::Nothing => whys.push("nothing"),
        }
    }
    whys.sort_unstable();
    whys.dedup();
    let mut text = format!("{}/{}", times.len(), outcomes.len());
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) {
        let _ = write!(text, " {least}/{}/{most}", middle(times.clone()));
    }
    if !whys.is_empty() {
        let _ = write!(text, " `{}`", whys.join("`, `"));
    }
    text
}

/// Whether a cell needs a random search, which takes its time by luck.
fn is_random(cell: Cell) -> bool {
    (cell.0 == "symmetric") != (cell.1 == "symmetric") && cell.0 != "open" && cell.1 != "open"
}

/// Milliseconds until open of all tries of a pairing in cells with and without a random search.
fn times(results: &Results, pairing: usize, random: bool) -> Vec<u64> {
    let of = results.iter().filter(|((cell, n), _)| *n == pairing && is_random(*cell) == random);
    let open = of.flat_map(|(_, outcomes)| outcomes).filter_map(|outcome| match outcome {
        Outcome::Open { open_ms, .. } => Some(*open_ms),
        Outcome::Broken { .. } | Outcome::Failed { .. } | Outcome::Nothing => None,
    });
    let mut times: Vec<u64> = open.collect();
    times.sort_unstable();
    times
}

/// All cells together.
fn summary(results: &Results) -> String {
    let mut text = String::from(
        "| all cells | no random search: tries, middle, nine of ten | random search: tries, middle, nine of ten |\n\
         |---|---|---|\n",
    );
    for (n, pairing) in PAIRINGS.iter().enumerate() {
        let _ = write!(text, "| {} |", pairing.name());
        for random in [false, true] {
            let times = times(results, n, random);
            let at = |tenths: usize| times.get((times.len() * tenths / 10).min(times.len().max(1) - 1));
            let _ =
                write!(text, " {}, {} ms, {} ms |", times.len(), at(5).unwrap_or(&0), at(9).unwrap_or(&0));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn tables(results: &Results) -> String {
    let mut text = summary(results);
    for (n, pairing) in PAIRINGS.iter().enumerate() {
        let mut echoes = Vec::new();
        let _ = write!(text, "### {}\n\n| server \\ client |", pairing.name());
        for client in BOXES {
            let _ = write!(text, " {client} |");
        }
        text.push_str("\n|---|---|---|---|---|---|---|\n");
        for server in BOXES {
            let _ = write!(text, "| **{server}** |");
            for client in BOXES {
                let outcomes = results.get(&((server, client), n)).map_or(&[][..], Vec::as_slice);
                echoes.extend(outcomes.iter().filter_map(|outcome| match outcome {
                    Outcome::Open { echo_ms, whole: true, .. } => Some(*echo_ms),
                    _ => None,
                }));
                let _ = write!(text, " {} |", cell_text(outcomes));
            }
            text.push('\n');
        }
        let middle = if echoes.is_empty() { 0 } else { middle(echoes.clone()) };
        let _ = writeln!(text, "\n{} echoes of 1 MB, all whole; middle {middle} ms.\n", echoes.len());
    }
    text
}

/// Puts the tables into the notes.
fn write_table(results: &Results) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-protocol-notes/nat.md");
    let old = std::fs::read_to_string(&path).expect("the note");
    let (before, rest) = old.split_once("<!-- tables -->\n").expect("a place for the tables");
    let (_, after) = rest.split_once("<!-- end of tables -->\n").expect("its end");
    let new = format!("{before}<!-- tables -->\n\n{}<!-- end of tables -->\n{after}", tables(results));
    std::fs::write(&path, new).expect("the note");
}
