//! Overlay world: whole engines over in-memory conns.
//!
//! Responsible for: a network of many thousand nodes in one process and one order of events. Never:
//! QUIC, sockets, real time; that is the packet world's.
//!
//! Hosts [`World::join`] an [`OverlayWorld`], and [`World::run_until`] advances it. Every event is
//! a function of the seed and the calls: the same calls give the same [`World::trace`].
//!
//! [`World::join`]: crate::world::World::join
//! [`World::run_until`]: crate::world::World::run_until
//! [`World::trace`]: crate::world::World::trace

mod conns;
mod dial;
mod dials;
mod host;
mod host_conns;
mod machine;
mod nat;
mod net;
mod partition;
mod relaying;
mod splices;
mod step;
mod world;

#[cfg(test)]
mod tests;

pub use machine::{Factory, Machine, Spawn, engines};
pub use world::{OverlayWorld, WorldConfig};
