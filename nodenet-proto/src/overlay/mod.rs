//! Overlay: edges to neighbours, and routes over them to every other node.
//!
//! Responsible for: which peers are edges, what each frame that arrives on one does, where messages
//! go, and keeping the edges alive. Never: moves bytes, looks into the payloads of applications, or
//! holds output: its handlers push `Action`s into the list of their context.
//!
//! Four rooms own the state, each importing only from those before it: `edges`, `peers`, `routing`,
//! `topology`. A method of a room has its effects through the context, and returns what happened.
//! `exchange` passes that on to the other rooms, and has the inputs that concern several; `frames`
//! maps each frame to its room. This file has the other inputs and what the engine reads.

mod actions;
pub mod edges;
mod exchange;
mod frames;
mod peers;
pub mod routing;
mod topology;

use std::net::SocketAddr;

use bytes::Bytes;

use self::edges::{Edge, EdgeTable, PathKind};
use crate::NodeId;
use crate::api::{BootstrapPeer, ConnectError, KnownPeer, SendFailure};
use crate::connect::Candidate;
use crate::context::Context;
use crate::stats::Gauges;
use crate::transport::{ConnId, Conns};
use crate::wire::{Capabilities, RoutedFrame};

pub(crate) use self::actions::{Action, ServiceFrame, ServiceMessage, Timer};
pub(crate) use self::edges::{Peer, doubt_after};
pub(crate) use self::exchange::{Dialed, Overlay};
pub(crate) use self::routing::{DirectSend, FIRST_HOPS, Hop, Message, MultiPathSend};

/// What an edge to a peer still takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// There is an edge.
    Edge {
        /// Whether the peer has taken it.
        is_taken: bool,
    },
    /// The peer has to be reached. These addresses of it are known.
    Unconnected(Vec<Candidate>),
    /// It may not become an edge.
    Refused(ConnectError),
}

impl Overlay {
    /// A conn is up that no machine asks for any more. Nothing was sent on it, so for the peer it
    /// is no edge yet.
    pub(crate) fn handle_unwanted(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        self.edges.refuse(cx, conn);
    }

    /// Another node answers at an address of this peer.
    pub(crate) fn handle_elsewhere(&mut self, peer: &NodeId, addr: SocketAddr) {
        self.peers.forget_addr(peer, addr);
    }

    /// Takes bootstrap peers, or new addresses of known ones.
    pub(crate) fn bootstrap(&mut self, cx: &mut Context<'_, Action>, peers: &[BootstrapPeer]) {
        self.topology.add_bootstrap_peers(cx, &self.edges, peers);
    }

    /// Verifies a message that a service takes, and charges its originator. Discarded are copies,
    /// forgeries, and what is beyond the originator's budget. Returns the originator.
    pub(crate) fn take_charged(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: &RoutedFrame,
    ) -> Option<NodeId> {
        self.routing.take_charged(cx, from, message)
    }

    /// What it takes to have an edge to `peer`.
    pub(crate) fn prospect(&self, cx: &Context<'_, Action>, peer: &NodeId) -> Prospect {
        if let Some(edge) = self.edges.table().get(peer) {
            return Prospect::Edge { is_taken: edge.is_taken() };
        }
        if let Err(refusal) = self.edges.admit(cx.config, peer, true) {
            return Prospect::Refused(refusal.connect_error());
        }
        Prospect::Unconnected(self.candidates(peer))
    }

    /// The addresses that are known of a peer.
    pub(crate) fn candidates(&self, peer: &NodeId) -> Vec<Candidate> {
        let contact = self.peers.table().find(peer).into_iter();
        let known = contact.flat_map(|contact| {
            let is_open = contact.is_open();
            contact.addrs().map(move |addr| Candidate { is_open, ..Candidate::given(addr) })
        });
        let named = self.topology.bootstrap_addrs(peer).iter().copied().map(Candidate::given);
        known.chain(named).collect()
    }

