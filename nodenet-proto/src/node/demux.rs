//! Demultiplexer of received datagrams: the machine for each follows from its socket and first
//! bytes.
//!
//! Responsible for: what a datagram is, and one spelling for the address that it came from. Never:
//! an answer. A datagram that no machine has a use for is counted and dropped.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;

use super::Node;
use super::pump::EngineState;
use crate::addr::canonical;
use crate::io::{EcnCodepoint, SocketId};
use crate::splice::Payload;
use crate::stats::DropReason;
use crate::transport::Event;
use crate::wire::nat::PUNCH_DATAGRAM;

/// The kind of `datagram` by its first bytes; nothing if no machine takes it. One of the top two
/// bits of a QUIC packet is set (PROTOCOL.md#quic-bit).
#[inline]
pub(crate) fn payload_of(datagram: &[u8]) -> Option<Payload> {
    match datagram.first() {
        Some(first) if first & 0xc0 != 0 => Some(Payload::Quic),
        _ if *datagram == PUNCH_DATAGRAM => Some(Payload::Punch),
        _ => None,
    }
}

impl Node {
    /// Gives a datagram to the machine that it is for.
    #[inline]
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        self.stats.counters.datagrams_received += 1;
        self.stats.counters.bytes_received += data.len() as u64;
        // A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6 addresses.
        let remote = canonical(remote);
        match (payload_of(&data), socket) {
            (Some(Payload::Quic), SocketId::MAIN) => {
                let local_ip = local_ip.map(|ip| ip.to_canonical());
                self.quic.handle_datagram(now, remote, local_ip, ecn, data);
            }
            // It has opened a mapping in its sender's NAT. Only a handshake proves the path.
            (Some(Payload::Punch), SocketId::MAIN) => {
                self.engine_state = EngineState::HasInput;
                self.engine.handle_transport(now, Event::Punched { remote }, &mut self.quic);
            }
            (Some(payload), _) => {
                self.splices.handle_datagram(now, socket, remote, ecn, payload, data);
            }
            (None, _) => self.stats.count_drop(DropReason::NotQuic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::payload_of;
    use crate::splice::Payload;
    use crate::wire::nat::PUNCH_DATAGRAM;

    #[test]
    fn quic_and_punches_are_distinguished_by_the_first_bytes() {
        for first in 0x00..0x40 {
            assert_eq!(payload_of(&[first, 0xff]), None, "{first:#04x}");
        }
        for first in 0x40..=0xff {
            assert_eq!(payload_of(&[first, 0x00]), Some(Payload::Quic), "{first:#04x}");
        }
        assert_eq!(payload_of(&[]), None);
        assert_eq!(payload_of(&PUNCH_DATAGRAM), Some(Payload::Punch));
        let longer = [&PUNCH_DATAGRAM[..], &[0]].concat();
        assert_eq!(payload_of(&longer), None, "a punch has four bytes");
    }
}
