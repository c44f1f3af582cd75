//! Machines of hyperdht on a network in memory: datagrams take a while and may be lost, hosts stand behind NATs, and
//! dht_rpc and UDX are as simple as they can be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::base::{Disk, DiskError, Entropy, FileId, Mode, NoTrace, Seeded};

pub const DELAY: Span = Span::from_millis(10);

struct NoDisk;
impl Disk for NoDisk {
    fn open(&mut self, _: &str, _: Mode) -> Result<FileId, DiskError> {
        Err(DiskError::Denied)
    }
    fn close(&mut self, _: FileId) {}
    fn len(&mut self, _: FileId) -> Result<u64, DiskError> {
        Err(DiskError::Denied)
    }
    fn read_at(&mut self, _: FileId, _: u64, _: &mut [u8]) -> Result<usize, DiskError> {
        Err(DiskError::Denied)
    }
    fn write_at(&mut self, _: FileId, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn sync(&mut self, _: FileId) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_later(&mut self, _: FileId) {}
    fn sync_pending(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn exists(&mut self, _: &str) -> bool {
        false
    }
    fn list(&mut self, _: &str) -> Result<Vec<String>, DiskError> {
        Ok(Vec::new())
    }
    fn lock(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
}

/// What stands between a host and the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Nothing.
    Open,
    /// One public port per socket, open to those that the socket sent to.
    Consistent,
    /// One public port per socket and destination.
    Random,
    /// `Consistent` for the first so many sockets, counted from the pool's first, else `Random`.
    RandomAtFirst(u32),
}

#[derive(Default)]
struct Socket {
    local: Addr,
    public: BTreeMap<Option<Addr>, Addr>,
    sent_to: BTreeSet<Addr>,
}

#[derive(Clone, Debug)]
enum Body {
    Request { tid: u16, request: Request },
    Reply { tid: u16, reply: Reply },
    Probe,
    Stream { to: u32, from: u32 },
}

#[derive(Clone, Debug)]
struct Parcel {
    from: Addr,
    to: Addr,
    site: [u8; 4],
    body: Body,
}

enum Waiting {
    Ask { tag: Tag, ask: Ask, left: u8 },
    Query { tag: Tag, ask: Ask, left: u8 },
}

struct Walk {
    target: Key,
    pending: usize,
    closest: Vec<Reply>,
}

#[derive(Default)]
pub struct Stream {
    pub local: u32,
    expects: Option<u32>,
    pub remote: Option<(SocketId, u32, Addr)>,
    pub heard: bool,
}

pub struct Host {
    pub dht: HyperDht,
    entropy: Seeded,
    pub ip: [u8; 4],
    lan: [u8; 4],
    pub shape: Shape,
    sockets: BTreeMap<SocketId, Socket>,
    next_port: u16,
    tid: u16,
    waiting: BTreeMap<u16, Waiting>,
    resend: BTreeMap<(Time, u16), ()>,
    walks: BTreeMap<Tag, Walk>,
    pub streams: BTreeMap<ConnId, Stream>,
    early: Vec<(u32, u32, SocketId, Addr)>,
    pub events: Vec<Event>,
    pub down: bool,
    pub persistent: bool,
    pub id: Key,
    pub probes: Vec<(SocketId, Addr, Option<u8>)>,
    /// Sources of requests with that command, as they came in.
    pub asked: Vec<(u64, Addr)>,
    /// Outputs are kept in `muted` instead of being carried out.
    pub mute: bool,
    pub muted: Vec<Output>,
    /// What has to do with blind relays; a test answers it.
    pub relaying: Vec<Output>,
}

pub struct World {
    pub now: Time,
    pub hosts: Vec<Host>,
    parcels: BTreeMap<(Time, u64), Parcel>,
    sent: u64,
    /// Of 1000 datagrams so many are lost.
    pub loss: u64,
    entropy: Seeded,
    pub lan_blocked: bool,
    /// Of the hosts that are made from now on.
    pub config: Config,
}

pub fn pair(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn token(node: &Key, host: [u8; 4]) -> Key {
    hash::blake2b_256(&[node, &host])
}

pub fn node_id(addr: Addr) -> Key {
    hash::blake2b_256(&[&addr.ip, &addr.port.to_le_bytes()])
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            now: Time::ZERO,
            hosts: Vec::new(),
            parcels: BTreeMap::new(),
            sent: 0,
            loss: 0,
            entropy: Seeded::new(seed).fork("world"),
            lan_blocked: false,
            config: Config { epoch_millis: Some(1_700_000_000_000), ..Config::default() },
        }
    }

    /// A persistent node on the open internet.
    pub fn node(&mut self) -> usize {
        let index = self.host(Shape::Open);
        let host = &mut self.hosts[index];
        host.persistent = true;
        self.tell_status(index);
        self.input(index, Input::Persistent);
        index
    }

    /// A host with a public address of its own.
    pub fn host(&mut self, shape: Shape) -> usize {
        let n = self.hosts.len() as u8;
        self.host_at(shape, [8, 8, 8, n + 1], [10, 0, n, 1])
    }

    pub fn host_at(&mut self, shape: Shape, ip: [u8; 4], lan: [u8; 4]) -> usize {
        let index = self.hosts.len();
        let mut host = Host {
            dht: HyperDht::new(self.config.clone()),
            entropy: self.entropy.fork(&format!("host {index}")),
            ip,
            lan,
            shape,
            sockets: BTreeMap::new(),
            next_port: 1000 + 100 * index as u16,
            tid: 0,
            waiting: BTreeMap::new(),
            resend: BTreeMap::new(),
            walks: BTreeMap::new(),
            streams: BTreeMap::new(),
            early: Vec::new(),
            events: Vec::new(),
            down: false,
            persistent: false,
            id: [0; 32],
            probes: Vec::new(),
            asked: Vec::new(),
            mute: false,
            muted: Vec::new(),
            relaying: Vec::new(),
        };
        host.bind(SocketId::SERVER);
        host.bind(SocketId::CLIENT);
        host.id = node_id(host.sockets[&SocketId::SERVER].local);
        self.hosts.push(host);
        self.input(index, Input::Interfaces(vec![[127, 0, 0, 1], lan]));
        self.tell_status(index);
        self.input(index, Input::Bootstrapped);
        index
    }

    pub fn server_addr(&self, host: usize) -> Addr {
        self.hosts[host].sockets[&SocketId::SERVER].local
    }

    pub fn tell_status(&mut self, index: usize) {
        let nodes: Vec<Addr> = (0..self.hosts.len())
            .filter(|&n| n != index && self.hosts[n].persistent)
            .map(|n| self.server_addr(n))
            .collect();
        let host = &self.hosts[index];
        let server = host.sockets[&SocketId::SERVER].local;
        let open = host.shape == Shape::Open;
        let status = Status {
            remote: open.then_some(server),
            host: Some(host.ip),
            server: Some(if open { server } else { Addr::new([0; 4], server.port) }),
            client: None,
            firewalled: !open,
            ephemeral: !host.persistent,
            id: host.persistent.then_some(host.id),
            current: if open { SocketId::SERVER } else { SocketId::CLIENT },
            nodes,
            port: 0,
        };
        self.input(index, Input::Status(status));
    }

    /// Tells every host of the nodes there are now.
    pub fn settle_nodes(&mut self) {
        (0..self.hosts.len()).for_each(|n| self.tell_status(n));
    }

    pub fn with<R>(&mut self, index: usize, act: impl FnOnce(&mut HyperDht, &mut Cx<'_>) -> R) -> R {
        let now = self.now;
        let host = &mut self.hosts[index];
        let (mut disk, mut trace) = (NoDisk, NoTrace);
        let mut cx = Cx { now, entropy: &mut host.entropy, disk: &mut disk, trace: &mut trace };
        let result = act(&mut host.dht, &mut cx);
        self.drain(index);
        result
    }

    pub fn input(&mut self, index: usize, input: Input) {
        self.with(index, |dht, cx| dht.handle_input(cx, input));
    }

    fn drain(&mut self, index: usize) {
        loop {
            let now = self.now;
            let host = &mut self.hosts[index];
            let (mut disk, mut trace) = (NoDisk, NoTrace);
            let mut cx = Cx { now, entropy: &mut host.entropy, disk: &mut disk, trace: &mut trace };
            let Some(output) = host.dht.poll_output(&mut cx) else { break };
            if self.hosts[index].mute {
                self.hosts[index].muted.push(output);
            } else {
                self.output(index, output);
            }
        }
        let host = &mut self.hosts[index];
        while let Some(event) = host.dht.poll_event() {
            host.events.push(event);
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::Ask { tag, ask } => {
                let left = ask.sends;
                self.send_ask(index, Waiting::Ask { tag, ask, left });
            }
            Output::Cancel { tag } => self.hosts[index].cancel(tag),
            Output::Respond { request, respond } => {
                let host = &self.hosts[index];
                let to = respond.to.unwrap_or(request.from);
                let socket = respond.socket.unwrap_or(request.socket);
                let reply = Reply {
                    from: to,
                    to,
                    socket,
                    id: (host.persistent && socket == SocketId::SERVER).then_some(host.id),
                    token: respond.token.then(|| token(&host.id, request.from.ip)),
                    closer: Vec::new(),
                    error: respond.error,
                    value: respond.value,
                    rtt: DELAY,
                };
                self.send(index, socket, to, None, Body::Reply { tid: request.tid, reply });
            }
            Output::Relay { request, to, value, socket } => {
                let socket = socket.unwrap_or(request.socket);
                let request = Request { value: Some(value), token: None, ..request };
                self.send(index, socket, to, None, Body::Request { tid: request.tid, request });
            }
            Output::Query { tag, query } => self.walk(index, tag, query),
            Output::CancelQuery { tag } => {
                self.hosts[index].walks.remove(&tag);
            }
            Output::Probe { socket, to, ttl } => {
                self.hosts[index].probes.push((socket, to, ttl));
                self.send(index, socket, to, ttl, Body::Probe);
            }
            Output::Bind { socket, .. } => self.hosts[index].bind(socket),
            Output::Close { socket } => {
                self.hosts[index].sockets.remove(&socket);
            }
            Output::StreamOpen { conn, local } => {
                let live = self.hosts[index].streams.values().any(|stream| stream.local == local);
                assert!(!live, "a stream id is given once");
                self.hosts[index].streams.insert(conn, Stream { local, ..Stream::default() });
            }
            Output::StreamExpect { conn, remote } => self.expect(index, conn, remote),
            Output::StreamConnect { conn, socket, remote, to } => {
                self.connect_stream(index, conn, socket, remote, to);
            }
            Output::StreamDestroy { conn } => {
                if self.hosts[index].streams.remove(&conn).is_some() {
                    self.input(index, Input::StreamClosed { conn });
                }
            }
            Output::StreamMove { conn, socket, remote, to } => {
                if let Some(stream) = self.hosts[index].streams.get_mut(&conn) {
                    stream.remote = Some((socket, remote, to));
                }
            }
            Output::StreamLook { .. }
            | Output::StreamForget { .. }
            | Output::RelayAsk { .. }
            | Output::RelayEnd { .. } => self.hosts[index].relaying.push(output),
        }
    }

    fn walk(&mut self, index: usize, tag: Tag, query: Query) {
        let mut asked = 0;
        for n in 0..self.hosts.len() {
            if n == index || !self.hosts[n].persistent {
                continue;
            }
            asked += 1;
            let ask = Ask {
                target: Some(query.target),
                value: query.value.clone(),
                ..Ask::new(self.server_addr(n), query.command)
            };
            let host = &mut self.hosts[index];
            host.tid = host.tid.wrapping_add(1);
            let tid = host.tid;
            self.send_request(index, tid, &ask);
            self.hosts[index].waiting.insert(tid, Waiting::Query { tag, ask, left: 4 });
            let at = self.now + SECOND;
            self.hosts[index].resend.insert((at, tid), ());
        }
        self.hosts[index]
            .walks
            .insert(tag, Walk { target: query.target, pending: asked, closest: Vec::new() });
        self.walk_step(index, tag);
    }

    fn walk_step(&mut self, index: usize, tag: Tag) {
        let Some(walk) = self.hosts[index].walks.get_mut(&tag) else { return };
        if walk.pending > 0 {
            return;
        }
        let Some(mut walk) = self.hosts[index].walks.remove(&tag) else { return };
        let distance = |id: &Option<Key>| {
            let id = id.unwrap_or([255; 32]);
            let mut xor = [0; 32];
            (0..32).for_each(|n| xor[n] = id[n] ^ walk.target[n]);
            xor
        };
        walk.closest.sort_by_key(|reply| distance(&reply.id));
        let ok = !walk.closest.is_empty();
        self.input(index, Input::QueryDone { tag, ok, closest: walk.closest });
    }

    fn send_ask(&mut self, index: usize, waiting: Waiting) {
        let host = &mut self.hosts[index];
        host.tid = host.tid.wrapping_add(1);
        let tid = host.tid;
        if let Waiting::Ask { ask, .. } = &waiting {
            let ask = ask.clone();
            host.waiting.insert(tid, waiting);
            host.resend.insert((self.now + SECOND, tid), ());
            self.send_request(index, tid, &ask);
        }
    }

    fn send_request(&mut self, index: usize, tid: u16, ask: &Ask) {
        let host = &self.hosts[index];
        let socket = ask.socket.unwrap_or(host.current());
        let request = Request {
            from: ask.to,
            to: ask.to,
            socket,
            tid,
            // Internal commands have no number of their own here.
            command: if ask.internal { u64::MAX } else { ask.command },
            target: ask.target,
            id: None,
            token: ask.token,
            value: ask.value.clone(),
            external: false,
        };
        self.send(index, socket, ask.to, ask.ttl, Body::Request { tid, request });
    }

    fn send(&mut self, index: usize, socket: SocketId, to: Addr, ttl: Option<u8>, body: Body) {
        if self.hosts[index].down {
            return;
        }
        let lost = self.entropy.below(1000) < self.loss;
        let lan = to.ip[0] == 10;
        let host = &mut self.hosts[index];
        let Some(from) = host.source(socket, to, lan) else { return };
        if lost || ttl.is_some_and(|ttl| ttl < 10) || (lan && self.lan_blocked) {
            return;
        }
        let site = self.hosts[index].ip;
        self.sent += 1;
        self.parcels.insert((self.now + DELAY, self.sent), Parcel { from, to, site, body });
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Some((index, socket)) = self.receiver(&parcel) else { return };
        if self.hosts[index].down {
            return;
        }
        let (from, to) = (parcel.from, parcel.to);
        match parcel.body {
            Body::Probe => self.input(index, Input::Probe { socket, from }),
            Body::Request { tid, request } => self.requested(index, socket, from, to, tid, request),
            Body::Reply { tid, reply } => {
                let reply = Reply { from, to, socket, ..reply };
                self.replied(index, tid, reply);
            }
            Body::Stream { to: local, from: remote } => {
                self.stream_packet(index, socket, from, local, remote)
            }
        }
    }

    fn receiver(&self, parcel: &Parcel) -> Option<(usize, SocketId)> {
        for (index, host) in self.hosts.iter().enumerate() {
            for (&id, socket) in &host.sockets {
                let lan = parcel.to == Addr::new(host.lan, socket.local.port) && parcel.site == host.ip;
                if lan {
                    return Some((index, id));
                }
                let (mapped, open) = match host.shape {
                    Shape::Open => (parcel.to == socket.local, true),
                    Shape::Consistent | Shape::Random | Shape::RandomAtFirst(_) => {
                        let to = Some(parcel.to);
                        let mapped = socket.public.iter().any(|(dest, &public)| {
                            Some(public) == to && dest.is_none_or(|dest| dest == parcel.from)
                        });
                        (mapped, socket.sent_to.contains(&parcel.from))
                    }
                };
                if mapped && open {
                    return Some((index, id));
                }
            }
        }
        None
    }

    fn requested(
        &mut self,
        index: usize,
        socket: SocketId,
        from: Addr,
        to: Addr,
        tid: u16,
        request: Request,
    ) {
        let request = Request { from, to, socket, tid, ..request };
        let host = &mut self.hosts[index];
        host.asked.push((request.command, from));
        if request.command == u64::MAX {
            let reply = Reply {
                from,
                to,
                socket,
                id: None,
                token: None,
                closer: Vec::new(),
                error: 0,
                value: None,
                rtt: DELAY,
            };
            return self.send(index, socket, from, None, Body::Reply { tid, reply });
        }
        let valid = request.token.is_none_or(|given| given == token(&host.id, from.ip));
        if valid {
            self.input(index, Input::Request(request));
        }
    }

    fn replied(&mut self, index: usize, tid: u16, reply: Reply) {
        match self.hosts[index].waiting.remove(&tid) {
            Some(Waiting::Ask { tag, .. }) => self.input(index, Input::Answer { tag, result: Ok(reply) }),
            Some(Waiting::Query { tag, .. }) => {
                self.input(index, Input::QueryReply { tag, reply: reply.clone() });
                if let Some(walk) = self.hosts[index].walks.get_mut(&tag) {
                    walk.pending -= 1;
                    walk.closest.push(reply);
                }
                self.walk_step(index, tag);
            }
            None => {}
        }
    }

    fn again(&mut self, index: usize, tid: u16) {
        match self.hosts[index].waiting.remove(&tid) {
            Some(Waiting::Ask { tag, ask, left }) if left > 1 => {
                let at = self.now + SECOND;
                self.hosts[index].resend.insert((at, tid), ());
                self.send_request(index, tid, &ask);
                self.hosts[index].waiting.insert(tid, Waiting::Ask { tag, ask, left: left - 1 });
            }
            Some(Waiting::Ask { tag, .. }) => self.input(index, Input::Answer { tag, result: Err(()) }),
            Some(Waiting::Query { tag, ask, left }) if left > 1 => {
                let at = self.now + SECOND;
                self.hosts[index].resend.insert((at, tid), ());
                self.send_request(index, tid, &ask);
                self.hosts[index].waiting.insert(tid, Waiting::Query { tag, ask, left: left - 1 });
            }
            Some(Waiting::Query { tag, .. }) => {
                if let Some(walk) = self.hosts[index].walks.get_mut(&tag) {
                    walk.pending -= 1;
                }
                self.walk_step(index, tag);
            }
            None => {}
        }
    }

    fn expect(&mut self, index: usize, conn: ConnId, remote: u32) {
        let host = &mut self.hosts[index];
        let stream = host.streams.get_mut(&conn).expect("opened before");
        stream.expects = Some(remote);
        let local = stream.local;
        if let Some(at) = host.early.iter().position(|&(to, from, ..)| (to, from) == (local, remote)) {
            let (_, _, socket, from) = host.early.remove(at);
            self.stream_packet(index, socket, from, local, remote);
        }
    }

    fn connect_stream(&mut self, index: usize, conn: ConnId, socket: SocketId, remote: u32, to: Addr) {
        let stream = self.hosts[index].streams.get_mut(&conn).expect("opened before");
        if stream.remote.is_some() {
            return;
        }
        stream.remote = Some((socket, remote, to));
        let from = stream.local;
        let early = self.hosts[index].early.iter().any(|&(local, ..)| local == from);
        if early && let Some(stream) = self.hosts[index].streams.get_mut(&conn) {
            stream.heard = true;
        }
        self.send(index, socket, to, None, Body::Stream { to: remote, from });
    }

    fn stream_packet(&mut self, index: usize, socket: SocketId, from: Addr, local: u32, remote: u32) {
        let host = &mut self.hosts[index];
        let found = host.streams.iter_mut().find(|(_, stream)| stream.local == local);
        let Some((&conn, stream)) = found else { return };
        if stream.remote.is_some() {
            stream.heard = true;
            return;
        }
        if stream.expects != Some(remote) {
            host.early.push((local, remote, socket, from));
            return;
        }
        stream.heard = true;
        self.connect_stream(index, conn, socket, remote, from);
        self.input(index, Input::StreamConnected { conn, socket, from });
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let parcel = self.parcels.keys().next().map(|&(at, _)| at);
            let timers = self.hosts.iter().filter_map(|host| host.dht.poll_timeout()).map(|d| d.at).min();
            let resend = self.hosts.iter().filter_map(|h| h.resend.keys().next()).map(|&(at, _)| at).min();
            let Some(at) = [parcel, timers, resend].into_iter().flatten().min().filter(|&at| at <= end)
            else {
                break;
            };
            self.now = self.now.max(at);
            while let Some(entry) = self.parcels.first_entry().filter(|e| e.key().0 <= self.now) {
                let parcel = entry.remove();
                self.deliver(parcel);
            }
            for index in 0..self.hosts.len() {
                while let Some((&(at, tid), ())) = self.hosts[index].resend.first_key_value() {
                    if at > self.now {
                        break;
                    }
                    self.hosts[index].resend.remove(&(at, tid));
                    self.again(index, tid);
                }
                if self.hosts[index].dht.poll_timeout().is_some_and(|d| d.at <= self.now) {
                    self.with(index, |dht, cx| dht.handle_timeout(cx));
                    let next = self.hosts[index].dht.poll_timeout();
                    assert!(next.is_none_or(|d| d.at > self.now), "L4: {next:?} at {}", self.now);
                }
            }
        }
        self.now = end;
    }

    /// Runs until the host has an event that `pick` takes; panics after `within`.
    pub fn wait<R>(&mut self, index: usize, within: Span, mut pick: impl FnMut(&Event) -> Option<R>) -> R {
        let end = self.now + within;
        loop {
            let found = self.hosts[index].events.iter().enumerate().find_map(|(n, e)| Some((n, pick(e)?)));
            if let Some((n, result)) = found {
                self.hosts[index].events.remove(n);
                return result;
            }
            assert!(self.now < end, "nothing within {within}; events: {:?}", self.hosts[index].events);
            self.run(Span::from_millis(1));
        }
    }

    pub fn listen(&mut self, index: usize, key: u8) -> ServerId {
        let options = ListenOptions::new(pair(key));
        let server = self.with(index, |dht, cx| dht.listen(cx, options)).expect("not taken");
        self.wait(index, Span::from_secs(5), |event| match event {
            Event::Listening { server: s } if *s == server => Some(()),
            _ => None,
        });
        server
    }

    pub fn dial(&mut self, index: usize, key: u8, own: u8) -> ConnId {
        let options = ConnectOptions::new(pair(own));
        self.with(index, |dht, cx| dht.connect(cx, pair(key).public, options))
    }

    pub fn outcome(&mut self, index: usize, conn: ConnId, within: Span) -> Result<Connected, ConnectError> {
        let end = self.now + within;
        loop {
            let events = &mut self.hosts[index].events;
            let at = events.iter().position(|event| match event {
                Event::Connected(connected) => connected.conn == conn,
                Event::Failed { conn: failed, .. } => *failed == conn,
                _ => false,
            });
            match at.map(|at| events.remove(at)) {
                Some(Event::Connected(connected)) => return Ok(connected),
                Some(Event::Failed { why, .. }) => return Err(why),
                Some(_) | None => {}
            }
            assert!(self.now < end, "no outcome of {conn} within {within}");
            self.run(Span::from_millis(1));
        }
    }

    /// The host's NAT forgets all it had.
    pub fn remap(&mut self, index: usize) {
        for socket in self.hosts[index].sockets.values_mut() {
            socket.public.clear();
            socket.sent_to.clear();
        }
    }

    /// Every stream ends.
    pub fn close_streams(&mut self) {
        for index in 0..self.hosts.len() {
            for (conn, _) in std::mem::take(&mut self.hosts[index].streams) {
                self.input(index, Input::StreamClosed { conn });
            }
        }
        self.run(Span::from_secs(11));
    }

    /// The server side's connections so far.
    pub fn take_accepted(&mut self, index: usize) -> Vec<Connected> {
        let mut taken = Vec::new();
        let events = std::mem::take(&mut self.hosts[index].events);
        for event in events {
            match event {
                Event::Connected(connected) if connected.server.is_some() => taken.push(connected),
                other => self.hosts[index].events.push(other),
            }
        }
        taken
    }
}

impl Host {
    fn current(&self) -> SocketId {
        if self.shape == Shape::Open { SocketId::SERVER } else { SocketId::CLIENT }
    }

