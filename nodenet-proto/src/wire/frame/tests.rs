use bytes::Bytes;
use hex_literal::hex;

use super::{FRAME_PAYLOAD_MAX, FrameHeader, FrameType, Message, app_frame};
use crate::buf::Frame;
use crate::transport::FRAME_MAX;
use crate::wire::generic_tests::six_tests;
use crate::wire::{DIRECT_PAYLOAD_MAX, Decode, DecodeError, Encode, Ping};

const fn header(type_byte: u8, payload_len: usize) -> FrameHeader {
    FrameHeader { type_byte, payload_len }
}

six_tests!(frame_header: FrameHeader, trailing = Refused, known = [
    (hex!("010100"), header(1, 0)),
    (hex!("010201"), header(2, 1)),
    (hex!("010302"), header(3, 2)),
    (hex!("01397e"), header(57, 126)),
    (hex!("013a7f"), header(58, 127)),
    (hex!("013b8001"), header(59, 128)),
    (hex!("013c8101"), header(60, 129)),
    (hex!("012eff01"), header(46, 255)),
    (hex!("012f8002"), header(47, 256)),
    (hex!("0115ac02"), header(21, 300)),
    (hex!("0101ff7f"), header(1, 16383)),
    (hex!("0101808001"), header(1, 16384)),
    (hex!("0101818001"), header(1, 16385)),
    (hex!("0101faff03"), header(1, 65530)),
    (hex!("0101fbff03"), header(1, 65531)),
    (hex!("0101808004"), header(1, 65536)),
    (hex!("0101808040"), header(1, 1048576)),
    (hex!("010003"), header(0, 3)),
    (hex!("013f03"), header(63, 3)),
    (hex!("014003"), header(64, 3)),
    (hex!("01ff03"), header(255, 3)),
]);

#[test]
fn a_frame_is_its_header_and_its_payload() {
    for (bytes, type_byte, payload) in [
        (&hex!("010200")[..], 2, b"".as_slice()),
        (&hex!("01028000")[..], 2, b"".as_slice()),
        (&hex!("010283808080808080808000616263")[..], 2, b"abc".as_slice()),
        (&hex!("01c803617070")[..], 200, b"app".as_slice()),
    ] {
        for cut in 0..=bytes.len() {
            let mut frame = Frame::from(Bytes::copy_from_slice(&bytes[..cut]));
            frame.push_back(Bytes::copy_from_slice(&bytes[cut..]));
            let (header, payload_at) = FrameHeader::of(&frame).expect("a whole frame");
            assert_eq!(header.type_byte, type_byte);
            assert_eq!(header.payload_len, payload.len());
            frame.advance(payload_at);
            assert_eq!(frame.to_bytes(), payload);
        }
    }
}

#[test]
fn malformed_frames_are_refused() {
    for (bytes, error) in [
        (&hex!("")[..], DecodeError::ShortBuffer),
        (&hex!("01")[..], DecodeError::ShortBuffer),
        (&hex!("09")[..], DecodeError::ShortBuffer),
        (&hex!("0102")[..], DecodeError::ShortBuffer),
        (&hex!("0202")[..], DecodeError::BadVersion),
        (&hex!("000100")[..], DecodeError::BadVersion),
        (&hex!("020100")[..], DecodeError::BadVersion),
        (&hex!("ff0100")[..], DecodeError::BadVersion),
        (&hex!("010180")[..], DecodeError::ShortBuffer),
        (&hex!("0101ffffffffffffffffffffff")[..], DecodeError::ShortBuffer),
        (&hex!("010105aabb")[..], DecodeError::ShortBuffer),
        (&hex!("0101818040")[..], DecodeError::FrameTooLarge),
        (&hex!("0101808040")[..], DecodeError::ShortBuffer),
        (&hex!("0101ffffffffffffffffff01")[..], DecodeError::FrameTooLarge),
        // Bytes behind the first frame: another frame, or anything.
        (&hex!("01030378797adead"), DecodeError::ShortBuffer),
        // Bytes behind the first frame: another frame, or anything.
        (&hex!("010102616101020462626262"), DecodeError::ShortBuffer),
    ] {
        let frame = Frame::from(Bytes::copy_from_slice(bytes));
        assert_eq!(FrameHeader::of(&frame), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn types_have_their_numbers() {
    for byte in 0..=255 {
        let frame_type = FrameType::from_byte(byte);
        assert_eq!(frame_type.is_some(), matches!(byte, 1..=14 | 64), "{byte}");
        assert!(frame_type.is_none_or(|frame_type| frame_type.to_byte() == byte));
        let routed = frame_type.is_some_and(FrameType::is_routed);
        assert_eq!(routed, matches!(byte, 1 | 4 | 5 | 8..=11), "{byte}");
    }
}

#[test]
fn an_application_frame_is_as_large_as_a_frame_may_be() {
    let frame = app_frame(Bytes::from(vec![7; DIRECT_PAYLOAD_MAX])).expect("the largest payload");
    assert_eq!(frame.len(), FRAME_MAX);
    assert_eq!(FrameHeader::of(&frame), Ok((header(64, DIRECT_PAYLOAD_MAX), 5)));
    let error = app_frame(Bytes::from(vec![7; DIRECT_PAYLOAD_MAX + 1])).expect_err("too large");
    assert_eq!((error.len, error.len_max), (65_532, 65_531));
    let payload = Bytes::from_static(b"not copied");
    let frame = app_frame(payload.clone()).expect("a small payload");
    assert_eq!(frame.chunks().last().map(|chunk| chunk.as_ptr()), Some(payload.as_ptr()));
}

#[test]
fn a_message_is_framed_by_its_type() {
    assert_eq!(Ping.to_frame().to_bytes(), hex!("010200")[..]);
}

#[test]
fn a_length_is_compared_before_anything_is_looked_for() {
    let longest = FrameHeader::decode_front(&hex!("0101808040"));
    assert_eq!(longest, Ok(header(1, FRAME_PAYLOAD_MAX as usize)));
    assert_eq!(longest.expect("just compared").to_bytes(), hex!("0101808040")[..]);
}
