use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::base::{Entropy, Seeded, hex};
use crate::hypercore::tree;
use crate::wire::hypercore::{Grow, Seek, Wanted};
use crate::wire::{decode, encode};

/// A whole tree in memory.
#[derive(Clone, Default)]
struct Whole {
    roots: tree::Roots,
    nodes: BTreeMap<u64, Node>,
    blocks: Vec<Vec<u8>>,
}

impl Whole {
    fn of(blocks: impl IntoIterator<Item = Vec<u8>>) -> Whole {
        let mut whole = Whole::default();
        for block in blocks {
            let mut made = Vec::new();
            whole.roots.append(&block, &mut made);
            whole.nodes.extend(made.into_iter().map(|node| (node.index, node)));
            whole.blocks.push(block);
        }
        whole
    }

    fn drawn(count: u64) -> Whole {
        Whole::of((0..count).map(|n| vec![n as u8; 1 + (n as usize * 7) % 13]))
    }

    fn prove(&self, request: &Request) -> Result<Data, Refusal> {
        let mut lookup = |index| Ok(self.nodes.get(&index).copied());
        let mut data = prove(self.blocks.len() as u64, None, &mut lookup, request)?;
        if let Some(block) = &mut data.block {
            block.value = self.blocks[block.index as usize].clone();
        }
        Ok(data)
    }
}

/// A replica: what it verified, and nothing else.
#[derive(Clone, Default)]
struct Replica {
    length: u64,
    roots: Vec<Node>,
    nodes: BTreeMap<u64, Node>,
}

impl Replica {
    fn check(&self, data: &Data) -> Result<Grown, Fault> {
        let held = Held { length: self.length, fork: 0, roots: &self.roots, prologue: None };
        verify(&held, &mut |index| Ok(self.nodes.get(&index).copied()), data)
    }

    /// Verifies and keeps; the hash stands for the signature.
    fn take(&mut self, data: &Data, whole: &Whole) -> Result<(), Fault> {
        let grown = self.check(data)?;
        if grown.grew {
            if grown.length != whole.roots.length() || grown.hash() != whole.roots.hash() {
                return Err(Fault::Signature);
            }
            (self.length, self.roots) = (grown.length, grown.roots);
        }
        for node in grown.nodes {
            assert_eq!(whole.nodes.get(&node.index), Some(&node), "only true nodes are kept");
            self.nodes.insert(node.index, node);
        }
        Ok(())
    }

    fn missing(&self, block: u64) -> u64 {
        let mut has = |index| Ok(self.nodes.contains_key(&index));
        missing_nodes(self.length, 2 * block, &mut has).expect("no storage that fails")
    }
}

fn vectors(file: &str) -> Vec<Value> {
    let text = match file {
        "wire" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hypercore-wire.json")),
        _ => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/merkle.json")),
    };
    let file: Value = serde_json::from_str(text).expect("the vectors");
    file["vectors"].as_array().expect("a list").clone()
}

fn request(value: &Value) -> Request {
    let number = |value: &Value| value.as_u64().expect("a number");
    let wanted = |value: &Value| {
        (!value.is_null()).then(|| Wanted { index: number(&value["index"]), nodes: number(&value["nodes"]) })
    };
    Request {
        id: 1,
        block: wanted(&value["block"]),
        hash: wanted(&value["hash"]),
        seek: (!value["seek"].is_null()).then(|| Seek {
            bytes: number(&value["seek"]["bytes"]),
            padding: number(&value["seek"]["padding"]),
        }),
        upgrade: (!value["upgrade"].is_null()).then(|| Grow {
            start: number(&value["upgrade"]["start"]),
            length: number(&value["upgrade"]["length"]),
        }),
        ..Request::default()
    }
}

