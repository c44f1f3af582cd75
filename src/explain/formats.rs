//! Bytes of one format alone.

use super::section::Section;
use super::{datagram, values};
use crate::wire::{self, udx};

/// A block of a hyperbee, header or node.
const BLOCK: &str = "hyperbee.block";
/// What a whole datagram may hold.
const DATAGRAM: &str = "datagram";

/// The names that `format` knows, sorted.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = wire::formats().into_iter().map(|format| format.name).collect();
    names.extend([BLOCK, DATAGRAM]);
    names.sort_unstable();
    names
}

/// `bytes` as the format of that name, and what is nested in it; `None` if there is no such format.
pub fn format(name: &str, bytes: &[u8]) -> Option<Vec<Section>> {
    match name {
        DATAGRAM => return Some(datagram::datagram(bytes)),
        "udx.header" if bytes.len() > udx::HEADER_LEN => return Some(datagram::packet(bytes)),
        "dht_rpc.request" => return Some(datagram::request(bytes)),
        "dht_rpc.response" => return Some(datagram::response(bytes, None)),
        BLOCK | "hyperbee.node" => {
            let sections = values::block(0, bytes, (name != BLOCK).then_some(u64::MAX));
            if !sections.is_empty() {
                return Some(sections);
            }
        }
        _ => {}
    }
    let name = if name == BLOCK { "hyperbee.node" } else { name };
    let format = wire::formats().into_iter().find(|format| format.name == name)?;
    Some(vec![Section::of(&format, 0, bytes)])
}
