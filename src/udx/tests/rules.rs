//! One stream pair on a good link: the rules, and the pitfalls of others.

use std::cell::RefCell;
use std::rc::Rc;

use super::world::{CLIENT, IDS, Link, Packet, SERVER, World, address, at, pattern};
use crate::base::{Addr, Entropy, Error, Machine, Seeded, Span, Time, limits};
use crate::udx::{Event, Input, Output, Udx, Why};
use crate::wire;
use crate::wire::udx::{Header, Kind};

pub fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

pub fn secs(n: u64) -> Span {
    Span::from_secs(n)
}

fn pair(delay: Span) -> World {
    World::connected(1, Link::new(delay))
}

/// A packet of machine 1 for machine 0.
pub fn packet(kind: Kind, seq: u32, ack: u32, window: u32, payload: &[u8]) -> Vec<u8> {
    packet_to(IDS[0], kind, seq, ack, window, payload)
}

pub fn packet_to(remote_id: u32, kind: Kind, seq: u32, ack: u32, window: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind, data_offset: 0, remote_id, window, seq, ack };
    let mut bytes = wire::encode(&header);
    bytes.extend_from_slice(payload);
    bytes
}

pub fn header(bytes: &[u8]) -> Header {
    wire::decode(bytes).expect("a header")
}

impl World {
    /// Machine 0 gets a packet, now.
    pub fn inject(&mut self, bytes: Vec<u8>) {
        self.deliver(&Packet { side: 0, socket: SERVER, from: address(1, SERVER), bytes });
    }

    /// What machine 0 sends now.
    pub fn out(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(Output::Send { bytes, .. }) = at(self.now, |cx| self.udx[0].poll_output(cx)) {
            all.push(bytes);
        }
        all
    }

    fn next_event(&mut self) -> Option<Event> {
        self.udx[0].poll_event()
    }

    /// Notes every packet that leaves from now on.
    pub fn watch(&mut self) -> Rc<RefCell<Vec<(Time, Packet)>>> {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&seen);
        self.filter = Box::new(move |now, packet| {
            into.borrow_mut().push((now, packet.clone()));
            true
        });
        seen
    }
}

const DATA_END: Kind = Kind { data: true, end: true, ..Kind::STATE };
pub const OPEN: u32 = 4 << 20;

/// pitfalls 2.2: a ping-pong waits for nothing but the link.
#[test]
fn ping_pong_takes_a_round_trip() {
    // proves udx.54
    let mut world = pair(ms(10));
    for round in 1..=50 {
        world.write(0, b"ping");
        world.run_for(ms(10));
        assert_eq!(world.seen[1].data.len(), 4 * round);
        world.write(1, b"pong");
        world.run_for(ms(10));
        assert_eq!(world.seen[0].data.len(), 4 * round);
    }
    assert_eq!(world.now, Time::ZERO + secs(1));
}

/// pitfalls 2.1: nothing is released one packet a tick; the windows alone hold a sender back.
#[test]
fn bulk_fills_a_loopback_like_link() {
    let mut link = Link::new(Span::from_micros(30));
    link.rate = 300_000_000;
    link.queue = 200_000;
    let mut world = World::connected(1, link);
    let sent = pattern(24 << 20, 1);
    world.feed(0, &sent, true);
    while !world.seen[1].ended {
        assert!(world.step(Time::ZERO + secs(5)));
    }
    assert!(world.seen[1].data == sent);
    let rate = sent.len() as u64 / world.now.as_micros();
    assert!(rate >= 200, "{rate} MB/s, {:?}", world.udx[0].stats(world.streams[0]));
}

/// pitfalls 2.3: a slow link is slow, but goes on.
#[test]
fn eight_kilobits_a_second() {
    // proves udx.34
    let mut link = Link::new(ms(100));
    link.rate = 1000;
    let mut world = World::connected(1, link);
    let sent = pattern(30_000, 1);
    world.feed(0, &sent, true);
    world.feed(1, &[], true);
    world.run_to_close(secs(100));
    assert!(world.seen[1].data == sent);
    assert_eq!(world.seen[1].closed, Some(Why::Ended));
    // the line alone takes 32 s; its first packets wait longer than the first timeout, and are sent again
    assert!(world.now < Time::ZERO + secs(75), "{:?}", world.now);
}

