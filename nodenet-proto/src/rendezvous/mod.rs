//! Rendezvous: a signed question to a node turns its identifier into verified keys and addresses,
//! and what is sealed with such a key (PROTOCOL.md#rendezvous).
//!
//! Responsible for: questions and their retries, answers, bound X25519 keys, sealed messages and
//! their replay cache. Never: routes or remembers contacts; it hands messages and what it learned
//! to the overlay by its actions.
//!
//! | part | what it is for |
//! |---|---|
//! | `request` | exchanges with targets, and which Reply settles one |
//! | `respond` | one answer to each nonce, within a rate |
//! | `keys` | X25519 keys from verified messages |
//! | `neighbours` | questions that a first hop left unanswered |
//! | `sealed_box` | sealed payloads of routed messages |
//! | `replay` | boxes that were opened |

mod keys;
mod neighbours;
mod replay;
mod request;
mod respond;
mod sealed_box;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heapless::Vec as FixedVec;

use self::keys::Keys;
use self::neighbours::Neighbours;
use self::request::{Answered, NonceState, Requests};
use self::respond::Responder;
use self::sealed_box::WINDOW;
use crate::NodeId;
use crate::addr::canonical;
use crate::api::{Disclosure, FoundPeer, RendezvousError, SendFailure};
use crate::context::Context;
use crate::overlay::{FIRST_HOPS, Hop, Message};
use crate::stats::{DropReason, Gauges};
use crate::wire::rendezvous::{HANDSHAKE_NONCE_LEN, Hello, Reply};
use crate::wire::sealed_box::Recipient;
use crate::wire::{Addr, AddrList, Decode, Encode, FrameType, RoutedFrame};

pub(crate) use self::neighbours::Questions;
pub use self::replay::{ReplayCache, ReplayError};
pub(crate) use self::sealed_box::Unsealed;
pub use self::sealed_box::{ROUTE_CONTEXT, SEALED_PAYLOAD_MAX};

type Nonce = [u8; HANDSHAKE_NONCE_LEN];

/// Bytes of a Reply behind its addresses: nonce and signature.
const REPLY_END_LEN: usize = HANDSHAKE_NONCE_LEN + 64;
/// Bytes of the shortest Reply: two keys, no address, nonce and signature
/// (WIRE.md#rendezvous-and-the-sealed-box).
const REPLY_LEN_MIN: usize = 32 + 32 + 1 + REPLY_END_LEN;

/// Names what a request of the application waits for. The engine allocates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// The outcome of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The target answered.
    Found(FoundPeer),
    /// It did not.
    Failed(RendezvousError),
    /// A message was not sealed.
    Unsent(SendFailure),
}

/// What the engine carries out for rendezvous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Originate a question, and report its first hops ([`Rendezvous::handle_asked`]).
    Ask {
        /// Names the question.
        nonce: Nonce,
        /// The Hello.
        message: Message,
    },
    /// Originate an answer, and report its first hops ([`Rendezvous::handle_answered`]).
    Answer(Message),
    /// Originate a sealed message, whose outcome settles this ticket.
    Send(Ticket, Message),
    /// A node signed its key and these addresses of itself for this node.
    Learn {
        /// The node.
        id: NodeId,
        /// Its Ed25519 key.
        key: [u8; 32],
        /// Its addresses that this node may dial, best first.
        addrs: Vec<SocketAddr>,
    },
    /// A ticket has its outcome.
    Settle(Ticket, Settled),
    /// Set the timer, replacing it if it is set.
    Set(Instant),
    /// Stop the timer.
    Stop,
}

/// The state of rendezvous.
pub(crate) struct Rendezvous {
    requests: Requests,
    responder: Responder,
    keys: Keys,
    neighbours: Neighbours,
    replays: ReplayCache,
}

