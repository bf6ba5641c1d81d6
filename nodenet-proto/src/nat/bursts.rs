//! Answers to Connects, and punches of this node's own attempts.
//!
//! Responsible for: what a Connect draws, and which addresses may be punched at. Never: the
//! schedule and the limits, which [`super::punch`] has; dials.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::destinations::beyond_nat64;
use super::predict::has_one_endpoint;
use super::punch::{Naming, Planned, SHORT_TTL, SHORT_TTL_TWO_NATS, delay, distinct, has_short};
use super::{Action, Nat, Volley, advertise};
use crate::NodeId;
use crate::addr::{canonical, is_shared};
use crate::api::{Disclosure, NAMED_ADDRS_MAX};
use crate::context::Context;
use crate::env::UnixNanos;
use crate::stats::DropReason;
use crate::wire::nat::{
    Connect, ConnectAck, NAT_NONCE_LEN, PUNCH_DATAGRAM, WithSignals, punch_target,
};
use crate::wire::{Addr, AddrList, FrameType};

/// What the envelope of a verified message says, and its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    /// Who sent it.
    pub(crate) originator: NodeId,
    /// When, by the clock of its originator.
    pub(crate) sent: UnixNanos,
    /// Bytes of the frame.
    pub(crate) len: usize,
}

impl Nat {
    /// The payload of a Connect to a node that this one chose to connect to, which may thus learn
    /// its addresses, unless no node may.
    pub(crate) fn connect_payload(
        &self,
        cx: &mut Context<'_, Action>,
        nonce: [u8; NAT_NONCE_LEN],
    ) -> Bytes {
        let addrs = self.named_to(cx, true, &[]);
        Connect { nonce, addrs }
            .to_bytes_with(&advertise::signals(&self.report, cx.own.volunteers()))
    }

    /// The addresses that are named to a peer, which this node knows or not. Where none is
    /// confirmed the peer gets a guess (PROTOCOL.md#guessed-addresses): a peer that is told nothing
    /// cannot send, and what is sent to it then may come too early.
    pub(super) fn named_to(
        &self,
        cx: &Context<'_, Action>,
        is_known: bool,
        asker: &[Addr],
    ) -> AddrList {
        if cx.config.address_policy.disclosure(is_known) != Disclosure::Addresses {
            return AddrList::default();
        }
        let named = cx.own.addrs_for(asker).into_vec();
        let guesses = cx.own.guesses().map(Addr::from_socket_addr);
        AddrList::first_of(guesses.chain(named).take(NAMED_ADDRS_MAX))
    }

    /// A neighbour relays to this node through this address of its own. A burst opens the way in.
    pub(crate) fn handle_bind(
        &mut self,
        cx: &mut Context<'_, Action>,
        volunteer: NodeId,
        target: SocketAddr,
    ) {
        if self.is_stopped {
            return;
        }
        let allowed = self.allowed(cx, [punch_target(&Addr::from(target))].into_iter());
        let neighbours = &self.neighbours;
        let is_validated = |ip: IpAddr| neighbours.values().any(|remote| remote.ip() == ip);
        let named = Naming::new(0, &is_validated);
        if let Some(target) = allowed.first() {
            let planned = self.punches.bind(cx.now, volunteer, *target, named);
            self.carry_out(cx, &planned, false);
        }
    }

