//! Punch bursts that answer a Connect (PROTOCOL.md#punch-bursts).
//!
//! Responsible for: which of the addresses in a Connect get punches, how many, and when. Never:
//! dials, and never starts a burst that no signed message asked for.
//!
//! A peer chooses where these datagrams go, so each source of work has a budget: its originator,
//! the subnet that they go to, and this node as a whole.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heapless::Vec as FixedVec;
use indexmap::IndexMap;

use crate::NodeId;
use crate::addr::Subnet;
use crate::env::{CounterHash, Rate, TokenBucket};
use crate::stats::DropReason;

/// Volleys of a burst (reference).
pub(crate) const VOLLEYS: u8 = 5;
/// From one volley to the next (reference).
pub(crate) const SPACING: Duration = Duration::from_millis(50);
/// Addresses that get a volley, at most (reference).
pub(crate) const TARGETS_MAX: usize = 8;
/// Bursts under way (reference).
pub(crate) const BURSTS_MAX: usize = 32;
/// Bursts that one originator causes (a guess: one attempt and its repetitions).
const OF_ORIGINATOR: Rate = Rate::new(1, 4);
/// Datagrams to one subnet (a guess: one whole burst, then 128 bytes a second).
const TO_SUBNET: Rate = Rate::new(4, 40);
/// Datagrams of all bursts together (a guess).
const OF_NODE: Rate = Rate::new(200, 1000);
/// Buckets of each kind that are not full.
pub(crate) const BUCKETS_MAX: usize = 256;

/// A burst under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Burst {
    targets: FixedVec<SocketAddr, TARGETS_MAX>,
    volleys_left: u8,
    at: Instant,
}

/// The bursts of this node, and the budgets for them.
#[derive(Debug)]
pub(crate) struct Punches {
    bursts: Vec<Burst>,
    originators: Buckets<NodeId>,
    subnets: Buckets<Subnet>,
    all: TokenBucket,
}

impl Punches {
    /// No bursts.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bursts: Vec::new(),
            originators: Buckets::new(OF_ORIGINATOR),
            subnets: Buckets::new(TO_SUBNET),
            all: TokenBucket::new(now),
        }
    }

    /// Plans a burst for `originator`; its first volley is due at once. Returns a reason for each
    /// target that gets none, or one for the whole burst.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        originator: NodeId,
        targets: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<DropReason> {
        if self.bursts.len() >= BURSTS_MAX {
            return vec![DropReason::PunchesFull];
        }
        if !self.originators.take(now, originator, 1) {
            return vec![DropReason::PunchRateLimited];
        }
        let (mut allowed, mut refused) = (FixedVec::new(), Vec::new());
        for target in targets.into_iter().take(TARGETS_MAX) {
            let count = u64::from(VOLLEYS);
            let subnet = Subnet::of(target.ip());
            let may_send = self.all.holds(now, OF_NODE, count)
                && self.subnets.take(now, subnet, count)
                && self.all.take(now, OF_NODE, count);
            if may_send {
                let _ = allowed.push(target);
            } else {
                refused.push(DropReason::PunchRateLimited);
            }
        }
        if !allowed.is_empty() {
            self.bursts.push(Burst { targets: allowed, volleys_left: VOLLEYS, at: now });
        }
        refused
    }

    /// The volleys that are due: where each of their datagrams goes.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut datagrams = Vec::new();
        for burst in self.bursts.iter_mut().filter(|burst| burst.at <= now) {
            datagrams.extend(&burst.targets);
            burst.volleys_left -= 1;
            burst.at = now + SPACING;
        }
        self.bursts.retain(|burst| burst.volleys_left > 0);
        datagrams
    }

    /// When the next volley is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.bursts.iter().map(|burst| burst.at).min()
    }

    /// Ends every burst.
    pub(crate) fn stop(&mut self) {
        self.bursts.clear();
    }

    /// Bursts under way.
    pub(crate) fn len(&self) -> usize {
        self.bursts.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.bursts.len() <= BURSTS_MAX);
        assert!(self.bursts.iter().all(|burst| (1..=VOLLEYS).contains(&burst.volleys_left)));
        assert!(self.originators.buckets.len() <= BUCKETS_MAX);
        assert!(self.subnets.buckets.len() <= BUCKETS_MAX);
    }
}

