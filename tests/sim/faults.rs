//! Lines, clocks and processes that fail, one fault at a time: what whole nodes make of it.

use seckel::base::Span;
use seckel::node::{Closed, ConnId, Event};
use seckel::sim::{Burst, Clock, HostId, Line, Step, World};

use crate::support::{
    call, connect, echo, first, join, joining, key, lasting, listen, lives, network, seed, wait,
};

/// A server that was found and a client that is connected to it, in a network of four.
struct Pair {
    world: World,
    server: HostId,
    client: HostId,
    conn: ConnId,
    nodes: Vec<HostId>,
}

fn pair(seed: u64) -> Pair {
    let mut world = World::new(seed);
    let nodes = network(&mut world, 3);
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    join(&mut world, server);
    join(&mut world, client);
    listen(&mut world, server, &key(1));
    let (conn, outcome) = connect(&mut world, client, key(1).public);
    assert!(outcome.is_ok(), "{outcome:?}");
    echo(&mut world, client, conn, server);
    Pair { world, server, client, conn, nodes }
}

/// A message that says which it is.
fn message(n: u32, len: usize) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(len, n as u8);
    bytes
}

impl Pair {
    /// The client sends `count` messages of `len` bytes; how long until the server has them all, in order.
    fn send(&mut self, count: u32, len: usize, seconds: u64) -> Span {
        let (begin, mut sent, mut came) = (self.world.now(), 0, 0);
        let (client, server, conn) = (self.client, self.server, self.conn);
        while sent < count && self.world.net(client).send(conn, &message(sent, len)).is_ok() {
            sent += 1;
        }
        wait(&mut self.world, seconds, |world, host, event| {
            if host == client && matches!(event, Event::Drained { .. }) {
                while sent < count && world.net(client).send(conn, &message(sent, len)).is_ok() {
                    sent += 1;
                }
            }
            if let Event::Data { bytes, .. } = event
                && host == server
            {
                assert_eq!(*bytes, message(came, len), "in order, whole, once");
                came += 1;
            }
            came == count
        });
        self.world.now().since(begin)
    }
}

#[test]
fn bursts_of_loss_delay_and_lose_nothing() {
    let mut pair = pair(seed(60));
    // Ill for six datagrams in a row, well for fifty.
    let burst = Burst { begin_permille: 20, end_permille: 170, loss_permille: 1000 };
    pair.world.line = Line { burst: Some(burst), ..Line::default() };
    let before = pair.world.losses().line;
    pair.send(300, 1000, 60);
    assert!(pair.world.losses().line > before + 20);
}

#[test]
fn reordered_and_copied_datagrams_are_put_right() {
    let mut pair = pair(seed(61));
    pair.world.line = Line {
        jitter: Span::from_millis(1),
        reorder_permille: 100,
        reorder: Span::from_millis(15),
        copies_permille: 200,
        ..Line::default()
    };
    let took = pair.send(300, 1000, 60);
    assert!(took < Span::from_secs(5), "{took}");
}

/// 125,000 bytes a second, a queue of 100 ms: half a megabyte takes four seconds and little more.
#[test]
fn a_line_with_a_rate_is_filled_and_not_flooded() {
    let mut pair = pair(seed(62));
    pair.world.set_uplink(pair.client, Line { bytes_per_sec: Some(125_000), ..Line::CLEAR });
    let sent = pair.world.sent;
    let took = pair.send(500, 1000, 60);
    assert!((4000..6000).contains(&took.as_millis()), "{took}");
    let sent = pair.world.sent - sent;
    assert!(sent < 2 * 500, "{sent} datagrams for 500,000 bytes");
}

#[test]
fn a_smaller_path_than_the_first_guess_is_found_out() {
    let mut pair = pair(seed(63));
    pair.world.line = Line { mtu: Some(1300), ..Line::default() };
    pair.send(100, 1000, 60);
    let mut fresh = pair;
    fresh.world.net(fresh.client).destroy(fresh.conn);
    (fresh.conn, _) = connect(&mut fresh.world, fresh.client, key(1).public);
    let took = fresh.send(100, 1000, 60);
    assert!(took < Span::from_secs(5), "{took}");
}

