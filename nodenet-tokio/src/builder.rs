//! Settings and start of a node.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;

use nodenet_proto::NodeId;
use nodenet_proto::api::{
    AddressPolicy, Command, EdgePolicy, HardPunch, KnownPeer, Profile, RelayUsage,
};
use nodenet_proto::identity::Identity;
use nodenet_proto::node::{self, Input};
use tokio::sync::Semaphore;

use crate::advertise::check_all;
use crate::bootstrap::{BootstrapPeer, literal_peers, resolve_names};
use crate::channels::Channels;
use crate::clock;
use crate::driver::Driver;
use crate::error::StartError;
use crate::node::{Node, Shared};
use crate::platform::system::{self, System};
use crate::platform::{Platform, Socket};

/// Messages that wait for the application, at most, unless it sets another number: the largest
/// burst that the limits allow one neighbour. A runtime with one thread takes a whole burst in
/// before the application runs.
const DELIVERY_QUEUE: usize = 1_024;

/// Settings of a [`Node`] that is to start.
#[derive(Debug)]
#[must_use = "nothing happens until start() is called"]
pub struct Builder {
    identity: Identity,
    platform: Arc<dyn Platform>,
    listen: Listen,
    bootstrap: Vec<BootstrapPeer>,
    known_peers: Vec<KnownPeer>,
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

    fn bind(self, platform: &dyn Platform) -> Result<Box<dyn Socket>, StartError> {
        match self {
            Self::Addr(addr) => {
                platform.bind(addr).map_err(|cause| StartError::Bind { addr, cause })
            }
            Self::Socket(socket) => system::from_std(socket).map_err(StartError::Socket),
        }
    }
}

impl Builder {
    pub(crate) fn new(identity: Identity) -> Self {
        let mut protocol = node::Config::default();
        protocol.engine.delivery_queue_max = DELIVERY_QUEUE;
        Self {
            identity,
            platform: Arc::new(System),
            listen: Listen::ANYWHERE,
            bootstrap: Vec::new(),
            known_peers: Vec::new(),
            protocol,
        }
    }

