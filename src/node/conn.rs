//! One connection: its transport stream, its cipher, and either plain messages or channels with calls and cores on
//! them. What moves between these is carried here; what leaves a connection is carried in `route.rs`.

use std::collections::BTreeMap;

use super::stores::{CoreId, StoreId};
use super::{CallId, CallState, Closed, Event, Node, RpcId, told};
use crate::base::hex::Short;
use crate::base::{Cx, Deadline, Error, Key, Machine, Span, limits, trace};
use crate::blind_relay::{self, ClientInput, RelayInput};
use crate::hypercore::replicate;
use crate::hyperdht::{ConnId, ServerId};
use crate::protomux::{self, ChannelId, Protomux};
use crate::protomux_rpc::{self, Rpc, Values};
use crate::secret_stream::{self, SecretStream};
use crate::udx::StreamId;

/// What a channel is for.
pub(super) enum Use {
    Rpc(RpcId, Box<Rpc>),
    Core(CoreId, replicate::PeerId),
    /// We ask a blind relay.
    Pairing(Box<blind_relay::Client>),
    /// We are a blind relay, and the other side asks.
    Relay(blind_relay::SessionId),
}

/// A connection whose keys are known.
pub(super) struct Conn {
    pub key: Key,
    pub server: Option<ServerId>,
    pub initiator: bool,
    pub stream: StreamId,
    pub handshake_hash: [u8; 64],
    pub secret: SecretStream,
    pub mux: Option<Protomux>,
    pub channels: BTreeMap<ChannelId, Use>,
    /// Stores whose cores are replicated here.
    pub stores: Vec<StoreId>,
    /// Remote opens that nobody has answered yet.
    pub wanted: Vec<(String, Option<Vec<u8>>)>,
    pub why: Option<Closed>,
    /// The transport holds more than it likes.
    pub full: bool,
    /// The round trip time that the peers of cores were told.
    pub rtt: Span,
    /// From the moment we began to connect; zero if the other side did.
    pub took: Span,
    /// The program knows of it. A connection of the swarm is told of once hyperswarm keeps it.
    pub told: bool,
}

impl Conn {
    /// Something waits to be carried on.
    fn has_news(&self) -> bool {
        self.secret.has_news() || self.mux.as_ref().is_some_and(Protomux::has_news)
    }
}

impl Node {
    pub(super) fn touch(&mut self, conn: ConnId) {
        self.touched_conns.insert(conn);
    }

    /// Carries values inside connection `id` until nothing moves.
    pub(super) fn settle_conn(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        cx.within(id.place(), |cx| self.settle_within(cx, id));
    }

    fn settle_within(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        for _ in 0..limits::SETTLE_ROUNDS_MAX {
            self.take_messages(cx, id);
            self.take_channel_events(cx, id);
            self.take_calls(cx, id);
            self.take_pairings(cx, id);
            self.send_messages(cx, id);
            // Each step hands on to later ones; only the last may give the first ones something again.
            if !self.conns.get(&id).is_some_and(Conn::has_news) {
                break;
            }
        }
        self.tell_rtt(cx, id);
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.mux.as_ref().is_some_and(Protomux::gathers) {
            self.gathering.insert(id);
        }
        let deadline = conn.channels.values().fold(conn.secret.poll_timeout(), |earliest, used| match used {
            Use::Rpc(_, rpc) => Deadline::earliest(earliest, rpc.poll_timeout()),
            Use::Pairing(client) => Deadline::earliest(earliest, client.poll_timeout()),
            Use::Core(..) | Use::Relay(_) => earliest,
        });
        // One that moved away is seen to when it would have come: each message moves the keep-alive.
        if let Some(deadline) = deadline
            && self.conn_deadlines.get(id).is_none_or(|known| deadline.at < known)
        {
            self.conn_deadlines.set(id, deadline.at);
        }
    }

    /// Lets go what was gathered in this turn: what the program asked for between two polls shares messages and
    /// packets.
    pub(super) fn let_go(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..limits::SETTLE_ROUNDS_MAX {
            if !self.touched_conns.is_empty() {
                self.settle(cx);
            }
            if self.gathering.is_empty() {
                return;
            }
            let mut gathering = core::mem::take(&mut self.gathering);
            while let Some(id) = gathering.pop_first() {
                cx.within(id.place(), |cx| self.let_go_within(cx, id));
                let told = self.settle_udx(cx);
                if told || self.conns.get(&id).is_some_and(Conn::has_news) {
                    self.touch(id);
                }
            }
        }
    }

