//! Renewal of edges: those that the application uses, and those to near neighbours, get another
//! conn by the node itself when theirs does not answer (PROTOCOL.md#renewed-edges).
//!
//! Responsible for: which edges these are, and whether one of them is in doubt. Never: pings on its
//! own schedule, dials, or ends a conn.
//!
//! # Life of a doubt
//! 1. A frame of the application leaves on an edge that was silent, and the conn is *watched*: the
//!    peer's transport has to acknowledge. Or a ping stays without an answer.
//! 2. Nothing arrived. A few other neighbours are *asked* where they see this node: it may be
//!    behind a NAT box that lost its mappings.
//! 3. A Connect is sent, and all addresses of the peer are dialed, beside the conn that there is.
//! 4. It ends when the conn answers after all, when another one is up, or with the attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Engine;
use super::timers::Timer;
use crate::NodeId;
use crate::api::EdgeDownReason;
use crate::connect::{Candidate, Purpose, Source, Want};
use crate::overlay::doubt_after;
use crate::transport::{ConnDownReason, ConnId, Conns};

/// Peers that the application uses and that are remembered for it, at most (a guess: four times the
/// edges that a node wants for itself).
const KEPT_MAX: usize = 256;
/// Edges in doubt at once, at most (a guess: as many as there are attempts).
const DOUBTS_MAX: usize = 64;
/// An edge on which something arrived this recently is not watched (a guess).
const QUIET: Duration = Duration::from_millis(250);
/// From the question where neighbours see this node to the attempt (a guess: a round trip).
const ASK_WAIT: Duration = Duration::from_millis(150);
/// Neighbours that are asked (a guess).
const ASKED: usize = 3;
/// While an attempt is under way it is checked this often whether the conn answers after all.
const CHECK: Duration = Duration::from_millis(250);
/// A conn that lived this recently has opened the way (PROTOCOL.md#early-packets).
const OPEN: Duration = Duration::from_secs(30);
/// After the machine slept or moved, every edge that does not answer is renewed for this long (a
/// guess: a ping and an attempt).
const RESUMED: Duration = Duration::from_secs(10);

/// An edge is renewed again after this long, or once its peer was heard since (a guess). A peer
/// that takes conns and never says anything would otherwise keep its edge by ever new ones.
const APART: Duration = Duration::from_secs(60);

/// Where a doubt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The transport of the peer has to acknowledge.
    Watched,
    /// Neighbours were asked.
    Asked,
    /// An attempt is under way.
    Renewing,
}

/// An edge that may not work any more.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Instant,
    conn: ConnId,
    /// Datagrams that had arrived on the conn then.
    received: Option<u64>,
    step: Step,
    /// When the next step is due.
    at: Instant,
}

/// The edges that the node renews.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    kept: BTreeSet<NodeId>,
    doubts: BTreeMap<NodeId, Doubt>,
    resumed_until: Option<Instant>,
    /// When edges were renewed last.
    renewed: BTreeMap<NodeId, Instant>,
    /// Whether the addresses of this machine changed since edges were last renewed.
    is_moved: bool,
}

impl Renewals {
    /// The addresses of this machine changed.
    pub(super) fn handle_local_addrs(&mut self) {
        self.is_moved = true;
    }

    /// The application does not want the edge any more, or the peer does not.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.kept.remove(peer);
        self.doubts.remove(peer);
        self.renewed.remove(peer);
    }

    /// Forgets everything.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(super) fn check(&self) {
        assert!(self.kept.len() <= KEPT_MAX && self.doubts.len() <= DOUBTS_MAX);
        assert!(self.renewed.len() <= KEPT_MAX);
    }

    fn next_at(&self) -> Option<Instant> {
        self.doubts.values().map(|doubt| doubt.at).min()
    }
}

impl Engine {
    /// The application has a use for the edge to `peer`.
    pub(super) fn keep_edge(&mut self, peer: NodeId) {
        if self.renewals.kept.len() >= KEPT_MAX && !self.renewals.kept.contains(&peer) {
            let edges = self.overlay.edges();
            let unused = self.renewals.kept.iter().find(|kept| edges.get(kept).is_none());
            let Some(unused) = unused.copied() else { return };
            self.renewals.forget(&unused);
        }
        self.renewals.kept.insert(peer);
    }

