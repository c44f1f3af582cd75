//! What is in the files becomes a core again, also after a crash (hypercore.50 to hypercore.53).
//!
//! The header says how things were at the last flush; the entries of the oplog say what came since. A machine that
//! crashed may have kept an entry but not the blocks it vouches for, since both were on their way at once: such an
//! entry was never acknowledged, and it and what follows it are dropped.

use super::auth::Auth;
use super::oplog::Found;
use super::tree::Roots;
use super::{Hypercore, Open, journal};
use crate::base::{Cx, Error, Key, limits, trace};
use crate::crypto::sign::KeyPair;
use crate::wire::oplog::{Entry, Header, JournalRecord, StoredKeys};

/// Bits of the file of bits that are written together.
const WORD_BITS: u64 = 64;

impl Hypercore {
    /// Follows hypercore.50.
    pub(super) fn resume(
        &mut self,
        cx: &mut Cx<'_>,
        header: Header,
        mut entries: Vec<Found>,
        open: Open,
    ) -> Result<(), Error> {
        self.identify(&header, &open)?;
        let journal = journal::read(cx, &self.dir, &self.oplog.header_hash())?;
        let left = journal.is_some();
        self.take_up(&header, &mut entries, journal.unwrap_or_default())?;
        let replayed = !entries.is_empty();
        while let Some(bad) = self.replay(cx, &header, &entries)? {
            trace!(
                cx, Drop, "hypercore", part: "", rule: "hypercore.53",
                "entry {bad} of the oplog was not acknowledged: dropped"
            );
            let batch = entries[bad].batch;
            entries.retain(|found| found.end <= batch);
            self.oplog.cut(batch);
        }
        if replayed {
            // What was read may still be on its way to the disk if only the process had ended.
            self.sync_later(cx);
        }
        if left && !self.read_only {
            self.store.write_held(cx)?;
            self.oplog.write_held(cx)?;
            journal::remove(cx, &self.dir)?;
        }
        if header.manifest.is_none() && open.manifest.is_some() && !self.read_only {
            self.flush(cx)?; // hypercore.24: only a header can hold it
        }
        Ok(())
    }

    /// What a journal says and the other files may have lost. Who went on with those since, without it, is believed.
    /// (hypercore.154)
    fn take_up(
        &mut self,
        header: &Header,
        entries: &mut Vec<Found>,
        records: Vec<JournalRecord>,
    ) -> Result<(), Error> {
        for record in records {
            let Some(batch) = self.oplog.batch(record.at, &record.entries) else { break };
            let end = self.oplog.entry_bytes();
            if record.at > end {
                // hypercore.151: these were safe before the first record was written. A copy is thrown back. Who reads
                // beside a writer may have read the oplog before the writer began its journal.
                if !self.read_only && header.key_pair.as_ref().is_some_and(|pair| !pair.secret.is_empty()) {
                    return Err(Error::Corrupt("oplog: entries are lost that its journal follows"));
                }
                break;
            }
            if record.at == end {
                entries.extend(batch);
                self.oplog.hold(record.entries);
            } else if !batch.iter().all(|found| is_among(entries, found)) {
                break;
            }
            if !record.data.is_empty() {
                self.store.hold(record.data_at, record.data);
            }
        }
        Ok(())
    }

    /// hypercore.25: the stored core must be the one that is wanted.
    fn identify(&mut self, header: &Header, open: &Open) -> Result<(), Error> {
        const OTHER: Error = Error::Refused("another core is stored here");
        let key = header.key;
        if open.key.is_some_and(|wanted| wanted != key) {
            return Err(OTHER);
        }
        let manifest = header.manifest.clone().or_else(|| open.manifest.clone());
        if let (None, Some(wanted)) = (open.key, &open.manifest)
            && Auth::new(key, wanted.clone()).is_none()
        {
            return Err(OTHER);
        }
        self.key_pair = match &open.key_pair {
            Some(pair) => Some(pair.clone()),
            None => header.key_pair.as_ref().map_or(Ok(None), stored_pair)?,
        };
        self.auth = match manifest {
            Some(manifest) => {
                let wrong = match header.manifest {
                    Some(_) => Error::Corrupt("manifest"),
                    None => Error::Invalid("the manifest is not that of the key"),
                };
                Some(Auth::new(key, manifest).ok_or(wrong)?)
            }
            None if open.compat => Some(Auth::compat(key)),
            None => self.key_pair.as_ref().filter(|pair| pair.public == key).map(|_| Auth::compat(key)),
        };
        self.discovery_key = super::auth::discovery_key(&key);
        Ok(())
    }

