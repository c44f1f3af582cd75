//! Trees on cores that peers have: what a read will need is asked of them, and what they ask is answered. Follows
//! hyperbee.56 to hyperbee.60. Read `look.rs` first.

use super::net::Net;
use super::{CoreId, Node, PeerId};
use crate::base::{Cx, Error, trace};
use crate::hyperbee::Unlinked;
use crate::hyperbee::ahead::{Ahead, EXTENSION, Lacking};

/// Blocks that `Net::bee_clear_unlinked` looks for in one call.
const CLEARED: usize = 4096;

impl Node {
    /// Whether somebody has used a core as a tree.
    pub(super) fn is_tree(&self, id: CoreId) -> bool {
        self.cores.get(id).is_some_and(|state| state.ahead.is_some())
    }

    /// A peer's message of the tree's extension. What is malformed is passed over.
    pub(super) fn bee_told(&mut self, cx: &mut Cx<'_>, id: CoreId, peer: PeerId, message: &[u8]) {
        let Some(state) = self.cores.get_mut(id) else { return };
        let Some(ahead) = &mut state.ahead else { return };
        let told = cx.within(id.place(), |cx| {
            let told = ahead.told(cx, &mut state.bee, &mut state.live.core, message)?;
            let (answers, wanted) = (told.answers.len(), told.wanted.len());
            trace!(cx, Step, "node", part: peer, rule: "hyperbee.57", "{answers} answers, {wanted} blocks wanted");
            for &seq in &told.wanted {
                // More than can be waited for is fetched when it is read.
                let _ = state.live.wait_for(cx, seq);
            }
            Ok::<_, Error>(told)
        });
        for answer in told.iter().flat_map(|told| &told.answers) {
            // replication.62: who takes nothing at the moment goes without.
            let _ = state.live.send_extension(peer, EXTENSION, answer);
        }
        self.touched_cores.insert(id);
    }
}

impl Net<'_> {
    /// From now on what peers ask about the tree on a core is answered, and its reads ask them. Whatever reads or
    /// writes the tree does this by itself.
    pub fn bee_open(&mut self, core: CoreId) -> Result<(), Error> {
        let (node, _) = self.parts();
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        if state.ahead.is_none() {
            state.live.register_extension(EXTENSION)?;
            state.ahead = Some(Ahead::default());
        }
        Ok(())
    }

    /// Has fetched what a read is short of, and asks peers what it will need beyond.
    pub(super) fn bee_fetch(&mut self, core: CoreId, lacking: &Lacking) -> Result<(), Error> {
        let (node, _) = self.parts();
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        let question = state.ahead.as_mut().and_then(|ahead| ahead.ask(lacking));
        let blocks = &lacking.blocks;
        self.with_core(core, |live, cx| {
            // The last one is what the read waits for.
            let (needed, further) = blocks.split_last().ok_or(Error::Missing)?;
            for &seq in further {
                let _ = live.wait_for(cx, seq);
            }
            live.wait_for(cx, *needed)
        })?;
        let Some(question) = question else { return Ok(()) };
        if self.broadcast_extension(core, EXTENSION, &question)? == 0
            && let Some(state) = self.parts().0.cores.get_mut(core)
            && let Some(ahead) = &mut state.ahead
        {
            ahead.unheard();
        }
        Ok(())
    }

    /// Clears blocks that a version of the tree does not need (`Bee::unlinked`), some thousands at most: how many. 0:
    /// all are. (hyperbee.53)
    pub fn bee_clear_unlinked(&mut self, core: CoreId, unlinked: &mut Unlinked) -> Result<usize, Error> {
        let (mut count, mut run) = (0, 0..0);
        while count < CLEARED {
            let next = self.bee_read(core, |cx, bee, log| unlinked.next(cx, bee, log))?;
            if next == Some(run.end) && !run.is_empty() {
                run.end += 1;
            } else {
                self.with_core(core, |live, cx| {
                    if run.is_empty() { Ok(()) } else { live.clear(cx, run.start, run.end) }
                })?;
                let Some(seq) = next else { return Ok(count) };
                run = seq..seq + 1;
            }
            count += 1;
        }
        self.with_core(core, |live, cx| live.clear(cx, run.start, run.end))?;
        Ok(count)
    }
}
