//! Two streams that relay to each other stand between two that do not know it, and the change to a path without them.

use seckel::base::{Entropy, Error, Seeded, Span};
use seckel::udx::Why;
use seckel::wire::udx::{HEADER_LEN, Kind};

use super::net::{Net, S0, S1, addr, ms, pattern, secs};

/// Follows libudx test/stream-relay.c and test/stream-relay-force-slow-path.c, and `relay` of udx-native
/// test/stream-relay.js: a megabyte through two legs that look at nothing.
#[test]
fn a_megabyte_through_a_relay() {
    let (mut net, [a, b, c, d]) = Net::chain();
    (net.rate, net.queue) = (5_000_000, 1 << 20);
    let mut data = pattern(1_000_000, 1);
    data[..5].copy_from_slice(b"hello");
    net.write(d, &data);
    net.flush(d);
    net.until("the ack", secs(30), |net| net.told(d).contains(&"flushed"));
    assert!(net.data(a) == data);
    // What leaves the relay is what came, but for the id of the stream it is for.
    let (came, left): (Vec<_>, Vec<_>) = (
        net.between(2, 1).map(|sent| &sent.bytes).collect(),
        net.between(1, 0).map(|sent| &sent.bytes).collect(),
    );
    assert!(left.len() > 800 && came.len() >= left.len());
    for (came, left) in came.iter().zip(&left) {
        assert_eq!((&came[..4], &came[8..], &left[4..8]), (&left[..4], &left[8..], &[1, 0, 0, 0][..]));
    }
    let stats = net.stats(b);
    assert_eq!((stats.relayed, stats.relay_lost), (left.len() as u64, 0));
    assert_eq!((net.told(b), net.told(c)), (&[""; 0][..], &[""; 0][..]), "a leg has nothing to tell");
    let said = net.sent.len();
    net.destroy(b);
    net.settle();
    assert_eq!(
        net.act(c, |udx, cx, id| udx.destroy(cx, id)),
        Err(Error::Gone),
        "it is closed by the other leg"
    );
    assert_eq!((net.closed(b), net.closed(c)), (Some(Why::Destroyed), Some(Why::Destroyed)));
    assert_eq!(net.sent.len(), said, "legs say no goodbye");
    for at in [a, d] {
        net.destroy(at);
    }
    net.until_closed(&[a, b, c, d], secs(1));
    net.assert_nothing_left();
}

/// Follows libudx test/stream-relay-firewall-source.c: what is relayed comes from the socket of the leg that faces
/// the reader, so that a reader which learns its remote from the first packet learns the right one.
#[test]
fn what_is_relayed_comes_from_the_socket_of_the_near_leg() {
    let mut net = Net::new(3);
    let [a, b, c, d] = [(0, 1), (1, 2), (1, 3), (2, 4)].map(|(host, local)| net.open(host, local));
    net.act(a, |udx, cx, id| udx.expect(cx, id, 2)).expect("new");
    net.relay(c, b);
    net.relay(b, c);
    net.connect(b, S0, 1, addr(0, S0));
    net.connect(c, S1, 4, addr(2, S0));
    net.connect(d, S0, 3, addr(1, S1));
    let data = pattern(100_000, 1);
    net.write(d, &data);
    net.flush(d);
    net.until("the first packet", secs(1), |net| net.told(a).contains(&"connected"));
    assert_eq!(
        net.udx[0].path(a.id),
        Some((2, S0, addr(1, S0))),
        "not the socket on which it came to the relay"
    );
    net.until("the ack", secs(30), |net| net.told(d).contains(&"flushed"));
    assert!(net.data(a) == data);
    assert!(net.between(1, 0).all(|sent| sent.from == addr(1, S0)));
    assert!(net.between(1, 2).all(|sent| sent.from == addr(1, S1)));
}

/// Follows `relay, destroy immediately` of udx-native test/stream-relay.js.
#[test]
fn a_relay_that_was_never_used_is_destroyed() {
    let (mut net, all @ [a, b, _, d]) = Net::chain();
    for at in [a, b, d] {
        net.destroy(at);
    }
    net.until_closed(&all, secs(1));
    let kinds: Vec<Kind> = net.sent.iter().map(|sent| sent.kind()).collect();
    assert_eq!(&kinds[..2], [Kind::DESTROY; 2], "of the two ends");
    assert!(all.iter().all(|at| net.closed(*at) == Some(Why::Destroyed)));
    net.assert_nothing_left();
}

/// Follows `relay, throw if stream is closed` of udx-native test/stream-relay.js.
#[test]
fn nothing_is_relayed_to_a_stream_that_is_gone() {
    let (mut net, a, b) = Net::pair();
    let c = net.open(0, 3);
    net.destroy(a);
    assert_eq!(net.act(c, |udx, cx, id| udx.relay_to(cx, id, a.id)), Err(Error::Gone));
    net.settle();
    assert_eq!(net.act(c, |udx, cx, id| udx.relay_to(cx, id, a.id)), Err(Error::Gone));
    net.write(c, b"still a stream of its own");
    net.until_closed(&[b], secs(1));
}

