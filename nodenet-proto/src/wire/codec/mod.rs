//! Codec of messages: a bounds-checked reader, the traits [`Encode`] and [`Decode`], and decode
//! errors.
//!
//! Responsible for: bounds, integers, the `uvarint`. Never: allocates, panics on input, or
//! interprets a message. A [`Reader`] is for one message; a failed read does not move it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::NodeId;

#[cfg(test)]
mod tests;

/// Longest `uvarint`: ten groups of seven bits hold any 64-bit number (PROTOCOL.md#uvarint).
pub const UVARINT_LEN_MAX: usize = 10;

/// Why bytes do not decode as the expected message (PROTOCOL.md#decode-errors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum DecodeError {
    /// The length does not fit the contents. The input ends early or has bytes after its end, or a
    /// count or `uvarint` announces more than could follow.
    #[error("the length of the input does not fit its contents")]
    ShortBuffer,
    /// A frame longer than [`super::frame::FRAME_PAYLOAD_MAX`] is announced.
    #[error("the frame is larger than any frame may be")]
    FrameTooLarge,
    /// A frame of another protocol version.
    #[error("the frame is of an unknown version")]
    BadVersion,
    /// An address or a list of addresses is malformed.
    #[error("an address is malformed")]
    BadAddr,
    /// More addresses than this message may carry.
    #[error("there are too many addresses")]
    TooManyAddrs,
    /// More than three avoid entries.
    #[error("there are too many nodes to avoid")]
    AvoidTooLarge,
}

/// A value with exactly one encoding that this implementation emits.
///
/// A value that can be built can be encoded: limits are checked where values are made.
pub trait Encode {
    /// How many bytes [`Encode::encode`] will write.
    fn encoded_len(&self) -> usize;

    /// Appends the encoding to `out`.
    ///
    /// # Panics
    /// If `out` cannot take [`Encode::encoded_len`] more bytes.
    fn encode(&self, out: &mut impl BufMut);

    /// The encoding in a buffer of its own.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out.freeze()
    }
}

/// A value that can be read from untrusted bytes.
pub trait Decode<'a>: Sized {
    /// Reads one value and leaves what follows to the caller.
    ///
    /// # Errors
    /// If the bytes are not a value of this type; the position of `reader` is then unspecified.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Reads one value that takes up all of `bytes`.
    ///
    /// # Errors
    /// As [`Decode::decode`], and [`DecodeError::ShortBuffer`] if bytes are left over.
    fn decode_exact(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Reads one value and ignores what follows it. Only for messages whose end is not checked by
    /// the protocol.
    ///
    /// # Errors
    /// As [`Decode::decode`].
    fn decode_front(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes))
    }
}

/// A position in untrusted bytes. A failed read does not move it.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads `len` bytes. Taking a `u64` lets callers pass a length from the wire as it is.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if there are fewer.
    pub fn bytes(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::ShortBuffer)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::ShortBuffer)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::ShortBuffer)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads a node identifier.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn node_id(&mut self) -> Result<NodeId, DecodeError> {
        self.array().map(NodeId::from_bytes)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads a big-endian 16-bit number.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a big-endian 32-bit number.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a big-endian 64-bit number.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a big-endian signed 64-bit number.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] at the end of the input.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads a `uvarint`, minimal or not (PROTOCOL.md#uvarint).
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if it does not end or does not fit 64 bits.
    pub fn uvarint(&mut self) -> Result<u64, DecodeError> {
        let (value, len) = split_uvarint(self.rest).ok_or(DecodeError::ShortBuffer)?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    /// Reads a `uvarint` and that number of bytes.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if either is incomplete.
    pub fn len_prefixed(&mut self) -> Result<&'a [u8], DecodeError> {
        let mut ahead = self.clone();
        let len = ahead.uvarint()?;
        let bytes = ahead.bytes(len)?;
        *self = ahead;
        Ok(bytes)
    }

    /// Reads a `uvarint` that counts items of at least `item_len_min` bytes each. A count that the
    /// remaining bytes could not hold is refused, so an allocation for the items is bounded by the
    /// input.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if the number is malformed or too large.
    pub fn count(&mut self, item_len_min: usize) -> Result<usize, DecodeError> {
        let mut ahead = self.clone();
        let count = usize::try_from(ahead.uvarint()?).map_err(|_| DecodeError::ShortBuffer)?;
        if count > ahead.remaining() / item_len_min {
            return Err(DecodeError::ShortBuffer);
        }
        *self = ahead;
        Ok(count)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends a message that must not be followed by anything.
    ///
    /// # Errors
    /// [`DecodeError::ShortBuffer`] if bytes are left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::ShortBuffer) }
    }
}

/// Reads a `uvarint` off the front of `bytes`: its value and its length. `None` if it does not end
/// within `bytes` or does not fit 64 bits.
pub fn split_uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(UVARINT_LEN_MAX).enumerate() {
        // The tenth group has room for one bit only.
        if i == UVARINT_LEN_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Length of the minimal `uvarint` for `value`: 1 to 10.
pub const fn uvarint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends the minimal `uvarint` for `value`.
///
/// # Panics
/// If `out` has no room for it.
pub fn put_uvarint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Length of `bytes` behind a length prefix.
pub const fn len_prefixed_len(bytes: &[u8]) -> usize {
    uvarint_len(bytes.len() as u64) + bytes.len()
}

/// Appends `bytes` behind their length.
///
/// # Panics
/// If `out` has no room for them.
pub fn put_len_prefixed(out: &mut impl BufMut, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.put_slice(bytes);
}
