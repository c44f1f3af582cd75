//! What the node itself tells the transcript: datagrams, sockets, what the program asks and is told. Only called when
//! somebody reads.

use super::{Event, Input, Output, Packet, StoreError};
use crate::base::addr::Host;
use crate::base::hex::Short;
use crate::base::{Addr, Cx, SocketId, trace};
use crate::explain::summary;
use crate::{hyperdht, protomux};

/// The world tells the node something.
pub(super) fn input(cx: &mut Cx<'_>, input: &Input<'_>) {
    match *input {
        Input::Datagram { socket, from, bytes } => came(cx, socket, from, bytes),
        Input::Datagrams { socket, from, bytes, each } => {
            bytes.chunks(each.max(1)).for_each(|bytes| came(cx, socket, from, bytes));
        }
        Input::Bound { socket, local } => trace!(cx, State, "node", id: socket, "bound to {local}"),
        Input::BindFailed { socket } => trace!(cx, State, "node", id: socket, "cannot be bound"),
        Input::Clock { unix_millis } => {
            trace!(
                cx,
                State,
                "node",
                "the clock was set: unix time {}.{:03}",
                unix_millis / 1000,
                unix_millis % 1000
            );
        }
        Input::Interfaces(hosts) => {
            for &host in hosts {
                trace!(cx, State, "node", "has the address {}", Host(host));
            }
        }
    }
}

fn came(cx: &mut Cx<'_>, socket: SocketId, from: Addr, bytes: &[u8]) {
    let said = summary(bytes);
    trace!(cx, In, said.layer, id: socket, peer: from, rule: said.rule, "{}", said.what);
}

/// The node asks something of the world.
pub(super) fn output(cx: &mut Cx<'_>, output: &Output) {
    match output {
        Output::Send { socket, to, bytes, ttl } => {
            leaves(cx, &Packet { socket: *socket, to: *to, ttl: *ttl }, bytes);
        }
        Output::Bind { socket, host, port } => {
            trace!(cx, State, "node", id: socket, "to be bound to {}", Addr::new(*host, *port));
        }
        Output::Close { socket } => trace!(cx, State, "node", id: socket, "closed"),
    }
}

/// A datagram leaves.
pub(super) fn leaves(cx: &mut Cx<'_>, packet: &Packet, bytes: &[u8]) {
    let said = summary(bytes);
    let Packet { socket, to, ttl } = packet;
    match ttl {
        None => trace!(cx, Out, said.layer, id: socket, peer: to, rule: said.rule, "{}", said.what),
        Some(ttl) => {
            trace!(cx, Out, said.layer, id: socket, peer: to, rule: said.rule, "{}, ttl {ttl}", said.what);
        }
    }
}

/// What a peer did to the channels of a connection. The multiplexer unpacks when it is asked, without a transcript.
pub(super) fn channel_event(cx: &mut Cx<'_>, event: &protomux::Event) {
    match event {
        protomux::Event::Wanted { protocol, id } => {
            let len = id.as_ref().map_or(0, Vec::len);
            trace!(cx, In, "protomux", part: "", rule: "protomux.3", "OPEN {protocol:?}, id of {len} bytes");
        }
        protomux::Event::Opened { channel, handshake } => {
            let len = handshake.len();
            trace!(cx, State, "protomux", part: channel, rule: "protomux.13", "open, handshake of {len} bytes");
        }
        protomux::Event::Message { channel, kind, bytes } => {
            let len = bytes.len();
            trace!(cx, In, "protomux", part: channel, rule: "protomux.1", "message {kind}, {len} bytes");
        }
        protomux::Event::Drained => {
            trace!(cx, State, "protomux", part: "", rule: "protomux.36", "takes messages again");
        }
        protomux::Event::Closed { channel, by_remote } => {
            let who = if *by_remote { "the peer" } else { "us" };
            trace!(cx, State, "protomux", part: channel, rule: "protomux.21", "closed by {who}");
        }
    }
}

