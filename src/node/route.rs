//! The wiring. After each input, time-out or command the node settles: it carries values until nothing moves.
//!
//! | from | value | to |
//! |---|---|---|
//! | dht_rpc | Request, Answer, QueryReply, QueryDone, Bootstrapped, Persistent, NetworkUpdate | hyperdht |
//! | dht_rpc | Status (when it changed) | hyperdht |
//! | hyperdht | Ask, Cancel, Respond, Relay, Query, CancelQuery | dht_rpc |
//! | hyperdht | StreamOpen, StreamExpect, StreamConnect, StreamDestroy, StreamMove, StreamForget, StreamLook | udx |
//! | hyperdht | RelayAsk, RelayEnd | a connection to a blind relay (`relays.rs`) |
//! | blind_relay | messages, streams that pass on to each other | channels, udx (`relays.rs`) |
//! | hyperdht | Probe, Bind, Close | the world |
//! | hyperdht | Connected | a new connection |
//! | hyperdht | Peer, Pinged, Value, LookupDone, Announced, Stored, Failed | hyperswarm, the program |
//! | udx | Connected, Called, Closed | hyperdht |
//! | udx | Data, Message, Ended, Drained, Closed | the connection |
//! | hyperswarm | Listen, Lookup, Announce, Connect, … | hyperdht |
//! | connection | messages | protomux → protomux_rpc, hypercore (`conn.rs`, `stores.rs`) |

use super::conn::Conn;
use super::{Closed, Event, Node, Output, ROUNDS_MAX, told};
use crate::base::hex::Short;
use crate::base::{Cx, Machine, Span, trace};
use crate::hyperdht::ConnId;
use crate::protomux::{self, Protomux};
use crate::secret_stream::{self, SecretStream};
use crate::{dht_rpc, hyperdht, hyperswarm, udx};

/// How long the rest of a message may take that has begun. (secret_stream.27)
pub(super) const PATIENCE: Span = Span::from_secs(60);

/// Channels whose small messages wait for the end of the turn (`Node::let_go`).
fn gathering() -> Protomux {
    let mut mux = Protomux::new();
    mux.gather();
    mux
}

