//! Edges per subnet, for diversity (PROTOCOL.md#subnet-spread).

use super::ChoiceInputs;
use crate::addr::Subnet;

/// Edges in one subnet, at most, while there are contacts in others (PROTOCOL.md#subnet-spread).
const LIVE_SUBNET_MAX: usize = 2;

/// The subnets of all edges: live, being dialed, and picked in the same choice. Counting only the
/// live ones would let a single choice take any number from one subnet (PROTOCOL.md#subnet-spread).
#[derive(Debug)]
pub(crate) struct SubnetCounts {
    /// In order; a subnet is listed once for each of its edges.
    subnets: Vec<Subnet>,
}

impl SubnetCounts {
    /// The edges and dials of the inputs, and others in these subnets.
    pub(crate) fn of(inputs: &ChoiceInputs<'_>, others: impl Iterator<Item = Subnet>) -> Self {
        let live = inputs.live.iter().filter_map(|edge| edge.subnet);
        let in_flight = inputs.in_flight.iter().filter_map(|dial| dial.subnet);
        let mut subnets: Vec<Subnet> = live.chain(in_flight).chain(others).collect();
        subnets.sort_unstable();
        Self { subnets }
    }

    /// One more edge there.
    pub(crate) fn add(&mut self, subnet: Option<Subnet>) {
        if let Some(subnet) = subnet {
            let at = self.subnets.partition_point(|other| *other < subnet);
            self.subnets.insert(at, subnet);
        }
    }

    /// Whether a subnet has its share. An address that belongs to none never counts.
    pub(crate) fn is_full(&self, subnet: Option<Subnet>) -> bool {
        subnet.is_some_and(|subnet| {
            let first = self.subnets.partition_point(|other| *other < subnet);
            self.subnets.get(first + LIVE_SUBNET_MAX - 1) == Some(&subnet)
        })
    }
}
