use bytes::Bytes;
use hex_literal::hex;

use super::{AvoidSet, Envelope, HOP_LIMIT_MAX, RoutedFrame, Signer, is_fresh};
use crate::NodeId;
use crate::buf::Frame;
use crate::buf::HeadPool;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::identity::Identity;
use crate::transport::FRAME_MAX;
use crate::wire::frame::{FrameHeader, FrameType};
use crate::wire::generic_tests::six_tests;
use crate::wire::{Decode, DecodeError, Encode, PayloadTooLarge, SEND_PAYLOAD_MAX};

const SENT: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// A signed message to the identifier that repeats `target`.
fn signed(
    seed: [u8; 32],
    frame_type: FrameType,
    target: u8,
    sent: i64,
    payload: &[u8],
) -> Envelope {
    let identity = Identity::from_master_seed(&seed);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let payload = Bytes::copy_from_slice(payload);
    Envelope::sign(signer, frame_type, id(target), UnixNanos(sent), payload).expect("it fits")
}

/// The same message with `hop_limit` hops left. Each byte of `avoid`, repeated, is an identifier to
/// avoid.
fn after_hops(envelope: Envelope, hop_limit: u8, avoid: &[u8]) -> Envelope {
    Envelope { hop_limit, ..envelope.avoiding(avoid.iter().copied().map(id).collect()) }
}

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

const fn counting() -> [u8; 32] {
    let mut seed = [0; 32];
    let mut i = 0;
    while i < 32 {
        seed[i] = i as u8;
        i += 1;
    }
    seed
}

