//! Explanation of an attempt to connect: its steps, its outcome, and why the path is what it is.

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{ConnectError, NatReport, Reachability};
use crate::NodeId;
use crate::transport::DialError;
use crate::wire::nat::{Allocator, Mapping};

/// Steps that are kept of one attempt; later ones are dropped, except for its end.
pub const CONNECT_STEPS_MAX: usize = 64;

/// What a node says of its own path to the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathSide {
    /// The addresses that it names, best first.
    pub addrs: Vec<SocketAddr>,
    /// On what its external port depends.
    pub mapping: Mapping,
    /// How its external port is chosen.
    pub allocator: Allocator,
    /// Whether any node can reach it.
    pub reachability: Reachability,
}

impl PathSide {
    /// Whether each destination sees another port.
    pub fn has_changing_ports(&self) -> bool {
        !matches!(self.mapping, Mapping::Unknown | Mapping::EndpointIndependent)
    }
}

impl From<&NatReport> for PathSide {
    fn from(report: &NatReport) -> Self {
        Self {
            addrs: report.addrs.clone(),
            mapping: report.mapping,
            allocator: report.allocator,
            reachability: report.reachability,
        }
    }
}

/// Why there is no direct path, or none without a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// This node has no edge over which to ask the peer.
    NoRoute,
    /// The peer did not answer, so nothing is known of its side.
    NoAnswer,
    /// The peer tells its addresses to peers it knows, or to none.
    Withheld,
    /// One side has IPv4 alone, the other IPv6 alone.
    NoCommonFamily,
    /// Both are seen at one external address, and nothing that one sends there reaches the other:
    /// the NAT that they share turns nothing around.
    NoHairpinning,
    /// The NAT of this node gives every destination another port; that of the peer lets in known
    /// ports alone.
    OwnChangingPort,
    /// The same with the sides swapped.
    PeerChangingPort,
    /// Both NATs give every destination another port.
    ChangingPorts,
    /// A packet of the peer came before this node had sent, and the NAT gave this node another
    /// port.
    MovedPort,
    /// What both sides say of themselves allows a path, and none was found.
    Unknown,
}

impl Obstacle {
    /// A stable name for logs and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::NoAnswer => "no_answer",
            Self::Withheld => "withheld",
            Self::NoCommonFamily => "no_common_family",
            Self::NoHairpinning => "no_hairpinning",
            Self::OwnChangingPort => "own_changing_port",
            Self::PeerChangingPort => "peer_changing_port",
            Self::ChangingPorts => "changing_ports",
            Self::MovedPort => "moved_port",
            Self::Unknown => "unknown",
        }
    }

    /// What stands in the way between two sides, as far as they say.
    pub(crate) fn between(own: &PathSide, peer: &PathSide) -> Self {
        let is_v4 = |addr: &SocketAddr| addr.ip().to_canonical().is_ipv4();
        let shares_family =
            own.addrs.iter().any(|a| peer.addrs.iter().any(|b| is_v4(a) == is_v4(b)));
        let ips = |side: &PathSide| side.addrs.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>();
        let shares_ip = ips(own).iter().any(|ip| ip.is_ipv4() && ips(peer).contains(ip));
        match (own.has_changing_ports(), peer.has_changing_ports()) {
            (true, true) => Self::ChangingPorts,
            _ if peer.addrs.is_empty() => Self::Withheld,
            _ if !own.addrs.is_empty() && !shares_family => Self::NoCommonFamily,
            (true, false) => Self::OwnChangingPort,
            (false, true) => Self::PeerChangingPort,
            (false, false) if shares_ip => Self::NoHairpinning,
            (false, false) => Self::Unknown,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "this node has no edge to ask the peer over",
            Self::NoAnswer => "the peer did not answer over the network",
            Self::Withheld => "the peer names no address to this node",
            Self::NoCommonFamily => "one side has IPv4 only, the other IPv6 only",
            Self::NoHairpinning => "both sides share one NAT, which does not hairpin",
            Self::OwnChangingPort => {
                "the NAT of this node gives every destination another port, that of the peer \
                 admits known ports only"
            }
            Self::PeerChangingPort => {
                "the peer's NAT gives every destination another port, that of this node admits \
                 known ports only"
            }
            Self::ChangingPorts => "both NATs give every destination another port",
            Self::MovedPort => "an early packet moved the port of this node's NAT",
            Self::Unknown => "no datagram got through, though both NATs should allow it",
        })
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectOutcome {
    /// An edge over a direct path.
    Direct {
        /// Where the peer is, from here.
        remote: SocketAddr,
    },
    /// An edge through a volunteer.
    Relayed {
        /// The volunteer's socket for this node.
        remote: SocketAddr,
        /// The volunteer.
        volunteer: NodeId,
    },
    /// No edge.
    Failed(ConnectError),
}

