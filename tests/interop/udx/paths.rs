//! Paths with the real package: who connects whom, changes of the remote, relays, the size of packets.

use serde_json::json;

use seckel::base::{Addr, SocketId};
use seckel::udx::{Event, StreamId, Why};

use super::closing::{destroy, pair};
use super::{Digest, Judge, Real, bind, lossy};
use crate::support::skipped;

/// Node's firewall hook is asked at our first packet, and connects its stream to where that came from.
#[test]
fn our_first_packet_connects_node() {
    if skipped("udx::paths::our_first_packet_connects_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    judge.ask(&mut real, json!({"op": "stream", "id": 2, "echo": true, "expect": 1}));
    let id = real.stream(1, 2, port);
    real.write(id, b"hello");
    real.until("the echo", |real| real.data.get(&id).is_some_and(|data| data == b"hello"));
    let asked = judge.wait(&mut real, "firewall", 2);
    assert_eq!(asked["port"].as_u64(), Some(u64::from(real.port())));
    real.end(id);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    judge.wait(&mut real, "close", 2);
}

/// Much waits for Node's first packet, which is as small as a packet can be: what a stranger gets before it has proved
/// where it is must not keep it from proving that.
#[test]
fn a_word_of_node_opens_the_way_for_much() {
    if skipped("udx::paths::a_word_of_node_opens_the_way_for_much") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let id = real.with(|udx, cx| udx.open(cx, 1)).expect("free");
    real.with(|udx, cx| udx.expect(cx, id, 2)).expect("new");
    let total = 200_000;
    let bytes: Vec<u8> = (0..total).step_by(4).flat_map(|word| (word as u32).to_le_bytes()).collect();
    real.write(id, &bytes);
    judge.stream(&mut real, 2, 1, json!({"hash": true}));
    judge.ask(&mut real, json!({"op": "message", "id": 2, "hex": ""}));
    real.until_event(&Event::Message { stream: id, bytes: Vec::new() });
    real.end(id);
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    assert_eq!(real.udx.stats(id).map(|stats| (stats.timeouts, stats.unproven)), Some((0, false)));
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
}

/// Both ways at once, with the hash of the pattern, until both have ended.
fn both_ways(
    real: &mut Real,
    judge: &mut Judge,
    id: StreamId,
    mut in_the_middle: impl FnMut(&mut Real, &mut Judge),
) {
    let total = 1 << 20;
    real.digest = Some(Digest::default());
    real.bulk_open(id, total / 2);
    real.until("a part", |real| real.udx.stats(id).expect("live").packets_out > 50);
    in_the_middle(real, judge);
    let rest: Vec<u8> = (total / 2..total).step_by(4).flat_map(|word| (word as u32).to_le_bytes()).collect();
    real.write(id, &rest);
    real.end(id);
    judge.ask(real, json!({"op": "bulk", "id": 2, "total": total}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    let end = judge.wait(real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (total, false));
    judge.wait(real, "close", 2);
}

/// We leave for another socket; Node goes on to send to the old one.
#[test]
fn we_change_and_node_does_not() {
    if skipped("udx::paths::we_change_and_node_does_not") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({"hash": true}));
    real.sockets.push(bind());
    let to = Addr::loopback(judge.port);
    both_ways(&mut real, &mut judge, id, |real, _| {
        real.with(|udx, cx| udx.change_remote(cx, id, SocketId::CLIENT, 2, to)).expect("connected");
    });
    let changed = Event::Connected { stream: id, socket: SocketId::CLIENT, from: to };
    assert_eq!(real.events.iter().filter(|event| **event == changed).count(), 1, "{:?}", real.events);
}

/// Node leaves for another socket; we go on to send to the old one.
#[test]
fn node_changes_and_we_do_not() {
    if skipped("udx::paths::node_changes_and_we_do_not") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({"hash": true}));
    let (old, port) = (judge.port, real.port());
    both_ways(&mut real, &mut judge, id, |real, judge| {
        let new = judge.nth_port(real, 1);
        assert_ne!(new, old);
        judge.ask(real, json!({"op": "change", "id": 2, "socket": 1, "remote": 1, "port": port}));
        assert_eq!(
            real.udx.remote(id),
            Some((SocketId::SERVER, Addr::loopback(old))),
            "we do not follow by ourselves"
        );
    });
}

/// Two streams of Node that know nothing of each other, and two of ours that relay between them: 10 to 20, 30 to 40.
fn our_relay(real: &mut Real, judge: &mut Judge) -> [StreamId; 2] {
    let port = judge.port;
    let far = judge.nth_port(real, 1);
    let legs = [20, 30].map(|local| real.with(|udx, cx| udx.open(cx, local)).expect("free"));
    real.with(|udx, cx| {
        udx.relay_to(cx, legs[0], legs[1]).expect("unused");
        udx.relay_to(cx, legs[1], legs[0]).expect("unused");
        udx.connect(cx, legs[0], SocketId::SERVER, 10, Addr::loopback(port)).expect("new");
        udx.connect(cx, legs[1], SocketId::CLIENT, 40, Addr::loopback(far)).expect("new");
    });
    judge.stream(real, 10, 20, json!({"hash": true}));
    judge.ask(real, json!({"op": "stream", "id": 40, "hash": true}));
    let port = real.sockets[1].local_addr().expect("bound").port();
    judge.ask(real, json!({"op": "connect", "id": 40, "remote": 30, "port": port, "socket": 1}));
    legs
}

#[test]
fn node_to_node_through_our_relay() {
    if skipped("udx::paths::node_to_node_through_our_relay") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.sockets.push(bind());
    let legs = our_relay(&mut real, &mut judge);
    let total = 1 << 20;
    for id in [10, 40] {
        judge.ask(&mut real, json!({"op": "bulk", "id": id, "total": total}));
    }
    for id in [10, 40] {
        let end = judge.wait(&mut real, "end", id);
        assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total), &json!(true)));
        judge.wait(&mut real, "close", id);
    }
    assert!(real.events.is_empty(), "the relay has nothing to tell: {:?}", real.events);
    let stats = legs.map(|leg| real.udx.stats(leg).expect("live"));
    assert_eq!((stats[0].relayed, stats[1].relayed), (stats[1].packets_in, stats[0].packets_in));
    assert_eq!((stats[0].relay_lost, stats[1].relay_lost), (0, 0));
    destroy(&mut real, legs[0]);
    real.until("both legs", |real| real.udx.is_empty());
}

