//! Model of the network below a world: latency between hosts, their addresses, their NAT types, and
//! which of these let a direct path through.
//!
//! Responsible for: what is drawn once for a host and never changes. Never: conns, frames, time.

mod host_plan;
pub mod latency;
mod nat_plan;
pub mod oracle;

pub use host_plan::{AddressPlan, HostSlot};
pub use nat_plan::Nat;
