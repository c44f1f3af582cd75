//! Receive windows: closed, small, opened again.

use seckel::udx::Why;
use seckel::wire::udx::{Header, Kind};

use super::net::{FULL, Net, OPEN, ms, packet, pattern, sack, secs};

/// Times in milliseconds at which host 0 sent heartbeats.
fn heartbeats(net: &Net) -> Vec<u64> {
    net.between(0, 1).filter(|sent| sent.kind() == Kind::HEARTBEAT).map(|sent| sent.at.as_millis()).collect()
}

/// Follows libudx test/stream-write-read-receive-window.c: the window is closed from the beginning; asked at once,
/// after a timeout, after twice that; it opens after 2.1 s and the third question finds out.
#[test]
fn a_closed_window_is_asked_for_until_it_opens() {
    let (mut net, a) = Net::against_story();
    net.say(&packet(Kind::STATE, 1, 0, 0, 0, b""));
    let data = pattern(9000, 1);
    assert!(net.write(a, &data));
    let mut answered = 0;
    while net.stats(a).send_window == 0 {
        net.until("a question", secs(10), |net| heartbeats(net).len() > answered);
        answered += 1;
        let window = if net.now.as_millis() > 2100 { OPEN } else { 0 };
        net.say(&packet(Kind::STATE, 1, window, 0, 0, b""));
    }
    assert_eq!(heartbeats(&net), [0, 1000, 3000]);
    let left: Vec<(u64, u32)> = net
        .between(0, 1)
        .filter(|sent| sent.kind().data)
        .map(|sent| (sent.at.as_millis(), sent.header().seq))
        .collect();
    assert_eq!(left, [3000; 8].into_iter().zip(0..8).collect::<Vec<_>>(), "all of it at once then");
    net.say(&packet(Kind::STATE, 1, OPEN, 0, 8, b""));
    net.run_for(secs(30));
    assert_eq!((heartbeats(&net).len(), net.stats(a).timeouts, net.stats(a).resends), (3, 0, 0));
}

/// Follows libudx test/stream-write-read-receive-window-2.c: a reader with a small buffer that takes a little each
/// second. The window closes again and again, and nothing but the window holds the writer back.
#[test]
fn a_reader_takes_a_little_each_second() {
    let (mut net, a, b) = Net::pair();
    net.window(b, 2000);
    net.reading(b, false);
    net.send(b, b"").expect("a packet that tells the window");
    net.run_for(ms(20));
    assert!(net.stats(a).send_window <= 2048, "{:?}", net.stats(a));
    let data = pattern(12_000, 1);
    assert!(net.write(a, &data));
    let mut seconds = 0;
    while net.data(b).len() < data.len() {
        assert!(net.stats(b).held_bytes <= 2048 + FULL, "no more than the window and a packet");
        seconds += 1;
        assert!(seconds < 60, "{:?}", net.stats(a));
        net.run_for(secs(1));
        net.reading(b, true);
        net.settle();
        net.reading(b, false);
    }
    assert!(net.data(b) == data);
    assert!(seconds >= 4, "at most a window and a packet a second");
    let stats = net.stats(a);
    assert_eq!((stats.timeouts, net.stats(b).refused, net.stats(b).resends), (0, 0, 0), "{stats:?}");
    net.reading(b, true);
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(5));
    assert_eq!((net.closed(a), net.closed(b)), (Some(Why::Ended), Some(Why::Ended)));
    net.assert_nothing_left();
}

/// Follows libudx test/stream-no-zwp-with-data-in-flight.c: the only packet is lost, then the window closes without
/// an ack, and more is written. What is lost is sent again all the same: the window is for new data.
#[test]
fn a_closed_window_does_not_stop_a_repair() {
    let (mut net, a) = Net::against_story();
    assert!(net.write(a, &[0; FULL]));
    net.settle();
    net.run_for(ms(5));
    net.say(&packet(Kind::MESSAGE, 1, 0, 0, 0, b""));
    assert_eq!(net.stats(a).send_window, 0);
    assert!(net.write(a, b"x"));
    net.until("the repair", secs(2), |net| net.headers(0, 1).len() > 1);
    let headers = net.headers(0, 1);
    assert_eq!(headers[1], Header { window: headers[1].window, ..headers[0] }, "the same packet again");
    assert_eq!(net.stats(a).resends, 1);
    // The receiver had waited for it; now there is room.
    net.say(&packet(Kind::STATE, 1, OPEN, 0, 1, b""));
    let last = net.headers(0, 1).pop().expect("the second write");
    assert_eq!((last.kind, last.seq), (Kind::DATA, 1));
    net.say(&sack(1, 2, &[]));
    net.run_for(secs(30));
    assert_eq!((heartbeats(&net), net.stats(a).unacked_bytes), (vec![], 0), "and no question was needed");
}
