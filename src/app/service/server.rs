//! A server at work: it listens for calls, answers them in turns, and lets anyone copy its core. Follows registry.6 to
//! registry.8, and registry.19.

use std::collections::BTreeMap;

use super::gate::{Bounds, Gate};
use super::{House, Keys};
use crate::base::{Error, Key, Time};
use crate::node::{CallId, CoreId, Event, JoinOptions, Net, RpcId, ServerId, StoreId};

/// The folder of the store below the node's files.
const STORE: &str = "";
/// Calls answered before the network has its turn again.
const CALLS_PER_TURN: usize = 64;

/// A call that waits for its turn.
#[derive(Debug)]
struct Waiting<R> {
    call: CallId,
    rpc: RpcId,
    request: R,
}

/// A running server. The program that owns the node hands every event to `on_event`, calls `on_timeout` at `deadline`,
/// and asks `keys` when they are worth printing.
#[derive(Debug)]
pub struct Server<H: House> {
    house: H,
    keys: Keys,
    topic: Key,
    store: StoreId,
    core: CoreId,
    server: ServerId,
    swarm: Key,
    gate: Gate<Waiting<H::Request>>,
    rpcs: BTreeMap<RpcId, Key>,
    listening: bool,
    announced: bool,
    leaving: bool,
    gone: bool,
}

impl<H: House> Server<H> {
    /// Opens the store, the core and the two servers (for calls, and for copies). `Error::Io(Locked)`: another process
    /// uses these files.
    pub fn start(net: &mut Net<'_>, bounds: Bounds) -> Result<Server<H>, Error> {
        let store = net.store(STORE)?;
        let key_pair = net.key_pair(store, &format!("{} server", H::NAME))?;
        let core = net.core(store, H::NAME)?;
        let house = H::open(net, core)?;
        let info = net.core_info(core)?;
        let swarm = net.key_pair(store, &format!("{} swarm", H::NAME))?;
        net.swarm(&swarm);
        let server = net.listen(&key_pair, true)?;
        net.join(info.discovery_key, JoinOptions { server: true, client: false })?;
        Ok(Server {
            house,
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

    /// What it keeps.
    pub fn house(&self) -> &H {
        &self.house
    }

    /// The core that clients copy.
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
                // Once all that came together is heard: then an answer leaves with what says that its call came, and
                // one flush is enough for all.
                if !net.has_events() {
                    return self.on_timeout(net);
                }
            }
            // What was due meanwhile happens before anything that is asked from now on.
            Event::ClockSet => self.house.on_time(net, self.core)?,
            Event::DiskFailed(error) => return Err(error),
            _ => {}
        }
        Ok(())
    }

    /// When `on_timeout` wants to be called; at once while calls wait.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        [self.gate.deadline(now), self.house.deadline()].into_iter().flatten().min()
    }

    /// Does what happens by itself, and answers waiting calls in turns.
    pub fn on_timeout(&mut self, net: &mut Net<'_>) -> Result<(), Error> {
        self.house.on_time(net, self.core)?;
        for _ in 0..CALLS_PER_TURN {
            let Some((caller, waiting)) = self.gate.pop(net.now()) else { return Ok(()) };
            let answer = self.house.serve(net, self.core, &caller, waiting.request);
            let failed = answer.as_ref().err().copied();
            say(net, waiting.call, &answer.unwrap_or_else(|_| H::failed()));
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
        match H::read(method, body) {
            None => {
                let _ = net.refuse(call, "UNKNOWN_METHOD", &format!("Unknown method '{method}'"));
            }
            Some(Err(answer)) => say(net, call, &answer),
            Some(Ok(request)) => {
                if let Err(why) = self.gate.push(net.now(), caller, Waiting { call, rpc, request }) {
                    say(net, call, &H::refused(why));
                }
            }
        }
    }
}

/// A caller that hung up is not told.
fn say(net: &mut Net<'_>, call: CallId, answer: &[u8]) {
    let _ = net.answer(call, answer);
}
