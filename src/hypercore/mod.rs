//! An append-only log of blocks that anybody can check against one key, stored as hypercore 10 stores it.
//! Follows hypercore.1 to hypercore.57. Read `tree.rs` and `oplog.rs` first.
//!
//! Blocks go to `data` at once, everything else to `oplog`; now and then (`limits::OPLOG_FLUSH`) what the oplog says is
//! written into `tree` and `bitfield`, and a new header replaces its entries. In memory are the roots, the bits, the
//! nodes since the last flush and a small cache of others.

pub mod audit;
pub mod auth;
pub mod bitfield;
mod conflict;
mod damage;
pub mod draft;
pub mod encryption;
mod extension;
pub mod fetch;
pub mod flat_tree;
mod fork;
mod freeze;
mod given;
mod hints;
pub mod jobs;
pub mod live;
pub mod manners;
pub mod multisig;
pub mod oplog;
mod peers;
pub mod proof;
mod recover;
pub mod remote;
pub mod replicate;
pub mod seek;
mod seeking;
mod serve;
pub mod snapshot;
mod standalone;
pub mod store;
mod sync;
mod told;
pub mod tree;

pub use draft::Draft;
pub use encryption::Encryption;
pub use live::Live;

use std::collections::BTreeSet;

use crate::base::disk::join;
use crate::base::{Cx, Error, Key, Mode, limits, trace};
use crate::crypto::sign::KeyPair;
use crate::wire::hypercore::Node;
use crate::wire::manifest::Manifest;
use crate::wire::oplog::{BitfieldUpdate, Entry, Header, Reorg, StoredKeys, TreeUpgrade, UserData};

use auth::{Auth, TreeState};
use bitfield::Bitfield;
use encryption::Cipher;
use oplog::Oplog;
use snapshot::Cuts;
use store::{Fresh, Store};
use tree::Roots;

/// What an acknowledged append outlives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// A crash of the machine: the files are synced before the node next hands out anything, once for all that was
    /// changed until then. (corestore.19)
    #[default]
    Flush,
    /// A crash of the process only; a crash of the machine can take appends, or the core.
    Kernel,
}

/// User data whose names begin so are not the program's.
const OWN_DATA: &str = "seckel/";

/// How to open a core.
#[derive(Clone, Debug)]
pub struct Open {
    /// None: that of the manifest or key pair, or whatever is stored.
    pub key: Option<Key>,
    /// None: one signer, version 1.
    pub manifest: Option<Manifest>,
    /// None: the stored one; a new one if a core without key is made.
    pub key_pair: Option<KeyPair>,
    /// Make a core whose key is the public key, as hypercore 10 did.
    pub compat: bool,
    /// Make the core if it is missing.
    pub create: bool,
    /// Change no file, and refuse all that would.
    pub read_only: bool,
    pub durability: Durability,
    /// None: blocks are stored and read as they are. Never stored itself. (hypercore.93)
    pub encryption: Option<Encryption>,
}

impl Default for Open {
    fn default() -> Open {
        Open {
            key: None,
            manifest: None,
            key_pair: None,
            compat: false,
            create: true,
            read_only: false,
            durability: Durability::Flush,
            encryption: None,
        }
    }
}

/// A longer tree, and who vouches for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Upgrade {
    pub fork: u64,
    pub length: u64,
    /// As stored: see `auth::Auth::verify`.
    pub signature: Vec<u8>,
}

/// Something from a peer that was verified against the key or against nodes that are stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// All nodes that were proved, in any order, including the block's leaf and the new roots.
    pub nodes: Vec<Node>,
    pub block: Option<(u64, Vec<u8>)>,
    pub upgrade: Option<Upgrade>,
    /// If it was not known before.
    pub manifest: Option<Manifest>,
}

