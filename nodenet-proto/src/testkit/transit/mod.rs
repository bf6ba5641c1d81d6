//! Frames from one peer through a relay to another, on a network without latency.
//!
//! The relay has a meter around it. It is a whole node, or [`Bare`] quinn-proto to compare with.

mod bare;
mod transport_host;

use std::time::{Duration, Instant};

pub use bare::Bare;
pub use transport_host::TransportHost;

use super::host::{Host, Meter, Metered};
use super::{LinkProfile, Net, NodeHost, WALL, addr, base, identity};
use crate::NodeId;
use crate::buf::Frame;
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::io::TransmitBuf;
use crate::node::Config;
use crate::quic;
use crate::wire::codec::uvarint_len;
use crate::wire::frame::Message;
use crate::wire::{Envelope, FrameType, Ping, Signer};

/// Datagrams that one send can carry, for every host alike.
const SEGMENTS_MAX: usize = 10;
/// A ping as it stands on a stream, behind its length.
pub const PING: [u8; 4] = [3, 1, 2, 0];

/// Numbers of the hosts.
const SENDER: u8 = 0;
const RELAY: u8 = 1;
const RECEIVER: u8 = 2;

/// A network without latency, and with storage for all that a host sends at a time, so that a meter
/// does not see it grow.
pub fn ideal_net() -> Net {
    let mut net = Net::new(0);
    net.link = LinkProfile::IDEAL;
    net.reserve(8 << 20, 1 << 16);
    net
}

/// A node for measurements, with room for any number of peers. Without maintenance it sends no
/// dial, ping or question of its own.
pub fn node(number: u8, now: Instant, maintenance: bool) -> NodeHost {
    let mut config = Config::default();
    config.engine.maintenance = maintenance;
    config.engine.inbound_edges_max = usize::MAX;
    config.quic = transport_config();
    let mut host = NodeHost::at(addr(number), identity(number.into()), number.into(), config, now);
    host.events.reserve(1 << 14);
    host.buf = TransmitBuf { bytes: Vec::with_capacity(1 << 16), segments_max: SEGMENTS_MAX };
    host.checks = false;
    host
}

/// Bare quinn-proto with the identity and the seed of this number.
pub fn bare(number: u8) -> Bare {
    let seed = Seed::from_u64(number.into());
    Bare::new(addr(number), &identity(number.into()), &seed)
}

fn transport_config() -> quic::Config {
    quic::Config {
        accepted_conns_max: usize::MAX,
        accepted_conns_per_address_max: usize::MAX,
        handshakes_max: 1 << 10,
        handshakes_unproven_max: usize::MAX,
        handshakes_per_address_max: usize::MAX,
        mtu_discovery: false,
    }
}

/// A relay between two peers, with a meter around it.
pub struct Transit<R, M> {
    /// The network.
    pub net: Net,
    /// The relay.
    pub relay: Metered<R, M>,
    sender: TransportHost,
    receiver: TransportHost,
}

/// What relays.
pub trait Relay: Host + Sized {
    /// A relay with the identity and the seed of this number.
    fn new(number: u8, now: Instant) -> Self;

    /// Sets how long the messages are, if it does not parse that.
    fn expect(&mut self, _message_len: usize) {}
}

impl Relay for NodeHost {
    fn new(number: u8, now: Instant) -> Self {
        node(number, now, false)
    }
}

impl Relay for Bare {
    fn new(number: u8, _: Instant) -> Self {
        bare(number)
    }

    fn expect(&mut self, message_len: usize) {
        self.relays = message_len;
    }
}

impl<R: Relay, M: Meter> Transit<R, M> {
    /// Both peers have dialed the relay and sent a message to it.
    pub fn new(meter: M) -> Self {
        let now = base();
        let mut net = ideal_net();
        let mut sender = TransportHost::new(SENDER, now);
        let mut relay = Metered { host: R::new(RELAY, now), meter };
        let mut receiver = TransportHost::new(RECEIVER, now);
        for peer in [&mut sender, &mut receiver] {
            peer.dial(now, identity(RELAY.into()).id(), addr(RELAY));
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
    ///
    /// # Panics
    /// If the payload is longer than one that can be sent.
    pub fn message(&self, payload_len: usize) -> Frame {
        let identity = identity(SENDER.into());
        let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
        let sent = UnixNanos(WALL.0 + self.net.elapsed().as_nanos() as i64);
        let target: NodeId = self.receiver.id;
        Envelope::sign(signer, FrameType::Route, target, sent, vec![0xab; payload_len].into())
            .expect("a payload that can be sent")
            .to_frame(FrameType::Route)
    }

    /// Sends the same message `count` times and waits until all have arrived.
    ///
    /// # Panics
    /// If not all of them arrive.
    pub fn carry(&mut self, message: &Frame, count: usize) {
        let (frames, bytes) = self.receiver.heard;
        // On the stream it stands behind its length.
        self.relay.host.expect(uvarint_len(message.len() as u64) + message.len());
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
pub fn burst(payload_len: usize) -> usize {
    (64 * 1024 / payload_len).clamp(1, 16)
}
