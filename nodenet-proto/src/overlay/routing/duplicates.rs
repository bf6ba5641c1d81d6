//! Duplicate detection at the end of a route (PROTOCOL.md#duplicates).
//!
//! A message reaches its last node in up to three copies, and a node that has one may send it again
//! while it is fresh. The last node therefore keeps the signing digest, never bytes of the frame,
//! which have many encodings (PROTOCOL.md#uvarint). The digest is looked up before the signature is
//! verified, so that copies cost no public-key operation. It is inserted afterwards, so that
//! forgeries take no room.
//!
//! A fresh digest is never evicted: otherwise a flood could replay what was taken. Without room a
//! new message is refused. Room is accounted to the neighbour that forwarded the message, not to
//! its originator. Identifiers cost nothing to make, so a flood has a fresh one for each message
//! (PROTOCOL.md#room-for-duplicates).
//!
//! Never: counts, verifies, or reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::NodeId;
use crate::env::UnixNanos;
use crate::wire::envelope::AGE_MAX;

/// Number of keys that there is room for.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Shared by all neighbours: one of them has at most as much of it as is left. One alone thus
    /// gets half, a second one half of what is left then, and so on.
    shared: usize,
    /// Every neighbour has room for this many in any case, …
    sure: usize,
    /// … until there are this many in all.
    all: usize,
}

/// Messages with the current time that one neighbour can forward while they are fresh, and up to a
/// second more. It is a burst and the rate of its forward budget (PROTOCOL.md#edge-budgets).
const OF_ONE: usize = 1_024 + 31 * 512;
/// Half of it for one neighbour that is alone. The rest is a guess: a message a second from every
/// neighbour, of which 256 can use their sure room at once.
const ROOM: Room = Room { shared: 2 * OF_ONE, sure: 32, all: 2 * OF_ONE + 32 * 256 };

const NANOS_PER_S: i64 = 1_000_000_000;

/// The first half of a signing digest. Only its originator could make two messages share it, at the
/// price of 2^64 hashes, with the loss of one of them as the result.
type Key = u128;

/// The messages that were taken and are fresh.
#[derive(Debug, Clone)]
pub struct Duplicates {
    /// By the second of their time stamp, so that all of one second are removed at once.
    seconds: BTreeMap<i64, Second>,
    by_neighbour: BTreeMap<NodeId, usize>,
    len: usize,
    room: Room,
}

/// The messages of one second.
#[derive(Debug, Clone, Default)]
struct Second {
    keys: BTreeSet<Key>,
    by_neighbour: BTreeMap<NodeId, usize>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Duplicates {
    /// Nothing taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a message made at `sent` with this signing digest was taken.
    pub fn contains(&self, digest: &[u8; 32], sent: UnixNanos) -> bool {
        self.seconds.get(&second(sent)).is_some_and(|second| second.keys.contains(&key(digest)))
    }

    /// Whether there is room for a message that this neighbour forwarded. Removes what is stale.
    pub fn has_room(&mut self, wall: UnixNanos, neighbour: &NodeId) -> bool {
        let fresh = seconds_around(wall);
        while let Some(first) = self.seconds.first_entry().filter(|e| e.key() < fresh.start()) {
            let second = first.remove();
            self.forget(&second);
        }
        if !self.fits(neighbour) {
            // Only after a clock was set back there are messages from farther ahead.
            while let Some(last) = self.seconds.last_entry().filter(|e| e.key() > fresh.end()) {
                let second = last.remove();
                self.forget(&second);
            }
        }
        self.fits(neighbour)
    }

    /// Keeps a verified message that this neighbour forwarded, for which there is room.
    pub fn insert(&mut self, digest: &[u8; 32], neighbour: NodeId, sent: UnixNanos) {
        debug_assert!(self.fits(&neighbour), "the caller asks for room first");
        let second = self.seconds.entry(second(sent)).or_default();
        if second.keys.insert(key(digest)) {
            *second.by_neighbour.entry(neighbour).or_default() += 1;
            *self.by_neighbour.entry(neighbour).or_default() += 1;
            self.len += 1;
        }
    }

    /// Number of messages kept.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asserts that the views agree and the caps hold.
    ///
    /// # Panics
    /// If they do not, which is a bug here.
    pub fn check(&self) {
        let mut by_neighbour: BTreeMap<NodeId, usize> = BTreeMap::new();
        for second in self.seconds.values() {
            assert!(!second.keys.is_empty());
            assert_eq!(second.keys.len(), second.by_neighbour.values().sum::<usize>());
            for (neighbour, count) in &second.by_neighbour {
                *by_neighbour.entry(*neighbour).or_default() += count;
            }
        }
        assert_eq!(self.by_neighbour, by_neighbour);
        assert_eq!(self.len, by_neighbour.values().sum::<usize>());
        assert!(self.len <= self.room.all);
    }

    fn with_room(room: Room) -> Self {
        Self { seconds: BTreeMap::new(), by_neighbour: BTreeMap::new(), len: 0, room }
    }

    fn fits(&self, neighbour: &NodeId) -> bool {
        let Room { shared, sure, all } = self.room;
        let held = self.by_neighbour.get(neighbour).copied().unwrap_or(0);
        held < shared.saturating_sub(self.len) || (held < sure && self.len < all)
    }

    fn forget(&mut self, second: &Second) {
        self.len -= second.keys.len();
        for (neighbour, count) in &second.by_neighbour {
            let held = self.by_neighbour.get_mut(neighbour).expect("counted when it was inserted");
            *held -= count;
            if *held == 0 {
                self.by_neighbour.remove(neighbour);
            }
        }
    }
}

/// The seconds of time stamps that are fresh now.
fn seconds_around(wall: UnixNanos) -> RangeInclusive<i64> {
    let age_max = AGE_MAX.as_nanos() as i64;
    let (first, last) = (wall.0.saturating_sub(age_max), wall.0.saturating_add(age_max));
    second(UnixNanos(first))..=second(UnixNanos(last))
}

fn second(sent: UnixNanos) -> i64 {
    sent.0.div_euclid(NANOS_PER_S)
}

fn key(digest: &[u8; 32]) -> Key {
    digest[..16].iter().fold(0, |key, &byte| key << 8 | Key::from(byte))
}

#[cfg(test)]
mod tests {
    use super::{Duplicates, NANOS_PER_S, Room};
    use crate::NodeId;
    use crate::env::UnixNanos;

