//! `seckel sim`: a world from a seed, with a registry in it, and what it came to.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use seckel::base::{Entropy, Span};
use seckel::edge::os::{OsEntropy, resident_bytes};
use seckel::sim::Kind;
use seckel::sim::check::{self, Violation};
use seckel::sim::drawn::{Attempts, Fault, Faults, Options, Phase, Run, Summary, percentile};
use seckel::sim::transcript::Reader;

use super::run::Bad;
use super::terminal::{say, warn};
use super::tracing;

pub const EXAMPLES: &str = "\
Examples:
  seckel sim                                             a world from a seed of chance
  seckel sim --seed 0x51c4 --nodes 100 --clients 20 --minutes 10
  seckel sim --nat open,restricted,symmetric --loss 5    who reaches whom, when a datagram of twenty is lost
  seckel sim --faults burst=20,server-crash=6,tear=1     bursts of losses, and power that fails at the server
  seckel sim --seed 0xf8 --drawn                         the world that the tests draw from this seed
  seckel sim --seed 1 --trace world.txt                  what happens in it, line by line
Homes: open firewall full-cone addr-restricted restricted symmetric blocked-udp.
Exit codes: 0 everything held, 1 something did not: the last lines and what it was are on standard error,
2 wrong command line. The same command gives the same trace hash, on any machine.";

#[derive(Args, Debug)]
pub struct Sim {
    /// What everything is drawn from; 0x1f is hex [of chance]
    #[arg(long, value_parser = seed)]
    pub seed: Option<u64>,
    /// Lasting nodes of the DHT
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub nodes: u32,
    /// Clients of the registry, each in a home of its own
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(0..=2000))]
    pub clients: u32,
    /// How many of them hand their copy on to others; these all connect to each other [all]
    #[arg(long, value_name = "N")]
    pub copies: Option<u32>,
    /// Kinds of the clients' homes, comma separated; they are spread over them [all seven]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub nat: Vec<Kind>,
    /// The kind of the server's home
    #[arg(long, value_name = "KIND", default_value = "open", value_parser = kind)]
    pub server_nat: Kind,
    /// Percent of the datagrams that are lost, each by itself
    #[arg(long, value_name = "P", value_parser = permille)]
    pub loss: Option<u32>,
    /// How long there are load and faults; then all heals and must end well
    #[arg(long, value_name = "M", default_value = "5", value_parser = minutes, conflicts_with = "seconds")]
    pub minutes: u64,
    /// The same in seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seconds: Option<u64>,
    /// Faults and their strengths, NAME=NUMBER,.. (see --list-faults)
    #[arg(long, value_name = "LIST", default_value = "none", value_parser = faults)]
    pub faults: Faults,
    /// Draw nodes, clients, homes, time and faults from the seed, as the tests do
    #[arg(long)]
    pub drawn: bool,
    /// Name the faults, and what their numbers count
    #[arg(long)]
    pub list_faults: bool,
    /// End with one object of JSON
    #[arg(long)]
    pub json: bool,
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "not a number, such as 7 or 0x51c4".to_owned())
}

fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|wrong: seckel::sim::nat::NotAKind| wrong.to_string())
}

fn faults(text: &str) -> Result<Faults, String> {
    text.parse().map_err(|wrong: seckel::sim::drawn::NotFaults| wrong.to_string())
}

/// A percentage with at most one digit after the point, in thousandths.
fn permille(text: &str) -> Result<u32, String> {
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a percentage".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok((number * 10.0).round() as u32)
    } else {
        Err("not 0 to 100".to_owned())
    }
}

/// Minutes, in seconds.
fn minutes(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of minutes".to_owned())?;
    if (0.01..=20_000.0).contains(&number) {
        Ok((number * 60.0).round() as u64)
    } else {
        Err("not 0.01 to 20000".to_owned())
    }
}

