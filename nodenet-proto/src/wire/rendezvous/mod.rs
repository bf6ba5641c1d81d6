//! Hello and Reply: a signed exchange that turns a node identifier into verified keys and addresses
//! (PROTOCOL.md#hello-and-reply).
//!
//! Responsible for the layouts and for what the signatures cover. Both are payloads of routed
//! envelopes, which are not decoded here. Never: remembers a request or judges an address.
//!
//! ```text
//! Hello, frame type 8, to the node that is looked for
//!  offset  size  field
//!       0    32  exchange key   the requester's static X25519 key
//!      32     a  addresses      counted list, at most 16
//!    32+a    16  nonce          chosen by the requester
//!    48+a    64  signature      by the requester, whose key is the envelope's
//!
//! Reply, frame type 9, to the requester
//!  offset  size  field
//!       0    32  key            the responder's Ed25519 key
//!      32    32  exchange key   the responder's static X25519 key
//!      64     a  addresses      counted list, at most 16
//!    64+a    16  nonce          of the Hello
//!    80+a    64  signature      by the responder
//! ```
//!
//! Nothing may follow either. Signatures cover the addresses as this module encodes them, not as
//! they were received, so a list with a padded count still verifies.

use bytes::BufMut;

use super::addr::AddrList;
use super::codec::{Decode, DecodeError, Encode, Reader};
use super::frame::{FrameType, Message};
use crate::NodeId;
use crate::env::Crypto;
use crate::identity::Identity;

/// Bytes of the nonce that ties a Reply to its Hello (PROTOCOL.md#hello-and-reply).
pub const HANDSHAKE_NONCE_LEN: usize = 16;

/// Domain of a Hello's signature (PROTOCOL.md#hello-and-reply).
const HELLO_DOMAIN: &[u8] = b"nodenet/v1/rendezvous-hello";
/// Domain of a Reply's signature (PROTOCOL.md#hello-and-reply).
const REPLY_DOMAIN: &[u8] = b"nodenet/v1/rendezvous-reply";

/// Asks the target for its keys and addresses. The envelope names the requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The requester's X25519 key. Nothing proves that the requester holds its secret
    /// (PROTOCOL.md#hello-and-reply).
    pub exchange_key: [u8; 32],
    /// Addresses of the requester, best first.
    pub addrs: AddrList,
    /// Copied into the Reply.
    pub nonce: [u8; HANDSHAKE_NONCE_LEN],
    /// The requester's signature.
    pub signature: [u8; 64],
}

impl Hello {
    /// A Hello of `requester` to `target`.
    pub fn sign(
        crypto: &dyn Crypto,
        requester: &Identity,
        target: &NodeId,
        addrs: AddrList,
        nonce: [u8; HANDSHAKE_NONCE_LEN],
    ) -> Self {
        let mut hello =
            Self { exchange_key: *requester.exchange_key(), addrs, nonce, signature: [0; 64] };
        hello.signature = crypto.sign(requester, &hello.signed_message(target));
        hello
    }

    /// Whether the holder of `originator_key`, which is the envelope's key, signed this Hello for
    /// `target`, which is the node that checks it.
    pub fn verify(&self, crypto: &dyn Crypto, target: &NodeId, originator_key: &[u8; 32]) -> bool {
        crypto.verify(originator_key, &self.signed_message(target), &self.signature)
    }

    fn signed_message(&self, target: &NodeId) -> Vec<u8> {
        signed_message(
            HELLO_DOMAIN,
            target.as_bytes(),
            &self.exchange_key,
            &self.addrs,
            &self.nonce,
        )
    }
}

impl Message for Hello {
    const FRAME_TYPE: FrameType = FrameType::Hello;
}

impl Encode for Hello {
    fn encoded_len(&self) -> usize {
        32 + self.addrs.encoded_len() + HANDSHAKE_NONCE_LEN + 64
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.exchange_key);
        self.addrs.encode(out);
        out.put_slice(&self.nonce);
        out.put_slice(&self.signature);
    }
}

