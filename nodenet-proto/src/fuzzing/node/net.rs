//! Datagrams under way between four addresses, in virtual time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Log;
use crate::api::Event;
use crate::drive::Outlet;
use crate::io::{SocketId, Transmit};

/// One way, where time matters.
pub(super) const LATENCY: Duration = Duration::from_millis(5);
/// Datagrams under way at once; the oldest are lost.
const FLIGHTS_MAX: usize = 256;
/// Hosts with an address; nobody listens at the last.
const HOSTS: usize = 4;

/// The address of a host.
pub(super) fn addr(host: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host as u8 + 1], 4242))
}

/// Datagrams that wait for a socket to take them.
#[derive(Default)]
pub(super) struct Outbox {
    datagrams: VecDeque<(SocketAddr, BytesMut)>,
    /// Transmits that the socket takes before it is full.
    pub(super) capacity: usize,
    taken: usize,
}

impl Outbox {
    /// Splits what one transmit holds into datagrams.
    pub(super) fn push(&mut self, to: SocketAddr, segment_len: Option<usize>, bytes: &[u8]) {
        self.taken += 1;
        for datagram in bytes.chunks(segment_len.unwrap_or(bytes.len()).max(1)) {
            self.datagrams.push_back((to, BytesMut::from(datagram)));
        }
    }

    /// Whether the socket holds one transmit that it could not take.
    pub(super) fn is_full(&self) -> bool {
        self.taken >= self.capacity
    }
}

impl Outlet for (&mut Outbox, &mut Log) {
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool {
        assert_eq!(how.socket, SocketId::MAIN);
        assert!(!bytes.is_empty() && bytes.len() <= 65_507);
        self.0.push(how.remote, how.segment_len, bytes);
        !self.0.is_full()
    }

    fn event(&mut self, event: Event) {
        self.1.event(event);
    }

    fn open_socket(&mut self, socket: SocketId, _: IpAddr) {
        panic!("{socket:?} was asked for, and nobody relays");
    }

    fn close_socket(&mut self, socket: SocketId) {
        panic!("{socket:?} was never opened");
    }
}

/// A datagram under way.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) data: BytesMut,
}

/// The network.
pub(super) struct Net {
    /// Where time began.
    pub(super) base: Instant,
    /// Now.
    pub(super) now: Instant,
    flights: VecDeque<Flight>,
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "an Instant can not be made without a clock")]
    pub(super) fn new() -> Self {
        let base = Instant::now();
        Self { base, now: base, flights: VecDeque::new() }
    }

    /// Whether anything is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Sends what is in the outbox of the host `from`.
    pub(super) fn send(&mut self, from: usize, outbox: &mut Outbox) {
        outbox.taken = 0;
        for (to, data) in outbox.datagrams.drain(..) {
            let Some(to) = (0..HOSTS - 1).find(|host| addr(*host) == to) else { continue };
            if self.flights.len() == FLIGHTS_MAX {
                self.flights.pop_front();
            }
            self.flights.push_back(Flight { from, to, data });
        }
    }

    /// Takes one datagram off the network.
    pub(super) fn take(&mut self, index: u8) -> Option<Flight> {
        let index = usize::from(index).checked_rem(self.flights.len())?;
        self.flights.remove(index)
    }

    /// Takes the datagram off the network that was sent last.
    pub(super) fn take_last(&mut self) -> Option<Flight> {
        self.flights.pop_back()
    }

    /// Takes all datagrams off the network, in the order in which they were sent.
    pub(super) fn take_all(&mut self) -> VecDeque<Flight> {
        std::mem::take(&mut self.flights)
    }

    /// Sends one datagram again.
    pub(super) fn duplicate(&mut self, index: u8) {
        if let Some(flight) = self.take(index) {
            self.flights.extend([flight.clone(), flight]);
        }
    }

    /// Flips bits of one datagram.
    pub(super) fn corrupt(&mut self, index: u8, at: u8, bits: u8) {
        let Some(index) = usize::from(index).checked_rem(self.flights.len()) else { return };
        let data = &mut self.flights[index].data;
        let at = usize::from(at) % data.len();
        data[at] ^= bits;
    }

    /// Puts any datagram on the network.
    pub(super) fn inject(&mut self, from: usize, to: usize, data: &[u8]) {
        self.flights.push_back(Flight { from, to, data: BytesMut::from(data) });
    }
}
