//! A copy of a core, or of a part of it. What is here already is not fetched again.

use super::{Exchange, Standing};
use crate::base::Error;
use crate::node::{CoreId, Net};

/// Blocks that are asked for at a time, of a part; in order, and in any.
const WINDOW_LINEAR: u64 = 32;
const WINDOW: u64 = 512;

/// What to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    pub start: u64,
    /// None: to where the core ends.
    pub end: Option<u64>,
    /// In order.
    pub linear: bool,
    /// Go on as the core grows.
    pub live: bool,
}

/// How far a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Blocks that are here, and those that are to be.
    pub here: u64,
    pub of: u64,
    pub done: bool,
}

/// A copy in the making. Call `poll` whenever something happened.
#[derive(Clone, Debug)]
pub struct Copying {
    core: CoreId,
    extent: Extent,
    /// Blocks of the extent before this one are here.
    front: u64,
    /// Blocks before this one are here, or asked for.
    wanted: u64,
    fork: u64,
    begun: bool,
}

impl Copying {
    pub fn new(core: CoreId, extent: Extent) -> Copying {
        Copying { core, extent, front: extent.start, wanted: extent.start, fork: 0, begun: false }
    }

    /// The whole core, in whatever order is best.
    fn whole(&self) -> bool {
        self.extent.start == 0 && self.extent.end.is_none() && !self.extent.linear
    }

    /// Asks for what is missing, and says how far it has come. `Missing`: the core ends before the extent does.
    pub fn poll(&mut self, net: &mut Net<'_>, exchange: &Exchange) -> Result<State, Error> {
        if self.whole() && !self.begun {
            self.begun = true;
            net.download(self.core)?;
        }
        let fresh = exchange.standing(net) == Standing::Fresh;
        let (fork, length) = net.look(self.core, |core| (core.fork(), core.length()))?;
        if self.fork != fork {
            // What was here may be gone.
            self.fork = fork;
            (self.front, self.wanted) = (self.extent.start, self.extent.start);
        }
        let end = self.extent.end.unwrap_or(length).min(length);
        let (start, front) = (self.extent.start, self.front);
        self.front = net.look(self.core, |core| core.bits().first_unset(front))?;
        if !self.whole() {
            self.ask(net, end)?;
        }
        let all = self.front >= end;
        let short = self.extent.end.is_some_and(|end| end > length);
        if all && fresh && short && !self.extent.live {
            return Err(Error::Missing);
        }
        let here = net.look(self.core, |core| core.bits().count(start, end))?;
        let of = end.saturating_sub(start);
        let settled = self.extent.end.is_some_and(|end| end <= length) || fresh;
        Ok(State { here, of, done: all && settled && !self.extent.live })
    }

    fn ask(&mut self, net: &mut Net<'_>, end: u64) -> Result<(), Error> {
        let window = if self.extent.linear { WINDOW_LINEAR } else { WINDOW };
        self.wanted = self.wanted.max(self.front);
        let until = end.min(self.front.saturating_add(window));
        while self.wanted < until {
            net.want(self.core, self.wanted)?;
            self.wanted += 1;
        }
        Ok(())
    }
}
