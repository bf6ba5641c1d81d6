//! The service for a node's own address, with neighbours that say anything.
//!
//! Every step is one byte for its kind and the bytes that it needs. After each the machine checks
//! itself, and no action may be one that a peer must not cause.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::NodeId;
use crate::api::Config;
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::env::UnixNanos;
use crate::nat::{Action, Envelope, Nat, Prober, Volley};
use crate::transport::ConnId;
use crate::wire::nat::{
    Allocator, Connect, ConnectAck, Mapping, NAT_NONCE_LEN, PUNCH_DATAGRAM, Signal, Signals,
    WithSignals, punch_target,
};
use crate::wire::{ADDRS_MAX, Addr, AddrList, Encode, FrameType, Pong};

/// Steps that are taken at most.
const STEPS_MAX: usize = 512;
/// Datagrams of one call, at most: one volley of each burst, answers and attempts alike, a short
/// one, and some of each sweep.
const DATAGRAMS_MAX: usize = (32 + 32 + 1) * 8 + 16 * 20;

struct Machine {
    around: Surroundings,
    nat: Nat,
    /// The nonce of the last Connect that left.
    nonce: [u8; NAT_NONCE_LEN],
}

/// Runs the steps that `input` spells.
pub fn nat_machine(input: &[u8]) {
    let mut around = Surroundings::new(Config::default());
    around.own.set_local_addrs(&[addr(0, 0)]);
    let nat = Nat::new(around.now);
    let mut machine = Machine { around, nat, nonce: [0; NAT_NONCE_LEN] };
    let mut bytes = input.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(kind) = bytes.next() else { break };
        let mut byte = || bytes.next().unwrap_or(0);
        match kind % 16 {
            0 | 1 => machine.edge_up(byte(), kind % 2 == 0),
            2 => machine.pong(byte(), addr(byte(), byte())),
            3 => machine.run(|nat, cx| nat.handle_edge_down(cx, id(byte()))),
            4 => {
                let payload: Vec<u8> = (0..byte()).map(|_| byte()).collect();
                machine.connect(1, byte(), &payload);
            }
            5 => {
                let addrs = (0..byte() % 20).map(|_| Addr::from(addr(byte(), byte())));
                let addrs = AddrList::first_of(addrs);
                let connect = Connect { nonce: [byte() % 4; 16], addrs };
                machine.connect(byte(), byte(), &connect.to_bytes());
            }
            6 => {
                let (originator, nonce) = (id(byte()), machine.nonce);
                let payload = [&nonce[..], &[0]].concat();
                let envelope =
                    Envelope { originator, sent: machine.around.wall, len: payload.len() };
                machine.run(|nat, cx| nat.handle_connect_ack(cx, envelope, &payload));
            }
            7 => {
                let remote = addr(byte(), byte());
                machine.run(|nat, cx| nat.handle_punched(cx, remote, false));
            }
            8 => {
                let remote = addr(byte(), byte());
                machine.run(|nat, cx| nat.handle_sent(cx, remote));
            }
            9 => machine.around.pass(Duration::from_millis(1 << (byte() % 24))),
            10 => machine.run(Nat::handle_timer),
            11 => {
                let targets: Vec<SocketAddr> =
                    (0..byte() % 20).map(|_| addr(byte(), byte())).collect();
                let (peer, len) = (id(byte()), usize::from(byte()));
                let volley = if byte() % 2 == 0 { Volley::Short } else { Volley::Full };
                machine.run(|nat, cx| match len {
                    0 => nat.burst(cx, peer, &targets, volley, 0),
                    _ => nat.burst(cx, peer, &targets, volley, len),
                });
            }
            predicts @ 13..=15 => machine.predict(predicts, &mut byte),
            _ => {
                let now = machine.around.now;
                machine.around.own.set_local_addrs(&[addr(0, byte())]);
                machine.nat.handle_local_addrs(now);
            }
        }
    }
    machine.run(Nat::stop);
}

impl Machine {
    fn edge_up(&mut self, number: u8, is_accepted: bool) {
        let remote = addr(number, 1);
        self.around.paths.set(ConnId(number.into()), remote, Duration::ZERO);
        self.run(|nat, cx| nat.handle_edge_up(cx, id(number), remote, is_accepted));
    }

    /// A Connect that took this long, or came from a clock that is ahead.
    fn connect(&mut self, from: u8, took: u8, payload: &[u8]) {
        let sent = UnixNanos(self.around.wall.0 - (i64::from(took) - 32) * 10_000_000);
        let envelope = Envelope { originator: id(from), sent, len: payload.len() + 150 };
        self.run(|nat, cx| nat.handle_connect(cx, envelope, payload));
    }

