//! Async API on tokio around one [`nodenet_proto::node::Node`]: its sockets, timers and queues.
//!
//! ```
//! use nodenet_tokio::proto::identity::Identity;
//! use nodenet_tokio::{BootstrapPeer, Node, mint};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let alice = Node::builder(Identity::from_master_seed(&*mint::random_seed()?))
//!     .bind("127.0.0.1:0".parse()?)
//!     .start()
//!     .await?;
//! let bob = Node::builder(Identity::from_master_seed(&*mint::random_seed()?))
//!     .bind("127.0.0.1:0".parse()?)
//!     .bootstrap([BootstrapPeer::new(alice.id(), alice.local_addr())])
//!     .start()
//!     .await?;
//! bob.joined().await?;
//! bob.send(alice.id(), "hello").await?;
//!
//! let message = alice.deliveries().recv().await.ok_or("the node is closed")?;
//! assert_eq!((message.originator, &message.payload[..]), (bob.id(), &b"hello"[..]));
//!
//! bob.shutdown().await?;
//! alice.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! One task drives one node. [`Node`] is the handle of the application: it sends requests to the
//! task and awaits the replies. All queues between the two are bounded, and all futures can be
//! dropped at any time. This crate reads clocks, opens sockets and resolves names. The protocol
//! does none of this.
//!
//! # Where to read next
//! - [`Builder`] has the settings of a node, [`Node`] its operations, [`NodeEvents`] its events.
//! - [`mint`] finds an identity with proof of work on all cores, and [`key_file`] keeps it between
//!   runs. [`peer_file`] keeps the peers, so that a restart does not depend on the bootstrap list.
//! - `testing` puts whole nodes on an in-memory network, to test a cluster of an application in
//!   virtual time (feature `testing`, which is on by default).
//! - [`proto`] is the protocol without I/O, for drivers of another kind.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod advertise;
mod bootstrap;
mod builder;
mod channels;
mod clock;
mod driver;
mod error;
mod events;
pub mod key_file;
pub mod mint;
mod node;
pub mod peer_file;
mod platform;
mod private_file;
pub mod relay_file;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use advertise::check_advertised;
pub use bootstrap::{BootstrapPeer, ParseBootstrapError};
pub use builder::{Builder, bind};
pub use error::{AdvertiseError, Closed, Failure, StartError};
pub use events::{Deliveries, Delivery, NodeEvent, NodeEvents, NodeStats};
pub use node::Node;
pub use platform::SocketStats;

pub use nodenet_proto::NodeId;
/// Vocabulary of the protocol, as it is: an event or an error that a later version adds needs no
/// second definition here.
pub use nodenet_proto::api::{
    AddressPolicy, ConnectError, ConnectOutcome, ConnectStep, ConnectStepKind, DeliveryPath,
    EdgeDownReason, EdgeInfo, Event, Explanation, FoundPeer, HardPunch, KnownPeer, NatReport,
    Obstacle, PathSide, Profile, Reachability, RelayObstacle, RelayReport, RelayUsage,
    RendezvousError, SendFailure as SendError,
};

/// The core, so that applications need not list it among their dependencies.
pub use nodenet_proto as proto;

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
