//! Periodic topology maintenance: fill missing edges, ask for contacts, probe faster peers, close
//! surplus edges.
//!
//! Responsible for: what is to be done now, read from the tables and the schedule. Never: handles a
//! frame, or changes a table of another room.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heapless::Vec as FixedVec;

use super::bootstrap::Bootstrap;
use super::choose::{
    Candidate, ChoiceInputs, InFlight, Light, Live, LiveEdge, Slot, Vacancies, choose_edges,
    choose_faster, is_faster, is_improvement, lacking_slots, least_useful_inbound,
    surplus_outgoing,
};
use super::schedule::dials_max;
use super::volunteers::{KEPT, Kept, Volunteer, is_needed};
use super::{Topology, edge_targets, far_buckets, is_reachable};
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::{Config, Profile};
use crate::connect::{self, Connect, HostLimit, Purpose, Source, Want};
use crate::context::Context;
use crate::overlay::actions::Action;
use crate::overlay::edges::{Edge, EdgeTable, SIBLINGS};
use crate::overlay::peers::{Ask, Contact, ContactTable, Question};
use crate::wire::Capabilities;

/// An edge counts as settled after this long: by then a new peer has had the answers that lead it
/// to others (a guess). A join takes one second; the sooner it is over, the more of them a contact
/// that all others know can serve.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// A frame of the peer itself counts as evidence for this long (a guess: a session of a user).
const VERIFIED_FOR: Duration = Duration::from_secs(30 * 60);
/// A contact that was not mentioned for this long is less likely alive (a guess).
const STALE_AFTER: Duration = Duration::from_secs(10 * 60);
/// A NAT keeps the mapping of a conn for at least this long after its last packet (RFC 4787 §4.3
/// requires two minutes; routers with 30 s are common).
const MAPPED_FOR: Duration = Duration::from_secs(30);
/// One in this many places for inbound edges is kept free, at least one, so that new peers always
/// find one (a guess).
const INBOUND_FREE: usize = 8;
/// One in this many of those places may be held by nearest peers, which are never closed. The
/// others serve any peer (a guess).
const INBOUND_SPARED: usize = 2;
/// A question about an identifier goes to one of this many edges nearest to it, at random. One
/// neighbour with few contacts then does not spoil every answer (a guess).
const ASK_AMONG: usize = 3;

/// The state of the other rooms and machines that the maintenance reads.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The live edges.
    pub(crate) edges: &'a EdgeTable,
    /// The contacts.
    pub(crate) contacts: &'a ContactTable,
    /// The attempts under way.
    pub(crate) dials: Dials<'a>,
}

/// The attempts under way, as a maintenance sees them.
#[derive(Clone, Copy)]
pub(crate) struct Dials<'a> {
    /// The attempts before this maintenance.
    pub(crate) connect: &'a Connect,
    /// The peer and the first address of the attempt that it begins for the bootstrap peers, and
    /// that `connect` does not have yet.
    pub(crate) begun: Option<(NodeId, Option<SocketAddr>)>,
}

impl Dials<'_> {
    /// The limit on dials to one host.
    fn host_limit(&self) -> HostLimit {
        let mut limit = self.connect.host_limit();
        let begun = self.begun.and_then(|(_, addr)| addr);
        begun.into_iter().for_each(|addr| limit.add(addr.ip()));
        limit
    }

    /// The peers that are being dialed, and the first address of each.
    fn in_flight(&self) -> impl Iterator<Item = (NodeId, Option<SocketAddr>)> {
        let is_new = |peer: &NodeId| self.connect.in_flight().all(|(other, _)| other != *peer);
        self.connect.in_flight().chain(self.begun.filter(|(peer, _)| is_new(peer)))
    }
}

/// A fill in progress: the edges that it examined and the dials that it chose.
pub(crate) struct Fill {
    live: Live,
    wanted: Vec<NodeId>,
}