    /// Writes all that connection `id` was asked to send.
    pub(super) fn let_go_within(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        self.take_calls(cx, id);
        self.send_messages(cx, id);
        if let Some(mux) = self.conns.get_mut(&id).and_then(|conn| conn.mux.as_mut()) {
            mux.write_gathered();
            self.send_messages(cx, id);
        }
    }

    /// A call was made or answered on `id`, and `unsent` bytes of such wait: a few wait for the end of the turn.
    pub(super) fn after_call(&mut self, cx: &mut Cx<'_>, id: ConnId, unsent: usize) {
        self.touch(id);
        if unsent > limits::MUX_GATHERED_MAX {
            self.settle(cx);
        }
    }

    /// transport → cores: the round trip time, when it has changed by a quarter (how much is asked at once
    /// hangs on it).
    fn tell_rtt(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !conn.channels.values().any(|used| matches!(used, Use::Core(..))) {
            return;
        }
        let Some(rtt) = self.udx.stats(conn.stream).and_then(|stats| stats.rtt) else { return };
        let (now, told) = (rtt.as_micros(), conn.rtt.as_micros());
        if now.abs_diff(told) <= told / 4 {
            return;
        }
        conn.rtt = rtt;
        self.tell_peers(cx, id, |peer| replicate::Input::Rtt { peer, rtt });
    }

    pub(super) fn conn_timeout(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        cx.within(id.place(), |cx| {
            conn.secret.handle_timeout(cx);
            for used in conn.channels.values_mut() {
                match used {
                    Use::Rpc(_, rpc) => rpc.handle_timeout(cx),
                    Use::Pairing(client) => client.handle_timeout(cx),
                    Use::Core(..) | Use::Relay(_) => {}
                }
            }
        });
        self.touch(id);
    }

