//! Replay cache of sealed boxes, which fails closed (PROTOCOL.md#replay-cache): each box opens at
//! most once while it is fresh.
//!
//! Responsible for: the boxes that were opened and are fresh, and which of them are dropped when
//! there is no room. Never: reads a clock.
//!
//! A box is known by the secret that its ephemeral key leads to, so that all encodings of the key
//! are one box (THREATS.md#box-replays). A box is dropped only together with all older ones of the
//! same sender, or of all senders: from then on an unseen box that is not newer than the newest
//! dropped one is refused, because it may be one that was opened.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::NodeId;
use crate::env::UnixNanos;
use crate::identity::Identity;
use crate::wire::Decode;
use crate::wire::sealed_box::{Fingerprint, OpenError, Opened, SealedBox, is_within};

/// Boxes that there is room for (a guess: the smaller of the two generations of the reference).
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Of one sender, …
    sender: usize,
    /// … and of all senders.
    all: usize,
}

/// Orders boxes by age, those of one time by what they are known by.
type Stamp = (UnixNanos, Fingerprint);

const ROOM: Room = Room { sender: 4_096, all: 32_768 };

/// Why a box is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It was opened before.
    #[error("the box was opened before")]
    Replayed,
    /// It is not newer than boxes that were opened and are no longer remembered, so it may be one
    /// of them.
    #[error("the box is older than those that are still remembered; it has to be sealed again")]
    Forgotten,
}

/// The boxes that were opened and are fresh.
#[derive(Debug, Clone)]
pub struct ReplayCache {
    window: Duration,
    room: Room,
    known: BTreeMap<Fingerprint, (UnixNanos, NodeId)>,
    by_time: BTreeSet<Stamp>,
    senders: BTreeMap<NodeId, Sender>,
    /// Number of boxes of each sender.
    by_size: BTreeSet<(usize, NodeId)>,
    /// The newest box that was dropped for other senders.
    dropped: Option<Stamp>,
}

/// The boxes of one sender; never empty.
#[derive(Debug, Clone, Default)]
struct Sender {
    boxes: BTreeSet<Stamp>,
    /// The newest of its boxes that was dropped. All of `boxes` are newer, so they outlast it.
    dropped: Option<Stamp>,
}

impl ReplayCache {
    /// No boxes yet. A box is fresh while it is at most `window` old or ahead, both inclusive.
    pub fn new(window: Duration) -> Self {
        Self::with_room(window, ROOM)
    }

    /// Opens a box of [`crate::wire::sealed_box::seal`], unless it was opened before.
    ///
    /// # Errors
    /// [`ReplayError`]. A box that does not open is not remembered.
    pub fn open(
        &mut self,
        recipient: &Identity,
        bytes: &[u8],
        associated: &[u8],
        now: UnixNanos,
    ) -> Result<Opened, ReplayError> {
        let sealed = SealedBox::decode_exact(bytes).map_err(OpenError::from)?;
        let (opened, fingerprint) = sealed.open(recipient, associated, now, self.window)?;
        self.record(now, &opened, fingerprint)?;
        Ok(opened)
    }

    /// Opens a box of [`crate::wire::sealed_box::seal_bound`], unless it was opened before.
    ///
    /// # Errors
    /// As [`ReplayCache::open`].
    pub fn open_bound(
        &mut self,
        recipient: &Identity,
        bytes: &[u8],
        associated: &[u8],
        now: UnixNanos,
    ) -> Result<Opened, ReplayError> {
        let sealed = SealedBox::decode_exact(bytes).map_err(OpenError::from)?;
        let (opened, fingerprint) = sealed.open_bound(recipient, associated, now, self.window)?;
        self.record(now, &opened, fingerprint)?;
        Ok(opened)
    }

    /// Remembers a box that opened.
    pub(crate) fn record(
        &mut self,
        now: UnixNanos,
        opened: &Opened,
        fingerprint: Fingerprint,
    ) -> Result<(), ReplayError> {
        let (time, sender) = (opened.sealed_at, opened.sender);
        if !is_within(time, now, self.window) {
            return Err(OpenError::Expired.into());
        }
        self.expire(now);
        if self.known.contains_key(&fingerprint) {
            return Err(ReplayError::Replayed);
        }
        let of_sender = self.senders.get(&sender);
        let dropped = of_sender.and_then(|sender| sender.dropped).max(self.dropped);
        let stamp = (time, fingerprint);
        if dropped >= Some(stamp) || !self.make_room(&sender, stamp) {
            return Err(ReplayError::Forgotten);
        }
        self.insert(sender, stamp);
        Ok(())
    }

