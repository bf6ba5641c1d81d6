//! Dialing: reachability across NATs, duration of a handshake, outcome of a dial.
//!
//! A handshake takes three flights; after one and a half round trips both ends are up. A dial that
//! reaches no host fails when the handshake bound or its own deadline passes, whichever is first.
//!
//! # Reachability
//! Two hosts can have a conn at all if [`crate::net::oracle`] finds a direct path possible: if one
//! of them is public or both NATs are easy. Every host can dial a public one. A host behind a NAT
//! accepts no dial without a mapping: a dial to its address succeeds only
//! - within two minutes after it sent to the dialer: a dial of its own, or a punch, which need not
//!   arrive, or
//! - while the two share a conn.
//!
//! Every peer sees a host behind a hard NAT at another port, to which only that peer's dials lead.
//!
//! A dial to an address of a splice goes to the host that is pinned to the other side, and its
//! first flight is repeated until there is one.

use std::time::Duration;

use nodenet_proto::transport::{Command, DialError, DialId};

use super::conns::{EndRef, EndState};
use super::dials::{Dial, DialStep};
use super::net::{Net, Scheduled, lost_in_a_row};
use super::splices::SideRef;
use crate::clock::{Moment, nanos};
use crate::hash;
use crate::net::Nat;
use crate::net::latency;
use crate::world::Host;

/// A handshake without a packet for this time fails (PROTOCOL.md#handshake-bounds).
const NO_PACKET_MAX: Duration = Duration::from_secs(10);
/// First probe timeout, while no round trip is known (RFC 9002 §6.2.2: 3 × 333 ms).
const PROBE_TIMEOUT: Duration = Duration::from_millis(999);

/// Outcome of a step of a dial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DialOutcome {
    /// No event for a machine.
    Nothing,
    /// A conn is up; this is the dialer's end.
    Up(DialId, EndRef),
    /// The dial failed, and the dialer gets an event.
    Failed(Host, DialId, DialError),
}

impl Net {
    /// Carries out a dial that `host` asked for.
    pub(crate) fn dial(&mut self, host: Host, command: &Command, deadline: Moment) {
        let &Command::Dial { dial: id, expected, remote, .. } = command else { return };
        let via = self.splices.at(&remote);
        let target = match via {
            Some(via) => self.splices.volunteer(via.splice()),
            None => self.found_at(host, &remote),
        };
        let target = target.filter(|&target| target != host);
        let started = self.now;
        let (dial, serial) = self.dials.insert(host, id, expected, target, via, started);
        let mut schedule = |at, step| self.queue.push(at, Scheduled::Dial { dial, serial, step });
        if remote.port() == 0 || remote.ip().is_unspecified() || remote.ip().is_multicast() {
            schedule(started, DialStep::Fail(DialError::BadAddress));
            return;
        }
        let given_up = started + NO_PACKET_MAX;
        if deadline < given_up {
            schedule(deadline.max(started), DialStep::Fail(DialError::TimedOut));
        } else {
            schedule(given_up, DialStep::Fail(DialError::NoRoute));
        }
        self.meters.count_initial(host, started);
        if let Some(target) = target {
            let at = started + self.flight([host, target], None, id, 0);
            let step = if via.is_some() {
                DialStep::AtSplice
            } else {
                self.host_state_mut(host).observe_sent(target, started);
                DialStep::FirstFlight
            };
            self.queue.push(at, Scheduled::Dial { dial, serial, step });
        }
    }

    /// Cancels a dial; the dialer gets an event at once.
    pub(crate) fn cancel_dial(&mut self, host: Host, id: DialId) {
        if let Some((dial, serial)) = self.dials.named(host, id) {
            let step = DialStep::Fail(DialError::Cancelled);
            self.queue.push(self.now, Scheduled::Dial { dial, serial, step });
        }
    }

    /// Carries out the next step of a dial.
    pub(crate) fn on_dial(&mut self, key: u32, serial: u32, step: DialStep) -> DialOutcome {
        let Some(dial) = self.dials.current(key, serial) else { return DialOutcome::Nothing };
        let (host, id, target, via) = (dial.host, dial.id, dial.target, dial.via);
        if !self.host_state(host).up {
            self.dials.remove(key);
            return DialOutcome::Nothing;
        }
        match (step, target) {
            (DialStep::Fail(error), _) => {
                self.count_traffic_of_failed(key);
                self.dials.remove(key);
                DialOutcome::Failed(host, id, error)
            }
            (DialStep::AtSplice, Some(volunteer)) => {
                self.on_flight_at_splice(key, volunteer);
                DialOutcome::Nothing
            }
            (DialStep::FirstFlight, Some(target)) => {
                self.on_first_flight(key, target);
                DialOutcome::Nothing
            }
            (DialStep::Up, Some(target)) if self.accepts(host, target) => {
                self.dials.remove(key);
                self.meters.count_rest_of_handshake([host, target], self.now);
                if let Some(volunteer) = via.and_then(|via| self.splices.volunteer(via.splice())) {
                    self.meters.count_rest_of_handshake([volunteer; 2], self.now);
                }
                DialOutcome::Up(id, self.open(host, target, via))
            }
            _ => DialOutcome::Nothing,
        }
    }