impl Rendezvous {
    /// Nothing asked and nothing answered.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            requests: Requests::default(),
            responder: Responder::new(now),
            keys: Keys::default(),
            neighbours: Neighbours::default(),
            replays: ReplayCache::new(WINDOW),
        }
    }

    /// The application asks for the keys and addresses of a node.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_, Action>,
        target: NodeId,
        ticket: Ticket,
        within: Duration,
    ) {
        self.requests.ask(cx, target, ticket, within, None);
    }

    /// The application sends a sealed message. Without the target's key it is asked for first.
    pub(crate) fn send_sealed(
        &mut self,
        cx: &mut Context<'_, Action>,
        target: NodeId,
        ticket: Ticket,
        within: Duration,
        payload: Bytes,
    ) {
        let (len, max) = (payload.len(), SEALED_PAYLOAD_MAX);
        if len > max {
            let refused = Settled::Unsent(SendFailure::TooLarge { len, max });
            return cx.act(Action::Settle(ticket, refused));
        }
        match self.keys.find(&target) {
            Some(exchange_key) => {
                send_box(cx, ticket, &Recipient { id: target, exchange_key }, &payload);
            }
            None => self.requests.ask(cx, target, ticket, within, Some(payload)),
        }
    }

    /// The first hops of a question, or why none took it.
    pub(crate) fn handle_asked(
        &mut self,
        cx: &mut Context<'_, Action>,
        nonce: &Nonce,
        taken: Result<FixedVec<Hop, FIRST_HOPS>, SendFailure>,
    ) {
        self.requests.handle_asked(cx, &mut self.neighbours, nonce, taken);
    }

    /// The first hops of an answer to this node.
    pub(crate) fn handle_answered(&mut self, requester: &NodeId, hops: &[Hop]) {
        self.responder.handle_answered(requester, hops);
    }

    /// Whether a Hello over this neighbour may be answered; counted if it may not. Asked before its
    /// signatures are verified (THREATS.md#hello-flood).
    pub(crate) fn may_answer(&self, cx: &mut Context<'_, Action>, from: &NodeId) -> bool {
        let may_answer = self.responder.may_answer(cx.now, from);
        if !may_answer {
            cx.discard(DropReason::HelloRateLimited);
        }
        may_answer
    }

    /// A Hello for this node arrived over the edge to `from`. Its envelope is verified and charged
    /// to its originator, which `has_edge` to this node or has none.
    pub(crate) fn handle_hello(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        originator: Originator,
        payload: &[u8],
    ) {
        let Originator { id, key, has_edge } = originator;
        let Ok(hello) = Hello::decode_exact(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        if self.responder.is_answered(&id, &hello.nonce) {
            return cx.discard(DropReason::HelloRepeated);
        }
        if !hello.verify(cx.crypto, &cx.identity.id(), &key) {
            return cx.discard(DropReason::HelloRefused);
        }
        if !self.responder.charge(cx.now, from) {
            return cx.discard(DropReason::HelloRateLimited);
        }
        self.keys.bind(id, hello.exchange_key, false);
        let addrs = plausible_addrs(cx, &hello.addrs);
        cx.act(Action::Learn { id, key, addrs });
        let is_known = has_edge || self.keys.is_asked(&id) || self.requests.is_asked(&id);
        let addrs = disclosed_addrs(cx, is_known, hello.addrs.as_slice());
        let tried = self.responder.note(cx.now, id, hello.nonce);
        let payload = Reply::sign(cx.crypto, cx.identity, addrs, hello.nonce).to_bytes();
        let frame_type = FrameType::Reply;
        cx.act(Action::Answer(Message { frame_type, target: id, payload, tried }));
    }

    /// A Reply for this node arrived, of which nothing is verified. Nonce and key are compared
    /// before anything is decoded (THREATS.md#b13).
    pub(crate) fn handle_reply(&mut self, cx: &mut Context<'_, Action>, message: RoutedFrame) {
        let Some((key, nonce)) = ends_of(&message) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        let target = match self.requests.state_of(&nonce) {
            NonceState::Open(target) => target,
            NonceState::Settled => return cx.discard(DropReason::ReplyRepeated),
            NonceState::Unknown => return cx.discard(DropReason::Unsolicited),
        };
        if key != *message.key() || cx.crypto.node_id(&key) != target {
            return cx.discard(DropReason::ReplyForeign);
        }
        if !message.is_signed(&message.signing_digest(cx.crypto), cx.crypto) {
            return cx.discard(DropReason::BadSignature);
        }
        // The requester bounds its questions, and each takes one answer. The responder is therefore
        // not charged, and no copy is remembered.
        let Ok(reply) = Reply::decode_exact(&message.into_payload()) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        if reply.verify(cx.crypto, &target, &nonce).is_err() {
            return cx.discard(DropReason::ReplyRefused);
        }
        self.on_answer(cx, target, &reply);
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Action>, id: NodeId, reply: &Reply) {
        let Reply { key, exchange_key, nonce, .. } = *reply;
        self.keys.bind(id, exchange_key, true);
        let addrs = plausible_addrs(cx, &reply.addrs);
        cx.act(Action::Learn { id, key, addrs: addrs.clone() });
        let Answered { asked, sealed } =
            self.requests.settle(cx, &mut self.neighbours, &id, &nonce);
        let peer = FoundPeer { id, key, exchange_key, addrs };
        for ticket in asked {
            cx.act(Action::Settle(ticket, Settled::Found(peer.clone())));
        }
        for (ticket, payload) in sealed {
            send_box(cx, ticket, &Recipient { id, exchange_key }, &payload);
        }
    }

    /// Opens the payload of a verified Route if it is a sealed message.
    pub(crate) fn unseal(
        &mut self,
        cx: &mut Context<'_, Action>,
        originator: &NodeId,
        payload: Bytes,
    ) -> Unsealed {
        sealed_box::unseal(cx, &mut self.replays, originator, payload)
    }

    /// The timer fired.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context<'_, Action>) {
        self.requests.handle_timer(cx, &mut self.neighbours);
    }

    /// Fails every ticket; the node leaves.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        self.requests.stop(cx, &mut self.neighbours);
    }

    /// Questions over this neighbour.
    pub(crate) fn questions_over(&self, peer: &NodeId) -> Questions {
        self.neighbours.of(peer)
    }

    /// Whether a ticket is open.
    pub(crate) fn is_open(&self, ticket: Ticket) -> bool {
        self.requests.is_open(ticket)
    }

    /// Sets how full the tables of this room are.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.exchanges = self.requests.len() as u64;
        gauges.requesters = self.responder.len() as u64;
        gauges.exchange_keys = self.keys.len() as u64;
        gauges.opened_boxes = self.replays.len() as u64;
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.requests.check();
        self.responder.check();
        self.keys.check();
        self.neighbours.check();
        self.replays.check();
    }
}