    /// The UDP address to listen on. Default: a free port on all interfaces, IPv4 and IPv6. `[::]`
    /// serves both families, and means `0.0.0.0` on a machine without IPv6. A node on a loopback
    /// address dials and advertises loopback addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.listen = Listen::Addr(addr);
        self
    }

    /// The UDP socket to listen on, instead of an address: from [`bind`] or from elsewhere.
    pub fn socket(mut self, socket: UdpSocket) -> Self {
        self.platform = Arc::new(System);
        self.listen = Listen::Socket(socket);
        self
    }

    /// Runs the node on another platform, on an address that the platform chooses unless one is
    /// bound after this call.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platform = platform;
        self.listen = Listen::ANYWHERE;
        self
    }

    /// Peers through which to enter the network. They are tried as long as the node runs; names are
    /// resolved again from time to time. A peer on this machine makes the node dial and advertise
    /// loopback addresses.
    ///
    /// The system resolves a name on a thread that can not be stopped. A runtime that is dropped
    /// waits for such threads, which may take half a minute where no name server answers.
    /// [`Runtime::shutdown_background`](tokio::runtime::Runtime::shutdown_background) does not
    /// wait.
    pub fn bootstrap(mut self, peers: impl IntoIterator<Item = BootstrapPeer>) -> Self {
        self.bootstrap.extend(peers);
        let on_this_machine = self.bootstrap.iter().any(BootstrapPeer::is_loopback);
        self.protocol.engine.allow_local_addrs |= on_this_machine;
        self
    }

    /// Peers that this node knew when it ran last ([`Node::export_peers`]). They are tried beside
    /// the bootstrap peers, or without any. Those that do not answer are forgotten. A peer on this
    /// machine makes the node dial and advertise loopback addresses, as it did in the run before.
    pub fn known_peers(mut self, peers: impl IntoIterator<Item = KnownPeer>) -> Self {
        self.known_peers.extend(peers);
        let mut addrs = self.known_peers.iter().flat_map(|peer| &peer.addrs);
        let on_this_machine = addrs.any(|addr| addr.ip().is_loopback());
        self.protocol.engine.allow_local_addrs |= on_this_machine;
        self
    }

    /// Leading zero bits that each identifier must have, that of this node included. All nodes of a
    /// network use the same number. Default: 0.
    pub fn difficulty(mut self, bits: u16) -> Self {
        self.protocol.engine.difficulty = bits;
        self
    }

    /// Whether an edge to a peer is admitted. The function is called while the node works, so it
    /// must return at once. Default: all peers.
    pub fn edge_policy(mut self, admit: impl Fn(&NodeId) -> bool + Send + Sync + 'static) -> Self {
        self.protocol.engine.edge_policy = EdgePolicy::Ask(Arc::new(admit));
        self
    }

    /// Edges that peers open, at most. Default: 256 (PROTOCOL.md#inbound-edges). A larger number
    /// than 32,768 means 32,768.
    pub fn max_inbound(mut self, count: usize) -> Self {
        self.protocol.engine.inbound_edges_max = count;
        self.protocol.quic.accepted_conns_max = count;
        self
    }

    /// Conns that peers open from one IPv4 address or IPv6 /64, at most. Default: 32
    /// (PROTOCOL.md#accepted-conns).
    pub fn max_inbound_per_address(mut self, count: usize) -> Self {
        self.protocol.quic.accepted_conns_per_address_max = count;
        self
    }

    /// Addresses at which this node can be reached from everywhere, if the operator knows them: a
    /// forwarded port, for example. Best first, and four at most, because a node advertises four
    /// addresses; those of the interfaces follow while there is room. [`Builder::start`] refuses
    /// more, and addresses that peers could not dial (see
    /// [`check_advertised`](crate::check_advertised)).
    pub fn advertise(mut self, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.protocol.engine.public_addrs.extend(addrs);
        self
    }

    /// Messages that wait for the application in [`Node::deliveries`], at most; 0 means 1. A
    /// message that finds the queue full is dropped. Default: 1,024, the burst that a node accepts
    /// from one neighbour.
    ///
    /// A message holds up to 64 KiB of memory. So a full queue of the default length holds up to 64
    /// MiB; an empty one holds next to nothing.
    pub fn delivery_queue(mut self, count: usize) -> Self {
        self.protocol.engine.delivery_queue_max = count;
        self
    }

    /// Which nodes this one tells its addresses, when they ask for them or search near it.
    /// Default: [`AddressPolicy::Anyone`].
    pub fn address_policy(mut self, policy: AddressPolicy) -> Self {
        self.protocol.engine.address_policy = policy;
        self
    }

    /// What is tried where the external port of one side has to be guessed for a direct path.
    /// Default: [`HardPunch::Predict`].
    pub fn hard_punch(mut self, policy: HardPunch) -> Self {
        self.protocol.engine.hard_punch = policy;
        self
    }

    /// Resources that the node spends on the network. Default: [`Profile::Router`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.protocol.engine.profile = profile;
        self
    }

    /// Volunteers as a relay: two nodes that can not reach each other directly meet at this one,
    /// which passes their encrypted datagrams on. It does so only while others can reach it, at an
    /// address of this machine or one from [`Builder::advertise`], and needs ports of the system's
    /// choice to be open for UDP. A node of [`Profile::Light`] never does. Default: no.
    pub fn relay(mut self, volunteer: bool) -> Self {
        self.protocol.engine.relay.volunteer = volunteer;
        self
    }

    /// Bytes that this node relays in a second, for all pairs together; 0 means 1. Default:
    /// 2,000,000.
    pub fn relay_rate(mut self, bytes_per_s: u64) -> Self {
        self.protocol.engine.relay.bytes_per_s = bytes_per_s.max(1);
        self
    }

    /// Bytes that this node relays in a calendar month (UTC), and what it did so far, which
    /// [`relay_file`](crate::relay_file) keeps. Default: any number.
    pub fn relay_quota(mut self, bytes_per_month: u64, used: RelayUsage) -> Self {
        self.protocol.engine.relay.bytes_per_month = Some(bytes_per_month);
        self.protocol.engine.relay.used = used;
        self
    }

    /// Nodes that this one relays for: one end of each pair is one of them. Default: all nodes.
    pub fn relay_for(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.protocol.engine.relay.only_for.extend(nodes);
        self
    }

    /// Changes any setting of the protocol, those that the methods above set included.
    pub fn protocol(mut self, set: impl FnOnce(&mut node::Config)) -> Self {
        set(&mut self.protocol);
        self
    }

    /// Binds the socket and starts the node on a task of the current tokio runtime.
    ///
    /// # Errors
    /// If the address can not be bound, an advertised one can not be dialed, or the configuration
    /// is impossible.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { identity, platform, listen, bootstrap, known_peers, mut protocol } = self;
        let id = identity.id();
        let socket = listen.bind(&*platform)?;
        let local_addr = socket.local_addr();
        fit(&mut protocol, &*platform, &*socket)?;
        let engine = &protocol.engine;
        let (allow_local, advertised) = (engine.allow_local_addrs, engine.public_addrs.clone());
        let Channels { handles, inlets, outlets, outcome } =
            Channels::new(engine.delivery_queue_max);

        let now = clock::now();
        let seed = platform.node_seed(local_addr).map_err(StartError::NoEntropy)?;
        let mut core = node::Node::new(protocol, identity, seed, now, platform.wall())?;
        for command in first_commands(&bootstrap, known_peers, &*socket) {
            core.handle_input(now, Input::Command(command));
        }
        let driver = Driver::new(core, platform, socket, inlets, outlets, allow_local);
        tokio::spawn(async move {
            let ended = driver.run().await;
            // Without handles there is no receiver.
            let _ = outcome.send(Some(ended));
        });
        tokio::spawn(resolve_names(bootstrap, handles.bootstrap.clone()));
        Ok(Node::new(Shared { id, local_addr, advertised, handles }))
    }
}

