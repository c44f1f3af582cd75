//! Data: small writes, much data, many streams, packets that are lost or overtake each other.

use seckel::udx::Why;
use seckel::wire::udx::Kind;

use super::net::{At, FULL, Net, S0, SocketId, addr, ms, pattern, secs};

/// Writes as the stream takes it, until all is written; then ends if it is to.
fn feed(net: &mut Net, at: At, bytes: &[u8], end: bool) {
    for piece in bytes.chunks(64 * 1024) {
        if !net.write(at, piece) {
            let before = net.times(at, "drained");
            net.until("room", secs(600), |net| net.times(at, "drained") > before);
        }
    }
    if end {
        net.end(at);
    }
}

/// Follows libudx test/stream-write-read.c.
#[test]
fn five_bytes_and_both_ends() {
    let (mut net, a, b) = Net::pair();
    assert!(net.write(b, b"hello"));
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.data(a), net.told(a)), (&b"hello"[..], &["data", "ended", "closed"][..]));
    assert_eq!((net.data(b), net.told(b)), (&b""[..], &["ended", "closed"][..]));
    for at in [a, b] {
        let stats = net.stats(at);
        assert_eq!(
            (net.closed(at), stats.bad_acks + stats.bad_blocks, stats.resends, stats.duplicates),
            (Some(Why::Ended), 0, 0, 0)
        );
    }
    net.assert_nothing_left();
}

/// Follows libudx test/stream-write-read-multiple.c: two writes of a turn are one packet, each is acked.
#[test]
fn two_writes_are_acked_each() {
    let (mut net, a, b) = Net::pair();
    assert!(net.write(b, b"hello"));
    net.flush(b);
    assert!(net.write(b, b"hello"));
    net.flush(b);
    net.until("the ack", secs(1), |net| net.told(b).contains(&"flushed"));
    assert_eq!((net.data(a), net.headers(1, 0).len(), net.headers(0, 1).len()), (&b"hellohello"[..], 1, 1));
}

/// Follows `stream flush` of udx-native test/stream.js.
#[test]
fn a_flush_is_told_when_all_before_it_was_read() {
    let (mut net, a, b) = Net::pair();
    for text in ["hello", " ", "world"] {
        net.write(a, text.as_bytes());
    }
    net.flush(a);
    net.until("the flush", ms(100), |net| net.told(a) == ["flushed"]);
    assert_eq!((net.data(b), net.now.as_millis()), (&b"hello world"[..], 20), "one round trip");
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
}

/// Follows libudx test/stream-combined-write.c: small writes of a turn share packets, which are full.
#[test]
fn small_writes_share_packets() {
    let (mut net, a, b) = Net::pair();
    let data = pattern(64 * 60, 1);
    for piece in data.chunks(60) {
        assert!(net.write(a, piece));
    }
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
    assert!(net.data(b) == data);
    let lens: Vec<usize> =
        net.between(0, 1).filter(|sent| sent.kind().data).map(|sent| sent.payload().len()).collect();
    assert_eq!(lens, [FULL, FULL, FULL, data.len() - 3 * FULL]);
    assert_eq!(lens.len() as u32, net.headers(0, 1).iter().filter(|header| header.kind.data).count() as u32);
    assert_eq!(net.stats(a).resends, 0);
    net.assert_nothing_left();
}

/// Follows libudx test/stream-multiple.c: 16 senders with a socket each, 16 receivers with a socket each, all of one
/// machine, at once. Also `16 parallel streams on 16 sockets` of udx-native test/stream-parallel.js.
#[test]
fn sixteen_streams_on_sockets_of_their_own() {
    many(16, |n| (SocketId(n), SocketId(100 + n)));
}

/// Follows `16 parallel streams on 1 socket` and `16 parallel streams on 16 sockets` of udx-native
/// test/stream-parallel.js.
#[test]
fn sixteen_streams_on_one_socket() {
    many(16, |_| (S0, SocketId(1)));
}

