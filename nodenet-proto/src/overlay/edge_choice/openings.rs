//! Which buckets can hold a contact that would be chosen, so that nobody looks through the others.
//!
//! A node that has what it wants knows several hundred contacts and could use almost none of them.

use super::{FINGER_BUCKETS, SIBLINGS_OUTGOING_MIN, Scene, Slot, fence, keep_nearest};
use std::cmp::Ordering;

/// Buckets that are not all taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Openings {
    /// From here on a contact may be one of the nearest.
    near_from: u16,
    /// The first bucket that can exist.
    first: u16,
    /// Bit by bit from `first` on: whether a slot of the bucket has no edge of our own.
    lacking: u32,
}

const _: () = assert!(FINGER_BUCKETS <= u32::BITS as u16);

impl Openings {
    /// What the edges of a scene leave open, whatever its candidates.
    pub(crate) fn of(scene: &Scene<'_>) -> Self {
        Self { near_from: near_from(scene), first: scene.difficulty, lacking: lacking(scene) }
    }

    /// Whether a contact in this bucket could be chosen.
    pub(crate) fn contains(&self, bucket: u16) -> bool {
        let finger = bucket.checked_sub(self.first).filter(|at| *at < FINGER_BUCKETS);
        bucket >= self.near_from || finger.is_some_and(|at| self.lacking >> at & 1 == 1)
    }
}

/// The first bucket with room for one of the nearest peers.
fn near_from(scene: &Scene<'_>) -> u16 {
    let reach = scene.appetite.siblings + SIBLINGS_OUTGOING_MIN;
    let live = scene.live.iter().map(|edge| (edge.id, ()));
    let mut nearest: Vec<_> = live.chain(scene.in_flight.iter().map(|id| (*id, ()))).collect();
    keep_nearest(scene.own, &mut nearest, reach);
    let farthest = (nearest.len() == reach).then(|| nearest[reach - 1].0);
    farthest.map_or(0, |far| scene.own.common_prefix_len(&far))
}

fn lacking(scene: &Scene<'_>) -> u32 {
    let (own, bits) = (scene.own, scene.appetite.slot_bits);
    let far = fence(own, scene.live, scene.appetite);
    let is_near = |id| far.is_some_and(|far| own.compare_distance(id, &far) != Ordering::Greater);
    let mut taken = [0_u8; FINGER_BUCKETS as usize];
    let live = scene.live.iter().filter(|edge| edge.outgoing || is_near(&edge.id));
    for id in live.map(|edge| &edge.id).chain(scene.in_flight) {
        let Slot { bucket, part } = Slot::of(own, id, bits);
        let finger = bucket.checked_sub(scene.difficulty).map(usize::from);
        if let Some(parts) = finger.and_then(|at| taken.get_mut(at)) {
            *parts |= 1 << part;
        }
    }
    let parts_all = u8::MAX >> (u8::BITS - (1 << bits));
    let open = taken.iter().enumerate().filter(|(_, parts)| **parts != parts_all);
    open.fold(0, |lacking, (at, _)| lacking | 1 << at)
}
