//! What happens to those who are connected, or want to be, when boxes and hosts do what they do at home.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{BOOTSTRAP, Kind, Lab, Nodes, Program, skipped, without_node};

/// How long a connection may take that needs no random search.
const OPEN: Duration = Duration::from_secs(30);
/// How long a stream may be silent before it must have ended: udx.36 and some more.
const END: Duration = Duration::from_secs(60);
/// Messages of a talk before something happens.
const BEFORE: u64 = 10;
/// Messages of a talk that must come after that.
const AFTER: u64 = 20;
/// Messages while a connection is relayed and then is not.
const MESSAGES: u64 = 30;

/// A lab with one end on each host.
struct Pair {
    lab: Lab,
    server: Program,
    client: Program,
    /// The server's.
    key: String,
}

impl Pair {
    fn new(args: &[&str], server: Kind, client: Kind) -> Pair {
        let lab = Lab::with_dht(args, Nodes::Seckel);
        let (server, client) = (lab.end("a", server), lab.end("b", client));
        Pair { lab, server, client, key: String::new() }
    }

    /// Joins with fresh nodes and asks the client to connect. The first thing it says: open or failed.
    fn connect(&mut self, options: &Value) -> Value {
        self.server.join();
        self.client.join();
        self.server.joined();
        self.server.ask(&with(&json!({"do": "listen"}), &options["server"]));
        self.key = self.server.listening();
        self.client.joined();
        self.client.ask(&with(&json!({"do": "connect", "key": self.key}), &options["client"]));
        self.client.hear_any(&["open", "failed"], OPEN).expect("open or failed")
    }

    fn close(&mut self) {
        self.client.close();
        self.server.close();
    }

    /// Waits until so many messages more have come back. The last, and which ways the connection took meanwhile; `None`:
    /// it closed, or was silent.
    fn talks(&mut self, more: u64, patience: Duration) -> Option<(Value, Vec<String>)> {
        let (mut last, mut moves, mut left) = (Value::Null, Vec::new(), more);
        while left > 0 {
            let heard = self.client.hear_any(&["came", "moved", "closed"], patience)?;
            match heard["event"].as_str() {
                Some("came") => (last, left) = (heard, left - 1),
                Some("moved") => moves.push(heard["path"].as_str().expect("a path").to_owned()),
                _ => return None,
            }
        }
        Some((last, moves))
    }
}