/// The originator of a verified Hello.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Originator {
    /// Its identifier, the hash of `key`.
    pub(crate) id: NodeId,
    /// Its Ed25519 key.
    pub(crate) key: [u8; 32],
    /// Whether it has an edge to this node.
    pub(crate) has_edge: bool,
}

/// The responder's key and the nonce of a Reply, at fixed distances from its ends.
fn ends_of(message: &RoutedFrame) -> Option<([u8; 32], Nonce)> {
    let (mut key, mut nonce) = ([0; 32], [0; HANDSHAKE_NONCE_LEN]);
    let len = message.payload_len();
    if len < REPLY_LEN_MIN {
        return None;
    }
    message.peek_payload(&mut key);
    message.peek_payload_at(len - REPLY_END_LEN, &mut nonce);
    Some((key, nonce))
}

/// Seals a payload and sends it.
fn send_box(cx: &mut Context<'_, Action>, ticket: Ticket, to: &Recipient, payload: &[u8]) {
    let action = match sealed_box::seal(cx, to, payload) {
        Ok(payload) => {
            let (frame_type, target) = (FrameType::Route, to.id);
            Action::Send(ticket, Message { frame_type, target, payload, tried: Vec::new() })
        }
        Err(_) => Action::Settle(ticket, Settled::Unsent(SendFailure::UnusableKey)),
    };
    cx.act(action);
}

/// The addresses that this node names to another, which it knows or not
/// (PROTOCOL.md#who-learns-addresses).
fn disclosed_addrs(cx: &Context<'_, Action>, is_known: bool, asker: &[Addr]) -> AddrList {
    match cx.config.address_policy.disclosure(is_known) {
        Disclosure::Addresses => cx.own.addrs_for(asker),
        // A Hello and a Reply have no room for volunteers.
        Disclosure::Volunteers => AddrList::default(),
    }
}

/// The addresses that this node may dial.
fn plausible_addrs(cx: &mut Context<'_, Action>, addrs: &AddrList) -> Vec<SocketAddr> {
    let mut plausible = Vec::new();
    for addr in addrs.as_slice() {
        match addr.to_socket_addr().map(canonical) {
            Some(addr) if plausible.contains(&addr) => {}
            Some(addr) if cx.own.policy().may_dial(addr) => plausible.push(addr),
            _ => cx.discard(DropReason::ImplausibleAddress),
        }
    }
    plausible
}
