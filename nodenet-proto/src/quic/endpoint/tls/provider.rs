//! Cryptography provider of rustls: *ring*, but with randomness that the node supplies.
//!
//! rustls takes its source of randomness and its key exchange as `&'static` objects, so they cannot
//! belong to a node. Those here draw from the generator that is *current* on this thread. A call
//! into quinn-proto makes the node's own generator current while it lasts, see [`with_entropy`].
//! Outside such a call there is no randomness, and a handshake that asks for some fails. Production
//! and simulation run the same code; only the [`Seed`] differs.

use std::cell::Cell;
use std::sync::Arc;

use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::env::{Random, Seed};

thread_local! {
    static CURRENT: Cell<Option<Box<Random>>> = const { Cell::new(None) };
}

/// The generator that one node's handshakes draw from.
#[derive(Debug)]
pub struct Entropy {
    /// Absent only while it is current.
    generator: Option<Box<Random>>,
}

impl Entropy {
    /// A generator that is a function of `seed`.
    pub fn new(seed: &Seed) -> Self {
        Self { generator: Some(Box::new(seed.stream("tls handshake"))) }
    }
}

/// Runs `call` with `entropy` as this thread's current generator, and the one before it afterwards,
/// also if `call` panics. Calls may nest: the innermost generator is the current one.
///
/// quinn-proto panics if it dials where no generator is current; whatever peers can cause then
/// fails without a panic.
pub fn with_entropy<T>(entropy: &mut Entropy, call: impl FnOnce() -> T) -> T {
    let outer = CURRENT.replace(entropy.generator.take());
    let _scope = Scope { entropy, outer };
    call()
}

/// Puts both generators back when it is dropped.
struct Scope<'a> {
    entropy: &'a mut Entropy,
    outer: Option<Box<Random>>,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.entropy.generator = CURRENT.replace(self.outer.take());
    }
}

/// The provider of every node: TLS 1.3 suites and signature verification of *ring*. X25519 is the
/// only group, because another one would draw from the operating system. Every peer offers it
/// (PROTOCOL.md#tls-settings).
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![&CurrentX25519],
        secure_random: &CurrentRandom,
        ..rustls::crypto::ring::default_provider()
    })
}

fn fill_from_current(bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
    let mut generator = CURRENT.take().ok_or(GetRandomFailed)?;
    generator.fill(bytes);
    CURRENT.set(Some(generator));
    Ok(())
}

#[derive(Debug)]
struct CurrentRandom;

impl SecureRandom for CurrentRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill_from_current(bytes)
    }
}

#[derive(Debug)]
struct CurrentX25519;

impl SupportedKxGroup for CurrentX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        fill_from_current(&mut *secret)?;
        let secret = StaticSecret::from(*secret);
        let public = PublicKey::from(&secret);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// One key exchange; its secret is wiped on drop.
struct Exchange {
    secret: StaticSecret,
    public: PublicKey,
}

impl ActiveKeyExchange for Exchange {
    /// Refuses low-order shares, which lead to a known secret (RFC 8446 §7.4.2).
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(&shared.as_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use hex_literal::hex;
    use rustls::Error;

    use super::{CurrentX25519, Entropy, fill_from_current, with_entropy};
    use crate::env::Seed;
    use rustls::crypto::SupportedKxGroup;

    fn draw() -> Option<[u8; 8]> {
        let mut bytes = [0; 8];
        fill_from_current(&mut bytes).ok().map(|()| bytes)
    }

    #[test]
    fn without_a_current_generator_randomness_fails_and_nothing_panics() {
        assert_eq!(draw(), None);
        assert_eq!(CurrentX25519.start().err(), Some(Error::FailedToGetRandomBytes));
    }

    #[test]
    fn nested_calls_each_draw_from_their_own_generator() {
        let new = |seed| Entropy::new(&Seed::from_u64(seed));
        let alone = |seed| with_entropy(&mut new(seed), || (draw(), draw()));

        let (mut outer, mut inner) = (new(1), new(2));
        let (first, nested, second) = with_entropy(&mut outer, || {
            (draw(), with_entropy(&mut inner, || (draw(), draw())), draw())
        });

        assert_eq!((first, second), alone(1));
        assert_eq!(nested, alone(2));
        assert_ne!(alone(1), alone(2));
        assert_eq!(draw(), None);
    }

    #[test]
    fn a_panic_inside_puts_the_generator_back() {
        let mut entropy = Entropy::new(&Seed::from_u64(1));
        let first = with_entropy(&mut entropy, draw);
        let panicked = catch_unwind(AssertUnwindSafe(|| with_entropy(&mut entropy, || panic!())));
        assert!(panicked.is_err());
        assert_eq!(draw(), None);
        let second = with_entropy(&mut entropy, draw);
        assert!(second.is_some());
        assert_ne!(first, second);
    }

    #[test]
    fn two_sides_agree_and_bad_shares_are_refused() {
        let mut entropy = Entropy::new(&Seed::from_u64(1));
        let mut start = || with_entropy(&mut entropy, || CurrentX25519.start().unwrap());
        let (ours, theirs) = (start(), start());
        let (our_share, their_share) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let secret = ours.complete(&their_share).unwrap();
        assert_eq!(secret.secret_bytes(), theirs.complete(&our_share).unwrap().secret_bytes());

        // The neutral element, a point of order eight (RFC 7748 §6.1), one byte short, one too
        // many.
        let low_order = hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        let refused: [&[u8]; 4] = [&[0; 32], &low_order, &our_share[..31], &[9; 33]];
        for share in refused {
            assert!(start().complete(share).is_err(), "{share:02x?}");
        }
    }
}
