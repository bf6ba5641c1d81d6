//! Keys of a node, derived from one master seed (PROTOCOL.md#key-derivation), and the acceptance
//! rules for signatures and key agreements (PROTOCOL.md#signature-rules).
//!
//! Responsible for: the derivation, and the acceptance rules that all nodes of a network share.
//! Never: stores or draws a seed; see [`crate::pow`] for the search.
//!
//! An [`Identity`] is made once from the stored seed and is kept as long as the node. Its keys
//! cannot be replaced one by one: all of them follow from the seed.

use core::fmt;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::NodeId;

#[cfg(test)]
mod tests;

/// Bytes of the master seed (PROTOCOL.md#key-derivation).
pub const MASTER_SEED_LEN: usize = 32;
/// HKDF label of the signing key (PROTOCOL.md#key-derivation).
const SIGNING_LABEL: &[u8] = b"nodenet/v1/identity-ed25519";
/// HKDF label of the key-exchange key (PROTOCOL.md#key-derivation).
const EXCHANGE_LABEL: &[u8] = b"nodenet/v1/kex-x25519";
/// HKDF label of the key of stateless reset tokens. No other node computes with this key, nor with
/// the next, so the labels need not match the reference.
const RESET_LABEL: &[u8] = b"nodenet/v1/quic-stateless-reset";
/// HKDF label of the key of connection IDs.
const CONNECTION_ID_LABEL: &[u8] = b"nodenet/v1/quic-connection-id";

/// The keys of one node. Secrets are wiped when the last copy is dropped.
#[derive(Clone)]
pub struct Identity {
    id: NodeId,
    signing: SigningKey,
    public: [u8; 32],
    exchange: StaticSecret,
    exchange_public: [u8; 32],
    reset: Zeroizing<[u8; 32]>,
    connection_id: Zeroizing<[u8; 32]>,
}

impl Identity {
    /// Derives the keys from the 32-byte master seed, the only secret a node stores.
    pub fn from_master_seed(seed: &[u8; MASTER_SEED_LEN]) -> Self {
        let derivation = Hkdf::<Sha256>::new(None, seed);
        let signing = SigningKey::from_bytes(&expand(&derivation, SIGNING_LABEL));
        let exchange = StaticSecret::from(*expand(&derivation, EXCHANGE_LABEL));
        let public = signing.verifying_key().to_bytes();
        let exchange_public = PublicKey::from(&exchange).to_bytes();
        Self {
            id: node_id(&public),
            signing,
            public,
            exchange,
            exchange_public,
            reset: expand(&derivation, RESET_LABEL),
            connection_id: expand(&derivation, CONNECTION_ID_LABEL),
        }
    }

    /// The node's identifier.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// The X25519 public key.
    pub fn exchange_key(&self) -> &[u8; 32] {
        &self.exchange_public
    }

    /// The secret from which stateless reset tokens follow (RFC 9000 §10.3.2). It is the same in
    /// every process of this identity, so that a process can reset the conns of an earlier process.
    pub(crate) fn reset_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.reset
    }

    /// The secret by which a process recognises the connection IDs of this identity, those of
    /// earlier processes included.
    pub(crate) fn connection_id_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.connection_id
    }

    /// The secret shared with the holder of `peer`; `None` if it would be all zero, which only a
    /// low-order key produces (PROTOCOL.md#key-agreement).
    pub fn agree(&self, peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self.exchange.diffie_hellman(&PublicKey::from(*peer));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }

    /// Signs `message` with plain Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.id)
    }
}

/// The identifier that belongs to an Ed25519 key: its BLAKE2b-256.
pub fn node_id(public_key: &[u8; 32]) -> NodeId {
    NodeId::from_bytes(Blake2b::<U32>::digest(public_key).into())
}

/// Verifies by PROTOCOL.md#signature-rules: cofactorless, canonical S, the key in any encoding;
/// refuses small-order keys, which have no owner.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| {
        !key.is_weak() && key.verify(message, &Signature::from_bytes(signature)).is_ok()
    })
}

/// The Ed25519 seed of a master seed. An identifier depends on it alone.
pub(crate) fn signing_seed(seed: &[u8; MASTER_SEED_LEN]) -> Zeroizing<[u8; 32]> {
    expand(&Hkdf::new(None, seed), SIGNING_LABEL)
}

fn expand(derivation: &Hkdf<Sha256>, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    derivation.expand(label, &mut *out).expect("32 bytes are within HKDF's limit");
    out
}
