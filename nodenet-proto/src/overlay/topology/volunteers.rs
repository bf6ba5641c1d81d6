//! Edges to relay volunteers, which a node keeps that others cannot reach
//! (PROTOCOL.md#relay-requests).
//!
//! Responsible for: which neighbours are kept as volunteers, and which contacts are dialed to have
//! enough of them, or nearer ones. Never: asks a volunteer to relay.

use heapless::Vec as FixedVec;

use super::choose::{Candidate, is_faster, tie_break};
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::AddressPolicy;
use crate::context::Context;
use crate::overlay::actions::Action;

/// Volunteers that a node keeps edges to (a guess: as many as it names in a Connect, so that the
/// second one takes over if the first one dies).
pub(crate) const KEPT: usize = 2;
/// Stands for an unmeasured round-trip time among contacts, as in the choice of fingers.
const RTT_UNKNOWN_MS: u16 = 80;

/// A neighbour that says of itself that it relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volunteer {
    pub(super) id: NodeId,
    pub(super) subnet: Option<Subnet>,
    /// Round-trip time in milliseconds; 0 is not known.
    pub(super) rtt_ms: u16,
}

impl Volunteer {
    fn slowness_ms(&self) -> u16 {
        if self.rtt_ms == 0 { u16::MAX } else { self.rtt_ms }
    }
}

/// The neighbours that are kept as volunteers, the nearest first.
#[derive(Debug, Default)]
pub(super) struct Kept(FixedVec<Volunteer, KEPT>);

impl Kept {
    /// Of these neighbours the nearest, each in a subnet of its own.
    pub(super) fn of(mut neighbours: Vec<Volunteer>) -> Self {
        neighbours.sort_by_key(|volunteer| (volunteer.slowness_ms(), volunteer.id));
        let mut kept = Self::default();
        for volunteer in neighbours {
            if !kept.0.is_full() && !kept.has_subnet(volunteer.subnet) {
                let _ = kept.0.push(volunteer);
            }
        }
        kept
    }

    pub(super) fn has(&self, id: &NodeId) -> bool {
        self.0.iter().any(|volunteer| volunteer.id == *id)
    }

    fn has_subnet(&self, subnet: Option<Subnet>) -> bool {
        subnet.is_some() && self.0.iter().any(|volunteer| volunteer.subnet == subnet)
    }

    /// Whether a volunteer with this round-trip time (0: not known) would be one of those kept.
    pub(super) fn is_improved_by(&self, rtt_ms: u16) -> bool {
        let slowest = self.0.last().filter(|_| self.0.is_full());
        slowest.is_none_or(|slowest| is_faster(rtt_ms, slowest.slowness_ms()))
    }

    /// The contacts to dial so that with `dialed` others enough volunteers are kept, best first.
    /// `candidates` are those of which anything says that they relay.
    pub(super) fn missing(
        &self,
        own: &NodeId,
        dialed: usize,
        candidates: &[Candidate],
    ) -> FixedVec<NodeId, KEPT> {
        let count = KEPT.saturating_sub(self.0.len() + dialed);
        let mut chosen: Vec<&Candidate> = Vec::new();
        for candidate in self.in_order(own, candidates) {
            let is_new =
                |other: &&Candidate| other.subnet != candidate.subnet || candidate.subnet.is_none();
            if chosen.len() < count && chosen.iter().all(is_new) {
                chosen.push(candidate);
            }
        }
        chosen.iter().map(|candidate| candidate.id).collect()
    }

    /// A contact to probe, because it may be nearer than a volunteer that is kept.
    pub(super) fn nearer(&self, own: &NodeId, candidates: &[Candidate]) -> Option<NodeId> {
        let mut in_order = self.in_order(own, candidates).into_iter();
        let worth = in_order.find(|candidate| self.is_improved_by(candidate.rtt_ms));
        worth.map(|candidate| candidate.id)
    }

    /// Contacts in other subnets than those kept, the best first.
    fn in_order<'a>(&self, own: &NodeId, candidates: &'a [Candidate]) -> Vec<&'a Candidate> {
        let fresh = candidates.iter().filter(|candidate| !self.has_subnet(candidate.subnet));
        let mut fresh: Vec<&Candidate> = fresh.collect();
        fresh.sort_by_key(|candidate| {
            let rtt_ms = if candidate.rtt_ms == 0 { RTT_UNKNOWN_MS } else { candidate.rtt_ms };
            (!candidate.reachable, candidate.stale, rtt_ms, tie_break(own, &candidate.id))
        });
        fresh
    }
}

/// Whether this node keeps volunteers: it does not know that others reach it, or lets itself be
/// reached by relays alone.
pub(super) fn is_needed(cx: &Context<'_, Action>) -> bool {
    !cx.own.is_reachable() || cx.config.address_policy == AddressPolicy::RelayOnly
}
