//! What is wrong with the reference: it is put up with, and not copied.

use super::rules::{header, ms, secs};
use super::world::{IDS, Link, Packet, SERVER, World, address, pattern};
use crate::base::{Span, Time};
use crate::udx::Why;
use crate::wire::udx::{BLOCK_LEN, HEADER_LEN, Kind};

/// libudx spins when its keep-alive is set to zero while it is armed: heartbeats without end. Ours is off then; and
/// whoever floods us gets one answer a turn, and his data.
#[test]
fn a_side_that_spins() {
    // proves udx.108
    let mut world = World::connected(1, Link::new(ms(5)));
    for every in [Span::from_secs(1), Span::ZERO] {
        world.command(0, |udx, cx, stream| udx.set_keep_alive(cx, stream, Some(every))).expect("open");
    }
    world.run_for(secs(10));
    assert_eq!(world.packets, 0, "zero is off, also when it was armed");
    let beat = super::rules::packet(Kind::HEARTBEAT, 0, 0, super::rules::OPEN, b"");
    for turn in 0..50 {
        for _ in 0..100 {
            world.inject(beat.clone());
        }
        assert_eq!(world.out().len(), 1, "one answer for all of turn {turn}");
    }
    let sent = pattern(100_000, 1);
    world.feed(1, &sent, true);
    while !world.seen[0].ended {
        for _ in 0..3 {
            world.inject(beat.clone());
        }
        assert!(world.step(Time::ZERO + secs(30)));
    }
    assert!(world.seen[0].data == sent);
}

/// libudx at a9af5de looks for packets beyond a gap no further than it has packets: one behind a wide gap is not
/// reported. What it does not report is sent again, and all arrives.
#[test]
fn a_side_that_reports_too_little() {
    // proves udx.108
    for seed in 0..10 {
        let mut world = World::connected(seed, Link::new(ms(10)));
        world.links[0].loss_permille = 100;
        world.rewrite = Box::new(|packet: &mut Packet| {
            let said = header(&packet.bytes);
            if packet.side == 0 && said.kind.sack {
                let blocks = packet.bytes[HEADER_LEN..].chunks(BLOCK_LEN);
                let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let ends = |block: &[u8]| (number(block), number(&block[4..]));
                let held: u32 = blocks.clone().map(|block| ends(block).1 - ends(block).0).sum();
                let seen = blocks.take_while(|block| ends(block).0 - said.ack <= held).count();
                packet.bytes.truncate(HEADER_LEN + BLOCK_LEN * seen);
            }
        });
        let sent = pattern(400_000, seed);
        world.feed(0, &sent, true);
        world.feed(1, b"", true);
        world.run_to_close(secs(120));
        assert!(world.seen[1].data == sent && world.seen[0].closed == Some(Why::Ended), "seed {seed}");
    }
}

/// It also lets no probe of the path through, so that its packets never grow; ours do, and nothing depends on both.
#[test]
fn a_side_whose_packets_never_grow() {
    // proves udx.108
    let mut world = World::connected(1, Link::new(ms(10)));
    world.links[1].mtu = 1200; // the probes of the other side never arrive
    let sent = [pattern(600_000, 1), pattern(600_000, 2)];
    world.feed(0, &sent[0], false);
    world.feed(1, &sent[1], false);
    world.run_for(secs(20));
    assert!(world.seen[1].data == sent[0] && world.seen[0].data == sent[1]);
    let mtu = |side: usize| world.udx[side].stats(world.streams[side]).expect("live").mtu;
    assert!(mtu(0) > 1200 && mtu(1) == 1200);
}

/// udx-native forgets the last write when it counts what a flush waits for.
#[test]
fn a_flush_waits_for_the_last_write_too() {
    // proves udx.108
    let mut world = World::connected(1, Link::new(ms(10)));
    world.write(0, &pattern(3000, 1));
    world.command(0, |udx, cx, stream| udx.end(cx, stream)).expect("open");
    world.command(0, |udx, cx, stream| udx.flush(cx, stream)).expect("open");
    world.run_for(ms(19));
    assert_eq!((world.seen[0].flushed, world.seen[1].data.len()), (0, 3000));
    world.run_for(ms(1));
    assert_eq!(world.seen[0].flushed, 1);
    world.deliver(&Packet {
        side: 0,
        socket: SERVER,
        from: address(1, SERVER),
        bytes: super::rules::packet_to(IDS[0], Kind::STATE, 0, 3, 1 << 20, b""),
    });
    world.settle();
    assert_eq!(world.seen[0].flushed, 1, "once");
}
