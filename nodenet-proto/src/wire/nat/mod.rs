//! Messages of NAT traversal: hole punching and relaying (PROTOCOL.md#nat-messages).
//!
//! Responsible for the layouts, for the datagram that opens a hole and for which addresses it may
//! be sent to. It never sends, and never decides to connect.
//!
//! ```text
//! Connect, ConnectAck   frame types 10 and 11, inside a routed envelope
//!  offset  size  field
//!       0    16  nonce       chosen by the initiator, copied into the ConnectAck
//!      16  rest  addresses   counted list, at most 16
//!       …     …  signals     of this implementation (`signals`)
//!
//! RelayRequest          frame type 12, on the edge from requester to volunteer
//!       0    16  nonce       chosen by the requester
//!      16    32  target      the node to relay to
//!
//! RelayGrant            frame type 13, on the edge from volunteer to requester
//!       0    16  nonce       of the request
//!      16  rest  address     where to dial the target
//!
//! RelayBind             frame type 14, on the edge from volunteer to target
//!       0  rest  address     where to send a punch, so that the requester comes through
//!
//! Punch                 a UDP datagram of its own
//!       0     4  00 6e 70 01
//! ```
//!
//! Bytes after any of these frames are ignored, but for the marks of a refusal (`refusal`).

mod refusal;
mod signals;

use std::net::SocketAddr;

use bytes::BufMut;

pub use self::refusal::{MarkedRelayRequest, RefusedGrant, RelayAnswer, RelayRefusal};
pub use self::signals::{
    Allocator, Mapping, SIGNALS_MAX, SIGNALS_VERSION, Signal, Signals, VOLUNTEERS_MAX, WithSignals,
};

use super::addr::{Addr, AddrList};
use super::codec::{Decode, DecodeError, Encode, Reader};
use super::frame::{FrameType, Message};
use crate::NodeId;
use crate::addr::is_plausible_reflexive;

/// Bytes of the nonces in these messages (PROTOCOL.md#nat-messages).
pub const NAT_NONCE_LEN: usize = 16;

/// The datagram that opens a hole in the sender's NAT: "np" and a version behind a first byte that
/// no QUIC packet has (PROTOCOL.md#punch-datagram).
pub const PUNCH_DATAGRAM: [u8; 4] = [0x00, b'n', b'p', 0x01];

/// The socket that a punch for `addr` may go to: an IP literal of a routable unicast address and a
/// port that exists. Everything else is refused, because a peer chose the address
/// (PROTOCOL.md#punch-targets).
pub fn punch_target(addr: &Addr) -> Option<SocketAddr> {
    let target = addr.to_socket_addr()?;
    (is_plausible_reflexive(target.ip()) && target.port() != 0).then_some(target)
}

/// Asks the target to punch towards the initiator. The envelope names the initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Copied into the [`ConnectAck`].
    pub nonce: [u8; NAT_NONCE_LEN],
    /// Addresses of the initiator, best first. May be empty.
    pub addrs: AddrList,
}

impl Message for Connect {
    const FRAME_TYPE: FrameType = FrameType::Connect;
}

impl Encode for Connect {
    fn encoded_len(&self) -> usize {
        NAT_NONCE_LEN + self.addrs.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
        self.addrs.encode(out);
    }
}

impl Decode<'_> for Connect {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()?, addrs: AddrList::decode(reader)? })
    }
}

/// The answer to a [`Connect`]: the target punches too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectAck {
    /// The nonce of the [`Connect`].
    pub nonce: [u8; NAT_NONCE_LEN],
    /// Addresses of the answering node, best first. May be empty.
    pub addrs: AddrList,
}

impl Message for ConnectAck {
    const FRAME_TYPE: FrameType = FrameType::ConnectAck;
}

impl Encode for ConnectAck {
    fn encoded_len(&self) -> usize {
        NAT_NONCE_LEN + self.addrs.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
        self.addrs.encode(out);
    }
}

impl Decode<'_> for ConnectAck {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()?, addrs: AddrList::decode(reader)? })
    }
}

/// Asks a volunteer to relay to `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayRequest {
    /// Ties the grant to the request.
    pub nonce: [u8; NAT_NONCE_LEN],
    /// The node to relay to.
    pub target: NodeId,
}

impl Message for RelayRequest {
    const FRAME_TYPE: FrameType = FrameType::RelayRequest;
}

impl Encode for RelayRequest {
    fn encoded_len(&self) -> usize {
        NAT_NONCE_LEN + self.target.as_bytes().len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
        out.put_slice(self.target.as_bytes());
    }
}

impl Decode<'_> for RelayRequest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()?, target: reader.node_id()? })
    }
}

/// The address at which the requester dials the target through the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayGrant {
    /// The request's nonce.
    pub nonce: [u8; NAT_NONCE_LEN],
    /// The requester's side of the splice.
    pub addr: Addr,
}

impl Message for RelayGrant {
    const FRAME_TYPE: FrameType = FrameType::RelayGrant;
}

impl Encode for RelayGrant {
    fn encoded_len(&self) -> usize {
        NAT_NONCE_LEN + self.addr.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
        self.addr.encode(out);
    }
}

impl Decode<'_> for RelayGrant {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()?, addr: Addr::decode(reader)? })
    }
}

/// Announces to the target that a requester dials it through the relay, and where to punch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayBind {
    /// The target's side of the splice.
    pub addr: Addr,
}

impl Message for RelayBind {
    const FRAME_TYPE: FrameType = FrameType::RelayBind;
}

impl Encode for RelayBind {
    fn encoded_len(&self) -> usize {
        self.addr.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        self.addr.encode(out);
    }
}

impl Decode<'_> for RelayBind {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { addr: Addr::decode(reader)? })
    }
}

#[cfg(test)]
mod tests;