impl Sim {
    fn options(&self) -> Options {
        let seed = self.seed.unwrap_or_else(|| OsEntropy::default().u32().into());
        if self.drawn {
            return Options::drawn(seed);
        }
        let mut faults = self.faults.clone();
        if let Some(loss) = self.loss.filter(|&loss| loss > 0) {
            faults.0.insert(Fault::Loss, loss);
        }
        Options {
            seed,
            nodes: self.nodes as usize,
            clients: self.clients as usize,
            copies: self.copies.unwrap_or(self.clients).min(self.clients) as usize,
            nat: if self.nat.is_empty() { Kind::ALL.to_vec() } else { self.nat.clone() },
            server_nat: self.server_nat,
            seconds: self.seconds.unwrap_or(self.minutes),
            faults,
        }
    }
}

/// Runs it; the exit code.
pub fn sim(args: &Sim) -> Result<u8, Bad> {
    if args.list_faults {
        for fault in Fault::all() {
            say(&format!("{:14} {}", fault.name(), fault.unit()));
        }
        return Ok(0);
    }
    let options = args.options();
    let before = resident_bytes();
    let began = Instant::now();
    let mut run = Run::new(&options, check::all());
    if let Some(transcript) = tracing::transcript() {
        run.town.world.transcript.reader = Some(Reader(Box::new(move |entry| transcript.take(entry))));
    }
    let mut bar = Bar::new();
    let outcome = loop {
        let until = run.town.world.now() + Span::from_millis(500);
        match run.advance(until) {
            Ok(Phase::Done) => break Ok(()),
            Ok(_) => bar.show(&run),
            Err(violation) => break Err(violation),
        }
    };
    bar.clear();
    let memory = resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    let result = Outcome { summary: run.summary(), options, wall: began.elapsed(), memory };
    if let Err(violation) = &outcome {
        let lines = run.town.world.last_lines();
        let _ = std::io::stderr().write_all(lines.as_bytes());
        warn(&format!("{violation}\nthis runs it again: {}", result.options));
    }
    let violation = outcome.as_ref().err();
    say(&if args.json { result.json(violation) } else { result.text() });
    Ok(u8::from(violation.is_some()))
}

/// A line on standard error that says how far it is, if that is a terminal.
struct Bar {
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    const EVERY: Duration = Duration::from_millis(100);
    const WIDTH: usize = 30;

