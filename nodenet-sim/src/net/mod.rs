//! Model of the network below a world: latency between hosts, their addresses, their NAT types, and
//! which of these let a direct path through.
//!
//! Responsible for: what is drawn once for a host and never changes, and bare UDP between two hosts
//! behind boxes, by which the oracle is checked. Never: conns, frames.

pub mod access;
pub mod bare;
mod host_plan;
pub mod latency;
pub mod matrix;
mod nat_plan;
pub mod oracle;

pub use host_plan::{AddressPlan, HostSlot};
pub use nat_plan::Nat;
