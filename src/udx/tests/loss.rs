//! Nothing is lost, whatever the links do.

use std::cell::RefCell;
use std::rc::Rc;

use super::rules::packet;
use super::world::{Link, World, pattern};
use crate::base::{Entropy, Seeded, Span, Time};
use crate::udx::{Phase, Stats, Why};
use crate::wire;
use crate::wire::udx::{HEADER_LEN, Header, Kind, Sack};

fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

/// Links of all kinds: every byte arrives in order, both sides close cleanly, and the memory bounds hold.
#[test]
fn all_bytes_arrive_over_any_link() {
    for seed in 0..300 {
        let mut draw = Seeded::new(seed).fork("options");
        let mut link = Link::new(Span::from_micros(draw.below(100_000)));
        link.jitter = Span::from_micros(draw.below(30_000));
        link.loss_permille = draw.below(250);
        link.copy_permille = draw.below(100);
        if draw.chance(400) {
            link.rate = 50_000 + draw.below(10_000_000);
            link.queue = 20_000 + draw.below(200_000) as usize;
        }
        let first = if draw.chance(300) { 0xffff_fff0 } else { 0 };
        let mut world = World::connected_at(seed, link.clone(), first);
        let sizes = [draw.below(400_000) as usize, draw.below(100_000) as usize];
        let sent = sizes.map(|size| pattern(size, seed));
        for (side, bytes) in sent.iter().enumerate() {
            world.feed(side, bytes, true);
        }
        world.run_to_close(Span::from_secs(3600));
        for side in 0..2 {
            let seen = &world.seen[side];
            let stats = world.udx[1 - side].stats(world.streams[1 - side]);
            assert!(
                seen.data == sent[1 - side],
                "seed {seed} {link:?}: {} of {}, {:?} {stats:?}",
                seen.data.len(),
                sent[1 - side].len(),
                seen.closed
            );
            assert!(seen.ended);
            assert_eq!(world.verdict, Ok(()));
            assert_eq!(seen.closed, Some(Why::Ended), "seed {seed} {link:?}");
        }
        assert!(world.run_to_rest(Span::from_secs(120)), "seed {seed}: timers left over");
        assert!(world.udx.iter().all(|udx| udx.is_empty()));
    }
}

/// More ranges than an ack has room for: what comes is named in the next ack, and the lowest are in each.
#[test]
fn what_comes_is_named_in_the_ack_that_follows() {
    // proves udx.21
    for seed in 0..20 {
        let mut draw = Seeded::new(seed);
        let mut world = World::connected(seed, Link::new(ms(1)));
        let mut left: Vec<u32> = (0..200).map(|n| 2 * n + 1).collect();
        let mut came = Vec::new();
        while !left.is_empty() {
            let at = if seed == 0 { 0 } else { draw.below(left.len() as u64) as usize };
            let seq = left.remove(at);
            came.push(seq);
            came.sort_unstable();
            world.inject(packet(Kind::DATA, seq, 0, 1 << 20, b"beyond a gap"));
            let out = world.out();
            let [ack] = &out[..] else { panic!("one ack: {}", out.len()) };
            let sack: Sack = wire::decode(Sack::whole(&ack[HEADER_LEN..])).expect("blocks");
            let starts: Vec<u32> = sack.blocks.iter().map(|block| block.start).collect();
            assert!(starts.is_sorted() && sack.blocks.iter().all(|block| block.end == block.start + 1));
            assert_eq!(starts.len(), came.len().min(49));
            assert!(starts.contains(&seq), "seed {seed}: {seq} in {starts:?}");
            let lowest = starts.len().min(9);
            assert_eq!(starts[..lowest], came[..lowest]);
        }
    }
}

/// The checker of what is read is shown to fail: udx has no checksum, so a byte that changes on the way is read.
#[test]
fn a_byte_that_changes_on_the_way_is_caught() {
    for planted in [false, true] {
        let mut world = World::connected(1, Link::new(ms(5)));
        let held = Rc::new(RefCell::new(None));
        let hold = Rc::clone(&held);
        world.filter = Box::new(move |_, packet| {
            let stop = planted && packet.bytes.len() > 1000 && hold.borrow().is_none();
            if stop {
                *hold.borrow_mut() = Some(packet.clone());
            }
            !stop
        });
        world.feed(0, &pattern(50_000, 1), true);
        world.settle();
        if let Some(mut packet) = held.borrow().clone() {
            packet.bytes[500] ^= 1;
            world.launch(0, packet);
        }
        world.run_for(Span::from_secs(10));
        assert_eq!(world.verdict.is_err(), planted);
    }
}

