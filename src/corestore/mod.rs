//! Many cores in one folder, and key pairs from names. Follows corestore.1 to corestore.13 and corestore.19.
//!
//! The layout is that of corestore 6 (`primary-key`, `cores/aa/bb/<discovery key>/`), the keys of new cores are those
//! of corestore 7 (the hash of a version 1 manifest).

pub mod audit;
mod statics;
mod stored;
mod want;

pub use stored::Stored;
pub use want::{Found, Want};

use std::collections::{BTreeMap, BTreeSet};

use crate::base::disk::{join, read_file, replace_file};
use crate::base::{Cx, Error, Key, Mode, hex};
use crate::crypto::hash;
use crate::crypto::{KeyPair, Secret};
use crate::hypercore::auth::{self, Auth};
use crate::hypercore::{Durability, Hypercore, Open};

const PRIMARY_KEY: &str = "primary-key";
const LOCK: &str = "lock";
/// No folder has this name: a `Disk` refuses it.
const DETACHED: &str = "..";
const CORES: &str = "cores";
const NAME: &str = "corestore/name";
const NAMESPACE: &str = "corestore/namespace";

/// Keeps the names of one part of a program apart from those of another. The default is the store's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Namespace(pub Key);

impl Namespace {
    /// The namespace `name` within this one. (corestore.3)
    pub fn sub(&self, name: impl AsRef<[u8]>) -> Namespace {
        Namespace(hash::blake2b_256(&[&self.0, name.as_ref()]))
    }
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// None: the stored one, or a new one for a new store.
    pub primary: Option<Key>,
    /// What changes of its cores outlive.
    pub durability: Durability,
    /// Take no lock and change no file; all cores are opened for reading only. Beside a process that writes it sees
    /// the cores as they are when they are opened, and an opening that fails in between can be tried again.
    pub read_only: bool,
    /// Of the manifests of new cores with one signer: 0, 1 or 2.
    pub manifest_version: u64,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { primary: None, durability: Durability::Flush, read_only: false, manifest_version: 1 }
    }
}

/// A store, open and locked. Commands: `find`, `open_found`, `core`, `core_by_name`, `core_by_key`, `core_by_key_pair`,
/// `core_by_discovery_key`, `list`, `list_in`, `stored`, `key_pair`, `staticify`, `closed`, `close`.
///
/// A core that was handed out is the caller's: it closes it, and tells with `closed`. Until then the same core is
/// `Taken`, because two writers of one folder would damage it; look with `find` whether you have it already.
#[derive(Debug)]
pub struct Corestore {
    dir: String,
    /// None: a store without one, opened for reading.
    primary: Option<Secret>,
    durability: Durability,
    read_only: bool,
    manifest_version: u64,
    /// Discovery keys of the cores that are handed out.
    out: BTreeSet<Key>,
    /// The discovery keys of named cores by namespace and name, once they were looked for. (corestore.6)
    aliases: Option<BTreeMap<(Key, Vec<u8>), Key>>,
}

impl Corestore {
    /// Opens the store in folder `dir`, or makes it. The primary key is on disk before anything is derived from it.
    ///
    /// `Io(Locked)`: another process has it open. `Refused`: the folder holds a store of corestore 7. `Corrupt`: the
    /// primary key is damaged, or lost while there are cores.
    pub fn open(cx: &mut Cx<'_>, dir: &str) -> Result<Corestore, Error> {
        Corestore::open_with(cx, dir, &StoreOptions::default())
    }

    /// A store that finds no cores and makes none: its owner puts into it what lies elsewhere. It takes no lock.
    pub fn detached() -> Corestore {
        Corestore {
            dir: DETACHED.to_owned(),
            primary: None,
            durability: Durability::Flush,
            read_only: true,
            manifest_version: 1,
            out: BTreeSet::new(),
            aliases: None,
        }
    }

