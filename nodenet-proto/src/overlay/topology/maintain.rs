//! What a node does by itself when it is time: fills its edges, asks around, tries faster edges,
//! sheds what it can do without.
//!
//! Responsible for: turning the tables and the schedule into dials, questions and closes. Never:
//! handles a frame.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::choose::{
    Candidate, ChoiceInputs, EdgeTargets, InFlight, Light, Live, LiveEdge, Slot, Vacancies,
    choose_edges, choose_faster, is_faster, is_improvement, lacking_slots, least_useful_inbound,
    surplus_outgoing,
};
use super::schedule::dials_max;
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::Profile;
use crate::context::Context;
use crate::overlay::dialer::Purpose;
use crate::overlay::dialer::host_limit::HostLimit;
use crate::overlay::edges::Edge;
use crate::overlay::edges::lifecycle::send;
use crate::overlay::peers::lookup::Question;
use crate::overlay::peers::{Contact, Provenance};
use crate::overlay::routing::originate::lookup_here;
use crate::overlay::{Action, Overlay, Timer};
use crate::wire::{self, Capabilities, Message};

/// An edge is judged when it has lived this long: by then a newcomer has had the answers that lead
/// it to others (a guess; a join takes one second, and the sooner it is over the more of them a
/// contact that everybody knows can serve).
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// A word of the peer itself counts as evidence for this long (a guess: a session of a user).
const VERIFIED_FOR: Duration = Duration::from_secs(30 * 60);
/// A contact that nobody mentioned for this long is less likely to be alive (a guess).
const STALE_AFTER: Duration = Duration::from_secs(10 * 60);
/// One in so many places for inbound edges is kept free by shedding, at least one, so that
/// newcomers always find one.
const INBOUND_FREE: usize = 8;
/// One in so many of those places may be held by nearest peers that are never shed, however few
/// there are: the others serve whoever comes.
const INBOUND_SPARED: usize = 2;
/// Edges from which on it makes sense to ask into far buckets.
const BUCKETS_FROM: usize = 3;
/// A question about an identifier goes to one of so many edges nearest to it, at random, so that
/// one neighbour that knows nothing does not spoil every answer.
const ASK_AMONG: usize = 3;

/// What edges there are right now, for the choice of others.
struct Snapshot {
    live: Live,
    in_flight: Vec<InFlight>,
    claims: HostLimit,
}

impl Overlay {
    /// It is time to look after the edges and the tables.
    pub(crate) fn maintain(&mut self, cx: &mut Context<'_, Action>) {
        self.check_seeds(cx);
        if self.schedule.fill <= cx.now {
            let snapshot = self.snapshot(cx.now);
            self.fill(cx, &snapshot);
            self.shed(cx, snapshot);
        }
        self.ask_around(cx);
        self.probe(cx);
        self.arm_schedule(cx, cx.now);
    }

    /// Sets the timer of the upkeep to what is due first.
    pub(crate) fn arm_schedule(&mut self, cx: &mut Context<'_, Action>, now: Instant) {
        if !self.config.maintenance || self.leaving {
            return;
        }
        let due = self.schedule.due(self.far_buckets(), !self.edges.is_empty());
        let at = self.keepalive.align(due.max(now + Duration::from_millis(1)), now);
        if self.schedule_at != Some(at) {
            self.schedule_at = Some(at);
            cx.act(Action::Set(Timer::Schedule, at));
        }
    }

    pub(crate) fn edge_targets(&self) -> EdgeTargets {
        match self.config.profile {
            Profile::Router => EdgeTargets::ROUTER,
            Profile::Light => EdgeTargets::LIGHT,
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        self.snapshot_of(now, self.edges.iter())
    }

    /// A snapshot in which there are no other edges than these.
    fn snapshot_of<'a>(&self, now: Instant, edges: impl Iterator<Item = &'a Edge>) -> Snapshot {
        let live = edges.map(|edge| LiveEdge {
            id: edge.peer,
            outgoing: edge.is_outgoing(),
            subnet: edge.subnet,
            rtt_ms: edge.rtt_ms,
            settled: now.saturating_duration_since(edge.since) >= SETTLED_AFTER,
            light: edge.light,
        });
        let live: Vec<LiveEdge> = live.collect();
        let live = Live::new(self.edges.own(), &live);
        Snapshot { live, in_flight: self.in_flight(), claims: self.claims() }
    }

