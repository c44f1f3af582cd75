//! Other sides that lie, forge and hoard.

use super::rules::{OPEN, header, ms, packet, packet_to, secs};
use super::world::{CLIENT, IDS, Link, Packet, SERVER, World, address, at, pattern};
use crate::base::{Addr, Entropy, Machine, Seeded, Time, limits};
use crate::udx::{Event, Input, Output, StreamId, Udx, Why};
use crate::wire::udx::Kind;

const VICTIM: Addr = Addr::new([9, 9, 9, 9], 99);
/// IPv4 and UDP headers.
const BELOW: usize = 28;

/// A machine whose one stream expects its remote.
fn expecting() -> (Udx, StreamId) {
    let mut udx = Udx::new();
    let stream = at(Time::ZERO, |cx| {
        let stream = udx.open(cx, IDS[0]).expect("free");
        udx.expect(cx, stream, IDS[1]).expect("new");
        stream
    });
    (udx, stream)
}

/// What the machine sends until it has nothing to do any more, or for a minute; on the wire, in bytes.
fn all_that_leaves(udx: &mut Udx) -> usize {
    let (mut now, mut bytes) = (Time::ZERO, 0);
    loop {
        while let Some(Output::Send { to, bytes: packet, .. }) = at(now, |cx| udx.poll_output(cx)) {
            assert_eq!(to, VICTIM);
            bytes += packet.len() + BELOW;
        }
        while udx.poll_event().is_some() {}
        match udx.poll_timeout() {
            Some(deadline) if deadline.at < Time::ZERO + secs(60) => now = deadline.at,
            Some(_) | None => return bytes,
        }
        at(now, |cx| udx.handle_timeout(cx));
    }
}

/// Who writes another's address on a first packet gets that one three times what he sent himself, and some heartbeats.
#[test]
fn a_forged_first_packet_is_no_lever() {
    // proves udx.99
    for len in [0, 1, 28, 100, 500, 1152] {
        for kind in [Kind::DATA, Kind::STATE, Kind::HEARTBEAT, Kind::MESSAGE, Kind::SACK] {
            for seq in [0, 7] {
                let (mut udx, stream) = expecting();
                at(Time::ZERO, |cx| {
                    udx.write(cx, stream, &pattern(1 << 20, 1)).expect("open");
                    let forged = packet(kind, seq, 0, OPEN, &vec![0; len]);
                    udx.handle_input(cx, Input::Datagram { socket: SERVER, from: VICTIM, bytes: &forged });
                    let _ = udx.send(cx, stream, &[1; 1000]);
                    let _ = udx.end(cx, stream);
                });
                let sent = all_that_leaves(&mut udx);
                let paid = 20 + len + BELOW;
                let heartbeats = 9 * (20 + BELOW);
                assert!(sent <= 3 * paid + heartbeats, "{sent} bytes for {paid}, {kind:?}");
                assert!(sent > paid, "it does try: {kind:?}");
                assert!(udx.is_empty(), "and gives up: {kind:?} {len} {seq} {:?}", udx.stats(stream));
            }
        }
    }
}

/// Nor does it help to send many of them with gaps: the list of these is cut too.
#[test]
fn many_forged_packets_are_no_lever() {
    // proves udx.99
    let (mut udx, stream) = expecting();
    let (mut paid, mut sent) = (0, 0);
    at(Time::ZERO, |cx| {
        udx.write(cx, stream, &pattern(1 << 20, 1)).expect("open");
        for n in 1..500 {
            let forged = packet(Kind::DATA, 2 * n, 0, OPEN, b"");
            paid += forged.len() + BELOW;
            udx.handle_input(cx, Input::Datagram { socket: SERVER, from: VICTIM, bytes: &forged });
            while let Some(Output::Send { bytes, .. }) = udx.poll_output(cx) {
                sent += bytes.len() + BELOW;
            }
            assert!(sent <= 3 * paid, "{sent} bytes for {paid}");
        }
    });
    assert!(udx.stats(stream).expect("live").unproven);
}

/// An ack proves the address that it comes from, no other.
#[test]
fn only_the_address_itself_proves_itself() {
    // proves udx.99
    let (mut udx, stream) = expecting();
    at(Time::ZERO, |cx| {
        udx.write(cx, stream, &pattern(100_000, 1)).expect("open");
        let mut take = |udx: &mut Udx, from: Addr, kind: Kind, ack: u32| {
            let bytes = packet(kind, 0, ack, OPEN, b"");
            udx.handle_input(cx, Input::Datagram { socket: SERVER, from, bytes: &bytes });
            core::iter::from_fn(|| udx.poll_output(cx)).count()
        };
        let first = take(&mut udx, VICTIM, Kind::DATA, 0);
        assert_eq!(first, 1, "what it paid for, the ack in it");
        assert_eq!(take(&mut udx, address(1, CLIENT), Kind::STATE, 1), 0);
        assert!(udx.stats(stream).expect("live").unproven);
        let more = take(&mut udx, VICTIM, Kind::STATE, 0);
        assert!(udx.stats(stream).expect("live").unproven && more == 1, "an ack of nothing proves nothing");
        assert!(take(&mut udx, VICTIM, Kind::STATE, 2) >= 2);
        assert!(!udx.stats(stream).expect("live").unproven);
    });
}

