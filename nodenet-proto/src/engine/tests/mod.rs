//! Engines in a small world: what one node does as a whole.

mod attacks;
mod connecting;
mod dead_ends;
mod edges;
mod faults;
mod kit;
mod knowledge;
mod light;
mod pacing;
mod places;
mod puppets;
mod routing;
mod swarm;
