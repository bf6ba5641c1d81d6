//! NATs as conns see them: punches that leave and arrive, and mappings that are forgotten.
//!
//! Responsible for: another address at which a peer sees a conn. Never: which dials and punches a
//! NAT lets in, which `dial` decides.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::wire::nat::PUNCH_DATAGRAM;

use super::conns::EndRef;
use super::net::{Net, Scheduled, lost_in_a_row};
use super::splices::{SideRef, SpliceStep};
use crate::clock::nanos;
use crate::hash;
use crate::net::latency;
use crate::world::Host;

/// Routers between any two hosts (a guess; it matters only that short punches do not get there).
const HOPS: u8 = 10;

impl Net {
    /// Sends a datagram that belongs to no conn. It may get lost, and with a low TTL it ends on the
    /// way.
    pub(crate) fn punch(&mut self, host: Host, remote: SocketAddr, bytes: &Bytes, ttl: Option<u8>) {
        self.meters.count_punch(host, self.now, bytes.len());
        self.punch = Some((host, remote, bytes.clone(), ttl));
        if let Some(at) = self.splices.at(&remote) {
            return self.punch_splice(host, at, bytes, ttl);
        }
        let Some(to) = self.found_at(host, &remote).filter(|to| *to != host) else { return };
        let now = self.now;
        self.host_state_mut(host).observe_sent(to, now);
        let link = self.link(host, to);
        let fate = hash::fate(self.config.salt, link, self.now.as_nanos());
        let is_lost = lost_in_a_row(self.config, link, fate) > 0;
        if is_lost || ttl.is_some_and(|ttl| ttl <= HOPS) || bytes[..] != PUNCH_DATAGRAM {
            return;
        }
        let [here, there] = [host, to].map(|host| &self.host_state(host).attachment);
        let latency = nanos(here.latency(there));
        let at = self.now + Duration::from_nanos(latency::jitter(latency, fate));
        self.queue.push(at, Scheduled::Punch { from: host, to });
    }

    /// A punch arrives at a host. Gives the address that it came from, if the host gets it.
    pub(crate) fn on_punch(&self, from: Host, to: Host) -> Option<SocketAddr> {
        let arrives = self.host_state(to).up && !self.apart(from, to) && self.permits(from, to);
        arrives.then(|| self.seen_from(from, to).into())
    }

    fn punch_splice(&mut self, from: Host, at: SideRef, bytes: &Bytes, ttl: Option<u8>) {
        let Some(volunteer) = self.splices.volunteer(at.splice()) else { return };
        let link = self.link(from, volunteer);
        let fate = hash::fate(self.config.salt, link, self.now.as_nanos());
        let is_lost = lost_in_a_row(self.config, link, fate) > 0;
        if is_lost || ttl.is_some_and(|ttl| ttl <= HOPS) || bytes[..] != PUNCH_DATAGRAM {
            return;
        }
        let arrival = self.now + self.latency_to_splice(from, volunteer, fate);
        self.queue.push(arrival, Scheduled::Splice(SpliceStep::Punch(at, from)));
    }

    /// From the next packet on, the conns of `host` come from another port. A volunteer between the
    /// ends follows it without a change that the peer sees.
    pub(crate) fn rebind(&mut self, host: Host) {
        let ends = self.host_state(host).ends.clone();
        for end in ends.into_iter().filter(|end| self.conns.conn(*end).splice.is_none()) {
            let (at, generation) = (self.delayed(end), self.conns.generation(end));
            self.queue.push(at, Scheduled::PathChanged { end: end.peer(), generation });
        }
    }

    /// A packet from another port of the peer arrives. Gives the new address.
    pub(crate) fn on_path_changed(&mut self, end: EndRef) -> SocketAddr {
        let moved = &mut self.conns.end_mut(end.peer()).seen_at;
        moved.set_port(moved.port() ^ 1);
        SocketAddr::from(*moved)
    }
}
