//! The files `tree`, `bitfield` and `data` of a core (hypercore.38 to hypercore.41).
//!
//! Nodes are kept in memory until `flush`, because the oplog has them too; nodes that were read are kept in a small
//! cache. Blocks are written at once, into their place.

use std::collections::BTreeMap;

use super::bitfield::{Bitfield, PAGE_BYTES};
use super::flat_tree;
use super::leaves::{self, Known, Leaves};
use super::tree::Roots;
use crate::base::disk::join;
use crate::base::{Cx, DiskError, Error, FileId, Key, Mode, limits};
use crate::wire::hypercore::Node;
use crate::wire::oplog::StoredNode;
use crate::wire::{decode, encode_into};

const NODE: u64 = StoredNode::BYTES as u64;
/// Neighbours that are read at once: the tree over 16 blocks, which a block's path ends in. The last of them belongs to
/// the paths of many blocks, is kept longer, and read alone.
const READ_AHEAD: u64 = 32;
/// The blocks below such neighbours, and the depth of the node above them.
const RUN: u64 = READ_AHEAD / 2;
const RUN_DEPTH: u32 = RUN.ilog2();
/// Such runs of neighbours that are kept.
const GROUPS: usize = 8;
/// Bytes of blocks that are read at once if they lie near those read last, and from what multiples on.
const WINDOW: u64 = 8192;
const WINDOW_STEP: u64 = 4096;
/// The first bytes of a tree file of hypercore 9.
const OLD_TREE: [u8; 4] = [0x05, 0x02, 0x57, 0x02];

/// Nodes that are not stored yet, found by their index. They are few, mostly one or two: a sorted list.
#[derive(Default)]
pub struct Fresh(Vec<Node>);

impl Fresh {
    pub fn new(nodes: &[Node]) -> Fresh {
        let mut sorted = nodes.to_vec();
        sorted.sort_by_key(|node| node.index);
        Fresh(sorted)
    }

