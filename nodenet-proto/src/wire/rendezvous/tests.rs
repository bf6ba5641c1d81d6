//! Known answers of Hello and Reply, made with another implementation of the protocol.

use bytes::Bytes;
use hex_literal::hex;

use super::*;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::wire::generic_tests::six_tests;
use crate::wire::{Addr, Envelope, Signer};

const NONCE: [u8; 16] = hex!("101112131415161718191a1b1c1d1e1f");
const CRYPTO: Ed25519Crypto = Ed25519Crypto;

/// The Hello of the requester to the responder, with [`two_addrs`].
const HELLO: [u8; 143] = hex!(
    "242e44e863ded193c111029c13be1dddfdacb587c5a81849e204130a4c524155"
    "02 036d656d066e6f64652d37 04717569630d3139322e302e322e373a343433"
    "101112131415161718191a1b1c1d1e1f"
    "174095d7898be1cebf1634962969dda6467fe8eece582926eae5e48ec4352aec"
    "2044ef43c63d05ec1db95d1a0b89f891990f861dc181b81930f035540c6a980e"
);

/// The Reply of the responder, with [`two_addrs`].
const REPLY: [u8; 175] = hex!(
    "8221806d56c9bab7088d5584382195ea1e8508d143577a9f289494c440b23d84"
    "15e0f802eb2b0d693a03a08811dbf75d879e076edefb76108afeaea6d3c20826"
    "02 036d656d066e6f64652d37 04717569630d3139322e302e322e373a343433"
    "101112131415161718191a1b1c1d1e1f"
    "207c7cf31c9976752ffb57331338c01e6d13f7ebfbbedb6a06e828455dc45b0f"
    "8d863655792231fa0f9772a1e3ea8c4a0826515c84f79bce26c8b9d5225fd00a"
);

fn requester() -> Identity {
    Identity::from_master_seed(&[1; 32])
}

fn responder() -> Identity {
    Identity::from_master_seed(&[2; 32])
}

fn another() -> Identity {
    Identity::from_master_seed(&[3; 32])
}

fn two_addrs() -> AddrList {
    AddrList::first_of([Addr::new(b"mem", b"node-7"), Addr::new(b"quic", b"192.0.2.7:443")])
}

fn hello(addrs: AddrList) -> Hello {
    Hello::sign(&CRYPTO, &requester(), &responder().id(), addrs, NONCE)
}

fn reply(addrs: AddrList) -> Reply {
    Reply::sign(&CRYPTO, &responder(), addrs, NONCE)
}

six_tests!(hello_itself: Hello, trailing = Refused, known = [
    (HELLO, hello(two_addrs())),
    (
        hex!(
            "242e44e863ded193c111029c13be1dddfdacb587c5a81849e204130a4c524155"
            "00"
            "101112131415161718191a1b1c1d1e1f"
            "ba6f4ff42a9001581c2e41a3d7fc92e99ac55a0ef4a1b28587b315a265eda1f2"
            "e62b759fb23fd93cfe95ce765ed2e9e5b02b4508bb66297f7fe795752e2b0501"
        ),
        hello(AddrList::new())
    ),
]);

six_tests!(reply_itself: Reply, trailing = Refused, known = [
    (REPLY, reply(two_addrs())),
    (
        hex!(
            "8221806d56c9bab7088d5584382195ea1e8508d143577a9f289494c440b23d84"
            "15e0f802eb2b0d693a03a08811dbf75d879e076edefb76108afeaea6d3c20826"
            "00"
            "101112131415161718191a1b1c1d1e1f"
            "c772094dc5d1489a0d6fd535d933e6a54ca04f43c2bba5344b144de84020f1bc"
            "0412055538ef960ccb18f9888e1981cee2d56bea143cbb3804dbea7259e22e0d"
        ),
        reply(AddrList::new())
    ),
]);

