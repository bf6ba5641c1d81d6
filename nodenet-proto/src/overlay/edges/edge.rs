//! Edge to one peer: up to three conns (PROTOCOL.md#conns-of-an-edge) and what routing reads about
//! the peer.
//!
//! Frames leave on the conn that most recently received one. A dead conn thus loses that role with
//! the first frame on a live conn. A relayed conn never takes that role from a direct one, and a
//! second relayed one only by a frame that is no ping (PROTOCOL.md#upgrades).

use std::time::Instant;

use super::CONNS_PER_EDGE;
use super::budgets::EdgeBudgets;
use crate::NodeId;
use crate::addr::Subnet;
use crate::env::TokenBucket;
use crate::transport::ConnId;

/// What lies between this node and the peer on a conn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// It is not known yet: the conn has just come up.
    Unset,
    /// Nothing but networks.
    Direct,
    /// A volunteer, so that the addresses of the conn are the volunteer's.
    Relayed,
}

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
    /// Pongs that have not come yet.
    pub pongs_due: u8,
    /// Whether the peer has answered a ping, and so said at which address it sees this node.
    pub is_told: bool,
    /// What lies between.
    pub path: PathKind,
    /// Pongs to come until it is closed, if a direct conn replaces it.
    pub retiring: Option<u8>,
}

impl Conn {
    /// Whether it goes over a relay.
    pub fn is_relayed(&self) -> bool {
        self.path == PathKind::Relayed
    }
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

    /// Its conns: the longest silent first, and last the one on which frames leave.
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
        let others = self.surplus.iter().map(|conn| conn.heard);
        others.fold(self.send_conn.heard, Instant::max)
    }

    /// One of its conns.
    pub fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        core::iter::once(&mut self.send_conn).chain(&mut self.surplus).find(|conn| conn.id == id)
    }

    /// A frame arrived on one of its conns, which in most cases becomes the one that frames leave
    /// on. Returns whether that was another one before.
    #[inline]
    pub fn observe_frame(&mut self, id: ConnId, now: Instant, is_liveness: bool) -> bool {
        let is_other = self.send_conn.id != id;
        if is_other {
            let Some(at) = self.surplus.iter().position(|conn| conn.id == id) else {
                return false;
            };
            if !self.takes_over(&self.surplus[at], is_liveness) {
                let mut conn = self.surplus.remove(at);
                (conn.heard, conn.unanswered) = (now, false);
                self.surplus.push(conn);
                return false;
            }
            core::mem::swap(&mut self.surplus[at], &mut self.send_conn);
            self.surplus[at..].rotate_left(1);
        }
        self.send_conn.heard = now;
        self.send_conn.unanswered = false;
        is_other
    }

    /// Whether frames leave on this conn from now on, on which one arrived.
    fn takes_over(&self, conn: &Conn, is_liveness: bool) -> bool {
        let present = &self.send_conn;
        !conn.is_relayed() || (present.is_relayed() && (!is_liveness || present.unanswered))
    }

    /// Adds a conn. Returns the one silent longest if there are too many. Frames leave on it from
    /// now on. If they leave on a relayed one that answers, they do so once the peer has sent on
    /// the new one, because the peer may not take it.
    pub(super) fn add(&mut self, conn: Conn) -> Option<ConnId> {
        let replaced = (self.conn_count() == CONNS_PER_EDGE).then(|| self.surplus.remove(0).id);
        let waits = conn.outgoing && self.send_conn.is_relayed() && !self.send_conn.unanswered;
        let other = if waits { conn } else { core::mem::replace(&mut self.send_conn, conn) };
        self.surplus.push(other);
        replaced
    }

    /// What lies between this node and the peer on a conn that has just come up. A relayed one is
    /// no better than the conn before it, if that one answers.
    pub(super) fn set_path(&mut self, id: ConnId, path: PathKind) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.path = path;
        let before = self.surplus.last().filter(|conn| !conn.unanswered);
        let is_needless = path == PathKind::Relayed
            && self.send_conn.id == id
            && before.is_some_and(|conn| conn.path != PathKind::Unset);
        if is_needless && let Some(before) = self.surplus.pop() {
            self.surplus.push(core::mem::replace(&mut self.send_conn, before));
        }
    }

    /// Its relayed conns, if frames leave on a direct one that this node dialed: that one replaces
    /// them.
    pub(super) fn replaced(&self) -> impl Iterator<Item = ConnId> {
        let send = &self.send_conn;
        let is_upgraded = send.outgoing && send.path == PathKind::Direct;
        let relayed =
            self.surplus.iter().filter(|conn| conn.is_relayed() && conn.retiring.is_none());
        relayed.filter(move |_| is_upgraded).map(|conn| conn.id)
    }
}
