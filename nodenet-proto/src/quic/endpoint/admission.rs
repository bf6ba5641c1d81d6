//! Admission: caps on accepted conns and on handshakes that peers began.
//!
//! Decisions are made twice. When the first packet of a handshake arrives, [`Admission::decide`]
//! returns what to do with it, before any state is made. When the handshake is complete,
//! [`Admission::accept`] reserves a slot in all and one for the peer's address; both are held until
//! the conn is over. The address of a handshake counts only if Retry proved it, because a source
//! address can be forged.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use heapless::Vec as FixedVec;

use super::config::Config;
use crate::addr::{Subnet, Tier};
use crate::stats::DropReason;

/// What per-address caps are counted by: an IPv4 address, or an IPv6 prefix and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    V4(Ipv4Addr),
    V6(Tier, u128),
}

/// Everything that an address counts for.
type Origins = FixedVec<Origin, { Tier::ALL.len() }>;

impl Origin {
    fn all_of(addr: SocketAddr) -> Origins {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Origins::from_iter([Self::V4(ip)]),
            ip @ IpAddr::V6(_) => {
                let subnet = Subnet::of(ip);
                Tier::ALL.map(|tier| Self::V6(tier, tier.domain(subnet))).into_iter().collect()
            }
        }
    }

    /// The cap of this origin, if that of one address is `per_address`. One host has a /64
    /// (PROTOCOL.md#accepted-conns), and a household or a site has any number of them.
    fn cap(&self, per_address: usize) -> usize {
        let factor = match self {
            Self::V4(_) | Self::V6(Tier::Link, _) => 1,
            Self::V6(Tier::Household, _) => 2,
            Self::V6(Tier::Site, _) => 4,
        };
        per_address.saturating_mul(factor)
    }
}

/// What to do with the first packet of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on with it.
    Handshake,
    /// Make the peer prove its address first.
    Retry,
    /// Refuse it.
    Refuse(DropReason),
}

/// A handshake that counts, and for which address if that was proved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HalfOpen(Option<SocketAddr>);

/// An accepted conn that counts, for this address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(SocketAddr);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    conns: usize,
    handshakes: usize,
}

/// The counts. Bounded by the caps: an origin is remembered only while something of it counts.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Config,
    conns: usize,
    handshakes: usize,
    origins: BTreeMap<Origin, Counts>,
}

impl Admission {
    /// Nothing counts yet.
    pub(crate) fn new(limits: Config) -> Self {
        Self { limits, conns: 0, handshakes: 0, origins: BTreeMap::new() }
    }

    /// What to do with a handshake that begins.
    pub(crate) fn decide(&self, remote: SocketAddr, address_proven: bool) -> Verdict {
        if let Err(reason) = self.room(remote) {
            return Verdict::Refuse(reason);
        }
        if !address_proven {
            return match self.handshakes < self.limits.handshakes_unproven_max {
                true => Verdict::Handshake,
                false => Verdict::Retry,
            };
        }
        let per_address = self.limits.handshakes_per_address_max;
        let is_full = |of: &Origin| self.counts(of).handshakes >= of.cap(per_address);
        if self.handshakes >= self.limits.handshakes_max
            || Origin::all_of(remote).iter().any(is_full)
        {
            return Verdict::Refuse(DropReason::HandshakesFull);
        }
        Verdict::Handshake
    }

    /// Counts a handshake until [`Self::end_handshake`].
    pub(crate) fn begin_handshake(&mut self, remote: SocketAddr, address_proven: bool) -> HalfOpen {
        let counted = address_proven.then_some(remote);
        self.handshakes += 1;
        if let Some(remote) = counted {
            self.change(remote, |counts| counts.handshakes += 1);
        }
        HalfOpen(counted)
    }

    /// The handshake is complete or failed.
    pub(crate) fn end_handshake(&mut self, half_open: HalfOpen) {
        self.handshakes -= 1;
        if let Some(remote) = half_open.0 {
            self.change(remote, |counts| counts.handshakes -= 1);
        }
    }

    /// Reserves a slot for a conn whose handshake is complete, until [`Self::end`].
    pub(crate) fn accept(&mut self, remote: SocketAddr) -> Result<Slot, DropReason> {
        self.room(remote)?;
        self.conns += 1;
        self.change(remote, |counts| counts.conns += 1);
        Ok(Slot(remote))
    }

    /// The conn is over.
    pub(crate) fn end(&mut self, slot: Slot) {
        self.conns -= 1;
        self.change(slot.0, |counts| counts.conns -= 1);
    }

    /// Accepted conns that hold a slot.
    pub(crate) fn conns(&self) -> usize {
        self.conns
    }

    /// Handshakes under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// Asserts that the sums agree and the caps hold.
    pub(crate) fn check(&self) {
        let hosts = self
            .origins
            .iter()
            .filter(|(of, _)| matches!(of, Origin::V4(_) | Origin::V6(Tier::Link, _)));
        let conns: usize = hosts.map(|(_, counts)| counts.conns).sum();
        assert_eq!(conns, self.conns, "every accepted conn counts for one host");
        assert!(self.conns <= self.limits.accepted_conns_max);
        let unproven = self.limits.handshakes_unproven_max;
        assert!(self.handshakes <= self.limits.handshakes_max.max(unproven));
        for (of, counts) in &self.origins {
            assert!(*counts != Counts::default(), "an origin without counts is forgotten");
            assert!(counts.conns <= of.cap(self.limits.accepted_conns_per_address_max));
            assert!(counts.handshakes <= of.cap(self.limits.handshakes_per_address_max));
        }
    }

