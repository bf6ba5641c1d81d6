//! Deterministic worlds for nodenet: thousands of whole nodes in one process, virtual time, faults
//! on demand, and figures that can be compared.
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
//! Whoever needs more than a scenario can say drives an [`overlay::World`] directly, host by host,
//! and may put machines of their own into it: applications, adversaries.
//!
//! # What is simulated
//! The overlay world runs whole [`nodenet_proto::engine::Engine`]s over in-memory conns. The
//! protocol above the transport boundary is the production code. Simulated are latency, loss, NAT
//! rules, clocks that differ, crashes and partitions; see [`overlay`] for what conns promise and
//! [`latency`] for where latency comes from. Congestion and bandwidth are not: conns carry what
//! they are given.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod crypto;
pub mod failure;
pub mod growth;
pub mod hash;
pub mod html;
pub mod latency;
pub mod overlay;
pub mod queue;
pub mod report;
pub mod row;
pub mod run;
pub mod scenario;
pub mod time;

pub use failure::Failure;
pub use report::Report;
pub use scenario::{Bootstrap, Scenario, Stage};
