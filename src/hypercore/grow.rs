//! A core that grows: blocks that are appended here, and what a peer proved. Follows hypercore.43 to hypercore.45.

use super::auth::{Auth, TreeState};
use super::store::{Fresh, Store};
use super::tree::Roots;
use super::{Change, Hypercore, NO_DATA, flat_tree};
use crate::base::{Cx, Error, limits, trace};
use crate::wire::hypercore::Node;
use crate::wire::manifest::Manifest;
use crate::wire::oplog::{BitfieldUpdate, Entry, TreeUpgrade};

impl Hypercore {
    /// Adds blocks behind the last, signed once. Returns the index of the first; an empty batch changes nothing.
    ///
    /// `Refused` if the core is not writable, `Invalid` for more than `limits::APPEND_MAX` blocks or one longer than
    /// `limits::BLOCK_MAX` bytes. After an error the core is as before.
    pub fn append<B: AsRef<[u8]>>(&mut self, cx: &mut Cx<'_>, blocks: &[B]) -> Result<u64, Error> {
        match self.sealed(blocks) {
            Some(sealed) => self.put(cx, &sealed, None),
            None => self.put(cx, blocks, None),
        }
    }

    /// Adds blocks as they are, also to an encrypted core.
    pub fn append_raw<B: AsRef<[u8]>>(&mut self, cx: &mut Cx<'_>, blocks: &[B]) -> Result<u64, Error> {
        self.put(cx, blocks, None)
    }

    pub(super) fn put<B: AsRef<[u8]>>(
        &mut self,
        cx: &mut Cx<'_>,
        blocks: &[B],
        given: Option<&[u8]>,
    ) -> Result<u64, Error> {
        self.check_change()?;
        let first = self.length();
        if blocks.is_empty() {
            return Ok(first);
        }
        let (roots, nodes, signature) = self.prepare(blocks, given)?;
        let entry = Entry {
            user_data: None,
            nodes,
            upgrade: Some(TreeUpgrade {
                fork: self.fork,
                ancestors: first,
                length: roots.length(),
                signature: signature.clone(),
            }),
            bitfield: Some(BitfieldUpdate { drop: false, start: first, length: blocks.len() as u64 }),
        };
        let start = self.roots.byte_length();
        let added = roots.byte_length() - start;
        // hypercore.43: blocks first, then the entry that vouches for them.
        let mut joined = Vec::new();
        let bytes = match blocks {
            [block] => block.as_ref(),
            _ => {
                joined.reserve(added as usize);
                blocks.iter().for_each(|block| joined.extend_from_slice(block.as_ref()));
                &joined[..]
            }
        };
        self.store.write_data(cx, start, bytes)?;
        let entry = self.add_entry(cx, entry, (start, bytes))?;
        self.store.put_nodes(&entry.nodes);
        if let Some(update) = entry.bitfield {
            self.set_bits(update);
        }
        self.roots = roots;
        self.signature = signature;
        self.unflushed += added;
        let (count, length) = (blocks.len(), self.length());
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.43", "{count} blocks appended, length {length}");
        self.written(cx);
        Ok(first)
    }

    /// The tree with `blocks` behind the last, its new nodes and its signature.
    fn prepare<B: AsRef<[u8]>>(
        &self,
        blocks: &[B],
        given: Option<&[u8]>,
    ) -> Result<(Roots, Vec<Node>, Vec<u8>), Error> {
        if blocks.len() > limits::APPEND_MAX {
            return Err(Error::Invalid("too many blocks at once"));
        }
        if blocks.iter().any(|block| block.as_ref().len() > limits::BLOCK_MAX) {
            return Err(Error::Invalid("a block is too long"));
        }
        if self.length() + blocks.len() as u64 > limits::BLOCKS_MAX {
            return Err(Error::Full);
        }
        let mut roots = self.roots.clone();
        let mut nodes = Vec::with_capacity(2 * blocks.len());
        let added = blocks.iter().map(|block| block.as_ref().len() as u64).sum();
        if limits::LENGTH_MAX - roots.byte_length() < added {
            return Err(Error::Full);
        }
        roots.extend(blocks, &mut nodes);
        let state = TreeState { roots: roots.nodes(), length: roots.length(), fork: self.fork };
        let signature = self.vouch(&state, given)?;
        Ok((roots, nodes, signature))
    }

