//! Hosts on an in-memory network in virtual time, for tests of this crate.
//!
//! The test owns its hosts and lends them to the [`Net`] for every step, so that it can look at
//! them between steps. Everything is a function of the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::env::{Random, Seed};
use crate::identity::Identity;
use crate::io::EcnCodepoint;

/// Where virtual time starts. Only differences matter.
#[expect(clippy::disallowed_methods, reason = "an Instant can not be made without a clock")]
pub(crate) fn base() -> Instant {
    Instant::now()
}

/// The address of the host with this number.
pub(crate) fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 4242))
}

/// The identity of the host with this number.
pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_master_seed(&[number; 32])
}

/// Something with an address on the network.
pub(crate) trait Host {
    /// Where it can be reached.
    fn addr(&self) -> SocketAddr;
    /// Takes a datagram.
    fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    );
    /// Lets timers fire.
    fn expire(&mut self, now: Instant);
    /// Hands out everything it has to send.
    fn drain(&mut self, now: Instant, out: &mut Outbox);
    /// When it wants to be woken.
    fn deadline(&self) -> Option<Instant>;
}

/// Datagrams on their way out of a host.
#[derive(Default)]
pub(crate) struct Outbox(Vec<(SocketAddr, Option<EcnCodepoint>, Vec<u8>)>);

impl Outbox {
    /// Sends what a [`crate::io::TransmitBuf`] holds.
    pub(crate) fn push(
        &mut self,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        segment_len: Option<usize>,
        bytes: &[u8],
    ) {
        for datagram in bytes.chunks(segment_len.unwrap_or(bytes.len().max(1))) {
            self.0.push((to, ecn, datagram.to_vec()));
        }
    }
}

struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    data: Vec<u8>,
}

/// Datagrams under way, and the time.
pub(crate) struct Net {
    /// Now.
    pub(crate) now: Instant,
    /// One way.
    pub(crate) latency: Duration,
    /// Datagrams lost of a hundred.
    pub(crate) loss_percent: u64,
    /// What is sent before this arrives no earlier: a path that holds everything back and then
    /// delivers it at once.
    pub(crate) stalled_until: Option<Instant>,
    /// Longer datagrams are lost.
    pub(crate) mtu: usize,
    /// Datagrams sent, the lost ones included.
    pub(crate) sent: u64,
    /// Called for every datagram sent.
    pub(crate) tap: Option<Tap>,
    order: u64,
    random: Random,
    flights: BTreeMap<(Instant, u64), Flight>,
}

/// Sees every datagram that is sent: when, from where, to where, what.
pub(crate) type Tap = Box<dyn FnMut(Instant, SocketAddr, SocketAddr, &[u8])>;

impl Net {
    /// A network with 10 ms each way and no loss.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: base(),
            latency: Duration::from_millis(10),
            loss_percent: 0,
            stalled_until: None,
            mtu: 1500,
            sent: 0,
            tap: None,
            order: 0,
            random: Seed::from_u64(seed).stream("testkit"),
            flights: BTreeMap::new(),
        }
    }

    /// Lets the hosts send what they have.
    pub(crate) fn settle(&mut self, hosts: &mut [&mut dyn Host]) {
        for host in hosts {
            let mut out = Outbox::default();
            host.drain(self.now, &mut out);
            let from = host.addr();
            for (to, ecn, data) in out.0 {
                self.send(from, to, ecn, data);
            }
        }
    }

    /// Puts one datagram on the network.
    pub(crate) fn send(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: Vec<u8>,
    ) {
        self.sent += 1;
        if let Some(tap) = &mut self.tap {
            tap(self.now, from, to, &data);
        }
        let lost = self.random.below(100) < self.loss_percent || data.len() > self.mtu;
        if !lost {
            self.order += 1;
            let flight = Flight { from, to, ecn, data };
            let at = self.stalled_until.unwrap_or(self.now).max(self.now + self.latency);
            self.flights.insert((at, self.order), flight);
        }
    }

    /// Goes on to the next thing that happens, if it happens by `until`; otherwise to `until`.
    /// Returns whether something happened.
    pub(crate) fn step(&mut self, hosts: &mut [&mut dyn Host], until: Instant) -> bool {
        self.settle(hosts);
        let arrival = self.flights.keys().next().map(|(at, _)| *at);
        let wake = hosts.iter().filter_map(|host| host.deadline()).min();
        let next = arrival.into_iter().chain(wake).min().filter(|at| *at <= until);
        let Some(next) = next else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(flight) = self.flights.first_entry() {
            if flight.key().0 > self.now {
                break;
            }
            let Flight { from, to, ecn, data } = flight.remove();
            if let Some(host) = hosts.iter_mut().find(|host| host.addr() == to) {
                host.receive(self.now, from, ecn, BytesMut::from(&data[..]));
            }
        }
        for host in hosts.iter_mut() {
            if host.deadline().is_some_and(|at| at <= self.now) {
                host.expire(self.now);
            }
        }
        self.settle(hosts);
        true
    }

    /// Lets `span` pass.
    pub(crate) fn run(&mut self, hosts: &mut [&mut dyn Host], span: Duration) {
        let until = self.now + span;
        while self.step(hosts, until) {}
        self.settle(hosts);
    }
}
