//! IP endpoints of addresses: text form, scope and subnet.
//!
//! Responsible for: spelling (PROTOCOL.md#address-text), the scope of an address, and the subnet
//! that one operator is likely to hold. Never: resolves a name, which only a driver may do.

mod policy;
#[cfg(test)]
mod tests;
mod tier;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) use self::policy::AddrPolicy;
pub(crate) use self::tier::Tier;

/// Addresses kept for one peer, and candidates of one attempt, at most
/// (PROTOCOL.md#addresses-of-a-contact, PROTOCOL.md#dial-attempts).
pub const PEER_ADDRS_MAX: usize = 8;

/// Scope of an address. A larger value reaches further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The machine.
    Loopback,
    /// The link.
    LinkLocal,
    /// The site: RFC 1918, carrier-grade NAT (RFC 6598), unique local (RFC 4193).
    Site,
    /// The internet.
    Global,
}

/// The scope of `ip`; `None` if it is not the address of a single host (unspecified, multicast,
/// broadcast, 0.0.0.0/8 of RFC 1122). An IPv4-mapped address is treated as IPv4.
pub fn scope(ip: IpAddr) -> Option<Scope> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => scope_v4(ip),
        IpAddr::V6(ip) => scope_v6(ip),
    }
}

/// Whether `ip` may be the reflexive address of a node (PROTOCOL.md#address-scopes): a routable
/// unicast address. It may be private, because the peer may be on the same site.
pub fn is_plausible_reflexive(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_broadcast || is_link_local)
}

/// A group of addresses that one operator is likely to hold: an IPv4 /24 or an IPv6 /64
/// (PROTOCOL.md#subnets).
///
/// `[::1]` gives the all-zero group, which is no special case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet([u8; 16]);

impl Subnet {
    /// The group of `ip`. An IPv4-mapped address is in the group of its IPv4 address.
    pub fn of(ip: IpAddr) -> Self {
        let mut key = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let host_bytes = if ip.to_canonical().is_ipv4() { 1 } else { 8 };
        key[16 - host_bytes..].fill(0);
        Self(key)
    }

    /// The group that an address counts for in the overlay's diversity rules (PROTOCOL.md#subnets).
    /// Loopback counts for none: it is dialed only if the operator allows it, and then a whole
    /// network may share it.
    pub(crate) fn counted(ip: IpAddr) -> Option<Self> {
        (!ip.to_canonical().is_loopback()).then(|| Self::of(ip))
    }

    /// The group as an IPv6 prefix; an IPv4 group in IPv4-mapped form.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// `addr` with an IPv4-mapped address written as IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(_) => addr,
    }
}

/// Whether `ip` is one that a carrier uses between its NAT and those of its customers (RFC 6598).
pub(crate) fn is_shared(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64,
        IpAddr::V6(_) => false,
    }
}

fn scope_v4(ip: Ipv4Addr) -> Option<Scope> {
    let [first, ..] = ip.octets();
    if first == 0 || ip.is_multicast() || ip.is_broadcast() {
        None
    } else if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_link_local() {
        Some(Scope::LinkLocal)
    } else if ip.is_private() || is_shared(ip.into()) {
        Some(Scope::Site)
    } else {
        Some(Scope::Global)
    }
}

fn scope_v6(ip: Ipv6Addr) -> Option<Scope> {
    if ip.is_unspecified() || ip.is_multicast() {
        None
    } else if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_unicast_link_local() {
        Some(Scope::LinkLocal)
    } else if ip.is_unique_local() {
        Some(Scope::Site)
    } else {
        Some(Scope::Global)
    }
}

/// Splits `a.b.c.d:port` or `[ipv6%zone]:port` (PROTOCOL.md#address-text). `None` for names.
pub(super) fn split_endpoint(endpoint: &[u8]) -> Option<(IpAddr, Option<&str>, u16)> {
    let text = core::str::from_utf8(endpoint).ok()?;
    let (host, port) = text.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    let Some(host) = host.strip_prefix('[') else {
        return Some((IpAddr::V4(host.parse().ok()?), None, port));
    };
    let host = host.strip_suffix(']')?;
    let (ip, zone) = match host.split_once('%') {
        Some((_, "")) => return None,
        Some((ip, zone)) => (ip, Some(zone)),
        None => (host, None),
    };
    let ip: Ipv6Addr = ip.parse().ok()?;
    Some((ip.to_canonical(), zone, port))
}
