//! A copy of a core, or of a part of it. What is here already is not fetched again.

use super::{Exchange, Standing};
use crate::base::Error;
use crate::node::{CoreId, Download, Net};

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
    fork: u64,
    begun: bool,
}

impl Copying {
    pub fn new(core: CoreId, extent: Extent) -> Copying {
        Copying { core, extent, front: extent.start, fork: 0, begun: false }
    }

    /// The whole core, in whatever order is best.
    fn whole(&self) -> bool {
        self.extent.start == 0 && self.extent.end.is_none() && !self.extent.linear
    }

    /// Asks for what is missing, and says how far it has come. `Missing`: the core ends before the extent does.
    pub fn poll(&mut self, net: &mut Net<'_>, exchange: &Exchange) -> Result<State, Error> {
        if !self.begun {
            self.begun = true;
            self.begin(net)?;
        }
        let fresh = exchange.standing(net) == Standing::Fresh;
        let (fork, length) = net.look(self.core, |core| (core.fork(), core.length()))?;
        if self.fork != fork {
            // What was here may be gone.
            (self.fork, self.front) = (fork, self.extent.start);
        }
        let end = self.extent.end.unwrap_or(length).min(length);
        let (start, front) = (self.extent.start, self.front);
        self.front = net.look(self.core, |core| core.bits().first_unset(front))?;
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

    fn begin(&mut self, net: &mut Net<'_>) -> Result<(), Error> {
        if self.whole() {
            return net.download(self.core);
        }
        let Extent { start, end, linear, .. } = self.extent;
        net.download_range(self.core, Download { start, end, linear, blocks: None }).map(|_| ())
    }
}
