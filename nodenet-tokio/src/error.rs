//! What can go wrong, in words that say what to do.
//!
//! The rule for every error of this crate: its text says all there is to say, the cause included,
//! because that text is what people see. So `source()` does not return the cause as well, or a
//! program that prints the chain would print it twice.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nodenet_proto::api::OWN_ADDRS_MAX;
use nodenet_proto::node::ConfigError;

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
    use crate::key_file::KeyFileError;
    use crate::peer_file::PeerFileError;

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
            Box::new(KeyFileError::NotWritable { path: path(), cause: cause() }),
            Box::new(KeyFileError::Io { action: "read", path: path(), cause: cause() }),
            Box::new(PeerFileError::Io { action: "read", path: path(), cause: cause() }),
            Box::new(crate::mint::MintError::NoThread(cause())),
        ];
        for error in errors {
            assert!(error.to_string().contains("the disk is on fire"), "{error}");
            assert!(error.source().is_none(), "{error}");
        }
    }
}
