//! Requests of dht_rpc, as they are seen on the wire.

use std::collections::{BTreeMap, VecDeque};

use super::{Checker, Moment, Verdict};
use crate::base::{Addr, Key, Span, Time};
use crate::node::Node;
use crate::node::inspect::{Known, node_id};
use crate::sim::HostId;
use crate::wire::dht_rpc::{PING_NAT, REQUEST, RESPONSE, RequestMessage, ResponseMessage};
use crate::wire::{self, hyperdht};

/// A request waits at least this long for its answer before its number is free again (dht_rpc.49).
const WAIT: Span = Span::from_secs(1);
/// How often a request is sent at most: any (dht_rpc.48), one of a query, which has a target (dht_rpc.50), and the
/// first question whether a node can be reached.
const SENDS_MAX: u32 = 4;
const QUERY_SENDS_MAX: u32 = 6;
const PROBE_SENDS_MAX: u32 = 9;
/// A request that was not sent for so long is over, whatever its delay.
const FORGOTTEN: Span = Span::from_secs(60);

/// A request of a host that was not answered yet.
struct Open {
    to: Addr,
    bytes: Vec<u8>,
    last: Time,
    sends: u32,
}

/// Unanswered requests of every host, by number.
#[derive(Default)]
struct Requests {
    hosts: BTreeMap<HostId, Host>,
}

#[derive(Default)]
struct Host {
    open: BTreeMap<u16, Open>,
    /// When each was sent, oldest first.
    order: VecDeque<(Time, u16)>,
}

impl Requests {
    /// Follows a moment; shows each request that is sent, and what was open under its number.
    fn follow(
        &mut self,
        moment: &Moment<'_>,
        mut sees: impl FnMut(u16, &Open, Option<&Open>) -> Verdict,
    ) -> Verdict {
        let host = self.hosts.entry(moment.host).or_default();
        if moment.cause.started || moment.cause.stopped {
            *host = Host::default();
        }
        for arrival in &moment.cause.arrivals {
            host.answered(arrival.from, &arrival.bytes);
        }
        host.forget(moment.now);
        for sent in moment.sent {
            let Some(tid) = own_request(&sent.bytes) else { continue };
            let old = host.open.remove(&tid);
            let again = old.as_ref().filter(|old| old.to == sent.to && old.bytes == sent.bytes);
            let sends = again.map_or(0, |old| old.sends) + 1;
            let new = Open { to: sent.to, bytes: sent.bytes.clone(), last: moment.now, sends };
            let verdict = sees(tid, &new, old.as_ref());
            host.open.insert(tid, new);
            host.order.push_back((moment.now, tid));
            verdict?;
        }
        Ok(())
    }
}

impl Host {
    fn answered(&mut self, from: Addr, bytes: &[u8]) {
        if bytes.first() != Some(&RESPONSE) {
            return;
        }
        let Ok(message) = wire::decode::<ResponseMessage>(bytes) else { return };
        if self.open.get(&message.tid).is_some_and(|open| open.to == from) {
            self.open.remove(&message.tid);
        }
    }

    fn forget(&mut self, now: Time) {
        while let Some(&(at, tid)) = self.order.front()
            && now.since(at) > FORGOTTEN
        {
            self.order.pop_front();
            if self.open.get(&tid).is_some_and(|open| open.last == at) {
                self.open.remove(&tid);
            }
        }
    }
}

/// The number of a request that its sender made; none for one that is passed on, whose number is its maker's.
fn own_request(bytes: &[u8]) -> Option<u16> {
    if bytes.first() != Some(&REQUEST) {
        return None;
    }
    let message: RequestMessage = wire::decode(bytes).ok()?;
    let value = message.value.as_deref().unwrap_or_default();
    let mode = match message.command {
        _ if message.internal => None,
        hyperdht::command::PEER_HANDSHAKE => wire::decode::<hyperdht::Handshake>(value).ok().map(|v| v.mode),
        hyperdht::command::PEER_HOLEPUNCH => wire::decode::<hyperdht::Holepunch>(value).ok().map(|v| v.mode),
        _ => None,
    };
    mode.is_none_or(|mode| mode == hyperdht::mode::FROM_CLIENT).then_some(message.tid)
}

/// dht_rpc.46: no two requests of a node that wait for an answer have the same number.
#[derive(Default)]
pub struct Ids(Requests);

impl Checker for Ids {
    fn name(&self) -> &'static str {
        "dht_rpc.ids"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let now = moment.now;
        self.0.follow(moment, |tid, new, old| match old {
            Some(old) if (old.to, &old.bytes) != (new.to, &new.bytes) && now.since(old.last) < WAIT => {
                let (to, since) = (new.to, now.since(old.last));
                Err(format!("number {tid} goes to {to}, and {since} before went to {} unanswered", old.to))
            }
            _ => Ok(()),
        })
    }
}

