use bytes::Bytes;
use hex_literal::hex;

use super::{AvoidSet, Envelope, HeadPool, RoutedFrame, Signer, is_fresh};
use crate::NodeId;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::identity::Identity;
use crate::transport::Frame;
use crate::wire::frame::{FrameHeader, FrameType};
use crate::wire::{Decode, Encode};

const SENT: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

fn envelope(payload: &[u8], avoid: &[u8]) -> Envelope {
    let identity = Identity::from_master_seed(&[1; 32]);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let target = NodeId::from_bytes([0x33; 32]);
    let payload = Bytes::copy_from_slice(payload);
    let avoid: AvoidSet = avoid.iter().map(|byte| NodeId::from_bytes([*byte; 32])).collect();
    Envelope::sign(signer, FrameType::Route, target, SENT, payload)
        .expect("a small payload")
        .avoiding(avoid)
}

fn parse(frame: Frame) -> RoutedFrame {
    let (header, at) = FrameHeader::of(&frame).expect("a whole frame");
    RoutedFrame::parse(frame, header.frame_type().expect("assigned"), at).expect("an envelope")
}

#[test]
fn a_forwarded_frame_keeps_its_payload_where_it_lies() {
    let bytes = envelope(b"hello rendezvous", &[7, 8]).to_frame(FrameType::Route).to_bytes();
    let mut pool = HeadPool::new();
    for cut in 0..bytes.len() {
        let mut frame = Frame::new();
        frame.push_back(bytes.slice(..cut));
        frame.push_back(bytes.slice(cut..));
        let frame = parse(frame).into_forward(3, &mut pool);
        let mut expected = bytes.to_vec();
        expected[4 + 32] = 3;
        assert_eq!(frame.to_bytes(), expected);
        let range = bytes.as_ptr_range();
        let moved = frame.chunks().skip(1).find(|chunk| !range.contains(&chunk.as_ptr()));
        assert_eq!(moved, None, "cut at {cut}");
        let head = frame.chunks().next().expect("a frame has a head");
        assert_eq!(head.len(), 4 + 33);
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
fn the_reference_and_this_sign_alike() {
    let envelope = envelope(b"hello rendezvous", &[7, 8]);
    assert_eq!(
        envelope.signature,
        hex!(
            "6258823b4c23e3aa627e3d738500c219331dcb0bae48ac3ccc9660b54e4dadcd"
            "35702c2d596389e1f450bfc8d5c7267e44e3eeed36fcab6f746f193c2bb9b508"
        )
    );
    assert_eq!(Envelope::decode_exact(&envelope.to_bytes()), Ok(envelope));
}
