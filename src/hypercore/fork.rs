//! Following a peer to a higher fork: a proof of its whole tree, hashes down to where that tree and ours part, then the
//! change at once. Follows replication.63 to replication.68.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::auth;
use super::auth::TreeState;
use super::fetch::Asked;
use super::flat_tree::{Walk, left_span, right_span};
use super::proof::{self, Held};
use super::replicate::{Event, Fault, PeerId, Replicator};
use super::{Change, Hypercore, Upgrade};
use crate::base::{Cx, Error, trace};
use crate::wire::hypercore::{Data, Grow, Node, Request, Wanted};
use crate::wire::manifest::Manifest;

/// How many peers are asked for one hash at a time.
const ASKED_MAX: usize = 3;

/// A signed tree of a higher fork, and how far it is compared with ours.
pub(super) struct Fork {
    pub(super) fork: u64,
    length: u64,
    signature: Vec<u8>,
    /// If it is news.
    manifest: Option<Manifest>,
    /// Nodes of that tree that are proved, by their index.
    known: BTreeMap<u64, Node>,
    /// Those of them whose hash is proved, but not their size: they are compared, and not kept.
    bare: BTreeSet<u64>,
    /// The node below which the trees part; none: they part at `ancestors`.
    differs: Option<u64>,
    ancestors: u64,
}

/// Whether a node is also one of our tree.
fn same(cx: &mut Cx<'_>, core: &mut Hypercore, node: &Node) -> bool {
    right_span(node.index) < 2 * core.length()
        && core.tree_node(cx, node.index).is_ok_and(|here| here.is_some_and(|here| here.hash == node.hash))
}

impl Fork {
    /// Goes down as far as the hashes that are known tell where the trees part. (replication.65)
    fn descend(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        while let Some(at) = self.differs {
            let start = left_span(at) / 2;
            if at & 1 == 0 || start >= core.length() {
                (self.ancestors, self.differs) = (start, None);
                return;
            }
            let mut walk = Walk::new(at);
            let Some(left) = self.known.get(&walk.left_child()).copied() else { return };
            self.differs = Some(if same(cx, core, &left) { walk.sibling() } else { left.index });
        }
    }

    /// What takes our tree's place from the ancestors on. (replication.66)
    fn change(self) -> (u64, Change) {
        let Fork { fork, length, signature, manifest, known, bare, ancestors, .. } = self;
        let kept = |node: &Node| right_span(node.index) >= 2 * ancestors && !bare.contains(&node.index);
        let nodes = known.into_values().filter(kept).collect();
        let upgrade = Some(Upgrade { fork, length, signature });
        (ancestors, Change { nodes, block: None, upgrade, manifest })
    }
}

impl Replicator {
    /// Whether peers are followed to higher forks. They are, unless this says no.
    pub fn set_allow_fork(&mut self, allow: bool) {
        self.allow_fork = allow;
        if !allow {
            self.fork = None;
        }
    }

    /// Asks a peer on a higher fork for its tree, or for the next hash on the way down. (replication.63,
    /// replication.65)
    pub(super) fn ask_fork(&mut self, core: &mut Hypercore, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let sync = peer.sync;
        if !self.allow_fork || sync.fork <= core.fork() || sync.length == 0 || peer.asking.len() > 0 {
            return false;
        }
        let better = self.fork.as_ref().filter(|fork| fork.fork >= sync.fork);
        let mut asked = Asked { fork: sync.fork, ..Asked::default() };
        match better.map(|fork| (fork.fork, fork.differs)) {
            Some((fork, Some(differs))) if fork == sync.fork => {
                let others = self.peers.values().filter(|peer| peer.asking.hash(differs));
                if others.count() >= ASKED_MAX {
                    return false;
                }
                let Some(peer) = self.peers.get(&id) else { return false };
                let (start, end) = (left_span(differs) / 2, right_span(differs) / 2 + 1);
                let Some(block) = peer.has.next(start).filter(|block| *block < end.min(sync.length)) else {
                    self.want(id, start);
                    return false;
                };
                let mut walk = Walk::new(2 * block);
                let mut nodes = 0;
                while walk.index != differs {
                    walk.parent();
                    nodes += 1;
                }
                asked.hash = Some((Wanted { index: 2 * block, nodes }, differs));
            }
            Some(_) => return false,
            None => {
                asked.upgrade = Some(Grow { start: 0, length: sync.length });
                asked.manifest = core.manifest().is_none();
            }
        }
        let this = (sync.fork, asked.hash.map(|(_, differs)| differs));
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if peer.asking.refused_fork.replace(this) == Some(this) {
            return false;
        }
        let hash = asked.hash.map(|(hash, _)| hash);
        let request = Request {
            fork: asked.fork,
            hash,
            upgrade: asked.upgrade,
            manifest: asked.manifest,
            ..Request::default()
        };
        self.submit(id, asked, request);
        true
    }