/// A core, open. Commands: `append`, `get`, `apply`, `reorg`, `truncate`, `clear`, `set_user_data`, `flush`, `close`.
///
/// Nothing here waits: a block that is not here is `None`, getting it is the replicator's work. After `close` every
/// command fails with `NotOpen`; dropping a core without `close` leaks its file handles in the `Disk`.
/// (hypercore.57)
pub struct Hypercore {
    /// The folder of its files.
    dir: String,
    /// As it will be written at the next flush, except for `tree` and `contiguous_length`.
    header: Header,
    discovery_key: Key,
    auth: Option<Auth>,
    key_pair: Option<KeyPair>,
    roots: Roots,
    fork: u64,
    signature: Vec<u8>,
    bits: Bitfield,
    contiguous_length: u64,
    store: Store,
    oplog: Oplog,
    durability: Durability,
    read_only: bool,
    open: bool,
    /// Bytes of blocks that only the oplog vouches for.
    unflushed: u64,
    /// Bytes of the file of bits that the next flush changes in part (see `guard_bits`).
    edges: BTreeSet<u64>,
    encryption: Option<Encryption>,
    /// What it makes of the blocks of this core, once its manifest is known.
    cipher: Option<Cipher>,
    cuts: Cuts,
    remote_contiguous: u64,
}

impl Hypercore {
    /// Opens the core in folder `dir`, or makes it.
    ///
    /// `Missing`: there is none, and `create` is off or nothing may be written. `Refused`: another core is stored
    /// there. `Invalid`: key, manifest and key pair do not belong together. `Corrupt`: what is stored cannot be read.
    pub fn open(cx: &mut Cx<'_>, dir: &str, open: Open) -> Result<Hypercore, Error> {
        let mode = if open.read_only { Mode::Read } else { Mode::Write };
        if (open.read_only || !open.create) && !cx.disk.exists(&join(dir, "oplog")) {
            return Err(Error::Missing);
        }
        damage::check_log(cx, dir)?;
        let opened = Oplog::open(cx, dir, mode)?;
        let mut oplog = opened.oplog;
        let checked = match &opened.header {
            Some(header) => damage::check_files(cx, dir, header, opened.lone && opened.entries.is_empty()),
            None => damage::check_none(cx, dir),
        };
        let store = match checked.and_then(|()| Store::open(cx, dir, mode)) {
            Ok(store) => store,
            Err(error) => {
                oplog.close(cx);
                return Err(error);
            }
        };
        let mut core = Hypercore {
            dir: dir.to_owned(),
            header: Header::default(),
            discovery_key: [0; 32],
            auth: None,
            key_pair: None,
            roots: Roots::default(),
            fork: 0,
            signature: Vec::new(),
            bits: Bitfield::new(),
            contiguous_length: 0,
            store,
            oplog,
            durability: open.durability,
            read_only: open.read_only,
            open: true,
            unflushed: 0,
            edges: BTreeSet::new(),
            encryption: open.encryption.clone(),
            cipher: None,
            cuts: Cuts::default(),
            remote_contiguous: 0,
        };
        let result = match opened.header {
            Some(header) => core.resume(cx, header, opened.entries, open),
            None if open.read_only || !open.create => Err(Error::Missing),
            None => core.create(cx, open),
        };
        match result {
            Ok(()) => {
                core.rekey();
                core.cuts = Cuts::since(core.fork);
                core.remote_contiguous = core.stored_hint();
                let (length, fork) = (core.length(), core.fork);
                trace!(cx, State, "hypercore", part: "", "{dir:?} open, length {length}, fork {fork}");
                Ok(core)
            }
            Err(error) => {
                trace!(cx, Drop, "hypercore", part: "", "{dir:?} cannot be opened: {error}");
                core.release(cx);
                Err(error)
            }
        }
    }

