//! Oracle of direct paths: whether UDP can go both ways between two hosts behind NAT boxes.
//!
//! Responsible for: what the terms of RFC 4787 allow, however well an algorithm makes use of it.
//! Never: time, loss or a search for a path.
//!
//! A *direct path* is a pair of external endpoints over which a question and its answer go: the
//! answer comes from where the question went, as QUIC asks for (RFC 9000 §9). Each host knows the
//! *reflexive* endpoint of the other, the one that a third host saw. Both send to each other at the
//! same time, again and again, and to every endpoint from which something arrived. What they send
//! first has a TTL that only leaves their own boxes, so that nothing arrives too early at a router
//! that accepts datagrams for itself.
//!
//! The oracle holds for boxes that have one external address each or pair addresses (RFC 4787
//! REQ-2). A test compares it with the boxes of the test kit.

#[cfg(test)]
mod tests;

use std::fmt;

use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatConfig, PortAllocation,
};

use Behavior::{AddressAndPortDependent, EndpointIndependent};

/// What counts of the NAT boxes before a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    /// When an external endpoint is used again.
    pub mapping: Behavior,
    /// Who gets in through a mapping.
    pub filtering: Behavior,
    /// Which port a mapping gets.
    pub allocation: PortAllocation,
}

impl NatKind {
    /// A host without NAT or firewall.
    pub const PUBLIC: Self = Self::firewall(EndpointIndependent);

    /// A stateful firewall: nothing is translated.
    pub const fn firewall(filtering: Behavior) -> Self {
        let allocation = PortAllocation::Preserving(Collision::Random);
        Self { mapping: EndpointIndependent, filtering, allocation }
    }

    /// Two boxes in a row: each counts where it is stricter. A port is that of the inner box only
    /// if the outer one keeps it.
    pub fn behind(self, outer: Self) -> Self {
        let allocation = match outer.allocation {
            PortAllocation::Preserving(_) => self.allocation,
            other => other,
        };
        Self {
            mapping: self.mapping.max(outer.mapping),
            filtering: self.filtering.max(outer.filtering),
            allocation,
        }
    }
}

impl From<&NatConfig> for NatKind {
    fn from(config: &NatConfig) -> Self {
        let NatConfig { mapping, filtering, allocation, .. } = *config;
        Self { mapping, filtering, allocation }
    }
}

/// A flow is let in by its whole tuple. Whether the router accepts what is for itself does not
/// count: the first datagrams do not reach it.
impl From<&LinuxConfig> for NatKind {
    fn from(config: &LinuxConfig) -> Self {
        let random = (AddressAndPortDependent, PortAllocation::Random);
        let kept = (EndpointIndependent, PortAllocation::Preserving(Collision::Random));
        let (mapping, allocation) = if config.random { random } else { kept };
        Self { mapping, filtering: AddressAndPortDependent, allocation }
    }
}

/// What is between a host and the internet, in each family; none if it has no way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// To IPv4, by an own address or through a NAT64.
    pub v4: Option<NatKind>,
    /// To IPv6.
    pub v6: Option<NatKind>,
}

impl Reach {
    /// A host with both families and nothing between.
    pub const PUBLIC: Self = Self { v4: Some(NatKind::PUBLIC), v6: Some(NatKind::PUBLIC) };

    /// The same host behind one more box, outside of those that it has.
    pub fn behind(self, outer: &BoxKind) -> Self {
        let chain = |inner: Option<NatKind>, outer: NatKind| inner.map(|it| it.behind(outer));
        match outer {
            BoxKind::Translator(config) => Self {
                v4: chain(self.v4, config.into()),
                v6: chain(self.v6, NatKind::firewall(config.filtering)),
            },
            BoxKind::Linux(config) => Self {
                v4: chain(self.v4, config.into()),
                v6: chain(self.v6, NatKind::firewall(AddressAndPortDependent)),
            },
            // IPv4 is reached by IPv6 datagrams.
            BoxKind::Nat64(config) => Self {
                v4: chain(self.v6, config.into()),
                v6: chain(self.v6, NatKind::firewall(config.filtering)),
            },
            BoxKind::NoUdp => Self { v4: None, v6: None },
        }
    }
}

/// How the ways of two hosts to the internet are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They share no box.
    Apart,
    /// They are on one local network, so that their own addresses lead to each other.
    OneLan,
    /// Their outermost box is the same, and nothing else.
    OneCarrier(Hairpinning),
}

/// Whether two hosts can have a direct path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectPath {
    /// They can, with the endpoints that are seen.
    Possible,
    /// They can only if ports are guessed: the next one of a sequence, or one of many that a host
    /// opens in a block or at random.
    ByGuessing,
    /// They can not.
    Impossible,
}

/// Why there is no direct path without a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A firewall drops UDP.
    NoUdp,
    /// One has IPv4 alone, the other IPv6 alone, and no NAT64 is between.
    NoCommonFamily,
    /// Both are behind one carrier NAT that turns nothing around.
    NoHairpinning,
    /// One NAT gives every destination another port, and the other lets in known ports alone.
    ChangingPort,
    /// Both NATs give every destination another port.
    ChangingPorts,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUdp => "a firewall drops all UDP",
            Self::NoCommonFamily => "one side has IPv4 only, the other IPv6 only, without a NAT64",
            Self::NoHairpinning => "both are behind one carrier NAT that does not hairpin",
            Self::ChangingPort => {
                "one NAT changes its port with every destination, the other admits known ports"
            }
            Self::ChangingPorts => "both NATs give every destination another port",
        })
    }
}

