//! Messages of the programs above, by name, over a core's channel. Follows replication.60 to replication.62.

use super::replicate::{Event, PeerId, Replicator};
use crate::base::{Error, limits};
use crate::wire::hypercore::{Extension, kind};

/// The names that were last said on a channel: one that is repeated is left out. (replication.60)
#[derive(Default)]
pub(super) struct Said {
    sent: String,
    heard: String,
}

impl Replicator {
    /// From now on messages named `name` are told; those of other names are dropped. (replication.61)
    /// `Error::Full`: too many names; `Error::Invalid`: the name is empty or too long.
    pub fn register_extension(&mut self, name: &str) -> Result<(), Error> {
        check(name, &[])?;
        if self.extensions.len() >= limits::EXTENSIONS_MAX && !self.extensions.contains(name) {
            return Err(Error::Full);
        }
        self.extensions.insert(name.to_owned());
        Ok(())
    }

    /// Messages named `name` are dropped again.
    pub fn unregister_extension(&mut self, name: &str) {
        self.extensions.remove(name);
    }

    /// Sends a message to one peer. `Error::Gone`: it is none any more; `Error::Full`: it takes nothing at the moment.
    pub fn send_extension(&mut self, to: PeerId, name: &str, message: &[u8]) -> Result<(), Error> {
        check(name, message)?;
        let peer = self.peers.get_mut(&to).ok_or(Error::Gone)?;
        if !peer.answering.writable || peer.out.len() >= limits::REPLICATION_OUT_MAX {
            return Err(Error::Full);
        }
        let known = peer.said.sent == name;
        if !known {
            name.clone_into(&mut peer.said.sent);
        }
        let name = if known { String::new() } else { name.to_owned() };
        peer.send(kind::EXTENSION, Extension { name, message: message.to_owned() });
        Ok(())
    }

    /// Sends a message to all peers that take one; gives how many that are. (replication.62)
    pub fn broadcast_extension(&mut self, name: &str, message: &[u8]) -> Result<usize, Error> {
        check(name, message)?;
        let all: Vec<PeerId> = self.peers.keys().copied().collect();
        Ok(all.into_iter().filter(|&id| self.send_extension(id, name, message).is_ok()).count())
    }

    pub(super) fn on_extension(&mut self, id: PeerId, extension: Extension) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !extension.name.is_empty() {
            peer.said.heard = extension.name;
        }
        let name = peer.said.heard.clone();
        if self.extensions.contains(&name) {
            self.tell(Event::Extension { peer: id, name, message: extension.message });
        } else {
            self.stats.extensions_dropped += 1;
        }
    }
}

fn check(name: &str, message: &[u8]) -> Result<(), Error> {
    if name.is_empty() || name.len() > limits::EXTENSION_NAME_MAX || message.len() > limits::EXTENSION_MAX {
        return Err(Error::Invalid("an extension without a name, or too long"));
    }
    Ok(())
}
