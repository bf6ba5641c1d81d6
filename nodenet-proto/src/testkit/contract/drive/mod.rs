//! Contract of the drivers of a [`crate::node::Node`]: test cases that run against any driver.
//!
//! The suite is public, so that an embedder can test its loop against the contract of
//! [`crate::node`]. Implement [`NodeNet`] over two nodes that the driver under test drives. Run
//! each of [`CASES`] on a new network. A case panics if the driver fails it.
//!
//! The network between the two nodes must lose nothing, carry datagrams of 1,452 bytes and take
//! less than a second to do it. Both nodes have default settings, except that loopback addresses
//! may be dialed. They have no bootstrap peers.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use super::transport::Side;
use crate::NodeId;
use crate::api::{Command, ConnectError, DeliveryPath, EdgeDownReason, Event, RequestId};
use crate::stats::Counters;
use crate::transport::DialError;
use crate::wire::{DIRECT_PAYLOAD_MAX, SEND_PAYLOAD_MAX};

/// Two nodes that the driver under test drives.
pub trait NodeNet {
    /// The driver's monotonic time.
    fn now(&self) -> Instant;
    /// The identifier of a node.
    fn id(&self, side: Side) -> NodeId;
    /// The address at which a node can be dialed.
    fn addr(&self, side: Side) -> SocketAddr;
    /// An address that takes datagrams and never answers.
    fn dead_addr(&self) -> SocketAddr;
    /// Has the driver pass a command to a node, after the earlier ones. Never
    /// [`Command::Bootstrap`].
    fn command(&mut self, side: Side, command: Command);
    /// The next event of a node for its application. Events of one kind come in their order.
    fn poll_event(&mut self, side: Side) -> Option<Event>;
    /// The counters of a node that has not left.
    fn counters(&mut self, side: Side) -> Counters;
    /// Makes the socket of a node refuse what is to be sent, or take it again. Returns false if
    /// this is not possible: a driver whose sends block never has a full socket.
    fn set_socket_full(&mut self, side: Side, full: bool) -> bool;
    /// Runs the driver for this long.
    fn run(&mut self, span: Duration);
}

/// A case by its name.
pub type Case = (&'static str, fn(&mut dyn NodeNet));

/// Every case that takes seconds: about ten for one, less than one for the others. Each needs a new
/// network.
pub const CASES: &[Case] = &[
    ("an_edge_comes_up_at_both_ends", an_edge_comes_up_at_both_ends),
    ("messages_of_every_length_arrive_whole", messages_of_every_length_arrive_whole),
    ("a_burst_arrives_in_order_and_is_settled_once", a_burst_arrives_in_order_and_is_settled_once),
    ("no_datagram_is_lost_or_repeated", no_datagram_is_lost_or_repeated),
    ("a_deadline_fires_although_nothing_arrives", a_deadline_fires_although_nothing_arrives),
    ("a_full_socket_loses_nothing", a_full_socket_loses_nothing),
    ("a_closed_edge_is_noticed_at_both_ends", a_closed_edge_is_noticed_at_both_ends),
    ("leaving_delivers_what_was_sent", leaving_delivers_what_was_sent),
];

/// Cases that take hours, for drivers in virtual time.
pub const LONG_CASES: &[Case] = &[("an_idle_day_breaks_nothing", an_idle_day_breaks_nothing)];

/// The longest that a step takes: a dial without an answer, a little over ten seconds
/// (PROTOCOL.md#handshake-bounds).
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the driver runs between two checks of the events.
const STEP: Duration = Duration::from_millis(10);
/// Long enough for what is in flight to arrive and be acknowledged.
const PAUSE: Duration = Duration::from_secs(1);

fn an_edge_comes_up_at_both_ends(world: &mut dyn NodeNet) {
    let mut trial = Trial::new(world);
    let target = trial.world.id(Side::B);
    let addrs = vec![trial.world.addr(Side::B)];
    let request = trial.request();
    trial.world.command(Side::A, Command::Connect { request, target, addrs });
    let connected = Event::Connected { request, peer: target };
    trial.wait(Side::A, "the command is settled", |event| *event == connected);
    for (side, other, dialed) in [(Side::A, Side::B, true), (Side::B, Side::A, false)] {
        let (id, addr) = (trial.world.id(other), trial.world.addr(other));
        let up = Event::EdgeUp { peer: id, outgoing: dialed, remote: addr };
        trial.wait(side, "the edge is reported, with its address", |event| *event == up);
    }
    trial.run(PAUSE);
    trial.expect_nothing(Side::A);
    trial.expect_nothing(Side::B);
}

fn messages_of_every_length_arrive_whole(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    for (from, to) in [(Side::A, Side::B), (Side::B, Side::A)] {
        for len in [0, 1, 1_200, 16_384, SEND_PAYLOAD_MAX] {
            let path = DeliveryPath::Routed { hops: 1 };
            trial.carry(from, to, path, &pattern(len));
        }
        for len in [0, 5_000, DIRECT_PAYLOAD_MAX] {
            trial.carry(from, to, DeliveryPath::Direct, &pattern(len));
        }
    }
}

fn a_burst_arrives_in_order_and_is_settled_once(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    let mut requests = [trial.burst(Side::A, Side::B), trial.burst(Side::B, Side::A)];
    trial.expect_burst(Side::B);
    trial.expect_burst(Side::A);
    trial.run(PAUSE);
    for (side, requests) in [Side::A, Side::B].into_iter().zip(&mut requests) {
        let events = trial.take_all(side);
        let mut settled: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Sent { request, copies: 1 } => *request,
                other => panic!("{side:?}: only settled commands are due, not {other:?}"),
            })
            .collect();
        settled.sort();
        assert_eq!(settled, *requests, "{side:?}: every command is settled once");
    }
}

