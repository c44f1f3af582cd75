//! seckel's nodes, servers and clients among those of npm's hyperdht, on loopback.
//!
//! Every story is told with the nodes of the table, the server and the client each from either side, in networks of
//! one, three and five nodes. Servers can be reached; clients have default options, which means firewalled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, hex};
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, Wake};
use seckel::hyperdht::{ConnId, Path};
use seckel::node::{Config, Event};
use serde_json::{Value, json};

use crate::support::{Node, free_port, skipped};

/// Longer than anything here takes, except when it fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// A first try is quick; a retry would take longer.
const QUICK: Duration = Duration::from_secs(3);

/// A node of ours on a thread of its own.
struct Ours {
    orders: Sender<Order>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Listen(u8),
    Unlisten,
    Connect { key: Key, seed: u8 },
    Stop,
}

#[derive(Debug)]
enum News {
    Ready {
        port: u16,
    },
    Listening,
    Unlistened,
    /// Our greeting came back.
    Echo {
        path: Path,
    },
    /// Somebody connected to our server.
    Accepted {
        path: Path,
    },
    /// Somebody said something to our server.
    Heard,
    Failed(&'static str),
}

fn folder() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("hyperdht-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn config(bootstrap: Option<u16>) -> Config {
    let mut config = Config::default();
    config.dht.host = [127, 0, 0, 1];
    config.dht.port = 0;
    config.dht.bootstrap = bootstrap.map(Addr::loopback).into_iter().collect();
    config
}

impl Ours {
    fn start(config: Config) -> (Ours, u16) {
        let (orders, incoming) = channel();
        let (outgoing, news) = channel();
        let thread = std::thread::spawn(move || live(config, &incoming, &outgoing));
        let ours = Ours { orders, news, thread: Some(thread) };
        let port = ours.wait(|news| match news {
            News::Ready { port } => Some(*port),
            _ => None,
        });
        (ours, port)
    }

    /// A node that stores and relays; the first of its network if no bootstrap is named.
    fn dht(bootstrap: Option<u16>) -> (Ours, u16) {
        let mut config = config(bootstrap);
        config.dht.ephemeral = Some(false);
        if bootstrap.is_none() {
            // As the bootstrap nodes of the package: its own address is known.
            let port = free_port();
            config.dht.port = port;
            config.dht.firewalled = false;
            config.dht.known = Some(Addr::loopback(port));
        }
        Ours::start(config)
    }

    fn order(&self, order: Order) {
        self.orders.send(order).expect("the node lives");
    }

    fn wait<R>(&self, pick: impl Fn(&News) -> Option<R>) -> R {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let news = self.news.recv_timeout(left).expect("news in time");
            if let Some(found) = pick(&news) {
                return found;
            }
        }
    }

    fn listen(&self, seed: u8) -> Key {
        self.order(Order::Listen(seed));
        self.wait(|news| matches!(news, News::Listening).then_some(()));
        KeyPair::from_seed([seed; 32]).public
    }

    fn connect(&self, key: Key, seed: u8) -> Result<Path, &'static str> {
        self.order(Order::Connect { key, seed });
        self.wait(|news| match news {
            News::Echo { path } => Some(Ok(*path)),
            News::Failed(code) => Some(Err(*code)),
            _ => None,
        })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A node that does not find out that it can be reached.
fn hidden(bootstrap: u16) -> Config {
    let mut config = config(Some(bootstrap));
    config.dht.quick_firewall = false;
    config
}

fn live(config: Config, orders: &Receiver<Order>, news: &Sender<News>) {
    let root = folder();
    std::fs::create_dir_all(&root).expect("a folder");
    let mut host = Host::open().expect("a host");
    let id = host.add(config, &root).expect("a node");
    let mut dialled: BTreeMap<ConnId, Path> = BTreeMap::new();
    let (mut port, mut server) = (0, None);
    loop {
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Listen(seed) => {
                    server = host.net(id).listen(&KeyPair::from_seed([seed; 32]), false).ok();
                }
                Order::Unlisten => {
                    if let Some(server) = server.take() {
                        host.net(id).unlisten(server);
                    }
                }
                Order::Connect { key, seed } => {
                    host.net(id).connect(key, &KeyPair::from_seed([seed; 32]), false).expect("dialled");
                }
                Order::Stop => {
                    let _ = std::fs::remove_dir_all(&root);
                    return;
                }
            }
        }
        let Wake::Event(_, event) = host.wait(Some(Duration::from_millis(2))).expect("a host") else {
            continue;
        };
        let told = match event {
            Event::Bound { port: bound } => {
                port = bound;
                None
            }
            Event::Bootstrapped => Some(News::Ready { port }),
            Event::Listening { .. } => Some(News::Listening),
            Event::Unlistened { .. } => Some(News::Unlistened),
            Event::Connected { conn, server: None, path, .. } => {
                dialled.insert(conn, path);
                host.net(id).send(conn, b"hello").expect("open");
                None
            }
            Event::Connected { server: Some(_), path, .. } => Some(News::Accepted { path }),
            Event::Data { conn, bytes } => match dialled.get(&conn) {
                Some(&path) => {
                    assert_eq!(bytes, b"hello");
                    host.net(id).close(conn);
                    Some(News::Echo { path })
                }
                None => {
                    host.net(id).send(conn, &bytes).expect("open");
                    Some(News::Heard)
                }
            },
            Event::Ended { conn } => {
                host.net(id).close(conn);
                None
            }
            Event::ConnectFailed { why, .. } => Some(News::Failed(why.code())),
            _ => None,
        };
        if let Some(told) = told {
            let _ = news.send(told);
        }
    }
}

