//! Streams that are destroyed or end.

use seckel::base::Machine;
use seckel::udx::Why;
use seckel::wire::udx::Kind;

use super::net::{Net, S0, addr, ms, packet, secs};

/// Follows libudx test/stream-destroy-before-connect.c, and `destroy unconnected stream` of udx-native
/// test/stream.js.
#[test]
fn a_stream_that_was_never_connected_is_destroyed_in_silence() {
    let mut net = Net::new(1);
    let a = net.open(0, 1);
    net.destroy(a);
    net.settle();
    assert_eq!((net.told(a), net.closed(a)), (&["closed"][..], Some(Why::Destroyed)));
    assert!(net.sent.is_empty(), "nobody is told");
    net.assert_nothing_left();
}

/// Follows libudx test/stream-destroy.c.
#[test]
fn a_connected_stream_says_goodbye_once() {
    let (mut net, a) = Net::against_story();
    net.destroy(a);
    net.run_for(secs(100));
    let said = net.headers(0, 1);
    assert_eq!(said.len(), 1, "one goodbye, which nobody has to ack");
    assert_eq!((said[0].kind, said[0].remote_id, said[0].seq, said[0].ack), (Kind::DESTROY, 2, 0, 0));
    assert_eq!((net.told(a), net.closed(a)), (&["closed"][..], Some(Why::Destroyed)));
    net.assert_nothing_left();
}

/// Follows libudx test/stream-destroy-slowpath.c: the write before it has not left, and never does.
#[test]
fn what_was_written_in_the_turn_of_the_goodbye_is_dropped() {
    let (mut net, a) = Net::against_story();
    net.write(a, b"hello");
    net.flush(a);
    net.destroy(a);
    net.run_for(secs(100));
    let kinds: Vec<Kind> = net.headers(0, 1).iter().map(|header| header.kind).collect();
    assert_eq!(kinds, [Kind::DESTROY]);
    assert_eq!(net.told(a), ["closed"], "a flush of what is dropped is never told");
    net.assert_nothing_left();
}

/// Follows `tiny echo stream` of udx-native test/stream.js.
#[test]
fn an_echo_and_both_ends() {
    let (mut net, a, b) = Net::pair();
    net.write(a, b"hello world");
    net.end(a);
    net.until("the end of a", secs(1), |net| net.told(b).contains(&"ended"));
    assert_eq!(net.data(b), b"hello world");
    let echo = [b"echo: ", net.data(b)].concat();
    net.write(b, &echo);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!(net.data(a), b"echo: hello world");
    for at in [a, b] {
        assert_eq!((net.told(at), net.closed(at)), (&["data", "ended", "closed"][..], Some(Why::Ended)));
    }
    // One packet each way carries data and end; each is acked, and nothing is sent twice. Who ended first says once
    // more that it has nothing left (udx.14).
    let kinds = |from, to| net.headers(from, to).iter().map(|header| header.kind).collect::<Vec<_>>();
    let last = Kind { data: true, end: true, ..Kind::STATE };
    assert_eq!((kinds(0, 1), kinds(1, 0)), (vec![last, Kind::STATE, Kind::STATE], vec![Kind::STATE, last]));
    net.assert_nothing_left();
}

/// Follows `end immediately` of udx-native test/stream.js.
#[test]
fn an_end_without_data_is_a_packet_of_its_own() {
    let (mut net, a, b) = Net::pair();
    net.end(a);
    net.until("the end of a", secs(1), |net| net.told(b).contains(&"ended"));
    assert_eq!(net.closed(a), None, "a half-closed stream lives");
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    for at in [a, b] {
        assert_eq!((net.told(at), net.data(at)), (&["ended", "closed"][..], &[][..]));
        assert_eq!(net.closed(at), Some(Why::Ended));
    }
    let end = Kind { end: true, ..Kind::STATE };
    assert_eq!((net.headers(0, 1)[0].kind, net.headers(0, 1)[0].seq), (end, 0));
    net.assert_nothing_left();
}

/// Follows `only one side writes` and `close socket on stream close` of udx-native test/stream.js.
#[test]
fn the_side_that_wrote_nothing_ends_too() {
    let (mut net, a, b) = Net::pair();
    net.write(a, b"hello world");
    net.end(a);
    net.run_for(secs(10));
    assert_eq!(
        (net.told(b), net.told(a)),
        (&["data", "ended"][..], &[][..]),
        "half-closed for as long as b likes"
    );
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.told(a), net.told(b)), (&["ended", "closed"][..], &["data", "ended", "closed"][..]));
    net.assert_nothing_left();
}

/// Follows `write empty buffer` of udx-native test/stream.js.
#[test]
fn an_empty_write_is_nothing() {
    let (mut net, a, b) = Net::pair();
    assert!(net.write(b, b""));
    net.settle();
    assert!(net.sent.is_empty());
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.told(a), net.told(b)), (&["ended", "closed"][..], &["ended", "closed"][..]));
    net.assert_nothing_left();
}

