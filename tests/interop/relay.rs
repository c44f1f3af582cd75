//! Blind relays, ours and npm's, between peers of either side that do not punch, or punch late.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, hex};
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{Config, ConnId, ConnectOptions, Event, ListenOptions, Path, RelayBounds, RelayStats};
use serde_json::{Value, json};

use crate::support::{Node, free_port, skipped};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of a conversation.
const PIECES: usize = 500;
const PIECE: usize = 1000;
/// By how much punches are late, where a relay is to come first.
const LATE: u64 = 2000;

/// What a node of ours does.
enum Role {
    Relay,
    /// Sends back what it gets.
    Echo {
        relay: Option<Key>,
        punch: bool,
    },
    /// Sends numbered pieces, waits for all of them, and says how the connection went.
    Converse {
        to: Key,
        relay: Option<Key>,
    },
}

#[derive(Debug, PartialEq)]
enum News {
    Listening,
    /// First and last path, and whether all came back.
    Conversed {
        first: Path,
        last: Path,
        whole: bool,
    },
    Failed(&'static str),
    Relay(RelayStats),
}

struct Ours {
    stop: Sender<()>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

impl Ours {
    fn start(bootstrap: u16, seed: u8, role: Role) -> Ours {
        let (stop, stopped) = channel();
        let (to_us, news) = channel();
        let thread = std::thread::spawn(move || Life::new(bootstrap, seed, role, to_us).live(&stopped));
        Ours { stop, news, thread: Some(thread) }
    }

    fn hear(&self) -> News {
        self.news.recv_timeout(PATIENCE).expect("news in time")
    }

    /// A server, once it can be found.
    fn listening(self) -> Ours {
        assert_eq!(self.hear(), News::Listening);
        self
    }