fn with(command: &Value, more: &Value) -> Value {
    let mut command = command.clone();
    if let (Some(all), Some(more)) = (command.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    command
}

/// One address outside for both hosts. (hyperdht.83)
#[test]
fn two_hosts_behind_one_box() {
    if skipped("two_hosts_behind_one_box") {
        return;
    }
    let mut pair = Pair::new(&["--same-nat"], Kind::Seckel, Kind::Seckel);
    let echo = json!({"client": {"echo": 1 << 20}});
    for (kind, isolated, hairpin, wanted) in [
        ("restricted", "off", "off", Some("lan")),
        ("symmetric", "off", "off", Some("lan")),
        ("restricted", "on", "on", Some("punch")),
        ("full-cone", "on", "on", Some("punch")),
        ("symmetric", "on", "on", None),
        ("restricted", "on", "off", None),
    ] {
        pair.lab.set("kind", &["nat-a", kind]);
        pair.lab.set("lan", &["isolate", isolated]);
        pair.lab.set("lan", &["hairpin", hairpin]);
        let said = pair.connect(&echo);
        assert_eq!(said["path"].as_str(), wanted, "{kind}, isolated {isolated}, hairpin {hairpin}: {said}");
        if wanted.is_some() {
            assert_eq!(pair.client.hear("echo", OPEN)["whole"], true, "{kind}");
        }
        pair.close();
    }
}

/// Connects, talks, lets `event` happen, and says how long the longest silence was; `None`: the connection ended.
fn talk(pair: &mut Pair, boxes: (&str, &str), event: impl FnOnce(&Lab, &mut Program)) -> Option<u64> {
    pair.lab.set("kind", &["nat-a", boxes.0]);
    pair.lab.set("kind", &["nat-b", boxes.1]);
    let said = pair.connect(&json!({}));
    assert_eq!(said["event"], "open", "{boxes:?}: {said}");
    pair.talks(BEFORE, OPEN).expect("a talk");
    event(&pair.lab, &mut pair.client);
    let last = pair.talks(AFTER, END);
    pair.close();
    let (last, _) = last?;
    assert_eq!(last["ordered"], true, "{last}");
    Some(last["gap"].as_u64().expect("milliseconds"))
}

#[test]
fn what_becomes_of_a_talk() {
    if skipped("what_becomes_of_a_talk") {
        return;
    }
    let mut pair = Pair::new(&[], Kind::Seckel, Kind::Seckel);
    let cut = |seconds: u64| {
        move |lab: &Lab, client: &mut Program| {
            lab.set("cut", &["nat-b"]);
            let closed = client.hear_any(&["closed"], Duration::from_secs(seconds));
            assert_eq!(closed, None);
            lab.set("restore", &["nat-b"]);
        }
    };
    let start = Instant::now();
    let gap = talk(&mut pair, ("restricted", "restricted"), cut(3));
    println!("{:?} silent 3 s: {gap:?}", start.elapsed());
    let gap = talk(&mut pair, ("restricted", "restricted"), |lab, _| lab.set("reboot", &["nat-b"]));
    println!("{:?} forgets: {gap:?}", start.elapsed());
    let gap = talk(&mut pair, ("restricted", "restricted"), |lab, _| {
        lab.set("reboot", &["nat-a"]);
        lab.set("reboot", &["nat-b"]);
    });
    println!("{:?} both forget: {gap:?}", start.elapsed());
    let gap = talk(&mut pair, ("open", "symmetric"), |lab, _| lab.set("reboot", &["nat-b"]));
    println!("{:?} open x symmetric forgets: {gap:?}", start.elapsed());
    for server in ["open", "restricted"] {
        let gap = talk(&mut pair, (server, "restricted"), |lab, _| lab.set("address", &["nat-b", "20"]));
        println!("{:?} {server} x restricted, new address: {gap:?}", start.elapsed());
        pair.lab.set("address", &["nat-b", "10"]);
    }
}

/// A relay that is nearer than everything else, and boxes that can be punched: the relay comes first, and then the
/// connection leaves it. Node's loses packets then, and dies, in 9 of 20 tries. (blind_relay.25)
#[test]
fn relayed_and_upgraded() {
    if skipped("relayed_and_upgraded") {
        return;
    }
    let tries = if super::whole() { 20 } else { 3 };
    let mut pair = Pair::new(&[], Kind::Seckel, Kind::Seckel);
    pair.lab.set("link", &["public", "delay", "15ms"]);
    pair.lab.set("link", &["p2", "clear"]);
    let mut relay = pair.lab.seckel("p2", &["relay", "--bootstrap", BOOTSTRAP]);
    let line = relay.line_with("relay: ", OPEN);
    let relay_key = line.rsplit(' ').next().expect("a key").to_owned();
    let (mut relayed, mut moved) = (0, 0);
    for n in 0..tries {
        // Fresh nodes, and the same ones again: these know where the relay is, and reach it before they have punched.
        for again in [false, true] {
            let said = if again {
                pair.client.ask(&json!({"do": "connect", "key": pair.key, "relay": relay_key}));
                pair.client.hear_any(&["open", "failed"], OPEN).expect("open or failed")
            } else {
                pair.connect(&json!({"client": {"relay": relay_key}}))
            };
            assert_eq!(said["event"], "open", "{said}");
            let (last, moves) = pair.talks(MESSAGES, OPEN).expect("the talk goes on");
            assert_eq!(last["ordered"], true, "{last}");
            println!("try {n}: {said}, {last}, {moves:?}");
            relayed += usize::from(said["path"] == "relay");
            moved += usize::from(moves.iter().any(|path| path == "punch"));
        }
        pair.close();
    }
    println!("of {} connections {relayed} began on the relay, {moved} left it", 2 * tries);
}

/// The same key, another process on another port; whoever was connected finds it again.
#[test]
fn a_server_that_restarts() {
    if skipped("a_server_that_restarts") {
        return;
    }
    let node = !without_node();
    for client in [Kind::Seckel, Kind::Node] {
        if client == Kind::Node && !node {
            continue;
        }
        let mut pair = Pair::new(&[], Kind::Seckel, client);
        let own = json!({"server": {"seed": "17".repeat(32)}});
        assert_eq!(pair.connect(&own)["event"], "open");
        pair.talks(BEFORE, OPEN).expect("a talk");
        pair.server = pair.lab.end("a", Kind::Seckel);
        pair.server.join();
        pair.server.joined();
        pair.server.ask(&with(&json!({"do": "listen"}), &own["server"]));
        let key = pair.server.listening();
        let start = Instant::now();
        pair.client.ask(&json!({"do": "connect", "key": key}));
        let said = pair.client.hear_any(&["open", "failed"], OPEN).expect("open or failed");
        println!("{client:?}: {said} after {:?}", start.elapsed());
        assert_eq!(said["event"], "open", "{said}");
    }
}