    /// secret stream → channels, or → the program.
    fn take_messages(&mut self, cx: &mut Cx<'_>, id: ConnId) -> bool {
        let mut moved = false;
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return moved };
            let Some(event) = conn.secret.poll_event() else { return moved };
            moved = true;
            match event {
                secret_stream::Event::Open { .. } => {}
                // hyperswarm may not keep it, and then it is not the program's.
                secret_stream::Event::Unordered(bytes) => {
                    if conn.told {
                        self.tell(Event::Unordered { conn: id, bytes });
                    }
                }
                secret_stream::Event::Message(bytes) => match &mut conn.mux {
                    Some(mux) => {
                        mux.handle_input(cx, protomux::Input::Owned(bytes));
                        self.take_channel_events(cx, id);
                    }
                    None => self.tell(Event::Data { conn: id, bytes }),
                },
                secret_stream::Event::Ended => {
                    // A connection that hyperswarm does not keep is not the program's.
                    let (channels, told) = (conn.mux.is_some(), conn.told);
                    // The reference's channels end their own side when the other side ends.
                    if channels {
                        self.let_go_within(cx, id);
                    }
                    if channels && let Some(conn) = self.conns.get_mut(&id) {
                        conn.secret.end(cx);
                    }
                    if told {
                        self.tell(Event::Ended { conn: id });
                    }
                }
                secret_stream::Event::Closed(why) => {
                    conn.why.get_or_insert(Closed::Stream(why));
                }
            }
        }
    }

    /// channels → calls, cores, stores.
    fn take_channel_events(&mut self, cx: &mut Cx<'_>, id: ConnId) -> bool {
        let mut moved = false;
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return moved };
            let Some(mux) = &mut conn.mux else { return moved };
            let Some(event) = mux.poll_event() else { return moved };
            moved = true;
            if cx.trace.on() {
                told::channel_event(cx, &event);
            }
            match event {
                protomux::Event::Wanted { protocol, id: name } => {
                    if protocol == blind_relay::PROTOCOL && self.accept_session(cx, id, name.as_deref()) {
                        continue;
                    }
                    let Some(conn) = self.conns.get_mut(&id) else { return moved };
                    conn.wanted.push((protocol, name));
                    self.wanting.insert(id);
                    self.serve_wanted_cores(cx, id);
                }
                protomux::Event::Opened { channel, handshake } => match conn.channels.get_mut(&channel) {
                    Some(Use::Rpc(rpc_id, rpc)) => {
                        let rpc_id = *rpc_id;
                        rpc.handle_input(cx, protomux_rpc::Input::Opened);
                        self.tell(Event::RpcOpened { rpc: rpc_id, conn: id });
                    }
                    Some(Use::Core(core, peer)) => {
                        let (core, peer) = (*core, *peer);
                        let (hash, initiator) = (conn.handshake_hash, conn.initiator);
                        // It is told again, for the new one.
                        conn.rtt = Span::ZERO;
                        self.open_peer(cx, core, peer, &handshake, &hash, initiator);
                    }
                    Some(Use::Pairing(_) | Use::Relay(_)) => {}
                    None => {
                        let _ = mux.close(cx, channel);
                    }
                },
                protomux::Event::Drained => {
                    self.tell_peers(cx, id, |peer| replicate::Input::Writable { peer, writable: true });
                }
                protomux::Event::Message { channel, kind, bytes } => match conn.channels.get_mut(&channel) {
                    Some(Use::Rpc(_, rpc)) => {
                        rpc.handle_input(cx, protomux_rpc::Input::Message { kind, bytes: &bytes });
                    }
                    Some(Use::Core(core, peer)) => {
                        let (core, peer) = (*core, *peer);
                        self.tell_core(cx, core, replicate::Input::Message { peer, kind, bytes: &bytes });
                    }
                    Some(Use::Pairing(_) | Use::Relay(_)) => {
                        self.relay_message(cx, id, channel, kind, &bytes);
                    }
                    None => {}
                },
                protomux::Event::Closed { channel, .. } => self.channel_closed(cx, id, channel),
            }
        }
    }

    /// Tells the core of every peer on a connection something about it.
    fn tell_peers(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        what: impl Fn(replicate::PeerId) -> replicate::Input<'static>,
    ) {
        let Some(conn) = self.conns.get(&id) else { return };
        let peers: Vec<_> = conn
            .channels
            .values()
            .filter_map(|used| match used {
                Use::Core(core, peer) => Some((*core, *peer)),
                Use::Rpc(..) | Use::Pairing(_) | Use::Relay(_) => None,
            })
            .collect();
        for (core, peer) in peers {
            self.tell_core(cx, core, what(peer));
        }
    }

    fn channel_closed(&mut self, cx: &mut Cx<'_>, id: ConnId, channel: ChannelId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match conn.channels.remove(&channel) {
            Some(Use::Rpc(rpc_id, mut rpc)) => {
                rpc.handle_input(cx, protomux_rpc::Input::Closed);
                while let Some(event) = rpc.poll_event() {
                    self.take_call(id, rpc_id, event);
                }
                self.rpcs.remove(rpc_id);
                self.forget_calls(rpc_id);
                self.tell(Event::RpcClosed { rpc: rpc_id, conn: id });
            }
            Some(Use::Core(core, peer)) => {
                if let Some(place) = self.peers.get_mut(&peer) {
                    place.channel = None;
                }
                self.tell_core(cx, core, replicate::Input::PeerClosed { peer });
            }
            Some(Use::Pairing(mut client)) => {
                client.handle_input(cx, ClientInput::Closed);
                self.leg_over(cx, id);
            }
            Some(Use::Relay(session)) => self.tell_relay(cx, RelayInput::Closed { session }),
            None => {}
        }
    }

    /// Calls on a channel that is closed can be answered no more, also if the program never tries to.
    fn forget_calls(&mut self, closed: RpcId) {
        let theirs = |state: &CallState| matches!(state, CallState::Theirs { rpc, .. } if *rpc == closed);
        let gone: Vec<CallId> =
            self.calls.iter().filter(|(_, state)| theirs(state)).map(|(id, _)| id).collect();
        for call in gone {
            self.calls.remove(call);
        }
    }

    /// calls → the program; calls' messages → channels.
    fn take_calls(&mut self, cx: &mut Cx<'_>, id: ConnId) -> bool {
        let mut moved = false;
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let Some(mux) = &mut conn.mux else { return false };
        let mut told = core::mem::take(&mut self.called);
        let mut ended = Vec::new();
        let mut broken = None;
        for (&channel, used) in &mut conn.channels {
            let Use::Rpc(rpc_id, rpc) = used else { continue };
            while let Some(event) = rpc.poll_event() {
                told.push((*rpc_id, event));
            }
            while let Some(output) = rpc.poll_output(cx) {
                moved = true;
                match output {
                    protomux_rpc::Output::Message { kind, bytes } => {
                        let _ = mux.send(cx, channel, kind, &bytes);
                    }
                    protomux_rpc::Output::Close => ended.push(channel),
                    protomux_rpc::Output::Destroy(fault) => broken = Some(fault),
                }
            }
        }
        if let Some(fault) = broken {
            conn.why.get_or_insert(Closed::Channels(protomux::Fault::Malformed(fault)));
            conn.secret.destroy(cx);
        }
        moved |= !told.is_empty();
        for (rpc_id, event) in told.drain(..) {
            self.take_call(id, rpc_id, event);
        }
        self.called = told;
        for channel in ended {
            if let Some(mux) = self.conns.get_mut(&id).and_then(|conn| conn.mux.as_mut()) {
                let _ = mux.close(cx, channel);
            }
            self.channel_closed(cx, id, channel);
        }
        moved
    }

    fn take_call(&mut self, conn: ConnId, rpc: RpcId, event: protomux_rpc::Event) {
        match event {
            protomux_rpc::Event::Call { call, method, value } => {
                let Some(from) = self.conns.get(&conn).map(|conn| conn.key) else { return };
                let call = self.calls.insert(CallState::Theirs { rpc, call });
                self.tell(Event::Call { call, rpc, conn, from, method, body: value });
            }
            protomux_rpc::Event::Answer { request, result } => {
                if let Some(call) = self.asked.remove(&(rpc, request)) {
                    self.calls.remove(call);
                    self.tell(Event::Answer { call, result });
                }
            }
            protomux_rpc::Event::Opened | protomux_rpc::Event::Notice { .. } | protomux_rpc::Event::Ended => {
            }
        }
    }

    /// channels → secret stream → transport.
    fn send_messages(&mut self, cx: &mut Cx<'_>, id: ConnId) -> bool {
        let mut moved = false;
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if let Some(mux) = &mut conn.mux {
            while let Some(output) = mux.poll_output(cx) {
                moved = true;
                match output {
                    protomux::Output::Message(bytes) => {
                        if conn.secret.send(cx, &bytes).is_err() {
                            conn.why.get_or_insert(Closed::Dropped);
                            conn.secret.destroy(cx);
                        }
                    }
                    protomux::Output::Reading(on) => {
                        let _ = self.udx.set_reading(cx, conn.stream, on);
                    }
                    protomux::Output::Destroy(fault) => {
                        conn.why.get_or_insert(Closed::Channels(fault));
                        conn.secret.destroy(cx);
                    }
                }
            }
        }
        while let Some(output) = conn.secret.poll_output(cx) {
            moved = true;
            match output {
                secret_stream::Output::Write(bytes) => match self.udx.write_owned(cx, conn.stream, bytes) {
                    Ok(drained) => {
                        if conn.full == drained
                            && let Some(mux) = &mut conn.mux
                        {
                            mux.handle_input(cx, protomux::Input::Writable(drained));
                        }
                        conn.full = !drained;
                    }
                    Err(Error::Full) => {
                        conn.why.get_or_insert(Closed::Dropped);
                        let _ = self.udx.destroy(cx, conn.stream);
                    }
                    Err(_) => {}
                },
                secret_stream::Output::Send(bytes) => {
                    let _ = self.udx.send(cx, conn.stream, &bytes);
                }
                secret_stream::Output::End => {
                    let _ = self.udx.end(cx, conn.stream);
                }
                secret_stream::Output::Destroy => {
                    let _ = self.udx.destroy(cx, conn.stream);
                }
            }
        }
        moved
    }

    /// The transport of `id` is gone: everything on it ends.
    pub(super) fn conn_gone(&mut self, cx: &mut Cx<'_>, id: ConnId, transport: Closed) {
        cx.within(id.place(), |cx| self.gone_within(cx, id, transport));
    }

    fn gone_within(&mut self, cx: &mut Cx<'_>, id: ConnId, transport: Closed) {
        if !self.conns.contains_key(&id) {
            return;
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.secret.handle_input(cx, secret_stream::Input::Closed);
        }
        self.take_messages(cx, id);
        let channels: Vec<ChannelId> =
            self.conns.get(&id).map(|conn| conn.channels.keys().copied().collect()).unwrap_or_default();
        for channel in channels {
            self.channel_closed(cx, id, channel);
        }
        self.peers_gone(cx, id);
        let Some(conn) = self.conns.remove(&id) else { return };
        self.conn_deadlines.clear(id);
        self.pools.forget(id);
        self.touched_conns.remove(id);
        let why = match conn.why {
            Some(Closed::Stream(secret_stream::Why::Ended | secret_stream::Why::Cut)) | None => transport,
            Some(why) => why,
        };
        trace!(cx, State, "node", id: id, peer: Short(&conn.key), "closed: {why:?}");
        self.swarm_closed(cx, id);
        self.leg_closed(cx, id);
        if conn.told {
            self.tell(Event::Closed { conn: id, why });
        }
    }

    /// Refuses remote opens that the program has had its chance to want.
    pub(super) fn refuse_unwanted(&mut self, cx: &mut Cx<'_>) {
        if !self.drained {
            return;
        }
        while let Some(id) = self.wanting.pop_first() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let Some(mux) = &mut conn.mux else { continue };
            for (protocol, name) in conn.wanted.drain(..) {
                cx.within(id.place(), |cx| {
                    // It was closed meanwhile.
                    let _ = mux.reject(cx, &protocol, name.as_deref());
                });
            }
            self.touch(id);
        }
    }

    pub(super) fn find_rpc(&mut self, rpc: RpcId) -> Option<(ConnId, &mut Rpc)> {
        let &(id, channel) = self.rpcs.get(rpc)?;
        match self.conns.get_mut(&id)?.channels.get_mut(&channel)? {
            Use::Rpc(_, machine) => Some((id, machine)),
            Use::Core(..) | Use::Pairing(_) | Use::Relay(_) => None,
        }
    }

    pub(super) fn open_rpc(&mut self, cx: &mut Cx<'_>, id: ConnId, name: &[u8]) -> Result<RpcId, Error> {
        let conn = self.conns.get_mut(&id).ok_or(Error::Gone)?;
        let mux = conn.mux.as_mut().ok_or(Error::Invalid("a connection without channels"))?;
        let open = protomux::Open {
            protocol: protomux_rpc::PROTOCOL,
            id: Some(name),
            aliases: &[],
            handshake: &[],
            unique: true,
        };
        let channel = cx.within(id.place(), |cx| mux.open(cx, open))?;
        conn.wanted.retain(|(protocol, wanted)| {
            !(protocol == protomux_rpc::PROTOCOL && wanted.as_deref() == Some(name))
        });
        let rpc = self.rpcs.insert((id, channel));
        conn.channels.insert(channel, Use::Rpc(rpc, Box::new(Rpc::new(Values::Buffer))));
        self.touch(id);
        Ok(rpc)
    }

    pub(super) fn make_call(
        &mut self,
        cx: &mut Cx<'_>,
        rpc: RpcId,
        method: &str,
        body: &[u8],
        timeout: Option<Span>,
    ) -> Result<CallId, Error> {
        let &(on, _) = self.rpcs.get(rpc).ok_or(Error::Gone)?;
        if self.conns.get(&on).is_some_and(|conn| conn.full) {
            return Err(Error::Full);
        }
        let (conn, machine) = self.find_rpc(rpc).ok_or(Error::Gone)?;
        let request = cx.within(conn.place(), |cx| machine.request(cx, method, body, timeout))?;
        let unsent = machine.unsent_bytes();
        self.after_call(cx, conn, unsent);
        let call = self.calls.insert(CallState::Ours);
        self.asked.insert((rpc, request), call);
        Ok(call)
    }
}
