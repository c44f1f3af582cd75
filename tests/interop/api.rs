//! What a program may decide and do with a node, against npm's hyperdht: gates and vetoes, reusable sockets, pools,
//! address blobs, suspend and resume, values that are refused.

use std::path::{Path as File, PathBuf};
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, Span, hex};
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{
    Ask, Config, ConnId, ConnectOptions, Event, FindMutable, KeyPair, ListenOptions, Net, Path, Plugin,
    Punching, Query, Respond, ServerId, StoreError, TransportWhy,
};
use seckel::wire::hyperdht::Address;
use serde_json::{Value, json};

use crate::support::{Node, skipped};

const PATIENCE: Duration = Duration::from_secs(30);

/// A node of ours and a process of Node's, in a network of Node's.
struct Both {
    host: Host,
    id: NodeId,
    /// Away while it answers.
    node: Option<Node>,
    port: u16,
    /// What happened and was not looked at yet.
    events: Vec<Event>,
    /// Callers with these keys are let in by a gate.
    welcome: Vec<Key>,
    /// What comes on connections that we made is sent back, too.
    echoes: bool,
}

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed([seed; 32])
}

fn folder() -> PathBuf {
    File::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}

impl Both {
    /// `hidden`: our node does not find out that it can be reached.
    fn new(hidden: bool) -> Both {
        Both::with(|config| config.dht.quick_firewall = !hidden)
    }

    fn with(change: impl FnOnce(&mut Config)) -> Both {
        let mut node = Node::start("hyperdht.js", &[]);
        let said = node.ask(&json!({"do": "dht", "count": 5, "port": crate::support::free_port()}));
        let port = said["bootstrap"].as_u64().unwrap_or_else(|| panic!("{said}")) as u16;
        let mut config = Config::default();
        config.dht.host = [127, 0, 0, 1];
        config.dht.bootstrap = vec![Addr::loopback(port)];
        change(&mut config);
        let mut host = Host::open().expect("a host");
        let id = host.add(config, &folder()).expect("a node");
        let mut both =
            Both { host, id, node: Some(node), port, events: Vec::new(), welcome: Vec::new(), echoes: false };
        both.until(|event| matches!(event, Event::Bootstrapped).then_some(()));
        both
    }

    fn net(&mut self) -> Net<'_> {
        self.host.net(self.id)
    }

    /// Lets our node run for a moment; our servers echo.
    fn turn(&mut self) {
        let wake = self.host.wait(Some(Duration::from_millis(2))).expect("runs");
        let Wake::Event(_, event) = wake else { return };
        match &event {
            Event::Knock { knock, key, .. } => {
                let (knock, known) = (*knock, self.welcome.contains(key));
                let mut net = self.net();
                let decided = if known { net.admit(knock) } else { net.deny(knock) };
                decided.expect("it waits");
            }
            Event::PluginRequest { request, plugin, command: 7, value } if plugin == "echo" => {
                let (request, value) = (*request.clone(), value.clone());
                self.net().respond(request, Respond::value(value));
            }
            Event::Data { conn, bytes } if bytes.starts_with(b"raw ") => {
                let theirs = core::str::from_utf8(&bytes[4..]).ok().and_then(|id| id.parse().ok());
                let conn = *conn;
                let mut net = self.net();
                let (raw, ours) = net.raw_stream().expect("room");
                net.connect_raw(raw, conn, theirs.expect("an id")).expect("open");
                net.send(conn, ours.to_string().as_bytes()).expect("open");
            }
            Event::RawData { raw, bytes } => {
                let (raw, bytes) = (*raw, bytes.clone());
                self.net().write_raw(raw, &bytes).expect("open");
            }
            Event::RawMessage { raw, bytes } => {
                let (raw, bytes) = (*raw, bytes.clone());
                self.net().send_raw(raw, &bytes).expect("open");
            }
            Event::RawEnded { raw } => {
                let raw = *raw;
                self.net().end_raw(raw).expect("open");
            }
            Event::Data { conn, bytes } => {
                let (conn, bytes) = (*conn, bytes.clone());
                let ours = self.events.iter().any(
                    |event| matches!(event, Event::Connected { conn: c, initiator: true, .. } if *c == conn),
                );
                if self.echoes || !ours {
                    let _ = self.net().send(conn, &bytes);
                }
            }
            Event::Ended { conn } => {
                let conn = *conn;
                self.net().close(conn);
            }
            _ => {}
        }
        self.events.push(event);
    }

    fn until<R>(&mut self, pick: impl Fn(&Event) -> Option<R>) -> R {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.events.iter().find_map(&pick) {
                return found;
            }
            assert!(Instant::now() < end, "it did not happen: {:?}", self.events);
            self.turn();
        }
    }

    /// Asks Node, while ours runs.
    fn ask(&mut self, mut message: Value) -> Value {
        message["bootstrap"] = json!(self.port);
        let mut node = self.node.take().expect("it waits");
        node.say(&message);
        let thread = std::thread::spawn(move || {
            let said = node.hear();
            (node, said)
        });
        while !thread.is_finished() {
            self.turn();
        }
        let (node, said) = thread.join().expect("an answer");
        self.node = Some(node);
        said
    }

    fn listen(&mut self, change: impl FnOnce(&mut ListenOptions)) -> ServerId {
        let mut options = ListenOptions::new(pair(1));
        change(&mut options);
        let server = self.net().listen_with(options, false).expect("new");
        self.until(|event| matches!(event, Event::Listening { server: s } if *s == server).then_some(()));
        server
    }

    fn connect(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut ConnectOptions),
    ) -> (ConnId, Result<Path, String>) {
        let mut options = ConnectOptions::new(pair(2));
        change(&mut options);
        let conn = self.net().connect_with(key, options, false).expect("begun");
        (conn, self.outcome(conn))
    }

    fn outcome(&mut self, conn: ConnId) -> Result<Path, String> {
        self.until(|event| match event {
            Event::Connected { conn: c, path, .. } if *c == conn => Some(Ok(*path)),
            Event::ConnectFailed { conn: c, why, .. } if *c == conn => Some(Err(why.code().to_owned())),
            _ => None,
        })
    }

    /// A greeting goes to Node and back.
    fn echo(&mut self, conn: ConnId) {
        self.net().send(conn, b"hello").expect("open");
        self.until(|event| {
            matches!(event, Event::Data { conn: c, bytes } if *c == conn && bytes == b"hello").then_some(())
        });
    }

    fn sockets(&mut self) -> u64 {
        self.net().connect_stats().sockets_opened
    }
}

