//! State of a simulated host in the network: address, NAT mappings, ends of conns, deadlines.

use std::net::SocketAddrV4;
use std::time::Duration;

use nodenet_proto::NodeId;

use super::conns::EndRef;
use crate::clock::Moment;
use crate::net::latency::Attachment;
use crate::net::{HostSlot, Nat};
use crate::world::Host;

/// How long a NAT lets a peer in after the host behind it dialed that peer last. RFC 4787 REQ-5
/// asks for two minutes at least since the last packet; what is sent over a conn later does not
/// count here, for while there is one the peer is let in anyway.
pub(crate) const MAPPING_LIFETIME: Duration = Duration::from_secs(120);
/// Peers whose mapping is remembered for one host; the oldest goes first.
const MAPPINGS_MAX: usize = 256;

/// State of a host in the network.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) id: NodeId,
    pub(crate) key: [u8; 32],
    pub(crate) addr: SocketAddrV4,
    pub(crate) attachment: Attachment,
    pub(crate) nat: Nat,
    /// Half of a partition it is in.
    pub(crate) side: u8,
    pub(crate) up: bool,
    /// Ends of its conns.
    pub(crate) ends: Vec<EndRef>,
    /// Conns that had an end here so far.
    pub(crate) conns_ever: u32,
    /// Accepted conns.
    pub(crate) accepted: u32,
    /// Time of its wake event in the queue, if there is one.
    pub(crate) wake_at: Option<Moment>,
    /// Deadline of its machine, if there is one.
    pub(crate) deadline: Option<Moment>,
    /// Peers it dialed of late, if it is behind a NAT.
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
            ends: Vec::new(),
            conns_ever: 0,
            accepted: 0,
            wake_at: None,
            deadline: None,
            mappings: Vec::new(),
        }
    }

    /// The host dialed `peer`: its NAT lets that peer in for a while.
    pub(crate) fn observe_dial(&mut self, peer: Host, now: Moment) {
        if self.nat == Nat::Public {
            return;
        }
        self.mappings.retain(|&(other, at)| other != peer && now.since(at) <= MAPPING_LIFETIME);
        if self.mappings.len() == MAPPINGS_MAX {
            self.mappings.remove(0);
        }
        self.mappings.push((peer, now));
    }

    /// Whether the host dialed `peer` so recently that its NAT still lets that peer in.
    pub(crate) fn dialed(&self, peer: Host, now: Moment) -> bool {
        self.mappings.iter().any(|&(other, at)| other == peer && now.since(at) <= MAPPING_LIFETIME)
    }
}