/// The edges and dials that a choice is made among.
struct Snapshot {
    live: Live,
    in_flight: Vec<InFlight>,
    host_limit: HostLimit,
    /// The volunteers that are kept, if any are needed.
    kept: Option<Kept>,
}

impl Snapshot {
    fn new(cx: &Context<'_, Action>, view: View<'_>) -> Self {
        let subnet = |addr: Option<SocketAddr>| addr.and_then(|addr| Subnet::counted(addr.ip()));
        let dials = view.dials.in_flight();
        let kept = kept(cx, view.edges, view.contacts);
        Self {
            live: live(cx.now, view.edges, view.edges.iter(), kept.as_ref()),
            kept,
            in_flight: dials.map(|(id, addr)| InFlight { id, subnet: subnet(addr) }).collect(),
            host_limit: view.dials.host_limit(),
        }
    }

    fn inputs<'a>(
        &'a self,
        cx: &Context<'_, Action>,
        view: View<'a>,
        candidates: &'a [Candidate],
    ) -> ChoiceInputs<'a> {
        ChoiceInputs {
            own: view.edges.own(),
            difficulty: cx.config.difficulty,
            edge_targets: edge_targets(cx.config),
            live: &self.live,
            in_flight: &self.in_flight,
            candidates,
        }
    }

    /// Those of `contacts` that have neither an edge nor a dial under way, and may be dialed.
    fn unconnected<'a>(
        &self,
        cx: &Context<'_, Action>,
        view: View<'_>,
        contacts: impl Iterator<Item = &'a Contact>,
    ) -> Vec<Candidate> {
        let tick = view.contacts.tick(cx.now);
        contacts
            .filter(|contact| view.edges.get(&contact.id).is_none())
            .filter(|contact| cx.config.edge_policy.admits(&contact.id))
            .filter(|contact| !self.in_flight.iter().any(|dial| dial.id == contact.id))
            .filter(|contact| self.host_limit.admits_any(candidates_of(cx, view.contacts, contact)))
            .map(|contact| Candidate {
                id: contact.id,
                subnet: contact.dial_subnet(),
                verified: tick.since(contact.last_seen) <= VERIFIED_FOR,
                light: lightness(contact),
                reachable: is_reachable(contact),
                rtt_ms: contact.rtt_ms,
                stale: tick.since(contact.mentioned) > STALE_AFTER,
            })
            .collect()
    }
}

impl Snapshot {
    /// The contacts to dial that relay, if this node keeps volunteers.
    fn volunteers(&self, cx: &Context<'_, Action>, view: View<'_>) -> Vec<Candidate> {
        if self.kept.is_none() {
            return Vec::new();
        }
        let all = view.contacts.candidates(cx.now, |_| true);
        self.unconnected(cx, view, all.filter(|contact| relays(contact)))
    }

    /// Those of `relays` that are dialed so that enough volunteers are kept.
    fn missing(&self, view: View<'_>, candidates: &[Candidate]) -> FixedVec<NodeId, KEPT> {
        let Some(kept) = &self.kept else { return FixedVec::new() };
        let dialed = self.in_flight.iter().filter(|dial| {
            let contact = view.contacts.find(&dial.id);
            contact.is_some_and(relays)
        });
        kept.missing(view.edges.own(), dialed.count(), candidates)
    }
}

impl Topology {
    /// The maintenance timer fired. Bootstrap peers are looked at if that is due.
    /// Returns the peer that is dialed for that, and its first address.
    pub(crate) fn begin_maintenance(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
    ) -> Option<(NodeId, Option<SocketAddr>)> {
        self.due_at = None;
        if self.schedule.seed_check > cx.now {
            return None;
        }
        self.schedule.on_seed_checked(cx.now, cx.rng);
        self.bootstrap.check_for_others(cx, |peer| edges.get(peer).is_some())
    }

