//! Contact: a known peer's key and its addresses, each with its provenance.
//!
//! Responsible for: the compact record, the order and the caps of its addresses. Never: decides
//! which bucket it belongs to, or whether it is connected.
//!
//! A node keeps several hundred contacts, and a simulator a hundred thousand nodes, so the record
//! is small. Times are ticks of a tenth of a second; one address lies inline, more share one box.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::addr::Subnet;
use crate::wire::Capabilities;

pub(crate) use crate::addr::PEER_ADDRS_MAX as ADDRS_MAX;

/// Source of the statement that an address is a peer's; a later variant outranks an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provenance {
    /// Another node mentioned it.
    Gossiped,
    /// The peer itself signed it.
    Signed,
    /// The peer proved its identifier at this address.
    Verified,
}

/// Tenths of a second since the table was made, from 1 on; [`Tick::NEVER`] is before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    /// It has not happened.
    pub(crate) const NEVER: Self = Self(0);

    /// The tick of `now`. Saturates after thirteen years.
    pub(crate) fn at(epoch: Instant, now: Instant) -> Self {
        let tenths = now.saturating_duration_since(epoch).as_millis() / 100;
        Self(u32::try_from(tenths).unwrap_or(u32::MAX - 1).saturating_add(1))
    }

    /// This tick plus `span`.
    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u32::try_from(span.as_millis() / 100).unwrap_or(u32::MAX)))
    }

    /// How much later than `earlier` this is. A very long time if `earlier` is [`Tick::NEVER`].
    pub(crate) fn since(self, earlier: Self) -> Duration {
        if earlier == Self::NEVER {
            return Duration::from_secs(u64::from(u32::MAX));
        }
        Duration::from_millis(u64::from(self.0.saturating_sub(earlier.0)) * 100)
    }
}

/// An address and its provenance in 19 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    ip: [u8; 16],
    port: [u8; 2],
    provenance: Provenance,
}

impl Packed {
    fn new(addr: SocketAddr, provenance: Provenance) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port: addr.port().to_be_bytes(), provenance }
    }

    fn addr(&self) -> SocketAddr {
        let ip = IpAddr::V6(Ipv6Addr::from(self.ip)).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes(self.port))
    }

    fn is_at(&self, other: &Self) -> bool {
        (self.ip, self.port) == (other.ip, other.port)
    }
}

/// The addresses of one contact: best provenance first, then newest first.
#[derive(Debug, Clone, Default)]
enum Addrs {
    #[default]
    None,
    One(Packed),
    Many(Box<heapless::Vec<Packed, ADDRS_MAX>>),
}

impl Addrs {
    fn as_slice(&self) -> &[Packed] {
        match self {
            Self::None => &[],
            Self::One(addr) => std::slice::from_ref(addr),
            Self::Many(addrs) => addrs,
        }
    }

    /// Adds an address, or raises its provenance. With [`ADDRS_MAX`] present the last goes: the
    /// oldest of the least trusted. Returns false if the new one itself would have been that one.
    fn insert(&mut self, new: Packed) -> bool {
        let mut all: heapless::Vec<Packed, { ADDRS_MAX + 1 }> =
            self.as_slice().iter().copied().collect();
        let mut new = new;
        if let Some(at) = all.iter().position(|old| old.is_at(&new)) {
            let old = all.remove(at);
            if old.provenance > new.provenance {
                new.provenance = old.provenance;
            }
        }
        let at = all.iter().position(|old| old.provenance <= new.provenance).unwrap_or(all.len());
        all.insert(at, new).expect("one place more than is ever kept");
        all.truncate(ADDRS_MAX);
        self.store(&all);
        at < ADDRS_MAX
    }

    fn retain(&mut self, keep: impl Fn(&Packed) -> bool) {
        if self.as_slice().iter().all(&keep) {
            return;
        }
        let kept: heapless::Vec<Packed, ADDRS_MAX> =
            self.as_slice().iter().copied().filter(|addr| keep(addr)).collect();
        self.store(&kept);
    }