    /// The application sent on the edge to `peer`. If it was silent, the conn has to show that the
    /// peer is still there.
    pub(super) fn watch_edge(&mut self, conns: &dyn Conns, peer: NodeId) {
        self.keep_edge(peer);
        let now = self.env.now();
        let Some(edge) = self.overlay.edges().get(&peer) else { return };
        let (conn, wait) = (edge.send_conn().id, doubt_after(edge.rtt_ms));
        let is_quiet = edge.heard() + QUIET <= now;
        if is_quiet && !self.renewals.doubts.contains_key(&peer) && conns.received(conn).is_some() {
            self.doubt(conns, peer, Step::Watched, wait);
        }
    }

    /// A ping on the edge to `peer` is unanswered for long.
    pub(super) fn handle_doubtful(&mut self, conns: &mut dyn Conns, peer: NodeId) {
        let is_watched = |doubt: &Doubt| doubt.step == Step::Watched;
        let is_under_way = self.renewals.doubts.get(&peer).is_some_and(|known| !is_watched(known));
        if !is_under_way && self.is_renewed(&peer) {
            self.ask_where(conns, peer);
        }
    }

    /// The edge to `peer` ended. One that is renewed gets another conn at once.
    pub(super) fn handle_edge_lost(
        &mut self,
        conns: &mut dyn Conns,
        peer: NodeId,
        reason: EdgeDownReason,
        last: Option<Candidate>,
    ) {
        use ConnDownReason::{Reset, Stalled, TimedOut};
        let is_silent = matches!(
            reason,
            EdgeDownReason::Dead | EdgeDownReason::Conn(TimedOut | Reset | Stalled)
        );
        if !is_silent {
            return self.renewals.forget(&peer);
        }
        if self.is_renewed(&peer) {
            self.renew(conns, peer, last);
        }
    }

    /// The machine slept, or has another way to the network: what was lost meanwhile is renewed.
    pub(super) fn renew_all(&mut self, conns: &mut dyn Conns) {
        self.renewals.resumed_until = Some(self.env.now() + RESUMED);
        let edges = self.overlay.edges();
        let lost = self.renewals.kept.iter().filter(|kept| edges.get(kept).is_none());
        for peer in lost.copied().collect::<Vec<_>>() {
            self.renew(conns, peer, None);
        }
        if core::mem::take(&mut self.renewals.is_moved) {
            self.renew_accepted(conns);
        }
    }

    /// A peer that dialed this node sends little to its new address before a handshake proves it
    /// (docs/decisions/0021). That is begun for the edges that matter.
    fn renew_accepted(&mut self, conns: &mut dyn Conns) {
        let now = self.env.now();
        let accepted = self.overlay.edges().iter().filter(|edge| !edge.is_outgoing());
        let accepted = accepted.filter(|edge| edge.heard() + OPEN > now);
        let known = accepted.filter_map(|edge| {
            let path = conns.path(edge.send_conn().id)?;
            Some((edge.peer, last_known(path.remote, true)))
        });
        let wanted = |(peer, _): &(NodeId, Candidate)| {
            let is_wanted = self.renewals.kept.contains(peer) || self.overlay.is_near(peer);
            is_wanted && self.is_renewed(peer)
        };
        let known: Vec<(NodeId, Candidate)> = known.filter(wanted).collect();
        for (peer, last) in known {
            self.renew(conns, peer, Some(last));
        }
    }

    /// The timer fired.
    pub(super) fn handle_renewals(&mut self, conns: &mut dyn Conns) {
        let now = self.env.now();
        let due = self.renewals.doubts.iter().filter(|(_, doubt)| doubt.at <= now);
        let due: Vec<(NodeId, Doubt)> = due.map(|(peer, doubt)| (*peer, *doubt)).collect();
        for (peer, doubt) in due {
            if self.is_answered(conns, &peer, doubt) {
                self.renewals.doubts.remove(&peer);
                self.run_connect(conns, |connect, cx| connect.cancel_renewal(cx, &peer));
                continue;
            }
            match doubt.step {
                Step::Watched => self.ask_where(conns, peer),
                Step::Asked => {
                    let edge = self.overlay.edges().get(&peer);
                    let is_open = edge.is_some_and(|edge| edge.heard() + OPEN > now);
                    let path = conns.path(doubt.conn).filter(|_| edge.is_some());
                    let last = path.map(|path| last_known(path.remote, is_open));
                    self.set_step(peer, Step::Renewing, now + CHECK);
                    self.renew(conns, peer, last);
                }
                Step::Renewing if self.connect.is_renewing(&peer) => {
                    self.set_step(peer, Step::Renewing, now + CHECK);
                }
                Step::Renewing => _ = self.renewals.doubts.remove(&peer),
            }
        }
        self.arm_renewals();
    }