/// Buckets of one rate by key. Full ones are not kept; if all places are taken, nothing new is
/// allowed, because a key costs nothing to make.
#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    buckets: IndexMap<K, TokenBucket, CounterHash>,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, buckets: IndexMap::default() }
    }

    fn take(&mut self, now: Instant, key: K, count: u64) -> bool {
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| bucket.full_at() > now);
            if self.buckets.len() >= BUCKETS_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(key).or_insert_with(|| TokenBucket::new(now));
        bucket.take(now, self.rate, count)
    }
}

/// Different targets in the order given.
pub(crate) fn distinct(targets: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = BTreeMap::new();
    targets.into_iter().filter(|target| seen.insert(*target, ()).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    fn id(first: u8) -> NodeId {
        NodeId::from_bytes([first; 32])
    }

    fn addr(third: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, third, 7], port))
    }

    fn ms(ms: u64) -> Instant {
        test_base() + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_five_volleys_fifty_milliseconds_apart() {
        let mut punches = Punches::new(ms(0));
        assert_eq!(punches.begin(ms(0), id(1), [addr(1, 1), addr(2, 1)]), []);
        for volley in 0..5 {
            assert_eq!(punches.next_at(), Some(ms(50 * volley)));
            if volley > 0 {
                assert_eq!(punches.due(ms(50 * volley - 1)), []);
            }
            assert_eq!(punches.due(ms(50 * volley)), [addr(1, 1), addr(2, 1)]);
        }
        assert_eq!((punches.next_at(), punches.due(ms(1000))), (None, vec![]));
        punches.check();
    }

    /// THREATS.md#e8
    #[test]
    fn bursts_are_limited_by_originator_destination_and_number() {
        let mut punches = Punches::new(ms(0));
        for number in 0..4 {
            assert_eq!(punches.begin(ms(0), id(1), [addr(number, 1)]), []);
        }
        let limited = [DropReason::PunchRateLimited];
        assert_eq!(punches.begin(ms(0), id(1), [addr(9, 1)]), limited, "of one originator");
        // Eight ports of one host use up what its subnet gets.
        let eight = (0..8).map(|port| addr(20, 1000 + port));
        assert_eq!(punches.begin(ms(0), id(2), eight), []);
        assert_eq!(punches.begin(ms(0), id(3), [addr(20, 1)]), limited, "to one subnet");
        for number in 0..27 {
            assert_eq!(punches.begin(ms(0), id(10 + number), [addr(50 + number, 1)]), []);
        }
        assert_eq!(punches.len(), BURSTS_MAX);
        assert_eq!(punches.begin(ms(0), id(200), [addr(200, 1)]), [DropReason::PunchesFull]);
        punches.check();
    }

    #[test]
    fn new_keys_bring_no_fresh_budget_when_all_places_are_taken() {
        let mut buckets = Buckets::new(Rate::new(1, 1));
        for number in 0..BUCKETS_MAX {
            assert!(buckets.take(ms(0), number, 1));
        }
        assert!(!buckets.take(ms(0), BUCKETS_MAX, 1));
        assert!(buckets.take(ms(2000), BUCKETS_MAX, 1), "the others are full again");
    }

    #[test]
    fn no_more_than_eight_addresses_get_a_volley() {
        let mut punches = Punches::new(ms(0));
        let many = (0..20).map(|third| addr(third, 1));
        assert_eq!(punches.begin(ms(0), id(1), distinct(many)), []);
        assert_eq!(punches.due(ms(0)).len(), TARGETS_MAX);
    }
}
