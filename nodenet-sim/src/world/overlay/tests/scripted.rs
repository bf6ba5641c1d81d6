//! Scripted machine for tests: executes the actions of a test and records its events.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{Command, EdgeInfo};
use nodenet_proto::buf::Frame;
use nodenet_proto::engine::Output;
use nodenet_proto::stats::Stats;
use nodenet_proto::transport::{
    self, Class, CloseMode, ConnDownReason, ConnId, Conns, DialError, DialId, Direction, Event,
    PathInfo, SendError, SpliceOverReason,
};

use crate::net::Nat;
use crate::world::overlay::{Machine, OverlayWorld, WorldConfig};
use crate::world::{Host, Join, World};

/// An event of a machine, without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Up { conn: ConnId, peer: NodeId, outgoing: Option<u64>, remote: SocketAddr },
    Failed(u64, DialError),
    Frame(ConnId, Bytes),
    Writable(ConnId),
    Down(ConnId, ConnDownReason),
    Opened([SocketAddr; 2]),
    Over(SpliceOverReason),
}

impl From<Event> for Heard {
    fn from(event: Event) -> Self {
        match event {
            Event::ConnUp { conn, peer, direction, remote, .. } => {
                let outgoing = match direction {
                    Direction::Outgoing(DialId(dial)) => Some(dial),
                    Direction::Inbound => None,
                };
                Self::Up { conn, peer, outgoing, remote }
            }
            Event::DialFailed { dial, error } => Self::Failed(dial.0, error),
            Event::Frame { conn, frame } => Self::Frame(conn, frame.to_bytes()),
            Event::Writable(conn) => Self::Writable(conn),
            Event::ConnDown { conn, reason } => Self::Down(conn, reason),
            Event::SpliceOpened { locals, .. } => Self::Opened(locals),
            Event::SpliceOver { reason, .. } => Self::Over(reason),
            Event::PathChanged { .. } | Event::Punched { .. } => {
                panic!("nothing in these tests causes it")
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    heard: VecDeque<(Instant, Event)>,
    outputs: VecDeque<transport::Command>,
    sends: VecDeque<(ConnId, Class, Frame)>,
    refused: Vec<SendError>,
}

struct Scripted {
    shared: Rc<RefCell<Shared>>,
    stats: Stats,
}

impl Machine for Scripted {
    fn handle_command(&mut self, _: Instant, _: Command, conns: &mut dyn Conns) {
        let mut shared = self.shared.borrow_mut();
        while let Some((conn, class, frame)) = shared.sends.pop_front() {
            if let Err(error) = conns.try_send(conn, class, frame) {
                shared.refused.push(error);
            }
        }
    }

    fn handle_transport(&mut self, now: Instant, event: Event, _: &mut dyn Conns) {
        self.shared.borrow_mut().heard.push_back((now, event));
    }

    fn handle_timeout(&mut self, _: Instant, _: &mut dyn Conns) {}

    fn handle_local_addrs(&mut self, _: Instant, _: &[SocketAddr]) {}

    fn poll(&mut self) -> Output {
        let output = self.shared.borrow_mut().outputs.pop_front();
        output.map_or(Output::Timeout(None), Output::Transport)
    }

    fn edges(&self, _: &dyn Conns) -> Vec<EdgeInfo> {
        Vec::new()
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }

    fn check(&self) {}
}

/// A world of scripted machines.
pub(super) struct Lab {
    pub(super) world: OverlayWorld,
    shared: Rc<RefCell<Vec<Rc<RefCell<Shared>>>>>,
    base: Instant,
    dials: u64,
}

impl Lab {
    pub(super) fn new(config: WorldConfig) -> Self {
        let shared = Rc::new(RefCell::new(Vec::new()));
        let made = Rc::clone(&shared);
        let base = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&base);
        let mut world = OverlayWorld::with_machines(
            config,
            Box::new(move |spawn| {
                seen.borrow_mut().get_or_insert(spawn.now);
                let shared = Rc::new(RefCell::new(Shared::default()));
                made.borrow_mut().push(Rc::clone(&shared));
                Box::new(Scripted { shared, stats: Stats::default() })
            }),
        );
        // The first host fixes the base of time and has no other role.
        let config = nodenet_proto::api::Config::default();
        world.join(Join { nat: Nat::Public, bootstrap: Vec::new(), config }).unwrap();
        let base = base.borrow().expect("a host was made");
        Self { world, shared, base, dials: 0 }
    }

    pub(super) fn host(&mut self, nat: Nat) -> Host {
        let config = nodenet_proto::api::Config::default();
        self.world.join(Join { nat, bootstrap: Vec::new(), config }).unwrap()
    }

    /// Starts a dial to the address of `target`, expecting `expected` there. Returns the id of the
    /// dial.
    pub(super) fn dial(&mut self, from: Host, target: Host, expected: Host) -> u64 {
        let (expected, remote) = (self.world.id(expected), self.world.addr(target));
        self.dial_addr(from, expected, remote, Duration::from_secs(60))
    }

    pub(super) fn dial_addr(
        &mut self,
        from: Host,
        expected: NodeId,
        remote: SocketAddr,
        patience: Duration,
    ) -> u64 {
        self.dials += 1;
        let dial = DialId(self.dials);
        let deadline = self.instant() + patience;
        let command = transport::Command::Dial { dial, expected, remote, deadline };
        self.execute(from, command);
        dial.0
    }

    pub(super) fn execute(&mut self, host: Host, command: transport::Command) {
        self.of(host).borrow_mut().outputs.push_back(command);
        self.poke(host);
    }

    pub(super) fn close(&mut self, host: Host, conn: ConnId, mode: CloseMode) {
        self.execute(host, transport::Command::Close { conn, mode });
    }

    /// Sends bytes; returns the reason if they were refused.
    pub(super) fn send(
        &mut self,
        host: Host,
        conn: ConnId,
        class: Class,
        bytes: Vec<u8>,
    ) -> Option<&'static str> {
        match self.try_send(host, conn, class, Bytes::from(bytes).into()) {
            Ok(()) => None,
            Err(SendError::Full(_)) => Some("full"),
            Err(SendError::Gone(_)) => Some("gone"),
        }
    }

    pub(super) fn try_send(
        &mut self,
        host: Host,
        conn: ConnId,
        class: Class,
        frame: Frame,
    ) -> Result<(), SendError> {
        self.of(host).borrow_mut().sends.push_back((conn, class, frame));
        self.poke(host);
        self.of(host).borrow_mut().refused.pop().map_or(Ok(()), Err)
    }

    /// The next event at `host`.
    pub(super) fn next_event(&mut self, host: Host) -> Option<Event> {
        self.of(host).borrow_mut().heard.pop_front().map(|(_, event)| event)
    }

    /// The current time, as machines get it.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.world.now().as_nanos())
    }