    /// Boxes that are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no box is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Asserts that the views agree and the caps hold.
    ///
    /// # Panics
    /// If they do not, which is a bug here.
    pub fn check(&self) {
        assert!(self.len() <= self.room.all);
        assert_eq!(self.by_time.len(), self.len());
        assert_eq!(self.by_size.len(), self.senders.len());
        assert_eq!(
            self.senders.values().map(|sender| sender.boxes.len()).sum::<usize>(),
            self.len()
        );
        for (id, sender) in &self.senders {
            let size = sender.boxes.len();
            assert!(size > 0 && size <= self.room.sender && self.by_size.contains(&(size, *id)));
            for stamp in &sender.boxes {
                assert!(sender.dropped.max(self.dropped) < Some(*stamp));
                assert_eq!(self.known[&stamp.1], (stamp.0, *id));
                assert!(self.by_time.contains(stamp));
            }
        }
    }

    fn with_room(window: Duration, room: Room) -> Self {
        Self {
            window,
            room,
            known: BTreeMap::new(),
            by_time: BTreeSet::new(),
            senders: BTreeMap::new(),
            by_size: BTreeSet::new(),
            dropped: None,
        }
    }

    /// Forgets the boxes that would be refused for their age. One exactly as old as the window is
    /// still fresh.
    fn expire(&mut self, now: UnixNanos) {
        while let Some(&oldest) = self.by_time.first() {
            if oldest.0 > now || is_within(oldest.0, now, self.window) {
                return;
            }
            self.remove(oldest);
        }
    }

    /// Drops a box if there is no room for one more of this sender. Returns false if the new box
    /// would itself be the one to drop.
    fn make_room(&mut self, id: &NodeId, stamp: Stamp) -> bool {
        let of_sender = self.senders.get(id);
        if of_sender.is_some_and(|sender| sender.boxes.len() == self.room.sender) {
            return self.drop_oldest_of(*id, Some(stamp));
        }
        if self.known.len() < self.room.all {
            return true;
        }
        // The sender with most boxes gives up one, so that a sender with few keeps its own.
        match self.by_size.last().copied() {
            Some((size, fullest)) if size > 1 => {
                self.drop_oldest_of(fullest, Some(stamp).filter(|_| fullest == *id))
            }
            _ => self.drop_oldest(stamp),
        }
    }

    /// Drops the oldest of several boxes of a sender, unless it is newer than `stamp`.
    fn drop_oldest_of(&mut self, id: NodeId, stamp: Option<Stamp>) -> bool {
        let Some(sender) = self.senders.get_mut(&id) else { return false };
        let Some(&oldest) = sender.boxes.first() else { return false };
        if stamp.is_some_and(|stamp| stamp < oldest) {
            return false;
        }
        sender.dropped = Some(oldest);
        self.remove(oldest);
        true
    }

    /// Drops the oldest box of all, unless it is newer than `stamp`.
    fn drop_oldest(&mut self, stamp: Stamp) -> bool {
        let Some(&oldest) = self.by_time.first() else { return false };
        if stamp < oldest {
            return false;
        }
        self.dropped = Some(oldest);
        self.remove(oldest);
        true
    }

    fn insert(&mut self, id: NodeId, stamp: Stamp) {
        self.known.insert(stamp.1, (stamp.0, id));
        self.by_time.insert(stamp);
        let sender = self.senders.entry(id).or_default();
        self.by_size.remove(&(sender.boxes.len(), id));
        sender.boxes.insert(stamp);
        self.by_size.insert((sender.boxes.len(), id));
    }

    fn remove(&mut self, stamp: Stamp) {
        let Some((_, id)) = self.known.remove(&stamp.1) else { return };
        self.by_time.remove(&stamp);
        let sender = self.senders.get_mut(&id).expect("every known box is its sender's");
        self.by_size.remove(&(sender.boxes.len(), id));
        sender.boxes.remove(&stamp);
        if sender.boxes.is_empty() {
            self.senders.remove(&id);
        } else {
            self.by_size.insert((sender.boxes.len(), id));
        }
    }
}

#[cfg(test)]
mod tests;