impl ConnectOutcome {
    /// A stable name for logs and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct { .. } => "direct",
            Self::Relayed { .. } => "relayed",
            Self::Failed(_) => "failed",
        }
    }
}

/// What happened in one step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStepKind {
    /// The attempt began.
    Begun {
        /// Addresses that may be dialed at once.
        open: u8,
        /// Addresses that are dialed only after the peer has sent: a packet that comes earlier may
        /// move the port of its NAT.
        held: u8,
    },
    /// A Connect left.
    Asked {
        /// On this many first hops.
        copies: u8,
    },
    /// There is no edge that takes a Connect.
    Unroutable,
    /// The peer answered.
    Answered(PathSide),
    /// The peer did not answer in time.
    Unanswered,
    /// Punches leave for these addresses.
    Punching {
        /// The addresses.
        addrs: Vec<SocketAddr>,
        /// Whether they end behind this node's own NATs.
        is_short: bool,
    },
    /// The peer is told at which ports of this node's NAT to look for it.
    Predicted {
        /// The first port.
        first: u16,
        /// From one to the next.
        step: u16,
        /// How many.
        count: u16,
    },
    /// An early packet moved the port of this node's NAT, and the peer is told the new one.
    PortMoved {
        /// Where this node is seen now.
        addr: SocketAddr,
    },
    /// A datagram of the peer arrived from an address that it had not named.
    PeerSeen {
        /// The address.
        addr: SocketAddr,
    },
    /// An address is dialed.
    Dialed {
        /// The address.
        addr: SocketAddr,
        /// The volunteer whose address it is.
        volunteer: Option<NodeId>,
    },
    /// A dial failed.
    DialFailed {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: DialError,
    },
    /// Volunteers are asked to relay.
    RelayWanted,
    /// A volunteer offers to relay.
    RelayGranted {
        /// The volunteer.
        volunteer: NodeId,
        /// Its socket for this node.
        addr: SocketAddr,
    },
    /// No volunteer relays.
    RelayUnavailable {
        /// Volunteers that were asked.
        asked: u8,
    },
    /// The attempt ended.
    Ended(ConnectOutcome),
}

impl ConnectStepKind {
    /// A stable name for logs and machine-readable output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::Asked { .. } => "asked",
            Self::Unroutable => "unroutable",
            Self::Answered(_) => "answered",
            Self::Unanswered => "unanswered",
            Self::Punching { .. } => "punching",
            Self::Predicted { .. } => "predicted",
            Self::PortMoved { .. } => "port_moved",
            Self::PeerSeen { .. } => "peer_seen",
            Self::Dialed { .. } => "dialed",
            Self::DialFailed { .. } => "dial_failed",
            Self::RelayWanted => "relay_wanted",
            Self::RelayGranted { .. } => "relay_granted",
            Self::RelayUnavailable { .. } => "relay_unavailable",
            Self::Ended(_) => "ended",
        }
    }
}

/// One line, for people.
impl fmt::Display for ConnectStepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { open, held } => {
                write!(f, "{open} addresses to dial, {held} that wait for the peer to send first")
            }
            Self::Asked { copies } => write!(f, "asked the peer over {copies} routes"),
            Self::Unroutable => f.write_str("no edge to ask over"),
            Self::Answered(side) => {
                let reachability = side.reachability.name();
                write!(f, "the peer answered: {} addresses, ", side.addrs.len())?;
                write!(f, "reachability {reachability}, mapping {}", side.mapping.name())
            }
            Self::Unanswered => f.write_str("the peer did not answer"),
            Self::Punching { addrs, is_short } => {
                let extent = if *is_short { "own NATs only" } else { "all the way" };
                write!(f, "punching {} ({extent})", List(addrs))
            }
            Self::Predicted { first, step, count } => {
                write!(f, "told the peer to look at {count} ports from {first} on, step {step}")
            }
            Self::PortMoved { addr } => {
                write!(f, "an early packet moved the port of this node's NAT: it is {addr} now")
            }
            Self::PeerSeen { addr } => write!(f, "the peer sends from {addr}"),
            Self::Dialed { addr, volunteer: None } => write!(f, "dialing {addr}"),
            Self::Dialed { addr, volunteer: Some(id) } => {
                write!(f, "dialing {addr} through volunteer {id}")
            }
            Self::DialFailed { addr, error } => write!(f, "{addr}: {error}"),
            Self::RelayWanted => f.write_str("asking volunteers to relay"),
            Self::RelayGranted { volunteer, addr } => {
                write!(f, "volunteer {volunteer} relays at {addr}")
            }
            Self::RelayUnavailable { asked } => {
                write!(f, "no volunteer relays ({asked} were asked)")
            }
            Self::Ended(ConnectOutcome::Direct { remote }) => write!(f, "direct edge to {remote}"),
            Self::Ended(ConnectOutcome::Relayed { remote, volunteer }) => {
                write!(f, "relayed edge through {volunteer} at {remote}")
            }
            Self::Ended(ConnectOutcome::Failed(error)) => write!(f, "no edge: {error}"),
        }
    }
}