fn ours() -> String {
    hex::encode(&pair(1).public)
}

fn key_of(said: &Value) -> Key {
    let bytes = said["key"].as_str().and_then(hex::decode).unwrap_or_else(|| panic!("{said}"));
    bytes.try_into().expect("32 bytes")
}

#[test]
fn our_gate_lets_in_and_turns_away() {
    if skipped("api::our_gate_lets_in_and_turns_away") {
        return;
    }
    let mut both = Both::new(false);
    both.welcome = vec![pair(5).public];
    both.listen(|options| options.gate = true);
    let said = both.ask(json!({"do": "connect", "key": ours(), "as": 5}));
    assert_eq!(said["data"], "hello", "{said}");
    let said = both.ask(json!({"do": "connect", "key": ours(), "as": 6}));
    assert_eq!(said["error"], "PEER_CONNECTION_FAILED", "{said}");
}

#[test]
fn nodes_firewall_lets_us_in_and_turns_us_away() {
    if skipped("api::nodes_firewall_lets_us_in_and_turns_us_away") {
        return;
    }
    let mut both = Both::new(false);
    let denied = hex::encode(&pair(6).public);
    let said = both.ask(json!({"do": "listen", "seed": 9, "open": true, "server": {"denied": denied}}));
    let key = key_of(&said);
    assert!(both.connect(key, |_| {}).1.is_ok());
    let (_, outcome) = both.connect(key, |options| options.key_pair = pair(6));
    assert_eq!(outcome, Err("PEER_CONNECTION_FAILED".to_owned()));
}

fn never(_: &Punching<'_>) -> bool {
    false
}

#[test]
fn a_veto_is_understood_by_either_side() {
    if skipped("api::a_veto_is_understood_by_either_side") {
        return;
    }
    let mut both = Both::new(true);
    both.listen(|options| options.veto = Some(never));
    let closed = json!({"quickFirewall": false});
    let said = both.ask(json!({
        "do": "connect", "key": ours(), "options": closed,
        "connect": {"localConnection": false, "fastOpen": false}
    }));
    let aborted = |code: &Value| code.as_str().is_some_and(|code| code.ends_with("_ABORTED"));
    assert!(aborted(&said["error"]), "{said}");
    let said = both.ask(json!({
        "do": "listen", "seed": 9, "options": closed, "server": {"shareLocalAddress": false, "noPunch": true}
    }));
    let quiet = |options: &mut ConnectOptions| {
        (options.local_connection, options.fast_open) = (false, false);
    };
    let (_, outcome) = both.connect(key_of(&said), quiet);
    assert_eq!(outcome, Err("REMOTE_ABORTED".to_owned()), "Node's server says so");
}

