//! Commands of an application to its node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::NodeId;

/// Names a command that has an outcome. The caller allocates it; one event settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A peer that the operator names for joining the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// The identifier that must answer.
    pub id: NodeId,
    /// Its addresses, best first. Names are resolved by the driver, which repeats the command when
    /// they change.
    pub addrs: Vec<SocketAddr>,
}

/// A contact that is kept across a restart. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its identifier, which is the hash of `key`.
    pub id: NodeId,
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// Its verified addresses, then its signed ones, best first.
    pub addrs: Vec<SocketAddr>,
}

/// A command of an application.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Send `payload` to `target` by routing. Settled by [`super::Event::Sent`] or
    /// [`super::Event::SendFailed`].
    Send {
        /// Names the outcome.
        request: RequestId,
        /// The target.
        target: NodeId,
        /// At most [`crate::wire::SEND_PAYLOAD_MAX`] bytes.
        payload: Bytes,
    },
    /// Send `payload` over the edge to `target`. Settled by [`super::Event::Sent`] or
    /// [`super::Event::SendFailed`].
    SendDirect {
        /// Names the outcome.
        request: RequestId,
        /// The target.
        target: NodeId,
        /// At most [`crate::wire::DIRECT_PAYLOAD_MAX`] bytes.
        payload: Bytes,
    },
    /// Ask `target` for its keys and addresses, over several routes and again until it answers.
    /// Settled by [`super::Event::Found`] or [`super::Event::RendezvousFailed`].
    Rendezvous {
        /// Names the outcome.
        request: RequestId,
        /// The node that is asked.
        target: NodeId,
        /// Time for its answer, from a millisecond to five minutes; what is outside counts as the
        /// nearest of the two.
        within: Duration,
    },
    /// Send `payload` to `target` by routing, encrypted for it alone. If its key is not known, a
    /// rendezvous comes first. Settled by [`super::Event::Sent`] or [`super::Event::SendFailed`].
    SendSealed {
        /// Names the outcome.
        request: RequestId,
        /// The target.
        target: NodeId,
        /// At most `rendezvous::SEALED_PAYLOAD_MAX` bytes.
        payload: Bytes,
        /// Time for the rendezvous, as for [`Command::Rendezvous`].
        within: Duration,
    },
    /// Get an edge to `target`. If there is none, dial these addresses, then those that this node
    /// knows, and ask the target over the network for its own, which it then punches from; if no
    /// direct path is found, reach it through a volunteer. `Engine::explain` has the steps.
    /// Settled by [`super::Event::Connected`] or [`super::Event::ConnectFailed`], after fifteen
    /// seconds at the latest: ten for the attempt, five for the peer's first frame.
    Connect {
        /// Names the outcome.
        request: RequestId,
        /// The peer.
        target: NodeId,
        /// Its addresses, best first; the first eight count. There may be none.
        addrs: Vec<SocketAddr>,
    },
    /// Adds bootstrap peers, or replaces the addresses of known ones. They are tried for ever.
    Bootstrap(Vec<BootstrapPeer>),
    /// Adds peers that this node knew earlier ([`crate::engine::Engine::export_peers`]). They are
    /// dialed like any other contact, and evicted like any other if they do not answer while others
    /// do.
    ImportPeers(Vec<KnownPeer>),
    /// Close the edge to `peer`. Settled by [`super::Event::EdgeClosed`].
    CloseEdge {
        /// Names the outcome.
        request: RequestId,
        /// The peer of the edge.
        peer: NodeId,
    },
    /// The application is about to be stopped, or the device to sleep. Until [`Command::Resume`]
    /// the node asks for no timeout: it pings nothing, dials nothing and repeats nothing of its own
    /// accord. It takes what arrives, and sends what the application sends. A request that takes
    /// time is settled after the resumption. [`Command::Leave`] ends the suspension as well.
    Suspend,
    /// The machine slept, or its way to the network changed in a way that its addresses do not
    /// show. All edges are probed at once, and peers are dialed without the waits of before. A
    /// driver that notices by itself gives this command, and the application may.
    Resume,
    /// Send a Leave to every neighbour, drain, close. Settled by [`super::Event::Left`].
    Leave {
        /// Names the outcome.
        request: RequestId,
    },
}

impl Command {
    /// The request that the command carries, if it has an outcome.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Send { request, .. }
            | Self::SendDirect { request, .. }
            | Self::Rendezvous { request, .. }
            | Self::SendSealed { request, .. }
            | Self::Connect { request, .. }
            | Self::CloseEdge { request, .. }
            | Self::Leave { request } => Some(*request),
            Self::Bootstrap(_) | Self::ImportPeers(_) | Self::Suspend | Self::Resume => None,
        }
    }
}