fn no_datagram_is_lost_or_repeated(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    trial.burst(Side::A, Side::B);
    trial.expect_burst(Side::B);
    trial.carry(Side::B, Side::A, DeliveryPath::Direct, &pattern(DIRECT_PAYLOAD_MAX));
    trial.expect_balance();
    for side in [Side::A, Side::B] {
        let counters = trial.world.counters(side);
        assert!(counters.datagrams_sent > 10, "{side:?} counts: {counters:?}");
    }
}

fn a_deadline_fires_although_nothing_arrives(world: &mut dyn NodeNet) {
    let mut trial = Trial::new(world);
    let (target, addrs) = (trial.world.id(Side::B), vec![trial.world.dead_addr()]);
    let (begin, request) = (trial.world.now(), trial.request());
    trial.world.command(Side::A, Command::Connect { request, target, addrs });
    let error = trial.wait_for(Side::A, "the dial fails", |event| match event {
        Event::ConnectFailed { request: settled, error } if *settled == request => Some(*error),
        _ => None,
    });
    let vain = [DialError::TimedOut, DialError::NoRoute].map(ConnectError::Dial);
    assert!(vain.contains(&error), "no node answered, so not {error:?}");
    let took = trial.world.now() - begin;
    assert!(took > PAUSE, "an answer may take its time, so {took:?} is too early");
}

fn a_full_socket_loses_nothing(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    trial.expect_balance();
    if !trial.world.set_socket_full(Side::A, true) {
        return;
    }
    let before = trial.world.counters(Side::B).datagrams_received;
    trial.burst(Side::A, Side::B);
    trial.run(STEP);
    let after = trial.world.counters(Side::B).datagrams_received;
    assert_eq!(after, before, "a full socket sends nothing");
    assert!(trial.world.set_socket_full(Side::A, false), "what could be filled can be emptied");
    trial.expect_burst(Side::B);
    trial.expect_balance();
}

fn a_closed_edge_is_noticed_at_both_ends(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    let (a, b) = (trial.world.id(Side::A), trial.world.id(Side::B));
    for existed in [true, false] {
        let request = trial.request();
        trial.world.command(Side::A, Command::CloseEdge { request, peer: b });
        let closed = Event::EdgeClosed { request, existed };
        trial.wait(Side::A, "the command is settled", |event| *event == closed);
    }
    let reason = EdgeDownReason::ClosedHere;
    let down = Event::EdgeDown { peer: b, reason };
    trial.wait(Side::A, "the end of the edge is reported", |event| *event == down);
    trial.wait(
        Side::B,
        "it is reported at the other end",
        |event| matches!(event, Event::EdgeDown { peer, .. } if *peer == a),
    );
}

fn leaving_delivers_what_was_sent(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    let (a, request) = (trial.world.id(Side::A), RequestId(u64::MAX));
    trial.burst(Side::A, Side::B);
    trial.world.command(Side::A, Command::Leave { request });
    trial.expect_burst(Side::B);
    let down = Event::EdgeDown { peer: a, reason: EdgeDownReason::Left };
    trial.wait(Side::B, "the farewell arrives", |event| *event == down);
    trial.wait(Side::A, "the end is reported", |event| *event == Event::Left { request });
}

fn an_idle_day_breaks_nothing(world: &mut dyn NodeNet) {
    let mut trial = Trial::joined(world);
    for _ in 0..24 {
        trial.run(Duration::from_secs(3600));
        trial.expect_nothing(Side::A);
        trial.expect_nothing(Side::B);
    }
    // A routed message has a time stamp, so this fails if a clock stood still.
    trial.carry(
        Side::A,
        Side::B,
        DeliveryPath::Routed { hops: 1 },
        &Bytes::from_static(b"a day later"),
    );
}

/// Messages in a burst, and bytes in each: less than any queue or budget holds, more than one
/// batch.
const BURST: usize = 20;
const BURST_LEN: usize = 3_000;

