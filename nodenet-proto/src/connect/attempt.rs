//! Attempt to connect to one peer: its candidates in order, the dials under way, the exchange with
//! the peer, and the deadline.
//!
//! Responsible for: which candidate is dialed next, and when. Never: dials.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Purpose;
use super::exchange::Exchange;
use super::log::Log;
use crate::NodeId;
use crate::addr::PEER_ADDRS_MAX;
use crate::api::{ConnectStepKind, Families, PathSide};
use crate::transport::DialError;

/// The next candidate is dialed if the ones before have not answered for this long (RFC 8305 §5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);
/// The same where the round trip to the peer is known and shorter (RFC 8305 §8).
const STAGGER_MIN: Duration = Duration::from_millis(100);
/// From the answer of the peer until volunteers are asked: a punched path needs less than this on
/// most networks (a guess).
const RELAY_AFTER: Duration = Duration::from_millis(600);
/// Candidates of one attempt: as many as are known of the peer before, and as many as it names.
pub(super) const CANDIDATES_MAX: usize = 2 * PEER_ADDRS_MAX;
/// A socket of a volunteer is dialed again after this long without a conn: a handshake doubles its
/// waits with every loss, and a relayed path loses twice (a guess: two handshakes without loss).
const REDIAL: Duration = Duration::from_secs(1);
/// How often each is dialed again (a guess).
const REDIALS_MAX: u8 = 6;
/// A punch from an address that is being dialed says that its NAT is open now, and what was sent
/// before may be lost. If no conn is up this long after it, the address is dialed again: the answer
/// to a handshake that got through comes with the punch (a guess; a handshake repeats itself after
/// 300 ms).
const PUNCHED_WAIT: Duration = Duration::from_millis(30);
/// Where both sides say that no direct path is to be expected, and no volunteer is there, the
/// attempt is given up after this long: punches under way may still find a filter that is wider
/// than others (a guess: a handshake and its first three repetitions).
const LAST_TRIES: Duration = Duration::from_secs(3);
/// Volunteers whose grants one attempt keeps.
pub(super) const GRANTS_MAX: usize = 4;

/// The step by volunteers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relay {
    /// It is not known yet whether it is needed.
    Off,
    /// Volunteers are asked at this time.
    Due(Instant),
    /// They were asked.
    Asked,
    /// None is left to ask.
    Over,
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// In the order in which they are dialed.
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) purpose: Purpose,
    /// Whether the application waits for its outcome.
    pub(super) is_requested: bool,
    /// Whether only the log hears that it failed: there may be an edge all the same.
    pub(super) is_quiet: bool,
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
    /// Candidates that are dialed only after the peer has sent (PROTOCOL.md#early-packets).
    pub(super) held: Vec<SocketAddr>,
    /// The exchange with the peer, if the attempt has one.
    pub(super) exchange: Option<Exchange>,
    pub(super) relay: Relay,
    /// What was known of this node when the peer answered, and what the peer said of itself.
    pub(super) sides: Option<Box<(PathSide, PathSide)>>,
    /// Whether both sides say that no direct path is to be expected.
    pub(super) is_hopeless: bool,
    /// When it is given up although dials are under way.
    pub(super) given_up: Option<Instant>,
    /// Sockets of volunteers for this node, and the volunteer of each.
    pub(super) grants: Vec<(SocketAddr, NodeId)>,
    /// When they are dialed again, and how often they may be.
    pub(super) redial: Option<(Instant, u8)>,
    /// The addresses from which punches arrived while they were dialed, and when they are dialed
    /// again; not at all if that was done.
    pub(super) punched: Vec<(SocketAddr, Option<Instant>)>,
    /// From one candidate to the next.
    pub(super) stagger: Duration,
    /// Of the last dial that failed.
    pub(super) last_error: Option<DialError>,
    /// What happened, if the application requested it.
    pub(super) log: Option<Box<Log>>,
}

