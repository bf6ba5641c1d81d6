//! Node lookups at neighbours (Kademlia's `FIND_NODE`), and the matching of answers to them.
//!
//! Responsible for: correlation nonces, their lifetime, and which neighbour may answer. Never:
//! decides what to ask, or when.
//!
//! A lookup is iterative, as in Kademlia. A neighbour is asked, the peers that it names are dialed,
//! and those that are nearer are asked next. On the wire a question is a Lookup whose hop limit is
//! spent, so that the neighbour itself answers (PROTOCOL.md#lookups). A routed one would end nearer
//! to the target. Its answer would need a route back to the asking node, which a joining node does
//! not have yet. Only the answer of the neighbour that was asked is taken (THREATS.md#e30), and it
//! is asked on its edge.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Peers;
use crate::NodeId;
use crate::buf::Frame;
use crate::context::Context;
use crate::env::UnixNanos;
use crate::overlay::actions::{Action, send};
use crate::overlay::edges::EdgeTable;
use crate::stats::DropReason;
use crate::wire::envelope::{AvoidSet, Envelope};
use crate::wire::{self, Encode, FrameType, Lookup, Message, Nonce};

/// How long an answer is awaited (PROTOCOL.md#lookups).
const NONCE_LIFETIME: Duration = Duration::from_secs(30);
/// Questions open at once, at most; the oldest is forgotten first (a guess: two a second).
const OPEN_MAX: usize = 64;

/// The subject of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Nodes near this node.
    Own,
    /// Nodes near this identifier.
    Near {
        /// The identifier.
        target: NodeId,
        /// Whether its slot has neither an edge nor a contact.
        lacking: bool,
    },
    /// Nodes near the neighbour.
    Vicinity,
}

/// A question to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The subject.
    pub(crate) question: Question,
    /// The neighbour.
    pub(crate) peer: NodeId,
    /// The nonce that ties the answer to the question.
    pub(crate) nonce: Nonce,
}

impl Ask {
    /// A question with a fresh nonce.
    pub(crate) fn new<A>(cx: &mut Context<'_, A>, question: Question, peer: NodeId) -> Self {
        Self { question, peer, nonce: cx.rng.array() }
    }
}

#[derive(Debug, Clone)]
struct Open {
    nonce: Nonce,
    question: Question,
    peer: NodeId,
    expires: Instant,
}

impl Open {
    fn is_for(&self, nonce: &Nonce, responder: &NodeId) -> bool {
        self.nonce == *nonce && self.peer == *responder
    }
}

/// The questions that are open.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// In the order of their expiry.
    open: VecDeque<Open>,
}

impl Lookups {
    /// Notes a question to a neighbour.
    pub(crate) fn open_question(&mut self, now: Instant, ask: Ask) {
        let Ask { question, peer, nonce } = ask;
        self.expire(now);
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(Open { nonce, question, peer, expires: now + NONCE_LIFETIME });
    }

    /// Whether an answer with this nonce is awaited from `responder`.
    pub(crate) fn expects(&self, nonce: &Nonce, responder: &NodeId, now: Instant) -> bool {
        self.open.iter().any(|open| open.is_for(nonce, responder) && open.expires > now)
    }

    /// Takes the question that `responder` answers. An answer without an open question is discarded
    /// and counted. So is one that comes too late, twice, or from another neighbour.
    pub(crate) fn settle<A>(
        &mut self,
        cx: &mut Context<'_, A>,
        nonce: &Nonce,
        responder: &NodeId,
    ) -> Option<Question> {
        self.expire(cx.now);
        let Some(at) = self.open.iter().position(|open| open.is_for(nonce, responder)) else {
            cx.discard(DropReason::Unsolicited);
            return None;
        };
        self.open.remove(at).map(|open| open.question)
    }

    /// Number of questions that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.open.len() <= OPEN_MAX);
    }

    fn expire(&mut self, now: Instant) {
        while self.open.front().is_some_and(|open| open.expires <= now) {
            self.open.pop_front();
        }
    }
}

impl Peers {
    /// Sends a question to a neighbour.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_, Action>, edges: &EdgeTable, ask: Ask) {
        let Some(conn) = edges.get(&ask.peer).map(|edge| edge.send_conn().id) else { return };
        self.lookups.open_question(cx.now, ask);
        let own = *edges.own();
        let sent = cx.stamp();
        let frame = match ask.question {
            Question::Vicinity => wire::Siblings { nonce: ask.nonce }.to_frame(),
            Question::Own => lookup_frame(cx, own, ask.nonce, sent),
            Question::Near { target, .. } => lookup_frame(cx, target, ask.nonce, sent),
        };
        cx.act(send(conn, frame));
    }
}

/// A Lookup for `target` that the next hop answers: its hop limit is spent. It avoids this node as
/// every Lookup does (PROTOCOL.md#control-messages).
fn lookup_frame(cx: &Context<'_, Action>, target: NodeId, nonce: Nonce, sent: UnixNanos) -> Frame {
    let payload = Lookup { nonce }.to_bytes();
    let envelope = Envelope::sign(cx.signer(), FrameType::Lookup, target, sent, payload)
        .expect("a nonce is no large payload");
    let avoid = AvoidSet::from_iter([cx.identity.id()]);
    Envelope { hop_limit: 0, avoid, ..envelope }.to_frame(FrameType::Lookup)
}

#[cfg(test)]
mod tests;