impl Decode<'_> for Hello {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            exchange_key: reader.array()?,
            addrs: AddrList::decode(reader)?,
            nonce: reader.array()?,
            signature: reader.array()?,
        })
    }
}

/// Why a Reply does not answer a given request, in the order of the checks
/// (PROTOCOL.md#hello-and-reply).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The key in it is not that of the node that was asked.
    #[error("another node answered")]
    WrongTarget,
    /// The nonce is that of another request.
    #[error("the reply belongs to another request")]
    NonceMismatch,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
}

/// Keys and addresses of the responder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The responder's Ed25519 key.
    pub key: [u8; 32],
    /// The responder's X25519 key.
    pub exchange_key: [u8; 32],
    /// Addresses of the responder, best first.
    pub addrs: AddrList,
    /// The Hello's nonce.
    pub nonce: [u8; HANDSHAKE_NONCE_LEN],
    /// The responder's signature.
    pub signature: [u8; 64],
}

impl Reply {
    /// The answer of `responder` to the Hello with this nonce.
    pub fn sign(
        crypto: &dyn Crypto,
        responder: &Identity,
        addrs: AddrList,
        nonce: [u8; HANDSHAKE_NONCE_LEN],
    ) -> Self {
        let mut reply = Self {
            key: *responder.public_key(),
            exchange_key: *responder.exchange_key(),
            addrs,
            nonce,
            signature: [0; 64],
        };
        reply.signature = crypto.sign(responder, &reply.signed_message());
        reply
    }

    /// Checks that this answers the request to `target` with `nonce`.
    ///
    /// # Errors
    /// The first check that fails, in the order of [`ReplyError`].
    pub fn verify(
        &self,
        crypto: &dyn Crypto,
        target: &NodeId,
        nonce: &[u8; HANDSHAKE_NONCE_LEN],
    ) -> Result<(), ReplyError> {
        if crypto.node_id(&self.key) != *target {
            return Err(ReplyError::WrongTarget);
        }
        if self.nonce != *nonce {
            return Err(ReplyError::NonceMismatch);
        }
        if !crypto.verify(&self.key, &self.signed_message(), &self.signature) {
            return Err(ReplyError::BadSignature);
        }
        Ok(())
    }

    fn signed_message(&self) -> Vec<u8> {
        signed_message(REPLY_DOMAIN, &self.key, &self.exchange_key, &self.addrs, &self.nonce)
    }
}

impl Message for Reply {
    const FRAME_TYPE: FrameType = FrameType::Reply;
}

impl Encode for Reply {
    fn encoded_len(&self) -> usize {
        32 + 32 + self.addrs.encoded_len() + HANDSHAKE_NONCE_LEN + 64
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.key);
        out.put_slice(&self.exchange_key);
        self.addrs.encode(out);
        out.put_slice(&self.nonce);
        out.put_slice(&self.signature);
    }
}

impl Decode<'_> for Reply {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: reader.array()?,
            exchange_key: reader.array()?,
            addrs: AddrList::decode(reader)?,
            nonce: reader.array()?,
            signature: reader.array()?,
        })
    }
}

/// What both signatures cover, one after the other. `party` is the target of a Hello, the key of a
/// Reply's responder.
fn signed_message(
    domain: &[u8],
    party: &[u8; 32],
    exchange_key: &[u8; 32],
    addrs: &AddrList,
    nonce: &[u8; HANDSHAKE_NONCE_LEN],
) -> Vec<u8> {
    let len = domain.len() + 32 + 32 + addrs.encoded_len() + HANDSHAKE_NONCE_LEN;
    let mut message = Vec::with_capacity(len);
    message.put_slice(domain);
    message.put_slice(party);
    message.put_slice(exchange_key);
    addrs.encode(&mut message);
    message.put_slice(nonce);
    message
}

#[cfg(test)]
mod tests;
