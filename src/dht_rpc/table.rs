//! The routing table: known persistent nodes in rows by how many leading bits of their ids agree with ours, and in the
//! order of last contact. Follows dht_rpc.35 to dht_rpc.40. A value.

use std::collections::BTreeMap;

use crate::base::{Addr, Entropy, Key};
use crate::crypto::hash::blake2b_256;
use crate::wire;
use crate::wire::dht_rpc::AddressValue;

/// Nodes per row, closer nodes per reply, replies that a query keeps.
pub(super) const K: usize = 20;

/// The id of the node at an address. (dht_rpc.35)
pub fn node_id(addr: Addr) -> Key {
    blake2b_256(&[&wire::encode(&AddressValue(addr))])
}

/// The XOR distance between two ids; compares as a number.
pub(super) fn distance(a: &Key, b: &Key) -> Key {
    core::array::from_fn(|n| a[n] ^ b[n])
}

/// A known node. Moments are tick numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub id: Key,
    pub addr: Addr,
    /// When its report of our address was last counted; 0 is never.
    pub sampled: u64,
    pub added: u64,
    /// When we last asked it or heard from it.
    pub pinged: u64,
    /// When we last heard from it.
    pub seen: u64,
    /// How often others said that it is down.
    pub hints: u32,
    /// Its place in the order of last contact.
    order: u64,
}

impl Contact {
    pub fn new(addr: Addr, tick: u64) -> Contact {
        Contact {
            id: node_id(addr),
            addr,
            sampled: 0,
            added: tick,
            pinged: tick,
            seen: tick,
            hints: 0,
            order: 0,
        }
    }
}

/// A node of the table, as others may look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    pub row: u16,
    pub id: Key,
    pub addr: Addr,
    /// Ticks since we last heard from it.
    pub silent: u64,
}

/// What became of an addition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Added {
    Yes,
    /// It is known already, or it is ourselves.
    Known,
    /// Its row is full.
    RowFull,
}

pub(super) struct Table {
    own: Key,
    rows: BTreeMap<u16, Vec<Contact>>,
    /// Last contact, oldest first.
    recent: BTreeMap<u64, Key>,
    next_order: u64,
}

impl Table {
    pub fn new(own: Key) -> Table {
        Table { own, rows: BTreeMap::new(), recent: BTreeMap::new(), next_order: 0 }
    }

    pub fn own(&self) -> &Key {
        &self.own
    }

    pub fn len(&self) -> usize {
        self.recent.len()
    }

    // dht_rpc.36
    fn row(&self, id: &Key) -> u16 {
        let first =
            distance(id, &self.own).iter().zip(0_u16..).find(|(byte, _)| **byte != 0).map(|(byte, n)| {
                let zeros = byte.leading_zeros() as u16;
                n * 8 + zeros
            });
        first.unwrap_or(255)
    }

    pub fn get(&self, id: &Key) -> Option<&Contact> {
        let row = self.rows.get(&self.row(id))?;
        row.binary_search_by(|contact| contact.id.cmp(id)).ok().map(|at| &row[at])
    }

    pub fn get_mut(&mut self, id: &Key) -> Option<&mut Contact> {
        let row = self.row(id);
        let row = self.rows.get_mut(&row)?;
        let at = row.binary_search_by(|contact| contact.id.cmp(id)).ok()?;
        Some(&mut row[at])
    }

    /// Adds a node as the latest one that was in contact.
    pub fn add(&mut self, mut contact: Contact) -> Added {
        if contact.id == self.own {
            return Added::Known;
        }
        let index = self.row(&contact.id);
        let row = self.rows.entry(index).or_default();
        match row.binary_search_by(|known| known.id.cmp(&contact.id)) {
            Ok(_) => Added::Known,
            Err(_) if row.len() >= K => Added::RowFull,
            Err(at) => {
                contact.order = self.next_order;
                self.next_order += 1;
                self.recent.insert(contact.order, contact.id);
                row.insert(at, contact);
                Added::Yes
            }
        }
    }

