//! The routed envelope (PROTOCOL.md#routed-envelope), which carries a message from hop to hop.
//!
//! ```text
//! 0      target      32   identifier                       signed
//! 32     hop limit    1                                    not: every hop lowers it
//! 33     key         32   Ed25519, of the originator       signed
//! 65     sent         8   i64, Unix nanoseconds            signed
//! 73     n            w   uvarint, at most 3               not
//! 73+w   avoid     32·n   identifiers                      not: differs between copies
//! …      length       v   uvarint                          not
//! …      payload                                           signed
//! …      signature   64   over BLAKE2b-256 of what is signed
//! ```
//!
//! Responsible for: this layout, the signature, freshness, and the forwarding rewrite. Never:
//! decides where a message goes.
//!
//! An originator makes an [`Envelope`], signs it once and frames a copy for each first hop. A node
//! that receives one reads it in place as a [`RoutedFrame`], which either becomes the frame to
//! forward or gives up its payload.

mod transit;

#[cfg(test)]
mod tests;

use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

pub use transit::RoutedFrame;

use super::SEND_PAYLOAD_MAX;
use super::codec::{
    Decode, DecodeError, Encode, Reader, UVARINT_LEN_MAX, put_uvarint, uvarint_len,
};
use super::frame::{FrameHeader, FrameType, PayloadTooLarge};
use crate::NodeId;
use crate::buf::Frame;
use crate::env::{Crypto, UnixNanos};
use crate::id::NODE_ID_LEN;
use crate::identity::Identity;
use crate::transport::FRAME_MAX;

/// Hops that a message may take at most; originators start with it (PROTOCOL.md#hop-limit).
pub const HOP_LIMIT_MAX: u8 = 16;
/// Entries in an avoid-set at most (PROTOCOL.md#avoid-set).
pub const AVOID_MAX: usize = 3;
/// How far a message's time stamp may lie from the receiver's clock, either way
/// (PROTOCOL.md#freshness).
pub const AGE_MAX: Duration = Duration::from_secs(30);
/// Domain of the signature (PROTOCOL.md#envelope-signature).
const SIGNATURE_DOMAIN: &[u8] = b"nodenet/v1/routing-envelope";
/// End of the hop limit: the bytes in front of it change at every hop.
const HOP_LIMIT_END: usize = NODE_ID_LEN + 1;
/// Bytes of target, hop limit, key and time stamp.
const FIXED_LEN: usize = HOP_LIMIT_END + 32 + 8;
/// Bytes of the signature.
const SIGNATURE_LEN: usize = 64;
/// Longest head that a peer may write: everything in front of the payload.
const HEAD_LEN_MAX: usize = FIXED_LEN + UVARINT_LEN_MAX + AVOID_MAX * NODE_ID_LEN + UVARINT_LEN_MAX;

/// Nodes that must not forward this copy: the first hops of the other copies.
pub type AvoidSet = heapless::Vec<NodeId, AVOID_MAX>;

/// A routed message at the node that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The target.
    pub target: NodeId,
    /// Hops that are left.
    pub hop_limit: u8,
    /// The originator's Ed25519 key.
    pub key: [u8; 32],
    /// Time of the signature.
    pub sent: UnixNanos,
    /// Nodes that must not forward it.
    pub avoid: AvoidSet,
    /// The payload.
    pub payload: Bytes,
    /// Covers the frame type, target, key, time and payload.
    pub signature: [u8; SIGNATURE_LEN],
}

/// Identity and cryptography of an originator, the same for all of its messages.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The originator.
    pub identity: &'a Identity,
    /// Hashes and signs.
    pub crypto: &'a dyn Crypto,
}

impl Envelope {
    /// A signed message with all its hops left and an empty avoid-set.
    ///
    /// # Errors
    /// If `payload` is larger than [`SEND_PAYLOAD_MAX`].
    pub fn sign(
        signer: Signer<'_>,
        frame_type: FrameType,
        target: NodeId,
        sent: UnixNanos,
        payload: Bytes,
    ) -> Result<Self, PayloadTooLarge> {
        if payload.len() > SEND_PAYLOAD_MAX {
            return Err(PayloadTooLarge { len: payload.len(), len_max: SEND_PAYLOAD_MAX });
        }
        let mut envelope = Self {
            target,
            hop_limit: HOP_LIMIT_MAX,
            key: *signer.identity.public_key(),
            sent,
            avoid: AvoidSet::new(),
            payload,
            signature: [0; SIGNATURE_LEN],
        };
        let digest = envelope.signing_digest(frame_type.to_byte(), signer.crypto);
        envelope.signature = signer.crypto.sign(signer.identity, &digest);
        Ok(envelope)
    }

    /// The same message with other nodes to avoid. Its signature holds for every such copy.
    #[must_use]
    pub fn avoiding(&self, avoid: AvoidSet) -> Self {
        Self { avoid, ..self.clone() }
    }

    /// Hash of what the signature covers. It identifies a message on every route.
    pub fn signing_digest(&self, type_byte: u8, crypto: &dyn Crypto) -> [u8; 32] {
        let payload = core::iter::once(&self.payload[..]);
        signing_digest(type_byte, &self.target, &self.key, self.sent, payload, crypto)
    }