impl Node {
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        self.settle_all(cx);
        self.trace_events(cx);
    }

    /// After a message of the program's on connection `id`, which concerns no machine but its own and the transport.
    pub(super) fn settle_sent(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        self.settle_conn(cx, id);
        if self.settle_udx(cx) || !self.touched_conns.is_empty() || !self.touched_cores.is_empty() {
            self.settle_all(cx);
        }
        self.trace_events(cx);
    }

    fn trace_events(&mut self, cx: &mut Cx<'_>) {
        if cx.trace.on() {
            for event in self.events.range(self.traced.min(self.events.len())..) {
                told::event(cx, event);
            }
            self.traced = self.events.len();
        }
    }

    fn settle_all(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..ROUNDS_MAX {
            // First what was touched most likely: what it gives the others is theirs in the same round.
            while let Some(conn) = self.touched_conns.pop_first() {
                self.settle_conn(cx, conn);
            }
            while let Some(core) = self.touched_cores.pop_first() {
                self.settle_core(cx, core);
            }
            let mut moved = self.settle_rpc(cx);
            moved |= self.settle_dht(cx);
            moved |= self.settle_udx(cx);
            moved |= self.settle_swarm(cx);
            moved |= self.settle_relay(cx);
            if !moved && self.touched_conns.is_empty() && self.touched_cores.is_empty() {
                return;
            }
        }
        debug_assert!(false, "settling takes fewer than {ROUNDS_MAX} rounds");
    }

    /// dht_rpc → hyperdht.
    fn settle_rpc(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut moved = false;
        while let Some(event) = self.rpc.poll_event() {
            moved = true;
            let mark = self.rpc.status_mark();
            if self.status != Some(mark) {
                self.status = Some(mark);
                self.dht.handle_input(cx, hyperdht::Input::Status(self.rpc.status()));
                self.tell_randomized(cx);
            }
            self.take_rpc_event(cx, event);
        }
        moved
    }

    fn take_rpc_event(&mut self, cx: &mut Cx<'_>, event: dht_rpc::Event) {
        match event {
            dht_rpc::Event::Request(request) => {
                self.dht.handle_input(cx, hyperdht::Input::Request(request));
            }
            dht_rpc::Event::Answer { tag, result } => {
                let result = result.map_err(|_| ());
                self.dht.handle_input(cx, hyperdht::Input::Answer { tag, result });
            }
            dht_rpc::Event::QueryReply { tag, reply } => {
                self.dht.handle_input(cx, hyperdht::Input::QueryReply { tag, reply });
            }
            dht_rpc::Event::QueryDone { tag, result, closest } => {
                self.dht.handle_input(cx, hyperdht::Input::QueryDone { tag, ok: result.is_ok(), closest });
            }
            dht_rpc::Event::Bootstrapped => {
                self.dht.handle_input(cx, hyperdht::Input::Bootstrapped);
                self.tell(Event::Bootstrapped);
            }
            dht_rpc::Event::Persistent => {
                self.dht.handle_input(cx, hyperdht::Input::Persistent);
                self.tell(Event::Persistent);
            }
            dht_rpc::Event::NetworkUpdate { online } => {
                self.tell(Event::NetworkUpdate { online, degraded: self.rpc.degraded() });
                self.dht.handle_input(cx, hyperdht::Input::NetworkUpdate { online });
                self.tell_swarm(cx, hyperswarm::Input::Online(online));
            }
            dht_rpc::Event::BindFailed => self.tell(Event::BindFailed),
            dht_rpc::Event::Committed { .. } | dht_rpc::Event::Listening => {}
            dht_rpc::Event::NodeAdded { addr } => self.tell(Event::NodeAdded { addr }),
            dht_rpc::Event::NodeRemoved { addr } => self.tell(Event::NodeRemoved { addr }),
            dht_rpc::Event::Ephemeral => self.tell(Event::Ephemeral),
            dht_rpc::Event::NatUpdate => {
                let status = self.rpc.status();
                self.tell(Event::NatUpdate { host: status.host, port: status.port });
            }
            // What was announced may have run out meanwhile. hyperdht.55
            dht_rpc::Event::WakeUp => {
                self.dht.handle_input(cx, hyperdht::Input::NetworkChange);
                self.tell(Event::WakeUp);
            }
        }
    }

    /// hyperdht → dht_rpc, udx; hyperdht → connections, hyperswarm, the program.
    fn settle_dht(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut moved = false;
        while let Some(output) = self.dht.poll_ready(cx) {
            moved = true;
            self.do_for_dht(cx, output);
        }
        while let Some(event) = self.dht.poll_event() {
            moved = true;
            if cx.trace.on() {
                told::dht_event(cx, &event);
            }
            self.take_dht_event(cx, event);
        }
        self.servers_left(cx);
        moved
    }

    pub(super) fn do_for_dht(&mut self, cx: &mut Cx<'_>, output: hyperdht::Output) {
        match output {
            hyperdht::Output::Ask { tag, ask } => {
                if self.rpc.ask(cx, tag, ask).is_err() {
                    self.dht.handle_input(cx, hyperdht::Input::Answer { tag, result: Err(()) });
                }
            }
            hyperdht::Output::Cancel { tag } => self.rpc.cancel(cx, tag),
            hyperdht::Output::Respond { request, respond } => self.rpc.respond(cx, &request, respond),
            hyperdht::Output::Relay { request, to, value, socket } => {
                self.rpc.relay(cx, &request, to, value, socket);
            }
            hyperdht::Output::Query { tag, query } => {
                if self.rpc.query(cx, tag, query).is_err() {
                    let input = hyperdht::Input::QueryDone { tag, ok: false, closest: Vec::new() };
                    self.dht.handle_input(cx, input);
                }
            }
            hyperdht::Output::CancelQuery { tag } => self.rpc.cancel_query(cx, tag),
            hyperdht::Output::Probe { socket, to, ttl } => {
                self.outputs.push_back(Output::Send { socket, to, bytes: vec![0], ttl });
            }
            hyperdht::Output::Bind { socket, host, port } => {
                self.outputs.push_back(Output::Bind { socket, host, port });
            }
            hyperdht::Output::Close { socket } => self.outputs.push_back(Output::Close { socket }),
            hyperdht::Output::StreamOpen { conn, local } => {
                if let Ok(stream) = self.udx.open(cx, local) {
                    self.streams.insert(conn, stream);
                    self.stream_owners.insert(stream, conn);
                }
            }
            hyperdht::Output::StreamExpect { conn, remote } => {
                if let Some(&stream) = self.streams.get(&conn) {
                    let _ = self.udx.expect(cx, stream, remote);
                }
            }
            hyperdht::Output::StreamConnect { conn, socket, remote, to } => {
                if let Some(&stream) = self.streams.get(&conn) {
                    let _ = self.udx.connect(cx, stream, socket, remote, to);
                }
            }
            hyperdht::Output::StreamDestroy { conn } => {
                if let Some(&stream) = self.streams.get(&conn) {
                    let _ = self.udx.destroy(cx, stream);
                }
            }
            hyperdht::Output::StreamMove { conn, socket, remote, to } => {
                if let Some(&stream) = self.streams.get(&conn) {
                    let _ = self.udx.change_remote(cx, stream, socket, remote, to);
                }
            }
            hyperdht::Output::StreamLook { conn } => self.look_at_stream(cx, conn),
            hyperdht::Output::StreamForget { conn } => {
                if let Some(&stream) = self.streams.get(&conn) {
                    let _ = self.udx.abandon_old_path(cx, stream);
                }
            }
            hyperdht::Output::RelayAsk { conn, relay, initiator, token, stream, keep_alive } => {
                self.ask_relay(cx, conn, relay, (initiator, token, stream, keep_alive));
            }
            hyperdht::Output::RelayEnd { conn } => self.end_leg(cx, conn),
        }
    }

    fn take_dht_event(&mut self, cx: &mut Cx<'_>, event: hyperdht::Event) {
        match event {
            hyperdht::Event::Knock { knock, key, from, firewall, addresses } => {
                let server = knock.server();
                self.tell(Event::Knock { knock, server, key, from, firewall, addresses });
            }
            hyperdht::Event::Withdrawn => self.withdrawn(cx),
            hyperdht::Event::Connected(connected) => self.add_conn(cx, connected),
            hyperdht::Event::Failed { conn, why, met } => {
                self.pools.forget(conn);
                let Some(dialing) = self.dialing.remove(&conn) else { return };
                if self.relays.is_leg(conn) {
                    return self.leg_closed(cx, conn);
                }
                self.swarm_failed(cx, dialing, why);
                let took = cx.now.since(dialing.since);
                self.tell(Event::ConnectFailed { conn, key: dialing.key, why, met, took });
            }
            hyperdht::Event::Moved { conn, path } => {
                if self.conns.get(&conn).is_some_and(|conn| conn.told) {
                    self.tell(Event::Moved { conn, path });
                }
            }
            hyperdht::Event::Listening { server } => {
                self.swarm_listening(cx, server);
                self.tell(Event::Listening { server });
            }
            hyperdht::Event::ServerSuspended { server } => self.tell(Event::ServerSuspended { server }),
            hyperdht::Event::Unlistened { server } => {
                let serving = self.servers.remove(&server);
                self.pools.server_gone(server);
                self.swarm_unlistened(cx, serving);
                self.tell(Event::Unlistened { server });
            }
            hyperdht::Event::Pinged { lookup, from, seen } => self.tell(Event::Pinged { lookup, from, seen }),
            hyperdht::Event::Peer { lookup, peer, from } => {
                if self.lookups.contains(&lookup) {
                    self.tell(Event::Found { lookup, peer, from });
                } else {
                    self.swarm_peer(cx, lookup, peer);
                }
            }
            hyperdht::Event::Closest { lookup, nodes } => self.swarm_closest(lookup, nodes),
            hyperdht::Event::Reply { lookup, reply } => self.tell(Event::Reply { lookup, reply }),
            hyperdht::Event::Request(request) => self.tell(Event::Request { request }),
            hyperdht::Event::PluginRequest { request, plugin, command, value } => {
                self.tell(Event::PluginRequest { request, plugin, command, value });
            }
            hyperdht::Event::Denied { server, key } => self.swarm_denied(server, key),
            hyperdht::Event::Value { lookup, seq, value } => self.tell(Event::Value { lookup, seq, value }),
            hyperdht::Event::LookupDone { lookup, ok } => self.lookup_done(cx, lookup, ok),
            hyperdht::Event::Announced { announce, ok } => self.lookup_done(cx, announce, ok),
            hyperdht::Event::Unannounced { announce, ok } => self.lookup_done(cx, announce, ok),
            hyperdht::Event::Stored { lookup, nodes, refused } => {
                if let Some(why) = refused {
                    self.tell(Event::StoreRefused { lookup, why });
                }
                self.lookup_done(cx, lookup, nodes > 0);
            }
        }
    }

    fn lookup_done(&mut self, cx: &mut Cx<'_>, lookup: hyperdht::LookupId, ok: bool) {
        if self.lookups.remove(&lookup) {
            self.tell(Event::LookupDone { lookup, ok });
        } else {
            self.swarm_asked(cx, lookup, ok);
        }
    }

    /// A handshake is done: the connection gets its cipher, and channels if it was opened for them.
    fn add_conn(&mut self, cx: &mut Cx<'_>, connected: hyperdht::Connected) {
        let id = connected.conn;
        let dialing = self.dialing.remove(&id);
        let serving = connected.server.and_then(|server| self.servers.get(&server).copied());
        let (channels, swarm, public) = match (dialing, serving) {
            (Some(dialing), _) => (dialing.channels, dialing.swarm, dialing.public),
            (None, Some(serving)) => (serving.channels, serving.swarm, serving.public),
            (None, None) => return,
        };
        let Some(&stream) = self.streams.get(&id) else { return };
        let handshake_hash = connected.keys.handshake_hash;
        let took = dialing.map_or(Span::ZERO, |dialing| cx.now.since(dialing.since));
        let keys = secret_stream::Keys { initiator: connected.initiator, keys: connected.keys, public };
        trace!(cx, State, "node", id: id, peer: Short(&connected.remote_key), "open on {stream}");
        let mut secret = cx.within(id.place(), |cx| SecretStream::with_keys(cx, keys));
        secret.set_keep_alive(cx, self.keep_alive);
        secret.set_patience(cx, Some(PATIENCE));
        let conn = Conn {
            key: connected.remote_key,
            server: connected.server,
            initiator: connected.initiator,
            stream,
            handshake_hash,
            secret,
            mux: channels.then(gathering),
            channels: Default::default(),
            stores: Vec::new(),
            wanted: Vec::new(),
            why: None,
            full: false,
            rtt: crate::base::Span::ZERO,
            took,
            told: !swarm && !self.relays.is_leg(id),
        };
        self.conns.insert(id, conn);
        let _ = self.udx.set_passing(stream);
        self.touch(id);
        if self.relays.is_leg(id) {
            return self.leg_open(cx, id, public);
        }
        if swarm {
            // The program is told once hyperswarm has decided which of two connections to keep.
            self.swarm_connected(cx, id, connected.path);
            return;
        }
        if !self.pooled(cx, id, &public) {
            return;
        }
        self.tell(Event::Connected {
            conn: id,
            server: connected.server,
            key: connected.remote_key,
            initiator: connected.initiator,
            swarm,
            path: connected.path,
            took,
        });
    }

    /// udx → hyperdht, connections.
    pub(super) fn settle_udx(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut moved = false;
        while let Some(event) = self.udx.poll_event() {
            moved = true;
            self.take_udx_event(cx, event);
        }
        while let Some(stream) = self.udx.take_late() {
            self.stream_late(cx, stream);
        }
        moved
    }

    fn take_udx_event(&mut self, cx: &mut Cx<'_>, event: udx::Event) {
        let Some(event) = self.take_raw_event(event) else { return };
        match event {
            udx::Event::Connected { stream, socket, from } => {
                let Some(&conn) = self.stream_owners.get(&stream) else { return };
                self.dht.handle_input(cx, hyperdht::Input::StreamConnected { conn, socket, from });
                // The connection must be there before its data is.
                self.settle_dht(cx);
            }
            udx::Event::Called { stream, socket, from } => {
                let Some(&conn) = self.stream_owners.get(&stream) else { return };
                self.dht.handle_input(cx, hyperdht::Input::StreamCalled { conn, socket, from });
            }
            // Proof that a path carries, and no more. (blind_relay.26)
            udx::Event::Message { bytes, .. } if bytes.is_empty() => {}
            udx::Event::Data { stream, bytes } => {
                self.tell_secret(cx, stream, secret_stream::Input::Bytes(&bytes));
            }
            udx::Event::Message { stream, bytes } => {
                self.tell_secret(cx, stream, secret_stream::Input::Message(&bytes));
            }
            udx::Event::Ended { stream } => self.tell_secret(cx, stream, secret_stream::Input::Ended),
            udx::Event::Drained { stream } => {
                let Some(&id) = self.stream_owners.get(&stream) else { return };
                let Some(conn) = self.conns.get_mut(&id) else { return };
                conn.full = false;
                match &mut conn.mux {
                    Some(mux) => mux.handle_input(cx, protomux::Input::Writable(true)),
                    None => self.tell(Event::Drained { conn: id }),
                }
                self.touch(id);
            }
            udx::Event::Flushed { .. } => {}
            udx::Event::Closed { stream, .. } if self.relay_stream_closed(cx, stream) => {}
            udx::Event::Closed { stream, why } => {
                let Some(id) = self.stream_owners.remove(&stream) else { return };
                self.streams.remove(&id);
                let transport = if why == udx::Why::Ended { Closed::Ended } else { Closed::Transport(why) };
                self.conn_gone(cx, id, transport);
                self.dht.handle_input(cx, hyperdht::Input::StreamClosed { conn: id });
            }
        }
    }

    /// Data of a stream that passes (`add_conn`). What comes of it is seen to when all datagrams of a turn are in.
    pub(super) fn pass_to_secret(&mut self, cx: &mut Cx<'_>, stream: udx::StreamId, bytes: &[u8]) {
        let Some(&id) = self.stream_owners.get(&stream) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        cx.within(id.place(), |cx| conn.secret.handle_input(cx, secret_stream::Input::Bytes(bytes)));
        self.touch(id);
    }

    fn tell_secret(&mut self, cx: &mut Cx<'_>, stream: udx::StreamId, input: secret_stream::Input<'_>) {
        let Some(&id) = self.stream_owners.get(&stream) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        cx.within(id.place(), |cx| conn.secret.handle_input(cx, input));
        self.settle_conn(cx, id);
    }

    /// Gives a connection up at once.
    pub(super) fn drop_conn(&mut self, cx: &mut Cx<'_>, id: crate::hyperdht::ConnId) {
        self.dialing.remove(&id);
        match self.conns.get_mut(&id) {
            Some(conn) => {
                conn.why.get_or_insert(Closed::Dropped);
                cx.within(id.place(), |cx| conn.secret.destroy(cx));
                self.touch(id);
            }
            None => {
                let _ = self.dht.destroy(cx, id);
            }
        }
    }

    /// dht_rpc → the world.
    pub(super) fn rpc_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        Some(match self.rpc.poll_output(cx)? {
            dht_rpc::Output::Bind { socket, host, port } => Output::Bind { socket, host, port },
            dht_rpc::Output::Close { socket } => Output::Close { socket },
            dht_rpc::Output::Send { socket, to, bytes, ttl } => Output::Send { socket, to, bytes, ttl },
        })
    }
}
