//! Hashes of the Merkle tree, and the roots of a growing one. Follows hypercore.2 to hypercore.7.

use super::flat_tree;
use crate::base::{Key, limits};
use crate::crypto::hash::{blake2b_256, blake2b_256_four};
use crate::wire::hypercore::Node;

const LEAF: &[u8] = &[0];
const PARENT: &[u8] = &[1];
const ROOT: &[u8] = &[2];

/// The leaf of a block at position `block`. (hypercore.2)
pub fn leaf(block: u64, bytes: &[u8]) -> Node {
    let size = bytes.len() as u64;
    let hash = blake2b_256(&[LEAF, &size.to_le_bytes(), bytes]);
    Node { index: block.wrapping_mul(2), size, hash }
}

/// The parent of two siblings, in any order. A sum of sizes above 2^64 wraps; it cannot come from a real tree.
/// (hypercore.3)
pub fn parent(one: &Node, other: &Node) -> Node {
    let (left, right) = if one.index <= other.index { (one, other) } else { (other, one) };
    let size = left.size.wrapping_add(right.size);
    let hash = blake2b_256(&[&parent_input(left, right)]);
    Node { index: flat_tree::parent(left.index), size, hash }
}

/// The leaves of `blocks`, of which the first is at position `first`. (hypercore.2)
fn leaves<B: AsRef<[u8]>>(first: u64, blocks: &[B]) -> Vec<Node> {
    let mut made = Vec::with_capacity(blocks.len());
    let mut fours = blocks.chunks_exact(4);
    let mut bytes = Vec::new();
    for four in &mut fours {
        bytes.clear();
        let ends = [0, 1, 2, 3].map(|n| {
            let block: &[u8] = four[n].as_ref();
            bytes.extend_from_slice(LEAF);
            bytes.extend_from_slice(&(block.len() as u64).to_le_bytes());
            bytes.extend_from_slice(block);
            bytes.len()
        });
        let starts = [0, ends[0], ends[1], ends[2]];
        let hashes = blake2b_256_four([0, 1, 2, 3].map(|n| &bytes[starts[n]..ends[n]]));
        for (block, hash) in four.iter().zip(hashes) {
            let index = (first + made.len() as u64).wrapping_mul(2);
            made.push(Node { index, size: block.as_ref().len() as u64, hash });
        }
    }
    for block in fours.remainder() {
        made.push(leaf(first + made.len() as u64, block.as_ref()));
    }
    made
}

/// The parents of neighbours of equal depth, two and two; a last one without its sibling has none. (hypercore.3)
fn parents(nodes: &[Node]) -> Vec<Node> {
    let mut made = Vec::with_capacity(nodes.len() / 2);
    let mut fours = nodes.chunks_exact(8);
    for four in &mut fours {
        let pairs = [0, 2, 4, 6].map(|n| (&four[n], &four[n + 1]));
        let inputs = pairs.map(|(left, right)| parent_input(left, right));
        let hashes = blake2b_256_four([&inputs[0], &inputs[1], &inputs[2], &inputs[3]]);
        for ((left, right), hash) in pairs.into_iter().zip(hashes) {
            let size = left.size.wrapping_add(right.size);
            made.push(Node { index: flat_tree::parent(left.index), size, hash });
        }
    }
    made.extend(fours.remainder().chunks_exact(2).map(|pair| parent(&pair[0], &pair[1])));
    made
}

fn parent_input(left: &Node, right: &Node) -> [u8; 73] {
    let mut input = [0; 73];
    input[0] = PARENT[0];
    input[1..9].copy_from_slice(&left.size.wrapping_add(right.size).to_le_bytes());
    input[9..41].copy_from_slice(&left.hash);
    input[41..].copy_from_slice(&right.hash);
    input
}

/// The hash of a whole tree, from its roots. (hypercore.4)
pub fn tree_hash(roots: &[Node]) -> Key {
    let mut bytes = Vec::with_capacity(1 + 48 * roots.len());
    bytes.extend_from_slice(ROOT);
    for root in roots {
        bytes.extend_from_slice(&root.hash);
        bytes.extend_from_slice(&root.index.to_le_bytes());
        bytes.extend_from_slice(&root.size.to_le_bytes());
    }
    blake2b_256(&[&bytes])
}

/// The roots of a tree of some length: all that is needed to make it longer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roots {
    nodes: Vec<Node>,
    length: u64,
    byte_length: u64,
}

impl Roots {
    /// The roots of the tree of `length` blocks, each asked of `node`. None if one is not known, or if the sizes
    /// cannot be.
    pub fn gather<E>(
        length: u64,
        mut node: impl FnMut(u64) -> Result<Option<Node>, E>,
    ) -> Result<Option<Roots>, E> {
        let mut roots = Roots { nodes: Vec::new(), length, byte_length: 0 };
        for index in flat_tree::full_roots(length) {
            let Some(root) = node(index)? else { return Ok(None) };
            match roots.byte_length.checked_add(root.size) {
                Some(sum) if sum <= limits::LENGTH_MAX => roots.byte_length = sum,
                Some(_) | None => return Ok(None),
            }
            roots.nodes.push(root);
        }
        Ok(Some(roots))
    }