/// What hyperdht tells. An attempt may fail where there is no transcript.
pub(super) fn dht_event(cx: &mut Cx<'_>, event: &hyperdht::Event) {
    match event {
        hyperdht::Event::Failed { conn, why, .. } => {
            let code = why.code();
            trace!(cx, State, "hyperdht", id: conn, rule: "hyperdht.19", "failed, {code}: {why}");
        }
        hyperdht::Event::Listening { server } => {
            trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.54", "can be found");
        }
        hyperdht::Event::ServerSuspended { server } => {
            trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.154", "announced nowhere");
        }
        hyperdht::Event::Unlistened { server } => {
            trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.58", "withdrawn");
        }
        hyperdht::Event::Peer { lookup, peer, from } => {
            let (key, relays) = (Short(&peer.key), peer.relays.len());
            trace!(cx, Step, "hyperdht", id: lookup, peer: from, rule: "hyperdht.91", "met {key} with {relays} relays");
        }
        hyperdht::Event::Closest { lookup, nodes } => {
            trace!(cx, Step, "hyperdht", id: lookup, "the walk is over, {} nodes are closest", nodes.len());
        }
        hyperdht::Event::Denied { server, key } => {
            trace!(cx, Drop, "hyperdht", id: server, peer: Short(key), rule: "hyperdht.35", "is not let in");
        }
        hyperdht::Event::LookupDone { lookup, ok } => {
            trace!(cx, State, "hyperdht", id: lookup, "over, answered: {ok}");
        }
        hyperdht::Event::Value { lookup, seq, value } => {
            let len = value.len();
            trace!(cx, Step, "hyperdht", id: lookup, "value number {seq}, {len} bytes");
        }
        hyperdht::Event::Pinged { lookup, from, seen } => {
            trace!(cx, Step, "hyperdht", id: lookup, peer: from, "answered, and sees us as {seen}");
        }
        hyperdht::Event::Reply { lookup, reply } => {
            trace!(cx, Step, "hyperdht", id: lookup, peer: reply.from, rule: "hyperdht.152", "answered");
        }
        hyperdht::Event::Request(request) => {
            let (from, command) = (request.from, request.command);
            trace!(cx, State, "hyperdht", peer: from, rule: "hyperdht.153", "asks the program: {command}");
        }
        hyperdht::Event::PluginRequest { request, plugin, command, .. } => {
            let from = request.from;
            trace!(cx, State, "hyperdht", peer: from, rule: "hyperdht.151", "asks plugin {plugin:?}: {command}");
        }
        hyperdht::Event::Stored { lookup, nodes, refused } => {
            let why = refused.map_or("", StoreError::code);
            trace!(cx, State, "hyperdht", id: lookup, rule: "hyperdht.117", "over, stored at {nodes} nodes {why}");
        }
        hyperdht::Event::Announced { announce, ok } => {
            trace!(cx, State, "hyperdht", id: announce, rule: "hyperdht.92", "over, announced: {ok}");
        }
        hyperdht::Event::Unannounced { announce, ok } => {
            trace!(cx, State, "hyperdht", id: announce, rule: "hyperdht.93", "over, answered: {ok}");
        }
        hyperdht::Event::Knock { knock, key, from, .. } => {
            let server = knock.server();
            trace!(cx, State, "hyperdht", id: server, peer: from, rule: "hyperdht.110", "{} wants in", Short(key));
        }
        hyperdht::Event::Withdrawn => {
            trace!(cx, State, "hyperdht", rule: "hyperdht.113", "nothing is announced any more");
        }
        // The connection tells of itself.
        hyperdht::Event::Connected(_) | hyperdht::Event::Moved { .. } => {}
    }
}

