//! The world below the engine: what its conns promise, with machines that do as they are told.

mod contract;
mod net;
mod scripted;
mod stand_in;
mod swarm;