/// Ed25519 signatures are deterministic, so each of these pins every byte that is signed.
#[test]
fn signatures_over_other_address_lists_match_another_implementation() {
    let one = AddrList::first_of([Addr::new(b"quic", b"192.0.2.7:443")]);
    assert_eq!(
        hello(one.clone()).signature,
        hex!(
            "71c8230135f2008282e22d511dbeaddf144ff178bf527aef8fdedb1b149a5af9"
            "1a2b7bf5420f7ffa1975d682ac210fc1a1f84c71acb6c901dcc60be3e4dff606"
        )
    );
    assert_eq!(
        reply(one).signature,
        hex!(
            "d3685af73a48b2f3d71c2ad2f9dad66442576b8d3ec0248a24b561965e592e5f"
            "1b961e5d62cfe7b5eb42dde7c7cfce6b1043f7d116a4174d40cc6ce6018cf309"
        )
    );

    let odd = AddrList::first_of([
        Addr::default(),
        Addr::new(&[0xff, 0xfe], &[0x00, 0x80]),
        Addr::new(b"quic", &[b'e'; 200]),
    ]);
    let odd_hello = hello(odd.clone());
    assert_eq!(
        odd_hello.signature,
        hex!(
            "3850906dd8673114e0a5bf909c0d9a2691d3632905b8bac4a59eea2ad857f6d4"
            "c1efcd203727206859931007c71bbfd9965ad6c869fe808655df2ea5e9c74d04"
        )
    );
    assert_eq!(odd_hello.encoded_len(), 328);
    assert_eq!(
        reply(odd).signature,
        hex!(
            "416e8de8e47250dee546c5bdc2fbae24ccbdc3c1cd858f3b613a93cf155dcad7"
            "b064b8d4760b864b8702abc389581c01d48aae8f37b5b619ecf3141f28482f0b"
        )
    );

    let sixteen = AddrList::first_of(
        (0..16).map(|host| Addr::new(b"quic", format!("10.0.0.{host}:1").as_bytes())),
    );
    assert_eq!(
        hello(sixteen.clone()).signature,
        hex!(
            "a990b1841332537b3ae5a77871a68fb645a6ce1ec503ff9a1d2f679fb1d7f05c"
            "98ab52d1c05bf71388698988a23ab1a2fe2b503b7994f776d1b86f4b112b500d"
        )
    );
    let sixteen_reply = reply(sixteen);
    assert_eq!(
        sixteen_reply.signature,
        hex!(
            "255b284dd6a7ef54cc4244bdb17d18970f61843bcac22eefcc99ba9f049bdb64"
            "fab8c0a19ab717a1b2f2389faa84e4604783c4ac0bce6032a92437085ac65902"
        )
    );
    assert_eq!(sixteen_reply.encoded_len(), 407);
}

/// Frames as they cross an edge, signed once more by their envelopes.
#[test]
fn both_are_routed_as_by_another_implementation() {
    let routed = |from: &Identity, to: &Identity, frame_type, payload: Bytes| {
        let signer = Signer { identity: from, crypto: &CRYPTO };
        let sent = UnixNanos(1_700_000_000_000_000_000);
        let envelope = Envelope::sign(signer, frame_type, to.id(), sent, payload);
        let frame = envelope.expect("a small payload").to_frame(frame_type).to_bytes();
        let (front, signature) = frame.split_at(frame.len() - 64);
        (front[..4].to_vec(), signature.to_vec())
    };
    let (front, signature) =
        routed(&requester(), &responder(), FrameType::Hello, hello(two_addrs()).to_bytes());
    assert_eq!(front, hex!("01089b02"));
    assert_eq!(
        signature,
        hex!(
            "70c314571238fc14593f274057138350741bd288201a5d1d954150273de9dc47"
            "2743c01f7c4b4908dcaa2bf99ca0de722f0607c107939963a4c5ec71736edc0c"
        )
    );
    let (front, signature) =
        routed(&responder(), &requester(), FrameType::Reply, reply(two_addrs()).to_bytes());
    assert_eq!(front, hex!("0109bb02"));
    assert_eq!(
        signature,
        hex!(
            "1e771b8dacfaf7d9deb1fee946dbd5e092d80b9c137701d86224f887c40a1cb0"
            "6a19de85f69e4acb1e66cf32d8c044c6c28cf9c480ebec01e73c0613db770404"
        )
    );
}

#[test]
fn a_hello_verifies_for_its_target_and_its_originator_only() {
    let hello = Hello::decode_exact(&HELLO).expect("well formed");
    let verify = |target: &Identity, originator: &Identity| {
        hello.verify(&CRYPTO, &target.id(), originator.public_key())
    };
    assert!(verify(&responder(), &requester()));
    assert!(!verify(&another(), &requester()));
    assert!(!verify(&responder(), &another()));
}

#[test]
fn a_hello_with_any_byte_changed_does_not_verify() {
    let mut verified = 0;
    for at in 0..HELLO.len() {
        let mut bytes = HELLO;
        bytes[at] ^= 1;
        if let Ok(hello) = Hello::decode_exact(&bytes) {
            verified += 1;
            assert!(!hello.verify(&CRYPTO, &responder().id(), requester().public_key()), "{at}");
        }
    }
    assert!(verified >= HELLO.len() - 5, "only counts and lengths make it malformed: {verified}");
}

#[test]
fn a_reply_with_any_byte_changed_is_refused_for_the_field_it_is_in() {
    for at in 0..REPLY.len() {
        let mut bytes = REPLY;
        bytes[at] ^= 1;
        let Ok(reply) = Reply::decode_exact(&bytes) else {
            assert!((64..95).contains(&at), "only counts and lengths make it malformed: {at}");
            continue;
        };
        let expected = match at {
            0..32 => ReplyError::WrongTarget,
            95..111 => ReplyError::NonceMismatch,
            _ => ReplyError::BadSignature,
        };
        assert_eq!(reply.verify(&CRYPTO, &responder().id(), &NONCE), Err(expected), "{at}");
    }
}

