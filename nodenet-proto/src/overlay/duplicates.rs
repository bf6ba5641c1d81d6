//! Which messages were taken already.
//!
//! A message reaches its terminal in up to three copies, and whoever holds one may send it again as
//! long as it is fresh. The terminal therefore remembers the signing digest (spec 70 §8), never bytes
//! of the frame, which have many spellings (spec 10 W1). Looked up before the signature is verified,
//! so that copies cost no public-key operation; inserted after, so that forgeries take no room.
//!
//! Never: counts, verifies, or reads a clock. A key lives until its message is stale.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::NodeId;
use crate::env::UnixNanos;

/// Keys in all (spec 70 §8).
const KEYS_MAX: usize = 16_384;
/// Keys of one originator (spec 70 §8).
const KEYS_PER_ORIGINATOR_MAX: usize = 1024;
/// Stale keys forgotten for each one remembered: more than one, so that they get fewer, and not all,
/// because thousands may become stale at once.
const STALE_PER_INSERT: usize = 8;

/// The first half of a signing digest. Only its originator could make two messages share it, at the
/// price of 2^64 hashes, and would gain the loss of one of them.
type Key = u128;

/// The messages taken while they are fresh.
///
/// Full, it forgets the oldest key of the originator that has the most.
#[derive(Debug, Clone)]
pub struct Duplicates {
    keys: BTreeSet<Key>,
    by_expiry: BTreeSet<(UnixNanos, Key, NodeId)>,
    by_originator: BTreeMap<NodeId, VecDeque<(Key, UnixNanos)>>,
    by_count: BTreeSet<(usize, NodeId)>,
    keys_max: usize,
    keys_per_originator_max: usize,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::with_caps(KEYS_MAX, KEYS_PER_ORIGINATOR_MAX)
    }
}

impl Duplicates {
    /// Nothing taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a message with this signing digest was taken.
    pub fn contains(&self, digest: &[u8; 32]) -> bool {
        self.keys.contains(&key(digest))
    }

    /// Remembers a verified message until it is stale at `expires`.
    pub fn insert(
        &mut self,
        wall: UnixNanos,
        digest: &[u8; 32],
        originator: NodeId,
        expires: UnixNanos,
    ) {
        self.forget_stale(wall);
        let key = key(digest);
        if !self.keys.insert(key) {
            return;
        }
        self.by_expiry.insert((expires, key, originator));
        let of_originator = self.by_originator.entry(originator).or_default();
        of_originator.push_back((key, expires));
        let count = of_originator.len();
        self.by_count.remove(&(count - 1, originator));
        self.by_count.insert((count, originator));
        if count > self.keys_per_originator_max {
            self.forget_oldest_of(originator);
        } else if self.keys.len() > self.keys_max {
            let (_, heaviest) = *self.by_count.last().expect("there are keys, so they have owners");
            self.forget_oldest_of(heaviest);
        }
    }

    /// Number of messages remembered.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Asserts that the four views agree and the caps hold.
    ///
    /// # Panics
    /// If they do not, which is a bug here.
    pub fn check(&self) {
        let counted: usize = self.by_originator.values().map(VecDeque::len).sum();
        assert_eq!(self.keys.len(), counted);
        assert_eq!(self.keys.len(), self.by_expiry.len());
        assert_eq!(self.by_originator.len(), self.by_count.len());
        assert!(self.keys.len() <= self.keys_max);
        for (originator, keys) in &self.by_originator {
            assert!(!keys.is_empty() && keys.len() <= self.keys_per_originator_max);
            assert!(self.by_count.contains(&(keys.len(), *originator)));
        }
    }

    fn with_caps(keys_max: usize, keys_per_originator_max: usize) -> Self {
        Self {
            keys: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            by_originator: BTreeMap::new(),
            by_count: BTreeSet::new(),
            keys_max,
            keys_per_originator_max,
        }
    }

    fn forget_stale(&mut self, wall: UnixNanos) {
        for _ in 0..STALE_PER_INSERT {
            match self.by_expiry.first() {
                Some(&(expires, key, originator)) if expires < wall => self.forget(originator, key),
                _ => return,
            }
        }
    }

