//! The relay service, with neighbours that say anything.
//!
//! Every step is one byte for its kind and the bytes that it needs. After each the machine checks
//! itself, and no action may be one that a peer must not cause.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::NodeId;
use crate::api::{Config, RelayPolicy};
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::relay::{Action, Claim, Message, Neighbour, Neighbours, Relay};
use crate::transport::{Command, SpliceId, SpliceOverReason};
use crate::wire::nat::{
    MarkedRelayRequest, NAT_NONCE_LEN, RefusedGrant, RelayBind, RelayGrant, RelayRefusal,
    RelayRequest,
};
use crate::wire::{Addr, Encode};

/// Steps that are taken at most.
const STEPS_MAX: usize = 512;
const OWN: ([u8; 4], u16) = ([203, 0, 113, 1], 4242);

#[derive(Default)]
struct Table(BTreeMap<NodeId, Neighbour>);

impl Neighbours for Table {
    fn find(&self, peer: &NodeId) -> Option<Neighbour> {
        self.0.get(peer).copied()
    }

    fn volunteers(&self) -> Vec<Neighbour> {
        self.0.values().filter(|known| known.claim != Claim::None).copied().collect()
    }

    fn remotes(&self) -> Vec<SocketAddr> {
        self.0.values().map(|known| known.remote).collect()
    }
}

struct Machine {
    around: Surroundings,
    relay: Relay,
    table: Table,
    /// The volunteers that were asked last, with their nonces.
    asked: Vec<(NodeId, [u8; NAT_NONCE_LEN])>,
    splices: u64,
}

/// Runs the steps that `input` spells.
pub fn relay_machine(input: &[u8]) {
    let relay =
        RelayPolicy { volunteer: true, bytes_per_month: Some(1_000_000), ..RelayPolicy::default() };
    let config = Config { relay, public_addrs: vec![OWN.into()], ..Config::default() };
    let mut around = Surroundings::new(config);
    around.own.set_local_addrs(&[OWN.into(), SocketAddr::from(([192, 168, 1, 1], 4242))]);
    let relay = Relay::new(&around.config, around.wall);
    let (table, asked) = (Table::default(), Vec::new());
    let mut machine = Machine { around, relay, table, asked, splices: 0 };
    let mut bytes = input.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(kind) = bytes.next() else { break };
        machine.step(kind, || bytes.next().unwrap_or(0));
    }
    machine.run(|relay, cx, _| relay.stop(cx));
}

impl Machine {
    fn step(&mut self, kind: u8, mut byte: impl FnMut() -> u8) {
        match kind % 12 {
            0 | 1 => self.edge_up(byte(), byte()),
            2 => {
                let peer = id(byte());
                self.table.0.remove(&peer);
                self.run(|relay, cx, table| relay.handle_edge_down(cx, table, &peer));
            }
            3 => {
                let request = RelayRequest { nonce: [kind; NAT_NONCE_LEN], target: id(byte()) };
                let payload = MarkedRelayRequest(request).to_bytes();
                let Some(from) = self.neighbour(byte()) else { return };
                self.run(|relay, cx, table| relay.handle_request(cx, table, &from, &payload));
            }
            4 => {
                let bind = RelayBind { addr: Addr::from(addr(byte(), byte())) }.to_bytes();
                let Some(from) = self.neighbour(byte()) else { return };
                self.run(|relay, cx, table| relay.handle_bind(cx, table, &from, &bind));
            }
            5 => {
                let (nth, at) = (byte().into(), addr(byte(), byte()));
                let Some((peer, nonce)) = self.asked.get::<usize>(nth).copied() else { return };
                let payload = match at.port() {
                    port @ 0..3 => {
                        RefusedGrant { nonce, reason: REASONS[usize::from(port)] }.to_bytes()
                    }
                    _ => RelayGrant { nonce, addr: Addr::from(at) }.to_bytes(),
                };
                let Some(from) = self.table.find(&peer) else { return };
                self.run(|relay, cx, table| relay.handle_grant(cx, table, &from, &payload));
            }
            6 => {
                let (target, named) = (id(byte()), [id(byte()), id(byte()), id(byte())]);
                let named = named.iter().take(usize::from(byte() % 4));
                let named = named.map(|id| (*id, addr(id.as_bytes()[0], 200))).collect();
                self.relay.note_named(target, named);
                self.run(|relay, cx, table| relay.ask(cx, table, target));
            }
            7 => {
                let target = id(byte());
                self.run(|relay, cx, _| relay.stop_asking(cx, &target));
            }
            8 => {
                let (splice, locals) = (SpliceId(byte().into()), [addr(64, 9), addr(64, 10)]);
                let over = byte();
                self.run(|relay, cx, table| match over % 4 {
                    0 => relay.handle_splice_over(cx, splice, SpliceOverReason::Idle),
                    1 => relay.handle_splice_over(cx, splice, SpliceOverReason::QuotaUsed),
                    2 => relay.handle_splice_over(cx, splice, SpliceOverReason::Full),
                    _ => relay.handle_splice_opened(cx, table, splice, locals),
                });
            }
            9 => self.around.pass(Duration::from_millis(1 << (byte() % 24))),
            10 => self.run(|relay, cx, table| relay.handle_timer(cx, table)),
            _ => {
                let payload: Vec<u8> = (0..byte()).map(|_| byte()).collect();
                let Some(from) = self.neighbour(byte()) else { return };
                self.run(|relay, cx, table| match payload.len() % 3 {
                    0 => relay.handle_request(cx, table, &from, &payload),
                    1 => relay.handle_grant(cx, table, &from, &payload),
                    _ => relay.handle_bind(cx, table, &from, &payload),
                });
            }
        }
    }

