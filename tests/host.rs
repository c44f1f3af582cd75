//! Nodes on the real machine: sockets on loopback, files in a folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seckel::base::Addr;
use seckel::edge::{Host, NodeId, Wake};
use seckel::node::{Config, DhtConfig, Event, KeyPair, Path};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("host-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder below target");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for an event that `done` accepts, for as long as a test may take.
fn wait(host: &mut Host, mut done: impl FnMut(&mut Host, NodeId, &Event) -> bool) -> Event {
    loop {
        match host.wait(Some(Duration::from_secs(60))).expect("the machine works") {
            Wake::Event(node, event) => {
                if done(host, node, &event) {
                    return event;
                }
            }
            Wake::TimedOut => panic!("nothing happened for a minute"),
            Wake::Woken | Wake::Interrupted => {}
        }
    }
}

/// Starts the first node of a network on a free port of loopback.
fn bootstrapper(host: &mut Host, folder: &Folder) -> Addr {
    for port in 31_000..32_000 {
        let port = port + (std::process::id() % 1000) as u16 * 20;
        let addr = Addr::loopback(port);
        let dht = DhtConfig::bootstrapper(addr).expect("a host and a port");
        let node = host.add(Config { dht, epoch_millis: None }, &folder.0.join("bootstrap")).expect("a node");
        match wait(host, |_, from, event| {
            from == node && matches!(event, Event::Bootstrapped | Event::BindFailed)
        }) {
            Event::Bootstrapped => return addr,
            _ => host.remove(node),
        }
    }
    panic!("no free port");
}

fn joining(bootstrap: Addr) -> Config {
    let dht = DhtConfig { bootstrap: vec![bootstrap], host: [127, 0, 0, 1], ..DhtConfig::default() };
    Config { dht, epoch_millis: None }
}

#[test]
fn two_nodes_on_loopback_talk() {
    let folder = Folder::new();
    let mut host = Host::open().expect("a host");
    let bootstrap = bootstrapper(&mut host, &folder);
    let server = host.add(joining(bootstrap), &folder.0.join("server")).expect("a node");
    let client = host.add(joining(bootstrap), &folder.0.join("client")).expect("a node");
    let (own, other) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
    wait(&mut host, |_, node, event| node == server && matches!(event, Event::Bootstrapped));
    // It can be reached directly, and knows it before it listens.
    assert!(host.net(server).status().remote.is_some());
    host.net(server).listen(&own, false).expect("listening");
    wait(&mut host, |_, node, event| node == server && matches!(event, Event::Listening { .. }));
    host.net(client).connect(own.public, &other, false).expect("connecting");
    let answer = wait(&mut host, |host, node, event| match event {
        Event::Connected { conn, path, .. } if node == client => {
            assert_eq!(*path, Path::Direct);
            host.net(client).send(*conn, b"hello").expect("open");
            false
        }
        Event::Data { conn, bytes } if node == server => {
            host.net(server).send(*conn, bytes).expect("open");
            false
        }
        Event::ConnectFailed { why, .. } => panic!("{why:?}"),
        Event::Data { .. } => true,
        _ => false,
    });
    assert!(matches!(answer, Event::Data { bytes, .. } if bytes == b"hello"));
}
