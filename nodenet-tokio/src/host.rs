//! What a node runs on: this machine, or a hub in a test.

use std::io;
use std::net::SocketAddr;

use nodenet_proto::env::{Seed, UnixNanos};

use crate::clock;
use crate::error::StartError;
use crate::socket::{Socket, bind_udp};
use crate::testing::{Hub, HubSocket};

/// Where sockets, wall time and randomness come from. Monotonic time always comes from tokio.
#[derive(Debug, Clone, Default)]
pub(crate) enum Host {
    /// The machine this program runs on.
    #[default]
    Machine,
    /// An in-memory network.
    Hub(Hub),
}

impl Host {
    /// Binds another socket.
    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<Socket> {
        match self {
            Self::Machine => bind_udp(addr).and_then(Socket::udp),
            Self::Hub(hub) => HubSocket::bind(hub, addr).map(Socket::Hub),
        }
    }

    /// Wall time now.
    pub(crate) fn wall(&self) -> UnixNanos {
        match self {
            Self::Machine => clock::wall(),
            Self::Hub(hub) => hub.wall(),
        }
    }

    /// The randomness of a node whose main socket is bound to `local_addr`.
    pub(crate) fn node_seed(&self, local_addr: SocketAddr) -> Result<Seed, StartError> {
        match self {
            Self::Machine => fresh_seed(),
            Self::Hub(hub) => Ok(hub.node_seed(local_addr)),
        }
    }
}

fn fresh_seed() -> Result<Seed, StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(StartError::NoEntropy)?;
    Ok(Seed::from_bytes(bytes))
}
