//! Failure domains of addresses, for limits per holder of many addresses (PROTOCOL.md#subnets).
//!
//! Responsible for: which subnets count as one domain, at which width. Never: decides a limit per
//! domain; each table that counts them does.
//!
//! The narrowest width is the wire's [`Subnet`], an IPv4 /24 or an IPv6 /64. The holder of one IPv6
//! /48 owns 65,536 of those, therefore there are two wider domains.

use super::Subnet;

/// Width of a failure domain. For IPv4 all three are the /24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// IPv6 /64: one link.
    Link,
    /// IPv6 /56: the usual prefix of a household (RIPE-690).
    Household,
    /// IPv6 /48: the usual prefix of an organisation (RFC 6177).
    Site,
}

impl Tier {
    /// Every tier, narrowest first.
    pub(crate) const ALL: [Self; 3] = [Self::Link, Self::Household, Self::Site];

    /// Whether two subnets lie in one failure domain of this width.
    pub(crate) fn joins(self, a: Subnet, b: Subnet) -> bool {
        self.domain(a) == self.domain(b)
    }

    /// The failure domain of this width that a subnet lies in.
    pub(crate) fn domain(self, subnet: Subnet) -> u128 {
        let subnet = u128::from_be_bytes(*subnet.as_bytes());
        let shared = match self {
            _ if is_v4(subnet) => return subnet,
            Self::Link => 64,
            Self::Household => 56,
            Self::Site => 48,
        };
        subnet >> (128 - shared) << (128 - shared)
    }
}

/// Whether a subnet lies in `::ffff:0:0/96`, where IPv4 is mapped to (RFC 4291 §2.5.5.2).
const fn is_v4(subnet: u128) -> bool {
    subnet >> 32 == 0xffff
}

#[cfg(test)]
mod tests {
    use super::{Subnet, Tier};

    fn joined(a: &str, b: &str) -> [bool; 3] {
        let subnet = |ip: &str| Subnet::of(ip.parse().expect("a literal"));
        Tier::ALL.map(|tier| tier.joins(subnet(a), subnet(b)))
    }

    #[test]
    fn ipv4_addresses_share_a_24_and_nothing_wider() {
        assert_eq!(joined("192.0.2.7", "192.0.2.250"), [true; 3]);
        assert_eq!(joined("192.0.2.7", "::ffff:192.0.2.9"), [true; 3]);
        assert_eq!(joined("192.0.2.7", "192.0.3.7"), [false; 3]);
    }

    #[test]
    fn ipv6_tiers_nest() {
        let one = "2001:db8:1:200::1";
        assert_eq!(joined(one, "2001:db8:1:200:ffff::2"), [true; 3]);
        assert_eq!(joined(one, "2001:db8:1:2ff::1"), [false, true, true]);
        assert_eq!(joined(one, "2001:db8:1:ff00::1"), [false, false, true]);
        assert_eq!(joined(one, "2001:db8:2:200::1"), [false; 3]);
    }

    #[test]
    fn families_never_join() {
        assert_eq!(joined("192.0.2.7", "::c000:207"), [false; 3]);
    }
}