/// pitfalls 2.4: the id is known before the reply that names it leaves, and what comes early is kept.
#[test]
fn the_first_packet_is_not_lost() {
    // proves udx.15 and udx.25
    let (mut client, mut server) = (Udx::new(), Udx::new());
    at(Time::ZERO, |cx| {
        let here = server.open(cx, IDS[1]).expect("free");
        let there = client.open(cx, IDS[0]).expect("free");
        client.connect(cx, there, CLIENT, IDS[1], address(1, SERVER)).expect("new");
        client.write(cx, there, b"early").expect("open");
        let Some(Output::Send { bytes, .. }) = client.poll_output(cx) else { panic!("a packet") };
        assert!(server.owns(&bytes));
        let from = address(0, CLIENT);
        server.handle_input(cx, Input::Datagram { socket: SERVER, from, bytes: &bytes });
        assert_eq!((server.poll_output(cx), server.poll_event()), (None, None));
        server.expect(cx, here, IDS[0]).expect("new");
        assert_eq!(server.poll_event(), Some(Event::Connected { stream: here, socket: SERVER, from }));
        assert_eq!(server.poll_event(), Some(Event::Data { stream: here, bytes: b"early".to_vec() }));
        let Some(Output::Send { socket, to, bytes, .. }) = server.poll_output(cx) else { panic!("an ack") };
        assert_eq!((socket, to), (SERVER, from));
        assert_eq!((header(&bytes).ack, header(&bytes).remote_id), (1, IDS[0]));
        assert_eq!(server.remote(here), Some((SERVER, from)));
    });
}

/// pitfalls 2.22: the hook comes before any change of state, and only a sound packet gets to it.
#[test]
fn only_a_sound_packet_connects() {
    // proves udx.3, udx.9 and udx.15
    let mut udx = Udx::new();
    at(Time::ZERO, |cx| {
        let stream = udx.open(cx, IDS[0]).expect("free");
        udx.expect(cx, stream, IDS[1]).expect("new");
        let mut bad = packet(Kind::DATA, 0, 0, OPEN, b"x");
        bad[3] = 9;
        let from = address(1, CLIENT);
        udx.handle_input(cx, Input::Datagram { socket: SERVER, from, bytes: &bad });
        assert_eq!((udx.poll_event(), udx.remote(stream)), (None, None));
        let good = packet(Kind::DATA, 0, 0, OPEN, b"x");
        udx.handle_input(cx, Input::Datagram { socket: CLIENT, from, bytes: &good });
        assert_eq!(udx.remote(stream), Some((CLIENT, from)));
        // another address on the same socket is taken, another socket is not
        let other = Addr::new([6, 6, 6, 6], 6);
        let next = packet(Kind::DATA, 1, 0, OPEN, b"y");
        udx.handle_input(cx, Input::Datagram { socket: SERVER, from, bytes: &next });
        assert_eq!(udx.stats(stream).expect("live").strangers, 1);
        udx.handle_input(cx, Input::Datagram { socket: CLIENT, from: other, bytes: &next });
        assert_eq!(udx.remote(stream), Some((CLIENT, from)));
        let events: Vec<Event> = core::iter::from_fn(|| udx.poll_event()).collect();
        assert_eq!(events[1], Event::Data { stream, bytes: b"xy".to_vec() });
    });
}

/// pitfalls 2.22: whoever is told of the connection may destroy the stream.
#[test]
fn a_stream_may_be_destroyed_when_it_connects() {
    let mut udx = Udx::new();
    at(Time::ZERO, |cx| {
        let stream = udx.open(cx, IDS[0]).expect("free");
        udx.expect(cx, stream, IDS[1]).expect("new");
        let bytes = packet(Kind::DATA, 0, 0, OPEN, b"x");
        udx.handle_input(cx, Input::Datagram { socket: SERVER, from: address(1, SERVER), bytes: &bytes });
        assert!(matches!(udx.poll_event(), Some(Event::Connected { .. })));
        udx.destroy(cx, stream).expect("live");
        assert_eq!(udx.poll_event(), Some(Event::Closed { stream, why: Why::Destroyed }));
        let Some(Output::Send { bytes, .. }) = udx.poll_output(cx) else { panic!("a goodbye") };
        assert_eq!(header(&bytes).kind, Kind::DESTROY);
        assert_eq!((udx.poll_output(cx), udx.poll_event(), udx.poll_timeout()), (None, None, None));
        assert!(udx.is_empty());
    });
}

/// pitfalls 2.5: acks leave in order.
#[test]
fn acks_never_go_back() {
    let mut world = pair(ms(5));
    let seen = world.watch();
    world.feed(0, &pattern(300_000, 1), true);
    world.feed(1, &pattern(300_000, 2), true);
    world.run_to_close(secs(10));
    for side in 0..2 {
        let acks: Vec<u32> = seen
            .borrow()
            .iter()
            .filter(|(_, packet)| packet.side == side)
            .map(|(_, packet)| header(&packet.bytes).ack)
            .collect();
        assert!(acks.len() > 50 && acks.is_sorted());
    }
}

