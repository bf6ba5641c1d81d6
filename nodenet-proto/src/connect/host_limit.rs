//! Limit on concurrent dials to one host at addresses that the peer has not proved
//! (THREATS.md#e9).
//!
//! Responsible for: which candidates of a peer may be dialed now. Never: dials, or keeps state.
//!
//! An answer names up to sixty-four contacts. A false one may place all of them at one host, at as
//! many ports. Without the limit every node with that answer would dial the host, a victim, as
//! often as it can. A verified address belongs to the peer, and loopback to this node. Addresses of
//! the operator or the application are exempt.

use std::net::{IpAddr, SocketAddr};

use super::candidate::{Candidate, Source};
use crate::addr::{PEER_ADDRS_MAX, Subnet};

/// Unproven addresses of one host that are dialed at once. They are as many as one contact may
/// have, because a peer behind a NAT may be known by that many ports. Peers that share a host take
/// turns, each of about a round trip if it answers.
const PER_HOST: usize = PEER_ADDRS_MAX;

/// The hosts that are being dialed, each once for each of its addresses.
#[derive(Debug)]
pub(crate) struct HostLimit {
    dialed: Vec<IpAddr>,
}

/// Names a host: its IPv4 address, or the IPv6 /64 that belongs to it.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        ip @ IpAddr::V4(_) => ip,
        ip @ IpAddr::V6(_) => IpAddr::from(*Subnet::of(ip).as_bytes()),
    }
}

impl HostLimit {
    /// The limit while these hosts are being dialed.
    pub(super) fn new(hosts: impl Iterator<Item = IpAddr>) -> Self {
        Self { dialed: hosts.map(host).collect() }
    }

    /// One more address of this host is being dialed.
    pub(crate) fn add(&mut self, ip: IpAddr) {
        self.dialed.push(host(ip));
    }

    /// Whether any of these candidates may be dialed now.
    pub(crate) fn admits_any(&self, candidates: impl IntoIterator<Item = Candidate>) -> bool {
        self.dialed.len() < PER_HOST
            || candidates.into_iter().any(|candidate| self.admits(candidate, 0))
    }

    /// The addresses of the candidates that may be dialed now, in their order.
    pub(super) fn open_addrs(&self, candidates: &[Candidate]) -> Vec<SocketAddr> {
        let mut open: Vec<SocketAddr> = Vec::new();
        for candidate in candidates {
            let is_here = |other: &&SocketAddr| host(other.ip()) == host(candidate.addr.ip());
            let taken = open.iter().filter(is_here).count();
            if self.admits(*candidate, taken) {
                open.push(candidate.addr);
            }
        }
        open
    }

    fn admits(&self, Candidate { addr, source, .. }: Candidate, taken: usize) -> bool {
        let here = || self.dialed.iter().filter(|other| **other == host(addr.ip())).count();
        addr.ip().is_loopback() || source != Source::Unverified || here() + taken < PER_HOST
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Candidate, HostLimit, PER_HOST, Source};

    fn at(ip: [u8; 4], ports: std::ops::Range<u16>) -> Vec<SocketAddr> {
        ports.map(|port| SocketAddr::from((ip, port))).collect()
    }

    fn candidates(addrs: &[SocketAddr], source: Source) -> Vec<Candidate> {
        let of = |&addr: &SocketAddr| Candidate { addr, source, is_open: true };
        addrs.iter().map(of).collect()
    }

    #[test]
    fn a_host_is_dialed_at_eight_unproven_addresses_at_once() {
        let (host, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let addrs = [at(host, 1..6), at(other, 1..2)].concat();
        let unverified = candidates(&addrs, Source::Unverified);
        let open = |dialed: usize| {
            let hosts = core::iter::repeat_n(host.into(), dialed);
            HostLimit::new(hosts).open_addrs(&unverified)
        };
        assert_eq!(open(0), addrs);
        assert_eq!(open(5), [at(host, 1..4), at(other, 1..2)].concat());
        assert_eq!(open(PER_HOST), at(other, 1..2));
    }

    #[test]
    fn a_peer_waits_unless_one_of_its_candidates_is_open() {
        let (host, loopback) = (at([192, 0, 2, 1], 1..2), at([127, 0, 0, 1], 1..2));
        let hosts = [host[0].ip(), loopback[0].ip()];
        let busy = HostLimit::new(hosts.into_iter().cycle().take(2 * PER_HOST));
        let admits = |addrs: &[SocketAddr], source| busy.admits_any(candidates(addrs, source));
        assert!(!admits(&host, Source::Unverified));
        assert!(admits(&host, Source::Verified) && admits(&host, Source::Given));
        assert!(admits(&loopback, Source::Unverified));
        assert!(admits(&at([192, 0, 2, 2], 1..2), Source::Unverified));
    }

    #[test]
    fn all_of_an_ipv6_64_is_one_host() {
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("a literal"), 1);
        let [one, same, other] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(at);
        let busy = HostLimit::new(core::iter::repeat_n(one.ip(), PER_HOST));
        assert!(!busy.admits_any(candidates(&[same], Source::Unverified)));
        assert!(busy.admits_any(candidates(&[other], Source::Unverified)));
    }
}