impl Attempt {
    pub(super) fn new(now: Instant, purpose: Purpose, addrs: Vec<SocketAddr>) -> Self {
        Self {
            addrs,
            purpose,
            is_requested: purpose == Purpose::Request,
            is_quiet: matches!(purpose, Purpose::Renew | Purpose::Upgrade),
            is_bootstrap: purpose == Purpose::Bootstrap,
            dialed: 0,
            pending: 0,
            next_at: now,
            deadline: now + purpose.timeout(),
            short: 0,
            is_partial: false,
            held: Vec::new(),
            exchange: None,
            relay: Relay::Off,
            sides: None,
            is_hopeless: false,
            given_up: None,
            grants: Vec::new(),
            redial: None,
            punched: Vec::new(),
            stagger: STAGGER,
            last_error: None,
            log: purpose.is_asked().then(|| Box::new(Log::new(now))),
        }
    }

    /// Takes one more purpose and the candidates that come with it, which are dialed next. If that
    /// moves the deadline, a dial under way that ends in vain at the earlier one is repeated.
    pub(super) fn fold(&mut self, now: Instant, purpose: Purpose, addrs: Vec<SocketAddr>) {
        // The time for the next candidate may have passed when there was none.
        if self.next_at <= now {
            self.next_at = now + self.stagger;
        }
        self.insert_next(addrs);
        let deadline = now + purpose.timeout();
        // The first request begins an exchange, which needs its time.
        let is_longer = self.purpose.timeout() < purpose.timeout()
            || (purpose == Purpose::Request && !self.is_requested);
        if is_longer && self.deadline < deadline {
            (self.deadline, self.short) = (deadline, self.dialed);
        }
        self.purpose = self.purpose.min(purpose);
        self.is_requested |= purpose == Purpose::Request;
        self.is_bootstrap |= purpose == Purpose::Bootstrap;
        self.is_quiet &= purpose == Purpose::Renew;
        if self.is_requested && self.log.is_none() {
            let mut log = Log::new(now);
            if let Some((own, peer)) = self.sides.as_deref() {
                log.set_own(own);
                log.push(now, ConnectStepKind::Answered(peer.clone()));
            }
            self.log = Some(Box::new(log));
        }
    }

    /// Adds candidates, which are dialed before those that wait already.
    fn insert_next(&mut self, addrs: Vec<SocketAddr>) {
        let later = self.addrs.split_off(self.dialed);
        for addr in addrs.into_iter().chain(later) {
            if self.addrs.len() < CANDIDATES_MAX && !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
    }

    /// Adds candidates that are dialed only after the peer has sent.
    pub(super) fn hold(&mut self, addrs: Vec<SocketAddr>) {
        for addr in addrs {
            let count = self.addrs.len() + self.held.len();
            if count < CANDIDATES_MAX && !self.candidates().any(|known| known == addr) {
                self.held.push(addr);
            }
        }
    }

    /// Whether a Connect that names addresses of these families makes the peer send to where this
    /// attempt needs it.
    pub(super) fn is_of_use(&self, named: Families) -> bool {
        if self.purpose.is_asked() {
            return named != Families::default();
        }
        self.held.iter().any(|addr| named.has(*addr))
    }

    /// Whether the peer may be on a network without global addresses, as this node is, which names
    /// these.
    pub(super) fn is_local(&self, own: &[SocketAddr]) -> bool {
        self.purpose.is_asked() && self.held.is_empty() && !own.is_empty()
    }

    /// Every candidate: those that are dialed first, then those that are held.
    pub(super) fn candidates(&self) -> impl Iterator<Item = SocketAddr> {
        self.addrs.iter().chain(&self.held).copied()
    }

    /// The peer has sent, or could have, where `may_dial` says so: what was held there is to be
    /// released.
    pub(super) fn take_held(&mut self, may_dial: impl Fn(&SocketAddr) -> bool) -> Vec<SocketAddr> {
        let (free, held) = self.held.iter().copied().partition(|addr| may_dial(addr));
        self.held = held;
        free
    }

    /// These candidates are dialed from now on, the first one at once. The peer answered after this
    /// long, if it did.
    pub(super) fn release(
        &mut self,
        now: Instant,
        addrs: Vec<SocketAddr>,
        round_trip: Option<Duration>,
    ) {
        if let Some(round_trip) = round_trip {
            self.stagger = round_trip.clamp(STAGGER_MIN, STAGGER);
        }
        if !addrs.is_empty() {
            self.insert_next(addrs);
            self.next_at = now;
        }
    }

    /// Volunteers are asked after a while, or at once if a direct path is not to be expected.
    pub(super) fn plan_relay(&mut self, now: Instant, is_at_once: bool) {
        if self.relay == Relay::Off && self.is_requested {
            self.relay = Relay::Due(if is_at_once { now } else { now + RELAY_AFTER });
        }
    }

    /// No volunteer is left to ask.
    pub(super) fn end_relay(&mut self, now: Instant) {
        self.relay = Relay::Over;
        if self.is_hopeless {
            self.given_up = Some(now + LAST_TRIES);
        }
    }

    /// A volunteer has a socket for this node.
    pub(super) fn add_grant(&mut self, now: Instant, addr: SocketAddr, volunteer: NodeId) {
        self.grants.push((addr, volunteer));
        self.redial.get_or_insert((now + REDIAL, REDIALS_MAX));
        self.release(now, vec![addr], None);
    }

    /// The sockets of volunteers that are to be dialed again now.
    pub(super) fn take_redials(&mut self, now: Instant) -> Vec<SocketAddr> {
        let Some((_, left)) = self.redial.filter(|(at, _)| *at <= now) else { return Vec::new() };
        self.redial = (left > 1).then_some((now + REDIAL, left - 1));
        if self.deadline <= now {
            self.redial = None;
            return Vec::new();
        }
        let was_dialed = |addr: &SocketAddr| self.addrs[..self.dialed].contains(addr);
        let again: Vec<SocketAddr> =
            self.grants.iter().map(|(addr, _)| *addr).filter(was_dialed).collect();
        self.pending += again.len();
        again
    }

    /// A punch arrived from a candidate. One that was dialed already is dialed again soon, once.
    pub(super) fn handle_punched(&mut self, now: Instant, remote: SocketAddr) {
        let was_dialed = self.addrs[..self.dialed].contains(&remote);
        let is_known = self.punched.iter().any(|(addr, _)| *addr == remote);
        if was_dialed && !is_known && self.pending > 0 && self.punched.len() < CANDIDATES_MAX {
            self.punched.push((remote, Some(now + PUNCHED_WAIT)));
        }
    }

    /// The addresses that are to be dialed again now because punches arrived from them.
    pub(super) fn take_punched(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut again = Vec::new();
        for (addr, at) in &mut self.punched {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                again.push(*addr);
            }
        }
        if self.deadline <= now {
            again.clear();
        }
        self.pending += again.len();
        again
    }

