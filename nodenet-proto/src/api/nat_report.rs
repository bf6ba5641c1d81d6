//! What a node knows of its own addresses and of the NAT in front of it.

use std::net::SocketAddr;

use crate::wire::nat::{Allocator, Mapping};

/// Whether any node can reach this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Not tested yet, or the tests brought no answer.
    #[default]
    Unknown,
    /// A node to which this one had sent nothing reached it, or the operator says so.
    Reachable,
    /// Two nodes to which this one had sent nothing were asked to send, and nothing arrived.
    Unreachable,
}

impl Reachability {
    /// A stable name for logs and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The reports that a [`NatReport`] rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NatEvidence {
    /// Current reports of neighbours that this node dialed.
    pub reports: u16,
    /// Subnets that they came from.
    pub subnets: u16,
    /// Different addresses that they name.
    pub addrs: u16,
}

/// What a node knows of its own addresses and of the NAT in front of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatReport {
    /// Where peers see this node, confirmed by several of them, best first: one address for each
    /// family and scope.
    pub addrs: Vec<SocketAddr>,
    /// On what its external port depends.
    pub mapping: Mapping,
    /// How its external port is chosen.
    pub allocator: Allocator,
    /// What mapping and allocator were concluded from.
    pub evidence: NatEvidence,
    /// Whether any node can reach it.
    pub reachability: Reachability,
}

impl NatReport {
    /// Whether `other` says the same, perhaps from other evidence.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let evidence = NatEvidence::default();
        Self { evidence, ..self.clone() } == Self { evidence, ..other.clone() }
    }
}
