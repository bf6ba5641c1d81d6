//! Neighbour selection: contacts to dial, faster peers to probe, surplus edges to close.
//!
//! Responsible for: which contact to dial, which to probe in place of a slow edge, which edge to
//! close: pure decisions over snapshots. Never: dials, closes, or keeps state.
//!
//! Greedy routing reaches every target if each node has an edge in every non-empty bucket. Some
//! edge is then strictly nearer to any target. The nearest sixteen peers ("siblings") cover the
//! sparse buckets near the node itself. Each bucket beyond them is divided into slots by the bits
//! that follow the shared prefix. Every slot gets one outgoing edge, which spreads the edges over
//! the bucket. With four slots a hop gains three bits for certain and about four on average. An
//! idealised model of 10,000 nodes had four slots a bucket, 53 outgoing edges a node, and preferred
//! low round-trip times. A message took 3.0 hops on average, on a path 1.9 times as long as the
//! direct one; with two slots it took 3.5 hops.

mod live;
mod siblings;
mod slot;
mod subnets;
mod vacancies;

use std::cmp::Reverse;
use std::collections::BTreeMap;

pub(crate) use self::live::{InFlight, Live, LiveEdge};
use self::siblings::wanted_siblings;
pub(crate) use self::slot::Slot;
use self::slot::Taken;
use self::subnets::SubnetCounts;
pub(crate) use self::vacancies::Vacancies;
use crate::NodeId;
use crate::addr::{Subnet, Tier};
use crate::overlay::edges::{SIBLINGS, TARGET_EDGES};

/// Siblings that come before all other edges (PROTOCOL.md#order-of-choice).
const FIRST_SIBLINGS: usize = 8;
/// Target numbers of edges, by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdgeTargets {
    /// Nearest peers.
    pub(crate) siblings: usize,
    /// A light node counts among them only if it belongs to this many nearest.
    pub(crate) light_siblings: usize,
    /// Each bucket beyond them has two to this power slots.
    pub(crate) slot_bits: u16,
    /// Outgoing edges in all.
    pub(crate) outgoing_max: usize,
    /// Edges that peers opened, at most, even if the configuration allows more.
    pub(crate) inbound_max: usize,
}

impl EdgeTargets {
    /// A node that forwards for others. It takes a light node as a sibling if it most likely is one
    /// of that node's.
    pub(crate) const ROUTER: Self = Self {
        siblings: SIBLINGS,
        light_siblings: 8,
        slot_bits: 2,
        outgoing_max: TARGET_EDGES,
        inbound_max: usize::MAX,
    };
    /// A node on a battery: one edge a bucket, which correctness takes, and fewer siblings. No
    /// sibling is light: two light nodes would wake each other, and the routers nearest to a light
    /// node have edges to it. Inbound edges are half as many as outgoing ones (a guess: some of the
    /// nearest routers, and a few new peers).
    pub(crate) const LIGHT: Self =
        Self { siblings: 8, light_siblings: 0, slot_bits: 0, outgoing_max: 24, inbound_max: 12 };
}

/// Whether a contact is a light node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Light {
    /// No source calls it light.
    No,
    /// Only gossip calls it light, and may be false. That keeps no contact out of a slot, but puts
    /// it last among equals.
    Claimed,
    /// The contact itself announces it.
    Itself,
}

/// A contact that could be dialed now: not live, not in flight, not backing off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: NodeId,
    pub(crate) subnet: Option<Subnet>,
    /// Whether the peer itself was seen not long ago.
    pub(crate) verified: bool,
    /// Whether it prefers not to be an intermediate hop.
    pub(crate) light: Light,
    /// Whether it is known to accept conns from peers that it never dialed.
    pub(crate) reachable: bool,
    /// Round-trip time when last connected; 0 is not known.
    pub(crate) rtt_ms: u16,
    /// Whether no node has mentioned it for long.
    pub(crate) stale: bool,
}

