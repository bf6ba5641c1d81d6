//! Finding and forwarding: frames over edges.
//!
//! Responsible for: which peers are edges, what each frame that arrives on one does, where messages
//! go, and keeping the edges alive. Never: moves bytes, looks into what an application sends, or
//! holds output: every handler pushes `Action`s into the list that the engine passes in.
//!
//! A conn is unproven until its first whole frame (if the peer opened it), then part of an edge,
//! then closing until the transport says that it is gone. A frame goes through
//! `Overlay::handle_frame`: parsed in place, charged to its edge, then handled here or sent on.
//! What leaves is charged to nobody: a full queue of the transport is the answer to that.

mod dialer;
pub mod edges;
mod frames;
mod peers;
pub mod routing;
mod topology;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use heapless::Vec as FixedVec;
use indexmap::IndexMap;

use self::dialer::Dialer;
use self::edges::budgets::{Originators, RetainedBudgets};
use self::edges::keepalive::Keepalive;
use self::edges::{Edge, Edges};
use self::peers::Peers;
use self::peers::lookup::Lookups;
use self::routing::decide::CANDIDATES;
use self::routing::duplicates::Duplicates;
use self::routing::originate::OriginationClock;
use self::routing::skew::ClockSkewDetector;
use self::topology::schedule::Schedule;
use crate::NodeId;
use crate::api::{Config, DeliveryPath, Event, RequestId};
use crate::buf::{Frame, HeadPool};
use crate::env::{CounterHash, TokenBucket};
use crate::stats::Gauges;
use crate::transport::{Class, CloseMode, ConnId, DialId};

pub(crate) use self::edges::lifecycle::Peer;
pub(crate) use self::routing::originate::MultiPathSend;

/// What wakes the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// Somebody is to be dialed.
    Dial,
    /// Whether this conn is alive is to be judged.
    Conn(ConnId),
    /// The tables are to be looked after.
    Schedule,
}

impl Timer {
    /// For traces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dial => "overlay_dial",
            Self::Conn(_) => "overlay_liveness",
            Self::Schedule => "overlay_schedule",
        }
    }
}

/// What the overlay wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Open a conn.
    Dial {
        /// Names the attempt.
        dial: DialId,
        /// Whom to expect.
        expected: NodeId,
        /// Where.
        remote: SocketAddr,
        /// When to give up.
        deadline: Instant,
    },
    /// Forget a dial.
    CancelDial(DialId),
    /// Close a conn.
    Close {
        /// Which.
        conn: ConnId,
        /// How.
        mode: CloseMode,
    },
    /// Hand this frame to the first of these conns that takes it. If none does it is lost.
    Offer {
        /// Its class.
        class: Class,
        /// The frame.
        frame: Frame,
        /// Best first.
        hops: FixedVec<ConnId, CANDIDATES>,
        /// Settled by the outcome.
        request: Option<RequestId>,
    },
    /// Send copies of a message that is ours over disjoint first hops.
    MultiPathSend(Box<MultiPathSend>),
    /// Give a message to the application.
    Deliver {
        /// Who sent it, authenticated.
        originator: NodeId,
        /// What it says.
        payload: bytes::Bytes,
        /// How it came.
        path: DeliveryPath,
        /// Settled by the outcome: a message to ourselves.
        request: Option<RequestId>,
    },
    /// Tell the application.
    Event(Event),
    /// Set a timer, replacing it if it is set.
    Set(Timer, Instant),
    /// Stop a timer.
    Stop(Timer),
}

/// Whose a conn is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// This peer opened it and has not sent a whole frame yet.
    Unproven(Box<Peer>),
    /// The edge to this peer.
    Edge(NodeId),
    /// Nobody: we closed it and wait for the transport to say so.
    Closing,
}

impl Owner {
    fn is_unproven(&self) -> bool {
        matches!(self, Self::Unproven(_))
    }
}

