//! Hosts on an in-memory network without latency, and a meter around one of them.
//!
//! Shared by the test of transit and by the benches, which compare a node with [`Bare`]
//! quinn-proto.

#![allow(dead_code, reason = "not everybody who shares this needs all of it")]

mod bare;
mod hosts;
mod transit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::BytesMut;

pub(crate) use bare::Bare;
pub(crate) use hosts::{NodeHost, TransportHost, identity};
pub(crate) use transit::{Relay, Transit, burst};

/// Datagrams that one send can carry, for everybody alike.
pub(crate) const SEGMENTS_MAX: usize = 10;

/// A ping as it stands on a stream, behind its length.
pub(crate) const PING: [u8; 4] = [3, 1, 2, 0];

/// Where virtual time starts.
#[expect(clippy::disallowed_methods, reason = "an Instant can not be made without a clock")]
pub(crate) fn base() -> Instant {
    Instant::now()
}

/// The address of the host with this index.
pub(crate) fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, index as u8 + 1], 4242))
}

/// Something with an address on the network.
pub(crate) trait Host {
    /// Takes a datagram.
    fn receive(&mut self, now: Instant, from: SocketAddr, data: BytesMut);
    /// Hands out everything it has to send.
    fn drain(&mut self, now: Instant, out: &mut Outbox);
    /// Lets timers fire.
    fn expire(&mut self, now: Instant);
    /// When it wants to be woken.
    fn deadline(&self) -> Option<Instant>;
}

/// Datagrams on their way out of a host. Its storage is taken beforehand and kept, so that a meter
/// does not see it.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<(Range<usize>, SocketAddr)>,
}

impl Outbox {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(8 << 20), datagrams: Vec::with_capacity(1 << 16) }
    }

    /// Sends `bytes`, which are datagrams of `segment_len`, or one.
    pub(crate) fn push(&mut self, to: SocketAddr, segment_len: Option<usize>, bytes: &[u8]) {
        for datagram in bytes.chunks(segment_len.unwrap_or(bytes.len()).max(1)) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(datagram);
            self.datagrams.push((start..self.bytes.len(), to));
        }
    }
}

/// Measures what one host does.
pub(crate) trait Meter {
    /// Makes `call` and adds what it cost.
    fn measure(&mut self, call: &mut dyn FnMut());
}

/// Measures nothing.
pub(crate) struct Unmetered;

impl Meter for Unmetered {
    fn measure(&mut self, call: &mut dyn FnMut()) {
        call();
    }
}

/// The network, and the time.
pub(crate) struct Net<M> {
    /// When it began.
    pub(crate) base: Instant,
    /// Now.
    pub(crate) now: Instant,
    /// Around everything that the host `metered` does.
    pub(crate) meter: M,
    /// Which host.
    pub(crate) metered: usize,
    flights: VecDeque<(SocketAddr, SocketAddr, BytesMut)>,
    outbox: Outbox,
}

impl<M: Meter> Net<M> {
    /// A network on which nothing is under way.
    pub(crate) fn new(now: Instant, metered: usize, meter: M) -> Self {
        Self { base: now, now, meter, metered, flights: VecDeque::new(), outbox: Outbox::new() }
    }

    /// Delivers until nobody has anything more to send. No time passes.
    pub(crate) fn settle(&mut self, hosts: &mut [&mut dyn Host]) {
        (0..hosts.len()).for_each(|index| self.wake(index, hosts, |_| ()));
        while !self.flights.is_empty() {
            let mut arrived: Vec<Vec<(SocketAddr, BytesMut)>> = vec![Vec::new(); hosts.len()];
            for (from, to, data) in self.flights.drain(..) {
                if let Some(index) = (0..hosts.len()).find(|index| addr(*index) == to) {
                    arrived[index].push((from, data));
                }
            }
            for (index, mut batch) in arrived.into_iter().enumerate() {
                let now = self.now;
                self.wake(index, hosts, |host| {
                    batch.drain(..).for_each(|(from, data)| host.receive(now, from, data));
                });
            }
        }
    }

    /// Lets `span` pass, with everybody on time.
    pub(crate) fn run(&mut self, hosts: &mut [&mut dyn Host], span: Duration) {
        let until = self.now + span;
        loop {
            self.settle(hosts);
            let next = hosts.iter().filter_map(|host| host.deadline()).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            for index in 0..hosts.len() {
                if hosts[index].deadline().is_some_and(|at| at <= now) {
                    self.wake(index, hosts, |host| host.expire(now));
                }
            }
        }
        self.now = until;
    }

    /// Has one host do something and send what it has.
    fn wake(
        &mut self,
        index: usize,
        hosts: &mut [&mut dyn Host],
        mut input: impl FnMut(&mut dyn Host),
    ) {
        let Self { now, meter, outbox, .. } = self;
        let host = &mut *hosts[index];
        let mut call = || {
            input(host);
            host.drain(*now, outbox);
        };
        if index == self.metered {
            meter.measure(&mut call)
        } else {
            call()
        }
        for (range, to) in outbox.datagrams.drain(..) {
            self.flights.push_back((addr(index), to, BytesMut::from(&outbox.bytes[range])));
        }
        outbox.bytes.clear();
    }
}
