//! A short memory of contacts that were given up, so that hearsay does not bring them back.
//!
//! Bounded to [`PURGED_MAX`]; the oldest is forgotten first. Never consulted for what a peer itself
//! signs or proves.

use std::collections::VecDeque;
use std::time::Duration;

use super::contact::Tick;
use crate::NodeId;

/// Purged identifiers remembered, at most (a guess: several buckets' worth).
const PURGED_MAX: usize = 256;
/// How long hearsay about a purged contact is ignored (spec 80 §8.4).
const MEMORY: Duration = Duration::from_secs(30 * 60);

/// Identifiers purged lately, oldest first. Eight bytes tell them apart well enough: a false match
/// costs one contact that hearsay alone vouches for.
#[derive(Debug, Default)]
pub(super) struct Purged {
    recent: VecDeque<(u64, Tick)>,
}

impl Purged {
    pub(super) fn insert(&mut self, id: NodeId, now: Tick) {
        let tag = tag(&id);
        self.recent.retain(|(other, at)| *other != tag && now.since(*at) < MEMORY);
        if self.recent.len() == PURGED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((tag, now));
    }

    pub(super) fn contains(&self, id: &NodeId, now: Tick) -> bool {
        let tag = tag(id);
        self.recent.iter().any(|(other, at)| *other == tag && now.since(*at) < MEMORY)
    }

    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }

    pub(super) fn check(&self) {
        assert!(self.recent.len() <= PURGED_MAX);
    }
}

/// The last eight bytes: unlike the first ones they differ between neighbours.
fn tag(id: &NodeId) -> u64 {
    let bytes = id.as_bytes();
    u64::from_be_bytes(std::array::from_fn(|i| bytes[24 + i]))
}