/// Follows `write string` of udx-native test/stream.js.
#[test]
fn both_end_at_once() {
    let (mut net, a, b) = Net::pair();
    net.end(a);
    net.write(b, b"hello world");
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.data(a), net.data(b)), (&b"hello world"[..], &b""[..]));
    assert_eq!((net.closed(a), net.closed(b)), (Some(Why::Ended), Some(Why::Ended)));
    assert_eq!(net.sent.len(), 4, "an end each, and an ack of it each");
    net.assert_nothing_left();
}

/// Follows `destroy streams and close socket in callback` of udx-native test/stream.js.
#[test]
fn both_are_destroyed_by_who_is_told_of_data() {
    let mut net = Net::new(1);
    let (a, b) = (net.open(0, 1), net.open(0, 2));
    net.connect(a, S0, 2, addr(0, S0));
    net.connect(b, S0, 1, addr(0, S0));
    net.write(b, b"hello");
    net.until("the data", secs(1), |net| net.data(a) == b"hello");
    net.destroy(a);
    net.destroy(b);
    assert_eq!(net.with(0, |udx, _| udx.local_ids().count()), 0, "the socket is free at once");
    net.settle();
    assert_eq!((net.told(a), net.told(b)), (&["data", "closed"][..], &["closed"][..]));
    assert_eq!((net.closed(a), net.closed(b)), (Some(Why::Destroyed), Some(Why::Destroyed)));
    net.assert_nothing_left();
}

/// Follows `destroy before fully connected` of udx-native test/stream.js: the goodbye comes first.
#[test]
fn a_goodbye_to_a_stream_that_only_expects_closes_it() {
    let mut net = Net::new(1);
    let (a, b) = (net.open(0, 1), net.open(0, 2));
    net.connect(a, S0, 2, addr(0, S0));
    net.act(b, |udx, cx, id| udx.expect(cx, id, 1)).expect("new");
    net.destroy(a);
    net.until_closed(&[b], ms(100));
    assert_eq!(net.closed(b), Some(Why::Reset));
    net.assert_nothing_left();
}

/// Follows `out of order reads but can destroy` of udx-native test/stream.js: what lies behind a gap is dropped.
#[test]
fn a_stream_with_a_gap_is_destroyed() {
    let (mut net, a, b) = Net::pair();
    net.filter = Box::new(|sent| sent.at.as_micros() > 0 || sent.header().seq != 0);
    net.write(a, &[b'a'; 1200]);
    net.write(a, &[b'b'; 1000]);
    net.until("what is behind the gap", ms(100), |net| net.stats(b).held_bytes > 0);
    assert_eq!(net.data(b), b"");
    net.destroy(a);
    net.destroy(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.told(a), net.told(b)), (&["closed"][..], &["closed"][..]), "not a byte of it is told");
    net.assert_nothing_left();
}

/// Follows `busy and idle events` and `no idle after close` of udx-native test/stream.js: here a socket has no such
/// events; whoever owns it asks which streams there are.
#[test]
fn an_id_is_free_again_when_its_stream_is_gone() {
    let mut net = Net::new(1);
    assert_eq!(net.udx[0].by_local(1), None);
    let a = net.open(0, 1);
    net.connect(a, S0, 2, addr(1, S0));
    assert_eq!((net.udx[0].by_local(1), net.udx[0].len()), (Some(a.id), 1));
    assert!(net.with(0, |udx, cx| udx.open(cx, 1)).is_err(), "the id is taken");
    net.destroy(a);
    net.settle();
    assert_eq!((net.udx[0].by_local(1), net.udx[0].len()), (None, 0));
    let again = net.open(0, 1);
    assert_ne!(again.id, a.id);
    net.connect(again, S0, 3, addr(1, S0));
    net.say(&packet(Kind::DATA, 1, super::net::OPEN, 0, 0, b"new"));
    assert_eq!((net.data(again), net.data(a)), (&b"new"[..], &b""[..]));
}

/// Follows `localHost, localFamily and localPort` of udx-native test/stream.js.
#[test]
fn a_stream_knows_its_path_once_it_has_one() {
    let mut net = Net::new(1);
    let a = net.open(0, 1);
    assert_eq!((net.udx[0].path(a.id), net.udx[0].local_id(a.id)), (None, Some(1)));
    net.connect(a, S0, 2, addr(1, S0));
    assert_eq!(net.udx[0].path(a.id), Some((2, S0, addr(1, S0))));
    assert_eq!(net.udx[0].poll_timeout(), None, "an idle stream has nothing to do");
    net.destroy(a);
    assert_eq!(net.udx[0].path(a.id), None);
}
