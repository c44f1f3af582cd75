//! The cores of a store, one by one, and what the store adds: the folders' names, the primary key. Changes nothing and
//! takes no lock. Follows corestore.14. Read `hypercore/audit.rs` first.

use super::{NAME, NAMESPACE, Namespace, PRIMARY_KEY, folders, key_pair_of};
use crate::base::disk::{join, read_file};
use crate::base::{Cx, Error, Key, hex};
use crate::crypto::Secret;
use crate::hypercore::audit::Audit;

/// What a folder holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Core,
    Store,
    /// Of corestore 7, whose database is not read here. (corestore.12)
    NewStore,
    Neither,
}

pub fn kind(cx: &mut Cx<'_>, dir: &str) -> Result<Kind, Error> {
    if cx.disk.exists(&join(dir, "CORESTORE")) || cx.disk.exists(&join(dir, "db/CURRENT")) {
        return Ok(Kind::NewStore);
    }
    if cx.disk.exists(&join(dir, "oplog")) {
        return Ok(Kind::Core);
    }
    let store =
        cx.disk.exists(&join(dir, PRIMARY_KEY)) || !cx.disk.list(&join(dir, super::CORES))?.is_empty();
    Ok(if store { Kind::Store } else { Kind::Neither })
}

/// Something that is wrong with a store beside its cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file or folder; None: that of the core.
    pub file: Option<&'static str>,
    pub what: &'static str,
    pub rule: &'static str,
}

/// A store whose cores are audited. `cores` are their folders, sorted; give what `hypercore::audit` says of each to
/// `judge`, and ask `finish` at the end. (corestore.14)
pub struct StoreAudit {
    pub cores: Vec<String>,
    primary: Option<Secret>,
    primary_len: Option<usize>,
    /// Cores with a name whose key pair follows from the primary key, and cores with one that does not.
    derived: u64,
    strange: u64,
}

impl StoreAudit {
    pub fn open(cx: &mut Cx<'_>, dir: &str) -> Result<StoreAudit, Error> {
        let bytes = read_file(cx.disk, &join(dir, PRIMARY_KEY), 33)?;
        let primary_len = bytes.as_ref().map(Vec::len);
        let primary = bytes.and_then(|bytes| Key::try_from(bytes).ok()).map(Secret);
        let cores = folders(cx, dir)?;
        Ok(StoreAudit { cores, primary, primary_len, derived: 0, strange: 0 })
    }

    /// What is wrong with a core as part of this store.
    pub fn judge(&mut self, folder: &str, audit: &Audit) -> Option<Fault> {
        let named =
            audit.discovery_key.is_none_or(|key| folder.ends_with(&format!("/{}", hex::encode(&key))));
        if !named {
            let what = "the folder's name is not the core's discovery key";
            return Some(Fault { file: None, what, rule: "corestore.1" });
        }
        let find = |name| audit.user_data.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..]);
        let name = find(NAME).and_then(|name| core::str::from_utf8(name).ok());
        let namespace = find(NAMESPACE).map_or(Some(Key::default()), |bytes| Key::try_from(bytes).ok());
        if let (Some(name), Some(namespace), Some(primary)) = (name, namespace, &self.primary)
            && audit.secret
        {
            let pair = key_pair_of(primary, Namespace(namespace), name);
            if Some(pair.public) == audit.public {
                self.derived += 1;
            } else {
                self.strange += 1;
            }
        }
        None
    }

    /// What is wrong with the store itself, now that all its cores were judged.
    pub fn finish(&self) -> Option<Fault> {
        let fault = |what, rule| Some(Fault { file: Some(PRIMARY_KEY), what, rule });
        match self.primary_len {
            Some(32) if self.strange > 0 && self.derived == 0 => {
                fault("no named core's key pair follows from it", "corestore.4")
            }
            Some(32) => None,
            Some(_) => fault("it has not 32 bytes", "corestore.2"),
            None => fault("it is missing", "corestore.2"),
        }
    }

    /// True if nothing vouches for the bytes of the primary key: no core has a name.
    pub fn blind(&self) -> bool {
        self.derived == 0
    }
}