/// Inputs of the choice.
pub(crate) struct ChoiceInputs<'a> {
    pub(crate) own: &'a NodeId,
    /// Bits that all identifiers share (PROTOCOL.md#proof-of-work): buckets before it do not exist.
    pub(crate) difficulty: u16,
    pub(crate) edge_targets: EdgeTargets,
    pub(crate) live: &'a Live,
    /// Dials in flight; they count as if they had succeeded.
    pub(crate) in_flight: &'a [InFlight],
    pub(crate) candidates: &'a [Candidate],
}

/// Up to `want` contacts to dial, best first.
///
/// The order: the nearest eight, one edge in every bucket that has none, the other siblings, then
/// one outgoing edge in every slot. In a slot, contacts in a fresh subnet, reachable and verified
/// ones and those with a low round-trip time are preferred, in this order.
pub(crate) fn choose_edges(inputs: &ChoiceInputs<'_>, want: usize) -> Vec<NodeId> {
    let outgoing = inputs.live.iter().filter(|edge| edge.outgoing).count() + inputs.in_flight.len();
    let want = want.min(inputs.edge_targets.outgoing_max.saturating_sub(outgoing));
    if want == 0 || inputs.candidates.is_empty() {
        return Vec::new();
    }
    let mut picks = Picks { inputs, want, chosen: Vec::with_capacity(want) };
    let siblings = wanted_siblings(inputs);
    siblings.iter().take(FIRST_SIBLINGS).for_each(|contact| picks.push(contact));
    picks.fill_slots(0, false);
    siblings.iter().skip(FIRST_SIBLINGS).for_each(|contact| picks.push(contact));
    picks.fill_slots(inputs.edge_targets.slot_bits, true);
    picks.chosen.iter().map(|contact| contact.id).collect()
}

/// Picks so far.
struct Picks<'a> {
    inputs: &'a ChoiceInputs<'a>,
    want: usize,
    chosen: Vec<&'a Candidate>,
}

impl<'a> Picks<'a> {
    fn is_enough(&self) -> bool {
        self.chosen.len() >= self.want
    }

    fn push(&mut self, contact: &'a Candidate) {
        if !self.is_enough() && !self.chosen.iter().any(|other| other.id == contact.id) {
            self.chosen.push(contact);
        }
    }

    /// Picks the best contact of every slot that has no edge. With `outgoing_only`, edges that
    /// peers opened do not occupy a slot, unless they are siblings anyway. A light node may fill a
    /// whole bucket without other contacts, but no part of one.
    fn fill_slots(&mut self, bits: u16, outgoing_only: bool) {
        let ChoiceInputs { own, live, edge_targets, .. } = *self.inputs;
        let boundary = live.boundary(own, edge_targets.siblings).filter(|_| outgoing_only);
        let near = |id: &NodeId| boundary.is_some_and(|boundary| boundary.is_within(id));
        let ids = live
            .iter()
            .filter(|edge| edge.outgoing || !outgoing_only || near(&edge.id))
            .map(|edge| &edge.id)
            .chain(self.inputs.in_flight.iter().map(|dial| &dial.id))
            .chain(self.chosen.iter().map(|contact| &contact.id));
        let taken = Taken::by(own, self.inputs.difficulty, bits, ids);
        let is_fit = |contact: &&Candidate| !outgoing_only || contact.light != Light::Itself;
        let fit = self.inputs.candidates.iter().filter(is_fit);
        let mut open: BTreeMap<Slot, Vec<&'a Candidate>> = BTreeMap::new();
        for contact in fit {
            let slot = Slot::of(own, &contact.id, bits);
            if taken.is_open(slot) {
                open.entry(slot).or_default().push(contact);
            }
        }
        if open.is_empty() || self.is_enough() {
            return;
        }
        let mut crowd = SubnetCounts::of(self.inputs, self.chosen.iter().filter_map(|c| c.subnet));
        for contacts in open.values() {
            let best = contacts.iter().min_by_key(|contact| preference_key(own, contact, &crowd));
            if let Some(best) = best.filter(|_| !self.is_enough()) {
                self.push(best);
                crowd.add(best.subnet);
            }
        }
    }
}

