//! Oracle of direct paths: whether UDP can go both ways between two hosts behind NAT boxes.
//!
//! Responsible for: what the terms of RFC 4787 allow, however well an algorithm makes use of it.
//! Never: time, loss or a search for a path.
//!
//! A *direct path* is a pair of external endpoints over which a question and its answer go: the
//! answer comes from where the question went, as QUIC asks for (RFC 9000 §9). Each host knows the
//! *reflexive* endpoint of the other, the one that a third host saw. Both send to each other at the
//! same time, again and again, and to every endpoint from which something arrived.
//!
//! The oracle holds for hosts behind different boxes that have one external address each or pair
//! addresses (RFC 4787 REQ-2). A test compares it with the boxes of the test kit.

#[cfg(test)]
mod tests;

use nodenet_proto::testkit::nat_box::{Behavior, Collision, NatConfig, PortAllocation};

use Behavior::{AddressAndPortDependent, EndpointIndependent};

/// What counts of the NAT box before a host.
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
}

impl From<&NatConfig> for NatKind {
    fn from(config: &NatConfig) -> Self {
        let NatConfig { mapping, filtering, allocation, .. } = *config;
        Self { mapping, filtering, allocation }
    }
}

/// Whether two hosts can have a direct path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectPath {
    /// They can, with the endpoints that are seen.
    Possible,
    /// They can if the next port of a sequential allocator is guessed.
    ByGuessing,
    /// They can not.
    Impossible,
}

/// Whether hosts behind `a` and `b` can have a direct path, and what it takes.
pub fn direct_path(a: NatKind, b: NatKind) -> DirectPath {
    if direct_path_possible(a, b) {
        DirectPath::Possible
    } else if exists(Side::guessed(a), Side::guessed(b)) {
        DirectPath::ByGuessing
    } else {
        DirectPath::Impossible
    }
}

/// Whether hosts behind `a` and `b` can have a direct path without a guess.
pub fn direct_path_possible(a: NatKind, b: NatKind) -> bool {
    exists(Side::seen(a), Side::seen(b))
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
