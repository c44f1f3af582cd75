//! Connections through NATs: which pairs meet, and that sockets are closed again.

use std::collections::BTreeMap;

use super::{Checker, Moment, Note, Verdict};
use crate::base::{Key, SocketId, Span, Time};
use crate::node::{ConnId, ConnectError, Event, Path};
use crate::sim::{HostId, Kind};

/// How a client behind a box of one kind meets a server behind another of some kind, where nothing is lost. Node's
/// hyperdht meets the same.
pub fn outcome(server: Kind, client: Kind) -> Result<Path, ConnectError> {
    match (server, client) {
        (Kind::BlockedUdp, _) | (_, Kind::BlockedUdp) => Err(ConnectError::PeerNotFound),
        (Kind::Open, _) => Ok(Path::Direct),
        (_, Kind::Open) => Ok(Path::Passive),
        (Kind::Symmetric, Kind::Symmetric) => Err(ConnectError::DoubleRandomizedNats),
        _ => Ok(Path::Punched),
    }
}

/// A search for ports may meet nobody, and its turn may not come. hyperdht.130, hyperdht.137
fn may_fail(server: Kind, client: Kind, why: ConnectError) -> bool {
    let searched = [server, client].contains(&Kind::Symmetric) && outcome(server, client).is_ok();
    searched && matches!(why, ConnectError::HolepunchAborted | ConnectError::TryLater)
}

/// The outcome for each pair of NATs. Programs say by `Note::Listens` and `Note::Dials` who calls whom; while faults
/// are about (`Note::Faulty`), whoever should meet may fail.
#[derive(Default)]
pub struct Outcomes {
    servers: BTreeMap<Key, HostId>,
    dialing: BTreeMap<(HostId, ConnId), Dialed>,
    faulty: bool,
}

struct Dialed {
    server: HostId,
    calm: bool,
}

impl Outcomes {
    fn came(&mut self, moment: &Moment<'_>, conn: ConnId, result: Result<Path, ConnectError>) -> Verdict {
        let Some(dialed) = self.dialing.remove(&(moment.host, conn)) else { return Ok(()) };
        if moment.home(moment.host) == moment.home(dialed.server) && moment.home(moment.host).is_some() {
            return Ok(()); // behind one box
        }
        let (server, client) = (moment.kind(dialed.server), moment.kind(moment.host));
        let expected = outcome(server, client);
        if result == expected || result.is_err() && (self.faulty || !dialed.calm) {
            return Ok(());
        }
        if result.is_err_and(|why| may_fail(server, client, why)) {
            return Ok(());
        }
        Err(format!("{client} calls {server}: {result:?} instead of {expected:?}"))
    }
}

impl Checker for Outcomes {
    fn name(&self) -> &'static str {
        "hyperdht.outcomes"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        if moment.cause.started || moment.cause.stopped {
            self.dialing.retain(|(host, _), _| *host != moment.host);
        }
        for event in moment.told {
            match event {
                Event::Connected { conn, path, .. } => self.came(moment, *conn, Ok(*path))?,
                Event::ConnectFailed { conn, why, .. } => self.came(moment, *conn, Err(*why))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, moment: &Moment<'_>, note: &Note<'_>) -> Verdict {
        match note {
            Note::Listens { key } => drop(self.servers.insert(*key, moment.host)),
            Note::Dials { conn, key } => {
                if let Some(&server) = self.servers.get(key) {
                    self.dialing.insert((moment.host, *conn), Dialed { server, calm: !self.faulty });
                }
            }
            Note::Faulty => self.faulty = true,
            Note::Healed => self.faulty = false,
            _ => {}
        }
        Ok(())
    }
}

/// A socket of the pool that nobody has used for so long must be closed.
const UNUSED_MAX: Span = Span::from_secs(15);
const LOOKED_AT: Span = Span::from_secs(5);

/// Every socket that was opened for a punch is closed: with the punch, or after the stream on it.
#[derive(Default)]
pub struct Sockets {
    /// How many sockets each host has.
    open: BTreeMap<HostId, usize>,
    unused: BTreeMap<(HostId, SocketId), Option<Time>>,
    due: BTreeMap<(Time, HostId, SocketId), ()>,
}

impl Sockets {
    fn forget(&mut self, host: HostId) {
        self.open.remove(&host);
        self.unused.retain(|(owner, _), _| *owner != host);
    }
}

impl Checker for Sockets {
    fn name(&self) -> &'static str {
        "hyperdht.sockets"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (now, host) = (moment.now, moment.host);
        if moment.cause.started || moment.cause.stopped {
            self.forget(host);
        }
        let count = moment.sockets(host).count();
        if self.open.insert(host, count) != Some(count) {
            for socket in moment.sockets(host).filter(|socket| *socket >= SocketId::FIRST_POOLED) {
                if self.unused.insert((host, socket), None).is_none() {
                    self.due.insert((now + LOOKED_AT, host, socket), ());
                }
            }
        }
        while let Some((&(at, host, socket), ())) = self.due.first_key_value()
            && at <= now
        {
            self.due.remove(&(at, host, socket));
            let Some(since) = self.unused.get_mut(&(host, socket)) else { continue };
            let node = moment.node_of(host).filter(|_| moment.sockets(host).any(|open| open == socket));
            let Some(node) = node else {
                self.unused.remove(&(host, socket));
                continue;
            };
            let used = node.uses(socket) || moment.is_frozen(host);
            *since = if used { None } else { since.or(Some(now)) };
            if let Some(since) = *since
                && now.since(since) > UNUSED_MAX
            {
                return Err(format!("{socket} of host {} is open, unused for {}", host.0, now.since(since)));
            }
            self.due.insert((now + LOOKED_AT, host, socket), ());
        }
        Ok(())
    }
}
