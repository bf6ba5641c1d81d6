//! A transport with an address, as a host of the test network.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NodeId;
use crate::buf::Frame;
use crate::env::Seed;
use crate::io::TransmitBuf;
use crate::node::payload_of;
use crate::quic::tls::Tls;
use crate::quic::{Config, Quic};
use crate::splice::Payload;
use crate::stats::DropReason;
use crate::testkit::{self, Datagram, Host, Net, Outbox};
use crate::transport::{
    Class, CloseMode, Command, ConnDownReason, ConnId, Conns, DialError, DialId, Direction, Event,
    SendError,
};

/// A transport and what it reported.
pub(super) struct Peer {
    pub(super) quic: Quic,
    pub(super) addr: SocketAddr,
    pub(super) id: NodeId,
    /// What was reported and not taken yet.
    pub(super) events: Vec<Event>,
    /// Datagrams that were sent and are not QUIC.
    pub(super) punches: Vec<(SocketAddr, Bytes, Option<u8>)>,
    /// The address of this machine at which datagrams arrive, if the system reports it.
    pub(super) local_ip: Option<IpAddr>,
    /// The addresses of this machine that its datagrams were to leave from.
    pub(super) sources: Vec<Option<IpAddr>>,
    dials: u64,
    buf: TransmitBuf,
}

impl Peer {
    /// The peer with this number, on a network that just started.
    pub(super) fn new(number: u8, net: &Net) -> Self {
        Self::with_config(number, net, Config::default())
    }

    /// The same with settings.
    pub(super) fn with_config(number: u8, net: &Net, config: Config) -> Self {
        Self::with_seed(number, net, config, &Seed::from_u64(u64::from(number)))
    }

    /// The same peer in another process: the identity and the address as before, nothing else.
    pub(super) fn started_again(number: u8, net: &Net) -> Self {
        Self::with_seed(number, net, Config::default(), &Seed::from_u64(1000 + u64::from(number)))
    }

    /// The peer with this number, with a listener for these application protocols.
    pub(super) fn serving(number: u8, net: &Net, protocols: &[&[u8]]) -> Self {
        let seed = Seed::from_u64(u64::from(number));
        let tls = Tls::with_protocols(&testkit::identity(number.into()), &seed, &[], protocols);
        let quic = Quic::with_tls(Config::default(), tls, &seed, net.now);
        Self { quic, ..Self::new(number, net) }
    }

    fn with_seed(number: u8, net: &Net, config: Config, seed: &Seed) -> Self {
        let identity = testkit::identity(number.into());
        Self {
            quic: Quic::new(config, &identity, seed, net.now),
            addr: testkit::addr(number),
            id: identity.id(),
            events: Vec::new(),
            punches: Vec::new(),
            local_ip: None,
            sources: Vec::new(),
            dials: 0,
            buf: TransmitBuf::new(8),
        }
    }

    /// Dials; gives up after half a minute.
    pub(super) fn dial(&mut self, net: &Net, expected: NodeId, remote: SocketAddr) -> DialId {
        self.dials += 1;
        let dial = DialId(self.dials);
        let deadline = net.now + Duration::from_secs(30);
        self.quic.handle_command(net.now, Command::Dial { dial, expected, remote, deadline });
        dial
    }

    /// Sends a frame; it must be taken.
    pub(super) fn send(&mut self, conn: ConnId, frame: &[u8]) {
        self.try_send(conn, Class::Own, frame).expect("the conn takes it");
    }

    /// Offers a frame.
    pub(super) fn try_send(
        &mut self,
        conn: ConnId,
        class: Class,
        frame: &[u8],
    ) -> Result<(), SendError> {
        self.quic.try_send(conn, class, Frame::from(Bytes::copy_from_slice(frame)))
    }

    /// Closes a conn.
    pub(super) fn close(&mut self, net: &Net, conn: ConnId, mode: CloseMode) {
        self.quic.handle_command(net.now, Command::Close { conn, mode });
    }

    /// Takes the report that a conn is up, which must be there.
    pub(super) fn take_up(&mut self) -> (ConnId, NodeId, Direction, SocketAddr) {
        self.take(|event| match event {
            Event::ConnUp { conn, peer, direction, remote, .. } => {
                Some((*conn, *peer, *direction, *remote))
            }
            _ => None,
        })
        .expect("a conn came up")
    }

