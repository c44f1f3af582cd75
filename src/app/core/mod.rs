//! A core and its peers: read from them, copied, passed on. They are met under the core's discovery key.

mod blocks;
mod copy;

pub use blocks::{Blocks, Step};
pub use copy::{Copying, Extent, State};

use crate::base::{Error, Key, Span, Time};
use crate::node::{CoreId, Event, JoinOptions, KeyPair, Net, StoreId, StoreOptions};

/// The name from which a store derives the key pair under which its cores are exchanged.
const NAME: &str = "seckel core";
/// How long after the first peer the lengths of all are taken for known, if the topic is not looked through yet.
const ACQUAINTED: Span = Span::from_secs(3);

/// Then it is no coincidence.
const FAILED_MAX: u32 = 50;

const CONFLICT: &str = "its keys signed two logs that contradict each other; it is exchanged no more";

/// Cores, and whom they are exchanged with. Hand every event to `on_event`.
#[derive(Debug)]
pub struct Exchange {
    store: StoreId,
    first: CoreId,
    cores: Vec<Shared>,
    flushed: bool,
    left: bool,
    /// Peers that came.
    count: u64,
    /// How often in a row what another process writes could not be read.
    failed: u32,
}

#[derive(Clone, Copy, Debug)]
struct Shared {
    core: CoreId,
    topic: Key,
    /// It is announced, or looked up.
    refreshed: bool,
    /// When the first peer came.
    met: Option<Time>,
}

/// How far a copy is known to be as long as its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nobody is met yet.
    Alone,
    /// Peers are there, but may have more.
    Behind,
    /// As long as any peer says.
    Fresh,
}

impl Exchange {
    /// Opens the cores with these keys in the store `dir`, and looks for their peers. `serve`: be found by others.
    /// What comes is as durable as `Net::set_durability` says.
    pub fn start(net: &mut Net<'_>, dir: &str, keys: &[Key], serve: bool) -> Result<Exchange, Error> {
        let store = net.store(dir)?;
        let pair = net.key_pair(store, NAME)?;
        let cores: Result<Vec<CoreId>, Error> = keys.iter().map(|key| net.core_by_key(store, key)).collect();
        Exchange::meet(net, store, &cores?, &pair, serve)
    }

    /// The same for the one core whose files lie in `dir` itself.
    pub fn start_lone(net: &mut Net<'_>, dir: &str, serve: bool) -> Result<Exchange, Error> {
        let (store, core) = net.lone_core(dir, false)?;
        let pair = KeyPair::from_seed(net.cx().entropy.bytes32());
        Exchange::meet(net, store, &[core], &pair, serve)
    }

    /// Passes cores on that another process may write meanwhile: takes no lock and changes nothing. `lone`: the one
    /// core whose files lie in `dir` itself. Call `refresh` now and then.
    pub fn start_beside(net: &mut Net<'_>, dir: &str, keys: &[Key], lone: bool) -> Result<Exchange, Error> {
        let any = KeyPair::from_seed(net.cx().entropy.bytes32());
        if lone {
            let (store, core) = net.lone_core(dir, true)?;
            return Exchange::meet(net, store, &[core], &any, true);
        }
        let store = net.store_with(dir, &StoreOptions { read_only: true, ..StoreOptions::default() })?;
        let cores: Result<Vec<CoreId>, Error> = keys.iter().map(|key| net.core_by_key(store, key)).collect();
        Exchange::meet(net, store, &cores?, &any, true)
    }

    /// Takes over what another process wrote, after `start_beside`.
    pub fn refresh(&mut self, net: &mut Net<'_>) -> Result<(), Error> {
        for shared in &self.cores {
            match net.refresh_core(shared.core) {
                Ok(_) => self.failed = 0,
                // In the midst of what the other one writes: it is looked at again.
                Err(_) if self.failed < FAILED_MAX => self.failed += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn meet(
        net: &mut Net<'_>,
        store: StoreId,
        ids: &[CoreId],
        pair: &KeyPair,
        serve: bool,
    ) -> Result<Exchange, Error> {
        net.swarm(pair);
        let mut cores = Vec::new();
        for &core in ids {
            let topic = net.core_info(core)?.discovery_key;
            net.join(topic, JoinOptions { server: serve, client: true })?;
            cores.push(Shared { core, topic, refreshed: false, met: None });
        }
        net.flush()?;
        let first = cores.first().ok_or(Error::Invalid("no core"))?.core;
        Ok(Exchange { store, first, cores, flushed: false, left: false, count: 0, failed: 0 })
    }

    /// The cores, in the order of the keys.
    pub fn cores(&self) -> impl Iterator<Item = CoreId> {
        self.cores.iter().map(|shared| shared.core)
    }

    /// The first of them.
    pub fn core(&self) -> CoreId {
        self.first
    }

    /// Everybody who was found at first is connected, or given up.
    pub fn flushed(&self) -> bool {
        self.flushed
    }

    /// Others can find all cores that are served.
    pub fn announced(&self) -> bool {
        self.cores.iter().all(|shared| shared.refreshed)
    }

    /// How many peers came, each as often as it did.
    pub fn met(&self) -> u64 {
        self.count
    }

    /// `Err`: what was received cannot be stored.
    pub fn on_event(&mut self, net: &mut Net<'_>, event: &Event) -> Result<(), Error> {
        match event {
            Event::Connected { conn, swarm: true, .. } => {
                // One that is gone already tells so itself.
                let _ = net.replicate(*conn, self.store);
            }
            Event::PeerAdded { core, .. } => {
                let now = net.now();
                for shared in self.cores.iter_mut().filter(|shared| shared.core == *core) {
                    shared.met.get_or_insert(now);
                    self.count += 1;
                }
            }
            Event::Refreshed { topic } => {
                let mut shared = self.cores.iter_mut();
                shared.find(|shared| shared.topic == *topic).into_iter().for_each(|it| it.refreshed = true);
            }
            Event::Flushed { .. } => self.flushed = true,
            Event::SwarmDestroyed => self.left = true,
            // Others go on; who has this one only has nothing more to wait for.
            Event::Conflict { core, .. } if self.cores.len() == 1 && *core == self.first => {
                return Err(Error::Refused(CONFLICT));
            }
            Event::DiskFailed(why) | Event::Stalled { why, .. } => return Err(*why),
            _ => {}
        }
        Ok(())
    }

    /// How far the copy of the first core is known to be as long as any.
    pub fn standing(&self, net: &Net<'_>) -> Standing {
        let Some(shared) = self.cores.first() else { return Standing::Alone };
        let Ok(info) = net.core_info(shared.core) else { return Standing::Alone };
        if info.peers == 0 {
            return Standing::Alone;
        }
        let acquainted = shared.met.is_some_and(|met| met + ACQUAINTED <= net.now());
        let caught_up = net.behind(shared.core) == Ok(false);
        let told = info.remote_length > 0 && self.flushed;
        if caught_up && (told || acquainted) { Standing::Fresh } else { Standing::Behind }
    }

    /// When `standing` may change although nothing happens.
    pub fn deadline(&self, net: &Net<'_>) -> Option<Time> {
        let met = self.cores.first()?.met?;
        let at = met + ACQUAINTED;
        (at > net.now()).then_some(at)
    }

    /// Ends all connections and takes the announcements back.
    pub fn leave(&mut self, net: &mut Net<'_>) {
        if net.destroy_swarm(false).is_err() {
            self.left = true;
        }
    }

    /// Nothing is left to wait for.
    pub fn left(&self) -> bool {
        self.left
    }
}
