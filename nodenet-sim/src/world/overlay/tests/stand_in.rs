//! Simplified node for tests of worlds: a full mesh without an engine.
//!
//! It requests the contacts of its contacts, dials all of them, and sends messages directly to
//! their target or over a random neighbour.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{Command, DeliveryPath, EdgeInfo, Event, RequestId, SendFailure};
use nodenet_proto::engine::Output;
use nodenet_proto::env::{Random, Seed};
use nodenet_proto::io::Deadline;
use nodenet_proto::stats::Stats;
use nodenet_proto::transport::{self, Class, CloseMode, ConnId, Conns, DialId};

use crate::world::overlay::{Factory, Machine, Spawn};

const KEEPALIVE: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(25);

struct Neighbor {
    conn: ConnId,
    remote: SocketAddr,
    outgoing: bool,
    heard: Instant,
}

pub(super) struct StandIn {
    id: NodeId,
    random: Random,
    known: BTreeMap<NodeId, SocketAddr>,
    dialing: BTreeMap<DialId, NodeId>,
    dials: u64,
    neighbors: BTreeMap<NodeId, Neighbor>,
    outputs: VecDeque<Output>,
    tick: Instant,
    stats: Stats,
}

pub(super) fn stand_ins() -> Factory {
    Box::new(|spawn: Spawn| {
        let seed: &Seed = &spawn.seed;
        Box::new(StandIn {
            id: spawn.identity.id(),
            random: seed.stream("stand-in"),
            known: BTreeMap::new(),
            dialing: BTreeMap::new(),
            dials: 0,
            neighbors: BTreeMap::new(),
            outputs: VecDeque::new(),
            tick: spawn.now + KEEPALIVE,
            stats: Stats::default(),
        })
    })
}

impl StandIn {
    fn dial(&mut self, now: Instant, peer: NodeId, remote: SocketAddr) {
        let dialing = self.dialing.values().any(|&other| other == peer);
        if peer == self.id || self.neighbors.contains_key(&peer) || dialing {
            return;
        }
        self.dials += 1;
        let dial = DialId(self.dials);
        self.dialing.insert(dial, peer);
        let deadline = now + Duration::from_secs(10);
        let command = transport::Command::Dial { dial, expected: peer, remote, deadline };
        self.outputs.push_back(Output::Transport(command));
    }

    /// A contact list in a format of its own, with the head of a direct answer.
    fn contacts(&self) -> Vec<u8> {
        let mut frame = vec![1, 5, 0];
        frame.extend([0; 32]);
        frame.push(1);
        for (id, neighbor) in &self.neighbors {
            frame.extend(id.as_bytes());
            let SocketAddr::V4(addr) = neighbor.remote else { continue };
            frame.extend(addr.ip().octets());
            frame.extend(addr.port().to_be_bytes());
        }
        frame
    }

    fn on_frame(&mut self, now: Instant, conn: ConnId, bytes: &Bytes, conns: &mut dyn Conns) {
        let from = self.neighbors.iter_mut().find(|(_, neighbor)| neighbor.conn == conn);
        let Some(from) = from.map(|(id, neighbor)| {
            neighbor.heard = now;
            *id
        }) else {
            return;
        };
        let mut answer = |frame: Vec<u8>| {
            let _ = conns.try_send(conn, Class::Control, Bytes::from(frame).into());
        };
        match bytes[1] {
            2 => answer(vec![1, 3, 0]),
            6 => answer(self.contacts()),
            5 => {
                for contact in bytes[36..].chunks_exact(38) {
                    let id = NodeId::from_bytes(contact[..32].try_into().unwrap());
                    let ip: [u8; 4] = contact[32..36].try_into().unwrap();
                    let port = u16::from_be_bytes(contact[36..].try_into().unwrap());
                    let remote = SocketAddr::from((ip, port));
                    self.known.insert(id, remote);
                    self.dial(now, id, remote);
                }
            }
            64 => {
                let payload = bytes.slice(2..);
                let path = DeliveryPath::Direct;
                let event = Event::Delivered {
                    originator: from,
                    payload,
                    path,
                    sealed: false,
                    request: None,
                };
                self.outputs.push_back(Output::Event(event));
            }
            _ => {}
        }
    }