// proves replication.20, replication.21, replication.22, replication.23, replication.24, replication.25
// proves replication.26
#[test]
fn proofs_are_upstreams() {
    let all = vectors("wire");
    let core = all.iter().find(|vector| vector["name"] == "proof-core").expect("there");
    let blocks = core["inputs"]["blocks"].as_array().expect("a list").iter();
    let whole = Whole::of(blocks.map(|block| hex::decode(block.as_str().expect("text")).expect("hex")));
    let mut seen = 0;
    for vector in &all {
        let name = vector["name"].as_str().expect("text");
        if !name.starts_with("proof/") {
            continue;
        }
        assert_eq!(vector["inputs"]["length"], whole.blocks.len());
        let mut made = whole.prove(&request(&vector["inputs"]["request"])).expect(name);
        let wanted = hex::decode(vector["expected"]["data"].as_str().expect("text")).expect("hex");
        let theirs: Data = decode(&wanted).expect("an answer");
        made.manifest = theirs.manifest.clone();
        if let (Some(made), Some(theirs)) = (&mut made.upgrade, &theirs.upgrade) {
            made.signature = theirs.signature.clone();
        }
        assert_eq!(hex::encode(&encode(&made)), hex::encode(&wanted), "{name}");
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
}

// proves replication.28
#[test]
fn missing_nodes_are_upstreams() {
    let mut seen = 0;
    for vector in vectors("merkle").iter().filter(|vector| vector["name"] == "maxMissingNodes") {
        let number = |name: &str| vector["inputs"][name].as_u64().expect("a number");
        let (length, index) = (number("length"), number("index"));
        let mut has = |node| Ok(full_roots(length).any(|root| root == node));
        assert_eq!(vector["expected"]["nodes"], missing_nodes(length, index, &mut has).expect("no storage"));
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

/// Every way to grow a tree of up to 20 blocks, with and without a block, in one or two steps.
// proves replication.29, replication.31, replication.32
#[test]
fn every_upgrade_is_proved() {
    for total in 1..=20 {
        let whole = Whole::drawn(total);
        for start in 0..total {
            for to in start + 1..=total {
                let mut before = Replica::default();
                if start > 0 {
                    let part = Whole::of(whole.blocks[..start as usize].iter().cloned());
                    before.take(&part.prove(&grow(0, start)).expect("there"), &part).expect("the first part");
                }
                let mut replica = before.clone();
                replica.take(&whole.prove(&grow(start, to - start)).expect("there"), &whole).expect("fits");
                assert_eq!(replica.length, total, "additional nodes reach the whole length");
                for block in 0..to {
                    let mut replica = before.clone();
                    let nodes = replica.missing(block);
                    let asked =
                        Request { block: Some(Wanted { index: block, nodes }), ..grow(start, to - start) };
                    replica.take(&whole.prove(&asked).expect("there"), &whole).expect("fits");
                    assert_eq!(replica.nodes[&(2 * block)], whole.nodes[&(2 * block)]);
                }
            }
        }
    }
}

fn grow(start: u64, length: u64) -> Request {
    Request { id: 1, upgrade: Some(Grow { start, length }), ..Request::default() }
}

fn block(replica: &Replica, index: u64) -> Request {
    Request { id: 1, block: Some(Wanted { index, nodes: replica.missing(index) }), ..Request::default() }
}

// proves replication.30, replication.34
#[test]
fn blocks_come_in_any_order() {
    for seed in 0..60 {
        let mut entropy = Seeded::new(seed);
        let whole = Whole::drawn(1 + entropy.below(70));
        let mut replica = Replica::default();
        let mut left: Vec<u64> = (0..whole.blocks.len() as u64).collect();
        replica.take(&whole.prove(&grow(0, left.len() as u64)).expect("there"), &whole).expect("fits");
        while !left.is_empty() {
            let index = left.swap_remove(entropy.below(left.len() as u64) as usize);
            let data = whole.prove(&block(&replica, index)).expect("there");
            replica.take(&data, &whole).expect("fits");
        }
        assert_eq!(replica.nodes, whole.nodes, "every node is known in the end");
    }
}

/// pitfalls 14.2: every field of a proof, changed in every way that a bit can.
// proves replication.33, replication.35
#[test]
fn a_proof_with_a_bit_turned_is_refused() {
    let whole = Whole::drawn(11);
    let part = Whole::of(whole.blocks[..5].iter().cloned());
    let mut replica = Replica::default();
    replica.take(&part.prove(&grow(0, 5)).expect("there"), &part).expect("fits");
    let requests = [
        block(&replica, 2),
        grow(5, 6),
        grow(5, 3),
        Request { block: Some(Wanted { index: 2, nodes: 2 }), ..grow(5, 6) },
        Request { block: Some(Wanted { index: 9, nodes: 0 }), ..grow(5, 6) },
        Request { hash: Some(Wanted { index: 1, nodes: 1 }), ..Request::default() },
    ];
    for request in requests {
        let good = encode(&whole.prove(&request).expect("there"));
        replica.clone().take(&decode(&good).expect("legal"), &whole).expect("fits");
        let fresh = replica.clone();
        for bit in 8..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(data) = decode::<Data>(&bad) else { continue };
            if same_proof(&data, &decode(&good).expect("legal")) {
                continue;
            }
            assert!(fresh.clone().take(&data, &whole).is_err(), "bit {bit} of {data:?}");
        }
    }
}

/// What the proof says, without what only names the request: its id and the lengths that the signature says too.
fn same_proof(one: &Data, other: &Data) -> bool {
    let strip = |data: &Data| {
        let mut data = data.clone();
        data.request = 0;
        if let Some(upgrade) = &mut data.upgrade {
            upgrade.signature = None;
        }
        data
    };
    strip(one) == strip(other)
}

// proves replication.33
#[test]
fn surplus_missing_and_swapped_nodes_are_refused() {
    let whole = Whole::drawn(11);
    let mut replica = Replica::default();
    replica.take(&whole.prove(&grow(0, 11)).expect("there"), &whole).expect("fits");
    let fresh = Replica::default();
    let answers = [
        (replica.clone(), whole.prove(&block(&replica, 3)).expect("there")),
        (fresh.clone(), whole.prove(&grow(0, 11)).expect("there")),
        (fresh.clone(), whole.prove(&grow(0, 5)).expect("there")),
        (
            fresh,
            whole
                .prove(&Request { block: Some(Wanted { index: 9, nodes: 0 }), ..grow(0, 11) })
                .expect("there"),
        ),
    ];
    for (replica, good) in answers {
        replica.clone().take(&good, &whole).expect("fits");
        for list in 0..3 {
            for change in changes(&good, list) {
                assert!(replica.clone().take(&change, &whole).is_err(), "{change:?}");
            }
        }
    }
}

/// The answer with one list of nodes changed: one more, one less, two swapped.
fn changes(good: &Data, list: usize) -> Vec<Data> {
    fn pick(data: &mut Data, list: usize) -> Option<&mut Vec<Node>> {
        match list {
            0 => data.block.as_mut().map(|block| &mut block.nodes),
            1 => data.upgrade.as_mut().map(|upgrade| &mut upgrade.nodes),
            _ => data.upgrade.as_mut().map(|upgrade| &mut upgrade.additional),
        }
    }
    let mut all = Vec::new();
    let Some(len) = pick(&mut good.clone(), list).map(|nodes| nodes.len()) else { return all };
    let extra = Node { index: 2, size: 1, hash: [1; 32] };
    for at in 0..=len {
        let mut more = good.clone();
        pick(&mut more, list).expect("there").insert(at, extra);
        all.push(more);
    }
    for at in 0..len {
        let mut less = good.clone();
        pick(&mut less, list).expect("there").remove(at);
        // An upgrade without its additional nodes is whole, only shorter: its signature says so.
        all.push(less);
        if at + 1 < len {
            let mut swapped = good.clone();
            pick(&mut swapped, list).expect("there").swap(at, at + 1);
            all.push(swapped);
        }
    }
    all
}

/// Of two siblings that the sender both made up, the parent proves the sum of the sizes only.
// proves replication.36
#[test]
fn sizes_that_nothing_proves_are_not_kept() {
    let whole = Whole::drawn(8);
    let mut data = whole.prove(&grow(0, 1)).expect("there");
    let upgrade = data.upgrade.as_mut().expect("an upgrade");
    assert_eq!((upgrade.nodes[0].index, upgrade.additional[0].index), (0, 2));
    upgrade.additional[0].size += upgrade.nodes[0].size;
    upgrade.nodes[0].size = 0;
    let mut replica = Replica::default();
    replica.take(&data, &whole).expect("the roots are right");
    assert!(!replica.nodes.contains_key(&0) && !replica.nodes.contains_key(&2));
    assert_eq!(replica.length, 8);
    for index in 0..8 {
        let data = whole.prove(&block(&replica, index)).expect("there");
        replica.take(&data, &whole).expect("fits");
    }
}

/// A core that begins with a prologue of five blocks: no part of it is proved without the rest.
// proves replication.27
#[test]
fn a_prologue_is_proved_as_a_whole() {
    let whole = Whole::drawn(11);
    let part = Whole::of(whole.blocks[..5].iter().cloned());
    let mut lookup = |index| Ok(whole.nodes.get(&index).copied());
    let data = prove(11, Some(5), &mut lookup, &grow(0, 2)).expect("there");
    let upgrade = data.upgrade.clone().expect("an upgrade");
    assert_eq!((upgrade.start, upgrade.length), (0, 5));
    let check = |data: &Data, hash| {
        let held = Held { length: 0, fork: 0, roots: &[], prologue: Some((hash, 5)) };
        verify(&held, &mut |_| Ok(None), data)
    };
    assert_eq!(check(&data, part.roots.hash()).map(|grown| grown.length), Ok(11));
    assert_eq!(check(&data, [1; 32]), Err(Fault::Prologue));
    let short = whole.prove(&grow(0, 2)).expect("there");
    assert_eq!(check(&short, part.roots.hash()), Err(Fault::Prologue));
}

// proves replication.75
#[test]
fn requests_that_no_tree_answers_are_refused() {
    let whole = Whole::drawn(11);
    let wanted = |index, nodes| Some(Wanted { index, nodes });
    let seek = Some(Seek { bytes: 5, padding: 0 });
    for request in [
        grow(5, 0),
        grow(5, 7),
        grow(u64::MAX >> 11, u64::MAX >> 11),
        Request { block: wanted(11, 0), ..Request::default() },
        Request { block: wanted(u64::MAX >> 11, 9), ..Request::default() },
        Request { block: wanted(3, 4), ..Request::default() },
        Request { block: wanted(3, u64::MAX), ..Request::default() },
        Request { hash: wanted(21, 0), ..Request::default() },
        Request { hash: wanted(15, 0), ..Request::default() },
        Request { block: wanted(9, 0), seek, ..grow(5, 6) },
        Request { block: wanted(1, 1), seek: Some(Seek { bytes: 90, padding: 0 }), ..Request::default() },
    ] {
        assert_eq!(whole.prove(&request), Err(Refusal::Invalid), "{request:?}");
    }
    let mut holes = whole.clone();
    holes.nodes.remove(&4);
    let asked = Request { block: wanted(3, 1), ..Request::default() };
    assert_eq!(holes.prove(&asked), Err(Refusal::Missing(4)));
    assert_eq!(Whole::default().prove(&grow(0, 1)), Ok(Data { request: 1, ..Data::default() }));
}

#[test]
fn no_answer_makes_it_panic() {
    let whole = Whole::drawn(11);
    let mut replica = Replica::default();
    replica.take(&whole.prove(&grow(0, 11)).expect("there"), &whole).expect("fits");
    for seed in 0..3000 {
        let mut entropy = Seeded::new(seed);
        let data = Data { fork: 0, ..crate::wire::invent(&mut entropy) };
        let _ = replica.check(&data);
        let _ = Replica::default().check(&data);
        let request: Request = crate::wire::invent(&mut entropy);
        let _ = whole.prove(&request);
    }
}
