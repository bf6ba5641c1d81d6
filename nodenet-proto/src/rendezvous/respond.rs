//! Responder of rendezvous: which Hello gets a Reply (PROTOCOL.md#rendezvous-answers).
//!
//! Responsible for: one answer to each nonce, and the rate of answers. Never: verifies an envelope,
//! which the overlay did before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heapless::Vec as FixedVec;

use super::Nonce;
use crate::NodeId;
use crate::env::{Rate, TokenBucket};
use crate::overlay::{FIRST_HOPS, Hop};

/// Answers that Hellos over one neighbour draw in any case (a guess: a node that is looked for by
/// very many peers gets their questions over all its neighbours).
const OF_NEIGHBOUR: Rate = Rate::new(2, 16);
/// Answers beyond these, of all neighbours together (a guess). An answer takes two signatures and
/// three verifications, a quarter of a millisecond.
const SHARED: Rate = Rate::new(50, 100);
/// Neighbours whose budget is not full, at most. Without a place a neighbour has what all share.
const NEIGHBOURS_MAX: usize = 512;
/// Requesters that are remembered, at most (a guess). The longest answered is forgotten, and gets a
/// second answer to a nonce then.
const REQUESTERS_MAX: usize = 1_024;
/// A requester is remembered this long: a copy of its Hello is fresh for 60 s at most
/// (PROTOCOL.md#freshness).
const REMEMBERED: Duration = Duration::from_secs(61);
/// Nonces and first hops of answers that are remembered for one requester.
const NONCES: usize = 8;
const HOPS: usize = 3 * FIRST_HOPS;

/// What the responder remembers.
#[derive(Debug)]
pub(super) struct Responder {
    requesters: BTreeMap<NodeId, Requester>,
    budgets: BTreeMap<NodeId, TokenBucket>,
    shared: TokenBucket,
}

/// The answers to one requester.
#[derive(Debug)]
struct Requester {
    answered_at: Instant,
    /// The oldest first.
    nonces: FixedVec<Nonce, NONCES>,
    /// First hops of the answers, the oldest first.
    hops: FixedVec<Hop, HOPS>,
}

impl Responder {
    /// Nothing answered yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requesters: BTreeMap::new(),
            budgets: BTreeMap::new(),
            shared: TokenBucket::new(now),
        }
    }

    /// Whether a Hello over this neighbour may be answered. Asked before its signatures are
    /// verified, so that a flood costs none.
    pub(super) fn may_answer(&self, now: Instant, from: &NodeId) -> bool {
        self.sure(now, from).holds(now, OF_NEIGHBOUR, 1) && self.has_budget_place(from)
            || self.shared.holds(now, SHARED, 1)
    }

    /// Charges an answer to the neighbour that brought the Hello, or else to what all share.
    pub(super) fn charge(&mut self, now: Instant, from: NodeId) -> bool {
        let mut sure = self.sure(now, &from);
        if sure.take(now, OF_NEIGHBOUR, 1) {
            self.budgets.retain(|_, budget| budget.full_at() > now);
            if self.has_budget_place(&from) {
                self.budgets.insert(from, sure);
                return true;
            }
        }
        self.shared.take(now, SHARED, 1)
    }

    /// Whether this nonce of the requester was answered.
    pub(super) fn is_answered(&self, id: &NodeId, nonce: &Nonce) -> bool {
        self.requesters.get(id).is_some_and(|requester| requester.nonces.contains(nonce))
    }

    /// Notes an answer. Returns the first hops of earlier ones, which the requester may not have
    /// got, as it asks again.
    pub(super) fn note(&mut self, now: Instant, id: NodeId, nonce: Nonce) -> Vec<Hop> {
        if !self.requesters.contains_key(&id) && self.requesters.len() == REQUESTERS_MAX {
            let oldest = self.requesters.iter().min_by_key(|(_, of)| of.answered_at);
            let oldest = oldest.map(|(id, _)| *id);
            oldest.and_then(|id| self.requesters.remove(&id));
        }
        let requester = self.requesters.entry(id).or_insert_with(|| Requester {
            answered_at: now,
            nonces: FixedVec::new(),
            hops: FixedVec::new(),
        });
        if now.saturating_duration_since(requester.answered_at) > REMEMBERED {
            requester.hops.clear();
        }
        requester.answered_at = now;
        if requester.nonces.is_full() {
            requester.nonces.remove(0);
        }
        let _ = requester.nonces.push(nonce);
        requester.hops.to_vec()
    }

    /// The first hops of an answer to this requester.
    pub(super) fn handle_answered(&mut self, id: &NodeId, hops: &[Hop]) {
        let Some(requester) = self.requesters.get_mut(id) else { return };
        for hop in hops {
            if requester.hops.is_full() {
                requester.hops.remove(0);
            }
            let _ = requester.hops.push(*hop);
        }
    }

    /// Number of requesters that are remembered.
    pub(super) fn len(&self) -> usize {
        self.requesters.len()
    }

    /// Asserts the caps.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(super) fn check(&self) {
        assert!(self.requesters.len() <= REQUESTERS_MAX && self.budgets.len() <= NEIGHBOURS_MAX);
    }

    fn sure(&self, now: Instant, from: &NodeId) -> TokenBucket {
        self.budgets.get(from).copied().unwrap_or_else(|| TokenBucket::new(now))
    }

    fn has_budget_place(&self, from: &NodeId) -> bool {
        self.budgets.len() < NEIGHBOURS_MAX || self.budgets.contains_key(from)
    }
}
