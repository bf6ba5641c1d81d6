//! How conns become edges and how edges end (PROTOCOL.md#life-of-an-edge, PROTOCOL.md#leaving).

use std::net::SocketAddr;
use std::time::Duration;

use super::admit::admit;
use super::keepalive::{ANSWER_WAIT, LIGHT_PATIENCE, Silence};
use super::liveness::{Standing, Verdict, judge};
use super::{Attached, Detached, Edge};
use crate::NodeId;
use crate::api::{EdgeDownReason, Event, Profile, RequestId, SeedPeer};
use crate::buf::Frame;
use crate::context::Context;
use crate::overlay::dialer::{Ended, Failed, Purpose};
use crate::overlay::{Action, Overlay, Owner, Timer};
use crate::stats::DropReason;
use crate::transport::{
    Class, CloseMode, ConnDownReason, ConnId, Conns, DialError, DialId, Direction,
};
use crate::wire::{self, Capabilities, Message};

/// So many conns may be without a word even if there are few places for edges: several peers may
/// well dial at once (a guess).
const UNPROVEN_MIN: usize = 8;

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

impl Overlay {
    /// A conn is up. One that we dialed is part of an edge from now on; one that the peer opened
    /// has to say something first.
    pub(crate) fn handle_conn_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        (conn, peer, direction): (ConnId, Peer, Direction),
    ) {
        match direction {
            _ if self.leaving => self.refuse(cx, conn),
            Direction::Outgoing(dial) => match self.dialer.on_dial_up(dial) {
                Some(aim) => self.take_dialed(cx, conns, (conn, peer, aim)),
                // Given up while it came up. Nothing was sent on it, so nobody misses it.
                None => self.refuse(cx, conn),
            },
            Direction::Inbound if self.config.inbound_edges_max == 0 => {
                cx.discard(DropReason::InboundFull);
                self.refuse(cx, conn);
            }
            Direction::Inbound => {
                if self.unproven >= unproven_max(self.config.inbound_edges_max) {
                    self.close_oldest_unproven(cx);
                }
                self.conns.insert(conn, Owner::Unproven(Box::new(peer)));
                self.unproven += 1;
                self.close_spare_conn(cx);
            }
        }
    }

    /// A conn that we dialed is up.
    fn take_dialed(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        (conn, peer, aim): (ConnId, Peer, Purpose),
    ) {
        if let Err(refusal) = admit(&self.config, &self.edges, &peer.id, true) {
            cx.discard(refusal.drop_reason());
            self.refuse(cx, conn);
            return self.dialer.on_refused(cx, peer.id, refusal.connect_error());
        }
        let rtt_ms = conns.path(conn).map_or(0, |path| whole_ms(path.rtt));
        if aim == Purpose::Probe && !self.is_worth_an_edge(cx.now, &peer.id, rtt_ms) {
            // The peer heard nothing on it yet, so to it there was no edge either.
            self.refuse(cx, conn);
            self.dialer.on_trial_over(cx, peer.id);
            return self.learn_tried(cx, peer, rtt_ms);
        }
        self.attach(cx, conn, peer, true);
    }

    /// A dial came to nothing.
    pub(crate) fn handle_dial_failed(
        &mut self,
        cx: &mut Context<'_, Action>,
        dial: DialId,
        error: DialError,
    ) {
        let failed = self.dialer.on_dial_failed(cx, dial, error);
        let Some(Failed { peer, elsewhere, is_over, is_partial }) = failed else { return };
        if let Some(addr) = elsewhere {
            self.peers.forget_addr(&peer, addr);
        }
        if is_over {
            self.learn_failed_attempt(cx, (peer, is_partial));
        }
    }

    /// A conn is gone.
    pub(crate) fn handle_conn_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        reason: ConnDownReason,
    ) {
        match self.conns.swap_remove(&conn) {
            Some(Owner::Edge(peer)) => {
                self.detach(cx, peer, conn, EdgeDownReason::Conn(reason));
            }
            Some(Owner::Unproven(_)) => self.unproven -= 1,
            Some(Owner::Closing) => {}
            None => cx.discard(DropReason::UnknownConn),
        }
    }

    /// A timer fired.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context<'_, Action>, timer: Timer) {
        match timer {
            Timer::Dial => self.dialer.on_timer(cx),
            Timer::Conn(conn) => self.check_liveness(cx, conn),
            Timer::Schedule => {
                self.schedule_at = None;
                self.maintain(cx);
            }
        }
    }

    /// Adds operator seeds, or replaces the addresses of known ones.
    pub(crate) fn bootstrap(&mut self, cx: &mut Context<'_, Action>, seeds: &[SeedPeer]) {
        let others = seeds.iter().filter(|seed| seed.id != *self.edges.own());
        // In an order of our own, so that the first of a list that all nodes share is not swamped.
        let mut turns: Vec<(u64, &SeedPeer)> =
            others.map(|seed| (cx.rng.next_u64(), seed)).collect();
        turns.sort_by_key(|(order, _)| *order);
        for (turn, (_, seed)) in turns.into_iter().enumerate() {
            let has_edge = self.edges.get(&seed.id).is_some();
            self.dialer.add_seed(cx, (seed.id, &seed.addrs), turn as u32, has_edge);
        }
        self.arm_schedule(cx, cx.now);
    }

    /// The application wants an edge to `peer`.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Context<'_, Action>,
        request: RequestId,
        (peer, addrs): (NodeId, &[SocketAddr]),
    ) {
        if let Some(edge) = self.edges.get(&peer) {
            return self.dialer.await_first_frame(cx, request, (peer, edge.is_taken()));
        }
        match admit(&self.config, &self.edges, &peer, true) {
            Ok(()) => {
                let known = self.peers.find(&peer).into_iter().flat_map(|known| known.addrs());
                let addrs: Vec<SocketAddr> = addrs.iter().copied().chain(known).collect();
                self.dialer.connect(cx, request, peer, &addrs);
            }
            Err(refusal) => {
                let error = refusal.connect_error();
                cx.act(Action::Event(Event::ConnectFailed { request, error }));
            }
        }
    }

    /// Says goodbye to `peer`. Returns whether there was an edge.
    pub(crate) fn close_edge(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) -> bool {
        let Some(edge) = self.edges.remove(peer) else { return false };
        self.send_leave(cx, &edge);
        self.end_edge(cx, edge, EdgeDownReason::ClosedHere);
        true
    }

    /// Says goodbye to everybody and takes no more edges.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_, Action>) {
        self.leaving = true;
        self.dialer.stop(cx);
        cx.act(Action::Stop(Timer::Schedule));
        let peers: Vec<NodeId> = self.edges.iter().map(|edge| edge.peer).collect();
        for peer in peers {
            self.close_edge(cx, &peer);
        }
        for conn in self.unproven_conns().collect::<Vec<_>>() {
            self.reject_unproven(cx, conn);
        }
    }

    /// The first whole frame arrived on a conn that the peer opened. Returns the peer if it may
    /// speak; otherwise the conn is closed and the frame lost with it.
    pub(crate) fn prove(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: Peer) -> bool {
        self.unproven -= 1;
        match admit(&self.config, &self.edges, &peer.id, false) {
            Ok(()) => {
                self.attach(cx, conn, peer, false);
                self.close_spare_conn(cx);
                true
            }
            Err(refusal) => {
                cx.discard(refusal.drop_reason());
                self.refuse(cx, conn);
                false
            }
        }
    }

    fn unproven_conns(&self) -> impl Iterator<Item = ConnId> {
        self.conns.iter().filter(|(_, owner)| owner.is_unproven()).map(|(conn, _)| *conn)
    }

    /// Makes room for a newcomer. Who takes the edge says so within a round trip, so the one that
    /// was silent longest is most likely to have nothing to say.
    fn close_oldest_unproven(&mut self, cx: &mut Context<'_, Action>) {
        let oldest = self.unproven_conns().min();
        if let Some(oldest) = oldest {
            cx.discard(DropReason::InboundFull);
            self.reject_unproven(cx, oldest);
        }
    }

    /// The transport has a place for every conn, and counts no edges. When places are short, nobody
    /// has two of them.
    fn close_spare_conn(&mut self, cx: &mut Context<'_, Action>) {
        let accepted = self.edges.accepted_conns() + self.unproven;
        if accepted > self.inbound_settled()
            && let Some((peer, conn)) = self.edges.spare_conn()
        {
            self.close(cx, peer, conn, EdgeDownReason::ClosedHere);
        }
    }

    /// A whole frame that is none arrived on a conn that the peer opened: whoever speaks another
    /// language has no use for it.
    pub(crate) fn reject_unproven(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        self.unproven -= 1;
        self.refuse(cx, conn);
    }

    /// The peer says goodbye. Ends the conn it says so on and every older one; a newer one belongs
    /// to a peer that was started again meanwhile, and lives.
    pub(crate) fn on_leave(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: NodeId) {
        let Some(edge) = self.edges.get(&peer) else { return };
        let mut older: heapless::Vec<ConnId, { crate::overlay::edges::CONNS_PER_EDGE }> =
            edge.conns().map(|other| other.id).filter(|&id| id <= conn).collect();
        older.sort_unstable();
        for id in older {
            self.close(cx, peer, id, EdgeDownReason::Left);
        }
    }

    fn attach(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: Peer, outgoing: bool) {
        let now = cx.now;
        let is_taken = !outgoing || self.edges.get(&peer.id).is_some_and(Edge::is_taken);
        let budgets = || self.retained_budgets.resume(now, &peer.id);
        let attached = self.edges.attach(now, peer.id, peer.key, (conn, outgoing), budgets);
        self.conns.insert(conn, Owner::Edge(peer.id));
        match attached {
            Attached::NewEdge => cx.act(Action::Event(Event::EdgeUp {
                peer: peer.id,
                outgoing,
                remote: peer.remote,
            })),
            Attached::AnotherConn => {}
            Attached::Instead(silent) => {
                cx.act(Action::Stop(Timer::Conn(silent)));
                self.refuse(cx, silent);
                if !self.settle_edge(cx, peer.id) {
                    return;
                }
            }
        }
        self.dialer.on_edge_up(cx, peer.id, outgoing);
        if is_taken {
            self.dialer.on_heard(cx, &peer.id);
        }
        if attached == Attached::NewEdge || outgoing {
            self.learn_edge(cx, peer, outgoing);
        }
        if outgoing || self.config.profile == Profile::Light {
            // The acceptor hears of the conn by its first byte only (PROTOCOL.md#first-ping), and a
            // light node says that it is one while it is awake.
            self.ping(cx, conn, peer.id);
        } else if self.config.maintenance {
            self.check_liveness(cx, conn);
        }
    }

    /// Looks whether the conn is alive, pings or closes it, and sets its timer.
    pub(crate) fn check_liveness(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        let Some(&Owner::Edge(peer)) = self.conns.get(&conn) else { return };
        let silence = self.keepalive.silence(cx.now, self.edges.len());
        let Some(edge) = self.edges.get_mut(&peer) else { return };
        let send_conn = edge.send_conn().id == conn;
        let light = edge.light;
        let silence = if light { Silence::of(LIGHT_PATIENCE) } else { silence };
        let Some(conn) = edge.conn_mut(conn) else { return };
        match judge(cx.now, cx.rng, conn, Standing { silence, send_conn, light }) {
            Verdict::Wait(until) => {
                if !light {
                    self.keepalive.on_planned(silence);
                }
                let until = self.keepalive.align_look(until, cx.now);
                cx.act(Action::Set(Timer::Conn(conn.id), until));
            }
            Verdict::Ping => {
                let conn = conn.id;
                self.ping(cx, conn, peer);
            }
            Verdict::Dead => {
                let conn = conn.id;
                self.close(cx, peer, conn, EdgeDownReason::Dead);
            }
        }
    }

    /// Edges died so often of late that the others are looked at sooner than was planned; not all
    /// at the same time.
    pub(crate) fn expedite_lookups(&mut self, cx: &mut Context<'_, Action>) {
        let silence = self.keepalive.silence(cx.now, self.edges.len());
        if !self.config.maintenance || !self.keepalive.is_urgent(silence) {
            return;
        }
        for edge in self.edges.iter().filter(|edge| !edge.light) {
            let conn = edge.send_conn();
            if !conn.unanswered {
                // Never this very moment, which is too late for a timer.
                let soon = cx.rng.jitter(ANSWER_WAIT, 100).max(Duration::from_nanos(1));
                let soonest = cx.now + soon;
                let look = (conn.heard + silence.look_after).max(soonest);
                cx.act(Action::Set(Timer::Conn(conn.id), look));
            }
        }
    }

    /// A router pings as the reference does; a light node says that it is one, for the pinging to
    /// be left to it.
    fn ping_frame(&self) -> Frame {
        let capabilities = self.own_capabilities();
        if capabilities.has(Capabilities::LIGHT) {
            wire::CapablePing { capabilities }.to_frame()
        } else {
            wire::Ping.to_frame()
        }
    }

    fn ping(&mut self, cx: &mut Context<'_, Action>, conn: ConnId, peer: NodeId) {
        let ping = self.ping_frame();
        if let Some(conn) = self.edges.get_mut(&peer).and_then(|edge| edge.conn_mut(conn)) {
            conn.pinged = cx.now;
            conn.unanswered = true;
            conn.pong_due = true;
            cx.act(send(conn.id, ping));
            if self.config.maintenance {
                cx.act(Action::Set(Timer::Conn(conn.id), cx.now + ANSWER_WAIT));
            }
        }
    }

    /// Closes one conn of an edge at once.
    fn close(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        conn: ConnId,
        why: EdgeDownReason,
    ) {
        self.refuse(cx, conn);
        self.detach(cx, peer, conn, why);
    }

    /// Takes a conn that is gone or closing out of its edge, which may end with it.
    fn detach(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        conn: ConnId,
        why: EdgeDownReason,
    ) {
        match self.edges.detach(&peer, conn) {
            Detached::EdgeGone(edge) => self.end_edge(cx, *edge, why),
            Detached::LivesOn => {
                cx.act(Action::Stop(Timer::Conn(conn)));
                self.settle_edge(cx, peer);
            }
            Detached::Unknown => {}
        }
    }

    /// An edge lost a conn and lives on. If we had opened that one it counts as inbound from now
    /// on: it may be one too many, and there may be too few of our own. Returns whether it stays.
    fn settle_edge(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) -> bool {
        let stays = self.edges.inbound() <= self.config.inbound_edges_max;
        if stays {
            self.notice_isolation(cx);
            self.update_needs(cx);
        } else {
            cx.discard(DropReason::InboundFull);
            self.close_edge(cx, &peer);
        }
        stays
    }

    /// Without an edge of our own seeds are urgent, and so is everybody else.
    fn notice_isolation(&mut self, cx: &mut Context<'_, Action>) {
        if self.edges.outgoing() == 0 {
            self.dialer.on_no_outgoing(cx);
            self.peers.shorten_hold_offs(cx.now, cx.rng);
        }
    }

    /// What follows from the end of an edge, which is out of the table already.
    fn end_edge(&mut self, cx: &mut Context<'_, Action>, edge: Edge, reason: EdgeDownReason) {
        for conn in edge.conns() {
            cx.act(Action::Stop(Timer::Conn(conn.id)));
        }
        self.retained_budgets.keep(cx.now, edge.peer, edge.budgets);
        if edge.is_taken() {
            self.dialer.on_taken_edge_down(&edge.peer);
        } else {
            self.dialer.on_not_taken(cx, edge.peer, reason);
        }
        cx.act(Action::Event(Event::EdgeDown { peer: edge.peer, reason }));
        let lived = cx.now.saturating_duration_since(edge.since);
        let ended = match reason {
            EdgeDownReason::Left | EdgeDownReason::ClosedHere => Ended::Left,
            EdgeDownReason::Conn(ConnDownReason::Reset) => Ended::Reset(lived),
            EdgeDownReason::Dead | EdgeDownReason::Conn(_) => Ended::Lost(lived),
        };
        self.dialer.on_edge_down(cx, edge.peer, ended);
        self.notice_isolation(cx);
        self.learn_loss(cx, &edge, reason);
    }

    /// A Leave spares the conns that are newer than the one it comes on, so each says it. The peer
    /// takes nothing that follows it, so it waits behind whatever is queued.
    fn send_leave(&mut self, cx: &mut Context<'_, Action>, edge: &Edge) {
        for conn in edge.conns() {
            let (frame, hops) = (wire::Leave.to_frame(), heapless::Vec::from_iter([conn.id]));
            cx.act(Action::Offer { class: Class::Leave, frame, hops, request: None });
            self.conns.insert(conn.id, Owner::Closing);
            cx.act(Action::Close { conn: conn.id, mode: CloseMode::Drain });
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_, Action>, conn: ConnId) {
        self.conns.insert(conn, Owner::Closing);
        cx.act(Action::Close { conn, mode: CloseMode::Abort });
    }
}

/// Conns that others opened and have not said a word on, at most: a quarter of the places for
/// edges, so that silence can not fill them (a guess).
pub(crate) fn unproven_max(places: usize) -> usize {
    (places / 4).max(UNPROVEN_MIN).min(places)
}

/// A round-trip time in the unit of the tables, where 0 means that it is not known.
pub(crate) fn whole_ms(rtt: Duration) -> u16 {
    u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).max(1)
}

/// A control frame for one conn. If its queue is full the peer has not been listening for a while,
/// and liveness will tell.
pub(crate) fn send(conn: ConnId, frame: Frame) -> Action {
    let hops = heapless::Vec::from_iter([conn]);
    Action::Offer { class: Class::Control, frame, hops, request: None }
}
