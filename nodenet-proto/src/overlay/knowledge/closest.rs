//! The known contacts nearest to a target, without looking at all of them (spec 20 §7.3).

use std::cmp::Ordering;

use super::contact::Contact;
use super::{Bucket, Knowledge};
use crate::NodeId;

/// A sorted run of at most `limit` contacts.
struct Nearest<'a, 'b> {
    target: &'b NodeId,
    limit: usize,
    run: Vec<&'a Contact>,
}

impl<'a> Nearest<'a, '_> {
    fn offer(&mut self, contact: &'a Contact) {
        let nearer = |other: &&Contact| {
            self.target.compare_distance(&other.id, &contact.id) == Ordering::Less
        };
        let at = self.run.partition_point(nearer);
        if at < self.limit {
            self.run.truncate(self.limit - 1);
            self.run.insert(at, contact);
        }
    }

    /// Whether there are enough, and the worst shares more than `bits` bits with the target, so that
    /// no contact which shares only that many can displace one.
    fn beats(&self, bits: u16) -> bool {
        self.run.len() == self.limit
            && self.run.last().is_some_and(|worst| self.target.common_prefix_len(&worst.id) > bits)
    }
}

impl Knowledge {
    /// Up to `limit` entries that `keep` allows, in ascending distance to `target`, which may be this
    /// node itself.
    pub(crate) fn closest(
        &self,
        target: &NodeId,
        limit: usize,
        keep: impl Fn(&Contact) -> bool,
    ) -> Vec<&Contact> {
        if limit == 0 {
            return Vec::new();
        }
        let mut nearest = Nearest { target, limit, run: Vec::with_capacity(limit) };
        let shared = self.own.common_prefix_len(target);
        let split = usize::from(shared).min(self.buckets.len());
        let (below, rest) = self.buckets.split_at(split);
        let mut rest = rest.iter();
        // The bucket of the target itself: its entries share more bits with it than any other's.
        if let Some(bucket) = rest.next() {
            bucket.entries().iter().filter(|c| keep(c)).for_each(|c| nearest.offer(c));
        }
        if !nearest.beats(shared) {
            for contact in rest.flat_map(Bucket::entries).filter(|c| keep(c)) {
                nearest.offer(contact);
            }
        }
        for (bits, bucket) in below.iter().enumerate().rev() {
            if nearest.beats(bits as u16) {
                break;
            }
            bucket.entries().iter().filter(|c| keep(c)).for_each(|c| nearest.offer(c));
        }
        nearest.run
    }
}
