//! Many cores in one folder, and key pairs from names. Follows corestore.1 to corestore.13.
//!
//! The layout is that of corestore 6 (`primary-key`, `cores/aa/bb/<discovery key>/`), the keys of new cores are those
//! of corestore 7 (the hash of a version 1 manifest).

pub mod audit;

use std::collections::BTreeSet;

use crate::base::disk::{join, read_file, replace_file};
use crate::base::{Cx, Error, Key, Mode, hex};
use crate::crypto::hash;
use crate::crypto::{KeyPair, Secret};
use crate::hypercore::auth::{self, Auth};
use crate::hypercore::{Durability, Hypercore, Open};

const PRIMARY_KEY: &str = "primary-key";
const LOCK: &str = "lock";
const CORES: &str = "cores";
const NAME: &str = "corestore/name";
const NAMESPACE: &str = "corestore/namespace";

/// Keeps the names of one part of a program apart from those of another. The default is the store's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Namespace(pub Key);

impl Namespace {
    /// The namespace `name` within this one. (corestore.3)
    pub fn sub(&self, name: &str) -> Namespace {
        Namespace(hash::blake2b_256(&[&self.0, name.as_bytes()]))
    }
}

/// A store, open and locked. Commands: `core_by_name`, `core_by_key`, `core_by_key_pair`, `core_by_discovery_key`,
/// `list`, `key_pair`, `closed`.
///
/// A core that was handed out is the caller's: it closes it, and tells with `closed`. Until then the same core is
/// `Taken`, because two writers of one folder would damage it; look with `key_by_name` whether you have it already.
#[derive(Debug)]
pub struct Corestore {
    dir: String,
    primary: Secret,
    durability: Durability,
    /// Discovery keys of the cores that are handed out.
    out: BTreeSet<Key>,
}

impl Corestore {
    /// Opens the store in folder `dir`, or makes it. The primary key is on disk before anything is derived from it.
    ///
    /// `Io(Locked)`: another process has it open. `Refused`: the folder holds a store of corestore 7.
    pub fn open(cx: &mut Cx<'_>, dir: &str) -> Result<Corestore, Error> {
        Corestore::open_with(cx, dir, None, Durability::Flush)
    }

    /// The same with a primary key of one's own, and a choice what cores outlive. `Refused` if another primary key is
    /// stored there. (corestore.11)
    pub fn open_with(
        cx: &mut Cx<'_>,
        dir: &str,
        primary: Option<Key>,
        durability: Durability,
    ) -> Result<Corestore, Error> {
        // corestore.12
        if cx.disk.exists(&join(dir, "CORESTORE")) || cx.disk.exists(&join(dir, "db/CURRENT")) {
            return Err(Error::Refused("the folder holds a store of corestore 7"));
        }
        cx.disk.lock(&join(dir, LOCK))?;
        let path = join(dir, PRIMARY_KEY);
        let stored = match read_file(cx.disk, &path, 33)? {
            Some(bytes) => {
                let key: Key = bytes.try_into().map_err(|_| Error::Corrupt(PRIMARY_KEY))?;
                if primary.is_some_and(|wanted| wanted != key) {
                    return Err(Error::Refused("another primary key is stored here"));
                }
                key
            }
            None => {
                let key = primary.unwrap_or_else(|| cx.entropy.bytes32());
                replace_file(cx.disk, &path, Mode::Private, &key)?; // corestore.2
                key
            }
        };
        Ok(Corestore { dir: dir.to_owned(), primary: Secret(stored), durability, out: BTreeSet::new() })
    }

    /// The key pair of a name in the default namespace; the same at every start.
    pub fn key_pair(&self, name: &str) -> KeyPair {
        self.key_pair_in(Namespace::default(), name)
    }

    /// The key pair of a name in a namespace. (corestore.4)
    pub fn key_pair_in(&self, namespace: Namespace, name: &str) -> KeyPair {
        key_pair_of(&self.primary, namespace, name)
    }

    /// The key of the core that `core_by_name` opens.
    pub fn key_by_name(&self, cx: &mut Cx<'_>, namespace: Namespace, name: &str) -> Result<Key, Error> {
        Ok(*self.auth_of_name(cx, namespace, name)?.1.key())
    }