/// Whatever is lost in the beginning, who answers is served.
#[test]
fn a_cautious_beginning_goes_on() {
    // proves udx.99
    for lost in 0..64_u32 {
        let mut world = World::expecting(1, Link::new(ms(10)));
        let mut count = 0;
        world.filter = Box::new(move |_, _| {
            count += 1;
            count > 6 || lost >> (count - 1) & 1 == 0
        });
        world.write(0, b"hi");
        let sent = pattern(200_000, 1);
        world.feed(1, &sent, true);
        world.feed(0, b"", true);
        world.run_to_close(secs(60));
        assert!(world.seen[0].data == sent && world.seen[1].data == b"hi", "lost {lost:b}");
        assert_eq!(world.seen[0].closed, Some(Why::Ended), "lost {lost:b}");
    }
}

/// Without loss the caution costs one round trip, for the ack that proves.
#[test]
fn a_cautious_beginning_costs_a_round_trip() {
    let time = |mut world: World| {
        world.write(0, &[0; 60]);
        world.feed(1, &pattern(20_000, 1), true);
        while !world.seen[0].ended {
            assert!(world.step(Time::ZERO + secs(5)));
        }
        world.now
    };
    let usual = time(World::connected(1, Link::new(ms(10))));
    let cautious = time(World::expecting(1, Link::new(ms(10))));
    assert!(cautious <= usual + ms(30), "{cautious:?}, not {usual:?}");
}

/// pitfalls 2.6: a peer makes us hold the window, whatever it sends: one byte a packet, in gaps, messages, all at once.
#[test]
fn nobody_makes_us_hold_more_than_the_window() {
    // proves udx.100
    for seed in 0..30 {
        let mut draw = Seeded::new(seed);
        let window = [2048, 1 << 14, 1 << 16, 1 << 20, limits::UDX_WINDOW_MAX][seed as usize % 5];
        let mut world = World::connected(seed, Link::new(ms(1)));
        world.command(0, |udx, cx, stream| {
            udx.set_window(cx, stream, window).expect("open");
            udx.set_reading(cx, stream, draw.chance(300)).expect("open");
        });
        let most = window + window / 6 + limits::DATAGRAM_MAX;
        let sizes = [1, 1, 40, 1452, 2000][draw.below(5) as usize];
        let spread = [2, 100, 20_000][draw.below(3) as usize];
        for n in 0..12_000_u64 {
            let kind = if draw.chance(200) { Kind::MESSAGE } else { Kind::DATA };
            let seq = if draw.chance(500) { 1 + 2 * n } else { 1 + draw.below(spread) };
            let seq = if draw.chance(1) { 0 } else { seq };
            world.inject(packet(kind, seq as u32, 0, OPEN, &vec![7; draw.below(sizes + 1) as usize]));
            let stream = world.udx[0].streams.get(world.streams[0]).expect("live");
            assert!(stream.recv.load() <= most, "{} of {most} bytes, seed {seed}", stream.recv.load());
        }
        let stats = world.udx[0].stats(world.streams[0]).expect("live");
        assert!(stats.refused > 0 || sizes == 1, "{stats:?}");
    }
}

/// Before anyone said where its packets should come from, a stream holds little.
#[test]
fn early_packets_are_few() {
    // proves udx.101
    let mut udx = Udx::new();
    let (mut acked, kept) = at(Time::ZERO, |cx| {
        let stream = udx.open(cx, IDS[0]).expect("free");
        for seq in 0..1000 {
            let bytes = packet(Kind::DATA, seq, 0, OPEN, &[seq as u8; 1000]);
            udx.handle_input(cx, Input::Datagram { socket: SERVER, from: address(1, SERVER), bytes: &bytes });
            let ahead = packet(Kind::DATA, seq + 200, 0, OPEN, &[7; 1]);
            udx.handle_input(cx, Input::Datagram { socket: SERVER, from: address(1, SERVER), bytes: &ahead });
            let held = udx.streams.get(stream).expect("live").recv.load();
            assert!(held <= limits::UDX_EARLY_MAX + limits::UDX_EARLY_MAX / 6 + limits::DATAGRAM_MAX);
        }
        let kept = udx.stats(stream).expect("live").held_bytes;
        udx.expect(cx, stream, IDS[1]).expect("new");
        let acks: Vec<u32> = core::iter::from_fn(|| udx.poll_output(cx))
            .map(|Output::Send { bytes, .. }| header(&bytes).ack)
            .collect();
        (acks, kept)
    });
    assert!(kept > limits::UDX_EARLY_MAX / 2, "what honest callers send first is kept");
    let acked = acked.pop().expect("an ack");
    assert!((30..100).contains(&acked), "only what was kept is acked: {acked}");
}