#[test]
fn a_reply_is_checked_for_target_then_nonce_then_signature() {
    let mut reply = Reply::decode_exact(&REPLY).expect("well formed");
    let (target, other) = (responder().id(), another().id());
    let mut other_nonce = NONCE;
    other_nonce[0] ^= 1;
    assert_eq!(reply.verify(&CRYPTO, &target, &NONCE), Ok(()));
    assert_eq!(reply.verify(&CRYPTO, &other, &NONCE), Err(ReplyError::WrongTarget));
    assert_eq!(reply.verify(&CRYPTO, &other, &other_nonce), Err(ReplyError::WrongTarget));
    assert_eq!(reply.verify(&CRYPTO, &target, &other_nonce), Err(ReplyError::NonceMismatch));
    reply.signature[63] ^= 1;
    assert_eq!(reply.verify(&CRYPTO, &target, &other_nonce), Err(ReplyError::NonceMismatch));
    assert_eq!(reply.verify(&CRYPTO, &target, &NONCE), Err(ReplyError::BadSignature));
}

#[test]
fn a_padded_address_count_still_verifies() {
    let padded = [&HELLO[..32], &hex!("8200"), &HELLO[33..]].concat();
    let hello = Hello::decode_exact(&padded).expect("padding is accepted");
    assert!(hello.verify(&CRYPTO, &responder().id(), requester().public_key()));
    assert_eq!(hello.to_bytes(), HELLO[..], "and never emitted");

    let padded = [&REPLY[..64], &hex!("828000"), &REPLY[65..]].concat();
    let reply = Reply::decode_exact(&padded).expect("padding is accepted");
    assert_eq!(reply.verify(&CRYPTO, &responder().id(), &NONCE), Ok(()));
}

#[test]
fn malformed_messages_have_distinct_errors() {
    assert_eq!(Hello::decode_exact(&[]), Err(DecodeError::ShortBuffer));
    assert_eq!(Hello::decode_exact(&HELLO[..31]), Err(DecodeError::ShortBuffer));
    assert_eq!(Hello::decode_exact(&HELLO[..32]), Err(DecodeError::BadAddr));
    assert_eq!(Hello::decode_exact(&HELLO[..40]), Err(DecodeError::BadAddr));
    assert_eq!(Hello::decode_exact(&HELLO[..142]), Err(DecodeError::ShortBuffer));
    assert_eq!(Hello::decode_exact(&[&HELLO[..], &[0]].concat()), Err(DecodeError::ShortBuffer));
    let huge_count = [&[0; 32][..], &hex!("ffffffff0f")].concat();
    assert_eq!(Hello::decode_exact(&huge_count), Err(DecodeError::TooManyAddrs));

    assert_eq!(Reply::decode_exact(&REPLY[..63]), Err(DecodeError::ShortBuffer));
    assert_eq!(Reply::decode_exact(&REPLY[..64]), Err(DecodeError::BadAddr));
    assert_eq!(Reply::decode_exact(&REPLY[..70]), Err(DecodeError::BadAddr));
    assert_eq!(Reply::decode_exact(&REPLY[..174]), Err(DecodeError::ShortBuffer));
    assert_eq!(Reply::decode_exact(&[&REPLY[..], &[0]].concat()), Err(DecodeError::ShortBuffer));
}

/// A correctly signed message from an implementation that has no cap.
#[test]
fn seventeen_addresses_are_refused() {
    let hello = [
        &HELLO[..32],
        &[17],
        &[0; 34],
        &NONCE,
        &hex!(
            "4faa665e6c3b0cb20b5969690fcc5026c7c574b44c547333823223f8c9ee44b4"
            "373085d10432c3d3c3a137c6e1468c81d4a0f02532ea418cf6fdec03a6677e03"
        ),
    ]
    .concat();
    assert_eq!(Hello::decode_exact(&hello), Err(DecodeError::TooManyAddrs));
    let reply = [
        &REPLY[..64],
        &[17],
        &[0; 34],
        &NONCE,
        &hex!(
            "4622038c447b1f571591484c450496a0d6de73a877178ce8557f4f46c9798756"
            "6212c5c913ec7a8a4e76b46d68ff58c05dee1f4bafb74d49ffcbdb44bd14ec0a"
        ),
    ]
    .concat();
    assert_eq!(Reply::decode_exact(&reply), Err(DecodeError::TooManyAddrs));
    let seventeen = (0..17).map(|_| Addr::default());
    assert_eq!(AddrList::first_of(seventeen).as_slice().len(), 16, "nor can they be sent");
}
