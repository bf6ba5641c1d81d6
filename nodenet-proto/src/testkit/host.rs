//! Host interface of the test network: datagrams in and out, deadlines, and a meter around them.
//!
//! Responsible for: the trait that a host implements, and what waits between a host and the
//! network. Never: delivery.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use bytes::BytesMut;

use super::net::Realm;
use crate::io::{EcnCodepoint, Transmit};

/// One UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// Its ECN bits.
    pub ecn: Option<EcnCodepoint>,
    /// Its payload.
    pub data: BytesMut,
}

/// What arrives at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A datagram.
    Datagram(Datagram),
    /// The report that a datagram was longer than the path takes (RFC 1191, RFC 8201).
    TooBig {
        /// The source of the datagram.
        from: SocketAddr,
        /// Its destination, as the host named it.
        to: SocketAddr,
        /// The longest IP packet that passes.
        mtu: usize,
    },
}

/// Something with an address on the network.
pub trait Host {
    /// The address that it sends from by default.
    fn addr(&self) -> SocketAddr;

    /// Takes a datagram.
    fn receive(&mut self, now: Instant, datagram: Datagram);

    /// Lets timers fire.
    fn expire(&mut self, now: Instant);

    /// Hands out everything that it has to send.
    fn drain(&mut self, now: Instant, out: &mut Outbox);

    /// When it wants to be woken.
    fn deadline(&self) -> Option<Instant>;

    /// The address realm that it is in.
    fn realm(&self) -> Realm {
        Realm::PUBLIC
    }

    /// Whether it has a socket at this address of its realm.
    fn listens_at(&self, addr: SocketAddr) -> bool {
        addr == self.addr()
    }

    /// Takes the report that a datagram of its own was too long.
    fn too_big(&mut self, _now: Instant, _from: SocketAddr, _to: SocketAddr, _mtu: usize) {}

    /// One turn: takes what arrived, or lets timers fire if nothing did. Then it hands out what
    /// follows.
    fn turn(&mut self, now: Instant, arrived: &mut Vec<Arrival>, out: &mut Outbox) {
        if arrived.is_empty() {
            self.expire(now);
        }
        for arrival in arrived.drain(..) {
            match arrival {
                Arrival::Datagram(datagram) => self.receive(now, datagram),
                Arrival::TooBig { from, to, mtu } => self.too_big(now, from, to, mtu),
            }
        }
        self.drain(now, out);
    }
}

/// How one batch of datagrams leaves a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Its source, if that is not the address of the host.
    pub from: Option<SocketAddr>,
    /// Its destination.
    pub to: SocketAddr,
    /// Its ECN bits.
    pub ecn: Option<EcnCodepoint>,
    /// If set, the bytes are several datagrams of this length, the last one possibly shorter.
    pub segment_len: Option<usize>,
    /// Its TTL, if that is not the default one.
    pub ttl: Option<u8>,
}

impl Outgoing {
    /// One datagram from the address of the host.
    pub fn new(to: SocketAddr) -> Self {
        Self { from: None, to, ecn: None, segment_len: None, ttl: None }
    }
}

/// From the address of the host.
impl From<&Transmit> for Outgoing {
    fn from(transmit: &Transmit) -> Self {
        let Transmit { remote: to, ecn, segment_len, ttl, .. } = *transmit;
        Self { ecn, segment_len, ttl, ..Self::new(to) }
    }
}

/// Datagrams on their way out of a host. Its storage is kept, so that a meter does not see it grow.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    batches: Vec<(Outgoing, Range<usize>)>,
}

impl Outbox {
    /// An outbox that grows only beyond this number of bytes in this number of batches.
    pub fn with_capacity(bytes: usize, batches: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), batches: Vec::with_capacity(batches) }
    }

    /// Sends `bytes`, which are one datagram or several.
    pub fn push(&mut self, outgoing: Outgoing, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.batches.push((outgoing, start..self.bytes.len()));
    }

    /// Sends one datagram from the address of the host.
    pub fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.push(Outgoing::new(to), bytes);
    }

    /// Batches that wait.
    pub fn batches(&self) -> impl Iterator<Item = (Outgoing, &[u8])> {
        self.batches.iter().map(|(outgoing, range)| (*outgoing, &self.bytes[range.clone()]))
    }

    /// Forgets what waits, and keeps the storage.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.batches.clear();
    }
}

/// Measures what a host does.
pub trait Meter {
    /// Makes `call` and adds what it cost.
    fn measure(&mut self, call: &mut dyn FnMut());
}

/// A host with a meter around every turn.
#[derive(Debug)]
pub struct Metered<H, M> {
    /// The host.
    pub host: H,
    /// Its meter.
    pub meter: M,
}

impl<H: Host, M: Meter> Host for Metered<H, M> {
    fn addr(&self) -> SocketAddr {
        self.host.addr()
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        let mut datagram = Some(datagram);
        let host = &mut self.host;
        self.meter.measure(&mut || {
            datagram.take().into_iter().for_each(|datagram| host.receive(now, datagram));
        });
    }

    fn expire(&mut self, now: Instant) {
        self.meter.measure(&mut || self.host.expire(now));
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.meter.measure(&mut || self.host.drain(now, out));
    }

    fn deadline(&self) -> Option<Instant> {
        self.host.deadline()
    }

    fn realm(&self) -> Realm {
        self.host.realm()
    }

    fn listens_at(&self, addr: SocketAddr) -> bool {
        self.host.listens_at(addr)
    }

    fn turn(&mut self, now: Instant, arrived: &mut Vec<Arrival>, out: &mut Outbox) {
        self.meter.measure(&mut || self.host.turn(now, arrived, out));
    }
}