six_tests!(envelope: Envelope, trailing = Refused, known = [
    (
        hex!(
            "1111111111111111111111111111111111111111111111111111111111111111"
            "109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511aef8f51e"
            "9917979cfe362a00000000bbc4e441ba1a3adb2b1eb7e20377e8feeeb32e2bbb"
            "9b176f735f3162e628cba493c9ab9f2694544c74455bef4e0eed804a9ad249bc"
            "253a375a7828b95e213f0e"
        ),
        after_hops(
            signed(counting(), FrameType::Route, 0x11, SENT.0, b""),
            16,
            &[],
        ),
    ),
    (
        hex!(
            "2222222222222222222222222222222222222222222222222222222222222222"
            "109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511aef8f51e"
            "9917979cfe362a000100026869df8870234ecf81aa9374bdaf3d49c527ed1063"
            "a780980b0506823bc46b2a35bb6b058d9bb1cbf210c244b5d08ec02afdf9ac31"
            "1b019687e9c9d30eac3e54220d"
        ),
        after_hops(
            signed(counting(), FrameType::Route, 0x22, SENT.0 + 1, b"hi"),
            16,
            &[],
        ),
    ),
    (
        hex!(
            "2222222222222222222222222222222222222222222222222222222222222222"
            "109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511aef8f51e"
            "9917979cfe362a00000103030303030303030303030303030303030303030303"
            "030303030303030303030268698f48a8eb6d3d0ee7132407856aa868ed538211"
            "464cae314aa2d2ff965382fe4eb7f8032553606ac9935208d130fc3ef462f6f4"
            "587fa4b3d1e0f1222d6c631503"
        ),
        after_hops(
            signed(counting(), FrameType::Route, 0x22, SENT.0, b"hi"),
            16,
            &[0x03],
        ),
    ),
    (
        hex!(
            "3333333333333333333333333333333333333333333333333333333333333333"
            "099d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e59"
            "2417979cfe362a00000207070707070707070707070707070707070707070707"
            "0707070707070707070708080808080808080808080808080808080808080808"
            "080808080808080808081068656c6c6f2072656e64657a766f75736258823b4c"
            "23e3aa627e3d738500c219331dcb0bae48ac3ccc9660b54e4dadcd35702c2d59"
            "6389e1f450bfc8d5c7267e44e3eeed36fcab6f746f193c2bb9b508"
        ),
        after_hops(
            signed([1; 32], FrameType::Route, 0x33, SENT.0, b"hello rendezvous"),
            9,
            &[0x07, 0x08],
        ),
    ),
    (
        hex!(
            "4444444444444444444444444444444444444444444444444444444444444444"
            "018221806d56c9bab7088d5584382195ea1e8508d143577a9f289494c440b23d"
            "8417979cfe362a00000307070707070707070707070707070707070707070707"
            "0707070707070707070708080808080808080808080808080808080808080808"
            "0808080808080808080809090909090909090909090909090909090909090909"
            "090909090909090909097fcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcd58a7b6d89779e0503fcb73b300583e67e94f36c7acf5"
            "d664ea16b1d8f9645219877cb8ae0771097402ee3a513706df1b5332bc59754f"
            "b5d30bc66941dd034200"
        ),
        after_hops(
            signed([2; 32], FrameType::Route, 0x44, SENT.0, &[0xcd; 127]),
            1,
            &[0x07, 0x08, 0x09],
        ),
    ),
    (
        hex!(
            "4444444444444444444444444444444444444444444444444444444444444444"
            "0019e178ebfbb95f9cbd54f55e4e68bedad6b5d66516be3e58cbf1aa8ae15495"
            "6517979cfe362a0000008001cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
            "cdcdcdcdcdcdcdcdcdcdcdcd6db3fc16d47658b2bceceaac17216e171664ca78"
            "467725c5cf7459e615526f6cdb74e06385d664ef6d6feb529e311d2b6e86a858"
            "84b11dabbe25acbea870e90f"
        ),
        after_hops(
            signed([3; 32], FrameType::Route, 0x44, SENT.0, &[0xcd; 128]),
            0,
            &[],
        ),
    ),
    (
        hex!(
            "4444444444444444444444444444444444444444444444444444444444444444"
            "ff19e178ebfbb95f9cbd54f55e4e68bedad6b5d66516be3e58cbf1aa8ae15495"
            "6517979cfe362a00000101010101010101010101010101010101010101010101"
            "01010101010101010101ac02abababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababababababababababab"
            "abababababababababababababababababababababababab228987c652e26598"
            "6f9e5c6c474eb62cc29c1aa81b491bbe545635cd145b6adc1beaf25ae8af8cc1"
            "33ab10a894c2a7c73e0b88479ab3b12b291770d2a22cdf0f"
        ),
        after_hops(
            signed([3; 32], FrameType::Route, 0x44, SENT.0, &[0xab; 300]),
            255,
            &[0x01],
        ),
    ),
    (
        hex!(
            "5555555555555555555555555555555555555555555555555555555555555555"
            "10e7b9a5ae6438b3313aae42a9047f06810364a4f39d4be76ad02c33872001a3"
            "edffffffffffffffff000100db463b7ac3476f4da72a8e831c53fcd44a6af690"
            "43f32c73c1a5035040d9c16c4dde5b94d1931d09df0b5db7102d4f240ac5186d"
            "da20d49b8c2a8624536bb104"
        ),
        after_hops(
            signed([4; 32], FrameType::Route, 0x55, -1, b"\x00"),
            16,
            &[],
        ),
    ),
    (
        hex!(
            "5555555555555555555555555555555555555555555555555555555555555555"
            "10e7b9a5ae6438b3313aae42a9047f06810364a4f39d4be76ad02c33872001a3"
            "ed800000000000000000010094950cbcc6689782b5f7921d6730f106c1f34843"
            "0d0ffe35f8a3c555883ff5d4085ffd85b4574601d3d8f67ccd1f3929ecf75b97"
            "baa64d8d85121f460ce2130b"
        ),
        after_hops(
            signed([4; 32], FrameType::Route, 0x55, i64::MIN, b"\x00"),
            16,
            &[],
        ),
    ),
    (
        hex!(
            "5555555555555555555555555555555555555555555555555555555555555555"
            "10e7b9a5ae6438b3313aae42a9047f06810364a4f39d4be76ad02c33872001a3"
            "ed7fffffffffffffff00010068de5b4b14879cd0963fd875e89babf137839995"
            "fda1cc4e6c795b274704eb13fc869a3b50b2a4d8b70c607302ea6cfaee370332"
            "664a55a068fecec0ce26270f"
        ),
        after_hops(
            signed([4; 32], FrameType::Route, 0x55, i64::MAX, b"\x00"),
            16,
            &[],
        ),
    ),
    (
        hex!(
            "6666666666666666666666666666666666666666666666666666666666666666"
            "100bec9ae973d1bad5c133c354b70574f0f3ae2c6b75f9dd371d031fa8b585b5"
            "9617979cfe362a0000001461636b207061796c6f6164207374616e642d696e44"
            "d61cc93df25201a4d524f5cb525986c8af38436a953e65ee2c0a8c66bdef8e67"
            "80297955cd1d69a0dd6d81dcff3be3898caeebb1e4c1a783764b9697810d00"
        ),
        after_hops(
            signed([5; 32], FrameType::ConnectAck, 0x66, SENT.0, b"ack payload stand-in"),
            16,
            &[],
        ),
    ),
]);

