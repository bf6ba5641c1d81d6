//! Handle of a node: its operations for the application.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{
    ConnectError, EdgeInfo, Explanation, FoundPeer, KnownPeer, NatReport, RelayReport,
    RendezvousError, SendFailure as SendError,
};
use tokio::sync::oneshot;

use crate::bootstrap::{BootstrapPeer, literal_peers, resolve_names};
use crate::channels::{Handles, Request};
use crate::error::{Closed, Failure};
use crate::events::{Deliveries, NodeEvents, NodeStats};

/// Time of a rendezvous for its answer (a guess: five questions).
const RENDEZVOUS_TIME: Duration = Duration::from_secs(10);

/// State that all handles of a node share.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) advertised: Vec<SocketAddr>,
    pub(crate) handles: Handles,
}

/// A running node. Clones are handles to the same one.
///
/// It leaves the network when [`Node::shutdown`] is called, or when the last handle is dropped.
/// Prefer the former. Leaving takes up to three seconds, during which the runtime has to run on,
/// and only `shutdown` returns when it is over. If the runtime ends first, the node sends no Leave,
/// and its neighbours notice its end by time-outs.
///
/// Every method is cancel safe. The request of a future that is dropped may or may not be carried
/// out, and its result is discarded. Only the dials of [`Node::connect`] go on without the future,
/// up to ten seconds, and may bring an edge up.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

