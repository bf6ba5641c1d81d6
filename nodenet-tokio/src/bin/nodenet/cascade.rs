//! One connect, watched step by step.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use nodenet_tokio::{
    ConnectError, ConnectOutcome, ConnectStep, EdgeInfo, Explanation, Node, NodeId,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::now;

/// Time between two looks at the steps so far (guess: too short to notice).
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What came of a connect.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) peer: NodeId,
    /// Time until the outcome.
    pub(crate) took: Duration,
    /// Why there is no edge, if there is none.
    pub(crate) error: Option<ConnectError>,
    /// The decision log; none if there was an edge already.
    pub(crate) explanation: Option<Explanation>,
    /// The edge now.
    pub(crate) edge: Option<EdgeInfo>,
}

impl Attempted {
    /// The outcome, as the edge that there is says.
    pub(crate) fn outcome(&self) -> ConnectOutcome {
        match (self.error, &self.edge) {
            (Some(error), _) => ConnectOutcome::Failed(error),
            (None, Some(EdgeInfo { remote, relayed_by: Some(volunteer), .. })) => {
                ConnectOutcome::Relayed { remote: *remote, volunteer: *volunteer }
            }
            (None, Some(edge)) => ConnectOutcome::Direct { remote: edge.remote },
            // It came up and ended meanwhile.
            (None, None) => ConnectOutcome::Failed(ConnectError::NoPath),
        }
    }
}

/// Connects, and calls `each` with each step as it is noticed.
pub(crate) async fn connect(
    node: &Node,
    peer: NodeId,
    addrs: Vec<SocketAddr>,
    mut each: impl FnMut(&ConnectStep),
) -> Attempted {
    let begun = now();
    let has_edge = edge_to(node, peer).await.is_some();
    let mut shown = 0;
    let mut show = |explanation: Option<&Explanation>| {
        let steps = explanation.map_or(&[][..], |why| &why.steps);
        steps.iter().skip(shown).for_each(&mut each);
        shown = shown.max(steps.len());
    };
    let mut connecting = pin!(node.connect(peer, addrs));
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            // The request goes out before the first look.
            biased;
            result = &mut connecting => break result,
            _ = looks.tick() => if !has_edge && let Ok(why) = node.explain(peer).await {
                show(why.as_ref());
            },
        }
    };
    let took = now().saturating_duration_since(begun);
    // With an edge there was no attempt, and an older log is about another one.
    let explanation = match has_edge && result.is_ok() {
        true => None,
        false => node.explain(peer).await.unwrap_or_default(),
    };
    show(explanation.as_ref());
    let edge = edge_to(node, peer).await;
    Attempted { peer, took, error: result.err(), explanation, edge }
}

/// The edge to `peer`, if there is one.
pub(crate) async fn edge_to(node: &Node, peer: NodeId) -> Option<EdgeInfo> {
    node.edges().await.unwrap_or_default().into_iter().find(|edge| edge.peer == peer)
}
