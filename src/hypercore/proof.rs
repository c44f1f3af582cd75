//! Proofs: which tree nodes go with an answer (making), and whether an answer fits the tree that is here (verifying).
//! Follows replication.20 to replication.36. Nothing here writes; read `flat_tree.rs` first.

use std::collections::BTreeMap;

use super::flat_tree::{Walk, full_roots, leaves, left_span, right_span};
use super::tree;
use crate::base::{Error, Key};
use crate::wire::hypercore::{Data, DataBlock, DataHash, DataSeek, DataUpgrade, Node, Request};

/// Where tree nodes come from: the core's storage.
pub type Lookup<'a> = dyn FnMut(u64) -> Result<Option<Node>, Error> + 'a;

/// The deepest path in a tree whose numbers fit a `uint`.
const PATH_MAX: usize = 64;

/// Why a request cannot be answered with a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No tree could answer that.
    Invalid,
    /// A tree node that the answer takes is not here.
    Missing(u64),
    Failed(Error),
}

/// Why an answer is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The next node of the proof had to be `wanted`.
    Node {
        wanted: u64,
        got: Option<u64>,
    },
    /// The proof leads to a node that is not here.
    Loose {
        node: u64,
    },
    /// The proof leads to a node that is here with another hash.
    Checksum {
        node: u64,
    },
    /// The sizes add up to more than a tree can hold, or the path is longer than any tree is deep.
    Size,
    /// The upgrade does not begin with the manifest's prologue.
    Prologue,
    /// An upgrade that adds nothing, or that begins behind the end of the tree that is here.
    Empty,
    /// The manifest is not the one that the core's key names.
    Manifest,
    Signature,
    /// Not what was asked for.
    Unasked,
    /// For another fork than this tree's.
    Fork,
    Storage(Error),
}

/// The node above two siblings, whichever way round.
fn parent(index: u64, one: &Node, other: &Node) -> Result<Node, Fault> {
    one.size.checked_add(other.size).filter(|size| *size <= SIZE_MAX).ok_or(Fault::Size)?;
    Ok(Node { index, ..tree::parent(one, other) })
}

/// Bytes of a tree; more does not fit a `uint`.
const SIZE_MAX: u64 = crate::wire::compact::UINT_MAX;

// ---- making

/// What the answer will hold, as node numbers.
#[derive(Default)]
struct Plan {
    node: Option<Vec<u64>>,
    seek: Option<Vec<u64>>,
    upgrade: Option<Vec<u64>>,
    additional: Option<Vec<u64>>,
}

/// What a request names: a block or a tree node.
#[derive(Clone, Copy)]
struct Asked {
    block: bool,
    index: u64,
    nodes: u64,
    /// The last block below it.
    last: u64,
}

