//! Which messages were taken already.
//!
//! A message reaches its terminal in up to three copies, and whoever holds one may send it again as
//! long as it is fresh. The terminal therefore remembers the signing digest (spec 70 §8), never bytes
//! of the frame, which have many spellings (spec 10 W1). Looked up before the signature is verified,
//! so that copies cost no public-key operation; inserted after, so that forgeries take no room.
//!
//! Room is shared out among the neighbours that messages came over, not among originators as spec 70 §8
//! proposes: an identifier costs nothing to make, so whoever floods uses a fresh one for each message
//! and would have every honest originator with two of them look like the heaviest. A neighbour is
//! throttled, and loses its own oldest keys first.
//!
//! Never: counts, verifies, or reads a clock. A key lives until its message is stale.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::NodeId;
use crate::env::UnixNanos;

/// Keys in all (spec 70 §8).
const KEYS_MAX: usize = 16_384;
/// Stale keys forgotten for each one remembered: more than one, so that they get fewer, and not all,
/// because thousands may become stale at once.
const STALE_PER_INSERT: usize = 8;

/// The first half of a signing digest. Only its originator could make two messages share it, at the
/// price of 2^64 hashes, and would gain the loss of one of them.
type Key = u128;

/// The messages taken while they are fresh.
///
/// Full, it forgets the oldest key of the neighbour that has the most.
#[derive(Debug, Clone)]
pub struct Duplicates {
    keys: BTreeSet<Key>,
    by_expiry: BTreeSet<(UnixNanos, Key, NodeId)>,
    by_neighbour: BTreeMap<NodeId, VecDeque<(Key, UnixNanos)>>,
    by_count: BTreeSet<(usize, NodeId)>,
    keys_max: usize,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::with_cap(KEYS_MAX)
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

    /// Remembers a verified message that came over this neighbour until it is stale at `expires`.
    pub fn insert(
        &mut self,
        wall: UnixNanos,
        digest: &[u8; 32],
        neighbour: NodeId,
        expires: UnixNanos,
    ) {
        self.forget_stale(wall);
        let key = key(digest);
        if !self.keys.insert(key) {
            return;
        }
        self.by_expiry.insert((expires, key, neighbour));
        let of_neighbour = self.by_neighbour.entry(neighbour).or_default();
        of_neighbour.push_back((key, expires));
        let count = of_neighbour.len();
        self.by_count.remove(&(count - 1, neighbour));
        self.by_count.insert((count, neighbour));
        if self.keys.len() > self.keys_max {
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
        let counted: usize = self.by_neighbour.values().map(VecDeque::len).sum();
        assert_eq!(self.keys.len(), counted);
        assert_eq!(self.keys.len(), self.by_expiry.len());
        assert_eq!(self.by_neighbour.len(), self.by_count.len());
        assert!(self.keys.len() <= self.keys_max);
        for (neighbour, keys) in &self.by_neighbour {
            assert!(!keys.is_empty());
            assert!(self.by_count.contains(&(keys.len(), *neighbour)));
        }
    }

    fn with_cap(keys_max: usize) -> Self {
        Self {
            keys: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            by_neighbour: BTreeMap::new(),
            by_count: BTreeSet::new(),
            keys_max,
        }
    }

    fn forget_stale(&mut self, wall: UnixNanos) {
        for _ in 0..STALE_PER_INSERT {
            match self.by_expiry.first() {
                Some(&(expires, key, neighbour)) if expires < wall => self.forget(neighbour, key),
                _ => return,
            }
        }
    }

    fn forget_oldest_of(&mut self, neighbour: NodeId) {
        let oldest = self.by_neighbour.get(&neighbour).and_then(VecDeque::front);
        if let Some(&(key, _)) = oldest {
            self.forget(neighbour, key);
        }
    }

    fn forget(&mut self, neighbour: NodeId, key: Key) {
        let Some(of_neighbour) = self.by_neighbour.get_mut(&neighbour) else { return };
        let count = of_neighbour.len();
        let Some(at) = of_neighbour.iter().position(|&(other, _)| other == key) else { return };
        let expires = of_neighbour.remove(at).map_or(UnixNanos(0), |(_, expires)| expires);
        self.keys.remove(&key);
        self.by_expiry.remove(&(expires, key, neighbour));
        self.by_count.remove(&(count, neighbour));
        if count == 1 {
            self.by_neighbour.remove(&neighbour);
        } else {
            self.by_count.insert((count - 1, neighbour));
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
    fn a_full_cache_takes_from_the_neighbour_that_has_most() {
        let mut duplicates = Duplicates::with_cap(4);
        for number in 1..=3 {
            insert(&mut duplicates, 0, number, ALICE, 30);
        }
        insert(&mut duplicates, 0, 4, BOB, 30);
        insert(&mut duplicates, 0, 5, BOB, 30);
        let kept: Vec<u8> = (1..=5).filter(|&n| duplicates.contains(&digest(n))).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
    }

    /// A flood over one neighbour costs the others nothing, whoever it claims to be from.
    #[test]
    fn a_flood_displaces_only_what_came_the_same_way() {
        let mut duplicates = Duplicates::with_cap(8);
        insert(&mut duplicates, 0, 1, BOB, 30);
        insert(&mut duplicates, 0, 2, BOB, 30);
        for number in 10..100 {
            insert(&mut duplicates, 0, number, ALICE, 60);
        }
        let kept: Vec<u8> = (1..=100).filter(|&n| duplicates.contains(&digest(n))).collect();
        assert_eq!(kept, [1, 2, 94, 95, 96, 97, 98, 99]);
    }

    #[test]
    fn thousands_that_become_stale_together_are_forgotten_little_by_little() {
        let mut duplicates = Duplicates::with_cap(64);
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
