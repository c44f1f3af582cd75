//! How many packets may be in flight, and when the next may leave. `rate` measures how fast packets arrive, `bbr` makes
//! of that a model of the path, `pacing` lets packets go at its pace; all in whole numbers, so that it is the same on
//! every machine. Follows udx.50, udx.51 and udx.70 to udx.88.

mod bbr;
mod filters;
mod pacing;
mod rate;

#[cfg(test)]
mod tests;

use crate::base::{Span, Time};
use bbr::{Acked, Bbr};
use pacing::Pacer;
use rate::Sampler;

pub use bbr::Phase;
pub(super) use rate::{Newest, Stamp};

#[derive(Debug)]
pub(super) struct Congestion {
    bbr: Bbr,
    sampler: Sampler,
    pacer: Pacer,
    /// Packets that were taken for lost since the last ack.
    lost: u64,
}

/// What an ack brought.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// Packets that arrived.
    pub count: usize,
    /// More may have arrived than the ack could say. (udx.88)
    pub blind: bool,
    pub newest: &'a Newest,
    /// From a packet that was sent once.
    pub rtt: Option<Span>,
    pub least_rtt: Span,
    pub srtt: Option<Span>,
    /// Packets that still are in flight.
    pub in_flight: usize,
    /// Of a full packet, with its header.
    pub packet_bytes: usize,
}

impl Congestion {
    /// `draw` tells streams apart that begin together; `packet_bytes`: of a full packet, with its header.
    pub fn new(draw: u32, packet_bytes: usize) -> Congestion {
        let bbr = Bbr::new(draw);
        let pacer = Pacer::new(bbr.pacing_rate(packet_bytes), packet_bytes as u64);
        Congestion { bbr, sampler: Sampler::default(), pacer, lost: 0 }
    }

    /// Packets that may be in flight.
    pub fn window(&self) -> usize {
        self.bbr.window() as usize
    }

    pub fn may_send(&self, in_flight: usize) -> bool {
        in_flight < self.window()
    }

    pub fn phase(&self) -> Phase {
        self.bbr.phase()
    }

    /// Bytes per second that the path is thought to carry, in packets of this size.
    pub fn bandwidth(&self, packet_bytes: usize) -> u64 {
        self.bbr.bandwidth(packet_bytes)
    }

    /// Bytes per second at which packets leave.
    pub fn pacing_rate(&self) -> u64 {
        self.pacer.rate()
    }

    /// `None`: the next packet may leave now; else when (udx.85).
    pub fn held_until(&mut self, now: Time) -> Option<Time> {
        self.pacer.held_until(now)
    }

    /// Everything that waited has left, and more might be in flight.
    pub fn on_nothing_to_send(&mut self, in_flight: usize) {
        self.sampler.limit(in_flight as u64);
    }

    /// A packet leaves, while `in_flight` others are under way.
    pub fn on_sent(&mut self, now: Time, in_flight: usize, packet_bytes: usize) -> Stamp {
        if in_flight == 0 {
            self.bbr.on_restart(now);
            self.pacer.set_rate(now, self.bbr.pacing_rate(packet_bytes), packet_bytes as u64);
        }
        self.sampler.stamp(now, in_flight == 0)
    }

    /// That packet had so many bytes.
    pub fn on_bytes(&mut self, bytes: usize) {
        self.pacer.on_sent(bytes);
    }

    pub fn on_ack(&mut self, now: Time, arrival: &Arrival<'_>) {
        let count = arrival.count as u64;
        let sample = self.sampler.on_ack(now, count, arrival.newest, arrival.least_rtt);
        let acked = Acked {
            count,
            lost: core::mem::take(&mut self.lost),
            in_flight: arrival.in_flight as u64,
            delivered: self.sampler.delivered,
            rtt: arrival.rtt,
            srtt: arrival.srtt,
            sample,
            blind: arrival.blind,
        };
        self.bbr.on_ack(now, &acked);
        if self.bbr.phase() == Phase::ProbeRtt {
            self.sampler.limit(arrival.in_flight as u64); // udx.80
        }
        self.pacer.set_rate(now, self.bbr.pacing_rate(arrival.packet_bytes), arrival.packet_bytes as u64);
    }

    /// Packets are taken for lost; `in_flight` are left.
    pub fn on_loss(&mut self, lost: usize) {
        self.lost += lost as u64;
    }

    /// A loss that is not part of a recovery already under way.
    pub fn on_recovery(&mut self, in_flight: usize) {
        self.bbr.on_recovery(in_flight as u64, self.sampler.delivered);
    }

    /// Everything that was in flight when the loss was seen has arrived.
    pub fn on_recovered(&mut self) {
        self.bbr.on_recovered();
    }

    /// Nothing came back for a whole timeout.
    pub fn on_timeout(&mut self, in_flight: usize) {
        self.bbr.on_timeout(in_flight as u64);
    }
}
