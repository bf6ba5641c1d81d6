//! QUIC keeps the contract of the transport boundary.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::peer::Peer;
use crate::NodeId;
use crate::buf::Frame;
use crate::testkit::contract::transport::{CASES, ConnNet, Side};
use crate::testkit::{self, Net};
use crate::transport::{Class, Command, ConnId, Conns, Event, PathInfo, SendError};

struct QuicWorld {
    net: Net,
    a: Peer,
    b: Peer,
}

impl QuicWorld {
    fn new(loss_percent: u32) -> Self {
        let mut net = Net::new(3);
        net.set_loss_percent(loss_percent);
        let (a, b) = (Peer::new(1, &net), Peer::new(2, &net));
        Self { net, a, b }
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

impl ConnNet for QuicWorld {
    fn now(&self) -> Instant {
        self.net.now
    }

    fn id(&self, side: Side) -> NodeId {
        match side {
            Side::A => self.a.id,
            Side::B => self.b.id,
        }
    }

    fn addr(&self, side: Side) -> SocketAddr {
        match side {
            Side::A => self.a.addr,
            Side::B => self.b.addr,
        }
    }

    fn dead_addr(&self) -> SocketAddr {
        testkit::addr(99)
    }

    fn command(&mut self, side: Side, command: Command) {
        let now = self.net.now;
        self.peer(side).quic.handle_command(now, command);
    }

    fn try_send(
        &mut self,
        side: Side,
        conn: ConnId,
        class: Class,
        frame: Frame,
    ) -> Result<(), SendError> {
        self.peer(side).quic.try_send(conn, class, frame)
    }

    fn path(&self, side: Side, conn: ConnId) -> Option<PathInfo> {
        match side {
            Side::A => self.a.quic.path(conn),
            Side::B => self.b.quic.path(conn),
        }
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        let peer = self.peer(side);
        (!peer.events.is_empty()).then(|| peer.events.remove(0))
    }

    fn poll_punch(&mut self, side: Side) -> Option<(SocketAddr, Bytes, Option<u8>)> {
        let peer = self.peer(side);
        (!peer.punches.is_empty()).then(|| peer.punches.remove(0))
    }

    fn rebind(&mut self, side: Side) -> SocketAddr {
        let addr = &mut self.peer(side).addr;
        addr.set_port(addr.port() + 1);
        *addr
    }

    fn run(&mut self, span: Duration) {
        self.net.run(&mut [&mut self.a, &mut self.b], span);
    }
}

#[test]
fn every_case_holds() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&mut QuicWorld::new(0));
    }
}

#[test]
fn every_case_holds_with_some_loss() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&mut QuicWorld::new(3));
    }
}
