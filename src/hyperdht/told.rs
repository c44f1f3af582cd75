//! What the transcript says at the borders of the machine: what it is asked and answered, what it asks, and which
//! deadlines come. Decisions tell of themselves where they are made.

use core::fmt::{self, Display, Formatter};

use super::*;
use crate::wire::hyperdht::{Handshake, Holepunch, HolepunchPayload, command, firewall, mode};

/// What was counted.
pub(super) struct Mark(Stats);

impl HyperDht {
    pub(super) fn mark(&self) -> Mark {
        Mark(self.stats)
    }

    /// Tells what was dropped since `was`.
    pub(super) fn tell(&self, cx: &mut Cx<'_>, from: Option<Addr>, Mark(was): &Mark) {
        let from = Peer(from);
        if self.stats.malformed > was.malformed {
            trace!(cx, Drop, "hyperdht", peer: from, rule: "hyperdht.2", "a request that makes no sense here");
        }
        if self.stats.handshakes_dropped > was.handshakes_dropped {
            trace!(cx, Drop, "hyperdht", peer: from, rule: "hyperdht.30", "a handshake beyond what is kept");
        }
        if self.stats.denied > was.denied {
            trace!(cx, Drop, "hyperdht", peer: from, rule: "hyperdht.35", "a handshake of a key that is not let in");
        }
    }

    pub(super) fn tell_input(&self, cx: &mut Cx<'_>, input: &Input) {
        match input {
            Input::Request(request) => {
                trace!(cx, In, "hyperdht", peer: request.from, rule: "hyperdht.1", "{}", Asked(request));
            }
            Input::Answer { tag, result } => {
                let Some(purpose) = self.tags.get(tag) else { return };
                match result {
                    Ok(reply) => {
                        let error = reply.error;
                        trace!(
                            cx, In, "hyperdht", id: Of(purpose), peer: reply.from, rule: "hyperdht.1",
                            "answer to {purpose}, error {error}"
                        );
                    }
                    Err(()) => trace!(cx, Step, "hyperdht", id: Of(purpose), "no answer to {purpose}"),
                }
            }
            Input::QueryReply { tag, reply } => {
                let Some(purpose) = self.tags.get(tag) else { return };
                let (error, len) = (reply.error, reply.value.as_ref().map_or(0, Vec::len));
                trace!(
                    cx, In, "hyperdht", id: Of(purpose), peer: reply.from, rule: "hyperdht.1",
                    "reply to {purpose}, error {error}, value of {len} bytes"
                );
            }
            Input::QueryDone { tag, ok, closest } => {
                let Some(purpose) = self.tags.get(tag) else { return };
                let (what, count) = (if *ok { "is over" } else { "came to nothing" }, closest.len());
                trace!(cx, Step, "hyperdht", id: Of(purpose), "{purpose} {what}, {count} closest");
            }
            Input::Bootstrapped
            | Input::Persistent
            | Input::NetworkUpdate { .. }
            | Input::NetworkChange
            | Input::Probe { .. }
            | Input::Bound { .. }
            | Input::BindFailed { .. }
            | Input::StreamConnected { .. }
            | Input::StreamClosed { .. }
            | Input::StreamCalled { .. }
            | Input::StreamHeard { .. }
            | Input::RelayPaired { .. }
            | Input::RelayClosed { .. }
            | Input::Status(_)
            | Input::Interfaces(_) => {}
        }
    }

