//! Node identifiers and the XOR metric (PROTOCOL.md#node-id, Kademlia).
//!
//! Responsible for: the 256-bit identifier, its distance, its text form. Never: keys, work, tables.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// Bytes in a [`NodeId`] (PROTOCOL.md#node-id).
pub const NODE_ID_LEN: usize = 32;

/// The identifier of a node: BLAKE2b-256 of its Ed25519 public key (PROTOCOL.md#node-id).
///
/// Compared as an unsigned 256-bit integer, byte 0 most significant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; NODE_ID_LEN]);

impl NodeId {
    /// Wraps raw identifier bytes.
    pub const fn from_bytes(bytes: [u8; NODE_ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, byte 0 most significant.
    pub const fn as_bytes(&self) -> &[u8; NODE_ID_LEN] {
        &self.0
    }

    /// XOR distance to `other`, as bytes of an unsigned big-endian integer.
    pub fn distance(&self, other: &Self) -> [u8; NODE_ID_LEN] {
        core::array::from_fn(|i| self.0[i] ^ other.0[i])
    }

    /// Compares how far `a` and `b` are from `self`: `Less` means `a` is strictly closer.
    pub fn compare_distance(&self, a: &Self, b: &Self) -> Ordering {
        self.limbs().zip(a.limbs()).zip(b.limbs()).fold(Ordering::Equal, |order, ((own, a), b)| {
            order.then_with(|| (own ^ a).cmp(&(own ^ b)))
        })
    }

    /// Index of the first bit in which the two differ, 0 to 255; 256 if they are equal.
    pub fn common_prefix_len(&self, other: &Self) -> u16 {
        let differing =
            self.limbs().zip(other.limbs()).map(|(a, b)| (a ^ b).leading_zeros() as u16);
        let mut shared = 0;
        for bits in differing {
            shared += bits;
            if bits < u64::BITS as u16 {
                break;
            }
        }
        shared
    }

    /// The first 64 bits as a number. A comparison of many identifiers rarely needs more.
    pub(crate) fn prefix(&self) -> u64 {
        self.limbs().next().expect("an identifier has four limbs")
    }

    /// The identifier as four 64-bit limbs, the most significant first.
    fn limbs(&self) -> impl Iterator<Item = u64> {
        let (limbs, _) = self.0.as_chunks::<8>();
        limbs.iter().map(|limb| u64::from_be_bytes(*limb))
    }

    /// Zero bits before the first one bit, 0 to 256 (PROTOCOL.md#proof-of-work).
    pub fn leading_zeros(&self) -> u16 {
        self.common_prefix_len(&Self([0; NODE_ID_LEN]))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of the bytes. The first eight nearly always decide, and comparing them takes no call.
impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix().cmp(&other.prefix()).then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Short form for logs: the first four bytes.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Why a text does not parse as a [`NodeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseNodeIdError {
    /// The text has other characters than pairs of hexadecimal digits.
    #[error("a node id consists of pairs of hexadecimal digits only")]
    BadHex,
    /// The text does not have exactly 64 digits.
    #[error("a node id has exactly 64 hexadecimal digits")]
    BadLength,
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    /// Reads exactly 64 hexadecimal digits of either case. A text that is both not hexadecimal and
    /// of the wrong length is [`ParseNodeIdError::BadHex`] (PROTOCOL.md#node-id).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.len().is_multiple_of(2) || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(ParseNodeIdError::BadHex);
        }
        if text.len() != NODE_ID_LEN * 2 {
            return Err(ParseNodeIdError::BadLength);
        }
        let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
        let text = text.as_bytes();
        Ok(Self(core::array::from_fn(|i| digit(text[2 * i]) << 4 | digit(text[2 * i + 1]))))
    }
}

#[cfg(test)]
mod tests {
    use core::cmp::Ordering;

    use hex_literal::hex;

    use super::{NodeId, ParseNodeIdError};

    struct Metric {
        a: [u8; 32],
        b: [u8; 32],
        target: [u8; 32],
        distance: [u8; 32],
        common_prefix_len: u16,
        /// The order of `a` and `b` by distance from `target`.
        order: Ordering,
    }

    const METRICS: &[Metric] = &[
        Metric {
            a: hex!("7476cf8a4baa5dc087b341d690d7a28a6f9b6dae6f4c57a82ac2ce17a5794a3b"),
            b: hex!("a534a6a6b7fd0b63d0bad0da572baaf1ae84379630af89eee263183773ef6508"),
            target: hex!("10e2c46865e9874614d7973c5c2a449c7ef1fd0ed1548fcd1f8410633ef306ac"),
            distance: hex!("d142692cfc5756a35709910cc7fc087bc11f5a385fe3de46c8a1d620d6962f33"),
            common_prefix_len: 0,
            order: Ordering::Less,
        },
        Metric {
            a: hex!("8b2e02445e4be0f5bf8c59bb003553c1d16aa4b296eb9d18ab27a171be5b133c"),
            b: hex!("8b2e02445e4be0f5bf8c59bb003553c13c821fbf59108163a7ff0d388687ffb2"),
            target: hex!("de70d1019fc66081d6de6acd12c87e38530e0e6118e9685e28bff9ea304d9f96"),
            distance: hex!("00000000000000000000000000000000ede8bb0dcffb1c7b0cd8ac4938dcec8e"),
            common_prefix_len: 128,
            order: Ordering::Greater,
        },
        Metric {
            a: hex!("f902155aa328d575b0eb094e6f1dcf7390ccb6a06cd2330e7878834768668743"),
            b: hex!("f902155aa328d575b0eb094e6f1dcf73ce45a342c10ffb551bea994d2e7d779d"),
            target: hex!("a64b31c22cc57f39388495061eb06ce16c38537a931e49d7e31d5ce0684b83f2"),
            distance: hex!("000000000000000000000000000000005e8915e2adddc85b63921a0a461bf0de"),
            common_prefix_len: 129,
            order: Ordering::Greater,
        },
        Metric {
            a: hex!("b19892fd50ff4222bd7de8f23cff78def85a587bb6c47b9f7a2d99b9da657470"),
            b: hex!("b19892fd50ff4222bd7de8f23cff78def85a587bb6c47b9f6524e51ffe73cb44"),
            target: hex!("b19892fd50ff4222528f9e0312cacff83df9d9ce5974e6ed852c7e934ff96a96"),
            distance: hex!("0000000000000000000000000000000000000000000000001f097ca62416bf34"),
            common_prefix_len: 195,
            order: Ordering::Greater,
        },
        Metric {
            a: hex!("101d8e2989c1c2f37acbb0dc0ddb767ffbcaee24e716973b116a7537117547e5"),
            b: hex!("27905a1d447cd6c466e5c983a8893ed93409dc9828b04e0bb4bdc811ad928fe1"),
            target: hex!("a4d7dc6e0c780e8d1601862897a16ed8bc2ab3483576b36de247c75d6548c724"),
            distance: hex!("378dd434cdbd14371c2e795fa55248a6cfc332bccfa6d930a5d7bd26bce7c804"),
            common_prefix_len: 2,
            order: Ordering::Greater,
        },
        Metric {
            a: hex!("54820cd25c4ca867016618b677ea68ba072f5005829ba1f531dfe2fd6fb4a72a"),
            b: hex!("433e7c16bc230859a44614716e9194457e8f9ffef47c203d38d3c5488144dac5"),
            target: hex!("535bb998c76a02ae4f4dfc69990c62b0c7fb5b1ad93fe9094032c75a5956e755"),
            distance: hex!("17bc70c4e06fa03ea5200cc7197bfcff79a0cffb76e781c8090c27b5eef07def"),
            common_prefix_len: 3,
            order: Ordering::Less,
        },
        Metric {
            a: hex!("24540d94fe0993de2bddaa4c9b8afbcc12898e1dd35e1c0a4104d16aa41556bc"),
            b: hex!("24540d94fe0993de2bddaa4c9b8afbcc12898e1dd35e1c0a4104d16aa41556bc"),
            target: hex!("0000000000000000000000000000000000000000000000000000000000000000"),
            distance: hex!("0000000000000000000000000000000000000000000000000000000000000000"),
            common_prefix_len: 256,
            order: Ordering::Equal,
        },
    ];

    #[test]
    fn distances_are_those_of_the_network() {
        for known in METRICS {
            let [a, b, target] = [known.a, known.b, known.target].map(NodeId::from_bytes);
            assert_eq!(a.distance(&b), known.distance);
            assert_eq!(a.common_prefix_len(&b), known.common_prefix_len);
            assert_eq!(target.compare_distance(&a, &b), known.order);
            assert_eq!(target.compare_distance(&b, &a), known.order.reverse());
        }
    }

    #[test]
    fn bits_are_numbered_from_the_top_of_the_first_byte() {
        let zero = NodeId::from_bytes([0; 32]);
        let ones = NodeId::from_bytes([0xff; 32]);
        for bit in 0..256usize {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 0x80 >> (bit % 8);
            let single = NodeId::from_bytes(bytes);
            assert_eq!(zero.common_prefix_len(&single), bit as u16);
            assert_eq!(zero.distance(&single), bytes);
            assert_eq!(ones.compare_distance(&zero, &single), Ordering::Greater);
        }
        assert_eq!(zero.common_prefix_len(&zero), 256);
    }

    #[test]
    fn text_is_64_digits_of_either_case_and_nothing_else() {
        let lower = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let upper = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";
        for text in [lower, upper] {
            assert_eq!(text.parse::<NodeId>().map(|id| id.to_string()), Ok(lower.to_owned()));
        }
        let zeros = "0".repeat(64);
        for (text, error) in [
            ("", ParseNodeIdError::BadLength),
            ("00", ParseNodeIdError::BadLength),
            ("abc", ParseNodeIdError::BadHex),
            (&"ab".repeat(33), ParseNodeIdError::BadLength),
            (&zeros.replacen("00", "zz", 1), ParseNodeIdError::BadHex),
            (&zeros.replacen("00", "0x", 1), ParseNodeIdError::BadHex),
            (&format!("{zeros} "), ParseNodeIdError::BadHex),
            (&format!("{}é", &zeros[2..]), ParseNodeIdError::BadHex),
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(error), "{text:?}");
        }
    }
}
