//! The frame: one message on an edge (PROTOCOL.md#frame-header, PROTOCOL.md#frame-types).
//!
//! ```text
//! 0     version   1
//! 1     type      one byte, see FrameType
//! 2     length    uvarint, of the payload
//! 2+w   payload
//! ```
//!
//! Responsible for: the header and the registry of types. Never: looks into a payload. A transport
//! delivers exactly one frame at a time, so bytes behind the payload make it malformed
//! (PROTOCOL.md#frame-header).

use bytes::{BufMut, Bytes, BytesMut};

use super::DIRECT_PAYLOAD_MAX;
use super::codec::{
    Decode, DecodeError, Encode, Reader, UVARINT_LEN_MAX, put_uvarint, uvarint_len,
};
use crate::buf::Frame;
use crate::transport::FRAME_MAX;

#[cfg(test)]
mod tests;

/// The only protocol version there is (PROTOCOL.md#frame-header).
pub const VERSION: u8 = 1;
/// Largest payload length that a header may announce (PROTOCOL.md#frame-size). [`FRAME_MAX`] binds
/// long before.
pub const FRAME_PAYLOAD_MAX: u64 = 1_048_576;
/// Longest header that a peer may write: a length of ten bytes.
pub(super) const HEADER_LEN_MAX: usize = 2 + UVARINT_LEN_MAX;

const _: () = assert!(2 + uvarint_len(DIRECT_PAYLOAD_MAX as u64) + DIRECT_PAYLOAD_MAX == FRAME_MAX);

/// Defines the frame types, one a line: where a frame travels, its name and its number.
macro_rules! frame_types {
    ($($(#[$doc:meta])* $travels:ident $name:ident = $byte:literal,)*) => {
        /// The type of a frame (PROTOCOL.md#frame-types). Frames with an unassigned type are
        /// ignored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameType {
            $($(#[$doc])* $name = $byte,)*
        }

        impl FrameType {
            /// Every assigned type.
            pub const ALL: [Self; [$($byte),*].len()] = [$(Self::$name),*];

            /// Whether the payload is an envelope that is forwarded towards a target.
            pub const fn is_routed(self) -> bool {
                match self {
                    $(Self::$name => frame_types!(@$travels),)*
                }
            }
        }
    };
    (@routed) => { true };
    (@on_edge) => { false };
}

frame_types! {
    /// Routed: payload of an application.
    routed Route = 1,
    /// On the edge: liveness probe.
    on_edge Ping = 2,
    /// On the edge: answer to a ping, with the observed address.
    on_edge Pong = 3,
    /// Routed: request for the nodes nearest to the target.
    routed Lookup = 4,
    /// Routed: answer to a lookup or a siblings request.
    routed Neighbors = 5,
    /// On the edge: request for the nodes nearest to the peer.
    on_edge Siblings = 6,
    /// On the edge: the sender leaves the network.
    on_edge Leave = 7,
    /// Routed: rendezvous request.
    routed Hello = 8,
    /// Routed: rendezvous answer.
    routed Reply = 9,
    /// Routed: hole-punch request.
    routed Connect = 10,
    /// Routed: hole-punch answer.
    routed ConnectAck = 11,
    /// On the edge: request to relay to a target.
    on_edge RelayRequest = 12,
    /// On the edge: the relay's address for the requester.
    on_edge RelayGrant = 13,
    /// On the edge: the relay's address for the target.
    on_edge RelayBind = 14,
    /// On the edge: payload of an application, never routed.
    on_edge App = 64,
}

impl FrameType {
    /// The type with the number `byte`, if it is assigned.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|frame_type| frame_type.to_byte() == byte)
    }

    /// The number of this type.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }
}

/// The header in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The type, assigned or not. See [`FrameHeader::frame_type`].
    pub type_byte: u8,
    /// Length of the payload, at most [`FRAME_PAYLOAD_MAX`].
    pub payload_len: usize,
}

impl FrameHeader {
    /// Reads the header of a frame that arrived. Returns it with the offset of the payload.
    ///
    /// # Errors
    /// If there is no header, or the announced length is not that of the rest.
    #[inline]
    pub fn of(frame: &Frame) -> Result<(Self, usize), DecodeError> {
        let mut copy = [0; HEADER_LEN_MAX];
        let head = head_of(frame, &mut copy);
        let mut reader = Reader::new(head);
        let header = Self::decode(&mut reader)?;
        let payload_at = head.len() - reader.remaining();
        if header.payload_len != frame.len() - payload_at {
            return Err(DecodeError::ShortBuffer);
        }
        Ok((header, payload_at))
    }

    /// The type, if it is assigned.
    pub fn frame_type(&self) -> Option<FrameType> {
        FrameType::from_byte(self.type_byte)
    }
}

impl Encode for FrameHeader {
    fn encoded_len(&self) -> usize {
        2 + uvarint_len(self.payload_len as u64)
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(VERSION);
        out.put_u8(self.type_byte);
        put_uvarint(out, self.payload_len as u64);
    }
}

/// Leaves the payload to the caller.
impl Decode<'_> for FrameHeader {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [version, type_byte] = reader.array()?;
        if version != VERSION {
            return Err(DecodeError::BadVersion);
        }
        let payload_len = reader.uvarint()?;
        if payload_len > FRAME_PAYLOAD_MAX {
            return Err(DecodeError::FrameTooLarge);
        }
        Ok(Self { type_byte, payload_len: payload_len as usize })
    }
}