/// The second connection takes the socket of the first: ours to Node's server, and Node's to ours.
#[test]
fn reusable_sockets_are_used_again_with_node() {
    if skipped("api::reusable_sockets_are_used_again_with_node") {
        return;
    }
    let mut both = Both::new(true);
    let closed = json!({"quickFirewall": false});
    let said = both.ask(json!({
        "do": "listen", "seed": 9, "options": closed, "server": {"shareLocalAddress": false, "reusableSocket": true}
    }));
    let key = key_of(&said);
    let options = |options: &mut ConnectOptions| {
        (options.local_connection, options.reusable_socket) = (false, true);
    };
    let (first, outcome) = both.connect(key, options);
    assert_eq!(outcome, Ok(Path::Punched));
    both.echo(first);
    let begun = both.sockets();
    let (second, outcome) = both.connect(key, options);
    assert_eq!(outcome, Ok(Path::Punched));
    both.echo(second);
    assert_eq!(both.sockets(), begun, "no other socket");

    both.listen(|options| (options.share_local_address, options.reusable_socket) = (false, true));
    let connect = json!({
        "do": "hold", "key": ours(), "options": closed, "name": "reuser",
        "connect": {"localConnection": false, "reusableSocket": true}
    });
    let said = both.ask(connect.clone());
    assert_eq!(said["data"], "hello", "{said}");
    let (here, there) = (both.sockets(), said["sockets"].as_u64().expect("a count"));
    let said = both.ask(connect);
    assert_eq!(said["data"], "hello", "{said}");
    assert_eq!(both.sockets(), here, "no other socket of ours");
    assert_eq!(said["sockets"].as_u64(), Some(there), "no other socket of Node's");
}

#[test]
fn address_blobs_are_read_both_ways() {
    if skipped("api::address_blobs_are_read_both_ways") {
        return;
    }
    let mut both = Both::new(false);
    let said = both.ask(json!({"do": "listen", "seed": 9, "open": true}));
    let key = hex::encode(&key_of(&said));
    let said =
        both.ask(json!({"do": "blob", "key": key, "nodes": [{"host": "127.0.0.1", "port": both.port}]}));
    let blob = Address::from_text(said["blob"].as_str().expect("hex")).expect("a blob");
    assert_eq!(blob.nodes.as_deref(), Some(&[Addr::loopback(both.port)][..]));
    let conn = both.net().connect_to(&blob, ConnectOptions::new(pair(2)), false).expect("begun");
    assert!(both.outcome(conn).is_ok());
    both.echo(conn);

    both.listen(|_| {});
    let nodes = Some(vec![Addr::loopback(both.port)]);
    let blob = seckel::wire::encode(&Address { key: pair(1).public, nodes });
    let said = both.ask(json!({"do": "connect", "key": hex::encode(&blob)}));
    assert_eq!(said["data"], "hello", "{said}");
}

/// Node does not find us while we are suspended, its connection ends, and later it finds us again; and the reverse.
#[test]
fn suspend_and_resume_are_seen_by_the_other_side() {
    if skipped("api::suspend_and_resume_are_seen_by_the_other_side") {
        return;
    }
    let mut both = Both::new(false);
    both.listen(|_| {});
    let said = both.ask(json!({"do": "hold", "key": ours()}));
    assert_eq!(said["data"], "hello", "{said}");
    both.net().suspend();
    both.until(|event| matches!(event, Event::Suspended).then_some(()));
    assert_eq!(both.ask(json!({"do": "find", "key": ours()})), json!({"peers": []}));
    let said = both.ask(json!({"do": "released"}));
    assert_eq!(said["open"], 0, "the connection has ended there, too: {said}");
    both.events.clear();
    both.net().resume();
    let end = Instant::now() + PATIENCE;
    while both.ask(json!({"do": "find", "key": ours()})) == json!({"peers": []}) {
        assert!(Instant::now() < end, "it is announced again");
    }
    let said = both.ask(json!({"do": "connect", "key": ours()}));
    assert_eq!(said["data"], "hello", "{said}");

    let said = both.ask(json!({"do": "listen", "seed": 9, "open": true}));
    let key = key_of(&said);
    let (conn, outcome) = both.connect(key, |_| {});
    assert!(outcome.is_ok());
    both.echo(conn);
    both.ask(json!({"do": "suspend", "seed": 9}));
    both.until(|event| matches!(event, Event::Closed { conn: c, .. } if *c == conn).then_some(()));
    assert!(both.connect(key, |_| {}).1.is_err());
    both.ask(json!({"do": "resume", "seed": 9}));
    let (conn, outcome) = both.connect(key, |_| {});
    assert!(outcome.is_ok(), "{outcome:?}");
    both.echo(conn);
}

