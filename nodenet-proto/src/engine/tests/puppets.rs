//! Puppets with an edge to engine 0: the frames that they send, and what comes of them.

use bytes::Bytes;

use super::kit::{EngineNet, Who, identity};
use crate::NodeId;
use crate::api::Event;
use crate::buf::Frame;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::stats::DropReason;
use crate::transport::ConnId;
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::{self, Encode, FrameHeader, FrameType, Lookup, Message, RoutedFrame};

/// An engine and a puppet with an edge to it; the puppet's end of the conn.
pub(super) fn victim() -> (EngineNet, Who, ConnId) {
    let mut world = EngineNet::of(1);
    let puppet = world.add_puppet(identity(50));
    let conn = world.open(puppet, 0);
    world.say(conn, wire::Ping.to_frame());
    world.events(0);
    (world, puppet, conn)
}

/// An envelope that participant `who` signs.
pub(super) fn sign(
    who: u64,
    frame_type: FrameType,
    target: NodeId,
    sent: UnixNanos,
    payload: &[u8],
) -> Envelope {
    let identity = identity(who);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    Envelope::sign(signer, frame_type, target, sent, Bytes::copy_from_slice(payload)).unwrap()
}

/// A routed message.
pub(super) fn route(who: u64, target: NodeId, sent: UnixNanos, payload: &[u8]) -> Frame {
    sign(who, FrameType::Route, target, sent, payload).to_frame(FrameType::Route)
}

/// A signed lookup.
pub(super) fn lookup(who: u64, target: NodeId, sent: UnixNanos, nonce: u64) -> Frame {
    let lookup = Lookup { nonce: nonce.to_be_bytes() }.to_bytes();
    sign(who, FrameType::Lookup, target, sent, &lookup).to_frame(FrameType::Lookup)
}

/// Drops of engine 0 for this reason.
pub(super) fn drops(world: &EngineNet, reason: DropReason) -> u64 {
    world.engine(0).stats().drops(reason)
}

/// Messages that engine 0 delivered since it was last asked for events.
pub(super) fn deliveries(world: &mut EngineNet) -> usize {
    let events = world.events(0);
    events.iter().filter(|event| matches!(event, Event::Delivered { .. })).count()
}

/// A frame that arrives at engine 0 without time passing, so that no budget refills.
pub(super) fn flood(world: &mut EngineNet, conn: ConnId, frame: impl Into<Frame>) {
    let (conn, frame) = (ConnId(conn.0 ^ 1), frame.into());
    world.give(0, crate::transport::Event::Frame { conn, frame });
}

/// The routed message in a frame that was received.
pub(super) fn routed(frame: Bytes) -> RoutedFrame {
    let frame = Frame::from(frame);
    let (header, payload_at) = FrameHeader::of(&frame).unwrap();
    RoutedFrame::parse(frame, header.frame_type().unwrap(), payload_at).unwrap()
}
