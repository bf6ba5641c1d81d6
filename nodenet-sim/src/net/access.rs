//! Ways of a host to the internet: the NAT boxes and firewalls before it, and its families.
//!
//! Responsible for: the kinds that the NAT matrix has, how two hosts of them are put on a network
//! of the test kit, and what they are for the oracle. Never: what a host sends.

use std::net::IpAddr;

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatBox, NatConfig, PortAllocation,
};
use nodenet_proto::testkit::{Net, Realm};

use super::oracle::{Reach, Relation};

use Behavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

/// The families in which a host has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both.
    Both,
}

impl Families {
    /// Whether IPv4 is one of them.
    pub fn has_v4(self) -> bool {
        self != Self::V6
    }

    /// Whether IPv6 is one of them.
    pub fn has_v6(self) -> bool {
        self != Self::V4
    }
}

/// What two hosts of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// Nothing.
    Nothing,
    /// Their local network, and all boxes.
    Lan,
    /// The outermost box.
    Carrier,
}

/// A box on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its kind.
    pub kind: BoxKind,
    /// Whether it has an IPv4 address outside. Without one it only filters.
    pub is_translator: bool,
}

/// A way of a host to the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its name in tables.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The boxes before the host, from the nearest to the outermost.
    pub boxes: Vec<Step>,
    /// The addresses of the host.
    pub families: Families,
    /// What two hosts of this kind have in common.
    pub shared: Shared,
}

/// Where a host is on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its realm.
    pub realm: Realm,
    /// Its addresses there.
    pub ips: Vec<IpAddr>,
    /// The realms behind each of its boxes, in the order of [`Access::boxes`].
    pub inside: Vec<Realm>,
}

impl Access {
    /// What the oracle has to know of it.
    pub fn reach(&self) -> Reach {
        let has = |is_there: bool, kind| if is_there { kind } else { None };
        let public = Reach::PUBLIC;
        let host = Reach {
            v4: has(self.families.has_v4(), public.v4),
            v6: has(self.families.has_v6(), public.v6),
        };
        self.boxes.iter().fold(host, |reach, outer| reach.behind(&outer.kind))
    }

    /// How two hosts are related, the first with this kind.
    pub fn relation(&self, other: &Self) -> Relation {
        match self.shared {
            _ if self.name != other.name => Relation::Apart,
            Shared::Nothing => Relation::Apart,
            Shared::Lan => Relation::OneLan,
            Shared::Carrier => Relation::OneCarrier(self.carrier_hairpinning()),
        }
    }

    fn carrier_hairpinning(&self) -> Hairpinning {
        match self.boxes.last().map(|outermost| &outermost.kind) {
            Some(BoxKind::Translator(config) | BoxKind::Nat64(config)) => config.hairpinning,
            Some(BoxKind::Linux(_) | BoxKind::NoUdp) | None => Hairpinning::Unsupported,
        }
    }

    /// Puts two hosts on a network, each behind its boxes.
    pub fn place_pair(net: &mut Net, pair: [&Self; 2], seed: &Seed) -> [Placed; 2] {
        let [a, b] = pair;
        let first = a.place(net, 1, seed, None);
        let second = match a.relation(b) {
            Relation::Apart => b.place(net, 2, seed, None),
            Relation::OneLan => {
                let ips = b.own_ips(2, true);
                ips.iter().for_each(|ip| net.place(first.realm, *ip));
                Placed { ips, ..first.clone() }
            }
            Relation::OneCarrier(_) => b.place(net, 2, seed, first.inside.last().copied()),
        };
        [first, second]
    }

    /// Puts one host behind its boxes, of which the outermost may be there already.
    fn place(&self, net: &mut Net, number: u8, seed: &Seed, carrier: Option<Realm>) -> Placed {
        let mut realm = Realm::PUBLIC;
        let mut inside = Vec::new();
        for (depth, step) in self.boxes.iter().enumerate().rev() {
            let is_outermost = depth + 1 == self.boxes.len();
            realm = match carrier.filter(|_| is_outermost) {
                Some(there) => there,
                None => {
                    // Public for the outermost, of a carrier (RFC 6598) for another.
                    let network = if is_outermost { [198, 18, 0] } else { [100, 64, 0] };
                    let [a, b, c] = network;
                    let external = step.is_translator.then(|| [a, b, c, number].into());
                    let seed = seed.child("box", (u64::from(number) << 8) | depth as u64);
                    let external = external.into_iter().collect();
                    let nat = NatBox::new(step.kind.clone(), external, &seed);
                    net.add_gateway(realm, nat)
                }
            };
            inside.insert(0, realm);
        }
        let is_translated = self.boxes.iter().any(|step| step.is_translator);
        let ips = self.own_ips(number, is_translated);
        if realm != Realm::PUBLIC {
            ips.iter().for_each(|ip| net.place(realm, *ip));
        }
        Placed { realm, ips, inside }
    }

    fn own_ips(&self, number: u8, is_translated: bool) -> Vec<IpAddr> {
        let v4 = if is_translated { [192, 168, 1, number] } else { [203, 0, 113, number] };
        let v6 = [0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 2];
        let v4 = self.families.has_v4().then_some(v4.into());
        v4.into_iter().chain(self.families.has_v6().then_some(v6.into())).collect()
    }
}

/// A stateful firewall that translates nothing.
fn firewall() -> Step {
    Step { kind: rfc().into(), is_translator: false }
}

fn translator(kind: impl Into<BoxKind>) -> Step {
    Step { kind: kind.into(), is_translator: true }
}

