//! The first packets of streams, messages, keep-alive.

use seckel::base::Error;
use seckel::udx::Why;
use seckel::wire::udx::Kind;

use super::net::{FULL, Net, OPEN, S0, S1, addr, ms, packet, secs};

/// Follows libudx test/stream-preconnect.c: packets come first, then the stream is connected.
#[test]
fn what_came_before_the_connect_is_told_and_acked_after_it() {
    let mut net = Net::new(2);
    let (a, b) = (net.open(0, 1), net.open(1, 2));
    net.connect(b, S0, 1, addr(0, S0));
    net.write(b, b"hello");
    net.flush(b);
    net.run_for(ms(500));
    assert_eq!((net.told(a), net.headers(0, 1).len()), (&[][..], 0), "no ack before there is a remote");
    net.connect(a, S0, 2, addr(1, S0));
    net.until("the ack", ms(100), |net| net.told(b) == ["flushed"]);
    assert_eq!(net.data(a), b"hello");
    let acks: Vec<(Kind, u32)> = net.headers(0, 1).iter().map(|header| (header.kind, header.ack)).collect();
    assert_eq!(acks, [(Kind::STATE, 1)]);
    assert_eq!(net.stats(b).resends, 0);
}

/// Follows libudx test/stream-preconnect-same-socket.c: both streams are of one machine, on one socket.
#[test]
fn the_same_on_one_socket() {
    let mut net = Net::new(1);
    let (a, b) = (net.open(0, 1), net.open(0, 2));
    net.connect(b, S0, 1, addr(0, S0));
    net.write(b, b"hello");
    net.flush(b);
    net.run_for(ms(50));
    assert_eq!(net.told(a), [""; 0]);
    net.connect(a, S0, 2, addr(0, S0));
    net.until("the ack", ms(100), |net| net.told(b) == ["flushed"]);
    assert_eq!((net.data(a), net.stats(b).resends), (&b"hello"[..], 0));
}

/// Follows `preconnect flow` of udx-native test/stream.js: the first packet says where the other side is, once.
#[test]
fn the_first_packet_connects_once() {
    let mut net = Net::new(2);
    let (a, b) = (net.open(0, 1), net.open(1, 2));
    net.act(a, |udx, cx, id| udx.expect(cx, id, 2)).expect("new");
    net.connect(b, S1, 1, addr(0, S1));
    net.write(b, b"hello");
    net.end(b);
    net.until("the data", secs(1), |net| net.told(a).contains(&"ended"));
    assert_eq!(net.told(a), ["connected", "data", "ended"]);
    assert_eq!(net.udx[0].path(a.id), Some((2, S1, addr(1, S1))), "on the socket on which it came");
    net.end(a);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.data(a), net.times(a, "connected")), (&b"hello"[..], 1));
    assert!(net.between(0, 1).all(|sent| sent.from == addr(0, S1)));
    net.assert_nothing_left();
}

/// The same with much that waits for the first packet, which is as small as a packet can be. Follows `preconnect
/// flow` of udx-native test/stream.js, and what hyperdht's servers do.
#[test]
fn the_smallest_first_packet_opens_the_way_for_much() {
    let mut net = Net::new(2);
    let (a, b) = (net.open(0, 1), net.open(1, 2));
    net.act(a, |udx, cx, id| udx.expect(cx, id, 2)).expect("new");
    let data = super::net::pattern(200_000, 1);
    net.write(a, &data);
    net.connect(b, S0, 1, addr(0, S0));
    net.send(b, b"").expect("connected");
    net.until("all of it", secs(2), |net| net.data(b).len() == data.len());
    assert!(net.data(b) == data);
    let stats = net.stats(a);
    assert_eq!((stats.timeouts, stats.unproven, net.told(a)), (0, false, &["connected", "message"][..]));
}

/// Follows `emit connect` of udx-native test/stream.js: a connect needs no packet.
#[test]
fn a_connect_sends_nothing() {
    let mut net = Net::new(2);
    let a = net.open(0, 1);
    net.connect(a, S0, 2, addr(1, S0));
    net.run_for(secs(100));
    assert!(net.sent.is_empty());
    let again = net.act(a, |udx, cx, id| udx.connect(cx, id, S0, 3, addr(1, S0)));
    assert!(matches!(again, Err(Error::Refused(_))), "once only");
}

/// Follows `write to unconnected stream` of udx-native test/stream.js, which throws there: here it waits.
#[test]
fn a_write_before_the_connect_waits_for_it() {
    let mut net = Net::new(2);
    let (a, b) = (net.open(0, 1), net.open(1, 2));
    net.connect(b, S0, 1, addr(0, S0));
    net.write(a, b"early");
    net.run_for(secs(10));
    assert!(net.sent.is_empty());
    net.connect(a, S0, 2, addr(1, S0));
    net.until("the data", ms(11), |net| net.data(b) == b"early");
}

/// Follows libudx test/stream-send-recv.c.
#[test]
fn a_message_comes_as_it_was_sent() {
    let (mut net, a, b) = Net::pair();
    net.send(b, b"hello").expect("connected");
    net.run_for(secs(10));
    assert_eq!((net.told(a), net.messages(a)), (&["message"][..], &[b"hello".to_vec()][..]));
    let headers = net.headers(1, 0);
    assert_eq!((headers.len(), headers[0].kind, headers[0].seq), (1, Kind::MESSAGE, 0));
    assert!(net.headers(0, 1).is_empty(), "a message is not acked");
    // It took no number: data begins with the same.
    net.write(b, b"data");
    net.until("the data", ms(11), |net| net.data(a) == b"data");
    assert_eq!(net.headers(1, 0)[1].seq, 0);
}

