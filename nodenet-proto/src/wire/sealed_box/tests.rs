//! Known answers of sealed boxes, made with another implementation of the protocol. Ed25519
//! signatures and the cipher are deterministic, so a box's last 64 bytes pin all the others that
//! matter.

use hex_literal::hex;

use super::*;
use crate::env::Seed;
use crate::wire::generic_tests::six_tests;

const SEALED_AT: UnixNanos = UnixNanos(1_700_000_000_123_456_789);
const ROUND_TIME: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// "coordinates" with the associated data "context", sealed at [`SEALED_AT`].
const BOX: [u8; 164] = hex!(
    "79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a"
    "9d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e5924"
    "17979cfe3d85cd15"
    "1b bdbb45f3f6a70fa0a4da15e4fac56c616b073cc696dd11df9d5d13"
    "7eeabc08dc43b7fe485621f33263e45ba1e2b809e03b122c0b9b9572b6ed28e6"
    "4363701f4a7684dc800caee8c7e30857ccad46eb8211721bc2d2e4bd308e9408"
);

fn sender() -> Identity {
    Identity::from_master_seed(&[1; 32])
}

fn recipient() -> Identity {
    Identity::from_master_seed(&[2; 32])
}

/// Seals with the ephemeral key `first`, `first + 1`, and so on.
fn seal_known(first: u8, time: UnixNanos, plaintext: &[u8], associated: &[u8]) -> Bytes {
    let ephemeral = StaticSecret::from(core::array::from_fn(|i| first + i as u8));
    seal_with(&ephemeral, &sender(), recipient().exchange_key(), time, plaintext, associated)
        .expect("an honest key")
}

fn open_at(bytes: &[u8], now: i64) -> Result<Opened, OpenError> {
    open(&recipient(), bytes, b"context", UnixNanos(now), HOUR)
}

fn open_in_time(bytes: &[u8]) -> Result<Opened, OpenError> {
    open_at(bytes, SEALED_AT.0)
}

/// [`BOX`] with other contents, signed again by its sender, to test the checks of [`open`] behind
/// the signature.
fn signed_again(change: impl FnOnce(&mut SealedBox)) -> Bytes {
    let mut sealed = SealedBox::decode_exact(&BOX).expect("well formed");
    change(&mut sealed);
    sealed.sign(&sender(), recipient().exchange_key());
    sealed.to_bytes()
}

six_tests!(sealed_box: SealedBox, trailing = Refused, known = [(
    BOX,
    SealedBox {
        ephemeral_key: hex!("79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a"),
        sender_key: *sender().public_key(),
        time: SEALED_AT,
        ciphertext: hex!("bdbb45f3f6a70fa0a4da15e4fac56c616b073cc696dd11df9d5d13").to_vec(),
        signature: hex!(
            "7eeabc08dc43b7fe485621f33263e45ba1e2b809e03b122c0b9b9572b6ed28e6"
            "4363701f4a7684dc800caee8c7e30857ccad46eb8211721bc2d2e4bd308e9408"
        ),
    }
)]);

/// One sealing, and the last 64 bytes of the box.
struct Sealing {
    /// First byte of the ephemeral key.
    first: u8,
    time: UnixNanos,
    plaintext: &'static [u8],
    associated: &'static [u8],
    signature: [u8; 64],
}

