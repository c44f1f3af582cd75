//! Waiting until all that was found has been dialled. Follows hyperswarm.29.

use std::collections::BTreeSet;

use super::{FlushId, Hyperswarm};
use crate::base::{Cx, Error, Key, limits};

use super::Event;

pub(super) struct Flush {
    /// Topics whose refresh is not over.
    topics: BTreeSet<Key>,
    /// Peers that are queued or dialled; counted once no topic is left.
    peers: Option<BTreeSet<Key>>,
}

impl Hyperswarm {
    /// Asks for `Event::Flushed` once the topics' refreshes that run now are over and every peer that is queued or
    /// dialled then has been connected with or has failed once (hyperswarm.29). Errors: `Full`; `NotOpen` if destroyed.
    pub fn flush(&mut self, _: &mut Cx<'_>) -> Result<FlushId, Error> {
        self.alive()?;
        if self.flushes.len() >= limits::SWARM_SESSIONS_MAX {
            return Err(Error::Full);
        }
        let topics = self.topics.iter().filter(|(_, topic)| topic.refreshing()).map(|(key, _)| *key);
        let flush = self.flushes.insert(Flush { topics: topics.collect(), peers: None });
        self.flush_topics();
        Ok(flush)
    }

    /// Flushes that wait for topics go on with peers once none of their topics is being refreshed.
    pub(super) fn flush_topics(&mut self) {
        let still: BTreeSet<Key> =
            self.topics.iter().filter(|(_, topic)| topic.refreshing()).map(|(key, _)| *key).collect();
        let mut ready = Vec::new();
        for (id, flush) in self.flushes.iter_mut() {
            flush.topics.retain(|topic| still.contains(topic));
            if flush.topics.is_empty() && flush.peers.is_none() {
                ready.push(id);
            }
        }
        for id in ready {
            let mut peers = self.connections.dialled_keys();
            peers.extend(self.queue.keys());
            let done = peers.is_empty();
            if let Some(flush) = self.flushes.get_mut(id) {
                flush.peers = Some(peers);
            }
            if done {
                self.flushed(id);
            }
        }
        self.flush_all_maybe();
    }

    /// A peer has been dialled, or will not be: nobody waits for it any more.
    pub(super) fn flush_peer(&mut self, key: &Key) {
        let mut done = Vec::new();
        for (id, flush) in self.flushes.iter_mut() {
            if let Some(peers) = &mut flush.peers
                && peers.remove(key)
                && peers.is_empty()
            {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.flushed(id));
    }

    /// With the limits reached and nothing being dialled, no queued peer will be (hyperswarm.29).
    pub(super) fn flush_all_maybe(&mut self) {
        if self.connections.dialling() > 0 || self.may_dial_more() {
            return;
        }
        let ready: Vec<FlushId> =
            self.flushes.iter().filter(|(_, flush)| flush.peers.is_some()).map(|(id, _)| id).collect();
        ready.into_iter().for_each(|id| self.flushed(id));
    }

    fn flushed(&mut self, flush: FlushId) {
        if self.flushes.remove(flush).is_some() {
            self.events.push_back(Event::Flushed { flush, ok: true });
        }
    }
}