/// A goodbye of Node goes through our relay, closes it, and reaches the other stream of Node.
#[test]
fn nodes_goodbye_goes_through_our_relay() {
    if skipped("udx::paths::nodes_goodbye_goes_through_our_relay") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.sockets.push(bind());
    let legs = our_relay(&mut real, &mut judge);
    judge.ask(&mut real, json!({"op": "destroy", "id": 40}));
    assert_eq!(judge.wait(&mut real, "error", 10)["code"], "ECONNRESET");
    real.until("both legs", |real| real.udx.is_empty());
    let why = |leg: StreamId| {
        real.events.iter().find_map(|event| match event {
            Event::Closed { stream, why } if *stream == leg => Some(*why),
            _ => None,
        })
    };
    assert_eq!((why(legs[1]), why(legs[0])), (Some(Why::Reset), Some(Why::Destroyed)));
}

/// Two of ours through Node's `relayTo`; then both leave it for each other, and Node's legs are destroyed.
#[test]
fn ours_to_ours_through_nodes_relay_and_without_it() {
    if skipped("udx::paths::ours_to_ours_through_nodes_relay_and_without_it") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.sockets.push(bind());
    let (near, far) = (judge.port, judge.nth_port(&mut real, 1));
    let [ours, other] = [real.port(), real.sockets[1].local_addr().expect("bound").port()];
    for (id, remote, socket, port) in [(2, 1, 0, ours), (3, 4, 1, other)] {
        judge.ask(&mut real, json!({"op": "stream", "id": id}));
        judge.ask(
            &mut real,
            json!({"op": "connect", "id": id, "remote": remote, "port": port, "socket": socket}),
        );
    }
    judge.ask(&mut real, json!({"op": "relay", "id": 2, "to": 3}));
    judge.ask(&mut real, json!({"op": "relay", "id": 3, "to": 2}));
    let a = real.stream(1, 2, near);
    let d = real.with(|udx, cx| {
        let id = udx.open(cx, 4).expect("free");
        udx.connect(cx, id, SocketId::CLIENT, 3, Addr::loopback(far)).expect("new");
        id
    });
    let sent: Vec<u8> = (0..400_000_u32).map(|n| ((n * 7) >> 5) as u8).collect();
    real.write(d, &sent[..200_000]);
    real.write(a, b"and back");
    real.until("a part", |real| real.data.get(&a).is_some_and(|data| data.len() > 50_000));
    real.with(|udx, cx| {
        udx.change_remote(cx, a, SocketId::SERVER, 4, Addr::loopback(other)).expect("connected");
        udx.change_remote(cx, d, SocketId::CLIENT, 1, Addr::loopback(ours)).expect("connected");
    });
    real.write(d, &sent[200_000..]);
    real.until_event(&Event::Connected { stream: a, socket: SocketId::SERVER, from: Addr::loopback(other) });
    real.until_event(&Event::Connected { stream: d, socket: SocketId::CLIENT, from: Addr::loopback(ours) });
    for id in [2, 3] {
        judge.ask(&mut real, json!({"op": "destroy", "id": id}));
        judge.wait(&mut real, "close", id);
    }
    real.until("all of it", |real| real.data[&a].len() == sent.len());
    assert!(real.data[&a] == sent);
    assert_eq!(real.data[&d], b"and back");
    real.end(a);
    real.end(d);
    real.until("both ends", |real| real.udx.is_empty());
    let closed =
        real.events.iter().filter(|event| matches!(event, Event::Closed { why: Why::Ended, .. })).count();
    assert_eq!(closed, 2, "{:?}", real.events);
}

