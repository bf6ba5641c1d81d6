//! Filter for the contacts that could be chosen at all, so that the others are not examined.
//!
//! A node whose targets are met has several hundred contacts and could use almost none of them.

use std::cmp::Ordering;

use super::siblings::reach;
use super::{ChoiceInputs, Slot, Taken};
use crate::NodeId;

/// What the edges leave vacant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vacancies {
    /// A contact nearer than this may be one of the nearest peers; any contact, if there is
    /// nothing.
    near: Option<NodeId>,
    /// The bucket that it lies in.
    near_from: u16,
    /// The slots that have an outgoing edge; nothing yet, if there are none.
    taken: Option<Taken>,
}

impl Vacancies {
    /// All is vacant.
    pub(crate) const ALL: Self = Self { near: None, near_from: 0, taken: None };

    /// What the edges of the inputs leave vacant; their candidates do not matter.
    pub(crate) fn of(inputs: &ChoiceInputs<'_>) -> Self {
        let near = reach(inputs);
        let near_from = near.map_or(0, |far| inputs.own.common_prefix_len(&far));
        Self { near, near_from, taken: Some(taken(inputs)) }
    }

    /// Whether a contact in this bucket could be chosen.
    pub(crate) fn contains(&self, bucket: u16) -> bool {
        bucket >= self.near_from || self.taken.is_none_or(|taken| taken.has_open(bucket))
    }

    /// Whether this contact could be chosen.
    pub(crate) fn welcomes(&self, own: &NodeId, id: &NodeId) -> bool {
        let is_nearer = |far| own.compare_distance(id, &far) == Ordering::Less;
        let is_open = |taken: Taken| taken.is_open(Slot::of(own, id, taken.bits()));
        self.taken.is_none_or(is_open) || self.near.is_none_or(is_nearer)
    }
}

/// The slots that have an edge that counts there.
fn taken(inputs: &ChoiceInputs<'_>) -> Taken {
    let boundary = inputs.live.boundary(inputs.own, inputs.edge_targets.siblings);
    let is_near = |id| boundary.is_some_and(|boundary| boundary.is_within(id));
    let live = inputs.live.iter().filter(|edge| edge.outgoing || is_near(&edge.id));
    let ids = live.map(|edge| &edge.id).chain(inputs.in_flight.iter().map(|dial| &dial.id));
    Taken::by(inputs.own, inputs.difficulty, inputs.edge_targets.slot_bits, ids)
}