    /// An answer of a higher fork. False if the peer is to be left alone.
    pub(super) fn on_fork_data(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        asked: &Asked,
        data: Data,
    ) -> bool {
        self.forget(id, asked);
        if !self.allow_fork || data.fork != asked.fork {
            return true;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.asking.refused_fork = None;
        }
        let taken = match (&data.upgrade, asked.hash) {
            (Some(_), None) => self.take_tree(cx, core, data),
            (None, Some((hash, below))) => self.take_hash(cx, core, hash, below, &data),
            _ => Err(proof::Fault::Unasked),
        };
        if let Err(fault) = taken {
            self.stats.invalid_data += 1;
            self.pause(cx, core, id, Fault::Proof(fault));
            return false;
        }
        self.follow(cx, core);
        true
    }

    /// The whole tree of a higher fork: its signature, and which of its roots is the first that we do not have.
    /// (replication.64)
    fn take_tree(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, data: Data) -> Result<(), proof::Fault> {
        if self.fork.as_ref().is_some_and(|fork| fork.fork >= data.fork) {
            return Ok(());
        }
        let prologue = core.manifest().and_then(|manifest| manifest.prologue);
        let held = Held {
            length: 0,
            fork: data.fork,
            roots: &[],
            prologue: prologue.map(|prologue| (prologue.hash, prologue.length)),
        };
        if data.block.is_some() || data.hash.is_some() || data.seek.is_some() {
            return Err(proof::Fault::Unasked);
        }
        let grown = proof::verify(&held, &mut |_| Ok(None), &data)?;
        let auth = auth(core, data.manifest.as_ref()).ok_or(proof::Fault::Manifest)?;
        let state = TreeState { roots: &grown.roots, length: grown.length, fork: data.fork };
        let signature = data.upgrade.and_then(|upgrade| upgrade.signature).unwrap_or_default();
        if !auth.verify(&state, &signature) {
            return Err(proof::Fault::Signature);
        }
        let differs = grown.roots.iter().find(|root| !same(cx, core, root)).map(|root| root.index);
        let known = grown.nodes.iter().chain(&grown.roots).map(|node| (node.index, *node)).collect();
        let mut fork = Fork {
            fork: data.fork,
            length: grown.length,
            signature,
            manifest: core.manifest().is_none().then(|| auth.manifest().clone()),
            known,
            bare: BTreeSet::new(),
            differs,
            ancestors: grown.length,
        };
        let (number, length) = (fork.fork, fork.length);
        trace!(cx, State, "hypercore", part: "", rule: "replication.64", "fork {number} of length {length} is signed");
        fork.descend(cx, core);
        self.fork = Some(fork);
        Ok(())
    }

    /// A path of hashes up to the node below which the trees part. (replication.65)
    fn take_hash(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        hash: Wanted,
        below: u64,
        data: &Data,
    ) -> Result<(), proof::Fault> {
        if data.hash.as_ref().is_none_or(|there| there.index != hash.index)
            || data.block.is_some()
            || data.seek.is_some()
        {
            return Err(proof::Fault::Unasked);
        }
        let Some(fork) = self.fork.as_mut().filter(|fork| fork.fork == data.fork) else { return Ok(()) };
        let mut nodes = Vec::new();
        let (root, _) = proof::lead(data, true, &mut nodes)?.ok_or(proof::Fault::Unasked)?;
        let known = fork.known.get(&root.index).filter(|_| root.index == below);
        if known.is_none_or(|known| (known.hash, known.size) != (root.hash, root.size)) {
            return Err(proof::Fault::Checksum { node: root.index });
        }
        for node in [hash.index, Walk::new(hash.index).sibling()] {
            if !fork.known.contains_key(&node) {
                fork.bare.insert(node);
            }
        }
        for node in nodes {
            fork.known.entry(node.index).or_insert(node);
        }
        fork.descend(cx, core);
        Ok(())
    }

    /// Takes the place of our tree by that of the higher fork, if it is known where they part. (replication.66)
    fn follow(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        let Some(fork) = self.fork.take_if(|fork| fork.differs.is_none()) else {
            return self.update_all(cx, core);
        };
        if fork.fork <= core.fork() {
            return;
        }
        let ancestors = fork.ancestors.min(core.length());
        trace!(
            cx, State, "hypercore", part: "", rule: "replication.66",
            "goes to fork {}, {ancestors} blocks stay", fork.fork
        );
        let (ancestors, change) = fork.change();
        match core.reorg(cx, ancestors, change) {
            Ok(()) => {
                self.stats.reorgs += 1;
                self.cut_at = Some(ancestors);
                self.stored();
                self.notice(cx, core);
            }
            Err(why @ (Error::Io(_) | Error::Corrupt(_))) => {
                self.peers.quietly().for_each(|peer| peer.asking.refused_fork = None);
                self.stall(cx, why);
            }
            Err(why) => self.tell(Event::Stalled { why }),
        }
    }
}
