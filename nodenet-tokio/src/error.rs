//! What can go wrong, in words that say what to do.
//!
//! The rule for every error of this crate: its text says all there is to say, the cause included,
//! because that text is what people see. So `source()` does not return the cause as well, or a
//! program that prints the chain would print it twice.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nodenet_proto::NodeId;
use nodenet_proto::api::{self, EdgeDownReason, OWN_ADDRS_MAX};
use nodenet_proto::node::ConfigError;
use nodenet_proto::transport::DialError;

/// Ends the text of each [`AdvertiseError`].
const ADVERTISE_ADVICE: &str =
    "write the one under which others reach this node, for example 203.0.113.5:4242";

/// Why others could not dial an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// It is unspecified, a multicast or a broadcast address.
    #[error("{0} is no address of one host; {ADVERTISE_ADVICE}")]
    NotOneHost(IpAddr),
    /// Its port is 0.
    #[error("nobody can be dialed at port 0; {ADVERTISE_ADVICE}")]
    NoPort,
    /// It means something else on every machine, or on every link, and the node serves more than
    /// that.
    #[error(
        "{0} reaches no farther than one machine or one link, and this node serves a larger network; \
         {ADVERTISE_ADVICE}, or bind to a loopback address for a network on this machine"
    )]
    TooNear(IpAddr),
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The socket can not be bound.
    #[error("can not listen on {addr}: {cause}{}", bind_advice(*addr, cause))]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The socket can not be used.
    #[error("can not use the socket: {0}")]
    Socket(io::Error),
    /// An address that this node was to name as its own can not be dialed by others.
    #[error("can not advertise {addr}: {problem}")]
    Advertise {
        /// Which one.
        addr: SocketAddr,
        /// Why.
        problem: AdvertiseError,
    },
    /// This node was to name more addresses as its own than others are told.
    #[error(
        "can not advertise {count} addresses: others are told {OWN_ADDRS_MAX} at most; name the best \
         {OWN_ADDRS_MAX}"
    )]
    TooManyAdvertised {
        /// How many different ones there are.
        count: usize,
    },
    /// The configuration can not work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    NoEntropy(getrandom::Error),
}

fn bind_advice(addr: SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process uses that port: stop it, or choose another port (0 takes a free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: choose one that has, or 0.0.0.0"
        }
        io::ErrorKind::PermissionDenied if (1..1_024).contains(&addr.port()) => {
            "; ports below 1024 need privileges: choose a higher one"
        }
        io::ErrorKind::PermissionDenied => {
            "; a rule of this machine forbids it: choose another port, or look at its sandbox and \
             its reserved ports"
        }
        _ => "",
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no edge at all, so nobody who could forward the message.
    #[error(
        "unroutable: this node has no edge to send over; wait until it has joined, and check the \
         bootstrap peers if it does not"
    )]
    Unroutable,
    /// A direct message to a node to which there is no edge.
    #[error("there is no edge to {0}; connect to it first, or send by routing")]
    NoEdge(NodeId),
    /// No edge that could take the message has room for it: see [`Node::send`](crate::Node::send)
    /// for how much an edge takes. For a message to this node itself, its own
    /// [`Deliveries`](crate::Deliveries) are full.
    #[error("no edge has room for another message now; send more slowly and try again in a moment")]
    Backpressure,
    /// The payload does not fit one message.
    #[error("the payload has {len} bytes, at most {max} fit; send it in parts")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// What fits, in bytes.
        max: usize,
    },
    /// The node was shut down or failed.
    #[error("the node is closed; start a new one")]
    Closed,
}

impl SendError {
    pub(crate) fn routed(failure: api::SendFailure) -> Self {
        match failure {
            api::SendFailure::Unroutable => Self::Unroutable,
            api::SendFailure::Backpressure => Self::Backpressure,
            api::SendFailure::TooLarge { len, max } => Self::TooLarge { len, max },
            // Closed, and what a later version adds.
            _ => Self::Closed,
        }
    }

    pub(crate) fn direct(failure: api::SendFailure, target: NodeId) -> Self {
        match Self::routed(failure) {
            Self::Unroutable => Self::NoEdge(target),
            _ if failure == api::SendFailure::NoEdge => Self::NoEdge(target),
            other => other,
        }
    }
}