/// What the program is told. Of what a peer sent the length only.
pub(super) fn event(cx: &mut Cx<'_>, event: &Event) {
    match event {
        Event::Bound { port } => trace!(cx, Event, "node", "bound to port {port}"),
        Event::BindFailed => trace!(cx, Event, "node", "no socket can be bound"),
        Event::Bootstrapped => trace!(cx, Event, "node", "bootstrapped"),
        Event::Persistent => trace!(cx, Event, "node", "persistent"),
        Event::Ephemeral => trace!(cx, Event, "node", "persistent no longer"),
        Event::NetworkUpdate { online, degraded } => {
            trace!(cx, Event, "node", "online: {online}, degraded: {degraded}");
        }
        Event::ClockSet => trace!(cx, Event, "node", "the clock was set"),
        Event::NetworkChange => trace!(cx, Event, "node", "the host has other addresses"),
        Event::NatUpdate { host, port } => match host {
            Some(host) => trace!(cx, Event, "node", "others see us at {}", Addr::new(*host, *port)),
            None => trace!(cx, Event, "node", "others see us nowhere in particular"),
        },
        Event::WakeUp => trace!(cx, Event, "node", "the host slept"),
        Event::Suspended => trace!(cx, Event, "node", "suspended"),
        Event::Resumed => trace!(cx, Event, "node", "goes on"),
        Event::Destroyed => trace!(cx, Event, "node", "ended"),
        Event::Knock { server, key, from, .. } => {
            trace!(cx, Event, "node", id: server, peer: from, "{} wants in", Short(key));
        }
        Event::Listening { server } => trace!(cx, Event, "node", id: server, "listening"),
        Event::ServerSuspended { server } => trace!(cx, Event, "node", id: server, "suspended"),
        Event::Unlistened { server } => trace!(cx, Event, "node", id: server, "listens no longer"),
        Event::Connected { conn, key, path, .. } => {
            trace!(cx, Event, "node", id: conn, peer: Short(key), "connected: {path:?}");
        }
        Event::Moved { conn, path } => trace!(cx, Event, "node", id: conn, "goes on: {path:?}"),
        Event::ConnectFailed { conn, key, why, took, .. } => {
            let code = why.code();
            trace!(cx, Event, "node", id: conn, peer: Short(key), "not connected after {took}, {code}: {why}");
        }
        Event::Closed { conn, why } => trace!(cx, Event, "node", id: conn, "closed: {why:?}"),
        Event::Ended { conn } => trace!(cx, Event, "node", id: conn, "the other side ended"),
        Event::Data { conn, bytes } => trace!(cx, Event, "node", id: conn, "{} bytes", bytes.len()),
        Event::Unordered { conn, bytes } => {
            trace!(cx, Event, "node", id: conn, "{} bytes beside the stream", bytes.len());
        }
        Event::Drained { conn } => trace!(cx, Event, "node", id: conn, "drained"),
        Event::RpcOpened { rpc, conn } => trace!(cx, Event, "node", id: conn, "{rpc} is open"),
        Event::RpcClosed { rpc, conn } => trace!(cx, Event, "node", id: conn, "{rpc} is closed"),
        Event::Call { call, conn, from, method, body, .. } => {
            let len = body.len();
            trace!(cx, Event, "node", id: conn, peer: Short(from), "{call}: {method:?}, {len} bytes");
        }
        Event::Answer { call, result } => match result {
            Ok(bytes) => trace!(cx, Event, "node", id: call, "answered, {} bytes", bytes.len()),
            Err(failure) => trace!(cx, Event, "node", id: call, "failed, code {:?}", failure.code.code()),
        },
        Event::CoreOpened { store, core } => trace!(cx, Event, "node", id: core, "of {store}: open"),
        Event::Appended { core, length } => trace!(cx, Event, "node", id: core, "length {length}"),
        Event::Truncated { core, length, fork } => {
            trace!(cx, Event, "node", id: core, "cut to length {length}, fork {fork}");
        }
        Event::Downloaded { core, index } => trace!(cx, Event, "node", id: core, "block {index} is here"),
        Event::PeerAdded { core, peer } => trace!(cx, Event, "node", id: core, "{peer} is there"),
        Event::PeerRemoved { core, peer } => trace!(cx, Event, "node", id: core, "{peer} is gone"),
        Event::PeerFault { core, peer } => trace!(cx, Event, "node", id: core, "{peer} broke the rules"),
        Event::Extension { core, peer, name, message } => {
            let len = message.len();
            trace!(cx, Event, "node", id: core, "{peer} says {name:?}, {len} bytes");
        }
        Event::Conflict { core, length, fork } => {
            trace!(cx, Event, "node", id: core, "two trees of fork {fork} differ within {length} blocks");
        }
        Event::Job { core, job, result } => match result {
            Ok(done) => trace!(cx, Event, "node", id: core, "{job}: {done:?}"),
            Err(undone) => trace!(cx, Event, "node", id: core, "{job} failed, {}", undone.code()),
        },
        Event::Stalled { core, why } => trace!(cx, Event, "node", id: core, "stalled: {why}"),
        Event::Flushed { ok } => trace!(cx, Event, "node", "flushed: {ok}"),
        Event::Banned { key } => trace!(cx, Event, "node", peer: Short(key), "banned"),
        Event::SwarmUpdated => trace!(cx, Event, "node", "the swarm has changed"),
        Event::SwarmSuspended => trace!(cx, Event, "node", "the swarm is suspended"),
        Event::SwarmDestroyed => trace!(cx, Event, "node", "the swarm has ended"),
        Event::Refreshed { topic } => trace!(cx, Event, "node", "topic {} refreshed", Short(topic)),
        Event::Left { topic } => trace!(cx, Event, "node", "topic {} left", Short(topic)),
        Event::Found { lookup, peer, .. } => {
            trace!(cx, Event, "node", id: lookup, peer: Short(&peer.key), "found");
        }
        Event::Pinged { lookup, seen, .. } => {
            trace!(cx, Event, "node", id: lookup, "answered, we are {seen}")
        }
        Event::Reply { lookup, reply } => {
            let len = reply.value.as_ref().map_or(0, Vec::len);
            trace!(cx, Event, "node", id: lookup, peer: reply.from, "answered, {len} bytes, error {}", reply.error);
        }
        Event::Request { request } => {
            trace!(cx, Event, "node", peer: request.from, "asks command {}", request.command);
        }
        Event::PluginRequest { request, plugin, command, .. } => {
            trace!(cx, Event, "node", peer: request.from, "asks plugin {plugin:?}, command {command}");
        }
        Event::Value { lookup, seq, value } => {
            let len = value.len();
            trace!(cx, Event, "node", id: lookup, "value number {seq}, {len} bytes");
        }
        Event::StoreRefused { lookup, why } => {
            trace!(cx, Event, "node", id: lookup, "refused, {}: {why}", why.code())
        }
        Event::LookupDone { lookup, ok } => trace!(cx, Event, "node", id: lookup, "over, answered: {ok}"),
        Event::RawData { raw, bytes } => trace!(cx, Event, "node", id: raw, "{} bytes", bytes.len()),
        Event::RawMessage { raw, bytes } => {
            trace!(cx, Event, "node", id: raw, "{} bytes beside the stream", bytes.len());
        }
        Event::RawEnded { raw } => trace!(cx, Event, "node", id: raw, "the other side ended"),
        Event::RawDrained { raw } => trace!(cx, Event, "node", id: raw, "drained"),
        Event::RawClosed { raw, why } => trace!(cx, Event, "node", id: raw, "closed: {why:?}"),
        Event::NodeAdded { addr } => trace!(cx, Event, "node", peer: addr, "in the table"),
        Event::NodeRemoved { addr } => trace!(cx, Event, "node", peer: addr, "out of the table"),
        Event::DiskFailed(error) => trace!(cx, Event, "node", "the disk failed: {error}"),
    }
}
