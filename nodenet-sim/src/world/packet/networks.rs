//! Networks of a packet world: address realms, NAT boxes between them, interfaces of hosts.
//!
//! Responsible for: which realm and which addresses an interface has, and which addresses a host
//! has seen from outside. Never: what a box or a link does with a datagram; see
//! [`nodenet_proto::testkit`].

use std::net::IpAddr;

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::nat_box::{nat64_address, nat64_embedded};
use nodenet_proto::testkit::{BoxKind, LinkProfile, NatBox, Net, Realm};

use super::addresses::{AddressKind, Addresses};

/// A network that hosts can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(u32);

impl NetworkId {
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// What is between a network and the one outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Gateway {
    /// Nothing: hosts are in the realm outside.
    Open,
    /// A box without an external address: it filters and translates nothing.
    Firewall(BoxKind),
    /// A box with an external IPv4 address. What is not for that family is filtered only.
    Nat(BoxKind),
}

/// Settings of a new network.
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// Its name. Addresses follow from it.
    pub name: String,
    /// The network outside; the internet if there is none.
    pub behind: Option<NetworkId>,
    /// What is in between.
    pub gateway: Gateway,
    /// How this network reaches the realm outside.
    pub access: LinkProfile,
    /// How its hosts reach one another behind the gateway. Without effect if there is none.
    pub inside: LinkProfile,
    /// Whether hosts get IPv4 addresses.
    pub ipv4: bool,
    /// Whether hosts get IPv6 addresses.
    pub ipv6: bool,
    /// Whether hosts without an IPv4 address send to IPv4 addresses through the NAT64 of the
    /// network, as telephones do (464XLAT, RFC 6877).
    pub clat: bool,
}

#[derive(Debug)]
struct Network {
    spec: NetworkSpec,
    /// Where its hosts are.
    realm: Realm,
    /// Where its gateway leads to.
    outside: Realm,
    /// The addresses of its gateway there.
    external: Vec<IpAddr>,
    reboots: u64,
}

/// An interface of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The network that it is in.
    pub network: NetworkId,
    /// The address realm of that network.
    pub realm: Realm,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    clat: bool,
}

impl Interface {
    /// Its addresses.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.into_iter().chain(self.ipv6)
    }

    /// Its source address for datagrams to `remote`.
    pub fn ip_towards(&self, remote: IpAddr) -> Option<IpAddr> {
        self.translated(remote)
            .map_or_else(|| if remote.is_ipv4() { self.ipv4 } else { self.ipv6 }, |_| self.ipv6)
    }

    /// The address that an IPv4 destination has behind a NAT64, if this host has to use that.
    pub(super) fn translated(&self, remote: IpAddr) -> Option<IpAddr> {
        match remote {
            IpAddr::V4(ip) if self.clat && self.ipv4.is_none() => Some(nat64_address(ip).into()),
            _ => None,
        }
    }

    /// The IPv4 address of a source that a NAT64 translated, if this host knows of it.
    pub(super) fn restored(&self, remote: IpAddr) -> Option<IpAddr> {
        nat64_embedded(remote).filter(|_| self.clat).map(IpAddr::V4)
    }
}

/// All networks of a world.
#[derive(Debug, Default)]
pub(super) struct Networks {
    all: Vec<Network>,
    addresses: Addresses,
}

impl Networks {
    pub(super) fn add(&mut self, spec: NetworkSpec, net: &mut Net, seed: &Seed) -> NetworkId {
        let outside = spec.behind.map_or(Realm::PUBLIC, |id| self.get(id).realm);
        let kind = match &spec.gateway {
            Gateway::Open => None,
            Gateway::Firewall(kind) | Gateway::Nat(kind) => Some(kind.clone()),
        };
        let external = match spec.gateway {
            Gateway::Nat(_) => vec![self.external_address(&spec, outside, 0)],
            Gateway::Open | Gateway::Firewall(_) => Vec::new(),
        };
        let realm = kind.map_or(outside, |kind| {
            let seed = seed.child(&format!("gateway {}", spec.name), 0);
            net.add_gateway(outside, NatBox::new(kind, external.clone(), &seed))
        });
        external.iter().for_each(|ip| net.set_access(outside, *ip, Some(spec.access)));
        self.all.push(Network { spec, realm, outside, external, reboots: 0 });
        NetworkId(self.all.len() as u32 - 1)
    }

    /// Connects a host of this name to a network.
    pub(super) fn attach(&mut self, id: NetworkId, name: &str, net: &mut Net) -> Interface {
        let Network { spec, realm, .. } = &self.all[id.0 as usize];
        let (realm, ipv4, ipv6, clat) = (*realm, spec.ipv4, spec.ipv6, spec.clat);
        let (inner, access) = match spec.gateway {
            Gateway::Open => (spec.access, None),
            Gateway::Firewall(_) | Gateway::Nat(_) => (spec.inside, Some(spec.access)),
        };
        let name = format!("{name} in {}", spec.name);
        let kind = self.host_kind(id);
        let ipv4 = ipv4.then(|| self.addresses.of(realm, kind, &name));
        let ipv6 = ipv6.then(|| self.addresses.of(realm, AddressKind::V6, &name));
        let interface = Interface { network: id, realm, ipv4, ipv6, clat };
        for ip in interface.ips() {
            if realm != Realm::PUBLIC {
                net.place(realm, ip);
            }
            net.set_access(realm, ip, Some(inner));
            // An address that is not translated is seen outside as well.
            for (outside, seen) in self.seen(id, ip).into_iter().skip(1) {
                if seen == ip {
                    net.set_access(outside, ip, access);
                }
            }
        }
        interface
    }

