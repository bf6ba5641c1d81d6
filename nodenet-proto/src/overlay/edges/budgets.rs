//! Budgets of neighbours and originators: how much work each may cause (PROTOCOL.md#edge-budgets,
//! PROTOCOL.md#originator-budget).
//!
//! Budgets are kept by identifier, not by conn: a peer that opens its conn anew gets no fresh one
//! (PROTOCOL.md#budgets-outlive-edges). Each is kept until it is full again, because a full one is
//! the same as none. Two tables use that rule, [`Originators`] and [`RetainedBudgets`]. Neither is
//! ever wiped; one that is full evicts the entry that is nearest to a full bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::NodeId;
use crate::env::token_bucket::{Rate, TokenBucket};

/// Originators with a bucket that is not full (PROTOCOL.md#originator-budget).
const ORIGINATORS_MAX: usize = 4096;
/// Former neighbours with budgets that are not full: as many as can be edges at once. Replacing
/// every edge in the two seconds that a budget takes to fill loses none.
const RETAINED_MAX: usize = 512;

impl Rate {
    /// Control frames of one edge (PROTOCOL.md#edge-budgets).
    pub const CONTROL: Self = Self::new(16, 32);
    /// Routed and application frames of one edge (PROTOCOL.md#edge-budgets).
    pub const FORWARD: Self = Self::new(512, 1024);
    /// Messages sent to one edge, this node's own and those in transit. The rate is below the
    /// [`Self::FORWARD`] that the peer charges them to, because requests are charged to that as
    /// well. The burst is one that an application on the reference takes from its queue of 64. 480
    /// a second, rounded down to whole nanoseconds.
    pub const OUTBOUND: Self = Self::at_most(480, 32);
    /// Work done for one verified originator (PROTOCOL.md#originator-budget).
    pub const ORIGINATOR: Self = Self::new(16, 32);
    /// Detours that one edge may cause in any case (a guess: the messages of a conversation with
    /// one peer that is hard to reach). It fills as fast as the others.
    pub const DETOUR_SURE: Self = Self::new(4, 8);
    /// Detours that all edges share beyond these (a guess: at sixteen copies each, about as much as
    /// two edges may have forwarded).
    pub const DETOUR_SHARED: Self = Self::new(64, 128);
}

/// The budgets of one neighbour. All fill in two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeBudgets {
    control: TokenBucket,
    forward: TokenBucket,
    detour: TokenBucket,
}

impl EdgeBudgets {
    /// All full.
    pub const fn new(now: Instant) -> Self {
        let full = TokenBucket::new(now);
        Self { control: full, forward: full, detour: full }
    }

    /// Charges a control frame; false if there is nothing left.
    pub fn charge_control(&mut self, now: Instant) -> bool {
        self.control.take(now, Rate::CONTROL, 1)
    }

    /// Charges this number of routed or application frames, or none and returns false if there is
    /// too little left.
    pub fn charge_forward(&mut self, now: Instant, frames: u64) -> bool {
        self.forward.take(now, Rate::FORWARD, frames)
    }

    /// Whether a detour of this number of pieces is within what this neighbour is sure of.
    pub fn may_detour(&self, now: Instant, pieces: u64) -> bool {
        self.detour.holds(now, Rate::DETOUR_SURE, pieces)
    }

    /// Charges a detour of this number of pieces; false if there is too little left.
    pub fn charge_detour(&mut self, now: Instant, pieces: u64) -> bool {
        self.detour.take(now, Rate::DETOUR_SURE, pieces)
    }
}

/// One bucket for each verified originator that lately caused work.
#[derive(Debug, Clone)]
pub struct Originators(RefillTable<TokenBucket>);

impl Default for Originators {
    fn default() -> Self {
        Self(RefillTable::new(ORIGINATORS_MAX))
    }
}

impl Originators {
    /// Charges one piece of work done for `originator`, whose signature was verified; false if it
    /// has nothing left.
    pub fn charge(&mut self, now: Instant, originator: NodeId) -> bool {
        let mut bucket = self.0.remove(&originator).unwrap_or(TokenBucket::new(now));
        let allowed = bucket.take(now, Rate::ORIGINATOR, 1);
        self.0.insert(now, originator, bucket);
        allowed
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.0.values.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub fn check(&self) {
        self.0.check();
    }
}

/// The budgets of neighbours that are gone and may come back.
#[derive(Debug, Clone)]
pub struct RetainedBudgets(RefillTable<EdgeBudgets>);

impl Default for RetainedBudgets {
    fn default() -> Self {
        Self(RefillTable::new(RETAINED_MAX))
    }
}

impl RetainedBudgets {
    /// Keeps the budgets of a neighbour that is gone.
    pub fn keep(&mut self, now: Instant, peer: NodeId, budgets: EdgeBudgets) {
        self.0.insert(now, peer, budgets);
    }