const SEALINGS: &[Sealing] = &[
    Sealing {
        first: 0x00,
        time: ROUND_TIME,
        plaintext: &[],
        associated: b"",
        signature: hex!(
            "0c72ebbe2b1aed63eeb2b3097fdd7df500cf840d94800ab8451f6e76453b56c2"
            "a05c0b82be8c23168a91c6ed73cf79f00455f550ef6afbb7ae3ac21089e85400"
        ),
    },
    Sealing {
        first: 0x20,
        time: ROUND_TIME,
        plaintext: b"hi R",
        associated: b"",
        signature: hex!(
            "762211a00e82889e1132021b7ee36ddc07fcfb9d61279fdef6e2cc46652c3459"
            "43d1e5f547d5d22210c80505e0950f0d4aabe022527322cb0882c976ed86a30a"
        ),
    },
    Sealing {
        first: 0x60,
        time: ROUND_TIME,
        plaintext: &hex!("000102ff80"),
        associated: &[0xaa],
        signature: hex!(
            "d9a858b6eba106fbd58a7be8bb306eb1b3b3ae69709e20b2025234f2296ff9e9"
            "ed314540a21eefff478583bbbe000c1000cc12864b01c268266827e9da21c803"
        ),
    },
    Sealing {
        first: 0x80,
        time: ROUND_TIME,
        plaintext: &[0x5a; 112],
        associated: b"",
        signature: hex!(
            "ff72f675099852b147285a2d96de7782068f7a2dd2b7a1c0f4e9f062a8319182"
            "72b9cfd6145b181f16b09ba8661ad716e2db555fb67164c31852435a36b4e609"
        ),
    },
    Sealing {
        first: 0x81,
        time: ROUND_TIME,
        plaintext: &[0x5a; 111],
        associated: b"",
        signature: hex!(
            "a4be774168ec1285feac7e66bee85ae5008466a81396a349be27c0df055a6f5d"
            "e028c3f6994dac324a796d72eb73709c30be8da899a67fb4f136bc5aca9e1c0a"
        ),
    },
    Sealing {
        first: 0xa0,
        time: ROUND_TIME,
        plaintext: &[7; 1_024],
        associated: b"",
        signature: hex!(
            "f37b3bd7fcc6096393b0818e5d37bacc4eb50b310ae6eb44158aba53c606723d"
            "7b4293f2b869206e997032e6da551ca39e3ee555f1049ee08df0b8b2ee7cc70c"
        ),
    },
    Sealing {
        first: 0xc0,
        time: UnixNanos(0),
        plaintext: b"t",
        associated: b"",
        signature: hex!(
            "1906bd69470303f926d99aa28772a66f449770c98aa6a933b8296e87f5a6d988"
            "5fcdc756640f2c67d21b348a374fd0fe3684cdef59c1876c24a646a2f95dcf00"
        ),
    },
    Sealing {
        first: 0xc1,
        time: UnixNanos(-1),
        plaintext: b"t",
        associated: b"",
        signature: hex!(
            "11b86ff11823783213679e44aa74b6116881cd5915adc5b0ab84706e3771bc86"
            "32a4f66726a6ce09ef9761fefc9e10ca51ae376e460f3633cedec50139186d08"
        ),
    },
];

#[test]
fn boxes_match_another_implementation() {
    assert_eq!(seal_known(0x40, SEALED_AT, b"coordinates", b"context"), BOX[..]);
    for Sealing { first, time, plaintext, associated, signature } in SEALINGS {
        let sealed = seal_known(*first, *time, plaintext, associated);
        assert_eq!(sealed[sealed.len() - 64..], *signature, "ephemeral key {first:#04x}");
        let opened = open(&recipient(), &sealed, associated, *time, Duration::ZERO);
        let (sender, plaintext) = (sender().id(), plaintext.to_vec());
        assert_eq!(opened, Ok(Opened { sender, sealed_at: *time, plaintext }));
    }
}

/// The overhead is 152 bytes and the length's own (PROTOCOL.md#sealed-box).
#[test]
fn the_length_of_a_box_follows_from_its_plaintext() {
    for (plaintext, sealed) in
        [(0, 153), (1, 154), (111, 264), (112, 266), (16_367, 16_521), (16_368, 16_523)]
    {
        assert_eq!(seal_known(0, ROUND_TIME, &vec![7; plaintext], b"").len(), sealed);
    }
}

#[test]
fn the_ephemeral_key_is_drawn_afresh_for_every_box() {
    let mut rng = Seed::from_u64(7).stream("sealed box");
    let mut seal = |plaintext: &[u8]| {
        seal(&sender(), recipient().exchange_key(), SEALED_AT, plaintext, b"context", &mut rng)
            .expect("an honest key")
    };
    let (one, other) = (seal(b"same"), seal(b"same"));
    assert_ne!(one[..32], other[..32]);
    assert_eq!(open_in_time(&one).map(|opened| opened.plaintext), Ok(b"same".to_vec()));
    assert_eq!(open_in_time(&other).map(|opened| opened.plaintext), Ok(b"same".to_vec()));
}

