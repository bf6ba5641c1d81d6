//! Topology: the choice of neighbours, and the periodic maintenance that opens and closes edges.
//!
//! Responsible for: dials of contacts and bootstrap peers, surplus edges, which questions are asked
//! when. Never: changes an edge or a contact; it reads both rooms and returns what is to be done.

mod bootstrap;
pub(crate) mod choose;
mod maintain;
mod period;
mod schedule;
mod volunteers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::bootstrap::Bootstrap;
use self::choose::{EdgeTargets, Slot};
pub(crate) use self::maintain::{Dials, View, inbound_settled, is_crowded};
use self::schedule::Schedule;
use super::actions::{Action, Timer};
use super::edges::{EdgeTable, EdgeUp, Edges, EndedEdge, Phase};
use super::peers::{Ask, Contact, Observed, Peers, Provenance, Question};
use crate::NodeId;
use crate::api::{BootstrapPeer, Config, ConnectError, EdgeDownReason, Profile};
use crate::context::Context;
use crate::stats::Gauges;
use crate::wire::{self, Capabilities};

/// Live edges among which a new edge counts as near, and is asked for its vicinity (a guess).
const NEAR: usize = 4;

/// State of the topology: when its tasks are due, and the bootstrap peers.
pub(crate) struct Topology {
    schedule: Schedule,
    /// When the timer of the maintenance is set to fire.
    due_at: Option<Instant>,
    /// Whether maintenance is on.
    is_active: bool,
    bootstrap: Bootstrap,
}

