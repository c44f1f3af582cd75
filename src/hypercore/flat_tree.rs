//! Numbers of the nodes of a binary tree that lies flat in a list (hypercore.1). Leaf `i` is node `2i`; a node at depth
//! `d` and offset `o` is `(2o + 1)·2^d - 1`. Nothing here knows hashes.
//!
//! All functions are total: where a number would pass 2^64 the result wraps, and callers bound what a peer sends
//! (`limits::BLOCKS_MAX`) before they come here.

/// How far a node is above the leaves.
pub const fn depth(index: u64) -> u32 {
    index.trailing_ones()
}

/// Which node of its depth it is, from the left.
pub const fn offset(index: u64) -> u64 {
    if index & 1 == 0 {
        return index / 2;
    }
    let depth = depth(index);
    if depth >= 63 { 0 } else { index >> (depth + 1) }
}

/// The node of that depth and offset. (hypercore.1)
pub const fn index(depth: u32, offset: u64) -> u64 {
    let factor = 1_u64.wrapping_shl(depth + 1);
    offset.wrapping_mul(factor).wrapping_add(1_u64.wrapping_shl(depth)).wrapping_sub(1)
}

pub const fn parent(node: u64) -> u64 {
    let depth = depth(node);
    index(depth + 1, offset(node) >> 1)
}

pub const fn sibling(node: u64) -> u64 {
    index(depth(node), offset(node) ^ 1)
}

/// None for a leaf.
pub const fn children(node: u64) -> Option<(u64, u64)> {
    if node & 1 == 0 {
        return None;
    }
    let depth = depth(node) - 1;
    let half = 1_u64 << depth;
    Some((node.wrapping_sub(half), node.wrapping_add(half)))
}

/// The leftmost leaf below a node.
pub const fn left_span(node: u64) -> u64 {
    node.wrapping_sub((1_u64.wrapping_shl(depth(node))).wrapping_sub(1))
}

/// The rightmost leaf below a node.
pub const fn right_span(node: u64) -> u64 {
    node.wrapping_add((1_u64.wrapping_shl(depth(node))).wrapping_sub(1))
}

/// How many leaves are below a node.
pub const fn leaves(node: u64) -> u64 {
    1_u64.wrapping_shl(depth(node))
}

/// The roots of a tree of `length` leaves, leftmost and largest first.
pub fn full_roots(length: u64) -> impl Iterator<Item = u64> {
    let mut left = length;
    let mut start: u64 = 0;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let depth = left.ilog2();
        let count = 1_u64 << depth;
        let root = start.wrapping_mul(2).wrapping_add(count).wrapping_sub(1);
        left -= count;
        start = start.wrapping_add(count);
        Some(root)
    })
}

/// A walk over the tree, as upstream's iterator: `index` is where it stands, `factor` twice the leaves below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    pub index: u64,
    pub offset: u64,
    pub factor: u64,
}

impl Walk {
    pub const fn new(index: u64) -> Walk {
        Walk { index, offset: offset(index), factor: 1_u64.wrapping_shl(depth(index) + 1) }
    }

    pub const fn seek(&mut self, index: u64) {
        *self = Walk::new(index);
    }

    /// True if `index` is the node itself or below it.
    pub const fn contains(&self, index: u64) -> bool {
        let half = self.factor / 2;
        if index > self.index {
            index < self.index.wrapping_add(half)
        } else {
            index == self.index || index.wrapping_add(half) > self.index
        }
    }

    pub const fn is_left(&self) -> bool {
        self.offset & 1 == 0
    }

    pub const fn sibling(&mut self) -> u64 {
        if self.is_left() {
            self.offset += 1;
            self.index = self.index.wrapping_add(self.factor);
        } else {
            self.offset -= 1;
            self.index = self.index.wrapping_sub(self.factor);
        }
        self.index
    }

    pub const fn parent(&mut self) -> u64 {
        if self.is_left() {
            self.index = self.index.wrapping_add(self.factor / 2);
            self.offset /= 2;
        } else {
            self.index = self.index.wrapping_sub(self.factor / 2);
            self.offset = (self.offset - 1) / 2;
        }
        self.factor = self.factor.wrapping_mul(2);
        self.index
    }

