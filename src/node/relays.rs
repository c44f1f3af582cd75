//! Blind relays on this node: the connections that it makes to relays for streams of its own, and the relay that it is
//! for others, if it is one. What they decide is in `blind_relay` and `hyperdht::through`.

use std::collections::BTreeMap;

use super::conn::Use;
use super::{ConnId, Dialing, Node};
use crate::base::{Cx, Deadline, Error, Key, Machine, Span};
use crate::blind_relay::{
    self, Client, ClientEvent, ClientInput, ClientOutput, PairId, Relay, RelayInput, RelayOutput, SessionId,
};
use crate::hyperdht::{self, ConnectOptions};
use crate::protomux::{self, ChannelId};
use crate::udx::{self, StreamId};

/// What a relay is asked, for one connection.
pub(super) struct Asked {
    /// The connection to the relay.
    leg: ConnId,
    initiator: bool,
    token: Key,
    stream: u32,
    keep_alive: Span,
}

/// Of a node that has relays.
#[derive(Default)]
pub(super) struct Relays {
    /// Through which the program's connections may go.
    pub default: Vec<Key>,
    /// By the connection that it is for.
    asked: BTreeMap<ConnId, Asked>,
    /// Connections to relays, and what each is for.
    legs: BTreeMap<ConnId, ConnId>,
    /// This node is a relay.
    relay: Option<Relay>,
    sessions: BTreeMap<SessionId, (ConnId, ChannelId)>,
    pairs: BTreeMap<PairId, [StreamId; 2]>,
    streams: BTreeMap<StreamId, PairId>,
}

impl Relays {
    /// Whether a connection leads to a relay that this node asked: nobody else is told of it.
    pub fn is_leg(&self, conn: ConnId) -> bool {
        self.legs.contains_key(&conn)
    }

    pub fn deadline(&self) -> Option<Deadline> {
        self.relay.as_ref().and_then(Relay::poll_timeout)
    }
}

impl Node {
    // ---- relays that are asked

    /// blind_relay.21
    pub(super) fn ask_relay(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Key,
        asked: (bool, Key, u32, Span),
    ) {
        let Some(key_pair) = self.dht.relay_key_pair(conn) else {
            return self.dht.handle_input(cx, hyperdht::Input::RelayClosed { conn });
        };
        let public = key_pair.public;
        let options = ConnectOptions { follow_relay: false, ..ConnectOptions::new(key_pair) };
        let leg = self.dht.connect(cx, relay, options);
        let dialing = Dialing { key: relay, public, channels: true, swarm: false, since: cx.now };
        self.dialing.insert(leg, dialing);
        let (initiator, token, stream, keep_alive) = asked;
        self.relays.asked.insert(conn, Asked { leg, initiator, token, stream, keep_alive });
        self.relays.legs.insert(leg, conn);
    }

    /// The connection to a relay is open: ask it to pair.
    pub(super) fn leg_open(&mut self, cx: &mut Cx<'_>, leg: ConnId, public: Key) {
        let Some(&conn) = self.relays.legs.get(&leg) else { return };
        let (Some(asked), Some(open)) = (self.relays.asked.get(&conn), self.conns.get_mut(&leg)) else {
            return;
        };
        open.secret.set_keep_alive(cx, Some(asked.keep_alive));
        let Some(mux) = &mut open.mux else { return };
        let named = protomux::Open::new(blind_relay::PROTOCOL, Some(&public));
        let Ok(channel) = cx.within(leg.place(), |cx| mux.open(cx, named)) else { return };
        let mut client = Client::new();
        // No other asks on this channel, so that there is room.
        let patience = hyperdht::RELAY_PATIENCE;
        let _ = client.pair(cx, asked.initiator, asked.token, asked.stream, patience);
        open.channels.insert(channel, Use::Pairing(Box::new(client)));
        self.touch(leg);
    }

    /// The connection to a relay is no more, or never was.
    pub(super) fn leg_closed(&mut self, cx: &mut Cx<'_>, leg: ConnId) {
        let Some(conn) = self.relays.legs.remove(&leg) else { return };
        if self.relays.asked.remove(&conn).is_some() {
            self.dht.handle_input(cx, hyperdht::Input::RelayClosed { conn });
        }
    }

    /// The relay refused, or closed the channel: the connection to it is of no use.
    pub(super) fn leg_over(&mut self, cx: &mut Cx<'_>, leg: ConnId) {
        let Some(conn) = self.relays.legs.get(&leg).copied() else { return };
        if self.relays.asked.remove(&conn).is_some() {
            self.dht.handle_input(cx, hyperdht::Input::RelayClosed { conn });
        }
        self.drop_conn(cx, leg);
    }