/// A case under way, with the events that the case has not taken yet.
struct Trial<'a> {
    world: &'a mut dyn NodeNet,
    events: [Vec<Event>; 2],
    requests: u64,
}

impl<'a> Trial<'a> {
    fn new(world: &'a mut dyn NodeNet) -> Self {
        Self { world, events: [Vec::new(), Vec::new()], requests: 0 }
    }

    /// B has dialed A, and there is an edge.
    fn joined(world: &'a mut dyn NodeNet) -> Self {
        let mut trial = Self::new(world);
        let (target, addrs) = (trial.world.id(Side::A), vec![trial.world.addr(Side::A)]);
        let request = trial.request();
        trial.world.command(Side::B, Command::Connect { request, target, addrs });
        let connected = Event::Connected { request, peer: target };
        trial.wait(Side::B, "the dial succeeds", |event| *event == connected);
        for side in [Side::A, Side::B] {
            trial.wait(side, "the edge comes up", |event| matches!(event, Event::EdgeUp { .. }));
        }
        trial
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Sends one message and has it arrive.
    fn carry(&mut self, from: Side, to: Side, path: DeliveryPath, payload: &Bytes) {
        let (request, target) = (self.request(), self.world.id(to));
        let message = payload.clone();
        self.world.command(
            from,
            match path {
                DeliveryPath::Direct => Command::SendDirect { request, target, payload: message },
                DeliveryPath::Routed { .. } => Command::Send { request, target, payload: message },
            },
        );
        let sent = Event::Sent { request, copies: 1 };
        self.wait(from, "the command is settled", |event| *event == sent);
        let originator = self.world.id(from);
        let payload_sent = payload.clone();
        let delivered = Event::Delivered {
            originator,
            payload: payload_sent,
            path,
            sealed: false,
            request: None,
        };
        let what = format!("a message of {} bytes arrives", payload.len());
        self.wait(to, &what, |event| *event == delivered);
    }

    /// Sends many messages at once.
    fn burst(&mut self, from: Side, to: Side) -> Vec<RequestId> {
        let target = self.world.id(to);
        (0..BURST)
            .map(|number| {
                let request = self.request();
                let payload = vec![number as u8; BURST_LEN].into();
                self.world.command(from, Command::SendDirect { request, target, payload });
                request
            })
            .collect()
    }

    /// Has the messages of a burst arrive in order.
    fn expect_burst(&mut self, at: Side) {
        for number in 0..BURST {
            let payload = self.wait_for(at, "the next message arrives", |event| match event {
                Event::Delivered { payload, .. } => Some(payload.clone()),
                _ => None,
            });
            let first = payload.first().copied();
            assert_eq!((first, payload.len()), (Some(number as u8), BURST_LEN), "in order, whole");
        }
    }

    /// Waits until the counters of both nodes agree: all that one sent arrived at the other.
    fn expect_balance(&mut self) {
        self.run(PAUSE);
        let begin = self.world.now();
        loop {
            let (a, b) = (self.world.counters(Side::A), self.world.counters(Side::B));
            let there =
                (a.datagrams_sent, a.bytes_sent) == (b.datagrams_received, b.bytes_received);
            let back = (b.datagrams_sent, b.bytes_sent) == (a.datagrams_received, a.bytes_received);
            if there && back {
                return;
            }
            let over = self.world.now() - begin > PAUSE;
            assert!(!over, "datagrams were lost or repeated: {a:?} against {b:?}");
            self.run(STEP);
        }
    }

    fn expect_nothing(&mut self, at: Side) {
        let events = self.take_all(at);
        assert!(events.is_empty(), "{at:?}: nothing is due, not {events:?}");
    }

    fn take_all(&mut self, at: Side) -> Vec<Event> {
        self.poll();
        std::mem::take(&mut self.events[at as usize])
    }

    fn wait(&mut self, at: Side, what: &str, wanted: impl Fn(&Event) -> bool) {
        self.wait_for(at, what, |event| wanted(event).then_some(()));
    }

    /// Takes the first event that is `wanted`, which must come in time.
    fn wait_for<T>(&mut self, at: Side, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let begin = self.world.now();
        loop {
            self.poll();
            let events = &mut self.events[at as usize];
            let found = events.iter().enumerate().find_map(|(i, event)| Some((i, wanted(event)?)));
            if let Some((i, found)) = found {
                events.remove(i);
                return found;
            }
            let over = self.world.now() - begin > PATIENCE;
            assert!(!over, "{at:?}: {what} within {PATIENCE:?}; there was only {events:?}");
            self.world.run(STEP);
        }
    }

    fn run(&mut self, span: Duration) {
        self.world.run(span);
        self.poll();
    }

    fn poll(&mut self) {
        for side in [Side::A, Side::B] {
            let polled = std::iter::from_fn(|| self.world.poll_event(side));
            self.events[side as usize].extend(polled);
        }
    }
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}
