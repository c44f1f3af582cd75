//! A host's own clock: what its node calls `now` may run ahead of the world's time, faster or slower. Values only.

use crate::base::Time;

/// How a host's clock differs from the world's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// Microseconds that it is ahead of the world's when the process starts; behind if negative. `Time` knows nothing
    /// before zero, so a clock that would be there shows in the process's Unix time alone.
    pub offset_micros: i64,
    /// Microseconds that it gains in a second of the world; loses if negative. From -900,000 on.
    pub drift_ppm: i32,
}

/// The least that a clock may drift: slower, and a second of its own would take for ever.
const DRIFT_MIN: i32 = -900_000;
const MILLION: u128 = 1_000_000;

/// A clock that goes: it was at `local` when the world was at `world`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Running {
    world: Time,
    local: Time,
    drift_ppm: i32,
}

impl Running {
    /// Begins at `now` of the world.
    pub fn start(clock: Clock, now: Time) -> Running {
        let ahead = u64::try_from(clock.offset_micros).unwrap_or(0);
        let local = Time::from_micros(now.as_micros().saturating_add(ahead));
        Running { world: now, local, drift_ppm: clock.drift_ppm.max(DRIFT_MIN) }
    }

    /// Goes on from where it is with another drift: it never jumps.
    pub fn change(&mut self, drift_ppm: i32, now: Time) {
        *self = Running { world: now, local: self.local(now), drift_ppm: drift_ppm.max(DRIFT_MIN) };
    }

    /// What it shows at `now` of the world.
    pub fn local(&self, now: Time) -> Time {
        let passed = now.since(self.world).as_micros();
        if self.drift_ppm == 0 {
            return Time::from_micros(self.local.as_micros().saturating_add(passed));
        }
        let gained = u128::from(passed) * self.rate() / MILLION;
        Time::from_micros(self.local.as_micros().saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)))
    }

    /// The first moment of the world at which it shows `local` or later.
    pub fn world(&self, local: Time) -> Time {
        let left = local.since(self.local).as_micros();
        let passed = if self.drift_ppm == 0 {
            u128::from(left)
        } else {
            (u128::from(left) * MILLION).div_ceil(self.rate())
        };
        Time::from_micros(self.world.as_micros().saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Its microseconds in a second of the world.
    fn rate(&self) -> u128 {
        // Not below 100,000: see DRIFT_MIN.
        MILLION.saturating_add_signed(i128::from(self.drift_ppm))
    }
}

/// The Unix time that a process believes to have been when the world's time was zero.
pub fn believed_epoch(clock: Clock, epoch_millis: u64) -> u64 {
    let behind = clock.offset_micros.min(0).unsigned_abs() / 1000;
    epoch_millis.saturating_sub(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    #[test]
    fn a_clock_without_faults_is_the_worlds() {
        let clock = Running::start(Clock::default(), Time::from_micros(17));
        for micros in [17, 18, 1_000_017] {
            assert_eq!(clock.local(Time::from_micros(micros)), Time::from_micros(micros));
            assert_eq!(clock.world(Time::from_micros(micros)), Time::from_micros(micros));
        }
    }

    /// Law L4 needs it: woken for a deadline, the node must find that its time has come, and not a microsecond early.
    #[test]
    fn a_deadline_is_reached_when_it_is_due_and_not_before() {
        for drift_ppm in [-900_000, -200_000, -333, -1, 0, 1, 77, 500_000, 3_000_000] {
            let clock = Clock { offset_micros: 12_345, drift_ppm };
            let running = Running::start(clock, Time::from_micros(999));
            for micros in [13_344, 13_345, 13_346, 20_001, 1_234_567, 86_400_000_000] {
                let deadline = Time::from_micros(micros);
                let at = running.world(deadline);
                assert!(running.local(at) >= deadline, "{drift_ppm} {deadline}");
                if at > Time::from_micros(999) {
                    let before = Time::from_micros(at.as_micros() - 1);
                    assert!(running.local(before) < deadline, "{drift_ppm} {deadline}");
                }
            }
        }
    }

    #[test]
    fn drift_and_offset_are_what_was_asked_for() {
        let clock = Clock { offset_micros: 5_000_000, drift_ppm: 200 };
        let mut running = Running::start(clock, Time::ZERO);
        let hour = Time::ZERO + Span::from_secs(3600);
        assert_eq!(running.local(hour), Time::from_micros(3_605_000_000 + 720_000));
        running.change(0, hour);
        assert_eq!(running.local(hour), Time::from_micros(3_605_720_000), "it does not jump");
        assert_eq!(running.local(hour + Span::from_secs(1)), Time::from_micros(3_606_720_000));
    }

    #[test]
    fn a_clock_behind_shows_in_the_unix_time() {
        let behind = Clock { offset_micros: -3_600_000_000, drift_ppm: 0 };
        assert_eq!(Running::start(behind, Time::ZERO).local(Time::ZERO), Time::ZERO);
        assert_eq!(believed_epoch(behind, 1_700_000_000_000), 1_699_996_400_000);
        let ahead = Clock { offset_micros: 3_600_000_000, drift_ppm: 0 };
        assert_eq!(believed_epoch(ahead, 1_700_000_000_000), 1_700_000_000_000);
    }
}