    /// hypercore.24: key, manifest and key pair of a new core.
    fn create(&mut self, cx: &mut Cx<'_>, open: Open) -> Result<(), Error> {
        let key_pair = match (open.key_pair, open.key) {
            (Some(pair), _) => Some(pair),
            (None, None) if open.manifest.is_none() => Some(KeyPair::generate(cx.entropy)),
            (None, _) => None,
        };
        let auth = match (open.key, open.manifest, &key_pair) {
            (Some(key), Some(manifest), _) => {
                Some(Auth::new(key, manifest).ok_or(Error::Invalid("the manifest is not that of the key"))?)
            }
            (Some(key), None, _) if open.compat => Some(Auth::compat(key)),
            (Some(key), None, Some(pair)) => {
                let mut manifests = (0..=1).rev().map(|version| auth::single_signer(version, pair.public));
                let found = manifests.find_map(|manifest| Auth::new(key, manifest));
                Some(found.ok_or(Error::Invalid("the key pair is not that of the key"))?)
            }
            (Some(_), None, None) => None,
            (None, Some(manifest), _) => Auth::new(auth::core_key(&manifest), manifest),
            (None, None, Some(pair)) if open.compat => Some(Auth::compat(pair.public)),
            (None, None, Some(pair)) => {
                let manifest = auth::single_signer(1, pair.public);
                Auth::new(auth::core_key(&manifest), manifest)
            }
            (None, None, None) => None,
        };
        let key =
            auth.as_ref().map(|auth| *auth.key()).or(open.key).ok_or(Error::Invalid("a core needs a key"))?;
        self.header.key = key;
        self.header.manifest = auth.as_ref().map(|auth| auth.manifest().clone());
        self.header.key_pair = key_pair
            .as_ref()
            .map(|pair| StoredKeys { public: pair.public.to_vec(), secret: pair.secret_key().to_vec() });
        self.discovery_key = auth::discovery_key(&key);
        self.key_pair = key_pair;
        self.auth = auth;
        // hypercore.36: the header is safe before the file is as long as one that must have a header.
        self.oplog.write_header(cx, &mut self.header, true)?;
        self.sync_later(cx);
        Ok(())
    }

    pub fn key(&self) -> &Key {
        &self.header.key
    }

    /// What peers ask for it by.
    pub fn discovery_key(&self) -> &Key {
        &self.discovery_key
    }