#[test]
fn one_way_may_be_slow_and_lossy_and_the_other_clear() {
    let mut pair = pair(seed(64));
    let slow = Line { delay: Span::from_millis(200), loss_permille: 100, ..Line::default() };
    pair.world.set_line(pair.client, pair.server, slow);
    let took = pair.send(200, 1000, 60);
    assert!(took > Span::from_millis(200));
    let begin = pair.world.now();
    pair.world.set_line(pair.client, pair.server, Line { loss_permille: 0, ..slow });
    echo(&mut pair.world, pair.client, pair.conn, pair.server);
    let took = pair.world.now().since(begin).as_millis();
    assert!((205..240).contains(&took), "{took} ms there and back");
}

/// Whatever a flipped bit hits: what is read is what was written, as far as it goes.
#[test]
fn a_flipped_bit_is_never_read() {
    let mut ended = 0;
    for n in 0..10 {
        let mut pair = pair(seed(65 + n));
        pair.world.line = Line { flips_permille: 20, ..Line::default() };
        let (mut came, until) = (0, pair.world.now() + Span::from_secs(120));
        for n in 0..200 {
            pair.world.net(pair.client).send(pair.conn, &message(n, 1000)).expect("room");
        }
        loop {
            match pair.world.step(until) {
                Step::Event(host, Event::Data { bytes, .. }) if host == pair.server => {
                    assert_eq!(bytes, message(came, 1000));
                    came += 1;
                }
                Step::Event(host, Event::Closed { .. }) if host == pair.server => break ended += 1,
                Step::TimedOut => break assert_eq!(came, 200, "nothing is missing unless it ended"),
                _ => {}
            }
        }
    }
    assert!(ended > 0, "bits were flipped in what is sealed");
}

#[test]
fn a_cut_of_half_a_minute_is_survived_and_one_of_two_minutes_is_not() {
    for (seconds, survives) in [(25, true), (120, false)] {
        let mut pair = pair(seed(75));
        pair.world.cut(pair.client);
        assert_eq!(lives(&mut pair.world, pair.client, pair.conn, seconds).is_none(), survives);
        pair.world.heal(pair.client);
        if survives {
            pair.send(10, 100, 30);
            continue;
        }
        assert!(call(&mut pair.world, pair.client, pair.server, key(1).public).is_ok());
    }
}

#[test]
fn a_frozen_process_finds_what_waited_for_it() {
    let mut pair = pair(seed(76));
    let (client, server, conn) = (pair.client, pair.server, pair.conn);
    pair.world.freeze(server);
    for n in 0..20 {
        pair.world.net(client).send(conn, &message(n, 1000)).expect("room");
    }
    assert_eq!(lives(&mut pair.world, client, conn, 20), None, "twenty seconds are bearable");
    assert!(!pair.world.is_up(server));
    pair.world.thaw(server);
    let mut came = 0;
    let begin = pair.world.now();
    wait(&mut pair.world, 30, |_, host, event| {
        if let Event::Data { bytes, .. } = event
            && host == server
        {
            assert_eq!(*bytes, message(came, 1000));
            came += 1;
        }
        came == 20
    });
    assert!(pair.world.now().since(begin) < Span::from_secs(1), "most of it waited in the socket");
    echo(&mut pair.world, client, conn, server);
}

#[test]
fn a_process_that_was_frozen_for_long_has_lost_its_connection_and_serves_again() {
    let mut pair = pair(seed(77));
    let server = pair.server;
    pair.world.freeze(server);
    let (_, why) = lives(&mut pair.world, pair.client, pair.conn, 120).expect("the client gives up");
    assert!(matches!(why, Closed::Transport(_)), "{why:?}");
    // Longer than an announcement lasts.
    pair.world.run(Span::from_secs(3600));
    pair.world.thaw(server);
    wait(&mut pair.world, 60, |_, host, event| host == server && matches!(event, Event::Closed { .. }));
    assert!(call(&mut pair.world, pair.client, server, key(1).public).is_ok());
}