/// A translator that keeps ports, lets in by endpoint and has the lifetime of RFC 4787 REQ-5.
fn rfc() -> NatConfig {
    let filtering = AddressAndPortDependent;
    NatConfig { filtering, permissions_max: 8_192, ..NatConfig::default() }
}

fn hard(allocation: PortAllocation) -> Step {
    let ports = 1_024..=u16::MAX;
    translator(NatConfig { mapping: AddressAndPortDependent, allocation, ports, ..rfc() })
}

fn linux(input_open: bool) -> Step {
    translator(LinuxConfig { input_open, ..LinuxConfig::default() })
}

/// A kind with IPv4 whose hosts share nothing.
fn v4(name: &'static str, about: &'static str, boxes: Vec<Step>) -> Access {
    Access { name, about, boxes, families: Families::V4, shared: Shared::Nothing }
}

/// The kinds of the NAT matrix.
pub fn kinds() -> Vec<Access> {
    let mut all = easy_kinds();
    all.extend(hard_kinds());
    all.extend(shared_kinds());
    all.extend(v6_kinds());
    all
}

/// Kinds whose endpoint is the same for all destinations.
fn easy_kinds() -> Vec<Access> {
    let mut all = vec![
        v4("open", "a public IPv4 address, nothing before it", vec![]),
        v4("firewall", "a public address behind a stateful firewall", vec![firewall()]),
    ];
    let kept = PortAllocation::Preserving(Collision::Random);
    for (name, filtering, allocation) in [
        ("eim-eif", EndpointIndependent, kept),
        ("eim-eif-port", EndpointIndependent, PortAllocation::Random),
        ("eim-adf", AddressDependent, kept),
        ("eim-adf-port", AddressDependent, PortAllocation::Random),
        ("eim-apdf", AddressAndPortDependent, kept),
        ("eim-apdf-port", AddressAndPortDependent, PortAllocation::Random),
    ] {
        let about = match (filtering, allocation == kept) {
            (EndpointIndependent, true) => "one endpoint, port kept, lets in anyone",
            (EndpointIndependent, false) => "one endpoint, port changed, lets in anyone",
            (AddressDependent, true) => "one endpoint, port kept, filters by address",
            (AddressDependent, false) => "one endpoint, port changed, filters by address",
            (AddressAndPortDependent, true) => "one endpoint, port kept, filters by endpoint",
            (AddressAndPortDependent, false) => "one endpoint, port changed, filters by endpoint",
        };
        let config = NatConfig { filtering, allocation, ..rfc() };
        all.push(v4(name, about, vec![translator(config)]));
    }
    all.push(v4("linux", "a Linux router, input closed", vec![linux(false)]));
    all.push(v4("linux-open", "a Linux router, input open", vec![linux(true)]));
    all
}

/// Kinds whose endpoint changes with the destination, and one without UDP.
fn hard_kinds() -> Vec<Access> {
    let block = PortAllocation::Block { size: 64 };
    vec![
        v4(
            "apdm-seq",
            "a new port for each destination, in sequence",
            vec![hard(PortAllocation::Sequential { step: 1 })],
        ),
        v4("apdm-block", "a new port for each destination, of a block of 64", vec![hard(block)]),
        v4(
            "apdm-random",
            "a new random port for each destination",
            vec![hard(PortAllocation::Random)],
        ),
        v4(
            "cgn-hard",
            "a carrier NAT with random ports over a home NAT",
            vec![linux(false), hard(PortAllocation::Random)],
        ),
        v4(
            "no-udp",
            "a firewall that drops UDP",
            vec![Step { kind: BoxKind::NoUdp, is_translator: false }],
        ),
    ]
}

/// Kinds of which two hosts share a box.
fn shared_kinds() -> Vec<Access> {
    let carrier = |hairpinning| translator(NatConfig { hairpinning, ..rfc() });
    let turning = || carrier(Hairpinning::ExternalSource);
    let mute = || carrier(Hairpinning::Unsupported);
    let two = |name, about, boxes, shared| Access { shared, ..v4(name, about, boxes) };
    vec![
        v4(
            "cgn-easy",
            "a carrier NAT over a home NAT, one endpoint",
            vec![linux(false), turning()],
        ),
        two("one-nat", "hosts of one local network, hairpinning", vec![turning()], Shared::Lan),
        two(
            "one-nat-mute",
            "hosts of one local network, no hairpinning",
            vec![mute()],
            Shared::Lan,
        ),
        two(
            "one-cgn",
            "homes behind one carrier NAT, hairpinning",
            vec![linux(false), turning()],
            Shared::Carrier,
        ),
        two(
            "one-cgn-mute",
            "homes behind one carrier NAT, no hairpinning",
            vec![linux(false), mute()],
            Shared::Carrier,
        ),
    ]
}

/// Kinds with IPv6.
fn v6_kinds() -> Vec<Access> {
    let nat64 = NatConfig { filtering: AddressDependent, ..NatConfig::default() };
    let with = |name, about, boxes, families| Access { families, ..v4(name, about, boxes) };
    let (v6, both) = (Families::V6, Families::Both);
    vec![
        with("v6-firewall", "IPv6 alone, behind a stateful firewall", vec![firewall()], v6),
        with(
            "dual-stack",
            "IPv6 behind a firewall, IPv4 behind a Linux router",
            vec![linux(false)],
            both,
        ),
        with(
            "nat64",
            "IPv6 alone, IPv4 through a NAT64",
            vec![translator(BoxKind::Nat64(nat64))],
            v6,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kinds;

    #[test]
    fn names_of_kinds_are_unique_and_more_than_twelve() {
        let names: BTreeSet<_> = kinds().iter().map(|kind| kind.name).collect();
        assert!(names.len() >= 12);
        assert_eq!(names.len(), kinds().len());
    }
}
