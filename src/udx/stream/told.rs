//! What the transcript says of a stream. A stream tells nothing itself: what it was before an act is compared with what
//! it is afterwards, and only when somebody reads.

use super::{Phase, Stream};
use crate::base::{Cx, Time, trace};
use crate::udx::send::End;
use crate::udx::{Stats, StreamId};

/// What a stream was.
pub(in crate::udx) struct Mark {
    phase: Phase,
    end: End,
    ended: bool,
    changing: bool,
    reading: bool,
    recovery: bool,
    closed_window: bool,
    stats: Stats,
}

impl Stream {
    pub fn mark(&self) -> Mark {
        Mark {
            phase: self.phase,
            end: self.send.end,
            ended: self.recv.ended,
            changing: self.change.is_some_and(|change| change.pending),
            reading: self.reading,
            recovery: self.recovery.is_some(),
            closed_window: self.window == 0,
            stats: self.stats(),
        }
    }

    /// Tells what has changed since `was`.
    pub fn tell(&self, cx: &mut Cx<'_>, id: StreamId, was: &Mark) {
        let is = self.mark();
        self.tell_phase(cx, id, was, &is);
        self.tell_congestion(cx, id, was, &is);
        tell_counts(cx, id, &was.stats, &is.stats);
    }

    fn tell_phase(&self, cx: &mut Cx<'_>, id: StreamId, was: &Mark, is: &Mark) {
        if was.phase != is.phase {
            match is.phase {
                Phase::Open { first: None } | Phase::Closed => {}
                Phase::Open { first: Some((socket, from)) } => {
                    trace!(cx, State, "udx", id: id, peer: from, rule: "udx.25", "first packet, on {socket}, kept");
                }
                Phase::Expecting { remote_id } => {
                    trace!(cx, State, "udx", id: id, rule: "udx.15", "expects remote id {remote_id}");
                }
                Phase::Connected(path) => {
                    let (socket, remote) = (path.socket, path.remote_id);
                    trace!(
                        cx, State, "udx", id: id, peer: path.to, rule: "udx.9",
                        "connected from {socket} to its id {remote}"
                    );
                }
            }
        }
        if was.changing != is.changing {
            let what = if is.changing { "begins" } else { "is complete" };
            trace!(cx, State, "udx", id: id, rule: "udx.60", "the change of remote {what}");
        }
        if was.end != is.end {
            match is.end {
                End::Open => {}
                End::Wanted => trace!(cx, State, "udx", id: id, rule: "udx.13", "our writes end"),
                End::Sent => trace!(cx, State, "udx", id: id, rule: "udx.13", "our end is sent"),
                End::Acked => trace!(cx, State, "udx", id: id, rule: "udx.14", "our end is acked"),
            }
        }
        if !was.ended && is.ended {
            trace!(cx, State, "udx", id: id, rule: "udx.16", "the other side's writes ended");
        }
        if was.reading != is.reading {
            let what = if is.reading { "reads on" } else { "pauses" };
            trace!(cx, State, "udx", id: id, rule: "udx.24", "the reader {what}");
        }
    }

    fn tell_congestion(&self, cx: &mut Cx<'_>, id: StreamId, was: &Mark, is: &Mark) {
        let window = is.stats.congestion_window;
        if was.recovery != is.recovery {
            let what = if is.recovery { "begins" } else { "ends" };
            trace!(cx, State, "udx", id: id, rule: "udx.39", "recovery {what}, window {window} packets");
        }
        if was.stats.phase != is.stats.phase {
            let (phase, rate) = (is.stats.phase, is.stats.bandwidth);
            trace!(cx, State, "udx", id: id, rule: "udx.74", "{phase}: window {window} packets, {rate} bytes a second");
        }
        if was.closed_window != is.closed_window {
            let what = if is.closed_window { "closed" } else { "open" };
            trace!(cx, State, "udx", id: id, rule: "udx.42", "the other side's window is {what}");
        }
        if was.stats.mtu != is.stats.mtu {
            trace!(cx, State, "udx", id: id, rule: "udx.95", "packets of up to {} bytes from now on", is.stats.mtu);
        }
        if was.stats.unproven && !is.stats.unproven && matches!(is.phase, Phase::Connected(_)) {
            trace!(cx, State, "udx", id: id, rule: "udx.99", "the remote's address is proven");
        }
        if let (None, Some(rtt)) = (was.stats.rtt, is.stats.rtt) {
            trace!(cx, State, "udx", id: id, rule: "udx.30", "first round trip {rtt}");
        }
    }

    /// Tells which deadlines have come, before they are acted on.
    pub fn tell_due(&self, cx: &mut Cx<'_>, id: StreamId) {
        let now = cx.now;
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.at.reorder) {
            trace!(cx, Timer, "udx", id: id, rule: "udx.37", "packets that may only be late");
        }
        if due(self.at.timeout) {
            let (count, rto) = (self.send.outstanding(), self.rtt.rto());
            trace!(cx, Timer, "udx", id: id, rule: "udx.36", "timeout: {count} packets unacked, base {rto}");
        } else if due(self.at.probe) {
            trace!(cx, Timer, "udx", id: id, rule: "udx.40", "the tail is late");
        }
        if due(self.at.zero_window) {
            trace!(cx, Timer, "udx", id: id, rule: "udx.42", "something waits for a closed window");
        }
        if due(self.at.keep_alive) {
            trace!(cx, Timer, "udx", id: id, rule: "udx.44", "keep-alive");
        }
    }
}

fn tell_counts(cx: &mut Cx<'_>, id: StreamId, was: &Stats, is: &Stats) {
    let more = |was: u64, is: u64| is.checked_sub(was).filter(|more| *more > 0);
    if let Some(count) = more(was.losses, is.losses) {
        trace!(cx, Step, "udx", id: id, rule: "udx.37", "{count} packets are taken for lost");
    }
    if let Some(count) = more(was.spurious, is.spurious) {
        trace!(cx, Step, "udx", id: id, rule: "udx.45", "{count} packets were not lost");
    }
    if more(was.probes, is.probes).is_some() {
        trace!(cx, Step, "udx", id: id, rule: "udx.41", "probes the tail");
    }
    if more(was.resends, is.resends).is_some() {
        trace!(cx, Step, "udx", id: id, rule: "udx.38", "a packet is sent again");
    }
    if more(was.duplicates, is.duplicates).is_some() {
        trace!(cx, Drop, "udx", id: id, rule: "udx.20", "a packet that came before");
    }
    if more(was.refused, is.refused).is_some() {
        trace!(cx, Drop, "udx", id: id, rule: "udx.23", "a packet outside the window");
    }
    if more(was.bad_acks, is.bad_acks).is_some() {
        trace!(cx, Drop, "udx", id: id, rule: "udx.18", "an ack of what was not sent");
    }
    if more(was.bad_blocks, is.bad_blocks).is_some() {
        trace!(cx, Drop, "udx", id: id, rule: "udx.35", "blocks of what was not sent, or in no order");
    }
    if more(was.mtu_losses, is.mtu_losses).is_some() {
        trace!(cx, Step, "udx", id: id, rule: "udx.96", "a probe of the path is lost");
    }
}