    /// Disconnects a host.
    pub(super) fn detach(&mut self, interface: &Interface, net: &mut Net) {
        for ip in interface.ips() {
            for (realm, seen) in self.seen(interface.network, ip) {
                if seen == ip {
                    net.set_access(realm, ip, None);
                }
            }
            if interface.realm != Realm::PUBLIC {
                net.remove(interface.realm, ip);
            }
        }
    }

    /// Reboots the gateway of a network. Returns false if it has none that translates or filters.
    pub(super) fn reboot(&mut self, id: NetworkId, has_new_address: bool, net: &mut Net) -> bool {
        let network = &mut self.all[id.0 as usize];
        if network.spec.gateway == Gateway::Open {
            return false;
        }
        if has_new_address && !network.external.is_empty() {
            network.reboots += 1;
            let (spec, outside, reboots) = (network.spec.clone(), network.outside, network.reboots);
            let fresh = self.external_address(&spec, outside, reboots);
            let network = &mut self.all[id.0 as usize];
            for ip in std::mem::replace(&mut network.external, vec![fresh]) {
                net.set_access(outside, ip, None);
            }
            net.set_access(outside, fresh, Some(spec.access));
        }
        let network = self.get(id);
        net.restart_nat(network.realm, network.external.clone());
        true
    }

    /// Where and as which address an address of a host is seen: in its own realm first, then
    /// further out.
    pub(super) fn seen(&self, id: NetworkId, ip: IpAddr) -> Vec<(Realm, IpAddr)> {
        let network = self.get(id);
        let mut seen = vec![(network.realm, ip)];
        let (mut next, mut ip) = (Some(network), ip);
        while let Some(network) = next {
            if network.realm != network.outside {
                let external = network.external.iter().find(|own| own.is_ipv4() == ip.is_ipv4());
                ip = *external.unwrap_or(&ip);
                seen.push((network.outside, ip));
            }
            next = network.spec.behind.map(|id| self.get(id));
        }
        seen
    }

    /// The same for the IPv4 address that an IPv6 host has outside of a NAT64.
    pub(super) fn seen_as_ipv4(&self, id: NetworkId, ip: IpAddr) -> Vec<(Realm, IpAddr)> {
        let Network { spec, outside, external, .. } = self.get(id);
        let is_nat64 = matches!(spec.gateway, Gateway::Nat(BoxKind::Nat64(_)));
        match external.first().filter(|_| is_nat64 && ip.is_ipv6()) {
            None => Vec::new(),
            Some(external) => match spec.behind {
                Some(behind) => self.seen(behind, *external),
                None => vec![(*outside, *external)],
            },
        }
    }

    /// The external addresses of a network's gateway; none without translation.
    pub(super) fn external(&self, id: NetworkId) -> &[IpAddr] {
        &self.get(id).external
    }

    /// The realm outside of a network's gateway.
    pub(super) fn outside(&self, id: NetworkId) -> Realm {
        self.get(id).outside
    }

    /// The realm of a network's hosts.
    pub(super) fn realm(&self, id: NetworkId) -> Realm {
        self.get(id).realm
    }

    fn get(&self, id: NetworkId) -> &Network {
        &self.all[id.0 as usize]
    }

    /// Kind of the IPv4 addresses of hosts in a network: private behind the nearest NAT.
    fn host_kind(&self, id: NetworkId) -> AddressKind {
        match self.translates(Some(id)) {
            true => AddressKind::PrivateV4,
            false => AddressKind::PublicV4,
        }
    }

    /// Whether a NAT is between a network and the internet.
    fn translates(&self, id: Option<NetworkId>) -> bool {
        let own = id.map(|id| &self.get(id).spec);
        own.is_some_and(|spec| {
            matches!(spec.gateway, Gateway::Nat(_)) || self.translates(spec.behind)
        })
    }

    fn external_address(&mut self, spec: &NetworkSpec, outside: Realm, reboots: u64) -> IpAddr {
        let kind = match self.translates(spec.behind) {
            true => AddressKind::SharedV4,
            false => AddressKind::PublicV4,
        };
        self.addresses.of(outside, kind, &format!("gateway {} {reboots}", spec.name))
    }
}

/// Both addresses with which datagrams between two hosts cross a link, each given as it is seen in
/// one realm after the other; none if their realms do not meet.
pub(super) fn crossing(
    from: &[(Realm, IpAddr)],
    to: &[(Realm, IpAddr)],
) -> Option<(Realm, IpAddr, IpAddr)> {
    from.iter().find_map(|(realm, source)| {
        let is_same = |ip: &IpAddr| ip.is_ipv4() == source.is_ipv4();
        let (_, destination) = to.iter().find(|(there, ip)| there == realm && is_same(ip))?;
        Some((*realm, *source, *destination))
    })
}