    fn bind(&mut self, id: SocketId) {
        self.next_port += 1;
        let ip = if self.shape == Shape::Open { self.ip } else { [0; 4] };
        let local = Addr::new(ip, self.next_port);
        self.sockets.insert(id, Socket { local, ..Socket::default() });
    }

    fn cancel(&mut self, tag: Tag) {
        self.waiting.retain(|_, waiting| !matches!(waiting, Waiting::Ask { tag: t, .. } if *t == tag));
    }

    /// The address that a datagram of `socket` comes from, as `to` sees it; opens the NAT.
    fn source(&mut self, id: SocketId, to: Addr, lan: bool) -> Option<Addr> {
        let (ip, shape) = (self.ip, self.shape);
        let random = match shape {
            Shape::Random => true,
            Shape::RandomAtFirst(n) => id.0 >= 2 && id.0 < 2 + n,
            Shape::Open | Shape::Consistent => false,
        };
        let own = self.lan;
        let port = self.next_port + 1;
        let socket = self.sockets.get_mut(&id)?;
        socket.sent_to.insert(to);
        if lan {
            return Some(Addr::new(own, socket.local.port));
        }
        if shape == Shape::Open {
            return Some(socket.local);
        }
        let mapping = random.then_some(to);
        if !socket.public.contains_key(&mapping) {
            self.next_port = port;
        }
        Some(*socket.public.entry(mapping).or_insert(Addr::new(ip, 20_000 + port)))
    }
}