    /// The last that was given with this index.
    pub fn get(&self, index: u64) -> Option<&Node> {
        let behind = self.0.partition_point(|node| node.index <= index);
        self.0[..behind].last().filter(|node| node.index == index)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The files. All methods but `flush` leave durability to the caller.
pub struct Store {
    /// None: opened for reading, and nothing was ever written there.
    tree: Option<FileId>,
    bitfield: Option<FileId>,
    data: Option<FileId>,
    /// Nodes that are not in the file yet. (size, hash)
    pending: BTreeMap<u64, (u64, Key)>,
    /// Nodes far above the leaves that are in the file; a node's slot follows from its index. Grows with the
    /// tree, while
    /// nodes are read.
    cache: Vec<Option<Node>>,
    /// Neighbours as they are in the file, by where they begin; their place follows from that.
    groups: Vec<Option<(u64, Vec<u8>)>>,
    /// The tree file is to be cut to this many blocks at the next flush, before nodes are written.
    cut_to: Option<u64>,
    /// The block read last, and where it ends: the next one begins there.
    last: Option<(u64, u64)>,
    /// Bytes of `data` as they are in the file, and where they begin.
    window: (u64, Vec<u8>),
    /// Where the bytes of a run of blocks begin: number of the run, and offset. Its place follows from the number.
    /// Grows with the tree, while blocks are looked for.
    offsets: Vec<Option<(u64, u64)>>,
    leaves: Leaves,
    /// Of a journal: bytes that belong into `data`, and where. The last that fit a block's leaf count.
    held: Vec<(u64, Vec<u8>)>,
    /// The blocks that were read from there, since the file has others.
    missed: BTreeMap<u64, Vec<u8>>,
}

impl Store {
    pub fn open(cx: &mut Cx<'_>, dir: &str, mode: Mode) -> Result<Store, Error> {
        let mut store = Store {
            tree: None,
            bitfield: None,
            data: None,
            pending: BTreeMap::new(),
            cache: Vec::new(),
            groups: Vec::new(),
            cut_to: None,
            last: None,
            window: (0, Vec::new()),
            offsets: Vec::new(),
            leaves: Leaves::default(),
            held: Vec::new(),
            missed: BTreeMap::new(),
        };
        let opened = store.open_files(cx, dir, mode);
        if opened.is_err() {
            store.close(cx);
        }
        opened.map(|()| store)
    }

    fn open_files(&mut self, cx: &mut Cx<'_>, dir: &str, mode: Mode) -> Result<(), Error> {
        let files = [("tree", &mut self.tree), ("bitfield", &mut self.bitfield), ("data", &mut self.data)];
        for (name, file) in files {
            match cx.disk.open(&join(dir, name), mode) {
                Ok(opened) => *file = Some(opened),
                Err(DiskError::Missing) if mode == Mode::Read => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut magic = [0; 4];
        let read = read_at(cx, self.tree, 0, &mut magic)?;
        if read == 4 && magic == OLD_TREE {
            return Err(Error::Refused("the tree is of hypercore 9"));
        }
        Ok(())
    }

    pub fn close(&mut self, cx: &mut Cx<'_>) {
        for file in [&mut self.tree, &mut self.bitfield, &mut self.data] {
            if let Some(file) = file.take() {
                cx.disk.close(file);
            }
        }
    }

    /// The blocks; what an acknowledged append has to have synced besides the oplog.
    pub fn data(&self) -> Option<FileId> {
        self.data
    }

    /// Bytes of `tree`, `bitfield` and `data`.
    pub fn lengths(&self, cx: &mut Cx<'_>) -> Result<[u64; 3], Error> {
        let mut lengths = [0; 3];
        for (length, file) in lengths.iter_mut().zip([self.tree, self.bitfield, self.data]) {
            *length = file.map_or(Ok(0), |file| cx.disk.len(file))?;
        }
        Ok(lengths)
    }

    /// Reads the bits that are in the file. (hypercore.30)
    pub fn read_bitfield(&mut self, cx: &mut Cx<'_>) -> Result<Bitfield, Error> {
        let Some(file) = self.bitfield else { return Ok(Bitfield::new()) };
        let len = cx.disk.len(file)?;
        if len > limits::BLOCKS_MAX / 8 {
            return Err(Error::Corrupt("bitfield: too long"));
        }
        let mut bits = Bitfield::new();
        let mut chunk = vec![0; 64 * PAGE_BYTES];
        let mut at = 0;
        while at < len {
            let read = cx.disk.read_at(file, at, &mut chunk)?;
            if read == 0 {
                break;
            }
            for (number, page) in (at / PAGE_BYTES as u64..).zip(chunk[..read].chunks(PAGE_BYTES)) {
                bits.load(number, page);
            }
            at += chunk.len() as u64;
        }
        Ok(bits)
    }

    /// A node, wherever it is. None if it was never stored. (hypercore.38)
    pub fn node(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Node>, Error> {
        if let Some(&(size, hash)) = self.pending.get(&index) {
            return Ok(Some(Node { index, size, hash }));
        }
        if self.cut_to.is_some_and(|blocks| flat_tree::right_span(index) >= 2 * blocks) {
            return Ok(None);
        }
        if index % READ_AHEAD != READ_AHEAD - 1 {
            return self.low_node(cx, index);
        }
        match self.cache.get(cache_slot(index, self.cache.len())) {
            Some(Some(node)) if node.index == index => return Ok(Some(*node)),
            _ => {}
        }
        let mut bytes = [0; NODE as usize];
        let Some(at) = index.checked_mul(NODE) else { return Ok(None) };
        let read = read_at(cx, self.tree, at, &mut bytes)?;
        let found = stored_node(index, &bytes[..read])?;
        if let Some(node) = found {
            self.keep(node);
        }
        Ok(found)
    }

    fn keep(&mut self, node: Node) {
        let number = usize::try_from(node.index / READ_AHEAD).unwrap_or(usize::MAX);
        let slots = grown(self.cache.len(), number);
        if slots > self.cache.len() {
            let old = core::mem::replace(&mut self.cache, vec![None; slots]);
            old.into_iter().flatten().for_each(|node| self.cache[cache_slot(node.index, slots)] = Some(node));
        }
        let slot = cache_slot(node.index, slots);
        self.cache[slot] = Some(node);
    }

    fn low_node(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Node>, Error> {
        let first = index - index % READ_AHEAD;
        let Some(at) = first.checked_mul(NODE) else { return Ok(None) };
        if self.groups.is_empty() {
            self.groups.resize(GROUPS, None);
        }
        let group = &mut self.groups[(first / READ_AHEAD) as usize % GROUPS];
        let bytes = match group {
            Some((begin, bytes)) if *begin == first => bytes,
            _ => {
                let mut bytes = group.take().map_or_else(Vec::new, |(_, bytes)| bytes);
                bytes.resize((READ_AHEAD * NODE) as usize, 0);
                let read = read_at(cx, self.tree, at, &mut bytes)?;
                bytes.truncate(read);
                &group.insert((first, bytes)).1
            }
        };
        let start = ((index - first) * NODE) as usize;
        stored_node(index, bytes.get(start..).unwrap_or_default())
    }

    /// Forgets all that is not in the files.
    pub fn forget(&mut self) {
        self.pending.clear();
        self.cache.clear();
        self.groups.clear();
        self.offsets.clear();
        self.leaves.clear();
        self.cut_to = None;
        self.last = None;
        self.window.1.clear();
        self.missed.clear();
    }

    /// Takes bytes that belong into `data`, but may not be in the file. `write_held` writes those that are missed.
    pub fn hold(&mut self, at: u64, bytes: Vec<u8>) {
        self.held.push((at, bytes));
    }

    /// Writes the blocks into `data` that were missed there, and has them safe. Nothing is held any more.
    pub fn write_held(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let file = self.data.ok_or(Error::NotOpen)?;
        for (&at, bytes) in &self.missed {
            cx.disk.write_at(file, at, bytes)?;
        }
        cx.disk.sync(file)?;
        self.missed.clear();
        self.held.clear();
        self.window.1.clear();
        Ok(())
    }

    /// A block that is not in the file as it was signed, from the journal. (hypercore.154)
    fn held_block(&mut self, at: u64, block: u64, leaf: &Node) -> Option<Vec<u8>> {
        let fits = |(from, bytes): &(u64, Vec<u8>)| {
            let start = usize::try_from(at.checked_sub(*from)?).ok()?;
            let bytes = bytes.get(start..start.checked_add(leaf.size as usize)?)?;
            (super::tree::leaf(block, bytes).hash == leaf.hash).then(|| bytes.to_vec())
        };
        let found = self.held.iter().rev().find_map(fits)?;
        self.missed.insert(at, found.clone());
        Some(found)
    }

    /// Adds or replaces nodes.
    pub fn put_nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.pending.insert(node.index, (node.size, node.hash));
            self.leaves.forget(node.index);
            let slot = cache_slot(node.index, self.cache.len());
            if let Some(slot) = self.cache.get_mut(slot)
                && slot.is_some_and(|cached| cached.index == node.index)
            {
                *slot = None;
            }
        }
    }

    /// Forgets every node that covers a block from `blocks` on. (hypercore.39)
    pub fn cut_nodes(&mut self, blocks: u64) {
        self.pending.retain(|index, _| flat_tree::right_span(*index) < 2 * blocks);
        self.cache.clear();
        self.groups.clear();
        self.offsets.clear();
        self.leaves.clear();
        self.cut_to = Some(self.cut_to.map_or(blocks, |before| before.min(blocks)));
        self.last = None;
    }

    /// Where a block's bytes begin in `data`. `Corrupt` if a node on the way is missing. (hypercore.6)
    pub fn byte_offset(&mut self, cx: &mut Cx<'_>, roots: &Roots, block: u64) -> Result<u64, Error> {
        self.byte_offset_with(cx, roots, block, &Fresh::default())
    }

    /// The same, with nodes that are not stored yet.
    pub fn byte_offset_with(
        &mut self,
        cx: &mut Cx<'_>,
        roots: &Roots,
        block: u64,
        fresh: &Fresh,
    ) -> Result<u64, Error> {
        const MISSING: Error = Error::Corrupt("tree: a node is missing");
        if let Some((last, end)) = self.last
            && last.checked_add(1) == Some(block)
        {
            return Ok(end);
        }
        let target = 2 * block;
        let (mut at, mut offset) = self.way_begins(roots, block);
        while at != target {
            if flat_tree::depth(at) == RUN_DEPTH && fresh.is_empty() {
                self.keep_offset(block / RUN, offset);
            }
            let (left, right) = flat_tree::children(at).ok_or(MISSING)?;
            if target < at {
                at = left;
            } else {
                let node = match fresh.get(left) {
                    Some(node) => *node,
                    None => self.node(cx, left)?.ok_or(MISSING)?,
                };
                offset = offset.saturating_add(node.size);
                at = right;
            }
        }
        Ok(offset)
    }

    /// A node above a block, and where the bytes below that node begin: the node of its run if that is known, else a
    /// root; behind the end of the tree the block itself.
    fn way_begins(&self, roots: &Roots, block: u64) -> (u64, u64) {
        let run = block / RUN;
        if roots.length() / RUN > run
            && let Some(Some((known, offset))) = self.offsets.get(slot_of(run, self.offsets.len()))
            && *known == run
        {
            return (flat_tree::index(RUN_DEPTH, run), *offset);
        }
        let mut offset: u64 = 0;
        for root in roots.nodes() {
            if 2 * block <= flat_tree::right_span(root.index) {
                return (root.index, offset);
            }
            offset = offset.saturating_add(root.size);
        }
        (2 * block, offset)
    }

    fn keep_offset(&mut self, run: u64, offset: u64) {
        let enough = usize::try_from(run).unwrap_or(usize::MAX);
        let slots = grown(self.offsets.len(), enough);
        if slots > self.offsets.len() {
            let old = core::mem::replace(&mut self.offsets, vec![None; slots]);
            old.into_iter()
                .flatten()
                .for_each(|(run, at)| self.offsets[slot_of(run, slots)] = Some((run, at)));
        }
        let slot = slot_of(run, slots);
        self.offsets[slot] = Some((run, offset));
    }

    /// The bytes of a block that is here, checked against its leaf or the part of it that is kept. `whole`: how many
    /// blocks from the first on are all here. (hypercore.40)
    pub fn block(
        &mut self,
        cx: &mut Cx<'_>,
        roots: &Roots,
        block: u64,
        whole: u64,
    ) -> Result<Vec<u8>, Error> {
        if let Some(known) = self.known(cx, roots, block, whole)? {
            let mut bytes = vec![0; known.size];
            if self.read_data(cx, known.at, &mut bytes)? == bytes.len() && known.is(block, &bytes) {
                self.last = Some((block, known.at.saturating_add(known.size as u64)));
                return Ok(bytes);
            }
        }
        self.read_block(cx, roots, block)
    }

    /// What is kept of a block's leaf; if that is nothing yet, and all leaves around it are in the file, they are read.
    fn known(
        &mut self,
        cx: &mut Cx<'_>,
        roots: &Roots,
        block: u64,
        whole: u64,
    ) -> Result<Option<Known>, Error> {
        if let Some(known) = self.leaves.get(block) {
            return Ok(Some(known));
        }
        let first = block - block % leaves::BLOCKS;
        let Some(end) = first.checked_add(leaves::BLOCKS).filter(|end| *end <= whole) else {
            return Ok(None);
        };
        // The groups hold all of a small tree.
        let small = roots.length() <= GROUPS as u64 * RUN;
        let cut = self.cut_to.is_some_and(|blocks| end > blocks);
        let tried = self.leaves.tried(first / leaves::BLOCKS);
        if tried || small || cut || self.pending.range(2 * first..2 * end).next().is_some() {
            return Ok(None);
        }
        let Ok(begin) = self.byte_offset(cx, roots, first) else { return Ok(None) };
        let mut nodes = [0; leaves::BYTES];
        if read_at(cx, self.tree, 2 * first * NODE, &mut nodes)? == nodes.len() {
            self.leaves.put(first / leaves::BLOCKS, begin, &nodes);
        }
        Ok(self.leaves.get(block))
    }

    /// The bytes of a block that is here, checked against its leaf. (hypercore.40)
    pub fn read_block(&mut self, cx: &mut Cx<'_>, roots: &Roots, block: u64) -> Result<Vec<u8>, Error> {
        const MISSING: Error = Error::Corrupt("tree: a leaf is missing");
        const DAMAGED: Error = Error::Corrupt("data: a block is not what was signed");
        let leaf = self.node(cx, 2 * block)?.ok_or(MISSING)?;
        let at = self.byte_offset(cx, roots, block)?;
        if leaf.size > limits::STORED_BLOCK_MAX {
            return Err(DAMAGED);
        }
        let mut bytes = vec![0; leaf.size as usize];
        let whole = self.read_data(cx, at, &mut bytes)? == bytes.len();
        if !whole || super::tree::leaf(block, &bytes).hash != leaf.hash {
            bytes = self.held_block(at, block, &leaf).ok_or(DAMAGED)?;
        }
        self.last = Some((block, at.saturating_add(leaf.size)));
        Ok(bytes)
    }

    /// Whether a block is what was signed but for one bit. Of one above `limits::AUDIT_BIT_SEARCH` that is not known.
    pub fn is_rotten(&mut self, cx: &mut Cx<'_>, roots: &Roots, block: u64) -> Result<bool, Error> {
        let Some(leaf) = self.node(cx, 2 * block)? else { return Ok(false) };
        let Ok(at) = self.byte_offset(cx, roots, block) else { return Ok(false) };
        if leaf.size > limits::AUDIT_BIT_SEARCH as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; leaf.size as usize];
        if read_at(cx, self.data, at, &mut bytes)? < bytes.len() {
            return Ok(false);
        }
        for place in 0..8 * bytes.len() {
            let bit = 1 << (place % 8);
            bytes[place / 8] ^= bit;
            let right = super::tree::leaf(block, &bytes).hash == leaf.hash;
            bytes[place / 8] ^= bit;
            if right {
                return Ok(!super::audit::record::doubtful(at, &bytes, place / 8));
            }
        }
        Ok(false)
    }

    /// Reads a block's bytes. Near the block read last its neighbours are read with it.
    fn read_data(&mut self, cx: &mut Cx<'_>, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let near = self.last.is_some_and(|(_, end)| end.abs_diff(at) <= WINDOW);
        if !near || into.len() as u64 > WINDOW - WINDOW_STEP {
            return read_at(cx, self.data, at, into);
        }
        let (from, window) = &mut self.window;
        let end = at.saturating_add(into.len() as u64);
        if at < *from || end > from.saturating_add(window.len() as u64) {
            *from = at - at % WINDOW_STEP;
            window.resize(WINDOW as usize, 0);
            let read = read_at(cx, self.data, *from, window);
            window.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let held = window.get((at - *from) as usize..).unwrap_or_default();
        let count = held.len().min(into.len());
        into[..count].copy_from_slice(&held[..count]);
        Ok(count)
    }

    pub fn write_data(&mut self, cx: &mut Cx<'_>, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let file = self.data.ok_or(Error::NotOpen)?;
        let (from, window) = &mut self.window;
        if at < from.saturating_add(window.len() as u64) && *from < at.saturating_add(bytes.len() as u64) {
            window.clear();
        }
        Ok(cx.disk.write_at(file, at, bytes)?)
    }

    /// Writes bits and nodes into their files; with `sync` they are on disk then, but not what `data` got.
    /// (hypercore.41)
    pub fn flush(&mut self, cx: &mut Cx<'_>, bits: &mut Bitfield, sync: bool) -> Result<(), Error> {
        let (Some(tree), Some(bitfield)) = (self.tree, self.bitfield) else { return Err(Error::NotOpen) };
        for run in bits.dirty() {
            cx.disk.write_at(bitfield, run.at, &run.bytes)?;
        }
        if let Some(blocks) = self.cut_to {
            cx.disk.truncate(tree, if blocks == 0 { 0 } else { (blocks - 1) * 2 * NODE + NODE })?;
            self.cut_to = None;
        }
        let (mut start, mut run): (u64, Vec<u8>) = (0, Vec::new());
        for (&index, &(size, hash)) in &self.pending {
            if !run.is_empty() && index != start + run.len() as u64 / NODE {
                cx.disk.write_at(tree, start * NODE, &run)?;
                run.clear();
            }
            if run.is_empty() {
                start = index;
            }
            encode_into(&mut StoredNode { size, hash }, &mut run);
        }
        if !run.is_empty() {
            cx.disk.write_at(tree, start * NODE, &run)?;
        }
        if sync {
            for file in [tree, bitfield] {
                cx.disk.sync(file)?;
            }
        }
        bits.flushed();
        self.groups.clear();
        self.pending.clear();
        Ok(())
    }
}

fn read_at(cx: &mut Cx<'_>, file: Option<FileId>, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
    file.map_or(Ok(0), |file| cx.disk.read_at(file, at, into))
}

/// The node that `bytes` begin with; None if it was never written, or not wholly.
fn stored_node(index: u64, bytes: &[u8]) -> Result<Option<Node>, Error> {
    let Some(bytes) = bytes.get(..NODE as usize) else { return Ok(None) };
    let stored: StoredNode = decode(bytes)?;
    let absent = stored == StoredNode::default();
    Ok((!absent).then_some(Node { index, size: stored.size, hash: stored.hash }))
}

/// How many slots there shall be where there were `slots`, so that `number` has one of its own.
fn grown(slots: usize, number: usize) -> usize {
    if number < slots || slots == limits::TREE_CACHE {
        return slots;
    }
    number
        .saturating_add(1)
        .checked_next_power_of_two()
        .map_or(limits::TREE_CACHE, |n| n.min(limits::TREE_CACHE))
}

/// Where a node is kept.
fn cache_slot(index: u64, slots: usize) -> usize {
    slot_of(index / READ_AHEAD, slots)
}

/// Each has a slot of its own as long as there are enough; beyond those they are scattered over all.
pub(super) fn slot_of(number: u64, slots: usize) -> usize {
    match usize::try_from(number) {
        Ok(number) if number < slots => number,
        _ => (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % slots.max(1),
    }
}