    /// The connection `conn` needs its relay no longer.
    pub(super) fn end_leg(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(stream) = self.streams.get(&conn) {
            let _ = self.udx.set_roaming(cx, *stream, false);
        }
        let Some(asked) = self.relays.asked.remove(&conn) else { return };
        let leg = asked.leg;
        match self.conns.get_mut(&leg) {
            // `legs` keeps it, so that nobody is told of its end.
            Some(open) => {
                cx.within(leg.place(), |cx| open.secret.end(cx));
                self.touch(leg);
            }
            None => {
                self.relays.legs.remove(&leg);
                self.drop_conn(cx, leg);
            }
        }
    }

    /// What a relay answered on connection `leg`.
    pub(super) fn take_pairings(&mut self, cx: &mut Cx<'_>, leg: ConnId) -> bool {
        let (mut moved, mut news, mut broken) = (false, Vec::new(), None);
        let Some(open) = self.conns.get_mut(&leg) else { return false };
        let Some(mux) = &mut open.mux else { return false };
        for (&channel, used) in &mut open.channels {
            let Use::Pairing(client) = used else { continue };
            while let Some(event) = client.poll_event() {
                news.push(event);
            }
            while let Some(output) = client.poll_output(cx) {
                moved = true;
                match output {
                    ClientOutput::Message { kind, bytes } => drop(mux.send(cx, channel, kind, &bytes)),
                    ClientOutput::Close => drop(mux.close(cx, channel)),
                    ClientOutput::Destroy(fault) => broken = Some(fault),
                }
            }
        }
        if let Some(fault) = broken {
            open.why.get_or_insert(super::Closed::Channels(protomux::Fault::Malformed(fault)));
            open.secret.destroy(cx);
        }
        moved |= !news.is_empty();
        for event in news {
            self.take_pairing(cx, leg, event);
        }
        moved
    }

    fn take_pairing(&mut self, cx: &mut Cx<'_>, leg: ConnId, event: ClientEvent) {
        let Some(&conn) = self.relays.legs.get(&leg) else { return };
        match event {
            ClientEvent::Paired { stream, .. } => {
                let through = self.conns.get(&leg).and_then(|open| self.udx.remote(open.stream));
                let (Some((socket, to)), Some(&own)) = (through, self.streams.get(&conn)) else { return };
                let _ = self.udx.set_roaming(cx, own, true); // blind_relay.25
                self.dht.handle_input(cx, hyperdht::Input::RelayPaired { conn, socket, to, stream });
            }
            ClientEvent::Failed { .. } => self.leg_over(cx, leg),
        }
    }

    /// hyperdht wants to know what comes on a stream that leaves its relay. blind_relay.26
    pub(super) fn look_at_stream(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(&stream) = self.streams.get(&conn) else { return };
        let _ = self.udx.send(cx, stream, &[]);
        let Some(stats) = self.udx.stats(stream) else { return };
        let udx::Stats { from_remote: direct, from_elsewhere: elsewhere, changing, .. } = stats;
        self.dht.handle_input(cx, hyperdht::Input::StreamHeard { conn, direct, elsewhere, changing });
    }

    // ---- the relay that this node is

    /// From now on this node is a blind relay for whoever connects to it (with channels).
    pub(super) fn serve_relay(&mut self, bounds: blind_relay::Bounds) {
        self.relays.relay = Some(Relay::new(bounds));
    }

    pub(super) fn relay_stats(&self) -> Option<blind_relay::Stats> {
        self.relays.relay.as_ref().map(Relay::stats)
    }

    pub(super) fn close_relay(&mut self, cx: &mut Cx<'_>) {
        if let Some(relay) = &mut self.relays.relay {
            relay.close(cx);
        }
    }

    /// The other side of connection `id` opened a channel to a relay. True: it has one now.
    pub(super) fn accept_session(&mut self, cx: &mut Cx<'_>, id: ConnId, name: Option<&[u8]>) -> bool {
        let Some(relay) = &mut self.relays.relay else { return false };
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        // blind_relay.1
        if name != Some(&conn.key[..]) || conn.channels.values().any(|used| matches!(used, Use::Relay(_))) {
            return false;
        }
        let Some(mux) = &mut conn.mux else { return false };
        let Ok(session) = relay.accept(cx) else { return false };
        let named = protomux::Open::new(blind_relay::PROTOCOL, name);
        let Ok(channel) = cx.within(id.place(), |cx| mux.open(cx, named)) else {
            relay.handle_input(cx, RelayInput::Closed { session });
            return false;
        };
        conn.channels.insert(channel, Use::Relay(session));
        self.relays.sessions.insert(session, (id, channel));
        true
    }

    pub(super) fn tell_relay(&mut self, cx: &mut Cx<'_>, input: RelayInput<'_>) {
        if let RelayInput::Closed { session } = &input {
            self.relays.sessions.remove(session);
        }
        if let Some(relay) = &mut self.relays.relay {
            relay.handle_input(cx, input);
        }
    }

    pub(super) fn relay_timeout(&mut self, cx: &mut Cx<'_>) {
        if let Some(relay) = &mut self.relays.relay
            && relay.poll_timeout().is_some_and(|deadline| deadline.at <= cx.now)
        {
            relay.handle_timeout(cx);
        }
    }