impl Node {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The identifier of the node, by which others reach it.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The address the socket is bound to. A wildcard stays one: see [`Node::reachable_addrs`].
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The addresses at which this node can be reached as far as this machine knows, best first:
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
    /// routing. Returns how many first hops took a copy, up to three. If the target is this node,
    /// the message goes to its own queue: 0, or [`SendError::Backpressure`] if that is full.
    ///
    /// `Ok` means that a neighbour took the message and has room for it by its own rule. A node
    /// accepts 512 messages a second from one neighbour and 1,024 at once; this one sends 480 a
    /// second over an edge and 32 at once, and holds 32 that are not acknowledged at most. Routed
    /// messages, direct messages and those that this node forwards count together; forwarded ones
    /// leave a quarter of each bound free. Beyond that the result is [`SendError::Backpressure`].
    ///
    /// Delivery is best effort all the same: an edge may end before it has delivered, and nodes
    /// further on have budgets of their own. A message that the application of the target does not
    /// read in time is dropped and counted there (`delivery_queue_full`).
    ///
    /// # Errors
    /// If no first hop took it. This method never waits for room; [`Node::send_when_ready`] does.
    pub async fn send(&self, target: NodeId, payload: impl Into<Bytes>) -> Result<u8, SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::Send { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed))
    }

    /// Sends `payload`, at most [`nodenet_proto::wire::DIRECT_PAYLOAD_MAX`] bytes, over the edge to
    /// `target`.
    ///
    /// Messages usually arrive in the order in which they were sent, but the order is not
    /// guaranteed: two nodes that dial each other at once have an edge of two conns, and a message
    /// on one may overtake a message on the other. Number messages that need an order. A message
    /// that was taken arrives as long as the edge is up: see [`Node::send`] for what `Ok` means.
    ///
    /// # Errors
    /// If the edge did not take it; [`SendError::NoEdge`] without an edge: [`Node::connect`] first.
    pub async fn send_direct(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::SendDirect { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed)).map(|_copies| ())
    }

    /// [`Node::send`] that waits for room: after [`SendError::Backpressure`] it tries again when an
    /// edge has room. There is no time limit: put a [`tokio::time::timeout`] around it. Delivery is
    /// best effort as with `send`: room here does not mean room further on. Several calls that wait
    /// are served in no particular order.
    ///
    /// # Errors
    /// As [`Node::send`]; [`SendError::Backpressure`] only if the target is this node and its own
    /// queue is full.
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

    /// Asks `target` for its keys and addresses, over several routes and again until it answers,
    /// for ten seconds. There need not be an edge to it. What comes back is signed by the target
    /// and verified against its identifier.
    ///
    /// The target learns the addresses of this node, and so do the nodes in between, as far as
    /// [`Builder::address_policy`](crate::Builder::address_policy) names them.
    ///
    /// # Errors
    /// If the target did not answer.
    ///
    /// # Examples
    /// ```
    /// # use nodenet_tokio::testing::Hub;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = Hub::new(1);
    /// # let (alice, bob) = (hub.builder(1).start().await?, hub.builder(2).start().await?);
    /// # alice.connect(bob.id(), [bob.local_addr()]).await?;
    /// let found = alice.rendezvous(bob.id()).await?;
    /// println!("{} can be dialed at {:?}", found.id, found.addrs);
    /// # assert_eq!(found.id, bob.id());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rendezvous(&self, target: NodeId) -> Result<FoundPeer, RendezvousError> {
        self.rendezvous_within(target, RENDEZVOUS_TIME).await
    }

    /// [`Node::rendezvous`] with another time for the answer, up to five minutes. After the eighth
    /// question, half a minute after the first, this node only waits.
    ///
    /// # Errors
    /// If the target did not answer in that time.
    pub async fn rendezvous_within(
        &self,
        target: NodeId,
        within: Duration,
    ) -> Result<FoundPeer, RendezvousError> {
        let answer = self.request(|reply| Request::Rendezvous { target, within, reply }).await;
        answer.unwrap_or(Err(RendezvousError::Closed))
    }

    /// [`Node::send`] that encrypts `payload` for `target` alone: nodes in between read who writes
    /// to whom, and nothing more. At most [`nodenet_proto::rendezvous::SEALED_PAYLOAD_MAX`] bytes.
    /// If the key of the target is not known, it is asked for first, for ten seconds.
    ///
    /// The target opens the message, and its [`Delivery`](crate::Delivery) says that it came
    /// sealed. A node of another implementation gets the box as payload;
    /// PROTOCOL.md#sealed-messages says how its application opens it. There is no forward secrecy:
    /// the key of a node follows from its seed, and opens all boxes that were ever sealed for it.
    ///
    /// # Errors
    /// As [`Node::send`]; [`SendError::NoKey`] if the target did not answer.
    ///
    /// # Examples
    /// ```
    /// # use nodenet_tokio::testing::Hub;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = Hub::new(1);
    /// # let (alice, bob) = (hub.builder(1).start().await?, hub.builder(2).start().await?);
    /// # alice.connect(bob.id(), [bob.local_addr()]).await?;
    /// alice.send_sealed(bob.id(), "for your eyes only").await?;
    /// let delivery = bob.deliveries().recv().await.expect("bob runs");
    /// assert!(delivery.sealed && delivery.originator == alice.id());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_sealed(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<u8, SendError> {
        let (payload, within) = (payload.into(), RENDEZVOUS_TIME);
        let answer =
            self.request(|reply| Request::SendSealed { target, payload, within, reply }).await;
        answer.unwrap_or(Err(SendError::Closed))
    }

    async fn when_ready<T, S: Future<Output = Result<T, SendError>>>(
        &self,
        target: NodeId,
        send: impl Fn() -> S,
    ) -> Result<T, SendError> {
        let mut ready = self.0.handles.send_ready.clone();
        loop {
            // Before the attempt, so that room that comes up after it is noticed.
            ready.mark_unchanged();
            match send().await {
                Err(SendError::Backpressure) if target != self.id() => {
                    ready.changed().await.map_err(|_| SendError::Closed)?;
                }
                settled => return settled,
            }
        }
    }

    /// Lets the device sleep: until [`Node::resume`] the node pings, dials and repeats nothing of
    /// its own accord, and no timer of it wakes the device. It takes what arrives, and sends what
    /// the application sends. A call that takes time returns after the resumption.
    ///
    /// # Errors
    /// If the node has left.
    ///
    /// # Examples
    /// ```
    /// # use nodenet_tokio::testing::Hub;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = Hub::new(1);
    /// # let (alice, bob) = (hub.builder(1).start().await?, hub.builder(2).start().await?);
    /// # alice.connect(bob.id(), [bob.local_addr()]).await?;
    /// alice.suspend().await?;
    /// // The application is in the background now.
    /// alice.resume().await?;
    /// alice.send(bob.id(), "here again").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn suspend(&self) -> Result<(), Closed> {
        self.request(Request::Suspend).await
    }

    /// Ends [`Node::suspend`]. It may also be called when the machine slept, or has another way to
    /// the network, which the node notices by itself where the system says so. All edges are probed
    /// at once; those that do not answer are moved, dialed or punched again, and peers of before
    /// are dialed.
    ///
    /// # Errors
    /// If the node has left.
    pub async fn resume(&self) -> Result<(), Closed> {
        self.request(Request::Resume).await
    }

    /// Gets an edge to `target`: an existing one, or a new one. `addrs` may be empty.
    ///
    /// The addresses in `addrs`, of which the first eight count, and those that this node knows of
    /// the target are dialed, and beside that the target is asked over the network for its own: it
    /// names them and punches, so that a direct path through NATs opens. An address behind a NAT is
    /// dialed only once the target has sent. Takes up to fifteen seconds. [`Node::explain`] has the
    /// steps, meanwhile and afterwards.
    ///
    /// Success means that the peer proved its identifier, that this node admits it, and that a
    /// first frame of the peer arrived on the edge. A peer refuses by its policy, because it asks
    /// for more proof of work, or because it is full. It closes the edge then:
    /// [`ConnectError::NotTaken`].
    ///
    /// # Errors
    /// If no edge came up. [`ConnectError::Unanswered`] if nothing is known of the target and it
    /// did not answer; [`ConnectError::NoPath`] if it answered and cannot be reached.
    ///
    /// # Examples
    /// ```
    /// # use nodenet_tokio::testing::Hub;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = Hub::new(1);
    /// # let (alice, bob) = (hub.builder(1).start().await?, hub.builder(2).start().await?);
    /// # alice.connect(bob.id(), [bob.local_addr()]).await?;
    /// if let Err(error) = alice.connect(bob.id(), []).await {
    ///     let why = alice.explain(bob.id()).await?.map(|why| why.to_string());
    ///     println!("{error}: {}", why.unwrap_or_default());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(
        &self,
        target: NodeId,
        addrs: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<(), ConnectError> {
        let addrs = addrs.into_iter().collect();
        let answer = self.request(|reply| Request::Connect { target, addrs, reply }).await;
        answer.unwrap_or(Err(ConnectError::Closed))
    }

    /// What happened in the last [`Node::connect`] to `peer`, step by step, and why the path is not
    /// direct. While it is under way the steps so far; nothing if there was none, or if it was long
    /// ago: the last 32 peers are remembered. A connect that found an edge makes no attempt, and
    /// changes nothing here.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn explain(&self, peer: NodeId) -> Result<Option<Explanation>, Closed> {
        self.request(|reply| Request::Explain { peer, reply }).await
    }

    /// Closes the edge to `peer`. Returns whether there was one.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn close_edge(&self, peer: NodeId) -> Result<bool, Closed> {
        self.request(|reply| Request::CloseEdge { peer, reply }).await
    }

    /// Adds peers through which to enter the network to those of
    /// [`Builder::bootstrap`](crate::Builder::bootstrap). A known peer is dialed at the new
    /// address, until one of its names resolves to another. The names of each call are resolved in
    /// the background as long as the node runs: add a peer once.
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
        tokio::spawn(resolve_names(peers, self.0.handles.bootstrap.clone()));
        Ok(())
    }

    /// Waits until there is an edge. Messages can leave from then on, unless the peer of the only
    /// edge refuses it (see [`Node::connect`]). There is no time limit: put a
    /// [`tokio::time::timeout`] around it where that matters.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn joined(&self) -> Result<(), Closed> {
        // Subscribed before the check, so that an edge that comes up after it is noticed.
        let mut events = self.events();
        while self.edges().await?.is_empty() {
            events.recv().await.ok_or(Closed)?;
        }
        Ok(())
    }

    /// The edges now, nearest identifiers first.
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

    /// The addresses that any node is told that asks for those of this one, or searches near it:
    /// none unless [`Builder::address_policy`](crate::Builder::address_policy) is
    /// [`AddressPolicy::Anyone`](crate::AddressPolicy::Anyone). Neighbours know the address of the
    /// conn in any case.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn named_addrs(&self) -> Result<Vec<SocketAddr>, Closed> {
        self.request(Request::NamedAddrs).await
    }

    /// What the node knows of its own address, of the NAT in front of it and of its reachability.
    /// [`Event::NatChanged`](crate::Event::NatChanged) says that it changed.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn nat_report(&self) -> Result<NatReport, Closed> {
        self.request(Request::NatReport).await
    }

    /// What the node does as a relay volunteer, and why it does not if it is set to.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn relay_report(&self) -> Result<RelayReport, Closed> {
        self.request(Request::RelayReport).await
    }

    /// Peers to keep across a restart, best first: at most 128 from all over the network, those
    /// verified at an address before those with a signed one. Hand them to
    /// [`Builder::known_peers`](crate::Builder::known_peers) at the next start;
    /// [`peer_file`](crate::peer_file) keeps them in a file meanwhile.
    ///
    /// # Errors
    /// If the node is closed.
    pub async fn export_peers(&self) -> Result<Vec<KnownPeer>, Closed> {
        self.request(Request::ExportPeers).await
    }

    /// The messages for this node. All callers share one queue.
    pub fn deliveries(&self) -> Deliveries {
        self.0.handles.deliveries.clone()
    }

    /// The events of this node from now on.
    pub fn events(&self) -> NodeEvents {
        NodeEvents::new(self.0.handles.events.upgrade().map(|events| events.subscribe()))
    }

    /// Leaves the network: sends a Leave to each neighbour, waits up to a second for queued data,
    /// closes the socket. Returns when that is done. A second call waits for the same end.
    ///
    /// # Errors
    /// If the node failed before.
    pub async fn shutdown(&self) -> Result<(), Failure> {
        self.0.handles.leave.send_replace(true);
        self.closed().await
    }

    /// Waits until the node is closed, by any handle or by a failure.
    ///
    /// # Errors
    /// If it failed.
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

/// A handle for tasks that must not keep the node running.
pub(crate) struct WeakNode(Weak<Shared>);

impl WeakNode {
    /// The node, if another handle holds it.
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?} at {})", self.0.id, self.0.local_addr)
    }
}
