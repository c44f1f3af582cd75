//! Checks every byte of a stored core against what vouches for it, and changes none. Read `store.rs` and `recover.rs`
//! first; follows hypercore.70 to hypercore.76.
//!
//! What vouches for what: a checksum for each record of `oplog`, the key for the manifest, a signature for the roots of
//! the tree, each node for the two below it, a leaf for its block, and a block that is here for its bit. What nothing
//! vouches for is counted, and its ranges are listed. A crash leaves half-written records, and blocks that no whole
//! record speaks of: these are no damage. One bit that is not as it should be is, wherever that can be told.

mod files;
mod journal;
mod log;
pub(super) mod record;
mod replay;
mod report;
mod walk;

use std::collections::BTreeSet;
use std::ops::Range;

use super::auth::{self, Auth};
use super::tree::Roots;
use crate::base::disk::join;
use crate::base::{Cx, DiskError, Error, Key};
use crate::crypto::sign::KeyPair;
use crate::wire::oplog::{Header, StoredKeys};
use files::{Raw, Rows, Spans};
use log::{Log, Logged};

pub use report::{Audit, File, Finding, Seen, Unjudged, Unverifiable, Verdict};

/// The first bytes of a tree file of hypercore 9.
const OLD_TREE: [u8; 4] = [0x05, 0x02, 0x57, 0x02];

/// Audits the core in folder `dir`. Opens its files for reading only, takes no lock, and keeps to a few pages of each
/// file in memory, besides the oplog. `progress` is told now and then how many bytes of blocks are done, and of how
/// many.
///
/// `Missing`: no core is stored there. `Refused`: it is of hypercore 9, or too long. `Io`: a file cannot be read. What
/// is wrong with the core itself is in the `Audit`, never an error. (hypercore.71)
pub fn audit(cx: &mut Cx<'_>, dir: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Audit, Error> {
    let oplog = match log::read_all(cx, &join(dir, "oplog")) {
        Err(Error::Io(DiskError::Missing)) => return Err(Error::Missing),
        read => read?,
    };
    let mut report = Audit::default();
    let mut log = log::audit(cx, dir, &oplog, &mut report)?;
    journal::audit(cx, dir, &mut log, &mut report)?;
    if let Some(header) = log.header.clone() {
        let mut auditor = Auditor::open(cx, dir, header, log, report, progress)?;
        let before = auditor.lens();
        let done = auditor.run(cx);
        auditor.close(cx);
        done?;
        report = auditor.report;
        unmoved(cx, dir, &oplog, before, &mut report)?;
    } else if report.findings.is_empty() {
        headless(cx, dir, &mut report)?;
    }
    report.sort();
    Ok(report)
}

/// A core that was never wholly made has written nothing beside its log. (hypercore.32)
fn headless(cx: &mut Cx<'_>, dir: &str, report: &mut Audit) -> Result<(), Error> {
    for (name, file) in [("tree", File::Tree), ("bitfield", File::Bitfield), ("data", File::Data)] {
        let mut raw = Raw::open(cx, &join(dir, name))?;
        let len = raw.len;
        raw.close(cx);
        if len > 0 {
            let (expected, found) =
                (Seen::Text("a header in the oplog"), Seen::Text("bytes of a core without one"));
            report.find(Finding {
                file,
                at: 0,
                what: "the file",
                block: None,
                expected,
                found,
                rule: "hypercore.32",
            });
        }
    }
    Ok(())
}

/// Whether somebody wrote while we read: then nothing of this counts.
fn unmoved(
    cx: &mut Cx<'_>,
    dir: &str,
    oplog: &[u8],
    before: [u64; 3],
    report: &mut Audit,
) -> Result<(), Error> {
    let again = log::read_all(cx, &join(dir, "oplog"))?;
    let mut after = [0; 3];
    for (len, name) in after.iter_mut().zip(["tree", "bitfield", "data"]) {
        let mut raw = Raw::open(cx, &join(dir, name))?;
        *len = raw.len;
        raw.close(cx);
    }
    if again != oplog || before != after {
        report.findings.clear();
        report.more = 0;
        report.unjudged.clear();
        report.unjudged(
            File::Oplog,
            0,
            "the files changed while they were read: stop who writes them, and try again",
        );
    }
    Ok(())
}