/// pitfalls 2.6: the window follows the reader, and a paused one costs no more than the window.
#[test]
fn a_paused_reader_stops_the_sender() {
    // proves udx.12, udx.24 and udx.42
    let mut world = pair(ms(1));
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, false)).expect("open");
    let sent = pattern(20 << 20, 1);
    world.feed(0, &sent, true);
    world.run_for(secs(20));
    let stats = world.udx[1].stats(world.streams[1]).expect("live");
    assert!(stats.held_bytes <= limits::UDX_WINDOW_MAX + limits::DATAGRAM_MAX, "{stats:?}");
    assert!(stats.held_bytes > limits::UDX_WINDOW_MAX - 2 * limits::DATAGRAM_MAX);
    assert!(world.seen[1].data.is_empty());
    let sender = world.udx[0].stats(world.streams[0]).expect("live");
    assert_eq!((sender.send_window < 1200, sender.timeouts), (true, 0), "{sender:?}");
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, true)).expect("open");
    let resumed = world.now;
    while !world.seen[1].ended {
        assert!(world.step(resumed + secs(5)));
    }
    assert!(world.seen[1].data == sent);
    assert!(world.now < resumed + ms(500), "the window update did it, no probe");
}

/// pitfalls 2.7: a lost window update is repaired by a probe.
#[test]
fn a_lost_window_update_is_asked_for() {
    // proves udx.42
    let mut world = pair(ms(1));
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, false)).expect("open");
    world.command(1, |udx, cx, stream| udx.set_window(cx, stream, 1 << 16)).expect("open");
    let sent = pattern(200_000, 1);
    world.feed(0, &sent, true);
    world.run_for(secs(10));
    let dropped = Rc::new(RefCell::new(0));
    let count = Rc::clone(&dropped);
    world.filter = Box::new(move |_, packet| {
        let update = packet.side == 0 && header(&packet.bytes).window > 0 && *count.borrow() == 0;
        *count.borrow_mut() += u32::from(update);
        !update
    });
    let resumed = world.now;
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, true)).expect("open");
    while !world.seen[1].ended {
        assert!(world.step(resumed + secs(20)));
    }
    assert_eq!(*dropped.borrow(), 1);
    assert!(world.seen[1].data == sent);
}

#[test]
fn nobody_behind_a_closed_window_is_noticed() {
    // proves udx.43
    let mut world = pair(ms(1));
    world.inject(packet(Kind::DATA, 0, 0, 0, b"x"));
    world.links[1].cut = true;
    world.write(0, b"waits");
    world.run_for(secs(120));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
    assert!(world.now <= Time::ZERO + secs(120));
}

#[test]
fn somebody_behind_a_closed_window_is_waited_for() {
    let mut world = pair(ms(1));
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, false)).expect("open");
    world.command(1, |udx, cx, stream| udx.set_window(cx, stream, 4096)).expect("open");
    world.feed(0, &pattern(100_000, 1), true);
    world.run_for(secs(3600));
    assert_eq!((world.seen[0].closed, world.seen[1].closed), (None, None));
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, true)).expect("open");
    world.run_for(secs(60));
    assert!(world.seen[1].data == pattern(100_000, 1));
}

/// pitfalls 2.8: an old packet does not change the window.
#[test]
fn windows_are_taken_in_order() {
    // proves udx.11
    let mut world = pair(ms(1));
    let window = |world: &World| world.udx[0].stats(world.streams[0]).expect("live").send_window;
    world.write(0, b"one");
    world.out();
    world.write(0, b"two");
    world.out();
    world.inject(packet(Kind::STATE, 5, 2, 2000, b""));
    assert_eq!(window(&world), 2000);
    world.inject(packet(Kind::STATE, 5, 1, 7, b"")); // older ack
    world.inject(packet(Kind::STATE, 4, 2, 8, b"")); // older seq
    assert_eq!(window(&world), 2000);
    world.inject(packet(Kind::STATE, 5, 2, 0, b""));
    assert_eq!(window(&world), 0);
    world.inject(packet(Kind::STATE, 6, 2, 3000, b""));
    assert_eq!(window(&world), 3000);
}