/// dht_rpc.48, dht_rpc.50: a request is sent four times at most, one of a query six times.
#[derive(Default)]
pub struct Retries(Requests);

impl Checker for Retries {
    fn name(&self) -> &'static str {
        "dht_rpc.retries"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        self.0.follow(moment, |tid, new, _| {
            if new.sends <= SENDS_MAX {
                return Ok(());
            }
            let max = match wire::decode::<RequestMessage>(&new.bytes) {
                Ok(message) if message.internal && message.command == PING_NAT => PROBE_SENDS_MAX,
                Ok(message) if message.target.is_some() => QUERY_SENDS_MAX,
                Ok(_) | Err(_) => SENDS_MAX,
            };
            if new.sends <= max {
                return Ok(());
            }
            Err(format!("request {tid} to {} is sent {} times, {max} are allowed", new.to, new.sends))
        })
    }
}

/// Nodes of a row (dht_rpc.37).
const ROW_MAX: usize = 20;
/// A whole table is looked at this often.
const LOOKED_AT: Span = Span::from_secs(60);
/// A tick of a node, and what an answer may take beside.
const TICK: Span = Span::from_secs(5);
const ON_THE_WAY: Span = Span::from_secs(30);

/// dht_rpc.35 to dht_rpc.38: what is wrong with a table around `own` that says it holds `count` nodes. `rows`: some of
/// its rows, or all of them.
pub fn table_is_sane(own: &Key, rows: &[Known], count: Option<usize>) -> Verdict {
    rows_are_sane(own, rows)?;
    if let Some(node) = rows.iter().find(|node| node.id != node_id(node.addr)) {
        return Err(format!("{} is in the table under an id that is not its own", node.addr));
    }
    match count {
        Some(count) if count != rows.len() => {
            Err(format!("the table says that it has {count} nodes, and has {}", rows.len()))
        }
        _ => Ok(()),
    }
}

/// The same without the ids, which take a hash each.
fn rows_are_sane(own: &Key, rows: &[Known]) -> Verdict {
    for group in rows.chunk_by(|one, next| one.row == next.row) {
        if group.len() > ROW_MAX {
            return Err(format!("row {} has {} nodes", group[0].row, group.len()));
        }
        if let Some(pair) = group.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(format!("row {} is out of order at {}", group[0].row, pair[1].addr));
        }
    }
    for node in rows {
        let zeros = |byte: u8| (byte.leading_zeros() as u16, byte == 0);
        let mut shared = 0;
        for (one, other) in node.id.iter().zip(own) {
            let (bits, all) = zeros(one ^ other);
            shared += bits;
            if !all {
                break;
            }
        }
        if node.row != shared.min(255) {
            return Err(format!("{} is in row {}, and {shared} bits agree", node.addr, node.row));
        }
    }
    Ok(())
}

/// The table of every node: its rows, its order, and nobody in it who is long gone.
#[derive(Default)]
pub struct Table {
    looked: BTreeMap<HostId, Time>,
    /// Where processes were that have ended, since when, and on which host.
    gone: BTreeMap<Addr, (Time, HostId)>,
}

impl Table {
    fn whole(&self, now: Time, node: &Node) -> Verdict {
        let (own, count) = node.table();
        let known = node.known(None);
        table_is_sane(&own, &known, Some(count))?;
        for node in known {
            let Some((since, _)) = self.gone.get(&node.addr) else { continue };
            let (gone, silent) = (now.since(*since), TICK * node.silent);
            if gone > silent + ON_THE_WAY {
                return Err(format!("{} is gone for {gone}, and was heard {silent} ago", node.addr));
            }
        }
        Ok(())
    }
}

impl Checker for Table {
    fn name(&self) -> &'static str {
        "dht_rpc.table"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (now, host) = (moment.now, moment.host);
        if moment.cause.started {
            self.gone.retain(|_, (_, owner)| *owner != host);
        }
        let Some(node) = moment.node() else { return Ok(()) };
        if moment.cause.stopped {
            self.gone.extend(node.public().map(|addr| (addr, (now, host))));
            return Ok(());
        }
        for arrival in &moment.cause.arrivals {
            if matches!(arrival.bytes.first(), Some(&REQUEST | &RESPONSE)) {
                rows_are_sane(&node.table().0, &node.known(Some(&node_id(arrival.from))))?;
            }
        }
        let looked = self.looked.entry(host).or_insert(now);
        if now.since(*looked) < LOOKED_AT {
            return Ok(());
        }
        *looked = now;
        self.whole(now, node)
    }
}