/// The nodes of the table, whichever side they are of.
struct Table {
    port: u16,
    _ours: Vec<Ours>,
}

fn table(node: &mut Node, ours: bool, count: usize) -> Table {
    if !ours {
        let said = node.ask(&json!({"do": "dht", "count": count, "port": free_port()}));
        let port = said["bootstrap"].as_u64().unwrap_or_else(|| panic!("{said}")) as u16;
        return Table { port, _ours: Vec::new() };
    }
    let (first, port) = Ours::dht(None);
    let mut all = vec![first];
    all.extend((1..count).map(|_| Ours::dht(Some(port)).0));
    Table { port, _ours: all }
}

fn script() -> Node {
    Node::start("hyperdht.js", &[])
}

fn key_of(said: &Value) -> Key {
    let bytes = said["key"].as_str().and_then(hex::decode).unwrap_or_else(|| panic!("{said}"));
    bytes.try_into().expect("32 bytes")
}

const SIZES: [usize; 3] = [1, 3, 5];

/// pitfalls 7.1, 16.5, 16.9: a Node client of default options reaches our server at the first try, every time.
#[test]
fn node_connects_to_us() {
    if skipped("hyperdht::node_connects_to_us") {
        return;
    }
    for ours in [false, true] {
        for count in SIZES {
            let mut node = script();
            let table = table(&mut node, ours, count);
            let (server, _) = Ours::start(config(Some(table.port)));
            let key = hex::encode(&server.listen(1));
            for round in 0..10 {
                let name = format!("client {}", round % 3);
                let ask = json!({"do": "connect", "key": key, "bootstrap": table.port, "name": name});
                let begin = Instant::now();
                let said = node.ask(&ask);
                assert_eq!(said["data"], "hello", "{said}, ours {ours}, {count} nodes, round {round}");
                assert_eq!(said["key"], *key);
                assert!(begin.elapsed() < QUICK, "the first try, not a later one: {:?}", begin.elapsed());
                server.wait(|news| matches!(news, News::Heard).then_some(()));
            }
        }
    }
}

/// pitfalls 7.1: many at once, and as many accepted as connected.
#[test]
fn many_of_nodes_connect_to_us() {
    if skipped("hyperdht::many_of_nodes_connect_to_us") {
        return;
    }
    let mut node = script();
    let table = table(&mut node, false, 3);
    let (server, _) = Ours::start(config(Some(table.port)));
    let key = hex::encode(&server.listen(1));
    let said = node.ask(&json!({"do": "connects", "key": key, "bootstrap": table.port, "count": 50}));
    let all = said["all"].as_array().unwrap_or_else(|| panic!("{said}"));
    assert!(all.len() == 50 && all.iter().all(|one| one["data"] == "hello"), "{said}");
}

#[test]
fn we_connect_to_node() {
    if skipped("hyperdht::we_connect_to_node") {
        return;
    }
    for ours in [false, true] {
        for count in SIZES {
            let mut node = script();
            let table = table(&mut node, ours, count);
            let said = node.ask(&json!({"do": "listen", "bootstrap": table.port, "seed": 1, "open": true}));
            let key = key_of(&said);
            let (client, _) = Ours::start(config(Some(table.port)));
            for round in 0..10 {
                let begin = Instant::now();
                let path = client.connect(key, 2);
                assert!(path.is_ok(), "{path:?}, ours {ours}, {count} nodes, round {round}");
                assert!(begin.elapsed() < QUICK, "the first try, not a later one");
            }
        }
    }
}

#[test]
fn we_connect_to_us() {
    if skipped("hyperdht::we_connect_to_us") {
        return;
    }
    for ours in [false, true] {
        for count in SIZES {
            let mut node = script();
            let table = table(&mut node, ours, count);
            let (server, _) = Ours::start(config(Some(table.port)));
            let key = server.listen(1);
            let (client, _) = Ours::start(config(Some(table.port)));
            for _ in 0..10 {
                let path = client.connect(key, 2);
                // pitfalls 9.16: which way it went is told.
                assert!(
                    matches!(path, Ok(Path::Direct | Path::Passive)),
                    "{path:?}, ours {ours}, {count} nodes"
                );
            }
            server.order(Order::Unlisten);
            server.wait(|news| matches!(news, News::Unlistened).then_some(()));
            assert!(client.connect(KeyPair::from_seed([9; 32]).public, 2).is_err());
        }
    }
}