/// Whether hosts behind `a` and `b` can have a direct path, and what it takes.
pub fn direct_path(a: NatKind, b: NatKind) -> DirectPath {
    let guessed = [a, b].map(Side::guessed);
    let [first, second] = guessed;
    if direct_path_possible(a, b) {
        DirectPath::Possible
    } else if exists(first, second) || can_spray(first, second) || can_spray(second, first) {
        DirectPath::ByGuessing
    } else {
        DirectPath::Impossible
    }
}

/// Whether hosts behind `a` and `b` can have a direct path without a guess.
pub fn direct_path_possible(a: NatKind, b: NatKind) -> bool {
    exists(Side::seen(a), Side::seen(b))
}

/// The same for hosts of several families, with the reason if there is none without a guess.
pub fn direct_path_between(
    a: Reach,
    b: Reach,
    relation: Relation,
) -> (DirectPath, Option<Obstacle>) {
    if relation == Relation::OneLan {
        return (DirectPath::Possible, None);
    }
    if [a, b].iter().any(|reach| reach.v4.is_none() && reach.v6.is_none()) {
        return (DirectPath::Impossible, Some(Obstacle::NoUdp));
    }
    let mut best = (DirectPath::Impossible, Some(Obstacle::NoCommonFamily));
    for (is_v4, kinds) in [(true, (a.v4, b.v4)), (false, (a.v6, b.v6))] {
        let (Some(a), Some(b)) = kinds else { continue };
        // A source from inside is none that the filters know.
        let is_turned =
            matches!(relation, Relation::Apart | Relation::OneCarrier(Hairpinning::ExternalSource));
        let found = match direct_path(a, b) {
            // IPv6 is not translated, so nothing has to be turned around.
            _ if is_v4 && !is_turned => (DirectPath::Impossible, Some(Obstacle::NoHairpinning)),
            DirectPath::Possible => return (DirectPath::Possible, None),
            other => (other, Some(obstacle(a, b))),
        };
        let is_better = best.0 == DirectPath::Impossible;
        best = if is_better { found } else { best };
    }
    best
}

fn obstacle(a: NatKind, b: NatKind) -> Obstacle {
    let is_fixed = |kind: NatKind| kind.mapping == EndpointIndependent;
    if is_fixed(a) || is_fixed(b) { Obstacle::ChangingPort } else { Obstacle::ChangingPorts }
}

/// One of the two hosts, as the other can know it.
#[derive(Clone, Copy)]
struct Side {
    mapping: Behavior,
    filtering: Behavior,
    /// Whether the endpoint from which the first datagram to the other comes is known beforehand.
    is_known: bool,
}

impl Side {
    fn seen(kind: NatKind) -> Self {
        let NatKind { mapping, filtering, .. } = kind;
        Self { mapping, filtering, is_known: mapping == EndpointIndependent }
    }

    fn guessed(kind: NatKind) -> Self {
        let is_sequential = matches!(kind.allocation, PortAllocation::Sequential { .. });
        let seen = Self::seen(kind);
        Self { is_known: seen.is_known || is_sequential, ..seen }
    }

    /// Whether everything to the other host comes from one endpoint: it has one address.
    fn is_fixed(self) -> bool {
        self.mapping != AddressAndPortDependent
    }

    /// Whether a mapping to the address of the other lets in all of its ports.
    fn admits_ports(self) -> bool {
        self.filtering != AddressAndPortDependent
    }

    /// Whether any mapping lets in anyone.
    fn admits_anyone(self) -> bool {
        self.filtering == EndpointIndependent
    }
}

/// Whether `probing` can try many ports of `opening`, which opens many sockets, until one lets it
/// in and answers from where it was asked. Guesses on both sides at once would have to meet.
fn can_spray(probing: Side, opening: Side) -> bool {
    // Each socket sends to the one endpoint of `probing`. That is known beforehand, or from the
    // first probe that gets in.
    let by_endpoint = probing.is_fixed() && (probing.is_known || opening.admits_ports());
    // Each socket has one endpoint for the address of `probing`, and lets in all of its ports.
    let by_address = opening.is_fixed() && opening.admits_ports();
    by_endpoint || by_address
}

fn exists(a: Side, b: Side) -> bool {
    match (a.is_fixed(), b.is_fixed()) {
        (true, true) => both_fixed(a, b),
        (true, false) => one_fixed(a, b),
        (false, true) => one_fixed(b, a),
        // Each answer to a new endpoint comes from a new endpoint itself, so no two meet that were
        // not both known beforehand.
        (false, false) => a.is_known && b.is_known,
    }
}

/// Both hosts have one endpoint for each other. As soon as both endpoints are known, both send to
/// exactly these, and every filter is satisfied.
fn both_fixed(a: Side, b: Side) -> bool {
    match (a.is_known, b.is_known) {
        (true, true) => true,
        // What the unknown one sends to the known endpoint gets in by its address.
        (true, false) => a.admits_ports(),
        (false, true) => b.admits_ports(),
        // Only a reflexive endpoint that lets in anyone can be reached first. The answer then comes
        // from another port than was asked.
        (false, false) => {
            (a.admits_anyone() && b.admits_ports()) || (b.admits_anyone() && a.admits_ports())
        }
    }
}

/// `fixed` has one endpoint for the other host, `moving` has one for every endpoint that it sends
/// to. The path leads from the one endpoint of `fixed` to the one that `moving` has for it.
fn one_fixed(fixed: Side, moving: Side) -> bool {
    let moving_learns = fixed.is_known
        // At the reflexive endpoint, or at the one that was guessed.
        || moving.admits_anyone()
        || (moving.is_known && moving.admits_ports())
        // `moving` reaches the reflexive endpoint and is answered.
        || (fixed.admits_anyone() && moving.admits_ports());
    let fixed_learns = (fixed.is_known && moving.is_known) || fixed.admits_ports();
    moving_learns && fixed_learns
}
