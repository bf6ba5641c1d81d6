//! Timers of one conn.
//!
//! A conn keeps its few deadlines itself. Only the earliest of them is in the transport's queue, so
//! that an ordinary datagram touches that queue once.

use std::time::Instant;

/// Timers of a conn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ConnTimer {
    /// QUIC itself: loss detection, idle, pacing, draining.
    #[default]
    Quic,
    /// A handshake must finish.
    Handshake,
    /// A handshake must go on: no packet for too long.
    HandshakeSilence,
    /// The engine's deadline of a dial.
    Dial,
    /// An accepted conn must show its stream, then a whole frame.
    FirstFrame,
    /// A frame that was begun must be completed.
    Frame,
    /// QUIC must take some of what waits, and in time the whole frame.
    Stall,
    /// A path is new, and a packet passes once more.
    KeepAlive,
    /// What is queued at a graceful close must be acknowledged.
    Drain,
    /// A conn that is over is forgotten.
    Forget,
}

/// Timers other than QUIC's, by the phase of the conn in which they are set. Those of one phase run
/// side by side. Those of a later phase take the places of the earlier ones.
const PHASES: [&[ConnTimer]; 4] = [
    &[ConnTimer::Handshake, ConnTimer::HandshakeSilence, ConnTimer::Dial],
    &[ConnTimer::FirstFrame, ConnTimer::Frame, ConnTimer::Stall, ConnTimer::KeepAlive],
    &[ConnTimer::Drain],
    &[ConnTimer::Forget],
];
/// Places for timers other than QUIC's: as many as the largest phase has. A place for every timer
/// would take 80 bytes more on each conn.
const PLACES: usize = largest(&PHASES);

const fn largest(phases: &[&[ConnTimer]]) -> usize {
    let (mut largest, mut at) = (0, 0);
    while at < phases.len() {
        if phases[at].len() > largest {
            largest = phases[at].len();
        }
        at += 1;
    }
    largest
}

impl ConnTimer {
    /// Its place: where it stands in its phase. QUIC's has none.
    #[inline]
    const fn place(self) -> usize {
        match self {
            Self::Quic | Self::Handshake | Self::FirstFrame | Self::Drain | Self::Forget => 0,
            Self::HandshakeSilence | Self::Frame => 1,
            Self::Dial | Self::Stall => 2,
            Self::KeepAlive => 3,
        }
    }

    /// The name in traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Handshake => "handshake",
            Self::HandshakeSilence => "handshake silence",
            Self::Dial => "dial",
            Self::FirstFrame => "first frame",
            Self::Frame => "frame",
            Self::Stall => "stall",
            Self::KeepAlive => "keep-alive",
            Self::Drain => "drain",
            Self::Forget => "forget",
        }
    }
}

/// At most one deadline for each [`ConnTimer`] of the current phase.
///
/// QUIC's moves with every packet; the others are seldom set.
#[derive(Debug, Default)]
pub(crate) struct ConnTimers {
    quic: Option<Instant>,
    /// Deadlines of the others, by place.
    others: [Option<Instant>; PLACES],
    /// The timer that each of them is of.
    timers: [ConnTimer; PLACES],
}

impl ConnTimers {
    /// Sets or replaces. A timer of an earlier phase that is still set goes.
    #[inline]
    pub(crate) fn set(&mut self, timer: ConnTimer, at: Instant) {
        match timer {
            ConnTimer::Quic => self.quic = Some(at),
            _ => {
                self.others[timer.place()] = Some(at);
                self.timers[timer.place()] = timer;
            }
        }
    }

    /// Cancels.
    #[inline]
    pub(crate) fn stop(&mut self, timer: ConnTimer) {
        if timer == ConnTimer::Quic {
            self.quic = None;
        } else if self.is_set(timer) {
            self.others[timer.place()] = None;
        }
    }

    /// Cancels all.
    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Whether it is set.
    #[inline]
    pub(crate) fn is_set(&self, timer: ConnTimer) -> bool {
        match timer {
            ConnTimer::Quic => self.quic.is_some(),
            _ => self.timers[timer.place()] == timer && self.others[timer.place()].is_some(),
        }
    }

    /// The earliest; among equals the one declared first.
    #[inline]
    pub(crate) fn next(&self) -> Option<(Instant, ConnTimer)> {
        let quic = self.quic.map(|at| (at, ConnTimer::Quic));
        if self.others.iter().all(Option::is_none) {
            return quic;
        }
        let others = self.others.into_iter().zip(self.timers);
        let others = others.filter_map(|(at, timer)| Some((at?, timer)));
        quic.into_iter().chain(others).min_by_key(|(at, timer)| (*at, *timer as u8))
    }

    /// Takes one that is due at `now`, earliest first.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ConnTimer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ConnTimer, ConnTimers, PHASES, PLACES};
    use crate::env::test_base;

    #[test]
    fn timers_fire_earliest_first_and_equal_ones_in_the_order_of_declaration() {
        let at = |seconds| test_base() + Duration::from_secs(seconds);
        let mut timers = ConnTimers::default();
        timers.set(ConnTimer::Stall, at(2));
        timers.set(ConnTimer::FirstFrame, at(2));
        timers.set(ConnTimer::Frame, at(9));
        timers.set(ConnTimer::Quic, at(2));
        timers.set(ConnTimer::Frame, at(1));
        assert_eq!(timers.next(), Some((at(1), ConnTimer::Frame)));
        assert_eq!(timers.pop_due(at(0)), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(2))).collect();
        let order = [ConnTimer::Frame, ConnTimer::Quic, ConnTimer::FirstFrame, ConnTimer::Stall];
        assert_eq!(fired, order);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_timers_of_a_phase_have_places_of_their_own() {
        for phase in PHASES {
            let mut timers = ConnTimers::default();
            for (place, timer) in phase.iter().enumerate() {
                assert_eq!(timer.place(), place, "{timer:?}");
                timers.set(*timer, test_base());
            }
            assert!(phase.iter().all(|timer| timers.is_set(*timer)), "{phase:?} at once");
        }
        assert!(PHASES.iter().any(|phase| phase.len() == PLACES));
        let listed = PHASES.iter().map(|phase| phase.len()).sum::<usize>();
        assert_eq!(listed, ConnTimer::Forget as usize, "every timer but QUIC's is in one phase");
    }

    #[test]
    fn a_timer_of_a_later_phase_takes_the_place_of_an_earlier_one() {
        let mut timers = ConnTimers::default();
        for timer in [ConnTimer::Handshake, ConnTimer::HandshakeSilence, ConnTimer::Dial] {
            timers.set(timer, test_base());
        }
        timers.set(ConnTimer::Stall, test_base());
        timers.stop(ConnTimer::Dial);
        assert!(!timers.is_set(ConnTimer::Dial) && timers.is_set(ConnTimer::Stall));
        assert!(timers.is_set(ConnTimer::Handshake), "the others stay until they are stopped");
    }

    #[test]
    fn a_timer_that_is_stopped_leaves_the_others() {
        let mut timers = ConnTimers::default();
        for timer in [ConnTimer::Handshake, ConnTimer::HandshakeSilence, ConnTimer::Dial] {
            timers.set(timer, test_base());
        }
        timers.stop(ConnTimer::Handshake);
        timers.stop(ConnTimer::Quic);
        assert!(!timers.is_set(ConnTimer::Handshake) && timers.is_set(ConnTimer::Dial));
        assert_eq!(timers.pop_due(test_base()), Some(ConnTimer::HandshakeSilence));
        timers.stop_all();
        assert_eq!(timers.next(), None);
    }
}