/// Hours apart, and a tenth faster or slower: no node needs another's time.
#[test]
fn clocks_that_differ_and_drift_do_not_matter() {
    let mut world = World::new(seed(78));
    let hour = 3_600_000_000;
    let mut hosts = network(&mut world, 5);
    hosts.extend([world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2])]);
    let (server, client) = (hosts[6], hosts[7]);
    for (n, &host) in hosts.iter().enumerate() {
        let off = n as i64 - 4;
        world.set_clock(host, Clock { offset_micros: off * hour, drift_ppm: off as i32 * 30_000 });
        world.start(host, if n == 0 { first() } else { lasting() });
    }
    world.run(Span::from_secs(60));
    for host in [server, client] {
        join(&mut world, host);
    }
    assert_eq!(world.local(client).since(world.now()).as_micros() / hour as u64, 3);
    listen(&mut world, server, &key(1));
    let (conn, outcome) = connect(&mut world, client, key(1).public);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(lives(&mut world, client, conn, 2 * 3600), None);
    echo(&mut world, client, conn, server);
    world.net(client).destroy(conn);
    assert!(call(&mut world, client, server, key(1).public).is_ok(), "announced still");
}

/// A node knows no time but its own: its upkeep comes more often by a clock that is fast.
#[test]
fn a_node_lives_by_its_own_clock() {
    let traffic = |drift_ppm| {
        let mut world = World::new(seed(79));
        network(&mut world, 2);
        let host = world.add([30, 0, 2, 1]);
        world.set_clock(host, Clock { offset_micros: 0, drift_ppm });
        join(&mut world, host);
        let sent = world.sent;
        world.run(Span::from_secs(3600));
        world.sent - sent
    };
    let (slow, right, fast) = (traffic(-400_000), traffic(0), traffic(400_000));
    assert!(slow < right && right < fast, "{slow} {right} {fast}");
    assert!(fast < 2 * right, "{right} {fast}");
}

#[test]
fn a_killed_process_comes_back_and_one_that_left_is_not_missed() {
    let mut pair = pair(seed(80));
    let (server, client) = (pair.server, pair.client);
    pair.world.kill(server);
    assert!(!pair.world.is_up(server));
    let (_, why) = lives(&mut pair.world, client, pair.conn, 60).expect("nobody answers");
    assert!(matches!(why, Closed::Transport(_)), "{why:?}");
    pair.world.leave(pair.nodes[2]);
    pair.world.start(server, joining());
    wait(&mut pair.world, 60, |_, from, event| from == server && matches!(event, Event::Bootstrapped));
    listen(&mut pair.world, server, &key(1));
    assert!(call(&mut pair.world, client, server, key(1).public).is_ok());
    let nobody = pair.world.losses().nobody;
    pair.world.run(Span::from_secs(3600));
    let late = pair.world.losses().nobody;
    assert!(late > nobody, "they ask for it a while");
    pair.world.run(Span::from_secs(3600));
    assert_eq!(pair.world.losses().nobody, late, "and then forget it");
}

/// The same seed gives the same run with every fault at work; turning one off changes it.
#[test]
fn a_world_with_every_fault_runs_the_same_twice() {
    let line = Line {
        jitter: Span::from_millis(4),
        bytes_per_sec: Some(1_000_000),
        loss_permille: 20,
        burst: Some(Burst { begin_permille: 5, end_permille: 200, loss_permille: 900 }),
        reorder_permille: 30,
        copies_permille: 30,
        flips_permille: 3,
        mtu: Some(1400),
        ..Line::INTERNET
    };
    let run = |line: Line| {
        let mut pair = pair(seed(81));
        pair.world.line = line;
        pair.world.set_clock(pair.server, Clock { offset_micros: 0, drift_ppm: 250 });
        pair.world.crash_after(pair.client, 60);
        for n in 0..100 {
            pair.world.net(pair.client).send(pair.conn, &message(n, 900)).expect("room");
        }
        pair.world.freeze(pair.nodes[1]);
        pair.world.run(Span::from_secs(20));
        pair.world.thaw(pair.nodes[1]);
        pair.world.run(Span::from_secs(20));
        assert!(!pair.world.is_up(pair.client), "its power went off");
        pair.world.trace_hash()
    };
    let first = run(line);
    assert_eq!(first, run(line));
    assert_ne!(first, run(Line { copies_permille: 0, ..line }));
}
