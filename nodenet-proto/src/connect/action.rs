//! Vocabulary of the connect machine: purposes and wants, the answer of a peer, and actions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::candidate::{Candidate, is_early};
use super::exchange::Nonce;
use crate::NodeId;
use crate::api::{ConnectError, Obstacle, PathSide, Reachability};
use crate::transport::DialId;

/// An attempt ends after this long (PROTOCOL.md#dial-attempts).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt for the topology ends after this long, because there are other contacts. The farthest
/// on earth needs half a second or, with one packet lost, one and a half. (The reference allows 500
/// ms: PROTOCOL.md#dial-attempts.)
const CONTACT_TIMEOUT: Duration = Duration::from_secs(3);

/// Purpose of an attempt; where purposes share an attempt, the first of this list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The application asked for an edge.
    Request,
    /// The edge that there is, or was until now, does not answer: another conn is to take the place
    /// of its own (PROTOCOL.md#renewed-edges).
    Renew,
    /// A bootstrap peer leads into the network.
    Bootstrap,
    /// The topology chose the peer as an edge.
    Edge,
    /// The topology measures whether the peer answers, and how fast. Whether it becomes an edge
    /// depends on that.
    Probe,
    /// There is a relayed edge, and a direct one is to take its place (PROTOCOL.md#upgrades).
    Upgrade,
}

impl Purpose {
    /// Whether the peer is asked for its addresses, and to punch.
    pub(super) const fn is_asked(self) -> bool {
        matches!(self, Self::Request | Self::Renew | Self::Upgrade)
    }

    pub(super) const fn timeout(self) -> Duration {
        match self {
            Self::Request | Self::Renew | Self::Bootstrap | Self::Upgrade => ATTEMPT_TIMEOUT,
            Self::Edge | Self::Probe => CONTACT_TIMEOUT,
        }
    }
}

/// A request to connect to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// The peer.
    pub(crate) peer: NodeId,
    /// Its candidate addresses, best first.
    pub(crate) candidates: Vec<Candidate>,
    /// The purpose.
    pub(crate) purpose: Purpose,
}

/// What the engine carries out for the connect machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a conn.
    Dial {
        /// Names the dial.
        dial: DialId,
        /// The identifier that the other end must prove.
        expected: NodeId,
        /// The address.
        remote: SocketAddr,
        /// When it fails with a time-out.
        deadline: Instant,
    },
    /// Cancel a dial.
    CancelDial(DialId),
    /// Originate a Connect, and report its first hops ([`Connect::handle_asked`]).
    Ask {
        /// The peer.
        peer: NodeId,
        /// Names the exchange.
        nonce: Nonce,
        /// Whether to do nothing if there is an edge. Its peer will say where this node is, and the
        /// action comes again.
        is_to_wait: bool,
        /// First hops of earlier messages that brought no answer.
        tried: Vec<NodeId>,
    },
    /// Send punches to these addresses of the peer.
    Punch {
        /// The peer.
        peer: NodeId,
        /// Where.
        addrs: Vec<SocketAddr>,
        /// Bytes of the peer's message that named them. Without one the punches are to end behind
        /// this node's own NATs.
        named_by: Option<usize>,
    },
    /// Ask volunteers for a relay to this peer ([`Connect::handle_granted`],
    /// [`Connect::handle_no_relay`]).
    AskRelay(NodeId),
    /// An attempt at a direct path is due, if the edge to this peer is still relayed
    /// ([`Purpose::Upgrade`]).
    Upgrade(NodeId),
    /// No volunteer is needed any more for this peer.
    StopRelay(NodeId),
    /// The requests for an edge to this peer have an outcome.
    Settle {
        /// The peer.
        peer: NodeId,
        /// The outcome.
        result: Result<(), ConnectError>,
    },
    /// Another node answers at this address of the peer.
    Elsewhere {
        /// The peer.
        peer: NodeId,
        /// The address.
        addr: SocketAddr,
    },
    /// An attempt began, and its first dial follows.
    Begun(NodeId),
    /// An attempt failed.
    Failed {
        /// The peer.
        peer: NodeId,
        /// Why.
        error: ConnectError,
        /// Whether candidates were left out, so that the peer may be alive at one of them.
        is_partial: bool,
    },
    /// Set the timer, replacing it if it is set.
    Set(Instant),
    /// Stop the timer.
    Stop,
}

/// What a peer answered to a Connect. Its envelope is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The nonce of the Connect.
    pub(crate) nonce: Nonce,
    /// Bytes of the answer.
    pub(crate) len: usize,
    /// Whether signals follow its addresses, which nodes of the reference do not send.
    pub(crate) has_signals: bool,
    /// What the peer says of itself; only addresses that this node may dial.
    pub(crate) peer: PathSide,
    /// What is known of this node at that time.
    pub(crate) own: PathSide,
    /// Whether an address of either side is one that too few neighbours vouch for.
    pub(crate) is_unsure: bool,
}

impl Answer {
    /// Whether this node names an address of the same family; also if it names none.
    pub(super) fn has_own_family(&self, addr: SocketAddr) -> bool {
        let is_v4 = |addr: &SocketAddr| addr.ip().to_canonical().is_ipv4();
        let mut own = self.own.addrs.iter();
        self.own.addrs.is_empty() || own.any(|own| is_v4(own) == is_v4(&addr))
    }

    /// Whether the peer names an address of its site, as it does to a node on the same one.
    fn is_of_site(&self) -> bool {
        self.peer.addrs.iter().any(|addr| !is_early(*addr))
    }

    /// Whether no direct path is to be relied on, because it leads to an address that too few
    /// neighbours vouch for.
    pub(super) fn is_vague(&self) -> bool {
        self.is_unsure && !self.is_of_site()
    }

    /// Whether no direct path is to be expected without guesses.
    pub(super) fn is_hopeless(&self) -> bool {
        let is_reachable = |side: &PathSide| side.reachability == Reachability::Reachable;
        let obstacle = Obstacle::between(&self.own, &self.peer);
        !is_reachable(&self.own)
            && !is_reachable(&self.peer)
            && !self.is_of_site()
            && matches!(
                obstacle,
                Obstacle::ChangingPorts | Obstacle::NoCommonFamily | Obstacle::Withheld
            )
    }
}
