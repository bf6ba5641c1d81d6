//! Test of allocations in the forwarding path: none, and no payload byte is moved.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::buf::{Frame, HeadPool};
use nodenet_proto::env::{Ed25519Crypto, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::transport::FRAME_MAX;
use nodenet_proto::wire::{
    Envelope, FrameHeader, FrameType, RoutedFrame, SEND_PAYLOAD_MAX, Signer,
};

/// Bytes of a stream in a QUIC packet.
const CHUNK_LEN: usize = 1_200;

fn routed_frame(payload_len: usize) -> Bytes {
    let identity = Identity::from_master_seed(&[1; 32]);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let target = NodeId::from_bytes([2; 32]);
    let payload = vec![0xab; payload_len].into();
    Envelope::sign(signer, FrameType::Route, target, UnixNanos(0), payload)
        .expect("it fits")
        .to_frame(FrameType::Route)
        .to_bytes()
}

/// The state that a forwarder keeps from one frame to the next.
#[derive(Default)]
struct Forwarder {
    storage: VecDeque<Bytes>,
    pool: HeadPool,
}

impl Forwarder {
    /// Takes `arrived` in chunks and gives the chunks to send to `send`.
    fn forward(&mut self, arrived: &Bytes, send: impl Fn(&VecDeque<Bytes>)) {
        let mut frame = Frame::with_storage(std::mem::take(&mut self.storage));
        for start in (0..arrived.len()).step_by(CHUNK_LEN) {
            frame.push_back(arrived.slice(start..arrived.len().min(start + CHUNK_LEN)));
        }
        let (header, at) = FrameHeader::of(&frame).expect("a whole frame");
        let frame_type = header.frame_type().expect("an assigned type");
        let routed = RoutedFrame::parse(frame, frame_type, at).expect("an envelope");
        let hop_limit = routed.hop_limit() - 1;
        self.storage = routed.into_forward(hop_limit, &mut self.pool).into_chunks();
        send(&self.storage);
        self.storage.clear();
    }
}

/// Asserts that all bytes but a head lie within `arrived`.
fn assert_in_place(arrived: Range<*const u8>, chunks: &VecDeque<Bytes>) {
    let mut chunks = chunks.iter();
    let head = chunks.next().expect("a frame has a head");
    assert!(head.len() <= 38, "a header of five bytes, a target and a hop limit");
    for chunk in chunks {
        let Range { start, end } = chunk.as_ptr_range();
        assert!(start >= arrived.start && end <= arrived.end, "a payload byte was moved");
    }
}

#[test]
fn forwarding_allocates_nothing() {
    for payload_len in [200, 1_024, SEND_PAYLOAD_MAX] {
        let arrived = routed_frame(payload_len);
        assert!(arrived.len() <= FRAME_MAX);
        let mut forwarder = Forwarder::default();
        let first = allocation_counter::measure(|| forwarder.forward(&arrived, |_| ()));
        assert!(first.count_total > 0, "the counter counts: a new pool takes memory");
        // Until every slab of the pool has been used once.
        for _ in 0..4_000 {
            forwarder.forward(&arrived, |_| ());
        }
        let measured = allocation_counter::measure(|| {
            for _ in 0..4_000 {
                forwarder.forward(&arrived, |chunks| {
                    assert_in_place(arrived.as_ptr_range(), chunks);
                });
            }
        });
        assert_eq!(measured.count_total, 0, "with a payload of {payload_len} bytes");
    }
}
