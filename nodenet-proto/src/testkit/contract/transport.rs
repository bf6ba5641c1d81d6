//! Contract of a transport: test cases that run against any implementation of the boundary
//! (PROTOCOL.md#transport-contract).
//!
//! The suite is public, so that the simulator's conns are held to the same contract as QUIC.
//! Implement [`ConnNet`] over two transports and run each of [`CASES`] on a new network. The engine
//! may rely on what is asserted here, and on nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NodeId;
use crate::buf::Frame;
use crate::transport::{
    Class, CloseMode, Command, ConnDownReason, ConnId, DialError, DialId, Direction, Event,
    FRAME_MAX, PathInfo, Role, SendError, SpliceId, SpliceOverReason, SpliceSide,
};
use crate::wire::nat::PUNCH_DATAGRAM;

/// One of the two transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that dials.
    A,
    /// The one that is dialed.
    B,
}

/// Two transports that can reach each other, and their clock.
pub trait ConnNet {
    /// The time.
    fn now(&self) -> Instant;
    /// The identity that a transport proves.
    fn id(&self, side: Side) -> NodeId;
    /// The address at which a transport can be dialed.
    fn addr(&self, side: Side) -> SocketAddr;
    /// A plausible address without a host.
    fn dead_addr(&self) -> SocketAddr;
    /// Gives a command to a transport.
    fn command(&mut self, side: Side, command: Command);
    /// Calls [`crate::transport::Conns::try_send`].
    fn try_send(
        &mut self,
        side: Side,
        conn: ConnId,
        class: Class,
        frame: Frame,
    ) -> Result<(), SendError>;
    /// Calls [`crate::transport::Conns::path`].
    fn path(&self, side: Side, conn: ConnId) -> Option<PathInfo>;
    /// The next event of a transport.
    fn poll_event(&mut self, side: Side) -> Option<Event>;
    /// The next datagram that a transport sent for [`Command::Punch`]: its destination, bytes and
    /// TTL.
    fn poll_punch(&mut self, side: Side) -> Option<(SocketAddr, Bytes, Option<u8>)>;
    /// Gives a transport another address, as a NAT does whose mapping expired, and returns it.
    fn rebind(&mut self, side: Side) -> SocketAddr;
    /// Runs the transports for this long.
    fn run(&mut self, span: Duration);
}