    /// Stores what a peer proved. Everything in `change` is verified already; here only its shape is checked, so
    /// that no mistake of a caller can damage what is stored. (hypercore.44)
    ///
    /// `Refused`: another fork, a tree that is not longer, a block without its leaf, or a manifest of another key.
    /// Also `Refused`: a tree of more than `limits::BLOCKS_MAX` blocks. After an error the core is as before.
    pub fn apply(&mut self, cx: &mut Cx<'_>, change: Change) -> Result<(), Error> {
        self.check_change()?;
        let auth = self.check_manifest(change.manifest.as_ref(), change.upgrade.is_some())?;
        let fresh = Fresh::new(&change.nodes);
        let roots = match &change.upgrade {
            Some(upgrade) if upgrade.fork != self.fork => return Err(Error::Refused("another fork")),
            Some(upgrade) if upgrade.length <= self.length() => return Err(Error::Refused("not longer")),
            Some(upgrade) => Some(self.gather(cx, upgrade.length, &fresh)?),
            None => None,
        };
        let grown = roots.as_ref().unwrap_or(&self.roots);
        if change.nodes.iter().any(|node| flat_tree::right_span(node.index) >= 2 * grown.length()) {
            return Err(Error::Refused("a node beyond the tree"));
        }
        let block = change.block.filter(|(index, _)| !self.bits.get(*index));
        let mut data = NO_DATA;
        if let Some((index, bytes)) = &block {
            check_block(cx, &mut self.store, grown, &fresh, *index, bytes.len() as u64)?;
            let at = self.store.byte_offset_with(cx, grown, *index, &fresh)?;
            self.store.write_data(cx, at, bytes)?;
            data = (at, bytes);
            self.unflushed += bytes.len() as u64;
        }
        let ancestors = self.length();
        let entry = Entry {
            user_data: None,
            nodes: change.nodes,
            upgrade: change.upgrade.map(|upgrade| TreeUpgrade {
                fork: upgrade.fork,
                ancestors,
                length: upgrade.length,
                signature: upgrade.signature,
            }),
            bitfield: block.as_ref().map(|(start, _)| BitfieldUpdate {
                drop: false,
                start: *start,
                length: 1,
            }),
        };
        self.learn(cx, auth)?;
        if entry != Entry::default() {
            let entry = self.add_entry(cx, entry, data)?;
            if let Some(tree) = &entry.upgrade {
                let (from, to) = (tree.ancestors, tree.length);
                trace!(cx, State, "hypercore", part: "", rule: "hypercore.44", "length {from} to {to}, proved");
            }
            if let Some(bits) = &entry.bitfield {
                trace!(cx, State, "hypercore", part: "", rule: "hypercore.44", "block {} stored", bits.start);
            }
            self.commit(entry, roots);
            self.written(cx);
        }
        Ok(())
    }

    /// hypercore.45: only a header can hold a manifest, so it is written before the tree that it vouches for.
    pub(super) fn learn(&mut self, cx: &mut Cx<'_>, auth: Option<Auth>) -> Result<(), Error> {
        let Some(auth) = auth else { return Ok(()) };
        self.header.manifest = Some(auth.manifest().clone());
        let flushed = self.flush(cx);
        match flushed {
            Ok(()) => {
                self.auth = Some(auth);
                self.rekey();
            }
            Err(_) => self.header.manifest = None,
        }
        flushed
    }

    pub(super) fn gather(&mut self, cx: &mut Cx<'_>, length: u64, fresh: &Fresh) -> Result<Roots, Error> {
        if length > limits::BLOCKS_MAX {
            return Err(Error::Refused("a tree that is too long"));
        }
        let found = Roots::gather(length, |index| match fresh.get(index) {
            Some(node) => Ok(Some(*node)),
            None => self.store.node(cx, index),
        })?;
        match found {
            Some(roots) => Ok(roots),
            None => Err(Error::Refused("a root is missing, or too large")),
        }
    }

    /// Who may sign, if that is news: what a peer says, or for a tree without a manifest the key itself.
    pub(super) fn check_manifest(
        &self,
        manifest: Option<&Manifest>,
        tree: bool,
    ) -> Result<Option<Auth>, Error> {
        if self.auth.is_some() || (manifest.is_none() && !tree) {
            return Ok(None);
        }
        let auth = Auth::learn(self.header.key, manifest);
        auth.map(Some).ok_or(Error::Refused("the manifest is not that of the key"))
    }
}

/// A block that came with `fresh` nodes: its leaf is known, and as long as it.
fn check_block(
    cx: &mut Cx<'_>,
    store: &mut Store,
    roots: &Roots,
    fresh: &Fresh,
    index: u64,
    len: u64,
) -> Result<(), Error> {
    if index >= roots.length() || len > limits::STORED_BLOCK_MAX {
        return Err(Error::Refused("a block beyond the tree, or too long"));
    }
    let leaf = match fresh.get(2 * index) {
        Some(leaf) => Some(*leaf),
        None => store.node(cx, 2 * index)?,
    };
    if leaf.is_none_or(|leaf| leaf.size != len) {
        return Err(Error::Refused("a block without its leaf"));
    }
    Ok(())
}