    /// The envelope in a frame. The payload is not copied.
    ///
    /// # Panics
    /// If the frame would be larger than [`FRAME_MAX`]. That takes a full avoid-set and a payload
    /// of nearly [`SEND_PAYLOAD_MAX`]; an originator has two nodes to avoid at most.
    pub fn to_frame(&self, frame_type: FrameType) -> Frame {
        let payload_len = self.encoded_len();
        let header = FrameHeader { type_byte: frame_type.to_byte(), payload_len };
        let len = header.encoded_len() + payload_len;
        assert!(len <= FRAME_MAX, "a frame of {len} bytes is larger than FRAME_MAX");

        let mut ends = BytesMut::with_capacity(len - self.payload.len());
        header.encode(&mut ends);
        self.head().encode(&mut ends);
        let head = ends.split().freeze();
        ends.put_slice(&self.signature);

        let mut frame = Frame::from(head);
        frame.push_back(self.payload.clone());
        frame.push_back(ends.freeze());
        frame
    }

    fn head(&self) -> Head {
        Head {
            target: self.target,
            hop_limit: self.hop_limit,
            key: self.key,
            sent: self.sent,
            avoid: self.avoid.clone(),
            payload_len: self.payload.len() as u64,
        }
    }
}

impl Encode for Envelope {
    fn encoded_len(&self) -> usize {
        self.head().encoded_len() + self.payload.len() + SIGNATURE_LEN
    }

    fn encode(&self, out: &mut impl BufMut) {
        self.head().encode(out);
        out.put_slice(&self.payload);
        out.put_slice(&self.signature);
    }
}

/// Copies the payload. Verifies nothing.
impl Decode<'_> for Envelope {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = Head::decode(reader)?;
        let payload = reader.bytes(head.payload_len)?;
        Ok(Self {
            target: head.target,
            hop_limit: head.hop_limit,
            key: head.key,
            sent: head.sent,
            avoid: head.avoid,
            payload: Bytes::copy_from_slice(payload),
            signature: reader.array()?,
        })
    }
}

/// Everything in front of the payload.
#[derive(Debug, Clone)]
struct Head {
    target: NodeId,
    hop_limit: u8,
    key: [u8; 32],
    sent: UnixNanos,
    avoid: AvoidSet,
    payload_len: u64,
}

impl Head {
    fn encode_until_hop_limit(&self, out: &mut impl BufMut) {
        out.put_slice(self.target.as_bytes());
        out.put_u8(self.hop_limit);
    }
}

impl Encode for Head {
    fn encoded_len(&self) -> usize {
        FIXED_LEN
            + uvarint_len(self.avoid.len() as u64)
            + self.avoid.len() * NODE_ID_LEN
            + uvarint_len(self.payload_len)
    }

    fn encode(&self, out: &mut impl BufMut) {
        self.encode_until_hop_limit(out);
        out.put_slice(&self.key);
        out.put_i64(self.sent.0);
        put_uvarint(out, self.avoid.len() as u64);
        for id in &self.avoid {
            out.put_slice(id.as_bytes());
        }
        put_uvarint(out, self.payload_len);
    }
}

impl Decode<'_> for Head {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let target = reader.node_id()?;
        let hop_limit = reader.u8()?;
        let key = reader.array()?;
        let sent = UnixNanos(reader.i64()?);
        let avoid_len = reader.uvarint()?;
        if avoid_len > AVOID_MAX as u64 {
            return Err(DecodeError::AvoidTooLarge);
        }
        let mut avoid = AvoidSet::new();
        for _ in 0..avoid_len {
            avoid.push(reader.node_id()?).expect("the length was just compared with the capacity");
        }
        let payload_len = reader.uvarint()?;
        Ok(Self { target, hop_limit, key, sent, avoid, payload_len })
    }
}

/// Whether a message stamped `sent` may be taken at `now`: at most [`AGE_MAX`] old or ahead, both
/// inclusive. `sent` is untrusted and never takes part in arithmetic (PROTOCOL.md#freshness).
pub fn is_fresh(sent: UnixNanos, now: UnixNanos) -> bool {
    let age_max = AGE_MAX.as_nanos() as i64;
    (now.0.saturating_sub(age_max)..=now.0.saturating_add(age_max)).contains(&sent.0)
}

/// BLAKE2b-256 over what an envelope's signature covers (PROTOCOL.md#envelope-signature).
fn signing_digest<'a>(
    type_byte: u8,
    target: &NodeId,
    key: &[u8; 32],
    sent: UnixNanos,
    payload: impl Iterator<Item = &'a [u8]>,
    crypto: &dyn Crypto,
) -> [u8; 32] {
    let sent = sent.0.to_be_bytes();
    let type_byte = [type_byte];
    let fixed = [SIGNATURE_DOMAIN, &type_byte, target.as_bytes(), key, &sent];
    // The closure lets the payload's pieces be lent for as short a time as the others.
    let mut pieces = fixed.into_iter().chain(payload.map(|piece| -> &[u8] { piece }));
    crypto.hash_pieces(&mut pieces)
}

const _: () = assert!(
    // A header of five bytes, two nodes to avoid, lengths of one and three bytes
    // (PROTOCOL.md#payload-limits).
    5 + FIXED_LEN + 1 + 2 * NODE_ID_LEN + 3 + SEND_PAYLOAD_MAX + SIGNATURE_LEN == FRAME_MAX
);