    fn store(&mut self, addrs: &[Packed]) {
        *self = match addrs {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(Box::new(many.iter().copied().collect())),
        };
    }
}

/// One known peer. Its key is always known: a contact without one proves nothing
/// (PROTOCOL.md#keyless-contacts).
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub(crate) id: NodeId,
    pub(crate) key: [u8; 32],
    addrs: Addrs,
    /// Capability bits.
    pub(crate) caps: u32,
    /// When the peer itself last sent or signed something; mentions by others do not count
    /// (PROTOCOL.md#last-seen).
    pub(crate) last_seen: Tick,
    /// When any node last mentioned it.
    pub(crate) mentioned: Tick,
    /// When it may be dialed again.
    pub(crate) retry_at: Tick,
    /// Round-trip time in milliseconds when last connected; 0 is not known.
    pub(crate) rtt_ms: u16,
    /// Dials that failed in a row.
    pub(crate) failures: u8,
    /// Whether the peer itself reported `caps`.
    pub(crate) caps_self_reported: bool,
}

impl Contact {
    /// A contact of which only the identity is known.
    pub(crate) fn new(id: NodeId, key: [u8; 32]) -> Self {
        Self {
            id,
            key,
            addrs: Addrs::None,
            caps: 0,
            last_seen: Tick::NEVER,
            mentioned: Tick::NEVER,
            retry_at: Tick::NEVER,
            rtt_ms: 0,
            failures: 0,
            caps_self_reported: false,
        }
    }

