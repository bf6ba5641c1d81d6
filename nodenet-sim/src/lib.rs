//! Discrete-event simulator of nodenet networks: whole nodes in one process, in virtual time, with
//! injected faults and reproducible figures.
//!
//! ```
//! use std::time::Duration;
//! use nodenet_sim::{Bootstrap, Scenario};
//!
//! let report = Scenario::new("heals-after-a-split", 7)
//!     .nat_share(0.3)
//!     .grow(30, Bootstrap::Ten)
//!     .settle(Duration::from_secs(120))
//!     .partition(Duration::from_secs(60))
//!     .settle(Duration::from_secs(120))
//!     .send(100)
//!     .expect_delivered(1.0)
//!     .run()
//!     .unwrap_or_else(|failure| panic!("{failure}"));
//!
//! let figures = &report.phases[0].figures;
//! assert_eq!(figures.delivered_share(), Some(1.0));
//! println!("{} nodes, hops: {:?}", figures.nodes, figures.hops);
//! ```
//!
//! A run is a function of its [`Scenario`], which is a value: lines of Rust, or a file. The same
//! scenario has the same events and the same [`Report::trace_hash`] on every machine.
//!
//! # What is simulated
//! There are two worlds. [`world::packet`] runs whole nodes, with QUIC and TLS, on datagrams
//! through links and NAT boxes; [`scenario::packet`] describes its scenarios.
//!
//! The overlay world runs whole [`nodenet_proto::engine::Engine`]s over in-memory conns. The
//! protocol above the transport boundary is the production code. Simulated are latency, loss, NAT
//! rules, clocks that differ, crashes and partitions. [`world::overlay`] describes the guarantees
//! of conns, and [`net::latency`] the origin of latency. Congestion and bandwidth are not
//! simulated.
//!
//! # Where to read next
//! - [`scenario`]: the stages of a run. [`report`]: its figures. [`report::Failure`]: the replay of
//!   a failed run.
//! - [`world::overlay::OverlayWorld`]: a world that a test drives host by host, with machines of
//!   its own such as applications and adversaries.
//! - `docs/SIMULATOR.md`: the program `nodenet-sim`, and the figures of large networks.
//!
//! # Features
//! `cli` (default): the program `nodenet-sim`, and the dependencies that only it needs.
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
pub use scenario::{Bootstrap, Probe, Scenario, Stage};