/// The answer to `request` out of a tree of `length` blocks, with the block's bytes and the signature left empty.
/// `prologue` is the length of the manifest's prologue. (replication.20 to replication.27)
pub fn prove(
    length: u64,
    prologue: Option<u64>,
    node: &mut Lookup<'_>,
    request: &Request,
) -> Result<Data, Refusal> {
    let mut upgrade = request.upgrade;
    if let (Some(upgrade), Some(prologue)) = (&mut upgrade, prologue)
        && upgrade.start < prologue
    {
        // replication.27
        (upgrade.start, upgrade.length) = (0, prologue);
    }
    let mut data = Data { request: request.id, fork: request.fork, ..Data::default() };
    if length == 0 {
        return Ok(data);
    }
    let head = 2 * length;
    let (from, to) = match upgrade {
        Some(upgrade) => (2 * upgrade.start, 2 * upgrade.start.saturating_add(upgrade.length)),
        None => (0, head),
    };
    let asked = match (request.block, request.hash) {
        (Some(block), _) => Some(Asked {
            block: true,
            index: block.index.saturating_mul(2),
            nodes: block.nodes,
            last: block.index,
        }),
        (None, Some(hash)) => Some(Asked {
            block: false,
            index: hash.index,
            nodes: hash.nodes,
            last: right_span(hash.index) / 2,
        }),
        (None, None) => None,
    };
    if from >= to || to > head || asked.is_some_and(|asked| asked.last >= length) {
        return Err(Refusal::Invalid);
    }
    if request.seek.is_some() && upgrade.is_some() && asked.is_some_and(|asked| asked.index >= from) {
        return Err(Refusal::Invalid);
    }
    let mut plan = Plan::default();
    let mut subtree = head;
    let mut tree = Sizes { length, node };
    match (asked, upgrade) {
        (Some(asked), upgrade) if upgrade.is_none_or(|upgrade| asked.last < upgrade.start) => {
            subtree = root_above(asked.index, asked.nodes, to)?;
            let seek_root = match request.seek {
                Some(seek) => tree.seek_below(subtree, seek.bytes, seek.padding)?,
                None => head,
            };
            plan.path(Some(asked), request.seek.is_some(), seek_root, subtree)?;
        }
        (asked, Some(_)) => match (request.seek, asked) {
            (Some(seek), _) => subtree = tree.seek_from_head(to / 2, seek.bytes, seek.padding)?,
            (None, Some(asked)) => subtree = asked.index,
            (None, None) => {}
        },
        (_, None) => {}
    }
    if upgrade.is_some() {
        plan.upgrade(asked, request.seek.is_some(), from, to, subtree)?;
        if head > to {
            plan.additional(to, head)?;
        }
    }
    let node = tree.node;
    let mut fetch = |numbers: Vec<u64>| -> Result<Vec<Node>, Refusal> {
        numbers
            .into_iter()
            .map(|number| node(number).map_err(Refusal::Failed)?.ok_or(Refusal::Missing(number)))
            .collect()
    };
    if let Some(asked) = asked {
        let nodes = fetch(plan.node.ok_or(Refusal::Invalid)?)?;
        if asked.block {
            data.block = Some(DataBlock { index: asked.last, value: Vec::new(), nodes });
        } else {
            data.hash = Some(DataHash { index: asked.index, nodes });
        }
    }
    if let (Some(seek), Some(nodes)) = (request.seek, plan.seek) {
        data.seek = Some(DataSeek { bytes: seek.bytes, nodes: fetch(nodes)? });
    }
    if let Some(upgrade) = upgrade {
        data.upgrade = Some(DataUpgrade {
            start: upgrade.start,
            length: upgrade.length,
            nodes: fetch(plan.upgrade.unwrap_or_default())?,
            additional: fetch(plan.additional.unwrap_or_default())?,
            signature: None,
        });
    }
    Ok(data)
}

/// The node `levels` above `index`; it must not reach the end of the tree. (replication.21)
fn root_above(index: u64, levels: u64, head: u64) -> Result<u64, Refusal> {
    let mut walk = Walk::new(index);
    for _ in 0..levels {
        if walk.contains(head) || walk.factor > 1 << 60 {
            return Err(Refusal::Invalid);
        }
        walk.parent();
        if walk.contains(head) {
            return Err(Refusal::Invalid);
        }
    }
    Ok(walk.index)
}

impl Plan {
    /// From the seek's node up to `root`, siblings only, the node itself first. (replication.24)
    fn seek(&mut self, seek_root: u64, root: u64) -> Result<(), Refusal> {
        let mut walk = Walk::new(seek_root);
        let mut path = vec![walk.index];
        while walk.index != root {
            if path.len() > PATH_MAX {
                return Err(Refusal::Invalid);
            }
            path.push(walk.sibling());
            walk.parent();
        }
        self.seek = Some(path);
        Ok(())
    }

    /// From what was asked for up to `root`, siblings only. (replication.20, replication.22, replication.24)
    fn path(&mut self, asked: Option<Asked>, seek: bool, seek_root: u64, root: u64) -> Result<(), Refusal> {
        let Some(asked) = asked else { return self.seek(seek_root, root) };
        let mut walk = Walk::new(asked.index);
        let mut path = Vec::new();
        if !asked.block {
            path.push(walk.index);
        }
        let mut levels = 0;
        while walk.index != root {
            levels += 1;
            if levels > PATH_MAX {
                return Err(Refusal::Invalid);
            }
            walk.sibling();
            if seek && walk.contains(seek_root) && walk.index != seek_root {
                self.seek(seek_root, walk.index)?;
            } else {
                path.push(walk.index);
            }
            walk.parent();
        }
        self.node = Some(path);
        Ok(())
    }

