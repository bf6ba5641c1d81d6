//! A driver that keeps the contract, and ones that do not.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{CASES, LONG_CASES, NodeNet, Side};
use crate::NodeId;
use crate::api::{Command, Event};
use crate::stats::Counters;
use crate::testkit::host::Outgoing;
use crate::testkit::{self, Datagram, Host, Net, NodeHost, Outbox};

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
        testkit::identity(side as u64 + 1).id()
    }

    fn addr(&self, side: Side) -> SocketAddr {
        testkit::addr(side as u8 + 1)
    }

    fn dead_addr(&self) -> SocketAddr {
        testkit::addr(99)
    }

    fn command(&mut self, side: Side, command: Command) {
        let Self { net, a, b } = self;
        let driven = if side == Side::A { a } else { b };
        driven.is_leaving |= matches!(command, Command::Leave { .. });
        driven.host.command(net, command);
    }

    fn poll_event(&mut self, side: Side) -> Option<Event> {
        let events = &mut self.driven(side).events;
        (!events.is_empty()).then(|| events.remove(0))
    }

    fn counters(&mut self, side: Side) -> Counters {
        self.driven(side).host.node.stats().counters
    }

    fn set_socket_full(&mut self, side: Side, full: bool) -> bool {
        self.driven(side).host.set_socket_full(full);
        true
    }

    fn run(&mut self, span: Duration) {
        self.net.run(&mut [&mut self.a, &mut self.b], span);
    }
}

/// A node, and what the loop around it gets wrong.
struct Driven {
    host: NodeHost,
    defect: Option<Defect>,
    events: Vec<Event>,
    is_leaving: bool,
}

impl Driven {
    fn new(number: u8, net: &Net, defect: Option<Defect>) -> Self {
        let host = NodeHost::new(number, net);
        Self { host, defect, events: Vec::new(), is_leaving: false }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

impl Host for Driven {
    fn addr(&self) -> SocketAddr {
        self.host.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        self.host.receive(now, datagram);
    }

    fn expire(&mut self, now: Instant) {
        self.host.expire(now);
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        if self.has(Defect::StopsOnLeave) && self.is_leaving {
            return;
        }
        let mut sound = Outbox::default();
        self.host.drain(now, &mut sound);
        if self.has(Defect::ForgetsWhatDidNotFit) {
            self.host.forget_refused();
        }
        for (outgoing, bytes) in sound.batches() {
            let is_whole = self.has(Defect::IgnoresSegments);
            let segment_len = outgoing.segment_len.filter(|_| !is_whole);
            let times = if self.has(Defect::SendsTwice) { 2 } else { 1 };
            (0..times).for_each(|_| out.push(Outgoing { segment_len, ..outgoing }, bytes));
        }
        for event in self.host.events.drain(..) {
            match self.defect {
                Some(Defect::LosesEvents) if matches!(event, Event::Sent { .. }) => {}
                Some(Defect::RepeatsEvents) => self.events.extend([event.clone(), event]),
                _ => self.events.push(event),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let sleeps = self.has(Defect::SleepsThroughDeadlines)
            || (self.has(Defect::StopsOnLeave) && self.is_leaving);
        self.host.deadline().filter(|_| !sleeps)
    }
}
