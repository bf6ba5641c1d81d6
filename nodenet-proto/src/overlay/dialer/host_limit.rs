//! Addresses that others claim are a peer's: how many of them are dialed at one host at once.
//!
//! Responsible for: which addresses of a contact may be dialed now. Never: dials, or remembers
//! anything.
//!
//! An answer names up to sixty-four contacts, and whoever gives it may place all of them at one
//! host, at as many ports. That host never asked for it, and every node that hears of it would dial
//! it as often as it can. Where a peer proved itself, it is at home; loopback is nobody else's.

use std::net::{IpAddr, SocketAddr};

use crate::addr::Subnet;
use crate::overlay::peers::{ADDRS_MAX, Contact};

/// Addresses of one host that are dialed at once though nobody proved them: as many as one contact
/// may have, because a peer behind a NAT may be known by that many ports. Peers that share a host
/// take turns, and are done within a round trip if they answer.
const PER_HOST: usize = ADDRS_MAX;

/// The hosts that are being dialed, each as often as there are addresses of it.
#[derive(Debug)]
pub(crate) struct HostLimit {
    dialed: Vec<IpAddr>,
}

/// Names a host: by its IPv4 address, or by the IPv6 /64 that it has all of.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        ip @ IpAddr::V4(_) => ip,
        ip @ IpAddr::V6(_) => IpAddr::from(*Subnet::of(ip).as_bytes()),
    }
}

impl HostLimit {
    /// With these hosts being dialed.
    pub(crate) fn new(hosts: impl Iterator<Item = IpAddr>) -> Self {
        Self { dialed: hosts.map(host).collect() }
    }

    /// Whether any address of this contact may be dialed now.
    pub(crate) fn admit(&self, contact: &Contact) -> bool {
        self.dialed.len() < PER_HOST || contact.addrs().any(|addr| self.admits(contact, addr, 0))
    }

    /// The addresses of this contact that may be dialed now, best first.
    pub(crate) fn open_addrs(&self, contact: &Contact) -> Vec<SocketAddr> {
        let mut open: Vec<SocketAddr> = Vec::new();
        for addr in contact.addrs() {
            let is_here = |other: &&SocketAddr| host(other.ip()) == host(addr.ip());
            let taken = open.iter().filter(is_here).count();
            if self.admits(contact, addr, taken) {
                open.push(addr);
            }
        }
        open
    }

    fn admits(&self, contact: &Contact, addr: SocketAddr, taken: usize) -> bool {
        let here = || self.dialed.iter().filter(|other| **other == host(addr.ip())).count();
        addr.ip().is_loopback() || contact.is_proven_at(addr) || here() + taken < PER_HOST
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{HostLimit, PER_HOST};
    use crate::NodeId;
    use crate::overlay::peers::{Contact, Provenance};

    fn contact(addrs: &[SocketAddr], provenance: Provenance) -> Contact {
        let mut contact = Contact::new(NodeId::from_bytes([1; 32]), [2; 32]);
        for addr in addrs.iter().rev() {
            contact.add_addr(*addr, provenance);
        }
        contact
    }

    fn at(ip: [u8; 4], ports: std::ops::Range<u16>) -> Vec<SocketAddr> {
        ports.map(|port| SocketAddr::from((ip, port))).collect()
    }

    #[test]
    fn a_host_that_nobody_proved_is_dialed_at_eight_addresses_at_once() {
        let (host, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let addrs = [at(host, 1..6), at(other, 1..2)].concat();
        let claimed = contact(&addrs, Provenance::Signed);
        let open = |dialed: usize| {
            let hosts = core::iter::repeat_n(host.into(), dialed);
            HostLimit::new(hosts).open_addrs(&claimed)
        };
        assert_eq!(open(0), addrs);
        assert_eq!(open(5), [at(host, 1..4), at(other, 1..2)].concat());
        assert_eq!(open(PER_HOST), at(other, 1..2));
    }

    #[test]
    fn a_contact_waits_unless_an_address_of_it_is_open() {
        let (host, loopback) = (at([192, 0, 2, 1], 1..2), at([127, 0, 0, 1], 1..2));
        let busy = || {
            let hosts = [host[0].ip(), loopback[0].ip()];
            HostLimit::new(hosts.into_iter().cycle().take(2 * PER_HOST))
        };
        assert!(!busy().admit(&contact(&host, Provenance::Signed)));
        assert!(busy().admit(&contact(&host, Provenance::Verified)), "it is at home there");
        assert!(busy().admit(&contact(&loopback, Provenance::Gossiped)));
        assert!(busy().admit(&contact(&at([192, 0, 2, 2], 1..2), Provenance::Gossiped)));
    }

    #[test]
    fn all_of_an_ipv6_64_is_one_host() {
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("a literal"), 1);
        let [one, same, other] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(at);
        let busy = HostLimit::new(core::iter::repeat_n(one.ip(), PER_HOST));
        assert!(!busy.admit(&contact(&[same], Provenance::Gossiped)));
        assert!(busy.admit(&contact(&[other], Provenance::Gossiped)));
    }
}