    /// What makes a tree that ends at `from` one that ends at `to`. (replication.23, replication.25)
    fn upgrade(
        &mut self,
        asked: Option<Asked>,
        seek: bool,
        from: u64,
        to: u64,
        subtree: u64,
    ) -> Result<(), Refusal> {
        let mut list = (from == 0).then(Vec::new);
        let mut walk = Walk::new(0);
        while walk.full_root(to) {
            let root = walk.index;
            let known = root + walk.factor / 2 < from;
            if !known && list.is_none() && from >= 2 && walk.contains(from - 2) {
                let list = list.insert(Vec::new());
                for sibling in right_of(from - 2, root)? {
                    let inside = Walk::new(sibling).contains(subtree);
                    if self.node.is_none() && self.seek.is_none() && inside {
                        self.path(asked, seek, subtree, sibling)?;
                    } else {
                        list.push(sibling);
                    }
                }
            } else if !known {
                let list = list.get_or_insert_default();
                if self.node.is_none() && self.seek.is_none() && walk.contains(subtree) {
                    self.path(asked, seek, subtree, root)?;
                } else {
                    list.push(root);
                }
            }
            walk.next_tree();
        }
        self.upgrade = Some(list.unwrap_or_default());
        Ok(())
    }

    /// What makes a tree that ends at `from` one that ends at `to`, with nothing asked for in it. (replication.26)
    fn additional(&mut self, from: u64, to: u64) -> Result<(), Refusal> {
        self.additional = Some(growth(from, to)?);
        Ok(())
    }
}

/// The nodes that make a tree that ends at `from` one that ends at `to`.
pub(super) fn growth(from: u64, to: u64) -> Result<Vec<u64>, Refusal> {
    let mut plan = Plan::default();
    plan.upgrade(None, false, from, to, u64::MAX)?;
    Ok(plan.upgrade.unwrap_or_default())
}

/// The siblings right of the path from leaf `target` up to `root`, lowest first.
fn right_of(target: u64, root: u64) -> Result<Vec<u64>, Refusal> {
    let mut walk = Walk::new(target);
    let mut right = Vec::new();
    for _ in 0..=PATH_MAX {
        if walk.index == root {
            return Ok(right);
        }
        let sibling = walk.sibling();
        if sibling > target {
            right.push(sibling);
        }
        walk.parent();
    }
    Err(Refusal::Invalid)
}

/// Byte offsets in a tree of `length` blocks.
struct Sizes<'a, 'l> {
    length: u64,
    node: &'a mut Lookup<'l>,
}

impl Sizes<'_, '_> {
    fn get(&mut self, index: u64) -> Result<Option<Node>, Refusal> {
        (self.node)(index).map_err(Refusal::Failed)
    }

    fn need(&mut self, index: u64) -> Result<Node, Refusal> {
        self.get(index)?.ok_or(Refusal::Missing(index))
    }

    /// Bytes below a node that are not padding.
    fn unpadded(node: &Node, padding: u64) -> u64 {
        node.size.saturating_sub(padding.saturating_mul(leaves(node.index)))
    }

    /// Bytes before the first block below `index`.
    fn offset(&mut self, index: u64) -> Result<u64, Refusal> {
        let index = left_span(index);
        let mut offset: u64 = 0;
        for root in full_roots(self.length) {
            if index > right_span(root) {
                offset = offset.saturating_add(self.need(root)?.size);
                continue;
            }
            let mut walk = Walk::new(root);
            while walk.index != index {
                if index < walk.index {
                    walk.left_child();
                } else {
                    offset = offset.saturating_add(self.need(walk.left_child())?.size);
                    walk.sibling();
                }
            }
            return Ok(offset);
        }
        Err(Refusal::Invalid)
    }

    /// The node around byte `bytes`, which must be below `root`. (replication.24)
    fn seek_below(&mut self, root: u64, bytes: u64, padding: u64) -> Result<u64, Refusal> {
        let padded = padding.saturating_mul(left_span(root) / 2);
        let offset = self.offset(root)?.saturating_sub(padded);
        if offset > bytes {
            return Err(Refusal::Invalid);
        }
        let left = bytes - offset;
        if left == 0 {
            return Ok(root);
        }
        if Self::unpadded(&self.need(root)?, padding) <= left {
            return Err(Refusal::Invalid);
        }
        self.seek_in(root, left, padding)
    }