    fn on_send(
        &mut self,
        request: RequestId,
        target: NodeId,
        payload: &[u8],
        conns: &mut dyn Conns,
    ) {
        let frame = [&[1, 64], payload].concat();
        let event = match self.neighbors.get(&target) {
            Some(neighbor)
                if conns.try_send(neighbor.conn, Class::Own, Bytes::from(frame).into()).is_ok() =>
            {
                Event::Sent { request, copies: 1 }
            }
            _ => Event::SendFailed { request, error: SendFailure::Unroutable },
        };
        self.outputs.push_back(Output::Event(event));
    }
}

impl Machine for StandIn {
    fn handle_command(&mut self, now: Instant, command: Command, conns: &mut dyn Conns) {
        match command {
            Command::Bootstrap(seeds) => {
                for seed in seeds {
                    self.known.insert(seed.id, seed.addrs[0]);
                    self.dial(now, seed.id, seed.addrs[0]);
                }
            }
            Command::Send { request, target, payload } => {
                self.on_send(request, target, &payload, conns);
            }
            Command::Leave { request } => {
                for neighbor in self.neighbors.values() {
                    let close =
                        transport::Command::Close { conn: neighbor.conn, mode: CloseMode::Drain };
                    self.outputs.push_back(Output::Transport(close));
                }
                self.outputs.push_back(Output::Event(Event::Left { request }));
            }
            _ => {}
        }
    }

    fn handle_transport(&mut self, now: Instant, event: transport::Event, conns: &mut dyn Conns) {
        match event {
            transport::Event::ConnUp { conn, peer, direction, remote, .. } => {
                let mut outgoing = false;
                if let transport::Direction::Outgoing(dial) = direction {
                    outgoing = true;
                    self.dialing.remove(&dial);
                    let ask = Bytes::from_static(&[1, 6, 0]);
                    let _ = conns.try_send(conn, Class::Control, ask.into());
                }
                let neighbor = Neighbor { conn, remote, outgoing, heard: now };
                self.neighbors.insert(peer, neighbor);
            }
            transport::Event::DialFailed { dial, .. } => {
                self.dialing.remove(&dial);
            }
            transport::Event::Frame { conn, frame } => {
                self.on_frame(now, conn, &frame.to_bytes(), conns);
            }
            transport::Event::Writable(_)
            | transport::Event::PathChanged { .. }
            | transport::Event::Punched { .. }
            | transport::Event::SpliceOpened { .. }
            | transport::Event::SpliceOver { .. } => {}
            transport::Event::ConnDown { conn, .. } => {
                self.neighbors.retain(|_, neighbor| neighbor.conn != conn);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, conns: &mut dyn Conns) {
        self.tick = now + self.random.jitter(KEEPALIVE, 10);
        for neighbor in self.neighbors.values() {
            if now.duration_since(neighbor.heard) >= DEAD {
                let (conn, mode) = (neighbor.conn, CloseMode::Abort);
                let close = transport::Command::Close { conn, mode };
                self.outputs.push_back(Output::Transport(close));
            } else {
                let ping = Bytes::from_static(&[1, 2, 0]);
                let _ = conns.try_send(neighbor.conn, Class::Control, ping.into());
            }
        }
        let known: Vec<_> = self.known.iter().map(|(id, remote)| (*id, *remote)).collect();
        for (id, remote) in known {
            self.dial(now, id, remote);
        }
    }

    fn handle_local_addrs(&mut self, _: Instant, _: &[SocketAddr]) {}

    fn poll(&mut self) -> Output {
        let tick = Deadline { at: self.tick, reason: "tick" };
        self.outputs.pop_front().unwrap_or(Output::Timeout(Some(tick)))
    }

    fn edges(&self, conns: &dyn Conns) -> Vec<EdgeInfo> {
        let edge = |(&peer, neighbor): (&NodeId, &Neighbor)| EdgeInfo {
            peer,
            outgoing: neighbor.outgoing,
            sibling: false,
            remote: neighbor.remote,
            relayed_by: None,
            relays: false,
            rtt: conns.path(neighbor.conn).map_or(Duration::ZERO, |path| path.rtt),
            conns: 1,
            age: Duration::ZERO,
            idle: Duration::ZERO,
            questions: 0,
            unanswered: 0,
        };
        self.neighbors.iter().map(edge).collect()
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }

    fn check(&self) {
        assert!(!self.neighbors.contains_key(&self.id));
    }
}
