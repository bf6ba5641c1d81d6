//! Node identifiers and the XOR metric (spec 10 §2, Kademlia).
//!
//! Responsible for: the 256-bit identifier, its distance, its text form. Never: keys, work, tables.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// Bytes in a [`NodeId`] (spec 10 §2).
pub const NODE_ID_LEN: usize = 32;

/// The identifier of a node: BLAKE2b-256 of its Ed25519 public key (spec 10 §3).
///
/// Compared as an unsigned 256-bit integer, byte 0 most significant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        for i in 0..NODE_ID_LEN {
            let order = (self.0[i] ^ a.0[i]).cmp(&(self.0[i] ^ b.0[i]));
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    /// Index of the first bit in which the two differ, 0 to 255; 256 if they are equal.
    pub fn common_prefix_len(&self, other: &Self) -> u16 {
        for i in 0..NODE_ID_LEN {
            let diff = self.0[i] ^ other.0[i];
            if diff != 0 {
                return (i * 8) as u16 + diff.leading_zeros() as u16;
            }
        }
        256
    }

    /// Zero bits before the first one bit, 0 to 256 (spec 10 §5).
    pub fn leading_zeros(&self) -> u16 {
        self.common_prefix_len(&Self([0; NODE_ID_LEN]))
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

/// Why a text is not a [`NodeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseNodeIdError {
    /// Something other than hexadecimal digits.
    #[error("a node id is written in hexadecimal digits only")]
    BadHex,
    /// Not exactly 64 digits.
    #[error("a node id has exactly 64 hexadecimal digits")]
    BadLength,
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    /// Reads exactly 64 hexadecimal digits of either case. A text that is both not hexadecimal and of
    /// the wrong length is [`ParseNodeIdError::BadHex`] (spec 10 §2).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|c| c.is_ascii_hexdigit()) {
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