    /// The node around byte `bytes` of a tree of `length` blocks.
    fn seek_from_head(&mut self, length: u64, mut bytes: u64, padding: u64) -> Result<u64, Refusal> {
        for root in full_roots(length) {
            let size = Self::unpadded(&self.need(root)?, padding);
            if bytes == size {
                return Ok(root);
            }
            if bytes < size {
                return self.seek_in(root, bytes, padding);
            }
            bytes -= size;
        }
        Ok(2 * length)
    }

    fn seek_in(&mut self, root: u64, mut bytes: u64, padding: u64) -> Result<u64, Refusal> {
        if bytes == 0 {
            return Ok(root);
        }
        let mut walk = Walk::new(root);
        while walk.index & 1 == 1 {
            let Some(left) = self.get(walk.left_child())? else {
                walk.parent();
                return Ok(walk.index);
            };
            let size = Self::unpadded(&left, padding);
            if size == bytes {
                return Ok(walk.index);
            }
            if size < bytes {
                bytes -= size;
                walk.sibling();
            }
        }
        Ok(walk.index)
    }
}

/// How many levels above `index` the first node is that is here; 0 if it lies behind a tree of `length` blocks.
/// (replication.28)
pub fn missing_nodes(
    length: u64,
    index: u64,
    has: &mut dyn FnMut(u64) -> Result<bool, Error>,
) -> Result<u64, Error> {
    let head = 2 * length;
    if right_span(index) >= head {
        return Ok(0);
    }
    let mut walk = Walk::new(index);
    let mut levels = 0;
    while !walk.contains(head) && !has(walk.index)? {
        levels += 1;
        walk.parent();
    }
    Ok(levels)
}

// ---- verifying

/// The tree that an answer must fit.
pub struct Held<'a> {
    pub length: u64,
    pub fork: u64,
    pub roots: &'a [Node],
    /// Of the manifest, if that is known.
    pub prologue: Option<(Key, u64)>,
}

/// A tree with what a proof adds to it. Not to be trusted before its signature is checked, if it `grew`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    pub length: u64,
    pub byte_length: u64,
    pub roots: Vec<Node>,
    /// New nodes, in the order in which they were proved.
    pub nodes: Vec<Node>,
    /// True if there are more blocks than before: a signature must vouch for them.
    pub grew: bool,
    /// Roots as the sender gave them. Of two siblings that both are, only the sum of the sizes is proved.
    bare: Vec<u64>,
}

impl Grown {
    /// A tree as it is, before anything is added.
    pub fn of(length: u64, roots: &[Node]) -> Result<Grown, Fault> {
        let mut byte_length: u64 = 0;
        for root in roots {
            byte_length = byte_length.checked_add(root.size).ok_or(Fault::Size)?;
        }
        Ok(Grown {
            length,
            byte_length,
            roots: roots.to_vec(),
            nodes: Vec::new(),
            grew: false,
            bare: Vec::new(),
        })
    }

    /// The hash that is signed. (hypercore.4)
    pub fn hash(&self) -> Key {
        tree::tree_hash(&self.roots)
    }

    /// Adds a root at the walk's place and joins roots of equal depth; the walk then stands at the last root.
    fn add(&mut self, (node, bare): (Node, bool), walk: &mut Walk) -> Result<(), Fault> {
        self.grew = true;
        if bare {
            self.bare.push(node.index);
        }
        let added = walk.factor / 2;
        self.length = self.length.checked_add(added).filter(|len| *len <= SIZE_MAX / 2).ok_or(Fault::Size)?;
        self.byte_length =
            self.byte_length.checked_add(node.size).filter(|size| *size <= SIZE_MAX).ok_or(Fault::Size)?;
        self.roots.push(node);
        self.nodes.push(node);
        while let [.., left, right] = self.roots[..] {
            if walk.sibling() != left.index {
                walk.sibling();
                break;
            }
            let joined = parent(walk.parent(), &left, &right)?;
            let bare = self.bare.len();
            self.bare.retain(|index| *index != left.index && *index != right.index);
            if bare - self.bare.len() == 2 {
                // replication.36
                self.nodes.retain(|node| node.index != left.index && node.index != right.index);
            }
            self.nodes.push(joined);
            self.roots.truncate(self.roots.len() - 2);
            self.roots.push(joined);
        }
        Ok(())
    }