    /// The budgets of a neighbour whose edge begins: the retained ones, if there are any.
    pub fn resume(&mut self, now: Instant, peer: &NodeId) -> EdgeBudgets {
        self.0.remove(peer).unwrap_or(EdgeBudgets::new(now))
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.0.values.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub fn check(&self) {
        self.0.check();
    }
}

trait Refill {
    fn full_at(&self) -> Instant;
}

impl Refill for TokenBucket {
    fn full_at(&self) -> Instant {
        TokenBucket::full_at(self)
    }
}

impl Refill for EdgeBudgets {
    fn full_at(&self) -> Instant {
        self.control.full_at().max(self.forward.full_at()).max(self.detour.full_at())
    }
}

/// Buckets that need no entry once they are full, ordered by when that is. At one rate that order
/// is also the order by how full they are now.
#[derive(Debug, Clone)]
struct RefillTable<V> {
    values: BTreeMap<NodeId, V>,
    by_full_at: BTreeSet<(Instant, NodeId)>,
    max: usize,
}

impl<V: Refill> RefillTable<V> {
    const fn new(max: usize) -> Self {
        Self { values: BTreeMap::new(), by_full_at: BTreeSet::new(), max }
    }

    fn remove(&mut self, id: &NodeId) -> Option<V> {
        let value = self.values.remove(id)?;
        self.by_full_at.remove(&(value.full_at(), *id));
        Some(value)
    }

    fn insert(&mut self, now: Instant, id: NodeId, value: V) {
        self.remove(&id);
        // Evicts before the new entry goes in: an entry that evicts itself would never be
        // throttled.
        while let Some(&(full_at, fullest)) = self.by_full_at.first() {
            if full_at > now && self.values.len() < self.max {
                break;
            }
            self.remove(&fullest);
        }
        self.by_full_at.insert((value.full_at(), id));
        self.values.insert(id, value);
    }

    fn check(&self) {
        assert!(self.values.len() <= self.max);
        assert_eq!(self.values.len(), self.by_full_at.len());
        for (id, value) in &self.values {
            assert!(self.by_full_at.contains(&(value.full_at(), *id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Originators, RefillTable, RetainedBudgets};
    use crate::NodeId;
    use crate::env::test_base;

    fn id(number: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn allowed(
        originators: &mut Originators,
        after_ms: u64,
        who: NodeId,
        attempts: usize,
    ) -> usize {
        let now = test_base() + Duration::from_millis(after_ms);
        (0..attempts).filter(|_| originators.charge(now, who)).count()
    }

    #[test]
    fn an_originator_gets_its_burst_and_then_its_rate() {
        let mut originators = Originators::default();
        assert_eq!(allowed(&mut originators, 0, id(1), 200), 32);
        assert_eq!(allowed(&mut originators, 1000, id(1), 200), 16);
        originators.check();
    }

    #[test]
    fn many_new_originators_do_not_give_a_throttled_one_a_fresh_burst() {
        let mut originators = Originators(RefillTable::new(64));
        assert_eq!(allowed(&mut originators, 0, id(0), 40), 32);
        for number in 1..1000 {
            assert_eq!(allowed(&mut originators, 0, id(number), 1), 1);
            originators.check();
        }
        assert_eq!(allowed(&mut originators, 0, id(0), 1), 0);
    }

    #[test]
    fn a_new_originator_in_a_full_table_is_throttled_too() {
        let mut originators = Originators(RefillTable::new(4));
        for number in 0..4 {
            allowed(&mut originators, 0, id(number), 32);
        }
        assert_eq!(allowed(&mut originators, 0, id(9), 200), 32);
    }

    #[test]
    fn full_buckets_take_no_room() {
        let mut originators = Originators::default();
        for number in 0..100 {
            allowed(&mut originators, 0, id(number), 1);
        }
        allowed(&mut originators, 10_000, id(200), 1);
        assert_eq!(originators.0.values.len(), 1);
    }

    #[test]
    fn leaving_and_coming_back_keeps_the_budgets() {
        let (mut retained_budgets, now) = (RetainedBudgets::default(), test_base());
        let mut budgets = retained_budgets.resume(now, &id(1));
        while budgets.charge_forward(now, 1) {}
        while budgets.charge_control(now) {}
        while budgets.charge_detour(now, 1) {}
        retained_budgets.keep(now, id(1), budgets);
        let mut again = retained_budgets.resume(now, &id(1));
        assert!(!again.charge_forward(now, 1) && !again.charge_control(now));
        assert!(!again.may_detour(now, 1));
        assert!(
            retained_budgets.resume(now, &id(1)).charge_forward(now, 1),
            "kept once, for the edge that resumes"
        );
        retained_budgets.check();
    }
}