    fn edge_up(&mut self, number: u8, flags: u8) {
        let claim = match flags % 3 {
            0 => Claim::None,
            1 => Claim::Gossiped,
            _ => Claim::Signed,
        };
        let (peer, remote) = (id(number), addr(number, 200));
        let rtt_ms = (flags > 9).then_some(flags.into());
        let edge = Neighbour { peer, remote, is_dialed: flags & 64 != 0, claim, rtt_ms };
        self.table.0.insert(peer, edge);
        self.run(|relay, cx, table| {
            relay.handle_edge_up(cx, table, &peer);
            relay.choose_named(cx, table);
        });
    }

    fn neighbour(&self, number: u8) -> Option<Neighbour> {
        self.table.find(&id(number))
    }

    fn run(&mut self, act: impl FnOnce(&mut Relay, &mut Context<'_, Action>, &Table)) {
        let Self { around, relay, table, .. } = self;
        let ((), actions) = around.run(|cx| act(relay, cx, table));
        self.relay.check();
        let drops: u64 = self.around.take_drops().iter().map(|(_, count)| count).sum();
        assert!(drops <= 1, "{drops} drops for one input");
        for action in actions {
            self.judge(&action);
        }
    }

    fn judge(&mut self, action: &Action) {
        match action {
            Action::Burst { peer, addr } | Action::Granted { volunteer: peer, addr, .. } => {
                let edge = self.table.find(peer).expect("its message came over an edge");
                assert_eq!(addr.ip(), edge.remote.ip(), "a host that the volunteer is not");
                assert_ne!(*addr, edge.remote);
            }
            Action::Send(peer, Message::Request(request)) => {
                assert!(self.table.find(peer).is_some() && *peer != request.0.target);
                self.asked.insert(0, (*peer, request.0.nonce));
                self.asked.truncate(8);
            }
            Action::Transport(Command::OpenSplice { splice, sides, .. }) => {
                assert_eq!(splice.0, self.splices, "each has a number of its own");
                self.splices += 1;
                assert!(sides.iter().all(|side| !side.local_ip.is_unspecified()));
            }
            Action::Set(at) => assert!(*at > self.around.now, "a timer of the past"),
            _ => {}
        }
    }
}

const REASONS: [RelayRefusal; 3] =
    [RelayRefusal::NoEdge, RelayRefusal::Full, RelayRefusal::NotVolunteering];

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// Addresses of every scope and of both families.
fn addr(number: u8, port: u8) -> SocketAddr {
    let low = number & 0x1f;
    let ip: std::net::IpAddr = match number >> 5 {
        0 => [192, 168, 1, low].into(),
        1 => [20, low, 0, 1].into(),
        2 => [203, 0, 113, low].into(),
        3 => [20, low, 1, 1].into(),
        4 => [0, 0, 0, 0].into(),
        5 => [127, 0, 0, low].into(),
        _ => std::net::Ipv6Addr::new(0x2001, 0xdb8, low.into(), 0, 0, 0, 0, 1).into(),
    };
    SocketAddr::new(ip, port.into())
}
