//! Attempt to connect to one peer: its candidates in order, the dials under way, and the deadline.
//!
//! Responsible for: which candidate is dialed next, and when. Never: dials.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Purpose;
use crate::addr::PEER_ADDRS_MAX;
use crate::transport::DialError;

/// The next candidate is dialed if the ones before have not answered for this long (RFC 8305 §5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// In the order in which they are dialed.
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) purpose: Purpose,
    /// Whether the application waits for its outcome.
    pub(super) is_requested: bool,
    /// Whether a bootstrap peer is wanted, which the bound on attempts does not count.
    pub(super) is_bootstrap: bool,
    /// Candidates dialed so far.
    pub(super) dialed: usize,
    /// Dials without an outcome.
    pub(super) pending: usize,
    /// When the next candidate is dialed, if there is one.
    pub(super) next_at: Instant,
    pub(super) deadline: Instant,
    /// How many of the candidates dialed, the first ones, have dials that end before the deadline,
    /// because it moved.
    pub(super) short: usize,
    /// Whether there are candidates that it does not dial.
    pub(super) is_partial: bool,
}

impl Attempt {
    pub(super) fn new(now: Instant, purpose: Purpose, addrs: Vec<SocketAddr>) -> Self {
        Self {
            addrs,
            purpose,
            is_requested: purpose == Purpose::Request,
            is_bootstrap: purpose == Purpose::Bootstrap,
            dialed: 0,
            pending: 0,
            next_at: now,
            deadline: now + purpose.timeout(),
            short: 0,
            is_partial: false,
        }
    }

    /// Takes one more purpose and the candidates that come with it, which are dialed next. If that
    /// moves the deadline, a dial under way that ends in vain at the earlier one is repeated.
    pub(super) fn fold(&mut self, now: Instant, purpose: Purpose, addrs: Vec<SocketAddr>) {
        // The time for the next candidate may have passed when there was none.
        if self.next_at <= now {
            self.next_at = now + STAGGER;
        }
        let later = self.addrs.split_off(self.dialed);
        for addr in addrs.into_iter().chain(later) {
            if self.addrs.len() < PEER_ADDRS_MAX && !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
        let deadline = now + purpose.timeout();
        if self.purpose.timeout() < purpose.timeout() && self.deadline < deadline {
            (self.deadline, self.short) = (deadline, self.dialed);
        }
        self.purpose = self.purpose.min(purpose);
        self.is_requested |= purpose == Purpose::Request;
        self.is_bootstrap |= purpose == Purpose::Bootstrap;
    }

    /// A dial of this attempt ended without a conn.
    pub(super) fn on_dial_failed(&mut self, now: Instant, addr: SocketAddr, error: DialError) {
        self.pending -= 1;
        let Some(at) = self.addrs.iter().position(|other| *other == addr) else { return };
        let was_cut_short = error == DialError::TimedOut && at < self.short && now < self.deadline;
        // At an identity mismatch another node answers there now.
        if error != DialError::IdentityMismatch && !was_cut_short {
            return;
        }
        self.addrs.remove(at);
        self.dialed -= usize::from(at < self.dialed);
        self.short -= usize::from(at < self.short);
        if was_cut_short {
            self.addrs.push(addr);
            self.next_at = self.next_at.max(now + STAGGER);
        }
    }

    /// The next candidate, which counts as dialed from now on.
    pub(super) fn next_addr(&mut self, now: Instant) -> Option<SocketAddr> {
        let addr = self.addrs.get(self.dialed).copied()?;
        self.dialed += 1;
        self.pending += 1;
        self.next_at = now + STAGGER;
        Some(addr)
    }

    /// Whether no dial is left that may bring a conn.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let has_more = self.dialed < self.addrs.len() && self.deadline > now;
        self.pending == 0 && !has_more
    }

    /// When the next candidate is dialed.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.dialed < self.addrs.len()).then_some(self.next_at)
    }
}