/// Follows libudx test/stream-change-remote.c: after a third of a megabyte both ends leave the relay for each other.
/// The reader has nothing in flight and has changed at once; the writer has when all that went through the relay is
/// acked, and the relay is destroyed.
#[test]
fn two_ends_leave_the_relay_in_the_middle() {
    let (mut net, [a, b, c, d]) = Net::chain();
    (net.rate, net.queue) = (2_000_000, 1 << 20);
    let data = pattern(1_000_000, 1);
    net.write(d, &data);
    net.until("a third", secs(10), |net| net.data(a).len() > data.len() / 3);
    let far = net.data(a).len();
    net.change(a, S0, 4, addr(2, S0));
    net.until("the change of the reader", ms(0), |net| net.told(a).contains(&"connected"));
    net.change(d, S0, 1, addr(0, S0));
    net.flush(d);
    net.until("the change of the writer", secs(10), |net| net.told(d).contains(&"connected"));
    assert!(!net.told(d).contains(&"flushed") && net.data(a).len() > far, "more is on its way by then");
    let relayed = net.stats(b).relayed;
    net.destroy(b);
    net.until("the ack", secs(10), |net| net.told(d).contains(&"flushed"));
    assert!(net.data(a) == data);
    assert_eq!((net.times(a, "connected"), net.times(d, "connected")), (1, 1));
    let direct = net.between(2, 0).filter(|sent| sent.kind().data).count() as u64;
    assert!(direct > 300 && relayed > 300, "{direct} {relayed}");
    assert_eq!((net.closed(b), net.closed(c)), (Some(Why::Destroyed), Some(Why::Destroyed)));
    net.end(a);
    net.end(d);
    net.until_closed(&[a, d], secs(1));
    assert_eq!((net.closed(a), net.closed(d)), (Some(Why::Ended), Some(Why::Ended)));
    net.assert_nothing_left();
}

/// Follows `relay, change remote` and `remote-changed emitted exactly once` of udx-native test/stream-relay.js.
#[test]
fn a_word_through_the_relay_and_one_without_it() {
    let (mut net, [a, b, _, d]) = Net::chain();
    net.write(d, b"hello world");
    net.until("the first word", secs(1), |net| net.data(a) == b"hello world");
    net.write(a, b"do change");
    net.until("the answer", secs(1), |net| net.data(d) == b"do change");
    net.run_for(ms(100));
    for (at, host, id) in [(a, 2, 4), (d, 0, 1)] {
        net.change(at, S0, id, addr(host, S0));
        net.until("the change", ms(0), |net| net.told(at).last() == Some(&"connected"));
    }
    net.destroy(b);
    let through = net.between(1, 0).count();
    net.write(d, b" remote changed");
    net.until("the second word", secs(1), |net| net.data(a) == b"hello world remote changed");
    net.run_for(secs(1));
    assert_eq!((net.times(a, "connected"), net.times(d, "connected")), (1, 1));
    assert_eq!(net.between(1, 0).count(), through, "nothing more came from the relay");
    let word = net.between(2, 0).next().expect("a packet without the relay");
    assert_eq!((&word.bytes[HEADER_LEN..], word.header().remote_id), (&b" remote changed"[..], 1));
}

/// Follows `relay, change remote and destroy stream` of udx-native test/stream-relay.js.
#[test]
fn all_are_destroyed_in_the_turn_of_the_change() {
    let (mut net, all @ [a, b, _, d]) = Net::chain();
    net.write(d, b"hello world");
    net.until("the word", secs(1), |net| net.data(a) == b"hello world");
    net.change(a, S0, 4, addr(2, S0));
    net.change(d, S0, 1, addr(0, S0));
    for at in [a, b, d] {
        net.destroy(at);
    }
    net.until_closed(&all, secs(1));
    assert_eq!(
        (net.told(a), net.told(d)),
        (&["data", "closed"][..], &["closed"][..]),
        "of no change any more"
    );
    let goodbyes: Vec<_> = net
        .sent
        .iter()
        .filter(|sent| sent.kind() == Kind::DESTROY)
        .map(|sent| (sent.from, sent.to))
        .collect();
    assert_eq!(goodbyes, [(addr(0, S0), addr(2, S0)), (addr(2, S0), addr(0, S0))], "the new way");
    net.assert_nothing_left();
}

/// Follows libudx test/stream-change-remote.c on lines of all kinds, with data both ways; the relay goes away when
/// both changes are complete, or as soon as both have begun, while packets that went through it are still unacked.
#[test]
fn the_way_from_a_relay_loses_nothing_on_any_line() {
    for seed in 0..60 {
        let mut draw = Seeded::new(seed);
        let (mut net, [a, b, c, d]) = Net::chain();
        net.entropy = Seeded::new(seed).fork("line");
        net.delay = Span::from_micros(100 + draw.below(50_000));
        net.jitter = Span::from_micros(draw.below(20_000));
        net.loss_permille = draw.below(100);
        let sent =
            [pattern(50_000 + draw.below(150_000) as usize, 1), pattern(draw.below(100_000) as usize, 2)];
        net.write(d, &sent[0]);
        net.write(a, &sent[1]);
        let far = draw.below(sent[0].len() as u64) as usize;
        net.until("some of it", secs(600), |net| net.data(a).len() >= far);
        net.change(a, S0, 4, addr(2, S0));
        net.run_for(Span::from_micros(draw.below(30_000)));
        net.change(d, S0, 1, addr(0, S0));
        if draw.chance(500) {
            let changed = |net: &Net| net.times(a, "connected") > 0 && net.times(d, "connected") > 0;
            net.until("both changes", secs(600), changed);
        }
        net.destroy(b);
        net.end(a);
        net.end(d);
        net.until_closed(&[a, b, c, d], secs(600));
        assert!(net.data(a) == sent[0] && net.data(d) == sent[1], "seed {seed}");
        for at in [a, d] {
            // A change that the last ack of all completes is not told any more: the stream has ended.
            assert!(net.times(at, "connected") <= 1, "seed {seed}: {:?}", net.told(at));
            assert_eq!(net.closed(at), Some(Why::Ended), "seed {seed}");
        }
        net.assert_nothing_left();
    }
}
