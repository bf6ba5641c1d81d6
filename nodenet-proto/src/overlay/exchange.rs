//! Exchange between the rooms of the overlay: the only file that passes results of one to another.
//!
//! Responsible for: the order in which rooms handle an event. Never: decides anything; each method
//! takes what one room returns and passes it on.

use std::net::SocketAddr;
use std::time::Instant;

use super::actions::{Action, ServiceFrame, ServiceMessage, Timer};
use super::edges::{AttachedConn, EdgeUp, Edges, EndedEdge, Loss, Peer, whole_ms};
use super::peers::{Ask, Peers};
use super::routing::{Routed, Routing};
use super::topology::{Dials, Topology, View, inbound_settled};
use crate::NodeId;
use crate::api::{Config, ConnectError, EdgeDownReason, Event, KnownPeer};
use crate::buf::Frame;
use crate::connect::{Connect, Purpose};
use crate::context::Context;
use crate::transport::{ConnDownReason, ConnId};
use crate::wire::{self, Capabilities, Decode, FrameType, RoutedFrame};

/// Overlay state: edges, known peers, routing, topology.
pub(crate) struct Overlay {
    pub(super) edges: Edges,
    pub(super) peers: Peers,
    pub(super) routing: Routing,
    pub(super) topology: Topology,
}

/// The outcome of a conn that this node dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialed {
    /// It is part of an edge, or was until another conn took its place.
    Edge,
    /// It was a probe, and the peer does not become an edge.
    Probed,
    /// The peer may not become an edge.
    Refused(ConnectError),
}

impl Overlay {
    /// A node without edges.
    pub(crate) fn new(own: NodeId, config: &Config, now: Instant) -> Self {
        Self {
            edges: Edges::new(own, config, now),
            peers: Peers::new(own, config, now),
            routing: Routing::new(now),
            topology: Topology::new(config, now),
        }
    }

    /// A conn that the peer opened waits for its first frame.
    pub(crate) fn handle_accepted(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: Peer,
    ) {
        self.edges.accept(cx, conn, peer);
        self.close_spare_conn(cx);
    }

    /// A conn that this node dialed is up.
    pub(crate) fn handle_dialed(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: Peer,
        purpose: Purpose,
    ) -> Dialed {
        self.topology.on_answered(&peer.id, peer.remote);
        if let Err(refusal) = self.edges.admit(cx.config, &peer.id, true) {
            cx.discard(refusal.drop_reason());
            self.edges.refuse(cx, conn);
            return Dialed::Refused(refusal.connect_error());
        }
        let rtt_ms = cx.paths.path(conn).map_or(0, |path| whole_ms(path.rtt));
        let (edges, contacts) = (self.edges.table(), self.peers.table());
        let is_worth = || self.topology.is_worth_an_edge(cx, edges, contacts, &peer.id, rtt_ms);
        if purpose == Purpose::Probe && !is_worth() {
            // The peer received nothing on it yet, so for the peer there was no edge either.
            self.edges.refuse(cx, conn);
            let observed = self.peers.observe_probe(cx, self.edges.table(), peer, rtt_ms);
            self.topology.on_observed(observed);
            self.topology.on_probed(cx, &self.edges, &peer.id);
            return Dialed::Probed;
        }
        let attached = self.edges.attach(cx, conn, peer, true);
        self.on_attached(cx, attached);
        Dialed::Edge
    }

    /// The first whole frame arrived on a conn that the peer opened. Returns whether the conn is
    /// part of an edge now.
    pub(super) fn on_first_frame(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: Peer,
    ) -> bool {
        let Some(attached) = self.edges.prove(cx, conn, peer) else { return false };
        self.on_attached(cx, attached);
        self.close_spare_conn(cx);
        true
    }

    /// A conn joined an edge, perhaps in the place of another one.
    fn on_attached(&mut self, cx: &mut Context<'_, Action>, attached: AttachedConn) {
        self.on_loss(cx, attached.loss);
        let Some(up) = attached.up else { return };
        let EdgeUp { peer, conn, is_outgoing, is_new, is_taken } = up;
        cx.act(Action::EdgeUp { peer: peer.id, conn, is_taken });
        self.topology.on_conn_up(cx, &up);
        if is_new || is_outgoing {
            let (observed, is_light) = self.peers.observe_edge_up(cx, self.edges.table(), &up);
            self.topology.on_observed(observed);
            if is_light {
                self.edges.set_light(&peer.id, true);
            }
            if let Some(ask) = self.topology.on_edge_up(cx, &self.edges, &up) {
                self.ask(cx, ask);
            }
        }
        let loss = self.edges.greet(cx, &up);
        self.on_loss(cx, loss);
    }

