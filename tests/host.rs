//! Nodes on the real machine: sockets on loopback, files in a folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seckel::base::{Addr, Error};
use seckel::edge::udp::{Inbox, Left, Udp};
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
        let node =
            host.add(Config { dht, ..Config::default() }, &folder.0.join("bootstrap")).expect("a node");
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
    Config { dht, ..Config::default() }
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
    // udx.105: all that left one of the two came to the other or to the bootstrap node, and streams are part of it
    let sum = |host: &Host, node: NodeId| {
        host.traffic(node).fold((0, 0), |sum, (_, one)| (sum.0 + one.packets_in, sum.1 + one.packets_out))
    };
    for node in [server, client] {
        let (all, streams) = (sum(&host, node), host.net(node).traffic());
        assert!(streams.packets_in > 0 && streams.packets_out > 0, "{streams:?}");
        assert!(all.0 > streams.packets_in && all.1 > streams.packets_out, "{all:?} with {streams:?}");
    }
}

/// Whoever sends faster than the network is told so while little is queued, and told when to go on; all arrives.
#[test]
fn a_fast_sender_waits_for_the_network() {
    const MESSAGES: usize = 200;
    let folder = Folder::new();
    let mut host = Host::open().expect("a host");
    let bootstrap = bootstrapper(&mut host, &folder);
    let server = host.add(joining(bootstrap), &folder.0.join("server")).expect("a node");
    let client = host.add(joining(bootstrap), &folder.0.join("client")).expect("a node");
    wait(&mut host, |_, node, event| node == server && matches!(event, Event::Bootstrapped));
    let own = KeyPair::from_seed([3; 32]);
    host.net(server).listen(&own, false).expect("listening");
    wait(&mut host, |_, node, event| node == server && matches!(event, Event::Listening { .. }));
    host.net(client).connect(own.public, &KeyPair::from_seed([4; 32]), false).expect("connecting");
    let message = vec![7; 65_536];
    let (mut sent, mut got) = (0, 0);
    wait(&mut host, |host, node, event| {
        match event {
            Event::Connected { conn, .. } | Event::Drained { conn } if node == client => {
                let before = sent;
                while sent < MESSAGES {
                    match host.net(client).send(*conn, &message) {
                        Ok(()) => sent += 1,
                        Err(Error::Full) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(sent - before <= 8, "{} messages at once", sent - before);
            }
            Event::Data { bytes, .. } if node == server => {
                assert!(*bytes == message);
                got += 1;
            }
            _ => {}
        }
        got == MESSAGES
    });
}

/// The same on a line so slow that the socket's buffer is full in the middle of a turn: what did not fit leaves once
/// the kernel has room.
#[cfg(target_os = "linux")]
#[test]
fn a_fast_sender_waits_for_a_slow_line() {
    use std::io::Write;
    use std::process::Command;

    const LINE: &str = "ip link set lo up && tc qdisc add dev lo root tbf rate 200mbit burst 128k limit 20mb";
    let own = std::env::current_exe().expect("this binary");
    let run = |then: &str| {
        let script = format!("({LINE}) 2>&1 && {then}");
        Command::new("unshare").args(["--net", "sh", "-c", &script]).arg(&own).output()
    };
    if !run("true").is_ok_and(|line| line.status.success()) {
        // Not by a macro: libtest would keep it to itself.
        let _ = writeln!(std::io::stderr(), "NO SLOW LINE, NOT TESTED: it takes root, iproute2 and its tbf");
        return;
    }
    let ran = run("exec \"$0\" --exact a_fast_sender_waits_for_the_network").expect("it ran before");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"));
}

/// Datagrams that leave in one call arrive one by one, as they were sent, at sockets that know nothing of that.
#[test]
fn joined_datagrams_arrive_apart() {
    arrive_apart(usize::MAX);
}

/// The same datagrams where the kernel takes only one by one, or two.
#[test]
fn datagrams_arrive_where_the_kernel_joins_none() {
    arrive_apart(1);
    arrive_apart(2);
}

fn arrive_apart(joined_max: usize) {
    let mut udp = Udp::bind([127, 0, 0, 1], 0).expect("a socket");
    udp.join_at_most(joined_max);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
            socket
        })
        .collect();
    let mut sent = [Vec::new(), Vec::new()];
    for (number, len) in [1200, 1200, 1200, 7, 1200, 1, 1200, 1200, 1300, 2].into_iter().enumerate() {
        let to = number / 3 % 2;
        let bytes = vec![number as u8; len];
        let port = others[to].local_addr().expect("bound").port();
        udp.send(Addr::loopback(port), &bytes, (number == 4).then_some(5));
        sent[to].push(bytes);
    }
    udp.flush();
    assert!(!udp.is_waiting());
    assert_eq!(udp.dropped, 0);
    for (socket, sent) in others.iter().zip(sent) {
        for expected in sent {
            let mut bytes = [0; 2000];
            let (len, _) = socket.recv_from(&mut bytes).expect("a datagram");
            assert_eq!(bytes[..len], expected);
        }
    }
}

/// What is too long for the way out is lost, and nothing else is; no router cuts what leaves.
#[test]
fn a_datagram_that_is_too_long_is_lost_alone() {
    // proves udx.98
    let mut udp = Udp::bind([127, 0, 0, 1], 0).expect("a socket");
    assert_eq!(
        udp.may_fragment(),
        !cfg!(any(target_os = "linux", target_os = "macos", target_os = "windows"))
    );
    let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    other.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    let to = Addr::loopback(other.local_addr().expect("bound").port());
    for len in [1200, 1200, 65_508, 1200, 20] {
        udp.send(to, &vec![7; len], None);
    }
    udp.flush();
    assert_eq!((udp.is_waiting(), udp.dropped, udp.traffic.packets_out), (false, 1, 4));
    let mut bytes = vec![0; 70_000];
    let lens: Vec<usize> = (0..4).map(|_| other.recv_from(&mut bytes).expect("a datagram").0).collect();
    assert_eq!(lens, [1200, 1200, 1200, 20]);
}

/// What the kernel joins on its way in is told apart again.
#[test]
fn joined_datagrams_are_taken_apart() {
    let (mut from, to) = (Udp::bind([127, 0, 0, 1], 0).expect("a socket"), Udp::bind([127, 0, 0, 1], 0));
    let to = to.expect("a socket");
    let target = to.local().expect("bound");
    for number in 0..30_u8 {
        from.send(target, &[number; 1000], None);
    }
    from.send(target, &[30; 10], None);
    from.flush();
    let mut inbox = Inbox::default();
    let mut numbers = Vec::new();
    while numbers.len() < 31 {
        let (count, left) = inbox.receive(&to);
        for index in 0..count {
            let (source, bytes, each) = inbox.get(index).expect("it is filled");
            assert_eq!(source, from.local().expect("bound"));
            numbers.extend(bytes.chunks(each).map(|bytes| (bytes[0], bytes.len())));
        }
        assert!(count > 0 || left == Left::Nothing);
    }
    let expected: Vec<_> = (0..31).map(|number| (number, if number < 30 { 1000 } else { 10 })).collect();
    assert_eq!(numbers, expected);
}