    /// Makes it a tree of `length` blocks with the nodes of `queue`, then as long as `additional` makes it.
    /// (replication.31 to replication.33)
    fn grow(
        &mut self,
        length: u64,
        mut queue: Queue<'_>,
        additional: &[Node],
        prologue: Option<(Key, u64)>,
    ) -> Result<bool, Fault> {
        let mut joins = !self.roots.is_empty();
        let mut held = 0;
        let to = 2 * length;
        let mut walk = Walk::new(0);
        while walk.full_root(to) {
            if self.roots.get(held).is_some_and(|root| root.index == walk.index) {
                held += 1;
            } else if core::mem::take(&mut joins) && held < self.roots.len() {
                let root = walk.index;
                walk.seek(self.last()?.index);
                while walk.index != root {
                    let node = queue.take(walk.sibling())?;
                    self.add(node, &mut walk)?;
                }
            } else {
                let node = queue.take(walk.index)?;
                self.add(node, &mut walk)?;
            }
            walk.next_tree();
        }
        if !queue.nodes.is_empty() {
            // replication.33
            return Err(Fault::Node { wanted: walk.index, got: Some(queue.nodes[0].index) });
        }
        if let Some((hash, length)) = prologue
            && self.length == length
            && self.hash() != hash
        {
            return Err(Fault::Prologue);
        }
        walk.seek(self.last()?.index);
        let mut rest = additional;
        while let [node, more @ ..] = rest {
            if node.index != walk.sibling() {
                break;
            }
            self.add((*node, true), &mut walk)?;
            rest = more;
        }
        for node in rest {
            while node.index != walk.index {
                if walk.factor == 2 {
                    return Err(Fault::Node { wanted: walk.index, got: Some(node.index) });
                }
                walk.left_child();
            }
            self.add((*node, true), &mut walk)?;
            walk.sibling();
        }
        Ok(queue.extra.is_none())
    }

    fn last(&self) -> Result<Node, Fault> {
        self.roots.last().copied().ok_or(Fault::Empty)
    }
}

/// A tree of `length` blocks and `roots` made `by` blocks longer, with nodes out of `pool`. (hypercore.59)
pub(super) fn extended(length: u64, roots: &[Node], by: u64, pool: &[Node]) -> Result<Grown, Fault> {
    let mut grown = Grown::of(length, roots)?;
    let to = length.checked_add(by).filter(|to| *to <= SIZE_MAX / 2).ok_or(Fault::Size)?;
    let pool: BTreeMap<u64, Node> = pool.iter().map(|node| (node.index, *node)).collect();
    let wanted = growth(2 * length, 2 * to).map_err(|_| Fault::Size)?;
    let nodes: Result<Vec<Node>, Fault> = wanted
        .into_iter()
        .map(|wanted| pool.get(&wanted).copied().ok_or(Fault::Node { wanted, got: None }))
        .collect();
    grown.grow(to, Queue { nodes: &nodes?, extra: None }, &[], None)?;
    Ok(grown)
}

/// The tree that an answer proves by itself, with nothing here to fit it. What grew wants its signature checked.
/// (hypercore.98)
pub fn verify_alone(prologue: Option<(Key, u64)>, data: &Data) -> Result<Grown, Fault> {
    let held = Held { length: 0, fork: data.fork, roots: &[], prologue };
    verify(&held, &mut |_| Ok(None), data)
}

/// Nodes of a proof that must come in an exact order; `extra` was proved before and may stand for one of them once.
struct Queue<'a> {
    nodes: &'a [Node],
    extra: Option<(Node, bool)>,
}

