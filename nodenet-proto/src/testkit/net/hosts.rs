//! Hosts that a test lends to the network, and scripts that decide what arrives next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Flight, Net, Realm};
use crate::io::EcnCodepoint;
use crate::testkit::host::{Arrival, Datagram, Host, Outbox};
use crate::testkit::nat_box::DEFAULT_TTL;

/// With hosts that the caller lends.
impl Net {
    /// Lets the hosts send what they have.
    pub fn flush(&mut self, hosts: &mut [&mut dyn Host]) {
        for host in hosts {
            let mut outbox = std::mem::take(&mut self.outbox);
            host.drain(self.now, &mut outbox);
            self.send_all(*host, &mut outbox);
            self.outbox = outbox;
        }
    }

    /// Lets the hosts send what they have, and delivers what arrives at once. No time passes.
    pub fn settle(&mut self, hosts: &mut [&mut dyn Host]) {
        self.flush(hosts);
        while self.next_arrival().is_some_and(|at| at <= self.now) {
            self.turn(hosts);
        }
    }

    /// Goes on to the next thing that happens, if it happens by `until`; otherwise to `until`.
    /// Returns whether something happened.
    pub fn step(&mut self, hosts: &mut [&mut dyn Host], until: Instant) -> bool {
        self.flush(hosts);
        let wake = hosts.iter().filter_map(|host| host.deadline()).min();
        let next = self.next_arrival().into_iter().chain(wake).min().filter(|at| *at <= until);
        let Some(next) = next else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        self.turn(hosts);
        true
    }

    /// Lets `span` pass.
    pub fn run(&mut self, hosts: &mut [&mut dyn Host], span: Duration) {
        let until = self.now + span;
        while self.step(hosts, until) {}
        self.flush(hosts);
    }

    /// Sends everything in an outbox that a host filled.
    pub fn send_all(&mut self, host: &dyn Host, outbox: &mut Outbox) {
        let (own, realm) = (host.addr(), host.realm());
        for (outgoing, bytes) in outbox.batches() {
            let (from, to, ecn) = (outgoing.from.unwrap_or(own), outgoing.to, outgoing.ecn);
            let ttl = outgoing.ttl.unwrap_or(DEFAULT_TTL);
            for datagram in bytes.chunks(outgoing.segment_len.unwrap_or(bytes.len()).max(1)) {
                let datagram = Datagram { from, to, ecn, data: BytesMut::from(datagram) };
                self.send_with_ttl(realm, datagram, ttl);
            }
        }
        outbox.clear();
    }

    /// Sends one datagram in the public realm from any source address, spoofed or not.
    pub fn inject(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: impl AsRef<[u8]>,
    ) {
        self.send(Realm::PUBLIC, Datagram { from, to, ecn, data: BytesMut::from(data.as_ref()) });
    }

    /// Gives every host what has arrived. If nothing has, timers that are due fire.
    fn turn(&mut self, hosts: &mut [&mut dyn Host]) {
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.resize_with(hosts.len().max(arrived.len()), Vec::new);
        let is_time_out = self.next_arrival().is_none_or(|at| at > self.now);
        while let Some((realm, arrival)) = self.poll_arrival() {
            if let Some(host) = host_of(hosts, realm, &arrival) {
                arrived[host].push(arrival);
            }
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        for (host, arrived) in hosts.iter_mut().zip(&mut arrived) {
            let is_due = is_time_out && host.deadline().is_some_and(|at| at <= self.now);
            if is_due || !arrived.is_empty() {
                host.turn(self.now, arrived, &mut outbox);
                self.send_all(&**host, &mut outbox);
            }
        }
        self.outbox = outbox;
        self.arrived = arrived;
    }
}

/// The host at which something arrives.
fn host_of(hosts: &[&mut dyn Host], realm: Realm, arrival: &Arrival) -> Option<usize> {
    let (Arrival::Datagram(Datagram { to: at, .. }) | Arrival::TooBig { from: at, .. }) = arrival;
    hosts.iter().position(|host| host.realm() == realm && host.listens_at(*at))
}

/// For scripts that decide themselves what arrives next.
impl Net {
    /// Datagrams under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// Hands one datagram under way to its host now, without letting it answer. The index counts
    /// around in the order of arrival.
    pub fn deliver(&mut self, hosts: &mut [&mut dyn Host], index: usize) {
        let Some(flight) = self.key(index).and_then(|key| self.flights.remove(&key)) else {
            return;
        };
        let Some((realm, arrival)) = self.arrive(flight) else { return };
        let Some(host) = host_of(hosts, realm, &arrival) else { return };
        if let Arrival::Datagram(datagram) = arrival {
            hosts[host].receive(self.now, datagram);
        }
    }

    /// Hands all datagrams under way to their hosts now, without letting these answer.
    pub fn deliver_all(&mut self, hosts: &mut [&mut dyn Host]) {
        for _ in 0..self.flights.len() {
            self.deliver(hosts, 0);
        }
    }

    /// Loses one datagram under way.
    pub fn lose(&mut self, index: usize) {
        if let Some(key) = self.key(index) {
            self.flights.remove(&key);
            self.stats.lost += 1;
        }
    }

    /// Sends one datagram under way again.
    pub fn duplicate(&mut self, index: usize) {
        let Some(key) = self.key(index) else { return };
        let flight = self.flights[&key].clone();
        self.enqueue(key.0, flight);
    }

    /// Flips bits of one datagram under way.
    pub fn corrupt(&mut self, index: usize, at: usize, bits: u8) {
        let Some(key) = self.key(index) else { return };
        let Some(Flight { content: Arrival::Datagram(datagram), .. }) = self.flights.get_mut(&key)
        else {
            return;
        };
        if let Some(at) = at.checked_rem(datagram.data.len()) {
            datagram.data[at] ^= bits;
        }
    }

    fn key(&self, index: usize) -> Option<(Instant, u64)> {
        self.flights.keys().nth(index.checked_rem(self.flights.len())?).copied()
    }
}