    /// The first flight arrives at a side of a splice. It goes on to the host that is pinned to the
    /// other side, or is sent again as QUIC does (RFC 9002 §6.2.1).
    fn on_flight_at_splice(&mut self, key: u32, volunteer: Host) {
        let &Dial { serial, host, id, via, unpassed, started, .. } = self.dials.get(key);
        let Some(via) = via else { return };
        let far = if self.pin_splice(via, host) { self.splices.beyond(via) } else { None };
        if let Some(far) = far.filter(|&far| far != host && !self.apart(volunteer, far)) {
            self.dials.get_mut(key).target = Some(far);
            self.touch_splice(via.splice());
            let at = self.now + self.flight([volunteer, far], None, id, 0);
            let step = DialStep::FirstFlight;
            self.queue.push(at, Scheduled::Dial { dial: key, serial, step });
            return;
        }
        let unpassed = unpassed + 1;
        self.dials.get_mut(key).unpassed = unpassed;
        let flight = self.flight([host, volunteer], None, id, u64::from(unpassed) << 8);
        let at = started + PROBE_TIMEOUT * ((1 << unpassed.min(8)) - 1) + flight;
        let step = DialStep::AtSplice;
        self.queue.push(at.max(self.now), Scheduled::Dial { dial: key, serial, step });
    }

    /// The first flight arrives at the target (RFC 9000 §7).
    fn on_first_flight(&mut self, key: u32, target: Host) {
        let &Dial { serial, host, id, expected, via, .. } = self.dials.get(key);
        let is_let_in = via.is_some() || self.permits(host, target);
        if !self.host_state(target).up || self.apart(host, target) || !is_let_in {
            return;
        }
        let answer = self.flight([target, host], via, id, 1);
        self.meters.count_initial(target, self.now);
        self.dials.get_mut(key).answered = self.accepts(host, target);
        let (at, step) = if self.host_state(target).id != expected {
            (answer, DialStep::Fail(DialError::IdentityMismatch))
        } else if !self.accepts(host, target) {
            (answer, DialStep::Fail(DialError::NoRoute))
        } else {
            (answer + self.flight([host, target], via, id, 2), DialStep::Up)
        };
        self.queue.push(self.now + at, Scheduled::Dial { dial: key, serial, step });
    }

    /// Whether the target can take the conn now.
    fn accepts(&self, host: Host, target: Host) -> bool {
        let state = self.host_state(target);
        state.up && !self.apart(host, target) && state.accepted < self.config.accepted_conns_max
    }

    /// Whether the target's NAT lets the dialer, or one that punches, in.
    pub(super) fn permits(&self, host: Host, target: Host) -> bool {
        let (from, to) = (self.host_state(host), self.host_state(target));
        if to.nat == Nat::Public {
            return true;
        }
        if !from.nat.connects(to.nat) {
            return false;
        }
        to.sent_to(host, self.now) || to.ends.iter().any(|&end| self.is_open_between(end, host))
    }

    /// Whether this end is one of an open conn with `host` that no volunteer relays.
    fn is_open_between(&self, end: EndRef, host: Host) -> bool {
        if self.conns.conn(end).splice.is_some() {
            return false;
        }
        let states = [end, end.peer()].map(|end| self.conns.end(end).state);
        states == [EndState::Open; 2] && self.conns.end(end.peer()).host == host
    }

    /// How long a flight of a handshake takes, repetitions included.
    fn flight(
        &self,
        [from, to]: [Host; 2],
        via: Option<SideRef>,
        id: DialId,
        flight: u64,
    ) -> Duration {
        let latency = nanos(self.latency_between(from, to, via));
        let link = self.link(from, to) ^ id.0.rotate_left(40);
        let fate = hash::fate(self.config.salt, link, flight);
        let lost = lost_in_a_row(self.config, link, flight);
        Duration::from_nanos(latency::jitter(latency, fate)) + PROBE_TIMEOUT * ((1 << lost) - 1)
    }

    /// Counts the traffic of a dial that failed, its first flight excepted. A target that answered
    /// takes part in all of a handshake. A dialer without an answer repeats its first flight after
    /// 1, 3 and 7 seconds (RFC 9002 §6.2.1).
    fn count_traffic_of_failed(&mut self, key: u32) {
        let &Dial { host, started, target, answered, .. } = self.dials.get(key);
        if let (true, Some(target)) = (answered, target) {
            self.meters.count_rest_of_handshake([host, target], self.now);
            return;
        }
        let waited = self.now.since(started);
        let sent = (1..4).filter(|&again| waited >= PROBE_TIMEOUT * ((1 << again) - 1)).count();
        for _ in 0..sent {
            self.meters.count_initial(host, self.now);
        }
    }
}
