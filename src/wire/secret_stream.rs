//! Formats of secret_stream: what stands in front of sealed bytes. The sealing itself is `crypto::secretstream`'s.

use super::{Cursor, Format, Wire, format};
use crate::base::limits::DATAGRAM_MAX;
use crate::base::{Key, Malformed, Reason};

pub const FORMATS: &[Format] =
    &[format::<Head>(), format::<Header>(), format::<Message>(), format::<Unordered>()];

/// In front of each frame: the length of its body.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Head {
    /// Below 2^24.
    pub len: u32,
}

impl Head {
    pub const LEN: usize = 3;
}

impl Wire for Head {
    const NAME: &'static str = "secret_stream.head";
    const RULE: &'static str = "secret_stream.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u24("length", &mut self.len)
    }
}

/// The frame that a side writes before any message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Header {
    pub stream_id: Key,
    /// Opens the sequence of sealed messages.
    pub header: [u8; 24],
}

impl Header {
    /// The length of its body.
    pub const BODY: usize = 56;
}

impl Wire for Header {
    const NAME: &'static str = "secret_stream.header";
    const RULE: &'static str = "secret_stream.6";
    const RULES: &'static [(&'static str, &'static str)] = &[("stream id", "secret_stream.7")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let mut len = Header::BODY as u32;
        c.u24("length", &mut len)?;
        if c.reading() && len != Header::BODY as u32 {
            return c.refuse("length", Reason::Illegal { value: u64::from(len) });
        }
        c.fixed("stream id", &mut self.stream_id)?;
        c.fixed("header", &mut self.header)
    }
}

/// The body of every later frame: a sealed message.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Message {
    pub tag: u8,
    pub sealed: Vec<u8>,
    pub mac: [u8; 16],
}

impl Wire for Message {
    const NAME: &'static str = "secret_stream.message";
    const RULE: &'static str = "crypto.15";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u8("sealed tag", &mut self.tag)?;
        super::noise::sealed(c, "sealed message", &mut self.sealed, "mac", &mut self.mac)
    }
}

/// A datagram beside the stream.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Unordered {
    pub counter: [u8; 8],
    /// A secretbox: MAC and message.
    pub sealed: Vec<u8>,
}

impl Unordered {
    /// The least that a datagram has: counter and MAC.
    pub const LEAST: usize = 8 + 16;
}

impl Wire for Unordered {
    const NAME: &'static str = "secret_stream.unordered";
    const RULE: &'static str = "secret_stream.18";
    const RULES: &'static [(&'static str, &'static str)] = &[("counter", "secret_stream.19")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        if c.reading() && c.left() < Unordered::LEAST {
            return c.refuse("counter", Reason::Short);
        }
        c.fixed("counter", &mut self.counter)?;
        c.raw("sealed", &mut self.sealed, DATAGRAM_MAX)?;
        if c.inventing() && self.sealed.len() < Unordered::LEAST - 8 {
            self.sealed.resize(Unordered::LEAST - 8, 0);
        }
        Ok(())
    }
}
