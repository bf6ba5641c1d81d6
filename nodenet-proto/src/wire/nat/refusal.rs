//! Refusal of a relay request: a RelayGrant without an address, and the mark that asks for it
//! (WIRE.md#relay-refusals).
//!
//! ```text
//! RelayRequest  nonce (16) ‖ target (32) ‖ 6e 72 ‖ version (1)
//! RelayGrant    nonce (16) ‖ 00 00 ‖ 6e 72 ‖ version (1) ‖ reason (1)
//! ```
//!
//! Responsible for: both layouts, and what an older reader makes of a newer reason. Never: decides
//! whether a request is refused.
//!
//! The reference ignores bytes after both messages, and answers no request that it does not serve.
//! Its requester would dial the address of any grant with its nonce. A refusal therefore goes only
//! to a requester that marked its request.

use bytes::BufMut;

use super::{NAT_NONCE_LEN, RelayGrant, RelayRequest};
use crate::wire::addr::Addr;
use crate::wire::codec::{Decode, DecodeError, Encode, Reader};
use crate::wire::frame::{FrameType, Message};

/// First bytes behind both messages, so that bytes of another implementation are not taken for it.
const MARK: [u8; 2] = *b"nr";
/// Version of what this node writes.
const VERSION: u8 = 1;

/// Why a volunteer does not relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelayRefusal {
    /// It does not relay, or not now.
    #[error("it does not relay")]
    NotVolunteering,
    /// It has no edge to the target.
    #[error("it has no edge to the target")]
    NoEdge,
    /// All of its sessions are in use.
    #[error("all its relay sessions are in use")]
    Full,
    /// The requester, or its network, has its share of the sessions.
    #[error("this node's share of its relay sessions is in use")]
    RequesterFull,
    /// The target has its share of the sessions.
    #[error("the target's share of its relay sessions is in use")]
    TargetFull,
    /// Its operator relays for other nodes only.
    #[error("its operator relays for other nodes only")]
    NotForThese,
    /// What its operator gives in a month is used up.
    #[error("its relay quota of this month is used up")]
    QuotaUsed,
    /// It has no address that both ends can reach.
    #[error("it has no address that both ends can reach")]
    NoAddress,
    /// Its system opened no socket.
    #[error("its system opened no socket")]
    NoSocket,
    /// A reason of a later version.
    #[error("it refused for a reason that this version does not know")]
    Other,
}

impl RelayRefusal {
    const CODES: [(u8, Self); 10] = [
        (0, Self::Other),
        (1, Self::NotVolunteering),
        (2, Self::NoEdge),
        (3, Self::Full),
        (4, Self::RequesterFull),
        (5, Self::TargetFull),
        (6, Self::NotForThese),
        (7, Self::QuotaUsed),
        (8, Self::NoAddress),
        (9, Self::NoSocket),
    ];

    fn code(self) -> u8 {
        let known = Self::CODES.iter().find(|(_, reason)| *reason == self);
        known.map_or(0, |(code, _)| *code)
    }

    fn of(code: u8) -> Self {
        let known = Self::CODES.iter().find(|(known, _)| *known == code);
        known.map_or(Self::Other, |(_, reason)| *reason)
    }
}

/// A RelayRequest whose sender understands refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedRelayRequest(pub RelayRequest);

impl MarkedRelayRequest {
    /// The request in `payload`, and whether its sender understands refusals.
    ///
    /// # Errors
    /// If it is no request.
    pub fn decode_any(payload: &[u8]) -> Result<(RelayRequest, bool), DecodeError> {
        let mut reader = Reader::new(payload);
        let request = RelayRequest::decode(&mut reader)?;
        Ok((request, reader.rest().starts_with(&MARK)))
    }
}

impl Message for MarkedRelayRequest {
    const FRAME_TYPE: FrameType = FrameType::RelayRequest;
}

impl Encode for MarkedRelayRequest {
    fn encoded_len(&self) -> usize {
        self.0.encoded_len() + MARK.len() + 1
    }

    fn encode(&self, out: &mut impl BufMut) {
        self.0.encode(out);
        out.put_slice(&MARK);
        out.put_u8(VERSION);
    }
}

/// The answer of a volunteer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayAnswer {
    /// The target can be dialed there.
    Granted(Addr),
    /// It does not relay.
    Refused(RelayRefusal),
}

impl RelayAnswer {
    /// The answer in the payload of a RelayGrant, and the nonce of its request.
    ///
    /// # Errors
    /// If it is no grant.
    pub fn decode(payload: &[u8]) -> Result<([u8; NAT_NONCE_LEN], Self), DecodeError> {
        let mut reader = Reader::new(payload);
        let RelayGrant { nonce, addr } = RelayGrant::decode(&mut reader)?;
        let rest = reader.rest();
        if addr != Addr::default() {
            return Ok((nonce, Self::Granted(addr)));
        }
        let reason = rest.starts_with(&MARK).then(|| rest.get(MARK.len() + 1)).flatten();
        let reason = reason.map_or(RelayRefusal::Other, |code| RelayRefusal::of(*code));
        Ok((nonce, Self::Refused(reason)))
    }
}

/// A RelayGrant that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedGrant {
    /// The request's nonce.
    pub nonce: [u8; NAT_NONCE_LEN],
    /// Why.
    pub reason: RelayRefusal,
}

impl Message for RefusedGrant {
    const FRAME_TYPE: FrameType = FrameType::RelayGrant;
}

impl Encode for RefusedGrant {
    fn encoded_len(&self) -> usize {
        NAT_NONCE_LEN + Addr::default().encoded_len() + MARK.len() + 2
    }

    fn encode(&self, out: &mut impl BufMut) {
        RelayGrant { nonce: self.nonce, addr: Addr::default() }.encode(out);
        out.put_slice(&MARK);
        out.put_u8(VERSION);
        out.put_u8(self.reason.code());
    }
}
