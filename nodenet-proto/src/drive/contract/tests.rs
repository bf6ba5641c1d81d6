//! A driver that keeps the contract, and ones that do not.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{CASES, LONG_CASES, NodeNet, Side};
use crate::NodeId;
use crate::api::{Command, Event};
use crate::drive::{self, Drained, Outlet};
use crate::env::{Seed, UnixNanos};
use crate::io::{EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::node::{Config, Input, Node};
use crate::stats::Counters;
use crate::testkit::{self, Host, Net, Outbox};

#[test]
fn a_sound_driver_passes() {
    for (name, case) in CASES.iter().chain(LONG_CASES) {
        eprintln!("{name}");
        case(&mut Pair::new(None));
    }
}

#[test]
fn every_defect_fails_some_case() {
    let defects = [
        Defect::SleepsThroughDeadlines,
        Defect::ForgetsWhatDidNotFit,
        Defect::IgnoresSegments,
        Defect::SendsTwice,
        Defect::LosesEvents,
        Defect::RepeatsEvents,
        Defect::StopsOnLeave,
    ];
    for defect in defects {
        let fails = |case: fn(&mut dyn NodeNet)| {
            let mut pair = Pair::new(Some(defect));
            catch_unwind(AssertUnwindSafe(|| case(&mut pair))).is_err()
        };
        assert!(CASES.iter().any(|(_, case)| fails(*case)), "{defect:?} went unnoticed");
    }
}

/// What a driver can get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    SleepsThroughDeadlines,
    ForgetsWhatDidNotFit,
    IgnoresSegments,
    SendsTwice,
    LosesEvents,
    RepeatsEvents,
    StopsOnLeave,
}

struct Pair {
    net: Net,
    a: Driven,
    b: Driven,
}

impl Pair {
    fn new(defect: Option<Defect>) -> Self {
        let net = Net::new(1);
        let (a, b) = (Driven::new(1, &net, defect), Driven::new(2, &net, defect));
        Self { net, a, b }
    }

    fn driven(&mut self, side: Side) -> &mut Driven {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

impl NodeNet for Pair {
    fn now(&self) -> Instant {
        self.net.now
    }

    fn id(&self, side: Side) -> NodeId {
        testkit::identity(side as u8 + 1).id()
    }

    fn addr(&self, side: Side) -> SocketAddr {
        testkit::addr(side as u8 + 1)
    }

    fn dead_addr(&self) -> SocketAddr {
        testkit::addr(99)
    }

    fn command(&mut self, side: Side, command: Command) {
        let now = self.net.now;
        let driven = self.driven(side);
        driven.is_leaving |= matches!(command, Command::Leave { .. });
        driven.node.handle_input(now, Input::Command(command));
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        let events = &mut self.driven(side).io.events;
        (!events.is_empty()).then(|| events.remove(0))
    }

    fn counters(&mut self, side: Side) -> Counters {
        self.driven(side).node.stats().counters
    }

    fn set_socket_full(&mut self, side: Side, full: bool) -> bool {
        self.driven(side).io.is_full = full;
        true
    }

    fn run(&mut self, span: Duration) {
        self.net.run(&mut [&mut self.a, &mut self.b], span);
    }
}

/// A node and the loop around it.
struct Driven {
    node: Node,
    addr: SocketAddr,
    buf: TransmitBuf,
    io: Io,
    deadline: Option<Instant>,
    is_leaving: bool,
}

struct Io {
    defect: Option<Defect>,
    is_full: bool,
    pending: Option<(Transmit, Vec<u8>)>,
    sent: Vec<(Transmit, Vec<u8>)>,
    events: Vec<Event>,
}

impl Driven {
    fn new(number: u8, net: &Net, defect: Option<Defect>) -> Self {
        let (identity, seed) = (testkit::identity(number), Seed::from_u64(number.into()));
        let node = Node::new(Config::default(), identity, seed, net.now, UnixNanos(1 << 60));
        let io = Io { defect, is_full: false, pending: None, sent: Vec::new(), events: Vec::new() };
        Self {
            node: node.expect("no work is asked for"),
            addr: testkit::addr(number),
            buf: TransmitBuf::new(8),
            io,
            deadline: None,
            is_leaving: false,
        }
    }
}

impl Host for Driven {
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
        let defect = self.io.defect;
        if defect == Some(Defect::StopsOnLeave) && self.is_leaving {
            self.deadline = None;
            return;
        }
        if !self.io.is_full {
            self.io.sent.extend(self.io.pending.take());
        }
        if self.io.pending.is_none() {
            let drained = drive::drain(&mut self.node, &mut self.buf, &mut self.io);
            self.deadline = match drained {
                Drained::Idle(deadline) => deadline.map(|deadline| deadline.at),
                Drained::Blocked => None,
            };
        }
        for (how, bytes) in self.io.sent.drain(..) {
            let whole = defect == Some(Defect::IgnoresSegments);
            let segment_len = how.segment_len.filter(|_| !whole);
            out.push(how.remote, how.ecn, segment_len, &bytes);
            if defect == Some(Defect::SendsTwice) {
                out.push(how.remote, how.ecn, segment_len, &bytes);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.io.defect != Some(Defect::SleepsThroughDeadlines))
    }
}

impl Outlet for Io {
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool {
        if !self.is_full {
            self.sent.push((*how, bytes.to_vec()));
            return true;
        }
        if self.defect != Some(Defect::ForgetsWhatDidNotFit) {
            self.pending = Some((*how, bytes.to_vec()));
        }
        false
    }

    fn event(&mut self, event: Event) {
        match self.defect {
            Some(Defect::LosesEvents) if matches!(event, Event::Sent { .. }) => {}
            Some(Defect::RepeatsEvents) => self.events.extend([event.clone(), event]),
            _ => self.events.push(event),
        }
    }

    fn open_socket(&mut self, socket: SocketId, _local_ip: std::net::IpAddr) {
        panic!("nobody asks for {socket:?} yet");
    }

    fn close_socket(&mut self, socket: SocketId) {
        panic!("nobody asked for {socket:?}");
    }
}
