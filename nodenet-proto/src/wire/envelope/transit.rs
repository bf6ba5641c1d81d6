//! Transit of routed frames: parsed in place, forwarded with a new head, payload never copied.

use bytes::Bytes;

use super::{AvoidSet, HEAD_LEN_MAX, HOP_LIMIT_END, Head, SIGNATURE_LEN, signing_digest};
use crate::NodeId;
use crate::buf::{Frame, HeadPool};
use crate::env::{Crypto, UnixNanos};
use crate::wire::codec::{Decode, DecodeError, Encode, Reader};
use crate::wire::frame::{FrameHeader, FrameType, HEADER_LEN_MAX, head_of};

/// A received routed message. Only its layout was checked.
#[derive(Debug)]
pub struct RoutedFrame {
    frame: Frame,
    frame_type: FrameType,
    head: Head,
    /// Offset of the envelope.
    envelope_at: usize,
    /// Offset of the message's payload.
    payload_at: usize,
}

impl RoutedFrame {
    /// Reads the envelope of a frame. `frame_type` and `envelope_at`, the offset of the payload,
    /// are from its header (see [`FrameHeader::of`]). Allocates nothing.
    ///
    /// # Errors
    /// [`DecodeError::AvoidTooLarge`] for more than three nodes to avoid, otherwise
    /// [`DecodeError::ShortBuffer`].
    #[inline]
    pub fn parse(
        frame: Frame,
        frame_type: FrameType,
        envelope_at: usize,
    ) -> Result<Self, DecodeError> {
        let mut copy = [0; HEADER_LEN_MAX + HEAD_LEN_MAX];
        let front = head_of(&frame, &mut copy);
        let mut reader = Reader::new(front.get(envelope_at..).ok_or(DecodeError::ShortBuffer)?);
        let head = Head::decode(&mut reader)?;
        let payload_at = front.len() - reader.remaining();
        let payload_end = payload_at as u64 + u64::min(head.payload_len, frame.len() as u64);
        if payload_end + SIGNATURE_LEN as u64 != frame.len() as u64 {
            return Err(DecodeError::ShortBuffer);
        }
        Ok(Self { frame, frame_type, head, envelope_at, payload_at })
    }

    /// The type of the frame, which the signature covers.
    pub const fn frame_type(&self) -> FrameType {
        self.frame_type
    }

    /// The target.
    pub const fn target(&self) -> &NodeId {
        &self.head.target
    }

    /// Hops that are left, as the last hop wrote it: any value of a byte.
    pub const fn hop_limit(&self) -> u8 {
        self.head.hop_limit
    }

    /// The key of the claimed originator.
    pub const fn key(&self) -> &[u8; 32] {
        &self.head.key
    }

    /// The time that the originator claims.
    pub const fn sent(&self) -> UnixNanos {
        self.head.sent
    }

    /// Nodes that must not forward it.
    pub const fn avoid(&self) -> &AvoidSet {
        &self.head.avoid
    }

    /// Length of the whole frame.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Length of the payload.
    pub fn payload_len(&self) -> usize {
        self.frame.len() - SIGNATURE_LEN - self.payload_at
    }

    /// Hash of what the signature covers, without a copy. It identifies a message on every route:
    /// unlike the frame, no hop can change it.
    pub fn signing_digest(&self, crypto: &dyn Crypto) -> [u8; 32] {
        let Head { target, key, sent, .. } = &self.head;
        let payload = self.frame.slices(self.payload_at..self.frame.len() - SIGNATURE_LEN);
        signing_digest(self.frame_type.to_byte(), target, key, *sent, payload, crypto)
    }

    /// Whether the holder of [`RoutedFrame::key`] signed `digest`, which must be this message's
    /// [`RoutedFrame::signing_digest`].
    pub fn is_signed(&self, digest: &[u8; 32], crypto: &dyn Crypto) -> bool {
        let mut signature = [0; SIGNATURE_LEN];
        self.frame.copy_to(self.frame.len() - SIGNATURE_LEN, &mut signature);
        crypto.verify(&self.head.key, digest, &signature)
    }

    /// The frame to forward, with a new hop limit. Only the changed head is written; everything
    /// behind it stays in place.
    ///
    /// If a peer wrote a `uvarint` longer than necessary, the whole head is written anew, so that
    /// no such `uvarint` is forwarded (PROTOCOL.md#uvarint).
    #[inline]
    pub fn into_forward(self, hop_limit: u8, pool: &mut HeadPool) -> Frame {
        let Self { mut frame, frame_type, mut head, envelope_at, payload_at } = self;
        head.hop_limit = hop_limit;
        let head_len = head.encoded_len();
        let is_minimal = envelope_at + head_len == payload_at;
        let payload_len = head_len + (frame.len() - payload_at);
        let header = FrameHeader { type_byte: frame_type.to_byte(), payload_len };
        let front = pool.write(header.encoded_len() + head_len, |out| {
            header.encode(out);
            if is_minimal {
                head.encode_until_hop_limit(out);
            } else {
                head.encode(out);
            }
        });
        frame.advance(if is_minimal { envelope_at + HOP_LIMIT_END } else { payload_at });
        frame.push_front(front);
        frame
    }

    /// Copies the first bytes of the payload, as many as there are and `into` has room for. Returns
    /// their number.
    pub fn peek_payload(&self, into: &mut [u8]) -> usize {
        self.peek_payload_at(0, into)
    }

    /// Copies bytes of the payload from `at` on, as many as there are and `into` has room for.
    /// Returns their number.
    pub fn peek_payload_at(&self, at: usize, into: &mut [u8]) -> usize {
        let len = into.len().min(self.payload_len().saturating_sub(at));
        self.frame.copy_to(self.payload_at + at, &mut into[..len])
    }

    /// The payload. Copied only if it arrived in several pieces.
    pub fn into_payload(mut self) -> Bytes {
        self.frame.truncate(self.frame.len() - SIGNATURE_LEN);
        self.frame.advance(self.payload_at);
        self.frame.to_bytes()
    }
}