fn many(count: u32, sockets: impl Fn(u32) -> (SocketId, SocketId)) {
    let mut net = Net::new(1);
    net.rate = 20_000_000;
    net.queue = 4 << 20;
    let data: Vec<Vec<u8>> = (0..count).map(|n| pattern(300_000 + 1000 * n as usize, u64::from(n))).collect();
    let pairs: Vec<(At, At)> = (0..count)
        .map(|n| {
            let (from, to) = sockets(n);
            let (a, b) = (net.open(0, n), net.open(0, count + n));
            net.connect(a, from, count + n, addr(0, to));
            net.connect(b, to, n, addr(0, from));
            (a, b)
        })
        .collect();
    for ((a, b), data) in pairs.iter().zip(&data) {
        net.write(*a, data);
        net.end(*a);
        net.end(*b);
    }
    let all: Vec<At> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    net.until_closed(&all, secs(60));
    for ((a, b), data) in pairs.iter().zip(&data) {
        assert!(net.data(*b) == data, "{} of {} bytes", net.data(*b).len(), data.len());
        assert_eq!((net.closed(*a), net.closed(*b)), (Some(Why::Ended), Some(Why::Ended)));
        assert_eq!((net.stats(*a).bad_acks + net.stats(*a).bad_blocks, net.stats(*b).strangers), (0, 0));
    }
    net.assert_nothing_left();
}

/// Follows `several streams on same socket` of udx-native test/stream.js: each is connected to itself.
#[test]
fn a_stream_talks_to_itself() {
    let mut net = Net::new(1);
    let all: Vec<At> = (0..10).map(|n| net.open(0, n)).collect();
    for (n, at) in all.iter().enumerate() {
        net.connect(*at, S0, n as u32, addr(0, S0));
        net.write(*at, &[n as u8; 5]);
        net.end(*at);
    }
    net.until_closed(&all, secs(10));
    for (n, at) in all.iter().enumerate() {
        assert_eq!((net.data(*at), net.closed(*at)), (&[n as u8; 5][..], Some(Why::Ended)));
    }
    net.assert_nothing_left();
}

/// Follows libudx test/stream-write-read-perf.c: much data on a fast line; in virtual time the line is the limit.
#[test]
fn a_fast_line_is_filled() {
    let (mut net, a, b) = Net::pair();
    (net.delay, net.rate, net.queue) = (ms(1), 50_000_000, 1 << 20);
    let data = pattern(8 << 20, 1);
    feed(&mut net, a, &data, true);
    net.until("the end", secs(5), |net| net.told(b).contains(&"ended"));
    assert!(net.data(b) == data);
    let took = net.now.as_millis();
    let alone = data.len() as u64 / (net.rate / 1000);
    assert!(took * 70 / 100 <= alone, "{took} ms for what takes {alone} ms");
    assert!(net.stats(a).resends * 4 <= net.stats(a).packets_out, "{:?}", net.stats(a));
}

/// Follows libudx test/stream-write-read-force-drop.c, which loses one data packet in ten by chance.
#[test]
fn one_in_ten_data_packets_is_lost() {
    let (mut net, a, b) = Net::pair();
    let mut nth = 0_u32;
    net.filter = Box::new(move |sent| {
        nth += u32::from(sent.kind().data);
        // Not every tenth: a pattern that a sender could fall in step with would be no chance.
        !sent.kind().data || !(nth.wrapping_mul(0x9e37_79b9) >> 16).is_multiple_of(10)
    });
    let data = pattern(1 << 20, 1);
    feed(&mut net, a, &data, false);
    net.flush(a);
    net.until("the ack", secs(120), |net| net.told(a).last() == Some(&"flushed"));
    assert!(net.data(b) == data);
    let (sender, receiver) = (net.stats(a), net.stats(b));
    let first = data.len().div_ceil(FULL) as u64;
    let lost = sender.packets_out - receiver.packets_in;
    assert!(lost * 100 / sender.packets_out >= 7, "they were lost: {sender:?}");
    assert!(sender.resends >= lost && sender.resends <= 2 * lost, "{sender:?} {lost}");
    assert!(sender.packets_out <= 2 + first + 2 * lost, "{sender:?}");
    net.destroy(b);
    net.until_closed(&[a, b], secs(1));
    assert_eq!((net.closed(a), net.closed(b)), (Some(Why::Reset), Some(Why::Destroyed)));
    net.assert_nothing_left();
}