/// Everything that a node knows of its neighbours.
pub(crate) struct Overlay {
    config: Arc<Config>,
    edges: Edges,
    conns: IndexMap<ConnId, Owner, CounterHash>,
    unproven: usize,
    dialer: Dialer,
    retained_budgets: RetainedBudgets,
    originators: Originators,
    /// Detours beyond what each neighbour is sure of.
    detours: TokenBucket,
    duplicates: Duplicates,
    skew: ClockSkewDetector,
    origination_clock: OriginationClock,
    heads: HeadPool,
    peers: Peers,
    lookups: Lookups,
    keepalive: Keepalive,
    schedule: Schedule,
    /// When the upkeep's timer is set to fire.
    schedule_at: Option<Instant>,
    /// Peers that dialed this node though it had never dialed them.
    unsolicited_inbound: u8,
    /// Where the driver says that the main socket is.
    local_addrs: Vec<SocketAddr>,
    /// Whether this node says goodbye to everybody and wants no more edges.
    leaving: bool,
}

impl Overlay {
    /// A node without neighbours.
    pub(crate) fn new(own: NodeId, config: Arc<Config>, now: Instant) -> Self {
        Self {
            edges: Edges::new(own),
            conns: IndexMap::default(),
            unproven: 0,
            dialer: Dialer::new(config.maintenance),
            retained_budgets: RetainedBudgets::default(),
            originators: Originators::default(),
            detours: TokenBucket::new(now),
            duplicates: Duplicates::new(),
            skew: ClockSkewDetector::default(),
            origination_clock: OriginationClock::default(),
            heads: HeadPool::new(),
            peers: Peers::new(own, config.difficulty, now),
            lookups: Lookups::default(),
            keepalive: Keepalive::new(now, &own, config.profile),
            schedule: Schedule::new(now, config.profile),
            schedule_at: None,
            unsolicited_inbound: 0,
            local_addrs: Vec::new(),
            leaving: false,
            config,
        }
    }

    /// Takes the addresses at which the main socket can be reached on this machine, best first.
    pub(crate) fn set_local_addrs(&mut self, addrs: &[SocketAddr]) {
        self.local_addrs = addrs.to_vec();
    }

    /// The live edges.
    pub(crate) fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The edge that `conn` belongs to.
    pub(crate) fn edge_of(&mut self, conn: ConnId) -> Option<&mut Edge> {
        let Some(Owner::Edge(peer)) = self.conns.get(&conn) else { return None };
        self.edges.get_mut(peer)
    }

    /// How full every table is.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            edges: self.edges.len() as u64,
            edges_inbound: self.edges.inbound() as u64,
            contacts: self.peers.len() as u64,
            replacements: self.peers.replacements() as u64,
            evicted: self.peers.evicted() as u64,
            questions: self.lookups.open() as u64,
            probes: self.schedule.probes() as u64,
            dial_targets: self.dialer.targets() as u64,
            retained_budgets: self.retained_budgets.count() as u64,
            originators: self.originators.count() as u64,
            duplicates: self.duplicates.len() as u64,
            ..Gauges::default()
        }
    }

    /// Whether a conn is left that the transport has not reported gone.
    pub(crate) fn has_conns(&self) -> bool {
        !self.conns.is_empty()
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.edges.check();
        self.dialer.check();
        self.retained_budgets.check();
        self.originators.check();
        self.duplicates.check();
        self.peers.check();
        self.lookups.check();
        self.schedule.check();
        assert!(self.edges.inbound() <= self.config.inbound_edges_max);
        assert!(self.unproven <= edges::lifecycle::unproven_max(self.config.inbound_edges_max));
        let unproven = self.conns.values().filter(|owner| owner.is_unproven()).count();
        assert_eq!(self.unproven, unproven);
        let of_edges = self.edges.iter().map(|edge| edge.conn_count()).sum::<usize>();
        let owned = |owner: &&Owner| matches!(owner, Owner::Edge(_));
        assert_eq!(of_edges, self.conns.values().filter(owned).count());
        for edge in self.edges.iter() {
            assert!(edge.peer.leading_zeros() >= self.config.difficulty);
            for conn in edge.conns() {
                assert_eq!(self.conns.get(&conn.id), Some(&Owner::Edge(edge.peer)));
            }
        }
    }

    /// Whether `conn` belongs to an edge.
    pub(crate) fn is_live(&self, conn: ConnId) -> bool {
        matches!(self.conns.get(&conn), Some(Owner::Edge(_)))
    }
}
