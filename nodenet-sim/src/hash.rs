//! Non-cryptographic hashes: fates (random numbers by key) and the trace hash of a run.
//!
//! Both are the same on every platform.
//!
//! Neither resists an adversary; both need only a uniform distribution. Fates are those of the test
//! kit, so that all worlds draw alike.

pub use nodenet_proto::testkit::fate::{below, fate, hit};

use crate::clock::Moment;

/// Odd constants with no pattern: the first 64 bits of the fractional parts of √2, √3 and √5.
const K: [u64; 3] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// Hash of all steps of a run: equal runs have equal hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHash {
    state: u64,
    events: u64,
}

impl Default for TraceHash {
    fn default() -> Self {
        Self { state: K[2], events: 0 }
    }
}

impl TraceHash {
    /// Takes in one event: its time, host and kind.
    pub fn event(&mut self, at: Moment, host: u32, kind: u8) {
        self.events += 1;
        self.number(at.as_nanos());
        self.number(u64::from(host) << 8 | u64::from(kind));
    }

    /// Takes in a number that belongs to the last event.
    pub fn number(&mut self, number: u64) {
        self.state = fold(self.state ^ number, K[0]);
    }

    /// Takes in bytes that belong to the last event.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.pieces(&mut core::iter::once(bytes));
    }

    /// Takes in the concatenation of `pieces`, independent of its cuts.
    pub fn pieces(&mut self, pieces: &mut dyn Iterator<Item = &[u8]>) {
        let (mut word, mut filled, mut len) = ([0; 8], 0, 0_u64);
        for mut piece in pieces {
            len += piece.len() as u64;
            if filled > 0 {
                let (head, rest) = piece.split_at(piece.len().min(8 - filled));
                word[filled..filled + head.len()].copy_from_slice(head);
                (filled, piece) = (filled + head.len(), rest);
                if filled < 8 {
                    continue;
                }
                self.number(u64::from_le_bytes(word));
            }
            let mut words = piece.chunks_exact(8);
            for whole in &mut words {
                self.number(u64::from_le_bytes(
                    whole.try_into().expect("the chunk has eight bytes"),
                ));
            }
            filled = words.remainder().len();
            word[..filled].copy_from_slice(words.remainder());
        }
        word[filled..].fill(0);
        self.number(u64::from_le_bytes(word) ^ len.rotate_right(8));
    }

    /// Events taken in.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far.
    pub fn value(&self) -> u64 {
        fold(self.state ^ self.events, K[1])
    }
}

/// Multiplies to 128 bits and folds the halves together.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // Without the sum a zero factor would cancel the other one.
    (product as u64 ^ (product >> 64) as u64).wrapping_add(a ^ b.rotate_left(17))
}

#[cfg(test)]
mod tests {
    use super::{TraceHash, fate, hit};
    use crate::clock::Moment;

    /// With fates that are nearly linear in the ordinal a link loses evenly, or in fixed patterns.
    #[test]
    fn a_link_loses_two_packets_in_a_row_as_often_as_independent_losses_do() {
        for distance in [1, 2, 8, 16] {
            for link in 0..200 {
                let is_lost = |ordinal| hit(fate(7, link, ordinal), 0.1);
                let both = (0..20_000).filter(|&i| is_lost(i) && is_lost(i + distance)).count();
                // 200 are expected, with a deviation of 14.
                assert!((130..270).contains(&both), "{both} on link {link} at {distance}");
            }
        }
    }

    #[test]
    fn a_trace_depends_on_order_length_and_content() {
        let of = |parts: &[&[u8]]| {
            let mut hash = TraceHash::default();
            hash.event(Moment::from_secs(1), 2, 3);
            parts.iter().for_each(|part| hash.bytes(part));
            hash.value()
        };
        let all =
            [of(&[]), of(&[b""]), of(&[b"\0"]), of(&[b"ab"]), of(&[b"a", b"b"]), of(&[b"ba"])];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one));
        }
        assert_eq!(of(&[b"ab"]), of(&[b"ab"]));
    }

    #[test]
    fn the_hash_of_pieces_is_that_of_their_concatenation() {
        let bytes: Vec<u8> = (0..40).collect();
        let of = |pieces: &[&[u8]]| {
            let mut hash = TraceHash::default();
            hash.pieces(&mut pieces.iter().copied());
            hash.value()
        };
        for len in [0, 1, 7, 8, 9, 16, 40] {
            let whole = of(&[&bytes[..len]]);
            for first in 0..=len {
                for second in first..=len {
                    let cut = [&bytes[..first], &bytes[first..second], &bytes[second..len]];
                    assert_eq!(of(&cut), whole, "{len} bytes cut at {first} and {second}");
                }
            }
        }
    }
}
