//! How much of a line a stream gets, and what it leaves to others, in virtual time. `goodput.txt` holds the table:
//! `SECKEL_WRITE=1 cargo test --test sim goodput_table` writes it anew.

use std::fmt::Write;
use std::path::Path;

use seckel::base::Span;
use seckel::udx::Phase;

use crate::line::{Line, World};

fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

/// Per mille, and milliseconds.
const LOSSES: [u64; 4] = [0, 1, 10, 50];
const RTTS: [u64; 4] = [1, 20, 100, 300];

/// Percent of a line of 100 Mbit/s that arrive as data, once the startup is over.
fn goodput(seed: u64, loss: u64, rtt: u64, libudx: bool) -> u64 {
    let mut line = Line::new(100, ms(rtt));
    line.loss_permille = loss;
    let mut world = World::new(seed, line);
    if libudx {
        world.libudx()
    } else {
        world.seckel()
    };
    world.run_for(ms(500 + 15 * rtt));
    world.measure(ms(1500 + 15 * rtt))[0] * 8 / 1_000_000
}

#[test]
fn goodput_table() {
    let mut table = String::from(
        "Percent of a line of 100 Mbit/s that arrive as data. Its queue holds what is on its way.\n\n\
         | round trip | nothing lost | 0.1 % lost | 1 % lost | 5 % lost |\n|---|---|---|---|---|\n",
    );
    for rtt in RTTS {
        let row = LOSSES.map(|loss| goodput(1, loss, rtt, false));
        assert!(row[0] >= 85, "a clean line is full: {row:?} at {rtt} ms");
        let cells: Vec<String> = row.iter().map(u64::to_string).collect();
        writeln!(table, "| {rtt} ms | {} |", cells.join(" | ")).expect("fits");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/goodput.txt");
    if std::env::var_os("SECKEL_WRITE").is_some_and(|set| !set.is_empty()) {
        std::fs::write(&path, &table).expect("the file can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == table, "tests/sim/goodput.txt is not what comes out:\n{table}");
}

#[test]
fn a_line_that_loses_one_in_a_hundred_is_as_full_as_libudx_fills_it() {
    let (clean, own, model) = (goodput(3, 0, 50, false), goodput(3, 10, 50, false), goodput(3, 10, 50, true));
    assert!(own >= model, "{own} beside {model}");
    assert!(own * 100 >= clean * 85, "{own} of {clean} without loss");
}

/// What the lesser of two flows gets, in percent of the other, over half a minute.
fn share(seed: u64, rtt: u64, libudx: bool) -> (u64, Vec<u64>) {
    let mut world = World::new(seed, Line::new(50, ms(rtt)));
    world.seckel();
    world.run_for(ms(700));
    if libudx {
        world.libudx()
    } else {
        world.seckel()
    };
    world.run_for(Span::from_secs(20));
    let rates = world.measure(Span::from_secs(40));
    (rates[0].min(rates[1]) * 100 / rates[0].max(rates[1]), rates)
}

#[test]
fn two_streams_share_a_line() {
    for (seed, rtt) in [(1, 20), (2, 50)] {
        let (percent, rates) = share(seed, rtt, false);
        assert!(percent >= 80, "{percent} at {rtt} ms: {rates:?}");
        assert!(rates.iter().sum::<u64>() * 8 > 50_000_000 * 85 / 100, "{rates:?}");
    }
}

/// Neither is shut out. They do not come within a fifth of each other: udx.87 gives way to losses and libudx does not,
/// so it takes up to three times as much of a line whose queue is full.
#[test]
fn a_stream_and_libudx_leave_each_other_room() {
    for (seed, rtt) in [(1, 20), (2, 50)] {
        let (percent, rates) = share(seed, rtt, true);
        assert!(percent >= 30, "{percent} at {rtt} ms: seckel and libudx {rates:?}");
    }
}

#[test]
fn the_queue_stays_short() {
    for quarters in [1, 4, 16] {
        let mut line = Line::new(50, ms(40));
        line.queue = line.rate * 40 / 1000 * quarters / 4;
        let mut world = World::new(1, line);
        world.seckel();
        world.run_for(Span::from_secs(3));
        let rate = world.measure(Span::from_secs(5))[0];
        let (usual, most) = (world.wait_of(50), world.wait_of(100 - 1));
        assert!(rate * 8 > 40_000_000, "{quarters} quarters: {rate} {:?}", world.stats(0));
        assert!(usual <= ms(20) && most <= ms(45), "{quarters} quarters: {usual} {most}");
    }
}

#[test]
fn a_rate_that_changes_is_followed() {
    let mut world = World::new(1, Line::new(50, ms(40)));
    world.seckel();
    world.run_for(Span::from_secs(3));
    world.line.rate /= 4;
    world.run_for(Span::from_secs(5));
    let slow = world.measure(Span::from_secs(4))[0] * 8;
    assert!((10_000_000..12_500_000).contains(&slow), "{slow}");
    assert!(world.wait_of(50) <= ms(60), "its queue went away: {}", world.wait_of(50));
    world.line.rate *= 4;
    world.run_for(Span::from_secs(8));
    let fast = world.measure(Span::from_secs(4))[0] * 8;
    assert!(fast > 40_000_000, "{fast}");
}

#[test]
fn a_line_that_was_dark_for_five_seconds_is_full_again() {
    let mut world = World::new(1, Line::new(50, ms(40)));
    world.seckel();
    world.run_for(Span::from_secs(3));
    world.line.dark = true;
    world.run_for(Span::from_secs(5));
    world.line.dark = false;
    // the timeouts have doubled to four seconds by now
    world.run_for(Span::from_secs(4));
    let rate = world.measure(Span::from_secs(4))[0] * 8;
    assert!(rate > 40_000_000, "{rate} {:?}", world.stats(0));
}

#[test]
fn packets_that_overtake_each_other_do_not_slow_a_stream() {
    let mut line = Line::new(50, ms(40));
    line.jitter = ms(10);
    let mut world = World::new(1, line);
    world.seckel();
    world.run_for(Span::from_secs(3));
    let rate = world.measure(Span::from_secs(5))[0] * 8;
    let stats = world.stats(0);
    assert!(rate > 40_000_000, "{rate} {stats:?}");
    assert_eq!(stats.phase, Phase::ProbeBandwidth);
}
