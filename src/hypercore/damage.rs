//! Files of a core that are not there any more: found before anything is made in their place. Follows hypercore.151.

use super::flat_tree;
use crate::base::disk::join;
use crate::base::{Cx, DiskError, Error, Mode};
use crate::wire::decode;
use crate::wire::oplog::{Header, StoredNode};

const NODE: u64 = StoredNode::BYTES as u64;

/// How long a file is; None: it is not there.
fn len(cx: &mut Cx<'_>, dir: &str, name: &str) -> Result<Option<u64>, Error> {
    let file = match cx.disk.open(&join(dir, name), Mode::Read) {
        Ok(file) => file,
        Err(DiskError::Missing) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let len = cx.disk.len(file);
    cx.disk.close(file);
    Ok(Some(len?))
}

/// Before the oplog is made.
pub(super) fn check_log(cx: &mut Cx<'_>, dir: &str) -> Result<(), Error> {
    if cx.disk.exists(&join(dir, "oplog")) { Ok(()) } else { check_none(cx, dir) }
}

/// No header was ever written: then nothing else was.
pub(super) fn check_none(cx: &mut Cx<'_>, dir: &str) -> Result<(), Error> {
    for name in ["tree", "bitfield", "data"] {
        if len(cx, dir, name)?.is_some_and(|len| len > 0) {
            return Err(Error::Corrupt("oplog: it is lost, but other files of the core are there"));
        }
    }
    Ok(())
}

/// What a header stands for was written before it. `alone`: there is no other header, and no entry since.
pub(super) fn check_files(cx: &mut Cx<'_>, dir: &str, header: &Header, alone: bool) -> Result<(), Error> {
    let (length, contiguous) = (header.tree.length, header.contiguous_length);
    let tree = len(cx, dir, "tree")?;
    if length > 0 && tree.is_none() {
        return Err(Error::Corrupt("tree: it is lost"));
    }
    // Nodes come into the tree by entries only, and those go when a header stands for them.
    let end = length.checked_mul(2).and_then(|nodes| nodes.saturating_sub(1).checked_mul(NODE));
    if alone && tree.zip(end).is_some_and(|(len, end)| len > end) {
        return Err(Error::Corrupt("oplog: the newer header is lost"));
    }
    if contiguous == 0 || contiguous > length {
        return Ok(());
    }
    if len(cx, dir, "bitfield")?.is_none_or(|len| len == 0) {
        return Err(Error::Corrupt("bitfield: it is lost"));
    }
    if len(cx, dir, "data")?.is_none_or(|len| len == 0) && has_bytes(cx, dir, contiguous)? {
        return Err(Error::Corrupt("data: it is lost"));
    }
    Ok(())
}

/// Whether the first `blocks` blocks, which were all here, have a byte.
fn has_bytes(cx: &mut Cx<'_>, dir: &str, blocks: u64) -> Result<bool, Error> {
    let file = cx.disk.open(&join(dir, "tree"), Mode::Read)?;
    let mut any = Ok(false);
    for index in flat_tree::full_roots(blocks) {
        let mut bytes = [0; NODE as usize];
        match cx.disk.read_at(file, index.saturating_mul(NODE), &mut bytes) {
            Ok(read) if read == bytes.len() => {
                if decode::<StoredNode>(&bytes).is_ok_and(|node| node.size > 0) {
                    any = Ok(true);
                }
            }
            Ok(_) => {}
            Err(error) => any = Err(error.into()),
        }
    }
    cx.disk.close(file);
    any
}
