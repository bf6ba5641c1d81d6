//! Endpoint keys and connection IDs of quinn-proto, without entropy or a clock of the operating
//! system.
//!
//! Responsible for: stateless resets, keys of tokens, connection IDs, the clock of tokens. Each is
//! a function of the node's [`Seed`] or identity, or is set by the node. Never: transport
//! parameters, windows, timers.
//!
//! What a process must recognise of the one before it follows from the identity. The tag of a
//! connection ID distinguishes a packet of a dead conn from garbage; the reset token is the answer
//! to it (RFC 9000 §10.3). One without the other ends no conn. All else is fresh per process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use quinn_proto::crypto::{CryptoError, HandshakeTokenKey, HmacKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid, TimeSource};
use ring::hkdf;
use zeroize::Zeroizing;

use crate::env::{Random, Seed};

/// Random bytes in a connection ID of this node.
const NONCE_LEN: usize = 4;
/// Bytes by which this node recognises it. Garbage passes, and gets a stateless reset, once in
/// 2^32.
const TAG_LEN: usize = 4;
/// Bytes of a dial's first destination connection ID: the most QUIC version 1 allows (RFC 9000
/// §17.2; §7.2 asks for at least 8).
const FIRST_CID_LEN: usize = 20;

/// A key of keyed BLAKE2b-256, wiped on drop. As the key of reset tokens it is used by quinn-proto.
#[derive(Clone)]
pub(super) struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    pub(super) fn new(key: &Zeroizing<[u8; 32]>) -> Self {
        Self(key.clone())
    }

    fn mac(&self, message: &[u8]) -> Blake2bMac<U32> {
        let mut mac = Blake2bMac::new_from_slice(&*self.0).expect("a 32-byte key fits");
        mac.update(message);
        mac
    }
}

impl HmacKey for MacKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.mac(data).finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.mac(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}

/// Seals the tokens of Retry packets.
pub(super) fn token_key(seed: &Seed) -> Arc<dyn HandshakeTokenKey> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
    Arc::new(salt.extract(&seed.bytes("token key")))
}

/// Makes the first destination connection ID of each dial.
pub(super) fn first_cid(seed: &Seed) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    let random = Mutex::new(seed.stream("first connection ids"));
    Arc::new(move || {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionId::new(&random.array::<FIRST_CID_LEN>())
    })
}

/// This node's connection IDs: a nonce and a keyed tag, which distinguish them from garbage without
/// state, in later processes as well.
pub(super) struct ConnectionIds {
    random: Random,
    key: MacKey,
}

impl ConnectionIds {
    pub(super) fn new(key: MacKey, seed: &Seed) -> Self {
        Self { random: seed.stream("connection ids"), key }
    }

    fn tag(&self, nonce: &[u8]) -> [u8; TAG_LEN] {
        let mac = self.key.mac(nonce).finalize().into_bytes();
        core::array::from_fn(|i| mac[i])
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = self.random.array::<NONCE_LEN>();
        let mut id = [0; NONCE_LEN + TAG_LEN];
        id[..NONCE_LEN].copy_from_slice(&nonce);
        id[NONCE_LEN..].copy_from_slice(&self.tag(&nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let (nonce, tag) = id.split_at_checked(NONCE_LEN).ok_or(InvalidCid)?;
        if tag == self.tag(nonce) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        NONCE_LEN + TAG_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The clock by which Retry tokens expire. It shows the time it was last set to, in whole
/// milliseconds since the node started. A token only ever returns to the node that issued it.
#[derive(Debug, Default)]
pub struct TokenClock {
    elapsed_ms: AtomicU64,
}

impl TokenClock {
    /// Sets the time since the node started.
    pub fn set(&self, elapsed: Duration) {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.store(elapsed_ms, Ordering::Relaxed);
    }
}

impl TimeSource for TokenClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    use quinn_proto::{ConnectionId, ConnectionIdGenerator, TimeSource};

    use quinn_proto::crypto::HmacKey;
    use zeroize::Zeroizing;

    use super::{ConnectionIds, MacKey, TokenClock, first_cid};
    use crate::env::Seed;

    fn key(byte: u8) -> MacKey {
        MacKey::new(&Zeroizing::new([byte; 32]))
    }

    #[test]
    fn own_connection_ids_are_recognised_and_others_are_not() {
        let new = |key_byte, seed| ConnectionIds::new(key(key_byte), &Seed::from_u64(seed));
        let mut ids = new(1, 1);
        let id = ids.generate_cid();
        assert_eq!(id.len(), ids.cid_len());
        assert!(ids.validate(&id).is_ok());
        assert!(new(1, 2).validate(&id).is_ok(), "another process of the same identity");
        assert!(new(2, 1).validate(&id).is_err(), "another identity");
        for bit in 0..64 {
            let mut changed = [0; 8];
            changed.copy_from_slice(&id);
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ids.validate(&ConnectionId::new(&changed)).is_err(), "bit {bit}");
        }
        for len in 0..8 {
            assert!(ids.validate(&ConnectionId::new(&id[..len])).is_err(), "cut to {len}");
        }
        assert_ne!(id, ids.generate_cid());
        assert_eq!(id, new(1, 1).generate_cid());
        assert_ne!(id, new(1, 2).generate_cid());
    }

    #[test]
    fn a_reset_token_depends_on_every_bit_of_the_key_and_the_connection_id() {
        let token = |key: MacKey, id: &[u8]| {
            let mut token = vec![0; key.signature_len()];
            key.sign(id, &mut token);
            assert!(key.verify(id, &token).is_ok() && key.verify(id, &token[1..]).is_err());
            token
        };
        let mut tokens = BTreeSet::from([token(key(1), &[0; 8]), token(key(2), &[0; 8])]);
        for bit in 0..64 {
            tokens.insert(token(key(1), &(1_u64 << bit).to_le_bytes()));
        }
        assert_eq!(tokens.len(), 66);
    }

    #[test]
    fn first_connection_ids_are_long_and_a_function_of_the_seed() {
        let (one, again) = (first_cid(&Seed::from_u64(1)), first_cid(&Seed::from_u64(1)));
        let id = one();
        assert_eq!(id.len(), 20);
        assert_eq!(id, again());
        assert_ne!(id, one());
    }

    #[test]
    fn the_token_clock_shows_what_it_was_set_to() {
        let clock = TokenClock::default();
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH);
        clock.set(Duration::from_micros(15_000_999));
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(15));
        clock.set(Duration::MAX);
        assert!(clock.now() > SystemTime::UNIX_EPOCH);
    }
}
