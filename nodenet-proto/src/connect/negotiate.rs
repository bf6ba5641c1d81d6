//! Steps of an attempt that take others: the exchange with the peer, punches, relaying volunteers.
//!
//! Responsible for: what follows from an answer, a punch or a grant. Never: chooses volunteers, or
//! times punches.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::attempt::{Attempt, GRANTS_MAX, Relay};
use super::candidate::{Candidate, Source, is_early};
use super::exchange::{Exchange, Nonce};
use super::{Action, Answer, Connect, Purpose};
use crate::NodeId;
use crate::addr::{Subnet, canonical};
use crate::api::{ConnectError, ConnectStepKind, Disclosure, Families, Reachability};
use crate::context::Context;

/// Volunteers that were asked in vain are asked again after this long (a guess).
const RELAY_AGAIN: Duration = Duration::from_secs(1);

impl Connect {
    /// Begins the exchange with a peer, if the application asked for the peer or candidates are
    /// held.
    pub(super) fn ask(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        if !attempt.purpose.is_asked() && attempt.held.is_empty() {
            return;
        }
        match &attempt.exchange {
            Some(exchange) if exchange.is_open() => return,
            // The application joins an attempt that had its answer.
            Some(exchange) if exchange.is_answered() => {
                attempt.plan_relay(cx.now, attempt.is_hopeless);
                return self.ask_relay(cx, peer);
            }
            _ => {}
        }
        let exchange = Exchange::new(cx.now, cx.rng.array());
        attempt.exchange = Some(exchange);
        let addrs = attempt.held.clone();
        self.send_connect(cx, peer);
        self.punch(cx, peer, addrs, None);
    }

    /// Sends the Connect of an exchange. Without an address to which the peer can send it waits for
    /// one; without any still, the topology dials none of what it holds.
    fn send_connect(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let is_of_use = attempt.is_of_use(named(cx)) || attempt.is_local(cx.own.addrs());
        let Some(exchange) = &mut attempt.exchange else { return };
        let is_told = cx.config.address_policy.disclosure(true) == Disclosure::Addresses;
        let is_asked = attempt.purpose.is_asked();
        let is_to_wait = !is_of_use && (is_told || !is_asked) && exchange.may_wait(cx.now);
        if is_to_wait {
            exchange.postpone(cx.now);
        }
        if is_of_use || is_to_wait || is_asked {
            let (nonce, tried) = (exchange.nonce(), exchange.tried().to_vec());
            cx.act(Action::Ask { peer, nonce, is_to_wait, tried });
        } else {
            exchange.give_up();
            self.go_on(cx, peer, ConnectError::NoPath);
        }
    }

    /// The first hops of a Connect; nothing if no edge takes it.
    pub(crate) fn handle_asked(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        nonce: &Nonce,
        hops: Option<&[NodeId]>,
    ) {
        let named = named(cx);
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let Some(exchange) = attempt.exchange.as_mut().filter(|known| known.nonce() == *nonce)
        else {
            return;
        };
        if let Some(hops) = hops {
            exchange.handle_sent(hops, named);
            return self.note(cx.now, &peer, ConnectStepKind::Asked { copies: hops.len() as u8 });
        }
        exchange.give_up();
        // Without a route the peer cannot be asked to send first.
        let held = attempt.take_held(|_| true);
        attempt.release(cx.now, held, None);
        self.note(cx.now, &peer, ConnectStepKind::Unroutable);
        self.go_on(cx, peer, ConnectError::NoAddress);
    }

    /// A peer answered a Connect. Returns false if no attempt waits for it.
    pub(crate) fn handle_answer(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        answer: &Answer,
    ) -> bool {
        let limit = self.host_limit();
        let Some(attempt) = self.attempts.get_mut(&peer) else { return false };
        let Some(exchange) = &mut attempt.exchange else { return false };
        let Some(round_trip) = exchange.handle_answer(cx.now, &answer.nonce) else { return false };
        let is_open = answer.peer.reachability == Reachability::Reachable;
        let named = exchange.named();
        // The peer can have sent to what the Connect named, and nowhere else.
        let has_sent = |addr: &SocketAddr| named.has(*addr) || !is_early(*addr);
        let known = |addr: SocketAddr| attempt.addrs.contains(&addr);
        let candidates = answer.peer.addrs.iter().filter(|addr| !known(**addr));
        let candidates = candidates.filter(|addr| is_open || has_sent(addr));
        let candidates = candidates.map(|&addr| {
            let source = Source::Unverified;
            Candidate { addr, source, is_open }
        });
        let mut candidates: Vec<Candidate> = candidates.collect();
        // What is on the link is nearest. A family in which neighbours see no address of this node
        // may have no way out.
        candidates.sort_by_key(|candidate| {
            (!is_on_link(cx, candidate.addr), !answer.has_own_family(candidate.addr))
        });
        let mut fresh = limit.open_addrs(&candidates);
        fresh.extend(attempt.take_held(|addr| is_open || has_sent(addr)));
        attempt.release(cx.now, fresh, Some(round_trip));
        attempt.is_hopeless = answer.is_hopeless();
        attempt.sides = Some(Box::new((answer.own.clone(), answer.peer.clone())));
        if attempt.is_requested {
            attempt.plan_relay(cx.now, attempt.is_hopeless || answer.is_vague());
        } else if !answer.has_signals && attempt.purpose != Purpose::Renew {
            // A node of the reference takes no second conn of a pair, and closes it.
            self.cancel_dials(cx, &peer);
            self.fail(cx, peer, ConnectError::NoPath);
            return true;
        }
        if let Some(log) = &mut attempt.log {
            log.set_own(&answer.own);
        }
        self.note(cx.now, &peer, ConnectStepKind::Answered(answer.peer.clone()));
        if !is_open {
            let targets = answer.peer.addrs.iter().copied().filter(has_sent).collect();
            self.punch(cx, peer, targets, Some(answer.len));
        }
        self.ask_relay(cx, peer);
        self.go_on(cx, peer, ConnectError::NoPath);
        true
    }

