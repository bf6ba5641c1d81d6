//! Demultiplexer of received datagrams: the socket and the first bytes say which machine gets one.
//!
//! Responsible for: what a datagram is, and one spelling for the address that it came from. Never:
//! an answer. A datagram that no machine has a use for is counted and dropped.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;

use super::Node;
use crate::addr::canonical;
use crate::io::{EcnCodepoint, SocketId};
use crate::stats::DropReason;
use crate::wire::nat::PUNCH_DATAGRAM;

/// A UDP payload, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// One of the top two bits of the first byte is set: a QUIC packet, if anything
    /// (PROTOCOL.md#quic-bit).
    Quic,
    /// The datagram that opens a hole in its sender's NAT (PROTOCOL.md#punch-datagram).
    Punch,
    /// Anything else, or nothing.
    Other,
}

impl Payload {
    /// What `datagram` is.
    #[inline]
    pub(crate) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(first) if first & 0xc0 != 0 => Self::Quic,
            _ if *datagram == PUNCH_DATAGRAM => Self::Punch,
            _ => Self::Other,
        }
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
        if socket != SocketId::MAIN {
            return self.stats.count_drop(DropReason::UnknownSocket);
        }
        match Payload::of(&data) {
            Payload::Quic => {
                // A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6 addresses.
                let local_ip = local_ip.map(|ip| ip.to_canonical());
                self.quic.handle_datagram(now, canonical(remote), local_ip, ecn, data);
            }
            // It has opened the hole by leaving its NAT. What proves the path is a handshake.
            Payload::Punch => self.stats.count_drop(DropReason::Punch),
            Payload::Other => self.stats.count_drop(DropReason::NotQuic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;
    use crate::wire::nat::PUNCH_DATAGRAM;

    #[test]
    fn quic_and_punches_are_told_apart_by_the_first_bytes() {
        for first in 0x00..0x40 {
            assert_eq!(Payload::of(&[first, 0xff]), Payload::Other, "{first:#04x}");
        }
        for first in 0x40..=0xff {
            assert_eq!(Payload::of(&[first, 0x00]), Payload::Quic, "{first:#04x}");
        }
        assert_eq!(Payload::of(&[]), Payload::Other);
        assert_eq!(Payload::of(&PUNCH_DATAGRAM), Payload::Punch);
        let longer = [&PUNCH_DATAGRAM[..], &[0]].concat();
        assert_eq!(Payload::of(&longer), Payload::Other, "a punch has four bytes");
    }
}
