//! A remote that has got a new address: its NAT was started again, or its line has a new one. Follows udx.132.

use super::{Path, Phase, Stream};
use crate::base::{Addr, Span, Time};
use crate::udx::credit::Credit;
use crate::udx::recv::Taken;

/// How long nothing but packets from elsewhere must have come.
const ASTRAY: Span = Span::from_millis(250);

/// Packets come from elsewhere, and none from the remote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Astray {
    from: Addr,
    since: Time,
    bytes: usize,
    /// The next in order was among them, and one that had come before.
    fresh: bool,
    again: bool,
}

impl Stream {
    /// Of a packet that came on the stream's own socket.
    pub(super) fn note_source(&mut self, now: Time, path: Path, from: Addr, len: usize) {
        let changing = self.change.is_some_and(|change| change.pending);
        let settled = !self.roaming && self.relay_to.is_none() && !changing;
        if from == path.to || !settled {
            self.astray = None;
            return;
        }
        let astray = match self.astray {
            Some(astray) if astray.from == from => astray,
            Some(_) | None => Astray { from, since: now, bytes: 0, fresh: false, again: false },
        };
        self.astray = Some(Astray { bytes: astray.bytes.saturating_add(len), ..astray });
    }

    /// The packet that was noted last had data: new, or such as came before.
    pub(super) fn note_data(&mut self, taken: Taken) {
        if let Some(astray) = &mut self.astray {
            astray.fresh |= taken == Taken::Now;
            astray.again |= taken == Taken::Old;
        }
    }

    /// Goes to where the packets come from, if those are the other side's and what goes to the remote does not arrive.
    pub(super) fn follow(&mut self, now: Time) {
        let (Some(astray), Phase::Connected(path)) = (self.astray, self.phase) else { return };
        let unheard = self.timeouts > 0 || astray.again;
        if !astray.fresh || !unheard || now.since(astray.since) < ASTRAY {
            return;
        }
        let mut credit = Credit::Left(0);
        credit.earn(astray.bytes);
        self.go(now, Path { to: astray.from, ..path }, credit);
        self.left.get_or_insert(path.to);
    }

    /// Nothing that went to where it followed was acked: back, for packets may come from where none can be sent.
    pub(super) fn turn_back(&mut self, now: Time) {
        if let (Some(to), Phase::Connected(path)) = (self.left.take(), self.phase) {
            self.go(now, Path { to, ..path }, Credit::Proven);
        }
    }

    fn go(&mut self, now: Time, path: Path, credit: Credit) {
        self.phase = Phase::Connected(path);
        self.credit = credit;
        self.astray = None;
        self.mtu.reset();
        self.send.lose_all();
        self.recv.ack_wanted = true;
        (self.at.probe, self.at.reorder, self.probe_wanted) = (None, None, false);
        // Not backed off: it is another path.
        self.at.timeout = (self.send.outstanding() > 0).then(|| now + self.rtt.rto());
    }
}
