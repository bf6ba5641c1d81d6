//! Model of the network below a world: latency between hosts, their addresses, their NAT types.
//!
//! Responsible for: what is drawn once for a host and never changes. Never: conns, frames, time.

mod host_plan;
pub mod latency;

pub use host_plan::{AddressPlan, HostSlot, Nat};