    pub fn remove(&mut self, id: &Key) -> Option<Contact> {
        let index = self.row(id);
        let row = self.rows.get_mut(&index)?;
        let at = row.binary_search_by(|contact| contact.id.cmp(id)).ok()?;
        let contact = row.remove(at);
        if row.is_empty() {
            self.rows.remove(&index);
        }
        self.recent.remove(&contact.order);
        Some(contact)
    }

    /// The nodes, row by row; of the row that `id` belongs to, if it is given. `tick` is now.
    pub fn known(&self, id: Option<&Key>, tick: u64) -> Vec<Known> {
        let rows = match id {
            Some(id) => self.row(id)..=self.row(id),
            None => 0..=u16::MAX,
        };
        let rows = self.rows.range(rows);
        rows.flat_map(|(&row, nodes)| nodes.iter().map(move |node| (row, node)))
            .map(|(row, node)| Known {
                row,
                id: node.id,
                addr: node.addr,
                silent: tick.saturating_sub(node.seen),
            })
            .collect()
    }

    /// Makes a node the latest one that was in contact.
    pub fn touch(&mut self, id: &Key) {
        let order = self.next_order;
        if let Some(contact) = self.get_mut(id) {
            let old = core::mem::replace(&mut contact.order, order);
            self.next_order += 1;
            self.recent.remove(&old);
            self.recent.insert(order, *id);
        }
    }

    /// The nodes of the row that `id` belongs to.
    pub fn row_of(&self, id: &Key) -> &[Contact] {
        self.rows.get(&self.row(id)).map_or(&[], |row| row)
    }

    /// Those who were in contact longest ago come first.
    pub fn oldest(&self) -> impl Iterator<Item = &Contact> {
        self.recent.values().filter_map(|id| self.get(id))
    }

    /// Those who were in contact latest come first.
    pub fn latest(&self) -> impl Iterator<Item = &Contact> {
        self.recent.values().rev().filter_map(|id| self.get(id))
    }

    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<&Contact> {
        let nth = entropy.below(self.len() as u64) as usize;
        self.rows.values().flatten().nth(nth)
    }

    /// The `k` nodes closest to `target` by XOR distance, closest first. (dht_rpc.39)
    pub fn closest(&self, target: &Key, k: usize) -> Vec<&Contact> {
        let own_row = self.row(target);
        // Nodes of the target's row agree with it in more bits than we do; those of longer rows agree in as many as we
        // do; those of shorter rows in fewer, the shorter the fewer.
        let groups = core::iter::once(own_row..=own_row)
            .chain(own_row.checked_add(1).map(|next| next..=u16::MAX))
            .chain((0..own_row).rev().map(|row| row..=row));
        let mut result = Vec::with_capacity(k);
        for rows in groups {
            if result.len() >= k {
                break;
            }
            let mut nodes: Vec<&Contact> = self.rows.range(rows).flat_map(|(_, row)| row).collect();
            nodes.sort_unstable_by_key(|contact| distance(&contact.id, target));
            nodes.truncate(k - result.len());
            result.extend(nodes);
        }
        result
    }

