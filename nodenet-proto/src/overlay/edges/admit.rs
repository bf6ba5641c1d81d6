//! Admission of edges: proof of work, policy of the application, cap of inbound edges
//! (PROTOCOL.md#edge-admission).

use super::EdgeTable;
use crate::NodeId;
use crate::api::{Config, ConnectError};
use crate::stats::DropReason;

/// Why a peer may not become an edge, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its identifier lacks the required work. The application cannot waive that.
    WorkUnmet,
    /// The application's policy refuses it.
    Policy,
    /// It is this node itself.
    SelfEdge,
    /// The number of inbound edges is at its cap.
    InboundFull,
}

impl Refusal {
    /// The reason under which it is counted.
    pub(crate) const fn drop_reason(self) -> DropReason {
        match self {
            Self::WorkUnmet => DropReason::PeerWorkUnmet,
            Self::Policy => DropReason::EdgeRefused,
            Self::SelfEdge => DropReason::SelfEdge,
            Self::InboundFull => DropReason::InboundFull,
        }
    }

    /// The error for an application that asked for the edge.
    pub(crate) const fn connect_error(self) -> ConnectError {
        match self {
            Self::WorkUnmet => ConnectError::WorkUnmet,
            Self::Policy => ConnectError::Refused,
            Self::SelfEdge => ConnectError::SelfEdge,
            Self::InboundFull => ConnectError::Busy,
        }
    }
}

/// Whether `peer`, which proved its identifier, may become an edge or add a conn to the one it has.
/// Outgoing edges have no cap: this node chose them.
///
/// # Errors
/// The first check that fails.
pub(crate) fn admit(
    config: &Config,
    edges: &EdgeTable,
    peer: &NodeId,
    outgoing: bool,
) -> Result<(), Refusal> {
    if peer.leading_zeros() < config.difficulty {
        return Err(Refusal::WorkUnmet);
    }
    if !config.edge_policy.admits(peer) {
        return Err(Refusal::Policy);
    }
    if peer == edges.own() {
        return Err(Refusal::SelfEdge);
    }
    let is_new_inbound = !outgoing && edges.get(peer).is_none();
    if is_new_inbound && edges.inbound() >= config.inbound_edges_max {
        return Err(Refusal::InboundFull);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Refusal, admit};
    use crate::NodeId;
    use crate::api::{Config, EdgePolicy};
    use crate::env::test_base;
    use crate::overlay::edges::EdgeTable;
    use crate::overlay::edges::budgets::EdgeBudgets;
    use crate::transport::ConnId;

    const OWN: NodeId = NodeId::from_bytes([0; 32]);
    const CHEAP: NodeId = NodeId::from_bytes([0x7f; 32]);
    const DEAR: NodeId = NodeId::from_bytes([0x01; 32]);

    fn strict() -> Config {
        let nobody = EdgePolicy::Ask(Arc::new(|_| false));
        Config { difficulty: 7, edge_policy: nobody, inbound_edges_max: 0, ..Config::default() }
    }

    #[test]
    fn the_checks_come_in_order() {
        let (edges, mut config) = (EdgeTable::new(DEAR), strict());
        assert_eq!(admit(&config, &edges, &CHEAP, false), Err(Refusal::WorkUnmet));
        assert_eq!(admit(&config, &edges, &DEAR, false), Err(Refusal::Policy));
        config.edge_policy = EdgePolicy::AdmitAll;
        assert_eq!(admit(&config, &edges, &DEAR, false), Err(Refusal::SelfEdge));
        assert_eq!(admit(&config, &edges, &OWN, false), Err(Refusal::InboundFull));
        assert_eq!(admit(&config, &edges, &OWN, true), Ok(()));
    }

    #[test]
    fn the_cap_counts_edges_and_only_new_ones() {
        let (mut edges, now) = (EdgeTable::new(OWN), test_base());
        let config = Config { inbound_edges_max: 1, ..Config::default() };
        assert_eq!(admit(&config, &edges, &CHEAP, false), Ok(()));
        edges.attach(now, CHEAP, [0; 32], ConnId(1), false, || EdgeBudgets::new(now));
        assert_eq!(admit(&config, &edges, &DEAR, false), Err(Refusal::InboundFull));
        assert_eq!(admit(&config, &edges, &CHEAP, false), Ok(()));
    }
}