/// pitfalls 2.9: acks and blocks are checked, and no packet costs much.
#[test]
fn no_header_does_harm() {
    // proves udx.5, udx.18 and udx.35
    for seed in 0..3000 {
        let mut draw = Seeded::new(seed);
        let mut world =
            World::connected_at(seed, Link::new(ms(1)), if seed % 2 == 0 { 0 } else { 0xffff_fffa });
        let near = |draw: &mut Seeded, base: u32| match draw.below(4) {
            0 => draw.u32(),
            _ => base.wrapping_add(draw.below(20) as u32).wrapping_sub(8),
        };
        world.write(0, &pattern(10_000, 1));
        world.out();
        let base = if seed % 2 == 0 { 0 } else { 0xffff_fffa };
        for _ in 0..20 {
            world.now += Span::from_micros(draw.below(3000));
            let kind = Kind {
                data: draw.chance(500),
                end: draw.chance(20),
                sack: draw.chance(700),
                message: draw.chance(50),
                destroy: draw.chance(2),
                heartbeat: draw.chance(50),
            };
            let (seq, ack) = (near(&mut draw, base), near(&mut draw, base));
            let mut body = Vec::new();
            for _ in 0..draw.below(40) {
                body.extend(near(&mut draw, base).to_le_bytes());
            }
            body.truncate(body.len().saturating_sub(draw.below(8) as usize));
            let mut bytes = packet(kind, seq, ack, draw.u32(), &body);
            bytes[3] = if draw.chance(500) { 0 } else { draw.u32() as u8 };
            world.inject(bytes);
            while world.next_event().is_some() {}
            for bytes in world.out() {
                assert!(bytes.len() <= 1500 - 28);
                wire::decode::<Header>(&bytes).expect("sound");
            }
            if let Some(stats) = world.udx[0].stats(world.streams[0]) {
                assert!(stats.in_flight <= 16 && stats.held_bytes <= limits::UDX_WINDOW_MAX + 2048);
            }
            if world.udx[0].poll_timeout().is_some_and(|deadline| deadline.at <= world.now) {
                at(world.now, |cx| world.udx[0].handle_timeout(cx));
            }
        }
    }
}

/// pitfalls 2.9: blocks that overlap or go back cost no second walk.
#[test]
fn blocks_that_go_back_are_ignored() {
    // proves udx.35
    let mut world = pair(ms(1));
    world.write(0, &pattern(10_000, 1));
    assert_eq!(world.out().len(), 9);
    let block = |start: u32, end: u32| [start.to_le_bytes(), end.to_le_bytes()].concat();
    let body = [block(2, 4), block(1, 3), block(5, 5), block(7, 6), block(5, 30), block(6, 7)].concat();
    world.inject(packet(Kind::SACK, 0, 0, OPEN, &body));
    let stats = world.udx[0].stats(world.streams[0]).expect("live");
    assert_eq!((stats.bad_acks, stats.bad_blocks), (0, 4));
    assert_eq!(stats.in_flight + stats.losses as usize, 9 - 3);
}

/// An ack that a later one overtook names what is acked by then: it is old, not wrong.
#[test]
fn blocks_of_an_ack_that_was_overtaken_are_not_counted() {
    // proves udx.102
    let mut world = pair(ms(1));
    world.write(0, &pattern(10_000, 1));
    assert_eq!(world.out().len(), 9);
    let block = |start: u32, end: u32| [start.to_le_bytes(), end.to_le_bytes()].concat();
    world.inject(packet(Kind::STATE, 0, 4, OPEN, b""));
    let (before, stream) = (world.udx[0].stats(world.streams[0]).expect("live"), world.streams[0]);
    for (start, end, bad) in [(1, 3, 0), (2, 4, 0), (3, 6, 0), (3, 2, 1), (2, 10, 2)] {
        world.inject(packet(Kind::SACK, 0, 0, OPEN, &block(start, end)));
        let stats = world.udx[0].stats(stream).expect("live");
        assert_eq!((stats.bad_blocks, stats.in_flight), (bad, before.in_flight), "{start} {end}");
    }
}

#[test]
fn blocks_may_stand_in_the_data_offset() {
    // proves udx.4
    let mut world = pair(ms(1));
    world.write(0, &pattern(5_000, 1));
    assert_eq!(world.out().len(), 5);
    world.now += ms(5);
    let kind = Kind { data: true, sack: true, ..Kind::STATE };
    let body = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"and data"].concat();
    let mut bytes = packet(kind, 0, 0, OPEN, &body);
    bytes[3] = 8;
    world.inject(bytes);
    let stream = world.streams[0];
    assert_eq!(world.next_event(), Some(Event::Data { stream, bytes: b"and data".to_vec() }));
    assert_eq!(world.udx[0].stats(stream).expect("live").in_flight, 3);
}

/// pitfalls 2.20: the data offset is skipped without SACK too, and never reaches past the packet.
#[test]
fn any_data_offset_is_survived() {
    // proves udx.3 and udx.6
    for offset in 0..=255_u8 {
        let mut world = pair(ms(1));
        let mut bytes = packet(Kind::DATA, 0, 0, OPEN, &[9; 100]);
        bytes[3] = offset;
        world.inject(bytes);
        let stream = world.streams[0];
        let expected = match offset {
            0..100 => Some(Event::Data { stream, bytes: vec![9; 100 - usize::from(offset)] }),
            _ => None,
        };
        assert_eq!(world.next_event(), expected);
        assert_eq!(world.out().len(), usize::from(offset <= 100), "{offset}: acked unless it was dropped");
    }
}

