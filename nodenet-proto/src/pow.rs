//! Proof of work on identifiers (PROTOCOL.md#proof-of-work): threshold and search.
//!
//! Responsible for: the threshold and the search, in steps. Never: spawns, waits or draws entropy
//! of its own. A driver steps one [`Minter`] per thread and can stop at any time.
//!
//! The work is priced against this search. A search for a key without a seed needs one point
//! addition per key and is some ten times faster, and work never expires
//! (PROTOCOL.md#proof-of-work).

use curve25519_dalek::EdwardsPoint;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::NodeId;
use crate::env::Random;
use crate::identity::{MASTER_SEED_LEN, node_id, signing_seed};

/// Largest difficulty: the number of bits of an identifier.
pub const DIFFICULTY_MAX: u16 = 256;
/// Seeds tried in one step. The points of a batch share one field inversion, which is a fifth of
/// the cost of a single point. Beyond some thirty points the share is negligible. A step takes
/// about half a millisecond.
pub const TRIES_PER_STEP: usize = 32;

/// Whether `id` has at least `difficulty` zero bits in front. Zero admits every identifier, more
/// than 256 none.
pub fn satisfies(id: &NodeId, difficulty: u16) -> bool {
    id.leading_zeros() >= difficulty
}

/// Average number of seeds to try: 2 to the power of `difficulty`, exactly; infinite for a
/// difficulty that no identifier satisfies.
pub fn expected_tries(difficulty: u16) -> f64 {
    if difficulty > DIFFICULTY_MAX {
        return f64::INFINITY;
    }
    // The exponent of a double is biased by 1023 and stands above 52 bits of fraction.
    f64::from_bits((1023 + u64::from(difficulty)) << 52)
}

/// The difficulty is larger than the number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has 256 bits, so the difficulty can be 256 at most")]
pub struct Unsatisfiable;

/// A search for a master seed whose identifier satisfies a difficulty.
///
/// It is stepped until it returns a seed, and can be dropped at any time. Several may search in
/// parallel, each with a random stream of its own.
#[derive(Debug)]
pub struct Minter {
    difficulty: u16,
    tries: u64,
}

impl Minter {
    /// A search without a try yet.
    ///
    /// # Errors
    /// If `difficulty` is larger than [`DIFFICULTY_MAX`].
    pub const fn new(difficulty: u16) -> Result<Self, Unsatisfiable> {
        if difficulty > DIFFICULTY_MAX {
            return Err(Unsatisfiable);
        }
        Ok(Self { difficulty, tries: 0 })
    }

    /// Tries [`TRIES_PER_STEP`] seeds out of `rng`. In production the operating system must have
    /// seeded `rng`, because the seed returned is the only secret of an identity.
    pub fn step(&mut self, rng: &mut Random) -> Option<Zeroizing<[u8; MASTER_SEED_LEN]>> {
        let mut seeds = Zeroizing::new([[0; MASTER_SEED_LEN]; TRIES_PER_STEP]);
        rng.fill(seeds.as_flattened_mut());
        self.tries += TRIES_PER_STEP as u64;
        let points = seeds.each_ref().map(public_point);
        let keys = EdwardsPoint::compress_batch(&points);
        let winner = keys.iter().position(|key| satisfies(&node_id(&key.0), self.difficulty))?;
        Some(Zeroizing::new(seeds[winner]))
    }

    /// Seeds tried so far.
    pub const fn tries(&self) -> u64 {
        self.tries
    }

    /// The difficulty asked for.
    pub const fn difficulty(&self) -> u16 {
        self.difficulty
    }
}

