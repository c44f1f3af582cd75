//! Commands of the program's own on the DHT: asking other nodes, and answering them. Follows hyperdht.151 to
//! hyperdht.153.

use super::net::Net;
use super::{LookupId, Plugin};
use crate::base::{Error, trace};
use crate::wire::dht_rpc::{Ask, Query, Request, Respond};

impl Net<'_> {
    /// Asks one node anything: `Event::Reply` if it answers, then `Event::LookupDone`. `Invalid`: the value fits no
    /// datagram, or the socket is none of the DHT's. (hyperdht.152)
    pub fn request(&mut self, ask: Ask) -> Result<LookupId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", peer: ask.to, "ask command {}", ask.command);
        let lookup = node.dht.ask_node(cx, ask)?;
        Ok(self.asked(lookup))
    }

    /// Asks all nodes on the way to the query's target: `Event::Reply` for each that answers, then
    /// `Event::LookupDone`. `Invalid`: the value fits no datagram. (hyperdht.152)
    pub fn query(&mut self, query: Query) -> Result<LookupId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "ask command {} on the way", query.command);
        let lookup = node.dht.ask_all(cx, query)?;
        Ok(self.asked(lookup))
    }

    /// From now on requests to this plugin come as `Event::PluginRequest`, once the node is persistent. Another version
    /// of the same name takes its place. `Full`: there are too many. (hyperdht.151)
    pub fn register(&mut self, plugin: Plugin) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "register plugin {:?}, version {}", plugin.name, plugin.version);
        node.dht.register(plugin)
    }

    /// Requests to that plugin are not answered any more.
    pub fn unregister(&mut self, name: &str) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "unregister plugin {name:?}");
        node.dht.unregister(name);
    }

    /// Whether requests with commands that neither dht_rpc nor hyperdht has come as `Event::Request`; if not, they are
    /// answered as unknown. (hyperdht.153)
    pub fn take_requests(&mut self, on: bool) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "take requests: {on}");
        node.dht.take_requests(on);
    }

    /// Answers an `Event::Request` or `Event::PluginRequest`. A value that fits no datagram is not sent.
    pub fn respond(&mut self, request: Request, respond: Respond) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", peer: request.from, "answer command {}", request.command);
        node.dht.answer(cx, request, respond);
        node.settle(cx);
    }
}
