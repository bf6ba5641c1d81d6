//! The connect machine, with peers that answer and punch as they like, and a driver that is late.
//!
//! Every step is one byte for its kind and the bytes that it needs. After each the machine checks
//! itself, and no action may be one that a peer must not cause.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::NodeId;
use crate::api::{ConnectError, ConnectOutcome, EdgeDownReason, PathSide, Reachability};
use crate::connect::{Action, Answer, Candidate, Connect, Nonce, Purpose, Source, Want};
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::transport::{DialError, DialId};
use crate::wire::nat::Mapping;

/// Steps that are taken at most.
const STEPS_MAX: usize = 512;
/// Bytes of an answer.
const ANSWER_LEN: usize = 200;

struct Machine {
    around: Surroundings,
    connect: Connect,
    /// Dials without an outcome.
    dials: BTreeMap<DialId, NodeId>,
    dialed: u64,
    /// The exchange of each peer that was asked.
    nonces: BTreeMap<NodeId, Nonce>,
    /// Peers whose requests wait.
    requested: BTreeSet<NodeId>,
    /// Connects whose first hops are not reported yet.
    asks: Vec<(NodeId, Nonce)>,
}

/// Runs the steps that `input` spells.
pub fn connect_machine(input: &[u8]) {
    let mut machine = Machine {
        around: Surroundings::default(),
        connect: Connect::new(),
        dials: BTreeMap::new(),
        dialed: 0,
        nonces: BTreeMap::new(),
        requested: BTreeSet::new(),
        asks: Vec::new(),
    };
    let mut bytes = input.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(kind) = bytes.next() else { break };
        machine.step(kind, || bytes.next().unwrap_or(0));
    }
    machine.run(|connect, cx| connect.stop(cx));
    assert!(machine.requested.is_empty(), "every request is settled");
}

impl Machine {
    fn step(&mut self, kind: u8, mut byte: impl FnMut() -> u8) {
        match kind % 12 {
            0 | 1 => {
                let (peer, purpose) = (id(byte()), purpose(byte()));
                let candidates = (0..byte() % 12).map(|_| candidate(byte(), byte())).collect();
                self.want(Want { peer, candidates, purpose });
            }
            2 => {
                let (nth, is_taken, next) = (byte(), byte().is_multiple_of(2), byte());
                self.dial_up(nth, is_taken, next);
            }
            3 => {
                let Some(dial) = self.nth_dial(byte()) else { return };
                self.dials.remove(&dial);
                let error = match byte() % 4 {
                    0 => DialError::TimedOut,
                    1 => DialError::IdentityMismatch,
                    2 => DialError::BadAddress,
                    _ => DialError::NoRoute,
                };
                self.run(|connect, cx| connect.handle_dial_failed(cx, dial, error));
            }
            4 => {
                let (peer, is_sent, hops) =
                    (byte(), !byte().is_multiple_of(4), [id(1), id(2), id(3)]);
                let hops = is_sent.then_some(&hops[..usize::from(peer % 4)]);
                self.name((peer >= 128).then(|| addr(peer, 1)));
                for (peer, nonce) in core::mem::take(&mut self.asks) {
                    self.run(|connect, cx| connect.handle_asked(cx, peer, &nonce, hops));
                }
            }
            5 => {
                let (peer, forged, said) = (id(byte()), byte().is_multiple_of(4), byte());
                let known = self.nonces.get(&peer).filter(|_| !forged);
                let nonce = known.copied().unwrap_or([said; 16]);
                let named = (0..byte() % 9).map(|_| addr(byte(), byte().max(1))).collect();
                let answer = answer(nonce, side(said, named), side(byte(), Vec::new()));
                self.run(|connect, cx| {
                    connect.handle_answer(cx, peer, &answer);
                });
            }
            6 => {
                let remote = addr(byte(), byte());
                self.run(|connect, cx| {
                    connect.handle_punched(cx, remote);
                });
            }
            7 => {
                let (peer, volunteer) = (id(byte()), id(byte()));
                let at = addr(byte(), byte().max(1));
                self.run(|connect, cx| connect.handle_granted(cx, peer, volunteer, at));
            }
            8 => {
                let (peer, asked) = (id(byte()), byte());
                self.run(|connect, cx| connect.handle_no_relay(cx, peer, asked % 3));
            }
            9 => self.around.pass(Duration::from_millis(1 << (byte() % 14))),
            10 => self.run(|connect, cx| connect.handle_timer(cx)),
            _ => {
                let (peer, what) = (id(byte()), byte());
                self.run(|connect, cx| match what % 3 {
                    0 => connect.handle_first_frame(cx, peer),
                    1 => connect.handle_edge_down(cx, peer, EdgeDownReason::Left),
                    _ => connect.handle_edge_up(cx, peer, Some(outcome(what)), what > 99),
                });
            }
        }
        // Every request has an outcome to wait for.
        assert!(self.requested.iter().all(|peer| self.connect.is_requested(peer)));
    }

