//! Which core of a store is meant, and how it is to be opened.

use super::Namespace;
use crate::base::Key;
use crate::crypto::KeyPair;
use crate::hypercore::Open;
use crate::wire::manifest::Manifest;

/// Which core is meant: by name, key, manifest, key pair or discovery key, the first of them that is given.
///
/// `Want::name("posts")`, `Want::key(key)`; more by its fields: `Want { create: false, ..Want::name("posts") }`.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// The store derives its key pair from it.
    pub name: Option<(Namespace, &'a str)>,
    pub key: Option<Key>,
    /// With a name: who may sign besides the key pair of that name.
    pub manifest: Option<Manifest>,
    /// Alone it stands for the core whose only signer it is.
    pub key_pair: Option<KeyPair>,
    /// Must be stored.
    pub discovery_key: Option<Key>,
    /// Make the core if it is not stored. A discovery key alone makes none.
    pub create: bool,
    /// Open it for reading only.
    pub read_only: bool,
}

impl Default for Want<'_> {
    fn default() -> Self {
        Want {
            name: None,
            key: None,
            manifest: None,
            key_pair: None,
            discovery_key: None,
            create: true,
            read_only: false,
        }
    }
}

impl<'a> Want<'a> {
    /// The core of a name in the store's own namespace.
    pub fn name(name: &'a str) -> Want<'a> {
        Want::name_in(Namespace::default(), name)
    }

    pub fn name_in(namespace: Namespace, name: &'a str) -> Want<'a> {
        Want { name: Some((namespace, name)), ..Want::default() }
    }

    pub fn key(key: Key) -> Want<'a> {
        Want { key: Some(key), ..Want::default() }
    }

    /// The core of which that pair is the only signer. (corestore.8)
    pub fn key_pair(pair: KeyPair) -> Want<'a> {
        Want { key_pair: Some(pair), ..Want::default() }
    }

    /// The core with that manifest; a key pair besides makes it writable if it may sign.
    pub fn manifest(manifest: Manifest) -> Want<'a> {
        Want { manifest: Some(manifest), ..Want::default() }
    }

    /// The core that peers ask for by that key, if it is stored.
    pub fn discovery_key(discovery_key: Key) -> Want<'a> {
        Want { discovery_key: Some(discovery_key), ..Want::default() }
    }
}

/// A core that was found: what `Corestore::open_found` opens. (corestore.6, corestore.8)
#[derive(Clone, Debug)]
pub struct Found {
    pub discovery_key: Key,
    pub(super) open: Open,
    /// Written down with the core when it is made.
    pub(super) alias: Option<(Namespace, String)>,
}

impl Found {
    /// The key pair that makes the core writable, unless the one that is stored with it does.
    pub fn key_pair(&self) -> Option<&KeyPair> {
        self.open.key_pair.as_ref()
    }
}
