//! Decision log: the steps of attempts that the application requested, for
//! [`crate::api::Explanation`].
//!
//! Responsible for: bounds, and which attempts are remembered. Never: decides anything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::NodeId;
use crate::api::{
    CONNECT_STEPS_MAX, ConnectError, ConnectOutcome, ConnectStep, ConnectStepKind, Explanation,
    Obstacle, PathSide,
};

/// Attempts that are remembered; the oldest go first (a guess: more than a person asks for).
pub(crate) const REMEMBERED_MAX: usize = 32;

/// The steps of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    begun: Instant,
    steps: Vec<ConnectStep>,
    /// What the peer said of itself, and what was known of this node then.
    peer: Option<PathSide>,
    own: PathSide,
    outcome: Option<ConnectOutcome>,
    obstacle: Option<Obstacle>,
}

impl Log {
    /// A log that begins now.
    pub(super) fn new(now: Instant) -> Self {
        let own = PathSide::default();
        Self { begun: now, steps: Vec::new(), peer: None, own, outcome: None, obstacle: None }
    }

    /// Adds a step.
    pub(super) fn push(&mut self, now: Instant, kind: ConnectStepKind) {
        if let ConnectStepKind::Answered(side) = &kind {
            self.peer = Some(side.clone());
        }
        // The last place is for the end.
        if self.steps.len() < CONNECT_STEPS_MAX - 1 {
            self.steps.push(ConnectStep { at: now.saturating_duration_since(self.begun), kind });
        }
    }

    /// Takes what is known of this node.
    pub(super) fn set_own(&mut self, own: &PathSide) {
        self.own = own.clone();
    }

    fn end(&mut self, now: Instant, outcome: ConnectOutcome) {
        let at = now.saturating_duration_since(self.begun);
        self.steps.push(ConnectStep { at, kind: ConnectStepKind::Ended(outcome) });
        self.outcome = Some(outcome);
        self.obstacle = match (&outcome, &self.peer) {
            (ConnectOutcome::Direct { .. }, _) => None,
            (_, None) if self.has_no_route() => Some(Obstacle::NoRoute),
            (_, None) => Some(Obstacle::NoAnswer),
            (_, Some(peer)) => Some(Obstacle::between(&self.own, peer)),
        };
        let is_moved = |step: &ConnectStep| matches!(step.kind, ConnectStepKind::PortMoved { .. });
        if self.obstacle == Some(Obstacle::Unknown) && self.steps.iter().any(is_moved) {
            self.obstacle = Some(Obstacle::MovedPort);
        }
    }

    fn has_no_route(&self) -> bool {
        self.steps.iter().any(|step| step.kind == ConnectStepKind::Unroutable)
    }

    fn explain(&self, peer: NodeId) -> Explanation {
        let Self { outcome, obstacle, steps, .. } = self;
        Explanation { peer, outcome: *outcome, obstacle: *obstacle, steps: steps.clone() }
    }
}

/// The logs of attempts that are over.
#[derive(Debug, Clone, Default)]
pub(super) struct Logs {
    logs: VecDeque<(NodeId, Log)>,
}

impl Logs {
    /// Takes the log of an attempt that ends now, in place of an older one for the peer.
    pub(super) fn end(
        &mut self,
        now: Instant,
        peer: NodeId,
        mut log: Log,
        outcome: ConnectOutcome,
    ) {
        log.end(now, outcome);
        self.logs.retain(|(other, _)| *other != peer);
        if self.logs.len() >= REMEMBERED_MAX {
            self.logs.pop_front();
        }
        self.logs.push_back((peer, log));
    }

    /// The edge that the last attempt at this peer brought is gone before it was of use.
    pub(super) fn fail(&mut self, peer: &NodeId, error: ConnectError) {
        let Some((_, log)) = self.logs.iter_mut().find(|(other, _)| other == peer) else { return };
        log.outcome = Some(ConnectOutcome::Failed(error));
        log.obstacle = None;
    }

    /// It is known now why the last attempt at this peer found no direct path.
    pub(super) fn handle_port_moved(&mut self, now: Instant, peer: &NodeId, addr: SocketAddr) {
        let Some((_, log)) = self.logs.iter_mut().find(|(other, _)| other == peer) else { return };
        if log.obstacle == Some(Obstacle::Unknown) {
            log.obstacle = Some(Obstacle::MovedPort);
            log.push(now, ConnectStepKind::PortMoved { addr });
        }
    }

    /// What is known of the last attempt at this peer: the one under way, if there is one.
    pub(super) fn explain(&self, peer: &NodeId, current: Option<&Log>) -> Option<Explanation> {
        let last = || self.logs.iter().find(|(other, _)| other == peer).map(|(_, log)| log);
        current.or_else(last).map(|log| log.explain(*peer))
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(super) fn check(&self) {
        assert!(self.logs.len() <= REMEMBERED_MAX);
        assert!(self.logs.iter().all(|(_, log)| log.steps.len() <= CONNECT_STEPS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    const PEER: NodeId = NodeId::from_bytes([1; 32]);

    #[test]
    fn a_long_attempt_keeps_its_first_steps_and_its_end() {
        let mut log = Log::new(test_base());
        for copies in 0..=255 {
            log.push(test_base(), ConnectStepKind::Asked { copies });
        }
        let failed = ConnectOutcome::Failed(ConnectError::Unanswered);
        let mut logs = Logs::default();
        logs.end(test_base(), PEER, log, failed);
        logs.check();
        let explanation = logs.explain(&PEER, None).expect("it is remembered");
        assert_eq!(explanation.steps.len(), CONNECT_STEPS_MAX);
        assert_eq!(explanation.steps[0].kind, ConnectStepKind::Asked { copies: 0 });
        assert_eq!(explanation.steps[63].kind, ConnectStepKind::Ended(failed));
        assert_eq!(explanation.obstacle, Some(Obstacle::NoAnswer));
    }

    #[test]
    fn the_newest_attempts_are_remembered_one_for_each_peer() {
        let mut logs = Logs::default();
        let mut end = |peer| {
            let failed = ConnectOutcome::Failed(ConnectError::Unanswered);
            logs.end(test_base(), peer, Log::new(test_base()), failed);
        };
        for number in 0..=REMEMBERED_MAX as u8 {
            end(NodeId::from_bytes([number; 32]));
            end(PEER);
        }
        logs.check();
        let is_known = |number| logs.explain(&NodeId::from_bytes([number; 32]), None).is_some();
        assert!(!is_known(0) && is_known(1) && is_known(REMEMBERED_MAX as u8));
    }
}
