//! Answers to those who ask for nodes (spec 70 §9.3, §9.5).

use std::net::SocketAddr;

use super::dispatch::Arrival;
use super::edges::{Edge, SIBLINGS};
use super::registration::send;
use super::{Action, Overlay};
use crate::NodeId;
use crate::env::Cx;
use crate::transport::{Class, Conns, Frame};
use crate::wire::endpoint::{Scope, scope};
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::{Addr, Contact, Encode, FrameType, Lookup, Neighbors, Nonce, Siblings};

/// Addresses that this node names of itself, at most (a guess: those configured, one for each family).
const OWN_ADDRS_MAX: usize = 4;
/// Ways on which one answer is tried (spec 70 §6.2).
const ANSWER_HOPS: usize = 3;

impl Overlay {
    /// A neighbour asks for the nodes near this one. The answer stays on the edge.
    pub(super) fn answer_siblings(
        &mut self,
        cx: &mut Cx<'_>,
        conns: &dyn Conns,
        at: Arrival,
        siblings: Siblings,
        out: &mut Vec<Action>,
    ) {
        let own = *self.edges.own();
        let answer = self.answer(cx, conns, (at.from, own), siblings.nonce);
        let to_neighbour = Envelope { hop_limit: 1, ..answer };
        out.push(send(at.conn, to_neighbour.to_frame(FrameType::Neighbors)));
    }

    /// An originator asks for the nodes near `target`. The answer is routed to it, over the first of
    /// the nearest edges that takes it.
    pub(super) fn answer_lookup(
        &mut self,
        cx: &mut Cx<'_>,
        conns: &dyn Conns,
        (originator, target): (NodeId, NodeId),
        lookup: Lookup,
        out: &mut Vec<Action>,
    ) {
        let answer = self.answer(cx, conns, (originator, target), lookup.nonce);
        let nearest = self.edges.closest::<ANSWER_HOPS>(&originator);
        let hops = nearest.iter().map(|edge| edge.send_conn().id).collect();
        let frame: Frame = answer.to_frame(FrameType::Neighbors);
        // Strangers decide whose queue it fills: there it waits behind everything that matters more.
        out.push(Action::Offer { class: Class::Transit, frame, hops, request: None });
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        conns: &dyn Conns,
        (asker, target): (NodeId, NodeId),
        nonce: Nonce,
    ) -> Envelope {
        let mut contacts = self.contacts_near(conns, &target, &asker);
        contacts.push(self.own_contact(cx));
        let neighbors = Neighbors::new(nonce, contacts);
        let signer = Signer { identity: cx.identity, crypto: cx.crypto };
        let sent = self.stamps.next(cx.wall);
        Envelope::sign(signer, FrameType::Neighbors, asker, sent, neighbors.to_bytes())
            .expect("an answer is made to fit")
    }

    /// The nodes nearest to `target` that this node can vouch for, without the one that asks: its live
    /// edges.
    fn contacts_near(&self, conns: &dyn Conns, target: &NodeId, asker: &NodeId) -> Vec<Contact> {
        let nearest = self.edges.closest::<{ SIBLINGS + 1 }>(target);
        let others = nearest.into_iter().filter(|edge| edge.peer != *asker);
        others.take(SIBLINGS).map(|edge| self.contact_of(conns, edge)).collect()
    }

    /// Where we dialed the peer, and where it is now.
    fn contact_of(&self, conns: &dyn Conns, edge: &Edge) -> Contact {
        let dialed = self.dialer.best_addr(&edge.peer).filter(|_| edge.is_outgoing());
        let current = conns.path(edge.send_conn().id).filter(|path| !path.relayed);
        let mut addrs: Vec<Addr> = Vec::new();
        for addr in dialed.into_iter().chain(current.map(|path| path.remote)) {
            let is_new = !addrs.contains(&Addr::from_socket_addr(addr));
            if is_new && self.may_advertise(addr) {
                addrs.push(Addr::from_socket_addr(addr));
            }
        }
        Contact { key: Some(edge.key), addrs, ..Contact::new(edge.peer) }
    }

    /// This node as it describes itself: what the operator says goes first, because reference nodes
    /// dial the first address only.
    fn own_contact(&self, cx: &Cx<'_>) -> Contact {
        let mut addrs: Vec<Addr> = Vec::new();
        for addr in self.config.public_addrs.iter().chain(&self.local_addrs) {
            let as_addr = Addr::from_socket_addr(*addr);
            if addrs.len() < OWN_ADDRS_MAX && self.may_advertise(*addr) && !addrs.contains(&as_addr)
            {
                addrs.push(as_addr);
            }
        }
        let key = Some(*cx.identity.public_key());
        Contact { key, addrs, ..Contact::new(*self.edges.own()) }
    }

    /// Whether others can make use of `addr`. What reaches no farther than this machine or link is
    /// named only if the operator says so, or this node lives on loopback altogether.
    fn may_advertise(&self, addr: SocketAddr) -> bool {
        let is_loopback = |addr: &SocketAddr| scope(addr.ip()) == Some(Scope::Loopback);
        let lives_on_loopback =
            !self.local_addrs.is_empty() && self.local_addrs.iter().all(is_loopback);
        match scope(addr.ip()) {
            _ if addr.port() == 0 => false,
            None => false,
            Some(Scope::Loopback) => self.config.allow_local_addrs || lives_on_loopback,
            Some(Scope::LinkLocal) => self.config.allow_local_addrs,
            Some(Scope::Site | Scope::Global) => true,
        }
    }
}
