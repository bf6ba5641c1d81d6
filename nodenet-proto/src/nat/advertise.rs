//! Own addresses worth naming to others, and what is said with them.
//!
//! Responsible for: which confirmed addresses are named, their order, and the signals that go with
//! them. Never: decides which asker gets which; [`crate::api::SelfDescription`] does.

use std::net::SocketAddr;
use std::time::Instant;

use super::reflexive::{Group, Reports};
use crate::NodeId;
use crate::addr::{Scope, canonical, scope};
use crate::api::{Guess, NatReport, PathSide, Reachability};
use crate::wire::Addr;
use crate::wire::nat::{Allocator, Mapping, Signal, Signals};

/// Confirmed addresses, at most: one for each family and scope.
pub(crate) const CONFIRMED_MAX: usize = 4;

/// The confirmed addresses, those that reach farthest first, IPv4 before IPv6.
pub(crate) fn confirmed(reports: &Reports, now: Instant) -> Vec<SocketAddr> {
    let groups = reports.groups(now).into_iter();
    groups.filter_map(|group| reports.view(now, group).addr).take(CONFIRMED_MAX).collect()
}

/// Where neighbours see this node in families without a confirmed global address.
pub(crate) fn guesses(reports: &Reports, now: Instant, confirmed: &[SocketAddr]) -> Vec<Guess> {
    let groups = [true, false].map(|is_v4| Group { scope: Scope::Global, is_v4 });
    let has = |group: &Group| confirmed.iter().any(|addr| Group::of(*addr) == Some(*group));
    groups.into_iter().filter(|group| !has(group)).filter_map(|g| reports.guess(now, g)).collect()
}

/// The address that probers are asked to reach.
pub(crate) fn tested(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    addrs.iter().copied().find(|addr| scope(addr.ip()) == Some(Scope::Global))
}

/// What this node says of itself, and which neighbours relay to it.
pub(crate) fn signals(report: &NatReport, volunteers: &[(NodeId, SocketAddr)]) -> Signals {
    let reachable = match report.reachability {
        Reachability::Unknown => None,
        Reachability::Reachable => Some(Signal::Reachable(true)),
        Reachability::Unreachable => Some(Signal::Reachable(false)),
    };
    let (mapping, allocator) = (report.mapping, report.allocator);
    let is_known = (mapping, allocator) != (Mapping::Unknown, Allocator::Unknown);
    let nat = is_known.then_some(Signal::Nat { mapping, allocator });
    let volunteer = |(id, addr): &(NodeId, SocketAddr)| Signal::Volunteer {
        id: *id,
        addr: Addr::from_socket_addr(*addr),
    };
    Signals::new(reachable.into_iter().chain(nat).chain(volunteers.iter().map(volunteer)))
}

/// Whether a peer names a global address, and does not know its NAT: few neighbours vouch for it.
pub(crate) fn is_vague(peer: &PathSide) -> bool {
    let is_global = |addr: &SocketAddr| scope(addr.ip()) == Some(Scope::Global);
    (peer.mapping, peer.reachability) == (Mapping::Unknown, Reachability::Unknown)
        && peer.addrs.iter().any(is_global)
}

/// The nodes that a peer names as those that relay to it.
pub(crate) fn volunteers(signals: &Signals) -> Vec<(NodeId, SocketAddr)> {
    let named = signals.volunteers();
    named.filter_map(|(id, addr)| Some((*id, canonical(addr.to_socket_addr()?)))).collect()
}