    /// The same with options. Also `Refused` if a primary key is given and another is stored; `Missing` if there is no
    /// store and none may be made. (corestore.11, corestore.16)
    pub fn open_with(cx: &mut Cx<'_>, dir: &str, options: &StoreOptions) -> Result<Corestore, Error> {
        // corestore.12
        if cx.disk.exists(&join(dir, "CORESTORE")) || cx.disk.exists(&join(dir, "db/CURRENT")) {
            return Err(Error::Refused("the folder holds a store of corestore 7"));
        }
        if options.manifest_version > 2 {
            return Err(Error::Invalid("the version of manifests"));
        }
        if !options.read_only {
            cx.disk.lock(&join(dir, LOCK))?;
        }
        let primary = match primary_key(cx, dir, options) {
            Ok(primary) => primary,
            Err(error) => {
                if !options.read_only {
                    cx.disk.unlock(&join(dir, LOCK));
                }
                return Err(error);
            }
        };
        Ok(Corestore {
            dir: dir.to_owned(),
            primary: primary.map(Secret),
            durability: options.durability,
            read_only: options.read_only,
            manifest_version: options.manifest_version,
            out: BTreeSet::new(),
            aliases: None,
        })
    }

    /// Gives the lock back. Cores that are handed out have to be closed before.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        if !self.read_only {
            cx.disk.unlock(&join(&self.dir, LOCK));
            self.read_only = true;
        }
    }

    /// Whether it was opened for reading only, or is closed.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Its primary key, from which all its key pairs follow. None: it has none, and is opened for reading only.
    pub fn primary_key(&self) -> Option<&Key> {
        self.primary.as_ref().map(|primary| &primary.0)
    }

    /// The key pair of a name in the default namespace; the same at every start.
    pub fn key_pair(&self, name: &str) -> Result<KeyPair, Error> {
        self.key_pair_in(Namespace::default(), name)
    }

    /// The key pair of a name in a namespace. `Missing`: the store has no primary key. (corestore.4)
    pub fn key_pair_in(&self, namespace: Namespace, name: &str) -> Result<KeyPair, Error> {
        let primary = self.primary.as_ref().ok_or(Error::Missing)?;
        Ok(key_pair_of(primary, namespace, name))
    }

    /// The key of the core that a name in a namespace means.
    pub fn key_by_name(&mut self, cx: &mut Cx<'_>, namespace: Namespace, name: &str) -> Result<Key, Error> {
        let found = self.find(cx, &Want::name_in(namespace, name))?;
        found.open.key.ok_or(Error::Missing)
    }

    /// Which core is meant, and how it is opened: nothing is made yet. `Invalid` for the empty name, and if nothing
    /// says which core is meant.
    pub fn find(&mut self, cx: &mut Cx<'_>, want: &Want<'_>) -> Result<Found, Error> {
        let mut found = match want {
            Want { name: Some((namespace, name)), .. } => self.find_name(cx, *namespace, name, want)?,
            Want { key: Some(key), .. } => Found {
                discovery_key: auth::discovery_key(key),
                open: Open {
                    key: Some(*key),
                    manifest: want.manifest.clone(),
                    key_pair: want.key_pair.clone(),
                    ..Open::default()
                },
                alias: None,
            },
            Want { manifest: Some(manifest), key_pair, .. } => {
                let key = auth::core_key(manifest);
                let auth = Auth::new(key, manifest.clone()).ok_or(Error::Invalid("the manifest"))?;
                found_of(&auth, key_pair.clone())
            }
            Want { key_pair: Some(pair), .. } => {
                let auth = self.new_auth(pair).ok_or(Error::Invalid("key pair"))?;
                found_of(&auth, Some(pair.clone()))
            }
            Want { discovery_key: Some(discovery_key), .. } => Found {
                discovery_key: *discovery_key,
                open: Open { create: false, ..Open::default() },
                alias: None,
            },
            Want { .. } => return Err(Error::Invalid("no core is named")),
        };
        found.open.create &= want.create;
        found.open.read_only = want.read_only || self.read_only;
        found.open.durability = self.durability;
        Ok(found)
    }

    /// Opens what was found. `Missing` if it is not stored and none may be made, `Taken` if it is handed out.
    /// (corestore.10)
    pub fn open_found(&mut self, cx: &mut Cx<'_>, found: Found) -> Result<Hypercore, Error> {
        let Found { discovery_key, open, alias } = found;
        if self.out.contains(&discovery_key) {
            return Err(Error::Taken);
        }
        let mut core = Hypercore::open(cx, &self.folder(&discovery_key), open)?;
        if core.discovery_key() != &discovery_key {
            core.close(cx)?;
            return Err(Error::Corrupt("a core lies in the folder of another"));
        }
        if let Some((namespace, name)) = alias
            && core.user_data(NAME).is_none()
            && !core.read_only()
        {
            let noted = core
                .set_user_data(cx, NAMESPACE, Some(&namespace.0))
                .and_then(|()| core.set_user_data(cx, NAME, Some(name.as_bytes()))); // corestore.7
            if let Err(error) = noted {
                let _ = core.close(cx);
                return Err(error);
            }
            if let Some(aliases) = &mut self.aliases {
                aliases.insert((namespace.0, name.into_bytes()), discovery_key);
            }
        }
        self.out.insert(discovery_key);
        Ok(core)
    }

    /// Opens or makes a core. See `find` and `open_found`.
    pub fn core(&mut self, cx: &mut Cx<'_>, want: &Want<'_>) -> Result<Hypercore, Error> {
        let found = self.find(cx, want)?;
        self.open_found(cx, found)
    }

    /// Opens or makes the core of a name in the default namespace.
    pub fn core_by_name(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<Hypercore, Error> {
        self.core(cx, &Want::name(name))
    }

    /// Opens or makes the core of a name in a namespace. `Invalid` for the empty name, `Taken` if it is handed out.
    pub fn core_in(&mut self, cx: &mut Cx<'_>, namespace: Namespace, name: &str) -> Result<Hypercore, Error> {
        self.core(cx, &Want::name_in(namespace, name))
    }

    /// Opens the core of a key, or makes an empty one for a peer to fill. `Taken` if it is handed out.
    pub fn core_by_key(&mut self, cx: &mut Cx<'_>, key: &Key) -> Result<Hypercore, Error> {
        self.core(cx, &Want::key(*key))
    }

    /// Opens or makes the core of which that pair is the only signer. (corestore.8)
    pub fn core_by_key_pair(&mut self, cx: &mut Cx<'_>, pair: KeyPair) -> Result<Hypercore, Error> {
        self.core(cx, &Want::key_pair(pair))
    }

    /// Opens the core that a peer asks for, if it is stored here. `Taken` if it is handed out.
    pub fn core_by_discovery_key(
        &mut self,
        cx: &mut Cx<'_>,
        discovery_key: &Key,
    ) -> Result<Option<Hypercore>, Error> {
        match self.core(cx, &Want::discovery_key(*discovery_key)) {
            Ok(core) => Ok(Some(core)),
            Err(Error::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// corestore.5, corestore.6: the core that has that name; else the one that follows from it. (corestore.13)
    fn find_name(
        &mut self,
        cx: &mut Cx<'_>,
        namespace: Namespace,
        name: &str,
        want: &Want<'_>,
    ) -> Result<Found, Error> {
        if name.is_empty() {
            return Err(Error::Invalid("the empty name"));
        }
        let pair = self.key_pair_in(namespace, name).ok();
        let (mut derived, mut stored) = (Vec::new(), None);
        if let Some(pair) = &pair {
            let auth = |version| {
                let manifest = auth::single_signer(version, pair.public);
                Auth::new(auth::core_key(&manifest), manifest)
            };
            let auths = [auth(1), Some(Auth::compat(pair.public)), auth(0), auth(2)];
            derived.extend(auths.into_iter().flatten());
            for auth in &derived {
                let folder = self.folder(&auth::discovery_key(auth.key()));
                let there = Stored::read(cx, &folder)?;
                let named = there.as_ref().and_then(|there| there.alias.as_ref());
                if named.is_some_and(|(own, text)| *own == namespace && text == name.as_bytes()) {
                    return Ok(found_of(auth, Some(pair.clone())));
                }
                if there.is_some() && stored.is_none() {
                    stored = Some(found_of(auth, Some(pair.clone())));
                }
            }
        }
        if let Some(discovery_key) = self.alias(cx, namespace, name)? {
            let open = Open { create: false, ..Open::default() };
            let there = Stored::read(cx, &self.folder(&discovery_key))?;
            return Ok(Found {
                discovery_key,
                open: Open { key: there.map(|there| there.key), ..open },
                alias: None,
            });
        }
        let pair = pair.ok_or(Error::Missing)?;
        let mut found = match (&want.manifest, stored) {
            (Some(manifest), _) => {
                let key = auth::core_key(manifest);
                let auth = Auth::new(key, manifest.clone()).ok_or(Error::Invalid("the manifest"))?;
                found_of(&auth, Some(pair))
            }
            (None, Some(stored)) => stored,
            (None, None) => found_of(&self.new_auth(&pair).ok_or(Error::Invalid("key pair"))?, Some(pair)),
        };
        found.alias = Some((namespace, name.to_owned()));
        Ok(found)
    }

    /// The core that a name was given to, looked up among all of them the first time. One that cannot be read has none.
    fn alias(&mut self, cx: &mut Cx<'_>, namespace: Namespace, name: &str) -> Result<Option<Key>, Error> {
        if self.aliases.is_none() {
            let folders = folders(cx, &self.dir)?;
            let mut aliases = BTreeMap::new();
            for folder in folders {
                if let Ok(Some(Stored { discovery_key, alias: Some((own, name)), .. })) =
                    Stored::read(cx, &folder)
                    && folder == self.folder(&discovery_key)
                {
                    aliases.entry((own.0, name)).or_insert(discovery_key);
                }
            }
            self.aliases = Some(aliases);
        }
        let aliases = self.aliases.as_ref();
        Ok(aliases.and_then(|aliases| aliases.get(&(namespace.0, name.as_bytes().to_vec()))).copied())
    }

    /// Of a new core whose only signer is that pair.
    fn new_auth(&self, pair: &KeyPair) -> Option<Auth> {
        let manifest = auth::single_signer(self.manifest_version, pair.public);
        Auth::new(auth::core_key(&manifest), manifest)
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

    /// The discovery keys of the cores that were named in a namespace, sorted; those that cannot be read are not among
    /// them. (corestore.9)
    pub fn list_in(&self, cx: &mut Cx<'_>, namespace: Namespace) -> Result<Vec<Key>, Error> {
        let mut keys = self.list(cx)?;
        keys.retain(|key| {
            let stored = Stored::read(cx, &self.folder(key)).ok().flatten();
            stored.and_then(|stored| stored.alias).is_some_and(|(own, _)| own == namespace)
        });
        Ok(keys)
    }

    /// What is written down about a stored core, open or not. None: it is not stored. (corestore.15)
    pub fn stored(&self, cx: &mut Cx<'_>, discovery_key: &Key) -> Result<Option<Stored>, Error> {
        Stored::read(cx, &self.folder(discovery_key))
    }

    /// corestore.1: where a core lies.
    fn folder(&self, discovery_key: &Key) -> String {
        folder(&self.dir, discovery_key)
    }
}

/// The primary key of a store that is being opened. (corestore.2, corestore.16)
fn primary_key(cx: &mut Cx<'_>, dir: &str, options: &StoreOptions) -> Result<Option<Key>, Error> {
    let path = join(dir, PRIMARY_KEY);
    if let Some(bytes) = read_file(cx.disk, &path, 33)? {
        let key: Key = bytes.try_into().map_err(|_| Error::Corrupt("primary-key: not 32 bytes"))?;
        if options.primary.is_some_and(|wanted| wanted != key) {
            return Err(Error::Refused("another primary key is stored here"));
        }
        return Ok(Some(key));
    }
    let cores = !folders(cx, dir)?.is_empty();
    if options.read_only {
        return if cores { Ok(options.primary) } else { Err(Error::Missing) };
    }
    if cores && options.primary.is_none() {
        return Err(Error::Corrupt("primary-key: it is lost, but there are cores; put it back, or give it"));
    }
    let key = options.primary.unwrap_or_else(|| cx.entropy.bytes32());
    replace_file(cx.disk, &path, Mode::Private, &key)?; // corestore.2
    Ok(Some(key))
}

fn found_of(auth: &Auth, key_pair: Option<KeyPair>) -> Found {
    let (key, manifest) = (*auth.key(), Some(auth.manifest().clone()));
    Found {
        discovery_key: auth::discovery_key(&key),
        open: Open { key: Some(key), manifest, key_pair, ..Open::default() },
        alias: None,
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
