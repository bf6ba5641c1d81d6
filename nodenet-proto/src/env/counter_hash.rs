//! Hash function for counters that this process assigns.
//!
//! It is one multiplication in place of SipHash, which protects against keys that a peer chooses.
//! So it must not be used for keys that a peer can influence: addresses, identifiers, nonces.

use std::hash::{BuildHasher, Hash, Hasher};

use indexmap::IndexMap;

/// Entries for which a map has room at first.
const ROOM_MIN: usize = 4;
/// A map grows by its length divided by this.
const GROWTH_DIVISOR: usize = 8;

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

/// Makes room for one more entry, and for an eighth more if there was none. By itself an `IndexMap`
/// gives its entries as much room as its index has, up to twice as much as they need (measured).
pub(crate) fn reserve_one<K: Hash + Eq, V>(map: &mut IndexMap<K, V, CounterHash>) {
    if map.len() == map.capacity() {
        map.reserve_exact((map.len() / GROWTH_DIVISOR).max(ROOM_MIN));
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::{CounterHash, reserve_one};

    #[test]
    fn a_map_has_room_for_an_eighth_more_than_it_holds() {
        let mut map: IndexMap<u64, u64, CounterHash> = IndexMap::default();
        for key in 0..2_000 {
            reserve_one(&mut map);
            map.insert(key, key);
            let room = map.capacity();
            assert!(room <= map.len() + (map.len() / 8).max(4), "{room} for {}", map.len());
        }
        assert_eq!(map.len(), 2_000);
    }
}
