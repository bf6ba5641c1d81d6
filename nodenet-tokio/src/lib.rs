//! Sockets, timers and an async API around one [`nodenet_proto::node::Node`].
//!
//! One task drives one node. [`Node`] is the handle an application holds: it asks the task and
//! awaits the answer. All queues between the two are bounded, and all futures can be dropped at any
//! time.
//!
//! [`testing`] puts whole nodes on an in-memory network, so that an application can test a cluster
//! of itself.
//!
//! [`mint`] finds an identity with proof of work on all cores, [`seed_file`] keeps it between runs,
//! and [`peer_file`] keeps the peers, so that a restart does not hang on the bootstrap list.
//!
//! This crate reads clocks, opens sockets and resolves names, so that the protocol does not have
//! to.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod advertise;
mod bootstrap;
mod builder;
mod clock;
mod driver;
mod error;
mod events;
mod host;
mod interfaces;
pub mod mint;
mod node;
pub mod peer_file;
mod private_file;
pub mod seed_file;
mod socket;
pub mod testing;

pub use advertise::{AdvertiseError, check_advertised};
pub use bootstrap::{BootstrapPeer, ParseBootstrapError};
pub use builder::{Builder, bind};
pub use error::{Closed, ConnectError, Failure, SendError, StartError};
pub use events::{Deliveries, Delivery, NodeEvent, NodeEvents, NodeStats};
pub use node::Node;
pub use socket::SocketStats;

/// The core, so that applications need not name it in their dependencies.
pub use nodenet_proto as proto;

/// What the README shows compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
