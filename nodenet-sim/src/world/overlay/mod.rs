//! Overlay world: whole engines over in-memory conns.
//!
//! Responsible for: a network of many thousand nodes in one process and one order of events. Never:
//! QUIC, sockets, real time; that is the packet world's.
//!
//! An [`OverlayWorld`] is made, [`OverlayWorld::join`]ed by hosts, and moved on by
//! [`OverlayWorld::run_until`]. Everything that happens is a function of the seed and the calls
//! made: same calls, same [`OverlayWorld::trace`].

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