/// An audit that is going on.
struct Auditor<'p> {
    header: Header,
    log: Log,
    auth: Option<Auth>,
    rows: Rows,
    bits: Raw,
    data: Raw,
    /// What the entries say of blocks.
    spans: Spans,
    /// The bytes of the file of bits that the next flush writes.
    runs: Vec<Range<u64>>,
    /// Blocks of entries of which nobody can say whether a crash or damage took them.
    unclear: BTreeSet<u64>,
    roots: Option<Roots>,
    report: Audit,
    progress: &'p mut dyn FnMut(u64, u64),
}

impl<'p> Auditor<'p> {
    fn open(
        cx: &mut Cx<'_>,
        dir: &str,
        header: Header,
        log: Log,
        report: Audit,
        progress: &'p mut dyn FnMut(u64, u64),
    ) -> Result<Auditor<'p>, Error> {
        let mut opened = Vec::new();
        for name in ["tree", "bitfield", "data"] {
            match Raw::open(cx, &join(dir, name)) {
                Ok(raw) => opened.push(raw),
                Err(error) => {
                    opened.iter_mut().for_each(|raw| raw.close(cx));
                    return Err(error);
                }
            }
        }
        let [Some(data), Some(bits), Some(tree)] = core::array::from_fn(|_| opened.pop()) else {
            return Err(Error::Missing);
        };
        Ok(Auditor {
            header,
            log,
            auth: None,
            rows: Rows::new(tree),
            bits,
            data,
            spans: Spans::default(),
            runs: Vec::new(),
            unclear: BTreeSet::new(),
            roots: None,
            report,
            progress,
        })
    }

    fn lens(&self) -> [u64; 3] {
        [self.rows.raw.len, self.bits.len, self.data.len]
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.rows.raw.close(cx);
        self.bits.close(cx);
        self.data.close(cx);
    }

    fn run(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let mut magic = [0; 4];
        if self.rows.raw.read(cx, 0, &mut magic)? == 4 && magic == OLD_TREE {
            return Err(Error::Refused("the tree is of hypercore 9"));
        }
        self.identify();
        self.replay_all(cx)?;
        if let Some(roots) = self.roots.clone() {
            self.walk_all(cx, &roots)?;
        }
        Ok(())
    }

    /// Key, manifest and key pair belong together. (hypercore.14, hypercore.16)
    fn identify(&mut self) {
        let key = self.header.key;
        self.report.key = Some(key);
        self.report.discovery_key = Some(auth::discovery_key(&key));
        let pair = self.header.key_pair.clone();
        self.report.secret = pair.as_ref().is_some_and(|pair| !pair.secret.is_empty());
        self.report.public = pair.as_ref().and_then(|pair| Key::try_from(&pair.public[..]).ok());
        self.auth = match self.header.manifest.clone() {
            Some(manifest) => {
                let wanted = auth::core_key(&manifest);
                let auth = Auth::new(key, manifest);
                if auth.is_none() {
                    let (file, at) = self.log.field("key", 0);
                    let (expected, found) = (Seen::Hash(wanted), Seen::Hash(key));
                    self.found(file, at, "the key of the manifest", expected, found, "hypercore.16");
                }
                auth
            }
            // hypercore.17: as long as no manifest is known.
            None => Some(Auth::compat(key)),
        };
        if let Some(pair) = pair
            && !self.pair_fits(&pair)
        {
            // Behind those of the manifest's signers.
            let signers = self.header.manifest.as_ref().map_or(0, |manifest| manifest.signers.len());
            let (file, at) = self.log.field("public key", signers);
            let (expected, found) = (Seen::Text("a key pair of this core"), Seen::Text("another"));
            self.found(file, at, "the key pair", expected, found, "hypercore.24");
        }
    }

    /// The secret is that of the public key; of a core with one signer, the pair is that signer.
    fn pair_fits(&self, pair: &StoredKeys) -> bool {
        let signer = self.header.manifest.as_ref().and_then(|manifest| match &manifest.signers[..] {
            [signer] => Some(signer.public),
            _ => None,
        });
        if signer.is_some_and(|public| pair.public != public) {
            return false;
        }
        if pair.secret.is_empty() {
            return true;
        }
        let seed: Option<[u8; 32]> = pair.secret.get(..32).and_then(|seed| seed.try_into().ok());
        seed.is_some_and(|seed| {
            let known = KeyPair::from_seed(seed);
            known.public[..] == pair.public && known.secret_key()[..] == pair.secret
        })
    }

    fn found(
        &mut self,
        file: File,
        at: u64,
        what: &'static str,
        expected: Seen,
        found: Seen,
        rule: &'static str,
    ) {
        self.report.find(Finding { file, at, what, block: None, expected, found, rule });
    }
}

#[cfg(test)]
mod tests;