    pub(super) fn tell_output(&self, cx: &mut Cx<'_>, output: &Output) {
        match output {
            Output::Ask { tag, ask } => {
                let Some(purpose) = self.tags.get(tag) else { return };
                trace!(cx, Out, "hyperdht", id: Of(purpose), peer: ask.to, rule: "hyperdht.1", "{purpose}");
            }
            Output::Query { tag, query } => {
                let Some(purpose) = self.tags.get(tag) else { return };
                let target = Short(&query.target);
                trace!(cx, Out, "hyperdht", id: Of(purpose), rule: "hyperdht.1", "{purpose} towards {target}");
            }
            Output::Respond { request, respond } => {
                let (to, error) = (respond.to.unwrap_or(request.from), respond.error);
                let (name, len) = (name(request.command), respond.value.as_ref().map_or(0, Vec::len));
                trace!(
                    cx, Out, "hyperdht", peer: to, rule: "hyperdht.1",
                    "answer to {name}, error {error}, value of {len} bytes"
                );
            }
            Output::Relay { request, to, .. } => {
                let (name, from) = (name(request.command), request.from);
                trace!(cx, Out, "hyperdht", peer: to, rule: "hyperdht.22", "{name} of {from} is passed on");
            }
            Output::Cancel { .. }
            | Output::CancelQuery { .. }
            | Output::Probe { .. }
            | Output::Bind { .. }
            | Output::Close { .. }
            | Output::StreamOpen { .. }
            | Output::StreamExpect { .. }
            | Output::StreamConnect { .. }
            | Output::StreamDestroy { .. }
            | Output::StreamMove { .. }
            | Output::StreamLook { .. }
            | Output::StreamForget { .. }
            | Output::RelayAsk { .. }
            | Output::RelayEnd { .. } => {}
        }
    }

    pub(super) fn tell_due(cx: &mut Cx<'_>, timer: Timer) {
        let rule = match timer {
            Timer::Attempt(_) => "hyperdht.19",
            Timer::Client(_) => "hyperdht.82 hyperdht.86 hyperdht.136",
            Timer::Walk(_) => "hyperdht.98",
            Timer::Late(_) => "hyperdht.165",
            Timer::SessionAbort(..) | Timer::SessionClear(..) => "hyperdht.36",
            Timer::Punch(_) => "hyperdht.66 hyperdht.131 hyperdht.132",
            Timer::Socket(_) => "",
            Timer::Leaving(_) => "blind_relay.26",
            Timer::Announce(_) => "hyperdht.52",
            Timer::AnnounceStuck(_) => "hyperdht.56",
            Timer::Unlisten(_) => "hyperdht.58",
            Timer::Records | Timer::Values => "hyperdht.40",
        };
        trace!(cx, Timer, "hyperdht", id: timer, rule: rule, "{}", timer.why());
    }
}

impl Timer {
    /// What it is for.
    pub(super) fn why(self) -> &'static str {
        match self {
            Timer::Attempt(_) => "an attempt to connect is over",
            Timer::Client(_) => "a client waited",
            Timer::Walk(_) => "what was known takes too long",
            Timer::Late(_) => "relays take long to answer",
            Timer::SessionAbort(..) => "a handshake came to nothing",
            Timer::SessionClear(..) => "forget a handshake",
            Timer::Punch(_) => "punch",
            Timer::Socket(_) => "close a socket",
            Timer::Leaving(_) => "look whether packets come directly",
            Timer::Announce(_) => "announce or ping relays",
            Timer::AnnounceStuck(_) => "an announcement is stuck",
            Timer::Unlisten(_) => "withdrawing takes too long",
            Timer::Records => "rotate records",
            Timer::Values => "rotate values",
        }
    }
}

impl Display for Timer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Timer::Attempt(conn)
            | Timer::Client(conn)
            | Timer::Walk(conn)
            | Timer::Late(conn)
            | Timer::Leaving(conn) => conn.fmt(f),
            Timer::SessionAbort(server, session) | Timer::SessionClear(server, session) => {
                SessionName(*server, *session).fmt(f)
            }
            Timer::Punch(punch) => punch.fmt(f),
            Timer::Socket(socket) => socket.fmt(f),
            Timer::Announce(server) | Timer::AnnounceStuck(server) | Timer::Unlisten(server) => server.fmt(f),
            Timer::Records | Timer::Values => Ok(()),
        }
    }
}

/// A handshake of a server.
pub(super) struct SessionName(pub ServerId, pub SessionId);

impl Display for SessionName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// What a side says in a holepunch round. Tokens are not shown, only that they are there.
pub(super) struct View<'a>(pub &'a HolepunchPayload);

