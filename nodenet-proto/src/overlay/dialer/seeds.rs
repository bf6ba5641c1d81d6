//! When operator seeds are dialed: while the node has too few edges of its own, and otherwise now
//! and then.
//!
//! Responsible for: the waits of seeds. Never: how an attempt at one goes.

use std::net::SocketAddr;
use std::time::Duration;

use super::target::{State, Target};
use super::{ATTEMPT_TIMEOUT, Dialer, Purpose, dialable};
use crate::NodeId;
use crate::context::Context;
use crate::env::backoff;
use crate::overlay::Action;

/// The first dial of a seed comes at random within this time (PROTOCOL.md#first-dial), so that
/// nodes that are started together do not dial together; those of further seeds as much later each.
const FIRST_DIAL_MAX: Duration = Duration::from_millis(500);
/// Once there is an edge, the other seeds wait: it may lead to better ones (a guess).
pub(super) const FURTHER_SEEDS_WAIT: Duration = Duration::from_secs(5);

fn first_dial(cx: &mut Context<'_, Action>) -> Duration {
    Duration::from_nanos(cx.rng.below(FIRST_DIAL_MAX.as_nanos() as u64) + 1)
}

impl Target {
    /// The next attempt begins as soon as the first one did. Many may have lost this peer at once.
    pub(super) fn dial_soon(&mut self, cx: &mut Context<'_, Action>) {
        self.state = State::Waiting(cx.now + first_dial(cx));
    }
}

impl Dialer {
    /// Takes an operator seed, or new addresses of one, which replace the old. Those whose `turn`
    /// is later are dialed later.
    pub(crate) fn add_seed(
        &mut self,
        cx: &mut Context<'_, Action>,
        (peer, addrs): (NodeId, &[SocketAddr]),
        turn: u32,
        has_edge: bool,
    ) {
        let addrs = dialable(cx, addrs);
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(true));
        target.seed = true;
        let first_dial = first_dial(cx);
        if target.addrs != addrs {
            target.addrs = addrs;
            match &mut target.state {
                State::Dialing(attempt) => {
                    attempt.dialed = 0;
                    attempt.resume(cx.now);
                }
                // What failed at the old addresses says nothing about the new ones.
                State::Waiting(until) => *until = (*until).min(cx.now + first_dial),
                State::Resting => {}
            }
        }
        if self.by_itself && self.below_target && !has_edge && target.state == State::Resting {
            target.state = State::Waiting(cx.now + FIRST_DIAL_MAX * turn + first_dial);
        }
        self.arm(cx, cx.now);
    }

    /// Whether this node has too few edges of its own. Then its seeds are dialed; otherwise they
    /// are left alone.
    pub(crate) fn set_below_target(
        &mut self,
        cx: &mut Context<'_, Action>,
        below_target: bool,
        has_edge: impl Fn(&NodeId) -> bool,
    ) {
        if core::mem::replace(&mut self.below_target, below_target) == below_target {
            return;
        }
        for (peer, target) in self.targets.iter_mut().filter(|(_, target)| target.seed) {
            match target.state {
                State::Resting if below_target && self.by_itself && !has_edge(peer) => {
                    target.wait(cx, FURTHER_SEEDS_WAIT);
                }
                State::Waiting(_) if !below_target => target.state = State::Resting,
                _ => {}
            }
        }
        self.arm(cx, cx.now);
    }

    /// A node that does well looks now and then whether there is a network it knows nothing of: if
    /// it has no edge to any seed it dials one.
    pub(crate) fn check_seeds(
        &mut self,
        cx: &mut Context<'_, Action>,
        has_edge: impl Fn(&NodeId) -> bool,
    ) {
        let seeds = || self.targets.iter().filter(|(_, target)| target.seed);
        if !self.by_itself || self.below_target || seeds().any(|(peer, _)| has_edge(peer)) {
            return;
        }
        let resting: Vec<NodeId> = seeds()
            .filter(|(_, target)| target.state == State::Resting)
            .map(|(peer, _)| *peer)
            .collect();
        if let Some(last) = (resting.len() as u64).checked_sub(1) {
            let seed = resting[cx.rng.below(last + 1) as usize];
            self.begin(cx, cx.now, seed, (Purpose::Edge, ATTEMPT_TIMEOUT));
            self.arm(cx, cx.now);
        }
    }

    /// This node has no edge left that it opened: seeds become urgent.
    pub(crate) fn on_no_outgoing(&mut self, cx: &mut Context<'_, Action>) {
        self.no_outgoing = true;
        for target in self.targets.values_mut().filter(|target| target.seed) {
            if let State::Waiting(until) = &mut target.state {
                let sooner = cx.rng.jitter(backoff::ISOLATED_WAIT_MAX, backoff::JITTER_PERCENT);
                *until = (*until).min(cx.now + sooner);
            }
        }
        self.arm(cx, cx.now);
    }

    /// Waits for as long as the failures so far demand.
    pub(super) fn wait(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if !self.by_itself || !self.below_target {
            target.state = State::Resting;
            return;
        }
        let wait = backoff::wait(target.failures, target.seed && self.no_outgoing);
        target.failures = target.failures.saturating_add(1);
        target.wait(cx, wait);
    }
}