fn stats(world: &World) -> Stats {
    world.udx[0].stats(world.streams[0]).expect("live")
}

/// What machine 0 sends from now on, with its times; `lose(nth, header)` drops.
type Log = Rc<RefCell<Vec<(Time, Header)>>>;

fn log(world: &mut World, mut lose: impl FnMut(usize, &Header) -> bool + 'static) -> Log {
    let log: Log = Log::default();
    let into = Rc::clone(&log);
    world.filter = Box::new(move |now, packet| {
        if packet.side != 1 {
            return true;
        }
        let header: Header = wire::decode(&packet.bytes).expect("a header");
        into.borrow_mut().push((now, header));
        let nth = into.borrow().len() - 1;
        !lose(nth, &header)
    });
    log
}

/// Found by a world in which a tenth of all datagrams vanish: the first packet came through at the third try, counted
/// as a round trip of three seconds, and the next loss was noticed after fifteen.
#[test]
fn a_first_packet_that_was_lost_does_not_make_the_path_slow() {
    // proves udx.34
    for (lost, next_too) in [(1, true), (2, true), (3, true), (1, false), (2, false), (3, false)] {
        let mut world = World::connected(1, Link::new(ms(20)));
        let log = log(&mut world, move |nth, _| nth < lost || next_too && nth == lost + 1);
        world.write(0, b"one");
        world.run_for(Span::from_secs(8));
        assert_eq!(world.seen[1].data, b"one");
        assert_eq!(log.borrow().len(), lost + 1, "sent until it came through");
        let written = world.now;
        world.write(0, b"two");
        while world.seen[1].data != b"onetwo" {
            assert!(world.step(written + Span::from_secs(9)));
        }
        // A second, doubled for each timeout that no sample followed, eightfold at most.
        let patience = if next_too { Span::from_secs(1 << lost) + ms(100) } else { ms(20) };
        assert!(world.now.since(written) <= patience, "{lost}: {}", world.now.since(written));
        world.run_for(ms(100));
        let timeout = stats(&world).timeout;
        assert!(next_too || timeout == Span::from_secs(1), "the first sample stands for itself: {timeout}");
    }
}

/// A path that is slower than the first timeouts is found to be, and its packets are not sent again for ever.
#[test]
fn a_path_of_seconds_is_not_taken_for_a_fast_one() {
    // proves udx.34
    for millis in [600, 1100, 1600, 2500, 4500, 7100] {
        let mut world = World::connected(1, Link::new(ms(millis)));
        let log = log(&mut world, |_, _| false);
        for _ in 0..20 {
            world.write(0, b"ping");
            world.run_for(ms(2 * millis + 200));
        }
        assert_eq!(world.seen[1].data.len(), 80);
        let data = log.borrow().iter().filter(|(_, header)| header.kind.data).count();
        assert!(data < 20 + 9, "{millis}: {data} packets for 20");
    }
}

/// pitfalls 2.11: half a minute without a line is survived.
#[test]
fn a_blackout_of_thirty_seconds() {
    // proves udx.36
    for seed in 0..30 {
        let mut draw = Seeded::new(seed);
        let mut world = World::connected(seed, Link::new(Span::from_micros(draw.below(100_000))));
        let sent = pattern(2_000_000, seed);
        world.feed(0, &sent, true);
        world.run_for(ms(draw.below(200)));
        for link in &mut world.links {
            link.cut = true;
        }
        world.run_for(Span::from_secs(30));
        for link in &mut world.links {
            link.cut = false;
        }
        world.feed(1, &[], true);
        world.run_to_close(Span::from_secs(60));
        assert!(world.seen[1].data == sent, "seed {seed}");
        assert_eq!(world.seen[0].closed, Some(Why::Ended));
    }
}