/// Sort key of the contacts of a slot, the smallest first. The first field that differs decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PreferenceKey {
    is_light: bool,
    is_subnet_full: bool,
    is_unreachable: bool,
    is_unverified: bool,
    is_gossiped_light: bool,
    is_stale: bool,
    rtt_ms: u16,
    /// A hash of both ids, so that nodes do not all choose the same peer.
    tie_break: u64,
}

fn preference_key(own: &NodeId, contact: &Candidate, crowd: &SubnetCounts) -> PreferenceKey {
    PreferenceKey {
        is_light: contact.light == Light::Itself,
        is_subnet_full: crowd.is_full(contact.subnet),
        is_unreachable: !contact.reachable,
        is_unverified: !contact.verified,
        is_gossiped_light: contact.light == Light::Claimed,
        is_stale: contact.stale,
        rtt_ms: if contact.rtt_ms == 0 { RTT_UNKNOWN_MS } else { contact.rtt_ms },
        tie_break: tie_break(own, &contact.id),
    }
}

/// A pseudo-random number that depends on both ids.
pub(crate) fn tie_break(own: &NodeId, id: &NodeId) -> u64 {
    let tail = |id: &NodeId| id.as_bytes().last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail));
    (tail(own) ^ tail(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Stands for an unmeasured round-trip time: better than a slow one, worse than a fast one.
const RTT_UNKNOWN_MS: u16 = 80;
/// An edge in a slot is worth replacing if its round-trip time is above this (a guess).
const RTT_GOOD_MS: u16 = 30;

/// The slots of a bucket that have none of these peers, with `bits` and `difficulty` as in
/// [`ChoiceInputs`].
pub(crate) fn lacking_slots<'a>(
    own: &NodeId,
    difficulty: u16,
    bucket: u16,
    bits: u16,
    peers: impl Iterator<Item = &'a NodeId>,
) -> Vec<Slot> {
    Taken::by(own, difficulty, bits, peers).open_in(bucket).collect()
}

/// Up to `want` contacts to probe in place of slow fingers. Of the slots with one outgoing edge,
/// those with the longest round-trip times come first that have an untried or a faster contact.
/// There is one contact of each slot, and none of a subnet that has its share: speed does not
/// replace diversity. `candidates_in` a slot are fetched only as far as they are needed.
/// [`is_faster`] selects those that are worth a change from an edge this slow.
pub(crate) fn choose_faster(
    inputs: &ChoiceInputs<'_>,
    want: usize,
    candidates_in: impl Fn(Slot, u16) -> Vec<Candidate>,
) -> Vec<NodeId> {
    let mut crowd = SubnetCounts::of(inputs, core::iter::empty());
    let mut chosen = Vec::new();
    for (slot, slowness_ms) in slow_fingers(inputs) {
        if chosen.len() == want {
            break;
        }
        let candidates = candidates_in(slot, slowness_ms);
        let fit = candidates.iter().filter(|c| c.light == Light::No && !crowd.is_full(c.subnet));
        let best = fit.min_by_key(|contact| {
            let untried = contact.rtt_ms == 0;
            (!contact.reachable, untried, contact.rtt_ms, tie_break(inputs.own, &contact.id))
        });
        if let Some(best) = best {
            chosen.push(best.id);
            crowd.add(best.subnet);
        }
    }
    chosen
}

/// The slots beyond the siblings with a slow edge as their only outgoing one, the slowest first,
/// and its round-trip time.
fn slow_fingers(inputs: &ChoiceInputs<'_>) -> Vec<(Slot, u16)> {
    let Some(boundary) = inputs.live.boundary(inputs.own, inputs.edge_targets.siblings) else {
        return Vec::new();
    };
    let mut fingers: Vec<(Slot, u16)> = inputs
        .live
        .iter()
        .filter(|edge| edge.outgoing && !boundary.is_within(&edge.id))
        .map(|edge| {
            (Slot::of(inputs.own, &edge.id, inputs.edge_targets.slot_bits), edge.slowness_ms())
        })
        .collect();
    fingers.sort_by_key(|(slot, slowness_ms)| (Reverse(*slowness_ms), *slot));
    let is_alone = |slot: Slot| fingers.iter().filter(|(other, _)| *other == slot).count() == 1;
    let is_slow = |&&(slot, ms): &&(Slot, u16)| ms > RTT_GOOD_MS && is_alone(slot);
    fingers.iter().filter(is_slow).copied().collect()
}

/// Whether a contact with this round-trip time (0: not known) is worth a change from `current`. It
/// must be a fifth and ten milliseconds faster at least, so that edges do not churn.
pub(crate) fn is_faster(rtt_ms: u16, current: u16) -> bool {
    rtt_ms == 0 || u32::from(rtt_ms) + u32::from(current / 5).max(10) <= u32::from(current)
}

/// Whether an edge to a peer that answered in `rtt_ms` would be one of the nearest, or the only or
/// the fastest of its slot. There is no margin: the cost of a change is paid once the peer has
/// answered.
pub(crate) fn is_improvement(inputs: &ChoiceInputs<'_>, peer: &NodeId, rtt_ms: u16) -> bool {
    let ChoiceInputs { own, live, edge_targets, .. } = *inputs;
    let Some(boundary) = live.boundary(own, edge_targets.siblings) else { return true };
    let slot_of = |id: &NodeId| Slot::of(own, id, edge_targets.slot_bits);
    let (fingers, slot) = (live.iter().filter(|edge| edge.outgoing), slot_of(peer));
    let mut mates = fingers.filter(|edge| slot_of(&edge.id) == slot);
    let is_near = boundary.is_within(peer) || live.iter().count() < edge_targets.siblings;
    is_near || mates.all(|edge| rtt_ms < edge.slowness_ms())
}

/// A surplus outgoing edge: of two in one slot beyond the nearest peers, the slower one. Edges that
/// are not settled stay.
pub(crate) fn surplus_outgoing(
    own: &NodeId,
    edge_targets: EdgeTargets,
    live: &Live,
) -> Option<NodeId> {
    // The nearest of twice the number of siblings, so that an edge that is about to be one stays.
    let boundary = live.boundary(own, edge_targets.siblings * 2)?;
    let mut fingers: Vec<(Slot, &LiveEdge)> = live
        .iter()
        .filter(|edge| edge.outgoing && edge.is_closable() && !boundary.is_within(&edge.id))
        .map(|edge| (Slot::of(own, &edge.id, edge_targets.slot_bits), edge))
        .collect();
    fingers.sort_by_key(|(slot, edge)| (*slot, edge.slowness_ms(), edge.id));
    fingers
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| pair[1].1)
        .max_by_key(|edge| (edge.slowness_ms(), edge.id))
        .map(|edge| edge.id)
}

