//! Self-description of a node: the addresses and capabilities that it announces
//! (PROTOCOL.md#named-addresses).
//!
//! The engine keeps one and lends it to every machine through [`crate::context::Context`]. `nat`
//! writes the reflexive addresses; every machine that names addresses reads them here.

use std::net::{IpAddr, SocketAddr};

use super::{Config, NAMED_ADDRS_MAX, OWN_ADDRS_MAX, Profile, RelayObstacle};
use crate::NodeId;
use crate::addr::{AddrPolicy, Scope, Subnet, canonical, scope};
use crate::wire::{Addr, AddrList, Capabilities};

/// An address of a relay volunteer for one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelayAddr {
    /// What a socket of this machine is bound to.
    pub(crate) bound: IpAddr,
    /// What the end is told.
    pub(crate) named: IpAddr,
}

/// Where neighbours see this node, although too few of them agree to confirm it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guess {
    /// The address; behind a NAT with another port for each destination, the port is one of them.
    pub(crate) addr: SocketAddr,
    /// Whether enough agree on its IP address.
    pub(crate) is_ip_sure: bool,
}

/// Address families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Families {
    /// IPv4.
    pub(crate) v4: bool,
    /// IPv6.
    pub(crate) v6: bool,
}

impl Families {
    /// Those that both have.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }

    /// Whether that of an address is one of them.
    pub(crate) fn has(self, addr: SocketAddr) -> bool {
        if canonical(addr).is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Whether this node relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relaying {
    /// It is not set to.
    Off,
    /// It is, and something is in the way that its addresses do not say.
    Blocked(RelayObstacle),
    /// It is.
    On,
}

/// What a node announces of itself.
#[derive(Debug, Clone)]
pub(crate) struct SelfDescription {
    allow_local: bool,
    capabilities: Capabilities,
    /// What the operator configured, best first.
    public_addrs: Vec<SocketAddr>,
    /// Addresses of the main socket, as the driver reports them, best first.
    local_addrs: Vec<SocketAddr>,
    /// Addresses at which peers see this node, confirmed, best first.
    reflexive_addrs: Vec<SocketAddr>,
    /// Where peers see this node in families without a global address that is named to all.
    guesses: Vec<Guess>,
    /// Whether this node has an edge to a global address. One that has none may be on a network
    /// without any, and private addresses are then all there is to name.
    has_global_edge: bool,
    relaying: Relaying,
    /// Neighbours that relay to this node, with their addresses.
    volunteers: Vec<(NodeId, SocketAddr)>,
    /// What any asker is told, best first.
    addrs: Vec<SocketAddr>,
}

impl SelfDescription {
    /// The description of a node whose driver has not reported an address yet.
    pub(crate) fn new(config: &Config) -> Self {
        let mut capabilities = Capabilities::default();
        if config.profile == Profile::Light {
            capabilities = capabilities.with(Capabilities::LIGHT);
        }
        let mut own = Self {
            allow_local: config.allow_local_addrs,
            capabilities,
            public_addrs: config.public_addrs.iter().map(|addr| canonical(*addr)).collect(),
            local_addrs: Vec::new(),
            reflexive_addrs: Vec::new(),
            guesses: Vec::new(),
            has_global_edge: false,
            relaying: match config.profile {
                _ if !config.relay.volunteer => Relaying::Off,
                Profile::Light => Relaying::Blocked(RelayObstacle::LightProfile),
                Profile::Router => Relaying::On,
            },
            volunteers: Vec::new(),
            addrs: Vec::new(),
        };
        if !config.public_addrs.is_empty() {
            own.set_reachable(true);
        }
        own.update();
        own
    }

    /// Takes the addresses at which the main socket can be reached on this machine, best first. The
    /// network may be another one now.
    pub(crate) fn set_local_addrs(&mut self, addrs: &[SocketAddr]) {
        self.local_addrs = addrs.iter().map(|addr| canonical(*addr)).collect();
        self.has_global_edge = false;
        self.update();
    }

    /// Takes the addresses at which peers see this node, confirmed, best first.
    pub(crate) fn set_reflexive_addrs(&mut self, addrs: &[SocketAddr]) {
        if self.reflexive_addrs != addrs {
            self.reflexive_addrs = addrs.to_vec();
            self.update();
        }
    }

    /// Takes the global addresses at which peers see this node that are not confirmed, at most one
    /// for each family.
    pub(crate) fn set_guesses(&mut self, guesses: Vec<Guess>) {
        self.guesses = guesses;
    }

    /// Global addresses that may be named to a peer that is to punch, and to no other: too few
    /// neighbours vouch for them. There is none in a family in which any asker is told one.
    pub(crate) fn guesses(&self) -> impl Iterator<Item = SocketAddr> {
        let told = Self::families(self.addrs.iter().copied());
        self.guesses.iter().map(|guess| guess.addr).filter(move |addr| !told.has(*addr))
    }

    /// The families in which peers are told a global address, so that they can send to it.
    pub(crate) fn named_families(&self) -> Families {
        let guesses = self.guesses.iter().map(|guess| guess.addr);
        Self::families(self.addrs.iter().copied().chain(guesses))
    }

    fn families(addrs: impl Iterator<Item = SocketAddr>) -> Families {
        let mut families = Families::default();
        for addr in addrs.filter(|addr| scope(addr.ip()) == Some(Scope::Global)) {
            families.v4 |= addr.is_ipv4();
            families.v6 |= addr.is_ipv6();
        }
        families
    }

    /// An edge to this address came up.
    pub(crate) fn observe_edge(&mut self, remote: SocketAddr) {
        if !self.has_global_edge && scope(remote.ip()) == Some(Scope::Global) {
            self.has_global_edge = true;
            self.update();
        }
    }

    /// Whether peers that this node had never dialed can reach it. An operator who configured an
    /// address has said so.
    pub(crate) fn set_reachable(&mut self, is_reachable: bool) {
        self.capabilities = if is_reachable || !self.public_addrs.is_empty() {
            self.capabilities.with(Capabilities::PUBLIC_ANCHOR)
        } else {
            self.capabilities.without(Capabilities::PUBLIC_ANCHOR)
        };
    }

    /// Whether peers that this node has never dialed can reach it.
    pub(crate) fn is_reachable(&self) -> bool {
        self.capabilities.has(Capabilities::PUBLIC_ANCHOR)
    }

    /// The capabilities of this node.
    pub(crate) fn capabilities(&self) -> Capabilities {
        match self.relaying {
            Relaying::On if self.relay_obstacle().is_none() => {
                self.capabilities.with(Capabilities::CAN_RELAY)
            }
            _ => self.capabilities,
        }
    }

    /// Whether this node is set to relay.
    pub(crate) fn is_volunteer(&self) -> bool {
        self.relaying != Relaying::Off
    }

    /// What this node may relay in this month is used up, or a new month began.
    pub(crate) fn set_relay_quota_used(&mut self, is_used: bool) {
        let used = Relaying::Blocked(RelayObstacle::QuotaUsed);
        match self.relaying {
            Relaying::On if is_used => self.relaying = used,
            now if now == used && !is_used => self.relaying = Relaying::On,
            _ => {}
        }
    }

    /// What keeps this node from relaying although it is set to
    /// (PROTOCOL.md#relay-volunteers).
    pub(crate) fn relay_obstacle(&self) -> Option<RelayObstacle> {
        let has_addr = |is_v4| self.far_relay_addr(is_v4).is_some();
        match self.relaying {
            Relaying::Blocked(obstacle) => Some(obstacle),
            _ if !self.is_reachable() => Some(RelayObstacle::NotReachable),
            _ if !has_addr(true) && !has_addr(false) => Some(RelayObstacle::NoAddress),
            _ => None,
        }
    }

    /// The address for an end of a relayed pair that has an edge from `remote`; nothing if this
    /// node has none that it can reach.
    pub(crate) fn relay_addr(&self, remote: IpAddr) -> Option<RelayAddr> {
        let remote = remote.to_canonical();
        if scope(remote) == Some(Scope::Global) {
            return self.far_relay_addr(remote.is_ipv4());
        }
        let fits = |ip: &IpAddr| ip.is_ipv4() == remote.is_ipv4() && scope(*ip) == scope(remote);
        let is_near = |ip: &IpAddr| Subnet::of(*ip) == Subnet::of(remote);
        let local = || self.local_addrs.iter().map(SocketAddr::ip).filter(fits);
        let here = local().find(is_near).or_else(|| local().next())?;
        Some(RelayAddr { bound: here, named: here })
    }

    /// The address for ends that are anywhere: one that the operator configured, or one of this
    /// machine that peers confirmed. Behind a NAT that translates ports no other socket is reached.
    fn far_relay_addr(&self, is_v4: bool) -> Option<RelayAddr> {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == is_v4;
        let here: Vec<IpAddr> =
            self.local_addrs.iter().map(SocketAddr::ip).filter(of_family).collect();
        let named = |addrs: &[SocketAddr]| addrs.iter().map(SocketAddr::ip).find(of_family);
        if let Some(named) = named(&self.public_addrs) {
            // A router in front that keeps ports leads to an address of this machine.
            let leads_to = |ip: &&IpAddr| is_loopback(**ip) == is_loopback(named);
            let bound = here.iter().find(|ip| **ip == named).or_else(|| here.iter().find(leads_to));
            return bound.map(|bound| RelayAddr { bound: *bound, named });
        }
        let seen = self.reflexive_addrs.iter().map(SocketAddr::ip);
        let named = seen
            .filter(of_family)
            .find(|ip| scope(*ip) == Some(Scope::Global) && here.contains(ip));
        named.filter(|_| self.is_reachable()).map(|named| RelayAddr { bound: named, named })
    }

    /// Takes the neighbours that relay to this node.
    pub(crate) fn set_volunteers(&mut self, volunteers: Vec<(NodeId, SocketAddr)>) {
        self.volunteers = volunteers;
    }

    /// The neighbours that relay to this node, as it names them to others.
    pub(crate) fn volunteers(&self) -> &[(NodeId, SocketAddr)] {
        &self.volunteers
    }

    /// The addresses that any asker is told, best first; at most [`OWN_ADDRS_MAX`].
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The addresses that an asker is told who named its own: those above, and those of this site
    /// if one of the asker's is on it; at most [`NAMED_ADDRS_MAX`]. The asker is on it if it is
    /// seen from outside at the IP address at which this node is seen.
    pub(crate) fn addrs_for(&self, asker: &[Addr]) -> AddrList {
        let mut external = self.external();
        let sure = self.guesses.iter().filter(|guess| guess.is_ip_sure);
        external.extend(sure.map(|guess| guess.addr.ip()));
        let is_external =
            |addr: &Addr| addr.ip_port().is_some_and(|(ip, _)| external.contains(&ip));
        let shares_site = asker.iter().any(is_external);
        let named = self.candidates().filter(|addr| shares_site || self.addrs.contains(addr));
        AddrList::first_of(named.take(NAMED_ADDRS_MAX).map(Addr::from_socket_addr))
    }

    /// The addresses of the main socket on this machine.
    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Policy for the addresses of others that this node dials and passes on.
    pub(crate) fn policy(&self) -> AddrPolicy<'_> {
        AddrPolicy { allow_local: self.allow_local, local_addrs: &self.local_addrs }
    }

    /// Whether an address is outside of this node's own site, as far as it has an edge there: what
    /// comes from an address on the site passes no NAT.
    pub(crate) fn is_outside(&self, remote: SocketAddr) -> bool {
        !self.has_global_edge || scope(remote.ip()) == Some(Scope::Global)
    }

    /// What may be named at all, best first: what the operator says, what peers see, then addresses
    /// of this machine, those that reach farthest first. Reference nodes dial the first only.
    fn candidates(&self) -> impl Iterator<Item = SocketAddr> {
        let is_global = |addr: &&SocketAddr| scope(addr.ip()) == Some(Scope::Global);
        let local = self.local_addrs.iter();
        let all = (self.public_addrs.iter())
            .chain(&self.reflexive_addrs)
            .chain(local.clone().filter(is_global))
            .chain(local.filter(move |addr| !is_global(addr)));
        let mut seen = Vec::new();
        for addr in all {
            if self.policy().may_advertise(*addr) && !seen.contains(addr) {
                seen.push(*addr);
            }
        }
        seen.into_iter()
    }

    /// The IP addresses at which this node is seen from outside of its site.
    fn external(&self) -> Vec<IpAddr> {
        let is_global = |addr: &SocketAddr| scope(addr.ip()) == Some(Scope::Global);
        self.candidates().filter(is_global).map(|addr| addr.ip()).collect()
    }

    fn update(&mut self) {
        let is_on_internet = self.has_global_edge || !self.external().is_empty();
        let is_configured = |addr: &SocketAddr| self.public_addrs.contains(addr);
        let is_told = |addr: &SocketAddr| {
            !is_on_internet || is_configured(addr) || scope(addr.ip()) != Some(Scope::Site)
        };
        self.addrs = self.candidates().filter(is_told).take(OWN_ADDRS_MAX).collect();
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    scope(ip) == Some(Scope::Loopback)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4242))
    }

    fn private(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 0, last], 4242))
    }

    fn asker(addr: SocketAddr) -> [Addr; 1] {
        [Addr::from_socket_addr(addr)]
    }

    #[test]
    fn configured_addresses_come_first_and_four_in_all_are_announced() {
        let config = Config { public_addrs: vec![addr(1), addr(2)], ..Config::default() };
        let mut own = SelfDescription::new(&config);
        assert_eq!(own.addrs(), [addr(1), addr(2)]);
        let mapped =
            SocketAddr::from((std::net::Ipv4Addr::new(192, 0, 2, 3).to_ipv6_mapped(), 4242));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 4242));
        own.set_local_addrs(&[addr(2), mapped, loopback, addr(4), addr(5)]);
        assert_eq!(own.addrs(), [addr(1), addr(2), addr(3), addr(4)]);
    }

    #[test]
    fn what_peers_see_comes_before_the_addresses_of_the_machine() {
        let mut own = SelfDescription::new(&Config::default());
        own.set_local_addrs(&[private(1), addr(7)]);
        own.set_reflexive_addrs(&[addr(9)]);
        assert_eq!(own.addrs(), [addr(9), addr(7)]);
    }

    #[test]
    fn a_private_address_is_named_only_to_an_asker_seen_at_the_same_ip() {
        let mut own = SelfDescription::new(&Config::default());
        own.set_local_addrs(&[private(1), SocketAddr::from(([0, 0, 0, 0], 4242))]);
        own.set_reflexive_addrs(&[addr(9)]);
        assert_eq!(own.addrs(), [addr(9)]);
        let told = |asker: &[Addr]| own.addrs_for(asker).into_vec();
        let addrs = |addrs: &[SocketAddr]| -> Vec<Addr> {
            addrs.iter().copied().map(Addr::from_socket_addr).collect()
        };
        assert_eq!(told(&[]), addrs(&[addr(9)]));
        assert_eq!(told(&asker(addr(8))), addrs(&[addr(9)]));
        assert_eq!(told(&asker(private(1))), addrs(&[addr(9)]), "that many networks have");
        let neighbour = asker(SocketAddr::new(addr(9).ip(), 1));
        assert_eq!(told(&neighbour), addrs(&[addr(9), private(1)]));
    }

    #[test]
    fn a_network_without_global_addresses_names_private_ones() {
        let mut own = SelfDescription::new(&Config::default());
        own.set_local_addrs(&[private(1)]);
        own.observe_edge(private(2));
        assert_eq!(own.addrs(), [private(1)]);
        own.observe_edge(addr(2));
        assert_eq!(own.addrs(), []);
    }

    #[test]
    fn at_most_eight_addresses_are_named() {
        let mut own = SelfDescription::new(&Config::default());
        own.set_local_addrs(&(1..=12).map(private).collect::<Vec<_>>());
        own.set_reflexive_addrs(&[addr(9)]);
        let named = own.addrs_for(&asker(addr(9))).into_vec();
        assert_eq!(named.len(), 8);
        assert_eq!(named[0], Addr::from_socket_addr(addr(9)));
    }

    #[test]
    fn a_node_is_an_anchor_if_it_is_configured_so_or_was_reached() {
        let mut own = SelfDescription::new(&Config::default());
        assert!(!own.is_reachable());
        own.set_reachable(true);
        assert!(own.capabilities().has(Capabilities::PUBLIC_ANCHOR));
        own.set_reachable(false);
        assert!(!own.is_reachable());
        let config = Config { public_addrs: vec![addr(1)], ..Config::default() };
        let mut own = SelfDescription::new(&config);
        own.set_reachable(false);
        assert!(own.is_reachable(), "the operator has said so");
        let light = Config { profile: Profile::Light, ..Config::default() };
        assert!(SelfDescription::new(&light).capabilities().has(Capabilities::LIGHT));
    }

    fn relaying(config: Config) -> SelfDescription {
        let relay = crate::api::RelayPolicy { volunteer: true, ..config.relay.clone() };
        SelfDescription::new(&Config { relay, ..config })
    }

    #[test]
    fn a_node_says_that_it_relays_only_while_it_can() {
        let mut own = relaying(Config::default());
        assert_eq!(own.relay_obstacle(), Some(RelayObstacle::NotReachable));
        own.set_reachable(true);
        assert_eq!(own.relay_obstacle(), Some(RelayObstacle::NoAddress));
        own.set_local_addrs(&[private(1), addr(7)]);
        own.set_reflexive_addrs(&[addr(9)]);
        assert_eq!(own.relay_obstacle(), Some(RelayObstacle::NoAddress), "a NAT is between");
        assert!(!own.capabilities().has(Capabilities::CAN_RELAY));
        own.set_reflexive_addrs(&[addr(7)]);
        assert!(own.capabilities().has(Capabilities::CAN_RELAY));
        own.set_relay_quota_used(true);
        assert_eq!(own.relay_obstacle(), Some(RelayObstacle::QuotaUsed));
        assert!(!own.capabilities().has(Capabilities::CAN_RELAY));
        own.set_relay_quota_used(false);
        assert!(own.capabilities().has(Capabilities::CAN_RELAY));
        own.set_reachable(false);
        assert!(!own.capabilities().has(Capabilities::CAN_RELAY));

        let light = relaying(Config { profile: Profile::Light, ..Config::default() });
        assert_eq!(light.relay_obstacle(), Some(RelayObstacle::LightProfile));
        assert!(!SelfDescription::new(&Config::default()).is_volunteer());
    }

    #[test]
    fn the_address_for_a_relayed_end_is_one_that_it_can_reach() {
        let at = |addr: SocketAddr| RelayAddr { bound: addr.ip(), named: addr.ip() };
        let mut own = relaying(Config::default());
        own.set_reachable(true);
        own.set_local_addrs(&[private(1), addr(7)]);
        own.set_reflexive_addrs(&[addr(7)]);
        assert_eq!(own.relay_addr(addr(200).ip()), Some(at(addr(7))));
        assert_eq!(own.relay_addr(private(200).ip()), Some(at(private(1))), "of the same site");
        let other_family: IpAddr = "2001:db8::1".parse().expect("a literal");
        assert_eq!(own.relay_addr(other_family), None);

        let public = SocketAddr::from(([198, 51, 100, 1], 9));
        let mut own = relaying(Config { public_addrs: vec![public], ..Config::default() });
        assert_eq!(own.relay_addr(addr(200).ip()), None, "nothing to bind to");
        own.set_local_addrs(&[private(1)]);
        let translated = RelayAddr { bound: private(1).ip(), named: public.ip() };
        assert_eq!(own.relay_addr(addr(200).ip()), Some(translated));
        own.set_local_addrs(&[private(1), public]);
        assert_eq!(own.relay_addr(addr(200).ip()), Some(at(public)));
    }
}
