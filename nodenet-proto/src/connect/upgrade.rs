//! Upgrades of relayed edges: when an attempt at a direct path is made beside the relay
//! (PROTOCOL.md#upgrades).
//!
//! Responsible for: which edges may become direct, and when that is tried. Never: tries, or knows
//! whether an edge still goes over a relay; the engine does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::NodeId;

/// From a relayed edge to the first attempt: its dials ended when the relay was faster (a guess).
const FIRST: Duration = Duration::from_secs(2);
/// Without news the next attempt follows after this long (a guess).
pub(super) const AGAIN: Duration = Duration::from_secs(600);
/// News of this node's own path come in pieces: an attempt waits for the rest (a guess).
const SETTLED: Duration = Duration::from_millis(500);
/// News cause no more attempts at one peer than this (a guess: longer than an attempt).
const APART: Duration = Duration::from_secs(15);
/// Edges with a schedule, at most (a guess: as many as there are addresses of relays).
const UPGRADES_MAX: usize = 512;

/// When the path of one edge is tried.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Nothing where the peer tries of its own accord: it opened the relayed conn.
    at: Option<Instant>,
    tried: Option<Instant>,
}

/// The schedule of every relayed edge.
#[derive(Debug, Clone, Default)]
pub(super) struct Upgrades(BTreeMap<NodeId, Plan>);

impl Upgrades {
    /// A relayed conn of an edge is up.
    pub(super) fn handle_relayed(&mut self, now: Instant, peer: NodeId, is_dialed: bool) {
        if self.0.len() >= UPGRADES_MAX && !self.0.contains_key(&peer) {
            return;
        }
        let plan = self.0.entry(peer).or_insert(Plan { at: None, tried: None });
        if is_dialed && plan.at.is_none() {
            plan.at = Some(now + FIRST);
        }
    }

    /// The edge is gone, or not relayed any more.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.0.remove(peer);
    }

    /// What is known of this node's own path changed.
    pub(super) fn handle_news(&mut self, now: Instant) {
        for plan in self.0.values_mut() {
            let earliest = plan.tried.map_or(now, |tried| tried + APART);
            let at = earliest.max(now + SETTLED);
            plan.at = Some(plan.at.map_or(at, |planned| planned.min(at)));
        }
    }

    /// The peers at which an attempt is due, which count as tried now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<NodeId> {
        let mut due = Vec::new();
        for (peer, plan) in &mut self.0 {
            if plan.at.is_some_and(|at| at <= now) {
                *plan = Plan { at: Some(now + AGAIN), tried: Some(now) };
                due.push(*peer);
            }
        }
        due
    }

    /// When the next attempt is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.values().filter_map(|plan| plan.at).min()
    }

    /// Forgets everything.
    pub(super) fn stop(&mut self) {
        self.0.clear();
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.0.len() <= UPGRADES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    const PEER: NodeId = NodeId::from_bytes([1; 32]);

    fn at(ms: u64) -> Instant {
        test_base() + Duration::from_millis(ms)
    }

    /// The times at which attempts are due until `end`, in milliseconds.
    fn tried(upgrades: &mut Upgrades, end: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(due) = upgrades.next_at().filter(|due| *due <= at(end)) {
            assert_eq!(upgrades.take_due(due), [PEER]);
            times.push((due - at(0)).as_millis() as u64);
        }
        times
    }

    #[test]
    fn without_news_a_direct_path_is_tried_after_two_seconds_and_every_ten_minutes() {
        let mut upgrades = Upgrades::default();
        upgrades.handle_relayed(at(0), PEER, true);
        assert_eq!(tried(&mut upgrades, 1_300_000), [2_000, 602_000, 1_202_000]);
        upgrades.forget(&PEER);
        assert_eq!(upgrades.next_at(), None);
    }

    #[test]
    fn news_bring_an_attempt_forward_and_no_more_than_one_in_fifteen_seconds() {
        let mut upgrades = Upgrades::default();
        upgrades.handle_relayed(at(0), PEER, false);
        assert_eq!(upgrades.next_at(), None, "the peer tries of its own accord");
        upgrades.handle_news(at(1_000));
        upgrades.handle_news(at(1_100));
        assert_eq!(tried(&mut upgrades, 20_000), [1_500]);
        upgrades.handle_news(at(3_000));
        upgrades.handle_news(at(4_000));
        assert_eq!(tried(&mut upgrades, 20_000), [16_500]);
    }

    #[test]
    fn edges_with_a_schedule_have_a_cap() {
        let mut upgrades = Upgrades::default();
        for number in 0..1000_u16 {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            upgrades.handle_relayed(at(0), NodeId::from_bytes(id), true);
        }
        upgrades.check();
    }
}
