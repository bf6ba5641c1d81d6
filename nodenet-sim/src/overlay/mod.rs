//! The overlay world: whole engines over in-memory conns.
//!
//! Responsible for: a network of many thousand nodes in one process and one order of events. Never:
//! QUIC, sockets, real time; that is the packet world's.
//!
//! A [`World`] is made, [`World::join`]ed by hosts, and moved on by [`World::run_until`].
//! Everything that happens is a function of the seed and the calls made: same calls, same
//! [`World::trace`].

mod conn;
mod dial;
mod dials;
mod host;
mod host_plan;
mod ids;
mod journal;
mod machine;
mod meter;
mod net;
mod partition;
mod probes;
mod step;
mod world;

#[cfg(test)]
mod tests;

pub use host_plan::{AddressPlan, HostSlot, Nat};
pub use ids::Host;
pub use journal::{HEADINGS, Journal, Step, StepKind};
pub use machine::{Factory, Machine, Spawn, engines};
pub use meter::{Meter, Meters, Traffic, frame_bytes};
pub use probes::{Arrival, PAYLOAD_LEN, Probes, Settled, Tracked};
pub use world::{Join, Violation, World, WorldConfig};
