//! Neighbours and where each is, in few bytes.
//!
//! Responsible for: an ordered map from identifiers to addresses, and the packed form of an
//! address. Never: decides who is a neighbour.
//!
//! A simulator has many nodes, and each of them a hundred neighbours: a B-tree of them takes twice
//! the bytes of its entries (measured with nodes of eleven places, two thirds full).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::NodeId;
use crate::addr::canonical;

/// Places by which a list grows.
const GROWTH: usize = 8;

/// An address in 18 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Packed {
    pub(super) fn new(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: addr.port().to_be_bytes() }
    }

    /// The address, an IPv4-mapped one as IPv4.
    pub(super) fn addr(self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        canonical(SocketAddr::new(ip.into(), u16::from_be_bytes(self.port)))
    }
}

/// A map in the order of its keys, without room for many more.
#[derive(Debug)]
pub(super) struct SortedMap<V> {
    entries: Vec<(NodeId, V)>,
}

impl<V> Default for SortedMap<V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<V> SortedMap<V> {
    fn place(&self, id: &NodeId) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| known.cmp(id))
    }

    /// Adds or replaces an entry.
    pub(super) fn insert(&mut self, id: NodeId, value: V) {
        match self.place(&id) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => {
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(GROWTH);
                }
                self.entries.insert(at, (id, value));
            }
        }
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<V> {
        let at = self.place(id).ok()?;
        let (_, value) = self.entries.remove(at);
        if self.entries.capacity() > self.entries.len() + 4 * GROWTH {
            self.entries.shrink_to(self.entries.len() + GROWTH);
        }
        Some(value)
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&V> {
        self.place(id).ok().map(|at| &self.entries[at].1)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, &V)> {
        self.entries.iter().map(|(id, value)| (id, value))
    }
}

/// Neighbours, and where each is.
#[derive(Debug, Default)]
pub(super) struct Neighbours(SortedMap<Packed>);

impl Neighbours {
    pub(super) fn insert(&mut self, id: NodeId, remote: SocketAddr) {
        self.0.insert(id, Packed::new(remote));
    }

    pub(super) fn remove(&mut self, id: &NodeId) -> Option<SocketAddr> {
        self.0.remove(id).map(Packed::addr)
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<SocketAddr> {
        self.0.get(id).copied().map(Packed::addr)
    }

    pub(super) fn contains_key(&self, id: &NodeId) -> bool {
        self.0.get(id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Where they are, in the order of their identifiers.
    pub(super) fn values(&self) -> impl Iterator<Item = SocketAddr> {
        self.iter().map(|(_, remote)| remote)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        self.0.iter().map(|(id, remote)| (id, remote.addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn addr(number: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, number], 4242))
    }

    #[test]
    fn neighbours_are_in_the_order_of_their_identifiers_and_replaced() {
        let mut neighbours = Neighbours::default();
        for number in [3, 1, 2, 3] {
            neighbours.insert(id(number), addr(number));
        }
        neighbours.insert(id(2), addr(9));
        assert_eq!(neighbours.values().collect::<Vec<_>>(), [addr(1), addr(9), addr(3)]);
        assert_eq!(neighbours.remove(&id(1)), Some(addr(1)));
        assert_eq!(neighbours.remove(&id(1)), None);
        assert!(neighbours.contains_key(&id(3)) && !neighbours.contains_key(&id(1)));
    }

    #[test]
    fn a_list_has_few_empty_places() {
        let mut map = SortedMap::default();
        for number in 0..200 {
            map.insert(id(number), number);
            assert!(map.entries.capacity() <= map.len() + GROWTH);
        }
        for number in 0..200 {
            map.remove(&id(number));
            assert!(map.entries.capacity() <= map.len() + 4 * GROWTH);
        }
    }

    #[test]
    fn an_address_survives_packing() {
        for text in ["203.0.113.7:1", "[2001:db8::1]:65535", "[::ffff:203.0.113.7]:9"] {
            let addr: SocketAddr = text.parse().expect("a literal");
            assert_eq!(Packed::new(addr).addr(), canonical(addr));
        }
    }
}
