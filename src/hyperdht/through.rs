//! Connections through a blind relay: asking for one beside the punch, using what comes first, and leaving the relay
//! for the direct path once there is one. Follows blind_relay.20 to blind_relay.28. Read `connect.rs` and `listen.rs`
//! first. The relay itself is dialled and asked by the node.

use super::*;
use crate::wire::hyperdht::RelayThrough;

/// How long the relay may take to pair, from dialling it. blind_relay.12
pub const PATIENCE: Span = Span::from_secs(15);
/// How often it is looked, after a change to the direct path, whether packets come on it. blind_relay.26
const LOOK: Span = Span::from_millis(500);
/// Without a direct packet the stream goes back to the relay by then, and so long after the last one if the other side
/// went back. blind_relay.26
const BACK: Span = Span::from_secs(5);
const BACK_AFTER: Span = Span::from_secs(8);
/// The relay is left when no packet came through it for so long. blind_relay.27
const QUIET: Span = Span::from_secs(5);
const QUIET_MAX: Span = Span::from_secs(60);
/// And one came directly so lately.
const LATELY: Span = Span::from_secs(1);

/// A connection's business with a relay. Gone when it has none any more.
#[derive(Debug)]
pub(super) struct Through {
    /// The other side's stream.
    remote: u32,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The relay is being dialled, or was asked; whether that is the wish of a caller of ours.
    Asked { bidden: bool },
    /// The stream goes through it.
    Relayed { by: Leg, alive: bool },
    /// The stream goes directly; the relay still passes on what is under way.
    Leaving(Leaving),
}

/// What was heard since the change: how many packets of each kind, and when the last of them was noticed.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    by: Leg,
    direct: u64,
    direct_at: Time,
    elsewhere: u64,
    elsewhere_at: Time,
}

/// The relay's end for us.
#[derive(Clone, Copy, Debug)]
struct Leg {
    socket: SocketId,
    to: Addr,
    stream: u32,
}

/// What one side says of a relay, and whether that is us.
pub(super) fn choose(
    ours: Option<&RelayThrough>,
    theirs: Option<&RelayThrough>,
    server: bool,
) -> Option<(bool, Key, Key)> {
    // blind_relay.20: the server's choice is the one.
    let (own, other) = (ours.map(|by| (true, by.key, by.token)), theirs.map(|by| (false, by.key, by.token)));
    if server { own.or(other) } else { other.or(own) }
}

/// One of the relays, and a token. blind_relay.20
pub(super) fn draw(cx: &mut Cx<'_>, relays: &[Key]) -> Option<RelayThrough> {
    let at = if relays.len() > 1 { cx.entropy.below(relays.len() as u64) as usize } else { 0 };
    let key = *relays.get(at)?;
    Some(RelayThrough { version: 1, flags: 0, key, token: cx.entropy.bytes32() })
}

impl HyperDht {
    /// Whether the stream of a connection goes through a blind relay now.
    pub fn is_relayed(&self, conn: ConnId) -> bool {
        matches!(self.through.get(&conn), Some(Through { way: Way::Relayed { .. }, .. }))
    }

    /// The key pair under which the relay of a connection that is being made is dialled. blind_relay.21
    pub fn relay_key_pair(&self, conn: ConnId) -> Option<KeyPair> {
        match &self.conns.get(conn)?.stage {
            Stage::Client(client) => Some(client.options.key_pair.clone()),
            Stage::Session { server, .. } => Some(self.servers.get(*server)?.options.key_pair.clone()),
            Stage::Open { .. } | Stage::Ended => None,
        }
    }

    /// Whether a relay was asked and has not answered.
    pub(super) fn asks_relay(&self, conn: ConnId) -> bool {
        matches!(self.through.get(&conn), Some(Through { way: Way::Asked { .. }, .. }))
    }

    /// A packet of a relayed stream that did not come from its relay.
    pub(super) fn came_directly(&self, conn: ConnId, socket: SocketId, from: Addr) -> bool {
        match self.through.get(&conn) {
            Some(Through { way: Way::Relayed { by, .. }, .. }) => (by.socket, by.to) != (socket, from),
            Some(Through { way: Way::Asked { .. } | Way::Leaving(_), .. }) | None => false,
        }
    }

    /// Asks for a relay, beside whatever else is tried. blind_relay.21, blind_relay.23
    pub(super) fn begin_relay(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        remote: u32,
        chosen: Option<(bool, Key, Key)>,
        keep_alive: Span,
    ) {
        let Some((initiator, relay, token)) = chosen else { return };
        let Some(stream) = self.conns.get(conn).map(|record| record.local) else { return };
        if self.through.len() >= limits::HYPERDHT_RELAYED_MAX {
            trace!(cx, Drop, "hyperdht", id: conn, rule: "blind_relay.21", "more relays than are asked at once");
            return;
        }
        // Whoever calls may name any key, and each costs a walk and a connection.
        let session =
            self.conns.get(conn).is_some_and(|record| matches!(record.stage, Stage::Session { .. }));
        let bidden = session && !initiator;
        if bidden && self.bidden() >= limits::HYPERDHT_RELAYS_BIDDEN_MAX {
            trace!(cx, Drop, "hyperdht", id: conn, rule: "blind_relay.29", "callers name too many relays");
            return;
        }
        trace!(
            cx, Out, "hyperdht", id: conn, peer: Short(&relay), rule: "blind_relay.20 blind_relay.21",
            "asks the relay, initiator: {initiator}"
        );
        self.stats.relays_asked += 1;
        self.through.insert(conn, Through { remote, way: Way::Asked { bidden } });
        self.outputs.push_back(Output::RelayAsk { conn, relay, initiator, token, stream, keep_alive });
    }