    /// Dials the contacts that are wanted most, or else some that may be faster than an edge.
    /// Returns nothing if that is not due.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_, Action>, view: View<'_>) -> Option<Fill> {
        if self.schedule.fill > cx.now {
            return None;
        }
        let snapshot = Snapshot::new(cx, view);
        let room = dials_max(view.edges.phase()).saturating_sub(snapshot.in_flight.len());
        let vacancies = Vacancies::of(&snapshot.inputs(cx, view, &[]));
        self.schedule.vacancies = vacancies;
        let own = view.edges.own();
        let contacts = view.contacts.candidates(cx.now, |bucket| vacancies.contains(bucket));
        let welcome = contacts.filter(|contact| vacancies.welcomes(own, &contact.id));
        let candidates = snapshot.unconnected(cx, view, welcome);
        let mut wanted = choose_edges(&snapshot.inputs(cx, view, &candidates), room);
        let relays = snapshot.volunteers(cx, view);
        for volunteer in snapshot.missing(view, &relays) {
            if wanted.len() < room && !wanted.contains(&volunteer) {
                wanted.push(volunteer);
            }
        }
        let content = wanted.is_empty() && snapshot.in_flight.is_empty();
        let purpose = if content { Purpose::Probe } else { Purpose::Edge };
        if content && cx.config.profile == Profile::Router {
            let tries = self.schedule.tries_now(cx.now);
            wanted = faster(cx, view, &snapshot, &relays, tries.min(room));
            self.schedule.on_tried(cx.now, tries, wanted.len());
        }
        for peer in &wanted {
            want(cx, &self.bootstrap, view.contacts, peer, purpose);
        }
        let may_be_chosen = |contact: &Contact| vacancies.welcomes(own, &contact.id);
        let in_opening = |bucket| vacancies.contains(bucket);
        let retry = view.contacts.next_retry(cx.now, in_opening, may_be_chosen);
        let retry = retry.map(|wait| cx.now + wait);
        self.schedule.on_filled(cx.now, cx.rng, retry, content);
        Some(Fill { live: snapshot.live, wanted })
    }

    /// Whether a peer that was probed is to become an edge: its slot has none that is as fast, or
    /// it is wanted anyway.
    pub(crate) fn is_worth_an_edge(
        &self,
        cx: &Context<'_, Action>,
        edges: &EdgeTable,
        contacts: &ContactTable,
        peer: &NodeId,
        rtt_ms: u16,
    ) -> bool {
        let is_volunteer = contacts.find(peer).is_some_and(relays);
        let is_nearer = |kept: Kept| kept.is_improved_by(rtt_ms);
        if is_volunteer && kept(cx, edges, contacts).is_some_and(is_nearer) {
            return true;
        }
        // Only the nearest edges and those in its slot matter.
        let (own, edge_targets) = (edges.own(), edge_targets(cx.config));
        let nearest = edges.closest::<SIBLINGS>(own);
        let slot = Slot::of(own, peer, edge_targets.slot_bits);
        let mates = edges.sharing(peer, slot.shared_bits(edge_targets.slot_bits)).iter();
        let mates = mates.filter(|edge| !edge.is_sibling());
        let inputs = ChoiceInputs {
            own,
            difficulty: cx.config.difficulty,
            edge_targets,
            live: &live(cx.now, edges, nearest.iter().copied().chain(mates), None),
            in_flight: &[],
            candidates: &[],
        };
        is_improvement(&inputs, peer, rtt_ms)
    }

    /// The edges to close: outgoing ones whose slot has a better one, and inbound ones if too few
    /// places are left for new peers.
    pub(crate) fn surplus(
        &self,
        cx: &Context<'_, Action>,
        edges: &EdgeTable,
        fill: &mut Fill,
    ) -> Vec<NodeId> {
        let (own, targets, live) = (edges.own(), edge_targets(cx.config), &mut fill.live);
        let mut surplus = Vec::new();
        while let Some(peer) = surplus_outgoing(own, targets, live) {
            live.remove(&peer);
            surplus.push(peer);
        }
        let spared = (2 * targets.siblings).min(inbound_places(cx.config) / INBOUND_SPARED);
        let crowd = edges.inbound().saturating_sub(inbound_settled(cx.config));
        for _ in 0..crowd {
            let Some(peer) = least_useful_inbound(own, spared, live) else { break };
            live.remove(&peer);
            surplus.push(peer);
        }
        surplus
    }

    /// The surplus edges of a fill are closed.
    pub(crate) fn on_surplus_closed(
        &mut self,
        cx: &Context<'_, Action>,
        edges: &EdgeTable,
        fill: &Fill,
    ) {
        let is_new = |edge: &LiveEdge| !edge.outgoing && !edge.settled;
        if is_crowded(cx.config, edges) && fill.live.iter().any(is_new) {
            // The new peers will have been served soon.
            self.schedule.expedite_fill(cx.now);
        }
    }

    /// The questions that are due: for the own identifier, for a neighbour's vicinity, and into a
    /// bucket.
    pub(crate) fn questions(
        &mut self,
        cx: &mut Context<'_, Action>,
        view: View<'_>,
        fill: Option<&Fill>,
    ) -> heapless::Vec<Ask, 3> {
        let mut asks = heapless::Vec::new();
        if view.edges.is_empty() {
            return asks;
        }
        let own = *view.edges.own();
        if self.schedule.own.is_due(cx.now) {
            // One of the nearest may know the peers that joined since. A far one may know a part of
            // the vicinity that the nearest do not. Which of them is asked is random.
            let (place, among) = match cx.rng.below(2) {
                0 => (own, ASK_AMONG),
                _ => (NodeId::from_bytes(cx.rng.array()), 1),
            };
            let ask = question_near(cx, view.edges, &place, among, Question::Own);
            asks.extend(ask);
            let is_reachable = cx.own.is_reachable();
            self.schedule.on_own_asked(cx.now, cx.rng, is_reachable);
        }
        if self.schedule.vicinity.is_due(cx.now) {
            let ask = question_near(cx, view.edges, &own, SIBLINGS, Question::Vicinity);
            asks.extend(ask);
            self.schedule.on_vicinity_asked(cx.now, cx.rng);
        }
        let far = far_buckets(cx.config, view.edges);
        if let Some(bucket) = self.schedule.bucket_due(cx.now, far) {
            let wanted = fill.map_or(&[][..], |fill| &fill.wanted);
            asks.extend(bucket_question(cx, view, wanted, bucket));
            self.schedule.on_bucket_asked(cx.now, cx.rng, bucket);
        }
        asks
    }

    /// Dials an incumbent that was not seen for long, because other contacts wait for its place.
    /// Returns it if it has an edge, and so is known to be alive.
    pub(crate) fn probe(&mut self, cx: &mut Context<'_, Action>, view: View<'_>) -> Option<NodeId> {
        let incumbent = self.schedule.next_probe(cx.now)?;
        if view.edges.get(&incumbent).is_some() {
            return Some(incumbent);
        }
        let is_admitted = cx.config.edge_policy.admits(&incumbent);
        if is_admitted && view.contacts.get(&incumbent).is_some() {
            want(cx, &self.bootstrap, view.contacts, &incumbent, Purpose::Probe);
        }
        None
    }
}

