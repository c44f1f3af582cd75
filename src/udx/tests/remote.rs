//! A stream whose other side moves.

use super::rules::{header, ms, secs};
use super::world::{CLIENT, IDS, Link, SERVER, World, address, at, pattern};
use crate::base::{Machine, SocketId, Span};
use crate::udx::Output;
use crate::wire::udx::Kind;

const THIRD: SocketId = SocketId(7);

impl World {
    /// Machine `side` and its stream go to `socket` of the other machine, from its own of that name.
    fn change(&mut self, side: usize, socket: SocketId) {
        let (to, remote) = (address(1 - side, socket), IDS[1 - side]);
        self.command(side, |udx, cx, stream| udx.change_remote(cx, stream, socket, remote, to))
            .expect("open");
    }
}

/// A write that has not left when the remote changes goes the new way, and the change does not wait for it.
#[test]
fn a_packet_that_waits_goes_the_new_way() {
    // proves udx.106
    let mut world = World::connected(1, Link::new(ms(5)));
    world.write(0, b"still here");
    let seen = world.watch();
    world.change(0, CLIENT);
    world.change(1, CLIENT);
    world.settle();
    assert_eq!(world.seen[0].connected, [(CLIENT, address(1, CLIENT))]);
    world.run_for(secs(1));
    assert_eq!(world.seen[1].data, b"still here");
    assert!(seen.borrow().iter().all(|(_, packet)| packet.socket == CLIENT));
}

/// Bytes are in flight on the first path, then on the second, when the third is chosen.
#[test]
fn two_changes_in_a_row() {
    // proves udx.106
    for (loss, first) in [(0, false), (0, true), (200, false), (200, true)] {
        let mut world = World::connected(3, Link::new(ms(20)));
        let sent = [pattern(40_000, 1), pattern(60_000, 2), pattern(80_000, 3)];
        world.write(0, &sent[0]);
        world.settle();
        world.links[0].loss_permille = loss;
        world.change(0, CLIENT);
        if first {
            world.change(1, CLIENT);
        }
        world.write(0, &sent[1]);
        world.run_for(ms(1));
        assert!(world.seen[0].connected.is_empty(), "what was sent before is not acked");
        world.change(0, THIRD);
        world.run_for(Span::from_micros(19_500));
        assert!(world.seen[0].connected.is_empty());
        world.change(1, THIRD);
        world.write(0, &sent[2]);
        world.run_for(secs(60));
        assert_eq!(world.seen[0].connected, [(THIRD, address(1, THIRD))], "told once");
        assert!(world.seen[1].data == sent.concat(), "loss {loss}");
    }
}

/// To where it is already: it completes like any other, and nothing is lost.
#[test]
fn a_change_to_the_same_remote() {
    // proves udx.106
    let mut world = World::connected(1, Link::new(ms(5)));
    let sent = pattern(300_000, 1);
    world.feed(0, &sent, true);
    world.run_for(ms(23));
    world.change(0, SERVER);
    world.settle();
    assert!(world.seen[0].connected.is_empty(), "bytes are in flight");
    world.run_for(secs(5));
    assert_eq!(world.seen[0].connected, [(SERVER, address(1, SERVER))]);
    assert!(world.seen[1].data == sent && world.seen[1].ended);
    world.change(0, SERVER);
    world.settle();
    assert_eq!(world.seen[0].connected.len(), 2, "nothing is in flight: at once");
}

/// The other way is dead: what was sent before times out and is sent the new way.
#[test]
fn a_change_from_a_path_that_died() {
    // proves udx.61
    let mut world = World::connected(1, Link::new(ms(5)));
    let sent = pattern(30_000, 1);
    world.write(0, &sent);
    world.filter = Box::new(|_, packet| packet.socket != SERVER);
    world.settle();
    world.change(0, CLIENT);
    world.change(1, CLIENT);
    world.run_for(secs(10));
    assert!(world.seen[1].data == sent);
    assert_eq!(world.seen[0].connected.len(), 1);
}

/// All that comes after it is acked, so that nothing times out; the first packet must not insist on the old way.
#[test]
fn a_packet_that_was_lost_on_the_old_path() {
    // proves udx.61
    let mut world = World::connected(1, Link::new(ms(5)));
    world.write(0, b"0");
    world.filter = Box::new(|_, packet| packet.socket != SERVER);
    world.settle();
    world.change(0, CLIENT);
    world.change(1, CLIENT);
    for n in 1..10 {
        world.write(0, &[b'0' + n]);
        world.run_for(ms(100));
    }
    assert_eq!(world.seen[1].data, b"0123456789");
    assert_eq!(world.udx[0].stats(world.streams[0]).expect("open").timeouts, 0);
}