    /// A conn is gone.
    pub(crate) fn handle_conn_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        reason: ConnDownReason,
    ) {
        let loss = self.edges.conn_down(cx, conn, reason);
        self.on_loss(cx, loss);
    }

    /// An edge lost a conn, or ended.
    fn on_loss(&mut self, cx: &mut Context<'_, Action>, loss: Loss) {
        match loss {
            Loss::Nothing => {}
            Loss::Spare => {
                self.check_outgoing(cx);
                self.topology.update_needs(cx, self.edges.table());
            }
            Loss::Edge(ended) => self.on_edge_ended(cx, &ended),
        }
    }

    /// An edge ended, and is out of the table.
    fn on_edge_ended(&mut self, cx: &mut Context<'_, Action>, ended: &EndedEdge) {
        let (peer, reason) = (ended.edge.peer, ended.reason);
        cx.act(Action::EdgeDown { peer, reason });
        self.topology.on_edge_ending(cx, ended);
        cx.act(Action::Event(Event::EdgeDown { peer, reason }));
        self.topology.on_edge_down(cx, ended);
        self.check_outgoing(cx);
        if ended.is_silent() {
            self.edges.on_death(cx);
        }
        self.peers.observe_edge_down(cx, self.edges.table(), ended);
        self.topology.on_edge_lost(cx, &self.edges, &self.peers, ended);
    }

    /// Without an edge that this node opened, bootstrap peers and contacts are urgent.
    fn check_outgoing(&mut self, cx: &mut Context<'_, Action>) {
        if self.edges.table().outgoing() == 0 {
            self.topology.on_no_outgoing(cx);
            self.peers.shorten_hold_offs(cx);
        }
    }

    /// Closes an edge with a Leave. Returns whether there was one.
    pub(crate) fn close_edge(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) -> bool {
        let Some(ended) = self.edges.close_edge(cx, peer) else { return false };
        self.on_edge_ended(cx, &ended);
        true
    }

    /// The peer closes the edge.
    pub(super) fn on_leave(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: &NodeId) {
        for conn in self.edges.ended_by_leave(peer, conn) {
            let loss = self.edges.close_conn(cx, peer, conn, EdgeDownReason::Left);
            self.on_loss(cx, loss);
        }
    }

    /// The liveness timer of a conn fired.
    pub(super) fn check_liveness(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        let loss = self.edges.check_liveness(cx, conn);
        self.on_loss(cx, loss);
    }

    fn close_spare_conn(&mut self, cx: &mut Context<'_, Action>) {
        let loss = self.edges.close_spare_conn(cx, inbound_settled(cx.config));
        self.on_loss(cx, loss);
    }

    /// An attempt at a peer began.
    pub(crate) fn handle_attempt_begun(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        self.topology.on_attempt_begun(cx, peer);
    }

    /// An attempt failed, or the peer may not become an edge.
    pub(crate) fn handle_attempt_failed(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        error: ConnectError,
        is_partial: bool,
    ) {
        self.topology.on_attempt_failed(cx, peer, error);
        if matches!(error, ConnectError::Dial(_)) {
            self.peers.observe_failed_attempt(cx, self.edges.table(), &peer, is_partial);
            self.topology.on_contact_unreachable(cx, &self.edges, &peer);
        }
    }

    /// A routed message arrived over the edge to `from` and was charged to it.
    #[inline]
    pub(super) fn on_routed(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: RoutedFrame,
    ) {
        let contacts = self.peers.table();
        let is_anchor = |peer: &NodeId| contacts.is_anchor(peer);
        match self.routing.route(cx, &mut self.edges, is_anchor, from, message) {
            Routed::Done => {}
            Routed::Delivered { originator, key } => {
                let table = self.edges.table();
                let observed = self.peers.observe_originator(cx, table, originator, key);
                self.topology.on_observed(observed);
            }
            Routed::Lookup { originator, target, lookup } => {
                self.peers.answer_lookup(cx, self.edges.table(), &originator, &target, lookup);
            }
            Routed::Neighbors(message) => self.on_neighbors(cx, &from, message),
            Routed::Unserved(message) => {
                cx.act(Action::Message(Box::new(ServiceMessage { from, message })));
            }
        }
    }

    /// An answer arrived over the edge to `from`.
    fn on_neighbors(&mut self, cx: &mut Context<'_, Action>, from: &NodeId, message: RoutedFrame) {
        let table = self.edges.table();
        let Some(answer) = self.peers.take_answer(cx, table, from, message) else { return };
        let mut has_news = false;
        for contact in answer.contacts.as_slice() {
            let is_wanted = self.topology.is_wanted(self.edges.table(), &contact.id);
            if contact.id == answer.responder && contact.key.is_some() {
                let is_light = contact.capabilities.has(Capabilities::LIGHT);
                self.edges.set_light(&contact.id, is_light);
            }
            let table = self.edges.table();
            let observed = self.peers.observe_contact(cx, table, &answer, contact);
            self.topology.on_observed(observed);
            has_news |= observed.is_new && is_wanted;
        }
        let contacts = answer.contacts.as_slice();
        self.topology.on_answer(cx, &self.edges, answer.question, contacts, has_news);
    }

    /// A node signed its key and these addresses, which this node may dial, in a message for this
    /// node.
    pub(crate) fn handle_introduced(
        &mut self,
        cx: &mut Context<'_, Action>,
        id: NodeId,
        key: [u8; 32],
        addrs: &[SocketAddr],
    ) {
        let observed = self.peers.observe_introduced(cx, self.edges.table(), id, key, addrs);
        self.topology.on_observed(observed);
    }

    /// A neighbour asks for the nodes near this one.
    pub(super) fn on_siblings(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        from: &NodeId,
        siblings: wire::Siblings,
    ) {
        self.peers.answer_siblings(cx, self.edges.table(), conn, from, siblings);
    }

    /// A ping arrived. A node of this implementation may announce its capabilities in it.
    pub(super) fn on_ping(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        from: &NodeId,
        capabilities: Option<Capabilities>,
    ) {
        self.edges.answer_ping(cx, conn);
        if let Some(capabilities) = capabilities {
            self.edges.set_light(from, capabilities.has(Capabilities::LIGHT));
            self.peers.observe_capabilities(from, capabilities);
        }
    }

    /// A pong arrived. One that was asked for says at which address the peer sees this node.
    pub(super) fn on_pong(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        from: &NodeId,
        payload: Frame,
    ) {
        let is_valid = wire::Pong::decode_exact(&payload.to_bytes()).is_ok();
        let (rtt_ms, was_due) = self.edges.observe_pong(cx, conn, from, is_valid);
        if let Some(rtt_ms) = rtt_ms {
            self.peers.observe_rtt(from, rtt_ms);
        }
        if was_due && is_valid {
            let (frame_type, from) = (FrameType::Pong, *from);
            cx.act(Action::Frame(ServiceFrame { frame_type, conn, from, payload }));
        }
        if self.edges.is_retired(from, conn) {
            let loss = self.edges.close_conn(cx, from, conn, EdgeDownReason::ClosedHere);
            return self.on_loss(cx, loss);
        }
        if cx.config.maintenance {
            self.check_liveness(cx, conn);
        }
    }

    /// Takes peers that an earlier run exported.
    pub(crate) fn import(&mut self, cx: &mut Context<'_, Action>, peers: &[KnownPeer]) {
        for peer in peers {
            let observed = self.peers.import(cx, self.edges.table(), peer);
            self.topology.on_observed(observed);
        }
        self.topology.on_imported(cx, &self.edges);
    }

    /// The machine slept, or has another way to the network.
    pub(crate) fn resume(&mut self, cx: &mut Context<'_, Action>) {
        self.topology.on_resumed(cx, &self.edges);
    }

    /// The maintenance timer fired.
    pub(super) fn maintain(&mut self, cx: &mut Context<'_, Action>, connect: &Connect) {
        let begun = self.topology.begin_maintenance(cx, self.edges.table());
        let dials = Dials { connect, begun };
        let mut fill = self.topology.fill(cx, view(&self.edges, &self.peers, dials));
        if let Some(fill) = &mut fill {
            for peer in self.topology.surplus(cx, self.edges.table(), fill) {
                self.close_edge(cx, &peer);
            }
            self.topology.on_surplus_closed(cx, self.edges.table(), fill);
        }
        let asks =
            self.topology.questions(cx, view(&self.edges, &self.peers, dials), fill.as_ref());
        for ask in asks {
            self.ask(cx, ask);
        }
        if let Some(alive) = self.topology.probe(cx, view(&self.edges, &self.peers, dials)) {
            self.peers.confirm(cx, &alive);
        }
        self.topology.arm(cx, &self.edges);
    }

    /// A timer fired.
    pub(crate) fn handle_timer(
        &mut self,
        cx: &mut Context<'_, Action>,
        timer: Timer,
        connect: &Connect,
    ) {
        match timer {
            Timer::Bootstrap => self.topology.on_bootstrap_timer(cx),
            Timer::Conn(conn) => self.check_liveness(cx, conn),
            Timer::Maintenance => self.maintain(cx, connect),
        }
    }

    fn ask(&mut self, cx: &mut Context<'_, Action>, ask: Ask) {
        self.peers.ask(cx, self.edges.table(), ask);
    }
}

fn view<'a>(edges: &'a Edges, peers: &'a Peers, dials: Dials<'a>) -> View<'a> {
    View { edges: edges.table(), contacts: peers.table(), dials }
}
