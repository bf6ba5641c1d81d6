//! Addresses to which this node sent, in the order of the first datagram.
//!
//! Responsible for: whether an address is one to which a NAT may have a mapping, and the ordinal of
//! each among all. Never: sends.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Addresses that are held; the oldest go first (a guess: an hour of dials of a busy node).
pub(crate) const DESTINATIONS_MAX: usize = 1024;

/// An address in 18 bytes: a simulator has many nodes, and each of them hundreds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Packed {
    fn new(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: addr.port().to_be_bytes() }
    }

    fn ip(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.ip))
    }
}

/// The addresses to which this node sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    addrs: VecDeque<Packed>,
    /// How many were forgotten.
    forgotten: u32,
}

impl Destinations {
    /// A datagram goes to this address.
    pub(crate) fn insert(&mut self, remote: SocketAddr) {
        let remote = Packed::new(remote);
        if self.addrs.contains(&remote) {
            return;
        }
        if self.addrs.len() >= DESTINATIONS_MAX {
            self.addrs.pop_front();
            self.forgotten = self.forgotten.wrapping_add(1);
        }
        self.addrs.push_back(remote);
    }

    /// The ordinal of a destination.
    pub(crate) fn ordinal(&self, remote: SocketAddr) -> Option<u32> {
        let remote = Packed::new(remote);
        let at = self.addrs.iter().position(|addr| *addr == remote)?;
        Some(self.forgotten.wrapping_add(at as u32))
    }

    /// The networks of all destinations (see [`network`]).
    pub(crate) fn networks(&self) -> BTreeSet<u128> {
        self.addrs.iter().map(|remote| network(remote.ip())).collect()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.addrs.len() <= DESTINATIONS_MAX);
    }
}

/// The part of an address that a provider holds: an IPv4 /16 or an IPv6 /32. A filter that lets in
/// the neighbours of an address is seldom wider.
pub(crate) fn network(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits() >> 16 << 16,
        IpAddr::V6(ip) => ip.to_bits() >> 96 << 96,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(ip: [u8; 4], port: u16) -> SocketAddr {
        SocketAddr::from((ip, port))
    }

    #[test]
    fn ordinals_follow_the_first_datagram() {
        let mut destinations = Destinations::default();
        for port in [1, 2, 1, 3] {
            destinations.insert(addr([192, 0, 2, 1], port));
        }
        let ordinals = [1, 2, 3, 4].map(|port| destinations.ordinal(addr([192, 0, 2, 1], port)));
        assert_eq!(ordinals, [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn the_oldest_destinations_go_first() {
        let mut destinations = Destinations::default();
        for number in 0..=DESTINATIONS_MAX {
            destinations.insert(addr([10, 0, (number >> 8) as u8, number as u8], 1));
        }
        destinations.check();
        assert_eq!(destinations.ordinal(addr([10, 0, 0, 0], 1)), None);
        assert_eq!(destinations.ordinal(addr([10, 0, 0, 1], 1)), Some(1));
    }

    #[test]
    fn networks_are_as_wide_as_those_of_providers() {
        let same = |a: &str, b: &str| {
            let ip = |text: &str| -> IpAddr { text.parse().expect("a literal") };
            network(ip(a)) == network(ip(b))
        };
        assert!(same("203.0.113.7", "203.0.1.1") && !same("203.0.113.7", "203.1.113.7"));
        assert!(same("203.0.113.7", "::ffff:203.0.1.1"));
        assert!(same("2001:db8:1::1", "2001:db8:2::1") && !same("2001:db8::1", "2001:db9::1"));
    }
}
