//! Hash function for counters that this process assigns.
//!
//! It is one multiplication in place of SipHash, which protects against keys that a peer chooses.
//! So it must not be used for keys that a peer can influence: addresses, identifiers, nonces.

use std::hash::{BuildHasher, Hasher};

/// Builds a [`CounterHasher`]. It has no state, so a map that uses it is the same in every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct CounterHash;

/// Hashes counters, and small values that contain counters.
#[derive(Debug, Clone, Copy)]
pub struct CounterHasher(u64);

impl BuildHasher for CounterHash {
    type Hasher = CounterHasher;

    fn build_hasher(&self) -> CounterHasher {
        CounterHasher(0)
    }
}

impl Hasher for CounterHasher {
    fn finish(&self) -> u64 {
        // Hash tables take the low bits for the position and the high bits for the tag.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