/// A message that always travels in frames of one type.
pub trait Message: Encode {
    /// The type of the frame.
    const FRAME_TYPE: FrameType;

    /// The message in a frame of its own. For messages that are not routed.
    ///
    /// # Panics
    /// If it is larger than [`FRAME_MAX`]. A message on an edge has only the node's own addresses
    /// in it, which are short.
    fn to_frame(&self) -> Frame {
        assert!(!Self::FRAME_TYPE.is_routed(), "what is routed needs an envelope");
        let payload_len = self.encoded_len();
        let header = FrameHeader { type_byte: Self::FRAME_TYPE.to_byte(), payload_len };
        let len = header.encoded_len() + payload_len;
        assert!(len <= FRAME_MAX, "a frame of {len} bytes is larger than FRAME_MAX");
        let mut out = BytesMut::with_capacity(len);
        header.encode(&mut out);
        self.encode(&mut out);
        Frame::from(out.freeze())
    }
}

/// A payload is larger than its message can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload has {len} bytes; at most {len_max} can be sent this way")]
pub struct PayloadTooLarge {
    /// Its length.
    pub len: usize,
    /// The limit.
    pub len_max: usize,
}

/// An `App` frame around `payload`, which is not copied.
///
/// # Errors
/// If there are more than [`DIRECT_PAYLOAD_MAX`] bytes.
pub fn app_frame(payload: Bytes) -> Result<Frame, PayloadTooLarge> {
    if payload.len() > DIRECT_PAYLOAD_MAX {
        return Err(PayloadTooLarge { len: payload.len(), len_max: DIRECT_PAYLOAD_MAX });
    }
    let header = FrameHeader { type_byte: FrameType::App.to_byte(), payload_len: payload.len() };
    let mut frame = Frame::from(header.to_bytes());
    frame.push_back(payload);
    Ok(frame)
}

/// The first bytes of `frame`: at least as many as `copy` holds, or all there are. They are copied
/// to `copy` unless they lie in one piece.
#[inline]
pub(super) fn head_of<'a>(frame: &'a Frame, copy: &'a mut [u8]) -> &'a [u8] {
    let first = frame.first();
    if first.len() >= copy.len().min(frame.len()) {
        return first;
    }
    let len = frame.copy_to(0, copy);
    &copy[..len]
}
