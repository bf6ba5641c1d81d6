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
    /// Whether the peer is a bootstrap peer, which the bound on attempts does not count.
    pub(super) is_bootstrap: bool,
    /// Candidates dialed so far.
    pub(super) dialed: usize,
    /// Dials without an outcome.
    pub(super) pending: usize,
    /// When the next candidate is dialed, if there is one.
    pub(super) next_at: Instant,
    pub(super) deadline: Instant,
    /// Whether the candidates are dialed once more, because the deadline moved.
    pub(super) dials_again: bool,
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
            dials_again: false,
            is_partial: false,
        }
    }

    /// Takes one more purpose and the candidates that come with it, which are dialed after those
    /// known. If that moves the deadline, the attempt dials all of them once more when the dials
    /// under way have ended. Those end at the earlier deadline.
    pub(super) fn fold(&mut self, now: Instant, purpose: Purpose, addrs: Vec<SocketAddr>) {
        // The time for the next candidate may have passed when there was none.
        if self.next_at <= now {
            self.next_at = now + STAGGER;
        }
        for addr in addrs {
            if self.addrs.len() < PEER_ADDRS_MAX && !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
        let deadline = now + purpose.timeout();
        if purpose != Purpose::Probe && self.purpose.timeout() < purpose.timeout() {
            self.dials_again |= deadline > self.deadline;
            self.deadline = self.deadline.max(deadline);
        }
        self.purpose = self.purpose.min(purpose);
        self.is_requested |= purpose == Purpose::Request;
        self.is_bootstrap |= purpose == Purpose::Bootstrap;
    }

    /// A dial of this attempt ended without a conn.
    pub(super) fn on_dial_failed(&mut self, addr: SocketAddr, error: DialError) {
        self.pending -= 1;
        // Another node answers there now.
        if error == DialError::IdentityMismatch
            && let Some(at) = self.addrs.iter().position(|other| *other == addr)
        {
            self.addrs.remove(at);
            self.dialed -= usize::from(at < self.dialed);
        }
        if self.pending == 0 && self.dials_again && self.dialed == self.addrs.len() {
            (self.dials_again, self.dialed) = (false, 0);
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
