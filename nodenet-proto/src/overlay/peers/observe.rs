//! What a node learns from whom (PROTOCOL.md#observations).
//!
//! Responsible for: turning handshakes, answers and messages into sightings, with the provenance
//! they deserve, and telling the schedule what changed. Never: decides what a sighting does to the
//! table.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lookup::Question;
use super::{ADDRS_MAX, HOLD_OFF, Observation, Outcome, Provenance};
use crate::NodeId;
use crate::addr::Subnet;
use crate::addr::canonical;
use crate::api::{EdgeDownReason, KnownPeer, Profile};
use crate::context::Context;
use crate::overlay::edges::lifecycle::Peer;
use crate::overlay::edges::{Edge, Phase};
use crate::overlay::topology::choose::Slot;
use crate::overlay::{Action, Overlay};
use crate::stats::DropReason;
use crate::transport::Conns;
use crate::wire::{Capabilities, Contact, Decode, Neighbors, RoutedFrame};

/// A peer that closed an edge of ours this young has no place for us (a guess: in a growing
/// simulated network of 4,000 those whom everybody knows closed thirty edges for every node that
/// joined, 29 of them younger than this, and twenty when whoever was sent away stayed away).
const YOUNG: Duration = Duration::from_secs(5 * 60);
/// Such a peer is not dialed for this long (a guess). One that left after a longer time may be back
/// soon.
const NO_PLACE_HOLD_OFF: Duration = Duration::from_secs(10 * 60);
/// A contact that was not dialed at all of its addresses is dialed again after this long (a guess:
/// three attempts at whoever is in its way).
const PARTIAL_HOLD_OFF: Duration = Duration::from_secs(10);
/// An edge that lived this long shows that the peer's failures are over (PROTOCOL.md#proven-edges).
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// An incumbent that was heard within this time is not probed.
const DOUBT_AFTER: Duration = Duration::from_secs(30 * 60);
/// Strangers that got through to this node before it calls itself reachable (a guess).
const UNSOLICITED_MIN: u8 = 2;
/// Live edges among which a newcomer counts as near, and is asked for its vicinity.
const NEAR: usize = 4;

impl Overlay {
    /// An edge is up.
    pub(crate) fn learn_edge(&mut self, cx: &mut Context<'_, Action>, peer: Peer, outgoing: bool) {
        let known = self.peers.find(&peer.id);
        if !outgoing && known.is_none_or(|contact| !contact.is_verified()) {
            self.unsolicited_inbound = self.unsolicited_inbound.saturating_add(1);
        }
        // A conn that the peer opened comes from where it can be dialed, unless a NAT is between.
        let provenance = if outgoing { Provenance::Verified } else { Provenance::Signed };
        let remote = canonical(peer.remote);
        let own_words = !outgoing && known.is_some_and(|contact| contact.is_dialable());
        let addrs: &[SocketAddr] = if own_words { &[] } else { &[remote] };
        self.observe(
            cx,
            &Observation { id: peer.id, key: peer.key, caps: None, addrs, provenance },
        );
        let contact = self.peers.find(&peer.id).filter(|contact| contact.caps_self_reported);
        let caps = contact.map_or(0, |contact| contact.caps);
        if let Some(edge) = self.edges.get_mut(&peer.id) {
            // What others say of it would put an edge to sleep that has a peer awake.
            edge.light |= Capabilities(caps).has(Capabilities::LIGHT);
            edge.subnet = Subnet::counted(remote.ip());
        }
        self.update_needs(cx);
        // What others open fills no slot.
        let is_wanted = outgoing || self.is_near(&peer.id);
        if self.edges.len() == 1 {
            self.schedule.on_joined(cx.now);
        } else if outgoing
            && self.is_near(&peer.id)
            && !self.edges.get(&peer.id).is_some_and(|edge| edge.light)
        {
            // It is nearer than those asked before, so it knows the vicinity better.
            self.ask(cx, Question::Own, peer.id);
        }
        if self.is_crowded() {
            self.schedule.expedite_fill(cx.now);
        } else if is_wanted {
            self.schedule.wake_fill_if_wanting(cx.now);
        }
        self.arm_schedule(cx, cx.now);
    }

