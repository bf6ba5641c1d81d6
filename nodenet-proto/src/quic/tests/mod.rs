//! Transports that talk to each other over an in-memory network in virtual time.

mod bounds;
mod contract;
mod frames;
mod hostile;
mod media;
mod paths;
mod peer;
pub(crate) mod raw;
mod restart;
mod unacked;
