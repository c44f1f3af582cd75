//! How a swarm behaves: whom it lets in, how many, and through which relays.

use std::collections::BTreeSet;

use super::Backoffs;
use crate::base::Key;

/// Whom to be connected with at all. The own key is never let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Firewall {
    #[default]
    AllowAll,
    /// Nobody but these.
    Only(BTreeSet<Key>),
    /// Everybody but these.
    Except(BTreeSet<Key>),
}

impl Firewall {
    pub(super) fn refuses(&self, key: &Key) -> bool {
        match self {
            Firewall::AllowAll => false,
            Firewall::Only(keys) => !keys.contains(key),
            Firewall::Except(keys) => keys.contains(key),
        }
    }
}

/// How a swarm behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The own public key.
    pub key: Key,
    /// Connections beyond which no more peers of topics are dialled (hyperswarm.17).
    pub max_peers: usize,
    /// Connections of this side beyond which none is dialled; None: no bound of its own.
    pub max_client_connections: Option<usize>,
    /// Connections of peers beyond which no more are taken (hyperswarm.40); None: no bound of its own.
    pub max_server_connections: Option<usize>,
    /// Attempts at a time.
    pub max_parallel: usize,
    pub backoffs: Backoffs,
    pub firewall: Firewall,
    /// Blind relays, one of which is used when holepunching fails or is hopeless (hyperswarm.27).
    pub relay_through: Vec<Key>,
    /// Use one in any case.
    pub always_relay: bool,
    /// Look for peers again soon after the first look (hyperswarm.36).
    pub look_again: bool,
    /// Dial a peer anew beside a connection that has fallen silent (hyperswarm.37).
    pub dial_beside: bool,
}

impl Config {
    /// As the package does it unless told otherwise, and with what is ours: hyperswarm.36 and hyperswarm.37.
    pub fn new(key: Key) -> Config {
        Config {
            key,
            max_peers: 64,
            max_client_connections: None,
            max_server_connections: None,
            max_parallel: 3,
            backoffs: Backoffs::default(),
            firewall: Firewall::AllowAll,
            relay_through: Vec::new(),
            always_relay: false,
            look_again: true,
            dial_beside: true,
        }
    }
}

/// What to do about a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// Announce the own key under it, and listen.
    pub server: bool,
    /// Look for peers and dial them.
    pub client: bool,
    /// How many found peers are taken from each refresh; None: all.
    pub limit: Option<u64>,
}

impl Default for Join {
    fn default() -> Join {
        Join { server: true, client: true, limit: None }
    }
}
