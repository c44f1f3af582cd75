//! `seckel relay`: a node that is a blind relay for whoever connects.

use std::path::PathBuf;

use clap::Args;
use seckel::base::hex;
use seckel::edge::host::Wake;
use seckel::node::{Event, RelayBounds, RelayStats};

use super::keys;
use super::network::{Joined, Joining};
use super::run::{Bad, LEAVE};
use super::terminal::say;

pub const EXAMPLES: &str = "\
Examples:
  seckel relay --key relay.key --port 49737      says `relay: KEY`; the file is made if there is none
  seckel chat --relay-through KEY                elsewhere, behind a NAT that cannot be passed
  seckel relay --json --pairs 50                 one JSON object for each line
Run it where it can be reached directly. What it passes on is encrypted: it sees who asks and how much passes, and
nothing else. Connections that find a direct way leave it by themselves. Ctrl-C ends all and takes the key off the
network.
Exit codes: 0 left on Ctrl-C, 1 the port cannot be bound, 2 wrong command line, 4 the key file cannot be used.";

#[derive(Args, Debug)]
pub struct RelayArgs {
    /// Be this key; the file is made if there is none [a new key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// At most so many pairs at once
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub pairs: u16,
    /// One JSON object for each line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

/// `seckel relay`.
pub fn relay(args: &RelayArgs) -> Result<u8, Bad> {
    let pair = keys::read_or_make(args.key.as_deref())?;
    let mut joined = args.joining.open()?;
    let bounds = RelayBounds { pairs: args.pairs.into(), ..RelayBounds::default() };
    joined.net().serve_relay(bounds);
    let server = joined.net().listen(&pair, true)?;
    let mut told = RelayStats::default();
    loop {
        match joined.wait(None)? {
            Wake::Event(_, Event::BindFailed) => {
                let text = "the port cannot be bound: another process may have it".to_owned();
                return Err(Bad { text, code: 1 });
            }
            Wake::Event(_, Event::Listening { .. }) => {
                let key = hex::encode(&pair.public);
                say(&if args.json { format!("{{\"relay\":\"{key}\"}}") } else { format!("relay: {key}") });
            }
            Wake::Interrupted => break,
            Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
        }
        tell(&mut joined, args.json, &mut told);
    }
    joined.net().close_relay();
    joined.net().unlisten(server);
    let until = joined.host.now() + LEAVE;
    while joined.host.now() < until {
        match joined.wait(Some(until))? {
            Wake::Event(_, Event::Unlistened { .. }) | Wake::Interrupted => break,
            Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
        }
    }
    joined.linger()?;
    Ok(0)
}

/// How many pairs there are, whenever that has changed.
fn tell(joined: &mut Joined, json: bool, told: &mut RelayStats) {
    let Some(stats) = joined.net().relay_stats() else { return };
    if (stats.paired, stats.pairs) == (told.paired, told.pairs) {
        return;
    }
    *told = stats;
    let RelayStats { pairs, paired, sessions, dropped, refused, .. } = stats;
    let counts = [("pairs", pairs as u64), ("paired", paired), ("sessions", sessions as u64)];
    let counts = counts.into_iter().chain([("dropped", dropped), ("refused", refused)]);
    let counts: Vec<String> = counts.map(|(name, count)| format!("\"{name}\":{count}")).collect();
    say(&if json {
        format!("{{{}}}", counts.join(","))
    } else {
        format!("{pairs} pairs now, {paired} so far")
    });
}
