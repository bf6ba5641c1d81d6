//! Test of transit through a whole engine: no allocation, no timer, no copy of payload.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::Config;
use nodenet_proto::buf::Frame;
use nodenet_proto::engine::{Engine, Output};
use nodenet_proto::env::{Ed25519Crypto, Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::stats::DropReason;
use nodenet_proto::transport::{Class, ConnId, Conns, Direction, Event, PathInfo, Role, SendError};
use nodenet_proto::wire::{Envelope, FrameType, Message, Ping, SEND_PAYLOAD_MAX, Signer};

/// Bytes of a stream in a QUIC packet.
const CHUNK_LEN: usize = 1_200;
/// Neighbours that could be the next hop.
const NEIGHBOURS: u64 = 64;
/// Frames until every part of every pool was in use once and every buffer has its size.
const WARM_UP: usize = 4_000;
const FROM: ConnId = ConnId(0);
const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// Version, type and length of a frame, and the fields of its envelope in front of the originator's
/// key. A forwarder may write only these anew.
const HEAD_MAX: usize = 2 + 3 + 33;

/// Takes every frame and gives its storage back for the next.
#[derive(Default)]
struct Sink {
    storage: VecDeque<Bytes>,
    transit: usize,
    /// Memory of the arriving frames.
    arrived: Range<usize>,
    /// Bytes of forwarded frames inside that memory, and outside.
    in_place: usize,
    elsewhere: usize,
}

impl Conns for Sink {
    fn try_send(&mut self, _: ConnId, class: Class, frame: Frame) -> Result<(), SendError> {
        self.transit += usize::from(class == Class::Transit);
        self.storage = frame.into_chunks();
        for chunk in self.storage.iter().filter(|_| class == Class::Transit) {
            let start = chunk.as_ptr() as usize;
            let is_in_place =
                self.arrived.start <= start && start + chunk.len() <= self.arrived.end;
            *(if is_in_place { &mut self.in_place } else { &mut self.elsewhere }) += chunk.len();
        }
        self.storage.clear();
        Ok(())
    }

    fn path(&self, _: ConnId) -> Option<PathInfo> {
        None
    }
}

fn identity(number: u64) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::from_master_seed(&seed)
}

/// An engine with [`NEIGHBOURS`] neighbours, which opened their edges.
fn engine(now: Instant, sink: &mut Sink) -> Engine {
    let crypto = Box::new(Ed25519Crypto);
    let seed = Seed::from_u64(1);
    let mut engine = Engine::new(Config::default(), identity(0), crypto, &seed, now, WALL);
    for number in 0..NEIGHBOURS {
        let (conn, peer) = (ConnId(number), identity(number + 1));
        let remote = SocketAddr::from(([192, 0, 2, 1], 4242));
        let (direction, key) = (Direction::Inbound, *peer.public_key());
        let up = Event::ConnUp { conn, peer: peer.id(), key, role: Role::Edge, direction, remote };
        engine.handle_transport(now, up, sink);
        engine.handle_transport(now, Event::Frame { conn, frame: Ping.to_frame() }, sink);
    }
    while !matches!(engine.poll(), Output::Timeout(_)) {}
    engine
}

/// A message for the last of the neighbours, as it comes from the wire.
fn message(payload_len: usize) -> Bytes {
    let originator = identity(1000);
    let signer = Signer { identity: &originator, crypto: &Ed25519Crypto };
    let target: NodeId = identity(NEIGHBOURS).id();
    let payload = Bytes::from(vec![0xab; payload_len]);
    let envelope = Envelope::sign(signer, FrameType::Route, target, WALL, payload);
    envelope.expect("it fits").to_frame(FrameType::Route).to_bytes()
}

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made without a clock")]
fn base() -> Instant {
    Instant::now()
}

#[test]
fn transit_through_an_engine_allocates_nothing_sets_no_timer_and_moves_no_payload() {
    for payload_len in [200, 1024, SEND_PAYLOAD_MAX] {
        let mut sink = Sink::default();
        let mut now = base();
        let mut engine = engine(now, &mut sink);
        let timer = |engine: &mut Engine| match engine.poll() {
            Output::Timeout(Some(deadline)) => deadline.at,
            other => panic!("{other:?}"),
        };
        let deadline = timer(&mut engine);
        let arrived = message(payload_len);
        let mut forward = |sink: &mut Sink| {
            now += Duration::from_millis(5);
            let mut frame = Frame::with_storage(std::mem::take(&mut sink.storage));
            for start in (0..arrived.len()).step_by(CHUNK_LEN) {
                frame.push_back(arrived.slice(start..arrived.len().min(start + CHUNK_LEN)));
            }
            engine.handle_transport(now, Event::Frame { conn: FROM, frame }, sink);
        };
        (0..WARM_UP).for_each(|_| forward(&mut sink));
        let lies_at = arrived.as_ptr() as usize;
        sink.arrived = lies_at..lies_at + arrived.len();
        (sink.transit, sink.elsewhere) = (0, 0);
        let allocations = measure(|| (0..500).for_each(|_| forward(&mut sink)));
        assert_eq!(allocations.count_total, 0, "{payload_len}");
        assert_eq!(sink.transit, 500);
        assert!(sink.elsewhere <= 500 * HEAD_MAX, "{}", sink.elsewhere);
        assert_eq!(sink.in_place + sink.elsewhere, 500 * arrived.len());
        assert_eq!(timer(&mut engine), deadline);
        assert!(DropReason::ALL.iter().all(|reason| engine.stats().drops(*reason) == 0));
    }
}
