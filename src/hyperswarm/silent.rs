//! Connections whose other side has fallen silent: it may be gone, or elsewhere, long before the transport
//! gives up. It is dialled anew beside them. Follows hyperswarm.37.

use super::connections::{Beside, State, Successor};
use super::*;
use crate::base::Span;

/// From the transport's first timeout to the first look, and from look to look; this doubles with each attempt that
/// failed, up to eightfold.
const FIRST_LOOK: Span = Span::from_millis(500);
const LOOK: Span = Span::from_millis(1000);
/// How long an attempt may take before it is begun anew: the search for a port takes up to 24 s.
const PATIENCE: Span = Span::from_secs(25);

impl Hyperswarm {
    /// Something that was sent on a connection is not acked in time.
    pub(super) fn late(&mut self, cx: &mut Cx<'_>, link: Link) {
        let Some(key) = self.connections.of_link(&link) else { return };
        let open =
            |connection: &connections::Connection| connection.state != State::Dialling && !connection.doomed;
        if self.config.dial_beside
            && self.connections.get(&key).is_some_and(open)
            && self.timers.get(Timer::Silent(link)).is_none()
        {
            self.timers.set(Timer::Silent(link), cx.now + FIRST_LOOK);
        }
    }

    /// Something came after all.
    pub(super) fn heard(&mut self, cx: &mut Cx<'_>, link: Link) {
        self.timers.clear(Timer::Silent(link));
        let Some(key) = self.connections.of_link(&link) else { return };
        trace!(cx, Step, "hyperswarm", id: link, peer: Short(&key), rule: "hyperswarm.37", "it speaks again");
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.failed = 0;
        }
        self.end_beside(key);
    }

    /// Nothing came since the last look.
    pub(super) fn silent(&mut self, cx: &mut Cx<'_>, link: Link) {
        let Some(key) = self.connections.of_link(&link) else { return };
        let wanted = self.wanted(&key) && self.peers.get(&key).is_some_and(|peer| peer.reconnecting);
        let Some(connection) = self.connections.get(&key).filter(|connection| !connection.doomed) else {
            return;
        };
        let (beside, wait) = (connection.beside, LOOK * (1 << connection.failed.min(3)));
        self.timers.set(Timer::Silent(link), cx.now + wait);
        match beside {
            Some(beside) if cx.now.since(beside.since) >= PATIENCE => self.end_beside(key),
            Some(_) => {}
            None if wanted
                && self.connections.dialling() < self.config.max_parallel
                && !self.refuses(&key) =>
            {
                trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.37", "silent: dials it anew");
                self.stats.beside += 1;
                self.connections.set_beside(&key, Some(Beside { since: cx.now, doomed: false }));
                self.ask_to_connect(key);
            }
            None => {}
        }
    }

    /// The attempt beside a silent connection has led to another one, which takes its place.
    pub(super) fn connected_beside(&mut self, cx: &mut Cx<'_>, key: Key, link: Link) {
        let Some(connection) = self.connections.get(&key) else { return };
        let given_up = connection.doomed || connection.beside.is_none_or(|beside| beside.doomed);
        self.connections.set_beside(&key, None);
        if given_up {
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
        } else {
            self.give_way(key, Successor { link, ours: true });
        }
        self.flush_peer(&key);
        self.attempt(cx);
    }

    pub(super) fn failed_beside(&mut self, key: Key) {
        self.connections.set_beside(&key, None);
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.failed += 1;
        }
    }

    /// Gives the attempt beside a connection up, if there is one.
    pub(super) fn end_beside(&mut self, key: Key) {
        let Some(beside) = self.connections.get_mut(&key).and_then(|c| c.beside.as_mut()) else { return };
        if !core::mem::replace(&mut beside.doomed, true) {
            self.outputs.push_back(Output::Abort { key });
        }
    }
}