    fn forget_oldest_of(&mut self, originator: NodeId) {
        let oldest = self.by_originator.get(&originator).and_then(VecDeque::front);
        if let Some(&(key, _)) = oldest {
            self.forget(originator, key);
        }
    }

    fn forget(&mut self, originator: NodeId, key: Key) {
        let Some(of_originator) = self.by_originator.get_mut(&originator) else { return };
        let count = of_originator.len();
        let Some(at) = of_originator.iter().position(|&(other, _)| other == key) else { return };
        let expires = of_originator.remove(at).map_or(UnixNanos(0), |(_, expires)| expires);
        self.keys.remove(&key);
        self.by_expiry.remove(&(expires, key, originator));
        self.by_count.remove(&(count, originator));
        if count == 1 {
            self.by_originator.remove(&originator);
        } else {
            self.by_count.insert((count - 1, originator));
        }
    }
}

fn key(digest: &[u8; 32]) -> Key {
    digest[..16].iter().fold(0, |key, &byte| key << 8 | Key::from(byte))
}

#[cfg(test)]
mod tests {
    use super::Duplicates;
    use crate::NodeId;
    use crate::env::UnixNanos;

    const ALICE: NodeId = NodeId::from_bytes([0xa1; 32]);
    const BOB: NodeId = NodeId::from_bytes([0xb0; 32]);

    fn digest(number: u8) -> [u8; 32] {
        [number; 32]
    }

    fn insert(duplicates: &mut Duplicates, wall: i64, number: u8, who: NodeId, expires: i64) {
        duplicates.insert(UnixNanos(wall), &digest(number), who, UnixNanos(expires));
        duplicates.check();
    }

    #[test]
    fn a_message_is_remembered_to_the_last_instant_of_its_freshness() {
        let mut duplicates = Duplicates::new();
        insert(&mut duplicates, 0, 1, ALICE, 30);
        assert!(duplicates.contains(&digest(1)));
        insert(&mut duplicates, 30, 2, ALICE, 60);
        assert!(duplicates.contains(&digest(1)));
        insert(&mut duplicates, 31, 3, ALICE, 61);
        assert!(!duplicates.contains(&digest(1)));
        assert_eq!(duplicates.len(), 2);
    }

    #[test]
    fn taking_a_message_twice_changes_nothing() {
        let mut duplicates = Duplicates::new();
        insert(&mut duplicates, 0, 1, ALICE, 30);
        insert(&mut duplicates, 0, 1, ALICE, 30);
        assert_eq!(duplicates.len(), 1);
    }

    #[test]
    fn an_originator_over_its_share_loses_its_own_oldest() {
        let mut duplicates = Duplicates::with_caps(8, 2);
        insert(&mut duplicates, 0, 1, BOB, 30);
        for number in 2..=4 {
            insert(&mut duplicates, 0, number, ALICE, 30);
        }
        let kept: Vec<u8> = (1..=4).filter(|&n| duplicates.contains(&digest(n))).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    #[test]
    fn a_full_cache_takes_from_whoever_has_most() {
        let mut duplicates = Duplicates::with_caps(4, 4);
        for number in 1..=3 {
            insert(&mut duplicates, 0, number, ALICE, 30);
        }
        insert(&mut duplicates, 0, 4, BOB, 30);
        insert(&mut duplicates, 0, 5, BOB, 30);
        let kept: Vec<u8> = (1..=5).filter(|&n| duplicates.contains(&digest(n))).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
    }

    #[test]
    fn thousands_that_become_stale_together_are_forgotten_little_by_little() {
        let mut duplicates = Duplicates::with_caps(64, 64);
        for number in 0..64 {
            insert(&mut duplicates, 0, number, ALICE, 30);
        }
        insert(&mut duplicates, 31, 100, BOB, 61);
        assert_eq!(duplicates.len(), 64 - 8 + 1);
        for number in 101..110 {
            insert(&mut duplicates, 31, number, BOB, 61);
        }
        let kept: Vec<u8> = (0..128).filter(|&n| duplicates.contains(&digest(n))).collect();
        assert_eq!(kept, (100..110).collect::<Vec<u8>>(), "no fresh one was forgotten for them");
    }
}
