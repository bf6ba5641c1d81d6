use hex_literal::hex;

use super::{ADDRS_MAX, Addr, AddrList};
use crate::wire::generic_tests::six_tests;
use crate::wire::{Decode, DecodeError, Reader};

six_tests!(addr: Addr, trailing = Refused, known = [
    (hex!("0000"), Addr::default()),
    (hex!("036d656d066e6f64652d37"), Addr::new(b"mem", b"node-7")),
    (hex!("04717569630f3230332e302e3131332e343a343433"), Addr::new(b"quic", b"203.0.113.4:443")),
    (
        hex!("0471756963115b323030313a6462383a3a315d3a343433"),
        Addr::new(b"quic", b"[2001:db8::1]:443"),
    ),
    (
        hex!("047175696316626f6f7473747261702e6578616d706c653a34323432"),
        Addr::new(b"quic", b"bootstrap.example:4242"),
    ),
    (hex!("000178"), Addr::new(b"", b"x")),
    (hex!("047175696300"), Addr::new(b"quic", b"")),
    (hex!("0371fffe048000c328"), Addr::new(b"q\xff\xfe", b"\x80\x00\xc3(")),
    (
        hex!("047175696310d0bfd180d0b8d0bcd0b5d1803a343433"),
        Addr::new(b"quic", b"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80:443"),
    ),
    (
        [&hex!("04717569638001")[..], &[b'e'; 128]].concat(),
        Addr::new(b"quic", &[b'e'; 128]),
    ),
    (
        [&hex!("04717569637f")[..], &[b'e'; 127]].concat(),
        Addr::new(b"quic", &[b'e'; 127]),
    ),
]);

six_tests!(addr_list: AddrList, trailing = Refused, known = [
    (hex!("00"), AddrList::first_of([])),
    (hex!("010000"), AddrList::first_of([Addr::default()])),
    (hex!("01047175696303683a31"), AddrList::first_of([Addr::new(b"quic", b"h:1")])),
    (
        hex!(
            "0304717569630f3230332e302e3131332e343a3434330000036d656d066e6f64"
            "652d37"
        ),
        AddrList::first_of([
            Addr::new(b"quic", b"203.0.113.4:443"),
            Addr::default(),
            Addr::new(b"mem", b"node-7"),
        ]),
    ),
]);

/// Encodings that another implementation may write, and how many of their bytes are the address.
#[test]
fn longer_lengths_and_any_bytes_are_read() {
    for (bytes, addr, len) in [
        (&hex!("0000")[..], Addr::default(), 2),
        (&hex!("0000dead")[..], Addr::default(), 2),
        (&hex!("008000")[..], Addr::default(), 3),
        (&hex!("8400717569638300683a31")[..], Addr::new(b"quic", b"h:1"), 11),
        (&hex!("02fffe0180")[..], Addr::new(b"\xff\xfe", b"\x80"), 5),
    ] {
        let mut reader = Reader::new(bytes);
        assert_eq!(Addr::decode(&mut reader), Ok(addr));
        assert_eq!(bytes.len() - reader.remaining(), len);
    }
}

#[test]
fn malformed_addresses_are_bad_addresses() {
    for bytes in [
        &hex!("")[..],
        &hex!("00")[..],
        &hex!("056162")[..],
        &hex!("01710361")[..],
        &hex!("80")[..],
        &hex!("ffffffffffffffffffff01")[..],
        &hex!("ffffffffffffffffff01")[..],
    ] {
        assert_eq!(Addr::decode_front(bytes), Err(DecodeError::BadAddr), "{bytes:02x?}");
    }
}

#[test]
fn longer_counts_are_read() {
    for (bytes, addrs, len) in [
        (&hex!("006a756e6b")[..], vec![], 1),
        (&hex!("8000")[..], vec![], 2),
        (&hex!("81000000")[..], vec![Addr::default()], 4),
        (&hex!("0200000000")[..], vec![Addr::default(), Addr::default()], 5),
        (&hex!("01008000")[..], vec![Addr::default()], 4),
    ] {
        let mut reader = Reader::new(bytes);
        let list = AddrList::decode(&mut reader).expect("a list");
        assert_eq!(list.as_slice(), addrs);
        assert_eq!(bytes.len() - reader.remaining(), len);
    }
}

#[test]
fn malformed_lists_are_bad_addresses() {
    for bytes in [
        &hex!("")[..],
        &hex!("80")[..],
        &hex!("0200")[..],
        &hex!("02000000")[..],
        &hex!("02047175696303683a31")[..],
    ] {
        assert_eq!(AddrList::decode_front(bytes), Err(DecodeError::BadAddr), "{bytes:02x?}");
    }
}

/// The count alone decides, not the bytes that follow.
#[test]
fn more_than_sixteen_addresses_are_refused_at_the_count() {
    let sixteen = [&[16][..], &[0; 32]].concat();
    assert_eq!(AddrList::decode_exact(&sixteen).map(|list| list.as_slice().len()), Ok(16));
    for bytes in [&[17][..], &hex!("ffffffff0f"), &[&[17][..], &[0; 34]].concat()] {
        assert_eq!(AddrList::decode_front(bytes), Err(DecodeError::TooManyAddrs));
    }
}

#[test]
fn a_list_holds_the_first_sixteen() {
    let addrs = (0..20).map(|i: u8| Addr::new(b"mem", &[i]));
    let list = AddrList::first_of(addrs.clone());
    assert_eq!(list.into_vec(), addrs.take(ADDRS_MAX).collect::<Vec<_>>());
}

#[test]
fn families_are_compared_before_endpoints() {
    let addr = |net: &[u8], endpoint: &[u8]| Addr::new(net, endpoint);
    assert!(addr(b"a", b"z") < addr(b"b", b"a"));
    assert!(addr(b"a", b"bc") < addr(b"ab", b"a"));
    assert!(addr(b"a", b"a") < addr(b"a", b"b"));
    assert_ne!(addr(b"ab", b"c"), addr(b"a", b"bc"));
}

#[test]
fn display_escapes_what_could_forge_a_log_line() {
    let text = Addr::new(b"quic", b"203.0.113.7:1\n\x1b[2Jroot").to_string();
    assert_eq!(text, "quic://203.0.113.7:1\\n\\x1b[2Jroot");
}
