//! Table of conns: pairs of ends, with a generation for each slot.
//!
//! Responsible for: ids of conns, and telling events of an earlier conn in a slot from current
//! ones. Never: time, delays, frames.

use core::num::NonZeroU64;
use std::net::SocketAddrV4;

use nodenet_proto::buf::Frame;
use nodenet_proto::transport::ConnId;

use super::splices::SpliceKey;
use crate::clock::Moment;
use crate::world::Host;

/// One end of a conn: the slot of the conn, and which end. The dialer has end 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndRef(u32);

impl EndRef {
    pub(crate) fn dialer(slot: usize) -> Self {
        Self(u32::try_from(slot << 1).expect("a world has fewer than 2^31 conns"))
    }

    pub(crate) fn peer(self) -> Self {
        Self(self.0 ^ 1)
    }

    pub(crate) fn is_dialer(self) -> bool {
        self.0 & 1 == 0
    }

    fn slot(self) -> usize {
        (self.0 >> 1) as usize
    }
}

/// State of an end of a conn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Its host may send and receives.
    Open,
    /// Its host closed it and waits until what it sent is acknowledged.
    Draining,
    /// Its host knows that it is over.
    Closed,
    /// Its host crashed.
    Silent,
}

/// One end of a conn.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) host: Host,
    /// How many conns the host had before this one.
    order: u32,
    pub(crate) state: EndState,
    /// A send was refused since the queue was below its limit.
    pub(crate) refused: bool,
    /// A frame arrived here.
    pub(crate) heard: bool,
    /// A reset was sent: this end has no state of the conn (RFC 9000 §10.3).
    pub(crate) reset_sent: bool,
    /// Frames sent from here.
    pub(crate) sent: u32,
    /// Bytes sent from here that did not arrive yet.
    pub(crate) in_flight: u32,
    /// When the last frame sent from here arrives; frames stay in order.
    pub(crate) last_arrival: Moment,
    ack_due_nanos: Option<NonZeroU64>,
    /// Under which address the peer sees this end.
    pub(crate) seen_at: SocketAddrV4,
}

impl End {
    /// Until when something that arrived here waits to be acknowledged.
    pub(crate) fn ack_due(&self) -> Option<Moment> {
        self.ack_due_nanos.map(|nanos| Moment::from_nanos(nanos.get()))
    }

    pub(crate) fn set_ack_due(&mut self, due: Option<Moment>) {
        self.ack_due_nanos = due.and_then(|due| NonZeroU64::new(due.as_nanos()));
    }
}

/// One conn.
#[derive(Debug)]
pub(crate) struct Conn {
    ends: [End; 2],
    /// How often the slot was used before; events about an earlier use are stale.
    generation: u32,
    /// The splice that it runs through, if a volunteer relays it.
    pub(crate) splice: Option<SpliceKey>,
    /// One-way latency before jitter.
    pub(crate) delay_nanos: u64,
    /// Key of the pair of hosts in [`crate::hash::fate`].
    pub(crate) link: u64,
}

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) from: EndRef,
    pub(crate) generation: u32,
    /// How many frames that end sent before.
    pub(crate) number: u32,
    pub(crate) frame: Frame,
}

/// All conns of a world.
#[derive(Debug, Default)]
pub(crate) struct ConnTable {
    slots: Vec<Conn>,
    free: Vec<u32>,
}

impl ConnTable {
    /// Opens a conn between dialer and acceptor, each with how many conns it had before and where
    /// the other sees it.
    pub(crate) fn open(
        &mut self,
        hosts: [(Host, u32, SocketAddrV4); 2],
        now: Moment,
        delay_nanos: u64,
        link: u64,
        splice: Option<SpliceKey>,
    ) -> EndRef {
        let ends = hosts.map(|(host, order, seen_at)| End {
            host,
            order,
            state: EndState::Open,
            refused: false,
            heard: false,
            reset_sent: false,
            sent: 0,
            in_flight: 0,
            last_arrival: now,
            ack_due_nanos: None,
            seen_at,
        });
        if let Some(slot) = self.free.pop() {
            let slot = slot as usize;
            let generation = self.slots[slot].generation;
            self.slots[slot] = Conn { ends, generation, splice, delay_nanos, link };
            EndRef::dialer(slot)
        } else {
            self.slots.push(Conn { ends, generation: 0, splice, delay_nanos, link });
            EndRef::dialer(self.slots.len() - 1)
        }
    }

    /// Gives the slot back; events about it become stale.
    pub(crate) fn release(&mut self, end: EndRef) {
        let conn = &mut self.slots[end.slot()];
        conn.generation += 1;
        for end in &mut conn.ends {
            end.state = EndState::Closed;
        }
        self.free.push(end.slot() as u32);
    }

    pub(crate) fn conn(&self, end: EndRef) -> &Conn {
        &self.slots[end.slot()]
    }

    pub(crate) fn end(&self, end: EndRef) -> &End {
        &self.slots[end.slot()].ends[usize::from(!end.is_dialer())]
    }

    pub(crate) fn end_mut(&mut self, end: EndRef) -> &mut End {
        &mut self.slots[end.slot()].ends[usize::from(!end.is_dialer())]
    }

    pub(crate) fn generation(&self, end: EndRef) -> u32 {
        self.slots[end.slot()].generation
    }

    /// Whether an event about this end, scheduled in this generation, still concerns it.
    pub(crate) fn is_current(&self, end: EndRef, generation: u32) -> bool {
        self.slots[end.slot()].generation == generation
    }

    /// The name by which the host of an end knows the conn: counted up for each host, never reused.
    pub(crate) fn id(&self, end: EndRef) -> ConnId {
        ConnId(u64::from(self.end(end).order) << 32 | u64::from(end.0))
    }

    /// The open end that `host` knows by that name.
    pub(crate) fn resolve(&self, host: Host, id: ConnId) -> Option<EndRef> {
        let at = EndRef(id.0 as u32);
        let conn = self.slots.get(at.slot())?;
        let end = &conn.ends[usize::from(!at.is_dialer())];
        let known = end.host == host && u64::from(end.order) == id.0 >> 32;
        (known && end.state == EndState::Open).then_some(at)
    }

    /// The dialer's end of every slot, whether or not a conn is in it, in the order of slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = EndRef> + use<> {
        (0..self.slots.len()).map(EndRef::dialer)
    }
}
