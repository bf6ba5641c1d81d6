//! Simulated signatures and digests: a keyed hash, cheap enough for runs of 100,000 nodes.
//!
//! Responsible for: signatures that only nodes of the world can make, at the cost of a few
//! multiplications. Never: security against code that can read the world's key; therefore it is in
//! the simulator.
//!
//! Identifiers are real, because they determine every order. So a run with real signatures takes
//! the same decisions; a test checks it.

use nodenet_proto::NodeId;
use nodenet_proto::env::{Crypto, Ed25519Crypto, Seed};
use nodenet_proto::identity::Identity;

use crate::hash::TraceHash;

/// Kind of signatures in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// [`StandInCrypto`].
    #[default]
    StandIn,
    /// Ed25519.
    Real,
}

impl Signatures {
    /// The implementation for one node of a world.
    pub fn crypto(self, world: &Seed) -> Box<dyn Crypto> {
        match self {
            Self::StandIn => Box::new(StandInCrypto::new(world)),
            Self::Real => Box::new(Ed25519Crypto),
        }
    }
}

/// Real identifiers, cheap digests and signatures.
#[derive(Debug, Clone, Copy)]
pub struct StandInCrypto {
    key: [u8; 32],
}

impl StandInCrypto {
    /// All nodes of a world must use the same seed, or they would refuse one another's signatures.
    pub fn new(world: &Seed) -> Self {
        Self { key: world.bytes("stand-in signatures") }
    }

    fn tag(&self, public: &[u8; 32], message: &[u8]) -> [u8; 64] {
        spread(&mut [&self.key[..], public, message].into_iter())
    }
}

/// `N` bytes, a hash of the concatenation of `pieces`.
fn spread<const N: usize>(pieces: &mut dyn Iterator<Item = &[u8]>) -> [u8; N] {
    let mut hash = TraceHash::default();
    hash.pieces(pieces);
    let mut out = [0; N];
    for word in out.chunks_exact_mut(8) {
        hash.number(N as u64);
        word.copy_from_slice(&hash.value().to_le_bytes());
    }
    out
}

impl Crypto for StandInCrypto {
    fn hash_pieces(&self, pieces: &mut dyn Iterator<Item = &[u8]>) -> [u8; 32] {
        spread(pieces)
    }

    fn node_id(&self, key: &[u8; 32]) -> NodeId {
        Ed25519Crypto.node_id(key)
    }

    fn sign(&self, identity: &Identity, message: &[u8]) -> [u8; 64] {
        self.tag(identity.public_key(), message)
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        self.tag(key, message) == *signature
    }
}

#[cfg(test)]
mod tests {
    use nodenet_proto::env::{Crypto, Seed};
    use nodenet_proto::identity::Identity;

    use super::{Signatures, StandInCrypto};

    #[test]
    fn only_the_signer_and_the_message_verify() {
        let crypto = StandInCrypto::new(&Seed::from_u64(1));
        let [a, b] = [1, 2].map(|i| Identity::from_master_seed(&[i; 32]));
        let tag = crypto.sign(&a, b"message");
        assert!(crypto.verify(a.public_key(), b"message", &tag));
        assert!(!crypto.verify(b.public_key(), b"message", &tag));
        assert!(!crypto.verify(a.public_key(), b"massage", &tag));
        let mut other = tag;
        other[63] ^= 1;
        assert!(!crypto.verify(a.public_key(), b"message", &other));
        let foreign = StandInCrypto::new(&Seed::from_u64(2));
        assert!(!foreign.verify(a.public_key(), b"message", &tag));
    }

    #[test]
    fn identifiers_are_those_of_real_cryptography() {
        let identity = Identity::from_master_seed(&[7; 32]);
        for signatures in [Signatures::StandIn, Signatures::Real] {
            let crypto = signatures.crypto(&Seed::from_u64(1));
            assert_eq!(crypto.node_id(identity.public_key()), identity.id());
        }
    }
}
