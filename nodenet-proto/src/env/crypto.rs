//! Interface to cryptography: hash, sign and verify.
//!
//! Production uses [`Ed25519Crypto`]. A simulation of very many nodes may use a keyed hash instead,
//! because signatures would dominate its cost.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

use crate::NodeId;
use crate::identity::Identity;

/// Hash, sign and verify.
pub trait Crypto: Send {
    /// BLAKE2b-256 over the concatenation of `pieces`, which need not be contiguous.
    fn hash_pieces(&self, pieces: &mut dyn Iterator<Item = &[u8]>) -> [u8; 32] {
        let mut hash = Blake2b::<U32>::new();
        for piece in pieces {
            hash.update(piece);
        }
        hash.finalize().into()
    }

    /// BLAKE2b-256 over the concatenation of `parts`.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.hash_pieces(&mut parts.iter().copied())
    }

    /// Signs `message` as `identity`.
    fn sign(&self, identity: &Identity, message: &[u8]) -> [u8; 64];

    /// Whether `signature` over `message` is by the holder of `key`.
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;

    /// The identifier of the holder of `key`.
    fn node_id(&self, key: &[u8; 32]) -> NodeId {
        NodeId::from_bytes(self.hash(&[key]))
    }
}

/// BLAKE2b-256 and Ed25519 with the acceptance rules of PROTOCOL.md#signature-rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519Crypto;

impl Crypto for Ed25519Crypto {
    fn sign(&self, identity: &Identity, message: &[u8]) -> [u8; 64] {
        identity.sign(message)
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        crate::identity::verify(key, message, signature)
    }
}