/// Who asks hears of a stream on which a timeout passed, once each time that it begins, and sees what is acked.
#[test]
fn a_late_stream_is_told_once() {
    // proves hyperswarm.37
    let mut world = World::connected(3, Link::new(ms(10)));
    let late = |world: &mut World| world.command(0, |udx, _, _| udx.take_late());
    let acked = |world: &mut World| world.command(0, |udx, _, id| udx.acked(id)).expect("a stream");
    for round in 1..=3 {
        world.write(0, b"ping");
        world.run_for(Span::from_secs(2));
        assert_eq!((late(&mut world), acked(&mut world)), (None, round * 12 - 8), "in time");
        world.links[0].cut = true;
        world.write(0, b"pingping");
        world.run_for(ms(900));
        assert_eq!(late(&mut world), None);
        world.run_for(ms(500)); // its probes put the timeout off a little
        let id = world.command(0, |_, _, id| id);
        assert_eq!((late(&mut world), late(&mut world)), (Some(id), None));
        world.run_for(Span::from_secs(5));
        assert_eq!((late(&mut world), acked(&mut world)), (None, round * 12 - 8), "known already");
        world.links[0].cut = false;
        world.run_for(Span::from_secs(20));
        assert_eq!(acked(&mut world), round * 12);
    }
    world.links[0].cut = true;
    world.write(0, b"ping");
    world.run_for(ms(1500));
    world.command(0, |udx, cx, id| udx.destroy(cx, id)).expect("a stream");
    assert_eq!(late(&mut world), None, "one that is gone is not told");
}

/// pitfalls 2.11: no line any more ends in a timeout, once; each round resends one packet.
#[test]
fn a_blackout_for_good() {
    // proves udx.36 and udx.51
    let mut world = World::connected(1, Link::new(ms(10)));
    world.write(0, b"hello");
    world.run_for(Span::from_secs(1));
    let began = world.now;
    let log = log(&mut world, |_, _| true);
    world.write(0, &pattern(50_000, 1));
    world.run_for(Span::from_secs(100));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
    let mut resent: Vec<u64> = log.borrow().iter().map(|(at, _)| at.since(began).as_millis()).collect();
    resent.retain(|millis| *millis > 1); // what leaves at first, at its pace
    // two probes of the tail, then the first packet at each timeout
    let probes: Vec<u64> = resent.drain(..2).collect();
    assert_eq!(probes, [42, 42 + 84]);
    resent.dedup();
    let gaps: Vec<u64> = resent.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(gaps, [2000, 4000, 8000, 8000, 8000], "{resent:?}");
    assert!(world.run_to_rest(Span::from_secs(1)));
}

/// pitfalls 2.12: the clock jumps an hour with packets in flight.
#[test]
fn an_hour_of_sleep() {
    let mut world = World::connected(1, Link::new(ms(20)));
    let sent = pattern(3_000_000, 1);
    world.feed(0, &sent, true);
    world.run_for(ms(150));
    world.now += Span::from_secs(3600);
    let woke = world.now;
    while !world.seen[1].ended {
        assert!(world.step(woke + Span::from_secs(20)), "{:?}", stats(&world));
    }
    assert!(world.seen[1].data == sent);
}

/// pitfalls 2.13: the loss of the last packet alone is repaired by a probe, long before a timeout.
#[test]
fn a_lost_tail_is_probed() {
    // proves udx.40 and udx.41
    for tail in 0..3 {
        let mut world = World::connected(1, Link::new(ms(10)));
        world.write(0, b"warm up");
        world.run_for(Span::from_secs(1));
        let began = world.now;
        // of 5 packets the last ones are lost once
        let log = log(&mut world, move |nth, _| (4 - tail..5).contains(&nth));
        let sent = pattern(5000, 1);
        world.write(0, &sent);
        while world.seen[1].data.len() < 5007 {
            assert!(world.step(began + Span::from_secs(5)));
        }
        assert!(world.now < began + ms(100), "{tail}: {:?}", world.now.since(began));
        let resent: Vec<u32> = log.borrow().iter().skip(5).map(|(_, header)| header.seq).collect();
        assert_eq!(resent[0], 5, "the last packet is the probe");
        assert_eq!(resent.len(), 1 + tail, "{resent:?}");
        world.run_for(Span::from_secs(5));
        assert_eq!((stats(&world).timeouts, stats(&world).probes), (0, 1));
    }
}

/// pitfalls 2.13: nothing is probed that was not sent, and a stream at rest probes nothing.
#[test]
fn no_probe_without_need() {
    let mut world = World::connected(1, Link::new(ms(10)));
    for _ in 0..20 {
        world.write(0, b"now and then");
        world.run_for(ms(500));
    }
    assert_eq!((stats(&world).probes, stats(&world).resends, stats(&world).packets_out), (0, 0, 20));
}

/// pitfalls 2.15: every n-th packet never leaves.
#[test]
fn every_nth_send_fails() {
    for nth in 3..10 {
        let mut world = World::connected(nth, Link::new(ms(3)));
        let sent = pattern(500_000, nth);
        let mut count = 0;
        world.filter = Box::new(move |_, _| {
            count += 1;
            count % nth != 0
        });
        world.feed(0, &sent, true);
        world.feed(1, &sent, true);
        world.run_to_close(Span::from_secs(300));
        assert!(world.seen[0].data == sent && world.seen[1].data == sent, "{nth}");
        assert_eq!(world.seen[0].closed, Some(Why::Ended));
    }
}