/// One message over three first hops: the frame that each of them gets.
const DISJOINT_COPIES: [(&[u8], [u8; 2]); 3] = [
    (
        &hex!(
            "0101d301a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0"
            "a0a0a0a0109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511"
            "aef8f51e9917979cfe362a000002a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2"
            "a2a2a2a2a2a2a2a2a2a2a2a2a2a2a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3"
            "a3a3a3a3a3a3a3a3a3a3a3a3a3a3086469736a6f696e744ab630d142d1e35b52"
            "aefe2ff8ebf1783a92fd220168ec1d17841ec435baa95925b75de8109329aaf2"
            "0ec0d75e5d79c72d605d8cc11c27c92f9052691c495602"
        ),
        [0xa2, 0xa3],
    ),
    (
        &hex!(
            "0101d301a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0"
            "a0a0a0a0109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511"
            "aef8f51e9917979cfe362a000002a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
            "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3"
            "a3a3a3a3a3a3a3a3a3a3a3a3a3a3086469736a6f696e744ab630d142d1e35b52"
            "aefe2ff8ebf1783a92fd220168ec1d17841ec435baa95925b75de8109329aaf2"
            "0ec0d75e5d79c72d605d8cc11c27c92f9052691c495602"
        ),
        [0xa1, 0xa3],
    ),
    (
        &hex!(
            "0101d301a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0"
            "a0a0a0a0109143b53eb4c3690c3595388fbc78bd317df2312eef993dd8ab0511"
            "aef8f51e9917979cfe362a000002a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
            "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2"
            "a2a2a2a2a2a2a2a2a2a2a2a2a2a2086469736a6f696e744ab630d142d1e35b52"
            "aefe2ff8ebf1783a92fd220168ec1d17841ec435baa95925b75de8109329aaf2"
            "0ec0d75e5d79c72d605d8cc11c27c92f9052691c495602"
        ),
        [0xa1, 0xa2],
    ),
];

#[test]
fn one_signature_serves_every_copy() {
    let envelope = signed(counting(), FrameType::Route, 0xa0, SENT.0, b"disjoint");
    for (expected, avoid) in DISJOINT_COPIES {
        let copy = envelope.avoiding(avoid.into_iter().map(id).collect());
        let frame = copy.to_frame(FrameType::Route);
        assert_eq!(frame.to_bytes(), expected);
        assert!(frame.chunks().any(|chunk| chunk.as_ptr() == envelope.payload.as_ptr()));
    }
}

/// The envelope that most tests below modify: two nodes to avoid, sixteen bytes of payload.
fn valid() -> Envelope {
    let envelope = signed([1; 32], FrameType::Route, 0x33, SENT.0, b"hello rendezvous");
    after_hops(envelope, 9, &[7, 8])
}

/// Length of the fixed fields, up to the number of nodes to avoid.
const FIXED_LEN: usize = 73;

fn parse(frame: Frame) -> Result<RoutedFrame, DecodeError> {
    let (header, at) = FrameHeader::of(&frame)?;
    RoutedFrame::parse(frame, header.frame_type().expect("an assigned type"), at)
}

fn frame_of(envelope: &[u8]) -> Frame {
    let header = FrameHeader { type_byte: 1, payload_len: envelope.len() };
    let mut frame = Frame::from(header.to_bytes());
    frame.push_back(Bytes::copy_from_slice(envelope));
    frame
}

#[test]
fn malformed_envelopes_are_refused_for_their_first_error() {
    use DecodeError::{AvoidTooLarge, ShortBuffer};
    let fixed = &valid().to_bytes()[..FIXED_LEN];
    let zeros = |count: usize| vec![0; count];
    for (rest, error) in [
        (vec![], ShortBuffer),
        (hex!("80").to_vec(), ShortBuffer),
        (hex!("ffffffffffffffffff02").to_vec(), ShortBuffer),
        (hex!("04").to_vec(), AvoidTooLarge),
        (hex!("ffffffffffffffffff01").to_vec(), AvoidTooLarge),
        ([hex!("04").to_vec(), zeros(300)].concat(), AvoidTooLarge),
        ([hex!("03").to_vec(), zeros(95)].concat(), ShortBuffer),
        (hex!("00").to_vec(), ShortBuffer),
        (hex!("0080").to_vec(), ShortBuffer),
        ([hex!("00ffffffffffffffffff01").to_vec(), zeros(64)].concat(), ShortBuffer),
        ([hex!("0001").to_vec(), zeros(64)].concat(), ShortBuffer),
        ([hex!("0000").to_vec(), zeros(63)].concat(), ShortBuffer),
        ([hex!("0000").to_vec(), zeros(65)].concat(), ShortBuffer),
    ] {
        let bytes = [fixed, &rest].concat();
        assert_eq!(Envelope::decode_exact(&bytes), Err(error), "{rest:02x?}");
        assert_eq!(parse(frame_of(&bytes)).map(drop), Err(error), "in place: {rest:02x?}");
    }
    let smallest = [fixed, &zeros(2), &zeros(64)].concat();
    assert_eq!(smallest.len(), 139);
    assert_eq!(Envelope::decode_exact(&smallest).map(|envelope| envelope.payload.len()), Ok(0));
}

