//! Checks a whole tree: each block's part of it, and the newest version against what the operations say. Follows
//! hyperbee.38 and hyperbee.39. Nothing is changed. The blocks' bytes are `hypercore/audit.rs`'s business.

use std::collections::BTreeMap;

use super::{Bee, Change, Log, PROTOCOL, Spot, child, root};
use crate::base::{Cx, Error, limits};
use crate::crypto::hash;
use crate::wire::decode;
use crate::wire::hyperbee::{Header, Level};

/// Keys of a node that is not the root.
const KEYS_MIN: usize = 4;

/// Something that is wrong with a block, or with the tree as of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub seq: u64,
    /// Which node of the block.
    pub place: Option<u64>,
    pub what: &'static str,
    pub rule: &'static str,
}

/// What the audit of a tree found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeAudit {
    /// Blocks of the log.
    pub version: u64,
    /// Blocks that are here and were looked at, without the header.
    pub blocks: u64,
    /// Nodes of the newest version.
    pub nodes: u64,
    /// Nodes of all blocks that hold by themselves.
    pub all_nodes: u64,
    /// Nodes that do not hold, and that the newest version does not reach: batches leave such behind (hyperbee.25).
    pub loose: u64,
    /// Keys of the newest version; None if not all of it is here, or if it is wrong.
    pub entries: Option<u64>,
    /// Blocks that are not here.
    pub absent: u64,
    /// Whether each key that was put last, and no other, was found in the newest version.
    pub complete: bool,
    /// By block, `limits::AUDIT_FINDINGS` at most.
    pub faults: Vec<Fault>,
    pub more: u64,
}

impl TreeAudit {
    fn find(&mut self, fault: Fault) {
        if self.faults.len() < limits::AUDIT_FINDINGS {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }
}

/// What the operations say of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Put(u64),
    /// A deletion, or in a batch a put without value (hyperbee.31).
    Gone(u64),
}

/// The key of the model: keys can be long.
type Short = [u8; 16];

fn short(key: &[u8]) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&hash::blake2b_256(&[key])[..16]);
    short
}