    pub(super) fn path(&self, host: Host, conn: ConnId) -> Option<PathInfo> {
        self.world.path(host, conn)
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.world.run_for(span).unwrap();
    }

    /// Events at `host` since the last call, with milliseconds since the start.
    pub(super) fn heard_at(&mut self, host: Host) -> Vec<(u128, Heard)> {
        let heard = core::mem::take(&mut self.of(host).borrow_mut().heard);
        heard.into_iter().map(|(at, event)| ((at - self.base).as_millis(), event.into())).collect()
    }

    pub(super) fn heard(&mut self, host: Host) -> Vec<Heard> {
        self.heard_at(host).into_iter().map(|(_, heard)| heard).collect()
    }

    /// Two public hosts with a conn between them, which the first one dialed.
    pub(super) fn pair(&mut self) -> Pair {
        let (a, b) = (self.host(Nat::Public), self.host(Nat::Public));
        let (conn_a, conn_b) = self.connect(a, b);
        Pair { a, b, conn_a, conn_b }
    }

    /// Dials and returns both ids of the conn.
    pub(super) fn connect(&mut self, a: Host, b: Host) -> (ConnId, ConnId) {
        self.heard(b);
        self.dial(a, b, b);
        self.pass(Duration::from_secs(5));
        let conn = |heard: Vec<Heard>| {
            heard.iter().find_map(|heard| match heard {
                Heard::Up { conn, .. } => Some(*conn),
                _ => None,
            })
        };
        let names = [a, b].map(|host| conn(self.heard(host)).expect("the dial succeeds"));
        (names[0], names[1])
    }

    fn of(&self, host: Host) -> Rc<RefCell<Shared>> {
        Rc::clone(&self.shared.borrow()[host.0 as usize])
    }

    fn poke(&mut self, host: Host) {
        self.world.command(host, Command::Bootstrap(Vec::new())).unwrap();
    }
}

/// Two hosts and the ids of the conn between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) a: Host,
    pub(super) b: Host,
    pub(super) conn_a: ConnId,
    pub(super) conn_b: ConnId,
}
