//! Lifecycle of conns and edges: how conns become edges, and how edges end
//! (PROTOCOL.md#life-of-an-edge, PROTOCOL.md#leaving).

use std::net::SocketAddr;
use std::time::Duration;

use super::admit::{Refusal, admit};
use super::keepalive::{ANSWER_WAIT, LIGHT_PATIENCE, RELAYED, Silence};
use super::liveness::{Standing, Verdict, doubt_after, judge};
use super::{Attached, CONNS_PER_EDGE, Detached, Edge, Edges, Owner, PathKind};
use crate::NodeId;
use crate::addr::{Subnet, canonical};
use crate::api::{Config, EdgeDownReason, Event, Profile, SelfDescription};
use crate::buf::Frame;
use crate::context::Context;
use crate::env::counter_hash::reserve_one;
use crate::overlay::actions::{Action, Timer, send};
use crate::stats::DropReason;
use crate::transport::{Class, CloseMode, ConnDownReason, ConnId};
use crate::wire::{self, Capabilities, Message};

/// Conns without a whole frame that are allowed even if there are few places for edges: several
/// peers may dial at once (a guess).
const UNPROVEN_MIN: usize = 8;
/// A conn that a direct one replaces is closed after this long without its last pong, which comes
/// behind all frames that are under way (a guess: what a full queue takes at the rate of a relay).
const LAST_PONG: Duration = Duration::from_secs(10);

/// A probe is no news this soon after a ping (a guess): a driver reports the same change in two
/// ways.
const PROBE_APART: Duration = Duration::from_millis(100);

/// What a handshake proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The identifier, which is the hash of the key.
    pub(crate) id: NodeId,
    /// The Ed25519 key.
    pub(crate) key: [u8; 32],
    /// Where the peer is, from here.
    pub(crate) remote: SocketAddr,
}

/// A conn that joined an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdgeUp {
    /// The peer.
    pub(crate) peer: Peer,
    /// The conn.
    pub(crate) conn: ConnId,
    /// Whether this node dialed the conn.
    pub(crate) is_outgoing: bool,
    /// Whether the edge is new.
    pub(crate) is_new: bool,
    /// Whether the peer has taken the edge.
    pub(crate) is_taken: bool,
}

/// The outcome of adding a conn to an edge.
#[derive(Debug)]
pub(crate) struct AttachedConn {
    /// The loss of the conn that it replaced, if any.
    pub(crate) loss: Loss,
    /// The conn, unless the edge ended with the replacement.
    pub(crate) up: Option<EdgeUp>,
}

/// An edge that ended, and is out of the table.
#[derive(Debug)]
pub(crate) struct EndedEdge {
    /// The edge as it was.
    pub(crate) edge: Edge,
    /// Why it ended.
    pub(crate) reason: EdgeDownReason,
}

impl EndedEdge {
    /// Whether the edge ended without the peer closing it. Only that makes pings more frequent; a
    /// peer that opens and closes edges again and again does not.
    pub(crate) fn is_silent(&self) -> bool {
        use ConnDownReason::{Stalled, TimedOut};
        matches!(
            self.reason,
            EdgeDownReason::Dead | EdgeDownReason::Conn(TimedOut) | EdgeDownReason::Conn(Stalled)
        )
    }
}

/// What the end of a conn meant for its edge.
#[derive(Debug)]
#[must_use]
pub(crate) enum Loss {
    /// No edge lost a conn.
    Nothing,
    /// An edge lost a conn and has others left. If this node had dialed the lost one, the edge
    /// counts as inbound from now on.
    Spare,
    /// An edge ended.
    Edge(Box<EndedEdge>),
}

impl Edges {
    /// A peer opened a conn. It has to send a frame before it becomes an edge.
    pub(crate) fn accept(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: Peer) {
        let places = cx.config.inbound_edges_max;
        if places == 0 {
            cx.discard(DropReason::InboundFull);
            return self.refuse(cx, conn);
        }
        if self.unproven >= unproven_max(places) {
            self.close_oldest_unproven(cx);
        }
        reserve_one(&mut self.conns);
        self.conns.insert(conn, Owner::Unproven(Box::new(peer)));
        self.unproven += 1;
    }

