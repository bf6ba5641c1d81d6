//! State of a simulated host in the network: address, NAT mappings, ends of conns, deadlines.

use std::net::SocketAddrV4;
use std::time::Duration;

use nodenet_proto::NodeId;

use super::conns::EndRef;
use crate::clock::Moment;
use crate::net::latency::Attachment;
use crate::net::{HostSlot, Nat};
use crate::world::Host;

/// Lifetime of a NAT mapping since the last dial to a peer. RFC 4787 REQ-5 requires two minutes at
/// least since the last packet. Packets on a conn do not count here, because a peer with a conn
/// passes the NAT anyway.
pub(crate) const MAPPING_LIFETIME: Duration = Duration::from_secs(120);
/// Mappings of one host; beyond that the oldest is removed.
const MAPPINGS_MAX: usize = 256;

/// State of a host in the network.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) id: NodeId,
    pub(crate) key: [u8; 32],
    pub(crate) addr: SocketAddrV4,
    pub(crate) attachment: Attachment,
    pub(crate) nat: Nat,
    /// Its side of a partition.
    pub(crate) side: u8,
    pub(crate) up: bool,
    /// Whether it drops the messages of others.
    pub(crate) silent: bool,
    /// Ends of its conns.
    pub(crate) ends: Vec<EndRef>,
    /// Number of conns so far.
    pub(crate) conns_ever: u32,
    /// Accepted conns.
    pub(crate) accepted: u32,
    /// Time of its timer event in the queue, if there is one.
    pub(crate) wake_at: Option<Moment>,
    /// Deadline of its machine, if there is one.
    pub(crate) deadline: Option<Moment>,
    /// Hosts that it sent to recently beside its conns, if it is behind a NAT.
    mappings: Vec<(Host, Moment)>,
}

impl HostState {
    pub(crate) fn new(id: NodeId, key: [u8; 32], slot: HostSlot, nat: Nat) -> Self {
        Self {
            id,
            key,
            addr: slot.addr,
            attachment: slot.attachment,
            nat,
            side: 0,
            up: true,
            silent: false,
            ends: Vec::new(),
            conns_ever: 0,
            accepted: 0,
            wake_at: None,
            deadline: None,
            mappings: Vec::new(),
        }
    }

    /// Notes that the host sent to `peer`: its NAT admits that peer for [`MAPPING_LIFETIME`].
    pub(crate) fn observe_sent(&mut self, peer: Host, now: Moment) {
        if self.nat == Nat::Public {
            return;
        }
        self.mappings.retain(|&(other, at)| other != peer && now.since(at) <= MAPPING_LIFETIME);
        if self.mappings.len() == MAPPINGS_MAX {
            self.mappings.remove(0);
        }
        self.mappings.push((peer, now));
    }

    /// Whether the host sent to `peer` so recently that its NAT still admits that peer.
    pub(crate) fn sent_to(&self, peer: Host, now: Moment) -> bool {
        self.mappings.iter().any(|&(other, at)| other == peer && now.since(at) <= MAPPING_LIFETIME)
    }
}
