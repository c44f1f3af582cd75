//! An append-only log of blocks that anybody can check against one key, stored as hypercore 10 stores it.
//! Follows hypercore.1 to hypercore.57. Read `tree.rs` and `oplog.rs` first.
//!
//! Blocks go to `data` at once, everything else to `oplog`; now and then (`limits::OPLOG_FLUSH`) what the oplog says is
//! written into `tree` and `bitfield`, and a new header replaces its entries. In memory are the roots, the bits, the
//! nodes since the last flush and a small cache of others.

mod answers;
pub mod audit;
pub mod auth;
mod beside;
pub mod bitfield;
mod conflict;
mod cut;
mod damage;
pub mod draft;
pub mod encryption;
mod extension;
pub mod fetch;
pub mod flat_tree;
mod fork;
mod freeze;
mod given;
mod grow;
mod hints;
pub mod jobs;
mod journal;
mod leaves;
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
use crate::wire::oplog::{BitfieldUpdate, Entry, Header, StoredKeys, UserData};

use auth::Auth;
use bitfield::Bitfield;
use encryption::Cipher;
use journal::{Journal, Noted};
use oplog::Oplog;
use snapshot::Cuts;
use store::Store;
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

/// An entry for which nothing was written into `data`.
const NO_DATA: (u64, &[u8]) = (0, &[]);

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
    journal: Journal,
    durability: Durability,
    read_only: bool,
    /// Of a core that is opened for reading: what to know a change by.
    stamp: beside::Stamp,
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
        // Before anything is read: what is written meanwhile is noticed the next time.
        let stamp = if open.read_only { beside::Stamp::read(cx, dir)? } else { beside::Stamp::default() };
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
            journal: Journal::new(dir, open.durability == Durability::Flush && !open.read_only),
            durability: open.durability,
            read_only: open.read_only,
            stamp,
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
        self.store.block(cx, &self.roots, index, self.contiguous_length).map(Some)
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

    /// Forgets the blocks of `start..end`; their nodes stay, so that other blocks can still be proved.
    /// (hypercore.48)
    pub fn clear(&mut self, cx: &mut Cx<'_>, start: u64, end: u64) -> Result<(), Error> {
        self.check_change()?;
        let end = end.min(self.length());
        if start >= end {
            return Ok(());
        }
        let update = BitfieldUpdate { drop: true, start, length: end - start };
        self.add_entry(cx, Entry { bitfield: Some(update), ..Entry::default() }, NO_DATA)?;
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
        self.add_entry(cx, Entry { user_data: Some(user_data.clone()), ..Entry::default() }, NO_DATA)?;
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

    /// After an entry: flushes if there are many. The entry is safe whether or not that works.
    fn written(&mut self, cx: &mut Cx<'_>) {
        let many = self.oplog.entry_bytes() >= limits::OPLOG_FLUSH || self.unflushed >= limits::DATA_FLUSH;
        if many || self.journal.is_full() {
            self.try_flush(cx);
        }
    }

    /// Follows hypercore.56.
    fn try_flush(&mut self, cx: &mut Cx<'_>) {
        if let Err(error) = self.flush(cx) {
            trace!(cx, Step, "hypercore", part: "", "flush: {error}; it is tried again later");
        }
    }

    /// Writes an entry, and has it synced with `data`: bytes that were written for it, and where. hypercore.36: if
    /// writing a header failed half-way, nobody knows which header counts after a crash, and an entry would belong to
    /// the wrong one; so the header comes first.
    fn add_entry(&mut self, cx: &mut Cx<'_>, entry: Entry, data: (u64, &[u8])) -> Result<Entry, Error> {
        if self.oplog.is_torn() {
            self.flush(cx)?;
        }
        if self.journal.is_due() && self.sync_now(cx).is_ok() {
            self.journal.begin(cx, self.oplog.header_hash());
        }
        let mut entries = [entry];
        self.oplog.append(cx, &mut entries)?;
        self.make_safe(cx, data);
        let [entry] = entries;
        Ok(entry)
    }

    /// What was just written outlives a crash from the next sync on. (hypercore.152)
    fn make_safe(&mut self, cx: &mut Cx<'_>, data: (u64, &[u8])) {
        match self.journal.note(cx, self.oplog.appended(), data) {
            Noted::No => self.sync_later(cx),
            Noted::All(journal) => cx.disk.sync_later(journal),
            Noted::Entries(journal) => {
                cx.disk.sync_later(journal);
                if let Some(data) = self.store.data() {
                    cx.disk.sync_later(data);
                }
            }
        }
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
            self.make_safe(cx, NO_DATA);
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
            self.journal.sync(cx)?;
        }
        self.store.flush(cx, &mut self.bits, sync)?;
        self.header.tree.fork = self.fork;
        self.header.tree.length = self.length();
        self.header.tree.root_hash = self.roots.hash().to_vec();
        self.header.tree.signature.clone_from(&self.signature);
        self.header.contiguous_length = self.contiguous_length;
        self.store_hint();
        let written = self.oplog.write_header(cx, &mut self.header, sync);
        self.journal.restart(cx, self.oplog.header_hash());
        written?;
        let length = self.length();
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.41", "flushed at length {length}, synced: {sync}");
        self.unflushed = 0;
        if !self.journal.is_on() {
            self.sync_later(cx);
        }
        Ok(())
    }

    /// Flushes and gives the file handles back. Every later command fails with `NotOpen`. (pitfalls 14.17)
    pub fn close(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if !self.open {
            return Ok(());
        }
        let settled = self.oplog.entry_bytes() == 0 && self.remote_contiguous == self.stored_hint();
        let flushed = if self.read_only || settled { Ok(()) } else { self.flush(cx) };
        self.journal.close(cx, flushed.is_ok());
        self.release(cx);
        flushed
    }

    fn release(&mut self, cx: &mut Cx<'_>) {
        self.open = false;
        self.journal.close(cx, false);
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

#[cfg(test)]
mod crash;
#[cfg(test)]
#[path = "tests/damaged.rs"]
mod damaged;
#[cfg(test)]
mod tests;