/// Follows libudx test/stream-write-read-and-drop-probes.c: packets that ask the path for more are lost, each time.
/// Their data comes again without padding, and packets stay as short as they were.
#[test]
fn packets_that_probe_the_path_are_lost() {
    let (mut net, a, b) = Net::pair();
    (net.rate, net.queue) = (20_000_000, 1 << 20);
    net.filter = Box::new(|sent| !sent.kind().data || sent.header().data_offset == 0);
    let data = pattern(2 << 20, 1);
    feed(&mut net, a, &data, false);
    net.flush(a);
    net.until("the ack", secs(20), |net| net.told(a).last() == Some(&"flushed"));
    assert!(net.data(b) == data);
    let padded: Vec<_> = net.between(0, 1).filter(|sent| sent.header().data_offset > 0).collect();
    let seqs: Vec<u32> = padded.iter().map(|sent| sent.header().seq).collect();
    assert_eq!((padded.len(), net.stats(a).mtu), (3, 1200), "three were tried: {seqs:?}");
    assert!(padded.iter().all(|sent| sent.bytes.len() + 28 == 1232));
    for seq in &seqs {
        let again =
            net.between(0, 1).find(|sent| sent.header().seq == *seq && sent.header().data_offset == 0);
        let lost = padded.iter().find(|sent| sent.header().seq == *seq).expect("just listed");
        assert_eq!(again.map(|sent| sent.payload()), Some(lost.payload()), "the same data, unpadded");
    }
    assert_eq!(net.stats(a).recoveries, 0, "which says nothing of the path's load");
    net.destroy(a);
    net.destroy(b);
    net.until_closed(&[a, b], secs(1));
    net.assert_nothing_left();
}

/// The same with a path that lets them through: one size after the other. Follows libudx
/// test/stream-write-read-and-drop-probes.c by contrast.
#[test]
fn packets_that_probe_the_path_arrive() {
    let (mut net, a, b) = Net::pair();
    (net.mtu, net.rate, net.queue) = (1420, 2_000_000, 1 << 16);
    let data = pattern(2 << 20, 1);
    feed(&mut net, a, &data, true);
    net.until("the end", secs(20), |net| net.told(b).contains(&"ended"));
    assert!(net.data(b) == data);
    assert_eq!(net.stats(a).mtu, 1392, "the last step of 32 that fits");
    let longest = net.between(0, 1).map(|sent| sent.bytes.len() + 28).max();
    assert_eq!(longest, Some(1424), "which the path did not let through");
    let tried = net.between(0, 1).filter(|sent| sent.bytes.len() + 28 == 1424).count();
    assert_eq!((tried, net.stats(b).mtu), (3, 1200), "the other side sends nothing that could ask");
}

/// Follows `out of order packets` of udx-native test/stream.js: a thousand writes, each datagram up to a second late.
#[test]
fn datagrams_that_come_in_any_order_are_read_in_order() {
    let (mut net, a, b) = Net::pair();
    net.jitter = secs(1);
    let mut expected: Vec<u8> = Vec::new();
    for n in 0..1000 {
        let text = n.to_string();
        expected.extend(text.as_bytes());
        net.write(a, text.as_bytes());
        net.settle(); // a packet each
    }
    net.until("all of it", secs(60), |net| net.data(b).len() == expected.len());
    assert!(net.data(b) == expected);
    let order: Vec<u32> = net.headers(1, 0).iter().map(|header| header.ack).collect();
    assert!(order.is_sorted(), "acks leave in order");
    assert!(net.headers(1, 0).iter().any(|header| header.kind == Kind::SACK), "some did overtake");
}

/// Follows `seq and ack wraparound` of udx-native test/stream.js.
#[test]
fn numbers_wrap() {
    let mut net = Net::new(1);
    let first = 0_u32.wrapping_sub(5);
    let (a, b) = (net.open_at(0, 1, first, 0), net.open_at(0, 2, 0, first));
    net.connect(a, S0, 2, addr(0, S0));
    net.connect(b, S0, 1, addr(0, S0));
    let data = pattern(15_000, 1);
    net.write(a, &data);
    net.until("all of it", secs(10), |net| net.data(b).len() == data.len());
    assert!(net.data(b) == data);
    let seqs: Vec<u32> =
        net.between(0, 0).filter(|sent| sent.kind().data).map(|sent| sent.header().seq).collect();
    let expected: Vec<u32> = (0..seqs.len() as u32).map(|n| first.wrapping_add(n)).collect();
    assert_eq!(seqs, expected);
    assert!(seqs.contains(&u32::MAX) && seqs.contains(&0));
}

