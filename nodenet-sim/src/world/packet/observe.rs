//! Observations of a packet world: hosts, edges, gateways, messages, the trace.

use std::net::{IpAddr, SocketAddr};

use nodenet_proto::NodeId;
use nodenet_proto::api::{EdgeInfo, Explanation};
use nodenet_proto::node::Node;
use nodenet_proto::testkit::{NatBox, Net};

use super::host::HostDrops;
use super::journal::{PacketJournal, PacketStepKind};
use super::networks::{Interface, NetworkId};
use super::world::PacketWorld;
use crate::clock::Moment;
use crate::hash::TraceHash;
use crate::world::{Host, Meters, Probes};

/// Observations.
impl PacketWorld {
    /// The time of the world.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (0..self.hosts.len() as u32).map(Host)
    }

    /// The name of a host.
    pub fn name(&self, host: Host) -> &str {
        &self.hosts[host.index()].name
    }

    /// The identifier of a host.
    pub fn id(&self, host: Host) -> NodeId {
        self.hosts[host.index()].id
    }

    /// The node of a host, unless it is down.
    pub fn node(&self, host: Host) -> Option<&Node> {
        self.hosts[host.index()].node.as_deref()
    }

    /// Whether the node of a host is up. It is while the host sleeps.
    pub fn is_up(&self, host: Host) -> bool {
        self.node(host).is_some()
    }

    /// Whether a host sleeps.
    pub fn is_asleep(&self, host: Host) -> bool {
        self.hosts[host.index()].is_asleep
    }

    /// The addresses of the main socket of a host.
    pub fn local_addrs(&self, host: Host) -> Vec<SocketAddr> {
        self.hosts[host.index()].sockets.local_addrs()
    }

    /// The interfaces of a host.
    pub fn interfaces(&self, host: Host) -> &[Interface] {
        &self.hosts[host.index()].sockets.interfaces
    }

    /// The live edges of a host, nearest to it first; none if it is down.
    pub fn edges(&self, host: Host) -> Vec<EdgeInfo> {
        self.node(host).map(Node::edges).unwrap_or_default()
    }

    /// What happened in the last connect of a host to another.
    pub fn explain(&self, host: Host, to: Host) -> Option<Explanation> {
        self.node(host)?.explain(&self.id(to))
    }

    /// Whether a host has an edge to another.
    pub fn has_edge(&self, host: Host, to: Host) -> bool {
        let id = self.id(to);
        self.edges(host).iter().any(|edge| edge.peer == id)
    }

    /// The gateway of a network, if it has one.
    pub fn gateway(&self, network: NetworkId) -> Option<&NatBox> {
        let realm = self.networks.realm(network);
        (realm != self.networks.outside(network)).then(|| self.net.nat(realm)).flatten()
    }

    /// The external addresses of the gateway of a network.
    pub fn external(&self, network: NetworkId) -> &[IpAddr] {
        self.networks.external(network)
    }

    /// The network of datagrams.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Datagrams that never reached a node or never left a host.
    pub fn drops(&self) -> HostDrops {
        self.drops
    }

    /// Tracked messages.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Messages that arrived and are not tracked.
    pub fn delivered_untracked(&self) -> u64 {
        self.delivered_untracked
    }

    /// The last steps.
    pub fn journal(&self) -> &PacketJournal {
        &self.journal
    }

    /// Hash of all steps so far.
    pub fn trace(&self) -> &TraceHash {
        &self.trace
    }

    /// Time of a node's last start.
    pub fn started_at(&self, host: Host) -> Moment {
        self.hosts[host.index()].started_at
    }

    /// Time of a node's first edge since its start, if there was one.
    pub fn joined_at(&self, host: Host) -> Option<Moment> {
        self.hosts[host.index()].joined_at
    }

    /// Time of a node's stop, if it stopped.
    pub fn stopped_at(&self, host: Host) -> Option<Moment> {
        self.hosts[host.index()].stopped_at
    }

    /// Number of steps of this kind so far.
    pub fn tally(&self, kind: PacketStepKind) -> u64 {
        self.tally[kind as usize]
    }

    /// Bytes on the wire and wake-ups of every host. What is in a datagram is encrypted, so all
    /// bytes are of the kind [`Traffic::Other`](crate::world::Traffic::Other).
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Sets all meters to zero.
    pub fn clear_meters(&mut self) {
        self.meters.clear();
    }

    /// Checks every node.
    ///
    /// # Panics
    /// If an invariant of one does not hold.
    pub fn check_all(&self) {
        self.hosts.iter().filter_map(|host| host.node.as_deref()).for_each(Node::check);
    }
}