/// The Ed25519 public key of a master seed, not compressed. It is the key that
/// [`crate::identity::Identity`] holds. The other half of an identity is not derived, because no
/// identifier depends on it.
fn public_point(seed: &[u8; MASTER_SEED_LEN]) -> EdwardsPoint {
    let mut hash = Sha512::digest(*signing_seed(seed));
    let mut scalar = Zeroizing::new([0; 32]);
    scalar.copy_from_slice(&hash[..32]);
    zeroize::Zeroize::zeroize(hash.as_mut_slice());
    EdwardsPoint::mul_base_clamped(*scalar)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::{DIFFICULTY_MAX, Minter, TRIES_PER_STEP, Unsatisfiable, expected_tries, satisfies};
    use crate::NodeId;
    use crate::env::Seed;
    use crate::identity::Identity;

    /// The first seed of each difficulty, where seeds are numbers in little-endian bytes: the
    /// number, the identifier and its leading zero bits.
    const GROUND: &[(u64, [u8; 32], u16)] = &[
        (1, hex!("28fb7072a661b4daa812eabda8511e2ff256d83d4e2a3d5bb2d068fbc1c2d128"), 2),
        (2, hex!("142712334eef989533aa2b7b0f03144d14008ddadcd1004312fc0c64b06a96fd"), 3),
        (6, hex!("04a9d905957f94de1fa3d95022536f5d33d087a17ad27cdf06552817ee38878a"), 5),
        (136, hex!("0347c048b68570e486d37860f28d63ed9dfa7624920559dd58c312b50596dbda"), 6),
        (224, hex!("009407bca9ccb9146194a3fe4a23f2253ab6ab912f98066eecd30f638cf8a946"), 8),
        (784, hex!("0076ac49d9cfe9167496850435ab7766992d5714719ba8d6e255b7a65ecb4578"), 9),
        (1656, hex!("0015a96ec211f84caaeb24f7a0d7fff9b9d94f837a6b7d37950423131db2d478"), 11),
        (1865, hex!("00012385a066f871edc6549ce0431d2fb27aca03b2e0070f08c9faf35cded6b7"), 15),
    ];

    #[test]
    fn mined_identities_have_their_leading_zero_bits() {
        for (number, id, zeros) in GROUND {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let ground = Identity::from_master_seed(&seed).id();
            assert_eq!(ground.as_bytes(), id);
            assert_eq!(ground.leading_zeros(), *zeros);
            assert!(satisfies(&ground, *zeros));
            assert!(!satisfies(&ground, zeros + 1));
        }
    }

    #[test]
    fn leading_zeros_are_counted_over_all_bits() {
        let mut rng = Seed::from_u64(1).stream("ids");
        for zeros in 0..256 {
            let mut bytes: [u8; 32] = rng.array();
            bytes[..zeros / 8].fill(0);
            bytes[zeros / 8] = bytes[zeros / 8] >> (zeros % 8) | 0x80 >> (zeros % 8);
            assert_eq!(NodeId::from_bytes(bytes).leading_zeros(), zeros as u16);
        }
        let zero = NodeId::from_bytes([0; 32]);
        assert!(satisfies(&zero, DIFFICULTY_MAX));
        assert!(!satisfies(&zero, DIFFICULTY_MAX + 1), "nothing satisfies more than all bits");
    }

    #[test]
    fn a_search_finds_what_it_was_asked_for() {
        for difficulty in [0, 1, 5, 9] {
            let mut minter = Minter::new(difficulty).expect("a possible difficulty");
            let mut rng = Seed::from_u64(7).stream("mint");
            let seed = loop {
                if let Some(seed) = minter.step(&mut rng) {
                    break seed;
                }
            };
            assert!(satisfies(&Identity::from_master_seed(&seed).id(), difficulty));
            assert_eq!(minter.tries() % TRIES_PER_STEP as u64, 0);
            assert!(
                minter.tries() < 20 << difficulty.max(5),
                "the tries are within the expected range"
            );
        }
    }

    /// The search computes keys by another formula, so its first key is compared.
    #[test]
    fn the_first_seed_drawn_wins_without_difficulty() {
        let mut minter = Minter::new(0).expect("a possible difficulty");
        let seed = minter.step(&mut Seed::from_u64(7).stream("mint"));
        let first: [u8; 32] = Seed::from_u64(7).stream("mint").array();
        assert_eq!(seed.as_deref(), Some(&first));
        let point = super::public_point(&first).compress();
        assert_eq!(point.as_bytes(), Identity::from_master_seed(&first).public_key());
    }

    #[test]
    fn an_impossible_difficulty_is_refused_before_a_seed_is_drawn() {
        assert_eq!(Minter::new(257).err(), Some(Unsatisfiable));
        assert!(Minter::new(256).is_ok());
    }

    #[test]
    fn expected_tries_double_with_every_bit() {
        assert_eq!(expected_tries(0), 1.0);
        assert_eq!(expected_tries(16), 65_536.0);
        assert_eq!(expected_tries(255) * 2.0, expected_tries(256));
        assert_eq!(expected_tries(257), f64::INFINITY);
    }
}
