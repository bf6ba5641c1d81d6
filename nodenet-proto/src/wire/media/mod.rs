//! Media frames: datagrams and one-shot messages on a media conn (PROTOCOL.md#media-frames).
//!
//! Responsible for the layout, the channel numbers, the size limits and the codes of closes and
//! resets. It never queues, budgets or counts.
//!
//! ```text
//! offset  size  field
//!      0     1  channel   0: the core, 1 to 15: reserved, 16 to 255: the application
//!      1  rest  payload   opaque, may be empty
//! ```
//!
//! One QUIC datagram (payload up to 1,200 bytes) and one whole unidirectional stream (payload up to
//! 65,536 bytes) have the same layout. There is no length, version, sequence number or time in it.

use bytes::{BufMut, Bytes};

use super::codec::Encode;

/// Largest payload of a media datagram in bytes (PROTOCOL.md#media-frames).
pub const DATAGRAM_PAYLOAD_MAX: usize = 1_200;
/// Largest payload of a media message in bytes (PROTOCOL.md#media-frames).
pub const MESSAGE_PAYLOAD_MAX: usize = 65_536;

/// The keep-alive datagram of a media conn whose dialer has no data: reserved channel 0, no
/// payload. The acceptor counts it as liveness and then discards it (PROTOCOL.md#media-keep-alive).
pub const KEEP_ALIVE_DATAGRAM: [u8; 1] = [0];

/// Application close code of a media conn that ended or was refused (PROTOCOL.md#media-codes).
pub const CLOSE_NORMAL: u32 = 0;
/// Application close code towards a peer that takes no QUIC datagrams (PROTOCOL.md#media-codes).
pub const CLOSE_NO_DATAGRAMS: u32 = 1;
/// Reason that goes with [`CLOSE_NO_DATAGRAMS`].
pub const CLOSE_NO_DATAGRAMS_REASON: &[u8] = b"media requires datagram support";

/// Stream code of a message that stalled, or that its reader refused (PROTOCOL.md#media-codes).
pub const STREAM_STALLED: u32 = 1;
/// Stream code of a message that its sender cancelled (PROTOCOL.md#media-codes).
pub const STREAM_CANCELLED: u32 = 2;

/// A channel an application may use: 16 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(u8);

impl Channel {
    /// The lowest channel of the application (PROTOCOL.md#media-frames).
    pub const FIRST: Self = Self(16);

    /// The channel with this number; `None` if it is reserved.
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::FIRST.0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why media was discarded. The peer is not punished for any of these (PROTOCOL.md#media-refusals).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// There is no channel byte.
    #[error("a media frame has at least a channel byte")]
    Empty,
    /// A channel below 16.
    #[error("channel {0} is reserved")]
    ReservedChannel(u8),
    /// The payload is larger than the carrier allows.
    #[error("{len} bytes of payload, at most {max} are allowed here")]
    TooLarge {
        /// Length of the payload in bytes.
        len: usize,
        /// Longest payload allowed, in bytes.
        max: usize,
    },
}

/// One media frame. Its constructors ensure that it fits its carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFrame {
    channel: Channel,
    payload: Bytes,
}

impl MediaFrame {
    /// A frame for a datagram.
    ///
    /// # Errors
    /// If the payload is longer than [`DATAGRAM_PAYLOAD_MAX`].
    pub fn for_datagram(channel: Channel, payload: Bytes) -> Result<Self, MediaError> {
        check_len(payload.len(), DATAGRAM_PAYLOAD_MAX)?;
        Ok(Self { channel, payload })
    }

    /// A frame for a message stream.
    ///
    /// # Errors
    /// If the payload is longer than [`MESSAGE_PAYLOAD_MAX`].
    pub fn for_message(channel: Channel, payload: Bytes) -> Result<Self, MediaError> {
        check_len(payload.len(), MESSAGE_PAYLOAD_MAX)?;
        Ok(Self { channel, payload })
    }

    /// Parses the content of a datagram. The payload shares its storage.
    ///
    /// # Errors
    /// The first that holds: empty, reserved channel, too large (PROTOCOL.md#media-refusals).
    pub fn from_datagram(content: Bytes) -> Result<Self, MediaError> {
        let (channel, payload) = split_channel(content)?;
        Self::for_datagram(channel, payload)
    }

    /// Parses the whole content of a message stream. The payload shares its storage.
    ///
    /// # Errors
    /// The first that holds: empty, too large, reserved channel. A stream is read to its end before
    /// the channel is looked at (PROTOCOL.md#media-refusals).
    pub fn from_message(content: Bytes) -> Result<Self, MediaError> {
        check_len(content.len().saturating_sub(1), MESSAGE_PAYLOAD_MAX)?;
        let (channel, payload) = split_channel(content)?;
        Ok(Self { channel, payload })
    }

    /// The channel.
    pub const fn channel(&self) -> Channel {
        self.channel
    }

    /// The payload.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Its parts. Writing the channel's number and then the payload to a stream sends a message
    /// without copying it.
    pub fn into_parts(self) -> (Channel, Bytes) {
        (self.channel, self.payload)
    }
}

impl Encode for MediaFrame {
    fn encoded_len(&self) -> usize {
        1 + self.payload.len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.channel.0);
        out.put_slice(&self.payload);
    }
}

fn split_channel(mut content: Bytes) -> Result<(Channel, Bytes), MediaError> {
    let &number = content.first().ok_or(MediaError::Empty)?;
    let channel = Channel::new(number).ok_or(MediaError::ReservedChannel(number))?;
    Ok((channel, content.split_off(1)))
}

const fn check_len(len: usize, max: usize) -> Result<(), MediaError> {
    if len > max { Err(MediaError::TooLarge { len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