    /// Largest and leftmost first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Blocks.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of all blocks.
    pub fn byte_length(&self) -> u64 {
        self.byte_length
    }

    pub fn hash(&self) -> Key {
        tree_hash(&self.nodes)
    }

    /// Adds a block; every node that is new is put behind `made`, leaf first. (hypercore.5)
    pub fn append(&mut self, bytes: &[u8], made: &mut Vec<Node>) {
        let mut node = leaf(self.length, bytes);
        self.length += 1;
        self.byte_length += node.size;
        made.push(node);
        while let Some(last) = self.nodes.last() {
            if flat_tree::sibling(last.index) != node.index {
                break;
            }
            node = parent(last, &node);
            made.push(node);
            self.nodes.pop();
        }
        self.nodes.push(node);
    }

    /// Adds blocks as `append` does one by one, with the same nodes in the same order; their hashes are made level by
    /// level, four at a time. (hypercore.5)
    pub fn extend<B: AsRef<[u8]>>(&mut self, blocks: &[B], made: &mut Vec<Node>) {
        if let [block] = blocks {
            return self.append(block.as_ref(), made);
        }
        let mut level = leaves(self.length, blocks);
        let mut levels = Vec::new();
        while let Some(first) = level.first() {
            let sibling = flat_tree::sibling(first.index);
            let root = self.nodes.iter().find(|root| root.index == sibling);
            let above = match root {
                Some(root) => parents(&[&[*root], &level[..]].concat()),
                None => parents(&level),
            };
            levels.push(core::mem::replace(&mut level, above).into_iter());
        }
        for block in blocks {
            self.length += 1;
            self.byte_length += block.as_ref().len() as u64;
            for nodes in &mut levels {
                let Some(node) = nodes.next() else { break };
                made.push(node);
                if self.nodes.last().is_none_or(|last| flat_tree::sibling(last.index) != node.index) {
                    self.nodes.push(node);
                    break;
                }
                self.nodes.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;
    use serde_json::Value;

    pub fn vectors() -> Vec<Value> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/merkle.json"));
        let file: Value = serde_json::from_str(text).expect("the vectors");
        file["vectors"].as_array().expect("a list").clone()
    }

    fn blocks() -> Vec<Vec<u8>> {
        let all = vectors();
        let vector = all.iter().find(|vector| vector["name"] == "blocks").expect("blocks");
        let list = vector["expected"]["blocks"].as_array().expect("a list");
        list.iter().map(|block| hex::decode(block.as_str().expect("text")).expect("hex")).collect()
    }

    // proves hypercore.2, hypercore.3, hypercore.5
    #[test]
    fn nodes_are_upstreams() {
        let all = vectors();
        let vector = all.iter().find(|vector| vector["name"] == "nodes").expect("nodes");
        let (mut roots, mut made) = (Roots::default(), Vec::new());
        for block in blocks().iter().take(33) {
            roots.append(block, &mut made);
        }
        made.sort_by_key(|node| node.index);
        let said: Vec<Value> =
            made.iter().map(|n| serde_json::json!([n.index, n.size, hex::encode(&n.hash)])).collect();
        assert_eq!(Value::from(said), vector["expected"]["nodes"]);
        assert!(made.windows(2).all(|pair| pair[0].index < pair[1].index), "each node is made once");
    }

    // proves hypercore.5
    #[test]
    fn many_blocks_at_once_make_the_same_nodes() {
        let blocks: Vec<Vec<u8>> = (0..70_usize).map(|n| vec![n as u8; n * 7 % 300]).collect();
        for start in 0..20 {
            for end in start..blocks.len() {
                let (mut one, mut one_made) = (Roots::default(), Vec::new());
                blocks[..start].iter().for_each(|block| one.append(block, &mut one_made));
                let (mut all, mut all_made) = (one.clone(), one_made.clone());
                blocks[start..end].iter().for_each(|block| one.append(block, &mut one_made));
                all.extend(&blocks[start..end], &mut all_made);
                assert_eq!((one, one_made), (all, all_made), "{start} to {end}");
            }
        }
    }

    // proves hypercore.4
    #[test]
    fn roots_and_tree_hashes_are_upstreams() {
        let mut seen = 0;
        for vector in vectors().iter().filter(|vector| vector["name"] == "tree") {
            let length = vector["inputs"]["length"].as_u64().expect("a number");
            let (mut roots, mut made) = (Roots::default(), Vec::new());
            blocks().iter().take(length as usize).for_each(|block| roots.append(block, &mut made));
            let wanted = &vector["expected"];
            assert_eq!(wanted["treeHash"], hex::encode(&roots.hash()));
            assert_eq!(wanted["byteLength"], roots.byte_length());
            let said: Vec<Value> = roots
                .nodes()
                .iter()
                .map(|n| serde_json::json!({"index": n.index, "size": n.size, "hash": hex::encode(&n.hash)}))
                .collect();
            assert_eq!(wanted["roots"], Value::from(said));
            let find = |index| Ok::<_, ()>(made.iter().find(|node| node.index == index).copied());
            assert_eq!(Roots::gather(length, find), Ok(Some(roots)));
            seen += 1;
        }
        assert_eq!(seen, 15);
        assert_eq!(tree_hash(&[]), blake2b_256(&[&[2]]));
    }
}
