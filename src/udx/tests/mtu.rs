//! How long packets become.

use std::collections::BTreeMap;

use super::rules::{header, ms, secs};
use super::world::{CLIENT, IDS, Link, Packet, World, address, pattern};
use crate::base::Time;
use crate::udx::{Stats, Why};

fn link(mtu: usize) -> Link {
    let mut link = Link::new(ms(5));
    link.mtu = mtu;
    link
}

fn stats(world: &World) -> Stats {
    world.udx[0].stats(world.streams[0]).expect("live")
}

/// A write of some packets in each of 60 round trips: each has a probe. Returns what was written.
fn rounds(world: &mut World) -> Vec<u8> {
    let mut sent = Vec::new();
    for round in 0..60 {
        let bytes = pattern(12_000, round);
        world.write(0, &bytes);
        world.run_for(ms(12));
        sent.extend(bytes);
    }
    world.run_for(ms(100));
    sent
}

/// Bytes of the IP packet.
fn size(packet: &Packet) -> usize {
    packet.bytes.len() + 28
}

fn padding(packet: &Packet) -> usize {
    usize::from(header(&packet.bytes).data_offset)
}

#[test]
fn packets_grow_to_what_the_path_takes() {
    // proves udx.95
    let mut world = World::connected(1, link(1500));
    let seen = world.watch();
    let sent = rounds(&mut world);
    assert!(world.seen[1].data == sent);
    let stats = stats(&world);
    assert_eq!((stats.mtu, stats.mtu_probes, stats.mtu_losses), (1500, 11, 0));
    let seen = seen.borrow();
    let of_data = || seen.iter().map(|(_, packet)| packet).filter(|packet| packet.side == 1);
    let padded: Vec<(usize, usize)> = of_data()
        .filter(|packet| padding(packet) > 0)
        .map(|packet| (size(packet), padding(packet)))
        .collect();
    let ladder: Vec<(usize, usize)> =
        (1..10).map(|step| (1200 + 32 * step, 32)).chain([(1500, 12)]).collect();
    assert_eq!(padded, ladder);
    // no other packet is longer than the last probe that had arrived by then
    let (mut known, mut last) = (1200, 1200);
    for packet in of_data() {
        if padding(packet) > 0 {
            (known, last) = (last, size(packet));
        }
        assert!(size(packet) <= known.max(last));
        assert!(padding(packet) == 0 || size(packet) - padding(packet) <= known);
    }
}

/// pitfalls 2.19: links of several sizes. A lost probe is no congestion.
#[test]
fn each_path_gets_its_size() {
    // proves udx.96
    for (mtu, found) in [(1200, 1200), (1231, 1200), (1232, 1232), (1350, 1328), (1499, 1488), (1500, 1500)] {
        let mut world = World::connected(1, link(mtu));
        let sent = rounds(&mut world);
        assert!(world.seen[1].data == sent);
        let stats = stats(&world);
        assert_eq!(
            (stats.mtu, stats.mtu_losses),
            (found, if found == 1500 { 0 } else { 3 }),
            "link of {mtu}"
        );
        assert_eq!((stats.recoveries, stats.timeouts), (0, 0), "link of {mtu}");
        assert_eq!(stats.resends, stats.mtu_losses, "only the probes came again");
    }
}

/// As libudx test/stream-write-read-and-drop-probes.c.
#[test]
fn lost_probes_come_again_without_padding() {
    // proves udx.96
    for seed in 0..20 {
        let mut world = World::connected(seed, link(1500));
        world.links[0].loss_permille = 100;
        let log = world.watch();
        let sent = pattern(300_000, 1);
        world.feed(0, &sent, true);
        world.feed(1, b"", true);
        world.run_to_close(secs(120));
        assert!(world.seen[1].data == sent);
        let mut payloads: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for (_, packet) in log.borrow().iter().filter(|(_, packet)| packet.side == 1) {
            let header = header(&packet.bytes);
            let payload = &packet.bytes[20 + padding(packet)..];
            if let Some(known) = payloads.get(&header.seq).filter(|_| header.kind.data) {
                assert_eq!((padding(packet), &known[..] == payload), (0, true), "sent again as it was");
            } else if header.kind.data {
                payloads.insert(header.seq, payload.to_vec());
            }
        }
        assert!(world.seen[0].closed == Some(Why::Ended) && payloads.len() > 200);
    }
}

