//! The overlay world: whole engines over in-memory conns.
//!
//! Responsible for: a network of many thousand nodes in one process and one order of events. Never:
//! QUIC, sockets, real time; that is the packet world's.
//!
//! A [`World`] is made, [`World::join`]ed by hosts, and moved on by [`World::run_until`].
//! Everything that happens is a function of the seed and the calls made: same calls, same
//! [`World::trace`].

mod conn;
mod cut;
mod dial;
mod host;
mod machine;
mod meter;
mod net;
mod post;
mod step;
mod trail;
mod world;

#[cfg(test)]
mod tests;

pub use host::{AddressPlan, Host, Nat, Seat};
pub use machine::{Birth, Machine, Maker, engines};
pub use meter::{Meter, Meters, Traffic, frame_bytes};
pub use post::{Arrival, PAYLOAD_LEN, Parcel, Post, Settled};
pub use trail::{HEADINGS, Step, StepKind, Trail};
pub use world::{Join, Violation, World, WorldConfig};