/// pitfalls 2.10: streams that begin just below 2^32.
#[test]
fn numbers_wrap_in_the_middle_of_a_stream() {
    // proves udx.8
    let mut world = World::connected_at(1, Link::new(ms(1)), 0xffff_fff0);
    let sent = [pattern(100_000, 1), pattern(50_000, 2)];
    world.feed(0, &sent[0], true);
    world.feed(1, &sent[1], true);
    world.run_to_close(secs(10));
    assert!(world.seen[1].data == sent[0] && world.seen[0].data == sent[1]);
    assert_eq!(world.seen[0].closed, Some(Why::Ended));
}

/// pitfalls 2.16: both sides end at once, in every order of packets; who closed first still answers.
#[test]
fn both_ends_at_once() {
    // proves udx.14 and udx.16
    for seed in 0..200 {
        let mut link = Link::new(ms(5));
        link.jitter = ms(20);
        link.loss_permille = if seed % 2 == 0 { 0 } else { 150 };
        let mut world = World::connected(seed, link);
        world.write(0, b"goodbye");
        world.write(1, b"farewell");
        for side in 0..2 {
            world.command(side, |udx, cx, stream| udx.end(cx, stream)).expect("open");
        }
        world.run_to_close(secs(39));
        for side in 0..2 {
            assert_eq!(world.seen[side].closed, Some(Why::Ended), "seed {seed}");
            assert!(world.seen[side].ended);
        }
        assert!(world.run_to_rest(secs(60)));
    }
}

/// pitfalls 2.17: after our end the other side may go on; if it vanishes, that is not ours to notice without traffic.
#[test]
fn half_closed_streams_work_on() {
    // proves udx.14
    let mut world = pair(ms(5));
    world.feed(0, b"all I had", true);
    world.run_for(secs(1));
    assert!(world.seen[1].ended);
    assert_eq!(world.command(0, |udx, cx, stream| udx.write(cx, stream, b"more")), Err(Error::NotOpen));
    assert_eq!(world.command(0, |udx, cx, stream| udx.end(cx, stream)), Err(Error::NotOpen));
    let answer = pattern(100_000, 3);
    world.feed(1, &answer, true);
    world.run_to_close(secs(5));
    assert!(world.seen[0].data == answer);
    assert_eq!((world.seen[0].closed, world.seen[1].closed), (Some(Why::Ended), Some(Why::Ended)));
}

/// pitfalls 2.17: the other side vanishes before it acks our end.
#[test]
fn an_end_that_nobody_acks_times_out() {
    let mut world = pair(ms(5));
    world.links[0].cut = true;
    world.feed(0, b"", true);
    world.run_for(secs(60));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
}

/// The other side got all, ended, and is gone; only its last ack was lost. The reference does not answer for a stream
/// that is gone, so nobody ever says so.
#[test]
fn the_last_ack_of_a_side_that_is_gone_is_lost() {
    // proves udx.46
    let mut world = pair(ms(5));
    world.feed(0, b"all of it", false);
    world.feed(1, b"and the answer", true);
    world.run_for(secs(1));
    assert!(world.seen[0].ended);
    world.links[1].cut = true;
    world.feed(0, b"", true);
    world.run_for(secs(60));
    assert_eq!(world.seen[0].closed, Some(Why::Ended));
    assert_eq!(world.seen[1].data, b"all of it");
}

/// Not so if data may have been lost with it.
#[test]
fn data_that_nobody_acked_is_not_taken_for_read() {
    let mut world = pair(ms(5));
    world.feed(1, b"the answer", true);
    world.run_for(secs(1));
    assert!(world.seen[0].ended);
    world.links[0].cut = true;
    world.feed(0, b"never seen", true);
    world.run_for(secs(60));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
}

/// pitfalls 2.18: writes of nothing, and an end without data.
#[test]
fn nothing_may_be_written() {
    // proves udx.13 and udx.28
    let mut world = pair(ms(5));
    let seen = world.watch();
    world.write(0, b"");
    world.run_for(secs(1));
    assert_eq!(seen.borrow().len(), 0);
    world.feed(0, b"", true);
    world.feed(1, b"", true);
    world.run_to_close(secs(1));
    assert_eq!(world.seen[0].closed, Some(Why::Ended));
    assert!(
        seen.borrow()
            .iter()
            .any(|(_, packet)| header(&packet.bytes).kind == Kind { end: true, ..Kind::STATE })
    );
}

