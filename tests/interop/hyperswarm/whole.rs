//! The rest of a swarm's life with the package: explicit peers, bans, leaving, sleep, a crowd; and that the table of
//! its interface lacks nothing.

use super::*;

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed([seed; 32])
}

impl Story {
    fn tell(&mut self, what: &str, name: &str, key: &Key) {
        self.node.ask(&json!({ "do": what, "name": name, "key": hex::encode(key) }));
    }

    fn order(&mut self, what: &str, name: &str) {
        self.node.ask(&json!({ "do": what, "name": name, "topic": self.topic() }));
    }

    fn found(&mut self) -> Vec<String> {
        let found = self.node.ask(&json!({ "do": "lookup", "topic": self.topic() }));
        let keys = found["found"].as_array().expect("a list").iter();
        keys.map(|key| key.as_str().expect("hex").to_owned()).collect()
    }

    /// Lets our nodes live for a while.
    fn live(&mut self, span: Duration) {
        let end = Instant::now() + span;
        self.until(|_, _| Instant::now() > end);
    }

    fn until_open(&mut self, ours: usize, count: usize) {
        self.until(|story, _| story.ours[ours].1.open.len() == count);
    }
}

#[test]
fn explicit_peers_are_kept_connected_both_ways() {
    if skipped("hyperswarm: explicit peers") {
        return;
    }
    // We keep to them.
    let mut story = Story::begin(0x51);
    let theirs = story.theirs("x", 1);
    story.they_join("x", true, false);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(2);
    let id = story.ours[ours].0;
    story.host.net(id).join_peer(theirs).expect("a swarm");
    story.until_connected(&["x"], 1);
    story.order("cut", "x");
    story.until_open(ours, 0);
    story.until_connected(&["x"], 1);
    story.host.net(id).leave_peer(theirs);
    story.order("cut", "x");
    story.until_open(ours, 0);
    story.live(Duration::from_secs(4));
    assert_eq!(story.ours[ours].1.open.len(), 0, "left");

    // They keep to us.
    let mut story = Story::begin(0x52);
    let ours = story.ours(3);
    story.join(ours, true, false);
    story.until(|story, _| story.ours[ours].1.refreshed == 1);
    story.theirs("x", 4);
    story.tell("joinPeer", "x", &pair(3).public);
    story.until_connected(&["x"], 1);
    let id = story.ours[ours].0;
    let conn = *story.ours[ours].1.open.keys().next().expect("a connection");
    story.host.net(id).destroy(conn);
    story.until_open(ours, 0);
    story.until_connected(&["x"], 1);
}

#[test]
fn who_is_banned_is_refused_on_either_side() {
    if skipped("hyperswarm: bans") {
        return;
    }
    // Our server refuses them before there is a connection, then lets them in.
    let mut story = Story::begin(0x53);
    let ours = story.ours(2);
    let id = story.ours[ours].0;
    let theirs = story.theirs("x", 1);
    story.host.net(id).ban(theirs, true).expect("a swarm");
    story.join(ours, true, false);
    story.until(|story, _| story.ours[ours].1.refreshed >= 1);
    story.they_join("x", false, true);
    story.until(|story, _| story.host.net(id).connect_stats().denied > 0);
    story.live(Duration::from_secs(1));
    assert_eq!((story.state("x")["opened"].clone(), story.ours[ours].1.open.len()), (json!(0), 0));
    assert_eq!(story.host.net(id).connect_stats().accepts, 0);
    story.host.net(id).ban(theirs, false).expect("a swarm");
    story.until_connected(&["x"], 1);

    // Their server refuses us.
    let mut story = Story::begin(0x54);
    story.theirs("x", 3);
    let own = hex::encode(&pair(4).public);
    story.node.ask(&json!({ "do": "refuse", "name": "x", "key": own, "on": true }));
    story.they_join("x", true, false);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(4);
    story.join(ours, false, true);
    story.until(|story, turn| turn % 8 == 0 && story.state("x")["bans"] == 1);
    story.live(Duration::from_secs(1));
    assert_eq!((story.state("x")["opened"].clone(), story.ours[ours].1.open.len()), (json!(0), 0));
    story.node.ask(&json!({ "do": "refuse", "name": "x", "key": own, "on": false }));
    story.until_connected(&["x"], 1);
}

#[test]
fn both_join_in_the_same_moment() {
    if skipped("hyperswarm: both join at once") {
        return;
    }
    for seed in 1..=3 {
        let mut story = Story::begin(0x54 + seed);
        story.theirs("x", 10 + seed);
        let ours = story.ours(20 + seed);
        story.join(ours, true, true);
        story.they_join("x", true, true);
        let begin = Instant::now();
        story.until_connected(&["x"], 1);
        // Ten minutes with the package alone; a loaded machine may take its time.
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        let (id, refreshed) = (story.ours[ours].0, story.ours[ours].1.refreshed);
        assert!(refreshed > 0);
        story.host.net(id).flush().expect("a swarm");
        story.until(|story, _| story.ours[ours].1.flushed == 1);
    }
}

#[test]
fn who_leaves_is_not_found_and_not_dialled_again() {
    if skipped("hyperswarm: leaving") {
        return;
    }
    let mut story = Story::begin(0x58);
    let theirs = story.theirs("x", 1);
    story.they_join("x", true, false);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(2);
    story.join(ours, true, true);
    story.until_connected(&["x"], 1);
    story.order("leave", "x");
    assert_eq!(story.found(), [hex::encode(&pair(2).public)]);
    let (id, topic) = (story.ours[ours].0, story.topic);
    assert_eq!(story.host.net(id).topics_of(&theirs), [topic]);
    story.host.net(id).leave(topic);
    story.until(|story, _| story.ours[ours].1.left == 1);
    assert!(story.found().is_empty() && story.host.net(id).topics().is_empty());
    assert_eq!(story.ours[ours].1.open.len(), 1, "the connection stays");
    story.order("cut", "x");
    story.until_open(ours, 0);
    story.live(Duration::from_secs(4));
    assert_eq!(story.ours[ours].1.open.len(), 0, "and is not made again");
}

