//! Datagrams of dialed conns from addresses that were not dialed, and changes of the own network.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{ConnectionEvent, DatagramEvent};

use super::Quic;
use super::conn::Conn;
use super::endpoint::{Endpoint, tls};
use crate::NodeId;
use crate::io::EcnCodepoint;

/// The datagram that is taken now, for a second look at it. QUIC alone knows the conn of a
/// datagram, by its connection id, and it knows that only after it has taken the datagram in the
/// name of one address.
#[derive(Debug, Default)]
pub(super) struct Translated {
    datagram: Vec<u8>,
    /// Nothing is looked at again, for comparison.
    is_off: bool,
}

impl Translated {
    /// Keeps a datagram with a short header. Others belong to handshakes, which do not move.
    #[inline]
    pub(super) fn keep(&mut self, datagram: &[u8]) {
        self.datagram.clear();
        if !self.is_off && datagram.first().is_some_and(|first| first & 0x80 == 0) {
            self.datagram.extend_from_slice(datagram);
        }
    }

    /// The datagram as if it came from the address that `conn` dialed.
    pub(super) fn event(
        &mut self,
        now: Instant,
        conn: &Conn,
        ecn: Option<EcnCodepoint>,
        endpoint: &mut Endpoint,
    ) -> Option<ConnectionEvent> {
        if self.datagram.is_empty() {
            return None;
        }
        let (remote, data) = (conn.quic.remote_address(), BytesMut::from(&self.datagram[..]));
        match endpoint.quic.handle(now, remote, None, ecn, data, &mut Vec::new()) {
            Some(DatagramEvent::ConnectionEvent(handle, event))
                if conn.handle() == Some(handle) =>
            {
                Some(event)
            }
            _ => None,
        }
    }
}

impl Quic {
    /// From now on dialed conns do not follow their peers, for comparison.
    #[cfg(test)]
    pub(crate) fn withhold_moves(&mut self) {
        self.translated.is_off = true;
    }

    /// A handshake proved that `peer` is at `remote`: other conns to it may send there what they
    /// have.
    pub(super) fn confirm(&mut self, peer: NodeId, remote: SocketAddr) {
        for (id, conn) in &mut self.conns {
            let is_there = conn.limited_remote() == Some(remote);
            if is_there && tls::peer_identity(&conn.quic).is_some_and(|(known, _)| known == peer) {
                let touched = conn.confirm_path();
                self.turns.touch(*id, &mut conn.queued, touched);
            }
        }
    }

    /// The network of this machine changed: each conn sends a packet at once. None of them sends
    /// from one of the addresses that are `gone` any more.
    pub fn handle_network_change(&mut self, now: Instant, gone: &[SocketAddr]) {
        self.advance(now);
        let gone: Vec<IpAddr> = gone.iter().map(|addr| addr.ip().to_canonical()).collect();
        for (id, conn) in &mut self.conns {
            let touched = conn.on_network_change(now, &gone, &mut self.endpoint);
            self.turns.touch(*id, &mut conn.queued, touched);
        }
    }
}
