//! Simulated networks of nodes: what every kind of world has in common, and the worlds.
//!
//! Responsible for: names of hosts, the journal of steps, tracked messages, meters of traffic.
//! Never: scenarios and stages; see [`crate::run`].

mod ids;
mod journal;
mod meters;
pub mod overlay;
mod probes;

pub use ids::Host;
pub use journal::{HEADINGS, Journal, Step, StepKind};
pub use meters::{Meter, Meters, Traffic, frame_bytes};
pub use probes::{Arrival, PAYLOAD_LEN, Probes, Settled, Tracked};