/// pitfalls 2.9: acks of what was never sent change nothing, and are counted; so are lists of it.
#[test]
fn acks_of_the_future_are_ignored() {
    // proves udx.18, udx.35 and udx.102
    let mut world = World::connected(1, Link::new(ms(1)));
    world.write(0, &pattern(5000, 1));
    assert_eq!(world.out().len(), 5);
    let before = world.udx[0].stats(world.streams[0]).expect("live");
    let mut draw = Seeded::new(3);
    for n in 1..=200 {
        let ahead = 6 + draw.below(0x7fff_0000) as u32;
        world.inject(packet(Kind::STATE, 0, ahead, 77, b""));
        assert_eq!(world.out().len(), 0);
        let stats = world.udx[0].stats(world.streams[0]).expect("live");
        assert_eq!((stats.bad_acks, stats.in_flight, stats.send_window), (n, 5, before.send_window));
    }
    for n in 1..=200 {
        let start = draw.below(0x7fff_0000) as u32;
        let block = [start.to_le_bytes(), (start.max(5) + 1 + draw.below(50) as u32).to_le_bytes()].concat();
        world.inject(packet(Kind::SACK, 0, 0, OPEN, &block));
        let stats = world.udx[0].stats(world.streams[0]).expect("live");
        assert_eq!((stats.bad_blocks, stats.in_flight), (n, 5));
    }
    assert_eq!(
        world.udx[0].stats(world.streams[0]).expect("live").congestion_window,
        before.congestion_window
    );
}

/// Who acks each packet before it can have arrived loses what he acked, and harms himself only.
#[test]
fn hasty_acks_lose_the_peers_own_data() {
    // proves udx.102
    let mut world = World::connected(1, Link::new(ms(50)));
    world.write(0, &pattern(1 << 20, 1));
    let (mut acked, mut most) = (0, 0);
    for _ in 0..2000 {
        for bytes in world.out() {
            if header(&bytes).kind.data {
                acked = header(&bytes).seq + 1;
            }
        }
        world.now += ms(1);
        world.inject(packet(Kind::STATE, 0, acked, OPEN, b""));
        most = most.max(world.udx[0].stats(world.streams[0]).expect("live").unacked_bytes);
        if world.udx[0].poll_timeout().is_some_and(|deadline| deadline.at <= world.now) {
            at(world.now, |cx| world.udx[0].handle_timeout(cx));
        }
    }
    let stats = world.udx[0].stats(world.streams[0]).expect("live");
    assert_eq!((stats.unsent_bytes, stats.unacked_bytes, stats.resends), (0, 0, 0));
    assert!(most <= OPEN as usize, "never more under way than the window that it told");
}

/// A forged DESTROY for a stream that expects: the first packet that names a stream speaks for its remote.
#[test]
fn a_first_packet_may_be_the_last() {
    let (mut udx, stream) = expecting();
    at(Time::ZERO, |cx| {
        let bytes = packet_to(IDS[0], Kind::DESTROY, 0, 0, OPEN, b"");
        udx.handle_input(cx, Input::Datagram { socket: SERVER, from: VICTIM, bytes: &bytes });
        let events: Vec<Event> = core::iter::from_fn(|| udx.poll_event()).collect();
        assert_eq!(events.last(), Some(&Event::Closed { stream, why: Why::Reset }));
        assert_eq!((udx.poll_output(cx), udx.is_empty()), (None, true), "nobody gets an answer");
    });
}

/// Packets that come to the stream's own socket from a third address are taken (udx.9), and earn nothing.
#[test]
fn strangers_on_the_right_socket_earn_nothing() {
    // proves udx.99
    let mut world = World::expecting(1, Link::new(ms(1)));
    world.streams.swap(0, 1);
    world.udx.swap(0, 1);
    let to_us = |bytes: Vec<u8>, from: Addr| Packet { side: 0, socket: SERVER, from, bytes };
    let mut forged = packet_to(IDS[1], Kind::DATA, 0, 0, OPEN, b"x");
    world.deliver(&to_us(forged.clone(), VICTIM));
    world.write(0, &pattern(50_000, 1));
    let first: usize = world.out().iter().map(|bytes| bytes.len() + BELOW).sum();
    assert!(first <= 3 * (forged.len() + BELOW));
    for seq in 1..100_u32 {
        forged[12..16].copy_from_slice(&seq.to_le_bytes());
        world.deliver(&to_us(forged.clone(), address(1, CLIENT)));
        assert!(world.out().is_empty());
    }
}
