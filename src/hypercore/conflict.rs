//! Two trees of one fork that the same keys signed: the core is frozen, and both sides are shown the proof. Follows
//! replication.94 to replication.97.

use super::Hypercore;
use super::replicate::{Close, Event, Output, PeerId, Replicator};
use super::serve::{Answer, answer};
use crate::base::{Cx, trace};
use crate::wire::encode;
use crate::wire::hypercore::{Data, Grow, Request, kind};

/// A request that is answered with a proof of the first `length` blocks, without anything here that it builds on.
fn whole(fork: u64, length: u64) -> Request {
    Request { fork, upgrade: Some(Grow { start: 0, length }), ..Request::default() }
}

impl Replicator {
    /// Asks a peer whose proof was wrong for one of all that we both have: it may have another tree. (replication.94)
    pub(super) fn ask_conflict(&mut self, core: &Hypercore, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let length = core.length().min(peer.sync.length);
        if length > 0 && peer.sync.fork == core.fork() {
            peer.send(kind::REQUEST, whole(peer.sync.fork, length));
        }
    }

    /// A proof that has the id of no request: it may contradict ours. (replication.95)
    pub(super) fn on_unasked(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, data: &Data) {
        self.stats.unasked += 1;
        let length = data.upgrade.as_ref().map_or(0, |upgrade| upgrade.length);
        match core.judge(cx, data) {
            Ok(true) => {}
            Ok(false) => {
                trace!(cx, Drop, "hypercore", part: id, rule: "replication.90", "nobody asked for it");
                return;
            }
            Err(why) => return self.tell(Event::Stalled { why }),
        }
        let fork = core.fork();
        self.tell(Event::Conflict { length, fork });
        self.end_frozen(cx, core, id, data);
    }

    /// Shows every peer both proofs, and ends its channel. (replication.97)
    fn end_frozen(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, from: PeerId, theirs: &Data) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get(&id) else { continue };
            let length = core.length().min(peer.sync.length);
            if length > 0 && peer.sync.fork == core.fork() {
                if id != from {
                    let bytes = encode(theirs);
                    self.outputs.push_back(Output::Message { peer: id, kind: kind::DATA, bytes });
                }
                let request = whole(core.fork(), length);
                if let Answer::Data(data) = answer(cx, core, &request) {
                    let bytes = encode(&*data);
                    self.outputs.push_back(Output::Message { peer: id, kind: kind::DATA, bytes });
                }
            }
            self.close(cx, core, id, Close::Frozen);
        }
    }
}
