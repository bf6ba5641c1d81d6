//! The timers of one conn.
//!
//! Each conn keeps its handful of deadlines in an array; only the earliest of them sits in the
//! transport's queue, so that an ordinary datagram touches that queue once.

use std::time::Instant;

/// What a conn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
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

impl ConnTimer {
    const ALL: [Self; 8] = [
        Self::Quic,
        Self::Handshake,
        Self::HandshakeSilence,
        Self::Dial,
        Self::FirstFrame,
        Self::Frame,
        Self::Stall,
        Self::Drain,
    ];

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
#[derive(Debug, Default)]
pub(super) struct ConnTimers([Option<Instant>; ConnTimer::ALL.len()]);

impl ConnTimers {
    /// Sets or replaces.
    pub(super) fn set(&mut self, timer: ConnTimer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    /// Cancels.
    pub(super) fn stop(&mut self, timer: ConnTimer) {
        self.0[timer as usize] = None;
    }

    /// Cancels all.
    pub(super) fn stop_all(&mut self) {
        self.0 = Default::default();
    }

    /// Whether it is set.
    pub(super) fn is_set(&self, timer: ConnTimer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// The earliest; among equals the one declared first.
    pub(super) fn next(&self) -> Option<(Instant, ConnTimer)> {
        ConnTimer::ALL
            .into_iter()
            .filter_map(|timer| self.0[timer as usize].map(|at| (at, timer)))
            .min_by_key(|(at, _)| *at)
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
