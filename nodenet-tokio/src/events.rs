//! Deliveries, events and statistics that a node hands to its application.

use std::sync::Arc;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{DeliveryPath, Event};
use nodenet_proto::stats::Stats;
use tokio::sync::{Mutex, broadcast, mpsc};

use crate::platform::SocketStats;

/// A message for this node. Delivery is best effort: the network may lose messages and does not
/// keep their order, but hands each out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The originator, authenticated by a signature (routed) or by the edge (direct).
    pub originator: NodeId,
    /// The content.
    pub payload: Bytes,
    /// How it arrived.
    pub path: DeliveryPath,
    /// Whether the originator sealed it for this node ([`crate::Node::send_sealed`]), so that no
    /// forwarder could read it. A message over an edge is not sealed: the conn encrypts it.
    pub sealed: bool,
}

/// The messages for one node.
///
/// Clones share one queue: each message goes to one of them. When the queue is full
/// ([`Builder::delivery_queue`](crate::Builder::delivery_queue)) the newest message is dropped,
/// counted as [`nodenet_proto::stats::DropReason::DeliveryQueueFull`], and reported as
/// [`NodeEvent::DeliveriesDropped`].
#[derive(Debug, Clone)]
pub struct Deliveries(Arc<Mutex<mpsc::Receiver<Delivery>>>);

impl Deliveries {
    pub(crate) fn new(queue: mpsc::Receiver<Delivery>) -> Self {
        Self(Arc::new(Mutex::new(queue)))
    }

    /// Waits for the next message. None once the node is closed and the queue empty. Cancel safe:
    /// no message is lost if the future is dropped.
    pub async fn recv(&self) -> Option<Delivery> {
        self.0.lock().await.recv().await
    }
}

/// An event of a node that concerns no single call and no single message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// An event of the protocol that settles no command: [`Event::EdgeUp`], [`Event::EdgeDown`],
    /// [`Event::BootstrapFailed`], [`Event::ClockSkewSuspected`], and those of later versions.
    Protocol(Event),
    /// This many messages for this node were dropped since the last event of this kind, because the
    /// queue was full ([`Builder::delivery_queue`](crate::Builder::delivery_queue)): take them
    /// faster, or let more wait. Comes at once when that begins, then at most once a second.
    DeliveriesDropped(u64),
    /// The subscriber was too slow and missed this many events; [`crate::Node::edges`] has the
    /// edges as they are now.
    Missed(u64),
}

/// A subscription to the events of a node, from the subscription on.
#[derive(Debug)]
pub struct NodeEvents(Option<broadcast::Receiver<NodeEvent>>);

impl NodeEvents {
    pub(crate) fn new(receiver: Option<broadcast::Receiver<NodeEvent>>) -> Self {
        Self(receiver)
    }

    /// Waits for the next event. None once the node is closed. Cancel safe.
    pub async fn recv(&mut self) -> Option<NodeEvent> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(NodeEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Statistics of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Counters and gauges of the protocol, and the reasons for which it discarded input.
    pub protocol: Stats,
    /// Failures of the sockets.
    pub sockets: SocketStats,
}
