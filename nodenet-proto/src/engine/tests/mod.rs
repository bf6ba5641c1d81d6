//! Tests of whole engines on a network in memory.

mod attacks;
mod connecting;
mod dead_ends;
mod edges;
mod faults;
mod kit;
mod light;
mod nat;
mod pacing;
mod peers;
mod places;
mod puppets;
mod relaying;
mod rendezvous;
mod routing;
mod swarm;
