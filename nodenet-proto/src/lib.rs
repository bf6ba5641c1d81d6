//! The nodenet protocol as a pure state machine: bytes and time in, bytes and events out.
//!
//! The front door is [`node::Node`]. It owns no socket, reads no clock and draws no entropy: a
//! driver hands it datagrams and the time, and drains what it wants done. See [`node`] for the
//! contract.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod addr;
pub mod api;
pub mod buf;
pub mod drive;
pub mod engine;
pub mod env;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod identity;
pub mod io;
pub mod node;
pub mod overlay;
pub mod pow;
pub mod quic;
pub mod stats;
#[cfg(test)]
mod testkit;
pub mod transport;
pub mod wire;

pub use id::NodeId;
