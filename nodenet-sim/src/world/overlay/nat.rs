//! NATs as conns see them: punches that leave, and mappings that are forgotten.
//!
//! Responsible for: another address at which a peer sees a conn. Never: which dials a NAT lets in,
//! which `dial` decides by rules.

use std::net::SocketAddr;

use bytes::Bytes;

use super::conns::EndRef;
use super::net::{Net, Scheduled};
use crate::world::Host;

impl Net {
    /// Sends a datagram that belongs to no conn.
    pub(crate) fn punch(&mut self, host: Host, remote: SocketAddr, bytes: &Bytes) {
        self.meters.count_punch(host, self.now, bytes.len());
        self.punch = Some((host, remote, bytes.clone()));
    }

    /// From the next packet on, the conns of `host` come from another port.
    pub(crate) fn rebind(&mut self, host: Host) {
        for end in self.host_state(host).ends.clone() {
            let (at, generation) = (self.delayed(end), self.conns.generation(end));
            self.queue.push(at, Scheduled::PathChanged { end: end.peer(), generation });
        }
    }

    /// A packet from another port of the peer arrives. Gives the new address.
    pub(crate) fn on_path_changed(&mut self, end: EndRef) -> SocketAddr {
        let moved = &mut self.conns.end_mut(end.peer()).seen_at;
        moved.set_port(moved.port() ^ 1);
        SocketAddr::from(*moved)
    }
}
