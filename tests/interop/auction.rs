//! The auction with a client on the real packages: it bids, watches and computes the result by itself.

use std::process::Command;

use ::seckel::app::auction::outcome::auction_json;
use ::seckel::app::auction::rules::{self, House};
use ::seckel::base::{Entropy, Seeded, hex};
use ::seckel::node::KeyPair;
use ::seckel::wire;
use ::seckel::wire::auction::{Bid, Close, Create, Deed, Entry, Step};
use serde_json::{Value, json};

use super::seckel::{Folder, Seckel};
use super::support::{Node, skipped};

/// A DHT, a server of ours and its keys.
struct Scene {
    folder: Folder,
    bootstrap: String,
    keys: [String; 2],
    _dht: Seckel,
}

impl Scene {
    fn new() -> (Scene, Seckel) {
        let folder = Folder::new();
        let mut dht = Seckel::start(&["testnet", "--nodes", "1"]);
        let line = dht.line_with("Bootstrap: ");
        let bootstrap = line.trim_start_matches("Bootstrap: ").to_owned();
        let storage = folder.join("server");
        let mut server =
            Seckel::start(&["auction", "server", "--bootstrap", &bootstrap, "--storage", &storage]);
        let keys = ["Server Public Key: ", "Database Core Key: "].map(|label| {
            let line = server.line_with(label);
            line.strip_prefix(label).expect("on a line of its own").to_owned()
        });
        (Scene { folder, bootstrap, keys, _dht: dht }, server)
    }

    fn node(&self, name: &str, server: bool, serve: bool) -> Node {
        let [key, core] = &self.keys;
        let options = json!({
            "bootstrap": self.bootstrap, "storage": self.folder.join(name), "core": core,
            "server": if server { Value::from(key.as_str()) } else { Value::Null }, "serve": serve,
        });
        let mut node = Node::start("auction.js", &[&options.to_string()]);
        assert_eq!(node.hear()["ready"], true);
        node
    }

    fn prompt(&self, name: &str) -> Seckel {
        let [server, core] = &self.keys;
        let storage = self.folder.join(name);
        Seckel::start(&[
            "auction",
            "client",
            server,
            core,
            "--bootstrap",
            &self.bootstrap,
            "--storage",
            &storage,
        ])
    }

    fn json(&self, name: &str, words: &[&str]) -> (Option<i32>, Value) {
        let [server, core] = &self.keys;
        let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .arg("auction")
            .args(words)
            .args(["--server", server, "--core", core, "--bootstrap", &self.bootstrap])
            .args(["--storage", &self.folder.join(name), "--json"])
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"));
        (output.status.code(), value)
    }
}

/// What both sides say of an auction, without what only one of them says.
fn common(auction: &Value) -> Value {
    let of = |bid: &Value| match bid {
        Value::Null => Value::Null,
        bid => json!([bid["seq"], bid["key"], bid["amount"]]),
    };
    let ends = if auction["ends"] == 0 { &Value::Null } else { &auction["ends"] };
    json!([
        auction["id"],
        auction["title"],
        auction["creator"],
        auction["reserve"],
        ends,
        auction["bids"],
        auction["state"],
        of(&auction["highest"]),
        of(&auction["winner"]),
    ])
}

fn answer(node: &mut Node, message: Value) -> String {
    node.ask(&message)["answer"].as_str().expect("text").to_owned()
}

