//! Header and entries become a state of the core, each tree on the way with its signature (hypercore.52,
//! hypercore.53).

use super::files::ROW;
use super::report::{File, Seen};
use super::walk::Look;
use super::{Auditor, Logged};
use crate::base::{Cx, Error, Key, limits};
use crate::hypercore::auth::TreeState;
use crate::hypercore::flat_tree;
use crate::hypercore::tree::{self, Roots};
use crate::wire::hypercore::Node;
use crate::wire::manifest::MultiSignature;
use crate::wire::oplog::{Header, TreeUpgrade, UserData};
use crate::wire::{decode, encode};

/// What a signature is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signed {
    Good,
    Bad,
    /// hypercore.76
    Unknown(&'static str),
}

impl Auditor<'_> {
    /// Ends with the state that an opening would find, and with everything on the way judged.
    pub(super) fn replay_all(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.check_header(cx)?;
        while let Some(torn) = self.replay(cx, false)? {
            // hypercore.53: a crash took what it vouches for, so that nobody was told of it.
            let batch = self.log.entries[torn].batch;
            let before = self.log.entries.len();
            self.log.entries.retain(|entry| entry.end <= batch);
            self.report.dropped += (before - self.log.entries.len()) as u64;
        }
        self.replay(cx, true)?;
        self.report.entries = self.log.entries.len() as u64;
        Ok(())
    }

    /// The tree of the header itself.
    fn check_header(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let tree = self.header.tree.clone();
        let (file, at) = self.log.field("length", 0);
        if tree.length > limits::BLOCKS_MAX {
            let (expected, found) = (Seen::Text("at most 2^32"), Seen::Number(tree.length));
            self.found(file, at, "the length", expected, found, "hypercore.31");
            return Ok(());
        }
        let roots = self.rows.gather(cx, tree.length)?;
        let holds = roots.as_ref().is_some_and(|roots| self.header_holds(roots, &self.header));
        let mended = !holds && self.mend_header(cx)?;
        let Some(roots) = roots.filter(|_| !mended) else { return Ok(()) };
        // hypercore.47: a later truncation may have been cutting these nodes when a crash came.
        let gone = kept(&self.log.entries, tree.fork).is_some();
        if gone && !holds {
            return Ok(());
        }
        if holds {
            self.report.signatures += u64::from(!self.header.tree.signature.is_empty());
            return Ok(());
        }
        let said: Option<Key> = tree.root_hash[..].try_into().ok();
        if let Some(said) = said.filter(|said| *said != roots.hash()) {
            if self.mend_root(&roots, |roots| tree::tree_hash(roots) == said)? {
                return self.check_header(cx);
            }
            let at = roots.nodes().first().map_or(0, |root| root.index * ROW);
            let (expected, found) = (Seen::Hash(said), Seen::Hash(roots.hash()));
            self.found(File::Tree, at, "the roots of the tree", expected, found, "hypercore.4");
            return Ok(());
        }
        let (file, at) = self.log.field("fork", 0);
        self.judge_signature(&roots, tree.fork, &tree.signature, file, at);
        Ok(())
    }

    /// Whether a header's tree is what these roots are, and signed.
    fn header_holds(&self, roots: &Roots, header: &Header) -> bool {
        let tree = &header.tree;
        let same = tree.root_hash.is_empty() || tree.root_hash == roots.hash();
        same && self.signed(roots, tree.fork, &tree.signature) == Signed::Good
            && (self.log.summed() || self.plain(&tree.signature))
    }

    /// Whether a stored signature is as its signers write it, without anything that a verifier passes over.
    fn plain(&self, signature: &[u8]) -> bool {
        let allow_patch = self.auth.as_ref().is_some_and(|auth| auth.manifest().allow_patch);
        signature.is_empty()
            || signature.len() == 64
            || allow_patch
            || decode::<MultiSignature>(signature).is_ok_and(|multi| {
                let bare = multi.patch.is_empty() && multi.proofs.iter().all(|proof| proof.patch == 0);
                bare && encode(&multi) == signature
            })
    }

    /// A header that no checksum covers: looks for one wrong bit in what it says of the tree.
    fn mend_header(&mut self, cx: &mut Cx<'_>) -> Result<bool, Error> {
        if self.log.summed() {
            return Ok(false);
        }
        let ((file, from), (_, to)) = (self.log.field("fork", 0), self.log.field("reorgs", 0));
        let start = self.log.place.1;
        for at in from..to {
            for bit in 0..8 {
                let mut bytes = self.log.place.2.clone();
                bytes[(at - start) as usize] ^= 1 << bit;
                let Ok(header) = decode::<Header>(&bytes) else { continue };
                let length = header.tree.length;
                if length > limits::BLOCKS_MAX
                    || (header.key, &header.manifest) != (self.header.key, &self.header.manifest)
                {
                    continue;
                }
                let Some(roots) = self.rows.gather(cx, length)? else { continue };
                if self.header_holds(&roots, &header) {
                    let is = bytes[(at - start) as usize] >> bit & 1 == 1;
                    let (expected, found) = (Seen::Bit(bit, is), Seen::Bit(bit, !is));
                    self.found(file, at, "the header's tree", expected, found, "hypercore.18");
                    self.header = header;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Looks for the one bit of a stored root that makes the tree what it should be, and goes on with it turned.
    fn mend_root(&mut self, roots: &Roots, good: impl Fn(&[Node]) -> bool) -> Result<bool, Error> {
        let mut nodes = roots.nodes().to_vec();
        for number in 0..nodes.len() {
            let root = nodes[number];
            if self.rows.is_fresh(root.index) {
                continue;
            }
            for place in 0..8 * ROW as usize {
                nodes[number] = turned(root, place);
                if good(&nodes) {
                    self.rotten_row(root, place);
                    return Ok(true);
                }
            }
            nodes[number] = root;
        }
        Ok(false)
    }

    /// Says that bit `place` of a node's row is wrong, and goes on with it turned.
    pub(super) fn rotten_row(&mut self, node: Node, place: usize) {
        let (byte, bit) = (place / 8, (place % 8) as u8);
        let row = [&node.size.to_le_bytes()[..], &node.hash].concat();
        let is = row[byte] >> bit & 1 == 1;
        let (expected, found) = (Seen::Bit(bit, !is), Seen::Bit(bit, is));
        let at = node.index * ROW + byte as u64;
        self.found(File::Tree, at, "a node of the tree", expected, found, "hypercore.3");
        self.rows.mend(turned(node, place));
    }

    /// One pass over the entries. Returns the first of which a crash took a block; with `last`, judges instead.
    fn replay(&mut self, cx: &mut Cx<'_>, last: bool) -> Result<Option<usize>, Error> {
        self.rows.reset();
        self.spans.clear();
        let (mut fork, mut length) = (self.header.tree.fork, self.header.tree.length);
        let mut user_data = self.header.user_data.clone();
        if length > limits::BLOCKS_MAX {
            return Ok(None);
        }
        self.roots = self.rows.gather(cx, length)?;
        if self.roots.is_none() && kept(&self.log.entries, fork).is_none() && last {
            self.missing_root(cx, length)?;
        }
        for number in 0..self.log.entries.len() {
            let logged = self.log.entries[number].clone();
            if let Some(update) = &logged.entry.user_data {
                keep(&mut user_data, update.clone());
            }
            if let Some(upgrade) = &logged.entry.upgrade {
                if !follows(upgrade, fork, length) {
                    if last {
                        let (expected, found) = (Seen::Number(length), Seen::Number(upgrade.ancestors));
                        let what = "an entry, by the tree before it";
                        self.found(File::Oplog, logged.at, what, expected, found, "hypercore.53");
                    }
                    break;
                }
                if upgrade.fork != fork {
                    self.rows.cut(upgrade.ancestors);
                }
            }
            self.rows.put(&logged.entry.nodes);
            if let Some(upgrade) = &logged.entry.upgrade {
                (fork, length) = (upgrade.fork, upgrade.length);
                self.roots = self.rows.gather(cx, length)?;
                let later = kept(&self.log.entries[number + 1..], fork);
                if last && later.is_none() {
                    self.judge_upgrade(cx, &logged)?;
                }
            }
            if let Some(bits) = logged.entry.bitfield {
                self.spans.set(bits.start, bits.start.saturating_add(bits.length), !bits.drop);
                if !last && !bits.drop && self.torn(cx, &logged, number)? {
                    return Ok(Some(number));
                }
            }
        }
        (self.report.fork, self.report.length) = (fork, length);
        self.report.byte_length = self.roots.as_ref().map_or(0, Roots::byte_length);
        self.report.user_data = user_data.into_iter().map(|each| (each.key, each.value)).collect();
        Ok(None)
    }

    fn missing_root(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<(), Error> {
        let mut missing = None;
        for index in flat_tree::full_roots(length) {
            if missing.is_none() && self.rows.node(cx, index)?.is_none() {
                missing = Some(index);
            }
        }
        let at = missing.map_or(0, |index| index.saturating_mul(ROW));
        let found = if missing.is_some() { "nothing" } else { "sizes that cannot be" };
        let expected = Seen::Text("the roots of the tree");
        self.found(File::Tree, at, "a root of the tree", expected, Seen::Text(found), "hypercore.38");
        Ok(())
    }

    /// The tree that an entry makes: its roots are there, and it is signed.
    fn judge_upgrade(&mut self, cx: &mut Cx<'_>, logged: &Logged) -> Result<(), Error> {
        let Some(upgrade) = &logged.entry.upgrade else { return Ok(()) };
        let Some(roots) = self.roots.clone() else { return self.missing_root(cx, upgrade.length) };
        if self.signed(&roots, upgrade.fork, &upgrade.signature) == Signed::Bad {
            let mended = self.mend_root_signed(&roots, upgrade)?;
            if mended {
                self.roots = self.rows.gather(cx, upgrade.length)?;
                self.report.signatures += 1;
                return Ok(());
            }
            // The record has its checksum: what is wrong is a node of the file, if any of the roots is from there.
            let old = roots.nodes().iter().find(|root| !self.rows.is_fresh(root.index));
            if let Some(root) = old {
                let (expected, found) = (Seen::Text("roots that were signed"), Seen::Hash(roots.hash()));
                let at = root.index * ROW;
                self.found(File::Tree, at, "the roots of the tree", expected, found, "hypercore.18");
                return Ok(());
            }
        }
        self.judge_signature(&roots, upgrade.fork, &upgrade.signature, File::Oplog, logged.at);
        Ok(())
    }

    fn mend_root_signed(&mut self, roots: &Roots, upgrade: &TreeUpgrade) -> Result<bool, Error> {
        let Some(auth) = self.auth.clone() else { return Ok(false) };
        let (fork, length) = (upgrade.fork, roots.length());
        self.mend_root(roots, |nodes| {
            auth.verify(&TreeState { roots: nodes, length, fork }, &upgrade.signature)
        })
    }

    fn judge_signature(&mut self, roots: &Roots, fork: u64, signature: &[u8], file: File, at: u64) {
        match self.signed(roots, fork, signature) {
            Signed::Good => self.report.signatures += u64::from(!signature.is_empty()),
            Signed::Unknown(why) => self.report.unjudged(file, at, why),
            Signed::Bad => {
                let (expected, found) = (Seen::Text("a signature of this tree"), Seen::Hash(roots.hash()));
                self.found(file, at, "the signature", expected, found, "hypercore.18");
            }
        }
    }

    /// Follows hypercore.76.
    fn signed(&self, roots: &Roots, fork: u64, signature: &[u8]) -> Signed {
        let Some(auth) = &self.auth else { return Signed::Unknown("nobody knows who may sign") };
        // Hypercore 10 leaves a tree without blocks unsigned (hypercore.46).
        if roots.length() == 0 && signature.is_empty() {
            return Signed::Good;
        }
        let state = TreeState { roots: roots.nodes(), length: roots.length(), fork };
        if auth.verify(&state, signature) {
            return Signed::Good;
        }
        if self.header.manifest.is_none() && self.header.key_pair.is_none() {
            return Signed::Unknown("the manifest is not stored, so that nobody knows who may sign");
        }
        Signed::Bad
    }

    /// Whether a crash took a block that an entry vouches for and that no later entry drops. (hypercore.72)
    fn torn(&mut self, cx: &mut Cx<'_>, logged: &Logged, number: usize) -> Result<bool, Error> {
        let (Some(bits), Some(roots)) = (logged.entry.bitfield, self.roots.clone()) else { return Ok(false) };
        let end = bits.start.saturating_add(bits.length);
        let pending = logged.entry.upgrade.is_none() && end > roots.length();
        let roots = match pending {
            // Of a batch that is not signed yet.
            true => self.rows.gather(cx, end.min(limits::BLOCKS_MAX))?.unwrap_or(roots),
            false => roots,
        };
        let later = &self.log.entries[number + 1..];
        let mut dropped = super::Spans::default();
        for other in later.iter().filter_map(|other| other.entry.bitfield).filter(|other| other.drop) {
            dropped.set(other.start, other.start.saturating_add(other.length), true);
        }
        for block in bits.start..end.min(roots.length()) {
            if dropped.get(block).is_some() || self.unclear.contains(&block) {
                continue;
            }
            let Some(leaf) = self.rows.node(cx, 2 * block)? else { continue };
            let Some(offset) = self.rows.offset(cx, &roots, block)? else { continue };
            match self.look(cx, &leaf, offset)? {
                Look::Good => {}
                Look::OneBit { byte, .. } if !self.doubtful(cx, &leaf, offset, byte)? => {}
                Look::OneBit { .. } | Look::Short | Look::Zeros | Look::Other => return Ok(true),
                Look::Long => {
                    self.unclear.insert(block);
                    let why = "a block is not what its entry vouches for: a crash before anybody was told, or damage";
                    self.report.unjudged(File::Data, offset, why);
                }
            }
        }
        Ok(false)
    }
}

/// A node with one bit of its row turned.
pub(super) fn turned(mut node: Node, place: usize) -> Node {
    match place.checked_sub(64) {
        None => node.size ^= 1 << place,
        Some(place) => node.hash[place / 8] ^= 1 << (place % 8),
    }
    node
}

/// hypercore.53: whether a tree follows from the one before.
fn follows(upgrade: &TreeUpgrade, fork: u64, length: u64) -> bool {
    let grows = upgrade.fork == fork && upgrade.ancestors == length && upgrade.length >= length;
    let cuts = upgrade.fork > fork && upgrade.ancestors <= length.min(upgrade.length);
    (grows || cuts) && upgrade.length <= limits::BLOCKS_MAX
}

/// How many blocks of a tree of that fork the entries leave; None if none of them truncates it.
fn kept(entries: &[Logged], fork: u64) -> Option<u64> {
    let upgrades = entries.iter().filter_map(|logged| logged.entry.upgrade.as_ref());
    upgrades.filter(|upgrade| upgrade.fork > fork).map(|upgrade| upgrade.ancestors).min()
}

/// hypercore.49
fn keep(list: &mut Vec<UserData>, update: UserData) {
    list.retain(|each| each.key != update.key);
    if !update.value.is_empty() {
        list.push(update);
    }
}