/// Follows `unordered messages` and `try send unordered messages` of udx-native test/stream.js.
#[test]
fn messages_are_echoed_in_any_order_and_the_goodbye_is_told() {
    let (mut net, a, b) = Net::pair();
    net.jitter = ms(5);
    for text in ["a", "bc", "d"] {
        net.send(a, text.as_bytes()).expect("connected");
    }
    let mut echoed = 0;
    while net.messages(a).len() < 3 {
        net.until("a message", secs(1), |net| net.messages(b).len() > echoed || net.messages(a).len() == 3);
        while let Some(message) = net.messages(b).get(echoed) {
            let echo = [b"echo: ", &message[..]].concat();
            net.send(b, &echo).expect("connected");
            echoed += 1;
        }
    }
    let mut all = net.messages(a).to_vec();
    all.sort();
    assert_eq!(all, [&b"echo: a"[..], b"echo: bc", b"echo: d"]);
    net.destroy(b);
    net.until_closed(&[a], secs(1));
    assert_eq!(net.closed(a), Some(Why::Reset));
}

/// As long as a packet, and no longer; and never before there is a remote. Follows `send` of udx-native's README and
/// libudx test/stream-send-recv.c.
#[test]
fn a_message_has_the_size_of_a_packet() {
    let (mut net, a, b) = Net::pair();
    let most = net.stats(a).mtu - 48;
    assert!(most >= FULL);
    net.send(a, &vec![7; most]).expect("it fits");
    assert!(matches!(net.send(a, &vec![7; most + 1]), Err(Error::Invalid(_))));
    net.run_for(secs(1));
    assert_eq!(net.messages(b), [vec![7; most]]);
    let unconnected = net.open(0, 9);
    assert!(matches!(net.send(unconnected, b"early"), Err(Error::NotOpen)));
}

/// Follows libudx test/socket-send-recv.c: four in a row, two of them with hops of their own, and each with its own.
#[test]
fn messages_with_hops_of_their_own() {
    let (mut net, a, b) = Net::pair();
    let all = [("one", 0), ("two", 10), ("three", 20), ("four", 0)];
    for (text, hops) in all {
        net.act(b, |udx, cx, id| udx.send_hops(cx, id, text.as_bytes(), hops)).expect("connected");
    }
    net.write(b, b"data");
    net.run_for(secs(1));
    let hops: Vec<_> = net.between(1, 0).map(|sent| sent.hops).collect();
    assert_eq!(hops, [None, Some(10), Some(20), None, None], "what comes after is as usual");
    assert_eq!(net.messages(a), all.map(|(text, _)| text.as_bytes().to_vec()));
}

/// Follows libudx test/stream-keepalive.c: half a second at rest, a heartbeat each 10 ms.
#[test]
fn a_stream_at_rest_is_kept_alive() {
    let (mut net, a, b) = Net::pair();
    net.delay = ms(1);
    net.act(a, |udx, cx, id| udx.set_keep_alive(cx, id, Some(ms(10)))).expect("open");
    net.run_for(ms(500));
    assert_eq!((net.stats(a).packets_out, net.stats(b).packets_out), (50, 49), "the last is on its way");
    assert!(net.headers(0, 1).iter().all(|header| header.kind == Kind::HEARTBEAT));
    assert!(net.headers(1, 0).iter().all(|header| (header.kind, header.ack) == (Kind::STATE, 0)));
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.closed(a), net.closed(b)), (Some(Why::Ended), Some(Why::Ended)));
    net.assert_nothing_left();
}

/// What the reference does not survive: zero is off, not a heartbeat at every moment. Follows `setKeepAlive` of
/// udx-native and libudx test/stream-keepalive.c.
#[test]
fn a_keep_alive_of_zero_is_none() {
    let (mut net, a, _) = Net::pair();
    net.act(a, |udx, cx, id| udx.set_keep_alive(cx, id, Some(ms(10)))).expect("open");
    net.run_for(ms(15));
    let before = net.sent.len();
    assert!(before > 0);
    net.act(a, |udx, cx, id| udx.set_keep_alive(cx, id, Some(ms(0)))).expect("open");
    net.run_for(ms(20)); // the answers to those that are on their way
    let before = net.sent.len();
    net.run_for(secs(3600));
    assert_eq!(net.sent.len(), before);
}

/// Follows `throw in data callback` and `throw in message callback` of udx-native test/stream.js as far as there are
/// no callbacks here: whoever is told may do anything to the stream, and what it is not told yet is gone then.
#[test]
fn who_is_told_of_a_message_may_destroy_the_stream() {
    let (mut net, a) = Net::against_story();
    net.put(addr(1, S0), addr(0, S0), &packet(Kind::MESSAGE, 1, OPEN, 0, 0, b"boom"));
    net.put(addr(1, S0), addr(0, S0), &packet(Kind::DATA, 1, OPEN, 0, 0, b"never"));
    net.until("the message", ms(1), |net| net.told(a) == ["message"]);
    net.destroy(a);
    net.settle();
    assert_eq!((net.told(a), net.data(a)), (&["message", "closed"][..], &b""[..]));
}
