//! Hashes of the Merkle tree, and the roots of a growing one. Follows hypercore.2 to hypercore.7.

use super::flat_tree;
use crate::base::{Key, limits};
use crate::crypto::hash::blake2b_256;
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
    let hash = blake2b_256(&[PARENT, &size.to_le_bytes(), &left.hash, &right.hash]);
    Node { index: flat_tree::parent(left.index), size, hash }
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
