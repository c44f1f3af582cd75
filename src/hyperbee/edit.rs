//! Puts and deletions: the path from the root is copied into memory, changed there, and written as one block each.
//! Which nodes are marked, and in what order marked nodes are written, must be exactly upstream's: the order decides
//! the bytes. Follows hyperbee.12 to hyperbee.25. Read `mod.rs` first.

mod read;

use core::cmp::Ordering;

use arrayvec::ArrayVec;

use super::cache::Block;
use super::{Bee, Entry, Log, Spot, TOO_DEEP, root};
use crate::base::{Cx, Error, limits};
use crate::wire::encode_into;
use crate::wire::hyperbee::{Index, Keys, Level, Node};

pub use read::BatchCursor;

/// hyperbee.12: a node other than the root has at least this many keys.
const KEYS_MIN: usize = 4;

/// Operations that are appended together. Made by `Bee::batch`; every call takes the same `Bee` and log.
///
/// Reads see the operations before them. `flush` consumes it:
///
/// ```compile_fail
/// fn twice(mut batch: seckel::hyperbee::Batch, cx: &mut seckel::base::Cx<'_>, bee: &mut seckel::hyperbee::Bee,
///          log: &mut seckel::hypercore::Hypercore) {
///     batch.flush(cx, bee, log).unwrap();
///     batch.flush(cx, bee, log).unwrap(); // moved
/// }
/// ```
#[derive(Debug)]
pub struct Batch {
    /// The log's length when the batch began.
    base: u64,
    root: Option<NodeAt>,
    nodes: Vec<TreeNode>,
    children: Vec<Child>,
    operations: Vec<Operation>,
    /// Inner nodes marked by puts that were then refused (hyperbee.24).
    idle_marks: usize,
    /// An operation failed half-way; nothing more is taken.
    broken: bool,
}

/// Where a node is in `Batch::nodes`.
type NodeAt = usize;
/// Where a child is in `Batch::children`.
type ChildAt = usize;
/// A node's children, while it has one key too many as well.
type Below = ArrayVec<ChildAt, { limits::HYPERBEE_KEYS_MAX + 2 }>;

#[derive(Debug)]
struct TreeNode {
    keys: Keys,
    children: Below,
    /// To be written by the next operation's block, if its parent is.
    changed: bool,
}

/// A pointer to a node. It is a thing of its own, not a field of the parent: it moves between parents, and blocks of
/// earlier operations ask it later where its node went (hyperbee.25).
#[derive(Debug)]
struct Child {
    seq: u64,
    offset: u64,
    node: Option<NodeAt>,
}

#[derive(Debug)]
struct Operation {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    /// The nodes of its block. `None`: the root's place, once a later operation has a newer root.
    index: Vec<Option<ChildAt>>,
}

/// Where a search in memory ended.
enum Place {
    Here(usize),
    Between(usize),
}

impl Batch {
    pub(super) fn new(base: u64) -> Batch {
        Batch {
            base,
            root: None,
            nodes: Vec::new(),
            children: Vec::new(),
            operations: Vec::new(),
            idle_marks: 0,
            broken: false,
        }
    }

    /// How many blocks `flush` will append.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The entry of `key` as the operations so far leave it.
    pub fn get(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
    ) -> Result<Option<Entry>, Error> {
        self.ready(log)?;
        let Some(mut node) = self.load_root(cx, bee, log)? else { return Ok(None) };
        for _ in 0..limits::HYPERBEE_DEPTH_MAX {
            let index = match self.find(cx, bee, log, node, key)? {
                Place::Here(index) => {
                    return self.entry(cx, bee, log, self.nodes[node].keys[index]).map(Some);
                }
                Place::Between(index) => index,
            };
            if self.nodes[node].children.is_empty() {
                return Ok(None);
            }
            node = self.load_child(cx, bee, log, node, index)?;
        }
        Err(TOO_DEEP)
    }

    /// Sets `key`. Returns the block that it will be in.
    pub fn put(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let seq = self.put_if(cx, bee, log, key, value, &mut |_| true)?;
        Ok(seq.expect("nothing refuses this put"))
    }