/// These edges as the choice of others sees them.
fn live<'a>(
    now: Instant,
    table: &EdgeTable,
    edges: impl Iterator<Item = &'a Edge>,
    kept: Option<&Kept>,
) -> Live {
    let edges = edges.map(|edge| LiveEdge {
        id: edge.peer,
        outgoing: edge.is_outgoing(),
        subnet: edge.subnet,
        rtt_ms: edge.rtt_ms,
        settled: now.saturating_duration_since(edge.since) >= SETTLED_AFTER,
        light: edge.light,
        kept: kept.is_some_and(|kept| kept.has(&edge.peer)),
    });
    Live::new(table.own(), &edges.collect::<Vec<LiveEdge>>())
}

/// Starts an attempt at a contact. If it is a bootstrap peer, the addresses of the operator follow
/// those of the contact.
fn want(
    cx: &mut Context<'_, Action>,
    bootstrap: &Bootstrap,
    contacts: &ContactTable,
    peer: &NodeId,
    purpose: Purpose,
) {
    if let Some(contact) = contacts.find(peer) {
        let named = bootstrap.addrs(peer).iter().copied().map(connect::Candidate::given);
        let candidates = candidates_of(cx, contacts, contact).chain(named).collect();
        cx.act(Action::Connect(Want { peer: *peer, candidates, purpose }));
    }
}