    /// A peer answered that does not become an edge.
    pub(crate) fn learn_tried(&mut self, cx: &mut Context<'_, Action>, peer: Peer, rtt_ms: u16) {
        let (addrs, provenance) = (&[canonical(peer.remote)], Provenance::Verified);
        self.observe(
            cx,
            &Observation { id: peer.id, key: peer.key, caps: None, addrs, provenance },
        );
        self.peers.confirm(&peer.id, cx.now);
        self.peers.measure_rtt(&peer.id, rtt_ms);
        self.schedule.wake_fill_if_wanting(cx.now);
        self.arm_schedule(cx, cx.now);
    }

    /// An edge is gone, and out of the table already.
    pub(crate) fn learn_loss(
        &mut self,
        cx: &mut Context<'_, Action>,
        edge: &Edge,
        reason: EdgeDownReason,
    ) {
        let lived = cx.now.saturating_duration_since(edge.since);
        if lived >= STABLE_AFTER {
            self.peers.confirm(&edge.peer, edge.heard());
        }
        match reason {
            EdgeDownReason::Left | EdgeDownReason::ClosedHere => {
                let is_ours = edge.is_outgoing() && self.edges.outgoing() > 0;
                let has_no_place = reason == EdgeDownReason::Left && is_ours && lived < YOUNG;
                let wait = if has_no_place { NO_PLACE_HOLD_OFF } else { HOLD_OFF };
                self.peers.hold_off(&edge.peer, cx.now, cx.rng.jitter(wait, 20));
            }
            EdgeDownReason::Dead | EdgeDownReason::Conn(_) => {
                if is_silent(reason) {
                    self.keepalive.on_death(cx.now);
                    self.expedite_lookups(cx);
                }
                let isolated = self.edges.is_empty();
                self.peers.dial_failed(&edge.peer, cx.now, isolated, cx.rng);
            }
        }
        self.update_needs(cx);
        if reason == EdgeDownReason::Left && edge.is_outgoing() {
            self.seek_substitute(cx.now, &edge.peer);
        }
        if edge.is_sibling() {
            self.schedule.on_vicinity_changed(cx.now);
        }
        if edge.is_sibling() || (edge.is_outgoing() && reason != EdgeDownReason::ClosedHere) {
            self.schedule.wake_fill(cx.now);
        }
        self.arm_schedule(cx, cx.now);
    }

    /// The peer will not be dialed for a while: if there is nobody else for its slot, one is asked
    /// for.
    fn seek_substitute(&mut self, now: Instant, peer: &NodeId) {
        let (own, bits) = (self.edges.own(), self.edge_targets().slot_bits);
        let slot = Slot::of(own, peer, bits);
        let mut others = self.peers.candidates(now, |bucket| bucket == slot.bucket);
        let is_one = |id: &NodeId| Slot::of(own, id, bits) == slot && self.edges.get(id).is_none();
        if !others.any(|contact| is_one(&contact.id)) {
            self.schedule.on_bucket_lacks(now, slot.bucket);
        }
    }

    /// All dials of an attempt at a contact came to nothing. If the attempt was partial, the
    /// contact may well be where it was not dialed.
    pub(crate) fn learn_failed_attempt(
        &mut self,
        cx: &mut Context<'_, Action>,
        (peer, is_partial): (NodeId, bool),
    ) {
        let isolated = self.edges.is_empty();
        if is_partial {
            self.peers.hold_off(&peer, cx.now, cx.rng.jitter(PARTIAL_HOLD_OFF, 20));
        } else {
            self.peers.dial_failed(&peer, cx.now, isolated, cx.rng);
        }
        let bucket = self.edges.own().common_prefix_len(&peer);
        self.schedule.on_bucket_lacks(cx.now, bucket);
        self.schedule.wake_fill_if_wanting(cx.now);
        self.arm_schedule(cx, cx.now);
    }