    fn claims(&self) -> HostLimit {
        HostLimit::new(self.dialer.hosts())
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let subnet = |addr: Option<SocketAddr>| addr.and_then(|addr| Subnet::counted(addr.ip()));
        let dials = self.dialer.dialing();
        dials.map(|(id, addr)| InFlight { id, subnet: subnet(addr) }).collect()
    }

    /// Those to whom there is neither an edge nor a dial under way, and who may be dialed.
    fn unconnected<'a>(
        &self,
        now: Instant,
        snapshot: &Snapshot,
        contacts: impl Iterator<Item = &'a Contact>,
    ) -> Vec<Candidate> {
        let tick = self.peers.tick(now);
        contacts
            .filter(|contact| self.edges.get(&contact.id).is_none())
            .filter(|contact| !snapshot.in_flight.iter().any(|dial| dial.id == contact.id))
            .filter(|contact| snapshot.claims.admit(contact))
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

    fn inputs<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        candidates: &'a [Candidate],
    ) -> ChoiceInputs<'a> {
        ChoiceInputs {
            own: self.edges.own(),
            difficulty: self.config.difficulty,
            edge_targets: self.edge_targets(),
            live: &snapshot.live,
            in_flight: &snapshot.in_flight,
            candidates,
        }
    }

    /// Dials the contacts that are wanted most, or else some that may be faster than an edge.
    fn fill(&mut self, cx: &mut Context<'_, Action>, snapshot: &Snapshot) {
        let room = dials_max(self.edges.phase()).saturating_sub(snapshot.in_flight.len());
        let vacancies = Vacancies::of(&self.inputs(snapshot, &[]));
        self.schedule.vacancies = vacancies;
        let own = *self.edges.own();
        let contacts = self.peers.candidates(cx.now, |bucket| vacancies.contains(bucket));
        let welcome = contacts.filter(|contact| vacancies.welcomes(&own, &contact.id));
        let candidates = self.unconnected(cx.now, snapshot, welcome);
        let mut chosen = choose_edges(&self.inputs(snapshot, &candidates), room);
        let content = chosen.is_empty() && snapshot.in_flight.is_empty();
        let aim = if content { Purpose::Probe } else { Purpose::Edge };
        if content && self.config.profile == Profile::Router {
            let tries = self.schedule.tries_now(cx.now);
            chosen = self.faster(cx.now, snapshot, tries.min(room));
            self.schedule.on_tried(cx.now, tries, chosen.len());
        }
        for peer in chosen {
            self.dial_contact(cx, (peer, aim));
        }
        let may_be_chosen = |contact: &Contact| vacancies.welcomes(&own, &contact.id);
        let in_opening = |bucket| vacancies.contains(bucket);
        let retry = self.peers.next_retry(cx.now, in_opening, may_be_chosen);
        let retry = retry.map(|wait| cx.now + wait);
        self.schedule.on_filled(cx.now, cx.rng, retry, content);
    }

    /// Up to `want` contacts that may be faster than an edge.
    fn faster(&self, now: Instant, snapshot: &Snapshot, want: usize) -> Vec<NodeId> {
        if want == 0 {
            return Vec::new();
        }
        let (own, bits) = (self.edges.own(), self.edge_targets().slot_bits);
        choose_faster(&self.inputs(snapshot, &[]), want, |slot, slowness_ms| {
            let in_bucket = self.peers.candidates(now, |bucket| bucket == slot.bucket);
            let worth = in_bucket.filter(|contact| is_faster(contact.rtt_ms, slowness_ms));
            let in_slot = worth.filter(|contact| Slot::of(own, &contact.id, bits) == slot);
            self.unconnected(now, snapshot, in_slot)
        })
    }

    /// Whether a peer that was tried is to become an edge: its slot has none that is as fast, or it
    /// is wanted anyway.
    pub(crate) fn is_worth_an_edge(&self, now: Instant, peer: &NodeId, rtt_ms: u16) -> bool {
        // Only the nearest and those in its slot have a say.
        let (own, bits) = (self.edges.own(), self.edge_targets().slot_bits);
        let nearest = self.edges.closest::<{ crate::overlay::edges::SIBLINGS }>(own);
        let slot = Slot::of(own, peer, bits);
        let mates = self.edges.sharing(peer, slot.shared_bits(bits)).iter();
        let mates = mates.filter(|edge| !edge.is_sibling());
        let snapshot = self.snapshot_of(now, nearest.iter().copied().chain(mates));
        is_improvement(&self.inputs(&snapshot, &[]), peer, rtt_ms)
    }

    /// Closes outgoing edges whose slot has a better one, and inbound edges if there are so many
    /// that newcomers would not find a place.
    fn shed(&mut self, cx: &mut Context<'_, Action>, mut snapshot: Snapshot) {
        let own = *self.edges.own();
        while let Some(peer) = surplus_outgoing(&own, self.edge_targets(), &snapshot.live) {
            self.close_edge(cx, &peer);
            snapshot.live.remove(&peer);
        }
        let spared = (2 * self.edge_targets().siblings).min(self.inbound_places() / INBOUND_SPARED);
        while self.is_crowded()
            && let Some(peer) = least_useful_inbound(&own, spared, &snapshot.live)
        {
            self.close_edge(cx, &peer);
            snapshot.live.remove(&peer);
        }
        let is_newcomer = |edge: &LiveEdge| !edge.outgoing && !edge.settled;
        if self.is_crowded() && snapshot.live.iter().any(is_newcomer) {
            // They will have been served soon.
            self.schedule.expedite_fill(cx.now);
        }
    }

    /// Whether so many peers opened edges that one of them has to go.
    pub(crate) fn is_crowded(&self) -> bool {
        self.edges.inbound() > self.inbound_settled()
    }

    /// So many places for inbound edges may be taken while nobody has to go.
    pub(crate) fn inbound_settled(&self) -> usize {
        let places = self.inbound_places();
        // A single place is no use if it is always kept free.
        let free = (places / INBOUND_FREE).max(usize::from(places > 1));
        places - free
    }

    /// Edges that others may open.
    fn inbound_places(&self) -> usize {
        self.config.inbound_edges_max.min(self.edge_targets().inbound_max)
    }

    /// Asks who is near, what a neighbour's vicinity is, and into a bucket, as far as it is time.
    fn ask_around(&mut self, cx: &mut Context<'_, Action>) {
        if self.edges.is_empty() {
            return;
        }
        if self.schedule.own.is_due(cx.now) {
            // One of the nearest may know who came since, and somebody far a part of the vicinity
            // that the vicinity does not know of. Which of them is asked is left to chance.
            let own = *self.edges.own();
            let (place, among) = match cx.rng.below(2) {
                0 => (own, ASK_AMONG),
                _ => (NodeId::from_bytes(cx.rng.array()), 1),
            };
            if let Some(peer) = self.edge_near(cx, &place, among) {
                self.ask(cx, Question::Own, peer);
            }
            let is_reachable = self.is_reachable();
            self.schedule.on_own_asked(cx.now, cx.rng, is_reachable);
        }
        if self.schedule.vicinity.is_due(cx.now) {
            let own = *self.edges.own();
            if let Some(peer) = self.edge_near(cx, &own, crate::overlay::edges::SIBLINGS) {
                self.ask(cx, Question::Vicinity, peer);
            }
            self.schedule.on_vicinity_asked(cx.now, cx.rng);
        }
        self.ask_into_bucket(cx);
    }

    /// Asks for an identifier in a far bucket, in a slot that lacks an edge if there is one.
    fn ask_into_bucket(&mut self, cx: &mut Context<'_, Action>) {
        let far = self.far_buckets();
        let Some(bucket) = self.schedule.bucket_due(cx.now, far) else { return };
        let bits = self.edge_targets().slot_bits;
        let mut target = self.peers.random_id_in(usize::from(bucket), cx.rng);
        let sparse = self.is_sparse(bucket);
        let lacking = if sparse { Vec::new() } else { self.lacking(cx.now, bucket) };
        let question = |target| Question::Near { target, lacking: !lacking.is_empty() };
        if let Some(last) = (lacking.len() as u64).checked_sub(1) {
            target = lacking[cx.rng.below(last + 1) as usize].place(target, bits);
        }
        if let Some(peer) = self.edge_near(cx, &target, ASK_AMONG) {
            self.ask(cx, question(target), peer);
        }
        self.schedule.on_bucket_asked(cx.now, cx.rng, bucket);
    }

    /// Whether the nearest peers end in this bucket or before, so that a slot of it may well be
    /// empty.
    fn is_sparse(&self, bucket: u16) -> bool {
        let own = self.edges.own();
        let nearest = self.edges.closest::<{ crate::overlay::edges::SIBLINGS }>(own);
        let far = nearest.iter().take(self.edge_targets().siblings).next_back();
        far.is_none_or(|edge| bucket >= own.common_prefix_len(&edge.peer))
    }

    /// The slots of a bucket that have neither an edge, nor a dial under way, nor anybody to dial.
    fn lacking(&self, now: Instant, bucket: u16) -> Vec<Slot> {
        let in_flight = self.in_flight();
        let contacts = self.peers.candidates(now, |at| at == bucket);
        let peers = self.edges.iter().map(|edge| &edge.peer);
        let peers = peers.chain(in_flight.iter().map(|dial| &dial.id));
        let peers = peers.chain(contacts.map(|contact| &contact.id));
        let scope = (self.edges.own(), self.config.difficulty);
        lacking_slots(scope, (bucket, self.edge_targets().slot_bits), peers)
    }

    /// Puts a question to a neighbour.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_, Action>, question: Question, peer: NodeId) {
        let Some(conn) = self.edges.get(&peer).map(|edge| edge.send_conn().id) else { return };
        let nonce = self.lookups.ask(cx, question, peer);
        let own = *self.edges.own();
        let sent = self.origination_clock.next(cx.wall);
        cx.act(send(
            conn,
            match question {
                Question::Vicinity => wire::Siblings { nonce }.to_frame(),
                Question::Own => lookup_here(cx, own, own, nonce, sent),
                Question::Near { target, .. } => lookup_here(cx, own, target, nonce, sent),
            },
        ));
    }

    /// The buckets that fingers go into: from the first that can exist to where the siblings end.
    pub(crate) fn far_buckets(&self) -> core::ops::Range<u16> {
        let start = self.config.difficulty;
        match self.edges.sibling_bucket() {
            Some(bucket) if self.edges.len() >= BUCKETS_FROM => start..bucket.max(start) + 1,
            _ => start..start,
        }
    }

    /// One of the `among` edges nearest to `target` whose peers do not mind being asked, at random.
    /// Light ones are asked if there is nobody else.
    fn edge_near(
        &self,
        cx: &mut Context<'_, Action>,
        target: &NodeId,
        among: usize,
    ) -> Option<NodeId> {
        let nearest = self.edges.closest::<{ crate::overlay::edges::SIBLINGS }>(target);
        let mut willing: Vec<_> = nearest.iter().filter(|edge| !edge.light).take(among).collect();
        if willing.is_empty() {
            willing.extend(nearest.iter().take(among));
        }
        let count = willing.len() as u64;
        (count > 0).then(|| willing[cx.rng.below(count) as usize].peer)
    }

    /// Dials an incumbent that nobody has heard of for long, because others wait for its place.
    fn probe(&mut self, cx: &mut Context<'_, Action>) {
        let Some(incumbent) = self.schedule.next_probe(cx.now) else { return };
        if self.edges.get(&incumbent).is_some() {
            return self.peers.confirm(&incumbent, cx.now);
        }
        if self.peers.get(&incumbent).is_some() {
            self.dial_contact(cx, (incumbent, Purpose::Probe));
        }
    }

    /// Dials a contact where it may be dialed now.
    fn dial_contact(&mut self, cx: &mut Context<'_, Action>, whom: (NodeId, Purpose)) {
        if let Some(contact) = self.peers.find(&whom.0) {
            let addrs = self.claims().open_addrs(contact);
            let is_partial = addrs.len() < contact.addrs().len();
            self.dialer.try_contact(cx, whom, &addrs);
            if is_partial {
                self.dialer.on_left_out(&whom.0);
            }
        }
    }

    /// Seeds are dialed while the floor is not reached, and otherwise now and then.
    fn check_seeds(&mut self, cx: &mut Context<'_, Action>) {
        if self.schedule.seed_check <= cx.now {
            self.schedule.on_seed_checked(cx.now, cx.rng);
            let edges = &self.edges;
            self.dialer.check_seeds(cx, |peer| edges.get(peer).is_some());
        }
    }
}

fn lightness(contact: &Contact) -> Light {
    match Capabilities(contact.caps).has(Capabilities::LIGHT) {
        false => Light::No,
        true if contact.caps_self_reported => Light::Itself,
        true => Light::Claimed,
    }
}

/// Whether a contact is known to accept connections from strangers.
fn is_reachable(contact: &Contact) -> bool {
    contact.provenance() == Some(Provenance::Verified)
        || Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR)
}
