//! Interface addresses of this machine at which a socket can be reached.
//!
//! Responsible for: reading the interfaces and putting the addresses in order. Never: an
//! unspecified, multicast or IPv6 link-local address; reachability from outside, which only peers
//! observe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses at which a socket bound to `bound` can be reached, best first: a bound address
/// itself, or for a wildcard those of the interfaces. Loopback stands last, and is left out unless
/// `allow_local` or there is no other.
pub(crate) fn reachable_addrs(
    bound: SocketAddr,
    serves_ipv4: bool,
    allow_local: bool,
) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let ips: Vec<IpAddr> = match if_addrs::get_if_addrs() {
        Ok(interfaces) => {
            interfaces.iter().map(if_addrs::Interface::ip).filter(is_usable).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "can not read the interface addresses");
            Vec::new()
        }
    };
    let preferred = [default_source(Ipv4Addr::UNSPECIFIED), default_source(Ipv6Addr::UNSPECIFIED)];
    let mut ips =
        in_order(ips, &preferred.map(|ip| ip.filter(|ip| !ip.is_loopback())), allow_local);
    ips.retain(|ip| if ip.is_ipv4() { serves_ipv4 } else { bound.is_ipv6() });
    ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect()
}

/// Whether packets can leave from this address. A new IPv6 address belongs to the machine only once
/// no other host turned out to have it (RFC 4862 §5.4), and can not be bound before. The system
/// reports that as another change.
fn is_usable(ip: &IpAddr) -> bool {
    ip.is_ipv4() || UdpSocket::bind((*ip, 0)).is_ok()
}

/// Reach of an address; earlier is better. Some peers dial only the first address of a node, and
/// more of them support IPv4, so IPv4 goes before IPv6 of the same reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    GlobalV4,
    GlobalV6,
    PrivateV4,
    PrivateV6,
    Loopback,
}

fn reach(ip: &IpAddr) -> Option<Reach> {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Some(Reach::Loopback),
        IpAddr::V6(ip) if ip.is_loopback() => Some(Reach::Loopback),
        ip if ip.is_unspecified() || ip.is_multicast() => None,
        IpAddr::V4(ip) if ip.is_broadcast() || ip.is_link_local() => None,
        IpAddr::V4(ip) if ip.is_private() || is_shared(ip) => Some(Reach::PrivateV4),
        IpAddr::V4(_) => Some(Reach::GlobalV4),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) if ip.is_unique_local() => Some(Reach::PrivateV6),
        IpAddr::V6(_) => Some(Reach::GlobalV6),
    }
}

/// Carrier-grade NAT space (RFC 6598).
fn is_shared(ip: &Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
}

fn in_order(ips: Vec<IpAddr>, preferred: &[Option<IpAddr>], allow_local: bool) -> Vec<IpAddr> {
    let mut ranked: Vec<_> = ips
        .into_iter()
        .filter_map(|ip| Some((reach(&ip)?, !preferred.contains(&Some(ip)), ip)))
        .collect();
    ranked.sort();
    ranked.dedup();
    let only_loopback = ranked.iter().all(|(reach, ..)| *reach == Reach::Loopback);
    if !allow_local && !only_loopback {
        ranked.retain(|(reach, ..)| *reach != Reach::Loopback);
    }
    ranked.into_iter().map(|(.., ip)| ip).collect()
}

/// The source address towards the internet. It distinguishes the interface of the default route
/// from bridges and tunnels. Connecting a UDP socket sends nothing; the destinations are reserved
/// for documentation (RFC 5737, RFC 3849).
fn default_source(any: impl Into<IpAddr>) -> Option<IpAddr> {
    let any = any.into();
    let far: IpAddr = match any {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::{in_order, reachable_addrs};

    #[test]
    fn a_bound_address_is_the_only_one() {
        let bound = "127.0.7.1:99".parse().unwrap();
        assert_eq!(reachable_addrs(bound, true, false), [bound]);
    }

    #[test]
    fn a_wildcard_is_never_among_them() {
        for bound in ["0.0.0.0:99", "[::]:99"] {
            let addrs = reachable_addrs(bound.parse().unwrap(), true, true);
            assert!(!addrs.is_empty(), "every machine has loopback");
            assert!(addrs.iter().all(|addr| !addr.ip().is_unspecified() && addr.port() == 99));
        }
        let v4_only = reachable_addrs("0.0.0.0:99".parse().unwrap(), true, true);
        assert!(v4_only.iter().all(|addr| addr.is_ipv4()));
    }

    #[test]
    fn the_farthest_reach_comes_first_and_the_default_route_within_it() {
        let order = |allow_local| {
            let ips = [
                "127.0.0.1",
                "172.17.0.1",
                "fe80::1",
                "192.168.1.9",
                "fd00::2",
                "2a00::7",
                "169.254.3.3",
                "203.0.113.5",
                "100.64.0.9",
                "192.168.1.9",
                "::1",
            ];
            let ips = ips.map(|ip| ip.parse().unwrap()).to_vec();
            let preferred = [Some("192.168.1.9".parse().unwrap()), None];
            in_order(ips, &preferred, allow_local)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let far = ["203.0.113.5", "2a00::7", "192.168.1.9", "100.64.0.9", "172.17.0.1", "fd00::2"];
        assert_eq!(order(false), far);
        assert_eq!(order(true)[..far.len()], far);
        assert_eq!(order(true)[far.len()..], ["127.0.0.1", "::1"]);
    }

    #[test]
    fn loopback_is_better_than_nothing() {
        let ips = ["127.0.0.1", "fe80::1"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(in_order(ips, &[], false).len(), 1);
    }
}