    /// Somebody proved that it lives by signing a message for us. It is stored if there is a place
    /// for a contact without an address (THREATS.md#e29).
    pub(crate) fn learn_originator(
        &mut self,
        cx: &mut Context<'_, Action>,
        id: NodeId,
        key: [u8; 32],
    ) {
        if self.peers.find(&id).is_some() || self.peers.has_place(&id) {
            let provenance = Provenance::Signed;
            self.observe(cx, &Observation { id, key, caps: None, addrs: &[], provenance });
        }
    }

    /// An answer arrived, over the edge to `from`.
    pub(crate) fn on_neighbors(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        from: NodeId,
        message: RoutedFrame,
    ) {
        let mut nonce = [0; 8];
        if message.peek_payload(&mut nonce) < nonce.len() {
            return cx.discard(DropReason::MalformedMessage);
        }
        let responder = cx.crypto.node_id(message.key());
        // Whether it was asked for costs less to know than whether the responder signed it.
        if !self.lookups.expects(&nonce, &responder, cx.now) {
            return cx.discard(DropReason::Unsolicited);
        }
        if !message.is_signed(&message.signing_digest(cx.crypto), cx.crypto) {
            return cx.discard(DropReason::BadSignature);
        }
        // A question takes one answer, and how many we ask is up to us: the responder is not
        // charged, or what else comes in its name would make us deaf to it, and no copy needs to be
        // remembered.
        let Some(question) = self.lookups.settle(cx, &nonce, &responder) else { return };
        let Ok(answer) = Neighbors::decode_exact(&message.into_payload()) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        let direct = (responder == from).then(|| self.remote_of(conns, &from)).flatten();
        let own = *self.edges.own();
        let mut news = 0;
        for contact in answer.contacts.as_slice() {
            let is_self_reported = contact.id == responder;
            let observed = direct.filter(|_| is_self_reported);
            let is_wanted = self.schedule.vacancies.welcomes(&own, &contact.id);
            news += usize::from(
                self.learn_contact(cx, contact, is_self_reported, observed) && is_wanted,
            );
        }
        if let Question::Near { target, lacking: true } = question {
            let (own, bits) = (self.edges.own(), self.edge_targets().slot_bits);
            let slot = Slot::of(own, &target, bits);
            if answer.contacts.as_slice().iter().any(|c| Slot::of(own, &c.id, bits) == slot) {
                self.schedule.on_bucket_taught(cx.now, own.common_prefix_len(&target));
            }
        }
        if news > 0 {
            self.schedule.wake_fill(cx.now);
        }
        self.arm_schedule(cx, cx.now);
    }

