//! Overlay world: whole engines over in-memory conns.
//!
//! Responsible for: a network of many thousand nodes in one process and one order of events. Never:
//! QUIC, sockets, real time; that is the packet world's.
//!
//! An [`OverlayWorld`] is made, hosts [`World::join`] it, and [`World::run_until`] moves it on.
//! Everything that happens is a function of the seed and the calls made: same calls, same
//! [`World::trace`].
//!
//! [`World::join`]: crate::world::World::join
//! [`World::run_until`]: crate::world::World::run_until
//! [`World::trace`]: crate::world::World::trace

mod conns;
mod dial;
mod dials;
mod host;
mod machine;
mod net;
mod partition;
mod step;
mod world;

#[cfg(test)]
mod tests;

pub use machine::{Factory, Machine, Spawn, engines};
pub use world::{OverlayWorld, WorldConfig};
