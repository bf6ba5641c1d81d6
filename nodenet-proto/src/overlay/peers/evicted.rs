//! Recently evicted contacts, which gossip alone does not bring back.
//!
//! Bounded to [`EVICTED_MAX`]; the oldest is forgotten first. Never consulted for what a peer
//! itself signs or proves.

use std::collections::VecDeque;
use std::time::Duration;

use super::contact::Tick;
use crate::NodeId;

/// Evicted identifiers kept, at most (a guess: as many as several buckets hold).
const EVICTED_MAX: usize = 256;
/// How long gossip about an evicted contact is ignored (PROTOCOL.md#evicted-contacts).
const MEMORY: Duration = Duration::from_secs(30 * 60);

/// Identifiers evicted recently, oldest first. Eight bytes of each are enough: a false match costs
/// one contact that is known by gossip alone.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    recent: VecDeque<(u64, Tick)>,
}

impl Evicted {
    pub(crate) fn insert(&mut self, id: NodeId, now: Tick) {
        let tag = tag(&id);
        self.recent.retain(|(other, at)| *other != tag && now.since(*at) < MEMORY);
        if self.recent.len() == EVICTED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((tag, now));
    }

    pub(crate) fn contains(&self, id: &NodeId, now: Tick) -> bool {
        let tag = tag(id);
        self.recent.iter().any(|(other, at)| *other == tag && now.since(*at) < MEMORY)
    }

    pub(crate) fn len(&self) -> usize {
        self.recent.len()
    }

    pub(crate) fn check(&self) {
        assert!(self.recent.len() <= EVICTED_MAX);
    }
}

/// The last eight bytes: unlike the first ones, they differ between nodes that are near each other.
fn tag(id: &NodeId) -> u64 {
    let bytes = id.as_bytes();
    u64::from_be_bytes(std::array::from_fn(|i| bytes[24 + i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    fn id(number: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[30..].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn at(second: u64) -> Tick {
        Tick::at(test_base(), test_base() + Duration::from_secs(second))
    }

    #[test]
    fn the_257th_takes_the_place_of_the_oldest() {
        let mut evicted = Evicted::default();
        for number in 0..256 {
            evicted.insert(id(number), at(number.into()));
        }
        evicted.insert(id(1), at(256));
        let missing = |evicted: &Evicted| -> Vec<u16> {
            (0..=257).filter(|number| !evicted.contains(&id(*number), at(257))).collect()
        };
        assert_eq!(missing(&evicted), [256, 257], "one that is given up again takes no place");
        evicted.insert(id(256), at(257));
        evicted.insert(id(257), at(257));
        evicted.check();
        assert_eq!(missing(&evicted), [0, 2], "and is the newest then");
    }

    #[test]
    fn an_entry_of_half_an_hour_takes_no_room() {
        let mut evicted = Evicted::default();
        (0..256).for_each(|number| evicted.insert(id(number), at(0)));
        evicted.insert(id(256), at(1800));
        assert_eq!(evicted.len(), 1);
    }
}
