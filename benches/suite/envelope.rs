//! Benchmark of routed messages: the work of a forwarder and of a target.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use bytes::Bytes;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use nodenet_benches::{Limit, Row};
use nodenet_proto::NodeId;
use nodenet_proto::buf::{Frame, HeadPool};
use nodenet_proto::env::{Ed25519Crypto, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::wire::{Envelope, FrameHeader, FrameType, RoutedFrame, Signer};

const SIZES: [usize; 3] = [200, 1_024, 65_000];

pub(crate) fn rows() -> Vec<Row> {
    let verify = SIZES.map(verify);
    let forward = SIZES.map(forward);
    verify.into_iter().chain(forward).collect()
}

fn envelope(payload_len: usize) -> (Identity, Envelope) {
    let identity = Identity::from_master_seed(&[1; 32]);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let target = NodeId::from_bytes([7; 32]);
    let payload = Bytes::from(vec![0xab; payload_len]);
    let envelope = Envelope::sign(signer, FrameType::Route, target, UnixNanos(1), payload)
        .expect("a payload that can be sent");
    (identity, envelope)
}

fn parse(frame: Frame) -> RoutedFrame {
    let (header, at) = FrameHeader::of(&frame).expect("a whole frame");
    let frame_type = header.frame_type().expect("an assigned type");
    RoutedFrame::parse(frame, frame_type, at).expect("an envelope")
}

fn verify(payload_len: usize) -> Row {
    let (identity, envelope) = envelope(payload_len);
    let bytes = envelope.to_frame(FrameType::Route).to_bytes();
    let hashed = vec![0xab; payload_len + 100];
    let digest = envelope.signing_digest(FrameType::Route.to_byte(), &Ed25519Crypto);
    let key = *identity.public_key();
    let signature = Signature::from_bytes(&envelope.signature);

    let whole = || {
        let frame = parse(Frame::from(bytes.clone()));
        let digest = frame.signing_digest(&Ed25519Crypto);
        assert!(frame.is_signed(&digest, &Ed25519Crypto));
    };
    let bare = || {
        std::hint::black_box(Blake2b::<U32>::digest(&hashed));
        let key = VerifyingKey::from_bytes(&key).expect("a point");
        assert!(key.verify(&digest, &signature).is_ok());
    };
    let name = format!("parse and verify, {payload_len} B");
    Row::time(name, "BLAKE2b and Ed25519 alone", Limit::None, 1, (whole, bare))
}

fn forward(payload_len: usize) -> Row {
    let (_, envelope) = envelope(payload_len);
    let bytes = envelope.to_frame(FrameType::Route).to_bytes();
    let mut pool = HeadPool::new();
    let rewrite = || parse(Frame::from(bytes.clone())).into_forward(15, &mut pool);
    let copy = || Bytes::copy_from_slice(&bytes);
    let name = format!("parse and rewrite to forward, {payload_len} B");
    Row::time(name, "copying the frame", Limit::None, 1, (rewrite, copy))
}
