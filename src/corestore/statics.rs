//! Copies that nobody can ever write to: their key stands for their content. Follows corestore.17.

use super::{Corestore, Want};
use crate::base::{Cx, Error};
use crate::hypercore::{Change, Hypercore, Upgrade, flat_tree};
use crate::wire::hypercore::Node;
use crate::wire::manifest::{Manifest, Prologue};

impl Corestore {
    /// Opens a copy of `core` as it is now, which has no signer: its manifest names the tree. Blocks that are not here
    /// are not copied; a copy that was begun is gone on with. `Invalid`: there is no block to copy.
    pub fn staticify(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Result<Hypercore, Error> {
        let length = core.length();
        if length == 0 {
            return Err(Error::Invalid("a core without blocks"));
        }
        let prologue = Some(Prologue { hash: core.tree_hash(), length });
        let manifest = Manifest { version: 1, prologue, ..Manifest::default() };
        let mut copy = self.core(cx, &Want::manifest(manifest))?;
        if let Err(error) = fill(cx, core, &mut copy) {
            let discovery_key = *copy.discovery_key();
            let _ = copy.close(cx);
            self.closed(&discovery_key);
            return Err(error);
        }
        Ok(copy)
    }
}

fn fill(cx: &mut Cx<'_>, core: &mut Hypercore, copy: &mut Hypercore) -> Result<(), Error> {
    let length = core.length();
    if copy.length() < length {
        let upgrade = Some(Upgrade { fork: copy.fork(), length, signature: Vec::new() });
        copy.apply(cx, Change { nodes: core.roots().to_vec(), upgrade, ..Change::default() })?;
    }
    let mut next = core.bits().first_set(0);
    while let Some(block) = next.filter(|block| *block < length) {
        if !copy.has(block)
            && let Some(bytes) = core.get(cx, block)?
        {
            let nodes = path(cx, core, copy, block)?;
            copy.apply(cx, Change { nodes, block: Some((block, bytes)), ..Change::default() })?;
        }
        next = core.bits().first_set(block + 1);
    }
    Ok(())
}

/// The nodes from a block's leaf up to those that the copy has, each with its sibling.
fn path(cx: &mut Cx<'_>, core: &mut Hypercore, copy: &mut Hypercore, block: u64) -> Result<Vec<Node>, Error> {
    const MISSING: Error = Error::Corrupt("tree: a node is missing");
    let (mut nodes, mut walk) = (Vec::new(), flat_tree::Walk::new(2 * block));
    while copy.tree_node(cx, walk.index)?.is_none() {
        for index in [walk.index, flat_tree::sibling(walk.index)] {
            nodes.push(core.tree_node(cx, index)?.ok_or(MISSING)?);
        }
        walk.parent();
    }
    Ok(nodes)
}