    /// Whether one of the peer's addresses that are known here has this IP address.
    pub(super) fn knows_ip(&self, remote: SocketAddr) -> bool {
        self.candidates().any(|addr| addr.ip() == remote.ip())
    }

    /// A dial of this attempt ended without a conn.
    pub(super) fn on_dial_failed(&mut self, now: Instant, addr: SocketAddr, error: DialError) {
        self.pending -= 1;
        self.last_error = Some(error);
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
            self.next_at = self.next_at.max(now + self.stagger);
        }
    }

    /// The next candidate, which counts as dialed from now on; none after the deadline.
    pub(super) fn next_addr(&mut self, now: Instant) -> Option<SocketAddr> {
        let addr = self.addrs.get(self.dialed).copied().filter(|_| self.deadline > now)?;
        self.dialed += 1;
        self.pending += 1;
        self.next_at = now + self.stagger;
        Some(addr)
    }

    /// Whether nothing is left that may bring a conn.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_in_time = self.deadline > now;
        let has_more = self.dialed < self.addrs.len() && is_in_time;
        let is_asking = self.exchange.as_ref().is_some_and(Exchange::is_open)
            || matches!(self.relay, Relay::Due(_) | Relay::Asked);
        self.pending == 0 && !has_more && !(is_asking && is_in_time)
    }

    /// When it has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let dial = (self.dialed < self.addrs.len()).then_some(self.next_at);
        let exchange = self.exchange.as_ref().and_then(Exchange::due);
        let exchange = exchange.map(|due| due.min(self.deadline));
        let relay = match self.relay {
            Relay::Due(at) => Some(at),
            Relay::Asked => Some(self.deadline),
            Relay::Off | Relay::Over => None,
        };
        let redial = self.redial.map(|(at, _)| at);
        let punched = self.punched.iter().filter_map(|(_, at)| *at).min();
        [dial, exchange, relay, redial, punched, self.given_up].into_iter().flatten().min()
    }
}