    /// Opens or makes the core of a name in the default namespace.
    pub fn core_by_name(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<Hypercore, Error> {
        self.core_in(cx, Namespace::default(), name)
    }

    /// Opens or makes the core of a name in a namespace. `Invalid` for the empty name, `Taken` if it is handed out.
    pub fn core_in(&mut self, cx: &mut Cx<'_>, namespace: Namespace, name: &str) -> Result<Hypercore, Error> {
        let (pair, auth) = self.auth_of_name(cx, namespace, name)?;
        let mut core = self.open_core(cx, &auth, Some(pair))?;
        if core.user_data(NAME).is_none() {
            // corestore.7
            core.set_user_data(cx, NAME, Some(name.as_bytes()))?;
            core.set_user_data(cx, NAMESPACE, Some(&namespace.0))?;
        }
        Ok(core)
    }

    /// corestore.5, corestore.6: version 1, unless the store has the core of that name from an older one.
    /// (corestore.13)
    fn auth_of_name(
        &self,
        cx: &mut Cx<'_>,
        namespace: Namespace,
        name: &str,
    ) -> Result<(KeyPair, Auth), Error> {
        if name.is_empty() {
            return Err(Error::Invalid("the empty name"));
        }
        let pair = self.key_pair_in(namespace, name);
        let auth = |version| {
            let manifest = auth::single_signer(version, pair.public);
            Auth::new(auth::core_key(&manifest), manifest)
        };
        let choices = [auth(1), Some(Auth::compat(pair.public)), auth(0)];
        let mut choices: Vec<Auth> = choices.into_iter().flatten().collect();
        let stored = choices.iter().position(|auth| {
            let folder = self.folder(&auth::discovery_key(auth.key()));
            cx.disk.exists(&format!("{folder}/oplog"))
        });
        let auth = choices.swap_remove(stored.unwrap_or(0));
        Ok((pair, auth))
    }

    /// Opens the core of a key, or makes an empty one for a peer to fill. `Taken` if it is handed out.
    pub fn core_by_key(&mut self, cx: &mut Cx<'_>, key: &Key) -> Result<Hypercore, Error> {
        let discovery_key = auth::discovery_key(key);
        self.open_in(cx, &discovery_key, Open { key: Some(*key), ..Open::default() })
    }

    /// Opens or makes the core of which that pair is the only signer, manifest version 1. (corestore.8)
    pub fn core_by_key_pair(&mut self, cx: &mut Cx<'_>, pair: KeyPair) -> Result<Hypercore, Error> {
        let manifest = auth::single_signer(1, pair.public);
        let auth = Auth::new(auth::core_key(&manifest), manifest).ok_or(Error::Invalid("key pair"))?;
        self.open_core(cx, &auth, Some(pair))
    }

    /// Opens the core that a peer asks for, if it is stored here. `Taken` if it is handed out.
    pub fn core_by_discovery_key(
        &mut self,
        cx: &mut Cx<'_>,
        discovery_key: &Key,
    ) -> Result<Option<Hypercore>, Error> {
        match self.open_in(cx, discovery_key, Open { create: false, ..Open::default() }) {
            Ok(core) => Ok(Some(core)),
            Err(Error::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_core(
        &mut self,
        cx: &mut Cx<'_>,
        auth: &Auth,
        key_pair: Option<KeyPair>,
    ) -> Result<Hypercore, Error> {
        let (key, manifest) = (*auth.key(), Some(auth.manifest().clone()));
        let open = Open { key: Some(key), manifest, key_pair, ..Open::default() };
        self.open_in(cx, &auth::discovery_key(&key), open)
    }

    /// Follows corestore.10.
    fn open_in(&mut self, cx: &mut Cx<'_>, discovery_key: &Key, open: Open) -> Result<Hypercore, Error> {
        if self.out.contains(discovery_key) {
            return Err(Error::Taken);
        }
        let open = Open { durability: self.durability, ..open };
        let mut core = Hypercore::open(cx, &self.folder(discovery_key), open)?;
        if core.discovery_key() != discovery_key {
            core.close(cx)?;
            return Err(Error::Corrupt("a core lies in the folder of another"));
        }
        self.out.insert(*discovery_key);
        Ok(core)
    }

    /// The caller has closed a core that it got from here.
    pub fn closed(&mut self, discovery_key: &Key) {
        self.out.remove(discovery_key);
    }

    /// The discovery keys of all cores that are stored, sorted. (corestore.9)
    pub fn list(&self, cx: &mut Cx<'_>) -> Result<Vec<Key>, Error> {
        let folders = folders(cx, &self.dir)?;
        let key =
            |folder: &String| hex::decode(folder.rsplit('/').next()?).and_then(|key| key.try_into().ok());
        Ok(folders.iter().filter_map(key).collect())
    }

    /// corestore.1: where a core lies.
    fn folder(&self, discovery_key: &Key) -> String {
        folder(&self.dir, discovery_key)
    }
}

fn folder(dir: &str, discovery_key: &Key) -> String {
    let name = hex::encode(discovery_key);
    join(dir, &format!("{CORES}/{}/{}/{name}", &name[..2], &name[2..4]))
}

/// The folders of all cores that are stored, sorted. (corestore.9)
fn folders(cx: &mut Cx<'_>, dir: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let top = join(dir, CORES);
    for first in cx.disk.list(&top)? {
        for second in cx.disk.list(&format!("{top}/{first}"))? {
            for name in cx.disk.list(&format!("{top}/{first}/{second}"))? {
                let key = hex::decode(&name).and_then(|bytes| Key::try_from(bytes).ok());
                let folder = key.map(|key| folder(dir, &key));
                found.extend(folder.filter(|folder| {
                    folder.ends_with(&format!("/{first}/{second}/{name}"))
                        && cx.disk.exists(&format!("{folder}/oplog"))
                }));
            }
        }
    }
    Ok(found)
}

/// The key pair of a name in a namespace of the store with that primary key. (corestore.4)
fn key_pair_of(primary: &Secret, namespace: Namespace, name: &str) -> KeyPair {
    let constant = hash::namespace("corestore", 0);
    let seed = hash::keyed_256(&primary.0, &[&constant, &namespace.0, name.as_bytes()]);
    KeyPair::from_seed(seed)
}

#[cfg(test)]
mod tests;