    /// The relay → its channels and streams.
    pub(super) fn settle_relay(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut moved = false;
        while let Some(output) = self.relays.relay.as_mut().and_then(|relay| relay.poll_output(cx)) {
            moved = true;
            self.do_for_relay(cx, output);
        }
        // Its figures say it all.
        while self.relays.relay.as_mut().and_then(Relay::poll_event).is_some() {}
        moved
    }

    fn do_for_relay(&mut self, cx: &mut Cx<'_>, output: RelayOutput) {
        match output {
            RelayOutput::Message { session, kind, bytes } => self.on_session(session, |conn, channel| {
                if let Some(mux) = &mut conn.mux {
                    let _ = mux.send(cx, channel, kind, &bytes);
                }
            }),
            RelayOutput::Close { session } => {
                self.on_session(session, |conn, channel| {
                    if let Some(mux) = &mut conn.mux {
                        let _ = mux.close(cx, channel);
                    }
                    conn.channels.remove(&channel);
                });
                self.relays.sessions.remove(&session);
            }
            RelayOutput::Destroy { session, malformed } => {
                self.on_session(session, |conn, _| {
                    conn.why.get_or_insert(super::Closed::Channels(protomux::Fault::Malformed(malformed)));
                    conn.secret.destroy(cx);
                });
                self.relays.sessions.remove(&session);
            }
            RelayOutput::Open { pair, remotes } => {
                let streams = self.open_pair(cx, pair, remotes).ok();
                self.tell_relay(cx, RelayInput::Opened { pair, streams });
            }
            RelayOutput::Look { pair } => {
                let Some(streams) = self.relays.pairs.get(&pair) else { return };
                let packets = streams.map(|id| self.udx.stats(id).map_or(0, |stats| stats.packets_in));
                self.tell_relay(cx, RelayInput::Heard { pair, packets });
            }
            RelayOutput::End { pair } => {
                let streams = self.relays.pairs.remove(&pair);
                for stream in streams.into_iter().flatten() {
                    self.relays.streams.remove(&stream);
                    let _ = self.udx.destroy(cx, stream);
                }
            }
        }
    }

    fn on_session(&mut self, session: SessionId, act: impl FnOnce(&mut super::Conn, ChannelId)) {
        let Some(&(id, channel)) = self.relays.sessions.get(&session) else { return };
        if let Some(conn) = self.conns.get_mut(&id) {
            act(conn, channel);
            self.touch(id);
        }
    }

    /// Two streams that pass on to each other. blind_relay.5, blind_relay.6
    fn open_pair(&mut self, cx: &mut Cx<'_>, pair: PairId, remotes: [u32; 2]) -> Result<[u32; 2], Error> {
        let (one, first) = self.open_side(cx, remotes[0])?;
        let (other, second) = match self.open_side(cx, remotes[1]) {
            Ok(opened) => opened,
            Err(error) => {
                let _ = self.udx.destroy(cx, one);
                return Err(error);
            }
        };
        self.udx.relay_to(cx, one, other)?;
        self.udx.relay_to(cx, other, one)?;
        self.relays.pairs.insert(pair, [one, other]);
        self.relays.streams.insert(one, pair);
        self.relays.streams.insert(other, pair);
        Ok([first, second])
    }

    fn open_side(&mut self, cx: &mut Cx<'_>, remote: u32) -> Result<(StreamId, u32), Error> {
        let local = loop {
            let drawn = cx.entropy.u32();
            if drawn != 0 && self.udx.by_local(drawn).is_none() {
                break drawn;
            }
        };
        let stream = self.udx.open(cx, local)?;
        self.udx.expect(cx, stream, remote)?;
        Ok((stream, local))
    }

    /// A stream has closed. True: it was one of the relay's.
    pub(super) fn relay_stream_closed(&mut self, cx: &mut Cx<'_>, stream: StreamId) -> bool {
        let Some(pair) = self.relays.streams.remove(&stream) else { return false };
        for other in self.relays.pairs.remove(&pair).into_iter().flatten() {
            self.relays.streams.remove(&other);
            let _ = self.udx.destroy(cx, other);
        }
        self.tell_relay(cx, RelayInput::Gone { pair });
        true
    }

    /// A message on a channel of a relay, or to one.
    pub(super) fn relay_message(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        channel: ChannelId,
        kind: u64,
        bytes: &[u8],
    ) {
        let used = self.conns.get_mut(&id).and_then(|conn| conn.channels.get_mut(&channel));
        match used {
            Some(Use::Pairing(client)) => client.handle_input(cx, ClientInput::Message { kind, bytes }),
            Some(Use::Relay(session)) => {
                let session = *session;
                self.tell_relay(cx, RelayInput::Message { session, kind, bytes });
            }
            Some(Use::Rpc(..) | Use::Core(..)) | None => {}
        }
    }
}