#[test]
fn one_loss_is_one_resend() {
    // proves udx.37, udx.38 and udx.39
    let mut world = World::connected(1, Link::new(ms(10)));
    let began = world.now;
    let log = log(&mut world, |nth, _| nth == 2);
    let sent = pattern(11_520, 1);
    world.write(0, &sent);
    while world.seen[1].data != sent {
        assert!(world.step(began + ms(60)));
    }
    world.run_for(Span::from_secs(2));
    let seqs: Vec<u32> = log.borrow().iter().map(|(_, header)| header.seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2]);
    let stats = stats(&world);
    assert_eq!((stats.losses, stats.recoveries, stats.spurious, stats.timeouts), (1, 1, 0, 0));
}

#[test]
fn a_resend_that_is_lost_too_is_noticed() {
    // proves udx.37
    let mut world = World::connected(1, Link::new(ms(10)));
    let log = log(&mut world, |nth, header| header.seq == 2 && nth < 20);
    let sent = pattern(300_000, 1);
    world.write(0, &sent);
    while world.seen[1].data != sent {
        assert!(world.step(Time::ZERO + ms(500)));
    }
    assert!(log.borrow().iter().filter(|(_, header)| header.seq == 2).count() >= 3);
    assert_eq!(stats(&world).timeouts, 0);
}

/// Packets overtake each other: after the first time they are waited for, and the window is as before.
#[test]
fn reordering_is_not_loss() {
    // proves udx.37 and udx.45
    let mut link = Link::new(ms(20));
    link.jitter = ms(4);
    let mut world = World::connected(1, link);
    let sent = pattern(4 << 20, 1);
    world.feed(0, &sent, true);
    while !world.seen[1].ended {
        assert!(world.step(Time::ZERO + Span::from_secs(30)));
    }
    let stats = stats(&world);
    assert!(world.seen[1].data == sent);
    assert!(stats.resends < 40, "{stats:?}");
    assert!(stats.congestion_window > 500, "{stats:?}");
    assert!(world.now < Time::ZERO + Span::from_secs(2), "{:?}", world.now);
}

/// The path is known from before: what is written after a rest leaves at its pace, not in a heap.
#[test]
fn after_a_rest_a_stream_goes_on_at_the_pace_it_knows() {
    // proves udx.84
    let mut link = Link::new(ms(10));
    link.rate = 1_000_000;
    let mut world = World::connected(1, link);
    world.feed(0, &pattern(3_000_000, 1), false);
    world.run_for(Span::from_secs(10));
    let known = stats(&world);
    assert_eq!((known.phase, known.unacked_bytes), (Phase::ProbeBandwidth, 0));
    assert!((900_000..1_050_000).contains(&known.bandwidth), "{known:?}");
    let log = log(&mut world, |_, _| false);
    world.feed(0, &pattern(100_000, 1), false);
    world.run_for(ms(20));
    // a burst of 10, then 16 a round trip
    let left = log.borrow().len();
    assert!((20..=30).contains(&left), "{left}");
}

/// A path with random loss and one with a short queue: neither collapses.
#[test]
fn goodput_on_bad_lines() {
    let run = |seed, link: Link, size: usize| {
        let mut world = World::connected(seed, link);
        let sent = pattern(size, seed);
        world.feed(0, &sent, true);
        while !world.seen[1].ended {
            assert!(world.step(Time::ZERO + Span::from_secs(600)), "{:?}", stats(&world));
        }
        assert!(world.seen[1].data == sent);
        (size as u64 * 1000 / world.now.as_millis(), stats(&world))
    };
    let mut link = Link::new(ms(20));
    link.rate = 1_000_000;
    link.queue = 20_000; // half of what the path holds
    let (rate, stats) = run(1, link, 10_000_000);
    assert!(rate > 700_000, "short queue: {rate} B/s {stats:?}");
    let mut link = Link::new(ms(10));
    link.loss_permille = 10;
    let (rate, stats) = run(2, link, 5_000_000);
    assert!(rate > 400_000, "one in a hundred lost: {rate} B/s {stats:?}");
    let mut link = Link::new(ms(10));
    link.loss_permille = 200;
    let (rate, stats) = run(3, link, 500_000);
    assert!(rate > 20_000, "one in five lost: {rate} B/s {stats:?}");
}