/// No base, no stream: what is short goes through, what is not ends the stream, once and in time.
#[test]
fn a_path_below_the_base() {
    let mut world = World::connected(1, link(1100));
    world.write(0, b"short");
    world.run_for(secs(1));
    assert_eq!(world.seen[1].data, b"short");
    world.feed(0, &pattern(50_000, 1), true);
    world.run_for(secs(60));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
    assert_eq!(stats_of_probes(&world), None);
}

fn stats_of_probes(world: &World) -> Option<u64> {
    world.udx[0].stats(world.streams[0]).map(|stats| stats.mtu_probes)
}

/// pitfalls 2.19: a path that shrinks. Packets that were cut cannot be cut anew: the stream ends, the next one fits.
#[test]
fn a_path_that_shrinks() {
    let mut world = World::connected(1, link(1500));
    rounds(&mut world);
    assert_eq!(stats(&world).mtu, 1500);
    world.links[0].mtu = 1300;
    world.write(0, b"short ones still fit");
    world.run_for(secs(1));
    assert_eq!(stats(&world).unacked_bytes, 0);
    world.feed(0, &pattern(50_000, 1), true);
    world.run_for(secs(60));
    assert_eq!(world.seen[0].closed, Some(Why::TimedOut));
    let mut next = World::connected(2, link(1300));
    let sent = rounds(&mut next);
    assert_eq!((stats(&next).mtu, next.seen[1].data == sent), (1296, true));
}

#[test]
fn another_remote_is_another_path() {
    // proves udx.97
    let mut world = World::connected(1, link(1500));
    rounds(&mut world);
    assert_eq!(stats(&world).mtu, 1500);
    world.write(0, &pattern(100_000, 2));
    world.settle();
    let seen = world.watch();
    for side in 0..2 {
        let (to, remote) = (address(1 - side, CLIENT), IDS[1 - side]);
        world
            .command(side, |udx, cx, stream| udx.change_remote(cx, stream, CLIENT, remote, to))
            .expect("open");
    }
    assert_eq!(stats(&world).mtu, 1200);
    let probes = stats(&world).mtu_probes;
    while world.seen[0].connected.is_empty() {
        assert_eq!(stats(&world).mtu_probes, probes, "none while the change is pending");
        world.write(0, &pattern(2000, 3));
        assert!(world.step(Time::ZERO + secs(10)));
    }
    assert!(
        seen.borrow()
            .iter()
            .filter(|(_, packet)| packet.socket == CLIENT)
            .all(|(_, packet)| size(packet) <= 1200)
    );
    rounds(&mut world);
    assert_eq!((stats(&world).mtu, stats(&world).mtu_probes), (1500, probes + 11));
}

/// Small messages to and fro find nothing out, and need not.
#[test]
fn what_is_short_is_no_probe() {
    // proves udx.95
    let mut world = World::connected(1, link(1500));
    let seen = world.watch();
    for _ in 0..50 {
        world.write(0, &[7; 800]);
        world.run_for(ms(20));
    }
    assert!(seen.borrow().iter().all(|(_, packet)| padding(packet) == 0));
    world.write(0, &[7; 1000]);
    world.run_for(ms(20));
    assert_eq!((stats(&world).mtu_probes, stats(&world).mtu), (1, 1200), "152 bytes of padding");
    world.write(0, &[7; 929]);
    world.run_for(ms(20));
    assert_eq!(stats(&world).mtu, 1232, "255 bytes of padding");
    world.write(0, &[7; 961]);
    world.run_for(ms(20));
    assert_eq!(stats(&world).mtu, 1264);
}
