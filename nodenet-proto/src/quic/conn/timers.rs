//! The timers of one conn.
//!
//! Each conn keeps its handful of deadlines itself; only the earliest of them sits in the
//! transport's queue, so that an ordinary datagram touches that queue once.

use std::time::Instant;

use heapless::Vec as FixedVec;

/// What a conn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnTimer {
    /// QUIC itself: loss detection, idle, pacing, draining.
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
    /// What is queued at a graceful close must be acknowledged.
    Drain,
    /// A conn that is over is forgotten.
    Forget,
}

/// Timers other than QUIC's that can be set at a time: three in a handshake, three while the conn
/// is up, one while it drains, one when it is over.
const OTHERS_MAX: usize = 3;

impl ConnTimer {
    /// For traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Handshake => "handshake",
            Self::HandshakeSilence => "handshake silence",
            Self::Dial => "dial",
            Self::FirstFrame => "first frame",
            Self::Frame => "frame",
            Self::Stall => "stall",
            Self::Drain => "drain",
            Self::Forget => "forget",
        }
    }
}

/// At most one deadline for each [`ConnTimer`].
///
/// QUIC's moves with every packet; the others are seldom set.
#[derive(Debug, Default)]
pub(crate) struct ConnTimers {
    quic: Option<Instant>,
    others: FixedVec<(Instant, ConnTimer), OTHERS_MAX, u8>,
}

impl ConnTimers {
    /// Sets or replaces.
    ///
    /// # Panics
    /// If more are set than a phase of a conn has.
    #[inline]
    pub(crate) fn set(&mut self, timer: ConnTimer, at: Instant) {
        if timer == ConnTimer::Quic {
            self.quic = Some(at);
        } else if let Some(other) = self.others.iter_mut().find(|(_, other)| *other == timer) {
            other.0 = at;
        } else {
            self.others.push((at, timer)).expect("a phase has no more than three timers");
        }
    }

    /// Cancels.
    #[inline]
    pub(crate) fn stop(&mut self, timer: ConnTimer) {
        if timer == ConnTimer::Quic {
            self.quic = None;
        } else if !self.others.is_empty() {
            self.others.retain(|(_, other)| *other != timer);
        }
    }

    /// Cancels all.
    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self, timer: ConnTimer) -> bool {
        match timer {
            ConnTimer::Quic => self.quic.is_some(),
            _ => self.others.iter().any(|(_, other)| *other == timer),
        }
    }

    /// The earliest; among equals the one declared first.
    #[inline]
    pub(crate) fn next(&self) -> Option<(Instant, ConnTimer)> {
        let quic = self.quic.map(|at| (at, ConnTimer::Quic));
        if self.others.is_empty() {
            return quic;
        }
        let others = self.others.iter().copied();
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

    use super::{ConnTimer, ConnTimers};
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
