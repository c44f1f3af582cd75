//! The server: a node that listens for calls, keeps the names, and lets anyone copy them. Follows registry.4 to
//! registry.9, registry.19 and registry.20.

use std::collections::BTreeMap;

use super::gate::{Bounds, Gate, Refusal};
use super::rules::{self, Answer, Decision, Method, decide, read_request};
use crate::base::{Error, Key, Time};
use crate::node::{CallId, CoreId, Event, JoinOptions, Net, RpcId, ServerId, StoreId};

/// The folder of the store below the node's files.
const STORE: &str = "";
/// Calls answered before the network has its turn again.
const CALLS_PER_TURN: usize = 64;

/// What clients need to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Connections for calls go to this key.
    pub server: Key,
    /// The names are in this core.
    pub core: Key,
}

/// A call that waits for its turn.
#[derive(Debug)]
struct Waiting {
    call: CallId,
    rpc: RpcId,
    method: Method,
    name: String,
}

/// A running server. The program that owns the node hands every event to `on_event`, calls `on_timeout` at `deadline`,
/// and asks `keys` when they are worth printing.
#[derive(Debug)]
pub struct Server {
    keys: Keys,
    topic: Key,
    store: StoreId,
    core: CoreId,
    server: ServerId,
    swarm: Key,
    gate: Gate<Waiting>,
    rpcs: BTreeMap<RpcId, Key>,
    listening: bool,
    announced: bool,
    leaving: bool,
    gone: bool,
}

impl Server {
    /// Opens the store, the core and the two servers (for calls, and for copies). `Error::Io(Locked)`: another process
    /// uses these files. (registry.20)
    pub fn start(net: &mut Net<'_>, bounds: Bounds) -> Result<Server, Error> {
        let store = net.store(STORE)?;
        let key_pair = net.key_pair(store, "registry server")?;
        let core = net.core(store, rules::CORE_NAME)?;
        if net.core_info(core)?.length == 0 {
            // hyperbee.23: writes the header, so that a copy of an empty registry is not an empty copy.
            net.bee_del(core, b"")?;
        }
        let info = net.core_info(core)?;
        let swarm = net.key_pair(store, "registry swarm")?;
        net.swarm(&swarm);
        let server = net.listen(&key_pair, true)?;
        net.join(info.discovery_key, JoinOptions { server: true, client: false })?;
        Ok(Server {
            keys: Keys { server: key_pair.public, core: info.key },
            topic: info.discovery_key,
            store,
            core,
            server,
            swarm: swarm.public,
            gate: Gate::new(bounds),
            rpcs: BTreeMap::new(),
            listening: false,
            announced: false,
            leaving: false,
            gone: false,
        })
    }

    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// The core in which the names are.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Copies are made over connections with this key.
    pub fn swarm_key(&self) -> Key {
        self.swarm
    }

    /// True once clients can find this server and its core.
    pub fn reachable(&self) -> bool {
        self.listening && self.announced
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) -> Result<(), Error> {
        match event {
            Event::Listening { server } if server == self.server => self.listening = true,
            Event::Refreshed { topic } if topic == self.topic => self.announced = true,
            Event::Unlistened { server } if server == self.server => self.gone = true,
            Event::Connected { conn, server, key, swarm, .. } if !self.leaving => {
                // A connection may break while its event waits: then there is nothing to do for it.
                let _ = net.replicate(conn, self.store);
                if !swarm
                    && server == Some(self.server)
                    && let Ok(rpc) = net.rpc(conn, &self.keys.server)
                {
                    self.rpcs.insert(rpc, key);
                }
            }
            Event::RpcClosed { rpc, .. } => {
                self.rpcs.remove(&rpc);
                self.gate.retain(|waiting| waiting.rpc != rpc);
            }
            Event::Call { call, rpc, from, method, body, .. } => {
                self.take_call(net, call, rpc, from, &method, &body);
            }
            Event::DiskFailed(error) => return Err(error),
            _ => {}
        }
        Ok(())
    }

    /// When `on_timeout` wants to be called; at once while calls wait.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        self.gate.deadline(now)
    }

    /// Answers waiting calls, in turns.
    pub fn on_timeout(&mut self, net: &mut Net<'_>) -> Result<(), Error> {
        for _ in 0..CALLS_PER_TURN {
            let Some((caller, waiting)) = self.gate.pop(net.now()) else { return Ok(()) };
            let answer = self.serve(net, &caller, waiting.method, &waiting.name);
            let failed = answer.as_ref().err().copied();
            let answer = answer.unwrap_or_else(|_| Answer::refused(rules::STORAGE));
            say(net, waiting.call, &answer);
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Unannounces and closes; `left` tells when that is done.
    pub fn leave(&mut self, net: &mut Net<'_>) {
        self.leaving = true;
        net.unlisten(self.server);
        net.leave(self.topic);
    }

    pub fn left(&self) -> bool {
        self.gone
    }

    fn take_call(
        &mut self,
        net: &mut Net<'_>,
        call: CallId,
        rpc: RpcId,
        caller: Key,
        method: &str,
        body: &[u8],
    ) {
        let Some(method) = Method::from_name(method) else {
            let _ = net.refuse(call, "UNKNOWN_METHOD", &format!("Unknown method '{method}'"));
            return;
        };
        let name = match read_request(body) {
            Ok(name) => name,
            Err(fault) => return say(net, call, &Answer::refused(&fault.to_string())),
        };
        match self.gate.push(net.now(), caller, Waiting { call, rpc, method, name }) {
            Ok(()) => {}
            Err(Refusal::TooMany) => say(net, call, &Answer::refused(rules::TOO_MANY)),
            Err(Refusal::Busy) => say(net, call, &Answer::refused(rules::BUSY)),
        }
    }

    /// registry.4, registry.5. The answer leaves after what is appended here is on disk.
    fn serve(
        &mut self,
        net: &mut Net<'_>,
        caller: &Key,
        method: Method,
        name: &str,
    ) -> Result<Answer, Error> {
        let owner = net.bee_get(self.core, name.as_bytes())?;
        match decide(method, caller, owner.as_deref()) {
            Decision::Answer(answer) => return Ok(answer),
            Decision::Put => net.bee_put(self.core, name.as_bytes(), caller)?,
            Decision::Del => {
                net.bee_del(self.core, name.as_bytes())?;
            }
        }
        Ok(Answer::Ok)
    }
}

/// A caller that hung up is not told.
fn say(net: &mut Net<'_>, call: CallId, answer: &Answer) {
    let _ = net.answer(call, &answer.value());
}
