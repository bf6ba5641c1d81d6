//! Reachability test without servers: whether a node to which this one never sent can reach it
//! (PROTOCOL.md#reachability-test).
//!
//! Responsible for: which prober is asked, when, and what follows from what arrives. Never: sends.
//!
//! A Connect makes its receiver send punches to the addresses in it. A node that names its own
//! external address to a prober, and sends nothing to that prober, learns from a punch that
//! arrives that any node can reach it. That none arrives means something only if the prober
//! confirmed the Connect, and only if two did.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::destinations::network;
use crate::NodeId;
use crate::addr::{Scope, scope};
use crate::api::Reachability;
use crate::env::Random;
use crate::wire::nat::NAT_NONCE_LEN;

/// An address is tested again after this long.
pub(crate) const PERIOD: Duration = Duration::from_secs(3600);
/// Rounds within [`PERIOD`], for however many addresses (a guess).
const ROUNDS_MAX: usize = 4;
/// From a new address to its test: reports of others may follow (a guess).
const SETTLE: Duration = Duration::from_secs(10);
/// Until probers are looked for again, if there was none to ask (a guess).
const RETRY: Duration = Duration::from_secs(60);
/// A prober that has not confirmed by then is given up (a guess: several routes there and back).
const ACK_WAIT: Duration = Duration::from_secs(10);
/// From the confirmation until the punches must be here; they left at the same time, take 200 ms,
/// and cross a path instead of a route (a guess).
const PUNCH_WAIT: Duration = Duration::from_secs(5);
/// Nothing is sent to a prober for this long. A packet of its own that comes too early stays in a
/// Linux router for 30 s (measured), and would move this node's port.
pub(crate) const QUIET: Duration = Duration::from_secs(35);
/// Probers that must have confirmed without a punch arriving.
const NOES: u8 = 2;
/// Probers that are asked in one round (a guess).
const ASKED_MAX: u8 = 6;

/// A node that may be asked, because this one may never have sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prober {
    /// Its identifier.
    pub(crate) id: NodeId,
    /// Its addresses, as far as they are known.
    pub(crate) addrs: Vec<SocketAddr>,
}

/// What the test asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Probers to choose from.
    FindProbers,
    /// A Connect to this node that names this address alone.
    Ask { peer: NodeId, nonce: [u8; NAT_NONCE_LEN], addr: SocketAddr },
}

#[derive(Debug)]
struct Asked {
    peer: NodeId,
    nonce: [u8; NAT_NONCE_LEN],
    is_confirmed: bool,
    until: Instant,
}

#[derive(Debug, Default)]
struct Round {
    asked: u8,
    noes: u8,
    current: Option<Asked>,
}

#[derive(Debug)]
struct Quiet {
    peer: NodeId,
    ips: BTreeSet<IpAddr>,
    until: Instant,
}

/// The test and its outcome.
#[derive(Debug, Default)]
pub(crate) struct Test {
    /// The address that is or will be tested.
    addr: Option<SocketAddr>,
    outcome: Reachability,
    round: Option<Round>,
    /// When a round begins or goes on.
    at: Option<Instant>,
    /// When rounds began, with their address; those of the last [`PERIOD`].
    begun: Vec<(SocketAddr, Instant)>,
    quiet: Vec<Quiet>,
}

impl Test {
    /// What is known.
    pub(crate) fn outcome(&self) -> Reachability {
        self.outcome
    }

    /// This node's external address is this one now; nothing if it is not known.
    pub(crate) fn set_addr(&mut self, now: Instant, addr: Option<SocketAddr>) {
        if self.addr == addr {
            return;
        }
        self.addr = addr;
        self.outcome = Reachability::Unknown;
        self.round = None;
        self.at = addr.map(|addr| self.next_round(now, addr).max(now + SETTLE));
    }

    /// When a round for this address may begin.
    fn next_round(&mut self, now: Instant, addr: SocketAddr) -> Instant {
        self.begun.retain(|(_, at)| *at + PERIOD > now);
        let same = self.begun.iter().filter(|(tested, _)| *tested == addr);
        let again = same.map(|(_, at)| *at + PERIOD).max().unwrap_or(now);
        match self.begun.first() {
            Some((_, first)) if self.begun.len() >= ROUNDS_MAX => again.max(*first + PERIOD),
            _ => again,
        }
    }

    /// The time has come for something.
    pub(crate) fn handle_time(&mut self, now: Instant) -> Step {
        self.quiet.retain(|quiet| quiet.until > now);
        if self.at.is_none_or(|at| at > now) {
            return Step::Wait;
        }
        if let Some(round) = &mut self.round
            && let Some(asked) = round.current.take()
        {
            round.noes += u8::from(asked.is_confirmed);
            if round.noes >= NOES {
                self.finish(now, Reachability::Unreachable);
                return Step::Wait;
            }
            if round.asked >= ASKED_MAX {
                // What was known before, if anything, is not disproved.
                self.finish(now, self.outcome);
                return Step::Wait;
            }
        }
        self.at = Some(now + RETRY);
        Step::FindProbers
    }