    /// Its addresses, best first: verified, then signed, then gossiped, the newest of each first.
    pub(crate) fn addrs(&self) -> impl ExactSizeIterator<Item = SocketAddr> + '_ {
        self.addrs.as_slice().iter().map(Packed::addr)
    }

    /// The verified and the signed ones, best first.
    pub(crate) fn own_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let own = |addr: &&Packed| addr.provenance > Provenance::Gossiped;
        self.addrs.as_slice().iter().filter(own).map(Packed::addr)
    }

    /// Whether this address is verified.
    pub(crate) fn is_proven_at(&self, addr: SocketAddr) -> bool {
        self.addrs.as_slice().contains(&Packed::new(addr, Provenance::Verified))
    }

    /// Whether there is any address to dial.
    pub(crate) fn is_dialable(&self) -> bool {
        !self.addrs.as_slice().is_empty()
    }

    /// The provenance of its best address.
    pub(crate) fn provenance(&self) -> Option<Provenance> {
        self.addrs.as_slice().first().map(|addr| addr.provenance)
    }

    /// The subnet of the address that would be dialed first.
    pub(crate) fn dial_subnet(&self) -> Option<Subnet> {
        self.addrs().next().and_then(|addr| Subnet::counted(addr.ip()))
    }

    /// The subnet it counts for: that of its newest verified address. Other addresses never count
    /// (PROTOCOL.md#subnet-shares).
    pub(crate) fn counted_subnet(&self) -> Option<Subnet> {
        self.addrs
            .as_slice()
            .first()
            .filter(|addr| addr.provenance == Provenance::Verified)
            .and_then(|addr| Subnet::counted(addr.addr().ip()))
    }

    /// Adds an address or raises its provenance. Returns false if there was no room for it.
    pub(crate) fn add_addr(&mut self, addr: SocketAddr, provenance: Provenance) -> bool {
        self.addrs.insert(Packed::new(addr, provenance))
    }

    /// Takes the peer's own list: a signed address that is not in it is removed. Verified addresses
    /// stay, and gossiped ones fill the places that are left.
    pub(crate) fn set_signed_addrs(&mut self, addrs: &[SocketAddr]) {
        if addrs.is_empty() {
            return;
        }
        self.addrs.retain(|addr| addr.provenance != Provenance::Signed);
        for addr in addrs.iter().take(ADDRS_MAX).rev() {
            self.add_addr(*addr, Provenance::Signed);
        }
    }

    /// Removes an address at which another node answered.
    pub(crate) fn remove_addr(&mut self, addr: SocketAddr) {
        let gone = Packed::new(addr, Provenance::Gossiped);
        self.addrs.retain(|kept| !kept.is_at(&gone));
    }

    /// Asserts that its addresses are within the cap and in order.
    ///
    /// # Panics
    /// If they are not, which is a bug of this module.
    pub(crate) fn check(&self) {
        let addrs = self.addrs.as_slice();
        assert!(addrs.len() <= ADDRS_MAX);
        assert!(addrs.is_sorted_by_key(|addr| core::cmp::Reverse(addr.provenance)));
    }

    /// Whether the peer itself says that any node reaches it.
    pub(crate) fn is_open(&self) -> bool {
        self.caps_self_reported && Capabilities(self.caps).has(Capabilities::PUBLIC_ANCHOR)
    }

    /// Whether the peer itself ever sent or signed something.
    pub(crate) fn is_verified(&self) -> bool {
        self.last_seen != Tick::NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    fn contact() -> Contact {
        Contact::new(NodeId::from_bytes([1; 32]), [2; 32])
    }

    #[test]
    fn the_record_stays_small() {
        assert!(size_of::<Contact>() <= 112, "{}", size_of::<Contact>());
    }

    #[test]
    fn addresses_are_ordered_by_provenance_then_by_age() {
        let mut c = contact();
        c.add_addr(addr(1), Provenance::Gossiped);
        c.add_addr(addr(2), Provenance::Gossiped);
        c.add_addr(addr(3), Provenance::Verified);
        c.add_addr(addr(4), Provenance::Signed);
        c.add_addr(addr(1), Provenance::Signed);
        assert_eq!(c.addrs().collect::<Vec<_>>(), [addr(3), addr(1), addr(4), addr(2)]);
        assert_eq!(c.provenance(), Some(Provenance::Verified));
    }

    #[test]
    fn gossip_never_lowers_a_provenance() {
        let mut c = contact();
        c.add_addr(addr(1), Provenance::Verified);
        c.add_addr(addr(1), Provenance::Gossiped);
        assert_eq!(c.provenance(), Some(Provenance::Verified));
    }

    #[test]
    fn a_ninth_address_displaces_the_oldest_gossiped_one_and_no_own_address() {
        let mut c = contact();
        for last in 1..=7 {
            c.add_addr(addr(last), Provenance::Signed);
        }
        assert!(c.add_addr(addr(20), Provenance::Gossiped));
        assert!(c.add_addr(addr(21), Provenance::Gossiped));
        assert_eq!(c.addrs().last(), Some(addr(21)));
        assert!(c.add_addr(addr(8), Provenance::Signed));
        assert_eq!(c.addrs().len(), ADDRS_MAX);
        assert!(!c.add_addr(addr(22), Provenance::Gossiped));
        assert!(c.addrs().all(|kept| kept != addr(22)));
    }

    #[test]
    fn a_new_list_of_the_peer_replaces_its_signed_addresses() {
        let mut c = contact();
        c.add_addr(addr(9), Provenance::Verified);
        c.set_signed_addrs(&[addr(1), addr(2)]);
        c.set_signed_addrs(&[addr(3)]);
        assert_eq!(c.addrs().collect::<Vec<_>>(), [addr(9), addr(3)]);
        c.set_signed_addrs(&[]);
        assert_eq!(c.addrs().len(), 2);
    }

    #[test]
    fn only_verified_addresses_count_for_a_subnet() {
        let mut c = contact();
        c.add_addr(addr(1), Provenance::Signed);
        assert_eq!(c.counted_subnet(), None);
        assert!(c.dial_subnet().is_some());
        c.add_addr(addr(1), Provenance::Verified);
        assert_eq!(c.counted_subnet(), c.dial_subnet());
    }
}