/// Each side finds out that the path takes 1500 bytes, by packets that the other reads as ever.
#[test]
fn either_finds_out_how_long_packets_may_be() {
    if skipped("udx::paths::either_finds_out_how_long_packets_may_be") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({"hash": true}));
    assert_eq!(real.udx.stats(id).expect("live").mtu, 1200);
    // One size a round trip: as many rounds as it takes, and no more than a line with losses would need.
    const ROUND: usize = 64 << 10;
    real.digest = Some(Digest::default());
    let (mut ours, mut nodes) = (0, 0);
    for total in (0..200).map(|round| round * ROUND) {
        ours = real.udx.stats(id).expect("live").mtu;
        nodes = judge.ask(&mut real, json!({"op": "stats", "id": 2}))["mtu"].as_u64().expect("a number");
        if (ours, nodes) == (1500, 1500) {
            break;
        }
        let piece: Vec<u8> =
            (total..total + ROUND).step_by(4).flat_map(|word| (word as u32).to_le_bytes()).collect();
        real.write(id, &piece);
        judge.ask(&mut real, json!({"op": "piece", "id": 2, "from": total, "len": ROUND}));
        real.with(|udx, cx| udx.flush(cx, id)).expect("open");
        real.until("all of Node's", |real| {
            real.digest.as_ref().is_some_and(|digest| digest.bytes == total + ROUND)
                && real.udx.stats(id).expect("live").unacked_bytes == 0
        });
    }
    assert_eq!((ours, nodes), (1500, 1500));
    assert!(real.padded >= 9, "{} steps from 1232 to 1500", real.padded);
    let total = real.digest.as_ref().map_or(0, |digest| digest.bytes);
    real.end(id);
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (total, false));
}

/// The relay loses packets; the ends, which are Node's, repair that between them.
#[test]
fn our_relay_on_a_lossy_path() {
    if skipped("udx::paths::our_relay_on_a_lossy_path") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.sockets.push(bind());
    let legs = our_relay(&mut real, &mut judge);
    real.lose = lossy(3, 20);
    let total = 1 << 20;
    judge.ask(&mut real, json!({"op": "bulk", "id": 40, "total": total}));
    let end = judge.wait(&mut real, "end", 10);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total), &json!(true)));
    assert!(judge.ask(&mut real, json!({"op": "stats", "id": 40}))["retransmits"].as_u64() > Some(5));
    destroy(&mut real, legs[1]);
}