    /// Makes a core writable that was opened without the key pair that may sign it. False if that pair may not.
    pub fn give_key_pair(&mut self, pair: &KeyPair) -> bool {
        let fits = self.auth.as_ref().is_some_and(|auth| auth.may_sign(pair));
        if fits {
            self.key_pair = Some(pair.clone());
        }
        fits
    }

    /// Takes header and entries into memory, from the beginning. Returns the number of the first entry that cannot
    /// have been acknowledged.
    fn replay(
        &mut self,
        cx: &mut Cx<'_>,
        header: &Header,
        entries: &[Found],
    ) -> Result<Option<usize>, Error> {
        self.header = header.clone();
        self.header.manifest = self.auth.as_ref().map(|auth| auth.manifest().clone());
        self.store.forget();
        self.unflushed = 0;
        self.edges.clear();
        self.fork = header.tree.fork;
        self.signature.clone_from(&header.tree.signature);
        let length = header.tree.length;
        let mut gathered = self.stored_roots(cx, length)?;
        let root_hash = &header.tree.root_hash;
        if !root_hash.is_empty() && gathered.as_ref().is_some_and(|roots| roots.hash() != root_hash[..]) {
            gathered = None; // hypercore.151: they are of another tree, or damaged
        }
        let kept = match &gathered {
            Some(_) => length,
            None => kept(entries, self.fork).ok_or(Error::Corrupt("tree: a root is missing, or damaged"))?,
        };
        self.read_bits(cx, header, gathered.as_ref(), kept, entries)?;
        let mut known = length;
        for (number, found) in entries.iter().enumerate() {
            let later = &entries[number + 1..];
            match self.replay_entry(cx, &found.entry, known, later)? {
                Replayed::Bad => return Ok(Some(number)),
                Replayed::Same => {}
                Replayed::Tree { length, roots } => (known, gathered) = (length, roots),
            }
            // hypercore.47: a truncation may have taken away the roots of the trees before it; then those entries, and
            // what they vouch for, were safe before.
            let Some(roots) = &gathered else { continue };
            self.roots = roots.clone();
            if !self.vouched(cx, &found.entry, later)? {
                return Ok(Some(number));
            }
        }
        self.roots = gathered.ok_or(Error::Corrupt("tree: a root is missing, or damaged"))?;
        Ok(None)
    }

    /// hypercore.51: the file of bits is not summed. A flush may have been writing the words that entries speak of when
    /// the machine crashed, and the header knows the other bits of these.
    fn read_bits(
        &mut self,
        cx: &mut Cx<'_>,
        header: &Header,
        roots: Option<&Roots>,
        kept: u64,
        entries: &[Found],
    ) -> Result<(), Error> {
        self.bits = self.store.read_bitfield(cx)?;
        let contiguous = header.contiguous_length.min(header.tree.length).min(kept);
        for update in entries.iter().filter_map(|found| found.entry.bitfield) {
            for edge in [update.start, update.start.saturating_add(update.length)] {
                let word = edge / WORD_BITS * WORD_BITS;
                for block in word..word.saturating_add(WORD_BITS).min(contiguous) {
                    if !self.bits.get(block) && self.is_there(cx, roots, block)? {
                        self.bits.set(block, block + 1, true);
                    }
                }
            }
        }
        self.bits.set(header.tree.length, u64::MAX, false);
        // hypercore.155: the header says that this block was not here; an entry may have brought it since.
        let missing = header.contiguous_length;
        if missing < header.tree.length.min(kept)
            && self.bits.get(missing)
            && !self.is_there(cx, roots, missing)?
        {
            self.bits.set(missing, missing + 1, false);
        }
        self.contiguous_length = self.bits.first_unset(0);
        Ok(())
    }

