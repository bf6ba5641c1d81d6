//! Relaying in the overlay world: splices that open and end, and what passes through them.
//!
//! A dial or a punch to one address of a splice pins its sender there. A dial then goes on to the
//! host that is pinned to the other side, and a conn that comes of it lasts as long as the splice.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nodenet_proto::transport::{Event, SpliceId, SpliceOverReason, SpliceSide};

use super::conns::EndRef;
use super::net::{Net, Scheduled};
use super::splices::{SideRef, SpliceKey, SpliceStep, UNUSED};
use crate::clock::nanos;
use crate::net::latency;
use crate::world::Host;
use crate::world::meters::Traffic;

impl Net {
    /// Opens a splice at `host`.
    pub(crate) fn open_splice(&mut self, host: Host, id: SpliceId, sides: [SpliceSide; 2]) {
        let ip = *self.host_state(host).addr.ip();
        let splice = self.splices.insert(self.now, host, ip, id, sides);
        self.queue.push(self.now, Scheduled::Splice(SpliceStep::Opened(splice)));
        self.queue.push(self.now + UNUSED, Scheduled::Splice(SpliceStep::Idle(splice)));
    }

    /// Closes a splice that is open.
    pub(crate) fn close_splice(&mut self, host: Host, id: SpliceId) {
        let Some(key) = self.splices.named(host, id) else { return };
        self.splices.remove(key);
        self.splices.closed.push_back((host, id));
        self.queue.push(self.now, Scheduled::Splice(SpliceStep::Closed));
    }

    /// The end of a splice that its volunteer closed.
    pub(crate) fn splice_closed(&mut self) -> Option<(Host, Event)> {
        let (host, splice) = self.splices.closed.pop_front()?;
        Some((host, Event::SpliceOver { splice, reason: SpliceOverReason::ClosedHere }))
    }

    /// The event of a new splice, unless it is over.
    pub(crate) fn splice_opened(&self, splice: SpliceKey) -> Option<(Host, Event)> {
        let splice = self.splices.get(splice)?;
        let locals = splice.locals.map(SocketAddr::V4);
        Some((splice.host, Event::SpliceOpened { splice: splice.id, locals }))
    }

    /// The end of a splice that passed nothing on for too long.
    pub(crate) fn on_splice_idle(&mut self, key: SpliceKey) -> Option<(Host, Event)> {
        let idle_at = self.splices.get(key)?.idle_at();
        if idle_at > self.now {
            self.queue.push(idle_at, Scheduled::Splice(SpliceStep::Idle(key)));
            return None;
        }
        let splice = self.splices.remove(key)?;
        let reason = SpliceOverReason::Idle;
        Some((splice.host, Event::SpliceOver { splice: splice.id, reason }))
    }

    /// A datagram of `host` gets to a side of a splice and pins it. Gives whether it is taken.
    pub(crate) fn pin_splice(&mut self, at: SideRef, host: Host) -> bool {
        let ip = IpAddr::V4(*self.host_state(host).addr.ip());
        let volunteer = self.splices.volunteer(at.splice());
        let arrives = volunteer.is_some_and(|volunteer| !self.apart(host, volunteer));
        arrives && self.splices.pin(at, host, ip)
    }

    /// A splice passes a frame on: it is not idle, and its volunteer gets and sends these bytes.
    pub(super) fn pass_on(&mut self, splice: SpliceKey, kind: Traffic, bytes: u64) {
        self.splices.touch(splice, self.now);
        if let Some(volunteer) = self.splices.volunteer(splice) {
            self.meters.count(volunteer, self.now, kind, 2 * bytes);
        }
    }

    /// A splice passes something on: it is not idle.
    pub(super) fn touch_splice(&mut self, splice: SpliceKey) {
        self.splices.touch(splice, self.now);
    }

    /// Whether the volunteer of a conn passes nothing on any more.
    pub(super) fn is_cut(&self, end: EndRef) -> bool {
        let splice = self.conns.conn(end).splice;
        splice.is_some_and(|splice| self.splices.volunteer(splice).is_none())
    }

    /// One-way latency between two hosts, through a splice if there is one, without jitter.
    pub(super) fn latency_between(&self, from: Host, to: Host, via: Option<SideRef>) -> Duration {
        let [here, there] = [from, to].map(|host| &self.host_state(host).attachment);
        match via.and_then(|via| self.splices.volunteer(via.splice())) {
            Some(volunteer) => {
                let volunteer = &self.host_state(volunteer).attachment;
                here.latency(volunteer) + volunteer.latency(there)
            }
            None => here.latency(there),
        }
    }

    /// One-way latency from a host to the side of a splice, with jitter.
    pub(super) fn latency_to_splice(&self, host: Host, volunteer: Host, fate: u64) -> Duration {
        let [here, there] = [host, volunteer].map(|host| &self.host_state(host).attachment);
        Duration::from_nanos(latency::jitter(nanos(here.latency(there)), fate))
    }
}
