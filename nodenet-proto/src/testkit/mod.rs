//! Test kit: hosts, NAT boxes and links on one datagram network in virtual time, and the contracts
//! of drivers and transports.
//!
//! Everything here is a function of a seed. Nothing reads a clock but [`base`], whose value only
//! serves as a beginning. The feature `testkit` compiles it; a node in use does without.
//!
//! - [`net`]: the network. A test owns its hosts and lends them to the network for every step.
//! - [`link`]: one direction of a path. [`nat_box`]: a NAT or a firewall.
//! - [`host`]: what can be on the network. [`node_host`]: a whole node. [`puppet`]: a script.
//! - [`contract`]: what every driver and every transport must do.
//! - [`transit`]: a relay with a meter around it, and bare quinn-proto to compare with.

pub mod contract;
pub mod fate;
pub mod host;
pub mod link;
pub mod nat_box;
pub mod net;
pub mod node_host;
pub mod puppet;
pub mod transit;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use crate::env::UnixNanos;
use crate::identity::Identity;

pub use host::{Arrival, Datagram, Host, Outbox};
pub use link::{LinkProfile, LossBursts};
pub use nat_box::{BoxKind, LinuxConfig, NatBox, NatConfig};
pub use net::{Net, Realm};
pub use node_host::NodeHost;
pub use puppet::Puppet;

/// The wall time when a network starts.
pub const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// Where virtual time starts: the same for all networks of one process.
#[expect(clippy::disallowed_methods, reason = "an Instant can not be made without a clock")]
pub fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// The address of the host with this number, in the space for documentation (RFC 5737).
pub fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 4242))
}

/// The identity of the host with this number.
pub fn identity(number: u64) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::from_master_seed(&seed)
}
