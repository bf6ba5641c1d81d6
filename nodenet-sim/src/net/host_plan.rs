//! Host plan: addresses and positions of simulated hosts.

use std::net::{Ipv4Addr, SocketAddrV4};

use nodenet_proto::env::{Random, Seed};

use crate::net::latency::{Attachment, Position};

/// The address of a host and its attachment to the network.
#[derive(Debug, Clone, Copy)]
pub struct HostSlot {
    /// The address of the host in the network. It is the reflexive address too, unless the NAT is
    /// hard.
    pub addr: SocketAddrV4,
    /// Its attachment.
    pub attachment: Attachment,
}

/// UDP port of every host.
const PORT: u16 = 4242;
/// Hosts of a shared /24 (guess).
const HOSTS_PER_SHARED_SUBNET: u32 = 8;
/// One host in four is in a shared /24 (guess).
const SHARED_ONE_IN: u64 = 4;
/// First octets of subnets with a single host: globally routable, without reserved ranges.
const UNSHARED_OCTETS: core::ops::Range<u32> = 11..100;
/// First octets of subnets that hosts share.
const SHARED_OCTETS: core::ops::Range<u32> = 130..169;

/// Three in four hosts have a subnet of their own. The draw varies that by far less than a percent
/// for [`AddressPlan::HOSTS_MAX`] hosts.
const _: () = {
    let unshared = (UNSHARED_OCTETS.end - UNSHARED_OCTETS.start) << 16;
    let needed = AddressPlan::HOSTS_MAX as u64 * (SHARED_ONE_IN - 1) / SHARED_ONE_IN;
    assert!(needed + needed / 100 < unshared as u64);
};

/// Synthetic addresses and positions, each used once.
///
/// Three quarters of the hosts have a /24 and a position of their own, as residential connections
/// do. A quarter share a /24 and a position with seven others, as rented servers do. The subnet
/// caps of the node's tables (2 edges, 8 contacts of one /24) affect only these. All are globally
/// routable IPv4.
#[derive(Debug)]
pub struct AddressPlan {
    random: Random,
    unshared: u32,
    shared: u32,
    shared_position: Position,
}

impl AddressPlan {
    /// Guaranteed number of slots, for nodes of growth and of churn.
    pub const HOSTS_MAX: u32 = 7_000_000;

    /// The plan of a world.
    pub fn new(world: &Seed) -> Self {
        let mut random = world.stream("address plan");
        let shared_position = Position::draw(&mut random);
        Self { random, unshared: 0, shared: 0, shared_position }
    }

    /// The next slot.
    ///
    /// # Panics
    /// When the subnets of single hosts run out; not before [`Self::HOSTS_MAX`].
    pub fn next_slot(&mut self) -> HostSlot {
        let (addr, position) = if self.random.below(SHARED_ONE_IN) == 0 {
            let subnet = self.shared / HOSTS_PER_SHARED_SUBNET;
            let host = self.shared % HOSTS_PER_SHARED_SUBNET;
            if host == 0 {
                self.shared_position = Position::draw(&mut self.random);
            }
            self.shared += 1;
            (address(&SHARED_OCTETS, subnet, 10 + host), self.shared_position)
        } else {
            self.unshared += 1;
            let host = 1 + self.random.below(250) as u32;
            (address(&UNSHARED_OCTETS, self.unshared, host), Position::draw(&mut self.random))
        };
        HostSlot { addr, attachment: Attachment::draw(position, &mut self.random) }
    }
}

fn address(octets: &core::ops::Range<u32>, subnet: u32, host: u32) -> SocketAddrV4 {
    let number = (octets.start << 24) + (subnet << 8) + host;
    assert!(number >> 24 < octets.end, "the synthetic address space is used up");
    SocketAddrV4::new(Ipv4Addr::from_bits(number), PORT)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use nodenet_proto::env::Seed;

    use super::{AddressPlan, HOSTS_PER_SHARED_SUBNET};

    #[test]
    fn addresses_are_unique_and_a_quarter_share_a_subnet() {
        let mut plan = AddressPlan::new(&Seed::from_u64(1));
        let mut seen = BTreeSet::new();
        let mut subnets = BTreeMap::new();
        for _ in 0..20_000 {
            let ip = *plan.next_slot().addr.ip();
            assert!(seen.insert(ip), "{ip} twice");
            assert!(!ip.is_private() && !ip.is_loopback() && !ip.is_link_local());
            *subnets.entry(ip.to_bits() >> 8).or_insert(0_u32) += 1;
        }
        let sharing: u32 = subnets.values().filter(|&&hosts| hosts > 1).sum();
        assert!((4_600..5_400).contains(&sharing), "{sharing} of 20,000 share a subnet");
        assert!(subnets.values().all(|&hosts| hosts <= HOSTS_PER_SHARED_SUBNET));
    }
}
