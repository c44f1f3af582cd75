//! What a stream does when nothing comes: timeouts, probes of the tail and of a closed window, keep-alive. Follows
//! udx.36 and udx.40 to udx.46.

use super::Stream;
use crate::base::{Span, Time};

/// Probes of a tail before only the timeout is left.
const PROBES_MAX: u32 = 2;
/// The timeout doubles up to this many times its base (udx.36).
const BACKOFF_MAX: u64 = 8;
/// Heartbeats to a closed window without any answer, after which the stream ends (udx.43).
const UNANSWERED_MAX: u32 = 6;
/// Timeouts in a row of an END without data to a side that has ended (udx.46).
const LAST_ACK_TIMEOUTS: u32 = 4;

impl Stream {
    /// When `deadline` is, without why: asked for at each packet.
    pub fn due_at(&self) -> Option<Time> {
        let at = &self.at;
        [at.reorder, at.probe, at.timeout, at.zero_window, at.keep_alive, at.pace].into_iter().flatten().min()
    }

    pub fn deadline(&self) -> Option<(Time, &'static str)> {
        [
            (self.at.reorder, "udx reorder"),
            (self.at.probe, "udx tail probe"),
            (self.at.timeout, "udx timeout"),
            (self.at.zero_window, "udx zero window"),
            (self.at.keep_alive, "udx keep alive"),
            (self.at.pace, "udx pace"),
        ]
        .into_iter()
        .filter_map(|(at, why)| at.map(|at| (at, why)))
        .min()
    }

    /// False: the other side is gone for good.
    pub fn on_time(&mut self, now: Time) -> bool {
        let due = |at: &mut Option<Time>| at.take_if(|at| *at <= now).is_some();
        due(&mut self.at.pace); // whoever asked for the time polls
        if due(&mut self.at.reorder) {
            self.look_for_loss(now);
        }
        if due(&mut self.at.timeout) {
            return self.on_timeout(now);
        }
        if due(&mut self.at.probe) && self.probes < PROBES_MAX && self.send.in_flight() > 0 {
            self.probes += 1;
            self.probe_wanted = true;
        }
        if due(&mut self.at.zero_window) && self.window == 0 && self.send.has_new() {
            if self.unanswered >= UNANSWERED_MAX {
                return false;
            }
            self.heartbeat_wanted = true;
            let rounds = u64::from(self.unanswered.min(3));
            self.unanswered += 1;
            self.at.zero_window = Some(now + self.rtt.rto() * 2 * (1 << rounds).min(BACKOFF_MAX / 2));
        }
        if due(&mut self.at.keep_alive) {
            self.heartbeat_wanted = true;
        }
        true
    }

    fn on_timeout(&mut self, now: Time) -> bool {
        if self.recv.ended && self.timeouts >= LAST_ACK_TIMEOUTS && self.send.lacks_only_end() {
            self.send.take_end_for_acked();
            return true;
        }
        let srtt = self.rtt.srtt.unwrap_or_default();
        self.stats.timeouts += 1;
        // udx.36: a receiver that has no room and says so is alive
        let full = core::mem::take(&mut self.heard) && (self.window as usize) < self.mtu.payload();
        if !self.send.on_timeout(now, self.rtt.min(), srtt, !full) {
            return false;
        }
        self.lost_probes();
        if !self.credit.is_proven() && self.left.is_none() {
            if self.timeouts >= UNANSWERED_MAX {
                return false;
            }
            self.heartbeat_wanted = true; // udx.99
        }
        self.timeouts += 1;
        if self.left.is_some() {
            self.turn_back(now);
            return true;
        }
        self.recovery = Some(self.send.next());
        self.congestion.on_timeout(self.send.in_flight());
        self.probe_wanted = false;
        self.at.probe = None;
        self.at.reorder = None;
        self.at.timeout = Some(now + self.backed_off());
        self.follow(now);
        true
    }

    /// A timeout has passed since something was acked.
    pub fn is_late(&self) -> bool {
        self.timeouts > 0
    }

    pub fn acked(&self) -> u64 {
        self.send.acked()
    }

    pub(super) fn arm_probe(&mut self, now: Time) {
        let armed = self.probes < PROBES_MAX && self.timeouts == 0;
        self.at.probe = armed.then(|| now + self.rtt.probe() * (1 << self.probes));
    }

    pub(super) fn backed_off(&self) -> Span {
        self.rtt.rto() * (1 << self.timeouts.min(6)).min(BACKOFF_MAX) // udx.36
    }

    /// Data waits for a window that is closed, and nothing is under way that could open it (udx.42).
    pub(super) fn probe_closed_window(&mut self, now: Time) {
        let idle = self.path().is_some() && self.send.outstanding() == 0;
        if idle && self.window == 0 && self.send.has_new() && self.at.zero_window.is_none() {
            self.heartbeat_wanted = true;
            self.at.zero_window = Some(now + self.rtt.rto());
        }
    }

    /// Nothing is in flight: the keep-alive counts from here.
    pub(super) fn rest(&mut self, now: Time) {
        if self.send.outstanding() > 0 || self.path().is_none() {
            self.at.keep_alive = None;
        } else if let Some(every) = self.keep_alive {
            self.at.keep_alive = Some(now + every);
        }
    }
}