    /// Takes one contact of an answer. Returns whether it was not known before.
    fn learn_contact(
        &mut self,
        cx: &mut Context<'_, Action>,
        contact: &Contact,
        is_self_reported: bool,
        observed: Option<SocketAddr>,
    ) -> bool {
        // Whoever names no key names nobody (PROTOCOL.md#keyless-contacts).
        let Some(key) = contact.key else {
            cx.discard(DropReason::ContactRejected);
            return false;
        };
        let mut addrs: heapless::Vec<SocketAddr, ADDRS_MAX> = heapless::Vec::new();
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
            if !self.may_dial(addr) {
                cx.discard(DropReason::ImplausibleAddress);
            } else if !addrs.contains(&addr) {
                // The first eight count.
                let _ = addrs.push(addr);
            }
        }
        if is_self_reported && let Some(edge) = self.edges.get_mut(&contact.id) {
            edge.light = contact.capabilities.has(Capabilities::LIGHT);
        }
        let provenance = if is_self_reported { Provenance::Signed } else { Provenance::Gossiped };
        // A peer that can do nothing in particular says so; hearsay that says nothing is none.
        let caps = Some(contact.capabilities.0).filter(|caps| is_self_reported || *caps != 0);
        let seen = Observation { id: contact.id, key, caps, addrs: &addrs, provenance };
        self.observe(cx, &seen)
    }

    /// Takes peers that this node, or another, knew earlier. They are claims until they answer.
    pub(crate) fn import(&mut self, cx: &mut Context<'_, Action>, peers: &[KnownPeer]) {
        for peer in peers {
            let addrs: Vec<SocketAddr> = peer
                .addrs
                .iter()
                .map(|addr| canonical(*addr))
                .filter(|addr| self.may_dial(*addr))
                .take(ADDRS_MAX)
                .collect();
            let provenance = Provenance::Gossiped;
            self.observe(
                cx,
                &Observation { id: peer.id, key: peer.key, caps: None, addrs: &addrs, provenance },
            );
        }
        self.schedule.wake_fill(cx.now);
        self.arm_schedule(cx, cx.now);
    }

    /// Whether this node was dialed by peers that it had never dialed, so that anybody can.
    pub(crate) fn is_reachable(&self) -> bool {
        self.unsolicited_inbound >= UNSOLICITED_MIN || !self.config.public_addrs.is_empty()
    }

    /// Seeds are left alone as long as there are enough edges of our own.
    pub(crate) fn update_needs(&mut self, cx: &mut Context<'_, Action>) {
        // A light node is content with few edges of its own, and would close those to seeds again.
        let floor = match self.config.profile {
            Profile::Router => Phase::Urgent,
            Profile::Light => Phase::Critical,
        };
        let (edges, below_target) = (&self.edges, self.edges.phase() <= floor);
        self.dialer.set_below_target(cx, below_target, |peer| edges.get(peer).is_some());
    }

    /// Hands a sighting to the table. Returns whether it was about somebody new.
    fn observe(&mut self, cx: &mut Context<'_, Action>, seen: &Observation<'_>) -> bool {
        match self.peers.observe(seen, cx.now, cx.crypto) {
            Outcome::Inserted => true,
            Outcome::NeedProbe { incumbent, known } => {
                let tick = self.peers.tick(cx.now);
                let doubtful = |contact: &crate::overlay::peers::Contact| {
                    contact.is_verified() && tick.since(contact.last_seen) > DOUBT_AFTER
                };
                if self.edges.get(&incumbent).is_some() {
                    self.peers.confirm(&incumbent, cx.now);
                } else if self.peers.get(&incumbent).is_some_and(doubtful) {
                    self.schedule.doubt(incumbent);
                }
                !known
            }
            Outcome::Rejected => {
                cx.discard(DropReason::ContactRejected);
                false
            }
            Outcome::Ignored | Outcome::Refreshed => false,
        }
    }

    fn is_near(&self, peer: &NodeId) -> bool {
        self.edges.closest::<NEAR>(self.edges.own()).iter().any(|e| e.peer == *peer)
    }

    fn remote_of(&self, conns: &dyn Conns, peer: &NodeId) -> Option<SocketAddr> {
        conns.path(self.edges.get(peer)?.send_conn().id).map(|path| path.remote)
    }
}

/// Whether an edge ended without a word of the peer. Only that makes pings more frequent; a peer
/// that comes and closes again and again does not.
fn is_silent(reason: EdgeDownReason) -> bool {
    use crate::transport::ConnDownReason::{Stalled, TimedOut};
    matches!(
        reason,
        EdgeDownReason::Dead | EdgeDownReason::Conn(TimedOut) | EdgeDownReason::Conn(Stalled)
    )
}

#[cfg(test)]
mod tests {
    use super::is_silent;
    use crate::api::EdgeDownReason;
    use crate::transport::ConnDownReason;

    #[test]
    fn only_an_end_without_a_word_is_a_death() {
        let ended = |reason| is_silent(EdgeDownReason::Conn(reason));
        assert!(is_silent(EdgeDownReason::Dead) && ended(ConnDownReason::TimedOut));
        assert!(!is_silent(EdgeDownReason::Left) && !ended(ConnDownReason::ClosedByPeer));
        assert!(!ended(ConnDownReason::Reset) && !ended(ConnDownReason::PeerMisbehaved));
    }
}