/// A Node client creates, bids, watches and verifies against our server, among ours.
#[test]
fn a_node_client_bids_watches_and_verifies() {
    if skipped("auction::a_node_client_bids_watches_and_verifies") {
        return;
    }
    let (scene, server) = Scene::new();
    let mut node = scene.node("node", true, false);
    let own = node.ask(&json!({ "do": "whoami" }))["key"].as_str().expect("a key").to_owned();
    let made = json!({ "do": "create", "title": "\u{e6}bler \u{1f350}", "reserve": 50 });
    assert_eq!(answer(&mut node, made), "OK 1");
    let (code, bid) = scene.json("bob", &["bid", "1", "40"]);
    assert_eq!((code, &bid["result"]), (Some(0), &Value::from("bid")));
    let events = node.ask(&json!({ "do": "watch", "length": 3 }))["events"].clone();
    let kinds: Vec<&str> =
        events.as_array().expect("a list").iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["open", "create", "bid"]);
    assert_eq!(events[2]["amount"], 40);

    let bid = |amount: u64| json!({ "do": "bid", "id": 1, "amount": amount });
    assert_eq!(answer(&mut node, bid(40)), "ERR:Too low: the highest bid is 40");
    assert_eq!(answer(&mut node, bid(300)), "OK 3");
    assert_eq!(answer(&mut node, bid(300)), "IDEMPOTENT 3");
    let forged = json!({ "do": "forge", "id": 1, "amount": 400 });
    assert_eq!(answer(&mut node, forged), "ERR:The signature does not hold");
    let (code, said) = scene.json("bob", &["close", "1"]);
    assert_eq!((code, &said["result"]), (Some(1), &Value::from("refused")), "only its creator");
    let (_, shown) = scene.json("bob", &["show", "1"]);
    assert_eq!(shown["auction"]["highest"]["key"], own.as_str(), "the proven key");
    // 2^53 - 1, the largest that both hold.
    assert_eq!(answer(&mut node, bid(9_007_199_254_740_991)), "OK 4");
    assert_eq!(answer(&mut node, json!({ "do": "close", "id": 1 })), "OK 5");
    assert_eq!(answer(&mut node, bid(9_007_199_254_740_991)), "IDEMPOTENT 4");
    assert_eq!(answer(&mut node, json!({ "do": "close", "id": 1 })), "IDEMPOTENT 5");

    let theirs = node.ask(&json!({ "do": "verify", "id": 1 }));
    let (code, ours) = scene.json("bob", &["verify", "1"]);
    assert_eq!((code, &ours["holds"]), (Some(0), &Value::Bool(true)));
    assert_eq!(theirs["length"], ours["length"]);
    assert_eq!(common(&theirs["auction"]), common(&ours["auction"]));
    assert_eq!(theirs["auction"]["signatures"], 5, "a create, three bids, a close");
    assert_eq!(ours["signatures"], json!({ "create": 1, "bid": 3, "close": 1 }));

    // One of ours, that the clock ends.
    let (_, made) = scene.json("bob", &["create", "short", "--ends", "2s"]);
    assert_eq!(made["auction"]["id"], 6);
    node.ask(&json!({ "do": "watch", "length": 7 }));
    assert_eq!(answer(&mut node, json!({ "do": "bid", "id": 6, "amount": 1 })), "OK 7");
    let events = node.ask(&json!({ "do": "watch", "length": 9 }))["events"].clone();
    assert_eq!(
        events.as_array().and_then(|all| all.last()).map(|last| last["kind"].clone()),
        Some("end".into())
    );
    let theirs = node.ask(&json!({ "do": "verify", "id": 6 }));
    let (_, ours) = scene.json("bob", &["verify", "6"]);
    assert_eq!(common(&theirs["auction"]), common(&ours["auction"]));
    node.finish();
    server.interrupt();
}

/// Without the server: a Node client that never talked to it follows from a client of ours.
#[test]
fn node_follows_from_a_seckel_client() {
    if skipped("auction::node_follows_from_a_seckel_client") {
        return;
    }
    let (scene, server) = Scene::new();
    let mut ours = scene.prompt("giver");
    for (line, wanted) in [("create A pear", "Created: 1 \"A pear\""), ("bid 1 7", "Bid: 7 on 1 \"A pear\"")]
    {
        ours.say(line);
        assert_eq!(ours.line(), wanted);
    }
    server.kill();
    let mut node = scene.node("taker", false, false);
    node.ask(&json!({ "do": "watch", "length": 3 }));
    let seen = node.ask(&json!({ "do": "verify", "id": 1 }));
    assert_eq!(
        (&seen["auction"]["highest"]["amount"], &seen["auction"]["state"]),
        (&json!(7), &json!("open"))
    );
    node.finish();
    ours.finish();
}

/// And the other way round.
#[test]
fn a_seckel_client_follows_from_a_node_client() {
    if skipped("auction::a_seckel_client_follows_from_a_node_client") {
        return;
    }
    let (scene, server) = Scene::new();
    let mut node = scene.node("giver", true, true);
    assert_eq!(answer(&mut node, json!({ "do": "create", "title": "A pear" })), "OK 1");
    assert_eq!(answer(&mut node, json!({ "do": "bid", "id": 1, "amount": 7 })), "OK 2");
    server.kill();
    let mut ours = scene.prompt("taker");
    loop {
        ours.say("status");
        assert!(ours.line().starts_with("Server: "));
        let length = ours.line();
        ours.line();
        if length == "Replica length: 3" {
            break;
        }
    }
    ours.say("list");
    assert_eq!(ours.line(), "1 \"A pear\": 7 bid, 1 bid");
    ours.say("verify 1");
    assert_eq!(ours.line(), "1 \"A pear\": holds");
    node.finish();
}

const CORE: [u8; 32] = [9; 32];