/// pitfalls 2.19: packets fit a path of 1200 bytes.
#[test]
fn packets_fit_the_least_path() {
    // proves udx.19
    for mtu in [1200, 1350, 1500] {
        let mut link = Link::new(ms(5));
        link.mtu = mtu;
        let mut world = World::connected(1, link);
        let sent = pattern(100_000, 1);
        world.feed(0, &sent, true);
        world.run_for(secs(2));
        assert!(world.seen[1].data == sent && world.seen[1].ended);
    }
}

/// pitfalls 2.21: with nothing in flight the change is complete at once, with something when it is acked.
#[test]
fn the_remote_changes() {
    // proves udx.60, udx.61 and udx.62
    for packets in [0, 1, 30] {
        for lossy in [false, true] {
            let mut world = pair(ms(5));
            let sent = pattern(packets * 1152, 1);
            world.write(0, &sent);
            world.settle();
            if lossy {
                // the packets that are on their way on the old path are gone, and the acks for them too
                world.links[0].loss_permille = 300;
            }
            let seen = world.watch();
            world
                .command(0, |udx, cx, stream| {
                    udx.change_remote(cx, stream, CLIENT, IDS[1], address(1, CLIENT))
                })
                .expect("open");
            world
                .command(1, |udx, cx, stream| {
                    udx.change_remote(cx, stream, CLIENT, IDS[0], address(0, CLIENT))
                })
                .expect("open");
            world.settle();
            assert_eq!(world.seen[0].connected.len(), usize::from(packets == 0));
            world.write(0, b"after");
            world.run_for(secs(20));
            assert_eq!(world.seen[0].connected, [(CLIENT, address(1, CLIENT))]);
            assert!(world.seen[1].data == [&sent[..], b"after"].concat(), "{packets} {lossy}");
            for (_, packet) in seen.borrow().iter().filter(|(_, packet)| packet.side == 1) {
                let header = header(&packet.bytes);
                let old = header.kind.data && header.seq < 10.min(packets as u32);
                if !old && header.kind.data && packets <= 10 {
                    assert_eq!(packet.socket, CLIENT, "new data goes the new way");
                }
            }
        }
    }
}

/// pitfalls 2.26: ids come from the caller, and no two live streams share one.
#[test]
fn an_id_is_taken_once() {
    // proves udx.29
    let mut udx = Udx::new();
    at(Time::ZERO, |cx| {
        let first = udx.open(cx, 7).expect("free");
        assert_eq!(udx.open(cx, 7), Err(Error::Taken));
        udx.destroy(cx, first).expect("live");
        let second = udx.open(cx, 7).expect("free again");
        assert_ne!(first, second);
        assert_eq!(udx.write(cx, first, b"x"), Err(Error::Gone));
        assert_eq!(udx.poll_event(), Some(Event::Closed { stream: first, why: Why::Destroyed }));
        assert_eq!(udx.poll_event(), None);
        assert_eq!(udx.write(cx, second, b"x"), Ok(true));
    });
}

/// pitfalls 2.27: a forged DESTROY or END hits only with a number inside the window.
#[test]
fn guessed_numbers_end_nothing() {
    // proves udx.17
    let mut draw = Seeded::new(5);
    let mut world = pair(ms(1));
    for _ in 0..2000 {
        let far = (limits::UDX_AHEAD_MAX as u32 + 1).wrapping_add(draw.below(0xffff_0000) as u32);
        let kind = if draw.chance(500) { Kind::DESTROY } else { Kind { end: true, ..Kind::STATE } };
        world.inject(packet(kind, far, 0, OPEN, b""));
        assert_eq!(world.next_event(), None);
    }
    world.inject(packet(Kind::DESTROY, 3, 0, OPEN, b""));
    let stream = world.streams[0];
    assert_eq!(world.next_event(), Some(Event::Closed { stream, why: Why::Reset }));
}

/// pitfalls 2.28: an idle stream sends nothing.
#[test]
fn idle_streams_are_silent() {
    // proves udx.44
    let mut world = pair(ms(5));
    world.write(0, b"hello");
    world.run_for(secs(1));
    let seen = world.watch();
    world.run_for(secs(60));
    assert_eq!(seen.borrow().len(), 0);
    world.command(0, |udx, cx, stream| udx.set_keep_alive(cx, stream, Some(secs(10)))).expect("open");
    world.run_for(secs(60) + ms(100));
    let beats =
        seen.borrow().iter().filter(|(_, packet)| header(&packet.bytes).kind == Kind::HEARTBEAT).count();
    assert_eq!((beats, seen.borrow().len()), (6, 12), "each is answered");
    world.command(0, |udx, cx, stream| udx.set_keep_alive(cx, stream, Some(Span::ZERO))).expect("open");
    seen.borrow_mut().clear();
    world.run_for(secs(60));
    assert_eq!(seen.borrow().len(), 0);
}