    /// Whether `peer` may become an edge, or add a conn to the one it has.
    pub(crate) fn admit(
        &self,
        config: &Config,
        peer: &NodeId,
        is_outgoing: bool,
    ) -> Result<(), Refusal> {
        admit(config, &self.table, peer, is_outgoing)
    }

    /// Makes a conn part of the edge to its peer, which begins with it if there was none.
    pub(crate) fn attach(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: Peer,
        is_outgoing: bool,
    ) -> AttachedConn {
        let now = cx.now;
        let budgets = || self.retained_budgets.resume(now, &peer.id);
        let attached = self.table.attach(now, peer.id, peer.key, conn, is_outgoing, budgets);
        reserve_one(&mut self.conns);
        self.conns.insert(conn, Owner::Edge(peer.id));
        let mut loss = Loss::Nothing;
        match attached {
            Attached::NewEdge => cx.act(Action::Event(Event::EdgeUp {
                peer: peer.id,
                outgoing: is_outgoing,
                remote: peer.remote,
            })),
            Attached::AnotherConn => {}
            Attached::Instead(silent) => {
                cx.act(Action::Stop(Timer::Conn(silent)));
                self.refuse(cx, silent);
                loss = self.settle_edge(cx, &peer.id);
            }
        }
        let is_new = attached == Attached::NewEdge;
        let Some(edge) = self.table.get_mut(&peer.id) else {
            return AttachedConn { loss, up: None };
        };
        if is_new || is_outgoing {
            edge.subnet = Subnet::counted(canonical(peer.remote).ip());
        }
        let is_taken = edge.is_taken();
        AttachedConn { loss, up: Some(EdgeUp { peer, conn, is_outgoing, is_new, is_taken }) }
    }

    /// Sends the first ping of a conn, or plans one. The acceptor learns of a conn by its first
    /// byte only (PROTOCOL.md#first-ping), and a light node announces itself while it is awake.
    pub(crate) fn greet(&mut self, cx: &mut Context<'_, Action>, up: &EdgeUp) -> Loss {
        if up.is_outgoing || cx.config.profile == Profile::Light {
            self.ping(cx, up.conn, &up.peer.id);
        } else if cx.config.maintenance {
            return self.check_liveness(cx, up.conn);
        }
        Loss::Nothing
    }