    fn new() -> Bar {
        Bar { shown: None, on: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, run: &Run) {
        if !self.on || self.shown.is_some_and(|at| at.elapsed() < Bar::EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let (now, end) = (run.town.world.now().as_micros(), run.faults_end().as_micros().max(1));
        let part = (now.min(end) as usize * Bar::WIDTH) / end as usize;
        let doing = match run.phase() {
            Phase::Building => "nodes join",
            Phase::Faulty => "load and faults",
            Phase::Healing => "healing",
            Phase::Done => "done",
        };
        let (full, empty) = ("#".repeat(part), "-".repeat(Bar::WIDTH - part));
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r[{full}{empty}] {} s, {doing}\x1b[K", now / 1_000_000);
        let _ = out.flush();
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

struct Outcome {
    options: Options,
    summary: Summary,
    wall: Duration,
    /// Bytes that the process has taken for the world, where that can be told.
    memory: Option<u64>,
}

impl Outcome {
    fn per_host(&self, number: u64) -> u64 {
        number / (self.summary.hosts as u64).max(1)
    }

    fn text(&self) -> String {
        let (options, summary) = (&self.options, &self.summary);
        let mut text = String::new();
        let _ = writeln!(
            text,
            "seed {:#x}: {} nodes, {} clients; {} s with faults {}; well again after {} s",
            options.seed,
            options.nodes,
            options.clients,
            options.seconds,
            options.faults,
            summary.healing.as_millis() / 1000
        );
        let simulated = summary.time.as_micros() as f64 / 1e6;
        let wall = self.wall.as_secs_f64();
        let _ = writeln!(
            text,
            "{simulated:.0} s simulated in {wall:.1} s: {:.0} times as fast",
            simulated / wall.max(1e-9)
        );
        self.write_pairs(&mut text);
        let _ = writeln!(text, "\ncommands           {}", listed(&summary.outcomes));
        let _ = writeln!(
            text,
            "answers checked    {}, against a log of {} blocks",
            summary.proven, summary.blocks
        );
        let walks = summary.walks.max(1) as f64;
        let _ = writeln!(
            text,
            "look-ups           {}; in the mean {:.1} rounds, {:.1} nodes asked",
            summary.walks,
            summary.rounds as f64 / walks,
            summary.visits as f64 / walks
        );
        let _ = writeln!(
            text,
            "sent by a host     {} datagrams, {} KiB, in the mean of {}",
            self.per_host(summary.datagrams),
            self.per_host(summary.bytes) / 1024,
            summary.hosts
        );
        if let Some(memory) = self.memory {
            let _ = writeln!(text, "memory of a host   {} KiB", self.per_host(memory) / 1024);
        }
        let _ = write!(text, "trace hash         {:016x}", summary.trace_hash);
        text
    }

    /// Who reached whom.
    fn write_pairs(&self, text: &mut String) {
        let mut row = |cells: [&str; 7]| {
            let [from, to, reached, tried, median, most, why] = cells;
            let line = format!("{from:16}{to:16}{reached:>8}{tried:>7}{median:>11}{most:>9}  {why}");
            let _ = writeln!(text, "{}", line.trim_end());
        };
        row([""; 7]);
        row(["from", "to", "reached", "tried", "median ms", "p95 ms", ""]);
        for ((from, to), attempts) in &self.summary.pairs {
            let millis = |took: u64| (took / 1000).to_string();
            let time = |of| percentile(&attempts.took, of).map_or("-".to_owned(), millis);
            let (reached, tried) = (attempts.took.len().to_string(), tried(attempts).to_string());
            let why = listed(&attempts.failed);
            row([from.name(), to.name(), &reached, &tried, &time(50), &time(95), &why]);
        }
    }

    fn json(&self, violation: Option<&Violation>) -> String {
        let (options, summary) = (&self.options, &self.summary);
        let mut fields = vec![
            ("command", quoted(&options.to_string())),
            ("seed", quoted(&format!("{:#x}", options.seed))),
            ("violation", violation.map_or("null".to_owned(), |violation| quoted(&violation.to_string()))),
            ("trace_hash", quoted(&format!("{:016x}", summary.trace_hash))),
            ("simulated_micros", summary.time.as_micros().to_string()),
            ("healing_micros", summary.healing.as_micros().to_string()),
            ("wall_micros", self.wall.as_micros().to_string()),
            ("hosts", summary.hosts.to_string()),
            ("datagrams", summary.datagrams.to_string()),
            ("bytes", summary.bytes.to_string()),
            ("memory_bytes", self.memory.map_or("null".to_owned(), |memory| memory.to_string())),
            ("lookups", summary.walks.to_string()),
            ("lookup_rounds", summary.rounds.to_string()),
            ("lookup_nodes", summary.visits.to_string()),
            ("answers_checked", summary.proven.to_string()),
            ("log_blocks", summary.blocks.to_string()),
        ];
        let outcomes = summary.outcomes.iter().map(|(what, count)| format!("{}:{count}", quoted(what)));
        fields.push(("commands", format!("{{{}}}", outcomes.collect::<Vec<_>>().join(","))));
        let pairs = summary.pairs.iter().map(|((from, to), attempts)| {
            let time = |of| percentile(&attempts.took, of).map_or("null".to_owned(), |took| took.to_string());
            let failed = attempts.failed.iter().map(|(why, count)| format!("{}:{count}", quoted(why)));
            format!(
                "{{\"from\":{},\"to\":{},\"reached\":{},\"tried\":{},\"median_micros\":{},\"p95_micros\":{},\
                 \"failed\":{{{}}}}}",
                quoted(from.name()),
                quoted(to.name()),
                attempts.took.len(),
                tried(attempts),
                time(50),
                time(95),
                failed.collect::<Vec<_>>().join(",")
            )
        });
        fields.push(("pairs", format!("[{}]", pairs.collect::<Vec<_>>().join(","))));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

fn tried(attempts: &Attempts) -> u64 {
    attempts.took.len() as u64 + attempts.failed.values().sum::<u64>()
}

fn listed(counts: &std::collections::BTreeMap<&'static str, u64>) -> String {
    counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

/// A JSON string. What is quoted here is ours: letters, digits and signs.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if (c as u32) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
