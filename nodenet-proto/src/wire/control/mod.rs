//! Control messages of the overlay: liveness, leave, lookups (PROTOCOL.md#control-messages).
//!
//! | message   | carrier         | payload                        |
//! |-----------|-----------------|--------------------------------|
//! | Ping      | on the edge     | none, or capabilities u32 (ignored by the reference) |
//! | Pong      | on the edge     | one address                    |
//! | Siblings  | on the edge     | nonce 8                        |
//! | Leave     | on the edge     | none; any is ignored           |
//! | Lookup    | in an envelope  | nonce 8                        |
//! | Neighbors | in an envelope  | nonce 8 ‖ contact list         |
//!
//! Responsible for: these layouts. Never: decides whether to ask or to answer.

use bytes::BufMut;

use super::SEND_PAYLOAD_MAX;
use super::addr::Addr;
use super::codec::{Decode, DecodeError, Encode, Reader};
use super::contact::{Capabilities, Contact, ContactList};
use super::frame::{FrameType, Message};

#[cfg(test)]
mod tests;

/// Ties an answer to its request (PROTOCOL.md#control-messages). The requester draws it at random.
pub type Nonce = [u8; 8];

/// A liveness probe. Any payload that a peer adds is ignored, so there is nothing to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping;

/// A liveness probe with the sender's capabilities. A node that does not know it reads a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapablePing {
    /// Capabilities of the sender.
    pub capabilities: Capabilities,
}

/// Announces that the sender leaves the network. Any payload that a peer adds is ignored, so there
/// is nothing to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave;

/// The answer to a ping, with the peer's observed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// The address of the edge's other end, as the answering node sees it.
    pub observed: Addr,
}

/// Asks a neighbour for the nodes that are nearest to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Siblings {
    /// Comes back in the [`Neighbors`] that answers.
    pub nonce: Nonce,
}

/// Asks for the nodes that are nearest to the target of this envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// Comes back in the [`Neighbors`] that answers.
    pub nonce: Nonce,
}

/// The answer to [`Siblings`] and [`Lookup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbors {
    /// The nonce of the request.
    pub nonce: Nonce,
    /// Nearest first.
    pub contacts: ContactList,
}

impl Neighbors {
    /// An answer with as many of `contacts` as fit, most important first.
    pub fn new(nonce: Nonce, contacts: impl IntoIterator<Item = Contact>) -> Self {
        let len_max = SEND_PAYLOAD_MAX - nonce.len();
        Self { nonce, contacts: ContactList::first_of(contacts, len_max) }
    }
}

impl Message for Ping {
    const FRAME_TYPE: FrameType = FrameType::Ping;
}

impl Message for CapablePing {
    const FRAME_TYPE: FrameType = FrameType::Ping;
}

impl Message for Leave {
    const FRAME_TYPE: FrameType = FrameType::Leave;
}

impl Message for Pong {
    const FRAME_TYPE: FrameType = FrameType::Pong;
}

impl Message for Siblings {
    const FRAME_TYPE: FrameType = FrameType::Siblings;
}

impl Message for Lookup {
    const FRAME_TYPE: FrameType = FrameType::Lookup;
}

impl Message for Neighbors {
    const FRAME_TYPE: FrameType = FrameType::Neighbors;
}

impl Encode for Ping {
    fn encoded_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut impl BufMut) {}
}

impl Encode for CapablePing {
    fn encoded_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32(self.capabilities.0);
    }
}

impl Decode<'_> for CapablePing {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { capabilities: Capabilities(reader.u32()?) })
    }
}

impl Encode for Leave {
    fn encoded_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut impl BufMut) {}
}

impl Encode for Pong {
    fn encoded_len(&self) -> usize {
        self.observed.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        self.observed.encode(out);
    }
}

impl Decode<'_> for Pong {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { observed: Addr::decode(reader)? })
    }
}

impl Encode for Siblings {
    fn encoded_len(&self) -> usize {
        self.nonce.len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
    }
}

impl Decode<'_> for Siblings {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()? })
    }
}

impl Encode for Lookup {
    fn encoded_len(&self) -> usize {
        self.nonce.len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
    }
}

impl Decode<'_> for Lookup {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()? })
    }
}

impl Encode for Neighbors {
    fn encoded_len(&self) -> usize {
        self.nonce.len() + self.contacts.encoded_len()
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.nonce);
        self.contacts.encode(out);
    }
}

impl Decode<'_> for Neighbors {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nonce: reader.array()?, contacts: ContactList::decode(reader)? })
    }
}
