//! The transcript of whole worlds: every line is as the note says, text and JSON say the same, and watching changes
//! nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use seckel::app::registry::command;
use seckel::base::trace::Entry;
use seckel::base::{Span, Time};
use seckel::sim::town::Turn;
use seckel::sim::{Kind, Line, NatOptions, Reader, Town};
use serde_json::Value;

use crate::support::seed;

#[path = "../process/grammar.rs"]
mod grammar;

use grammar::Said;

/// What a watched world said: each line as text and as JSON.
type Lines = Rc<RefCell<Vec<(String, String)>>>;

fn run(town: &mut Town, span: Span) {
    let until = town.world.now() + span;
    loop {
        match town.step(until) {
            Turn::Moved | Turn::Met(_) | Turn::Reported(_) => {}
            Turn::TimedOut => return,
            turn @ (Turn::Crashed(_) | Turn::Ended(..)) => panic!("{turn:?}"),
        }
    }
}

/// A registry and its clients, from nothing to names that were registered, looked up and deleted.
fn demo(seed: u64, line: Line, home: Option<Kind>, watched: bool) -> (Lines, Town) {
    let lines: Lines = Rc::default();
    let mut town = Town::new(seed);
    if watched {
        let into = lines.clone();
        town.world.transcript.reader = Some(Reader(Box::new(move |entry: &Entry| {
            let (mut text, mut json) = (String::new(), String::new());
            entry.text(&mut text);
            entry.json(&mut json);
            into.borrow_mut().push((text, json));
        })));
    }
    for _ in 0..4 {
        town.add_node();
        run(&mut town, Span::from_secs(2));
    }
    town.world.line = line;
    town.open_server(home, NatOptions::default()).expect("a new store");
    run(&mut town, Span::from_secs(40));
    for _ in 0..2 {
        town.add_client(home, NatOptions::default()).expect("a new store");
    }
    run(&mut town, Span::from_secs(40));
    for (client, typed) in [(0, "register zebra"), (1, "lookup zebra"), (1, "list"), (0, "delete zebra")] {
        let command = command::parse(typed).expect("a command").expect("not empty");
        town.submit(client, command).expect("room for a command");
        run(&mut town, Span::from_secs(20));
    }
    (lines, town)
}

/// A line that loses a tenth of what is sent, and is late with the rest.
const BAD: Line = Line {
    delay: Span::from_millis(20),
    jitter: Span::from_millis(30),
    loss_permille: 100,
    ..Line::INTERNET
};

// proves transcript.1, transcript.2, transcript.3, transcript.4, transcript.7
#[test]
fn every_line_parses_and_json_says_the_same() {
    let (lines, town) = demo(seed(0x7ace), BAD, Some(Kind::Restricted), true);
    let lines = lines.borrow();
    assert!(lines.len() > 5_000, "a verbose run of {} lines", lines.len());
    let mut last = 0;
    for (text, json) in lines.iter() {
        let said =
            grammar::line(text.strip_suffix('\n').expect("a line ends")).unwrap_or_else(|| panic!("{text}"));
        assert!(said.time_us >= last, "time goes back: {text}");
        last = said.time_us;
        let json: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(said.json(), json, "{text}");
    }
    assert!(Time::from_micros(last) <= town.world.now());
}

