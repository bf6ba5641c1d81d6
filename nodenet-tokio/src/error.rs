//! Errors of this crate, with texts that say what to do.
//!
//! The text of each error contains its cause, because people see the text alone. So `source()` does
//! not return the cause again: a program that prints the chain would print it twice.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nodenet_proto::api::OWN_ADDRS_MAX;
use nodenet_proto::node::ConfigError;

/// Ends the text of each [`AdvertiseError`].
const ADVERTISE_ADVICE: &str =
    "write the one at which peers reach this node, for example 203.0.113.5:4242";

/// Why peers could not dial an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// It is unspecified, a multicast or a broadcast address.
    #[error("{0} is no address of one host; {ADVERTISE_ADVICE}")]
    NotOneHost(IpAddr),
    /// Its port is 0.
    #[error("port 0 can not be dialed; {ADVERTISE_ADVICE}")]
    NoPort,
    /// It means another host on each machine or on each link, and the node serves a larger network.
    #[error(
        "{0} reaches no farther than one machine or one link, and this node serves a larger \
         network; {ADVERTISE_ADVICE}, or bind to a loopback address for a network on this machine"
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
        /// The error of the system.
        cause: io::Error,
    },
    /// The socket can not be used.
    #[error("can not use the socket: {0}")]
    Socket(io::Error),
    /// Peers could not dial an address that this node is to advertise.
    #[error("can not advertise {addr}: {problem}")]
    Advertise {
        /// The address.
        addr: SocketAddr,
        /// Why.
        problem: AdvertiseError,
    },
    /// This node is to advertise more addresses than it can.
    #[error(
        "can not advertise {count} addresses: a node advertises {OWN_ADDRS_MAX} at most; name the \
         best {OWN_ADDRS_MAX}"
    )]
    TooManyAdvertised {
        /// Their number, each counted once.
        count: usize,
    },
    /// The configuration is impossible.
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

/// The node is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is closed; start a new one")]
pub struct Closed;

/// Why a node ended before it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The socket can not be read any more; the last error of the system.
    #[error("the socket failed: {0}")]
    Socket(String),
    /// The task that drove the node panicked or was aborted with its runtime.
    #[error(
        "the task that drives the node ended early: its runtime was shut down, or it panicked, \
         which is a bug to report"
    )]
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
    fn only_for_ports_that_need_privileges_the_text_says_so() {
        let text =
            |port| bind(&format!("127.0.0.1:{port}"), io::ErrorKind::PermissionDenied).to_string();
        for port in [1, 443, 1_023] {
            assert!(text(port).contains("ports below 1024 need privileges"), "{}", text(port));
        }
        for port in [0, 1_024, 65_535] {
            assert!(text(port).contains("choose another port"), "{}", text(port));
            assert!(!text(port).contains("privileges"), "{}", text(port));
        }
    }

    #[test]
    fn a_cause_is_in_the_text_and_not_in_the_source() {
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
