//! What each fault does, and that it leaves the draws of the others alone.

use super::*;

fn wire(seed: u64) -> Wire {
    Wire::new(Seeded::new(seed).fork("link a"))
}

/// What becomes of `count` datagrams of `len` bytes, one every `gap` microseconds.
fn send(wire: &mut Wire, line: &Line, count: u64, len: usize, gap: u64) -> Vec<Fate> {
    let fate = |n| Fate::leaving(Time::from_micros(n * gap), false).pass(wire, line, len);
    (0..count).map(fate).collect()
}

fn lost(fates: &[Fate]) -> usize {
    fates.iter().filter(|fate| fate.is_lost()).count()
}

fn first(fate: &Fate) -> Option<Arrival> {
    fate.arrivals().next()
}

/// Every fault that draws, so that each can be told from what arrives: held back is 50 ms, jitter is below 3.
const ALL: Line = Line {
    delay: Span::from_millis(5),
    jitter: Span::from_millis(3),
    loss_permille: 100,
    burst: Some(Burst { begin_permille: 20, end_permille: 200, loss_permille: 800 }),
    reorder_permille: 100,
    reorder: Span::from_millis(50),
    copies_permille: 100,
    flips_permille: 100,
    ..Line::CLEAR
};

/// What the draws of each fault were for a datagram that arrived.
#[derive(PartialEq, Eq, Debug)]
struct Drawn {
    jitter: u64,
    held: bool,
    copy: Option<u64>,
    flip: Option<u32>,
}

fn drawn(n: usize, fate: &Fate) -> Option<Drawn> {
    let first = first(fate)?;
    let took = first.at.since(Time::from_micros(n as u64 * 1000)).as_micros() - 5000;
    let held = took >= 50_000;
    let jitter = if held { took - 50_000 } else { took };
    let copy = fate.arrivals().nth(1).map(|copy| copy.at.as_micros() - n as u64 * 1000 - 5000 - jitter);
    Some(Drawn { jitter, held, copy, flip: first.flip })
}

#[test]
fn turning_one_fault_off_leaves_the_draws_of_the_others_alone() {
    let full = send(&mut wire(3), &ALL, 3000, 100, 1000);
    let lines = [
        ("jitter", Line { jitter: Span::ZERO, ..ALL }),
        ("loss", Line { loss_permille: 0, ..ALL }),
        ("burst", Line { burst: None, ..ALL }),
        ("reorder", Line { reorder_permille: 0, ..ALL }),
        ("copies", Line { copies_permille: 0, ..ALL }),
        ("flips", Line { flips_permille: 0, ..ALL }),
        ("nothing", ALL),
    ];
    for (off, line) in lines {
        let part = send(&mut wire(3), &line, 3000, 100, 1000);
        for (n, (one, other)) in full.iter().zip(&part).enumerate() {
            let saved = matches!(off, "loss" | "burst") && one.is_lost();
            assert!(saved || one.is_lost() == other.is_lost(), "{off}, {n}");
            let (Some(one), Some(other)) = (drawn(n, one), drawn(n, other)) else { continue };
            assert!(off == "jitter" || one.jitter == other.jitter, "{off}, {n}");
            assert!(off == "reorder" || one.held == other.held, "{off}, {n}");
            assert!(off == "flips" || one.flip == other.flip, "{off}, {n}");
            // How late a copy comes depends on the jitter; whether there is one does not.
            let copied = one.copy.is_some() == other.copy.is_some();
            assert!(off == "copies" || copied && (off == "jitter" || one.copy == other.copy), "{off}, {n}");
        }
        assert_eq!(lost(&part) < lost(&full), matches!(off, "loss" | "burst"), "{off} matters");
    }
}

#[test]
fn copies_of_one_line_leave_the_draws_of_the_next_alone() {
    let through = |copies_permille| {
        let (mut near, mut far) = (wire(4), wire(5));
        let line = Line { copies_permille, ..Line::CLEAR };
        let fates = send(&mut near, &line, 2000, 100, 1000);
        let fates = fates.into_iter().map(|fate| fate.pass(&mut far, &ALL, 100));
        fates.map(|fate| fate.arrivals().find(|arrival| !arrival.copy)).collect::<Vec<_>>()
    };
    assert_eq!(through(0), through(300));
}

#[test]
fn a_cut_line_keeps_its_place_in_the_draws() {
    let (mut cut, mut whole) = (wire(6), wire(6));
    let _ = send(&mut whole, &ALL, 100, 100, 1000);
    let nothing = send(&mut cut, &Line { cut: true, ..ALL }, 100, 100, 1000);
    assert_eq!(lost(&nothing), 100);
    let flips = |fates: Vec<Fate>| fates.iter().map(|f| first(f).and_then(|a| a.flip)).collect::<Vec<_>>();
    assert_eq!(
        flips(send(&mut cut, &ALL, 100, 100, 1000)),
        flips(send(&mut whole, &ALL, 100, 100, 1000)),
        "after the heal"
    );
}

