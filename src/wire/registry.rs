//! Formats of the registry: what its two methods take and give, inside the value of a call (which has a length of
//! its own, protomux_rpc). Follows registry.1 and registry.2.

use super::{Cursor, Format, Wire, format};
use crate::base::{Malformed, limits};

pub const FORMATS: &[Format] = &[format::<Request>(), format::<Answer>()];

/// The value of a call of `register` or `delete`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Any bytes; whether they may be a name is for the server to say.
    pub name: Vec<u8>,
}

/// The value of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// `OK`, `IDEMPOTENT`, or `ERR:` and why, in UTF-8.
    pub text: Vec<u8>,
}

impl Wire for Request {
    const NAME: &'static str = "registry.request";
    const RULE: &'static str = "registry.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.raw("name", &mut self.name, limits::REGISTRY_TEXT_MAX)
    }
}

impl Wire for Answer {
    const NAME: &'static str = "registry.answer";
    const RULE: &'static str = "registry.2";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.raw("text", &mut self.text, limits::REGISTRY_TEXT_MAX)
    }
}