    fn stats(&self) -> RelayStats {
        self.stop.send(()).expect("it lives");
        loop {
            if let News::Relay(stats) = self.hear() {
                return stats;
            }
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Life {
    host: Host,
    id: NodeId,
    pair: KeyPair,
    role: Role,
    news: Sender<News>,
    /// Of a conversation.
    conn: Option<ConnId>,
    paths: Vec<Path>,
    sent: usize,
    came: Vec<u8>,
    next: Instant,
    waiting: BTreeMap<ConnId, Vec<u8>>,
}

impl Life {
    fn new(bootstrap: u16, seed: u8, role: Role, news: Sender<News>) -> Life {
        let mut config = Config::default();
        config.dht.host = [127, 0, 0, 1];
        config.dht.port = 0;
        config.dht.bootstrap = vec![Addr::loopback(bootstrap)];
        // Peers do not find out that they can be reached; a relay may.
        config.dht.quick_firewall = matches!(role, Role::Relay);
        let mut host = Host::open().expect("a host");
        let id = host.add(config, std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a node");
        let pair = KeyPair::from_seed([seed; 32]);
        Life {
            host,
            id,
            pair,
            role,
            news,
            conn: None,
            paths: Vec::new(),
            sent: 0,
            came: Vec::new(),
            next: Instant::now(),
            waiting: BTreeMap::new(),
        }
    }

    fn live(mut self, stopped: &Receiver<()>) {
        while stopped.try_recv().is_err() {
            self.converse();
            let wake = self.host.wait(Some(Duration::from_millis(5))).expect("a host");
            if let Wake::Event(_, event) = wake {
                self.take(event);
            }
        }
        if let Some(stats) = self.host.net(self.id).relay_stats() {
            let _ = self.news.send(News::Relay(stats));
        }
    }

    fn begin(&mut self) {
        let pair = self.pair.clone();
        let mut net = self.host.net(self.id);
        match &self.role {
            Role::Relay => {
                net.serve_relay(RelayBounds::default());
                net.listen(&pair, true).expect("listening");
            }
            Role::Echo { relay, punch } => {
                let options = ListenOptions {
                    relay_through: relay.iter().copied().collect(),
                    holepunch: *punch,
                    share_local_address: false,
                    ..ListenOptions::new(pair)
                };
                net.listen_with(options, false).expect("listening");
            }
            Role::Converse { to, relay } => {
                let options = ConnectOptions {
                    relay_through: relay.iter().copied().collect(),
                    local_connection: false,
                    fast_open: false,
                    ..ConnectOptions::new(pair)
                };
                net.connect_with(*to, options, false).expect("connecting");
            }
        }
    }

    fn take(&mut self, event: Event) {
        let echoes = matches!(self.role, Role::Echo { .. });
        match event {
            Event::Bootstrapped => self.begin(),
            Event::Listening { .. } => drop(self.news.send(News::Listening)),
            Event::Connected { conn, path, .. } if matches!(self.role, Role::Converse { .. }) => {
                (self.conn, self.next) = (Some(conn), Instant::now());
                self.paths.push(path);
            }
            Event::Moved { path, .. } => self.paths.push(path),
            Event::Data { conn, bytes } if echoes => self.echo(conn, bytes),
            Event::Drained { conn } => {
                let waiting = self.waiting.remove(&conn).unwrap_or_default();
                self.host.net(self.id).send(conn, &waiting).expect("drained");
            }
            Event::Data { conn, bytes } => {
                self.came.extend(bytes);
                if self.came.len() == PIECES * PIECE {
                    let whole = (0..PIECES).all(|n| self.came[n * PIECE..][..PIECE] == [n as u8; PIECE]);
                    let (first, last) = (self.paths[0], self.paths[self.paths.len() - 1]);
                    self.host.net(self.id).destroy(conn);
                    let _ = self.news.send(News::Conversed { first, last, whole });
                }
            }
            Event::Ended { conn } => self.host.net(self.id).close(conn),
            Event::ConnectFailed { why, .. } => drop(self.news.send(News::Failed(why.code()))),
            Event::Closed { .. } if self.conn.is_some() && self.came.len() < PIECES * PIECE => {
                let _ = self.news.send(News::Failed("closed"));
            }
            _ => {}
        }
    }

    fn echo(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if self.host.net(self.id).send(conn, &bytes).is_err() {
            self.waiting.entry(conn).or_default().extend(bytes);
        }
    }

    /// One piece every ten milliseconds.
    fn converse(&mut self) {
        let Some(conn) = self.conn else { return };
        while self.sent < PIECES && self.next <= Instant::now() {
            self.next += Duration::from_millis(10);
            if self.host.net(self.id).send(conn, &[self.sent as u8; PIECE]).is_err() {
                return;
            }
            self.sent += 1;
        }
    }
}

/// A network of five nodes of npm's, with a relay of either side.
struct Network {
    node: Node,
    port: u16,
    relay: Key,
    ours: Option<Ours>,
}

impl Network {
    fn new(ours: bool) -> Network {
        let mut node = Node::start("hyperdht.js", &[]);
        let said = node.ask(&json!({"do": "dht", "count": 5, "port": free_port()}));
        let port = said["bootstrap"].as_u64().unwrap_or_else(|| panic!("{said}")) as u16;
        let relay = KeyPair::from_seed([7; 32]).public;
        let ours = ours.then(|| Ours::start(port, 7, Role::Relay).listening());
        if ours.is_none() {
            let said = node.ask(&json!({"do": "relay", "bootstrap": port, "seed": 7, "open": true}));
            assert_eq!(said["key"], *hex::encode(&relay), "{said}");
        }
        Network { node, port, relay, ours }
    }

    /// A server of npm's.
    fn node_listens(&mut self, through: bool, punch: bool) -> Key {
        let mut server = json!({"shareLocalAddress": false, "noPunch": !punch});
        if through {
            server["relayThrough"] = json!(hex::encode(&self.relay));
        }
        let closed = json!({"quickFirewall": false});
        let ask =
            json!({"do": "listen", "bootstrap": self.port, "seed": 2, "options": closed, "server": server});
        let said = self.node.ask(&ask);
        assert!(said["key"].is_string(), "{said}");
        KeyPair::from_seed([2; 32]).public
    }

    fn node_converses(&mut self, to: &Key, through: bool, punch: bool) -> Value {
        let mut connect = json!({"localConnection": false, "fastOpen": false, "noPunch": !punch});
        if through {
            connect["relayThrough"] = json!(hex::encode(&self.relay));
        }
        self.node.ask(&json!({
            "do": "converse", "key": hex::encode(to), "bootstrap": self.port, "count": PIECES,
            "options": {"quickFirewall": false}, "connect": connect
        }))
    }

    /// How many pairs the relay has made.
    fn paired(&mut self) -> u64 {
        match &self.ours {
            Some(relay) => relay.stats().paired,
            None => {
                let said = self.node.ask(&json!({"do": "relayed", "seed": 7}));
                said["pairings"]["matched"].as_u64().unwrap_or_else(|| panic!("{said}"))
            }
        }
    }
}

fn side(yes: bool, key: Key) -> Option<Key> {
    yes.then_some(key)
}

/// Who asks for the relay: the client, the server.
const ASKS: [(bool, bool); 2] = [(true, false), (false, true)];

/// pitfalls 10.1, 10.2, 10.3: a server of ours and a client of npm's.
#[test]
fn node_calls_us_through_a_relay() {
    if skipped("relay::node_calls_us_through_a_relay") {
        return;
    }
    for (ours, (client, server)) in [(false, ASKS[0]), (false, ASKS[1]), (true, ASKS[0]), (true, ASKS[1])] {
        let mut network = Network::new(ours);
        let relay = side(server, network.relay);
        let role = Role::Echo { relay, punch: false };
        let _server = Ours::start(network.port, 1, role).listening();
        let key = KeyPair::from_seed([1; 32]).public;
        let said = network.node_converses(&key, client, false);
        assert_eq!((&said["whole"], &said["moved"]), (&json!(true), &json!(false)), "{said}, ours {ours}");
        assert_eq!(network.paired(), 1);
    }
}

/// pitfalls 10.1, 10.2, 10.3: a client of ours and a server of npm's.
#[test]
fn we_call_node_through_a_relay() {
    if skipped("relay::we_call_node_through_a_relay") {
        return;
    }
    for (ours, (client, server)) in [(false, ASKS[0]), (false, ASKS[1]), (true, ASKS[0]), (true, ASKS[1])] {
        let mut network = Network::new(ours);
        let to = network.node_listens(server, false);
        let relay = side(client, network.relay);
        let calls = Ours::start(network.port, 3, Role::Converse { to, relay });
        let all = News::Conversed { first: Path::Relayed, last: Path::Relayed, whole: true };
        assert_eq!(calls.hear(), all, "ours {ours}");
        drop(calls);
        assert_eq!(network.paired(), 1);
    }
}

#[test]
fn node_and_node_meet_through_our_relay() {
    if skipped("relay::node_and_node_meet_through_our_relay") {
        return;
    }
    let mut network = Network::new(true);
    let to = network.node_listens(true, false);
    let said = network.node_converses(&to, false, false);
    assert_eq!((&said["whole"], &said["moved"]), (&json!(true), &json!(false)), "{said}");
    assert_eq!(network.paired(), 1);
}

/// pitfalls 10.5, 10.6, 10.7: first through the relay, then directly, with data on the way in both directions.
#[test]
fn connections_leave_a_relay_for_the_direct_path() {
    if skipped("relay::connections_leave_a_relay_for_the_direct_path") {
        return;
    }
    for ours in [false, true] {
        let mut network = Network::new(ours);
        network.node.ask(&json!({"do": "slow", "ms": LATE}));
        let to = network.node_listens(false, true);
        for seed in 3..6 {
            let relay = Some(network.relay);
            let calls = Ours::start(network.port, seed, Role::Converse { to, relay });
            let all = News::Conversed { first: Path::Relayed, last: Path::Punched, whole: true };
            assert_eq!(calls.hear(), all, "we call node, our relay: {ours}");
        }
        let role = Role::Echo { relay: None, punch: true };
        let _server = Ours::start(network.port, 1, role).listening();
        let key = KeyPair::from_seed([1; 32]).public;
        for _ in 0..3 {
            let said = network.node_converses(&key, true, true);
            assert_eq!((&said["whole"], &said["moved"]), (&json!(true), &json!(true)), "{said}, ours {ours}");
        }
        // Two of npm's leave each other behind at the relay, unless it keeps their pair.
        if ours {
            for _ in 0..3 {
                let said = network.node_converses(&to, true, true);
                assert_eq!((&said["whole"], &said["moved"]), (&json!(true), &json!(true)), "{said}");
            }
        }
    }
}