#[test]
fn swarms_sleep_and_wake() {
    if skipped("hyperswarm: suspend and resume") {
        return;
    }
    let mut story = Story::begin(0x59);
    let theirs = story.theirs("x", 1);
    story.they_join("x", true, true);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(2);
    story.join(ours, true, true);
    story.until_connected(&["x"], 1);

    // Ours.
    let id = story.ours[ours].0;
    story.host.net(id).suspend_swarm().expect("a swarm");
    story.until(|story, turn| {
        story.ours[ours].1.suspended == 1 && turn % 8 == 0 && story.state("x")["open"] == 0
    });
    assert_eq!(story.found(), [hex::encode(&theirs)]);
    story.live(Duration::from_secs(3));
    assert_eq!(story.ours[ours].1.open.len(), 0, "nobody is let in");
    story.host.net(id).resume_swarm().expect("a swarm");
    story.until_open(ours, 1);

    // Theirs.
    story.order("suspend", "x");
    story.until(|story, turn| {
        story.ours[ours].1.open.is_empty() && turn % 8 == 0 && story.state("x")["idle"] == 1
    });
    story.order("resume", "x");
    story.until_open(ours, 1);
    story.until(|story, turn| turn % 8 == 0 && story.state("x")["open"] == 1);
}

/// One side is gone without a word and starts again under its key.
#[test]
fn who_starts_again_is_back() {
    if skipped("hyperswarm: starting again") {
        return;
    }
    // Ours: it calls, and they give the old connection up.
    let mut story = Story::begin(0x5c);
    story.theirs("x", 1);
    story.they_join("x", true, true);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(2);
    story.join(ours, true, true);
    story.until_connected(&["x"], 1);
    let (id, _) = story.ours.pop().expect("ours");
    story.host.remove(id);
    let ours = story.ours(2);
    story.join(ours, true, true);
    story.until_open(ours, 1);
    story.until(|story, turn| {
        turn % 8 == 0 && story.state("x")["opened"] == 2 && story.state("x")["open"] == 1
    });

    // Theirs, which is only found: we dial it anew.
    let mut story = Story::begin(0x5d);
    let (port, topic) = (story.port, story.topic());
    let start = || {
        let mut other = Node::start("hyperswarm.js", &[]);
        other.ask(&json!({ "do": "elsewhere", "port": port }));
        other.ask(&json!({ "do": "swarm", "name": "y", "seed": 3, "topic": topic }));
        other.ask(&json!({ "do": "join", "name": "y", "topic": topic, "server": true, "client": false }));
        other
    };
    let mut other = start();
    let ours = story.ours(4);
    story.join(ours, false, true);
    story.until_open(ours, 1);
    // What was said on the old connection goes nowhere.
    story.until(|_, turn| turn % 8 == 0 && other.ask(&json!({ "do": "state", "name": "y" }))["echoes"] == 1);
    let old = *story.ours[ours].1.open.keys().next().expect("a connection");
    drop(other);
    let begin = Instant::now();
    let mut other = start();
    story.until(|story, _| story.ours[ours].1.open.keys().any(|conn| *conn != old));
    story.until(|_, turn| turn % 8 == 0 && other.ask(&json!({ "do": "state", "name": "y" }))["open"] == 1);
    // A swarm of the package finds out after 13 s at the earliest.
    assert!(begin.elapsed() < Duration::from_secs(13), "{:?}", begin.elapsed());
    println!("{:?}", begin.elapsed());
}

#[test]
fn five_of_ours_and_five_of_theirs_all_meet() {
    if skipped("hyperswarm: ten swarms") {
        return;
    }
    let mut story = Story::begin(0x5a);
    let names = ["a", "b", "c", "d", "e"];
    for (name, seed) in names.into_iter().zip(1..) {
        story.theirs(name, seed);
        story.ours(seed + 100);
    }
    for (ours, name) in names.into_iter().enumerate() {
        story.join(ours, true, true);
        // Of the package's swarms the one that joins later finds the earlier.
        story.they_join(name, true, true);
        story.until(|story, turn| turn % 8 == 0 && story.state(name)["flushed"] == 1);
    }
    story.until_connected(&names, 9);
}

/// What stands in `backticks` in the left column of the table of the note.
fn named() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-protocol-notes/hyperswarm.md");
    let note = std::fs::read_to_string(path).expect("the note");
    let (_, table) = note.split_once("| hyperswarm 4.17.2 | here |").expect("the table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap_or_default()).collect()
}

#[test]
fn the_table_of_the_interface_lacks_nothing() {
    if skipped("hyperswarm: interface") {
        return;
    }
    let mut story = Story::begin(0x5b);
    let offered = story.node.ask(&json!({ "do": "interface" }));
    let named = named();
    let words: Vec<&str> = named.split(|c: char| !c.is_alphanumeric()).collect();
    let (mut missing, mut seen) = (Vec::new(), 0);
    for part in ["swarm", "options", "events", "peer", "session"] {
        for name in offered[part].as_array().expect("names") {
            seen += 1;
            let name = name.as_str().expect("a name");
            if !words.contains(&name) {
                missing.push(format!("{part}: {name}"));
            }
        }
    }
    assert!(seen > 60, "{offered}");
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}
