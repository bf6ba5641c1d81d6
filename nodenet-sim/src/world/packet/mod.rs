//! Packet world: whole nodes with QUIC and TLS on a simulated network of datagrams.
//!
//! Responsible for: hosts with clocks, interfaces and sockets; networks behind NAT boxes; one order
//! of all events. Never: what a link or a NAT box does with a datagram. There is one model of both,
//! in [`nodenet_proto::testkit`].
//!
//! A run is a function of the seed and of the calls. Addresses, identities and random numbers of a
//! host follow from its name, and fates of datagrams from the link and their ordinal there. A host
//! or a call more or less thus changes nothing for hosts that have nothing to do with it.

mod addresses;
mod calendar;
mod clock;
mod host;
mod journal;
mod networks;
mod observe;
mod step;
mod swarm;
#[cfg(test)]
mod tests;
mod world;

pub use clock::{CLOCK_RATE_PPM_MAX, HostClock};
pub use host::HostDrops;
pub use journal::{PACKET_HEADINGS, PacketJournal, PacketStep, PacketStepKind};
pub use networks::{Gateway, Interface, NetworkId, NetworkSpec};
pub use swarm::{PacketSwarm, SwarmConfig};
pub use world::{HostSpec, PORT, PacketConfig, PacketWorld, Seen};
