//! Address plan of a packet world: addresses that follow from names.
//!
//! Responsible for: one address for each name in an address realm. Never: who uses it, or for how
//! long.
//!
//! An address is a hash of its name, not of how many came before. A host more or less in a scenario
//! thus leaves the addresses of all others as they are, and with them the fates of their datagrams.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nodenet_proto::testkit::Realm;

use crate::hash::{TraceHash, below, fate};

/// First octets of public IPv4 subnets: globally routable, without reserved ranges (RFC 6890).
const PUBLIC_OCTETS: core::ops::Range<u64> = 20..100;
/// Draws for one name until the search fails (guess: a space that is half full takes two).
const DRAWS_MAX: u64 = 10_000;

/// Kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressKind {
    /// A globally routable IPv4 address in a /24 of its own.
    PublicV4,
    /// An address behind a home router (RFC 1918).
    PrivateV4,
    /// An address behind a carrier NAT (RFC 6598).
    SharedV4,
    /// A globally routable IPv6 address in a /48 of its own.
    V6,
}

/// The addresses that are given out.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    taken: BTreeMap<(Realm, IpAddr), String>,
}

impl Addresses {
    /// The address of this name in a realm; always the same.
    ///
    /// # Panics
    /// If the space is full, which takes more names than a realm can have hosts.
    pub(super) fn of(&mut self, realm: Realm, kind: AddressKind, name: &str) -> IpAddr {
        let mut hash = TraceHash::default();
        hash.bytes(name.as_bytes());
        // A globally routable address is unique in all realms, because it is seen in several.
        let scope = match kind {
            AddressKind::PublicV4 | AddressKind::V6 => Realm::PUBLIC,
            AddressKind::PrivateV4 | AddressKind::SharedV4 => realm,
        };
        let candidates =
            (0..DRAWS_MAX).map(|draw| drawn(kind, fate(hash.value(), kind as u64, draw)));
        for ip in candidates {
            let holder = self.taken.entry((scope, ip)).or_insert_with(|| name.to_owned());
            if holder == name {
                return ip;
            }
        }
        panic!("no address is left for {name}: a realm has more hosts than addresses");
    }
}

fn drawn(kind: AddressKind, bits: u64) -> IpAddr {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    // Neither the address of a subnet nor its broadcast address.
    let host = 1 + below(fate(bits, 0, 0), 253) as u8;
    match kind {
        AddressKind::PublicV4 => {
            let count = PUBLIC_OCTETS.end - PUBLIC_OCTETS.start;
            let first = PUBLIC_OCTETS.start + below(bits, count);
            Ipv4Addr::new(first as u8, a, b, host).into()
        }
        AddressKind::PrivateV4 => Ipv4Addr::new(192, 168, a, host).into(),
        AddressKind::SharedV4 => Ipv4Addr::new(100, 64 | (a & 0x3f), b, host).into(),
        AddressKind::V6 => {
            let word = |high, low| u16::from_be_bytes([high, low]);
            let [.., e, f, g, h] = bits.to_le_bytes();
            // Of 2000::/3, what is assigned to Europe (2a00::/12).
            let first = 0x2a00 | word(0, a) >> 4;
            Ipv6Addr::new(first, word(b, c), word(d, e), 1, 0, 0, word(f, g), word(1, h)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nodenet_proto::testkit::Realm;

    use super::{AddressKind, Addresses};

    #[test]
    fn an_address_follows_from_its_name_and_belongs_to_it_alone() {
        let mut all = Addresses::default();
        let mut seen = BTreeSet::new();
        for kind in [AddressKind::PublicV4, AddressKind::V6, AddressKind::SharedV4] {
            for number in 0..2_000 {
                assert!(seen.insert(all.of(Realm::PUBLIC, kind, &format!("host {number}"))));
            }
        }
        let mut other = Addresses::default();
        for number in [1_999, 3] {
            let name = format!("host {number}");
            let of = |all: &mut Addresses| all.of(Realm::PUBLIC, AddressKind::V6, &name);
            assert_eq!(of(&mut other), of(&mut all));
        }
    }
}
