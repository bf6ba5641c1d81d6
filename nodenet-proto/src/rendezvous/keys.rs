//! Table of bound X25519 keys: which key a node named in a Hello or Reply that it signed
//! (PROTOCOL.md#bound-keys).
//!
//! Never: takes a key from gossip. A bound key does not prove that its node holds the secret
//! (PROTOCOL.md#hello-and-reply).

use std::collections::BTreeMap;

use crate::NodeId;

/// Keys of nodes that this node asked, and of nodes that asked this one, each at most (a guess).
/// The longest unused is forgotten; identities that cost nothing thus drive out none that this node
/// asked for.
const OF_EACH_MAX: usize = 512;

/// The keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bound: BTreeMap<NodeId, Bound>,
    /// Counts uses.
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    exchange_key: [u8; 32],
    /// Whether this node asked for it.
    is_asked: bool,
    last_use: u64,
}

impl Keys {
    /// A node named its key, in a Hello or, if it `is_asked`, in a Reply.
    pub(super) fn bind(&mut self, id: NodeId, exchange_key: [u8; 32], is_asked: bool) {
        self.uses += 1;
        let is_asked = is_asked || self.is_asked(&id);
        let bound = Bound { exchange_key, is_asked, last_use: self.uses };
        let is_full = self.of_kind(is_asked).count() >= OF_EACH_MAX;
        let is_of_kind = self.bound.get(&id).is_some_and(|old| old.is_asked == is_asked);
        if is_full && !is_of_kind {
            let unused = self.of_kind(is_asked).min_by_key(|(_, bound)| bound.last_use);
            let unused = unused.map(|(id, _)| *id);
            unused.and_then(|id| self.bound.remove(&id));
        }
        self.bound.insert(id, bound);
    }

    /// The key of a node, for use.
    pub(super) fn find(&mut self, id: &NodeId) -> Option<[u8; 32]> {
        let bound = self.bound.get_mut(id)?;
        self.uses += 1;
        bound.last_use = self.uses;
        Some(bound.exchange_key)
    }

    /// Whether this node asked that one for its key.
    pub(super) fn is_asked(&self, id: &NodeId) -> bool {
        self.bound.get(id).is_some_and(|bound| bound.is_asked)
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.bound.len()
    }

    /// Asserts the caps.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(super) fn check(&self) {
        for is_asked in [false, true] {
            assert!(self.of_kind(is_asked).count() <= OF_EACH_MAX);
        }
    }

    fn of_kind(&self, is_asked: bool) -> impl Iterator<Item = (&NodeId, &Bound)> {
        self.bound.iter().filter(move |(_, bound)| bound.is_asked == is_asked)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, OF_EACH_MAX};
    use crate::NodeId;

    fn id(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    /// THREATS.md#hello-flood
    #[test]
    fn a_flood_of_hellos_drives_out_no_key_that_was_asked_for() {
        let mut keys = Keys::default();
        keys.bind(id(0), [1; 32], true);
        for number in 1..=2 * OF_EACH_MAX {
            keys.bind(id(number), [2; 32], false);
            keys.check();
        }
        assert_eq!(keys.len(), 1 + OF_EACH_MAX);
        assert_eq!(keys.find(&id(0)), Some([1; 32]));
        assert_eq!(keys.find(&id(1)), None, "the longest unused went first");
        assert_eq!(keys.find(&id(2 * OF_EACH_MAX)), Some([2; 32]));
    }

    #[test]
    fn a_key_in_use_outlasts_others() {
        let mut keys = Keys::default();
        for number in 0..OF_EACH_MAX {
            keys.bind(id(number), [1; 32], true);
        }
        assert!(keys.find(&id(0)).is_some());
        keys.bind(id(OF_EACH_MAX), [1; 32], true);
        assert!(keys.find(&id(0)).is_some() && keys.find(&id(1)).is_none());
    }

    #[test]
    fn a_hello_of_a_node_that_was_asked_does_not_make_it_one_that_was_not() {
        let mut keys = Keys::default();
        keys.bind(id(0), [1; 32], true);
        keys.bind(id(0), [2; 32], false);
        assert!(keys.is_asked(&id(0)));
        assert_eq!(keys.find(&id(0)), Some([2; 32]));
    }
}