/// Messages may be told how far to go; nothing else has a number of hops of its own.
#[test]
fn a_message_may_die_on_its_way() {
    // proves udx.104
    let mut world = World::connected(1, Link::new(ms(5)));
    world.write(0, b"data");
    world
        .command(0, |udx, cx, stream| {
            udx.send(cx, stream, b"usual")?;
            udx.send_hops(cx, stream, b"near", 3)?;
            udx.send_hops(cx, stream, b"far", 255)?;
            udx.send_hops(cx, stream, b"zero", 0)
        })
        .expect("open");
    let mut told = Vec::new();
    while let Some(Output::Send { bytes, ttl, .. }) = at(world.now, |cx| world.udx[0].poll_output(cx)) {
        let message = header(&bytes).kind == Kind::MESSAGE;
        told.push((message, String::from_utf8_lossy(&bytes[20..]).into_owned(), ttl));
    }
    let expected = [
        (true, "usual", None),
        (true, "near", Some(3)),
        (true, "far", Some(255)),
        (true, "zero", None),
        (false, "data", None),
    ];
    assert_eq!(told, expected.map(|(message, text, ttl)| (message, text.to_owned(), ttl)));
}

/// The machine's counters are the sums of its streams', and what is on the way is counted on both sides.
#[test]
fn everything_is_counted() {
    // proves udx.105
    let mut world = World::connected(1, Link::new(ms(5)));
    let seen = world.watch();
    world.feed(0, &pattern(100_000, 1), false);
    world.feed(1, &pattern(50_000, 1), false);
    world.run_for(secs(5));
    for side in 0..2 {
        let to_other = |side: usize| {
            let seen = seen.borrow();
            let lens = seen
                .iter()
                .filter(|(_, packet)| packet.side == side)
                .map(|(_, packet)| packet.bytes.len() as u64);
            (lens.clone().count() as u64, lens.sum::<u64>())
        };
        let all = world.udx[side].traffic();
        assert_eq!((all.packets_in, all.bytes_in), to_other(side));
        assert_eq!((all.packets_out, all.bytes_out), to_other(1 - side));
        let one = world.udx[side].stats(world.streams[side]).expect("live");
        assert_eq!(
            (one.packets_in, one.bytes_in, one.packets_out, one.bytes_out),
            (all.packets_in, all.bytes_in, all.packets_out, all.bytes_out)
        );
    }
}

/// The other side has moved to another socket of ours before we have.
#[test]
fn a_stream_that_roams_takes_packets_on_any_socket() {
    // proves udx.130
    for roaming in [false, true] {
        let mut world = World::connected(1, Link::new(ms(5)));
        world.command(1, |udx, cx, stream| udx.set_roaming(cx, stream, roaming)).expect("open");
        world.change(0, CLIENT);
        world.write(0, b"from elsewhere");
        world.run_for(secs(1));
        let called = [(CLIENT, address(0, CLIENT))];
        let stats = world.udx[1].stats(world.streams[1]).expect("open");
        if roaming {
            assert_eq!(world.seen[1].called[..1], called);
            assert_eq!(world.seen[1].data, b"from elsewhere");
            assert!(stats.strangers == 0 && stats.from_elsewhere > 0);
        } else {
            assert!(world.seen[1].called.is_empty() && world.seen[1].data.is_empty());
            assert!(stats.strangers > 0);
        }
    }
}

/// The other way is known to be dead: what was in flight there is not waited for.
#[test]
fn a_path_that_is_gone_is_not_waited_for() {
    // proves udx.131
    let waited = [false, true].map(|told| {
        let mut world = World::connected(1, Link::new(ms(5)));
        let sent = pattern(30_000, 1);
        world.write(0, &sent);
        world.filter = Box::new(|_, packet| packet.socket != SERVER);
        world.settle();
        world.change(0, CLIENT);
        world.change(1, CLIENT);
        if told {
            world.command(0, |udx, cx, stream| udx.abandon_old_path(cx, stream)).expect("open");
        }
        let begin = world.now;
        while world.seen[1].data.len() < sent.len() {
            world.run_for(ms(10));
        }
        assert!(world.seen[1].data == sent);
        world.run_for(ms(100));
        assert!(!world.udx[0].stats(world.streams[0]).expect("open").changing);
        world.now.since(begin)
    });
    assert!(waited[0] > ms(1000) && waited[1] < ms(200), "{waited:?}");
}
