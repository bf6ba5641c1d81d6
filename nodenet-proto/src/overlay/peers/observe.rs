//! Observations of peers: handshakes, answers and messages, each with its provenance
//! (PROTOCOL.md#observations).
//!
//! Responsible for: turning what arrives into entries of the contact table. Never: decides what the
//! table does with an entry, or what follows for the topology.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ADDRS_MAX, Contact, HOLD_OFF, Observation, Outcome, Peers, Provenance, Question};
use crate::NodeId;
use crate::addr::canonical;
use crate::api::{EdgeDownReason, KnownPeer};
use crate::context::Context;
use crate::overlay::actions::Action;
use crate::overlay::edges::{EdgeTable, EdgeUp, EndedEdge, Peer, STABLE_AFTER};
use crate::stats::DropReason;
use crate::wire::{self, Capabilities, ContactList, Decode, Neighbors, RoutedFrame};

/// A peer that closes an edge this young, which this node opened, has no place for it (a guess). In
/// a growing simulated network of 4,000, the peers known to all others closed thirty edges for
/// every node that joined. 29 of them were younger than this; it was twenty when refused nodes
/// stayed away.
const YOUNG: Duration = Duration::from_secs(5 * 60);
/// Such a peer is not dialed for this long (a guess). One that left after a longer time may be back
/// soon.
const NO_PLACE_HOLD_OFF: Duration = Duration::from_secs(10 * 60);
/// A contact that was not dialed at all of its addresses is dialed again after this long (a guess:
/// three attempts at the peers that are dialed at the same host).
const PARTIAL_HOLD_OFF: Duration = Duration::from_secs(10);
/// An incumbent that was seen within this time is not probed (a guess).
const DOUBT_AFTER: Duration = Duration::from_secs(30 * 60);

/// The result of an observation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Whether the peer was not known before.
    pub(crate) is_new: bool,
    /// An incumbent that was not seen for long, and in whose bucket the peer waits.
    pub(crate) doubtful: Option<NodeId>,
}

/// An answer that was asked for and is signed by the neighbour that was asked.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The question.
    pub(crate) question: Question,
    /// The neighbour.
    pub(crate) responder: NodeId,
    /// Where the neighbour is, from here, if the answer came over its own edge.
    pub(crate) observed: Option<SocketAddr>,
    /// The contacts that it names.
    pub(crate) contacts: ContactList,
}

