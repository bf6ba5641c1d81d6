//! Labelled random streams: independent generators, derived from one seed.
//!
//! A new draw in one machine never changes what another machine draws.

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use chacha20::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroize;

/// The root of all randomness of one node. In production it comes from the operating system, in
/// tests from a number. The same seed gives the same bytes. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Uses 32 bytes as they are. Production must fill them from the operating system's generator
    /// at every start. It must not store them, because the node's TLS secrets can be computed from
    /// them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A seed for tests and simulations.
    pub fn from_u64(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    /// The seed of one part, for example of one node of a simulation.
    pub fn child(&self, label: &str, index: u64) -> Self {
        let mut mac =
            Blake2bMac::<U32>::new_from_slice(&self.0).expect("a 32-byte key fits BLAKE2b");
        mac.update(&(label.len() as u64).to_le_bytes());
        mac.update(label.as_bytes());
        mac.update(&index.to_le_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// The generator for one purpose.
    pub fn stream(&self, label: &'static str) -> Random {
        Random(ChaCha12Rng::from_seed(self.child(label, 0).0))
    }

    /// Thirty-two bytes for one purpose, for example a key.
    pub fn bytes(&self, label: &'static str) -> [u8; 32] {
        self.child(label, 1).0
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Jitter of every period, in percent (PROTOCOL.md#jitter).
pub(crate) const PERIOD_JITTER_PERCENT: u32 = 10;

/// One labelled stream of randomness.
#[derive(Debug)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// Sixty-four random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A number in `0..bound`, with a negligible bias (2^-64 × bound).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range needs at least one number");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `span` shortened or lengthened by up to `percent` of itself.
    pub fn jitter(&mut self, span: core::time::Duration, percent: u32) -> core::time::Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let width = nanos / 100 * u64::from(percent);
        let low = nanos.saturating_sub(width);
        core::time::Duration::from_nanos(low.saturating_add(self.below(2 * width + 1)))
    }
}