/// The addresses of a contact as candidates, best first. What others say of its capabilities
/// counts here: to ask each contact costs as much as to dial it, and a lie moves one port at most.
fn candidates_of<'a>(
    cx: &Context<'_, Action>,
    contacts: &ContactTable,
    contact: &'a Contact,
) -> impl Iterator<Item = connect::Candidate> + use<'a> {
    let is_anchor = Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR);
    let is_recent = contacts.tick(cx.now).since(contact.last_seen) <= MAPPED_FOR;
    contact.addrs().map(move |addr| {
        let is_proven = contact.is_proven_at(addr);
        let source = if is_proven { Source::Verified } else { Source::Unverified };
        connect::Candidate { addr, source, is_open: is_anchor || (is_proven && is_recent) }
    })
}

/// Whether a contact can be dialed without a question first.
fn may_be_early(cx: &Context<'_, Action>, contacts: &ContactTable, contact: &Contact) -> bool {
    candidates_of(cx, contacts, contact).any(|candidate| candidate.may_be_early())
}

/// Up to `count` contacts that may be faster than an edge, or than a volunteer that is kept.
fn faster(
    cx: &Context<'_, Action>,
    view: View<'_>,
    snapshot: &Snapshot,
    relays: &[Candidate],
    count: usize,
) -> Vec<NodeId> {
    if count == 0 {
        return Vec::new();
    }
    let (own, bits) = (view.edges.own(), edge_targets(cx.config).slot_bits);
    let nearer = snapshot.kept.as_ref().and_then(|kept| kept.nearer(own, relays));
    let count = count - usize::from(nearer.is_some());
    let fingers = choose_faster(&snapshot.inputs(cx, view, &[]), count, |slot, slowness_ms| {
        let in_bucket = view.contacts.candidates(cx.now, |bucket| bucket == slot.bucket);
        let worth = in_bucket.filter(|contact| is_faster(contact.rtt_ms, slowness_ms));
        let in_slot = worth.filter(|contact| Slot::of(own, &contact.id, bits) == slot);
        // A question costs as much as the dial that follows, and most contacts are not faster.
        let in_slot = in_slot.filter(|contact| may_be_early(cx, view.contacts, contact));
        snapshot.unconnected(cx, view, in_slot)
    });
    let others = fingers.into_iter().filter(|finger| Some(*finger) != nearer);
    nearer.into_iter().chain(others).collect()
}

/// The volunteers that are kept; nothing if this node needs none.
fn kept(cx: &Context<'_, Action>, edges: &EdgeTable, contacts: &ContactTable) -> Option<Kept> {
    if !is_needed(cx) {
        return None;
    }
    let says_so = |edge: &&Edge| {
        let contact = contacts.find(&edge.peer);
        contact.is_some_and(|contact| contact.caps_self_reported && relays(contact))
    };
    let volunteer =
        |edge: &Edge| Volunteer { id: edge.peer, subnet: edge.subnet, rtt_ms: edge.rtt_ms };
    Some(Kept::of(edges.iter().filter(says_so).map(volunteer).collect()))
}

/// Whether a contact relays, as it says itself or as others say. A light node never does.
fn relays(contact: &Contact) -> bool {
    let caps = Capabilities(contact.caps);
    caps.has(Capabilities::CAN_RELAY) && !caps.has(Capabilities::LIGHT)
}

