//! Worlds drawn from seeds: first those that failed once, then a fixed set, then fresh ones.
//!
//! A failing world prints the commands that run it again, what was drawn, the last lines of its transcript, and the
//! least world that still fails in the same way. `SECKEL_SIM_MINUTES=N` goes on with fresh seeds for N minutes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use seckel::base::Span;
use seckel::sim::Kind;
use seckel::sim::drawn::{self, Fault, Options, Phase, Run, Summary};

use crate::support::seed;

/// Seeds that failed once, each with what it showed.
const SEEDS: &str = include_str!("seeds.txt");
/// A fixed set of seeds begins here.
const FIXED: u64 = 0x51c4;
const FIXED_COUNT: u64 = 20;
const FRESH_COUNT: u64 = 20;

/// How a world failed: the checker, or the text of a panic.
type Way = String;

/// Runs a world; a panic is a failure, too.
fn run(options: &Options) -> Result<Summary, (Way, String)> {
    match catch_unwind(AssertUnwindSafe(|| drawn::run(options))) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(failure)) => {
            let told = format!("{}{}", failure.lines, failure.violation);
            Err((failure.violation.checker.to_owned(), told))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err((format!("panic: {text}"), format!("it panics: {text}")))
        }
    }
}

/// Runs a world; if it fails, prints all that helps, and ends the test.
fn must_hold(options: &Options) -> Summary {
    let (way, told) = match run(options) {
        Ok(summary) => return summary,
        Err(failure) => failure,
    };
    println!("{told}\n\nthis world fails, and these run it again:");
    println!("  SECKEL_SEED={:#x} cargo test --test sim drawn -- --nocapture", options.seed);
    println!("  {options}\nlooking for the least that still fails ..");
    let least = drawn::shrink(options, &mut |smaller| run(smaller).is_err_and(|(other, _)| other == way));
    println!("the least world that fails in the same way:\n  {least}");
    panic!("{way}: {options}");
}

/// The seeds of a text with one in each line: the number, then why it is there.
fn listed(text: &str) -> Vec<u64> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let seed = |line: &str| {
        let (number, why) = line.split_once(' ').expect("a seed and a reason");
        assert!(!why.trim().is_empty(), "{line}: a reason");
        u64::from_str_radix(number.strip_prefix("0x").expect("hex"), 16).expect("a number")
    };
    lines.map(seed).collect()
}

fn fresh() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    u32::from_le_bytes(bytes).into()
}

#[test]
fn seeds_that_failed_once_hold() {
    if std::env::var_os("SECKEL_SEED").is_none() {
        listed(SEEDS).into_iter().map(Options::drawn).for_each(|options| drop(must_hold(&options)));
    }
}

#[test]
fn drawn_worlds_hold() {
    if std::env::var_os("SECKEL_SEED").is_some() {
        println!("{:#?}", must_hold(&Options::drawn(seed(0))));
        return;
    }
    for n in 0..FIXED_COUNT {
        must_hold(&Options::drawn(FIXED + n));
    }
    let minutes: u64 = std::env::var("SECKEL_SIM_MINUTES").map_or(0, |text| text.parse().expect("minutes"));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut count = 0;
    while count < FRESH_COUNT || Instant::now() < end {
        let seed = fresh();
        println!("fresh seed {seed:#x}");
        must_hold(&Options::drawn(seed));
        count += 1;
    }
}

/// The world of `options` in which the server's disk says that it has synced, and has not. Nobody looks on but those
/// who judge answers by the server's log.
fn with_a_lying_disk(options: &Options) -> Option<Way> {
    let mut run = Run::new(options, Vec::new());
    let mut lying = false;
    loop {
        let until = run.town.world.now() + Span::from_millis(100);
        match run.advance(until) {
            Ok(Phase::Building) => {}
            Ok(Phase::Faulty) if !lying => {
                let host = run.town.server.as_ref().expect("a server").host;
                run.town.world.disk(host).set_lying(true);
                lying = true;
            }
            Ok(Phase::Faulty | Phase::Healing) => {}
            Ok(Phase::Done) => return None,
            Err(violation) => return Some(violation.checker.to_owned()),
        }
    }
}

/// What was answered is lost with the power: the world sees it, and shrinks to what it takes.
#[test]
fn a_disk_that_lies_is_found_out_and_the_world_shrunk_to_it() {
    let faults = "delay=20,loss=10,jitter=5,copies=20,cuts=3,server-crash=30,node-crash=5,tear=1";
    let options = Options {
        seed: 0x11e5,
        nodes: 4,
        clients: 3,
        copies: 3,
        nat: vec![Kind::Open, Kind::Restricted],
        server_nat: Kind::Open,
        seconds: 240,
        faults: faults.parse().expect("a list"),
    };
    assert!(drawn::run(&options).is_ok(), "without the lie all is well");
    let way = with_a_lying_disk(&options).expect("it is found out");
    let least =
        drawn::shrink(&options, &mut |smaller| with_a_lying_disk(smaller).is_some_and(|other| other == way));
    let left: Vec<Fault> = least.faults.0.keys().copied().collect();
    assert_eq!(left, [Fault::ServerCrash, Fault::Tear], "{way}: {least}");
    assert!(least.nodes < options.nodes && least.seconds < options.seconds, "{least}");
    assert_eq!(with_a_lying_disk(&least), Some(way), "the least world still fails so");
}