#[test]
fn each_fault_happens_about_as_often_as_was_asked_for() {
    let line = Line { loss_permille: 200, ..Line::CLEAR };
    let missing = lost(&send(&mut wire(1), &line, 10_000, 10, 1000));
    assert!((1800..2200).contains(&missing), "{missing}");
    let line = Line { loss_permille: 0, burst: None, ..ALL };
    let fates = send(&mut wire(1), &line, 10_000, 10, 1000);
    let drawn: Vec<Drawn> = fates.iter().enumerate().filter_map(|(n, fate)| drawn(n, fate)).collect();
    assert_eq!(drawn.len(), 10_000);
    let held = drawn.iter().filter(|drawn| drawn.held).count();
    let copies = drawn.iter().filter(|drawn| drawn.copy.is_some()).count();
    let flips: Vec<u32> = drawn.iter().filter_map(|drawn| drawn.flip).collect();
    for count in [held, copies, flips.len()] {
        assert!((880..1120).contains(&count), "{held} {copies} {}", flips.len());
    }
    assert!((0..80).all(|bit| flips.contains(&bit)) && flips.iter().all(|&bit| bit < 80));
    let jitter = drawn.iter().map(|drawn| drawn.jitter);
    assert!(jitter.clone().all(|micros| micros <= 3000) && jitter.max() > Some(2950));
}

#[test]
fn losses_come_in_bursts() {
    let burst = Burst { begin_permille: 10, end_permille: 100, loss_permille: 1000 };
    let line = Line { burst: Some(burst), ..Line::CLEAR };
    let fates = send(&mut wire(2), &line, 50_000, 10, 1000);
    let missing = lost(&fates);
    let bursts = fates.windows(2).filter(|pair| !pair[0].is_lost() && pair[1].is_lost()).count();
    // Ill for ten datagrams in a row, well for a hundred.
    assert!((4000..5200).contains(&missing), "{missing}");
    assert!((8 * bursts..12 * bursts).contains(&missing), "{missing} in {bursts} bursts");
}

#[test]
fn later_datagrams_pass_one_that_is_held_back() {
    let line = Line { reorder_permille: 50, reorder: Span::from_micros(3500), ..Line::CLEAR };
    let fates = send(&mut wire(7), &line, 1000, 10, 1000);
    let mut order: Vec<(Time, usize)> =
        fates.iter().enumerate().filter_map(|(n, fate)| Some((first(fate)?.at, n))).collect();
    order.sort_unstable();
    let late = order.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    assert!((20..80).contains(&late), "{late}");
    assert_eq!(order.len(), 1000);
}

/// What a lab of network namespaces checks, too: 20 Mbit/s into a line of 10 with a queue of 50 ms.
#[test]
fn a_line_with_a_rate_queues_and_drops_the_tail() {
    let line = Line { bytes_per_sec: Some(1_250_000), queue: Span::from_millis(50), ..Line::CLEAR };
    let fates = send(&mut wire(8), &line, 1000, 1000, 400);
    let waits: Vec<u64> = fates
        .iter()
        .enumerate()
        .filter_map(|(n, fate)| Some(first(fate)?.at.as_micros() - n as u64 * 400))
        .collect();
    let most = waits.iter().max().copied();
    assert!((49_000..52_000).contains(&most.unwrap_or(0)), "{most:?}");
    assert_eq!(waits[0], 823, "1028 bytes at 1.25 bytes a microsecond");
    let arrivals: Vec<Time> = fates.iter().filter_map(|fate| Some(first(fate)?.at)).collect();
    assert!(arrivals.windows(2).all(|pair| pair[0] < pair[1]), "the queue keeps the order");
    let took = arrivals[arrivals.len() - 1].since(arrivals[0]).as_micros();
    let rate = (arrivals.len() as u64 - 1) * 1028 * 1_000_000 / took;
    assert!((1_240_000..1_250_001).contains(&rate), "{rate}");
    assert!((400..530).contains(&lost(&fates)), "{}", lost(&fates));
}

#[test]
fn longer_packets_than_the_line_carries_vanish() {
    let line = Line { mtu: Some(1280), ..Line::CLEAR };
    assert_eq!(lost(&send(&mut wire(9), &line, 10, 1252, 1000)), 0);
    assert_eq!(lost(&send(&mut wire(9), &line, 10, 1253, 1000)), 10);
}