#[test]
fn a_frame_reads_the_same_however_it_is_cut() {
    let envelope = valid();
    let bytes = envelope.to_frame(FrameType::Route).to_bytes();
    let digest = envelope.signing_digest(1, &Ed25519Crypto);
    for first in 0..bytes.len() {
        for piece_len in [1, 7, 64, 1_000] {
            let mut frame = Frame::from(bytes.slice(..first));
            for piece in bytes[first..].chunks(piece_len) {
                frame.push_back(Bytes::copy_from_slice(piece));
            }
            let routed = parse(frame).expect("an envelope");
            assert_eq!(*routed.target(), envelope.target);
            assert_eq!(routed.hop_limit(), envelope.hop_limit);
            assert_eq!(*routed.key(), envelope.key);
            assert_eq!(routed.sent(), envelope.sent);
            assert_eq!(*routed.avoid(), envelope.avoid);
            assert_eq!(routed.payload_len(), envelope.payload.len());
            assert_eq!(routed.signing_digest(&Ed25519Crypto), digest);
            assert_eq!(routed.into_payload(), envelope.payload);
        }
    }
}

/// Whether the signature in the frame around `envelope` verifies.
fn is_signed(envelope: &Envelope, frame_type: FrameType) -> bool {
    let routed = parse(envelope.to_frame(frame_type)).expect("an envelope");
    let digest = routed.signing_digest(&Ed25519Crypto);
    routed.is_signed(&digest, &Ed25519Crypto)
}

#[test]
fn the_signature_covers_what_no_hop_may_change() {
    type Change = fn(&mut Envelope);
    assert!(is_signed(&valid(), FrameType::Route));
    assert!(!is_signed(&valid(), FrameType::Lookup), "another type");
    let changes: [(&str, bool, Change); 10] = [
        ("hop limit", true, |envelope| envelope.hop_limit = 3),
        ("empty avoid-set", true, |envelope| envelope.avoid.clear()),
        ("others to avoid", true, |envelope| envelope.avoid[0] = id(0xee)),
        ("payload", false, |envelope| envelope.payload = Bytes::from_static(b"iello rendezvous")),
        ("longer", false, |envelope| envelope.payload = Bytes::from_static(b"hello rendezvous\0")),
        ("target", false, |envelope| envelope.target = id(0x32)),
        ("time", false, |envelope| envelope.sent.0 += 1),
        ("key", false, |envelope| envelope.key[0] ^= 1),
        ("R", false, |envelope| envelope.signature[0] ^= 1),
        ("S", false, |envelope| envelope.signature[32] ^= 1),
    ];
    for (name, holds, change) in changes {
        let mut envelope = valid();
        change(&mut envelope);
        assert_eq!(is_signed(&envelope, FrameType::Route), holds, "{name}");
    }
}

#[test]
fn a_forwarded_frame_keeps_its_payload_where_it_lies() {
    let bytes = valid().to_frame(FrameType::Route).to_bytes();
    let mut pool = HeadPool::new();
    for cut in 0..bytes.len() {
        let mut frame = Frame::from(bytes.slice(..cut));
        frame.push_back(bytes.slice(cut..));
        let frame = parse(frame).expect("an envelope").into_forward(3, &mut pool);
        let mut expected = bytes.to_vec();
        expected[4 + 32] = 3;
        assert_eq!(frame.to_bytes(), expected);
        let mut chunks = frame.chunks();
        assert_eq!(chunks.next().map(Bytes::len), Some(4 + 33), "only what changes is written");
        let arrived = bytes.as_ptr_range();
        assert!(chunks.all(|chunk| arrived.contains(&chunk.as_ptr())), "cut at {cut}");
    }
}

