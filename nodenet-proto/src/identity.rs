//! Keys of a node, derived from one master seed (spec 10 §3), and Ed25519 acceptance (spec 10 §4).

use crate::NodeId;

/// The keys of one node.
#[derive(Clone)]
pub struct Identity {
    id: NodeId,
}

impl Identity {
    /// Derives the keys from the 32-byte master seed, the only secret a node stores.
    pub fn from_master_seed(_seed: &[u8; 32]) -> Self {
        todo!()
    }

    /// The node's identifier.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        todo!()
    }

    /// The X25519 public key.
    pub fn exchange_key(&self) -> &[u8; 32] {
        todo!()
    }

    /// Signs `message` with plain Ed25519.
    pub fn sign(&self, _message: &[u8]) -> [u8; 64] {
        todo!()
    }
}

/// Verifies by the rules of spec 10 §4: cofactorless, canonical S, small-order keys refused.
pub fn verify(_key: &[u8; 32], _message: &[u8], _signature: &[u8; 64]) -> bool {
    todo!()
}
