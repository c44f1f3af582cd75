//! Messages of replication as a line of the transcript tells them: every field, but of blocks, hashes and signatures
//! the lengths only.

use core::fmt::{self, Display, Formatter};

use crate::wire::hypercore::{
    Bitfield, Cancel, Data, Extension, NO_REASON, NOT_AVAILABLE, NoData, Range, Request, Sync, Want, kind,
};
use crate::wire::{Wire, decode};

/// A message, by its number.
pub(super) struct Told<'a>(pub u64, pub &'a [u8]);

impl Told<'_> {
    /// The rule that says what is in it.
    pub fn rule(&self) -> &'static str {
        match self.0 {
            kind::SYNC => "replication.2",
            kind::REQUEST => "replication.3",
            kind::CANCEL => "replication.4",
            kind::DATA => "replication.5",
            kind::NO_DATA => "replication.6",
            kind::WANT | kind::UNWANT => "replication.7",
            kind::BITFIELD => "replication.8",
            kind::RANGE => "replication.9",
            kind::EXTENSION => "replication.10",
            _ => "",
        }
    }

    fn with<T: Wire + Default>(
        &self,
        f: &mut Formatter<'_>,
        show: impl FnOnce(&mut Formatter<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        match decode::<T>(self.1) {
            Ok(message) => show(f, message),
            Err(fault) => write!(f, "malformed: {fault}"),
        }
    }
}

impl Display for Told<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            kind::SYNC => self.with(f, sync),
            kind::REQUEST => self.with(f, request),
            kind::CANCEL => {
                self.with(f, |f, cancel: Cancel| write!(f, "CANCEL of request {}", cancel.request))
            }
            kind::DATA => self.with(f, data),
            kind::NO_DATA => self.with(f, |f, no: NoData| {
                let why = match no.reason {
                    NO_REASON => "not here",
                    NOT_AVAILABLE => "not available",
                    _ => "refused",
                };
                write!(f, "NO DATA for request {}: {why} ({})", no.request, no.reason)
            }),
            kind::WANT => self.with(f, |f, want: Want| {
                write!(
                    f,
                    "WANT {} blocks from {}{}",
                    want.length,
                    want.start,
                    if want.any { ", any" } else { "" }
                )
            }),
            kind::UNWANT => {
                self.with(f, |f, want: Want| write!(f, "UNWANT {} blocks from {}", want.length, want.start))
            }
            kind::BITFIELD => self.with(f, |f, bits: Bitfield| {
                let set: u32 = bits.words.iter().map(|word| word.count_ones()).sum();
                write!(f, "BITFIELD of {} words from {}, {set} blocks", bits.words.len(), bits.start)
            }),
            kind::RANGE => self.with(f, |f, range: Range| {
                let verb = if range.drop { "drops" } else { "has" };
                write!(f, "RANGE {verb} {} blocks from {}", range.length, range.start)
            }),
            kind::EXTENSION => self.with(f, |f, extension: Extension| {
                write!(f, "EXTENSION {:?}, {} bytes", extension.name, extension.message.len())
            }),
            kind => write!(f, "message {kind}, {} bytes", self.1.len()),
        }
    }
}

fn sync(f: &mut Formatter<'_>, sync: Sync) -> fmt::Result {
    write!(f, "SYNC fork {} length {} of yours {}", sync.fork, sync.length, sync.remote_length)?;
    for (said, name) in [
        (sync.can_upgrade, ", can upgrade"),
        (sync.uploading, ", uploading"),
        (sync.downloading, ", downloading"),
        (sync.has_manifest, ", has a manifest"),
    ] {
        if said {
            f.write_str(name)?;
        }
    }
    Ok(())
}

fn request(f: &mut Formatter<'_>, request: Request) -> fmt::Result {
    write!(f, "REQUEST {} fork {}", request.id, request.fork)?;
    if let Some(block) = request.block {
        write!(f, ", block {} with {} levels", block.index, block.nodes)?;
    }
    if let Some(hash) = request.hash {
        write!(f, ", hash {} with {} levels", hash.index, hash.nodes)?;
    }
    if let Some(seek) = request.seek {
        write!(f, ", seek of byte {}", seek.bytes)?;
    }
    if let Some(upgrade) = request.upgrade {
        write!(f, ", upgrade from {} by {}", upgrade.start, upgrade.length)?;
    }
    if request.manifest {
        f.write_str(", manifest")?;
    }
    match request.priority {
        0 => Ok(()),
        priority => write!(f, ", priority {priority}"),
    }
}

fn data(f: &mut Formatter<'_>, data: Data) -> fmt::Result {
    write!(f, "DATA for request {} fork {}", data.request, data.fork)?;
    if let Some(block) = data.block {
        write!(f, ", block {} of {} bytes with {} nodes", block.index, block.value.len(), block.nodes.len())?;
    }
    if let Some(hash) = data.hash {
        write!(f, ", hash {} with {} nodes", hash.index, hash.nodes.len())?;
    }
    if let Some(seek) = data.seek {
        write!(f, ", seek of byte {} with {} nodes", seek.bytes, seek.nodes.len())?;
    }
    if let Some(upgrade) = data.upgrade {
        let nodes = upgrade.nodes.len() + upgrade.additional.len();
        write!(f, ", upgrade from {} by {} with {nodes} nodes", upgrade.start, upgrade.length)?;
    }
    if data.manifest.is_some() { f.write_str(", manifest") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;
    use crate::wire::hypercore::{DataBlock, Node};

    #[test]
    fn blocks_are_told_by_their_length() {
        let node = Node { index: 3, size: 5, hash: [7; 32] };
        let block = DataBlock { index: 9, value: b"secret".to_vec(), nodes: vec![node; 2] };
        let bytes = encode(&Data { request: 4, fork: 1, block: Some(block), ..Data::default() });
        let told = Told(kind::DATA, &bytes);
        assert_eq!(told.to_string(), "DATA for request 4 fork 1, block 9 of 6 bytes with 2 nodes");
        assert_eq!(told.rule(), "replication.5");
    }

    #[test]
    fn every_message_has_words_and_every_byte_is_survived() {
        for number in kind::SYNC..=kind::EXTENSION + 1 {
            for len in 0..40 {
                let bytes: Vec<u8> = (0..len).map(|n: u64| (n * 37 + number) as u8).collect();
                assert!(!Told(number, &bytes).to_string().is_empty());
            }
            assert_eq!(Told(number, &[]).rule().is_empty(), number > kind::EXTENSION);
        }
    }
}
