//! Addresses to which this node sent, in the order of the first datagram.
//!
//! Responsible for: whether an address is one to which a NAT may have a mapping, and the ordinal of
//! each among all. Never: sends.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::addr::canonical;

/// Addresses that are held; the oldest go first (a guess: an hour of dials of a busy node).
pub(crate) const DESTINATIONS_MAX: usize = 1024;

/// Places by which a list grows.
const GROWTH: usize = 16;

/// A destination: its ordinal, and the address in network order. A simulator has many nodes, and
/// each of them hundreds of these.
#[derive(Debug, Clone, Copy)]
struct Entry<const N: usize> {
    ordinal: [u8; 4],
    ip: [u8; N],
    port: [u8; 2],
}

/// The destinations of one family, in order.
#[derive(Debug)]
struct List<const N: usize>(VecDeque<Entry<N>>);

impl<const N: usize> Default for List<N> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<const N: usize> List<N> {
    fn ordinal(&self, ip: [u8; N], port: u16) -> Option<u32> {
        let port = port.to_be_bytes();
        let known = self.0.iter().find(|known| known.port == port && known.ip == ip)?;
        Some(u32::from_ne_bytes(known.ordinal))
    }

    fn push(&mut self, ordinal: u32, ip: [u8; N], port: u16) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(GROWTH);
        }
        let port = port.to_be_bytes();
        self.0.push_back(Entry { ordinal: ordinal.to_ne_bytes(), ip, port });
    }

    /// The ordinal of the oldest.
    fn first(&self) -> Option<u32> {
        self.0.front().map(|oldest| u32::from_ne_bytes(oldest.ordinal))
    }
}

/// The addresses to which this node sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    v4: List<4>,
    v6: List<16>,
    /// The ordinal of the next one.
    next: u32,
}

impl Destinations {
    /// A datagram goes to this address.
    pub(crate) fn insert(&mut self, remote: SocketAddr) {
        if self.ordinal(remote).is_some() {
            return;
        }
        if self.len() >= DESTINATIONS_MAX {
            self.forget_oldest();
        }
        match remote.ip().to_canonical() {
            IpAddr::V4(ip) => self.v4.push(self.next, ip.octets(), remote.port()),
            IpAddr::V6(ip) => self.v6.push(self.next, ip.octets(), remote.port()),
        }
        self.next = self.next.wrapping_add(1);
    }

    /// The ordinal of a destination.
    pub(crate) fn ordinal(&self, remote: SocketAddr) -> Option<u32> {
        match remote.ip().to_canonical() {
            IpAddr::V4(ip) => self.v4.ordinal(ip.octets(), remote.port()),
            IpAddr::V6(ip) => self.v6.ordinal(ip.octets(), remote.port()),
        }
    }

    /// All destinations, IPv4 first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.v4.0.iter().map(|known| (IpAddr::from(known.ip), known.port));
        let v6 = self.v6.0.iter().map(|known| (IpAddr::from(known.ip), known.port));
        v4.chain(v6).map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)))
    }

    /// The networks of all destinations (see [`network`]).
    pub(crate) fn networks(&self) -> BTreeSet<u128> {
        let v4 = self.v4.0.iter().map(|known| network(known.ip.into()));
        let v6 = self.v6.0.iter().map(|known| network(known.ip.into()));
        v4.chain(v6).collect()
    }

    fn len(&self) -> usize {
        self.v4.0.len() + self.v6.0.len()
    }

    fn forget_oldest(&mut self) {
        let age = |ordinal: Option<u32>| ordinal.map(|ordinal| self.next.wrapping_sub(ordinal));
        if age(self.v4.first()) >= age(self.v6.first()) {
            self.v4.0.pop_front();
        } else {
            self.v6.0.pop_front();
        }
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.len() <= DESTINATIONS_MAX);
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

/// The prefix at which a NAT64 has IPv4 hosts (RFC 6052 §2.1).
const NAT64_PREFIX: u128 = 0x0064_ff9b << 96;

/// An address as its own network has it: what a NAT64 shows of an IPv4 host is that IPv4 address.
pub(crate) fn beyond_nat64(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) if ip.to_bits() >> 32 << 32 == NAT64_PREFIX => {
            SocketAddr::new(Ipv4Addr::from_bits(ip.to_bits() as u32).into(), addr.port())
        }
        _ => canonical(addr),
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
    fn families_have_one_order() {
        let mut destinations = Destinations::default();
        let v6: SocketAddr = "[2001:db8::1]:1".parse().expect("a literal");
        destinations.insert(addr([192, 0, 2, 1], 1));
        destinations.insert(v6);
        for number in 1..DESTINATIONS_MAX {
            destinations.insert(addr([10, 0, (number >> 8) as u8, number as u8], 1));
        }
        assert_eq!(destinations.ordinal(addr([192, 0, 2, 1], 1)), None, "the oldest");
        assert_eq!(destinations.ordinal(v6), Some(1));
        assert_eq!(destinations.ordinal(addr([10, 0, 0, 1], 1)), Some(2));
        destinations.insert(addr([192, 0, 2, 1], 1));
        assert_eq!(destinations.ordinal(v6), None);
        destinations.check();
    }

    #[test]
    fn what_a_nat64_shows_is_an_ipv4_address() {
        let beyond = |text: &str| beyond_nat64(text.parse().expect("a literal")).to_string();
        assert_eq!(beyond("[64:ff9b::203.0.113.7]:9"), "203.0.113.7:9");
        assert_eq!(beyond("[64:ff9b:1::203.0.113.7]:9"), "[64:ff9b:1::cb00:7107]:9");
        assert_eq!(beyond("[::ffff:203.0.113.7]:9"), "203.0.113.7:9");
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
