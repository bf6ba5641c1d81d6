//! Search for the contacts nearest to a target, without a scan of all of them
//! (PROTOCOL.md#closest-contacts).

use std::cmp::Ordering;

use super::ContactTable;
use crate::NodeId;
use crate::overlay::peers::{Bucket, Contact};

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

    /// Whether the run is full, and its last contact shares more than `bits` bits with the target.
    /// No contact that shares only `bits` bits can then displace one.
    fn beats(&self, bits: u16) -> bool {
        self.run.len() == self.limit
            && self.run.last().is_some_and(|worst| self.target.common_prefix_len(&worst.id) > bits)
    }
}

impl ContactTable {
    /// Up to `limit` entries that `keep` allows, in ascending distance to `target`, which may be
    /// this node itself.
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

#[cfg(test)]
mod tests {
    use super::super::vectors::OwnKey;
    use super::super::{Observation, Outcome, Provenance};
    use super::*;
    use crate::env::test_base;

    /// The reference's vector `closest_120_random`. A line `observe` names a contact and, if its
    /// bucket is full, the incumbent by its position in the list. A line `closest` names a target,
    /// the number of contacts, and their positions.
    const LINES: &str = include_str!("closest.txt");

    #[test]
    fn closest_120_random() {
        let mut table = ContactTable::new(NodeId::from_bytes([0xff; 32]), 0, test_base());
        let (mut ids, mut queries): (Vec<NodeId>, _) = (Vec::new(), 0);
        for line in LINES.lines() {
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            let id: NodeId = words.next().unwrap().parse().unwrap();
            let places: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
            if kind == "observe" {
                let (key, provenance) = (*id.as_bytes(), Provenance::Signed);
                let seen = Observation { id, key, caps: None, addrs: &[], provenance };
                let probe = |at: &usize| Outcome::NeedProbe { incumbent: ids[*at], known: false };
                let expected = places.first().map_or(Outcome::Inserted, probe);
                assert_eq!(table.observe(&seen, test_base(), &OwnKey), expected);
                ids.push(id);
            } else {
                let nearest = table.closest(&id, places[0], |_| true);
                let nearest: Vec<NodeId> = nearest.iter().map(|contact| contact.id).collect();
                let expected: Vec<NodeId> = places[1..].iter().map(|at| ids[*at]).collect();
                assert_eq!(nearest, expected);
                queries += 1;
            }
        }
        assert_eq!((ids.len(), table.len(), queries), (120, 73, 9));
    }
}