/// A case by its name.
pub type Case = (&'static str, fn(&mut dyn ConnNet));

/// Every case. Each needs a new network.
pub const CASES: &[Case] = &[
    ("frames_arrive_from_an_authenticated_peer", frames_arrive_from_an_authenticated_peer),
    ("frames_arrive_whole_and_in_order", frames_arrive_whole_and_in_order),
    ("the_acceptor_answers_on_the_same_conn", the_acceptor_answers_on_the_same_conn),
    ("a_close_reaches_the_other_end", a_close_reaches_the_other_end),
    ("a_drain_delivers_what_was_queued", a_drain_delivers_what_was_queued),
    ("another_identity_fails_the_dial", another_identity_fails_the_dial),
    ("a_dead_address_fails_the_dial", a_dead_address_fails_the_dial),
    ("an_undialable_address_fails_the_dial", an_undialable_address_fails_the_dial),
    ("a_deadline_fails_the_dial", a_deadline_fails_the_dial),
    ("a_cancelled_dial_is_settled_once", a_cancelled_dial_is_settled_once),
    ("a_full_queue_gives_the_frame_back", a_full_queue_gives_the_frame_back),
    ("two_conns_of_one_pair_are_independent", two_conns_of_one_pair_are_independent),
    ("the_path_follows_a_peer_that_moves", the_path_follows_a_peer_that_moves),
    ("a_punch_is_sent_as_it_is", a_punch_is_sent_as_it_is),
    ("a_punch_is_reported_if_it_arrives", a_punch_is_reported_if_it_arrives),
    ("a_splice_is_settled_once_and_ends_once", a_splice_is_settled_once_and_ends_once),
];

/// Long enough for a handshake and for any bound of it (20 s; PROTOCOL.md#handshake-bounds).
const LONG: Duration = Duration::from_secs(25);
/// Long enough for a frame to arrive.
const SHORT: Duration = Duration::from_secs(2);

fn frames_arrive_from_an_authenticated_peer(world: &mut dyn ConnNet) {
    let there = (world.id(Side::B), world.addr(Side::B));
    let dial = dial(world, DialId(7), there, LONG);
    world.run(SHORT);

    let Some(Event::ConnUp { conn: at_a, peer, key, role, direction, remote }) =
        world.poll_event(Side::A)
    else {
        panic!("the dial came up");
    };
    assert_eq!(peer, world.id(Side::B));
    assert_eq!(crate::identity::node_id(&key), peer, "the identifier is the hash of the key");
    assert_eq!((role, direction), (Role::Edge, Direction::Outgoing(dial)));
    assert_eq!(remote, world.addr(Side::B));
    assert_eq!(world.path(Side::A, at_a).map(|path| path.remote), Some(remote));

    send(world, Side::A, at_a, b"hello");
    world.run(SHORT);
    let Some(Event::ConnUp { conn: at_b, peer, key, role, direction, remote }) =
        world.poll_event(Side::B)
    else {
        panic!("the conn came up before its first frame");
    };
    assert_eq!(peer, world.id(Side::A));
    assert_eq!(crate::identity::node_id(&key), peer);
    assert_eq!((role, direction), (Role::Edge, Direction::Inbound));
    assert_eq!(remote, world.addr(Side::A));
    assert_eq!(frames(world, Side::B), [(at_b, Bytes::from("hello"))]);
    assert!(world.poll_event(Side::A).is_none(), "a dial is settled once");
}

fn frames_arrive_whole_and_in_order(world: &mut dyn ConnNet) {
    let (at_a, _) = connect(world, DialId(1));
    let sent: Vec<Vec<u8>> = [0, 1, 127, 128, 16_384, FRAME_MAX, 3]
        .into_iter()
        .map(|len: usize| vec![len as u8; len])
        .collect();
    // All at once, so that one could overtake another.
    for frame in &sent {
        send(world, Side::A, at_a, frame);
    }
    world.run(LONG);
    let arrived: Vec<_> = frames(world, Side::B).into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(arrived, sent);
}

fn the_acceptor_answers_on_the_same_conn(world: &mut dyn ConnNet) {
    let (at_a, at_b) = connect(world, DialId(1));
    send(world, Side::B, at_b, b"answer");
    send(world, Side::B, at_b, b"and more");
    world.run(SHORT);
    let expected = [(at_a, Bytes::from("answer")), (at_a, Bytes::from("and more"))];
    assert_eq!(frames(world, Side::A), expected);
}

fn a_close_reaches_the_other_end(world: &mut dyn ConnNet) {
    let (at_a, at_b) = connect(world, DialId(1));
    world.command(Side::A, Command::Close { conn: at_a, mode: CloseMode::Abort });
    is_gone(world, Side::A, at_a);
    world.run(SHORT);

    assert_eq!(down(world, Side::A), (at_a, ConnDownReason::ClosedHere));
    assert_eq!(down(world, Side::B), (at_b, ConnDownReason::ClosedByPeer));
    is_gone(world, Side::B, at_b);
    world.command(Side::A, Command::Close { conn: at_a, mode: CloseMode::Abort });
    world.run(SHORT);
    assert!(world.poll_event(Side::A).is_none(), "closing again does nothing");
}

fn a_drain_delivers_what_was_queued(world: &mut dyn ConnNet) {
    let (at_a, at_b) = connect(world, DialId(1));
    send(world, Side::A, at_a, b"farewell");
    world.command(Side::A, Command::Close { conn: at_a, mode: CloseMode::Drain });
    is_gone(world, Side::A, at_a);
    world.run(SHORT);

    assert_eq!(down(world, Side::A), (at_a, ConnDownReason::ClosedHere));
    let frame = world.poll_event(Side::B);
    let Some(Event::Frame { conn, frame }) = frame else {
        panic!("the frame comes before the end, not {frame:?}");
    };
    assert_eq!((conn, frame.to_bytes()), (at_b, Bytes::from("farewell")));
    assert_eq!(down(world, Side::B), (at_b, ConnDownReason::ClosedByPeer));
}

fn another_identity_fails_the_dial(world: &mut dyn ConnNet) {
    let unknown = NodeId::from_bytes([0x55; 32]);
    let there = (unknown, world.addr(Side::B));
    let dial = dial(world, DialId(1), there, LONG);
    world.run(SHORT);
    assert_eq!(failed(world), (dial, DialError::IdentityMismatch));
    // The conn may be up at the acceptor before the dialer refuses it. Then its end is reported,
    // too.
    while let Some(event) = world.poll_event(Side::B) {
        let short = matches!(event, Event::ConnUp { .. } | Event::ConnDown { .. });
        assert!(short, "nothing comes of it: {event:?}");
    }
}

fn a_dead_address_fails_the_dial(world: &mut dyn ConnNet) {
    let there = (world.id(Side::B), world.dead_addr());
    let dial = dial(world, DialId(1), there, 2 * LONG);
    world.run(LONG);
    assert_eq!(failed(world), (dial, DialError::NoRoute));
}

fn an_undialable_address_fails_the_dial(world: &mut dyn ConnNet) {
    for (number, addr) in ["0.0.0.0:1", "192.0.2.1:0", "[::]:1", "224.0.0.1:1"].iter().enumerate() {
        let addr = addr.parse().expect("a literal of this test");
        let there = (world.id(Side::B), addr);
        let dial = dial(world, DialId(number as u64), there, LONG);
        world.run(SHORT);
        assert_eq!(failed(world), (dial, DialError::BadAddress), "{addr}");
    }
}

fn a_deadline_fails_the_dial(world: &mut dyn ConnNet) {
    let there = (world.id(Side::B), world.dead_addr());
    let dial = dial(world, DialId(1), there, SHORT / 2);
    world.run(SHORT);
    assert_eq!(failed(world), (dial, DialError::TimedOut));
}

fn a_cancelled_dial_is_settled_once(world: &mut dyn ConnNet) {
    let there = (world.id(Side::B), world.dead_addr());
    let dial = dial(world, DialId(1), there, LONG);
    world.command(Side::A, Command::CancelDial(dial));
    world.command(Side::A, Command::CancelDial(dial));
    world.run(2 * LONG);
    assert_eq!(failed(world), (dial, DialError::Cancelled));
    assert!(world.poll_event(Side::A).is_none(), "a dial is settled once");
}

fn a_full_queue_gives_the_frame_back(world: &mut dyn ConnNet) {
    let (at_a, _) = connect(world, DialId(1));
    let frame = || Frame::from(Bytes::from(vec![7; FRAME_MAX]));
    let mut taken = 0;
    let refused = loop {
        match world.try_send(Side::A, at_a, Class::Transit, frame()) {
            Ok(()) => taken += 1,
            Err(SendError::Full(frame)) => break frame,
            Err(SendError::Gone(_)) => panic!("the conn is up"),
        }
        assert!(taken < 1000, "a queue has an end");
    };
    assert_eq!(refused.len(), FRAME_MAX, "the frame comes back whole");
    let urgent = world.try_send(Side::A, at_a, Class::Control, Frame::from(Bytes::from("ping")));
    assert!(urgent.is_ok(), "classes have queues of their own");

    world.run(LONG);
    assert!(matches!(world.poll_event(Side::A), Some(Event::Writable(conn)) if conn == at_a));
    assert!(world.poll_event(Side::A).is_none(), "room is reported once");
    assert!(world.try_send(Side::A, at_a, Class::Transit, frame()).is_ok());
    world.run(SHORT);
    assert_eq!(frames(world, Side::B).len(), taken + 2);
}

fn two_conns_of_one_pair_are_independent(world: &mut dyn ConnNet) {
    let (first_a, first_b) = connect(world, DialId(1));
    let (second_a, second_b) = connect(world, DialId(2));
    assert!(second_a > first_a && second_b > first_b, "identifiers count up");
    world.command(Side::A, Command::Close { conn: first_a, mode: CloseMode::Abort });
    send(world, Side::A, second_a, b"still here");
    world.run(SHORT);
    let mut events: Vec<Event> = std::iter::from_fn(|| world.poll_event(Side::B)).collect();
    assert_eq!(
        events.len(),
        2,
        "one ended and the other got its frame, in either order: {events:?}"
    );
    events.retain(|event| match event {
        Event::ConnDown { conn, reason } => {
            (*conn, *reason) != (first_b, ConnDownReason::ClosedByPeer)
        }
        Event::Frame { conn, frame } => *conn != second_b || frame.to_bytes() != "still here",
        _ => true,
    });
    assert!(events.is_empty(), "nothing else is due: {events:?}");
    is_gone(world, Side::B, first_b);
    assert_eq!(down(world, Side::A), (first_a, ConnDownReason::ClosedHere));
    send(world, Side::B, second_b, b"here too");
    world.run(SHORT);
    assert_eq!(frames(world, Side::A), [(second_a, Bytes::from("here too"))]);
}

fn the_path_follows_a_peer_that_moves(world: &mut dyn ConnNet) {
    let (at_a, at_b) = connect(world, DialId(1));
    let elsewhere = world.rebind(Side::A);
    send(world, Side::A, at_a, b"from elsewhere");
    world.run(SHORT);
    let moved = world.poll_event(Side::B);
    let Some(Event::PathChanged { conn, remote }) = moved else {
        panic!("the new address comes before what was sent from it, not {moved:?}");
    };
    assert_eq!((conn, remote), (at_b, elsewhere));
    assert_eq!(world.path(Side::B, at_b).map(|path| path.remote), Some(elsewhere));
    assert_eq!(frames(world, Side::B), [(at_b, Bytes::from("from elsewhere"))]);
    send(world, Side::B, at_b, b"found");
    world.run(SHORT);
    assert_eq!(frames(world, Side::A), [(at_a, Bytes::from("found"))], "B did not move");
}

fn a_punch_is_sent_as_it_is(world: &mut dyn ConnNet) {
    let (remote, bytes) = (world.dead_addr(), Bytes::from_static(b"\x00np\x01"));
    for ttl in [None, Some(2)] {
        world.command(Side::A, Command::Punch { remote, bytes: bytes.clone(), ttl });
        world.run(SHORT);
        assert_eq!(world.poll_punch(Side::A), Some((remote, bytes.clone(), ttl)));
        assert_eq!(world.poll_punch(Side::A), None, "once");
    }
    assert!(world.poll_event(Side::A).is_none(), "nothing is reported of it");
}

/// The transports are more than one hop apart. A datagram may get lost, but not ten in a row.
fn a_punch_is_reported_if_it_arrives(world: &mut dyn ConnNet) {
    let (from, remote) = (world.addr(Side::A), world.addr(Side::B));
    let bytes = Bytes::from_static(&PUNCH_DATAGRAM);
    let mut punch = |ttl| {
        for _ in 0..10 {
            world.command(Side::A, Command::Punch { remote, bytes: bytes.clone(), ttl });
            world.run(SHORT);
        }
        let reports = std::iter::from_fn(|| world.poll_event(Side::B)).map(|event| match event {
            Event::Punched { remote } => remote,
            other => panic!("only punches are due, not {other:?}"),
        });
        reports.collect::<Vec<SocketAddr>>()
    };
    assert_eq!(punch(Some(1)), [], "it ends at the first router");
    for ttl in [None, Some(255)] {
        let reported = punch(ttl);
        assert!((1..=10).contains(&reported.len()), "{reported:?}");
        assert!(reported.iter().all(|remote| *remote == from), "{reported:?}");
    }
    assert!(world.poll_event(Side::A).is_none(), "nothing is reported to its sender");
}

fn a_splice_is_settled_once_and_ends_once(world: &mut dyn ConnNet) {
    let (splice, local_ip) = (SpliceId(3), world.addr(Side::A).ip());
    let sides = [SpliceSide { local_ip, prefers: None }; 2];
    world.command(Side::A, Command::OpenSplice { splice, sides, group: 0 });
    world.run(SHORT);
    match world.poll_event(Side::A) {
        Some(Event::SpliceOver { splice: refused, reason }) => {
            assert_eq!((refused, reason), (splice, SpliceOverReason::Unsupported));
        }
        Some(Event::SpliceOpened { splice: opened, locals: [one, other] }) => {
            assert_eq!(opened, splice);
            assert!(one != other && one.port() != 0 && other.port() != 0, "{one} {other}");
            world.command(Side::A, Command::CloseSplice(splice));
            world.run(SHORT);
            let over = world.poll_event(Side::A);
            let Some(Event::SpliceOver { reason: SpliceOverReason::ClosedHere, .. }) = over else {
                panic!("the end of the splice is due, not {over:?}");
            };
        }
        other => panic!("the splice opens or is over, not {other:?}"),
    }
    world.command(Side::A, Command::CloseSplice(splice));
    world.run(SHORT);
    assert!(world.poll_event(Side::A).is_none(), "nothing follows for a splice that is over");
}

/// Dials from A to B, and has the first frame sent, so that both can send.
fn connect(world: &mut dyn ConnNet, dial_id: DialId) -> (ConnId, ConnId) {
    let there = (world.id(Side::B), world.addr(Side::B));
    dial(world, dial_id, there, LONG);
    world.run(SHORT);
    let Some(Event::ConnUp { conn: at_a, .. }) = world.poll_event(Side::A) else {
        panic!("the dial came up");
    };
    send(world, Side::A, at_a, b"first");
    world.run(SHORT);
    let Some(Event::ConnUp { conn: at_b, .. }) = world.poll_event(Side::B) else {
        panic!("the conn came up");
    };
    assert_eq!(frames(world, Side::B), [(at_b, Bytes::from("first"))]);
    (at_a, at_b)
}

fn dial(
    world: &mut dyn ConnNet,
    dial: DialId,
    (expected, remote): (NodeId, SocketAddr),
    patience: Duration,
) -> DialId {
    let deadline = world.now() + patience;
    world.command(Side::A, Command::Dial { dial, expected, remote, deadline });
    dial
}

fn send(world: &mut dyn ConnNet, side: Side, conn: ConnId, frame: &[u8]) {
    let frame = Frame::from(Bytes::copy_from_slice(frame));
    assert!(world.try_send(side, conn, Class::Own, frame).is_ok(), "{side:?} can send on {conn}");
}

fn frames(world: &mut dyn ConnNet, side: Side) -> Vec<(ConnId, Bytes)> {
    std::iter::from_fn(|| world.poll_event(side))
        .map(|event| match event {
            Event::Frame { conn, frame } => (conn, frame.to_bytes()),
            other => panic!("only frames are due, not {other:?}"),
        })
        .collect()
}

fn down(world: &mut dyn ConnNet, side: Side) -> (ConnId, ConnDownReason) {
    match world.poll_event(side) {
        Some(Event::ConnDown { conn, reason }) => (conn, reason),
        other => panic!("the end of a conn is due, not {other:?}"),
    }
}

fn failed(world: &mut dyn ConnNet) -> (DialId, DialError) {
    match world.poll_event(Side::A) {
        Some(Event::DialFailed { dial, error }) => (dial, error),
        other => panic!("the failure of a dial is due, not {other:?}"),
    }
}

fn is_gone(world: &mut dyn ConnNet, side: Side, conn: ConnId) {
    let sent = world.try_send(side, conn, Class::Own, Frame::from(Bytes::from("late")));
    assert!(matches!(sent, Err(SendError::Gone(frame)) if frame.len() == 4));
    assert!(world.path(side, conn).is_none());
}