/// pitfalls 6.12: what we announce Node finds, and no longer after we closed; the same the other way round.
#[test]
fn servers_are_found_until_they_close() {
    if skipped("hyperdht::servers_are_found_until_they_close") {
        return;
    }
    for ours in [false, true] {
        let mut node = script();
        let table = table(&mut node, ours, 3);
        let (server, _) = Ours::start(config(Some(table.port)));
        let key = hex::encode(&server.listen(101)); // no other test has that key
        let find = json!({"do": "find", "key": key, "bootstrap": table.port});
        let found = node.ask(&find);
        assert!(found["peers"].as_array().is_some_and(|peers| !peers.is_empty()), "{found}");
        assert_eq!(found["peers"][0]["key"], *key);
        server.order(Order::Unlisten);
        server.wait(|news| matches!(news, News::Unlistened).then_some(()));
        assert_eq!(node.ask(&find), json!({"peers": []}));

        let said = node.ask(&json!({"do": "listen", "bootstrap": table.port, "seed": 7, "open": true}));
        let (client, _) = Ours::start(config(Some(table.port)));
        assert!(client.connect(key_of(&said), 2).is_ok());
        node.ask(&json!({"do": "unlisten", "seed": 7}));
        assert!(client.connect(key_of(&said), 2).is_err());
    }
}

/// pitfalls 1.5, 6.1, 16.4: our nodes keep what Node announces and puts, and give it back to Node.
#[test]
fn our_nodes_store_for_node() {
    if skipped("hyperdht::our_nodes_store_for_node") {
        return;
    }
    let mut node = script();
    let table = table(&mut node, true, 4);
    let topic = "07".repeat(32);
    let lookup = json!({"do": "lookup", "topic": topic, "bootstrap": table.port});
    assert_eq!(node.ask(&lookup), json!({"peers": []}));
    for seed in [1, 2] {
        let announce = json!({
            "do": "announce", "topic": topic, "seed": seed, "bootstrap": table.port,
            "relays": [{"host": "1.2.3.4", "port": 5}]
        });
        let said = node.ask(&announce);
        assert!(said["closest"].as_u64().is_some_and(|closest| closest > 0), "{said}");
    }
    let found = node.ask(&lookup);
    let peers = found["peers"].as_array().expect("peers");
    for seed in [1, 2] {
        let key = hex::encode(&KeyPair::from_seed([seed; 32]).public);
        let one = peers.iter().find(|peer| peer["key"] == *key).unwrap_or_else(|| panic!("{found}"));
        assert_eq!(one["relays"], json!([{"host": "1.2.3.4", "port": 5}]));
    }
    node.ask(&json!({"do": "unannounce", "topic": topic, "seed": 1, "bootstrap": table.port}));
    let left = node.ask(&lookup);
    let gone = hex::encode(&KeyPair::from_seed([1; 32]).public);
    assert!(left["peers"].as_array().is_some_and(|peers| peers.iter().all(|peer| peer["key"] != *gone)));
    let values = node.ask(&json!({"do": "mutable", "seed": 3, "bootstrap": table.port}));
    assert_eq!(values, json!({"mutable": "second", "seq": 2, "immutable": "for ever"}));
}

/// pitfalls 9.16: nobody is known to be reachable and nobody tells local addresses, so both sides punch: the rounds,
/// the sampling of NATs and the probes of either side with those of the other.
#[test]
fn punches_with_node() {
    if skipped("hyperdht::punches_with_node") {
        return;
    }
    for ours in [false, true] {
        let mut node = script();
        let table = table(&mut node, ours, 5);
        let closed = json!({"quickFirewall": false});
        let (server, _) = Ours::start(hidden(table.port));
        let key = hex::encode(&server.listen(1));
        for _ in 0..3 {
            let said = node.ask(&json!({
                "do": "connect", "key": key, "bootstrap": table.port, "options": closed,
                "connect": {"localConnection": false}
            }));
            assert_eq!(said["data"], "hello", "{said}, ours {ours}");
            let path = server.wait(|news| match news {
                News::Accepted { path } => Some(*path),
                _ => None,
            });
            assert_eq!(path, Path::Punched);
        }
        let said = node.ask(&json!({
            "do": "listen", "bootstrap": table.port, "seed": 2, "options": closed,
            "server": {"shareLocalAddress": false}
        }));
        let (client, _) = Ours::start(hidden(table.port));
        for _ in 0..3 {
            assert_eq!(client.connect(key_of(&said), 3), Ok(Path::Punched), "ours {ours}");
        }
    }
}
