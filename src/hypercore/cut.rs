//! A core that is cut, by its writer or by following it to another fork. Follows hypercore.46.

use super::store::Fresh;
use super::tree::Roots;
use super::{Change, Hypercore, NO_DATA, Upgrade, flat_tree};
use crate::base::{Cx, Error, limits, trace};
use crate::wire::hypercore::Node;
use crate::wire::oplog::{BitfieldUpdate, Entry, Reorg, TreeUpgrade};

impl Hypercore {
    /// Cuts the core to `length` blocks and signs that, with the next fork number. (hypercore.46)
    pub fn truncate(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<(), Error> {
        let fork = self.fork.checked_add(1).ok_or(Error::Full)?;
        self.truncate_to(cx, length, fork)
    }

    /// Replaces the core's tree by one of a higher fork that shares `ancestors` blocks with it, as its writer signed
    /// it; what `change` says was verified. (hypercore.46)
    pub fn reorg(&mut self, cx: &mut Cx<'_>, ancestors: u64, change: Change) -> Result<(), Error> {
        self.check_change()?;
        let Some(upgrade) = change.upgrade else {
            return Err(Error::Invalid("a reorganisation needs a tree"));
        };
        let auth = self.check_manifest(change.manifest.as_ref(), true)?;
        if upgrade.fork <= self.fork || ancestors > self.length().min(upgrade.length) {
            return Err(Error::Refused("not a later fork of this core"));
        }
        let fresh = Fresh::new(&change.nodes);
        if change.nodes.iter().any(|node| flat_tree::right_span(node.index) >= 2 * upgrade.length) {
            return Err(Error::Refused("a node beyond the tree"));
        }
        if upgrade.length > limits::BLOCKS_MAX {
            return Err(Error::Refused("a tree that is too long"));
        }
        let roots = Roots::gather(upgrade.length, |index| match fresh.get(index) {
            Some(node) => Ok(Some(*node)),
            None if flat_tree::right_span(index) < 2 * ancestors => self.store.node(cx, index),
            None => Ok(None),
        })?;
        let roots = roots.ok_or(Error::Refused("a root is missing"))?;
        self.learn(cx, auth)?;
        let Upgrade { fork, length, signature } = upgrade;
        self.cut(cx, TreeUpgrade { fork, ancestors, length, signature }, change.nodes, roots)?;
        match change.block {
            Some(block) => self.apply(cx, Change { block: Some(block), ..Change::default() }),
            None => Ok(()),
        }
    }

    pub(super) fn cut(
        &mut self,
        cx: &mut Cx<'_>,
        upgrade: TreeUpgrade,
        nodes: Vec<Node>,
        roots: Roots,
    ) -> Result<(), Error> {
        let (ancestors, old) = (upgrade.ancestors, self.length());
        let drop = BitfieldUpdate { drop: true, start: ancestors, length: old - ancestors };
        let to = upgrade.fork;
        let length = upgrade.length;
        trace!(
            cx, State, "hypercore", part: "", rule: "hypercore.46",
            "length {old} cut to {ancestors}, then {length}, fork {to}"
        );
        let entry = Entry { user_data: None, nodes, upgrade: Some(upgrade), bitfield: Some(drop) };
        let entry = self.add_entry(cx, entry, NO_DATA)?;
        self.store.cut_nodes(ancestors);
        self.keep_reorg(old, to, ancestors);
        self.cuts.add(Reorg { from: self.fork, to, ancestors });
        self.remote_contiguous = self.remote_contiguous.min(ancestors);
        self.commit(entry, Some(roots));
        self.try_flush(cx);
        Ok(())
    }

    /// Remembers a truncation of a core of `length` blocks, as a hint; four at most.
    pub(super) fn keep_reorg(&mut self, length: u64, to: u64, ancestors: u64) {
        if length == 0 {
            return;
        }
        let reorgs = &mut self.header.reorgs;
        let excess = (reorgs.len() + 1).saturating_sub(4);
        reorgs.drain(..excess);
        reorgs.retain(|hint| hint.ancestors <= ancestors);
        reorgs.push(Reorg { from: self.fork, to, ancestors });
    }
}