/// A step that may be against the rules, or signed by somebody else, or by nobody.
fn step(draw: &mut Seeded, house: &House, now: u64) -> Step {
    let pair = KeyPair::from_seed([draw.below(3) as u8; 32]);
    let signer = if draw.below(10) == 0 { KeyPair::from_seed([9; 32]) } else { pair.clone() };
    let key = pair.public;
    let auction = house.auctions().last().map_or(1, |last| last.id.saturating_sub(draw.below(3)));
    let terms = house.auction(auction).map_or([0; 32], |auction| auction.terms);
    let sign = |deed| signer.sign(&rules::signable(&CORE, deed));
    match draw.below(12) {
        0..=2 => {
            let titles =
                ["a", "\u{e6} \u{1f350}", "\u{feff}a", "x\u{200b}", "", " a", "a\u{a0}", "a\nb", "a\u{85}"];
            let ends = [0, now + 5, now + 40, now + 3_155_760_000_000, now, now + 3_155_760_000_001];
            let reserves = [0, 20, rules::AMOUNT_MAX, rules::AMOUNT_MAX + 1];
            // Most are by the rules, which stand first.
            let mut pick = |all: u64, good: u64| {
                let among = if draw.below(8) == 0 { all } else { good };
                draw.below(among) as usize
            };
            let (title, ends, reserve) =
                (titles[pick(9, 4)].to_owned(), ends[pick(6, 4)], reserves[pick(4, 3)]);
            let nonce = [draw.below(4) as u8; 16];
            let mut create = Create { nonce, title, reserve, ends, signature: [0; 64] };
            create.signature = sign(rules::deed_of(&create));
            Step::Create { key, create }
        }
        3 => Step::Close { key, close: Close { auction, signature: sign(Deed::Close { terms }) } },
        4 | 5 => Step::End { auction },
        6 if draw.below(8) == 0 => Step::Open,
        _ => {
            let known = house.auction(auction).and_then(|auction| auction.highest);
            let best = known.map_or(0, |best| best.amount);
            let amount = match draw.below(40) {
                0 => rules::AMOUNT_MAX + 1 + draw.below(3),
                1 => rules::AMOUNT_MAX,
                _ => (best + draw.below(20)).saturating_sub(2),
            };
            Step::Bid { key, bid: Bid { auction, amount, signature: sign(Deed::Bid { terms, amount }) } }
        }
    }
}

/// Both sides' rules, on logs that hold whatever can be written: they come to the same after every block.
// proves auction.15
// proves auction.16
#[test]
fn a_node_reader_counts_what_we_count() {
    if skipped("auction::a_node_reader_counts_what_we_count") {
        return;
    }
    let mut node = Node::start("auction.js", &[r#"{"judge":true}"#]);
    let (mut counted, mut refused) = (0, 0);
    for seed in 0..40 {
        let mut draw = Seeded::new(seed);
        let (mut house, mut blocks, mut states, mut now) = (House::new(CORE), Vec::new(), Vec::new(), 0_u64);
        while blocks.len() < 60 {
            now += draw.below(6);
            let time = match draw.below(300) {
                0..=5 => draw.below(now + 1),
                6 => rules::AMOUNT_MAX + 1 + draw.below(2),
                _ => now,
            };
            let step = if blocks.is_empty() { Step::Open } else { step(&mut draw, &house, time.min(now)) };
            let mut block = wire::encode(&Entry { time, step });
            match draw.below(40) {
                0 => block.truncate(draw.below(block.len() as u64) as usize),
                1 => block[0] ^= 1 << draw.below(8),
                2 => block.push(0),
                _ => {}
            }
            match house.take(&block) {
                Ok(_) => counted += 1,
                Err(_) => refused += 1,
            }
            let auctions = house.auctions().map(auction_json).map(|text| {
                let auction: Value = serde_json::from_str(&text).expect("JSON");
                common(&auction)
            });
            states.push((house.faults().1, auctions.collect::<Vec<_>>()));
            blocks.push(hex::encode(&block));
        }
        let theirs = node.ask(&json!({ "core": hex::encode(&CORE), "blocks": blocks }));
        for (seq, (theirs, ours)) in theirs.as_array().expect("a list").iter().zip(&states).enumerate() {
            let auctions: Vec<Value> =
                theirs["auctions"].as_array().expect("a list").iter().map(common).collect();
            assert_eq!(
                (theirs["faults"].as_u64(), &auctions),
                (Some(ours.0), &ours.1),
                "seed {seed}, block {seq}: {}",
                blocks[seq]
            );
        }
    }
    assert!(counted > 500 && refused > 500, "{counted} and {refused}");
    node.finish();
}