impl Queue<'_> {
    /// The next node, and whether it stands in the proof as it is.
    fn take(&mut self, wanted: u64) -> Result<(Node, bool), Fault> {
        if let Some(extra) = self.extra.take_if(|(extra, _)| extra.index == wanted) {
            return Ok(extra);
        }
        match self.nodes {
            [node, rest @ ..] if node.index == wanted => {
                self.nodes = rest;
                Ok((*node, true))
            }
            [node, ..] => Err(Fault::Node { wanted, got: Some(node.index) }),
            [] => Err(Fault::Node { wanted, got: None }),
        }
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.extra.is_none()
    }
}

/// Climbs from `root` through the queue; what is met and made goes to `nodes`. Gives where it ends, and whether that
/// stands in the proof as it is. Of two siblings that both do, the sizes are not proved: they are left out unless `all`
/// are wanted. (replication.36)
fn climb(
    (mut root, mut bare): (Node, bool),
    mut queue: Queue<'_>,
    all: bool,
    nodes: &mut Vec<Node>,
) -> Result<(Node, bool), Fault> {
    let mut walk = Walk::new(root.index);
    nodes.push(root);
    for _ in 0..=PATH_MAX {
        if queue.is_empty() {
            return Ok((root, bare));
        }
        let (node, also) = queue.take(walk.sibling())?;
        root = parent(walk.parent(), &root, &node)?;
        if bare && also && !all {
            nodes.pop();
        } else {
            nodes.push(node);
        }
        bare = false;
        nodes.push(root);
    }
    Err(Fault::Size)
}

/// The root that the block, hash and seek parts of an answer lead to, and whether it stands there as it is; `all`: with
/// the nodes whose hash is proved, but not their size. (replication.29, replication.30, replication.36)
pub fn lead(data: &Data, all: bool, nodes: &mut Vec<Node>) -> Result<Option<(Node, bool)>, Fault> {
    let mut root = None;
    if let Some(seek) = &data.seek
        && let [first, rest @ ..] = &seek.nodes[..]
    {
        root = Some(climb((*first, true), Queue { nodes: rest, extra: None }, all, nodes)?);
    }
    let (start, list) = match (&data.block, &data.hash) {
        (Some(block), _) => (Some(tree::leaf(block.index, &block.value)), &block.nodes),
        (None, Some(hash)) => (None, &hash.nodes),
        (None, None) => return Ok(root),
    };
    let mut queue = Queue { nodes: list, extra: root };
    let start = match (start, &data.hash) {
        (Some(start), _) => (start, false),
        (None, hash) => queue.take(hash.as_ref().map_or(0, |hash| hash.index))?,
    };
    Ok(Some(climb(start, queue, all, nodes)?))
}

/// What the tree is with this answer, if the answer fits it. Everything in it is proved, except that a tree that `grew`
/// wants its signature checked. (replication.29 to replication.36)
pub fn verify(held: &Held<'_>, node: &mut Lookup<'_>, data: &Data) -> Result<Grown, Fault> {
    if data.fork != held.fork {
        return Err(Fault::Fork);
    }
    let mut grown = Grown::of(held.length, held.roots)?;
    let mut nodes = Vec::new();
    let mut root = lead(data, false, &mut nodes)?;
    grown.nodes = nodes;
    if let Some(upgrade) = &data.upgrade {
        let length = upgrade.start.saturating_add(upgrade.length);
        if let Some((_, prologue)) = held.prologue
            && upgrade.start < prologue
            && (upgrade.start != 0 || upgrade.length < prologue)
        {
            return Err(Fault::Prologue);
        }
        if length <= held.length || upgrade.start > held.length {
            return Err(Fault::Empty);
        }
        let queue = Queue { nodes: &upgrade.nodes, extra: root };
        if grown.grow(length, queue, &upgrade.additional, held.prologue)? {
            root = None;
        }
    }
    if let Some((root, _)) = root {
        // replication.34
        match node(root.index).map_err(Fault::Storage)? {
            None => return Err(Fault::Loose { node: root.index }),
            Some(here) if here.hash != root.hash || here.size != root.size => {
                return Err(Fault::Checksum { node: root.index });
            }
            Some(_) => grown.nodes.retain(|node| node.index != root.index),
        }
    }
    Ok(grown)
}

#[cfg(test)]
mod tests;
