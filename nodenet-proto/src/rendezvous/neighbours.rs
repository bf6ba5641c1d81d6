//! Counts of questions by first hop: how many a neighbour took, and how many it left unanswered
//! (PROTOCOL.md#unanswered-questions).
//!
//! Never: decides anything by them. A target that is gone leaves the questions of all neighbours
//! unanswered, so only the comparison of neighbours says something.

use std::collections::BTreeMap;

use crate::NodeId;

/// Neighbours that are counted, at most (a guess: twice the edges of a node). The one that was
/// asked longest ago is forgotten. An edge that ends does not clear its count.
const NEIGHBOURS_MAX: usize = 512;

/// Questions that one neighbour took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    /// All.
    pub(crate) asked: u32,
    /// Those that brought no answer.
    pub(crate) unanswered: u32,
    /// When the last one was counted, in questions.
    at: u64,
}

/// The questions of all neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    counts: BTreeMap<NodeId, Questions>,
    total: u64,
}

impl Neighbours {
    /// A question over this neighbour was answered, or was not.
    pub(super) fn count(&mut self, peer: NodeId, is_answered: bool) {
        self.total += 1;
        if !self.counts.contains_key(&peer) && self.counts.len() == NEIGHBOURS_MAX {
            let oldest = self.counts.iter().min_by_key(|(_, counts)| counts.at);
            let oldest = oldest.map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.counts.remove(&peer));
        }
        let counts = self.counts.entry(peer).or_default();
        counts.asked = counts.asked.saturating_add(1);
        counts.unanswered = counts.unanswered.saturating_add(u32::from(!is_answered));
        counts.at = self.total;
    }

    /// The questions of one neighbour.
    pub(super) fn of(&self, peer: &NodeId) -> Questions {
        self.counts.get(peer).copied().unwrap_or_default()
    }

    /// Asserts the cap.
    ///
    /// # Panics
    /// If it does not hold, which is a bug here.
    pub(super) fn check(&self) {
        assert!(self.counts.len() <= NEIGHBOURS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::{NEIGHBOURS_MAX, Neighbours, Questions};
    use crate::NodeId;

    fn id(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn the_neighbour_that_was_asked_longest_ago_is_forgotten() {
        let mut neighbours = Neighbours::default();
        for number in 0..NEIGHBOURS_MAX {
            neighbours.count(id(number), true);
        }
        neighbours.count(id(0), false);
        neighbours.count(id(NEIGHBOURS_MAX), true);
        neighbours.check();
        let Questions { asked, unanswered, .. } = neighbours.of(&id(0));
        assert_eq!((asked, unanswered), (2, 1));
        assert_eq!(neighbours.of(&id(1)), Questions::default());
        assert_eq!(neighbours.of(&id(NEIGHBOURS_MAX)).asked, 1);
    }
}
