//! What a program can do with its servers, beside opening and closing them.

use super::ServerId;
use super::net::Net;
use crate::base::{Addr, Error, Key, trace};
use crate::hyperdht::Knock;

/// Where a server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerAddress {
    pub key: Key,
    /// The public host of the node, as others see it.
    pub host: Option<[u8; 4]>,
    /// Its public port; 0 if that is not the same for all.
    pub port: u16,
}

impl Net<'_> {
    /// Lets a caller of a server with a gate in. `Gone`: it has waited for too long. (hyperdht.110)
    pub fn admit(&mut self, knock: Knock) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: knock.server(), "admit a caller");
        node.dht.admit(cx, knock)?;
        node.settle(cx);
        Ok(())
    }

    /// Turns a caller of a server with a gate away: it hears nothing. (hyperdht.110)
    pub fn deny(&mut self, knock: Knock) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: knock.server(), "deny a caller");
        node.dht.deny(cx, knock)?;
        node.settle(cx);
        Ok(())
    }

    /// Callers with these keys are not let in from now on, and hear nothing. (hyperdht.35)
    pub fn set_denied(&mut self, server: ServerId, keys: &[Key]) -> Result<(), Error> {
        self.parts().0.dht.set_denied(server, keys.iter().copied())
    }

    /// Announces a server again. It does so by itself when the network changes. (hyperdht.55)
    pub fn refresh(&mut self, server: ServerId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: server, "announce again");
        node.dht.refresh(cx, server)?;
        node.settle(cx);
        Ok(())
    }

    /// Takes back what is announced of a server, and lets nobody in until `resume_server`; connections stay.
    /// `Event::ServerSuspended` tells when that is done. (hyperdht.154)
    pub fn suspend_server(&mut self, server: ServerId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: server, "suspend the server");
        node.dht.suspend_server(cx, server)?;
        node.settle(cx);
        Ok(())
    }

    /// Ends `suspend_server`. (hyperdht.154)
    pub fn resume_server(&mut self, server: ServerId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: server, "resume the server");
        node.dht.resume_server(cx, server)?;
        node.settle(cx);
        Ok(())
    }

    /// The key of a server and where its node is.
    pub fn server_address(&self, server: ServerId) -> Option<ServerAddress> {
        let node = self.node();
        let (key, status) = (node.dht.server_key(server)?, node.rpc.status());
        Some(ServerAddress { key, host: status.host, port: status.port })
    }

    /// Through which nodes callers reach a server, for announcing it under a topic. Empty until it is listening.
    pub fn server_relays(&self, server: ServerId) -> Vec<Addr> {
        self.node().dht.server_relays(server).to_vec()
    }
}