    /// Like `put`, unless the key is there and `allow` refuses to replace that entry. (hyperbee.21, hyperbee.22)
    pub fn put_if(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        value: Option<&[u8]>,
        allow: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<Option<u64>, Error> {
        let bytes = key.len().saturating_add(value.map_or(0, <[u8]>::len));
        if bytes > limits::HYPERBEE_BLOCK_MAX {
            return Err(Error::Invalid("key and value are too long for a block"));
        }
        self.ready(log)?;
        let done = self.put_inner(cx, bee, log, key, value, allow);
        self.broken = done.is_err();
        done
    }

    /// Removes `key`; false if it was not there.
    pub fn del(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
    ) -> Result<bool, Error> {
        self.del_if(cx, bee, log, key, &mut |_| true)
    }

    /// Like `del`, unless `allow` refuses to remove the entry.
    pub fn del_if(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        allow: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<bool, Error> {
        self.ready(log)?;
        let done = self.del_inner(cx, bee, log, key, allow);
        self.broken = done.is_err();
        done
    }

    /// Appends all operations in one step.
    pub fn flush(mut self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log) -> Result<(), Error> {
        if self.operations.is_empty() {
            return Ok(());
        }
        self.ready(log)?;
        let (mut blocks, mut decoded) = (Vec::new(), Vec::new());
        let last = self.operations.len() - 1;
        for n in 0..=last {
            if n < last {
                self.compact(n);
            }
            let levels: Vec<Level> = self.operations[n].index.iter().map(|&at| self.level(at)).collect();
            let mut index = Index { levels };
            let operation = &mut self.operations[n];
            let mut node = Node {
                index: Vec::with_capacity(96 * index.levels.len()),
                key: core::mem::take(&mut operation.key),
                value: operation.value.take(),
            };
            encode_into(&mut index, &mut node.index);
            let value_len = node.value.as_ref().map_or(0, Vec::len);
            let mut block = Vec::with_capacity(node.index.len() + node.key.len() + value_len + 16);
            encode_into(&mut node, &mut block);
            blocks.push(block);
            decoded.push(Block::with_levels(node.key, node.value, index.levels));
        }
        log.append(cx, &blocks)?;
        for (seq, block) in (self.base..).zip(decoded) {
            bee.cache.put(seq, block);
        }
        Ok(())
    }

    fn ready(&self, log: &impl Log) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Refused("an operation of this batch failed"));
        }
        if log.len() != self.base {
            return Err(Error::Refused("the log has changed since the batch began"));
        }
        if self.idle_marks > limits::HYPERBEE_LEVELS_MAX / 2 {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// The block that the next operation will be in.
    fn seq(&self) -> u64 {
        self.base + self.operations.len() as u64
    }

    /// hyperbee.13 to hyperbee.15.
    fn put_inner(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        value: Option<&[u8]>,
        allow: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<Option<u64>, Error> {
        let top = match self.load_root(cx, bee, log)? {
            Some(top) => top,
            None => self.add_node(Keys::new(), Below::new(), true),
        };
        let seq = self.seq();
        let (mut node, mut path) = (top, Vec::new());
        loop {
            let inner = !self.nodes[node].children.is_empty();
            if inner {
                // hyperbee.24: marked on the way down, whatever becomes of this put.
                self.nodes[node].changed = true;
            }
            let index = match self.find(cx, bee, log, node, key)? {
                Place::Between(index) => index,
                Place::Here(index) => {
                    let old = self.entry(cx, bee, log, self.nodes[node].keys[index])?;
                    if !allow(&old) {
                        self.idle_marks += path.len() + usize::from(inner);
                        return Ok(None);
                    }
                    self.nodes[node].keys[index] = seq;
                    self.nodes[node].changed = true;
                    self.finish(top, key, value);
                    return Ok(Some(seq));
                }
            };
            if !inner {
                self.nodes[node].keys.insert(index, seq);
                self.nodes[node].changed = true;
                break;
            }
            path.push((node, index));
            if path.len() == limits::HYPERBEE_DEPTH_MAX {
                return Err(TOO_DEEP);
            }
            node = self.load_child(cx, bee, log, node, index)?;
        }
        let top = self.split_upwards(top, node, path);
        self.finish(top, key, value);
        Ok(Some(seq))
    }

    /// hyperbee.14: from a leaf that was added to, as long as a node has nine keys. Returns the root.
    fn split_upwards(&mut self, mut top: NodeAt, mut node: NodeAt, mut path: Vec<(NodeAt, usize)>) -> NodeAt {
        while self.nodes[node].keys.len() > limits::HYPERBEE_KEYS_MAX {
            let left = &mut self.nodes[node];
            let half = left.keys.len() / 2;
            let right_keys = left.keys.drain(left.keys.len() - half..).collect();
            let median = left.keys.pop().expect("nine keys less four");
            let right_children = if left.children.is_empty() {
                Below::new()
            } else {
                left.children.drain(left.children.len() - (half + 1)..).collect()
            };
            left.changed = true;
            let right = self.add_node(right_keys, right_children, true);
            let right = self.add_child(0, 0, Some(right));
            match path.pop() {
                Some((parent, index)) => {
                    let above = &mut self.nodes[parent];
                    above.keys.insert(index, median);
                    above.children.insert(index + 1, right);
                    above.changed = true;
                    node = parent;
                }
                None => {
                    let left = self.add_child(0, 0, Some(node));
                    let (keys, children) =
                        ([median].into_iter().collect(), [left, right].into_iter().collect());
                    top = self.add_node(keys, children, true);
                    break;
                }
            }
        }
        top
    }

    /// hyperbee.16.
    fn del_inner(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        allow: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<bool, Error> {
        let Some(mut node) = self.load_root(cx, bee, log)? else { return Ok(false) };
        let mut path = Vec::new();
        let index = loop {
            path.push(node);
            if path.len() > limits::HYPERBEE_DEPTH_MAX {
                return Err(TOO_DEEP);
            }
            match self.find(cx, bee, log, node, key)? {
                Place::Here(index) => break index,
                Place::Between(_) if self.nodes[node].children.is_empty() => return Ok(false),
                Place::Between(index) => node = self.load_child(cx, bee, log, node, index)?,
            }
        };
        let old = self.entry(cx, bee, log, self.nodes[node].keys[index])?;
        if !allow(&old) {
            return Ok(false);
        }
        if self.nodes[node].children.is_empty() {
            self.nodes[node].keys.remove(index);
        } else {
            self.take_neighbour(cx, bee, log, node, index, &mut path)?;
        }
        for &node in &path {
            self.nodes[node].changed = true;
        }
        let top = self.rebalance(cx, bee, log, path)?;
        self.finish(top, key, None);
        Ok(true)
    }

    /// hyperbee.17: replaces an inner node's key by the nearest one of the fuller adjacent leaf, the left one if they
    /// are equal. Adds the way to that leaf to `path`.
    fn take_neighbour(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        node: NodeAt,
        index: usize,
        path: &mut Vec<NodeAt>,
    ) -> Result<(), Error> {
        let left = self.load_child(cx, bee, log, node, index)?;
        let right = self.load_child(cx, bee, log, node, index + 1)?;
        let left_way = self.way_to_leaf(cx, bee, log, left, false)?;
        let right_way = self.way_to_leaf(cx, bee, log, right, true)?;
        let leaf_of = |way: &[NodeAt]| *way.last().expect("a way has its beginning");
        let (left_leaf, right_leaf) = (leaf_of(&left_way), leaf_of(&right_way));
        let from_right = self.nodes[left_leaf].keys.len() < self.nodes[right_leaf].keys.len();
        let (way, key) = if from_right {
            (right_way, self.nodes[right_leaf].keys.remove(0))
        } else {
            let key = self.nodes[left_leaf].keys.pop();
            (left_way, key.ok_or(Error::Corrupt("a leaf of a hyperbee without keys"))?)
        };
        self.nodes[node].keys[index] = key;
        path.extend(way);
        if path.len() > limits::HYPERBEE_DEPTH_MAX { Err(TOO_DEEP) } else { Ok(()) }
    }

    fn way_to_leaf(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        mut node: NodeAt,
        leftmost: bool,
    ) -> Result<Vec<NodeAt>, Error> {
        let mut way = vec![node];
        while !self.nodes[node].children.is_empty() {
            let index = if leftmost { 0 } else { self.nodes[node].children.len() - 1 };
            node = self.load_child(cx, bee, log, node, index)?;
            way.push(node);
            if way.len() > limits::HYPERBEE_DEPTH_MAX {
                return Err(TOO_DEEP);
            }
        }
        Ok(way)
    }

    /// hyperbee.18: from the leaf upwards while a node has fewer than four keys. Returns the root.
    fn rebalance(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        mut path: Vec<NodeAt>,
    ) -> Result<NodeAt, Error> {
        let top = path[0];
        while path.len() > 1 {
            let node = path.pop().expect("longer than one");
            let parent = path[path.len() - 1];
            if self.nodes[node].keys.len() >= KEYS_MIN {
                return Ok(top);
            }
            let index = self.index_in(parent, node)?;
            let left =
                if index == 0 { None } else { Some(self.load_child(cx, bee, log, parent, index - 1)?) };
            let right = if index + 1 == self.nodes[parent].children.len() {
                None
            } else {
                Some(self.load_child(cx, bee, log, parent, index + 1)?)
            };
            for sibling in [left, right].into_iter().flatten() {
                if self.nodes[sibling].children.is_empty() != self.nodes[node].children.is_empty() {
                    return Err(Error::Corrupt("the leaves of a hyperbee are not on one level"));
                }
            }
            if let Some(left) = left.filter(|&left| self.nodes[left].keys.len() > KEYS_MIN) {
                self.borrow_left(parent, index, left, node);
                return Ok(top);
            }
            if let Some(right) = right.filter(|&right| self.nodes[right].keys.len() > KEYS_MIN) {
                self.borrow_right(parent, index, node, right);
                return Ok(top);
            }
            match (left, right) {
                (Some(left), _) => self.merge(parent, index - 1, left, node),
                (None, Some(right)) => self.merge(parent, index, node, right),
                (None, None) => return Err(Error::Corrupt("an inner node of a hyperbee with one child")),
            }
        }
        // hyperbee.19: an empty root gives way to its only child.
        if self.nodes[top].keys.is_empty() && !self.nodes[top].children.is_empty() {
            return self.load_child(cx, bee, log, top, 0);
        }
        Ok(top)
    }

    fn index_in(&self, parent: NodeAt, node: NodeAt) -> Result<usize, Error> {
        let mut children = self.nodes[parent].children.iter();
        let index = children.position(|&child| self.children[child].node == Some(node));
        index.ok_or(Error::Corrupt("a node of a hyperbee below itself"))
    }

    fn borrow_left(&mut self, parent: NodeAt, index: usize, left: NodeAt, node: NodeAt) {
        let giver = &mut self.nodes[left];
        giver.changed = true;
        let key = giver.keys.pop().expect("more than four keys");
        let child = giver.children.pop();
        let between = core::mem::replace(&mut self.nodes[parent].keys[index - 1], key);
        let taker = &mut self.nodes[node];
        taker.keys.insert(0, between);
        if let Some(child) = child {
            taker.children.insert(0, child);
        }
    }

    fn borrow_right(&mut self, parent: NodeAt, index: usize, node: NodeAt, right: NodeAt) {
        let giver = &mut self.nodes[right];
        giver.changed = true;
        let key = giver.keys.remove(0);
        let child = if giver.children.is_empty() { None } else { Some(giver.children.remove(0)) };
        let between = core::mem::replace(&mut self.nodes[parent].keys[index], key);
        let taker = &mut self.nodes[node];
        taker.keys.push(between);
        taker.children.extend(child);
    }

    /// The key at `index` and all of `right` go into `left`; `right` is no more.
    fn merge(&mut self, parent: NodeAt, index: usize, left: NodeAt, right: NodeAt) {
        let above = &mut self.nodes[parent];
        let between = above.keys.remove(index);
        let freed = above.children.remove(index + 1);
        above.changed = true;
        // hyperbee.25: block 0 is never a tree's, so that an earlier block of this batch drops the node.
        self.children[freed].seq = 0;
        let keys = core::mem::take(&mut self.nodes[right].keys);
        let children = core::mem::take(&mut self.nodes[right].children);
        let taker = &mut self.nodes[left];
        taker.changed = true;
        taker.keys.push(between);
        taker.keys.extend(keys);
        taker.children.extend(children);
    }

    /// The operation's block gets the marked nodes below `top`, depth first.
    fn finish(&mut self, top: NodeAt, key: &[u8], value: Option<&[u8]>) {
        let seq = self.seq();
        let mut index = Vec::new();
        self.collect(top, seq, &mut index);
        index[0] = Some(self.add_child(seq, 0, Some(top)));
        self.root = Some(top);
        self.idle_marks = 0;
        self.operations.push(Operation { key: key.to_vec(), value: value.map(<[u8]>::to_vec), index });
    }

    fn collect(&mut self, node: NodeAt, seq: u64, index: &mut Vec<Option<ChildAt>>) -> u64 {
        let offset = index.len();
        index.push(None);
        self.nodes[node].changed = false;
        for n in 0..self.nodes[node].children.len() {
            let child = self.nodes[node].children[n];
            let Some(below) = self.children[child].node else { continue };
            if !self.nodes[below].changed {
                continue;
            }
            self.children[child].seq = seq;
            let place = self.collect(below, seq, index);
            self.children[child].offset = place;
            index[place as usize] = Some(child);
        }
        offset as u64
    }

    /// hyperbee.25: in a block that is not the batch's last, the root and what later operations rewrote give their
    /// places to the last ones of the list.
    fn compact(&mut self, n: usize) {
        let seq = self.base + n as u64;
        let index = &mut self.operations[n].index;
        index[0] = None;
        let mut place = 0;
        while place < index.len() {
            match index[place] {
                Some(child) if self.children[child].seq == seq => {
                    self.children[child].offset = place as u64;
                    place += 1;
                }
                Some(_) | None => {
                    index.swap_remove(place);
                }
            }
        }
    }

    fn level(&self, at: Option<ChildAt>) -> Level {
        let node = at.and_then(|at| self.children[at].node).expect("only loaded nodes are written");
        let node = &self.nodes[node];
        let children = node.children.iter().flat_map(|&child| {
            let child = &self.children[child];
            [child.seq, child.offset]
        });
        Level { keys: node.keys.clone(), children: children.collect() }
    }

    fn add_node(&mut self, keys: Keys, children: Below, changed: bool) -> NodeAt {
        self.nodes.push(TreeNode { keys, children, changed });
        self.nodes.len() - 1
    }

    fn add_child(&mut self, seq: u64, offset: u64, node: Option<NodeAt>) -> ChildAt {
        self.children.push(Child { seq, offset, node });
        self.children.len() - 1
    }

    fn load_root(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<NodeAt>, Error> {
        if self.root.is_none()
            && let Some(spot) = root(self.base)
        {
            self.root = Some(self.load(cx, bee, log, spot)?);
        }
        Ok(self.root)
    }

    fn load_child(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        node: NodeAt,
        index: usize,
    ) -> Result<NodeAt, Error> {
        let at = self.nodes[node].children[index];
        let &Child { seq, offset, node } = &self.children[at];
        if let Some(node) = node {
            return Ok(node);
        }
        let loaded = self.load(cx, bee, log, Spot { seq, offset })?;
        self.children[at].node = Some(loaded);
        Ok(loaded)
    }

    fn load(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        spot: Spot,
    ) -> Result<NodeAt, Error> {
        let level = bee.level(cx, log, self.base, spot)?;
        let first = self.children.len();
        for pair in level.children.chunks_exact(2) {
            self.children.push(Child { seq: pair[0], offset: pair[1], node: None });
        }
        let keys = level.keys.clone();
        Ok(self.add_node(keys, (first..self.children.len()).collect(), false))
    }

    fn find(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        node: NodeAt,
        key: &[u8],
    ) -> Result<Place, Error> {
        let (mut low, mut high) = (0, self.nodes[node].keys.len());
        while low < high {
            let middle = (low + high) / 2;
            let seq = self.nodes[node].keys[middle];
            let order = match self.operation(seq) {
                Some(operation) => key.cmp(&operation.key),
                None => key.cmp(&bee.block(cx, log, self.base, seq)?.key),
            };
            match order {
                Ordering::Equal => return Ok(Place::Here(middle)),
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
            }
        }
        Ok(Place::Between(low))
    }

    fn entry(&self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, seq: u64) -> Result<Entry, Error> {
        match self.operation(seq) {
            Some(operation) => Ok(Entry { seq, key: operation.key.clone(), value: operation.value.clone() }),
            None => bee.entry(cx, log, self.base, seq),
        }
    }

    fn operation(&self, seq: u64) -> Option<&Operation> {
        self.operations.get(usize::try_from(seq.checked_sub(self.base)?).ok()?)
    }
}
