//! Answers to those who ask for nodes (PROTOCOL.md#answers).

use std::net::SocketAddr;
use std::time::Duration;

use crate::NodeId;
use crate::addr::{Scope, scope};
use crate::api::{OWN_ADDRS_MAX, Profile};
use crate::buf::Frame;
use crate::context::Context;
use crate::overlay::edges::lifecycle::send;
use crate::overlay::edges::{Edge, SIBLINGS};
use crate::overlay::frames::Arrival;
use crate::overlay::peers;
use crate::overlay::{Action, Overlay};
use crate::transport::{Class, Conns};
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::{
    Addr, Capabilities, Contact, Encode, FrameType, Lookup, Neighbors, Nonce, Siblings,
};

/// A peer without an edge is vouched for if it was heard within this time (a guess: less than what
/// dead edges take to be found out in the worst case, times a few).
const HEARD_LATELY: Duration = Duration::from_secs(600);
/// Ways on which one answer is tried (PROTOCOL.md#answer-routes).
const ANSWER_HOPS: usize = 3;

impl Overlay {
    /// A neighbour asks for the nodes near this one. The answer stays on the edge.
    pub(crate) fn answer_siblings(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        at: Arrival,
        siblings: Siblings,
    ) {
        let own = *self.edges.own();
        let answer = self.answer(cx, conns, (at.from, own), siblings.nonce);
        let to_neighbour = Envelope { hop_limit: 1, ..answer };
        cx.act(send(at.conn, to_neighbour.to_frame(FrameType::Neighbors)));
    }

    /// An originator asks for the nodes near `target`. The answer is routed to it, over the first
    /// of the nearest edges that takes it.
    pub(crate) fn answer_lookup(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        (originator, target): (NodeId, NodeId),
        lookup: Lookup,
    ) {
        let answer = self.answer(cx, conns, (originator, target), lookup.nonce);
        let nearest = self.edges.closest::<ANSWER_HOPS>(&originator);
        let hops = nearest.iter().map(|edge| edge.send_conn().id).collect();
        let frame: Frame = answer.to_frame(FrameType::Neighbors);
        // Strangers decide whose queue it fills: there it waits behind everything that matters
        // more.
        cx.act(Action::Offer { class: Class::Transit, frame, hops, request: None });
    }

    fn answer(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        (asker, target): (NodeId, NodeId),
        nonce: Nonce,
    ) -> Envelope {
        let mut contacts = self.contacts_near(cx, conns, &target, &asker);
        contacts.push(self.own_contact(cx));
        let neighbors = Neighbors::new(nonce, contacts);
        let signer = Signer { identity: cx.identity, crypto: cx.crypto };
        let sent = self.origination_clock.next(cx.wall);
        Envelope::sign(signer, FrameType::Neighbors, asker, sent, neighbors.to_bytes())
            .expect("an answer is made to fit")
    }

    /// The nodes nearest to `target` that this node can vouch for, without the one that asks: its
    /// live edges, and peers that it heard itself not long ago. Hearsay is not passed on, or the
    /// dead would live in it for ever.
    fn contacts_near(
        &self,
        cx: &Context<'_, Action>,
        conns: &dyn Conns,
        target: &NodeId,
        asker: &NodeId,
    ) -> Vec<Contact> {
        let now = self.peers.tick(cx.now);
        let heard = self.peers.closest(target, SIBLINGS + 1, |contact| {
            let vouched = contact.failures == 0
                && contact.is_dialable()
                && now.since(contact.last_seen) <= HEARD_LATELY;
            vouched || self.edges.get(&contact.id).is_some()
        });
        let live = self.edges.closest::<{ SIBLINGS + 1 }>(target);
        let known = |id: &NodeId| heard.iter().find(|contact| contact.id == *id).copied();
        let mut all: Vec<(NodeId, Option<&Edge>, Option<&peers::Contact>)> =
            live.iter().map(|edge| (edge.peer, Some(*edge), known(&edge.peer))).collect();
        let is_live = |id: &NodeId| live.iter().any(|edge| edge.peer == *id);
        let others = heard.iter().filter(|contact| !is_live(&contact.id));
        all.extend(others.map(|contact| (contact.id, self.edges.get(&contact.id), Some(*contact))));
        all.retain(|(id, ..)| id != asker);
        all.sort_by(|(a, ..), (b, ..)| target.compare_distance(a, b));
        all.truncate(SIBLINGS);
        let describe = |(_, edge, known): (NodeId, Option<&Edge>, Option<&peers::Contact>)| match (
            edge, known,
        ) {
            (Some(edge), known) => Some(self.contact_of(conns, edge, known)),
            (None, Some(known)) => Some(self.contact_heard(known)),
            (None, None) => None,
        };
        all.into_iter().filter_map(describe).collect()
    }

