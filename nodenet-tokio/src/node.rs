//! The handle through which an application uses its node, and how to start one.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::engine::{EdgeInfo, EdgePolicy};
use nodenet_proto::identity::Identity;
use nodenet_proto::node::{self, Input};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::bootstrap::{BootstrapPeer, literal_seeds, resolve_for_ever};
use crate::clock;
use crate::driver::{Driver, Inlets, Outlets, Request};
use crate::error::{Closed, ConnectError, Failure, SendError, StartError};
use crate::events::{Deliveries, NodeEvents, NodeStats};
use crate::host::Host;
use crate::socket::{Socket, bind_udp};
use crate::testing::Hub;

/// Requests of all handles that wait for the driver, at most; then callers wait.
const REQUEST_QUEUE_MAX: usize = 256;
/// Events kept for a slow subscriber; beyond that it is told how many it missed.
const EVENT_QUEUE_MAX: usize = 1_024;

/// How to start a [`Node`].
#[derive(Debug)]
#[must_use = "nothing happens until start() is called"]
pub struct Builder {
    identity: Identity,
    host: Host,
    listen: Listen,
    bootstrap: Vec<BootstrapPeer>,
    protocol: node::Config,
}

#[derive(Debug)]
enum Listen {
    Addr(SocketAddr),
    Socket(UdpSocket),
}

impl Listen {
    const ANYWHERE: Self =
        Self::Addr(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)));
}

impl Builder {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            host: Host::Machine,
            listen: Listen::ANYWHERE,
            bootstrap: Vec::new(),
            protocol: node::Config::default(),
        }
    }

    /// The UDP address to listen on. Default: a free port on all interfaces, IPv4 and IPv6. `[::]`
    /// serves both families, and stands for `0.0.0.0` on a machine without IPv6. A node on a loopback
    /// address dials and advertises loopback addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.listen = Listen::Addr(addr);
        self
    }

    /// The UDP socket to listen on, instead of an address: one from [`bind`], or one that somebody
    /// else bound.
    pub fn socket(mut self, socket: UdpSocket) -> Self {
        self.host = Host::Machine;
        self.listen = Listen::Socket(socket);
        self
    }

    /// Runs the node on an in-memory network instead of this machine's, for tests: on a host of its
    /// own, unless an address is bound after this call.
    pub fn hub(mut self, hub: &Hub) -> Self {
        self.host = Host::Hub(hub.clone());
        self.listen = Listen::ANYWHERE;
        self
    }

    /// Peers through which to enter the network. They are tried for as long as the node lives; names
    /// are resolved again from time to time. A peer on this machine makes the node dial and advertise
    /// loopback addresses.
    pub fn bootstrap(mut self, peers: impl IntoIterator<Item = BootstrapPeer>) -> Self {
        self.bootstrap.extend(peers);
        let on_this_machine = self.bootstrap.iter().any(BootstrapPeer::is_loopback);
        self.protocol.engine.allow_local_addrs |= on_this_machine;
        self
    }

    /// Leading zero bits that the network asks of every identifier, this node's included. The same
    /// for all nodes of a network. Default: 0.
    pub fn difficulty(mut self, bits: u16) -> Self {
        self.protocol.engine.difficulty = bits;
        self
    }

    /// Who may become an edge. The function is asked while the node works, so it must answer at once.
    /// Default: everyone.
    pub fn edge_policy(mut self, admit: impl Fn(&NodeId) -> bool + Send + Sync + 'static) -> Self {
        self.protocol.engine.edge_policy = EdgePolicy::Ask(Arc::new(admit));
        self
    }

    /// Edges that others open, at most. Default: 256 (spec 20 §1).
    pub fn max_inbound(mut self, count: usize) -> Self {
        self.protocol.engine.inbound_edges_max = count;
        self.protocol.quic.accepted_conns_max = count;
        self
    }

    /// Conns that others open from one IPv4 address or IPv6 /64, at most. Default: 32 (spec 40 §5.1).
    pub fn max_inbound_per_address(mut self, count: usize) -> Self {
        self.protocol.quic.accepted_conns_per_address_max = count;
        self
    }

    /// Addresses under which this node can be reached from everywhere, if the operator knows them: a
    /// forwarded port, for example.
    pub fn advertise(mut self, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.protocol.engine.public_addrs.extend(addrs);
        self
    }

    /// Every other setting of the protocol. What was set before by the methods above is among them.
    pub fn protocol(mut self, set: impl FnOnce(&mut node::Config)) -> Self {
        set(&mut self.protocol);
        self
    }

    /// Binds the socket and starts the node on a task of the current tokio runtime.
    ///
    /// # Errors
    /// If the address can not be bound or the configuration can not work.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { identity, host, listen, bootstrap, mut protocol } = self;
        let id = identity.id();
        let socket = match listen {
            Listen::Addr(addr) => {
                host.bind(addr).map_err(|source| StartError::Bind { addr, source })?
            }
            Listen::Socket(socket) => Socket::udp(socket).map_err(StartError::Socket)?,
        };
        let local_addr = socket.local_addr();
        protocol.engine.allow_local_addrs |= local_addr.ip().is_loopback();
        protocol.quic.mtu_discovery &= socket.never_fragments();
        let engine = &protocol.engine;
        let (allow_local, advertised) = (engine.allow_local_addrs, engine.public_addrs.clone());
        let (deliver, queue) = mpsc::channel(engine.delivery_queue_max.max(1));
        let now = clock::now();
        let seed = host.node_seed(local_addr)?;
        let mut core = node::Node::new(protocol, identity, seed, now, host.wall())?;
        let literal = literal_seeds(&bootstrap);
        if !literal.is_empty() {
            let command = node::Command::Bootstrap(literal);
            core.handle_input(now, Input::Command(command));
        }

        let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE_MAX);
        let (leave_sender, leave) = watch::channel(false);
        let (seed_sender, seeds) = mpsc::channel(1);
        let (reachable_sender, reachable) = watch::channel(Vec::new());
        let (outcome_sender, outcome) = watch::channel(None);
        let events = broadcast::Sender::new(EVENT_QUEUE_MAX);
        let weak_events = events.downgrade();
        let inlets = Inlets { requests, leave, seeds };
        let outlets = Outlets { deliveries: deliver, events, reachable: reachable_sender };
        let driver = Driver::new(core, host, socket, inlets, outlets, allow_local);
        tokio::spawn(async move {
            let ended = driver.run().await;
            // Without handles nobody wants to know.
            let _ = outcome_sender.send(Some(ended));
        });
        tokio::spawn(resolve_for_ever(bootstrap, seed_sender));
        Ok(Node(Arc::new(Shared {
            id,
            local_addr,
            advertised,
            requests: request_sender,
            leave: leave_sender,
            deliveries: Deliveries::new(queue),
            events: weak_events,
            reachable,
            outcome,
        })))
    }
}

