//! The timers of one conn.
//!
//! Each conn keeps its handful of deadlines itself; only the earliest of them sits in the
//! transport's queue, so that an ordinary datagram touches that queue once.

use std::time::Instant;

use heapless::Vec as FixedVec;

/// What a conn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnTimer {
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
    /// A frame must be taken by the QUIC stack.
    Stall,
    /// What is queued at a graceful close must be acknowledged.
    Drain,
}

/// Timers other than QUIC's that can be set at a time: three in a handshake, three while the conn is
/// up, two while it drains.
const OTHERS_MAX: usize = 3;

impl ConnTimer {
    /// For traces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Handshake => "handshake",
            Self::HandshakeSilence => "handshake silence",
            Self::Dial => "dial",
            Self::FirstFrame => "first frame",
            Self::Frame => "frame",
            Self::Stall => "stall",
            Self::Drain => "drain",
        }
    }
}

/// At most one deadline for each [`ConnTimer`].
///
/// QUIC's moves with every packet; the others are seldom set.
#[derive(Debug, Default)]
pub(super) struct ConnTimers {
    quic: Option<Instant>,
    others: FixedVec<(Instant, ConnTimer), OTHERS_MAX, u8>,
}

impl ConnTimers {
    /// Sets or replaces.
    ///
    /// # Panics
    /// If more are set than a phase of a conn has.
    pub(super) fn set(&mut self, timer: ConnTimer, at: Instant) {
        if timer == ConnTimer::Quic {
            self.quic = Some(at);
        } else if let Some(other) = self.others.iter_mut().find(|(_, other)| *other == timer) {
            other.0 = at;
        } else {
            self.others.push((at, timer)).expect("a phase has no more than three timers");
        }
    }

    /// Cancels.
    pub(super) fn stop(&mut self, timer: ConnTimer) {
        if timer == ConnTimer::Quic {
            self.quic = None;
        } else if !self.others.is_empty() {
            self.others.retain(|(_, other)| *other != timer);
        }
    }

    /// Cancels all.
    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Whether it is set.
    pub(super) fn is_set(&self, timer: ConnTimer) -> bool {
        match timer {
            ConnTimer::Quic => self.quic.is_some(),
            _ => self.others.iter().any(|(_, other)| *other == timer),
        }
    }

    /// The earliest; among equals the one declared first.
    pub(super) fn next(&self) -> Option<(Instant, ConnTimer)> {
        let quic = self.quic.map(|at| (at, ConnTimer::Quic));
        if self.others.is_empty() {
            return quic;
        }
        let others = self.others.iter().copied();
        quic.into_iter().chain(others).min_by_key(|(at, timer)| (*at, *timer as u8))
    }

    /// Takes one that is due at `now`, earliest first.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnTimer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
