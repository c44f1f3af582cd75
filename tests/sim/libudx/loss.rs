//! Loss and its repair, packet by packet, against a receiver that the story plays.

use seckel::base::Span;
use seckel::udx::Why;
use seckel::wire::udx::Kind;

use super::net::{FULL, Net, OPEN, S0, addr, ms, packet, pattern, sack, secs};

/// Sequence numbers of the data that host 0 sent, and when, in milliseconds.
fn data(net: &Net) -> Vec<(u64, u32)> {
    net.between(0, 1)
        .filter(|sent| sent.kind().data)
        .map(|sent| (sent.at.as_millis(), sent.header().seq))
        .collect()
}

/// Follows libudx test/stream-rack-tlp-example.c, which is the example of RFC 8985 section 3.4: of four packets the
/// last three are lost. The tail is probed; the ack of the probe shows the two others lost; of these the first is
/// lost again, and the ack of the second shows that too. One recovery, no timeout.
#[test]
fn a_lost_tail_is_repaired_by_a_probe_and_by_order_of_sending() {
    let (mut net, a) = Net::against_story();
    let rtt = ms(40);
    net.write(a, &pattern(4 * FULL, 1));
    net.flush(a);
    net.settle();
    assert_eq!(data(&net), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    net.run_for(rtt);
    net.say(&sack(1, 1, &[]));
    let acked = net.now;
    net.until("the probe", secs(1), |net| data(net).len() == 5);
    assert_eq!(data(&net)[4].1, 3, "the last packet");
    let waited = net.now.since(acked);
    assert!(waited >= rtt * 2 && waited <= rtt * 2 + ms(10), "two round trips: {waited}");
    net.run_for(rtt);
    net.say(&sack(1, 1, &[(3, 4)]));
    let seqs: Vec<u32> = data(&net)[5..].iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs, [1, 2], "at once");
    net.run_for(rtt);
    net.say(&sack(1, 1, &[(2, 4)]));
    net.until("the second repair of the first", rtt, |net| data(net).len() == 8);
    assert_eq!(data(&net)[7].1, 1);
    net.run_for(rtt);
    net.say(&sack(1, 4, &[]));
    net.run_for(secs(30));
    assert_eq!((net.told(a), data(&net).len()), (&["flushed"][..], 8));
    let stats = net.stats(a);
    assert_eq!((stats.timeouts, stats.recoveries, stats.probes, stats.spurious), (0, 1, 1, 0));
    let sent = |wanted| data(&net).iter().filter(|(_, seq)| *seq == wanted).count();
    assert_eq!([0, 1, 2, 3].map(sent), [1, 3, 2, 2]);
}

/// Follows libudx test/stream-rto.c: nobody answers. Two packets are tried until the stream gives up; a flush of them
/// is never told, and no goodbye leaves for a side that is not there.
#[test]
fn nobody_answers() {
    let (mut net, a) = Net::against_story();
    net.write(a, &pattern(2000, 1));
    net.flush(a);
    net.until_closed(&[a], secs(120));
    assert_eq!((net.closed(a), net.told(a)), (Some(Why::TimedOut), &["closed"][..]));
    assert!(net.between(0, 1).all(|sent| sent.kind() == Kind::DATA));
    // The first packet once, and again at each of six timeouts; the seventh ends it.
    let first = data(&net).iter().filter(|(_, seq)| *seq == 0).count();
    assert_eq!((first, net.stats(a).timeouts), (7, 7));
    net.assert_nothing_left();
}

/// Follows libudx test/stream-retransmit-refreshes-header.c: data came after the packet left and before it is sent
/// again.
#[test]
fn what_is_sent_again_tells_the_present_window_and_ack() {
    let (mut net, a) = Net::against_story();
    net.write(a, b"data");
    net.settle();
    net.reading(a, false);
    for seq in 0..5 {
        net.say(&packet(Kind::DATA, 1, OPEN, seq, 0, &[9; 100]));
    }
    net.until("the same again", secs(3), |net| data(net).len() == 2);
    let all: Vec<_> = net.between(0, 1).filter(|sent| sent.kind().data).collect();
    let (first, again) = (all[0].header(), all[1].header());
    assert_eq!((first.seq, first.ack, first.window), (0, 0, OPEN));
    assert_eq!((again.seq, again.ack, again.window), (0, 5, OPEN - 500));
    assert_eq!((all[0].payload(), all[1].payload()), (&b"data"[..], &b"data"[..]));
}