    /// Whether the node renews the edge to this peer of its own accord. One over a relay has more
    /// to it than a conn.
    fn is_renewed(&self, peer: &NodeId) -> bool {
        let is_relayed =
            self.overlay.edges().get(peer).is_some_and(|edge| edge.send_conn().is_relayed());
        let is_resumed = self.renewals.resumed_until.is_some_and(|until| self.env.now() < until);
        let is_wanted = self.renewals.kept.contains(peer) || self.overlay.is_near(peer);
        self.life == super::Life::Running
            && self.env.config().maintenance
            && !is_relayed
            && (is_wanted || is_resumed)
    }

    fn is_answered(&self, conns: &dyn Conns, peer: &NodeId, doubt: Doubt) -> bool {
        let Some(edge) = self.overlay.edges().get(peer) else {
            return doubt.step != Step::Renewing;
        };
        edge.heard() > doubt.since
            || edge.send_conn().id != doubt.conn
            || conns.received(doubt.conn) != doubt.received
    }

    /// What other neighbours see of this node is asked before the peer is told where it is.
    fn ask_where(&mut self, conns: &mut dyn Conns, peer: NodeId) {
        self.doubt(conns, peer, Step::Asked, ASK_WAIT);
        let own = self.id();
        let others = self.overlay.edges().closest::<{ ASKED + 1 }>(&own).into_iter();
        let others: Vec<NodeId> =
            others.map(|edge| edge.peer).filter(|other| *other != peer).take(ASKED).collect();
        for other in others {
            self.run_overlay(conns, |overlay, cx, _| overlay.ask_neighbour(cx, &other));
        }
    }

    fn doubt(&mut self, conns: &dyn Conns, peer: NodeId, step: Step, wait: Duration) {
        let now = self.env.now();
        let Some(edge) = self.overlay.edges().get(&peer) else { return };
        let conn = edge.send_conn().id;
        let has_room =
            self.renewals.doubts.len() < DOUBTS_MAX || self.renewals.doubts.contains_key(&peer);
        if has_room {
            let received = conns.received(conn);
            let doubt = Doubt { since: now, conn, received, step, at: now + wait };
            self.renewals.doubts.insert(peer, doubt);
            self.arm_renewals();
        }
    }

    fn set_step(&mut self, peer: NodeId, step: Step, at: Instant) {
        if let Some(doubt) = self.renewals.doubts.get_mut(&peer) {
            (doubt.step, doubt.at) = (step, at);
        }
    }

    /// Begins an attempt at another conn, beside the one that there may be.
    fn renew(&mut self, conns: &mut dyn Conns, peer: NodeId, last: Option<Candidate>) {
        if !self.may_renew(&peer) {
            return;
        }
        let known = self.overlay.candidates(&peer);
        let candidates = last.into_iter().chain(known).collect();
        self.want(conns, Want { peer, candidates, purpose: Purpose::Renew });
    }

    /// Whether the edge to this peer may be renewed now, which it then is.
    fn may_renew(&mut self, peer: &NodeId) -> bool {
        let now = self.env.now();
        let conn = self.overlay.edges().get(peer).map(|edge| edge.send_conn());
        let is_heard = |at: Instant| conn.is_some_and(|conn| conn.is_told && conn.heard > at);
        let last = self.renewals.renewed.get(peer).copied();
        if last.is_some_and(|at| at + APART > now && !is_heard(at)) {
            return false;
        }
        self.renewals.renewed.retain(|_, at| *at + APART > now);
        if self.renewals.renewed.len() >= KEPT_MAX {
            return false;
        }
        self.renewals.renewed.insert(*peer, now);
        true
    }

    fn arm_renewals(&mut self) {
        match self.renewals.next_at() {
            Some(at) => self.timers.set(Timer::Renewal, at),
            None => self.timers.stop(&Timer::Renewal),
        }
    }
}

/// Where a peer was last.
pub(super) fn last_known(addr: std::net::SocketAddr, is_open: bool) -> Candidate {
    Candidate { addr, source: Source::Verified, is_open }
}
