//! Channels of one node: all queues and signals between its handles, its driver and its resolvers.
//!
//! Responsible for: making them together, with their bounds, and what travels on them. Never: when
//! a message is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{
    self, ConnectError, EdgeInfo, Explanation, FoundPeer, KnownPeer, NatReport, RelayReport,
    RendezvousError, SendFailure,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::error::Failure;
use crate::events::{Deliveries, Delivery, NodeEvent, NodeStats};

/// Requests of all handles that wait for the driver, at most; then callers wait (guess).
const REQUEST_QUEUE_MAX: usize = 256;
/// Events kept for a slow subscriber, at most; the subscriber gets the count of those beyond that
/// (guess).
const EVENT_QUEUE_MAX: usize = 1_024;

/// What a handle asks of its driver. The outcome goes to `reply`.
pub(crate) enum Request {
    Send {
        target: NodeId,
        payload: Bytes,
        reply: oneshot::Sender<Result<u8, SendFailure>>,
    },
    SendDirect {
        target: NodeId,
        payload: Bytes,
        reply: oneshot::Sender<Result<u8, SendFailure>>,
    },
    Connect {
        target: NodeId,
        addrs: Vec<SocketAddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    },
    Rendezvous {
        target: NodeId,
        within: Duration,
        reply: oneshot::Sender<Result<FoundPeer, RendezvousError>>,
    },
    SendSealed {
        target: NodeId,
        payload: Bytes,
        within: Duration,
        reply: oneshot::Sender<Result<u8, SendFailure>>,
    },
    CloseEdge {
        peer: NodeId,
        reply: oneshot::Sender<bool>,
    },
    Explain {
        peer: NodeId,
        reply: oneshot::Sender<Option<Explanation>>,
    },
    Edges(oneshot::Sender<Vec<EdgeInfo>>),
    Stats(oneshot::Sender<NodeStats>),
    NamedAddrs(oneshot::Sender<Vec<SocketAddr>>),
    NatReport(oneshot::Sender<NatReport>),
    RelayReport(oneshot::Sender<RelayReport>),
    ExportPeers(oneshot::Sender<Vec<KnownPeer>>),
    Suspend(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
}

/// How a node ended; none while it runs.
pub(crate) type Outcome = Option<Result<(), Failure>>;

/// The ends that all handles of a node share.
pub(crate) struct Handles {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) bootstrap: mpsc::Sender<Vec<api::BootstrapPeer>>,
    /// True, or closed with the last handle, when the node is to leave.
    pub(crate) leave: watch::Sender<bool>,
    pub(crate) deliveries: Deliveries,
    /// Weak, so that subscriptions end with the driver.
    pub(crate) events: broadcast::WeakSender<NodeEvent>,
    pub(crate) reachable: watch::Receiver<Vec<SocketAddr>>,
    /// Changes when a message that found no room may be tried again.
    pub(crate) send_ready: watch::Receiver<()>,
    pub(crate) outcome: watch::Receiver<Outcome>,
}

/// The ends that the driver reads.
pub(crate) struct Inlets {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) leave: watch::Receiver<bool>,
    pub(crate) bootstrap: mpsc::Receiver<Vec<api::BootstrapPeer>>,
}

/// The ends that the driver writes.
pub(crate) struct Outlets {
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    pub(crate) reachable: watch::Sender<Vec<SocketAddr>>,
    pub(crate) send_ready: watch::Sender<()>,
}

/// All channels of a node that is about to start.
pub(crate) struct Channels {
    pub(crate) handles: Handles,
    pub(crate) inlets: Inlets,
    pub(crate) outlets: Outlets,
    pub(crate) outcome: watch::Sender<Outcome>,
}

impl Channels {
    /// Makes them. `delivery_queue_max` messages wait for the application, at most.
    ///
    /// # Panics
    /// If that is 0, or more than a channel can hold.
    pub(crate) fn new(delivery_queue_max: usize) -> Self {
        let (requests, inlet_requests) = mpsc::channel(REQUEST_QUEUE_MAX);
        let (leave, inlet_leave) = watch::channel(false);
        // Names change seldom, and a resolver that waits loses nothing.
        let (bootstrap, inlet_bootstrap) = mpsc::channel(1);
        let (outlet_deliveries, deliveries) = mpsc::channel(delivery_queue_max);
        let events = broadcast::Sender::new(EVENT_QUEUE_MAX);
        let (outlet_reachable, reachable) = watch::channel(Vec::new());
        let (outlet_send_ready, send_ready) = watch::channel(());
        let (ended, outcome) = watch::channel(None);
        Self {
            handles: Handles {
                requests,
                bootstrap,
                leave,
                deliveries: Deliveries::new(deliveries),
                events: events.downgrade(),
                reachable,
                send_ready,
                outcome,
            },
            inlets: Inlets {
                requests: inlet_requests,
                leave: inlet_leave,
                bootstrap: inlet_bootstrap,
            },
            outlets: Outlets {
                deliveries: outlet_deliveries,
                events,
                reachable: outlet_reachable,
                send_ready: outlet_send_ready,
            },
            outcome: ended,
        }
    }
}
