//! A client at work: `client` decides, this connects, calls, and shows it the replica. Follows registry.19.

use std::collections::BTreeMap;

use super::client::{CALL_WAIT, CallFault, Client, Output, Pair, Replica, Report};
use super::command::Command;
use super::rules;
use crate::base::{Error, Key, Time};
use crate::node::{
    CallId, ConnId, CoreId, Durability, Event, Failure, JoinOptions, KeyPair, Net, Range, RpcId, StoreId,
};

const STORE: &str = "";

/// A running client. The program that owns the node hands every event to `on_event` and calls `on_timeout` at
/// `deadline`; then it takes what `poll_report` has.
pub struct Session {
    client: Client,
    key_pair: KeyPair,
    server: Key,
    store: StoreId,
    core: CoreId,
    swarm: Key,
    topic: Key,
    conn: Option<ConnId>,
    rpc: Option<RpcId>,
    /// Our call in flight, and the client's ticket for it.
    calls: BTreeMap<CallId, u64>,
}

impl Session {
    /// Opens the store and begins to connect. `serve`: let others copy from here, too.
    pub fn start(net: &mut Net<'_>, server: Key, core: Key, serve: bool) -> Result<Session, Error> {
        // What a crash of the machine takes from a copy is copied again; the keys are synced all the same.
        net.set_durability(Durability::Kernel);
        let store = net.store(STORE)?;
        // Derived from the primary key, which is on disk before it is used.
        let key_pair = net.key_pair(store, "registry client")?;
        let swarm = net.key_pair(store, "registry swarm")?;
        let core = net.core_by_key(store, &core)?;
        let topic = net.core_info(core)?.discovery_key;
        net.download(core)?;
        net.swarm(&swarm);
        net.join(topic, JoinOptions { server: serve, client: true })?;
        let client = Client::new(net.now(), key_pair.public);
        let mut session = Session {
            client,
            key_pair,
            server,
            store,
            core,
            swarm: swarm.public,
            topic,
            conn: None,
            rpc: None,
            calls: BTreeMap::new(),
        };
        session.run(net);
        Ok(session)
    }

    /// Calls are made over connections with this key: names belong to it.
    pub fn key(&self) -> Key {
        self.key_pair.public
    }

    /// Copies are made over connections with this key.
    pub fn swarm_key(&self) -> Key {
        self.swarm
    }

    /// The copy of the core in which the names are.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Takes a command; see `Client::submit`.
    pub fn submit(&mut self, net: &mut Net<'_>, command: Command) -> Result<(), Error> {
        self.client.submit(command)?;
        self.run(net);
        Ok(())
    }

    pub fn busy(&self) -> bool {
        self.client.busy()
    }

    pub fn poll_report(&mut self) -> Option<Report> {
        self.client.poll_report()
    }

    pub fn deadline(&self) -> Option<Time> {
        self.client.deadline()
    }

    pub fn on_timeout(&mut self, net: &mut Net<'_>) {
        self.run(net);
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) -> Result<(), Error> {
        match event {
            Event::Connected { conn, swarm: true, .. } => {
                let _ = net.replicate(conn, self.store);
            }
            Event::Connected { conn, .. } if self.conn == Some(conn) => {
                // registry.19: copies go over this connection, too, if the server offers that.
                let _ = net.replicate(conn, self.store);
                match net.rpc(conn, &self.server) {
                    Ok(rpc) => self.rpc = Some(rpc),
                    Err(_) => self.unlink(net),
                }
            }
            Event::RpcOpened { rpc, .. } if self.rpc == Some(rpc) => self.client.link_up(net.now()),
            Event::RpcClosed { rpc, .. } if self.rpc == Some(rpc) => self.unlink(net),
            Event::Closed { conn, .. } | Event::ConnectFailed { conn, .. } if self.conn == Some(conn) => {
                self.unlink(net);
            }
            Event::Answer { call, result } => {
                if let Some(ticket) = self.calls.remove(&call)
                    && let Some(answer) = read_answer(result)
                {
                    self.client.answered(net.now(), ticket, answer);
                }
            }
            Event::DiskFailed(error) => return Err(error),
            _ => {}
        }
        self.run(net);
        Ok(())
    }

    /// Leaves the topic and ends the connection.
    pub fn leave(&mut self, net: &mut Net<'_>) {
        net.leave(self.topic);
        if let Some(conn) = self.conn.take() {
            net.close(conn);
        }
    }

    fn unlink(&mut self, net: &mut Net<'_>) {
        self.rpc = None;
        self.calls.clear();
        if let Some(conn) = self.conn.take() {
            net.destroy(conn);
        }
        let draw = net.cx().entropy.u64();
        self.client.link_down(net.now(), draw);
    }

    fn run(&mut self, net: &mut Net<'_>) {
        loop {
            let (now, draw) = (net.now(), net.cx().entropy.u64());
            self.client.tick(now, draw, &mut View { net, core: self.core });
            let Some(output) = self.client.poll_output() else { return };
            match output {
                Output::Dial => match net.connect(self.server, &self.key_pair, true) {
                    Ok(conn) => self.conn = Some(conn),
                    Err(_) => self.client.link_down(now, draw),
                },
                Output::HangUp => {
                    self.rpc = None;
                    self.calls.clear();
                    if let Some(conn) = self.conn.take() {
                        net.destroy(conn);
                    }
                }
                Output::Call { ticket, method, name } => {
                    let body = rules::request(&name);
                    let called = self
                        .rpc
                        .ok_or(Error::NotOpen)
                        .and_then(|rpc| net.call(rpc, method.name(), &body, Some(CALL_WAIT)));
                    match called {
                        Ok(call) => {
                            self.calls.insert(call, ticket);
                        }
                        Err(_) => self.unlink(net),
                    }
                }
            }
        }
    }
}

/// What a call came to; `None` if the connection broke, which is told by another event.
fn read_answer(result: Result<Vec<u8>, Failure>) -> Option<Result<String, CallFault>> {
    match result {
        Ok(value) => {
            let answer = rules::read_answer(&value);
            Some(answer.ok_or_else(|| CallFault::Failed("an answer that is too long".to_owned())))
        }
        Err(failure) => match failure.code.code() {
            "CHANNEL_CLOSED" | "CHANNEL_DESTROYED" => None,
            "TIMEOUT_EXCEEDED" => Some(Err(CallFault::TimedOut)),
            _ => {
                let why = failure.cause.map_or(failure.message, |cause| cause.message);
                Some(Err(CallFault::Failed(why)))
            }
        },
    }
}

/// The node's replica, as the client sees it.
struct View<'n, 'a> {
    net: &'n mut Net<'a>,
    core: CoreId,
}

impl Replica for View<'_, '_> {
    fn length(&self) -> u64 {
        self.net.core_info(self.core).map_or(0, |info| info.length)
    }
    fn remote_length(&self) -> u64 {
        self.net.core_info(self.core).map_or(0, |info| info.remote_length)
    }
    fn peers(&self) -> usize {
        self.net.core_info(self.core).map_or(0, |info| info.peers)
    }
    fn get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.net.bee_get(self.core, name)
    }
    fn list(&mut self) -> Result<Vec<Pair>, Error> {
        self.net.bee_list(self.core, &Range::all())
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        self.net.block(self.core, seq)
    }
}