    /// The transport reports that a conn is gone.
    pub(crate) fn conn_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        reason: ConnDownReason,
    ) -> Loss {
        match self.conns.swap_remove(&conn) {
            Some(Owner::Edge(peer)) => {
                return self.detach(cx, &peer, conn, EdgeDownReason::Conn(reason));
            }
            Some(Owner::Unproven(_)) => self.unproven -= 1,
            Some(Owner::Closing) => {}
            None => cx.discard(DropReason::UnknownConn),
        }
        Loss::Nothing
    }

    /// Closes one conn of the edge to `peer` at once.
    pub(crate) fn close_conn(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        conn: ConnId,
        reason: EdgeDownReason,
    ) -> Loss {
        self.refuse(cx, conn);
        self.detach(cx, peer, conn, reason)
    }

    /// Closes the edge to `peer` with a Leave. Returns it if there was one.
    pub(crate) fn close_edge(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
    ) -> Option<Box<EndedEdge>> {
        let edge = self.table.remove(peer)?;
        self.send_leave(cx, &edge);
        Some(Box::new(self.end(cx, edge, EdgeDownReason::ClosedHere)))
    }

    /// Closes a conn that does not become part of an edge.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        self.conns.insert(conn, Owner::Closing);
        cx.act(Action::Close { conn, mode: CloseMode::Abort });
    }

    /// Closes an unproven conn: its first frame is malformed, or its place is needed.
    pub(crate) fn reject_unproven(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        self.unproven -= 1;
        self.refuse(cx, conn);
    }

    /// Closes every unproven conn.
    pub(crate) fn reject_all_unproven(&mut self, cx: &mut Context<'_, Action>) {
        for conn in self.unproven_conns().collect::<Vec<_>>() {
            self.reject_unproven(cx, conn);
        }
    }

    /// The conns that a Leave of `peer` on `conn` ends: that one and every older one. A newer one
    /// belongs to a peer that was restarted meanwhile, and stays.
    pub(crate) fn ended_by_leave(
        &self,
        peer: &NodeId,
        conn: ConnId,
    ) -> heapless::Vec<ConnId, CONNS_PER_EDGE> {
        let conns = self.table.get(peer).into_iter().flat_map(Edge::conns);
        let mut older: heapless::Vec<_, CONNS_PER_EDGE> =
            conns.map(|other| other.id).filter(|&id| id <= conn).collect();
        older.sort_unstable();
        older
    }

    /// The transport has a place for every conn, and counts no edges. When more conns are accepted
    /// than `settled`, no peer keeps two of them: closes a spare one.
    pub(crate) fn close_spare_conn(
        &mut self,
        cx: &mut Context<'_, Action>,
        settled: usize,
    ) -> Loss {
        let accepted = self.table.accepted_conns() + self.unproven;
        if accepted > settled
            && let Some((peer, conn)) = self.table.spare_conn()
        {
            return self.close_conn(cx, &peer, conn, EdgeDownReason::ClosedHere);
        }
        Loss::Nothing
    }

    /// Checks the liveness of a conn, pings or closes it, and sets its timer.
    pub(crate) fn check_liveness(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) -> Loss {
        let Some(peer) = self.peer_of(conn) else { return Loss::Nothing };
        let silence = self.keepalive.silence(cx.now, self.table.len());
        let Some(edge) = self.table.get_mut(&peer) else { return Loss::Nothing };
        let send_conn = edge.send_conn().id == conn;
        let (light, doubt_after) = (edge.light, doubt_after(edge.rtt_ms));
        let Some(conn) = edge.conn_mut(conn) else { return Loss::Nothing };
        if conn.retiring.is_some() {
            let (id, due) = (conn.id, conn.pinged + LAST_PONG);
            if due <= cx.now {
                return self.close_conn(cx, &peer, id, EdgeDownReason::Dead);
            }
            cx.act(Action::Set(Timer::Conn(id), due));
            return Loss::Nothing;
        }
        let is_relayed = conn.is_relayed();
        let silence = match light {
            true => Silence::of(LIGHT_PATIENCE),
            false if is_relayed => Silence::of(RELAYED),
            false => silence,
        };
        match judge(cx.now, cx.rng, conn, Standing { silence, send_conn, light, doubt_after }) {
            Verdict::Wait(until) => {
                if !light && !is_relayed {
                    self.keepalive.on_planned(silence);
                }
                let until = match is_relayed {
                    true => until,
                    false => self.keepalive.align_look(until, cx.now),
                };
                cx.act(Action::Set(Timer::Conn(conn.id), until));
            }
            Verdict::Ping => {
                let conn = conn.id;
                self.ping(cx, conn, &peer);
            }
            Verdict::Doubt(until) => {
                // A new packet leaves at once, and QUIC's repetitions ever later.
                conn.pongs_due = conn.pongs_due.saturating_add(1);
                cx.act(send(conn.id, ping_frame(cx.own)));
                cx.act(Action::Set(Timer::Conn(conn.id), until));
                cx.act(Action::Doubtful(peer));
            }
            Verdict::Dead => {
                let conn = conn.id;
                return self.close_conn(cx, &peer, conn, EdgeDownReason::Dead);
            }
        }
        Loss::Nothing
    }

    /// What lies between this node and the peer on a conn that has just come up. A relayed one is
    /// checked often enough that the relay stays.
    pub(crate) fn set_path(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        conn: ConnId,
        path: PathKind,
    ) {
        let Some(edge) = self.table.get_mut(peer) else { return };
        edge.set_path(conn, path);
        let unanswered = edge.conn_mut(conn).is_none_or(|conn| conn.unanswered);
        if path == PathKind::Relayed && cx.config.maintenance && !unanswered {
            cx.act(Action::Set(Timer::Conn(conn), cx.now + RELAYED));
        }
        self.retire_replaced(cx, peer);
    }

    /// Frames may leave on a direct conn from now on. The relayed ones that it replaces get a last
    /// ping behind all that was sent before. Its pong comes behind all that the peer had sent, and
    /// closes the conn: nothing is lost, and nothing comes twice (PROTOCOL.md#upgrades).
    pub(super) fn retire_replaced(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        let Some(edge) = self.table.get_mut(peer) else { return };
        let replaced: heapless::Vec<ConnId, CONNS_PER_EDGE> = edge.replaced().collect();
        for id in replaced {
            let Some(conn) = edge.conn_mut(id) else { continue };
            conn.pongs_due = conn.pongs_due.saturating_add(1);
            conn.retiring = Some(conn.pongs_due);
            (conn.pinged, conn.unanswered) = (cx.now, true);
            let frame = ping_frame(cx.own);
            let hops = heapless::Vec::from_iter([id]);
            cx.act(Action::Offer { class: Class::Leave, frame, hops });
            cx.act(Action::Set(Timer::Conn(id), cx.now + LAST_PONG));
        }
    }

    /// Whether the last pong of a conn arrived that a direct one replaced.
    pub(crate) fn is_retired(&self, peer: &NodeId, conn: ConnId) -> bool {
        let edge = self.table.get(peer);
        let conn = edge.and_then(|edge| edge.conns().find(|known| known.id == conn));
        conn.is_some_and(|conn| conn.retiring == Some(0))
    }

    /// An edge died. If edges died often of late, the others are judged sooner than was planned;
    /// not all at the same time.
    pub(crate) fn on_death(&mut self, cx: &mut Context<'_, Action>) {
        self.keepalive.on_death(cx.now);
        let silence = self.keepalive.silence(cx.now, self.table.len());
        if !cx.config.maintenance || !self.keepalive.is_urgent(silence) {
            return;
        }
        for edge in self.table.iter().filter(|edge| !edge.light) {
            let conn = edge.send_conn();
            if !conn.unanswered {
                // Later than now, which is too late for a timer.
                let soon = cx.rng.jitter(ANSWER_WAIT, 100).max(Duration::from_nanos(1));
                let soonest = cx.now + soon;
                let look = (conn.heard + silence.look_after).max(soonest);
                cx.act(Action::Set(Timer::Conn(conn.id), look));
            }
        }
    }

    fn unproven_conns(&self) -> impl Iterator<Item = ConnId> {
        self.conns.iter().filter(|(_, owner)| owner.is_unproven()).map(|(conn, _)| *conn)
    }

    /// Makes room for a new conn. A peer that takes the edge sends a frame within a round trip. The
    /// conn that was silent longest is thus the least likely to become an edge.
    fn close_oldest_unproven(&mut self, cx: &mut Context<'_, Action>) {
        let oldest = self.unproven_conns().min();
        if let Some(oldest) = oldest {
            cx.discard(DropReason::InboundFull);
            self.reject_unproven(cx, oldest);
        }
    }

    /// Pings every edge but those that wait for an answer and those to light nodes.
    pub(crate) fn ping_all(&mut self, cx: &mut Context<'_, Action>) {
        let peers: Vec<NodeId> = self.table.iter().map(|edge| edge.peer).collect();
        for peer in peers {
            self.ping_peer(cx, &peer);
        }
    }

    /// Pings every edge anew, whatever it waits for: what was sent before the machine slept, or
    /// from another network, may be lost.
    pub(crate) fn probe_all(&mut self, cx: &mut Context<'_, Action>) {
        let is_due = |edge: &&Edge| {
            let conn = edge.send_conn();
            !conn.unanswered || conn.pinged + PROBE_APART <= cx.now
        };
        let due = self.table.iter().filter(is_due);
        let conns: Vec<(NodeId, ConnId)> =
            due.map(|edge| (edge.peer, edge.send_conn().id)).collect();
        for (peer, conn) in conns {
            self.ping(cx, conn, &peer);
        }
    }

    /// Pings one edge, unless it waits for an answer or is one to a light node.
    pub(crate) fn ping_peer(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        let edge = self.table.get(peer).filter(|edge| !edge.light);
        // Over a relay the peer does not see this node.
        let asked = edge.map(|edge| {
            edge.conns().rev().find(|conn| !conn.is_relayed()).unwrap_or(edge.send_conn())
        });
        let idle = asked.filter(|conn| !conn.unanswered);
        if let Some(conn) = idle.map(|conn| conn.id) {
            self.ping(cx, conn, peer);
        }
    }

    fn ping(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: &NodeId) {
        let ping = ping_frame(cx.own);
        let Some(edge) = self.table.get_mut(peer) else { return };
        let look = cx.now + doubt_after(edge.rtt_ms);
        if let Some(conn) = edge.conn_mut(conn) {
            conn.pinged = cx.now;
            conn.unanswered = true;
            conn.pongs_due = conn.pongs_due.saturating_add(1);
            cx.act(send(conn.id, ping));
            if cx.config.maintenance {
                cx.act(Action::Set(Timer::Conn(conn.id), look));
            }
        }
    }

    /// Takes a conn that is gone or closing out of its edge, which may end with it.
    fn detach(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        conn: ConnId,
        reason: EdgeDownReason,
    ) -> Loss {
        match self.table.detach(peer, conn) {
            Detached::EdgeGone(edge) => Loss::Edge(Box::new(self.end(cx, *edge, reason))),
            Detached::LivesOn => {
                cx.act(Action::Stop(Timer::Conn(conn)));
                self.settle_edge(cx, peer)
            }
            Detached::Unknown => Loss::Nothing,
        }
    }

    /// An edge lost a conn and has others left. If this node had dialed that one, the edge counts
    /// as inbound from now on, and may be one too many.
    fn settle_edge(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) -> Loss {
        if self.table.inbound() <= cx.config.inbound_edges_max {
            return Loss::Spare;
        }
        cx.discard(DropReason::InboundFull);
        self.close_edge(cx, peer).map_or(Loss::Nothing, Loss::Edge)
    }

    /// The end of an edge that is out of the table already.
    fn end(
        &mut self,
        cx: &mut Context<'_, Action>,
        edge: Edge,
        reason: EdgeDownReason,
    ) -> EndedEdge {
        for conn in edge.conns() {
            cx.act(Action::Stop(Timer::Conn(conn.id)));
        }
        self.retained_budgets.keep(cx.now, edge.peer, edge.budgets);
        EndedEdge { edge, reason }
    }

    /// A Leave spares the conns that are newer than the one it comes on, so it leaves on each. The
    /// peer ignores what follows it, so it is queued behind all other frames.
    fn send_leave(&mut self, cx: &mut Context<'_, Action>, edge: &Edge) {
        for conn in edge.conns() {
            let (frame, hops) = (wire::Leave.to_frame(), heapless::Vec::from_iter([conn.id]));
            cx.act(Action::Offer { class: Class::Leave, frame, hops });
            self.conns.insert(conn.id, Owner::Closing);
            cx.act(Action::Close { conn: conn.id, mode: CloseMode::Drain });
        }
    }
}

/// The ping of this node. A router's is that of the reference. A light node's announces it as one,
/// so that the peer leaves the pings to it. One of a node that is set to relay says whether it does
/// now, because that is believed from itself alone.
fn ping_frame(own: &SelfDescription) -> Frame {
    let capabilities = own.capabilities();
    if capabilities.has(Capabilities::LIGHT) || own.is_volunteer() {
        wire::CapablePing { capabilities }.to_frame()
    } else {
        wire::Ping.to_frame()
    }
}

/// Unproven conns, at most: a quarter of the places for edges, so that silent conns cannot fill
/// them (a guess).
pub(super) fn unproven_max(places: usize) -> usize {
    (places / 4).max(UNPROVEN_MIN).min(places)
}

/// A round-trip time in the unit of the tables, where 0 means that it is not known.
pub(crate) fn whole_ms(rtt: Duration) -> u16 {
    u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests;