/// The least useful inbound edge, to make room for another. It is the slowest of the subnet with
/// the most such edges in the bucket with the most. The `spared` nearest peers and new ones stay.
pub(crate) fn least_useful_inbound(own: &NodeId, spared: usize, live: &Live) -> Option<NodeId> {
    let boundary = live.boundary(own, spared)?;
    let bucket_of = |edge: &LiveEdge| own.common_prefix_len(&edge.id);
    let inbound = live.iter().filter(|edge| !edge.outgoing);
    let mut by_bucket: BTreeMap<u16, Vec<&LiveEdge>> = BTreeMap::new();
    inbound.for_each(|edge| by_bucket.entry(bucket_of(edge)).or_default().push(edge));
    let expendable = |edge: &&&LiveEdge| edge.is_closable() && !boundary.is_within(&edge.id);
    let fullest = by_bucket
        .values()
        .filter(|edges| edges.iter().any(|edge| expendable(&edge)))
        .max_by_key(|edges| edges.len())?;
    let site = |edge: &LiveEdge| edge.subnet.map(|subnet| Tier::Site.domain(subnet));
    let mut sites: Vec<u128> = fullest.iter().filter_map(|edge| site(edge)).collect();
    sites.sort_unstable();
    let crowd = |edge: &LiveEdge| {
        let Some(site) = site(edge) else { return 0 };
        let first = sites.partition_point(|other| *other < site);
        sites[first..].iter().take_while(|other| **other == site).count()
    };
    fullest
        .iter()
        .filter(expendable)
        .max_by_key(|edge| (crowd(edge), edge.rtt_ms, edge.id))
        .map(|edge| edge.id)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
