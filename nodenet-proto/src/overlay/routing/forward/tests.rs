//! Tests of forwarding: each lists the actions, the discards and what the message turned out to be.

mod checks;
mod dead_ends;
mod transit;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::Routed;
use crate::NodeId;
use crate::api::{Config, DeliveryPath};
use crate::context::testing::Surroundings;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::identity::Identity;
use crate::overlay::actions::Action;
use crate::overlay::actions::testing::shown;
use crate::overlay::edges::{Edges, Peer};
use crate::overlay::routing::Routing;
use crate::stats::DropReason;
use crate::transport::{Class, ConnId};
use crate::wire::envelope::{AvoidSet, Envelope, Signer};
use crate::wire::{Encode, FrameHeader, FrameType, Lookup, RoutedFrame};

/// The first byte of this node's identifier.
const OWN: u8 = 0xc0;
/// A target that shares its first two bits with this node.
const TARGET: NodeId = NodeId::from_bytes([0xff; 32]);
const WALL: UnixNanos = UnixNanos(1_000_000_000_000_000_000);
const NONCE: [u8; 8] = [7; 8];

/// An identifier by its first byte.
const fn id(first: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = first;
    NodeId::from_bytes(bytes)
}

/// A node whose neighbours and their conns are named by the first byte of their identifiers.
struct Room {
    routing: Routing,
    edges: Edges,
    around: Surroundings,
    anchors: Vec<NodeId>,
}

impl Room {
    fn new(neighbours: &[u8]) -> Self {
        Self::with_config(neighbours, Config::default())
    }

    fn with_config(neighbours: &[u8], config: Config) -> Self {
        let around = Surroundings::new(config);
        assert_eq!(around.wall, WALL);
        let edges = Edges::new(id(OWN), &around.config, around.now);
        let routing = Routing::new(around.now);
        let mut room = Self { routing, edges, around, anchors: Vec::new() };
        for &first in neighbours {
            room.attach(first, [first; 32]);
        }
        room
    }

    /// An edge to a neighbour with this key.
    fn attach(&mut self, first: u8, key: [u8; 32]) {
        let peer = Peer { id: id(first), key, remote: SocketAddr::from(([192, 0, 2, 1], 4242)) };
        let conn = ConnId(first.into());
        let (attached, _) = self.around.run(|cx| self.edges.attach(cx, conn, peer, true));
        assert!(attached.up.is_some());
    }

    /// A message of this type arrives from a neighbour.
    fn route(
        &mut self,
        from: u8,
        frame_type: FrameType,
        envelope: &Envelope,
    ) -> (Arrived, Vec<String>) {
        let frame = envelope.to_frame(frame_type);
        let (_, payload_at) = FrameHeader::of(&frame).expect("it was just written");
        let message = RoutedFrame::parse(frame, frame_type, payload_at).expect("so was this");
        let Self { routing, edges, around, anchors } = self;
        let is_anchor = |peer: &NodeId| anchors.contains(peer);
        let (routed, actions) =
            around.run(|cx| routing.route(cx, edges, is_anchor, id(from), message));
        routing.check();
        (arrived(routed), shown(actions))
    }

    fn drops(&mut self) -> Vec<(DropReason, u64)> {
        self.around.take_drops()
    }

    /// How many messages are remembered.
    fn remembered(&self) -> usize {
        self.routing.duplicates.len()
    }

    fn pass(&mut self, seconds: u64) {
        self.around.pass(Duration::from_secs(seconds));
    }
}

/// What a message turned out to be. One that is not checked yet: its type and its payload.
#[derive(Debug, PartialEq)]
enum Arrived {
    Done,
    Delivered(NodeId, [u8; 32]),
    Lookup(NodeId, NodeId, Lookup),
    Neighbors(FrameType, Bytes),
    Unserved(FrameType, Bytes),
}

fn arrived(routed: Routed) -> Arrived {
    match routed {
        Routed::Done => Arrived::Done,
        Routed::Delivered { originator, key } => Arrived::Delivered(originator, key),
        Routed::Lookup { originator, target, lookup } => {
            Arrived::Lookup(originator, target, lookup)
        }
        Routed::Neighbors(message) => {
            Arrived::Neighbors(message.frame_type(), message.into_payload())
        }
        Routed::Unserved(message) => {
            Arrived::Unserved(message.frame_type(), message.into_payload())
        }
    }
}

fn identity(number: u64) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::from_master_seed(&seed)
}

fn sign(
    originator: &Identity,
    frame_type: FrameType,
    target: NodeId,
    sent: UnixNanos,
    payload: &[u8],
) -> Envelope {
    let signer = Signer { identity: originator, crypto: &Ed25519Crypto };
    let payload = Bytes::copy_from_slice(payload);
    Envelope::sign(signer, frame_type, target, sent, payload).expect("it is short enough")
}

/// A message of an application that this originator made now.
fn message(originator: u64, target: NodeId, payload: &[u8]) -> Envelope {
    sign(&identity(originator), FrameType::Route, target, WALL, payload)
}

/// A question of this originator.
fn question(originator: u64, target: NodeId) -> Envelope {
    let lookup = Lookup { nonce: NONCE }.to_bytes();
    sign(&identity(originator), FrameType::Lookup, target, WALL, &lookup)
}

fn with_hop_limit(envelope: &Envelope, hop_limit: u8) -> Envelope {
    Envelope { hop_limit, ..envelope.clone() }
}

fn avoiding(envelope: &Envelope, avoid: &[NodeId]) -> Envelope {
    envelope.avoiding(AvoidSet::from_iter(avoid.iter().copied()))
}

/// The same message with a signature of no key.
fn forged(envelope: &Envelope) -> Envelope {
    Envelope { signature: [1; 64], ..envelope.clone() }
}

/// What forwards a message to the first of these neighbours that takes it.
fn offer(hops: &[u8], frame_type: FrameType, envelope: &Envelope) -> Action {
    let hops = hops.iter().map(|&first| ConnId(first.into())).collect();
    Action::Offer { class: Class::Transit, frame: envelope.to_frame(frame_type), hops }
}

fn asked(originator: u64, target: NodeId) -> Arrived {
    Arrived::Lookup(identity(originator).id(), target, Lookup { nonce: NONCE })
}

fn delivered(originator: u64) -> Arrived {
    let originator = identity(originator);
    Arrived::Delivered(originator.id(), *originator.public_key())
}

fn deliver(originator: u64, payload: &'static [u8], hops: u8) -> Action {
    let (originator, payload) = (identity(originator).id(), Bytes::from_static(payload));
    Action::Deliver { originator, payload, path: DeliveryPath::Routed { hops } }
}