    /// A leaf stays where it is.
    pub const fn left_child(&mut self) -> u64 {
        if self.factor == 2 {
            return self.index;
        }
        self.factor /= 2;
        self.index = self.index.wrapping_sub(self.factor / 2);
        self.offset = self.offset.wrapping_mul(2);
        self.index
    }

    /// A leaf stays where it is.
    pub const fn right_child(&mut self) -> u64 {
        if self.factor == 2 {
            return self.index;
        }
        self.factor /= 2;
        self.index = self.index.wrapping_add(self.factor / 2);
        self.offset = self.offset.wrapping_mul(2).wrapping_add(1);
        self.index
    }

    /// To the first leaf right of everything below this node.
    pub const fn next_tree(&mut self) -> u64 {
        self.index = self.index.wrapping_add(self.factor / 2).wrapping_add(1);
        self.offset = self.index / 2;
        self.factor = 2;
        self.index
    }

    /// From a leaf: up to the largest tree that starts here and ends at or before leaf number `head` (exclusive,
    /// twice the length). False if there is none.
    pub const fn full_root(&mut self, head: u64) -> bool {
        if head <= self.index || self.index & 1 == 1 {
            return false;
        }
        while self.factor < 1 << 62
            && head > self.index.wrapping_add(self.factor).wrapping_add(self.factor / 2)
        {
            self.index = self.index.wrapping_add(self.factor / 2);
            self.factor = self.factor.wrapping_mul(2);
            self.offset /= 2;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/merkle.json"));
        serde_json::from_str(text).expect("the vectors")
    }

    // proves hypercore.1
    #[test]
    fn numbers_are_upstreams() {
        let mut seen = 0;
        for vector in vectors()["vectors"].as_array().expect("a list") {
            let (input, wanted) = (&vector["inputs"], &vector["expected"]);
            match vector["name"].as_str() {
                Some("flat/fullRoots") => {
                    let length = input["length"].as_u64().expect("a number");
                    let roots: Vec<u64> = full_roots(length).collect();
                    assert_eq!(serde_json::json!(roots), wanted["roots"]);
                    let mut walk = Walk::new(0);
                    for root in roots {
                        assert!(walk.full_root(2 * length));
                        assert_eq!(walk, Walk::new(root));
                        walk.next_tree();
                    }
                    assert!(!walk.full_root(2 * length));
                }
                Some("flat/node") => {
                    let node = input["index"].as_u64().expect("a number");
                    let said = serde_json::json!({
                        "depth": depth(node), "offset": offset(node), "parent": parent(node),
                        "sibling": sibling(node), "children": children(node),
                        "spans": [left_span(node), right_span(node)], "countLeaves": leaves(node),
                    });
                    assert_eq!(&said, wanted);
                    assert_eq!(index(depth(node), offset(node)), node);
                }
                _ => continue,
            }
            seen += 1;
        }
        assert_eq!(seen, 28);
    }

    #[test]
    fn a_walk_agrees_with_the_functions() {
        for node in 0..2000 {
            let mut walk = Walk::new(node);
            assert_eq!(walk.sibling(), sibling(node));
            assert_eq!(walk, Walk::new(sibling(node)));
            walk.seek(node);
            assert_eq!(walk.parent(), parent(node));
            assert_eq!(walk, Walk::new(parent(node)));
            walk.seek(node);
            let (left, right) = children(node).unwrap_or((node, node));
            assert_eq!(walk.left_child(), left);
            walk.seek(node);
            assert_eq!(walk.right_child(), right);
            assert_eq!(walk, Walk::new(right));
            walk.seek(node);
            let inside = |other| left_span(node) <= other && other <= right_span(node);
            assert!((0..200).all(|other| walk.contains(other) == inside(other)));
        }
    }

    #[test]
    fn no_number_makes_it_panic() {
        for node in [u64::MAX, u64::MAX - 1, u64::MAX / 2, u64::MAX / 2 - 1, 1 << 63, (1 << 54) - 1] {
            let mut walk = Walk::new(node);
            let _ = (parent(node), sibling(node), children(node), left_span(node), right_span(node));
            let _ = (leaves(node), index(depth(node), offset(node)));
            for _ in 0..70 {
                walk.sibling();
                walk.parent();
                let _ = walk.contains(5);
            }
            walk.next_tree();
            walk.full_root(u64::MAX);
            assert!(full_roots(node).count() <= 64);
        }
    }
}