    /// A datagram that no conn takes arrived from this address: a peer may be punching from there.
    /// Returns false if no attempt is made at that host.
    pub(crate) fn handle_punched(
        &mut self,
        cx: &mut Context<'_, Action>,
        remote: SocketAddr,
    ) -> bool {
        let remote = canonical(remote);
        let asks = |attempt: &Attempt| attempt.exchange.is_some() && attempt.knows_ip(remote);
        let is_port = remote.port() != 0;
        let found = self.attempts.iter().find(|(_, attempt)| is_port && asks(attempt));
        let Some(peer) = found.map(|(peer, _)| *peer) else { return false };
        let Some(attempt) = self.attempts.get_mut(&peer) else { return false };
        if attempt.addrs.contains(&remote) {
            attempt.handle_punched(cx.now, remote);
            self.arm(cx);
            return true;
        }
        let mut addrs = vec![remote];
        addrs.extend(attempt.take_held(|addr| addr.is_ipv4() == remote.is_ipv4()));
        attempt.release(cx.now, addrs, None);
        self.note(cx.now, &peer, ConnectStepKind::PeerSeen { addr: remote });
        self.go_on(cx, peer, ConnectError::NoPath);
        true
    }

    /// The peer is told at which ports it will see this node.
    pub(crate) fn handle_predicted(
        &mut self,
        now: Instant,
        peer: &NodeId,
        first: u16,
        step: u16,
        count: u16,
    ) {
        self.note(now, peer, ConnectStepKind::Predicted { first, step, count });
    }

    /// An early packet moved the port of this node's NAT. It is at this address now.
    pub(crate) fn handle_port_moved(&mut self, now: Instant, peer: &NodeId, addr: SocketAddr) {
        self.note(now, peer, ConnectStepKind::PortMoved { addr });
        self.logs.handle_port_moved(now, peer, addr);
    }

    /// A volunteer relays to `peer` at this address.
    pub(crate) fn handle_granted(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        volunteer: NodeId,
        addr: SocketAddr,
    ) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        if attempt.grants.len() >= GRANTS_MAX || attempt.addrs.contains(&addr) {
            return;
        }
        attempt.add_grant(cx.now, addr, volunteer);
        self.note(cx.now, &peer, ConnectStepKind::RelayGranted { volunteer, addr });
        self.go_on(cx, peer, ConnectError::NoPath);
    }

    /// No further volunteer relays to `peer`.
    pub(crate) fn handle_no_relay(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        asked: u8,
    ) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        // A request or its answer may have come late where much is lost.
        let again = cx.now + RELAY_AGAIN;
        let is_worth_it = asked > 0 && again < attempt.deadline;
        if is_worth_it {
            attempt.relay = Relay::Due(again);
        } else {
            attempt.end_relay(cx.now);
        }
        self.note(cx.now, &peer, ConnectStepKind::RelayUnavailable { asked });
        self.go_on(cx, peer, ConnectError::NoPath);
    }

    /// Sends the Connect again, if that is due.
    pub(super) fn repeat(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let Some(exchange) = &mut attempt.exchange else { return };
        let was_open = exchange.is_open();
        if exchange.is_to_repeat(cx.now) {
            self.send_connect(cx, peer);
        } else if was_open && !exchange.is_open() {
            self.note(cx.now, &peer, ConnectStepKind::Unanswered);
        }
    }

    /// Asks for a relay, if that is due.
    pub(super) fn ask_relay(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        match attempt.relay {
            Relay::Due(at) if at <= cx.now => {
                attempt.relay = Relay::Asked;
                self.note(cx.now, &peer, ConnectStepKind::RelayWanted);
                cx.act(Action::AskRelay(peer));
            }
            Relay::Asked if attempt.deadline <= cx.now => attempt.relay = Relay::Over,
            _ => {}
        }
    }

    pub(super) fn punch(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        addrs: Vec<SocketAddr>,
        named_by: Option<usize>,
    ) {
        if !addrs.is_empty() {
            let is_short = named_by.is_none();
            self.note(cx.now, &peer, ConnectStepKind::Punching { addrs: addrs.clone(), is_short });
            cx.act(Action::Punch { peer, addrs, named_by });
        }
    }
}

/// Whether an address is one of a network that this machine is in.
fn is_on_link(cx: &Context<'_, Action>, addr: SocketAddr) -> bool {
    let mut own = cx.own.local_addrs().iter();
    !is_early(addr) && own.any(|own| Subnet::of(own.ip()) == Subnet::of(addr.ip()))
}

/// The families in which a Connect names an address at which any peer may send to this node.
fn named(cx: &Context<'_, Action>) -> Families {
    match cx.config.address_policy.disclosure(true) {
        Disclosure::Addresses => cx.own.named_families(),
        Disclosure::Volunteers => Families::default(),
    }
}
