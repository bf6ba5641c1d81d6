//! Nodes, and transports without an engine, as hosts.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nodenet_proto::NodeId;
use nodenet_proto::api::{Command, Event};
use nodenet_proto::buf::Frame;
use nodenet_proto::drive::{Drained, Outlet, drain};
use nodenet_proto::env::{Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::io::{SocketId, Transmit, TransmitBuf};
use nodenet_proto::node::{Config, Input, Node};
use nodenet_proto::quic::{self, Quic};
use nodenet_proto::transport::{self, Class, ConnId, Conns, DialId};
use nodenet_proto::wire::frame::Message;
use nodenet_proto::wire::{FrameHeader, FrameType, Pong};

use super::{Host, Outbox, SEGMENTS_MAX, addr};

/// The wall clock at the start.
pub(crate) const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// The identity that belongs to a number.
pub(crate) fn identity(number: u64) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::from_master_seed(&seed)
}

/// A whole node.
pub(crate) struct NodeHost {
    /// The node.
    pub(crate) node: Node,
    /// What its application was told and has not looked at.
    pub(crate) events: Vec<Event>,
    buf: TransmitBuf,
    deadline: Option<Instant>,
}

impl NodeHost {
    /// A node that leaves its upkeep alone, with room for as many peers as one likes.
    pub(crate) fn new(number: u64, now: Instant) -> Self {
        Self::with_maintenance(number, now, false)
    }

    /// The same, but it may look after its edges and its tables.
    pub(crate) fn with_maintenance(number: u64, now: Instant, maintenance: bool) -> Self {
        let mut config = Config::default();
        config.engine.maintenance = maintenance;
        config.engine.inbound_edges_max = usize::MAX;
        config.quic = transport_config();
        let seed = Seed::from_u64(number);
        let node = Node::new(config, identity(number), seed, now, WALL);
        Self {
            node: node.expect("no work is asked for"),
            events: Vec::with_capacity(1 << 14),
            buf: TransmitBuf { bytes: Vec::with_capacity(1 << 16), segments_max: SEGMENTS_MAX },
            deadline: None,
        }
    }

    /// Gives it a command.
    pub(crate) fn command(&mut self, now: Instant, command: Command) {
        self.node.handle_input(now, Input::Command(command));
    }

    /// One poll that finds nothing.
    pub(crate) fn poll_idle(&mut self) {
        let output = self.node.poll_output(&mut self.buf);
        assert!(matches!(output, nodenet_proto::node::Output::Timeout(_)), "{output:?}");
    }
}

impl Host for NodeHost {
    fn receive(&mut self, now: Instant, remote: SocketAddr, data: BytesMut) {
        let socket = SocketId::MAIN;
        let input = Input::Datagram { socket, remote, local_ip: None, ecn: None, data };
        self.node.handle_input(now, input);
    }

    fn drain(&mut self, _: Instant, out: &mut Outbox) {
        let drained =
            drain(&mut self.node, &mut self.buf, &mut Driver { out, events: &mut self.events });
        let Drained::Idle(deadline) = drained else { panic!("an outbox is never full") };
        self.deadline = deadline.map(|deadline| deadline.at);
    }

    fn expire(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

struct Driver<'a> {
    out: &'a mut Outbox,
    events: &'a mut Vec<Event>,
}

impl Outlet for Driver<'_> {
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool {
        self.out.push(how.remote, how.segment_len, bytes);
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn open_socket(&mut self, _: SocketId, _: IpAddr) {
        unreachable!("nobody relays datagrams here");
    }

    fn close_socket(&mut self, _: SocketId) {
        unreachable!("no other socket was opened");
    }
}

/// The transport of a node without its engine: it says the frames that the test makes, answers
/// pings and counts what it hears.
pub(crate) struct TransportHost {
    /// Who it is.
    pub(crate) id: NodeId,
    /// Its conns, in the order in which they came up.
    pub(crate) conns: Vec<ConnId>,
    /// How many routed frames it heard, and how many bytes are in them.
    pub(crate) heard: (usize, usize),
    quic: Quic,
    buf: TransmitBuf,
    dials: u64,
}

impl TransportHost {
    /// A transport without conns.
    pub(crate) fn new(number: u64, now: Instant) -> Self {
        let identity = identity(number);
        let quic = Quic::new(transport_config(), &identity, &Seed::from_u64(number), now);
        let buf = TransmitBuf { bytes: Vec::with_capacity(1 << 16), segments_max: SEGMENTS_MAX };
        Self { id: identity.id(), conns: Vec::new(), heard: (0, 0), quic, buf, dials: 0 }
    }

    /// Dials the host with this index.
    pub(crate) fn dial(&mut self, now: Instant, expected: NodeId, host: usize) {
        self.dials += 1;
        let (dial, deadline) = (DialId(self.dials), now + Duration::from_secs(10));
        let command = transport::Command::Dial { dial, expected, remote: addr(host), deadline };
        self.quic.handle_command(now, command);
    }

    /// Says a frame on its first conn.
    pub(crate) fn say(&mut self, frame: Frame) {
        let sent = self.quic.try_send(self.conns[0], Class::Transit, frame);
        assert!(sent.is_ok(), "{sent:?}");
    }

    fn on_event(&mut self, event: transport::Event) {
        match event {
            transport::Event::ConnUp { conn, .. } => self.conns.push(conn),
            transport::Event::Frame { conn, frame } => match FrameHeader::of(&frame) {
                Ok((header, _)) if header.frame_type() == Some(FrameType::Ping) => {
                    let pong = Pong { observed: addr(0).into() };
                    let _ = self.quic.try_send(conn, Class::Control, pong.to_frame());
                }
                Ok((header, _)) if header.frame_type() == Some(FrameType::Route) => {
                    self.heard.0 += 1;
                    self.heard.1 += frame.len();
                }
                _ => {}
            },
            transport::Event::Writable(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Host for TransportHost {
    fn receive(&mut self, now: Instant, from: SocketAddr, data: BytesMut) {
        self.quic.handle_datagram(now, from, None, None, data);
    }

    fn drain(&mut self, _: Instant, out: &mut Outbox) {
        loop {
            while let Some(event) = self.quic.poll_event() {
                self.on_event(event);
            }
            if self.quic.read() {
                continue;
            }
            self.buf.bytes.clear();
            let Some(how) = self.quic.poll_transmit(&mut self.buf) else { break };
            out.push(how.remote, how.segment_len, &self.buf.bytes);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.quic.handle_timeout(now);
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.quic.next_deadline()?.at)
    }
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
