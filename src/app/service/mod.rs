//! What the registry and the auction have in common: a server that listens for calls and hands its core out,
//! and clients that call it and read from their copy of that core, which they hand on.
//!
//! `House` is what a server is about, `Mind` what a client decides; `server` and `session` run them over a
//! node, `gate` says whose turn it is, `link` when a client dials and how long a read waits.

pub mod gate;
pub mod link;
pub mod server;
pub mod session;

use crate::base::{Error, Key, Time};
use crate::node::{CoreId, KeyPair, Net};
use session::View;

/// What clients need to know of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Connections for calls go to this key.
    pub server: Key,
    /// What there is to read is in this core.
    pub core: Key,
}

/// What a server keeps, and what it answers.
pub trait House: Sized {
    /// A call that was understood and waits for its turn.
    type Request;
    /// Of the core in the store; the key pairs have names made of it.
    const NAME: &'static str;
    /// Opens what is in the core; writes the first block if there is none.
    fn open(net: &mut Net<'_>, core: CoreId) -> Result<Self, Error>;
    /// What a call asks. `None`: there is no such method; an error: the value of the answer at once.
    fn read(method: &str, body: &[u8]) -> Option<Result<Self::Request, Vec<u8>>>;
    /// Does what is asked: the value of the answer, which leaves after what is appended here is on disk.
    fn serve(
        &mut self,
        net: &mut Net<'_>,
        core: CoreId,
        caller: &Key,
        request: Self::Request,
    ) -> Result<Vec<u8>, Error>;
    /// The value of the answer to a call that is not taken.
    fn refused(why: gate::Refusal) -> Vec<u8>;
    /// The value of the answer when `serve` failed.
    fn failed() -> Vec<u8>;
    /// When `on_time` wants to be called.
    fn deadline(&self) -> Option<Time> {
        None
    }
    /// What happens by itself.
    fn on_time(&mut self, _: &mut Net<'_>, _: CoreId) -> Result<(), Error> {
        Ok(())
    }
}

/// Asked of the session by a client's mind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect to the server; `link_up` or `link_down` follows.
    Dial,
    /// Give the connection or the attempt up; nothing follows.
    HangUp,
    /// Call the server; `answered` follows, unless `link_down` does.
    Call { ticket: u64, method: &'static str, value: Vec<u8> },
}

/// Why a call has no answer though the link is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallFault {
    TimedOut,
    /// The server says that it failed.
    Failed(String),
}

/// What a client decides: commands in, reports out, writes by asking the server, reads from the copy.
pub trait Mind: Sized {
    type Command: Spoken;
    type Report: Told;
    /// The key pairs have names made of it.
    const NAME: &'static str;
    /// `pair` is what the connections of calls prove; `core` is the key of what is copied.
    fn new(now: Time, pair: KeyPair, core: Key) -> Self;
    fn submit(&mut self, command: Self::Command) -> Result<(), Error>;
    fn busy(&self) -> bool;
    fn link_up(&mut self, now: Time);
    fn link_down(&mut self, now: Time, draw: u64);
    fn answered(&mut self, now: Time, ticket: u64, result: Result<Vec<u8>, CallFault>);
    /// Makes whatever progress there is to make.
    fn look(&mut self, now: Time, draw: u64, copy: &mut View<'_, '_>);
    fn poll_output(&mut self) -> Option<Output>;
    fn poll_report(&mut self) -> Option<Self::Report>;
    fn deadline(&self) -> Option<Time>;
}

/// A house, and the clients that belong to it.
pub trait Trade {
    type House: House;
    type Mind: Mind;
    const BOUNDS: gate::Bounds;
    /// Before each line of a terminal.
    const PROMPT: &'static str;
}

/// A command, as it is typed.
pub trait Spoken: Sized + Clone + core::fmt::Debug {
    /// `Ok(None)`: nothing was typed; an error: what is wrong with it.
    fn parse(line: &str) -> Result<Option<Self>, String>;
    fn is_exit(&self) -> bool;
}

/// A report, as it is shown.
pub trait Told: Clone + core::fmt::Debug {
    /// For standard output; empty: nothing to write.
    fn text(&self) -> String;
    fn json(&self) -> String;
    /// For standard error.
    fn warnings(&self) -> Vec<&'static str>;
    /// At a prompt this is for standard error.
    fn aside(&self) -> bool;
    /// The command has nothing more to report.
    fn last(&self) -> bool {
        true
    }
    fn exit(&self) -> Exit;
}

/// What the process says with its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The answer is no: taken, not found, not yours, not a name.
    No = 1,
    // 2 is a wrong command line.
    /// No answer: the server cannot be reached, or there is no copy yet.
    Unreachable = 3,
    /// The storage is in use, damaged or full.
    Storage = 4,
}

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    pub reachable: bool,
    /// Blocks of the replica.
    pub length: u64,
    pub peers: usize,
    /// The longest that a peer has offered.
    pub remote_length: u64,
}

impl Status {
    pub fn text(&self) -> String {
        let reach = if self.reachable { "reachable" } else { "unreachable" };
        format!("Server: {reach}\nReplica length: {}\nPeers: {}", self.length, self.peers)
    }

    /// The fields of a JSON object.
    pub fn fields(&self) -> [(&'static str, String); 4] {
        [
            ("reachable", self.reachable.to_string()),
            ("length", self.length.to_string()),
            ("remote_length", self.remote_length.to_string()),
            ("peers", self.peers.to_string()),
        ]
    }
}