    /// Closes every edge and conn, and opens no more.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_, Action>) {
        self.topology.stop(cx);
        let peers: Vec<NodeId> = self.edges.table().iter().map(|edge| edge.peer).collect();
        for peer in peers {
            self.close_edge(cx, &peer);
        }
        self.edges.reject_all_unproven(cx);
    }

    /// The copies of a message to another node.
    ///
    /// # Errors
    /// [`SendFailure::TooLarge`], or [`SendFailure::Unroutable`] without an edge.
    pub(crate) fn send(
        &self,
        cx: &mut Context<'_, Action>,
        message: Message,
    ) -> Result<MultiPathSend, SendFailure> {
        routing::send(cx, self.edges.table(), message)
    }

    /// A message over the edge to `target`.
    ///
    /// # Errors
    /// [`SendFailure::TooLarge`], or [`SendFailure::NoEdge`] without an edge to that peer.
    pub(crate) fn send_direct(
        &self,
        target: &NodeId,
        payload: Bytes,
    ) -> Result<DirectSend, SendFailure> {
        routing::send_direct(self.edges.table(), target, payload)
    }

    /// Pings every neighbour that is not a light node, for the address at which it sees this node.
    pub(crate) fn ask_all(&mut self, cx: &mut Context<'_, Action>) {
        self.edges.ping_all(cx);
    }

    /// Pings every neighbour anew: the machine slept, or has another way to the network.
    pub(crate) fn probe_all(&mut self, cx: &mut Context<'_, Action>) {
        self.edges.probe_all(cx);
    }

    /// Whether this peer is one of the nearest few, with an edge or without.
    pub(crate) fn is_near(&self, peer: &NodeId) -> bool {
        topology::is_near(self.edges.table(), peer)
    }

    /// Pings one neighbour, unless it is a light node or owes an answer.
    pub(crate) fn ask_neighbour(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        self.edges.ping_peer(cx, peer);
    }

    /// Nodes without an edge, with the addresses that are known of them; at most `max`.
    pub(crate) fn unconnected(&self, max: usize) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let known = self.peers.table().buckets().iter().flat_map(|bucket| bucket.entries());
        let others = known.filter(|contact| self.edges.table().get(&contact.id).is_none());
        others.map(|contact| (contact.id, contact.addrs().collect())).take(max).collect()
    }

    /// Nodes without an edge that any node can reach, as they or others say, and bootstrap peers;
    /// at most `max`.
    pub(crate) fn witnesses(&self, max: usize) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let known = self.peers.table().buckets().iter().flat_map(|bucket| bucket.entries());
        let open =
            known.filter(|contact| Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR));
        let open = open.map(|contact| (contact.id, contact.addrs().collect()));
        let all = open.chain(self.topology.bootstrap_peers());
        all.filter(|(id, _)| self.edges.table().get(id).is_none()).take(max).collect()
    }

    /// The capabilities of a known node, and whether it announced them itself.
    pub(crate) fn capabilities(&self, id: &NodeId) -> Option<(Capabilities, bool)> {
        let contact = self.peers.table().find(id)?;
        Some((Capabilities(contact.caps), contact.caps_self_reported))
    }

    /// What lies between this node and the peer on a conn that has just become part of an edge.
    pub(crate) fn set_path(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        conn: ConnId,
        path: PathKind,
    ) {
        self.edges.set_path(cx, peer, conn, path);
    }

    /// The live edges.
    pub(crate) fn edges(&self) -> &EdgeTable {
        self.edges.table()
    }

    /// The edge that `conn` belongs to.
    pub(crate) fn edge_of(&mut self, conn: ConnId) -> Option<&mut Edge> {
        self.edges.edge_of(conn)
    }

    /// The edge that `conn` belongs to, as the hop of a message.
    pub(crate) fn hop(&mut self, conn: ConnId) -> Option<Hop> {
        self.edges.edge_of(conn).map(|edge| Hop { peer: edge.peer, subnet: edge.subnet })
    }

    /// Whether `conn` belongs to an edge.
    pub(crate) fn is_live(&self, conn: ConnId) -> bool {
        self.edges.peer_of(conn).is_some()
    }

    /// Whether a conn is left that the transport has not reported gone.
    pub(crate) fn has_conns(&self) -> bool {
        self.edges.has_conns()
    }

    /// Peers worth remembering, best first.
    pub(crate) fn export(&self, conns: &dyn Conns) -> Vec<KnownPeer> {
        self.peers.export(self.edges.table(), conns)
    }

    /// How full every table is.
    pub(crate) fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        self.edges.fill_gauges(&mut gauges);
        self.peers.fill_gauges(&mut gauges);
        self.routing.fill_gauges(&mut gauges);
        self.topology.fill_gauges(&mut gauges);
        gauges
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self, config: &crate::api::Config) {
        self.edges.check(config);
        self.peers.check();
        self.routing.check();
        self.topology.check();
    }
}
