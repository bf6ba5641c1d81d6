//! Fair shares of what a relay volunteer passes on (PROTOCOL.md#relay-splices).
//!
//! Responsible for: the rate of all splices together, how groups of them share it, and what is left
//! of a quota. Never: knows why splices are one group.
//!
//! While more than half of a burst is left, any splice is served. Below that, a group is served
//! from a bucket of its own, which fills at its part of the rate. A group that sends alone gets the
//! whole rate; one that sends little is never kept out by one that sends much.

use std::time::Instant;

use indexmap::IndexMap;

use crate::env::{CounterHash, Rate, TokenBucket};
use crate::stats::DropReason;

/// Least burst of a group (a guess: two full datagrams).
const GROUP_BURST_MIN: u64 = 3_000;
/// Least burst of all: the largest datagram.
const BURST_MIN: u64 = 65_536;

/// Splices of one group.
#[derive(Debug)]
struct Group {
    bucket: TokenBucket,
    splices: usize,
}

/// The rate and the quota of all splices.
#[derive(Debug)]
pub(super) struct Shares {
    per_s: u64,
    burst: u64,
    all: TokenBucket,
    groups: IndexMap<u64, Group, CounterHash>,
    bytes_left: Option<u64>,
}

impl Shares {
    /// No splices, and this rate.
    pub(super) fn new(now: Instant, per_s: u64, burst: u64) -> Self {
        let (all, groups) = (TokenBucket::new(now), IndexMap::default());
        Self { per_s, burst, all, groups, bytes_left: None }
    }

    /// Sets the rate, and how much may be passed on from now.
    pub(super) fn set(&mut self, now: Instant, per_s: u64, bytes_left: Option<u64>) {
        self.per_s = per_s.max(1);
        // An eighth of a second, as the reference's burst of its rate.
        self.burst = (self.per_s / 8).max(BURST_MIN);
        self.all = TokenBucket::new(now);
        self.bytes_left = bytes_left;
    }

    /// What is left of the quota, if there is one.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        self.bytes_left
    }

    /// Counts what is left as used, because it is too little for a datagram.
    pub(super) fn use_up(&mut self) {
        self.bytes_left = self.bytes_left.map(|_| 0);
    }

    /// A splice of this group opened.
    pub(super) fn join(&mut self, now: Instant, group: u64) {
        let new = || Group { bucket: TokenBucket::new(now), splices: 0 };
        self.groups.entry(group).or_insert_with(new).splices += 1;
    }

    /// A splice of this group is over.
    pub(super) fn leave(&mut self, group: u64) {
        let Some(known) = self.groups.get_mut(&group) else { return };
        known.splices -= 1;
        if known.splices == 0 {
            self.groups.swap_remove(&group);
        }
    }

    /// Takes `len` bytes for a splice of this group.
    ///
    /// # Errors
    /// Why they are not passed on.
    pub(super) fn take(&mut self, now: Instant, group: u64, len: u64) -> Result<(), DropReason> {
        if self.bytes_left.is_some_and(|left| left < len) {
            return Err(DropReason::SpliceQuotaUsed);
        }
        let rate = Rate::at_most(self.per_s, self.burst);
        let is_taken = self.all.take_and_leave(now, rate, len, self.burst / 2)
            || (self.take_share(now, group, len) && self.all.take(now, rate, len));
        if !is_taken {
            return Err(DropReason::SpliceRateLimited);
        }
        if let Some(left) = &mut self.bytes_left {
            *left -= len;
        }
        Ok(())
    }

    fn take_share(&mut self, now: Instant, group: u64, len: u64) -> bool {
        let count = self.groups.len() as u64;
        if count <= 1 {
            return true;
        }
        let burst = (self.burst / (2 * count)).max(GROUP_BURST_MIN);
        let rate = Rate::at_most((self.per_s / count).max(1), burst);
        self.groups.get_mut(&group).is_some_and(|known| known.bucket.take(now, rate, len))
    }

    /// Splices of all groups.
    pub(super) fn splices(&self) -> usize {
        self.groups.values().map(|group| group.splices).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::test_base;

    /// Bytes that each group got in ten seconds in which each offers as many a millisecond.
    fn ten_seconds(offers: &[u64]) -> Vec<u64> {
        let start = test_base();
        let mut shares = Shares::new(start, 2_000_000, 262_144);
        (0..offers.len()).for_each(|group| shares.join(start, group as u64));
        let mut got = vec![0; offers.len()];
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            for (group, offer) in offers.iter().enumerate() {
                for _ in 0..offer / 1_000 {
                    let taken = shares.take(now, group as u64, 1_000);
                    got[group] += if taken.is_ok() { 1_000 } else { 0 };
                }
            }
        }
        got
    }

    /// THREATS.md#e13
    #[test]
    fn a_group_that_sends_much_leaves_its_share_to_one_that_sends_little() {
        let alone = ten_seconds(&[10_000]);
        assert!((20_000_000..20_400_000).contains(&alone[0]), "the whole rate: {alone:?}");
        let idle = ten_seconds(&[10_000, 0, 0, 0]);
        assert!((20_000_000..20_400_000).contains(&idle[0]), "idle groups take nothing: {idle:?}");
        let both = ten_seconds(&[50_000, 1_000]);
        assert_eq!(both[1], 10_000_000, "half of the rate is there for it: {both:?}");
        let greedy = ten_seconds(&[50_000, 50_000]);
        let ratio = greedy[0] as f64 / greedy[1] as f64;
        assert!((0.5..2.0).contains(&ratio), "{greedy:?}");
    }

    #[test]
    fn a_quota_is_used_up_once_and_a_new_one_begins_afresh() {
        let now = test_base();
        let mut shares = Shares::new(now, 2_000_000, 262_144);
        shares.join(now, 7);
        shares.set(now, 1_000_000, Some(2_500));
        assert_eq!(shares.take(now, 7, 1_000), Ok(()));
        assert_eq!(shares.take(now, 7, 1_000), Ok(()));
        assert_eq!(shares.take(now, 7, 1_000), Err(DropReason::SpliceQuotaUsed));
        assert_eq!(shares.bytes_left(), Some(500));
        shares.set(now, 1_000_000, Some(2_500));
        assert_eq!(shares.take(now, 7, 1_000), Ok(()));
        shares.leave(7);
        assert_eq!(shares.splices(), 0);
    }
}