    /// A message that says how ports are chosen, or neighbours that see ports in sequence.
    fn predict(&mut self, step: u8, byte: &mut impl FnMut() -> u8) {
        match step {
            13 => {
                let addrs = AddrList::first_of([Addr::from(addr(byte(), byte()))]);
                let connect = Connect { nonce: [byte() % 4; 16], addrs };
                let signals = signals(byte);
                self.connect(byte(), byte(), &connect.to_bytes_with(&signals));
            }
            14 => {
                let addrs = AddrList::first_of([Addr::from(addr(byte(), byte()))]);
                let ack = ConnectAck { nonce: self.nonce, addrs };
                let payload = ack.to_bytes_with(&signals(byte));
                let (originator, sent) = (id(byte()), self.around.wall);
                let envelope = Envelope { originator, sent, len: payload.len() };
                self.run(|nat, cx| nat.handle_connect_ack(cx, envelope, &payload));
            }
            _ => {
                let (first, step) = (u16::from(byte()) << 8, u16::from(byte()));
                for number in 0x60..0x70 {
                    let port = first.wrapping_add(step.wrapping_mul(number.into()));
                    self.run(|nat, cx| nat.handle_sent(cx, addr(number, 1)));
                    self.edge_up(number, false);
                    self.pong(number, SocketAddr::from(([203, 0, 113, 7], port)));
                }
            }
        }
    }

    fn pong(&mut self, number: u8, observed: SocketAddr) {
        let payload = Pong { observed: Addr::from(observed) }.to_bytes();
        self.run(|nat, cx| nat.handle_pong(cx, id(number), ConnId(number.into()), &payload));
    }

    fn run(&mut self, act: impl FnOnce(&mut Nat, &mut Context<'_, Action>)) {
        let ((), actions) = self.around.run(|cx| act(&mut self.nat, cx));
        self.nat.check();
        // Not more than one reason for each address and one for the message.
        let drops: u64 = self.around.take_drops().iter().map(|(_, count)| count).sum();
        assert!(drops <= 1 + 2 * ADDRS_MAX as u64, "{drops} drops for one input");
        self.judge(actions);
    }

    fn judge(&mut self, actions: Vec<Action>) {
        let is_punch = |action: &&Action| matches!(action, Action::Punch { .. });
        assert!(actions.iter().filter(is_punch).count() <= DATAGRAMS_MAX);
        for action in actions {
            match action {
                Action::Punch { remote, bytes, ttl } => {
                    assert_eq!(punch_target(&Addr::from(remote)), Some(remote));
                    assert!(ttl.is_none_or(|ttl| remote.is_ipv4() && (2..=3).contains(&ttl)));
                    assert_eq!(bytes[..], PUNCH_DATAGRAM);
                }
                Action::Originate { frame_type: FrameType::Connect, payload, .. } => {
                    let (connect, signals) =
                        Connect::decode_with_signals(&payload).expect("it was just written");
                    self.nonce = connect.nonce;
                    if let Some((first, _, count)) = signals.unwrap_or_default().ports() {
                        assert!((1..=40).contains(&count) && connect.addrs.as_slice().len() <= 8);
                        assert!(first.to_socket_addr().is_some());
                        continue;
                    }
                    let own = self.nat.report().addrs.iter().copied().map(Addr::from);
                    assert!(own.collect::<Vec<_>>().contains(&connect.addrs.as_slice()[0]));
                    assert_eq!(connect.addrs.as_slice().len(), 1, "it names nothing else");
                }
                Action::FindWitness(peer) => {
                    let probers = probers();
                    self.run(|nat, cx| nat.handle_witnesses(cx, peer, &probers));
                }
                Action::FindProbers => {
                    let probers = probers();
                    self.run(|nat, cx| nat.handle_probers(cx, &probers));
                }
                Action::Set(at) => assert!(at > self.around.now, "a timer of the past"),
                _ => {}
            }
        }
    }
}

fn probers() -> Vec<Prober> {
    let of = |number| Prober { id: id(number), addrs: vec![addr(number, 1)] };
    (112..128).map(of).collect()
}

/// What a peer says of its NAT, and which ports it predicts.
fn signals(byte: &mut impl FnMut() -> u8) -> Signals {
    let mapping = match byte() % 3 {
        0 => Mapping::EndpointIndependent,
        1 => Mapping::AddressAndPortDependent,
        _ => Mapping::Unknown,
    };
    let nat = Signal::Nat { mapping, allocator: Allocator::Unknown };
    let addr = Addr::from(addr(byte(), byte()));
    let (step, count) = (u16::from(byte()), u16::from(byte()));
    let ports = (count > 0).then_some(Signal::Ports { addr, step, count });
    Signals::new([nat].into_iter().chain(ports))
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// Addresses of every scope and of both families; few of them, so that reports agree.
fn addr(number: u8, port: u8) -> SocketAddr {
    let low = number & 0x1f;
    let ip: IpAddr = match number >> 5 {
        0 => [192, 168, 1, low].into(),
        1 => [127, 0, 0, low].into(),
        2 => [203, 0, 113, low].into(),
        3 => [20, low, 0, 1].into(),
        4 => [20, low, 1, 1].into(),
        5 => [224, 0, 0, low].into(),
        6 => std::net::Ipv6Addr::new(0x2001, 0xdb8, low.into(), 0, 0, 0, 0, 1).into(),
        _ => [0, 0, 0, low].into(),
    };
    SocketAddr::new(ip, port.into())
}
