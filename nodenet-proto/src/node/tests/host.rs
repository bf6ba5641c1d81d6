//! A whole node with an address, as a host of the test network.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::NodeId;
use crate::api::{BootstrapPeer, Command, Event, RequestId};
use crate::drive::{self, Drained, Outlet};
use crate::env::{Seed, UnixNanos};
use crate::io::{EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::node::{Config, Input, Node};
use crate::testkit::{self, Host, Net, Outbox};

/// The wall time when the network starts.
pub(super) const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// A node and the events for its application.
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) addr: SocketAddr,
    pub(super) id: NodeId,
    /// Events that the test did not take yet.
    pub(super) events: Vec<Event>,
    requests: u64,
    deadline: Option<Instant>,
    buf: TransmitBuf,
}

impl Machine {
    /// The node with this number, on a network that just started.
    pub(super) fn new(number: u8, net: &Net) -> Self {
        Self::seeded(number, net, u64::from(number))
    }

    /// The same with another seed.
    pub(super) fn seeded(number: u8, net: &Net, seed: u64) -> Self {
        Self::with_config(number, net, seed, Config::default())
    }

    /// The same with settings that its identity fulfils.
    pub(super) fn with_config(number: u8, net: &Net, seed: u64, config: Config) -> Self {
        let identity = testkit::identity(number);
        let id = identity.id();
        let node = Node::new(config, identity, Seed::from_u64(seed), net.now, WALL)
            .expect("the identity has the work that is asked for");
        Self {
            node,
            addr: testkit::addr(number),
            id,
            events: Vec::new(),
            requests: 0,
            deadline: None,
            buf: TransmitBuf::new(8),
        }
    }

    /// Names another machine as a way into the network.
    pub(super) fn bootstrap(&mut self, net: &Net, other: &Self) {
        let seeds = vec![BootstrapPeer { id: other.id, addrs: vec![other.addr] }];
        self.command(net, Command::Bootstrap(seeds));
    }

    /// Sends by routing.
    pub(super) fn send(&mut self, net: &Net, target: NodeId, payload: &[u8]) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        let payload = Bytes::copy_from_slice(payload);
        self.command(net, Command::Send { request, target, payload });
        request
    }

    /// Sends over the edge.
    pub(super) fn send_direct(&mut self, net: &Net, target: NodeId, payload: &[u8]) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        let payload = Bytes::copy_from_slice(payload);
        self.command(net, Command::SendDirect { request, target, payload });
        request
    }

    /// Gives a command.
    pub(super) fn command(&mut self, net: &Net, command: Command) {
        self.node.handle_input(net.now, Input::Command(command));
    }

    /// Takes all payloads that were delivered, with their originators.
    pub(super) fn take_delivered(&mut self) -> Vec<(NodeId, Bytes)> {
        let mut delivered = Vec::new();
        self.events.retain(|event| match event {
            Event::Delivered { originator, payload, .. } => {
                delivered.push((*originator, payload.clone()));
                false
            }
            _ => true,
        });
        delivered
    }

    /// The peers to which there are edges.
    pub(super) fn neighbours(&self) -> Vec<NodeId> {
        self.node.edges().iter().map(|edge| edge.peer).collect()
    }
}

impl Host for Machine {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        let socket = SocketId::MAIN;
        let input = Input::Datagram { socket, remote, local_ip: None, ecn, data };
        self.node.handle_input(now, input);
    }

    fn expire(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn drain(&mut self, _now: Instant, out: &mut Outbox) {
        let mut outlet = Desk { events: &mut self.events, out };
        match drive::drain(&mut self.node, &mut self.buf, &mut outlet) {
            Drained::Idle(deadline) => self.deadline = deadline.map(|deadline| deadline.at),
            Drained::Blocked => panic!("this outlet is never full"),
        }
        self.node.check();
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

struct Desk<'a> {
    events: &'a mut Vec<Event>,
    out: &'a mut Outbox,
}

impl Outlet for Desk<'_> {
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool {
        assert_eq!(how.socket, SocketId::MAIN);
        self.out.push(how.remote, how.ecn, how.segment_len, bytes);
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn open_socket(&mut self, socket: SocketId, _local_ip: std::net::IpAddr) {
        panic!("no machine asks for {socket:?} yet");
    }

    fn close_socket(&mut self, socket: SocketId) {
        panic!("no machine asked for {socket:?}");
    }
}
