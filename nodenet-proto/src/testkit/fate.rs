//! Fates: random numbers that are a hash of what they are for, not draws from a shared stream.
//!
//! One event more or less in a run changes nothing for the others. They are the same on every
//! platform. They do not resist an adversary; they only have to look independent.

/// The golden ratio in 64 bits, the increment of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The fate of one thing: sixty-four bits that depend on these three numbers alone.
#[inline]
pub fn fate(seed: u64, link: u64, ordinal: u64) -> u64 {
    let step = |state: u64, number: u64| mix((state ^ number).wrapping_add(INCREMENT));
    step(step(step(0, seed), link), ordinal)
}

/// Whether a thing with this fate is one of `share` (0 to 1) that are hit.
#[inline]
pub fn hit(fate: u64, share: f64) -> bool {
    // Multiplying by a power of two is exact, so this compares alike everywhere.
    ((fate >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// A number in `0..bound` drawn by `fate`.
#[inline]
pub fn below(fate: u64, bound: u64) -> u64 {
    ((u128::from(fate) * u128::from(bound)) >> 64) as u64
}

/// The finalizer of SplitMix64.
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{below, fate, hit};

    #[test]
    fn fates_are_uniform_enough_and_depend_on_every_part() {
        for share in [0.0, 0.01, 0.3, 1.0] {
            let hits = (0..100_000).filter(|&i| hit(fate(7, i / 100, i % 100), share)).count();
            let expected = (share * 100_000.0) as usize;
            assert!(hits.abs_diff(expected) <= 500, "{hits} of 100,000 for {share}");
        }
        assert_ne!(fate(1, 2, 3), fate(2, 1, 3));
        assert_ne!(fate(1, 2, 3), fate(1, 3, 2));
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(0, 10), 0);
    }

    /// A hash that is linear in the ordinal spaces hits evenly, so that losses never come together.
    #[test]
    fn fates_of_neighbouring_ordinals_are_independent() {
        for distance in [1, 2, 8, 16] {
            let is_hit = |ordinal| hit(fate(7, 1, ordinal), 0.1);
            let both = (0..100_000).filter(|&i| is_hit(i) && is_hit(i + distance)).count();
            assert!((850..1_150).contains(&both), "{both} of 100,000 at distance {distance}");
        }
    }
}
