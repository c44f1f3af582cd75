//! How a stream that has little to send, and then as much as it can, finds out what the path carries.

use seckel::base::Span;
use seckel::udx::{Phase, Stats};

use super::net::{At, Net, ms, pattern, secs};

/// A line of 1 MB a second and 40 ms there and back.
const RATE: u64 = 1_000_000;

/// Runs for a time and returns the phases that the stream was in, in order, with the figures at the end.
fn phases(net: &mut Net, at: At, span: Span, mut load: impl FnMut(&mut Net)) -> (Vec<Phase>, Stats) {
    let until = net.now + span;
    let mut seen = vec![net.stats(at).phase];
    loop {
        load(net);
        let more = net.step(until);
        let phase = net.stats(at).phase;
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
        if !more {
            return (seen, net.stats(at));
        }
    }
}

/// A word a second.
fn scarce(net: &mut Net, at: At, seconds: u64) -> (Vec<Phase>, Stats) {
    let mut next = net.now;
    phases(net, at, secs(seconds), move |net| {
        if net.now >= next {
            net.write(at, b"hello");
            next = net.now + secs(1);
        }
    })
}

/// As much as the stream takes.
fn plenty(net: &mut Net, at: At, seconds: u64) -> (Vec<Phase>, Stats) {
    let block = pattern(0x1000, 1);
    phases(net, at, secs(seconds), move |net| {
        while net.stats(at).unsent_bytes < 64 * 1024 {
            net.write(at, &block);
        }
    })
}

/// Follows libudx test/stream-bbr-state.c: a word a second, then as much as goes, then a word a second, then as much
/// as goes again.
#[test]
fn scarce_data_then_plenty_then_scarce_then_plenty() {
    let (mut net, a, b) = Net::pair();
    (net.delay, net.rate, net.queue) = (ms(20), RATE, 100_000);
    let (seen, stats) = scarce(&mut net, a, 5);
    assert_eq!(seen, [Phase::Startup], "who has nothing to send finds out nothing");
    assert!(stats.bandwidth < RATE / 10, "{stats:?}");

    let (seen, stats) = plenty(&mut net, a, 15);
    let begin = [Phase::Startup, Phase::Drain, Phase::ProbeBandwidth];
    assert_eq!(seen[..3], begin, "{seen:?}");
    assert!(!seen[1..].contains(&Phase::Startup), "the startup is over for good: {seen:?}");
    assert!((RATE * 8 / 10..=RATE * 11 / 10).contains(&stats.bandwidth), "{stats:?}");
    let before = net.data(b).len() as u64;
    assert!(before > 15 * RATE * 80 / 100, "{before} bytes");

    // What is not a measure of the path does not make it look slow.
    let (seen, after) = scarce(&mut net, a, 5);
    assert!(seen.iter().all(|phase| matches!(phase, Phase::ProbeBandwidth | Phase::ProbeRtt)), "{seen:?}");
    assert!(after.bandwidth >= stats.bandwidth * 8 / 10, "{after:?}");

    let before = net.data(b).len() as u64;
    let (seen, stats) = plenty(&mut net, a, 25);
    assert!(seen.iter().all(|phase| matches!(phase, Phase::ProbeBandwidth | Phase::ProbeRtt)), "{seen:?}");
    let more = net.data(b).len() as u64 - before;
    assert!(more > 25 * RATE * 85 / 100, "{more} bytes in 25 s");
    assert!(stats.rtt.is_some_and(|rtt| rtt < ms(150)), "{stats:?}");
    assert_eq!((stats.timeouts, net.stats(b).timeouts), (0, 0));
    net.end(a);
    net.end(b);
    net.until_closed(&[a, b], secs(10));
    net.assert_nothing_left();
}

/// The least round trip is looked for when it was not seen for ten seconds: with four packets in flight, for a
/// moment. Follows the goals that libudx test/stream-bbr-state.c names and does not reach.
#[test]
fn the_round_trip_is_probed_when_it_was_not_seen_for_long() {
    let (mut net, a, _) = Net::pair();
    (net.delay, net.rate, net.queue) = (ms(20), RATE, 100_000);
    plenty(&mut net, a, 5);
    net.delay = ms(30); // no packet is as fast as the first ones any more
    let (seen, stats) = plenty(&mut net, a, 25);
    let probes = seen.iter().filter(|phase| **phase == Phase::ProbeRtt).count();
    assert!((1..=3).contains(&probes), "{seen:?}");
    let after = seen.iter().skip_while(|phase| **phase != Phase::ProbeRtt).nth(1);
    assert_eq!(after, Some(&Phase::ProbeBandwidth));
    assert!((RATE * 8 / 10..=RATE * 11 / 10).contains(&stats.bandwidth), "{stats:?}");
    assert_eq!(stats.timeouts, 0);
}
