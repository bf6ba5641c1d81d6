//! Edge to one peer: up to three conns (PROTOCOL.md#conns-of-an-edge) and what routing reads about
//! the peer.
//!
//! Frames leave on the conn that most recently received one. A dead conn thus loses that role with
//! the first frame on a live conn.

use std::time::Instant;

use super::CONNS_PER_EDGE;
use super::budgets::EdgeBudgets;
use crate::NodeId;
use crate::addr::Subnet;
use crate::env::TokenBucket;
use crate::transport::ConnId;

/// One conn of an edge.
#[derive(Debug, Clone)]
pub struct Conn {
    /// Its id.
    pub id: ConnId,
    /// Whether this node dialed it.
    pub outgoing: bool,
    /// When it last received a frame, or came up.
    pub heard: Instant,
    /// When the last ping left on it, or when it came up.
    pub pinged: Instant,
    /// Whether nothing at all arrived since that ping.
    pub unanswered: bool,
    /// Whether its Pong has not come yet.
    pub pong_due: bool,
    /// Whether the peer has answered a ping, and so said at which address it sees this node.
    pub is_told: bool,
    /// Whether it goes over a relay, so that its addresses are the volunteer's.
    pub is_relayed: bool,
}

/// A live edge.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The peer.
    pub peer: NodeId,
    /// Its Ed25519 key, proved by the transport.
    pub key: [u8; 32],
    /// When it began.
    pub since: Instant,
    /// Budgets of what the peer may still cause.
    pub budgets: EdgeBudgets,
    /// What this node may still send, filled by [`crate::env::Rate::OUTBOUND`].
    pub outbound: TokenBucket,
    /// Whether the peer is a light node: it sends the pings.
    pub light: bool,
    /// Whether the peer sent a frame other than a Leave, or opened the edge. Until then it may not
    /// have taken an edge that this node opened.
    pub(super) is_taken: bool,
    /// The peer's subnet, for diversity; nothing on loopback.
    pub subnet: Option<Subnet>,
    /// Round-trip time in milliseconds when a ping was last answered; 0 is not known.
    pub rtt_ms: u16,
    /// The conn that most recently received a frame.
    pub(super) send_conn: Conn,
    /// The other conns, the longest silent first. Most edges have none.
    pub(super) surplus: Vec<Conn>,
    pub(super) sibling: bool,
}

impl Edge {
    /// The conn on which frames leave.
    pub fn send_conn(&self) -> &Conn {
        &self.send_conn
    }

    /// Its conns, the longest silent first.
    pub fn conns(&self) -> impl DoubleEndedIterator<Item = &Conn> {
        self.surplus.iter().chain(core::iter::once(&self.send_conn))
    }

    /// How many conns it has.
    pub fn conn_count(&self) -> usize {
        self.surplus.len() + 1
    }

    /// How many of them the peer opened.
    pub fn accepted_conns(&self) -> usize {
        self.conns().filter(|conn| !conn.outgoing).count()
    }

    /// Whether this node dialed any of its conns.
    pub fn is_outgoing(&self) -> bool {
        self.conns().any(|conn| conn.outgoing)
    }

    /// Whether it is one of the sixteen nearest to this node.
    pub fn is_sibling(&self) -> bool {
        self.sibling
    }

    /// Whether the peer has taken the edge: it opened it, or sent a frame over it.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// When any of its conns last received a frame.
    pub fn heard(&self) -> Instant {
        self.send_conn().heard
    }

    /// One of its conns.
    pub fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        core::iter::once(&mut self.send_conn).chain(&mut self.surplus).find(|conn| conn.id == id)
    }

    /// A frame arrived on one of its conns, which becomes the one that frames leave on.
    #[inline]
    pub fn observe_frame(&mut self, id: ConnId, now: Instant) {
        if self.send_conn.id != id {
            let Some(at) = self.surplus.iter().position(|conn| conn.id == id) else { return };
            core::mem::swap(&mut self.surplus[at], &mut self.send_conn);
            self.surplus[at..].rotate_left(1);
        }
        self.send_conn.heard = now;
        self.send_conn.unanswered = false;
    }

    /// Adds a conn. Returns the one silent longest if there are too many.
    pub(super) fn add(&mut self, conn: Conn) -> Option<ConnId> {
        let replaced = (self.conn_count() == CONNS_PER_EDGE).then(|| self.surplus.remove(0).id);
        self.surplus.push(core::mem::replace(&mut self.send_conn, conn));
        replaced
    }
}