impl Node {
    /// Prepares a node with these keys.
    pub fn builder(identity: Identity) -> Builder {
        Builder::new(identity)
    }
}

/// Commands before the first datagram: peers whose addresses are known.
fn first_commands(
    bootstrap: &[BootstrapPeer],
    mut known_peers: Vec<KnownPeer>,
    socket: &dyn Socket,
) -> impl Iterator<Item = Command> {
    let literal = literal_peers(bootstrap);
    for peer in &mut known_peers {
        peer.addrs.retain(|addr| socket.supports(addr));
    }
    let bootstrap = (!literal.is_empty()).then_some(Command::Bootstrap(literal));
    let import = (!known_peers.is_empty()).then_some(Command::ImportPeers(known_peers));
    bootstrap.into_iter().chain(import)
}

/// Fits the settings to the socket, and refuses advertised addresses that the core would leave out.
fn fit(
    protocol: &mut node::Config,
    platform: &dyn Platform,
    socket: &dyn Socket,
) -> Result<(), StartError> {
    protocol.quic.mtu_discovery &= socket.never_fragments();
    let engine = &mut protocol.engine;
    engine.allow_local_addrs |= socket.local_addr().ip().is_loopback();
    // A channel takes no larger number.
    engine.delivery_queue_max = engine.delivery_queue_max.clamp(1, Semaphore::MAX_PERMITS);
    check_all(&engine.public_addrs, platform, socket, engine.allow_local_addrs)
}

/// Binds a UDP socket for [`Builder::socket`], as [`Builder::bind`] would. A program that mints an
/// identity can so check first that the address is free.
///
/// # Errors
/// If the address can not be bound.
pub fn bind(addr: SocketAddr) -> Result<UdpSocket, StartError> {
    system::bind_udp(addr).map_err(|cause| StartError::Bind { addr, cause })
}