    fn room(&self, remote: SocketAddr) -> Result<(), DropReason> {
        if self.conns >= self.limits.accepted_conns_max {
            return Err(DropReason::ConnsFull);
        }
        let per_address = self.limits.accepted_conns_per_address_max;
        let is_full = |of: &Origin| self.counts(of).conns >= of.cap(per_address);
        if Origin::all_of(remote).iter().any(is_full) {
            return Err(DropReason::ConnsPerAddressFull);
        }
        Ok(())
    }

    fn counts(&self, of: &Origin) -> Counts {
        self.origins.get(of).copied().unwrap_or_default()
    }

    fn change(&mut self, remote: SocketAddr, change: impl Fn(&mut Counts)) {
        for origin in Origin::all_of(remote) {
            let counts = self.origins.entry(origin).or_default();
            change(counts);
            if *counts == Counts::default() {
                self.origins.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Config {
        Config {
            accepted_conns_max: 4,
            accepted_conns_per_address_max: 2,
            handshakes_max: 4,
            handshakes_unproven_max: 2,
            handshakes_per_address_max: 2,
            mtu_discovery: false,
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a literal of this test")
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_prefix_have_their_own_cap() {
        let mut admission = Admission::new(limits());
        let a = admission.accept(addr("192.0.2.1:1")).expect("room");
        admission.accept(addr("[::ffff:192.0.2.1]:2")).expect("room");
        assert_eq!(
            admission.accept(addr("192.0.2.1:3")).err(),
            Some(DropReason::ConnsPerAddressFull)
        );
        admission.accept(addr("[2001:db8::1]:1")).expect("room");
        admission.accept(addr("[2001:db8::ffff:1]:1")).expect("the same /64 has two");
        assert_eq!(
            admission.accept(addr("[2001:db8:0:1::1]:1")).err(),
            Some(DropReason::ConnsFull),
            "another /64 has room, but the whole has not"
        );
        admission.end(a);
        assert_eq!(
            admission.accept(addr("[2001:db8::2]:1")).err(),
            Some(DropReason::ConnsPerAddressFull)
        );
        admission.accept(addr("[2001:db8:0:1::1]:1")).expect("room again");
        admission.check();
    }

    #[test]
    fn a_household_has_the_shares_of_two_hosts_and_a_site_those_of_four() {
        let mut admission = Admission::new(Config { accepted_conns_max: 100, ..limits() });
        let full = Some(DropReason::ConnsPerAddressFull);
        for host in 0..2 {
            for port in 1..3 {
                admission.accept(addr(&format!("[2001:db8:0:{host}::1]:{port}"))).expect("room");
            }
        }
        assert_eq!(admission.accept(addr("[2001:db8:0:2::1]:1")).err(), full, "the same /56");
        admission.accept(addr("[2001:db8:0:100::1]:1")).expect("another household");
        for port in 1..3 {
            admission.accept(addr(&format!("[2001:db8:0:200::1]:{port}"))).expect("a third");
        }
        let last = admission.accept(addr("[2001:db8:0:300::1]:1")).expect("a fourth");
        assert_eq!(admission.accept(addr("[2001:db8:0:400::1]:1")).err(), full, "the same /48");
        admission.accept(addr("[2001:db8:1::1]:1")).expect("another site");
        admission.end(last);
        admission.accept(addr("[2001:db8:0:400::1]:1")).expect("room again");
        admission.check();
    }

    #[test]
    fn above_the_threshold_an_address_must_be_proved() {
        let mut admission = Admission::new(limits());
        for port in 0..2 {
            let from = addr(&format!("192.0.2.1:{}", port + 1));
            assert_eq!(admission.decide(from, false), Verdict::Handshake);
            admission.begin_handshake(from, false);
        }
        let honest = addr("198.51.100.1:1");
        assert_eq!(admission.decide(honest, false), Verdict::Retry);
        assert_eq!(admission.decide(honest, true), Verdict::Handshake);
        let first = admission.begin_handshake(honest, true);
        admission.begin_handshake(honest, true);
        let full = Verdict::Refuse(DropReason::HandshakesFull);
        assert_eq!(admission.decide(addr("198.51.100.2:1"), true), full);
        admission.end_handshake(first);
        assert_eq!(admission.decide(addr("198.51.100.2:1"), true), Verdict::Handshake);
        admission.check();
    }

    #[test]
    fn one_proven_address_does_not_fill_the_cap_of_handshakes() {
        let mut admission = Admission::new(limits());
        let greedy = addr("192.0.2.1:1");
        admission.begin_handshake(greedy, true);
        admission.begin_handshake(greedy, true);
        assert_eq!(admission.decide(greedy, true), Verdict::Refuse(DropReason::HandshakesFull));
        assert_eq!(admission.decide(addr("192.0.2.2:1"), true), Verdict::Handshake);
    }

    #[test]
    fn a_full_cap_refuses_before_any_state_is_made() {
        let mut admission = Admission::new(limits());
        admission.accept(addr("192.0.2.1:1")).expect("room");
        admission.accept(addr("192.0.2.1:2")).expect("room");
        assert_eq!(
            admission.decide(addr("192.0.2.1:3"), false),
            Verdict::Refuse(DropReason::ConnsPerAddressFull)
        );
    }
}
