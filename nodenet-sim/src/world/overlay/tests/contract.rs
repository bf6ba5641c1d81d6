//! Contract suite of the transport boundary, against in-memory conns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::buf::Frame;
use nodenet_proto::testkit::contract::transport::{CASES, ConnNet, Side};
use nodenet_proto::transport::{Class, Command, ConnId, Event, PathInfo, SendError};

use super::scripted::Lab;
use crate::net::Nat;
use crate::world::overlay::WorldConfig;
use crate::world::{Host, World as _};

/// Two hosts of a [`Lab`].
struct Bench {
    lab: Lab,
    hosts: [Host; 2],
}

impl Bench {
    fn host(&self, side: Side) -> Host {
        self.hosts[side as usize]
    }
}

impl ConnNet for Bench {
    fn now(&self) -> Instant {
        self.lab.instant()
    }

    fn id(&self, side: Side) -> NodeId {
        self.lab.world.id(self.host(side))
    }

    fn addr(&self, side: Side) -> SocketAddr {
        self.lab.world.addr(self.host(side))
    }

    fn dead_addr(&self) -> SocketAddr {
        "12.34.56.78:4242".parse().expect("a literal of this test")
    }

    fn command(&mut self, side: Side, command: Command) {
        let host = self.host(side);
        self.lab.execute(host, command);
    }

    fn try_send(
        &mut self,
        side: Side,
        conn: ConnId,
        class: Class,
        frame: Frame,
    ) -> Result<(), SendError> {
        let host = self.host(side);
        self.lab.try_send(host, conn, class, frame)
    }

    fn path(&self, side: Side, conn: ConnId) -> Option<PathInfo> {
        self.lab.world.path(self.host(side), conn)
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        let host = self.host(side);
        self.lab.next_event(host)
    }

    fn poll_punch(&mut self, side: Side) -> Option<(SocketAddr, Bytes, Option<u8>)> {
        let host = self.host(side);
        self.lab.world.take_punch(host)
    }

    fn rebind(&mut self, side: Side) -> SocketAddr {
        let host = self.host(side);
        self.lab.world.rebind(host);
        let mut addr = self.lab.world.addr(host);
        addr.set_port(addr.port() ^ 1);
        addr
    }

    fn run(&mut self, span: Duration) {
        self.lab.pass(span);
    }
}

#[test]
fn in_memory_conns_keep_the_contract_of_the_boundary() {
    for (name, case) in CASES {
        eprintln!("{name}");
        let mut lab = Lab::new(WorldConfig::default());
        let hosts = [lab.host(Nat::Public), lab.host(Nat::Public)];
        case(&mut Bench { lab, hosts });
    }
}