/// Binds a UDP socket for [`Builder::socket`], as [`Builder::bind`] would: for a program that wants to
/// know first whether the address is free, before it mints an identity for example.
///
/// # Errors
/// If the address can not be bound.
pub fn bind(addr: SocketAddr) -> Result<UdpSocket, StartError> {
    bind_udp(addr).map_err(|source| StartError::Bind { addr, source })
}

struct Shared {
    id: NodeId,
    local_addr: SocketAddr,
    advertised: Vec<SocketAddr>,
    requests: mpsc::Sender<Request>,
    leave: watch::Sender<bool>,
    deliveries: Deliveries,
    events: broadcast::WeakSender<crate::events::NodeEvent>,
    reachable: watch::Receiver<Vec<SocketAddr>>,
    outcome: watch::Receiver<Option<Result<(), Failure>>>,
}

/// A running node. Clones are handles to the same one; it leaves the network when the last is dropped
/// or [`Node::shutdown`] is called.
///
/// Every method is cancel safe: a future that is dropped leaves nothing waiting. What it asked for may
/// or may not have happened.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

impl Node {
    /// Prepares a node with these keys.
    pub fn builder(identity: Identity) -> Builder {
        Builder::new(identity)
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
            self.0.reachable.borrow().iter().filter(|addr| !self.0.advertised.contains(addr)),
        );
        addrs
    }

    /// Sends `payload`, at most [`nodenet_proto::wire::SEND_PAYLOAD_MAX`] bytes, to `target` by
    /// routing. Returns on how many first hops it left: up to three; 0 if the target is this node,
    /// which gets it at once. Delivery is best effort: success does not mean that it arrived.
    ///
    /// # Errors
    /// If it did not leave.
    pub async fn send(&self, target: NodeId, payload: impl Into<Bytes>) -> Result<u8, SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::Send { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed))
    }

    /// Sends `payload`, at most [`nodenet_proto::wire::DIRECT_PAYLOAD_MAX`] bytes, over the edge to
    /// `target`. Messages arrive in order, but not all have to: a node takes 512 per second from one
    /// neighbour, and 1,024 at once (spec 20 §1); what comes faster is dropped there.
    ///
    /// # Errors
    /// If it did not leave; [`SendError::NoEdge`] without an edge: [`Node::connect`] first.
    pub async fn send_direct(
        &self,
        target: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        let answer = self.request(|reply| Request::SendDirect { target, payload, reply }).await;
        answer.unwrap_or(Err(SendError::Closed)).map(|_copies| ())
    }

    /// Gets an edge to `target`: the one there is, or a new one to the first of `addrs` that answers.
    /// The first eight addresses count.
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

    /// Waits until there is an edge to some node: from then on messages have a way out.
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

    /// The messages for this node. All that call this share one queue.
    pub fn deliveries(&self) -> Deliveries {
        self.0.deliveries.clone()
    }

    /// What happens to this node from now on.
    pub fn events(&self) -> NodeEvents {
        NodeEvents::new(self.0.events.upgrade().map(|events| events.subscribe()))
    }

    /// Leaves the network: tells every neighbour, gives what is queued a second to get out, closes the
    /// socket. Returns when that is done. A second call waits for the same end.
    ///
    /// # Errors
    /// If the node failed before.
    pub async fn shutdown(&self) -> Result<(), Failure> {
        self.0.leave.send_replace(true);
        self.closed().await
    }

    /// Waits until the node is closed, by whomever.
    ///
    /// # Errors
    /// If it was not asked to.
    pub async fn closed(&self) -> Result<(), Failure> {
        let mut outcome = self.0.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await.map_err(|_| Failure::Died)?;
        ended.clone().unwrap_or(Err(Failure::Died))
    }

    async fn request<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        self.0.requests.send(make(reply)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?} at {})", self.0.id, self.0.local_addr)
    }
}