/// Follows `backpressures stream` of udx-native test/stream.js.
#[test]
fn a_writer_is_held_back_and_goes_on() {
    let (mut net, a, b) = Net::pair();
    (net.rate, net.queue) = (10_000_000, 1 << 20);
    let data = pattern(4 << 20, 1);
    let mut most = 0;
    for piece in data.chunks(65536) {
        let free = net.write(a, piece);
        let stats = net.stats(a);
        most = most.max(stats.unsent_bytes);
        if !free {
            let before = net.times(a, "drained");
            net.until("room", secs(10), |net| net.times(a, "drained") > before);
            assert!(net.stats(a).unsent_bytes < 128 * 1024);
        }
    }
    net.end(a);
    net.until("the end", secs(10), |net| net.told(b).contains(&"ended"));
    assert!(net.data(b) == data);
    assert!((256 * 1024..=256 * 1024 + 65536).contains(&most), "{most} bytes waited");
    assert!(net.times(a, "drained") >= 10);
    net.end(b);
    net.until_closed(&[a, b], secs(1));
}

/// Follows `UDX - basic stats` of udx-native test/stream.js.
#[test]
fn bytes_and_packets_are_counted() {
    let (mut net, a, b) = Net::pair();
    let counts = |net: &Net, at| {
        let stats = net.stats(at);
        (stats.packets_in, stats.bytes_in, stats.packets_out, stats.bytes_out)
    };
    assert_eq!((counts(&net, a), counts(&net, b)), ((0, 0, 0, 0), (0, 0, 0, 0)));
    net.write(a, b"hello world");
    net.run_for(ms(50));
    // A packet of data one way, a bare ack the other.
    assert_eq!((counts(&net, a), counts(&net, b)), ((1, 20, 1, 31), (1, 31, 1, 20)));
    for _ in 0..9 {
        net.write(b, &[7; 1800]);
        net.run_for(ms(50));
    }
    let (at_a, at_b) = (counts(&net, a), counts(&net, b));
    assert_eq!((at_a.0, at_a.1), (at_b.2, at_b.3), "what one sends the other gets");
    assert_eq!((at_b.0, at_b.1), (at_a.2, at_a.3));
    let padding: u64 = net.between(1, 0).map(|sent| u64::from(sent.header().data_offset)).sum();
    assert_eq!((at_b.2, at_b.3 - padding), (19, 20 + 9 * (1800 + 2 * 20)), "an ack, then two packets a time");
    let stats = net.stats(b);
    assert_eq!((stats.resends, stats.timeouts, stats.recoveries), (0, 0, 0));
    let heard: usize = net.between(1, 0).map(|sent| sent.bytes.len()).sum();
    assert_eq!(at_b.3, heard as u64);
    for (at, counts) in [(a, at_a), (b, at_b)] {
        let all = net.udx[at.host].traffic();
        let all = (all.packets_in, all.bytes_in, all.packets_out, all.bytes_out);
        assert_eq!(all, counts, "the machine has no other stream");
    }
}

/// Follows the first part of libudx test/stream-change-remote.c, without the relay: after a third of the data the
/// reader, which has nothing in flight, changes at once; the writer when all from before is acked. The end of the
/// path that was left goes away.
#[test]
fn both_sides_change_their_path_in_the_middle() {
    let (mut net, a, d) = Net::pair();
    (net.rate, net.queue) = (2_000_000, 1 << 20);
    let data = pattern(300_000, 1);
    net.write(d, &data);
    net.until("a third", secs(10), |net| net.data(a).len() > data.len() / 3);
    let new = SocketId(1);
    net.change(a, new, 2, addr(1, new));
    net.until("the change of the reader", ms(0), |net| net.told(a).contains(&"connected"));
    net.change(d, new, 1, addr(0, new));
    assert_eq!(net.times(d, "connected"), 0, "what is in flight went the old way");
    net.flush(d);
    net.until("the ack", secs(10), |net| net.told(d).contains(&"flushed"));
    assert_eq!((net.times(a, "connected"), net.times(d, "connected")), (1, 1));
    assert!(net.data(a) == data);
    let changed = net.between(1, 0).position(|sent| sent.from == addr(1, new)).expect("it changed");
    let first = net.between(1, 0).nth(changed).expect("just found").header().seq;
    for sent in net.between(1, 0).skip(changed) {
        let old = sent.header().seq < first && sent.kind().data;
        assert_eq!(
            (sent.from, sent.to),
            if old { (addr(1, S0), addr(0, S0)) } else { (addr(1, new), addr(0, new)) }
        );
    }
    net.end(a);
    net.end(d);
    net.until_closed(&[a, d], secs(1));
    net.assert_nothing_left();
}
