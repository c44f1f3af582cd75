//! Commands that are the program's own: those of plugins, which share number 10, and all above it. Follows
//! hyperdht.151 to hyperdht.153.

use super::lookup::{Lookup, What};
use super::*;
use crate::base::Error;
use crate::wire::hyperdht::{PluginRequest, command};

/// A name and a version under which programs agree on commands of their own. Nodes that have it registered answer
/// them, the others are silent. hyperdht.151
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plugin {
    pub name: String,
    pub version: u64,
}

impl Plugin {
    pub fn new(name: &str, version: u64) -> Plugin {
        Plugin { name: name.to_owned(), version }
    }

    /// A request to one node, for `Net::request`.
    pub fn ask(&self, to: Addr, command: u64, value: Option<Vec<u8>>) -> Ask {
        Ask { value: Some(self.value(command, value)), ..Ask::new(to, command::PLUGIN) }
    }

    /// A walk towards `target` on which each node is asked the same, for `Net::query`.
    pub fn query(&self, target: Key, command: u64, value: Option<Vec<u8>>) -> Query {
        Query::new(target, command::PLUGIN, Some(self.value(command, value)))
    }

    fn value(&self, command: u64, value: Option<Vec<u8>>) -> Vec<u8> {
        let Plugin { name, version } = self.clone();
        wire::encode(&PluginRequest { plugin: name, version, command, value })
    }
}

/// What the program serves beside what every node does.
#[derive(Debug, Default)]
pub(super) struct Plugins {
    versions: BTreeMap<String, u64>,
    /// Commands that nobody else knows.
    others: bool,
}

impl HyperDht {
    /// From now on requests to this plugin are the program's to answer, once the node is persistent. One version of
    /// each name: a later one takes the place of the one before. hyperdht.151
    pub fn register(&mut self, plugin: Plugin) -> Result<(), Error> {
        let known = self.plugins.versions.contains_key(&plugin.name);
        if !known && self.plugins.versions.len() >= limits::HYPERDHT_PLUGINS {
            return Err(Error::Full);
        }
        self.plugins.versions.insert(plugin.name, plugin.version);
        Ok(())
    }

    /// Requests to that plugin are not answered any more.
    pub fn unregister(&mut self, name: &str) {
        self.plugins.versions.remove(name);
    }

    /// Whether requests with commands above those of hyperdht are the program's to answer; if not, they are answered
    /// as unknown. hyperdht.153
    pub fn take_requests(&mut self, on: bool) {
        self.plugins.others = on;
    }

    /// Answers `Event::Request` or `Event::PluginRequest`.
    pub fn answer(&mut self, _: &mut Cx<'_>, request: Request, respond: Respond) {
        self.outputs.push_back(Output::Respond { request, respond });
    }

    /// Asks one node anything: `Event::Reply` if it answers, then `LookupDone`. hyperdht.152
    pub fn ask_node(&mut self, _: &mut Cx<'_>, ask: Ask) -> Result<LookupId, Error> {
        check(ask.value.as_deref(), ask.socket)?;
        let mut lookup = Lookup::new(ask.target.unwrap_or_default(), What::Asked);
        (lookup.pending, lookup.walked) = (1, true);
        let lookup = self.lookups.insert(lookup);
        self.ask(Purpose::LookupWrite { lookup, announce: false }, ask);
        Ok(lookup)
    }

    /// Asks all nodes on the way to the query's target: `Event::Reply` for each that answers, then `LookupDone`.
    /// hyperdht.152
    pub fn ask_all(&mut self, _: &mut Cx<'_>, query: Query) -> Result<LookupId, Error> {
        check(query.value.as_deref(), None)?;
        Ok(self.walk(What::Asked, query))
    }

    /// True: it is the program's, or nobody's. hyperdht.151, hyperdht.153
    pub(super) fn is_the_programs(&mut self, request: &Request) -> bool {
        if request.command > command::PLUGIN {
            if self.plugins.others {
                self.events.push_back(Event::Request(Box::new(request.clone())));
            }
            return self.plugins.others;
        }
        if request.command != command::PLUGIN || self.status.id.is_none() || self.storage.is_none() {
            return false;
        }
        let value = request.value.as_deref().unwrap_or_default();
        let Ok(PluginRequest { plugin, version, command, value }) = wire::decode(value) else {
            self.malformed();
            return true;
        };
        if self.plugins.versions.get(&plugin) == Some(&version) {
            let request = Box::new(request.clone());
            self.events.push_back(Event::PluginRequest { request, plugin, command, value });
        }
        true
    }
}

/// What was never bound cannot be sent from, and what fits no datagram not be sent.
fn check(value: Option<&[u8]>, socket: Option<SocketId>) -> Result<(), Error> {
    if value.is_some_and(|value| value.len() > limits::DHT_VALUE_MAX) {
        return Err(Error::Invalid("a value that fits no datagram"));
    }
    match socket {
        None | Some(SocketId::SERVER | SocketId::CLIENT) => Ok(()),
        Some(_) => Err(Error::Invalid("a socket that is not of the DHT")),
    }
}
