//! The routing table: known persistent nodes in rows by how many leading bits of their ids agree with ours, and in the
//! order of last contact. Follows dht_rpc.35 to dht_rpc.40. A value.

use crate::base::{Addr, Entropy, Key};
use crate::crypto::hash::blake2b_256;
use crate::wire::dht_rpc::AddressValue;

/// Nodes per row, closer nodes per reply, replies that a query keeps.
pub(super) const K: usize = 20;

/// The id of the node at an address. (dht_rpc.35)
pub fn node_id(addr: Addr) -> Key {
    blake2b_256(&[&AddressValue(addr).bytes()])
}

/// The XOR distance between two ids: a number of 256 bits, the highest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Distance([u64; 4]);

pub(super) fn distance(a: &Key, b: &Key) -> Distance {
    let word = |key: &Key, at: usize| u64::from_be_bytes(core::array::from_fn(|n| key[8 * at + n]));
    Distance(core::array::from_fn(|at| word(a, at) ^ word(b, at)))
}

/// The highest 64 bits of a distance.
fn first_word(a: &Key, b: &Key) -> u64 {
    let Distance([first, ..]) = distance(a, b);
    first
}

/// A moment, counted in ticks of five seconds.
pub(super) type Tick = u32;

/// A known node. Every node holds up to two hundred of them, ten thousand nodes of a simulation two million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub id: Key,
    pub addr: Addr,
    /// Leading bits in which it agrees with us; set by the table.
    row: u8,
    /// How often others said that it is down.
    pub hints: u8,
    /// When its report of our address was last counted; 0 is never.
    pub sampled: Tick,
    pub added: Tick,
    /// When we last asked it or heard from it.
    pub pinged: Tick,
    /// When we last heard from it.
    pub seen: Tick,
    /// Its place in the order of last contact.
    order: u32,
}

impl Contact {
    pub fn new(addr: Addr, tick: Tick) -> Contact {
        Contact::with_id(node_id(addr), addr, tick)
    }