impl Peers {
    /// An edge is up. Returns also whether the peer announced earlier that it is a light node.
    pub(crate) fn observe_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        up: &EdgeUp,
    ) -> (Observed, bool) {
        let EdgeUp { peer, is_outgoing, .. } = *up;
        let known = self.table.find(&peer.id);
        // A conn that the peer opened comes from an address that can be dialed, unless a NAT is
        // between.
        let provenance = if is_outgoing { Provenance::Verified } else { Provenance::Signed };
        let remote = canonical(peer.remote);
        let has_own_addrs = !is_outgoing && known.is_some_and(|contact| contact.is_dialable());
        let addrs: &[SocketAddr] = if has_own_addrs { &[] } else { &[remote] };
        let seen = Observation { id: peer.id, key: peer.key, caps: None, addrs, provenance };
        let observed = self.observe(cx, edges, &seen);
        let contact = self.table.find(&peer.id).filter(|contact| contact.caps_self_reported);
        let caps = Capabilities(contact.map_or(0, |contact| contact.caps));
        // Gossiped capabilities could make a light node of one that is not.
        (observed, caps.has(Capabilities::LIGHT))
    }

    /// A peer answered a probe and does not become an edge.
    pub(crate) fn observe_probe(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        peer: Peer,
        rtt_ms: u16,
    ) -> Observed {
        let (addrs, provenance) = (&[canonical(peer.remote)], Provenance::Verified);
        let seen = Observation { id: peer.id, key: peer.key, caps: None, addrs, provenance };
        let observed = self.observe(cx, edges, &seen);
        self.table.confirm(&peer.id, cx.now);
        self.table.measure_rtt(&peer.id, rtt_ms);
        observed
    }

    /// An edge ended, and is out of the table already.
    pub(crate) fn observe_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        ended: &EndedEdge,
    ) {
        let EndedEdge { edge, reason } = ended;
        let lived = cx.now.saturating_duration_since(edge.since);
        if lived >= STABLE_AFTER {
            self.table.confirm(&edge.peer, edge.heard());
        }
        match reason {
            EdgeDownReason::Left | EdgeDownReason::ClosedHere => {
                let is_ours = edge.is_outgoing() && edges.outgoing() > 0;
                let has_no_place = *reason == EdgeDownReason::Left && is_ours && lived < YOUNG;
                let wait = if has_no_place { NO_PLACE_HOLD_OFF } else { HOLD_OFF };
                self.table.hold_off(&edge.peer, cx.now, cx.rng.jitter(wait, 20));
            }
            EdgeDownReason::Dead | EdgeDownReason::Conn(_) => {
                self.table.dial_failed(&edge.peer, cx.now, edges.is_empty(), cx.rng);
            }
        }
    }

    /// An attempt to reach a contact failed. If it was partial, the contact may be at an address
    /// that was not dialed.
    pub(crate) fn observe_failed_attempt(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        peer: &NodeId,
        is_partial: bool,
    ) {
        if is_partial {
            self.table.hold_off(peer, cx.now, cx.rng.jitter(PARTIAL_HOLD_OFF, 20));
        } else {
            self.table.dial_failed(peer, cx.now, edges.is_empty(), cx.rng);
        }
    }

    /// Another node answers at this address of the peer.
    pub(crate) fn forget_addr(&mut self, peer: &NodeId, addr: SocketAddr) {
        self.table.forget_addr(peer, addr);
    }

    /// The peer is alive.
    pub(crate) fn confirm(&mut self, cx: &Context<'_, Action>, peer: &NodeId) {
        self.table.confirm(peer, cx.now);
    }

    /// This node has no edge left that it opened: no contact is held off for longer than usual.
    pub(crate) fn shorten_hold_offs(&mut self, cx: &mut Context<'_, Action>) {
        self.table.shorten_hold_offs(cx.now, cx.rng);
    }

    /// A neighbour announced its capabilities.
    pub(crate) fn observe_capabilities(&mut self, peer: &NodeId, capabilities: Capabilities) {
        self.table.learn_caps(peer, capabilities.0);
    }

    /// A ping to the peer was answered after this long.
    pub(crate) fn observe_rtt(&mut self, peer: &NodeId, rtt_ms: u16) {
        self.table.measure_rtt(peer, rtt_ms);
    }

    /// An originator proved that it is alive: it signed a message for this node. It is stored if
    /// there is a place for a contact without an address (THREATS.md#e29).
    pub(crate) fn observe_originator(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        id: NodeId,
        key: [u8; 32],
    ) -> Observed {
        self.observe_introduced(cx, edges, id, key, &[])
    }

    /// The same for an originator that signed these addresses of itself, too.
    pub(crate) fn observe_introduced(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        id: NodeId,
        key: [u8; 32],
        addrs: &[SocketAddr],
    ) -> Observed {
        if self.table.find(&id).is_none() && !self.table.has_place(&id) {
            return Observed::default();
        }
        let addrs = &addrs[..addrs.len().min(ADDRS_MAX)];
        let provenance = Provenance::Signed;
        let seen = Observation { id, key, caps: None, addrs, provenance };
        self.observe(cx, edges, &seen)
    }

    /// Takes an answer that arrived over the edge to `from`, if it was asked for.
    pub(crate) fn take_answer(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        from: &NodeId,
        message: RoutedFrame,
    ) -> Option<Answer> {
        let mut nonce = [0; 8];
        if message.peek_payload(&mut nonce) < nonce.len() {
            cx.discard(DropReason::MalformedMessage);
            return None;
        }
        let responder = cx.crypto.node_id(message.key());
        // The nonce is checked first: it costs less than the signature.
        if !self.lookups.expects(&nonce, &responder, cx.now) {
            cx.discard(DropReason::Unsolicited);
            return None;
        }
        if !message.is_signed(&message.signing_digest(cx.crypto), cx.crypto) {
            cx.discard(DropReason::BadSignature);
            return None;
        }
        // A question takes one answer, and this node bounds its questions. The responder is
        // therefore not charged, and no copy is remembered. A charge would let other messages in
        // its name keep its answers out.
        let question = self.lookups.settle(cx, &nonce, &responder)?;
        let Ok(answer) = Neighbors::decode_exact(&message.into_payload()) else {
            cx.discard(DropReason::MalformedMessage);
            return None;
        };
        let edge = edges.get(&responder).filter(|_| responder == *from);
        let path = edge.and_then(|edge| cx.paths.path(edge.send_conn().id));
        let observed = path.map(|path| path.remote);
        Some(Answer { question, responder, observed, contacts: answer.contacts })
    }

    /// Takes one contact of an answer.
    pub(crate) fn observe_contact(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        answer: &Answer,
        contact: &wire::Contact,
    ) -> Observed {
        let is_self_reported = contact.id == answer.responder;
        // A contact without a key cannot prove any identifier (PROTOCOL.md#keyless-contacts).
        let Some(key) = contact.key else {
            cx.discard(DropReason::ContactRejected);
            return Observed::default();
        };
        let observed = answer.observed.filter(|_| is_self_reported);
        let addrs = plausible_addrs(cx, contact, observed);
        let provenance = if is_self_reported { Provenance::Signed } else { Provenance::Gossiped };
        // A zero of the peer itself clears its capabilities; a gossiped zero has no meaning.
        let caps = Some(contact.capabilities.0).filter(|caps| is_self_reported || *caps != 0);
        let seen = Observation { id: contact.id, key, caps, addrs: &addrs, provenance };
        self.observe(cx, edges, &seen)
    }

    /// Takes a peer that this node, or another, knew earlier. It is a claim until it answers.
    pub(crate) fn import(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        peer: &KnownPeer,
    ) -> Observed {
        let addrs = peer.addrs.iter().map(|addr| canonical(*addr));
        let addrs: Vec<SocketAddr> =
            addrs.filter(|addr| cx.own.policy().may_dial(*addr)).take(ADDRS_MAX).collect();
        let provenance = Provenance::Gossiped;
        let seen =
            Observation { id: peer.id, key: peer.key, caps: None, addrs: &addrs, provenance };
        self.observe(cx, edges, &seen)
    }

    /// Passes an observation to the table.
    fn observe(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &EdgeTable,
        seen: &Observation<'_>,
    ) -> Observed {
        match self.table.observe(seen, cx.now, cx.crypto) {
            Outcome::Inserted => Observed { is_new: true, doubtful: None },
            Outcome::NeedProbe { incumbent, known } => {
                let tick = self.table.tick(cx.now);
                let is_doubtful = |contact: &Contact| {
                    contact.is_verified() && tick.since(contact.last_seen) > DOUBT_AFTER
                };
                let mut doubtful = None;
                if edges.get(&incumbent).is_some() {
                    self.table.confirm(&incumbent, cx.now);
                } else if self.table.get(&incumbent).is_some_and(is_doubtful) {
                    doubtful = Some(incumbent);
                }
                Observed { is_new: !known, doubtful }
            }
            Outcome::Rejected => {
                cx.discard(DropReason::ContactRejected);
                Observed::default()
            }
            Outcome::Ignored | Outcome::Refreshed => Observed::default(),
        }
    }
}

/// The addresses of a contact that this node may dial, the first eight. An unspecified address
/// stands for where the responder itself was `observed`.
fn plausible_addrs(
    cx: &mut Context<'_, Action>,
    contact: &wire::Contact,
    observed: Option<SocketAddr>,
) -> heapless::Vec<SocketAddr, ADDRS_MAX> {
    let mut addrs = heapless::Vec::new();
    for addr in &contact.addrs {
        let Some(addr) = addr.to_socket_addr() else {
            cx.discard(DropReason::ImplausibleAddress);
            continue;
        };
        let mut addr = canonical(addr);
        if addr.ip().is_unspecified()
            && let Some(observed) = observed
        {
            addr.set_ip(canonical(observed).ip());
        }
        if !cx.own.policy().may_dial(addr) {
            cx.discard(DropReason::ImplausibleAddress);
        } else if !addrs.contains(&addr) {
            // The first eight count.
            let _ = addrs.push(addr);
        }
    }
    addrs
}

#[cfg(test)]
mod tests;
