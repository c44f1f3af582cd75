//! The peers of a core, and which of them may have something to say: a core with many peers is asked for its messages
//! after every datagram, and must not look through all of them each time.

use std::collections::{BTreeMap, VecDeque};

use super::replicate::{Peer, PeerId};

/// Peers by their id. Whoever is changed is listed until it was found to have nothing to say.
#[derive(Default)]
pub(super) struct Peers {
    all: BTreeMap<PeerId, Peer>,
    /// Those that were touched, each once. Some may be gone.
    speaking: VecDeque<PeerId>,
}

impl Peers {
    pub(super) fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.all.get(id)
    }

    pub(super) fn contains_key(&self, id: &PeerId) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &PeerId> {
        self.all.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Peer> {
        self.all.values()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.all.iter()
    }

    /// A peer that is about to be changed.
    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        let peer = self.all.get_mut(id)?;
        if !peer.speaking {
            peer.speaking = true;
            self.speaking.push_back(*id);
        }
        Some(peer)
    }

    /// All peers, to be changed in what they do not say by themselves.
    pub(super) fn quietly(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.all.values_mut()
    }

    pub(super) fn insert(&mut self, id: PeerId, mut peer: Peer) {
        peer.speaking = true;
        self.speaking.push_back(id);
        self.all.insert(id, peer);
    }

    pub(super) fn remove(&mut self, id: &PeerId) -> Option<Peer> {
        self.all.remove(id)
    }

    /// Whose turn it is to speak.
    pub(super) fn speaker(&mut self) -> Option<PeerId> {
        loop {
            let id = *self.speaking.front()?;
            if self.all.get(&id).is_some_and(|peer| peer.speaking) {
                return Some(id);
            }
            self.speaking.pop_front();
        }
    }

    /// The speaker has spoken; the others come first.
    pub(super) fn next_turn(&mut self) {
        self.speaking.rotate_left(1);
    }

    /// The speaker has nothing to say.
    pub(super) fn silent(&mut self) {
        if let Some(id) = self.speaking.pop_front()
            && let Some(peer) = self.all.get_mut(&id)
        {
            peer.speaking = false;
        }
    }
}