/// pitfalls 2.29: a stream may be destroyed at any event.
#[test]
fn destroyed_at_any_event() {
    for nth in 0..40 {
        let mut world = World::connected(nth, Link::new(ms(3)));
        world.links[0].loss_permille = 100;
        world.feed(0, &pattern(500_000, 1), true);
        world.feed(1, &pattern(50_000, 2), true);
        world.command(0, |udx, cx, stream| udx.flush(cx, stream)).expect("open");
        let mut left = nth;
        'run: loop {
            while let Some(Output::Send { socket, to, bytes, .. }) =
                at(world.now, |cx| world.udx[0].poll_output(cx))
            {
                assert_eq!((socket, to), (SERVER, address(1, SERVER)));
                let packet = Packet { side: 1, socket: SERVER, from: address(0, SERVER), bytes };
                world.launch(0, packet);
                if left == 0 {
                    break 'run;
                }
                left -= 1;
            }
            if !world.step(Time::ZERO + secs(30)) {
                break;
            }
        }
        let destroyed = world.command(0, |udx, cx, stream| udx.destroy(cx, stream));
        world.run_to_close(secs(60));
        if destroyed.is_ok() {
            assert_eq!(world.seen[0].closed, Some(Why::Destroyed));
            assert_eq!(world.seen[1].closed, Some(Why::Reset));
        }
        assert!(world.run_to_rest(secs(60)), "nothing is left over");
        assert!(world.udx.iter().all(Udx::is_empty));
    }
}

/// pitfalls 2.30: what waits is dropped, and the end is told once.
#[test]
fn a_destroyed_stream_tells_nothing_but_its_end() {
    // proves udx.27
    let mut world = pair(ms(5));
    world.feed(0, &pattern(3 << 20, 1), false);
    world.command(0, |udx, cx, stream| udx.flush(cx, stream)).expect("open");
    world.run_for(ms(40));
    let drained = world.seen[0].drained;
    world.command(0, |udx, cx, stream| udx.destroy(cx, stream)).expect("open");
    let seen = world.watch();
    world.run_for(secs(1));
    assert_eq!((world.seen[0].flushed, world.seen[0].drained), (0, drained));
    assert_eq!(world.seen[0].closed, Some(Why::Destroyed));
    let sent: Vec<Kind> = seen
        .borrow()
        .iter()
        .filter(|(_, packet)| packet.side == 1)
        .map(|(_, packet)| header(&packet.bytes).kind)
        .collect();
    assert!(sent.iter().all(|kind| *kind == Kind::DESTROY), "{sent:?}");
}

#[test]
fn an_unconnected_stream_is_destroyed_silently() {
    // proves udx.27
    let mut udx = Udx::new();
    at(Time::ZERO, |cx| {
        let stream = udx.open(cx, 7).expect("free");
        udx.destroy(cx, stream).expect("live");
        assert_eq!(udx.poll_output(cx), None);
    });
}

#[test]
fn a_lost_destroy_is_told_again() {
    // proves udx.16
    let mut world = pair(ms(5));
    world.filter = Box::new(|_, packet| header(&packet.bytes).kind != Kind::DESTROY);
    world.command(0, |udx, cx, stream| udx.destroy(cx, stream)).expect("open");
    world.run_for(ms(100));
    assert_eq!(world.seen[1].closed, None);
    world.filter = Box::new(|_, _| true);
    world.write(1, b"anyone?");
    world.run_for(ms(100));
    assert_eq!(world.seen[1].closed, Some(Why::Reset));
}

#[test]
fn writers_wait_and_go_on() {
    // proves udx.55
    let mut world = pair(ms(5));
    let quarter = vec![0; 256 * 1024];
    assert_eq!(world.command(0, |udx, cx, stream| udx.write(cx, stream, &quarter[1..])), Ok(true));
    assert_eq!(world.command(0, |udx, cx, stream| udx.write(cx, stream, &[0])), Ok(false));
    world.run_for(secs(1));
    assert_eq!(world.seen[0].drained, 1);
    let huge = vec![0; limits::UDX_UNACKED_MAX + 1];
    assert_eq!(world.command(0, |udx, cx, stream| udx.write(cx, stream, &huge)), Err(Error::Full));
}