/// Both call each other at once, each through a pool, and both keep the same connection.
#[test]
fn pools_of_both_sides_keep_the_same_connection() {
    if skipped("api::pools_of_both_sides_keep_the_same_connection") {
        return;
    }
    // Our key is the smaller of the two, then the greater one.
    for (own, theirs) in [(1, 9), (9, 1)] {
        let mut both = Both::new(false);
        both.echoes = true;
        let pool = both.net().pool();
        let server = both.net().listen_in(pool, ListenOptions::new(pair(own)), false).expect("new");
        both.until(|event| matches!(event, Event::Listening { server: s } if *s == server).then_some(()));
        let mine = hex::encode(&pair(own).public);
        let said = both.ask(json!({"do": "pool", "seed": theirs, "open": true}));
        let key = key_of(&said);
        let first = both.net().connect_in(pool, key, ConnectOptions::new(pair(own)), false).expect("begun");
        assert_eq!(both.net().connect_in(pool, key, ConnectOptions::new(pair(own)), false), Ok(first));
        let said = both.ask(json!({"do": "pool connect", "seed": theirs, "key": mine, "ms": 3000}));
        assert_eq!(said["count"], 1, "{said}");
        let conn = both.net().pool_conn(pool, &key).expect("open");
        assert_eq!(both.net().conns(), [conn], "one is left");
        assert_eq!(both.net().remote_key(conn), Some(key));
        let said = both.ask(json!({"do": "pool greet", "seed": theirs, "key": mine}));
        assert_eq!(said["data"], "hello", "{said}");
    }
}

#[test]
fn nodes_of_npm_say_why_they_refuse_a_value() {
    if skipped("api::nodes_of_npm_say_why_they_refuse_a_value") {
        return;
    }
    let mut both = Both::new(false);
    for (seq, value, refused) in [
        (5, b"five", None),
        (4, b"four", Some(StoreError::SeqTooLow)),
        (5, b"fiVe", Some(StoreError::SeqReused)),
        (6, b"six!", None),
    ] {
        both.events.clear();
        let lookup = both.net().store_mutable(&pair(3), seq, value).expect("short");
        let done = |event: &Event| match event {
            Event::LookupDone { lookup: l, ok } if *l == lookup => Some(*ok),
            _ => None,
        };
        assert_eq!(both.until(done), refused.is_none());
        let why = both.events.iter().find_map(|event| match event {
            Event::StoreRefused { lookup: l, why } if *l == lookup => Some(*why),
            _ => None,
        });
        assert_eq!(why, refused);
    }
    both.events.clear();
    let how = FindMutable { seq: 6, latest: false, refresh: false };
    both.net().find_mutable_with(pair(3).public, how);
    let found = both.until(|event| match event {
        Event::Value { seq, value, .. } => Some((*seq, value.clone())),
        _ => None,
    });
    assert_eq!(found, (6, b"six!".to_vec()));
}

/// A bump of ours is told by Node's look-ups; and who takes an announcement back hears of the others.
#[test]
fn announcements_with_options_are_nodes_too() {
    if skipped("api::announcements_with_options_are_nodes_too") {
        return;
    }
    let mut both = Both::new(false);
    let topic = [8; 32];
    let said = both.ask(json!({"do": "announce", "topic": hex::encode(&topic), "seed": 5}));
    assert!(said["closest"].as_u64().is_some_and(|count| count > 0), "{said}");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis();
    let bump = u64::try_from(now).expect("not that late");
    let ended = |event: &Event| matches!(event, Event::LookupDone { ok: true, .. }).then_some(());
    both.net().announce_with(topic, &pair(3), vec![], true, bump);
    both.until(ended);
    let said = both.ask(json!({"do": "bump", "topic": hex::encode(&topic)}));
    assert_eq!(said["bump"], json!(bump), "{said}");
    both.events.clear();
    both.net().lookup_and_unannounce(topic, &pair(3));
    both.until(ended);
    let met =
        |key: Key| both.events.iter().any(|e| matches!(e, Event::Found { peer, .. } if peer.key == key));
    assert!(met(pair(5).public) && met(pair(3).public));
    let said = both.ask(json!({"do": "lookup", "topic": hex::encode(&topic)}));
    let keys: Vec<&str> =
        said["peers"].as_array().expect("peers").iter().filter_map(|peer| peer["key"].as_str()).collect();
    assert!(keys.iter().all(|key| *key == hex::encode(&pair(5).public)), "{said}");
}