    /// Whether a block of the header's tree can be read. Without roots, since a truncation took them, the header's word
    /// has to do.
    fn is_there(&mut self, cx: &mut Cx<'_>, roots: Option<&Roots>, block: u64) -> Result<bool, Error> {
        let Some(roots) = roots else { return Ok(true) };
        match self.store.read_block(cx, roots, block) {
            Ok(_) => Ok(true),
            Err(Error::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn stored_roots(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<Option<Roots>, Error> {
        if length > limits::BLOCKS_MAX {
            return Err(Error::Corrupt("oplog: length"));
        }
        Roots::gather(length, |index| self.store.node(cx, index))
    }

    /// hypercore.52: what an entry says, in the order user data, cut, nodes, bits, tree.
    fn replay_entry(
        &mut self,
        cx: &mut Cx<'_>,
        entry: &Entry,
        length: u64,
        later: &[Found],
    ) -> Result<Replayed, Error> {
        if let Some(update) = &entry.user_data {
            self.keep_user_data(update.clone());
        }
        if let Some(upgrade) = &entry.upgrade {
            let grows = upgrade.fork == self.fork && upgrade.ancestors == length && upgrade.length >= length;
            let cuts = upgrade.fork > self.fork && upgrade.ancestors <= length.min(upgrade.length);
            if !(grows || cuts) || upgrade.length > limits::BLOCKS_MAX {
                return Ok(Replayed::Bad);
            }
            if upgrade.fork != self.fork {
                self.store.cut_nodes(upgrade.ancestors);
                self.keep_reorg(length, upgrade.fork, upgrade.ancestors);
            }
        }
        if entry.nodes.iter().any(|node| node.index >= 2 * limits::BLOCKS_MAX) {
            return Ok(Replayed::Bad);
        }
        self.store.put_nodes(&entry.nodes);
        let (mut replayed, mut room) = (Replayed::Same, length);
        if let Some(upgrade) = &entry.upgrade {
            let roots = self.stored_roots(cx, upgrade.length)?;
            room = match (&roots, kept(later, upgrade.fork)) {
                (Some(_), _) => upgrade.length,
                (None, Some(kept)) => kept,
                (None, None) => return Ok(Replayed::Bad),
            };
            replayed = Replayed::Tree { length: upgrade.length, roots };
            self.fork = upgrade.fork;
            self.signature.clone_from(&upgrade.signature);
        }
        if let Some(mut update) = entry.bitfield {
            if !update.drop {
                update.length = update.length.min(room.saturating_sub(update.start)); // no bits beyond the tree
            }
            self.set_bits(update);
        }
        Ok(replayed)
    }

    /// hypercore.53: whether the blocks that an entry added are those whose leaves it vouches for. Blocks that
    /// later entries drop are not looked at.
    fn vouched(&mut self, cx: &mut Cx<'_>, entry: &Entry, later: &[Found]) -> Result<bool, Error> {
        let Some(update) = entry.bitfield.filter(|update| !update.drop) else { return Ok(true) };
        let end = update.start.saturating_add(update.length).min(self.roots.length());
        let mut next = update.start;
        while next < end {
            let drops = later.iter().filter_map(|found| found.entry.bitfield).filter(|other| other.drop);
            let mut ends = drops.map(|other| (other.start, other.start.saturating_add(other.length)));
            if let Some((_, end)) = ends.find(|(start, end)| (start..end).contains(&&next)) {
                next = end;
                continue;
            }
            let block = next;
            next += 1;
            match self.store.read_block(cx, &self.roots, block) {
                Ok(bytes) => self.unflushed += bytes.len() as u64,
                // hypercore.150: a crash hardly leaves one wrong bit; the block came, and rotted.
                Err(Error::Corrupt(_)) if self.store.is_rotten(cx, &self.roots, block)? => {}
                Err(Error::Corrupt(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn is_among(entries: &[Found], found: &Found) -> bool {
    entries.binary_search_by_key(&found.end, |each| each.end).is_ok_and(|at| entries[at] == *found)
}

/// How many blocks of a tree of that fork the entries leave; None if none of them truncates it.
fn kept(entries: &[Found], fork: u64) -> Option<u64> {
    let upgrades = entries.iter().filter_map(|found| found.entry.upgrade.as_ref());
    upgrades.filter(|upgrade| upgrade.fork > fork).map(|upgrade| upgrade.ancestors).min()
}

enum Replayed {
    /// It does not follow from what was before.
    Bad,
    Same,
    /// Another tree; no roots if one of them is not stored.
    Tree {
        length: u64,
        roots: Option<Roots>,
    },
}

/// The key pair of a header. None if there is no secret; `Corrupt` if it is not that of the public key, which can be
/// where no checksum covers it. (hypercore.155)
fn stored_pair(stored: &StoredKeys) -> Result<Option<KeyPair>, Error> {
    let seed: Option<Key> = stored.secret.get(..32).and_then(|seed| seed.try_into().ok());
    let Some(pair) = seed.map(KeyPair::from_seed) else { return Ok(None) };
    if stored.public == pair.public {
        Ok(Some(pair))
    } else {
        Err(Error::Corrupt("header: the secret key is not that of the public key"))
    }
}
