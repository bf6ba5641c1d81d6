//! What quinn-proto would otherwise draw from the operating system or read from its clock.
//!
//! Responsible for: keys of resets and tokens, connection IDs, the clock of tokens, each a function of
//! the node's [`Seed`] or set by the node. Never: transport parameters, windows, timers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use quinn_proto::crypto::{HandshakeTokenKey, HmacKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid, TimeSource};
use ring::{hkdf, hmac};

use crate::env::{Random, Seed};

/// Random bytes in a connection ID of ours.
const NONCE_LEN: usize = 4;
/// Bytes by which we recognise it. Garbage passes, and earns a stateless reset, once in 2^32.
const TAG_LEN: usize = 4;
/// Bytes of a dial's first destination connection ID: the most QUIC version 1 allows (RFC 9000 §17.2;
/// §7.2 asks for at least 8).
const FIRST_CID_LEN: usize = 20;

/// Signs stateless reset tokens.
pub(super) fn reset_key(seed: &Seed) -> Arc<dyn HmacKey> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &seed.bytes("reset key")))
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

/// Our connection IDs: a nonce and a keyed tag, so that they can be told from garbage without state.
pub(super) struct ConnectionIds {
    random: Random,
    key: [u8; 32],
}

impl ConnectionIds {
    pub(super) fn new(seed: &Seed) -> Self {
        Self { random: seed.stream("connection ids"), key: seed.bytes("connection id key") }
    }

    fn tag(&self, nonce: &[u8]) -> [u8; TAG_LEN] {
        let mut mac = Blake2bMac::<U32>::new_from_slice(&self.key).expect("a 32-byte key fits");
        mac.update(nonce);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        core::array::from_fn(|i| tag[i])
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

/// The clock by which Retry tokens expire. It shows what it was last set to, in whole milliseconds
/// since the node started, because a token only ever returns to the node that issued it.
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
    use std::time::{Duration, SystemTime};

    use quinn_proto::{ConnectionId, ConnectionIdGenerator, TimeSource};

    use super::{ConnectionIds, TokenClock, first_cid};
    use crate::env::Seed;

    #[test]
    fn own_connection_ids_are_recognised_and_others_are_not() {
        let new = |seed| ConnectionIds::new(&Seed::from_u64(seed));
        let mut ids = new(1);
        let id = ids.generate_cid();
        assert_eq!(id.len(), ids.cid_len());
        assert!(ids.validate(&id).is_ok());
        assert!(new(2).validate(&id).is_err());
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
        assert_eq!(id, new(1).generate_cid());
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
