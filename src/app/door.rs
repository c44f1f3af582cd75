//! Who may come in to a program's server, and how both ends go about meeting: what the command line offers of it.

use crate::base::{Addr, Error, Key};
use crate::node::{ConnId, ConnectOptions, Event, KeyPair, ListenOptions, Net, Punching, ServerId};
use crate::wire::hyperdht::Address;

/// How to listen and to connect.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Who may come in; nobody named: everybody. (hyperdht.110)
    pub allow: Vec<Key>,
    /// Nodes that lead to whom we connect with, besides those that come with its key.
    pub relay_addresses: Vec<Addr>,
    /// Blind relays for where there is no direct way.
    pub relay_through: Vec<Key>,
    /// Local addresses are not told, nor tried.
    pub no_local: bool,
    /// Nothing is punched.
    pub no_punch: bool,
}

fn never(_: &Punching<'_>) -> bool {
    false
}

impl Manner {
    /// Opens a server without channels.
    pub fn listen(&self, net: &mut Net<'_>, pair: &KeyPair) -> Result<ServerId, Error> {
        let options = ListenOptions {
            gate: !self.allow.is_empty(),
            share_local_address: !self.no_local,
            holepunch: !self.no_punch,
            relay_through: self.relay_through.clone(),
            ..ListenOptions::new(pair.clone())
        };
        net.listen_with(options, false)
    }

    /// Connects, without channels.
    pub fn connect(&self, net: &mut Net<'_>, to: &Address, pair: &KeyPair) -> Result<ConnId, Error> {
        let named = to.nodes.iter().flatten();
        let relays = self.relay_addresses.iter().chain(named).copied().collect();
        let options = ConnectOptions {
            relays,
            local_connection: !self.no_local,
            veto: self.no_punch.then_some(never),
            // Else our first byte may open the way before anybody is asked.
            fast_open: !self.no_punch,
            relay_through: self.relay_through.clone(),
            ..ConnectOptions::new(pair.clone())
        };
        net.connect_to(to, options, false)
    }

    /// Decides about those who knock.
    pub fn on_event(&self, net: &mut Net<'_>, event: &Event) {
        if let Event::Knock { knock, key, .. } = event {
            // One that waited for too long is gone already.
            let _ = if self.allow.contains(key) { net.admit(*knock) } else { net.deny(*knock) };
        }
    }
}