#[test]
fn every_machine_and_every_kind_has_lines() {
    let (lines, mut town) = demo(seed(0x7acf), BAD, Some(Kind::Restricted), true);
    // Who was connected with it tries again.
    let server = town.server.as_ref().expect("there is one").host;
    town.kill(server);
    run(&mut town, Span::from_secs(60));
    let lines = lines.borrow();
    let said: Vec<Said> = lines.iter().filter_map(|(text, _)| grammar::line(text.trim_end())).collect();
    let of: BTreeSet<(&str, &str)> = said.iter().map(|said| (said.kind, said.layer)).collect();
    let has = |kind, layers: &[&str]| {
        for &layer in layers {
            assert!(of.contains(&(kind, layer)), "no {kind} of {layer}\n{}", town.world.last_lines());
        }
    };
    let carriers = ["dht_rpc", "hyperdht", "udx", "secret_stream", "protomux", "protomux_rpc", "hypercore"];
    has("in", &carriers);
    has("out", &carriers);
    has("state", &carriers);
    has("state", &["hyperswarm", "node"]);
    has("timer", &["dht_rpc", "hyperdht", "udx", "secret_stream", "hyperswarm"]);
    has("step", &["dht_rpc", "hyperdht", "udx", "hyperswarm"]);
    has("call", &["node"]);
    has("event", &["node"]);
    has("drop", &["world"]);
    let named: BTreeSet<&str> = said.iter().filter_map(|said| said.id.split(' ').next()).collect();
    for name in
        ["socket", "stream", "conn", "server", "punch", "query", "flight", "core", "store", "lookup", "link"]
    {
        assert!(named.contains(name), "nothing is told of any {name}: {named:?}");
    }
}

/// What goes out comes in at the other end, with the same meaning: in a world without boxes and losses, all of it.
#[test]
fn every_datagram_goes_out_and_comes_in() {
    let (lines, town) = demo(seed(0x7ad0), Line::INTERNET, None, true);
    let lines = lines.borrow();
    let end = town.world.now().as_micros();
    let mut under_way: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    let mut pairs = 0;
    for (text, _) in lines.iter() {
        let said = grammar::line(text.trim_end()).expect("it parses");
        if !said.id.starts_with("socket ") || !matches!(said.kind, "in" | "out") {
            continue;
        }
        let meaning = (said.layer.to_owned(), said.what.to_owned());
        if said.kind == "out" {
            under_way.entry(meaning).or_default().push(said.time_us);
            continue;
        }
        let sent = under_way.get_mut(&meaning).filter(|sent| !sent.is_empty());
        let sent = sent.unwrap_or_else(|| panic!("it came from nowhere: {text}")).remove(0);
        assert!(sent <= said.time_us, "it came before it was sent: {text}");
        pairs += 1;
    }
    assert!(pairs > 1_000, "{pairs} pairs");
    let lost: Vec<_> = under_way
        .iter()
        .filter(|(_, sent)| sent.iter().any(|at| at + 2_000_000 < end))
        .map(|(what, _)| what)
        .collect();

    assert!(lost.is_empty(), "{lost:?}");
}

// proves transcript.8
#[test]
fn watching_changes_nothing() {
    for home in [None, Some(Kind::FullCone)] {
        let seed = seed(0x7ad1);
        let (lines, watched) = demo(seed, BAD, home, true);
        let (none, unwatched) = demo(seed, BAD, home, false);
        assert!(!lines.borrow().is_empty() && none.borrow().is_empty());
        assert_eq!(watched.world.trace_hash(), unwatched.world.trace_hash());
        assert_eq!(watched.world.sent, unwatched.world.sent);
    }
}

// proves transcript.5, transcript.6
#[test]
fn what_users_send_is_told_by_its_length() {
    let (lines, town) = demo(seed(0x7ad2), Line::INTERNET, None, true);
    let lines = lines.borrow();
    let reports: String =
        town.clients.iter().flat_map(|c| &c.reports).map(|report| report.outcome.text()).collect();
    assert!(reports.contains("zebra"), "{reports}");
    let calls = lines.iter().filter(|(text, _)| text.contains("\"register\"")).count();
    assert!(calls >= 4, "the method is named, in quotes");
    let core = town.server.as_ref().and_then(|office| office.keys).expect("the server was up").core;
    let core = seckel::base::hex::encode(&core);
    for (text, json) in lines.iter() {
        assert!(!text.contains("zebra") && !json.contains("zebra"), "a user's name: {text}");
        assert!(!text.contains(&core[..8]), "what opens the core: {text}");
    }
}