/// Audits the tree of a log. None if block 0 is not the header of one, or not here. `progress` is told how many blocks
/// are done, and of how many. What is wrong with the tree is in the `TreeAudit`; errors are the log's.
pub fn audit(
    cx: &mut Cx<'_>,
    log: &mut impl Log,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<TreeAudit>, Error> {
    let header = if log.is_empty() { None } else { log.block(cx, 0)? };
    let header: Option<Header> = header.and_then(|bytes| decode(&bytes).ok());
    if header.is_none_or(|header| header.protocol != PROTOCOL) {
        return Ok(None);
    }
    let mut bee = Bee::new();
    let mut found = TreeAudit { version: log.len(), ..TreeAudit::default() };
    let mut model = Some(BTreeMap::new());
    for seq in 1..log.len() {
        progress(seq, log.len());
        match block(cx, &mut bee, log, seq, &mut found) {
            Ok(()) => {
                found.blocks += 1;
                remember(cx, &mut bee, log, seq, &mut model)?;
            }
            Err(Error::Missing) => {
                found.absent += u64::from(bee.missing() == Some(seq));
                model = None;
            }
            Err(error) => judge(error, seq, None, &mut found)?,
        }
    }
    newest(cx, &mut bee, log, model, &mut found)?;
    found.faults.sort_by_key(|fault| fault.seq);
    Ok(Some(found))
}

/// An error of reading is the tree's fault, unless it is the disk's.
fn judge(error: Error, seq: u64, place: Option<u64>, found: &mut TreeAudit) -> Result<(), Error> {
    let (what, rule) = match error {
        Error::Malformed(why) => (why.field, "hyperbee.4"),
        Error::Corrupt(what) => (what, "hyperbee.34"),
        other => return Err(other),
    };
    found.find(Fault { seq, place, what, rule });
    Ok(())
}

/// What is wrong with a node, and by which rule.
type Wrong = (&'static str, &'static str);

/// A node of the newest version, and the blocks of the keys that it lies between.
struct Walk {
    spot: Spot,
    depth: usize,
    low: Option<u64>,
    high: Option<u64>,
}

/// Each node of a block by itself, and by its children.
fn block(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    seq: u64,
    found: &mut TreeAudit,
) -> Result<(), Error> {
    let places = bee.block(cx, log, log.len(), seq)?.levels()?.len() as u64;
    for place in 0..places {
        let walk = Walk { spot: Spot { seq, offset: place }, depth: 0, low: None, high: None };
        match node(cx, bee, log, &walk) {
            Ok(Ok(_)) => found.all_nodes += 1,
            Ok(Err(_)) | Err(Error::Malformed(_) | Error::Corrupt(_)) => found.loose += 1,
            // What it leads to is not here.
            Err(Error::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A node whose keys are in order, lie between those above, and whose children have enough keys and are alike.
/// (hyperbee.38)
fn node(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    at: &Walk,
) -> Result<Result<Level, Wrong>, Error> {
    let version = log.len();
    let own = bee.level(cx, log, version, at.spot)?.clone();
    let mut keys = Vec::with_capacity(own.keys.len() + 2);
    for seq in at.low.iter().chain(&own.keys).chain(&at.high) {
        keys.push(bee.block(cx, log, version, *seq)?.key.clone());
    }
    if keys.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Ok(Err(("keys of nodes are out of order", "hyperbee.34")));
    }
    let mut leaves = None;
    for number in 0..own.children.len() / 2 {
        let Some(below) = child(&own, number) else { break };
        let child = bee.level(cx, log, version, below)?.clone();
        if child.keys.len() < KEYS_MIN {
            return Ok(Err(("a node has too few keys", "hyperbee.12")));
        }
        if *leaves.get_or_insert(child.children.is_empty()) != child.children.is_empty() {
            return Ok(Err(("children of one node lie at different depths", "hyperbee.14")));
        }
        let (low, high) = between(&own, number, None, None);
        let edges = low.iter().chain([&child.keys[0], &child.keys[child.keys.len() - 1]]).chain(&high);
        let mut before: Option<Vec<u8>> = None;
        for seq in edges {
            let key = bee.block(cx, log, version, *seq)?.key.clone();
            if before.is_some_and(|before| before >= key) {
                return Ok(Err(("the keys of a child do not lie between those beside it", "hyperbee.34")));
            }
            before = Some(key);
        }
    }
    Ok(Ok(own))
}

/// The keys beside a child, or those beside its parent.
fn between(level: &Level, child: usize, low: Option<u64>, high: Option<u64>) -> (Option<u64>, Option<u64>) {
    let before = child.checked_sub(1).and_then(|number| level.keys.get(number)).copied();
    (before.or(low), level.keys.get(child).copied().or(high))
}

/// Takes over what a block did to its key, as long as there is room for the model.
fn remember(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    seq: u64,
    model: &mut Option<BTreeMap<Short, Last>>,
) -> Result<(), Error> {
    let Some(known) = model else { return Ok(()) };
    let mut history = bee.history(seq + 1);
    history.skip_to(seq);
    let Some(change) = history.next(cx, bee, log)? else { return Ok(()) };
    match change {
        Change::Put(entry) => known.insert(short(&entry.key), Last::Put(seq)),
        Change::Del(entry) => known.insert(short(&entry.key), Last::Gone(seq)),
    };
    if known.len() > limits::AUDIT_KEYS {
        *model = None;
    }
    Ok(())
}

/// hyperbee.39: all of the newest version, against the operations.
fn newest(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    mut model: Option<BTreeMap<Short, Last>>,
    found: &mut TreeAudit,
) -> Result<(), Error> {
    let (mut entries, faults) = (0, found.faults.len());
    let top = root(log.len()).map(|spot| Walk { spot, depth: 0, low: None, high: None });
    let mut stack: Vec<Walk> = top.into_iter().collect();
    while let Some(at) = stack.pop() {
        let own = match node(cx, bee, log, &at) {
            Ok(Ok(own)) => own,
            Ok(Err((what, rule))) => {
                found.find(Fault { seq: at.spot.seq, place: Some(at.spot.offset), what, rule });
                continue;
            }
            Err(Error::Missing) => return Ok(()),
            Err(error) => {
                judge(error, at.spot.seq, Some(at.spot.offset), found)?;
                continue;
            }
        };
        found.nodes += 1;
        if at.depth >= limits::HYPERBEE_DEPTH_MAX {
            found.find(Fault {
                seq: at.spot.seq,
                place: Some(at.spot.offset),
                what: "too deep",
                rule: "hyperbee.34",
            });
            continue;
        }
        for number in (0..own.children.len() / 2).rev() {
            let Some(spot) = child(&own, number) else { break };
            let (low, high) = between(&own, number, at.low, at.high);
            stack.push(Walk { spot, depth: at.depth + 1, low, high });
        }
        entries += own.keys.len() as u64;
        for seq in own.keys {
            reached(cx, bee, log, seq, &mut model, found)?;
        }
    }
    if found.faults.len() > faults {
        return Ok(());
    }
    found.entries = Some(entries);
    for last in model.iter().flat_map(BTreeMap::values) {
        if let Last::Put(seq) = last {
            let what = "a key that was put cannot be reached";
            found.find(Fault { seq: *seq, place: None, what, rule: "hyperbee.11" });
        }
    }
    found.complete = model.is_some();
    Ok(())
}

/// A key of the newest version: it is there once, and as it was put last.
fn reached(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    seq: u64,
    model: &mut Option<BTreeMap<Short, Last>>,
    found: &mut TreeAudit,
) -> Result<(), Error> {
    let Some(known) = model else { return Ok(()) };
    let key = short(&bee.block(cx, log, log.len(), seq)?.key);
    let what = match known.remove(&key) {
        Some(Last::Put(last) | Last::Gone(last)) if last != seq => "a key leads to an older block",
        Some(Last::Gone(_)) if !in_batch(cx, bee, log, seq)? => "a key that was deleted is there",
        Some(_) => return Ok(()),
        None => "a key is there twice, or was never put",
    };
    found.find(Fault { seq, place: None, what, rule: "hyperbee.36" });
    Ok(())
}

/// Whether a block may lie in the midst of a batch: its index has lost its root, so that the next block stands for it
/// too (hyperbee.25, hyperbee.31).
fn in_batch(cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, seq: u64) -> Result<bool, Error> {
    Ok(seq + 1 < log.len() && bee.block(cx, log, log.len(), seq)?.value.is_none())
}
