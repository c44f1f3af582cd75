//! Where others fail today, each as a story of whole nodes. (A network of three nodes of our own with Node's peers on
//! top is `tests/interop/whole.rs`.)

use seckel::base::{Addr, Span};
use seckel::node::Event;
use seckel::sim::{HostId, Kind, NatOptions, World};
use seckel::wire;
use seckel::wire::dht_rpc::{REQUEST, RequestMessage};
use seckel::wire::hyperdht::command;

use crate::support::{call, connect, echo, join, joining, key, listen, network, seed, wait};

const SERVER: [u8; 4] = [40, 0, 0, 1];
const CLIENT: [u8; 4] = [40, 0, 0, 2];

fn pair_of_hosts(n: u64, nodes: u8) -> (World, HostId, HostId) {
    let mut world = World::new(seed(n));
    network(&mut world, nodes);
    let (server, client) = (world.add(SERVER), world.add(CLIENT));
    join(&mut world, client);
    (world, server, client)
}

/// User commands of a kind among what was sent, by where they went.
fn sent(tap: &[(Addr, Addr, Vec<u8>)], wanted: u64) -> Vec<(Addr, Addr)> {
    let is = |bytes: &[u8]| {
        bytes.first() == Some(&REQUEST)
            && wire::decode::<RequestMessage>(bytes)
                .is_ok_and(|asked| !asked.internal && asked.command == wanted)
    };
    tap.iter().filter(|(_, _, bytes)| is(bytes)).map(|(from, to, _)| (*from, *to)).collect()
}

/// A program that listens at once, before its node knows anybody: it is told that it listens when somebody can reach
/// it, less than a second after the bootstrap.
#[test]
fn listening_before_the_bootstrap_has_ended() {
    for n in 0..5 {
        let (mut world, server, client) = pair_of_hosts(n, 3);
        world.start(server, joining());
        world.net(server).listen(&key(1), false).expect("new");
        let mut joined = None;
        wait(&mut world, 10, |world, host, event| {
            if host == server && matches!(event, Event::Bootstrapped) {
                joined = Some(world.now());
            }
            host == server && matches!(event, Event::Listening { .. })
        });
        let waited = world.now().since(joined.expect("joined before"));
        assert!(waited < Span::from_secs(1), "seed {n}: {waited} after the bootstrap");
        assert!(call(&mut world, client, server, key(1).public).is_ok(), "seed {n}");
    }
}

/// The same key, again and again, and again before the last connection has ended.
#[test]
fn reconnecting_with_the_same_key() {
    let (mut world, server, client) = pair_of_hosts(1, 3);
    join(&mut world, server);
    listen(&mut world, server, &key(1));
    for _ in 0..20 {
        assert!(call(&mut world, client, server, key(1).public).is_ok());
    }
    let (first, outcome) = connect(&mut world, client, key(1).public);
    assert!(outcome.is_ok());
    let (second, outcome) = connect(&mut world, client, key(1).public);
    assert!(outcome.is_ok());
    echo(&mut world, client, first, server);
    echo(&mut world, client, second, server);
    world.net(client).destroy(first);
    world.net(client).destroy(second);
    world.run(Span::from_secs(30));
    assert!(world.net(server).conns().is_empty() && world.net(client).conns().is_empty());
}

/// A client sends its one message through all relays that it finds; the server accepts once, and says so once.
#[test]
fn the_same_noise_message_through_several_relays() {
    let mut several = 0;
    for n in 0..8 {
        let (mut world, server, client) = pair_of_hosts(n, 4);
        join(&mut world, server);
        listen(&mut world, server, &key(1));
        world.tap = Some(Vec::new());
        let conn = world.net(client).connect(key(1).public, &key(9), false).expect("new");
        let (mut accepted, mut connected) = (0, 0);
        let until = world.now() + Span::from_secs(12);
        loop {
            match world.step(until) {
                seckel::sim::Step::Event(host, Event::Connected { .. }) if host == server => accepted += 1,
                seckel::sim::Step::Event(host, Event::Connected { .. }) if host == client => connected += 1,
                seckel::sim::Step::TimedOut => break,
                _ => {}
            }
        }
        assert_eq!((accepted, connected), (1, 1), "seed {n}");
        let tap = world.tap.take().expect("a tap");
        let through = sent(&tap, command::PEER_HANDSHAKE);
        several += usize::from(through.iter().filter(|(_, to)| to.ip == SERVER).count() > 1);
        echo(&mut world, client, conn, server);
    }
    assert!(several >= 4, "the message came through more than one relay in {several} of 8 worlds");
}

/// The box of a listener gives it another outer port without a word: its relays see that, and it announces again.
#[test]
fn a_listener_whose_mapping_drifts_between_two_announces() {
    for n in 0..4 {
        let mut world = World::new(seed(n));
        network(&mut world, 5);
        let home = world.add_box(Kind::Restricted, [50, 0, 0, 1], NatOptions::default());
        let server = world.add_behind(home, [192, 168, 1, 2]);
        let client = world.add(CLIENT);
        join(&mut world, server);
        join(&mut world, client);
        listen(&mut world, server, &key(1));
        world.run(Span::from_secs(60));
        for _ in 0..3 {
            world.reboot(home);
            world.run(Span::from_secs(10));
            assert!(call(&mut world, client, server, key(1).public).is_ok(), "seed {n}");
        }
    }
}

/// All answers to one cycle's announcements are lost: the next one comes within a minute, not after five.
#[test]
fn an_announce_cycle_in_which_an_answer_never_comes() {
    let (mut world, server, client) = pair_of_hosts(1, 3);
    world.start(server, joining());
    wait(&mut world, 60, |_, host, event| host == server && matches!(event, Event::Bootstrapped));
    world.net(server).listen(&key(1), false).expect("new");
    world.cut(server);
    world.run(Span::from_secs(20));
    world.heal(server);
    let begin = world.now();
    wait(&mut world, 120, |_, host, event| host == server && matches!(event, Event::Listening { .. }));
    let waited = world.now().since(begin);
    assert!(waited <= Span::from_secs(60), "{waited}");
    assert!(call(&mut world, client, server, key(1).public).is_ok());
}
