//! A peer worth dialing, and how far the attempt at it is.
//!
//! Responsible for: its addresses in order, and when something about it is due. Never: dials, or
//! decides whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::api::{ConnectError, Event, RequestId};
use crate::context::Context;
use crate::env::backoff;
use crate::overlay::Action;
use crate::transport::DialError;

/// Addresses of one target (PROTOCOL.md#dial-attempts).
pub(super) const ADDRS_MAX: usize = 8;
/// The next address is dialed if the ones before have not answered for this long (RFC 8305 §5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An edge.
    Edge,
    /// To see whether the peer answers and how fast. Whether it becomes an edge depends on that.
    Probe,
}

/// A peer worth dialing.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Best first: the one that last worked leads.
    pub(super) addrs: Vec<SocketAddr>,
    /// Named by the operator.
    pub(super) seed: bool,
    /// Commands that wait for an edge to it.
    pub(super) requests: Vec<RequestId>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What the application was told last of a seed that it has no edge to.
    pub(super) told: Option<ConnectError>,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is an edge, or dialing is switched off.
    Resting,
    /// The next attempt begins then.
    Waiting(Instant),
    /// An attempt is under way.
    Dialing(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) aim: Purpose,
    /// Addresses dialed so far.
    pub(super) dialed: usize,
    /// Dials without an outcome.
    pub(super) pending: usize,
    /// When the next address is dialed, if there is one.
    pub(super) next_at: Instant,
    pub(super) deadline: Instant,
    pub(super) error: DialError,
    /// Whether there are addresses that it does not dial.
    pub(super) is_partial: bool,
}

impl Attempt {
    /// There are addresses again that it did not dial. Its time for the next one may have passed
    /// meanwhile, when there was none.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.next_at <= now {
            self.next_at = now + STAGGER;
        }
    }
}

impl Target {
    pub(super) fn new(seed: bool) -> Self {
        let (addrs, requests) = (Vec::new(), Vec::new());
        Self { addrs, seed, requests, failures: 0, told: None, state: State::Resting }
    }

    /// Puts `addrs` in front of those known; the best that fit stay.
    pub(super) fn prefer(&mut self, addrs: impl IntoIterator<Item = SocketAddr>) {
        let known = core::mem::take(&mut self.addrs);
        for addr in addrs.into_iter().chain(known) {
            if self.addrs.len() < ADDRS_MAX && !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
    }

    /// Tells the application why there is no edge to this seed, unless it heard that already.
    pub(super) fn tell(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        if self.told.replace(error) != Some(error) {
            cx.act(Action::Event(Event::BootstrapFailed { peer, error }));
        }
    }

    /// When its state changes by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Resting => None,
            State::Waiting(until) => Some(until),
            State::Dialing(attempt) => {
                (attempt.dialed < self.addrs.len()).then_some(attempt.next_at)
            }
        }
    }

    /// Whether an attempt is under way.
    pub(super) fn is_dialing(&self) -> bool {
        matches!(self.state, State::Dialing(_))
    }

    /// The next attempt begins after about this long.
    pub(super) fn wait(&mut self, cx: &mut Context<'_, Action>, span: Duration) {
        self.state = State::Waiting(cx.now + cx.rng.jitter(span, backoff::JITTER_PERCENT));
    }
}
