//! Slots: parts of a bucket, each of which gets one outgoing edge (PROTOCOL.md#slots).

use crate::NodeId;

/// Buckets, from the first that can exist on, in which fingers are sought. In a network of less
/// than 2^24 nodes the siblings cover all that is deeper. Identifiers that were searched for next
/// to a victim, each in a bucket of its own, thus take no finger (THREATS.md#e18).
pub(crate) const FINGER_BUCKETS: u16 = 24;

/// Position of a peer's identifier relative to this node: the bucket and the slot in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) bucket: u16,
    pub(crate) part: u8,
}

impl Slot {
    /// The slot of `id` when buckets have two to the power of `bits` slots. Beyond the first 64
    /// bits, where no finger is sought, all slots of a bucket are one.
    pub(crate) fn of(own: &NodeId, id: &NodeId, bits: u16) -> Self {
        let bucket = own.common_prefix_len(id);
        let behind = id.prefix().checked_shl(u32::from(bucket) + 1).unwrap_or(0);
        let part = behind.checked_shr(u64::BITS - u32::from(bits)).unwrap_or(0) as u8;
        Self { bucket, part }
    }

    /// Number of leading bits that all identifiers in it share.
    pub(crate) fn shared_bits(self, bits: u16) -> u16 {
        self.bucket + 1 + bits
    }

    /// `id`, which lies in the bucket, with the bits of this slot.
    pub(crate) fn place(self, id: NodeId, bits: u16) -> NodeId {
        let mut bytes = *id.as_bytes();
        for step in 1..=bits.min(255 - self.bucket) {
            let at = self.bucket + step;
            let mask = 0x80 >> (at % 8);
            let byte = &mut bytes[usize::from(at / 8)];
            *byte = if self.part >> (bits - step) & 1 == 1 { *byte | mask } else { *byte & !mask };
        }
        NodeId::from_bytes(bytes)
    }
}

/// Which slots are taken, of the buckets in which fingers are sought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// The first bucket that can exist.
    first: u16,
    /// The number of slots in a bucket is two to this power, three at most.
    bits: u16,
    /// Bucket by bucket, a bit for each slot.
    parts: [u8; FINGER_BUCKETS as usize],
}

impl Taken {
    /// The slots that these peers lie in. The first bucket that can exist is that of the
    /// `difficulty`.
    pub(crate) fn by<'a>(
        own: &NodeId,
        difficulty: u16,
        bits: u16,
        peers: impl Iterator<Item = &'a NodeId>,
    ) -> Self {
        let mut taken = Self { first: difficulty, bits, parts: [0; FINGER_BUCKETS as usize] };
        for id in peers {
            let slot = Slot::of(own, id, bits);
            if let Some(at) = taken.finger(slot.bucket) {
                taken.parts[at] |= 1 << slot.part;
            }
        }
        taken
    }

    /// Whether a slot is to have a finger and has none.
    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        self.finger(slot.bucket).is_some_and(|at| self.parts[at] >> slot.part & 1 == 0)
    }

    /// The open slots of a bucket.
    pub(crate) fn open_in(&self, bucket: u16) -> impl Iterator<Item = Slot> {
        let all = (0..1_u8 << self.bits).map(move |part| Slot { bucket, part });
        all.filter(|slot| self.is_open(*slot))
    }

    /// Whether a slot of the bucket is to have a finger and has none.
    pub(crate) fn has_open(&self, bucket: u16) -> bool {
        let all = u8::MAX >> (u8::BITS - (1 << self.bits));
        self.finger(bucket).is_some_and(|at| self.parts[at] != all)
    }

    /// The number of slots in a bucket is two to this power.
    pub(crate) fn bits(&self) -> u16 {
        self.bits
    }

    fn finger(&self, bucket: u16) -> Option<usize> {
        bucket.checked_sub(self.first).filter(|at| *at < FINGER_BUCKETS).map(usize::from)
    }
}

#[cfg(test)]
mod tests {
    use super::{FINGER_BUCKETS, Slot};
    use crate::NodeId;
    use crate::env::{Random, Seed};
    use crate::overlay::topology::choose::lacking_slots;