    /// Takes the report that a conn is gone.
    pub(super) fn take_down(&mut self) -> Option<(ConnId, ConnDownReason)> {
        self.take(|event| match event {
            Event::ConnDown { conn, reason } => Some((*conn, *reason)),
            _ => None,
        })
    }

    /// Takes the report that a dial failed.
    pub(super) fn take_failed(&mut self) -> Option<(DialId, DialError)> {
        self.take(|event| match event {
            Event::DialFailed { dial, error } => Some((*dial, *error)),
            _ => None,
        })
    }

    /// Takes the reports of peers that moved.
    pub(super) fn take_moved(&mut self) -> Vec<(ConnId, SocketAddr)> {
        let moved = |event: &Event| match event {
            Event::PathChanged { conn, remote } => Some((*conn, *remote)),
            _ => None,
        };
        std::iter::from_fn(|| self.take(moved)).collect()
    }

    /// Takes all frames that arrived.
    pub(super) fn take_frames(&mut self) -> Vec<(ConnId, Bytes)> {
        let mut frames = Vec::new();
        self.events.retain(|event| match event {
            Event::Frame { conn, frame } => {
                frames.push((*conn, frame.to_bytes()));
                false
            }
            _ => true,
        });
        frames
    }

    /// How many inputs were discarded for this reason.
    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.quic.stats().drops(reason)
    }

    fn take<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let at = self.events.iter().position(|event| pick(event).is_some())?;
        pick(&self.events.remove(at))
    }
}

impl Host for Peer {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { from, ecn, data, .. } = datagram;
        match payload_of(&data) {
            // As the node does.
            Some(Payload::Punch) => self.events.push(Event::Punched { remote: from }),
            _ => self.quic.handle_datagram(now, from, self.local_ip, ecn, data),
        }
    }

    fn expire(&mut self, now: Instant) {
        self.quic.handle_timeout(now);
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.quic.advance(now);
        loop {
            let had_turn = self.quic.read();
            self.events.extend(std::iter::from_fn(|| self.quic.poll_event()));
            self.buf.bytes.clear();
            if let Some(transmit) = self.quic.poll_transmit(&mut self.buf) {
                if self.buf.bytes[0] & 0xc0 == 0 {
                    let punch = Bytes::copy_from_slice(&self.buf.bytes);
                    self.punches.push((transmit.remote, punch, transmit.ttl));
                }
                self.sources.push(transmit.local_ip);
                out.push((&transmit).into(), &self.buf.bytes);
            } else if !had_turn {
                break;
            }
        }
        self.quic.check();
    }

    fn deadline(&self) -> Option<Instant> {
        self.quic.next_deadline().map(|deadline| deadline.at)
    }
}

/// Two peers with a conn between them, dialed by the first.
pub(super) struct Pair {
    pub(super) net: Net,
    pub(super) a: Peer,
    pub(super) b: Peer,
    /// The conn's id at the dialer.
    pub(super) at_a: ConnId,
    /// The conn's id at the acceptor.
    pub(super) at_b: ConnId,
}

impl Pair {
    /// Up, with one empty frame exchanged so that the acceptor can send.
    pub(super) fn new(seed: u64) -> Self {
        Self::on(Net::new(seed))
    }

    /// The same on a network of the test's making.
    pub(super) fn on(mut net: Net) -> Self {
        let (mut a, mut b) = (Peer::new(1, &net), Peer::new(2, &net));
        a.dial(&net, b.id, b.addr);
        net.run(&mut [&mut a, &mut b], Duration::from_secs(10));
        let (at_a, ..) = a.take_up();
        let (at_b, ..) = b.take_up();
        let mut pair = Self { net, a, b, at_a, at_b };
        pair.a.send(at_a, b"");
        pair.run_ms(1000);
        assert_eq!(pair.b.take_frames(), [(at_b, Bytes::new())]);
        pair
    }

    /// Runs the network for this long.
    pub(super) fn run_ms(&mut self, span_ms: u64) {
        self.net.run(&mut [&mut self.a, &mut self.b], Duration::from_millis(span_ms));
    }
}