#[test]
fn nothing_is_sealed_to_a_low_order_key() {
    let mut rng = Seed::from_u64(7).stream("sealed box");
    let sealed = seal(&sender(), &[0; 32], SEALED_AT, b"secret", b"", &mut rng);
    assert_eq!(sealed, Err(SealError::LowOrderKey));
}

#[test]
fn a_box_opens_within_its_window_both_ends_included() {
    let hour = HOUR.as_nanos() as i64;
    let expected =
        Opened { sender: sender().id(), sealed_at: SEALED_AT, plaintext: b"coordinates".to_vec() };
    assert_eq!(open_at(&BOX, SEALED_AT.0), Ok(expected.clone()));
    assert_eq!(open_at(&BOX, SEALED_AT.0 + hour), Ok(expected.clone()));
    assert_eq!(open_at(&BOX, SEALED_AT.0 + hour + 1), Err(OpenError::Expired));
    assert_eq!(open_at(&BOX, SEALED_AT.0 - hour), Ok(expected));
    assert_eq!(open_at(&BOX, SEALED_AT.0 - hour - 1), Err(OpenError::Expired));
}

#[test]
fn times_at_the_ends_of_the_range_are_expired_and_nothing_overflows() {
    for time in [i64::MIN, i64::MAX] {
        let sealed = signed_again(|sealed| sealed.time = UnixNanos(time));
        for now in [i64::MIN, SEALED_AT.0, i64::MAX] {
            let opened = open_at(&sealed, now);
            assert_eq!(opened.is_err(), now != time, "sealed at {time}, opened at {now}");
        }
    }
}

/// THREATS.md#b16
#[test]
fn only_its_recipient_opens_a_box() {
    let other = Identity::from_master_seed(&[3; 32]);
    let opened = open(&other, &BOX, b"context", SEALED_AT, HOUR);
    assert_eq!(opened, Err(OpenError::BadSignature));
}

#[test]
fn other_associated_data_does_not_decrypt() {
    for associated in [&b"other"[..], b""] {
        let opened = open(&recipient(), &BOX, associated, SEALED_AT, HOUR);
        assert_eq!(opened, Err(OpenError::Undecryptable));
    }
}

/// THREATS.md#b16
#[test]
fn a_changed_byte_is_a_bad_signature() {
    for at in (0..BOX.len()).filter(|&at| at != 72) {
        let mut bytes = BOX;
        bytes[at] ^= 1;
        assert_eq!(open_in_time(&bytes), Err(OpenError::BadSignature), "{at}");
    }
}

#[test]
fn the_checks_come_in_order() {
    let late = SEALED_AT.0 + 2 * HOUR.as_nanos() as i64;
    let mut forged = BOX;
    forged[163] ^= 1;
    assert_eq!(open_at(&forged, late), Err(OpenError::BadSignature), "before its age");

    let undecryptable = signed_again(|sealed| sealed.ciphertext[0] ^= 1);
    assert_eq!(open_in_time(&undecryptable), Err(OpenError::Undecryptable));
    assert_eq!(open_at(&undecryptable, late), Err(OpenError::Expired), "before its content");

    let low_order = signed_again(|sealed| sealed.ephemeral_key = [0; 32]);
    assert_eq!(open_in_time(&low_order), Err(OpenError::LowOrderKey));
    assert_eq!(open_at(&low_order, late), Err(OpenError::Expired), "before its key");
}

#[test]
fn malformed_boxes_are_short_buffers() {
    let short = Err(OpenError::Malformed(DecodeError::ShortBuffer));
    for len in 0..BOX.len() {
        assert_eq!(open_in_time(&BOX[..len]), short, "cut to {len} bytes");
    }
    assert_eq!(open_in_time(&[&BOX[..], &[0]].concat()), short);
    for len in [hex!("ffffffffffffffffff01"), hex!("ffffffffffffffffff02")] {
        assert_eq!(open_in_time(&[&BOX[..72], &len].concat()), short);
    }
}

#[test]
fn a_padded_length_is_accepted() {
    let padded = [&BOX[..72], &hex!("9b00"), &BOX[73..]].concat();
    assert!(open_in_time(&padded).is_ok());
}

