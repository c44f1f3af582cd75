//! Formats of protomux_rpc: what travels in the messages of its channel. Follows protomux_rpc.1 to protomux_rpc.6.

use super::{Cursor, Format, Wire, format};
use crate::base::{Key, Malformed, limits};

/// The protocol name of the channel, unless both sides agree on another.
pub const PROTOCOL: &str = "protomux-rpc";
/// Kind of the channel's messages: a request or an event.
pub const REQUEST: u64 = 0;
/// Kind of the channel's messages: a response.
pub const RESPONSE: u64 = 1;

pub const FORMATS: &[Format] =
    &[format::<Request>(), format::<Response>(), format::<Capability>(), format::<Buffer>()];

/// A request, or with id 0 an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub method: String,
    /// As the method's encoding gave it.
    pub value: Vec<u8>,
}

impl Wire for Request {
    const NAME: &'static str = "protomux_rpc.request";
    const RULE: &'static str = "protomux_rpc.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("id", &mut self.id)?;
        c.lossy_string("method", &mut self.method, limits::RPC_TEXT_MAX)?;
        c.raw("value", &mut self.value, limits::MUX_MESSAGE_MAX)
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub id: u64,
    /// As the method's encoding gave it.
    pub result: Result<Vec<u8>, Failure>,
}

impl Default for Response {
    fn default() -> Response {
        Response { id: 0, result: Ok(Vec::new()) }
    }
}

/// Why there is no answer, as it is on the wire. (protomux_rpc.3)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub code: Option<String>,
    pub cause: Option<Cause>,
}

/// What a failure was caused by. (protomux_rpc.4)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub message: String,
    /// Empty is none.
    pub code: String,
    pub context: Option<String>,
}

impl Wire for Response {
    const NAME: &'static str = "protomux_rpc.response";
    const RULE: &'static str = "protomux_rpc.2";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("message", "protomux_rpc.3"),
        ("code", "protomux_rpc.3"),
        ("cause", "protomux_rpc.4"),
        ("cause code", "protomux_rpc.4"),
        ("cause context", "protomux_rpc.4"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let failure = self.result.as_ref().err();
        let flags = [
            failure.is_some(),
            failure.is_some_and(|failure| failure.code.is_some()),
            failure.is_some_and(|failure| failure.cause.is_some()),
            failure.and_then(|failure| failure.cause.as_ref()).is_some_and(|cause| cause.context.is_some()),
        ];
        let [error, code, cause, context] = c.bits("flags", flags)?;
        c.uint("id", &mut self.id)?;
        if !error {
            if self.result.is_err() {
                self.result = Ok(Vec::new());
            }
            let Ok(value) = &mut self.result else { unreachable!("just set") };
            return c.raw("value", value, limits::MUX_MESSAGE_MAX);
        }
        let mut failure = core::mem::replace(&mut self.result, Ok(Vec::new())).err().unwrap_or_default();
        c.lossy_string("message", &mut failure.message, limits::RPC_TEXT_MAX)?;
        c.when(code, &mut failure.code, |c, v| c.lossy_string("code", v, limits::RPC_TEXT_MAX))?;
        c.when(cause, &mut failure.cause, |c, v| {
            c.lossy_string("cause", &mut v.message, limits::RPC_TEXT_MAX)?;
            c.lossy_string("cause code", &mut v.code, limits::RPC_TEXT_MAX)?;
            c.when(context, &mut v.context, |c, v| c.lossy_string("cause context", v, limits::RPC_TEXT_MAX))
        })?;
        self.result = Err(failure);
        Ok(())
    }
}

/// The handshake of a channel whose sides prove to each other that they know a secret (@hyperswarm/rpc).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capability {
    pub capability: Option<Key>,
}

impl Wire for Capability {
    const NAME: &'static str = "protomux_rpc.capability";
    const RULE: &'static str = "protomux_rpc.26";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [capability] = c.bits("flags", [self.capability.is_some()])?;
        c.when(capability, &mut self.capability, |c, v| c.fixed("capability", v))
    }
}

/// A value in the encoding that both packages use unless told otherwise: with a length, and empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer(pub Vec<u8>);

impl Wire for Buffer {
    const NAME: &'static str = "protomux_rpc.buffer";
    const RULE: &'static str = "protomux_rpc.5";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.buffer("bytes", &mut self.0, limits::MUX_MESSAGE_MAX)
    }
}
