//! The handle through which an application uses its node.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{ConnectError, EdgeInfo, KnownPeer, SendFailure as SendError};
use tokio::sync::oneshot;

use crate::bootstrap::{BootstrapPeer, literal_peers, resolve_for_ever};
use crate::channels::{Handles, Request};
use crate::error::{Closed, Failure};
use crate::events::{Deliveries, NodeEvents, NodeStats};

/// What all handles of a node have in common.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) advertised: Vec<SocketAddr>,
    pub(crate) handles: Handles,
}

/// A running node. Clones are handles to the same one.
///
/// It leaves the network when [`Node::shutdown`] is called, or when the last handle is dropped.
/// Prefer the former. Leaving takes a moment, up to three seconds, in which the runtime has to live
/// on, and only `shutdown` tells when it is over. A node whose runtime ends first says goodbye to
/// nobody, and its neighbours have to find out.
///
/// Every method is cancel safe: what a future that is dropped has asked for may or may not have
/// happened, and what it waited for is given up. Only the dials of [`Node::connect`] go on without
/// it, up to ten seconds, and may bring an edge up.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

impl Node {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The node's identifier, under which others reach it.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The address the socket is bound to. A wildcard stays one: see [`Node::reachable_addrs`].
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The addresses at which this node can be reached as far as this machine can tell, best first:
    /// those set by the operator, then those of the interfaces.
    pub fn reachable_addrs(&self) -> Vec<SocketAddr> {
        let mut addrs = self.0.advertised.clone();
        addrs.extend(
            self.0
                .handles
                .reachable
                .borrow()
                .iter()
                .filter(|addr| !self.0.advertised.contains(addr)),
        );
        addrs
    }

