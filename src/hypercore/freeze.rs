//! Two trees that were signed for one fork and length: nobody can say which is the core. Follows hypercore.97,
//! replication.95, replication.96.

use super::auth::{Auth, TreeState};
use super::{Hypercore, NO_DATA, proof, tree};
use crate::base::{Cx, Error, trace};
use crate::wire::hypercore::{Data, DataUpgrade};
use crate::wire::oplog::{Entry, UserData};
use crate::wire::{decode, encode};

/// The user data that says that a core is frozen: the proof of the other tree.
pub(super) const FROZEN: &str = "seckel/frozen";

impl Hypercore {
    /// Whether two trees were signed for one length and fork. Such a core can be read, and changes no more.
    /// (hypercore.97)
    pub fn frozen(&self) -> bool {
        self.user_data(FROZEN).is_some()
    }

    /// What a frozen core was frozen for: the proof of the other tree, signed as well as ours.
    pub fn conflict(&self) -> Option<Data> {
        decode(self.user_data(FROZEN)?).ok()
    }

    /// Looks whether a proof of a whole tree, from block 0 on, is of another tree of the same fork than ours, and
    /// signed. Then the core is frozen, in its files as well, and it is true. A proof that is not good, of another
    /// fork, or longer than ours says nothing: false. (hypercore.97)
    pub fn judge(&mut self, cx: &mut Cx<'_>, data: &Data) -> Result<bool, Error> {
        self.check_write()?;
        let (Some(auth), Some(upgrade)) = (&self.auth, &data.upgrade) else { return Ok(false) };
        let length = upgrade.start.saturating_add(upgrade.length);
        if upgrade.start != 0 || data.fork != self.fork || length > self.length() || self.frozen() {
            return Ok(false);
        }
        let alone =
            Data { fork: data.fork, upgrade: Some(DataUpgrade { ..upgrade.clone() }), ..Data::default() };
        if !proves_a_tree(auth, &alone) {
            return Ok(false);
        }
        // Roots only, since nothing else was asked for: their hash is that of the tree of that length.
        let theirs = tree::tree_hash(&upgrade.nodes);
        match self.gather(cx, length, &Default::default()) {
            Ok(ours) if ours.hash() != theirs => {}
            Ok(_) | Err(Error::Refused(_)) => return Ok(false), // the same, or a root of ours is not here
            Err(error) => return Err(error),
        }
        trace!(
            cx, State, "hypercore", part: "", rule: "hypercore.97",
            "two trees are signed for fork {}, length {length}: frozen", data.fork
        );
        let update = UserData { key: FROZEN.to_owned(), value: encode(&alone) };
        self.add_entry(cx, Entry { user_data: Some(update.clone()), ..Entry::default() }, NO_DATA)?;
        self.keep_user_data(update);
        self.written(cx);
        Ok(true)
    }

    /// Whether the core may change: it is open for that and not frozen.
    pub(super) fn check_change(&self) -> Result<(), Error> {
        self.check_write()?;
        if self.frozen() {
            return Err(Error::Refused("the core is frozen: two trees are signed for one length"));
        }
        Ok(())
    }
}

/// Whether an answer with nothing but a tree from block 0 on is good and signed.
fn proves_a_tree(auth: &Auth, data: &Data) -> bool {
    let prologue = auth.manifest().prologue.map(|prologue| (prologue.hash, prologue.length));
    let Ok(grown) = proof::verify_alone(prologue, data) else { return false };
    let signature = data.upgrade.as_ref().and_then(|upgrade| upgrade.signature.as_deref());
    let state = TreeState { roots: &grown.roots, length: grown.length, fork: data.fork };
    grown.grew && auth.verify(&state, signature.unwrap_or_default())
}