impl Topology {
    /// No edge, and nothing to do yet.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            schedule: Schedule::new(now, config.profile),
            due_at: None,
            is_active: config.maintenance,
            bootstrap: Bootstrap::new(config.maintenance),
        }
    }

    /// Takes bootstrap peers, or new addresses of known ones.
    pub(crate) fn add_bootstrap_peers(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &Edges,
        peers: &[BootstrapPeer],
    ) {
        self.bootstrap.add(cx, peers, |peer| edges.table().get(peer).is_some());
        self.arm(cx, edges);
    }

    /// The addresses of a bootstrap peer, best first.
    pub(crate) fn bootstrap_addrs(&self, peer: &NodeId) -> &[SocketAddr] {
        self.bootstrap.addrs(peer)
    }

    /// Every bootstrap peer, with its addresses.
    pub(crate) fn bootstrap_peers(&self) -> impl Iterator<Item = (NodeId, Vec<SocketAddr>)> {
        self.bootstrap.all()
    }

    /// The timer of the bootstrap peers fired.
    pub(crate) fn on_bootstrap_timer(&mut self, cx: &mut Context<'_, Action>) {
        self.bootstrap.on_timer(cx);
    }

    /// A dial of `peer` was answered at `addr`.
    pub(crate) fn on_answered(&mut self, peer: &NodeId, addr: SocketAddr) {
        self.bootstrap.on_answered(peer, addr);
    }

    /// A conn joined an edge.
    pub(crate) fn on_conn_up(&mut self, cx: &mut Context<'_, Action>, up: &EdgeUp) {
        self.bootstrap.on_edge_up(cx, &up.peer.id, up.is_outgoing);
    }

    /// There is a new edge, or this node dialed one more conn of one. Returns a question to it.
    pub(crate) fn on_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &Edges,
        up: &EdgeUp,
    ) -> Option<Ask> {
        let (table, peer) = (edges.table(), up.peer.id);
        let is_near = || table.closest::<NEAR>(table.own()).iter().any(|e| e.peer == peer);
        self.update_needs(cx, table);
        // An inbound edge fills no slot.
        let is_wanted = up.is_outgoing || is_near();
        let mut ask = None;
        if table.len() == 1 {
            self.schedule.on_joined(cx.now);
        } else if up.is_outgoing && is_near() && !table.get(&peer).is_some_and(|edge| edge.light) {
            // It is nearer than those asked before, so it knows the vicinity better.
            ask = Some(Ask::new(cx, Question::Own, peer));
        }
        if is_crowded(cx.config, table) {
            self.schedule.expedite_fill(cx.now);
        } else if is_wanted {
            self.schedule.wake_fill_if_wanting(cx.now);
        }
        self.arm(cx, edges);
        ask
    }

    /// An edge is gone, or the conn that this node dialed is: checks whether there is an outgoing
    /// edge left.
    pub(crate) fn on_no_outgoing(&mut self, cx: &mut Context<'_, Action>) {
        self.bootstrap.on_no_outgoing(cx);
    }

    /// An edge is about to be reported as ended.
    pub(crate) fn on_edge_ending(&mut self, cx: &mut Context<'_, Action>, ended: &EndedEdge) {
        let is_taken = ended.edge.is_taken();
        self.bootstrap.on_edge_ending(cx, ended.edge.peer, is_taken, ended.reason);
    }

    /// An edge ended: first, what follows for its peer.
    pub(crate) fn on_edge_down(&mut self, cx: &mut Context<'_, Action>, ended: &EndedEdge) {
        let lived = cx.now.saturating_duration_since(ended.edge.since);
        self.bootstrap.on_edge_down(cx, &ended.edge.peer, ended.reason, lived);
    }

    /// An edge ended: then, what follows for the others.
    pub(crate) fn on_edge_lost(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &Edges,
        peers: &Peers,
        EndedEdge { edge, reason }: &EndedEdge,
    ) {
        self.update_needs(cx, edges.table());
        if *reason == EdgeDownReason::Left && edge.is_outgoing() {
            self.seek_substitute(cx, edges.table(), peers, &edge.peer);
        }
        if edge.is_sibling() {
            self.schedule.on_vicinity_changed(cx.now);
        }
        if edge.is_sibling() || (edge.is_outgoing() && *reason != EdgeDownReason::ClosedHere) {
            self.schedule.wake_fill(cx.now);
        }
        self.arm(cx, edges);
    }

    /// A peer was probed and does not become an edge.
    pub(crate) fn on_probed(&mut self, cx: &mut Context<'_, Action>, edges: &Edges, peer: &NodeId) {
        self.bootstrap.on_probe_over(cx, peer);
        self.schedule.wake_fill_if_wanting(cx.now);
        self.arm(cx, edges);
    }

    /// An attempt at a peer began.
    pub(crate) fn on_attempt_begun(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        self.bootstrap.on_attempt_begun(cx, peer);
    }

    /// An attempt at a peer failed, or the peer may not become an edge.
    pub(crate) fn on_attempt_failed(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        error: ConnectError,
    ) {
        self.bootstrap.on_attempt_failed(cx, peer, error);
    }

    /// A contact could not be reached: its bucket may need others.
    pub(crate) fn on_contact_unreachable(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &Edges,
        peer: &NodeId,
    ) {
        let bucket = edges.table().own().common_prefix_len(peer);
        self.schedule.on_bucket_lacks(cx.now, bucket);
        self.schedule.wake_fill_if_wanting(cx.now);
        self.arm(cx, edges);
    }

    /// An observation was made: an incumbent may have to be probed.
    pub(crate) fn on_observed(&mut self, observed: Observed) {
        if let Some(incumbent) = observed.doubtful {
            self.schedule.doubt(incumbent);
        }
    }

    /// Whether the last fill could have used this peer.
    pub(crate) fn is_wanted(&self, edges: &EdgeTable, peer: &NodeId) -> bool {
        self.schedule.vacancies.welcomes(edges.own(), peer)
    }

    /// An answer named `contacts`, and whether one of them is `news` that is wanted.
    pub(crate) fn on_answer(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &Edges,
        question: Question,
        contacts: &[wire::Contact],
        news: bool,
    ) {
        if let Question::Near { target, lacking: true } = question {
            let (own, bits) = (edges.table().own(), edge_targets(cx.config).slot_bits);
            let slot = Slot::of(own, &target, bits);
            if contacts.iter().any(|contact| Slot::of(own, &contact.id, bits) == slot) {
                self.schedule.on_bucket_taught(cx.now, own.common_prefix_len(&target));
            }
        }
        if news {
            self.schedule.wake_fill(cx.now);
        }
        self.arm(cx, edges);
    }

    /// Peers were imported.
    pub(crate) fn on_imported(&mut self, cx: &mut Context<'_, Action>, edges: &Edges) {
        self.schedule.wake_fill(cx.now);
        self.arm(cx, edges);
    }

    /// The machine slept, or has another way to the network: what failed on the way of before says
    /// nothing any more.
    pub(crate) fn on_resumed(&mut self, cx: &mut Context<'_, Action>, edges: &Edges) {
        self.bootstrap.on_resumed(cx);
        self.schedule.on_resumed(cx.now);
        self.arm(cx, edges);
    }

    /// Bootstrap peers are not dialed as long as there are enough outgoing edges.
    pub(crate) fn update_needs(&mut self, cx: &mut Context<'_, Action>, edges: &EdgeTable) {
        // A light node has few outgoing edges, and would close those to bootstrap peers again.
        let floor = match cx.config.profile {
            Profile::Router => Phase::Urgent,
            Profile::Light => Phase::Critical,
        };
        let below_target = edges.phase() <= floor;
        self.bootstrap.set_below_target(cx, below_target, |peer| edges.get(peer).is_some());
    }

    /// Sets the timer of the maintenance to the task that is due first.
    pub(crate) fn arm(&mut self, cx: &mut Context<'_, Action>, edges: &Edges) {
        if !self.is_active {
            return;
        }
        let table = edges.table();
        let due = self.schedule.due(far_buckets(cx.config, table), !table.is_empty());
        let at = edges.align(due.max(cx.now + Duration::from_millis(1)), cx.now);
        if self.due_at != Some(at) {
            self.due_at = Some(at);
            cx.act(Action::Set(Timer::Maintenance, at));
        }
    }

    /// Stops all tasks.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        self.is_active = false;
        self.bootstrap.stop(cx);
        cx.act(Action::Stop(Timer::Maintenance));
    }

    /// Sets how full the tables of this room are.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.probes = self.schedule.probes() as u64;
        gauges.dial_targets = self.bootstrap.len() as u64;
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.schedule.check();
    }

    /// The peer is not dialed for a while. If its slot has no other contact, a lookup asks for one.
    fn seek_substitute(
        &mut self,
        cx: &Context<'_, Action>,
        edges: &EdgeTable,
        peers: &Peers,
        peer: &NodeId,
    ) {
        let (own, bits) = (edges.own(), edge_targets(cx.config).slot_bits);
        let slot = Slot::of(own, peer, bits);
        let mut others = peers.table().candidates(cx.now, |bucket| bucket == slot.bucket);
        let is_one = |id: &NodeId| Slot::of(own, id, bits) == slot && edges.get(id).is_none();
        if !others.any(|contact| is_one(&contact.id)) {
            self.schedule.on_bucket_lacks(cx.now, slot.bucket);
        }
    }
}