    /// None until it is learned from a peer.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.auth.as_ref().map(Auth::manifest)
    }

    /// Who may sign; None until the manifest is learned.
    pub fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// True if appends outlive a crash of the machine.
    pub fn durable(&self) -> bool {
        self.durability == Durability::Flush
    }

    /// True if `append` can work: there is a key pair, and it may sign alone.
    pub fn writable(&self) -> bool {
        !self.read_only && !self.frozen() && self.signable()
    }

    /// The same, whether or not it was opened for reading only.
    pub fn signable(&self) -> bool {
        let may_sign = |pair| self.auth.as_ref().is_some_and(|auth| auth.may_sign(pair));
        self.key_pair.as_ref().is_some_and(may_sign)
    }

    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Blocks.
    pub fn length(&self) -> u64 {
        self.roots.length()
    }

    /// Bytes of all blocks, here or not, without their padding.
    pub fn byte_length(&self) -> u64 {
        self.roots.byte_length().saturating_sub(self.length().saturating_mul(self.padding()))
    }

    /// How often the core was truncated, as its writer says.
    pub fn fork(&self) -> u64 {
        self.fork
    }

    /// Every block below this one is here.
    pub fn contiguous_length(&self) -> u64 {
        self.contiguous_length
    }

    /// Whether a block is here.
    pub fn has(&self, index: u64) -> bool {
        self.bits.get(index)
    }

    /// Which blocks are here.
    pub fn bits(&self) -> &Bitfield {
        &self.bits
    }

    pub fn roots(&self) -> &[Node] {
        self.roots.nodes()
    }

    /// Hash of the roots: with length and fork, what is signed.
    pub fn tree_hash(&self) -> Key {
        self.roots.hash()
    }

    /// The stored signature of the current tree; empty for a core without blocks that was never truncated.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// A node of the current tree. None if it is not known, or not part of a tree of this length.
    pub fn tree_node(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Node>, Error> {
        self.check_open()?;
        if flat_tree::right_span(index) >= 2 * self.length() {
            return Ok(None);
        }
        match self.roots.nodes().iter().find(|root| root.index == index) {
            Some(root) => Ok(Some(*root)),
            None => self.store.node(cx, index),
        }
    }

    /// A block, decrypted if the core has a key for that. None if it is not here. `Corrupt` if what is stored is not
    /// what was signed. (hypercore.93)
    pub fn get(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Vec<u8>>, Error> {
        let block = self.get_raw(cx, index)?;
        block.map(|bytes| self.decrypted(index, bytes)).transpose()
    }

    /// A block as it is stored, signed and sent.
    pub fn get_raw(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Vec<u8>>, Error> {
        self.check_open()?;
        if index >= self.length() || !self.bits.get(index) {
            return Ok(None);
        }
        self.store.read_block(cx, &self.roots, index).map(Some)
    }

    /// Where a block begins in `data`: in bytes from the first block's begin, with padding. `Missing` if a node
    /// on the way is not known.
    pub fn byte_offset(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<u64, Error> {
        self.check_open()?;
        if index >= self.length() {
            return if index == self.length() { Ok(self.roots.byte_length()) } else { Err(Error::Missing) };
        }
        self.store.byte_offset(cx, &self.roots, index).map_err(|error| match error {
            Error::Corrupt(_) => Error::Missing,
            other => other,
        })
    }

    /// Adds blocks behind the last, signed once. Returns the index of the first; an empty batch changes nothing.
    ///
    /// `Refused` if the core is not writable, `Invalid` for more than `limits::APPEND_MAX` blocks or one longer than
    /// `limits::BLOCK_MAX` bytes. After an error the core is as before.
    pub fn append<B: AsRef<[u8]>>(&mut self, cx: &mut Cx<'_>, blocks: &[B]) -> Result<u64, Error> {
        match self.sealed(blocks) {
            Some(sealed) => self.put(cx, &sealed, None),
            None => self.put(cx, blocks, None),
        }
    }

    /// Adds blocks as they are, also to an encrypted core.
    pub fn append_raw<B: AsRef<[u8]>>(&mut self, cx: &mut Cx<'_>, blocks: &[B]) -> Result<u64, Error> {
        self.put(cx, blocks, None)
    }

    fn put<B: AsRef<[u8]>>(
        &mut self,
        cx: &mut Cx<'_>,
        blocks: &[B],
        given: Option<&[u8]>,
    ) -> Result<u64, Error> {
        self.check_change()?;
        let first = self.length();
        if blocks.is_empty() {
            return Ok(first);
        }
        let (roots, nodes, signature) = self.prepare(blocks, given)?;
        let entry = Entry {
            user_data: None,
            nodes,
            upgrade: Some(TreeUpgrade {
                fork: self.fork,
                ancestors: first,
                length: roots.length(),
                signature: signature.clone(),
            }),
            bitfield: Some(BitfieldUpdate { drop: false, start: first, length: blocks.len() as u64 }),
        };
        let start = self.roots.byte_length();
        let added = roots.byte_length() - start;
        // hypercore.43: blocks first, then the entry that vouches for them.
        match blocks {
            [block] => self.store.write_data(cx, start, block.as_ref())?,
            _ => {
                let mut bytes = Vec::with_capacity(added as usize);
                blocks.iter().for_each(|block| bytes.extend_from_slice(block.as_ref()));
                self.store.write_data(cx, start, &bytes)?;
            }
        }
        let entry = self.add_entry(cx, entry)?;
        self.store.put_nodes(&entry.nodes);
        if let Some(update) = entry.bitfield {
            self.set_bits(update);
        }
        self.roots = roots;
        self.signature = signature;
        self.unflushed += added;
        let (count, length) = (blocks.len(), self.length());
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.43", "{count} blocks appended, length {length}");
        self.written(cx);
        Ok(first)
    }

    /// The tree with `blocks` behind the last, its new nodes and its signature.
    fn prepare<B: AsRef<[u8]>>(
        &self,
        blocks: &[B],
        given: Option<&[u8]>,
    ) -> Result<(Roots, Vec<Node>, Vec<u8>), Error> {
        if blocks.len() > limits::APPEND_MAX {
            return Err(Error::Invalid("too many blocks at once"));
        }
        if blocks.iter().any(|block| block.as_ref().len() > limits::BLOCK_MAX) {
            return Err(Error::Invalid("a block is too long"));
        }
        if self.length() + blocks.len() as u64 > limits::BLOCKS_MAX {
            return Err(Error::Full);
        }
        let mut roots = self.roots.clone();
        let mut nodes = Vec::with_capacity(2 * blocks.len());
        let added = blocks.iter().map(|block| block.as_ref().len() as u64).sum();
        if limits::LENGTH_MAX - roots.byte_length() < added {
            return Err(Error::Full);
        }
        roots.extend(blocks, &mut nodes);
        let state = TreeState { roots: roots.nodes(), length: roots.length(), fork: self.fork };
        let signature = self.vouch(&state, given)?;
        Ok((roots, nodes, signature))
    }

    /// Stores what a peer proved. Everything in `change` is verified already; here only its shape is checked, so
    /// that no mistake of a caller can damage what is stored. (hypercore.44)
    ///
    /// `Refused`: another fork, a tree that is not longer, a block without its leaf, or a manifest of another key.
    /// Also `Refused`: a tree of more than `limits::BLOCKS_MAX` blocks. After an error the core is as before.
    pub fn apply(&mut self, cx: &mut Cx<'_>, change: Change) -> Result<(), Error> {
        self.check_change()?;
        let auth = self.check_manifest(change.manifest.as_ref(), change.upgrade.is_some())?;
        let fresh = Fresh::new(&change.nodes);
        let roots = match &change.upgrade {
            Some(upgrade) if upgrade.fork != self.fork => return Err(Error::Refused("another fork")),
            Some(upgrade) if upgrade.length <= self.length() => return Err(Error::Refused("not longer")),
            Some(upgrade) => Some(self.gather(cx, upgrade.length, &fresh)?),
            None => None,
        };
        let grown = roots.as_ref().unwrap_or(&self.roots);
        if change.nodes.iter().any(|node| flat_tree::right_span(node.index) >= 2 * grown.length()) {
            return Err(Error::Refused("a node beyond the tree"));
        }
        let block = change.block.filter(|(index, _)| !self.bits.get(*index));
        if let Some((index, bytes)) = &block {
            check_block(cx, &mut self.store, grown, &fresh, *index, bytes.len() as u64)?;
            let at = self.store.byte_offset_with(cx, grown, *index, &fresh)?;
            self.store.write_data(cx, at, bytes)?;
            self.unflushed += bytes.len() as u64;
        }
        let ancestors = self.length();
        let entry = Entry {
            user_data: None,
            nodes: change.nodes,
            upgrade: change.upgrade.map(|upgrade| TreeUpgrade {
                fork: upgrade.fork,
                ancestors,
                length: upgrade.length,
                signature: upgrade.signature,
            }),
            bitfield: block.map(|(start, _)| BitfieldUpdate { drop: false, start, length: 1 }),
        };
        self.learn(cx, auth)?;
        if entry != Entry::default() {
            let entry = self.add_entry(cx, entry)?;
            if let Some(tree) = &entry.upgrade {
                let (from, to) = (tree.ancestors, tree.length);
                trace!(cx, State, "hypercore", part: "", rule: "hypercore.44", "length {from} to {to}, proved");
            }
            if let Some(bits) = &entry.bitfield {
                trace!(cx, State, "hypercore", part: "", rule: "hypercore.44", "block {} stored", bits.start);
            }
            self.commit(entry, roots);
            self.written(cx);
        }
        Ok(())
    }

    /// hypercore.45: only a header can hold a manifest, so it is written before the tree that it vouches for.
    fn learn(&mut self, cx: &mut Cx<'_>, auth: Option<Auth>) -> Result<(), Error> {
        let Some(auth) = auth else { return Ok(()) };
        self.header.manifest = Some(auth.manifest().clone());
        let flushed = self.flush(cx);
        match flushed {
            Ok(()) => {
                self.auth = Some(auth);
                self.rekey();
            }
            Err(_) => self.header.manifest = None,
        }
        flushed
    }

    /// Takes an entry that is in the oplog into memory.
    fn commit(&mut self, entry: Entry, roots: Option<Roots>) {
        self.store.put_nodes(&entry.nodes);
        if let Some(update) = entry.bitfield {
            self.set_bits(update);
        }
        if let (Some(upgrade), Some(roots)) = (entry.upgrade, roots) {
            self.roots = roots;
            self.fork = upgrade.fork;
            self.signature = upgrade.signature;
        }
    }

    fn set_bits(&mut self, update: BitfieldUpdate) {
        let end = update.start.saturating_add(update.length);
        self.bits.set(update.start, end, !update.drop);
        for edge in [update.start, end] {
            let byte = edge / 8;
            let known = byte * 8 < self.header.tree.length && byte * 8 + 8 > self.header.contiguous_length;
            if known && !edge.is_multiple_of(8) {
                self.edges.insert(byte);
            }
        }
        let contiguous = self.contiguous_length;
        if update.drop {
            if update.start < contiguous && update.length > 0 {
                self.contiguous_length = update.start;
            }
        } else if update.start <= contiguous && contiguous < end {
            self.contiguous_length = self.bits.first_unset(contiguous);
        }
    }

    fn gather(&mut self, cx: &mut Cx<'_>, length: u64, fresh: &Fresh) -> Result<Roots, Error> {
        if length > limits::BLOCKS_MAX {
            return Err(Error::Refused("a tree that is too long"));
        }
        let found = Roots::gather(length, |index| match fresh.get(index) {
            Some(node) => Ok(Some(*node)),
            None => self.store.node(cx, index),
        })?;
        match found {
            Some(roots) => Ok(roots),
            None => Err(Error::Refused("a root is missing, or too large")),
        }
    }

    /// Who may sign, if that is news: what a peer says, or for a tree without a manifest the key itself.
    fn check_manifest(&self, manifest: Option<&Manifest>, tree: bool) -> Result<Option<Auth>, Error> {
        if self.auth.is_some() || (manifest.is_none() && !tree) {
            return Ok(None);
        }
        let auth = Auth::learn(self.header.key, manifest);
        auth.map(Some).ok_or(Error::Refused("the manifest is not that of the key"))
    }

    /// Cuts the core to `length` blocks and signs that, with the next fork number. (hypercore.46)
    pub fn truncate(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<(), Error> {
        let fork = self.fork.checked_add(1).ok_or(Error::Full)?;
        self.truncate_to(cx, length, fork)
    }

    /// Replaces the core's tree by one of a higher fork that shares `ancestors` blocks with it, as its writer signed
    /// it; what `change` says was verified. (hypercore.46)
    pub fn reorg(&mut self, cx: &mut Cx<'_>, ancestors: u64, change: Change) -> Result<(), Error> {
        self.check_change()?;
        let Some(upgrade) = change.upgrade else {
            return Err(Error::Invalid("a reorganisation needs a tree"));
        };
        let auth = self.check_manifest(change.manifest.as_ref(), true)?;
        if upgrade.fork <= self.fork || ancestors > self.length().min(upgrade.length) {
            return Err(Error::Refused("not a later fork of this core"));
        }
        let fresh = Fresh::new(&change.nodes);
        if change.nodes.iter().any(|node| flat_tree::right_span(node.index) >= 2 * upgrade.length) {
            return Err(Error::Refused("a node beyond the tree"));
        }
        if upgrade.length > limits::BLOCKS_MAX {
            return Err(Error::Refused("a tree that is too long"));
        }
        let roots = Roots::gather(upgrade.length, |index| match fresh.get(index) {
            Some(node) => Ok(Some(*node)),
            None if flat_tree::right_span(index) < 2 * ancestors => self.store.node(cx, index),
            None => Ok(None),
        })?;
        let roots = roots.ok_or(Error::Refused("a root is missing"))?;
        self.learn(cx, auth)?;
        let Upgrade { fork, length, signature } = upgrade;
        self.cut(cx, TreeUpgrade { fork, ancestors, length, signature }, change.nodes, roots)?;
        match change.block {
            Some(block) => self.apply(cx, Change { block: Some(block), ..Change::default() }),
            None => Ok(()),
        }
    }

    fn cut(
        &mut self,
        cx: &mut Cx<'_>,
        upgrade: TreeUpgrade,
        nodes: Vec<Node>,
        roots: Roots,
    ) -> Result<(), Error> {
        let (ancestors, old) = (upgrade.ancestors, self.length());
        let drop = BitfieldUpdate { drop: true, start: ancestors, length: old - ancestors };
        let to = upgrade.fork;
        let length = upgrade.length;
        trace!(
            cx, State, "hypercore", part: "", rule: "hypercore.46",
            "length {old} cut to {ancestors}, then {length}, fork {to}"
        );
        let entry = Entry { user_data: None, nodes, upgrade: Some(upgrade), bitfield: Some(drop) };
        let entry = self.add_entry(cx, entry)?;
        self.store.cut_nodes(ancestors);
        self.keep_reorg(old, to, ancestors);
        self.cuts.add(Reorg { from: self.fork, to, ancestors });
        self.remote_contiguous = self.remote_contiguous.min(ancestors);
        self.commit(entry, Some(roots));
        self.sync_later(cx);
        self.try_flush(cx);
        Ok(())
    }

    /// Remembers a truncation of a core of `length` blocks, as a hint; four at most.
    fn keep_reorg(&mut self, length: u64, to: u64, ancestors: u64) {
        if length == 0 {
            return;
        }
        let reorgs = &mut self.header.reorgs;
        let excess = (reorgs.len() + 1).saturating_sub(4);
        reorgs.drain(..excess);
        reorgs.retain(|hint| hint.ancestors <= ancestors);
        reorgs.push(Reorg { from: self.fork, to, ancestors });
    }

    /// Forgets the blocks of `start..end`; their nodes stay, so that other blocks can still be proved.
    /// (hypercore.48)
    pub fn clear(&mut self, cx: &mut Cx<'_>, start: u64, end: u64) -> Result<(), Error> {
        self.check_change()?;
        let end = end.min(self.length());
        if start >= end {
            return Ok(());
        }
        let update = BitfieldUpdate { drop: true, start, length: end - start };
        self.add_entry(cx, Entry { bitfield: Some(update), ..Entry::default() })?;
        self.set_bits(update);
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.48", "blocks {start} to {end} cleared");
        self.written(cx);
        Ok(())
    }

    /// A value that the application keeps with the core.
    pub fn user_data(&self, key: &str) -> Option<&[u8]> {
        self.header.user_data.iter().find(|each| each.key == key).map(|each| &each.value[..])
    }

    /// Sets a value, or with None removes it. (hypercore.49)
    pub fn set_user_data(&mut self, cx: &mut Cx<'_>, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        self.check_change()?;
        let value = value.unwrap_or_default();
        if key.starts_with(OWN_DATA) {
            return Err(Error::Invalid("user data of seckel's own"));
        }
        if key.len() > limits::USER_DATA_MAX || value.len() > limits::USER_DATA_MAX {
            return Err(Error::Invalid("user data is too long"));
        }
        if self.user_data(key).unwrap_or_default() == value {
            return Ok(());
        }
        let user_data = UserData { key: key.to_owned(), value: value.to_owned() };
        self.add_entry(cx, Entry { user_data: Some(user_data.clone()), ..Entry::default() })?;
        self.keep_user_data(user_data);
        self.written(cx);
        Ok(())
    }

    fn keep_user_data(&mut self, update: UserData) {
        let list = &mut self.header.user_data;
        match list.iter().position(|each| each.key == update.key) {
            Some(at) if update.value.is_empty() => {
                list.remove(at);
            }
            Some(at) => list[at].value = update.value,
            None if update.value.is_empty() => {}
            None => list.push(update),
        }
    }

    /// After an entry: has it synced, and flushes if there are many. The entry is safe whether or not that works.
    fn written(&mut self, cx: &mut Cx<'_>) {
        self.sync_later(cx);
        if self.oplog.entry_bytes() >= limits::OPLOG_FLUSH || self.unflushed >= limits::DATA_FLUSH {
            self.try_flush(cx);
        }
    }

    /// Follows hypercore.56.
    fn try_flush(&mut self, cx: &mut Cx<'_>) {
        if let Err(error) = self.flush(cx) {
            trace!(cx, Step, "hypercore", part: "", "flush: {error}; it is tried again later");
        }
    }

    /// Before an entry. hypercore.36: if writing a header failed half-way, nobody knows which header counts after a
    /// crash, and an entry would belong to the wrong one; so the header comes first.
    fn add_entry(&mut self, cx: &mut Cx<'_>, entry: Entry) -> Result<Entry, Error> {
        if self.oplog.is_torn() {
            self.flush(cx)?;
        }
        let mut entries = [entry];
        self.oplog.append(cx, &mut entries)?;
        let [entry] = entries;
        Ok(entry)
    }

    fn sync_later(&mut self, cx: &mut Cx<'_>) {
        if self.durability == Durability::Flush && !self.read_only {
            if let Some(data) = self.store.data() {
                cx.disk.sync_later(data);
            }
            cx.disk.sync_later(self.oplog.file());
        }
    }

    /// Puts on disk all entries so far, and the blocks without which they would be dropped.
    fn sync_now(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(data) = self.store.data() {
            cx.disk.sync(data)?;
        }
        Ok(cx.disk.sync(self.oplog.file())?)
    }

    /// hypercore.55: a byte of bits that is written half-way may lose bits that no entry speaks of any more. So before
    /// it is written, entries say all of it. Bits below the header's contiguous length and beyond its length need
    /// none: the header and the entries since speak of those.
    fn guard_bits(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let (from, to) = (self.header.contiguous_length, self.header.tree.length);
        let mut runs: Vec<BitfieldUpdate> = Vec::new();
        let bits = self.edges.iter().flat_map(|byte| byte * 8..byte * 8 + 8);
        for block in bits.filter(|block| (from..to.min(self.roots.length())).contains(block)) {
            let drop = !self.bits.get(block);
            match runs.last_mut() {
                Some(run) if run.drop == drop && run.start + run.length == block => run.length += 1,
                _ => runs.push(BitfieldUpdate { drop, start: block, length: 1 }),
            }
        }
        if !runs.is_empty() {
            let entry = |run| Entry { bitfield: Some(run), ..Entry::default() };
            let mut entries: Vec<Entry> = runs.into_iter().map(entry).collect();
            self.oplog.append(cx, &mut entries)?;
            self.sync_now(cx)?;
        }
        self.edges.clear();
        Ok(())
    }

    /// Moves what the oplog says into the other files, and writes a new header. Not needed for safety; it makes the
    /// next opening quick.
    pub fn flush(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.check_write()?;
        let sync = self.durability == Durability::Flush;
        if sync && !self.oplog.is_torn() {
            self.guard_bits(cx)?;
        }
        // hypercore.36, hypercore.47: nodes and bits change in their files only when the entries that say so are safe,
        // and what lay behind the entries is gone for good before their bit comes round again.
        if sync {
            self.sync_now(cx)?;
        }
        self.store.flush(cx, &mut self.bits, sync)?;
        self.header.tree.fork = self.fork;
        self.header.tree.length = self.length();
        self.header.tree.root_hash = self.roots.hash().to_vec();
        self.header.tree.signature.clone_from(&self.signature);
        self.header.contiguous_length = self.contiguous_length;
        self.store_hint();
        self.oplog.write_header(cx, &mut self.header, sync)?;
        let length = self.length();
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.41", "flushed at length {length}, synced: {sync}");
        self.unflushed = 0;
        self.sync_later(cx);
        Ok(())
    }

    /// Flushes and gives the file handles back. Every later command fails with `NotOpen`. (pitfalls 14.17)
    pub fn close(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if !self.open {
            return Ok(());
        }
        let settled = self.oplog.entry_bytes() == 0 && self.remote_contiguous == self.stored_hint();
        let flushed = if self.read_only || settled { Ok(()) } else { self.flush(cx) };
        self.release(cx);
        flushed
    }

    fn release(&mut self, cx: &mut Cx<'_>) {
        self.open = false;
        self.store.close(cx);
        self.oplog.close(cx);
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.open { Ok(()) } else { Err(Error::NotOpen) }
    }

    fn check_write(&self) -> Result<(), Error> {
        self.check_open()?;
        if self.read_only { Err(Error::Refused("the core was opened for reading only")) } else { Ok(()) }
    }
}

/// A block that came with `fresh` nodes: its leaf is known, and as long as it.
fn check_block(
    cx: &mut Cx<'_>,
    store: &mut Store,
    roots: &Roots,
    fresh: &Fresh,
    index: u64,
    len: u64,
) -> Result<(), Error> {
    if index >= roots.length() || len > limits::STORED_BLOCK_MAX {
        return Err(Error::Refused("a block beyond the tree, or too long"));
    }
    let leaf = match fresh.get(2 * index) {
        Some(leaf) => Some(*leaf),
        None => store.node(cx, 2 * index)?,
    };
    if leaf.is_none_or(|leaf| leaf.size != len) {
        return Err(Error::Refused("a block without its leaf"));
    }
    Ok(())
}

#[cfg(test)]
mod crash;
#[cfg(test)]
#[path = "tests/damaged.rs"]
mod damaged;
#[cfg(test)]
mod tests;