    /// A random identifier in this bucket of `own`.
    fn id_in(own: &NodeId, bucket: u16, rng: &mut Random) -> NodeId {
        let (mut bytes, at): ([u8; 32], _) = (rng.array(), usize::from(bucket / 8));
        bytes[..at].copy_from_slice(&own.as_bytes()[..at]);
        let behind = 0x7f_u8 >> (bucket % 8);
        bytes[at] = ((own.as_bytes()[at] ^ 0x80 >> (bucket % 8)) & !behind) | (bytes[at] & behind);
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn an_identifier_that_is_moved_lies_in_the_slot_and_changes_nowhere_else() {
        let mut rng = Seed::from_u64(1).stream("test");
        let (own, mut sharing_no_more) = (NodeId::from_bytes(rng.array()), 0);
        for (bucket, bits) in (0..60).flat_map(|bucket| (0..=3).map(move |bits| (bucket, bits))) {
            for part in 0..1 << bits {
                let (slot, id) = (Slot { bucket, part }, id_in(&own, bucket, &mut rng));
                let moved = slot.place(id, bits);
                assert_eq!(Slot::of(&own, &moved, bits), slot, "{bits} bits");
                assert_eq!(Slot::of(&own, &id, bits).place(moved, bits), id);
                let other = slot.place(id_in(&own, bucket, &mut rng), bits);
                let shared = moved.common_prefix_len(&other);
                assert!(shared >= slot.shared_bits(bits));
                sharing_no_more += u32::from(shared == slot.shared_bits(bits));
            }
        }
        assert!(sharing_no_more > 300, "about half of the pairs differ in the next bit");
    }

    #[test]
    fn the_deepest_buckets_have_no_room_for_slots() {
        let mut rng = Seed::from_u64(2).stream("test");
        let own = NodeId::from_bytes(rng.array());
        for bucket in [64, 200, 253, 254, 255] {
            let id = id_in(&own, bucket, &mut rng);
            assert_eq!(Slot::of(&own, &id, 2), Slot { bucket, part: 0 });
            let moved = Slot { bucket, part: 3 }.place(id, 2);
            assert_eq!(own.common_prefix_len(&moved), bucket);
        }
    }

    /// With proof of work all identifiers share their first bits, and buckets begin behind them.
    #[test]
    fn a_bucket_lacks_the_slots_without_a_peer_from_the_first_that_can_exist_on() {
        let mut rng = Seed::from_u64(3).stream("test");
        let own = NodeId::from_bytes(rng.array());
        for difficulty in [0, 1, 5, 20] {
            let lacking = |bucket, peers: &[NodeId]| -> Vec<u8> {
                let slots = lacking_slots(&own, difficulty, bucket, 2, peers.iter());
                assert!(slots.iter().all(|slot| slot.bucket == bucket));
                slots.iter().map(|slot| slot.part).collect()
            };
            for bucket in difficulty..difficulty + FINGER_BUCKETS {
                let mut peer =
                    |bucket, part| Slot { bucket, part }.place(id_in(&own, bucket, &mut rng), 2);
                assert_eq!(lacking(bucket, &[]), [0, 1, 2, 3]);
                let peers = [peer(bucket, 1), peer(bucket, 3), peer(bucket, 1)];
                let elsewhere = [peer(bucket + 1, 0), peer(bucket + 1, 2)];
                assert_eq!(lacking(bucket, &[&peers[..], &elsewhere].concat()), [0, 2]);
                let all = [0, 1, 2, 3].map(|part| peer(bucket, part));
                assert_eq!(lacking(bucket, &all), []);
            }
            assert_eq!(lacking(difficulty + FINGER_BUCKETS, &[]), [], "the nearest cover it");
            for bucket in 0..difficulty {
                assert_eq!(lacking(bucket, &[]), [], "no identifier can be there");
            }
        }
    }

    #[test]
    fn a_bucket_that_is_not_divided_lacks_its_one_slot_or_nothing() {
        let mut rng = Seed::from_u64(4).stream("test");
        let own = NodeId::from_bytes(rng.array());
        let peer = id_in(&own, 7, &mut rng);
        let lacking = |bucket| lacking_slots(&own, 0, bucket, 0, [peer].iter());
        assert_eq!(lacking(7), []);
        assert_eq!(lacking(8), [Slot { bucket: 8, part: 0 }]);
    }
}
