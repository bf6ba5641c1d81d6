//! Answers to lookups for nodes near an identifier (PROTOCOL.md#answers).
//!
//! Responsible for: which contacts an answer names, and what it reports of them. Never: charges the
//! question, or decides whether it is answered.

use std::time::Duration;

use super::{Contact, Peers};
use crate::NodeId;
use crate::api::Disclosure;
use crate::buf::Frame;
use crate::context::Context;
use crate::overlay::actions::{Action, send};
use crate::overlay::edges::{Edge, EdgeTable, SIBLINGS};
use crate::transport::{Class, ConnId};
use crate::wire::envelope::Envelope;
use crate::wire::{
    self, Addr, Capabilities, Encode, FrameType, Lookup, Neighbors, Nonce, Siblings,
};

/// A peer without an edge is named if it was seen within this time (a guess: less than a few times
/// what the detection of a dead edge takes in the worst case).
const HEARD_LATELY: Duration = Duration::from_secs(600);
/// First hops of an answer, of which one takes it (PROTOCOL.md#answer-routes).
const ANSWER_HOPS: usize = 3;

impl Peers {
    /// A neighbour asks for the nodes near this one. The answer stays on the edge.
    pub(crate) fn answer_siblings(
        &self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        conn: ConnId,
        from: &NodeId,
        siblings: Siblings,
    ) {
        let answer = self.answer(cx, edges, from, edges.own(), siblings.nonce);
        let to_neighbour = Envelope { hop_limit: 1, ..answer };
        cx.act(send(conn, to_neighbour.to_frame(FrameType::Neighbors)));
    }

    /// An originator asks for the nodes near `target`. The answer is routed to it, over the first
    /// of the nearest edges that takes it.
    pub(crate) fn answer_lookup(
        &self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        originator: &NodeId,
        target: &NodeId,
        lookup: Lookup,
    ) {
        let answer = self.answer(cx, edges, originator, target, lookup.nonce);
        let nearest = edges.closest::<ANSWER_HOPS>(originator);
        let hops = nearest.iter().map(|edge| edge.send_conn().id).collect();
        let frame: Frame = answer.to_frame(FrameType::Neighbors);
        // Any originator chooses which queue it fills, so the answer is queued behind classes of
        // higher priority.
        cx.act(Action::Offer { class: Class::Transit, frame, hops });
    }

    fn answer(
        &self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        asker: &NodeId,
        target: &NodeId,
        nonce: Nonce,
    ) -> Envelope {
        let mut contacts = self.contacts_near(cx, edges, target, asker);
        contacts.push(own_contact(cx, edges.get(asker).is_some()));
        let neighbors = Neighbors::new(nonce, contacts);
        let sent = cx.stamp();
        Envelope::sign(cx.signer(), FrameType::Neighbors, *asker, sent, neighbors.to_bytes())
            .expect("an answer is made to fit")
    }

    /// The nodes nearest to `target` that are alive as far as this node knows, without the asking
    /// one. They are its live edges, and peers that it saw itself not long ago. Gossip is not
    /// passed on, or it would keep dead nodes for ever.
    fn contacts_near(
        &self,
        cx: &Context<'_, Action>,
        edges: &EdgeTable,
        target: &NodeId,
        asker: &NodeId,
    ) -> Vec<wire::Contact> {
        let now = self.table.tick(cx.now);
        let heard = self.table.closest(target, SIBLINGS + 1, |contact| {
            let is_alive = contact.failures == 0
                && contact.is_dialable()
                && now.since(contact.last_seen) <= HEARD_LATELY;
            is_alive || edges.get(&contact.id).is_some()
        });
        let live = edges.closest::<{ SIBLINGS + 1 }>(target);
        let known = |id: &NodeId| heard.iter().find(|contact| contact.id == *id).copied();
        let mut all: Vec<(NodeId, Option<&Edge>, Option<&Contact>)> =
            live.iter().map(|edge| (edge.peer, Some(*edge), known(&edge.peer))).collect();
        let is_live = |id: &NodeId| live.iter().any(|edge| edge.peer == *id);
        let others = heard.iter().filter(|contact| !is_live(&contact.id));
        all.extend(others.map(|contact| (contact.id, edges.get(&contact.id), Some(*contact))));
        all.retain(|(id, ..)| id != asker);
        all.sort_by(|(a, ..), (b, ..)| target.compare_distance(a, b));
        all.truncate(SIBLINGS);
        let describe = |(_, edge, known): (NodeId, Option<&Edge>, Option<&Contact>)| match edge {
            Some(edge) => Some(self.describe_edge(cx, edge, known)),
            None => known.map(|known| describe_contact(cx, known)),
        };
        all.into_iter().filter_map(describe).collect()
    }

    /// A neighbour: its verified addresses, its signed ones, and its current one.
    fn describe_edge(
        &self,
        cx: &Context<'_, Action>,
        edge: &Edge,
        known: Option<&Contact>,
    ) -> wire::Contact {
        let known = known.or_else(|| self.table.find(&edge.peer));
        let mut contact =
            known.map_or(wire::Contact::new(edge.peer), |known| describe_contact(cx, known));
        contact.key = Some(edge.key);
        let path = cx.paths.path(edge.send_conn().id);
        let policy = cx.own.policy();
        if let Some(addr) = path.map(|path| path.remote).filter(|addr| policy.may_advertise(*addr))
        {
            let addr = Addr::from_socket_addr(addr);
            if !contact.addrs.contains(&addr) {
                contact.addrs.push(addr);
            }
        }
        contact
    }
}

/// A contact as answers describe it. Only addresses that the peer itself reported are passed on.
/// The bit of a light node is passed on only if the peer reported it: a false one would take it out
/// of every route.
fn describe_contact(cx: &Context<'_, Action>, contact: &Contact) -> wire::Contact {
    let addrs = contact.own_addrs().filter(|addr| cx.own.policy().may_advertise(*addr));
    let capabilities = Capabilities(contact.caps);
    let told = if contact.caps_self_reported {
        capabilities
    } else {
        capabilities.without(Capabilities::LIGHT)
    };
    wire::Contact {
        key: Some(contact.key),
        capabilities: told,
        addrs: addrs.map(Addr::from_socket_addr).collect(),
        ..wire::Contact::new(contact.id)
    }
}

/// This node as it describes itself to a neighbour or to another node
/// (PROTOCOL.md#who-learns-addresses).
fn own_contact(cx: &Context<'_, Action>, is_neighbour: bool) -> wire::Contact {
    let addrs = match cx.config.address_policy.disclosure(is_neighbour) {
        Disclosure::Addresses => cx.own.addrs(),
        Disclosure::Volunteers => &[],
    };
    let addrs = addrs.iter().copied().map(Addr::from_socket_addr).collect();
    let key = Some(*cx.identity.public_key());
    let capabilities = cx.own.capabilities();
    wire::Contact { key, addrs, capabilities, ..wire::Contact::new(cx.identity.id()) }
}

#[cfg(test)]
mod tests;
