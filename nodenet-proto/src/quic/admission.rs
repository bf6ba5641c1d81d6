//! Who may connect: caps on accepted conns and on handshakes that others began.
//!
//! Decisions are made twice. When the first packet of a handshake arrives, [`Admission::decide`] says
//! what to do with it, before any state is made. When the handshake is complete,
//! [`Admission::accept`] reserves a slot in all and one for the peer's address; both are held until
//! the conn is over. The address of a handshake counts only if Retry proved it, because anyone can
//! write another's address on a packet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Config;
use crate::stats::DropReason;

/// What per-address caps are counted by: an IPv4 address, or an IPv6 /64, which is what one host
/// gets (spec 40 W5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressKey {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<SocketAddr> for AddressKey {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// What to do with the first packet of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on with it.
    Handshake,
    /// Make the peer prove its address first.
    Retry,
    /// Refuse it.
    Refuse(DropReason),
}

/// A handshake that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct HalfOpen(Option<AddressKey>);

/// An accepted conn that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(AddressKey);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct PerAddress {
    conns: usize,
    handshakes: usize,
}

/// The counts. Bounded by the caps: an address is remembered only while something of it counts.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Config,
    conns: usize,
    handshakes: usize,
    addresses: BTreeMap<AddressKey, PerAddress>,
}

impl Admission {
    /// Nothing counts yet.
    pub(super) fn new(limits: Config) -> Self {
        Self { limits, conns: 0, handshakes: 0, addresses: BTreeMap::new() }
    }

    /// What to do with a handshake that begins.
    pub(super) fn decide(&self, remote: SocketAddr, address_proven: bool) -> Verdict {
        if let Err(reason) = self.room(remote) {
            return Verdict::Refuse(reason);
        }
        if !address_proven {
            return match self.handshakes < self.limits.handshakes_unproven_max {
                true => Verdict::Handshake,
                false => Verdict::Retry,
            };
        }
        let here = self.of(remote).handshakes;
        if self.handshakes >= self.limits.handshakes_max
            || here >= self.limits.handshakes_per_address_max
        {
            return Verdict::Refuse(DropReason::HandshakesFull);
        }
        Verdict::Handshake
    }

    /// Counts a handshake until [`Self::end_handshake`].
    pub(super) fn begin_handshake(&mut self, remote: SocketAddr, address_proven: bool) -> HalfOpen {
        let key = address_proven.then(|| AddressKey::from(remote));
        self.handshakes += 1;
        if let Some(key) = key {
            self.addresses.entry(key).or_default().handshakes += 1;
        }
        HalfOpen(key)
    }

    /// The handshake is complete or came to nothing.
    pub(super) fn end_handshake(&mut self, half_open: HalfOpen) {
        self.handshakes -= 1;
        if let Some(key) = half_open.0 {
            self.release(key, |counts| counts.handshakes -= 1);
        }
    }

    /// Reserves a slot for a conn whose handshake is complete, until [`Self::end`].
    pub(super) fn accept(&mut self, remote: SocketAddr) -> Result<Slot, DropReason> {
        self.room(remote)?;
        let key = AddressKey::from(remote);
        self.conns += 1;
        self.addresses.entry(key).or_default().conns += 1;
        Ok(Slot(key))
    }

    /// The conn is over.
    pub(super) fn end(&mut self, slot: Slot) {
        self.conns -= 1;
        self.release(slot.0, |counts| counts.conns -= 1);
    }

    /// Accepted conns that hold a slot.
    pub(super) fn conns(&self) -> usize {
        self.conns
    }

    /// Handshakes under way.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// Asserts that the sums agree and the caps hold.
    pub(super) fn check(&self) {
        let conns: usize = self.addresses.values().map(|counts| counts.conns).sum();
        assert_eq!(conns, self.conns, "every accepted conn counts for one address");
        assert!(self.conns <= self.limits.accepted_conns_max);
        let unproven = self.limits.handshakes_unproven_max;
        assert!(self.handshakes <= self.limits.handshakes_max.max(unproven));
        for counts in self.addresses.values() {
            assert!(*counts != PerAddress::default(), "an address without counts is forgotten");
            assert!(counts.conns <= self.limits.accepted_conns_per_address_max);
            assert!(counts.handshakes <= self.limits.handshakes_per_address_max);
        }
    }

    fn room(&self, remote: SocketAddr) -> Result<(), DropReason> {
        if self.conns >= self.limits.accepted_conns_max {
            return Err(DropReason::ConnsFull);
        }
        if self.of(remote).conns >= self.limits.accepted_conns_per_address_max {
            return Err(DropReason::ConnsPerAddressFull);
        }
        Ok(())
    }

    fn of(&self, remote: SocketAddr) -> PerAddress {
        self.addresses.get(&AddressKey::from(remote)).copied().unwrap_or_default()
    }

    fn release(&mut self, key: AddressKey, change: impl FnOnce(&mut PerAddress)) {
        let counts = self.addresses.get_mut(&key).expect("what counts is remembered");
        change(counts);
        if *counts == PerAddress::default() {
            self.addresses.remove(&key);
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
    fn a_full_house_refuses_before_any_state_is_made() {
        let mut admission = Admission::new(limits());
        admission.accept(addr("192.0.2.1:1")).expect("room");
        admission.accept(addr("192.0.2.1:2")).expect("room");
        assert_eq!(
            admission.decide(addr("192.0.2.1:3"), false),
            Verdict::Refuse(DropReason::ConnsPerAddressFull)
        );
    }
}
