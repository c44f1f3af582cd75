//! Formats of udx. Follows udx.1 to udx.6.

use super::{Cursor, Format, Wire, format};
use crate::base::{Malformed, limits};

/// First byte of every udx packet.
pub const MAGIC: u8 = 0xff;
/// The only version there is.
pub const VERSION: u8 = 1;
/// Bytes of a header.
pub const HEADER_LEN: usize = 20;
/// Bytes of a block of a selective ack.
pub const BLOCK_LEN: usize = 8;

pub const FORMATS: &[Format] = &[format::<Header>(), format::<Sack>()];

/// What a packet is; the bits combine, none of them is a plain state packet (an ack).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    pub data: bool,
    pub end: bool,
    pub sack: bool,
    pub message: bool,
    pub destroy: bool,
    pub heartbeat: bool,
}

impl Kind {
    /// An ack and nothing else.
    pub const STATE: Kind =
        Kind { data: false, end: false, sack: false, message: false, destroy: false, heartbeat: false };
    pub const DATA: Kind = Kind { data: true, ..Kind::STATE };
    pub const SACK: Kind = Kind { sack: true, ..Kind::STATE };
    pub const MESSAGE: Kind = Kind { message: true, ..Kind::STATE };
    pub const DESTROY: Kind = Kind { destroy: true, ..Kind::STATE };
    pub const HEARTBEAT: Kind = Kind { heartbeat: true, ..Kind::STATE };
}

/// The header of every packet (udx.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// Bytes between the header and the payload (udx.3).
    pub data_offset: u8,
    /// The stream id that the receiver chose.
    pub remote_id: u32,
    /// How many bytes beyond `ack` the sender of this packet is ready to take.
    pub window: u32,
    pub seq: u32,
    /// The next sequence number that the sender of this packet expects.
    pub ack: u32,
}

impl Wire for Header {
    const NAME: &'static str = "udx.header";
    const RULE: &'static str = "udx.1";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("magic", "udx.2"),
        ("version", "udx.2"),
        ("data offset", "udx.3"),
        ("window", "udx.11"),
        ("seq", "udx.10"),
        ("ack", "udx.10"),
    ];
    #[inline(always)] // once for each datagram in and out
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.exactly_u8("magic", MAGIC)?;
        c.exactly_u8("version", VERSION)?;
        let kind = self.kind;
        let flags = [kind.data, kind.end, kind.sack, kind.message, kind.destroy, kind.heartbeat];
        let [data, end, sack, message, destroy, heartbeat] = c.bits8("type", flags)?;
        self.kind = Kind { data, end, sack, message, destroy, heartbeat };
        c.u8("data offset", &mut self.data_offset)?;
        c.u32("remote id", &mut self.remote_id)?;
        c.u32("window", &mut self.window)?;
        c.u32("seq", &mut self.seq)?;
        c.u32("ack", &mut self.ack)
    }
}

/// Packets from `start` to before `end` have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub start: u32,
    pub end: u32,
}

/// The blocks of a selective ack (udx.4). A last incomplete block is not part of it: cut the bytes with `whole`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sack {
    pub blocks: Vec<Block>,
}

impl Sack {
    /// The front of `bytes` that holds whole blocks (udx.5).
    pub fn whole(bytes: &[u8]) -> &[u8] {
        &bytes[..bytes.len() / BLOCK_LEN * BLOCK_LEN]
    }
}

impl Wire for Sack {
    const NAME: &'static str = "udx.sack";
    const RULE: &'static str = "udx.4";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.rest(&mut self.blocks, limits::DATAGRAM_MAX / BLOCK_LEN, |c, block| {
            c.u32("start", &mut block.start)?;
            c.u32("end", &mut block.end)
        })
    }
}
