//! Transports that talk to each other over an in-memory network in virtual time.

mod frames;
mod peer;
