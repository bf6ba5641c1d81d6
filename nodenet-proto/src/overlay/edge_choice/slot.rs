//! Parts of buckets, each of which gets an edge of its own.

use crate::NodeId;

/// Buckets, from the first that can exist on, in which fingers are sought. In a network of less than
/// 2^24 nodes the siblings cover all that is deeper, and identifiers ground next to a victim, each in
/// a bucket of its own, take no finger (spec 95 E18).
pub(super) const FINGER_BUCKETS: u16 = 24;

/// Where a peer's identifier lies, as seen from the node: the bucket and the slot in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) bucket: u16,
    pub(super) part: u8,
}

impl Slot {
    /// The slot of `id` when buckets have two to the power of `bits` slots. Beyond the first 64 bits,
    /// where no finger is sought, all slots of a bucket are one.
    pub(crate) fn of(own: &NodeId, id: &NodeId, bits: u16) -> Self {
        let bucket = own.common_prefix_len(id);
        let behind = id.prefix().checked_shl(u32::from(bucket) + 1).unwrap_or(0);
        let part = behind.checked_shr(u64::BITS - u32::from(bits)).unwrap_or(0) as u8;
        Self { bucket, part }
    }

    /// How many leading bits all identifiers in it share.
    pub(crate) fn shared_bits(self, bits: u16) -> u16 {
        self.bucket + 1 + bits
    }

    /// `id`, which lies in the bucket, moved into this slot of it.
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
pub(super) struct Taken {
    /// The first bucket that can exist.
    first: u16,
    /// The number of slots in a bucket is two to this power, three at most.
    bits: u16,
    /// Bucket by bucket, a bit for each slot.
    parts: [u8; FINGER_BUCKETS as usize],
}

impl Taken {
    /// The slots that these peers lie in. The first bucket that can exist is that of the `difficulty`.
    pub(super) fn by<'a>(
        (own, difficulty): (&NodeId, u16),
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

    /// Whether a finger is sought in a slot and nobody takes it.
    pub(super) fn is_open(&self, slot: Slot) -> bool {
        self.finger(slot.bucket).is_some_and(|at| self.parts[at] >> slot.part & 1 == 0)
    }

    /// The open slots of a bucket.
    pub(super) fn open_in(&self, bucket: u16) -> impl Iterator<Item = Slot> {
        let all = (0..1_u8 << self.bits).map(move |part| Slot { bucket, part });
        all.filter(|slot| self.is_open(*slot))
    }

    /// Whether a finger is sought in some slot of a bucket and nobody takes it.
    pub(super) fn has_open(&self, bucket: u16) -> bool {
        let all = u8::MAX >> (u8::BITS - (1 << self.bits));
        self.finger(bucket).is_some_and(|at| self.parts[at] != all)
    }

    /// The number of slots in a bucket is two to this power.
    pub(super) fn bits(&self) -> u16 {
        self.bits
    }

    fn finger(&self, bucket: u16) -> Option<usize> {
        bucket.checked_sub(self.first).filter(|at| *at < FINGER_BUCKETS).map(usize::from)
    }
}