/// Why there is no edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing to dial.
    #[error("no usable address of that node is known; give one that this node's socket can reach")]
    NoAddress,
    /// Every address was dialed in vain; the last reason.
    #[error("dialing failed: {0}; check the address and that the node is up")]
    Dial(DialError),
    /// The peer proved who it is, and the edge ended before it said anything.
    #[error(
        "the peer did not take the edge ({0}); it may be full, refuse this node, or ask for more proof \
         of work: both sides must use the same difficulty"
    )]
    NotTaken(EdgeDownReason),
    /// The peer proved who it is, but its identifier lacks the network's proof of work.
    #[error(
        "the peer's identifier lacks the proof of work that this node asks for; both sides must \
         use the same difficulty"
    )]
    WorkUnmet,
    /// This node's own edge policy said no.
    #[error("edge refused: this node's edge policy does not admit the peer")]
    EdgeRefused,
    /// The target is this node.
    #[error("that is this node itself")]
    SelfEdge,
    /// Too many dials are under way, or too many callers wait for them: 1,024.
    #[error("too many dials are under way; try again in a moment")]
    Busy,
    /// The node was shut down or failed.
    #[error("the node is closed; start a new one")]
    Closed,
}

impl From<api::ConnectError> for ConnectError {
    fn from(error: api::ConnectError) -> Self {
        match error {
            api::ConnectError::NoAddress => Self::NoAddress,
            api::ConnectError::Dial(error) => Self::Dial(error),
            api::ConnectError::NotTaken(reason) => Self::NotTaken(reason),
            api::ConnectError::WorkUnmet => Self::WorkUnmet,
            api::ConnectError::Refused => Self::EdgeRefused,
            api::ConnectError::SelfEdge => Self::SelfEdge,
            api::ConnectError::Busy => Self::Busy,
            // Closed, and what a later version adds.
            _ => Self::Closed,
        }
    }
}

/// The node is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is closed; start a new one")]
pub struct Closed;

/// Why a node ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The socket can not be read any more; what the system said last.
    #[error("the socket failed: {0}")]
    Socket(String),
    /// The task that drove the node panicked or was aborted with its runtime.
    #[error("the task that drives the node died, which is a bug or the end of its runtime")]
    Died,
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;

    use super::StartError;
    use crate::peer_file::PeerFileError;
    use crate::seed_file::SeedFileError;

    fn bind(addr: &str, kind: io::ErrorKind) -> StartError {
        StartError::Bind { addr: addr.parse().unwrap(), cause: kind.into() }
    }

    #[test]
    fn only_ports_that_need_privileges_are_said_to_need_them() {
        let said =
            |port| bind(&format!("127.0.0.1:{port}"), io::ErrorKind::PermissionDenied).to_string();
        for port in [1, 443, 1_023] {
            assert!(said(port).contains("ports below 1024 need privileges"), "{}", said(port));
        }
        for port in [0, 1_024, 65_535] {
            assert!(said(port).contains("choose another port"), "{}", said(port));
            assert!(!said(port).contains("privileges"), "{}", said(port));
        }
    }

    #[test]
    fn a_cause_is_in_the_text_and_not_told_a_second_time() {
        let cause = || io::Error::other("the disk is on fire");
        let path = || "some/where".into();
        let errors: [Box<dyn Error>; 6] = [
            Box::new(StartError::Bind { addr: "127.0.0.1:7".parse().unwrap(), cause: cause() }),
            Box::new(StartError::Socket(cause())),
            Box::new(SeedFileError::NotWritable { path: path(), cause: cause() }),
            Box::new(SeedFileError::Io { action: "read", path: path(), cause: cause() }),
            Box::new(PeerFileError::Io { action: "read", path: path(), cause: cause() }),
            Box::new(crate::mint::MintError::NoThread(cause())),
        ];
        for error in errors {
            assert!(error.to_string().contains("the disk is on fire"), "{error}");
            assert!(error.source().is_none(), "{error}");
        }
    }
}