struct List<'a>(&'a [SocketAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, addr) in self.0.iter().enumerate() {
            write!(f, "{}{addr}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectStep {
    /// Time since the attempt began.
    pub at: Duration,
    /// What happened.
    pub kind: ConnectStepKind,
}

/// What is known of the last attempt to connect to a peer. Its `Display` is one sentence for
/// people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The peer.
    pub peer: NodeId,
    /// The outcome; none while the attempt is under way.
    pub outcome: Option<ConnectOutcome>,
    /// Why the path is not direct; none if it is, or if the attempt is under way.
    pub obstacle: Option<Obstacle>,
    /// The steps in order, at most [`CONNECT_STEPS_MAX`].
    pub steps: Vec<ConnectStep>,
}

impl Explanation {
    /// What would help, if anything is known to.
    pub fn advice(&self) -> Option<&'static str> {
        let is_relayed = matches!(self.outcome, Some(ConnectOutcome::Relayed { .. }));
        Some(match self.obstacle? {
            Obstacle::NoRoute => "check that this network lets UDP out, and the bootstrap peers",
            Obstacle::NoAnswer => {
                "check the identifier, and that the peer is up and has joined the same network"
            }
            Obstacle::Withheld if !is_relayed => {
                "the peer may use the address policy `relay-only` or `known`: let a node run with \
                 --relay, or let the peer connect to this node"
            }
            Obstacle::NoCommonFamily if !is_relayed => {
                "give both sides an address of the same family, or let a node with both run with \
                 --relay"
            }
            _ if is_relayed => "forward a UDP port on one side to make the path direct",
            _ => {
                "forward a UDP port on one side, or let a node that any other reaches run with \
                 --relay"
            }
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            None => f.write_str("the attempt is under way")?,
            Some(ConnectOutcome::Direct { remote }) => write!(f, "direct path to {remote}")?,
            Some(ConnectOutcome::Relayed { volunteer, .. }) => {
                write!(f, "relayed by volunteer {volunteer}")?;
            }
            Some(ConnectOutcome::Failed(error)) => match self.obstacle {
                Some(obstacle) => write!(f, "no path: {obstacle}")?,
                None => write!(f, "no path: {error}")?,
            },
        }
        if let (Some(ConnectOutcome::Relayed { .. }), Some(obstacle)) =
            (self.outcome, self.obstacle)
        {
            write!(f, ", because {obstacle}")?;
        }
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(addrs: &[&str], mapping: Mapping) -> PathSide {
        let addrs = addrs.iter().map(|addr| addr.parse().expect("a literal")).collect();
        PathSide { addrs, mapping, ..PathSide::default() }
    }

    #[test]
    fn the_obstacle_follows_from_what_both_sides_say() {
        let easy = |addr| side(&[addr], Mapping::EndpointIndependent);
        let hard = |addr| side(&[addr], Mapping::AddressAndPortDependent);
        let (a, b) = ("192.0.2.1:1", "198.51.100.1:1");
        let cases = [
            (easy(a), easy(b), Obstacle::Unknown),
            (easy(a), easy(a), Obstacle::NoHairpinning),
            (hard(a), easy(b), Obstacle::OwnChangingPort),
            (easy(a), hard(b), Obstacle::PeerChangingPort),
            (hard(a), hard(b), Obstacle::ChangingPorts),
            (easy(a), easy("[2001:db8::1]:1"), Obstacle::NoCommonFamily),
            (easy(a), PathSide::default(), Obstacle::Withheld),
        ];
        for (own, peer, obstacle) in cases {
            assert_eq!(Obstacle::between(&own, &peer), obstacle, "{own:?} {peer:?}");
        }
    }

    #[test]
    fn an_explanation_is_one_sentence_that_names_what_would_help() {
        let failed = ConnectOutcome::Failed(ConnectError::NoPath);
        let explanation = Explanation {
            peer: NodeId::from_bytes([1; 32]),
            outcome: Some(failed),
            obstacle: Some(Obstacle::ChangingPorts),
            steps: Vec::new(),
        };
        assert_eq!(
            explanation.to_string(),
            "no path: both NATs give every destination another port; forward a UDP port on one \
             side, or let a node that any other reaches run with --relay"
        );
    }
}
