use hex_literal::hex;

use super::{Leave, Lookup, Neighbors, Ping, Pong, Siblings};
use crate::NodeId;
use crate::buf::Frame;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::identity::Identity;
use crate::wire::envelope::{AvoidSet, Envelope, Signer};
use crate::wire::generic_tests::six_tests;
use crate::wire::{Addr, Contact, Decode, DecodeError, Encode, Message, SEND_PAYLOAD_MAX};

const NONCE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

six_tests!(siblings: Siblings, trailing = Refused, known = [
    (hex!("0102030405060708"), Siblings { nonce: NONCE }),
    (hex!("0000000000000000"), Siblings { nonce: [0; 8] }),
    (hex!("ffffffffffffffff"), Siblings { nonce: [0xff; 8] }),
]);

six_tests!(lookup: Lookup, trailing = Refused, known = [
    (hex!("0102030405060708"), Lookup { nonce: NONCE }),
    (hex!("a0a1a2a3a4a5a6a7"), Lookup { nonce: hex!("a0a1a2a3a4a5a6a7") }),
]);

six_tests!(pong: Pong, trailing = Refused, known = [
    (
        hex!("04717569630d3139322e302e322e373a343433"),
        Pong { observed: Addr::new(b"quic", b"192.0.2.7:443") },
    ),
    (
        hex!("0471756963115b323030313a6462383a3a315d3a343433"),
        Pong { observed: Addr::new(b"quic", b"[2001:db8::1]:443") },
    ),
    (
        hex!("036d656d066e6f64652d33"),
        Pong { observed: Addr::new(b"mem", b"node-3") },
    ),
    (
        hex!("0000"),
        Pong { observed: Addr::default() },
    ),
    (
        hex!("01ff02fe00"),
        Pong { observed: Addr::new(b"\xff", b"\xfe\x00") },
    ),
]);

six_tests!(neighbors: Neighbors, trailing = Refused, known = [
    (hex!("010203040506070800"), Neighbors::new(NONCE, [])),
    (
        [&NONCE[..], &[1], &[7; 32], &[0; 68], &[0]].concat(),
        Neighbors::new(NONCE, [Contact::new(NodeId::from_bytes([7; 32]))]),
    ),
]);

#[test]
fn frames_on_an_edge_are_those_of_the_network() {
    let v4 = Pong { observed: Addr::new(b"quic", b"192.0.2.7:443") };
    let long = Pong { observed: Addr::new(b"quic", &[b'e'; 200]) };
    for (frame, expected) in [
        (Ping.to_frame(), &hex!("010200")[..]),
        (Leave.to_frame(), &hex!("010700")),
        (Siblings { nonce: NONCE }.to_frame(), &hex!("0106080102030405060708")),
        (v4.to_frame(), &hex!("01031304717569630d3139322e302e322e373a343433")),
        (long.to_frame(), &[&hex!("0103cf010471756963c801")[..], &[b'e'; 200]].concat()),
    ] {
        assert_eq!(frame.to_bytes(), expected);
    }
}

#[test]
fn malformed_pongs_have_distinct_errors() {
    for (bytes, error) in [
        (&[][..], DecodeError::BadAddr),
        (&hex!("04717569630d31"), DecodeError::BadAddr),
        (&hex!("ffffffffffffffffffffff"), DecodeError::BadAddr),
        (&hex!("000000"), DecodeError::ShortBuffer),
    ] {
        assert_eq!(Pong::decode_exact(bytes), Err(error), "{bytes:02x?}");
    }
    let longer = Pong::decode_exact(&hex!("008000"));
    assert_eq!(longer, Ok(Pong { observed: Addr::default() }));
}

/// A message as its originator sends it, always with the same time stamp.
fn routed<M: Message>(
    message: &M,
    seed: [u8; 32],
    target: NodeId,
    hop_limit: u8,
    avoid: AvoidSet,
) -> Frame {
    let identity = Identity::from_master_seed(&seed);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let sent = UnixNanos(1_700_000_000_000_000_000);
    let envelope = Envelope::sign(signer, M::FRAME_TYPE, target, sent, message.to_bytes());
    let envelope = envelope.expect("it fits");
    Envelope { hop_limit, avoid, ..envelope }.to_frame(M::FRAME_TYPE)
}

#[test]
fn a_lookup_avoids_its_originator() {
    let originator = Identity::from_master_seed(&[1; 32]).id();
    let frame = routed(
        &Lookup { nonce: hex!("a0a1a2a3a4a5a6a7") },
        [1; 32],
        NodeId::from_bytes([0x77; 32]),
        16,
        AvoidSet::from_iter([originator]),
    );
    let expected = hex!(
        "0104b30177777777777777777777777777777777777777777777777777777777"
        "77777777109d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e"
        "994f3e592417979cfe362a0000014e7774ad5e0d87f293ce33fd147608be69d6"
        "6301bdc551b8a129fd55721117a808a0a1a2a3a4a5a6a7625d7972db5008342c"
        "8a0b4c3db07f090f9667ace02dc38f077b6d9b80ca092c5ba8e5c3b159346ff6"
        "49ade9414737ac4772b80ce591fb2362df04dac01ffd02"
    );
    assert_eq!(frame.to_bytes(), expected[..]);
}

#[test]
fn an_empty_answer_is_an_answer() {
    let target = NodeId::from_bytes([0xaa; 32]);
    let answer = Neighbors::new(NONCE, []);
    let frame = routed(&answer, [9; 32], target, 9, AvoidSet::new());
    let expected = hex!(
        "01059401aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaa092ea478fc7a1eff54567e9a2d28295e720c3e924ff5efa17d9bf317"
        "d651500ec717979cfe362a00000009010203040506070800e1f471e0aa409167"
        "f4b8ece8cc90f80b807ab7002720944d9e7dd24e1acf011bd5ab60b449314f3f"
        "f93cb20e7fd2c751bc4643f366855937b8396aea120b0205"
    );
    assert_eq!(frame.to_bytes(), expected[..]);
}

#[test]
fn an_answer_fits_a_frame_whatever_the_addresses() {
    let contacts = (0..30).map(|i| Contact {
        addrs: vec![Addr::new(b"quic", &[b'e'; 3_000]); 5],
        ..Contact::new(NodeId::from_bytes([i; 32]))
    });
    let answer = Neighbors::new(NONCE, contacts);
    assert_eq!(answer.contacts.as_slice().len(), 17);
    assert!(answer.encoded_len() <= SEND_PAYLOAD_MAX);
    assert_eq!(Neighbors::decode_exact(&answer.to_bytes()), Ok(answer));
}