/// Follows libudx test/stream-strict-sack.c: a block that ends before it begins stands in front of data. The block is
/// ignored and counted, the data and the end behind it are told.
#[test]
fn a_block_that_goes_back_is_counted_and_its_data_read() {
    let (mut net, a) = Net::against_story();
    let kind = Kind { data: true, sack: true, ..Kind::STATE };
    let body = [&1_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[7; 1016]].concat();
    let mut bytes = packet(kind, 1, u32::MAX, 0, 0, &body);
    bytes[3] = 8;
    net.say(&bytes);
    net.say(&packet(Kind { end: true, ..Kind::STATE }, 1, u32::MAX, 1, 0, b""));
    assert_eq!((net.told(a), net.data(a)), (&["data", "ended"][..], &[7; 1016][..]));
    assert_eq!((net.stats(a).bad_blocks, net.stats(a).bad_acks), (1, 0));
}

/// Follows libudx test/win-filter.c as far as a stream shows it: of the round trips of the last minutes the least
/// counts. It is the quarter of it that a packet which may only be late is waited for.
#[test]
fn the_least_round_trip_is_forgotten_after_minutes() {
    let wait_after = |rest: Span| {
        let (mut net, a) = Net::against_story();
        let mut acked = 0;
        let mut round = |net: &mut Net, rtt: Span| {
            net.write(a, b"x");
            net.settle();
            net.run_for(rtt);
            acked += 1;
            net.say(&sack(1, acked, &[]));
        };
        round(&mut net, ms(14));
        for n in 0..32 {
            net.run_for(if n < 4 { rest } else { ms(0) });
            round(&mut net, ms(400));
        }
        // Packets are seen to overtake each other, so that the next that is late is waited for.
        let first = acked;
        net.write(a, &pattern(3 * FULL, 1));
        net.settle();
        net.run_for(ms(400));
        net.say(&sack(1, first, &[(first + 1, first + 3)]));
        net.say(&sack(1, first + 3, &[]));
        net.write(a, &pattern(3 * FULL, 1));
        net.settle();
        let left = net.now;
        net.run_for(ms(400));
        net.say(&sack(1, first + 3, &[(first + 4, first + 6)]));
        let before = data(&net).len();
        net.until("the repair", secs(2), |net| data(net).len() > before);
        net.now.since(left) - ms(400)
    };
    let (short, long) = (wait_after(ms(100)), wait_after(secs(200)));
    assert!(short < ms(10), "a quarter of 14 ms: {short}");
    assert!(long >= ms(90), "a quarter of 400 ms: {long}");
}

/// A packet of a stream that is gone is answered, so that its other side does not try for ever. Follows the last
/// lines of libudx test/stream-write-read-and-drop-probes.c, where each side is destroyed by itself.
#[test]
fn a_side_that_is_gone_answers_what_still_comes() {
    let (mut net, a) = Net::against_story();
    net.destroy(a);
    net.settle();
    let before = net.sent.len();
    net.put(addr(1, S0), addr(0, S0), &packet(Kind::DATA, 1, OPEN, 0, 0, b"late"));
    net.settle();
    let answer = net.sent[before..].iter().map(|sent| sent.header().kind).collect::<Vec<_>>();
    assert_eq!(answer, [Kind::DESTROY]);
    net.put(addr(1, S0), addr(0, S0), &packet(Kind::STATE, 1, OPEN, 0, 0, b""));
    net.settle();
    assert_eq!(net.sent.len(), before + 1, "an ack is answered by nothing");
}
