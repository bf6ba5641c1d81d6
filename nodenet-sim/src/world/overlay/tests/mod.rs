//! Tests of the overlay world below the engine, with scripted machines and simplified nodes.

mod contract;
mod net;
mod scripted;
mod splices;
mod stand_in;
mod swarm;
