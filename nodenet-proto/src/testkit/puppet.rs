//! Scripted host, which sends raw datagrams on calls of the test, and keeps what it receives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::host::{Datagram, Host, Outbox, Outgoing};
use super::net::Realm;

/// Datagrams that a puppet keeps; the oldest are forgotten.
const HEARD_MAX: usize = 4_096;

/// A host without a mind of its own.
#[derive(Debug)]
pub struct Puppet {
    /// Its address.
    pub addr: SocketAddr,
    /// The realm that it is in.
    pub realm: Realm,
    /// What it received, and when.
    pub heard: VecDeque<(Instant, Datagram)>,
    /// Destinations whose path was reported to take no longer packet than this.
    pub too_big: Vec<(SocketAddr, usize)>,
    waiting: VecDeque<(Outgoing, Vec<u8>)>,
}

impl Puppet {
    /// A puppet at a public address.
    pub fn new(addr: SocketAddr) -> Self {
        Self::within(Realm::PUBLIC, addr)
    }

    /// A puppet at an address of this realm.
    pub fn within(realm: Realm, addr: SocketAddr) -> Self {
        let (heard, waiting) = (VecDeque::new(), VecDeque::new());
        Self { addr, realm, heard, too_big: Vec::new(), waiting }
    }

    /// Sends a datagram at its next turn.
    pub fn send(&mut self, to: SocketAddr, data: impl Into<Vec<u8>>) {
        self.waiting.push_back((Outgoing::new(to), data.into()));
    }

    /// Sends a datagram with this TTL at its next turn.
    pub fn send_with_ttl(&mut self, to: SocketAddr, data: impl Into<Vec<u8>>, ttl: u8) {
        self.waiting.push_back((Outgoing { ttl: Some(ttl), ..Outgoing::new(to) }, data.into()));
    }

    /// Takes what it received: from where, and what.
    pub fn take_heard(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.heard.drain(..).map(|(_, datagram)| (datagram.from, datagram.data.to_vec())).collect()
    }
}

impl Host for Puppet {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back((now, datagram));
    }

    fn expire(&mut self, _now: Instant) {}

    fn drain(&mut self, _now: Instant, out: &mut Outbox) {
        for (outgoing, data) in self.waiting.drain(..) {
            out.push(outgoing, &data);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn realm(&self) -> Realm {
        self.realm
    }

    fn too_big(&mut self, _now: Instant, _from: SocketAddr, to: SocketAddr, mtu: usize) {
        self.too_big.push((to, mtu));
    }
}