/// A peer may write a number in more bytes than it needs; a forwarder writes the shortest form.
#[test]
fn longer_numbers_are_accepted_and_not_forwarded() {
    let minimal = valid().to_bytes();
    let (fixed, rest) = minimal.split_at(FIXED_LEN);
    let longer_count = [fixed, &[0x82, 0x00], &rest[1..]].concat();
    let longer_len = [fixed, &rest[..65], &[0x90, 0x80, 0x00], &rest[66..]].concat();
    let mut longest = fixed.to_vec();
    longest.extend(hex!("82808080808080808000"));
    longest.extend(&rest[1..65]);
    longest.extend(hex!("90808080808080808000"));
    longest.extend(&rest[66..]);

    let mut longer_frame =
        Frame::from(Bytes::from(vec![1, 1, 0x80 | minimal.len() as u8, 0x81, 0]));
    longer_frame.push_back(minimal.clone());
    assert!(minimal.len() > 0x80 && minimal.len() < 0x100, "the length above is the real one");

    let expected = after_hops(valid(), 8, &[7, 8]).to_frame(FrameType::Route).to_bytes();
    let frames = [longer_count, longer_len, longest].map(|envelope| {
        assert_eq!(Envelope::decode_exact(&envelope), Ok(valid()));
        frame_of(&envelope)
    });
    for frame in frames.into_iter().chain([longer_frame]) {
        let routed = parse(frame).expect("an envelope");
        let digest = routed.signing_digest(&Ed25519Crypto);
        assert!(routed.is_signed(&digest, &Ed25519Crypto));
        assert_eq!(routed.into_forward(8, &mut HeadPool::new()).to_bytes(), expected);
    }
}

#[test]
fn heads_are_written_into_the_same_memory_again_and_again() {
    let bytes = valid().to_frame(FrameType::Route).to_bytes();
    let mut pool = HeadPool::new();
    let mut forward = |count: usize| -> Vec<*const u8> {
        let forward = |_| {
            let frame = parse(Frame::from(bytes.clone())).expect("an envelope");
            frame.into_forward(3, &mut pool).first().as_ptr()
        };
        (0..count).map(forward).collect()
    };
    let first_round = forward(4_000);
    for at in forward(20_000) {
        assert!(first_round.contains(&at));
    }
}

#[test]
fn a_slow_peer_keeps_its_heads_while_others_go_on() {
    let bytes = valid().to_frame(FrameType::Route).to_bytes();
    let mut pool = HeadPool::new();
    let mut forward = |hop_limit| {
        let frame = parse(Frame::from(bytes.clone())).expect("an envelope");
        frame.into_forward(hop_limit, &mut pool)
    };
    let waiting: Vec<Frame> = (0..16).map(&mut forward).collect();
    for _ in 0..10_000 {
        forward(99);
    }
    for (hop_limit, frame) in (0u8..).zip(waiting) {
        assert_eq!(frame.to_bytes()[4 + 32], hop_limit);
    }
}

#[test]
fn freshness_is_inclusive_and_survives_hostile_stamps() {
    let age = 30_000_000_000;
    for (offset, fresh) in
        [(0, true), (-age, true), (-age - 1, false), (age, true), (age + 1, false)]
    {
        assert_eq!(is_fresh(UnixNanos(SENT.0 + offset), SENT), fresh, "{offset}");
    }
    for hostile in [i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 0, -1] {
        assert!(!is_fresh(UnixNanos(hostile), SENT), "{hostile}");
    }
    assert!(is_fresh(UnixNanos(i64::MAX), UnixNanos(i64::MAX)));
    assert!(is_fresh(UnixNanos(i64::MIN), UnixNanos(i64::MIN)));
}

#[test]
fn the_largest_messages_fill_a_frame() {
    for (avoid, payload_len) in [(0, 65_390), (1, 65_358), (2, SEND_PAYLOAD_MAX), (3, 65_294)] {
        let envelope = Envelope {
            payload: Bytes::from(vec![0xab; payload_len]),
            avoid: AvoidSet::from_iter((0..avoid).map(id)),
            ..valid()
        };
        let frame = envelope.to_frame(FrameType::Route);
        assert_eq!(frame.len(), FRAME_MAX);
        let routed = parse(frame).expect("an envelope");
        assert_eq!(routed.into_payload(), envelope.payload);
    }
}

#[test]
fn a_larger_payload_is_refused_before_it_is_signed() {
    let identity = Identity::from_master_seed(&[1; 32]);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let sign = |len| Envelope::sign(signer, FrameType::Route, id(1), SENT, vec![0; len].into());
    let largest = sign(SEND_PAYLOAD_MAX).expect("the largest payload");
    assert_eq!(largest.hop_limit, HOP_LIMIT_MAX);
    let error = PayloadTooLarge { len: SEND_PAYLOAD_MAX + 1, len_max: SEND_PAYLOAD_MAX };
    assert_eq!(sign(SEND_PAYLOAD_MAX + 1), Err(error));
}
