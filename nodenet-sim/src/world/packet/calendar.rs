//! Calendar entries of a packet world: what is due at a host at a known time.

use std::time::Duration;

use crate::world::Host;

/// The driver looks at the wall clock this often (the contract of [`nodenet_proto::node`]).
pub(super) const WALL_EVERY: Duration = Duration::from_secs(60);

/// An entry of the calendar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scheduled {
    /// A deadline of a node.
    Wake(Host),
    /// A driver looks at the wall clock, as long as its node was started that often.
    Wall { host: Host, generation: u64 },
    /// The sockets of a host may take datagrams again.
    Writable(Host),
}
