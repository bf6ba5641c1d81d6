use hex_literal::hex;

use super::{DecodeError, Reader, put_uvarint, split_uvarint, uvarint_len};

/// Numbers around every change of length, and their one encoding.
const MINIMAL: &[(u64, &[u8])] = &[
    (0, &hex!("00")),
    (1, &hex!("01")),
    (2, &hex!("02")),
    (126, &hex!("7e")),
    (127, &hex!("7f")),
    (128, &hex!("8001")),
    (129, &hex!("8101")),
    (255, &hex!("ff01")),
    (256, &hex!("8002")),
    (300, &hex!("ac02")),
    (16383, &hex!("ff7f")),
    (16384, &hex!("808001")),
    (16385, &hex!("818001")),
    (65535, &hex!("ffff03")),
    (65536, &hex!("808004")),
    (1048576, &hex!("808040")),
    (1048577, &hex!("818040")),
    (2097151, &hex!("ffff7f")),
    (2097152, &hex!("80808001")),
    (4294967295, &hex!("ffffffff0f")),
    (4294967296, &hex!("8080808010")),
    (9007199254740991, &hex!("ffffffffffffff0f")),
    (9007199254740992, &hex!("8080808080808010")),
    (9223372036854775807, &hex!("ffffffffffffffff7f")),
    (9223372036854775808, &hex!("80808080808080808001")),
    (18446744073709551615, &hex!("ffffffffffffffffff01")),
];

#[test]
fn numbers_are_written_as_short_as_can_be() {
    for (number, bytes) in MINIMAL {
        let mut out = Vec::new();
        put_uvarint(&mut out, *number);
        assert_eq!(out, *bytes);
        assert_eq!(uvarint_len(*number), bytes.len());
        assert_eq!(split_uvarint(bytes), Some((*number, bytes.len())));
        for len in 0..bytes.len() {
            assert_eq!(split_uvarint(&bytes[..len]), None, "{number} cut to {len}");
        }
    }
}

/// The number at the front and its length, if the bytes decode.
type Front = Option<(u64, usize)>;

/// Encodings that another implementation may write.
const READ: &[(&[u8], Front)] = &[
    (&hex!(""), None),
    (&hex!("80"), None),
    (&hex!("ffffffffffffffffff"), None),
    (&hex!("ffffffffffffffffffff"), None),
    (&hex!("8080808080808080808000"), None),
    (&hex!("ffffffffffffffffff02"), None),
    (&hex!("ffffffffffffffffff01"), Some((18446744073709551615, 10))),
    (&hex!("ffffffffffffffffff00"), Some((9223372036854775807, 10))),
    (&hex!("8000"), Some((0, 2))),
    (&hex!("808000"), Some((0, 3))),
    (&hex!("80808080808080808000"), Some((0, 10))),
    (&hex!("8080808080808080808000"), None),
    (&hex!("8100"), Some((1, 2))),
    (&hex!("ff00"), Some((127, 2))),
    (&hex!("ac02ffff"), Some((300, 2))),
];

#[test]
fn longer_forms_are_read_and_unending_ones_are_not() {
    for (bytes, expected) in READ {
        assert_eq!(split_uvarint(bytes), *expected, "{bytes:02x?}");
        let mut reader = Reader::new(bytes);
        let number = reader.uvarint();
        assert_eq!(number.ok(), expected.map(|(number, _)| number));
        let consumed = expected.map_or(0, |(_, len)| len);
        assert_eq!(reader.remaining(), bytes.len() - consumed, "a failed read takes nothing");
    }
}

#[test]
fn a_failed_read_takes_nothing() {
    let bytes = [3, 1, 2];
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.bytes(4), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.bytes(u64::MAX), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.array::<4>(), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.u32(), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.len_prefixed(), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.count(1), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.remaining(), 3);
    assert_eq!(reader.u16(), Ok(0x0301));
    assert_eq!(reader.clone().finish(), Err(DecodeError::ShortBuffer));
    assert_eq!(reader.rest(), [2]);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_count_is_bounded_by_what_could_follow() {
    assert_eq!(Reader::new(&[2, 0, 0, 0, 0]).count(2), Ok(2));
    assert_eq!(Reader::new(&[2, 0, 0, 0]).count(2), Err(DecodeError::ShortBuffer));
    let huge = hex!("ffffffffffffffffff01");
    assert_eq!(Reader::new(&huge).count(2), Err(DecodeError::ShortBuffer));
}