impl Display for View<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let said = self.0;
        write!(
            f,
            "firewall {}, {} addresses",
            firewall_name(said.firewall),
            said.addresses.iter().flatten().count()
        )?;
        if said.error != 0 {
            write!(f, ", error {}", said.error)?;
        }
        for (there, name) in [
            (said.punching, ", punching"),
            (said.connected, ", connected"),
            (said.token.is_some(), ", with a token"),
            (said.remote_token.is_some(), ", with our token"),
        ] {
            if there {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

/// For what a question is asked.
struct Of<'a>(&'a Purpose);

impl Display for Of<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Purpose::FindPeer(conn)
            | Purpose::Handshake { conn, .. }
            | Purpose::LanPing { conn, .. }
            | Purpose::Round(conn)
            | Purpose::Farewell(conn) => conn.fmt(f),
            Purpose::Sample(punch) => punch.fmt(f),
            Purpose::AnnounceFind(server)
            | Purpose::Announce { server, .. }
            | Purpose::RelayPing { server, .. }
            | Purpose::Withdraw(server) => server.fmt(f),
            Purpose::WithdrawFind(withdrawal) => withdrawal.server().fmt(f),
            Purpose::Lookup(lookup) | Purpose::LookupWrite { lookup, .. } => lookup.fmt(f),
        }
    }
}

impl Display for Purpose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::FindPeer(_) => "the walk for relays",
            Purpose::Handshake { .. } => "the handshake",
            Purpose::LanPing { .. } => "the ping on the local network",
            Purpose::Round(_) => "the holepunch round",
            Purpose::Farewell(_) => "the word that nobody waits for a punch",
            Purpose::Sample(_) => "how do you see this socket",
            Purpose::AnnounceFind(_) => "the walk for nodes to announce to",
            Purpose::Announce { .. } => "the announcement",
            Purpose::RelayPing { .. } => "the ping of a relay",
            Purpose::WithdrawFind(_) => "the question for a token to withdraw with",
            Purpose::Withdraw(_) => "the withdrawal",
            Purpose::Lookup(_) => "the look-up",
            Purpose::LookupWrite { .. } => "the writing of what is looked up",
        })
    }
}

/// An address, or nothing.
struct Peer(Option<Addr>);

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |addr| addr.fmt(f))
    }
}

/// A request of another node.
struct Asked<'a>(&'a Request);

impl Display for Asked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Request { command, target, value, .. } = self.0;
        f.write_str(name(*command))?;
        if let Some(target) = target {
            write!(f, " for {}", Short(target))?;
        }
        let Some(value) = value else { return Ok(()) };
        let leg = match *command {
            command::PEER_HANDSHAKE => wire::decode::<Handshake>(value).ok().map(|message| message.mode),
            command::PEER_HOLEPUNCH => wire::decode::<Holepunch>(value).ok().map(|message| message.mode),
            _ => None,
        };
        match leg {
            Some(mode::FROM_CLIENT) => f.write_str(", from the client"),
            Some(mode::FROM_SERVER) => f.write_str(", from the server"),
            Some(mode::FROM_RELAY) => f.write_str(", from a relay"),
            Some(mode::FROM_SECOND_RELAY) => f.write_str(", from a second relay"),
            Some(mode) => write!(f, ", mode {mode}"),
            None => write!(f, ", value of {} bytes", value.len()),
        }
    }
}

fn name(command: u64) -> &'static str {
    match command {
        command::PEER_HANDSHAKE => "PEER_HANDSHAKE",
        command::PEER_HOLEPUNCH => "PEER_HOLEPUNCH",
        command::FIND_PEER => "FIND_PEER",
        command::LOOKUP => "LOOKUP",
        command::ANNOUNCE => "ANNOUNCE",
        command::UNANNOUNCE => "UNANNOUNCE",
        command::MUTABLE_PUT => "MUTABLE_PUT",
        command::MUTABLE_GET => "MUTABLE_GET",
        command::IMMUTABLE_PUT => "IMMUTABLE_PUT",
        command::IMMUTABLE_GET => "IMMUTABLE_GET",
        _ => "an unknown command",
    }
}

/// What a side says of its NAT.
pub(super) fn firewall_name(class: u64) -> &'static str {
    match class {
        firewall::UNKNOWN => "unknown",
        firewall::OPEN => "open",
        firewall::CONSISTENT => "consistent",
        firewall::RANDOM => "random",
        _ => "of another kind",
    }
}