    /// `id` is that of the node at `addr`, as it was made out before.
    pub fn with_id(id: Key, addr: Addr, tick: Tick) -> Contact {
        Contact { id, addr, row: 0, hints: 0, sampled: 0, added: tick, pinged: tick, seen: tick, order: 0 }
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

/// All nodes in one list, ordered by row and id: it is short, looked up often and changed seldom.
pub(super) struct Table {
    own: Key,
    nodes: Vec<Contact>,
    next_order: u32,
    /// Counts what was added, removed or moved.
    changes: u32,
}

/// The list grows by so many: a list that doubled would be half empty in each of many nodes.
const GROWTH: usize = 8;

impl Table {
    pub fn new(own: Key) -> Table {
        Table { own, nodes: Vec::new(), next_order: 0, changes: 0 }
    }

    pub fn own(&self) -> &Key {
        &self.own
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Another number after every addition, removal and move.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    // dht_rpc.36
    fn row(&self, id: &Key) -> u8 {
        let Distance(words) = distance(id, &self.own);
        let Some(first) = words.iter().position(|word| *word != 0) else { return u8::MAX };
        (64 * first as u32 + words[first].leading_zeros()) as u8
    }

    fn find(&self, row: u8, id: &Key) -> Result<usize, usize> {
        self.nodes.binary_search_by(|contact| contact.row.cmp(&row).then_with(|| contact.id.cmp(id)))
    }

    /// The nodes of a row, by id.
    fn row_nodes(&self, row: u8) -> &[Contact] {
        let start = self.nodes.partition_point(|contact| contact.row < row);
        let len = self.nodes[start..].partition_point(|contact| contact.row == row);
        &self.nodes[start..start + len]
    }

    pub fn get(&self, id: &Key) -> Option<&Contact> {
        self.find(self.row(id), id).ok().map(|at| &self.nodes[at])
    }

    pub fn get_mut(&mut self, id: &Key) -> Option<&mut Contact> {
        self.find(self.row(id), id).ok().map(|at| &mut self.nodes[at])
    }

    /// Adds a node as the latest one that was in contact.
    pub fn add(&mut self, mut contact: Contact) -> Added {
        if contact.id == self.own {
            return Added::Known;
        }
        contact.row = self.row(&contact.id);
        match self.find(contact.row, &contact.id) {
            Ok(_) => Added::Known,
            Err(_) if self.row_nodes(contact.row).len() >= K => Added::RowFull,
            Err(at) => {
                contact.order = self.new_order();
                if self.nodes.len() == self.nodes.capacity() {
                    self.nodes.reserve_exact(GROWTH);
                }
                self.nodes.insert(at, contact);
                self.changes = self.changes.wrapping_add(1);
                Added::Yes
            }
        }
    }

    /// The place behind all others. Every four billion contacts the places are counted anew.
    fn new_order(&mut self) -> u32 {
        if self.next_order == u32::MAX {
            let mut in_order: Vec<&mut Contact> = self.nodes.iter_mut().collect();
            in_order.sort_unstable_by_key(|contact| contact.order);
            in_order.into_iter().zip(0..).for_each(|(contact, place)| contact.order = place);
            self.next_order = self.nodes.len() as u32;
        }
        self.next_order += 1;
        self.next_order - 1
    }

    pub fn remove(&mut self, id: &Key) -> Option<Contact> {
        let at = self.find(self.row(id), id).ok()?;
        self.changes = self.changes.wrapping_add(1);
        Some(self.nodes.remove(at))
    }

    /// The nodes, row by row; of the row that `id` belongs to, if it is given. `tick` is now.
    pub fn known(&self, id: Option<&Key>, tick: Tick) -> Vec<Known> {
        let nodes = id.map_or(&self.nodes[..], |id| self.row_of(id));
        let known = nodes.iter().map(|node| Known {
            row: u16::from(node.row),
            id: node.id,
            addr: node.addr,
            silent: u64::from(tick.saturating_sub(node.seen)),
        });
        known.collect()
    }

    /// Makes a node the latest one that was in contact.
    pub fn touch(&mut self, id: &Key) -> Option<&mut Contact> {
        let at = self.find(self.row(id), id).ok()?;
        self.nodes[at].order = self.new_order();
        self.nodes.get_mut(at)
    }

    /// The nodes of the row that `id` belongs to.
    pub fn row_of(&self, id: &Key) -> &[Contact] {
        self.row_nodes(self.row(id))
    }

    /// Those who were in contact longest ago come first.
    pub fn oldest(&self) -> impl Iterator<Item = &Contact> {
        let mut all: Vec<&Contact> = self.nodes.iter().collect();
        all.sort_unstable_by_key(|contact| contact.order);
        all.into_iter()
    }

    /// The `count` that were in contact latest, the latest first.
    pub fn latest(&self, count: usize) -> Vec<&Contact> {
        let mut all: Vec<&Contact> = self.nodes.iter().collect();
        all.sort_unstable_by_key(|contact| core::cmp::Reverse(contact.order));
        all.truncate(count);
        all
    }

    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<&Contact> {
        self.nodes.get(entropy.below(self.len() as u64) as usize)
    }

    /// About `count` nodes from all rows evenly, without those that are named.
    pub fn others(
        &self,
        entropy: &mut dyn Entropy,
        without: &[(Addr, Key)],
        count: usize,
    ) -> Vec<(Addr, Key)> {
        let named = |contact: &&Contact| without.iter().any(|(addr, _)| *addr == contact.addr);
        let all: Vec<&Contact> = self.nodes.iter().filter(|contact| !named(contact)).collect();
        let apart = all.len().div_ceil(count).max(1);
        let first = if apart > 1 { entropy.below(apart as u64) as usize } else { 0 };
        all.into_iter().skip(first).step_by(apart).map(|contact| (contact.addr, contact.id)).collect()
    }

    /// The `k` nodes closest to `target` by XOR distance, closest first. (dht_rpc.39)
    pub fn closest(&self, target: &Key, k: usize) -> impl ExactSizeIterator<Item = &Contact> {
        let row = self.row(target);
        let start = self.nodes.partition_point(|contact| contact.row < row);
        let end = start + self.nodes[start..].partition_point(|contact| contact.row == row);
        let mut result = Vec::with_capacity(k.min(self.nodes.len()));
        let mut sorted = Vec::with_capacity(self.nodes.len());
        // Nodes of the target's row agree with it in more bits than we do; those of longer rows agree in as many as we
        // do; those of shorter rows in fewer, the shorter the fewer.
        let mut take = |nodes: &'_ [Contact], from: usize| {
            // The first words nearly always differ, so that the others are seldom looked at.
            let far = |at: &usize| distance(&nodes[at - from].id, target);
            sorted
                .extend(nodes.iter().zip(from..).map(|(contact, at)| (first_word(&contact.id, target), at)));
            sorted.sort_unstable_by(|(a, at), (b, bt)| a.cmp(b).then_with(|| far(at).cmp(&far(bt))));
            result.extend(sorted.drain(..).take(k - result.len()).map(|(_, at)| at));
            result.len() >= k
        };
        let mut full = take(&self.nodes[start..end], start) || take(&self.nodes[end..], end);
        let mut end = start;
        while !full && end > 0 {
            let row = self.nodes[end - 1].row;
            let start = self.nodes[..end].partition_point(|contact| contact.row < row);
            full = take(&self.nodes[start..end], start);
            end = start;
        }
        result.into_iter().map(|at| &self.nodes[at])
    }

    /// Moves all nodes to a table around another id; those that find no place there are dropped. (dht_rpc.40)
    pub fn move_to(&mut self, own: Key) {
        let mut nodes = core::mem::take(&mut self.nodes);
        nodes.sort_unstable_by_key(|contact| contact.order);
        let mut moved = Table { changes: self.changes.wrapping_add(1), ..Table::new(own) };
        nodes.into_iter().for_each(|contact| {
            moved.add(contact);
        });
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
                crate::base::hex::encode(&crate::wire::encode(&AddressValue(addr))),
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
        let rows: Vec<(u64, Vec<u64>)> = (0..=u8::MAX)
            .map(|row| (u64::from(row), table.row_nodes(row)))
            .filter(|(_, nodes)| !nodes.is_empty())
            .map(|(row, nodes)| (row, nodes.iter().map(|node| u64::from(node.addr.port)).collect()))
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
                assert!(table.closest(&target, K).eq(all));
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
        assert_eq!(table.latest(1).first().map(|contact| contact.addr), Some(known));
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

    /// Ids that agree in their first word are told apart by the rest. proves dht_rpc.39
    #[test]
    fn closest_looks_at_all_of_an_id() {
        let mut table = Table::new([0xff; 32]);
        for last in [3, 1, 2] {
            let mut id = [0; 32];
            id[31] = last;
            table.add(Contact::with_id(id, Addr::loopback(u16::from(last)), 1));
        }
        let ports: Vec<u16> = table.closest(&[0; 32], K).map(|contact| contact.addr.port).collect();
        assert_eq!(ports, [1, 2, 3]);
    }

    #[test]
    fn the_order_of_contact_outlives_its_numbers() {
        let mut table = Table::new([0; 32]);
        for n in 0..40 {
            table.add(Contact::new(Addr::new([10, 0, 0, 1], n), 1));
        }
        let first = table.oldest().next().expect("a node").id;
        table.next_order = u32::MAX;
        table.touch(&first);
        assert_eq!(table.latest(1)[0].id, first);
        assert_eq!(table.next_order as usize, table.len() + 1);
        let places: Vec<u32> = table.oldest().map(|contact| contact.order).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "each its own");
    }
}