    /// Asks one of the probers that this node has never sent to, and that is in no network in
    /// which `is_known` knows an address.
    pub(crate) fn handle_probers(
        &mut self,
        now: Instant,
        rng: &mut Random,
        probers: &[Prober],
        is_known: impl Fn(IpAddr) -> bool,
    ) -> Step {
        let Some(addr) = self.addr else { return Step::Wait };
        let own = network(addr.ip());
        let is_apart = |other: &SocketAddr| {
            scope(other.ip()) == Some(Scope::Global)
                && network(other.ip()) != own
                && !is_known(other.ip())
        };
        let is_fit = |prober: &&Prober| {
            let mut addrs = prober.addrs.iter();
            addrs.clone().any(|other| other.is_ipv4() == addr.is_ipv4())
                && addrs.all(is_apart)
                && !self.quiet.iter().any(|quiet| quiet.peer == prober.id)
        };
        let fit: Vec<&Prober> = probers.iter().filter(is_fit).collect();
        if fit.is_empty() {
            return Step::Wait;
        }
        let prober = fit[rng.below(fit.len() as u64) as usize];
        let (peer, nonce) = (prober.id, rng.array());
        if self.round.is_none() {
            self.begun.retain(|(_, at)| *at + PERIOD > now);
            self.begun.push((addr, now));
        }
        let round = self.round.get_or_insert_default();
        round.asked += 1;
        let until = now + ACK_WAIT;
        round.current = Some(Asked { peer, nonce, is_confirmed: false, until });
        self.at = Some(until);
        let ips = prober.addrs.iter().map(SocketAddr::ip).collect();
        self.quiet.push(Quiet { peer, ips, until: now + QUIET });
        Step::Ask { peer, nonce, addr }
    }

    /// The Connect could not be sent: its prober does not count.
    pub(crate) fn handle_unsent(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            round.current = None;
            self.at = Some(now + RETRY);
        }
    }

    /// A ConnectAck of this originator arrived. Returns whether it was waited for.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        originator: NodeId,
        nonce: &[u8; NAT_NONCE_LEN],
    ) -> bool {
        let Some(asked) = self.round.as_mut().and_then(|round| round.current.as_mut()) else {
            return false;
        };
        let is_expected = asked.peer == originator && asked.nonce == *nonce && !asked.is_confirmed;
        if is_expected {
            asked.is_confirmed = true;
            asked.until = now + PUNCH_WAIT;
            self.at = Some(asked.until);
        }
        is_expected
    }

    /// A datagram arrived that can only have come because any node can send here.
    pub(crate) fn handle_reached(&mut self, now: Instant) {
        if self.addr.is_some() {
            self.finish(now, Reachability::Reachable);
        }
    }

    /// Whether something may arrive from a prober that was asked.
    pub(crate) fn is_waiting(&self, now: Instant) -> bool {
        self.quiet.iter().any(|quiet| quiet.until > now)
    }

    /// Something is sent to this address. If it is a prober's, what arrives from there proves
    /// nothing any more.
    pub(crate) fn handle_sent(&mut self, now: Instant, remote: IpAddr) {
        let Some(at) = self.quiet.iter().position(|quiet| quiet.ips.contains(&remote)) else {
            return;
        };
        let quiet = self.quiet.remove(at);
        if let Some(round) = &mut self.round
            && round.current.as_ref().is_some_and(|asked| asked.peer == quiet.peer)
        {
            round.current = None;
            self.at = Some(now + QUIET);
        }
    }

    /// Whether nothing may be sent to this peer of this node's own accord.
    pub(crate) fn is_quiet(&self, now: Instant, peer: &NodeId) -> bool {
        self.quiet.iter().any(|quiet| quiet.peer == *peer && quiet.until > now)
    }

    /// When something is to be done.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.at
    }

    fn finish(&mut self, now: Instant, outcome: Reachability) {
        self.outcome = outcome;
        self.round = None;
        self.at = self.addr.map(|addr| self.next_round(now, addr).max(now + RETRY));
        if outcome == Reachability::Reachable && self.begun.is_empty() {
            // Reached before any test: that holds as long as the outcome of one.
            self.at = Some(now + PERIOD);
        }
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.begun.len() <= ROUNDS_MAX);
        assert!(self.round.is_none() || self.addr.is_some());
        let round = self.round.as_ref();
        assert!(round.is_none_or(|round| round.asked <= ASKED_MAX && round.noes < NOES));
    }
}
