//! One entry for each decoder, for fuzz targets and for the corpora that run as tests.
//!
//! Not part of the public API. An entry takes any bytes and panics if the decoder or the encoder
//! behind it breaks a promise.

use core::fmt::Debug;

use super::nat::{Connect, RelayBind, RelayGrant, RelayRequest};
use super::rendezvous::{Hello, Reply};
use super::sealed_box::SealedBox;
use super::{Addr, AddrList, Decode, Encode, Reader};

/// The name of a decoder and its check.
pub type Entry = (&'static str, fn(&[u8]));

/// Every decoder of this crate's wire format.
pub const DECODERS: &[Entry] = &[
    ("addr", check_decoder::<Addr>),
    ("addr_list", check_decoder::<AddrList>),
    ("hello", check_decoder::<Hello>),
    ("reply", check_decoder::<Reply>),
    ("sealed_box", check_decoder::<SealedBox>),
    ("connect", check_decoder::<Connect>),
    ("relay_request", check_decoder::<RelayRequest>),
    ("relay_grant", check_decoder::<RelayGrant>),
    ("relay_bind", check_decoder::<RelayBind>),
];

/// Decodes `input` and, if it is a `T`, encodes it again.
///
/// # Panics
/// If what was decoded does not come back: the encoding must be the input itself, or a shorter one
/// where the input had `uvarint`s longer than they need to be.
pub fn check_decoder<T>(input: &[u8])
where
    T: Encode + for<'a> Decode<'a> + PartialEq + Debug,
{
    let mut reader = Reader::new(input);
    let Ok(value) = T::decode(&mut reader) else {
        return;
    };
    let read = &input[..input.len() - reader.remaining()];
    let encoded = value.to_bytes();
    assert_eq!(encoded.len(), value.encoded_len(), "the length is foretold");
    assert!(encoded.len() <= read.len(), "the encoding is the shortest there is");
    if encoded.len() == read.len() {
        assert_eq!(encoded, read, "nothing is lost");
    }
    assert_eq!(T::decode_exact(&encoded), Ok(value), "what is encoded is decoded");
}