#[test]
fn a_flush_is_answered_when_all_is_acked() {
    let mut world = pair(ms(5));
    world.command(0, |udx, cx, stream| udx.flush(cx, stream)).expect("open");
    world.settle();
    assert_eq!(world.seen[0].flushed, 1, "nothing was written");
    world.write(0, &pattern(5000, 1));
    world.command(0, |udx, cx, stream| udx.flush(cx, stream)).expect("open");
    world.run_for(ms(9));
    assert_eq!(world.seen[0].flushed, 1);
    world.run_for(ms(1));
    assert_eq!(world.seen[0].flushed, 2);
}

#[test]
fn messages_are_sent_once_and_bounded() {
    // proves udx.26
    let mut world = pair(ms(5));
    world.command(0, |udx, cx, stream| udx.send(cx, stream, b"hello")).expect("open");
    world.command(0, |udx, cx, stream| udx.send(cx, stream, b"")).expect("open");
    let long = vec![0; 1153];
    let refused = world.command(0, |udx, cx, stream| udx.send(cx, stream, &long));
    assert!(matches!(refused, Err(Error::Invalid(_))));
    world.run_for(secs(1));
    assert_eq!(world.seen[1].messages, [&b"hello"[..], b""]);
    for _ in 0..limits::UDX_MESSAGES_MAX + 10 {
        world.inject(packet(Kind::MESSAGE, 0, 0, OPEN, b"m"));
    }
    let told = core::iter::from_fn(|| world.next_event()).count();
    assert_eq!(told, limits::UDX_MESSAGES_MAX);
    assert_eq!(world.udx[0].stats(world.streams[0]).expect("live").refused, 10);
}

#[test]
fn what_lies_too_far_ahead_is_not_kept() {
    // proves udx.22 and udx.23
    let mut world = pair(ms(1));
    world.command(0, |udx, cx, stream| udx.set_window(cx, stream, 3000)).expect("open");
    world.inject(packet(Kind::DATA, limits::UDX_AHEAD_MAX as u32 + 1, 0, OPEN, b"x"));
    world.inject(packet(Kind::DATA, 1, 0, OPEN, &[1; 1000]));
    world.inject(packet(Kind::DATA, 2, 0, OPEN, &[2; 1000]));
    world.inject(packet(Kind::DATA, 3, 0, OPEN, &[3; 1001]));
    let stats = world.udx[0].stats(world.streams[0]).expect("live");
    assert_eq!((stats.refused, stats.held_bytes), (2, 2000));
    // the packet that is missing is taken, though there is less room than it has
    world.inject(packet(Kind::DATA, 0, 0, OPEN, &[0; 1100]));
    assert_eq!(header(&world.out()[0]).ack, 3);
    let Some(Event::Data { bytes, .. }) = world.next_event() else { panic!("data") };
    assert_eq!(bytes.len(), 3100);
}

#[test]
fn data_and_end_out_of_order() {
    let mut world = pair(ms(1));
    world.inject(packet(DATA_END, 1, 0, OPEN, b"last"));
    world.inject(packet(Kind::DATA, 2, 0, OPEN, b"beyond the end"));
    assert_eq!(world.next_event(), None);
    world.inject(packet(Kind::DATA, 0, 0, OPEN, b"first "));
    let stream = world.streams[0];
    assert_eq!(world.next_event(), Some(Event::Data { stream, bytes: b"first last".to_vec() }));
    assert_eq!(world.next_event(), Some(Event::Ended { stream }));
    assert_eq!(world.next_event(), None);
}

#[test]
fn a_closed_stream_with_unread_bytes_can_be_dropped() {
    let mut world = pair(ms(1));
    world.command(1, |udx, cx, stream| udx.set_reading(cx, stream, false)).expect("open");
    world.feed(0, b"never read", true);
    world.feed(1, b"", true);
    world.run_for(secs(1));
    assert_eq!(world.seen[0].closed, Some(Why::Ended));
    assert_eq!(world.seen[1].closed, None, "the bytes are kept for the reader");
    world.command(1, |udx, cx, stream| udx.destroy(cx, stream)).expect("still there");
    world.settle();
    assert_eq!(world.seen[1].closed, Some(Why::Ended));
    assert!(world.udx[1].is_empty());
}

/// Thousands of idle streams cost their memory and nothing else.
#[test]
fn idle_streams_are_cheap() {
    assert!(size_of::<crate::udx::stream::Stream>() <= 2048, "{}", size_of::<crate::udx::stream::Stream>());
    let mut udx = Udx::new();
    at(Time::ZERO, |cx| {
        for local in 0..10_000 {
            let id = udx.open(cx, local).expect("free");
            udx.connect(cx, id, SERVER, local, address(1, SERVER)).expect("new");
        }
        assert_eq!((udx.poll_output(cx), udx.poll_event(), udx.poll_timeout()), (None, None, None));
        assert!(udx.ready.is_empty() && udx.telling.is_empty());
    });
}