/// Plugins of Node's nodes are asked by us, one of ours by Node; who has none is silent, on either side.
#[test]
fn plugins_are_asked_both_ways() {
    if skipped("api::plugins_are_asked_both_ways") {
        return;
    }
    let mut both = Both::with(|config| (config.dht.ephemeral, config.dht.firewalled) = (Some(false), false));
    both.until(|event| matches!(event, Event::Persistent).then_some(()));
    let plugin = Plugin::new("echo", 2);
    let asked = |both: &mut Both, ask: Ask| -> Vec<(u64, Option<Vec<u8>>)> {
        both.events.clear();
        let wanted = both.net().request(ask).expect("short");
        both.until(|event| {
            matches!(event, Event::LookupDone { lookup, .. } if *lookup == wanted).then_some(())
        });
        let replies = both.events.iter().filter_map(|event| match event {
            Event::Reply { lookup, reply } if *lookup == wanted => Some((reply.error, reply.value.clone())),
            _ => None,
        });
        replies.collect()
    };
    let said = both.ask(json!({"do": "plugin", "name": "echo", "version": 2}));
    let first = Addr::loopback(said["asked"].as_u64().expect("a port") as u16);
    let hello = Some(b"hello".to_vec());
    assert_eq!(asked(&mut both, plugin.ask(first, 7, hello.clone())), [(0, hello.clone())]);
    assert_eq!(asked(&mut both, Plugin::new("echo", 3).ask(first, 7, hello.clone())), []);
    assert_eq!(asked(&mut both, Ask::new(first, 11)), [(1, None)], "nobody's command");
    both.events.clear();
    let everybody = both.net().query(plugin.query([3; 32], 7, hello.clone())).expect("short");
    both.until(|event| {
        matches!(event, Event::LookupDone { lookup, .. } if *lookup == everybody).then_some(())
    });
    let told = both.events.iter().filter(|event| match event {
        Event::Reply { lookup, reply } => {
            *lookup == everybody && reply.value == hello && reply.token.is_some()
        }
        _ => false,
    });
    assert!(told.count() >= 4, "all of Node's nodes: {:?}", both.events);
    both.net().query(Query::new([3; 32], 11, None)).expect("short");

    let port = both.net().status().local.expect("bound").port;
    let ask =
        json!({"do": "plugin ask", "name": "echo", "version": 2, "to": port, "command": 7, "value": "hello"});
    assert_eq!(both.ask(ask.clone())["error"], "REQUEST_TIMEOUT", "we have none");
    both.net().register(plugin).expect("room");
    assert_eq!(both.ask(ask), json!({"value": "hello", "error": 0}));
}

/// Beside an encrypted connection of Node's to us goes a raw stream: bytes and messages there and back, and its end.
// proves hyperdht.155
#[test]
fn raw_streams_go_beside_a_connection_with_node() {
    if skipped("api::raw_streams_go_beside_a_connection_with_node") {
        return;
    }
    let mut both = Both::new(false);
    both.listen(|_| {});
    let said = both.ask(json!({"do": "raw", "key": ours(), "count": 200}));
    assert_eq!(said, json!({"bytes": 200_000, "whole": true, "message": "beside", "ended": true}));
    let why = both.until(|event| match event {
        Event::RawClosed { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(why, TransportWhy::Ended);
}

/// A node of ours that is shut down is announced nowhere.
#[test]
fn who_is_shut_down_is_found_by_nobody() {
    if skipped("api::who_is_shut_down_is_found_by_nobody") {
        return;
    }
    let mut both = Both::new(false);
    both.listen(|_| {});
    let said = both.ask(json!({"do": "hold", "key": ours()}));
    assert_eq!(said["data"], "hello", "{said}");
    both.net().shut_down(false);
    both.until(|event| matches!(event, Event::Destroyed).then_some(()));
    assert_eq!(both.ask(json!({"do": "find", "key": ours()})), json!({"peers": []}));
    let said = both.ask(json!({"do": "released"}));
    assert_eq!(said["open"], 0, "{said}");
    assert!(both.net().connect(pair(9).public, &pair(2), false).is_ok());
    let code = both.until(|event| match event {
        Event::ConnectFailed { why, took, .. } => Some((why.code(), *took < Span::from_secs(1))),
        _ => None,
    });
    assert_eq!(code, ("NODE_DESTROYED", true));
}
