//! Health of the edges of a node: whether it has any that last.
//!
//! A peer that refuses this node closes the conn as soon as the handshake has shown the identifier.
//! So an edge counts as lasting after a second, and as refused if its peer closes it before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nodenet_tokio::proto::transport::ConnDownReason;
use nodenet_tokio::{EdgeDownReason, EdgeInfo, NodeId};

use super::notice::{Notice, Warning};
use super::reminder::Reminder;

/// Time without a lasting edge after which a warning follows
/// (PROTOCOL.md#warning-without-edges).
const NO_EDGES_AFTER: Duration = Duration::from_secs(60);
/// Age at which an edge counts as lasting (guess: a few round trips of a slow path).
const LASTING_AFTER: Duration = Duration::from_secs(1);
/// Refusals in a row after which a warning follows (guess: a single peer may be full).
const REFUSALS_MANY: u32 = 3;
/// Time between two warnings of that kind: peers can cause it as often as they like.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(600);

/// One edge.
#[derive(Debug, Clone, Copy)]
struct Edge {
    up_since: Instant,
    /// This node dialed: a peer can not make such edges come and go at will.
    dialed: bool,
}

impl Edge {
    fn is_lasting(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.up_since) >= LASTING_AFTER
    }
}

/// Whether any edge ever came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstEdge {
    Awaited,
    Seen,
}

/// Whether there is a lasting edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connectivity {
    /// There is one, or there is none since this time and no warning yet.
    Normal { no_edges_since: Instant },
    /// The warning was given, and no lasting edge has been seen since.
    Warned,
}

/// The edges of a node, and the notices about them so far.
#[derive(Debug)]
pub(super) struct EdgeHealth {
    edges: BTreeMap<NodeId, Edge>,
    first: FirstEdge,
    connectivity: Connectivity,
    /// Dialed edges in a row that the peer refused while there was no other edge.
    refusals: u32,
    refusals_reminder: Reminder,
}

impl EdgeHealth {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            edges: BTreeMap::new(),
            first: FirstEdge::Awaited,
            connectivity: Connectivity::Normal { no_edges_since: now },
            refusals: 0,
            refusals_reminder: Reminder::every(REFUSALS_INTERVAL),
        }
    }

    /// Takes an edge that came up. Returns true if it is the first of all.
    pub(super) fn up(&mut self, now: Instant, peer: NodeId, dialed: bool) -> bool {
        self.edges.insert(peer, Edge { up_since: now, dialed });
        std::mem::replace(&mut self.first, FirstEdge::Seen) == FirstEdge::Awaited
    }

    /// Takes an edge that ended. Returns whether this node had dialed it, and the warning that
    /// follows, if any.
    pub(super) fn down(
        &mut self,
        now: Instant,
        peer: &NodeId,
        reason: EdgeDownReason,
    ) -> (bool, Option<Notice>) {
        let edge = self.edges.remove(peer);
        let dialed = edge.is_some_and(|edge| edge.dialed);
        let is_refusal = is_by_peer(reason) && edge.is_some_and(|edge| !edge.is_lasting(now));
        if !is_refusal {
            self.lost(now);
            return (dialed, None);
        }
        // A peer that dials and leaves at once may just have been quick.
        (dialed, dialed.then(|| self.refused(now)).flatten())
    }

    /// Takes the edges as they are, after events were missed.
    pub(super) fn replace(&mut self, now: Instant, edges: &[EdgeInfo]) {
        let edge = |info: &EdgeInfo| {
            // An edge is never older than the clock.
            let up_since = now.checked_sub(info.age).unwrap_or(now);
            (info.peer, Edge { up_since, dialed: info.outgoing })
        };
        self.edges = edges.iter().map(edge).collect();
        if self.edges.is_empty() {
            self.lost(now);
        }
    }

    /// The notice that follows from the time alone.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Notice> {
        let has_lasting = self.edges.values().any(|edge| edge.is_lasting(now));
        if has_lasting {
            self.refusals = 0;
        }
        match self.connectivity {
            Connectivity::Warned if has_lasting => {
                self.connectivity = Connectivity::Normal { no_edges_since: now };
                Some(Notice::Info("connected again".to_owned()))
            }
            Connectivity::Normal { no_edges_since } if self.edges.is_empty() => {
                if now.saturating_duration_since(no_edges_since) < NO_EDGES_AFTER {
                    return None;
                }
                self.connectivity = Connectivity::Warned;
                let text = format!(
                    "no lasting edge to any node for {} s; check the network and the --bootstrap \
                     peers, which are tried for ever",
                    NO_EDGES_AFTER.as_secs()
                );
                Some(Notice::Warning(Warning::NoEdges, text))
            }
            Connectivity::Warned | Connectivity::Normal { .. } => None,
        }
    }

    /// An edge ended that was lasting, or that its peer did not close.
    fn lost(&mut self, now: Instant) {
        self.refusals = 0;
        if let Connectivity::Normal { no_edges_since } = &mut self.connectivity {
            *no_edges_since = now;
        }
    }

    /// The peer of an edge that this node dialed closed it at once.
    fn refused(&mut self, now: Instant) -> Option<Notice> {
        if !self.edges.is_empty() {
            // With others up, this needs no action.
            return None;
        }
        self.refusals += 1;
        if self.refusals < REFUSALS_MANY || !self.refusals_reminder.pass(now) {
            return None;
        }
        let text = format!(
            "peers close the edge as soon as it is up, {} times in a row now; check that --pow is \
             the same on both sides; if it is, they are full, or their policy refuses this node: \
             try other --bootstrap peers",
            self.refusals
        );
        Some(Notice::Warning(Warning::ClosedAtOnce, text))
    }
}

/// Whether the peer ended the edge.
fn is_by_peer(reason: EdgeDownReason) -> bool {
    use EdgeDownReason::{Conn, Left};
    matches!(reason, Left | Conn(ConnDownReason::ClosedByPeer))
}