/// Whether `peer` is among the nearest of the edges, or would be.
pub(crate) fn is_near(edges: &EdgeTable, peer: &NodeId) -> bool {
    let own = edges.own();
    let closest = edges.closest::<NEAR>(own);
    closest.len() < NEAR
        || closest.iter().any(|edge| own.compare_distance(&edge.peer, peer).is_ge())
}

/// Target numbers of edges for this configuration.
fn edge_targets(config: &Config) -> EdgeTargets {
    match config.profile {
        Profile::Router => EdgeTargets::ROUTER,
        Profile::Light => EdgeTargets::LIGHT,
    }
}

/// Edges from which on it makes sense to ask into far buckets (a guess).
const BUCKETS_FROM: usize = 3;

/// The buckets that fingers go into: from the first that can exist to where the siblings end.
fn far_buckets(config: &Config, edges: &EdgeTable) -> core::ops::Range<u16> {
    let start = config.difficulty;
    match edges.sibling_bucket() {
        Some(bucket) if edges.len() >= BUCKETS_FROM => start..bucket.max(start) + 1,
        _ => start..start,
    }
}

/// Whether a contact is known to accept conns from peers that it never dialed.
fn is_reachable(contact: &Contact) -> bool {
    contact.provenance() == Some(Provenance::Verified)
        || Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR)
}
