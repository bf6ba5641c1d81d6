//! Codec tests for every message: known answers, round trip, length, truncation, trailing bytes,
//! perturbation.
//!
//! ```ignore
//! six_tests!(pong: Pong, trailing = Refused, known = [
//!     (&hex!("0000"), Pong { addr: Addr::default() }),
//! ]);
//! ```

use core::fmt::Debug;

use super::{Decode, Encode};
use crate::env::{Random, Seed};
use crate::fuzzing::{check_decoder, keep_seed};

/// How a message treats bytes after its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trailing {
    /// The message is malformed.
    Refused,
    /// They are ignored.
    Ignored,
}

/// An encoding and its value.
pub(crate) type Known<T> = (Vec<u8>, T);

/// What [`six_tests`] requires of a message.
pub(crate) trait Message: Encode + for<'a> Decode<'a> + PartialEq + Debug {}
impl<T: Encode + for<'a> Decode<'a> + PartialEq + Debug> Message for T {}

/// Declares a module with the six tests for one message. `known` lists encodings made by another
/// implementation, with their values.
macro_rules! six_tests {
    ($name:ident: $type:ty, trailing = $trailing:ident,
        known = [$(($bytes:expr, $value:expr $(,)?)),+ $(,)?]) => {
        mod $name {
            #[allow(unused_imports, reason = "not every message needs all of them")]
            use super::*;
            use crate::wire::generic_tests as generic;

            fn known() -> Vec<generic::Known<$type>> {
                vec![$(($bytes.to_vec(), $value)),+]
            }

            #[test]
            fn known_answers() {
                generic::known_answers(&known());
                generic::keep_seeds(module_path!(), &known());
            }

            #[test]
            fn round_trip() {
                generic::round_trip(&known());
            }

            #[test]
            fn length_is_foretold() {
                generic::length_is_foretold(&known());
            }

            #[test]
            fn truncation_is_refused_at_every_length() {
                generic::truncation_is_refused(&known());
            }

            #[test]
            fn trailing_bytes() {
                generic::trailing_bytes(&known(), generic::Trailing::$trailing);
            }

            #[test]
            fn perturbed_bytes_never_panic() {
                generic::perturbation::<$type>(&known());
            }
        }
    };
}
pub(crate) use six_tests;

pub(crate) fn known_answers<T: Message>(known: &[Known<T>]) {
    for (bytes, value) in known {
        assert_eq!(value.to_bytes(), bytes, "encoding of {value:?}");
        assert_eq!(T::decode_exact(bytes).as_ref(), Ok(value), "decoding");
    }
}

/// Offers the encodings to the fuzz target of their family, which is the module `wire::<family>`.
pub(crate) fn keep_seeds<T>(module: &str, known: &[Known<T>]) {
    let (_, path) = module.split_once("::wire::").expect("messages are tested inside of `wire`");
    let (family, _) = path.split_once("::").expect("a family has a module of its own");
    let (_, message) = path.rsplit_once("::").expect("a message has a module of its own");
    for (index, (bytes, _)) in known.iter().enumerate() {
        keep_seed(family, &format!("{message}-{index}"), bytes);
    }
}

/// Into a buffer that is not zero, so that a field left out shows.
pub(crate) fn round_trip<T: Message>(known: &[Known<T>]) {
    for (_, value) in known {
        let mut buffer = vec![0xa5; value.encoded_len() + 8];
        let mut out = &mut buffer[..];
        value.encode(&mut out);
        assert_eq!(out, [0xa5; 8], "exactly the announced length is written");
        let end = buffer.len() - 8;
        assert_eq!(T::decode_exact(&buffer[..end]).as_ref(), Ok(value));
    }
}

pub(crate) fn length_is_foretold<T: Message>(known: &[Known<T>]) {
    for (bytes, value) in known {
        assert_eq!(value.encoded_len(), bytes.len(), "{value:?}");
    }
}

pub(crate) fn truncation_is_refused<T: Message>(known: &[Known<T>]) {
    for (bytes, value) in known {
        for len in 0..bytes.len() {
            assert!(T::decode_front(&bytes[..len]).is_err(), "{value:?} cut to {len} bytes");
        }
    }
}

pub(crate) fn trailing_bytes<T: Message>(known: &[Known<T>], trailing: Trailing) {
    for (bytes, value) in known {
        for tail in [&[0][..], &[0xff], &[0; 64]] {
            let longer = [bytes, tail].concat();
            match trailing {
                Trailing::Refused => {
                    assert!(T::decode_exact(&longer).is_err(), "{value:?} and {tail:?}");
                }
                Trailing::Ignored => {
                    assert_eq!(T::decode_front(&longer).as_ref(), Ok(value));
                }
            }
        }
    }
}

/// Ten thousand random strings and ten thousand damaged messages.
pub(crate) fn perturbation<T: Message>(known: &[Known<T>]) {
    let mut rng = Seed::from_u64(10_000).stream("perturbation");
    for _ in 0..10_000 {
        let mut bytes = vec![0; rng.below(400) as usize];
        rng.fill(&mut bytes);
        check_decoder::<T>(&bytes);
        let (bytes, _) = &known[rng.below(known.len() as u64) as usize];
        check_decoder::<T>(&damage(bytes, &mut rng));
    }
}

/// Flips bits of `bytes`, overwrites, inserts and removes some, up to four times.
fn damage(bytes: &[u8], rng: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let byte = rng.next_u64() as u8;
        match (rng.below(4), bytes.get_mut(at)) {
            (0, Some(here)) => *here ^= 1 << (byte & 7),
            (1, Some(here)) => *here = byte,
            (2, Some(_)) => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}