/// A question for an identifier in a far bucket, in a slot that lacks an edge if there is one.
fn bucket_question(
    cx: &mut Context<'_, Action>,
    view: View<'_>,
    wanted: &[NodeId],
    bucket: u16,
) -> Option<Ask> {
    let mut target = view.contacts.random_id_in(usize::from(bucket), cx.rng);
    let is_sparse = is_sparse(cx.config, view.edges, bucket);
    let lacking = if is_sparse { Vec::new() } else { lacking(cx, view, wanted, bucket) };
    if let Some(last) = (lacking.len() as u64).checked_sub(1) {
        let slot = lacking[cx.rng.below(last + 1) as usize];
        target = slot.place(target, edge_targets(cx.config).slot_bits);
    }
    let question = Question::Near { target, lacking: !lacking.is_empty() };
    question_near(cx, view.edges, &target, ASK_AMONG, question)
}

/// Whether the nearest peers end in this bucket or before, so that a slot of it is likely to be
/// empty.
fn is_sparse(config: &Config, edges: &EdgeTable, bucket: u16) -> bool {
    let own = edges.own();
    let nearest = edges.closest::<SIBLINGS>(own);
    let far = nearest.iter().take(edge_targets(config).siblings).next_back();
    far.is_none_or(|edge| bucket >= own.common_prefix_len(&edge.peer))
}

/// The slots of a bucket that have neither an edge, nor a dial, nor a contact to dial.
fn lacking(cx: &Context<'_, Action>, view: View<'_>, wanted: &[NodeId], bucket: u16) -> Vec<Slot> {
    let in_flight: Vec<NodeId> = view.dials.in_flight().map(|(peer, _)| peer).collect();
    let contacts = view.contacts.candidates(cx.now, |at| at == bucket);
    let peers = view.edges.iter().map(|edge| &edge.peer);
    let peers = peers.chain(&in_flight).chain(wanted);
    let peers = peers.chain(contacts.map(|contact| &contact.id));
    let bits = edge_targets(cx.config).slot_bits;
    lacking_slots(view.edges.own(), cx.config.difficulty, bucket, bits, peers)
}

/// A question to one of the `among` edges nearest to `target`, at random. Light nodes are asked
/// only if there is no other.
fn question_near(
    cx: &mut Context<'_, Action>,
    edges: &EdgeTable,
    target: &NodeId,
    among: usize,
    question: Question,
) -> Option<Ask> {
    let nearest = edges.closest::<SIBLINGS>(target);
    let mut willing: Vec<_> = nearest.iter().filter(|edge| !edge.light).take(among).collect();
    if willing.is_empty() {
        willing.extend(nearest.iter().take(among));
    }
    let count = willing.len() as u64;
    let peer = (count > 0).then(|| willing[cx.rng.below(count) as usize].peer)?;
    Some(Ask::new(cx, question, peer))
}

/// Whether inbound edges are so many that one of them has to be closed.
pub(crate) fn is_crowded(config: &Config, edges: &EdgeTable) -> bool {
    edges.inbound() > inbound_settled(config)
}

/// Places for inbound edges that may be taken before edges are closed.
pub(crate) fn inbound_settled(config: &Config) -> usize {
    let places = inbound_places(config);
    // A single place is no use if it is always kept free.
    let free = (places / INBOUND_FREE).max(usize::from(places > 1));
    places - free
}

/// Edges that peers may open.
fn inbound_places(config: &Config) -> usize {
    config.inbound_edges_max.min(edge_targets(config).inbound_max)
}

fn lightness(contact: &Contact) -> Light {
    match Capabilities(contact.caps).has(Capabilities::LIGHT) {
        false => Light::No,
        true if contact.caps_self_reported => Light::Itself,
        true => Light::Claimed,
    }
}

#[cfg(test)]
mod tests;