    const ALICE: NodeId = NodeId::from_bytes([1; 32]);
    const BOB: NodeId = NodeId::from_bytes([2; 32]);
    const SMALL: Room = Room { shared: 16, sure: 2, all: 20 };

    fn digest(number: u16) -> [u8; 32] {
        let mut digest = [7; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * NANOS_PER_S)
    }

    /// A message that is verified at `now`. Returns whether it is taken.
    fn take(
        duplicates: &mut Duplicates,
        now: i64,
        sent: i64,
        number: u16,
        neighbour: NodeId,
    ) -> bool {
        let has_room = duplicates.has_room(at(now), &neighbour);
        let is_taken = has_room && !duplicates.contains(&digest(number), at(sent));
        if is_taken {
            duplicates.insert(&digest(number), neighbour, at(sent));
        }
        duplicates.check();
        is_taken
    }

    /// How many of these a neighbour gets taken.
    fn taken(
        duplicates: &mut Duplicates,
        now: i64,
        sent: i64,
        numbers: std::ops::Range<u16>,
        neighbour: NodeId,
    ) -> usize {
        numbers.filter(|&number| take(duplicates, now, sent, number, neighbour)).count()
    }

    #[test]
    fn a_message_is_remembered_until_it_is_stale() {
        let mut duplicates = Duplicates::new();
        assert!(take(&mut duplicates, 0, 5, 1, ALICE));
        assert!(!take(&mut duplicates, 0, 5, 1, BOB));
        assert!(!take(&mut duplicates, 35, 5, 1, ALICE), "it is fresh to the last");
        assert!(take(&mut duplicates, 36, 36, 2, ALICE));
        assert_eq!(duplicates.len(), 1);
    }

    #[test]
    fn digests_that_differ_late_are_distinguished() {
        let mut duplicates = Duplicates::new();
        assert!(take(&mut duplicates, 0, 0, 1, ALICE));
        let mut other = digest(1);
        other[15] ^= 1;
        assert!(!duplicates.contains(&other, at(0)));
    }

    #[test]
    fn nothing_fresh_is_forgotten_for_what_is_new() {
        let mut duplicates = Duplicates::with_room(SMALL);
        assert_eq!(taken(&mut duplicates, 0, 0, 0..100, ALICE), 8);
        assert!(!take(&mut duplicates, 30, 0, 0, ALICE) && !take(&mut duplicates, 30, 0, 0, BOB));
        assert_eq!(taken(&mut duplicates, 31, 31, 100..200, ALICE), 8, "when it is stale");
    }

    /// A flood over one neighbour leaves half of the room to the others.
    #[test]
    fn a_neighbour_has_at_most_what_is_left() {
        let mut duplicates = Duplicates::with_room(SMALL);
        let others: Vec<NodeId> = (3..9).map(|byte| NodeId::from_bytes([byte; 32])).collect();
        let mut numbers = (0..).map(|number| number * 100);
        let counts: Vec<usize> = [ALICE, BOB]
            .into_iter()
            .chain(others)
            .zip(&mut numbers)
            .map(|(who, from)| taken(&mut duplicates, 0, 0, from..from + 100, who))
            .collect();
        // The sure room of every neighbour is added, until that is used up too.
        assert_eq!(counts, [8, 4, 2, 2, 2, 2, 0, 0]);
    }

    #[test]
    fn messages_far_ahead_make_room_after_the_clock_was_set_back() {
        let mut duplicates = Duplicates::with_room(SMALL);
        assert_eq!(taken(&mut duplicates, 1000, 1000, 0..100, ALICE), 8);
        assert!(take(&mut duplicates, 0, 0, 100, BOB));
        assert!(!take(&mut duplicates, 1000, 1000, 0, BOB), "there was room for both");
        assert_eq!(taken(&mut duplicates, 0, 0, 200..300, ALICE), 8);
    }

    #[test]
    fn the_ends_of_the_range_do_no_harm() {
        let mut duplicates = Duplicates::new();
        for end in [i64::MIN, i64::MAX] {
            assert!(duplicates.has_room(UnixNanos(end), &ALICE));
            duplicates.insert(&digest(1), ALICE, UnixNanos(end));
            assert!(duplicates.contains(&digest(1), UnixNanos(end)));
            duplicates.check();
        }
    }
}
