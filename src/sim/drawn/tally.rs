//! What a world came to, in numbers.

use std::collections::BTreeMap;

use crate::base::{Span, Time};
use crate::sim::town::{Meeting, Town};
use crate::sim::{HostId, Kind};

/// Attempts to connect from homes of one kind to homes of another.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Attempts {
    /// How long those took that succeeded, in microseconds, in the order in which they ended.
    pub took: Vec<u64>,
    /// The others, by their reason.
    pub failed: BTreeMap<&'static str, u64>,
}

/// Counted while a world runs.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    pub pairs: BTreeMap<(Kind, Kind), Attempts>,
    /// What commands came to.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Look-ups of processes that are gone, with their rounds and visits.
    gone: [u64; 3],
}

impl Tally {
    pub fn meet(&mut self, town: &Town, meeting: &Meeting) {
        let Some(to) = meeting.to else { return };
        let attempts = self.pairs.entry((home(town, meeting.from), home(town, to))).or_default();
        match meeting.result {
            Ok(_) => attempts.took.push(meeting.took.as_micros()),
            Err(why) => *attempts.failed.entry(why.code()).or_default() += 1,
        }
    }

    /// A process is about to be gone.
    pub fn end(&mut self, town: &Town, host: HostId) {
        for (sum, more) in self.gone.iter_mut().zip(walks(town, host)) {
            *sum += more;
        }
    }
}

/// The kind of box that a host is behind.
fn home(town: &Town, host: HostId) -> Kind {
    town.world.home(host).map_or(Kind::Open, |id| town.world.kind(id))
}

fn walks(town: &Town, host: HostId) -> [u64; 3] {
    let stats = town.world.node(host).map(|node| node.dht_stats());
    stats.map_or([0; 3], |stats| [stats.walks, stats.rounds, stats.visits])
}

/// What a world came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The world's time at the end.
    pub time: Time,
    /// From the end of all faults until everything was well.
    pub healing: Span,
    pub trace_hash: u64,
    pub hosts: usize,
    pub pairs: BTreeMap<(Kind, Kind), Attempts>,
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Answers to commands that were compared with the server's log, and found true.
    pub proven: u64,
    /// Blocks of the server's log.
    pub blocks: u64,
    /// Look-ups in the DHT by programs; rounds of questions and nodes asked, all together.
    pub walks: u64,
    pub rounds: u64,
    pub visits: u64,
    /// What all hosts sent.
    pub datagrams: u64,
    pub bytes: u64,
}

impl Summary {
    pub fn of(town: &Town, tally: &Tally) -> Summary {
        let programs = town.server.iter().map(|office| office.host);
        let programs: Vec<HostId> = programs.chain(town.clients.iter().map(|client| client.host)).collect();
        let mut sum = tally.gone;
        for &host in &programs {
            for (sum, more) in sum.iter_mut().zip(walks(town, host)) {
                *sum += more;
            }
        }
        let hosts = town.nodes.len() + programs.len();
        let traffic = (0..hosts).map(|n| town.world.traffic(HostId(n)));
        let (datagrams, bytes) = traffic.fold((0, 0), |sum, one| (sum.0 + one.datagrams, sum.1 + one.bytes));
        Summary {
            time: town.world.now(),
            healing: Span::ZERO,
            trace_hash: town.world.trace_hash(),
            hosts,
            pairs: tally.pairs.clone(),
            outcomes: tally.outcomes.clone(),
            proven: 0,
            blocks: 0,
            walks: sum[0],
            rounds: sum[1],
            visits: sum[2],
            datagrams,
            bytes,
        }
    }
}

/// The value below which so many of a hundred are; none of none.
pub fn percentile(values: &[u64], of_hundred: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * of_hundred).div_ceil(100)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        let values: Vec<u64> = (1..=101).rev().collect();
        assert_eq!(percentile(&values, 50), Some(51));
        assert_eq!(percentile(&values, 95), Some(96));
        assert_eq!(percentile(&values, 100), Some(101));
        assert_eq!(percentile(&values, 0), Some(1));
    }
}
