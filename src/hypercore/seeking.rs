//! Finding the block with a given byte without having it: hashes of a path near the byte, from peers, until it is
//! known. Follows replication.99, replication.101.
//!
//! A hash alone does not prove its size (replication.36): where only two blocks are left, one of them is fetched.

use super::Hypercore;
use super::fetch::Asked;
use super::flat_tree::{Walk, leaves, left_span, right_span};
use super::jobs::{Job, JobId};
use super::proof::missing_nodes;
use super::replicate::{PeerId, Replicator};
use crate::base::Cx;
use crate::wire::hypercore::{Node, Request, Seek, Wanted};

/// Blocks that are tried for one that a peer has, and we do not.
const TRIES: usize = 64;

/// A byte that is looked for.
pub(super) struct Seeking {
    bytes: u64,
    /// The node below which it is, the lowest that is known; none: it is not within the core, as far as that is here.
    below: Option<u64>,
    /// Who was asked.
    pub(super) asked: Option<PeerId>,
    /// Nothing has changed since this was asked of that peer in vain.
    pub(super) refused: Option<(PeerId, Option<u64>)>,
}

impl Seeking {
    pub(super) fn new(bytes: u64) -> Seeking {
        Seeking { bytes, below: None, asked: None, refused: None }
    }

    pub(super) fn restart(&mut self) {
        (self.below, self.asked, self.refused) = (None, None, None);
    }

    /// Where it is, if what is here tells: block and offset in it.
    pub(super) fn look(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Option<(u64, u64)> {
        let mut left = self.bytes;
        if left == 0 {
            return Some((0, 0));
        }
        self.below = None;
        let padding = core.padding();
        for root in core.roots().to_vec() {
            let size = unpadded(&root, padding);
            if left == size {
                return Some((right_span(root.index) / 2 + 1, 0));
            }
            if left > size {
                left -= size;
                continue;
            }
            let mut walk = Walk::new(root.index);
            while walk.index & 1 == 1 {
                let here = walk.index;
                let Ok(Some(child)) = core.tree_node(cx, walk.left_child()) else {
                    self.below = Some(here);
                    return None;
                };
                let size = unpadded(&child, padding);
                if size == left {
                    return Some((right_span(child.index) / 2 + 1, 0));
                }
                if size < left {
                    left -= size;
                    walk.sibling();
                }
            }
            return Some((walk.index / 2, left));
        }
        None
    }
}

/// Bytes below a node that are the program's. (hypercore.92)
fn unpadded(node: &Node, padding: u64) -> u64 {
    node.size.saturating_sub(padding.saturating_mul(leaves(node.index)))
}

impl Replicator {
    /// Asks a peer for what narrows a seek down. (replication.99, replication.101)
    pub(super) fn ask_seek(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        for job in self.jobs.seeks.clone() {
            let Some(Job::Seek(seeking)) = self.jobs.all.get(job) else { continue };
            if seeking.asked.is_some() || seeking.refused == Some((id, seeking.below)) {
                continue;
            }
            let seek = Seek { bytes: seeking.bytes, padding: core.padding() };
            let asked = match seeking.below {
                None => self.may_upgrade(core, id) && self.ask_upgrade_for(cx, core, id, job, seek),
                Some(below) => self.ask_below(cx, core, id, job, below, seek),
            };
            if asked {
                if let Some(Job::Seek(seeking)) = self.jobs.all.get_mut(job) {
                    (seeking.asked, seeking.refused) = (Some(id), Some((id, seeking.below)));
                }
                return true;
            }
        }
        false
    }

    fn ask_below(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        job: JobId,
        below: u64,
        seek: Seek,
    ) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        if peer.sync.fork != core.fork() || peer.sync.length < core.length() && !peer.can_upgrade {
            return false;
        }
        let seeks = peer.seeks;
        let (start, end) = (left_span(below) / 2, (right_span(below) / 2 + 1).min(peer.sync.length));
        let mut at = start;
        let mut found = None;
        for _ in 0..TRIES {
            let Some(index) = peer.has.next(at).filter(|index| *index < end) else { break };
            let fresh = !core.has(index) && !self.inflight.contains_key(&index);
            if fresh && matches!(core.tree_node(cx, 2 * index), Ok(None)) {
                found = Some(index);
                break;
            }
            at = index + 1;
        }
        let Some(index) = found else {
            self.want(id, start);
            return false;
        };
        if end - start <= 2 {
            return self.ask_for_seek(cx, core, id, index, job);
        }
        let mut walk = Walk::new(2 * index);
        let mut depth = 0;
        while walk.index != below {
            walk.parent();
            depth += 1;
        }
        let length = core.length();
        let mut has = |node| Ok(core.tree_node(cx, node)?.is_some());
        let Ok(nodes) = missing_nodes(length, 2 * index, &mut has) else { return false };
        // Where a part of the path is here, the answer does not lead to where the byte is.
        let seek = (nodes >= depth && seeks).then_some(seek);
        let wanted = Wanted { index: 2 * index, nodes };
        let fork = core.fork();
        let asked = Asked { fork, hash: Some((wanted, below)), seek: Some((job, seek)), ..Asked::default() };
        self.submit(id, asked, Request { fork, hash: Some(wanted), seek, ..Request::default() });
        true
    }
}
