//! Simulated worlds of nodes: the trait [`World`], its common parts, and its implementations.
//!
//! Responsible for: names of hosts, the journal of steps, tracked messages, meters of traffic.
//! Never: scenarios and stages; see [`crate::run`].

mod ids;
mod journal;
mod meters;
pub mod overlay;
pub mod packet;
mod probes;

use std::time::Duration;

use nodenet_proto::NodeId;
use nodenet_proto::api::{self, EdgeInfo};
use nodenet_proto::stats::Stats;

use crate::clock::Moment;
use crate::hash::TraceHash;
use crate::net::Nat;

pub use ids::Host;
pub use journal::{HEADINGS, Journal, Step, StepKind};
pub use meters::{Meter, Meters, Traffic, frame_bytes};
pub use probes::{Arrival, PAYLOAD_LEN, Probes, Settled, Tracked};

/// Settings of a new host.
#[derive(Debug, Clone)]
pub struct Join {
    /// Its NAT.
    pub nat: Nat,
    /// The hosts through which it joins.
    pub bootstrap: Vec<Host>,
    /// Its settings.
    pub config: api::Config,
}

/// Violation of an invariant: the run ends with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} at t={at}: {what}")]
pub struct Violation {
    /// Time of the violation.
    pub at: Moment,
    /// The host at which it occurred.
    pub host: Host,
    /// The violated invariant.
    pub what: String,
}

/// Time after which a message counts as lost (guess): far beyond 17 edges of 180 ms. Time of a
/// rendezvous for its answer, the default of nodenet-tokio.
pub(crate) const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// Time in which a connect is settled (PROTOCOL.md).
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(15);

/// Interface of a world: operations on hosts, time, and observations.
///
/// The same calls give the same steps: every event is a function of the seed and of these calls.
pub trait World {
    /// Starts a new node on that side of a partition where one of its bootstrap hosts is. On the
    /// other side it could not join.
    fn join(&mut self, join: Join) -> Result<Host, Violation>;
    /// Starts a node that crashed or left again: same identity, same address, same side of a
    /// partition, empty memory. Any host that the node was before may be given.
    ///
    /// # Panics
    /// If the node is still up, as this or as another host. A node is never up twice.
    fn restart(&mut self, host: Host, bootstrap: Vec<Host>) -> Result<Host, Violation>;
    /// Stops a node at once, without notice to its peers.
    fn crash(&mut self, host: Host);
    /// Asks a node to leave. It stops when it has left.
    fn leave(&mut self, host: Host) -> Result<(), Violation>;
    /// Sends a tracked message; [`Self::probes`] has its outcome.
    fn send(&mut self, from: Host, to: Host) -> Result<(), Violation>;
    /// Lets a node ask another for its keys and addresses, for ten seconds; [`Self::probes`] has
    /// the outcome.
    fn ask(&mut self, from: Host, to: Host) -> Result<(), Violation>;
    /// Lets a node connect to another; [`Self::probes`] has the outcome.
    fn connect(&mut self, from: Host, to: Host) -> Result<(), Violation>;
    /// Lets a node drop the messages of others that it should forward. It answers and sends as
    /// before.
    fn silence(&mut self, host: Host);
    /// Splits the network: hosts for which `side` differs cannot reach each other. Hosts that are
    /// down have a side too, because they may start again.
    fn partition(&mut self, side: &mut dyn FnMut(Host) -> u8);
    /// Joins the network again.
    fn heal(&mut self);
    /// Carries out all events that are due until `end`, and moves the clock there.
    fn run_until(&mut self, end: Moment) -> Result<(), Violation>;
    /// The time of the world.
    fn now(&self) -> Moment;
    /// Number of hosts of the run, up or not.
    fn hosts_len(&self) -> u32;
    /// Number of hosts that are up.
    fn live_len(&self) -> usize;
    /// The host that is up and has this index, in an order that depends on the run alone.
    ///
    /// # Panics
    /// If fewer hosts are up.
    fn live_at(&self, index: usize) -> Host;
    /// Whether a host is up.
    fn is_up(&self, host: Host) -> bool;
    /// Time of a host's start.
    fn started_at(&self, host: Host) -> Moment;
    /// Time of the first sibling answer at a host, if there was one. A host that started while no
    /// other was up counts as joined from its start.
    fn joined_at(&self, host: Host) -> Option<Moment>;
    /// Time of a host's stop, if it stopped.
    fn stopped_at(&self, host: Host) -> Option<Moment>;
    /// The next host of the same node, if it was restarted. That host may have stopped and have a
    /// successor, too.
    fn successor(&self, host: Host) -> Option<Host>;
    /// The identifier of a host.
    fn id(&self, host: Host) -> NodeId;
    /// The NAT of a host.
    fn nat(&self, host: Host) -> Nat;
    /// The half of the last partition that a host was in.
    fn side(&self, host: Host) -> u8;
    /// The live edges of a host, nearest to it first; none if it is down.
    fn edges(&self, host: Host) -> Vec<EdgeInfo>;
    /// Counters of a host; none if it is down.
    fn stats(&self, host: Host) -> Option<Stats>;
    /// Number of entries of the tables of a host, by name; none if it is down.
    fn gauges(&self, host: Host) -> Vec<(&'static str, u64)>;
    /// Tracked messages.
    fn probes(&self) -> &Probes;
    /// Traffic and wake-ups of every host.
    fn meters(&self) -> &Meters;
    /// Sets all meters to zero.
    fn clear_meters(&mut self);
    /// Counts acknowledgements that are overdue, so that [`Self::meters`] is complete.
    fn settle_meters(&mut self);
    /// Number of steps of this kind so far.
    fn tally(&self, kind: StepKind) -> u64;
    /// The last steps.
    fn journal(&self) -> Journal;
    /// Hash of all steps so far.
    fn trace(&self) -> &TraceHash;
    /// Checks every machine.
    ///
    /// # Panics
    /// If an invariant of one does not hold.
    fn check_all(&self);

    /// The last host of the same node.
    fn latest(&self, host: Host) -> Host {
        let all = core::iter::successors(Some(host), |&host| self.successor(host));
        all.last().unwrap_or(host)
    }
}

impl<'w> dyn World + 'w {
    /// Every host of the run, up or not.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (0..self.hosts_len()).map(Host)
    }

    /// Hosts that are up, in the order of [`World::live_at`].
    pub fn live(&self) -> impl ExactSizeIterator<Item = Host> {
        (0..self.live_len()).map(|index| self.live_at(index))
    }
}
