//! Frames from one peer through a relay to another.

use std::time::Duration;

use nodenet_proto::NodeId;
use nodenet_proto::buf::Frame;
use nodenet_proto::env::{Ed25519Crypto, Seed, UnixNanos};
use nodenet_proto::wire::codec::uvarint_len;
use nodenet_proto::wire::frame::Message;
use nodenet_proto::wire::{Envelope, FrameType, Ping, Signer};

use super::hosts::WALL;
use super::{Bare, Host, Meter, Net, NodeHost, TransportHost, base, identity};

/// Who sends, who relays, who receives: numbers of identities, and indices of hosts.
const SENDER: usize = 0;
const RELAY: usize = 1;
const RECEIVER: usize = 2;

/// A relay between two peers, with a meter around it.
pub(crate) struct Transit<R, M> {
    /// The network.
    pub(crate) net: Net<M>,
    sender: TransportHost,
    relay: R,
    receiver: TransportHost,
}

/// What relays.
pub(crate) trait Relay: Host + Sized {
    /// A relay with the identity and the seed of this number.
    fn new(number: u64, now: std::time::Instant) -> Self;

    /// Tells it how long the messages are, if it can not see that.
    fn expect(&mut self, _message_len: usize) {}
}

impl Relay for NodeHost {
    fn new(number: u64, now: std::time::Instant) -> Self {
        Self::new(number, now)
    }
}

impl Relay for Bare {
    fn new(number: u64, _: std::time::Instant) -> Self {
        Self::new(&identity(number), &Seed::from_u64(number))
    }

    fn expect(&mut self, message_len: usize) {
        self.relays = message_len;
    }
}

impl<R: Relay, M: Meter> Transit<R, M> {
    /// Both peers have dialed the relay and said something to it.
    pub(crate) fn new(meter: M) -> Self {
        let now = base();
        let mut net = Net::new(now, RELAY, meter);
        let mut sender = TransportHost::new(SENDER as u64, now);
        let mut relay = R::new(RELAY as u64, now);
        let mut receiver = TransportHost::new(RECEIVER as u64, now);
        for peer in [&mut sender, &mut receiver] {
            peer.dial(now, identity(RELAY as u64).id(), RELAY);
        }
        let pause = Duration::from_millis(100);
        net.run(&mut [&mut sender, &mut relay, &mut receiver], pause);
        for peer in [&mut sender, &mut receiver] {
            peer.say(Ping.to_frame());
        }
        net.run(&mut [&mut sender, &mut relay, &mut receiver], pause);
        Self { net, sender, relay, receiver }
    }

    /// A message to the receiver with a payload of this length, signed now.
    pub(crate) fn message(&self, payload_len: usize) -> Frame {
        let identity = identity(SENDER as u64);
        let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
        let elapsed = self.net.now.duration_since(self.net.base).as_nanos();
        let sent = UnixNanos(WALL.0 + elapsed as i64);
        let target: NodeId = self.receiver.id;
        Envelope::sign(signer, FrameType::Route, target, sent, vec![0xab; payload_len].into())
            .expect("a payload that can be sent")
            .to_frame(FrameType::Route)
    }

    /// Sends the same message `count` times and waits until all have arrived.
    ///
    /// # Panics
    /// If not all of them arrive.
    pub(crate) fn carry(&mut self, message: &Frame, count: usize) {
        let (frames, bytes) = self.receiver.heard;
        // On the stream it stands behind its length.
        self.relay.expect(uvarint_len(message.len() as u64) + message.len());
        for _ in 0..count {
            self.sender.say(message.to_bytes().into());
        }
        let Self { net, sender, relay, receiver } = self;
        net.run(&mut [sender, relay, receiver], Duration::from_millis(50));
        let arrived = (self.receiver.heard.0 - frames, self.receiver.heard.1 - bytes);
        assert_eq!(arrived, (count, count * message.len()), "everything arrives");
    }
}

/// How many messages of this size are sent at once: they fit a send queue.
pub(crate) fn burst(payload_len: usize) -> usize {
    (64 * 1024 / payload_len).clamp(1, 16)
}
