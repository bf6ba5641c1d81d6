//! Deterministic simulator of nodenet networks: thousands of whole nodes in one process, virtual
//! time, injected faults, comparable figures.
//!
//! A run is a function of its [`Scenario`], which is a value: it can be written in ten lines of
//! Rust or kept in a file. Same scenario, same events, same [`Report::trace_hash`], on every
//! machine.
//!
//! ```no_run
//! use std::time::Duration;
//! use nodenet_sim::{Bootstrap, Scenario};
//!
//! let minutes = |count: u64| Duration::from_secs(60 * count);
//! let report = Scenario::new("mends-after-a-split", 7)
//!     .nat_share(0.6)
//!     .grow(300, Bootstrap::Ten)
//!     .settle(minutes(10))
//!     .partition(minutes(10))
//!     .settle(minutes(5))
//!     .send(1_000)
//!     .expect_delivered(1.0)
//!     .run()
//!     .unwrap_or_else(|failure| panic!("{failure}"));
//! println!("{:?}", report.phases[0].figures.hops);
//! ```
//!
//! What no scenario expresses is done with a [`world::overlay::OverlayWorld`], host by host. It
//! takes machines of its user as well: applications, adversaries.
//!
//! # What is simulated
//! The overlay world runs whole [`nodenet_proto::engine::Engine`]s over in-memory conns. The
//! protocol above the transport boundary is the production code. Simulated are latency, loss, NAT
//! rules, clocks that differ, crashes and partitions; see [`world::overlay`] for what conns promise
//! and [`net::latency`] for the model of latency. Congestion and bandwidth are not: a conn carries
//! all that it is given.
//!
//! # Features
//! `cli` (usual): the program `nodenet-sim`, and all dependencies that only it needs.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod clock;
pub mod crypto;
pub mod hash;
pub mod net;
pub mod report;
pub mod run;
pub mod scenario;
pub mod world;

pub use report::{Failure, Report};
pub use scenario::{Bootstrap, Scenario, Stage};