#[test]
fn a_ciphertext_shorter_than_its_tag_does_not_decrypt() {
    for len in [0, 15] {
        let sealed = signed_again(|sealed| sealed.ciphertext.truncate(len));
        assert_eq!(sealed.len(), 137 + len);
        assert_eq!(open_in_time(&sealed), Err(OpenError::Undecryptable));
    }
}

/// The format cannot prevent it (THREATS.md#e36); the head of the module says how applications do.
#[test]
fn a_box_can_be_signed_again_by_every_node_that_sees_it() {
    let thief = Identity::from_master_seed(&[3; 32]);
    let mut sealed = SealedBox::decode_exact(&BOX).expect("well formed");
    sealed.time.0 += HOUR.as_nanos() as i64 / 2;
    sealed.sign(&thief, recipient().exchange_key());
    let opened =
        open_at(&sealed.to_bytes(), SEALED_AT.0 + 1).expect("it opens as the original does");
    assert_eq!((opened.sender, &opened.plaintext[..]), (thief.id(), &b"coordinates"[..]));
}

/// The recipient as the sender of a bound box knows it.
fn known() -> Recipient {
    Recipient { id: recipient().id(), exchange_key: *recipient().exchange_key() }
}

fn seal_bound_to(recipient: &Recipient) -> Bytes {
    let mut rng = Seed::from_u64(7).stream("sealed box");
    seal_bound(&sender(), recipient, SEALED_AT, b"secret", b"context", &mut rng)
        .expect("an honest key")
}

fn open_bound_in_time(bytes: &[u8]) -> Result<Opened, OpenError> {
    open_bound(&recipient(), bytes, b"context", SEALED_AT, HOUR)
}

#[test]
fn a_bound_box_opens_for_its_recipient() {
    let opened = open_bound_in_time(&seal_bound_to(&known())).expect("it is for the recipient");
    assert_eq!((opened.sender, &opened.plaintext[..]), (sender().id(), &b"secret"[..]));
}

/// So other implementations seal and open bound boxes with the plain pair of functions.
#[test]
fn a_bound_box_is_a_plain_box_with_both_identifiers_in_its_associated_data() {
    let sealed = seal_bound_to(&known());
    let associated =
        [sender().id().as_bytes(), recipient().id().as_bytes(), &b"context"[..]].concat();
    let opened = open(&recipient(), &sealed, &associated, SEALED_AT, HOUR);
    assert_eq!(opened.map(|opened| opened.plaintext), Ok(b"secret".to_vec()));
    assert_eq!(open_in_time(&sealed), Err(OpenError::Undecryptable));
    let plain = seal_known(1, SEALED_AT, b"secret", &associated);
    assert!(open_bound_in_time(&plain).is_ok());
    assert_eq!(open_bound_in_time(&BOX), Err(OpenError::Undecryptable));
}

/// THREATS.md#e36
#[test]
fn a_bound_box_that_another_node_signs_again_does_not_open() {
    let thief = Identity::from_master_seed(&[3; 32]);
    let mut sealed = SealedBox::decode_exact(&seal_bound_to(&known())).expect("well formed");
    sealed.sign(&thief, recipient().exchange_key());
    assert_eq!(open_bound_in_time(&sealed.to_bytes()), Err(OpenError::Undecryptable));
}

/// A node that names the key of another as its own gets boxes that the other does not take.
#[test]
fn a_bound_box_for_another_identifier_with_the_same_key_does_not_open() {
    let other = Identity::from_master_seed(&[3; 32]).id();
    let sealed = seal_bound_to(&Recipient { id: other, ..known() });
    assert_eq!(open_bound_in_time(&sealed), Err(OpenError::Undecryptable));
}

#[test]
fn all_encodings_of_an_ephemeral_key_have_one_fingerprint() {
    let fingerprint = |bytes: &[u8]| {
        let sealed = SealedBox::decode_exact(bytes).expect("well formed");
        sealed.open(&recipient(), b"context", SEALED_AT, HOUR).expect("it opens").1
    };
    let equivalent = signed_again(|sealed| sealed.ephemeral_key[31] ^= 0x80);
    assert_eq!(fingerprint(&equivalent), fingerprint(&BOX));
    let other = seal_known(0x41, SEALED_AT, b"coordinates", b"context");
    assert_ne!(fingerprint(&other), fingerprint(&BOX));
}