    /// Moves all nodes to a table around another id; those that find no place there are dropped. (dht_rpc.40)
    pub fn move_to(&mut self, own: Key) {
        let order: Vec<Key> = self.recent.values().copied().collect();
        let mut moved = Table::new(own);
        for id in order {
            if let Some(contact) = self.remove(&id) {
                moved.add(contact);
            }
        }
        *self = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seeded;
    use crate::dht_rpc::vectors::{Vector, key, vectors};

    fn addr_of(node: &serde_json::Value) -> Addr {
        format!("{}:{}", node["host"].as_str().expect("a host"), node["port"]).parse().expect("an address")
    }

    fn table(vector: &Vector) -> Table {
        let mut table = Table::new(key(&vector.input_text("ownId")));
        for node in vector.inputs["nodes"].as_array().expect("a list") {
            assert_eq!(node_id(addr_of(node)), key(node["id"].as_str().expect("text")));
            table.add(Contact::new(addr_of(node), 1));
        }
        table
    }

    /// proves dht_rpc.35
    #[test]
    fn ids_are_those_of_node() {
        for vector in vectors("node-id") {
            let addr = addr_of(&vector.inputs);
            assert_eq!(
                crate::base::hex::encode(&wire::encode(&AddressValue(addr))),
                vector.expected_text("hashed")
            );
            assert_eq!(node_id(addr), key(&vector.expected_text("id")));
        }
    }

    /// proves dht_rpc.36 and dht_rpc.37
    #[test]
    fn rows_are_those_of_node() {
        let vector = &vectors("routing-table")[0];
        let table = table(vector);
        let rows: Vec<(u64, Vec<u64>)> = table
            .rows
            .iter()
            .map(|(row, nodes)| {
                (u64::from(*row), nodes.iter().map(|node| u64::from(node.addr.port)).collect())
            })
            .collect();
        let expected: Vec<(u64, Vec<u64>)> = vector.expected["rows"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| {
                let ports = row[1].as_array().expect("a list");
                let ports = ports.iter().map(|port| port.as_u64().expect("a port")).collect();
                (row[0].as_u64().expect("an index"), ports)
            })
            .collect();
        assert_eq!(rows, expected);
    }

    /// pitfalls 5.6: the closest by true distance. proves dht_rpc.39
    #[test]
    fn closest_is_what_brute_force_finds() {
        let mut entropy = Seeded::new(5);
        for size in [0, 1, 19, 20, 21, 300] {
            let mut table = Table::new(entropy.bytes32());
            for n in 0..size {
                table.add(Contact::new(Addr::new([10, 0, (n >> 8) as u8, n as u8], 1000), 1));
            }
            for round in 0..50 {
                let target = if round == 0 { *table.own() } else { entropy.bytes32() };
                let mut all: Vec<&Contact> = table.oldest().collect();
                all.sort_by_key(|contact| distance(&contact.id, &target));
                all.truncate(K);
                assert_eq!(table.closest(&target, K), all);
            }
        }
    }

    /// pitfalls 4.2: a known node is not a full row.
    #[test]
    fn adding_a_known_node_again_is_not_a_full_row() {
        let mut table = Table::new([0; 32]);
        let mut addrs = (0..).map(|n| Addr::new([10, 0, 0, 1], n)).filter(|addr| node_id(*addr)[0] >= 0x80);
        for _ in 0..K {
            assert_eq!(table.add(Contact::new(addrs.next().expect("endless"), 1)), Added::Yes);
        }
        let known = table.oldest().next().expect("a node").addr;
        assert_eq!(table.add(Contact::new(known, 2)), Added::Known);
        // proves dht_rpc.38
        assert_eq!(table.add(Contact::new(addrs.next().expect("endless"), 2)), Added::RowFull);
        assert_eq!(table.len(), K);
        table.touch(&node_id(known));
        assert_eq!(table.latest().next().map(|contact| contact.addr), Some(known));
    }

    /// proves dht_rpc.40
    #[test]
    fn moving_keeps_the_order_of_contact() {
        let mut table = Table::new([0; 32]);
        for n in 0..200 {
            table.add(Contact::new(Addr::new([10, 0, 0, 1], n), 1));
        }
        let before: Vec<Addr> = table.oldest().map(|contact| contact.addr).collect();
        table.move_to([0xff; 32]);
        let after: Vec<Addr> = table.oldest().map(|contact| contact.addr).collect();
        let kept: Vec<Addr> = before.into_iter().filter(|addr| after.contains(addr)).collect();
        assert_eq!(kept, after);
        assert!(after.len() >= K);
    }
}
