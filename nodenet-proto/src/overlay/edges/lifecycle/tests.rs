//! Tests of the lifecycle of conns and edges: each lists the actions, the discards and the outcome.

mod admission;
mod attaching;
mod ending;
mod frames;
mod liveness;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::tests::{OWN, bit};
use super::super::{Edge, Edges, PathKind, Sender};
use super::{EdgeUp, Loss, Peer};
use crate::NodeId;
use crate::api::{Config, EdgeDownReason, Event, Profile};
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::env::test_base;
use crate::overlay::actions::testing::shown;
use crate::overlay::actions::{Action, Timer};
use crate::stats::DropReason;
use crate::transport::{Class, CloseMode, ConnId};
use crate::wire::{self, FrameType, Message};

const SECOND: Duration = Duration::from_secs(1);

/// The edges of a node, and what their methods borrow.
struct Room {
    edges: Edges,
    around: Surroundings,
}

impl Room {
    fn new(config: Config) -> Self {
        let around = Surroundings::new(config);
        Self { edges: Edges::new(OWN, &around.config, around.now), around }
    }

    /// With so many places for inbound edges.
    fn with_places(inbound_edges_max: usize) -> Self {
        Self::new(Config { inbound_edges_max, ..Config::default() })
    }

    /// Calls one method and checks the invariants. Returns its result and its actions.
    fn run<T>(
        &mut self,
        call: impl FnOnce(&mut Edges, &mut Context<'_, Action>) -> T,
    ) -> (T, Vec<String>) {
        let (result, actions) = self.around.run(|cx| call(&mut self.edges, cx));
        self.edges.check(&self.around.config);
        (result, shown(actions))
    }

    /// A peer opens a conn. Returns the actions.
    fn accept(&mut self, conn: u64, peer: Peer) -> Vec<String> {
        self.run(|edges, cx| edges.accept(cx, ConnId(conn), peer)).1
    }

    /// A conn joins the edge to its peer, which replaces no conn.
    fn attach(&mut self, conn: u64, peer: Peer, is_outgoing: bool) -> EdgeUp {
        let (attached, _) = self.run(|edges, cx| edges.attach(cx, ConnId(conn), peer, is_outgoing));
        assert_eq!(lost(attached.loss), Lost::Nothing);
        attached.up.expect("the edge did not end")
    }

    /// A conn that this node dialed joins an edge, and a ping leaves on it.
    fn attach_and_ping(&mut self, conn: u64, peer: Peer) {
        let up = self.attach(conn, peer, true);
        let (loss, _) = self.run(|edges, cx| edges.greet(cx, &up));
        assert_eq!(lost(loss), Lost::Nothing);
    }

    /// A frame of this type arrives. Returns whether the peer may send it, and the actions.
    fn charge(&mut self, conn: u64, peer: Peer, of: Option<FrameType>) -> (bool, Vec<String>) {
        self.run(|edges, cx| edges.charge(cx, ConnId(conn), &peer.id, of))
    }

    /// Frames of this type arrive until one may not pass or causes an action, 2000 at most. Returns
    /// how many passed.
    fn spend(&mut self, conn: u64, peer: Peer, of: Option<FrameType>) -> usize {
        (0..2000).take_while(|_| self.charge(conn, peer, of) == (true, vec![])).count()
    }

    fn edge(&self, peer: Peer) -> &Edge {
        self.edges.table().get(&peer.id).expect("there is an edge")
    }

    fn edge_mut(&mut self, peer: Peer) -> &mut Edge {
        self.edges.table.get_mut(&peer.id).expect("there is an edge")
    }

    /// When its last ping left, whether anything came since, and whether its Pong is due.
    fn ping_state(&mut self, conn: u64, peer: Peer) -> (Instant, bool, bool) {
        let conn = self.edge_mut(peer).conn_mut(ConnId(conn)).expect("it is part of the edge");
        (conn.pinged, conn.unanswered, conn.pongs_due > 0)
    }

    fn sender(&self, conn: u64) -> SentBy {
        match self.edges.sender(ConnId(conn)) {
            Sender::Edge(peer) => SentBy::Edge(peer),
            Sender::Unproven(peer) => SentBy::Unproven(peer),
            Sender::Gone => SentBy::Gone,
        }
    }

    fn drops(&mut self) -> Vec<(DropReason, u64)> {
        self.around.take_drops()
    }
}

/// The sender of a frame, in a form that compares.
#[derive(Debug, PartialEq)]
enum SentBy {
    Edge(NodeId),
    Unproven(Peer),
    Gone,
}

/// A loss, with the conns that an ended edge had.
#[derive(Debug, PartialEq)]
enum Lost {
    Nothing,
    Spare,
    Edge(NodeId, EdgeDownReason, Vec<u64>),
}

fn lost(loss: Loss) -> Lost {
    match loss {
        Loss::Nothing => Lost::Nothing,
        Loss::Spare => Lost::Spare,
        Loss::Edge(ended) => {
            let conns = ended.edge.conns().map(|conn| conn.id.0).collect();
            Lost::Edge(ended.edge.peer, ended.reason, conns)
        }
    }
}

/// The peer whose identifier has only this bit, below 32.
fn peer(index: u8) -> Peer {
    Peer { id: bit(index.into()), key: [index; 32], remote: remote(index) }
}

fn remote(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4242))
}

fn router() -> Room {
    Room::new(Config::default())
}

fn light() -> Room {
    Room::new(Config { profile: Profile::Light, ..Config::default() })
}

fn without_maintenance() -> Room {
    Room::new(Config { maintenance: false, ..Config::default() })
}

fn at(seconds: u64) -> Instant {
    test_base() + Duration::from_secs(seconds)
}

fn abort(conn: u64) -> Action {
    Action::Close { conn: ConnId(conn), mode: CloseMode::Abort }
}

fn stop(conn: u64) -> Action {
    Action::Stop(Timer::Conn(ConnId(conn)))
}

fn set(conn: u64, at: Instant) -> Action {
    Action::Set(Timer::Conn(ConnId(conn)), at)
}

fn control(conn: u64, message: &impl Message) -> Action {
    let (class, hops) = (Class::Control, heapless::Vec::from_iter([ConnId(conn)]));
    Action::Offer { class, frame: message.to_frame(), hops }
}

/// What closes each of these conns with a Leave.
fn leave(conns: &[u64]) -> Vec<Action> {
    let close = |&conn: &u64| {
        let (conn, frame) = (ConnId(conn), wire::Leave.to_frame());
        let hops = heapless::Vec::from_iter([conn]);
        [
            Action::Offer { class: Class::Leave, frame, hops },
            Action::Close { conn, mode: CloseMode::Drain },
        ]
    };
    let stops = conns.iter().map(|&conn| stop(conn));
    conns.iter().flat_map(close).chain(stops).collect()
}

fn edge_up(peer: Peer, outgoing: bool) -> Action {
    Action::Event(Event::EdgeUp { peer: peer.id, outgoing, remote: peer.remote })
}

/// Without any action.
const NONE: [String; 0] = [];