    /// Sends `payload`, at most [`nodenet_proto::wire::SEND_PAYLOAD_MAX`] bytes, to `target` by
    /// routing. Returns by how many first hops it was taken, up to three; 0 if the target is this
    /// node, which has it in its queue then, or [`SendError::Backpressure`] if that is full.
    ///
    /// `Ok` means: taken, and the neighbour has room for it by its own rule. A node accepts 512
    /// messages a second from one neighbour and 1,024 at once; this one sends 480 a second over an
    /// edge and 32 at once, and holds 32 that are not acknowledged at most. Routed and direct
    /// messages count together, and those that this node forwards for others as well, of which a
    /// quarter of each bound is kept free. What is faster is [`SendError::Backpressure`].
    ///
    /// Delivery is best effort all the same: an edge may end before it has delivered, nodes further
    /// on have budgets of their own, and what the target's application does not read in time is
    /// lost there and counted there (`delivery_queue_full`).
    ///
    /// # Errors
    /// If it was not taken. That is never waited for; see [`Node::send_when_ready`].
    pub async fn send(&self, target: NodeId, payload: impl Into<Bytes>) -> Result<u8, SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::Send { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed))
    }

    /// Sends `payload`, at most [`nodenet_proto::wire::DIRECT_PAYLOAD_MAX`] bytes, over the edge to
    /// `target`.
    ///
    /// Messages usually arrive in the order in which they were sent, but that is not promised: two
    /// nodes that dial each other at once have an edge of two conns, and what leaves on one may
    /// overtake what left on the other. Number what has to be in order. What is taken arrives as
    /// long as the edge lives: see [`Node::send`] for what `Ok` means.
    ///
    /// # Errors
    /// If it was not taken; [`SendError::NoEdge`] without an edge: [`Node::connect`] first.
    pub async fn send_direct(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::SendDirect { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed)).map(|_copies| ())
    }

    /// [`Node::send`] that waits for room: where that is [`SendError::Backpressure`], this tries
    /// again when an edge has room again. There is no limit in time: put a [`tokio::time::timeout`]
    /// around it. What `send` says of delivery holds here as well: that there was room here does
    /// not mean that there is any further on. Several calls that wait are served in no particular
    /// order.
    ///
    /// # Errors
    /// As [`Node::send`]; [`SendError::Backpressure`] only if the target is this node and does not
    /// take its own messages.
    pub async fn send_when_ready(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<u8, SendError> {
        let payload = payload.into();
        self.when_ready(target, move || self.send(target, payload.clone())).await
    }

    /// [`Node::send_direct`] that waits for room, as [`Node::send_when_ready`] does. A conn whose
    /// peer takes nothing for five seconds is closed, and with the last one the edge:
    /// [`SendError::NoEdge`].
    ///
    /// # Errors
    /// As [`Node::send_when_ready`].
    pub async fn send_direct_when_ready(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        self.when_ready(target, move || self.send_direct(target, payload.clone())).await
    }

    async fn when_ready<T, S: Future<Output = Result<T, SendError>>>(
        &self,
        target: NodeId,
        send: impl Fn() -> S,
    ) -> Result<T, SendError> {
        let mut ready = self.0.handles.send_ready.clone();
        loop {
            // Before the attempt, so that no room comes up unnoticed after it.
            ready.mark_unchanged();
            match send().await {
                Err(SendError::Backpressure) if target != self.id() => {
                    ready.changed().await.map_err(|_| SendError::Closed)?;
                }
                settled => return settled,
            }
        }
    }

    /// Gets an edge to `target`: the one there is, or a new one to the first of `addrs` that
    /// answers. The first eight addresses count; after them come those that this node knows of it,
    /// so there may be none. Takes up to fifteen seconds.
    ///
    /// Success means that the peer proved who it is, that this node admits it, and that the peer
    /// said something over the edge. A peer that refuses, by its policy, because it asks for more
    /// proof of work, or because it is full, closes the edge instead: [`ConnectError::NotTaken`].
    ///
    /// # Errors
    /// If there is none in the end.
    pub async fn connect(
        &self,
        target: NodeId,
        addrs: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<(), ConnectError> {
        let addrs = addrs.into_iter().collect();
        let answer = self.request(|reply| Request::Connect { target, addrs, reply }).await;
        answer.unwrap_or(Err(ConnectError::Closed))
    }

    /// Closes the edge to `peer`. Returns whether there was one.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn close_edge(&self, peer: NodeId) -> Result<bool, Closed> {
        self.request(|reply| Request::CloseEdge { peer, reply }).await
    }

    /// Adds peers through which to enter the network to those of [`Builder::bootstrap`]. One that
    /// is known already is looked for at the new address, until a name it was given by leads
    /// elsewhere. Names are resolved in the background, those of every call for as long as the node
    /// lives: add a peer once.
    ///
    /// # Errors
    /// If the node is closed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn add_bootstrap(
        &self,
        peers: impl IntoIterator<Item = BootstrapPeer>,
    ) -> Result<(), Closed> {
        let peers: Vec<_> = peers.into_iter().collect();
        self.0.handles.bootstrap.send(literal_peers(&peers)).await.map_err(|_| Closed)?;
        tokio::spawn(resolve_for_ever(peers, self.0.handles.bootstrap.clone()));
        Ok(())
    }

    /// Waits until there is an edge to some node: from then on messages have a way out, unless that
    /// was the only one and its peer refuses it (see [`Node::connect`]). Has no limit in time: put
    /// a [`tokio::time::timeout`] around it where somebody waits for the result.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn joined(&self) -> Result<(), Closed> {
        // Subscribed before looking, so that no edge comes up unnoticed in between.
        let mut events = self.events();
        while self.edges().await?.is_empty() {
            events.recv().await.ok_or(Closed)?;
        }
        Ok(())
    }

    /// The live edges now, nearest identifiers first.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn edges(&self) -> Result<Vec<EdgeInfo>, Closed> {
        self.request(Request::Edges).await
    }

    /// Counters and gauges now.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn stats(&self) -> Result<NodeStats, Closed> {
        self.request(Request::Stats).await
    }

    /// Peers worth remembering across a restart, best first: at most 128, those that proved
    /// themselves at an address before those that signed theirs, spread over the network. Hand them
    /// to [`Builder::known_peers`] at the next start; [`peer_file`](crate::peer_file) keeps them in
    /// a file meanwhile.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn export_peers(&self) -> Result<Vec<KnownPeer>, Closed> {
        self.request(Request::ExportPeers).await
    }

    /// The messages for this node. All that call this share one queue.
    pub fn deliveries(&self) -> Deliveries {
        self.0.handles.deliveries.clone()
    }

    /// What happens to this node from now on.
    pub fn events(&self) -> NodeEvents {
        NodeEvents::new(self.0.handles.events.upgrade().map(|events| events.subscribe()))
    }

    /// Leaves the network: tells every neighbour, gives what is queued a second to get out, closes
    /// the socket. Returns when that is done. A second call waits for the same end.
    ///
    /// # Errors
    /// If the node failed before.
    pub async fn shutdown(&self) -> Result<(), Failure> {
        self.0.handles.leave.send_replace(true);
        self.closed().await
    }

    /// Waits until the node is closed, by whomever.
    ///
    /// # Errors
    /// If it was not asked to.
    pub async fn closed(&self) -> Result<(), Failure> {
        let mut outcome = self.0.handles.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await.map_err(|_| Failure::Died)?;
        ended.clone().unwrap_or(Err(Failure::Died))
    }

    /// A handle that does not keep the node in the network.
    pub(crate) fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    async fn request<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        self.0.handles.requests.send(make(reply)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}

/// What a task holds that must not keep the node alive.
pub(crate) struct WeakNode(Weak<Shared>);

impl WeakNode {
    /// The node, if somebody else holds it.
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?} at {})", self.0.id, self.0.local_addr)
    }
}
