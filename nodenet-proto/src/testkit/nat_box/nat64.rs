//! NAT64 (RFC 6146): IPv6 hosts reach IPv4 ones at addresses of the prefix 64:ff9b::/96.
//!
//! Responsible for: the two translators of such a box, and the addresses of the prefix (RFC 6052).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::config::NatConfig;
use super::translator::Translator;
use super::{Header, NatDrop};
use crate::env::Seed;

/// The well-known prefix (RFC 6052 §2.1), whose last 32 bits are an IPv4 address.
const PREFIX: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The address at which a NAT64 has an IPv4 host for the IPv6 hosts behind it.
pub fn nat64_address(ip: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = ip.octets();
    let [first, second, third, fourth, fifth, sixth] = PREFIX;
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(first, second, third, fourth, fifth, sixth, high, low)
}

/// The IPv4 address in an address of the prefix.
pub fn nat64_embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let (prefix, [a, b, c, d]) = (&ip.segments()[..6], low_octets(ip));
    (prefix == PREFIX).then(|| Ipv4Addr::new(a, b, c, d))
}

fn low_octets(ip: Ipv6Addr) -> [u8; 4] {
    (ip.to_bits() as u32).to_be_bytes()
}

#[derive(Debug)]
pub(super) struct Nat64 {
    pub(super) to_v4: Translator,
    /// IPv6 that is not translated.
    pub(super) v6: Translator,
}

impl Nat64 {
    pub(super) fn new(config: NatConfig, external: Vec<IpAddr>, seed: &Seed) -> Self {
        let v6 = Translator::new(config.clone(), Vec::new(), &seed.child("ipv6", 0));
        Self { to_v4: Translator::between_families(config, external, seed), v6 }
    }

    /// Whether a datagram from inside is for an external address of the box itself.
    pub(super) fn is_own(&self, to: IpAddr) -> bool {
        nat64_embedded(to).is_some_and(|ip| self.to_v4.external().contains(&ip.into()))
    }

    pub(super) fn outbound(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        let Header { from, to, .. } = header;
        let Some(ip) = nat64_embedded(to.ip()) else {
            let from = self.v6.translate(now, from, to)?;
            return Ok(Header { from, ..header });
        };
        // RFC 6052 §3.1: the prefix does not lead to addresses of one site.
        if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() {
            return Err(NatDrop::NotTranslatable);
        }
        let to = SocketAddr::new(ip.into(), to.port());
        let from = self.to_v4.translate(now, from, to)?;
        Ok(Header { from, to, ..header })
    }

    pub(super) fn inbound(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        let Header { from, to, .. } = header;
        match from.ip() {
            IpAddr::V4(ip) => {
                let to = self.to_v4.admit(now, to, from)?;
                let from = SocketAddr::new(nat64_address(ip).into(), from.port());
                Ok(Header { from, to, ..header })
            }
            IpAddr::V6(_) => Ok(Header { to: self.v6.admit(now, to, from)?, ..header }),
        }
    }

    /// A datagram from inside for an external address of the box (RFC 6146 §3.8).
    pub(super) fn hairpin(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        let Some(ip) = nat64_embedded(header.to.ip()) else { return Err(NatDrop::NoHairpinning) };
        let external = SocketAddr::new(ip.into(), header.to.port());
        let (source, to) = self.to_v4.hairpin(now, header.from, external)?;
        let from = match source.ip() {
            IpAddr::V4(ip) => SocketAddr::new(nat64_address(ip).into(), source.port()),
            IpAddr::V6(_) => source,
        };
        Ok(Header { from, to, ..header })
    }
}
