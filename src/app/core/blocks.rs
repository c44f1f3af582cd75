//! Blocks in order, fetched a little ahead of whoever reads them.

use super::{Exchange, Standing};
use crate::base::Error;
use crate::node::{CoreId, Net};

/// Blocks that are fetched ahead.
const AHEAD: u64 = 32;

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Block(u64, Vec<u8>),
    /// Nothing until something happens.
    Wait,
    /// That was all.
    End,
    /// The core ends before the block that was asked for.
    Beyond {
        length: u64,
    },
}

/// The blocks of a core from `next` up to `end`; without an end to where the core ends, or when `live` for ever.
#[derive(Clone, Debug)]
pub struct Blocks {
    core: CoreId,
    next: u64,
    end: Option<u64>,
    live: bool,
    /// Blocks before this one are here, or asked for.
    wanted: u64,
    fork: u64,
}

impl Blocks {
    pub fn new(core: CoreId, start: u64, end: Option<u64>, live: bool) -> Blocks {
        Blocks { core, next: start, end, live, wanted: start, fork: 0 }
    }

    /// The next block, if it is here.
    pub fn poll(&mut self, net: &mut Net<'_>, exchange: &Exchange) -> Result<Step, Error> {
        if self.end.is_some_and(|end| self.next >= end) {
            return Ok(Step::End);
        }
        let (fork, length) = net.look(self.core, |core| (core.fork(), core.length()))?;
        if self.fork != fork {
            // What was asked for may be another block now.
            (self.fork, self.wanted) = (fork, self.next);
        }
        if self.next < length {
            self.wanted = self.wanted.max(self.next);
            let until = length.min(self.next + AHEAD).min(self.end.unwrap_or(u64::MAX));
            while self.wanted < until {
                net.want(self.core, self.wanted)?;
                self.wanted += 1;
            }
            let block = net.block(self.core, self.next)?;
            return Ok(match block {
                Some(bytes) => {
                    self.next += 1;
                    Step::Block(self.next - 1, bytes)
                }
                None => Step::Wait,
            });
        }
        if self.live || exchange.standing(net) != Standing::Fresh {
            return Ok(Step::Wait);
        }
        Ok(if self.end.is_some() { Step::Beyond { length } } else { Step::End })
    }
}