    /// A verified Connect arrived: it is answered, and punched towards. Both tell where this node
    /// is, so neither does if the originator may not learn that or may not become an edge.
    pub(crate) fn handle_connect(
        &mut self,
        cx: &mut Context<'_, Action>,
        envelope: Envelope,
        payload: &[u8],
    ) {
        let Ok((connect, signals)) = Connect::decode_with_signals(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        let signals = signals.unwrap_or_default();
        let originator = envelope.originator;
        if !self.answered.insert(cx.now, originator, connect.nonce) {
            return cx.discard(DropReason::Duplicate);
        }
        let is_known = self.neighbours.contains_key(&originator);
        // A conn of a peer that may not become an edge would be refused.
        let is_told = cx.config.edge_policy.admits(&originator)
            && cx.config.address_policy.disclosure(is_known) == Disclosure::Addresses;
        let named = is_told.then(|| self.named_to(cx, is_known, connect.addrs.as_slice()));
        let addrs = named.unwrap_or_default();
        let is_of_use = is_told && has_one_endpoint(&signals);
        let targets = connect.addrs.as_slice().iter().filter_map(Addr::to_socket_addr);
        let targets: Vec<SocketAddr> = targets.collect();
        if is_of_use {
            self.expect_port(cx, originator, &targets);
        }
        let ack = ConnectAck { nonce: connect.nonce, addrs };
        cx.act(Action::Originate {
            frame_type: FrameType::ConnectAck,
            target: originator,
            payload: ack.to_bytes_with(&advertise::signals(&self.report, cx.own.volunteers())),
        });
        if !is_told {
            return cx.discard(DropReason::AddressWithheld);
        }
        if self.sweep(cx, originator, &signals, envelope.len) {
            return self.arm(cx);
        }
        // A repetition says that the answer got lost, and not that the punches did.
        if !self.punches.is_answering(&originator, connect.nonce) {
            self.answer(cx, envelope, &connect);
        }
        if is_of_use {
            self.want_ports(cx, originator);
            self.expect_punch(cx, originator, &targets);
        }
    }

    /// One short volley at once, and full ones when the originator can have sent.
    fn answer(&mut self, cx: &mut Context<'_, Action>, envelope: Envelope, connect: &Connect) {
        let targets = self.allowed(cx, connect.addrs.as_slice().iter().map(punch_target));
        let at = cx.now + delay(cx.wall, envelope.sent);
        let (peer, nonce) = (envelope.originator, connect.nonce);
        let neighbours = &self.neighbours;
        let is_validated = |ip: IpAddr| neighbours.values().any(|remote| remote.ip() == ip);
        let named = Naming::new(envelope.len, &is_validated);
        let planned = self.punches.answer(cx.now, peer, nonce, targets, named, at);
        self.carry_out(cx, &planned, true);
    }

    /// Punches towards a peer that this node wants to connect to. `Full` while such volleys are
    /// under way begins none anew. A message of `len` bytes from the peer named the targets, or
    /// none did: a host that never answered gets more for it.
    pub(crate) fn burst(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        targets: &[SocketAddr],
        volley: Volley,
        len: usize,
    ) {
        if self.is_stopped {
            return;
        }
        self.expect_port(cx, peer, targets);
        let literal = |target: &SocketAddr| punch_target(&Addr::from(*target));
        let targets = self.allowed(cx, targets.iter().map(literal));
        let neighbours = &self.neighbours;
        let is_validated = |ip: IpAddr| neighbours.values().any(|remote| remote.ip() == ip);
        let named = Naming::new(len, &is_validated);
        let planned = match volley {
            Volley::Short => self.punches.attempt_short(cx.now, peer, targets, named),
            Volley::Full => self.punches.attempt(cx.now, peer, targets, named),
        };
        self.carry_out(cx, &planned, volley == Volley::Short);
    }

    /// A punch arrived from this address: its sender has sent, and may tell whether any node can
    /// reach this one. It is of use to an attempt at its sender as well, or not.
    pub(crate) fn handle_punched(
        &mut self,
        cx: &mut Context<'_, Action>,
        remote: SocketAddr,
        is_of_peer: bool,
    ) {
        let remote = beyond_nat64(remote);
        let is_evidence = self.test.is_waiting(cx.now) && self.is_unsent_to(remote);
        let is_awaited = self.punches.handle_punched(cx.now, remote.ip());
        let is_found = self.answer_found(cx, remote);
        self.predictions.handle_punched(remote.ip());
        if is_evidence {
            self.test.handle_reached(cx.now);
            cx.own.set_reachable(true);
        }
        if is_awaited || is_found {
            self.send_volleys(cx);
        }
        match (is_evidence, is_awaited || is_found) {
            (true, _) => self.update(cx),
            (false, true) => self.arm(cx),
            (false, false) if is_of_peer => {}
            (false, false) => cx.discard(DropReason::Punch),
        }
    }

    /// A peer that was told where to look found this node: what is sent to it now gets in.
    fn answer_found(&mut self, cx: &Context<'_, Action>, remote: SocketAddr) -> bool {
        let Some(peer) = self.predictions.told(remote) else { return false };
        let neighbours = &self.neighbours;
        let is_validated = |ip: IpAddr| neighbours.values().any(|remote| remote.ip() == ip);
        let named = Naming::new(0, &is_validated);
        let planned = self.punches.attempt(cx.now, peer, [remote], named);
        !planned.targets.is_empty()
    }

    /// The different addresses that punches may go to. The others are counted.
    fn allowed(
        &self,
        cx: &mut Context<'_, Action>,
        targets: impl Iterator<Item = Option<SocketAddr>>,
    ) -> Vec<SocketAddr> {
        let mut allowed = Vec::new();
        for target in targets {
            let may_punch = |target: &SocketAddr| {
                cx.own.policy().may_dial(*target) && !self.is_own(cx.own.addrs(), *target)
            };
            match target.map(canonical).filter(may_punch) {
                Some(target) => allowed.push(target),
                None => cx.discard(DropReason::ImplausibleAddress),
            }
        }
        distinct(allowed)
    }

    pub(super) fn is_own(&self, named: &[SocketAddr], target: SocketAddr) -> bool {
        named.contains(&target) || self.report.addrs.contains(&target)
    }

    fn carry_out(&mut self, cx: &mut Context<'_, Action>, planned: &Planned, is_short: bool) {
        for refused in &planned.refused {
            cx.discard(*refused);
        }
        if is_short {
            let ttl = Some(self.short_ttl(cx));
            for remote in planned.targets.iter().filter(|target| has_short(target)) {
                self.send_punch(cx, *remote, ttl);
            }
        }
        self.send_volleys(cx);
        self.arm(cx);
    }

    /// Sends the full volleys that are due.
    pub(super) fn send_volleys(&mut self, cx: &mut Context<'_, Action>) {
        for remote in self.punches.due(cx.now) {
            self.send_punch(cx, remote, None);
        }
    }

    pub(super) fn send_punch(
        &mut self,
        cx: &mut Context<'_, Action>,
        remote: SocketAddr,
        ttl: Option<u8>,
    ) {
        self.destinations.insert(remote);
        self.test.handle_sent(cx.now, remote.ip());
        cx.act(Action::Punch { remote, bytes: Bytes::from_static(&PUNCH_DATAGRAM), ttl });
    }

    /// The TTL that ends just behind the NATs of this node. There are two of them if neighbours see
    /// it at an address that carriers use between their NAT and those of their customers (RFC 6598)
    /// and that is not its own. What a port mapper answers will say the same.
    fn short_ttl(&self, cx: &Context<'_, Action>) -> u8 {
        let own = cx.own.local_addrs();
        let is_between = |seen: &SocketAddr| {
            is_shared(seen.ip()) && !own.iter().any(|local| local.ip() == seen.ip())
        };
        if self.report.addrs.iter().any(is_between) { SHORT_TTL_TWO_NATS } else { SHORT_TTL }
    }
}