    /// A dial brought a conn up, and the overlay did with it what `next` says.
    fn dial_up(&mut self, nth: u8, is_taken: bool, next: u8) {
        let Some(dial) = self.nth_dial(nth) else { return };
        let peer = self.dials.remove(&dial).expect("it was just there");
        let purpose = self.connect.handle_dial_up(dial);
        self.run(|connect, cx| match (purpose, next % 3) {
            (None, _) => {}
            (Some(Purpose::Probe), 0) => connect.handle_probe_over(cx, peer),
            (_, 1) => connect.handle_refused(cx, peer, ConnectError::WorkUnmet),
            _ => connect.handle_edge_up(cx, peer, Some(outcome(next)), is_taken),
        });
    }

    fn want(&mut self, want: Want) {
        let (peer, is_request) = (want.peer, want.purpose == Purpose::Request);
        let is_new = is_request && self.requested.insert(peer);
        let mut refused = false;
        self.run(|connect, cx| refused = connect.want(cx, want).is_err());
        if refused && is_new {
            self.requested.remove(&peer);
        }
    }

    /// Without an address to name a Connect waits for one.
    fn name(&mut self, own: Option<SocketAddr>) {
        self.around.own.set_local_addrs(own.as_slice());
    }

    fn nth_dial(&self, nth: u8) -> Option<DialId> {
        self.dials.keys().nth(nth.into()).copied()
    }

    fn run(&mut self, act: impl FnOnce(&mut Connect, &mut Context<'_, Action>)) {
        let Self { around, connect, .. } = self;
        let ((), actions) = around.run(|cx| act(connect, cx));
        self.connect.check();
        self.around.take_drops();
        for action in actions {
            self.judge(action);
        }
    }

    fn judge(&mut self, action: Action) {
        match action {
            Action::Dial { dial, expected, remote, deadline } => {
                assert_eq!(dial.0, self.dialed, "each has a number of its own");
                assert!(deadline > self.around.now && remote.port() > 0);
                self.dialed += 1;
                self.dials.insert(dial, expected);
            }
            Action::CancelDial(dial) => {
                self.dials.remove(&dial);
            }
            Action::Ask { peer, nonce, .. } => {
                self.nonces.insert(peer, nonce);
                self.asks.push((peer, nonce));
            }
            Action::Punch { addrs, named_by, .. } => {
                assert!(!addrs.is_empty() && named_by.is_none_or(|len| len == ANSWER_LEN));
            }
            Action::Settle { peer, .. } => {
                self.requested.remove(&peer);
            }
            Action::Set(at) => assert!(at > self.around.now, "a timer of the past"),
            _ => {}
        }
    }
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number % 16; 32])
}

fn addr(number: u8, port: u8) -> SocketAddr {
    let ip = if number < 200 { [20, number % 4, 0, number % 8] } else { [192, 168, 1, number] };
    SocketAddr::from((ip, port.into()))
}

fn candidate(number: u8, port: u8) -> Candidate {
    let source = if port.is_multiple_of(2) { Source::Given } else { Source::Unverified };
    Candidate { addr: addr(number, port), source, is_open: number.is_multiple_of(3) }
}

fn purpose(number: u8) -> Purpose {
    match number % 6 {
        0 => Purpose::Bootstrap,
        1 => Purpose::Edge,
        2 => Purpose::Probe,
        _ => Purpose::Request,
    }
}

fn outcome(number: u8) -> ConnectOutcome {
    let remote = addr(number, 1);
    match number % 2 {
        0 => ConnectOutcome::Direct { remote },
        _ => ConnectOutcome::Relayed { remote, volunteer: id(number) },
    }
}

fn answer(nonce: Nonce, peer: PathSide, own: PathSide) -> Answer {
    Answer { nonce, len: ANSWER_LEN, has_signals: true, peer, own, is_unsure: false }
}

fn side(said: u8, addrs: Vec<SocketAddr>) -> PathSide {
    let mapping = match said % 3 {
        0 => Mapping::Unknown,
        1 => Mapping::EndpointIndependent,
        _ => Mapping::AddressAndPortDependent,
    };
    let reachability = match said % 5 {
        0 => Reachability::Reachable,
        1 => Reachability::Unreachable,
        _ => Reachability::Unknown,
    };
    PathSide { addrs, mapping, reachability, ..PathSide::default() }
}
