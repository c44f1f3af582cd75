//! What is written down about a core, read without opening it: whose it is, and its name. Follows corestore.7 and
//! corestore.15.

use super::{NAME, NAMESPACE, Namespace};
use crate::base::{Cx, DiskError, Error, Key, Mode};
use crate::hypercore::auth;
use crate::hypercore::oplog::Oplog;
use crate::wire::manifest::Manifest;

/// What the header of a stored core says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub key: Key,
    pub discovery_key: Key,
    /// None: not learned yet.
    pub manifest: Option<Manifest>,
    /// The public key of the key pair that is stored with it.
    pub public: Option<Key>,
    /// The secret key is stored, too.
    pub secret: bool,
    /// The namespace and name under which it was made.
    pub alias: Option<(Namespace, Vec<u8>)>,
}

impl Stored {
    /// Reads the core in `folder`. None: there is none, or it was never written whole.
    pub(super) fn read(cx: &mut Cx<'_>, folder: &str) -> Result<Option<Stored>, Error> {
        let mut opened = match Oplog::open(cx, folder, Mode::Read) {
            Ok(opened) => opened,
            Err(Error::Io(DiskError::Missing)) => return Ok(None),
            Err(error) => return Err(error),
        };
        opened.oplog.close(cx);
        let Some(header) = opened.header else { return Ok(None) };
        let find = |name: &str| {
            let later = opened.entries.iter().rev().filter_map(|found| found.entry.user_data.as_ref());
            let all = later.chain(&header.user_data);
            all.into_iter().find(|data| data.key == name).map(|data| data.value.clone())
        };
        let name = find(NAME).filter(|name| !name.is_empty());
        // corestore.7: one without a namespace is of the store's own.
        let namespace = find(NAMESPACE).map_or(Some(Key::default()), |bytes| Key::try_from(bytes).ok());
        let public = |keys: &crate::wire::oplog::StoredKeys| Key::try_from(&keys.public[..]).ok();
        Ok(Some(Stored {
            key: header.key,
            discovery_key: auth::discovery_key(&header.key),
            public: header.key_pair.as_ref().and_then(public),
            secret: header.key_pair.as_ref().is_some_and(|keys| !keys.secret.is_empty()),
            alias: name.zip(namespace).map(|(name, namespace)| (Namespace(namespace), name)),
            manifest: header.manifest,
        }))
    }
}