    /// Relays that are being asked because callers named them. blind_relay.29
    fn bidden(&self) -> usize {
        self.through.values().filter(|through| matches!(through.way, Way::Asked { bidden: true })).count()
    }

    /// The connection needs no relay, or no longer.
    pub(super) fn end_relay(&mut self, conn: ConnId) {
        self.timers.clear(Timer::Leaving(conn));
        if self.through.remove(&conn).is_some() {
            self.outputs.push_back(Output::RelayEnd { conn });
        }
    }

    /// The relay has paired the two sides. blind_relay.23
    pub(super) fn relay_paired(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        socket: SocketId,
        to: Addr,
        stream: u32,
    ) {
        let Some(through) = self.through.get_mut(&conn) else { return };
        if !matches!(through.way, Way::Asked { .. }) || to.port == 0 {
            return;
        }
        through.way = Way::Relayed { by: Leg { socket, to, stream }, alive: true };
        self.stats.relays_used += 1;
        trace!(cx, State, "hyperdht", id: conn, peer: to, rule: "blind_relay.23", "connected through the relay");
        self.outputs.push_back(Output::StreamConnect { conn, socket, remote: stream, to });
        match self.conns.get(conn).map(|record| &record.stage) {
            Some(Stage::Client(_)) => self.client_relayed(conn),
            Some(&Stage::Session { server, session }) => self.session_relayed(cx, server, session, conn),
            Some(Stage::Open { .. } | Stage::Ended) | None => {}
        }
    }

    /// The relay refused, does not answer, or is gone. blind_relay.23, blind_relay.28
    pub(super) fn relay_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(through) = self.through.get_mut(&conn) else { return };
        trace!(cx, State, "hyperdht", id: conn, rule: "blind_relay.23", "the relay is gone");
        match &mut through.way {
            Way::Asked { .. } => {
                self.through.remove(&conn);
                self.stats.relays_failed += 1;
                match self.conns.get(conn).map(|record| &record.stage) {
                    Some(Stage::Client(_)) => self.client_lost_relay(conn),
                    Some(&Stage::Session { server, session }) => {
                        self.session_lost_relay(cx, server, session);
                    }
                    Some(Stage::Open { .. } | Stage::Ended) | None => {}
                }
            }
            // The stream finds out by itself, or moves in time.
            Way::Relayed { alive, .. } => *alive = false,
            Way::Leaving(_) => {
                self.through.remove(&conn);
                self.timers.clear(Timer::Leaving(conn));
                self.outputs.push_back(Output::StreamForget { conn });
            }
        }
    }

    /// A direct path was found for a stream that goes through a relay. blind_relay.25
    pub(super) fn upgrade(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, to: Addr, path: Path) {
        let Some(through) = self.through.get_mut(&conn) else { return };
        let Way::Relayed { by, alive } = through.way else { return };
        let remote = through.remote;
        trace!(cx, State, "hyperdht", id: conn, peer: to, rule: "blind_relay.25", "goes on directly: {path:?}");
        self.outputs.push_back(Output::StreamMove { conn, socket, remote, to });
        self.stats.relays_left += 1;
        self.events.push_back(Event::Moved { conn, path });
        if !alive {
            self.through.remove(&conn);
            self.outputs.push_back(Output::StreamForget { conn }); // blind_relay.28
            return;
        }
        let (direct_at, elsewhere_at) = (cx.now, cx.now);
        through.way = Way::Leaving(Leaving { by, direct: 0, direct_at, elsewhere: 0, elsewhere_at });
        self.look(cx, conn);
    }

    pub(super) fn look(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.timers.set(Timer::Leaving(conn), cx.now + LOOK);
        self.outputs.push_back(Output::StreamLook { conn });
    }

    /// How many packets came directly, and otherwise, since the change. blind_relay.26, blind_relay.27
    pub(super) fn stream_heard(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        direct: u64,
        otherwise: u64,
        changing: bool,
    ) {
        let Some(through) = self.through.get_mut(&conn) else { return };
        let Way::Leaving(leaving) = &mut through.way else { return };
        if direct > leaving.direct {
            (leaving.direct, leaving.direct_at) = (direct, cx.now);
        }
        if otherwise > leaving.elsewhere {
            (leaving.elsewhere, leaving.elsewhere_at) = (otherwise, cx.now);
        }
        let Leaving { by, direct_at, elsewhere_at, .. } = *leaving;
        let (silent, quiet) = (cx.now.since(direct_at), cx.now.since(elsewhere_at));
        let back = match direct {
            0 => silent >= BACK,
            _ => silent >= BACK_AFTER && elsewhere_at > direct_at,
        };
        let left = !changing && (quiet >= QUIET && silent <= LATELY || quiet >= QUIET_MAX);
        if back {
            trace!(cx, State, "hyperdht", id: conn, rule: "blind_relay.26", "nothing came directly: back to the relay");
            through.way = Way::Relayed { by, alive: true };
            self.timers.clear(Timer::Leaving(conn));
            if let Some(Stage::Open { socket }) = self.conns.get_mut(conn).map(|record| &mut record.stage)
                && let Some(pooled) = socket.take()
            {
                self.timers.set(Timer::Socket(pooled), cx.now + BACK); // the other side may go back later
            }
            let Leg { socket, to, stream: remote } = by;
            self.outputs.push_back(Output::StreamMove { conn, socket, remote, to });
            self.events.push_back(Event::Moved { conn, path: Path::Relayed });
        } else if direct > 0 && left {
            trace!(cx, State, "hyperdht", id: conn, rule: "blind_relay.27", "the relay is left");
            self.end_relay(conn);
        }
    }
}
