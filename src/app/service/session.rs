//! A client at work: its mind decides, this connects, calls, and shows it the copy. Follows registry.19.

use std::collections::BTreeMap;

use super::link::CALL_WAIT;
use super::{CallFault, Mind, Output, Status};
use crate::base::{Error, Key, Time};
use crate::node::{
    CallId, ConnId, CoreId, Durability, Event, Failure, JoinOptions, KeyPair, Net, RpcId, StoreId,
};

const STORE: &str = "";

/// A running client. The program that owns the node hands every event to `on_event` and calls `on_timeout` at
/// `deadline`; then it takes what `poll_report` has.
pub struct Session<M: Mind> {
    mind: M,
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

impl<M: Mind> Session<M> {
    /// Opens the store and begins to connect. `serve`: let others copy from here, too.
    pub fn start(net: &mut Net<'_>, server: Key, core: Key, serve: bool) -> Result<Session<M>, Error> {
        // What a crash of the machine takes from a copy is copied again; the keys are synced all the same.
        net.set_durability(Durability::Kernel);
        let store = net.store(STORE)?;
        // Derived from the primary key, which is on disk before it is used.
        let key_pair = net.key_pair(store, &format!("{} client", M::NAME))?;
        let swarm = net.key_pair(store, &format!("{} swarm", M::NAME))?;
        let mind = M::new(net.now(), key_pair.clone(), core);
        let core = net.core_by_key(store, &core)?;
        let topic = net.core_info(core)?.discovery_key;
        net.download(core)?;
        net.swarm(&swarm);
        net.join(topic, JoinOptions { server: serve, client: true })?;
        let mut session = Session {
            mind,
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

    /// Calls are made over connections with this key: it is who the client is.
    pub fn key(&self) -> Key {
        self.key_pair.public
    }

    /// Copies are made over connections with this key.
    pub fn swarm_key(&self) -> Key {
        self.swarm
    }

    /// The copy of the server's core.
    pub fn core(&self) -> CoreId {
        self.core
    }

    pub fn mind(&self) -> &M {
        &self.mind
    }

    /// Takes a command; see `Mind::submit`.
    pub fn submit(&mut self, net: &mut Net<'_>, command: M::Command) -> Result<(), Error> {
        self.mind.submit(command)?;
        self.run(net);
        Ok(())
    }

    pub fn busy(&self) -> bool {
        self.mind.busy()
    }

    pub fn poll_report(&mut self) -> Option<M::Report> {
        self.mind.poll_report()
    }

    pub fn deadline(&self) -> Option<Time> {
        self.mind.deadline()
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
            Event::RpcOpened { rpc, .. } if self.rpc == Some(rpc) => self.mind.link_up(net.now()),
            Event::RpcClosed { rpc, .. } if self.rpc == Some(rpc) => self.unlink(net),
            Event::Closed { conn, .. } | Event::ConnectFailed { conn, .. } if self.conn == Some(conn) => {
                self.unlink(net);
            }
            Event::Answer { call, result } => {
                if let Some(ticket) = self.calls.remove(&call)
                    && let Some(answer) = read_answer(result)
                {
                    self.mind.answered(net.now(), ticket, answer);
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
        self.mind.link_down(net.now(), draw);
    }

    fn run(&mut self, net: &mut Net<'_>) {
        loop {
            let (now, draw) = (net.now(), net.cx().entropy.u64());
            self.mind.look(now, draw, &mut View { net, core: self.core });
            let Some(output) = self.mind.poll_output() else { return };
            match output {
                Output::Dial => match net.connect(self.server, &self.key_pair, true) {
                    Ok(conn) => self.conn = Some(conn),
                    Err(_) => self.mind.link_down(now, draw),
                },
                Output::HangUp => {
                    self.rpc = None;
                    self.calls.clear();
                    if let Some(conn) = self.conn.take() {
                        net.destroy(conn);
                    }
                }
                Output::Call { ticket, method, value } => {
                    let called = self
                        .rpc
                        .ok_or(Error::NotOpen)
                        .and_then(|rpc| net.call(rpc, method, &value, Some(CALL_WAIT)));
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
fn read_answer(result: Result<Vec<u8>, Failure>) -> Option<Result<Vec<u8>, CallFault>> {
    match result {
        Ok(value) => Some(Ok(value)),
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

/// The node's copy of the core, as a client's mind sees it.
pub struct View<'n, 'a> {
    pub net: &'n mut Net<'a>,
    pub core: CoreId,
}

impl View<'_, '_> {
    /// How long the copy is, and who there is to grow it from; whether the server is reachable is the link's to say.
    pub fn status(&self, reachable: bool) -> Status {
        let info = self.net.core_info(self.core);
        info.map_or(Status { reachable, ..Status::default() }, |info| Status {
            reachable,
            length: info.length,
            peers: info.peers,
            remote_length: info.remote_length,
        })
    }
}
