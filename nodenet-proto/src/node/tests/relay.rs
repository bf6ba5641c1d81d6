//! An edge between two nodes over the splice of a third.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::api::{self, Event, RequestId};
use crate::drive::{Drained, Outlet, drain};
use crate::env::Seed;
use crate::io::{SocketId, Transmit, TransmitBuf};
use crate::node::{Config, Input, Node};
use crate::testkit::{self, WALL};
use crate::transport::{Command, SpliceId, SpliceSide};
use crate::wire::nat::PUNCH_DATAGRAM;

/// One way of every path.
const LATENCY: Duration = Duration::from_millis(5);

/// A node, and the state of its driver.
struct Party {
    node: Node,
    desk: Desk,
    deadline: Option<Instant>,
}

/// An outlet that keeps everything.
#[derive(Default)]
struct Desk {
    sockets: Vec<(SocketId, SocketAddr)>,
    /// Sockets that the driver has not opened yet.
    wanted: Vec<SocketId>,
    sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
}

impl Outlet for Desk {
    fn transmit(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let of = |(socket, _): &&(SocketId, SocketAddr)| *socket == transmit.socket;
        let (_, from) = self.sockets.iter().find(of).expect("an open socket");
        for datagram in bytes.chunks(transmit.segment_len.unwrap_or(bytes.len().max(1))) {
            self.sent.push((*from, transmit.remote, datagram.to_vec()));
        }
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn open_socket(&mut self, socket: SocketId, _: IpAddr) {
        self.wanted.push(socket);
    }

    fn close_socket(&mut self, socket: SocketId) {
        self.sockets.retain(|(open, _)| *open != socket);
    }
}

impl Party {
    fn new(number: u8, now: Instant) -> Self {
        let (identity, seed) = (testkit::identity(number.into()), Seed::from_u64(number.into()));
        let node = Node::new(Config::default(), identity, seed, now, WALL).expect("no work is due");
        let sockets = vec![(SocketId::MAIN, testkit::addr(number))];
        Self { node, desk: Desk { sockets, ..Desk::default() }, deadline: None }
    }

    /// Drains the node, and opens the sockets that it asks for.
    fn drain(&mut self, now: Instant) {
        loop {
            let drained = drain(&mut self.node, &mut TransmitBuf::new(8), &mut self.desk);
            let Drained::Idle(deadline) = drained else { panic!("the outlet takes everything") };
            self.deadline = deadline.map(|deadline| deadline.at);
            self.node.check();
            if self.desk.wanted.is_empty() {
                return;
            }
            for socket in std::mem::take(&mut self.desk.wanted) {
                let mut local = self.desk.sockets[0].1;
                local.set_port(5000 + socket.0 as u16);
                self.desk.sockets.push((socket, local));
                self.node.handle_input(now, Input::SocketOpened { socket, local });
            }
        }
    }
}

/// Runs the network for this long.
fn run(parties: &mut [Party; 3], now: &mut Instant, span: Duration) {
    let until = *now + span;
    while *now < until {
        let mut sent = Vec::new();
        for party in parties.iter_mut() {
            party.drain(*now);
            sent.append(&mut party.desk.sent);
        }
        *now += LATENCY;
        for (remote, to, data) in sent {
            for party in parties.iter_mut() {
                let Some((socket, _)) = party.desk.sockets.iter().find(|(_, at)| *at == to) else {
                    continue;
                };
                let data = BytesMut::from(&data[..]);
                let input =
                    Input::Datagram { socket: *socket, remote, local_ip: None, ecn: None, data };
                party.node.handle_input(*now, input);
            }
        }
        for party in parties.iter_mut().filter(|party| party.deadline.is_some_and(|at| at <= *now))
        {
            party.node.handle_timeout(*now);
        }
    }
}

#[test]
fn two_nodes_have_an_edge_over_the_splice_of_a_third() {
    let mut now = testkit::base();
    let mut parties = [1, 2, 3].map(|number| Party::new(number, now));
    let local_ip = testkit::addr(3).ip();
    parties[2].node.splices.open(now, SpliceId(1), [SpliceSide { local_ip, prefers: None }; 2], 0);
    run(&mut parties, &mut now, LATENCY);
    let sides = [1, 2].map(|socket| SocketAddr::from((local_ip, 5000 + socket)));
    assert_eq!(parties[2].desk.sockets.len(), 3);

    let bytes = Bytes::from_static(&PUNCH_DATAGRAM);
    let punch = Command::Punch { remote: sides[1], bytes, ttl: None };
    parties[1].node.quic.handle_command(now, punch);
    let (request, target) = (RequestId(1), parties[1].node.id());
    let connect = api::Command::Connect { request, target, addrs: vec![sides[0]] };
    parties[0].node.handle_input(now, Input::Command(connect));
    run(&mut parties, &mut now, Duration::from_secs(2));
    let remotes = |party: &Party| party.node.edges().iter().map(|edge| edge.remote).collect();
    let seen: [Vec<SocketAddr>; 2] = [remotes(&parties[0]), remotes(&parties[1])];
    assert_eq!(seen, [[sides[0]], [sides[1]]], "each end sees its side of the splice");

    let payload = Bytes::from(vec![7; 3_000]);
    let (request, originator) = (RequestId(2), parties[0].node.id());
    let send = api::Command::Send { request, target, payload: payload.clone() };
    parties[0].node.handle_input(now, Input::Command(send));
    run(&mut parties, &mut now, Duration::from_secs(1));
    let delivered = parties[1].desk.events.iter().any(|event| match event {
        Event::Delivered { originator: from, payload: got, .. } => {
            (*from, got) == (originator, &payload)
        }
        _ => false,
    });
    assert!(delivered, "{:?}", parties[1].desk.events);
    assert_eq!(parties[2].node.edges(), [], "the relay is no part of it");

    parties[2].node.splices.close(SpliceId(1));
    run(&mut parties, &mut now, LATENCY);
    assert_eq!(parties[2].desk.sockets.len(), 1, "only the main socket is open");
}