    /// A neighbour: where it proved itself, where it says that it is, and where it is now.
    fn contact_of(
        &self,
        conns: &dyn Conns,
        edge: &Edge,
        known: Option<&peers::Contact>,
    ) -> Contact {
        let known = known.or_else(|| self.peers.find(&edge.peer));
        let mut contact = known.map_or(Contact::new(edge.peer), |known| self.contact_heard(known));
        contact.key = Some(edge.key);
        let current = conns.path(edge.send_conn().id).filter(|path| !path.relayed);
        if let Some(addr) = current.map(|path| path.remote).filter(|addr| self.may_advertise(*addr))
        {
            let addr = Addr::from_socket_addr(addr);
            if !contact.addrs.contains(&addr) {
                contact.addrs.push(addr);
            }
        }
        contact
    }

    /// A contact as it is told to others. Only addresses that the peer itself vouches for are
    /// passed on, and that it sleeps only on its own word: a lie about that would take it out of
    /// everybody's routes.
    fn contact_heard(&self, contact: &peers::Contact) -> Contact {
        let addrs = contact.own_addrs().filter(|addr| self.may_advertise(*addr));
        let capabilities = Capabilities(contact.caps);
        let told = if contact.caps_self_reported {
            capabilities
        } else {
            capabilities.without(Capabilities::LIGHT)
        };
        Contact {
            key: Some(contact.key),
            capabilities: told,
            addrs: addrs.map(Addr::from_socket_addr).collect(),
            ..Contact::new(contact.id)
        }
    }

    /// What this node can do.
    pub(crate) fn own_capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        if self.is_reachable() {
            capabilities = capabilities.with(Capabilities::PUBLIC_ANCHOR);
        }
        if self.config.profile == Profile::Light {
            capabilities = capabilities.with(Capabilities::LIGHT);
        }
        capabilities
    }

    /// This node as it describes itself: what the operator says goes first, because reference nodes
    /// dial the first address only.
    fn own_contact(&self, cx: &Context<'_, Action>) -> Contact {
        let mut addrs: Vec<Addr> = Vec::new();
        for addr in self.config.public_addrs.iter().chain(&self.local_addrs) {
            let as_addr = Addr::from_socket_addr(*addr);
            if addrs.len() < OWN_ADDRS_MAX && self.may_advertise(*addr) && !addrs.contains(&as_addr)
            {
                addrs.push(as_addr);
            }
        }
        let key = Some(*cx.identity.public_key());
        let capabilities = self.own_capabilities();
        Contact { key, addrs, capabilities, ..Contact::new(*self.edges.own()) }
    }

    /// Whether this node dials an address that a peer named: one host's, on a network that this
    /// node is on as well (THREATS.md#e10).
    pub(crate) fn may_dial(&self, addr: SocketAddr) -> bool {
        let is_on_site =
            |addr: &SocketAddr| matches!(scope(addr.ip()), Some(Scope::Site | Scope::Loopback));
        let dialable_here = match scope(addr.ip()) {
            Some(Scope::Site) => {
                self.config.allow_local_addrs
                    || self.local_addrs.is_empty()
                    || self.local_addrs.iter().any(is_on_site)
            }
            _ => true,
        };
        dialable_here && self.may_advertise(addr)
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
