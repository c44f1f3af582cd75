//! Formats of protomux: what travels in one message of a framed stream. Follows protomux.1 to protomux.7.
//!
//! Every message begins with a `Head`. On channel 0 the body is one of `Open`, `Reject`, `Close` and `Batch`; on any
//! other it belongs to the channel's owner and is not looked at.

use super::{Cursor, Format, Wire, format};
use crate::base::{Malformed, limits};

/// Control kind: many messages in one.
pub const BATCH: u64 = 0;
/// Control kind: the sender has opened a channel.
pub const OPEN: u64 = 1;
/// Control kind: nobody here wants the channel that you opened.
pub const REJECT: u64 = 2;
/// Control kind: the sender has closed a channel.
pub const CLOSE: u64 = 3;

pub const FORMATS: &[Format] = &[
    format::<Head>(),
    format::<Open>(),
    format::<Reject>(),
    format::<Close>(),
    format::<Batch>(),
    format::<ItemHead>(),
    format::<Kind>(),
];

/// How each message begins; the rest is the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The sender's id of the channel; 0 is control.
    pub channel: u64,
    pub kind: u64,
}

impl Wire for Head {
    const NAME: &'static str = "protomux.head";
    const RULE: &'static str = "protomux.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("channel", &mut self.channel)?;
        c.uint("kind", &mut self.kind)
    }
}

/// How a message inside a batch begins: its channel is that of the batch's item. The rest is the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind(pub u64);

impl Wire for Kind {
    const NAME: &'static str = "protomux.kind";
    const RULE: &'static str = "protomux.5";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("kind", &mut self.0)
    }
}

/// Body of an open. The handshake is whatever follows; only the owner of the channel understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// The sender's id of the channel.
    pub channel: u64,
    pub protocol: String,
    /// Tells channels of one protocol apart; empty is none.
    pub id: Option<Vec<u8>>,
    pub handshake: Vec<u8>,
}

impl Wire for Open {
    const NAME: &'static str = "protomux.open";
    const RULE: &'static str = "protomux.3";
    const RULES: &'static [(&'static str, &'static str)] = &[("id", "protomux.4")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("channel", &mut self.channel)?;
        c.lossy_string("protocol", &mut self.protocol, limits::MUX_NAME_MAX)?;
        c.optional_buffer("id", &mut self.id, limits::MUX_NAME_MAX)?;
        c.raw("handshake", &mut self.handshake, limits::MUX_MESSAGE_MAX)
    }
}

/// Body of a reject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reject {
    /// The id that the opener, so the receiver of this, gave the channel.
    pub channel: u64,
}

impl Wire for Reject {
    const NAME: &'static str = "protomux.reject";
    const RULE: &'static str = "protomux.38";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("channel", &mut self.channel)
    }
}

/// Body of a close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// The sender's id of the channel.
    pub channel: u64,
}

impl Wire for Close {
    const NAME: &'static str = "protomux.close";
    const RULE: &'static str = "protomux.38";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("channel", &mut self.channel)
    }
}

/// Body of a batch, whole. The machine reads a batch item by item instead, see `ItemHead`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The sender's id of the channel of the first items.
    pub channel: u64,
    pub items: Vec<Item>,
}

impl Wire for Batch {
    const NAME: &'static str = "protomux.batch";
    const RULE: &'static str = "protomux.5";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("channel", &mut self.channel)?;
        c.rest(&mut self.items, limits::MUX_MESSAGE_MAX, |c, item| item.walk(c))
    }
}

/// One item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The items from here on are of this channel.
    Channel(u64),
    /// A message without its channel: kind and body. Not empty.
    Message(Vec<u8>),
}

impl Default for Item {
    fn default() -> Item {
        Item::Channel(0)
    }
}

impl Item {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let mut head = match self {
            Item::Channel(channel) => ItemHead { length: 0, channel: *channel },
            Item::Message(message) => ItemHead { length: message.len() as u64, channel: 0 },
        };
        head.walk(c)?;
        if head.length == 0 {
            *self = Item::Channel(head.channel);
            return Ok(());
        }
        let mut message = match self {
            Item::Channel(_) => Vec::new(),
            Item::Message(message) => core::mem::take(message),
        };
        c.clipped("message", &mut message, head.length)?;
        *self = Item::Message(message);
        Ok(())
    }
}

/// How an item of a batch begins: with the length of the message that follows, or with a change of the channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemHead {
    /// Bytes of the message; more than are left means all that are left. 0: no message, but a channel.
    pub length: u64,
    /// The channel of the items that follow, if `length` is 0.
    pub channel: u64,
}

impl Wire for ItemHead {
    const NAME: &'static str = "protomux.item";
    const RULE: &'static str = "protomux.6";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("length", &mut self.length)?;
        if self.length == 0 { c.uint("channel", &mut self.channel) } else { Ok(()) }
    }
}
