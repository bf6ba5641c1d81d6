//! Network of engines for tests: conns in memory, virtual time, everything scripted.
//!
//! Each conn has two ends with neighbouring identifiers. Frames take one latency, a handshake takes
//! two. A puppet is a participant without an engine: it sends raw frames and keeps those that it
//! receives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NodeId;
use crate::api::{BootstrapPeer, Command, Config, Event, KnownPeer, RequestId};
use crate::buf::Frame;
use crate::engine::{Engine, Output};
use crate::env::{Ed25519Crypto, Seed, UnixNanos, test_base};
use crate::identity::Identity;
use crate::transport::{
    self, Class, CloseMode, ConnDownReason, ConnId, Conns, DialError, DialId, Direction, PathInfo,
    SendError,
};
use crate::wire::{FrameHeader, FrameType};

/// Wall time at the start of every network.
pub(super) const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
/// Latency from one end of a conn to the other.
pub(super) const LATENCY: Duration = Duration::from_millis(10);

/// Names a participant: its index in the network.
pub(super) type Who = usize;

pub(super) struct EngineNet {
    pub(super) now: Instant,
    participants: Vec<Participant>,
    pub(super) wire: Wire,
    /// How often a timer of an engine fired.
    pub(super) wakes: u64,
    next_request: u64,
}

struct Participant {
    identity: Identity,
    addr: SocketAddr,
    engine: Option<Engine>,
    deadline: Option<Instant>,
    events: Vec<Event>,
    heard: Vec<(ConnId, Bytes)>,
    alive: bool,
}

/// The conns of the network and what is in flight.
pub(super) struct Wire {
    now: Instant,
    ends: BTreeMap<ConnId, End>,
    pending: BTreeMap<(Instant, u64), (Who, transport::Event)>,
    dialing: BTreeSet<(Who, DialId)>,
    next_conn: u64,
    ordinal: u64,
    /// Conns whose queue is full.
    full: BTreeSet<ConnId>,
    /// Round-trip times to these addresses, as the transport reports them, if they are not twice
    /// the latency.
    pub(super) rtts: BTreeMap<SocketAddr, Duration>,
    /// Every frame that was taken: its sender, conn, class and type.
    pub(super) sent: Vec<(Who, ConnId, Class, u8)>,
    /// Every dial: its time, the dialing participant, the peer, the address.
    pub(super) dials: Vec<(Instant, Who, NodeId, SocketAddr)>,
    /// Where punches went. They arrive nowhere.
    pub(super) punches: Vec<SocketAddr>,
    /// What was asked of splices.
    pub(super) splices: Vec<transport::Command>,
}

#[derive(Clone, Copy)]
struct End {
    owner: Who,
    remote: SocketAddr,
    closing: bool,
}

impl EngineNet {
    pub(super) fn new() -> Self {
        let now = test_base();
        let wire = Wire {
            now,
            ends: BTreeMap::new(),
            pending: BTreeMap::new(),
            dialing: BTreeSet::new(),
            next_conn: 0,
            ordinal: 0,
            full: BTreeSet::new(),
            rtts: BTreeMap::new(),
            sent: Vec::new(),
            dials: Vec::new(),
            punches: Vec::new(),
            splices: Vec::new(),
        };
        Self { now, participants: Vec::new(), wire, wakes: 0, next_request: 0 }
    }

    /// A network of this many engines without edges.
    pub(super) fn of(count: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..count {
            world.add(Config::default());
        }
        world
    }

    /// A network of this many engines without maintenance: they dial, ping and ask only on command.
    pub(super) fn still(count: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..count {
            world.add(Config { maintenance: false, ..Config::default() });
        }
        world
    }

    pub(super) fn add(&mut self, config: Config) -> Who {
        let who = self.participants.len();
        self.add_as(identity(who as u64), config)
    }

    pub(super) fn add_as(&mut self, identity: Identity, config: Config) -> Who {
        let who = self.add_puppet(identity.clone());
        let seed = Seed::from_u64(7).child("participant", who as u64);
        let wall = UnixNanos(WALL.0 + self.elapsed().as_nanos() as i64);
        let engine = Engine::new(config, identity, Box::new(Ed25519Crypto), &seed, self.now, wall);
        self.participants[who].engine = Some(engine);
        who
    }

    pub(super) fn add_puppet(&mut self, identity: Identity) -> Who {
        let who = self.participants.len();
        self.participants.push(Participant {
            identity,
            addr: SocketAddr::from(([10, (who >> 8) as u8, who as u8, 1], 4242)),
            engine: None,
            deadline: None,
            events: Vec::new(),
            heard: Vec::new(),
            alive: true,
        });
        who
    }

    pub(super) fn id(&self, who: Who) -> NodeId {
        self.participants[who].identity.id()
    }

    pub(super) fn identity(&self, who: Who) -> &Identity {
        &self.participants[who].identity
    }

    pub(super) fn addr(&self, who: Who) -> SocketAddr {
        self.participants[who].addr
    }

    /// A participant as another could export it.
    pub(super) fn known(&self, who: Who) -> KnownPeer {
        let (id, key) = (self.id(who), *self.identity(who).public_key());
        KnownPeer { id, key, addrs: vec![self.addr(who)] }
    }

    pub(super) fn engine(&self, who: Who) -> &Engine {
        self.participants[who].engine.as_ref().expect("an engine, not a puppet")
    }

    /// Wall time now, by a correct clock.
    pub(super) fn wall(&self) -> UnixNanos {
        UnixNanos(WALL.0 + self.elapsed().as_nanos() as i64)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now.duration_since(test_base())
    }

    /// The peers of `who`, nearest first.
    pub(super) fn peers(&self, who: Who) -> Vec<Who> {
        let edges = self.engine(who).edges(&self.wire);
        edges.iter().map(|edge| self.who(&edge.peer)).collect()
    }

    pub(super) fn who(&self, id: &NodeId) -> Who {
        self.participants.iter().position(|p| p.identity.id() == *id).expect("a participant")
    }

    /// The events of `who` since the last call.
    pub(super) fn events(&mut self, who: Who) -> Vec<Event> {
        core::mem::take(&mut self.participants[who].events)
    }

    /// The frames of this type that a puppet received since the last call.
    pub(super) fn heard(&mut self, who: Who, frame_type: FrameType) -> Vec<Bytes> {
        let heard = core::mem::take(&mut self.participants[who].heard);
        let (wanted, rest) =
            heard.into_iter().partition(|(_, frame)| frame[1] == frame_type.to_byte());
        self.participants[who].heard = rest;
        let wanted: Vec<(ConnId, Bytes)> = wanted;
        wanted.into_iter().map(|(_, frame)| frame).collect()
    }

    pub(super) fn punches(&self) -> Vec<SocketAddr> {
        self.wire.punches.clone()
    }

    pub(super) fn command(
        &mut self,
        who: Who,
        make: impl FnOnce(RequestId) -> Command,
    ) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.with_engine(who, |engine, now, wire| {
            engine.handle_command(now, make(request), wire);
        });
        request
    }

    pub(super) fn send(&mut self, from: Who, to: Who, payload: &'static [u8]) -> RequestId {
        let (target, payload) = (self.id(to), Bytes::from_static(payload));
        self.command(from, |request| Command::Send { request, target, payload })
    }

    pub(super) fn connect(&mut self, from: Who, to: Who) -> RequestId {
        let (target, addrs) = (self.id(to), vec![self.addr(to)]);
        self.command(from, |request| Command::Connect { request, target, addrs })
    }

    pub(super) fn bootstrap(&mut self, who: Who, seed: Who) {
        let seeds = vec![BootstrapPeer { id: self.id(seed), addrs: vec![self.addr(seed)] }];
        self.command(who, |_| Command::Bootstrap(seeds));
    }

    pub(super) fn leave(&mut self, who: Who) -> RequestId {
        self.command(who, |request| Command::Leave { request })
    }

    /// Opens a conn from a puppet, which is reported to the engine at the other end at once.
    pub(super) fn open(&mut self, puppet: Who, to: Who) -> ConnId {
        let conn = self.wire.open(puppet, to, self.addr(puppet), self.addr(to));
        let event = self.conn_up(ConnId(conn.0 ^ 1), puppet, Direction::Inbound);
        self.give(to, event);
        conn
    }

    /// A puppet sends a frame.
    pub(super) fn say(&mut self, conn: ConnId, frame: impl Into<Frame>) {
        self.wire.try_send(conn, Class::Own, frame.into()).expect("puppets close no conns");
        self.run_for(LATENCY);
    }

    /// Makes a conn refuse frames, or take them again.
    pub(super) fn set_full(&mut self, conn: ConnId, full: bool) {
        if full {
            self.wire.full.insert(conn);
        } else {
            self.wire.full.remove(&conn);
        }
    }

    /// The ends at `from` of the conns between two participants.
    pub(super) fn conns_between(&self, from: Who, to: Who) -> Vec<ConnId> {
        let is_between = |id: ConnId, end: &End| {
            let other = self.wire.ends.get(&ConnId(id.0 ^ 1));
            end.owner == from && other.is_some_and(|other| other.owner == to)
        };
        self.wire.ends.iter().filter(|(id, end)| is_between(**id, end)).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_alive(&self, who: Who) -> bool {
        self.participants[who].alive
    }

    /// Stops a participant without a Leave.
    pub(super) fn crash(&mut self, who: Who) {
        self.participants[who].alive = false;
        self.participants[who].deadline = None;
    }

    /// Starts it again with the same keys and nothing else.
    pub(super) fn restart(&mut self, who: Who) {
        let ends = &self.wire.ends;
        let old: Vec<ConnId> =
            ends.iter().filter(|(_, end)| end.owner == who).map(|(id, _)| *id).collect();
        for id in old {
            self.wire.ends.remove(&id);
        }
        let identity = self.participants[who].identity.clone();
        let seed = Seed::from_u64(8).child("participant", who as u64);
        let crypto = Box::new(Ed25519Crypto);
        let engine = Engine::new(Config::default(), identity, crypto, &seed, self.now, self.wall());
        self.participants[who].engine = Some(engine);
        self.participants[who].alive = true;
    }

    /// Advances the clock, handles all that is due, and checks every engine after each step.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let alive = self.participants.iter().enumerate().filter(|(_, p)| p.alive);
            let timer = alive.filter_map(|(who, p)| p.deadline.map(|at| (at, who))).min();
            let arrival = self.wire.pending.first_key_value().map(|(&key, _)| key);
            match (arrival, timer) {
                (Some((at, ordinal)), timer)
                    if at <= end && timer.is_none_or(|(timer, _)| at <= timer) =>
                {
                    self.move_to(at);
                    let (who, event) = self.wire.pending.remove(&(at, ordinal)).expect("peeked");
                    self.arrive(who, event);
                }
                (_, Some((at, who))) if at <= end => {
                    self.move_to(at);
                    self.wakes += 1;
                    self.with_engine(who, |engine, now, wire| engine.handle_timeout(now, wire));
                }
                _ => break,
            }
        }
        self.move_to(end);
    }

    /// Passes a report of the transport to an engine, invented or not.
    pub(super) fn give(&mut self, who: Who, event: transport::Event) {
        self.with_engine(who, |engine, now, wire| engine.handle_transport(now, event, wire));
    }

    pub(super) fn with_engine(
        &mut self,
        who: Who,
        act: impl FnOnce(&mut Engine, Instant, &mut Wire),
    ) {
        let participant = &mut self.participants[who];
        let engine = participant.engine.as_mut().expect("an engine, not a puppet");
        act(engine, self.now, &mut self.wire);
        engine.check();
        let mut commands = Vec::new();
        participant.deadline = loop {
            match engine.poll() {
                Output::Transport(command) => commands.push(command),
                Output::Event(event) => participant.events.push(event),
                Output::Timeout(deadline) => break deadline.map(|deadline| deadline.at),
            }
        };
        for command in commands {
            self.carry_out(who, command);
        }
    }

    fn move_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.wire.now = self.now;
    }

    fn arrive(&mut self, who: Who, event: transport::Event) {
        if !self.participants[who].alive {
            return;
        }
        let is_late = match &event {
            transport::Event::Frame { conn, .. } => {
                self.wire.ends.get(conn).is_none_or(|end| end.closing)
            }
            transport::Event::ConnDown { conn, .. } => self.wire.ends.remove(conn).is_none(),
            _ => false,
        };
        if is_late {
            return;
        }
        if self.participants[who].engine.is_some() {
            self.give(who, event);
        } else if let transport::Event::Frame { conn, frame } = event {
            self.participants[who].heard.push((conn, frame.to_bytes()));
        }
    }

    fn carry_out(&mut self, who: Who, command: transport::Command) {
        match command {
            transport::Command::Dial { dial, expected, remote, deadline } => {
                self.wire.dials.push((self.now, who, expected, remote));
                self.wire.dialing.insert((who, dial));
                self.dial(who, dial, expected, remote, deadline);
            }
            transport::Command::CancelDial(dial) => {
                if self.wire.dialing.remove(&(who, dial)) {
                    let error = DialError::Cancelled;
                    let event = transport::Event::DialFailed { dial, error };
                    self.wire.after(Duration::ZERO, who, event);
                }
            }
            transport::Command::Close { conn, mode } => self.wire.close(conn, mode),
            transport::Command::Punch { remote, .. } => self.wire.punches.push(remote),
            transport::Command::OpenSplice { .. }
            | transport::Command::CloseSplice(_)
            | transport::Command::LimitSplices { .. } => self.wire.splices.push(command),
        }
    }

    fn dial(
        &mut self,
        who: Who,
        dial: DialId,
        expected: NodeId,
        remote: SocketAddr,
        deadline: Instant,
    ) {
        let there = self.participants.iter().position(|p| p.addr == remote && p.alive);
        let failed = |error| transport::Event::DialFailed { dial, error };
        match there {
            Some(other) if self.id(other) == expected => {
                let conn = self.wire.open(who, other, self.addr(who), remote);
                let outgoing = self.conn_up(conn, other, Direction::Outgoing(dial));
                let inbound = self.conn_up(ConnId(conn.0 ^ 1), who, Direction::Inbound);
                self.wire.after(2 * LATENCY, who, outgoing);
                self.wire.after(2 * LATENCY, other, inbound);
            }
            Some(_) => self.wire.after(2 * LATENCY, who, failed(DialError::IdentityMismatch)),
            None => {
                self.wire.after(deadline - self.now, who, failed(DialError::TimedOut));
            }
        }
    }

    fn conn_up(&self, conn: ConnId, peer: Who, direction: Direction) -> transport::Event {
        let Participant { identity, addr, .. } = &self.participants[peer];
        let (peer, key) = (identity.id(), *identity.public_key());
        transport::Event::ConnUp {
            conn,
            peer,
            key,
            role: transport::Role::Edge,
            direction,
            remote: *addr,
        }
    }
}

impl Wire {
    fn open(&mut self, from: Who, to: Who, from_addr: SocketAddr, to_addr: SocketAddr) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 2;
        self.ends.insert(conn, End { owner: from, remote: to_addr, closing: false });
        let other = End { owner: to, remote: from_addr, closing: false };
        self.ends.insert(ConnId(conn.0 ^ 1), other);
        conn
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        end.closing = true;
        let (owner, other) = (end.owner, ConnId(conn.0 ^ 1));
        let down = |conn, reason| transport::Event::ConnDown { conn, reason };
        let drained = if mode == CloseMode::Drain { 2 * LATENCY } else { Duration::ZERO };
        self.after(drained, owner, down(conn, ConnDownReason::ClosedHere));
        if let Some(peer) = self.ends.get(&other).map(|end| end.owner) {
            self.after(LATENCY, peer, down(other, ConnDownReason::ClosedByPeer));
        }
    }

    /// Makes a conn refuse all frames, like one that ended and is not reported yet.
    pub(super) fn close_unnoticed(&mut self, conn: ConnId) {
        if let Some(end) = self.ends.get_mut(&conn) {
            end.closing = true;
        }
    }

    fn after(&mut self, span: Duration, who: Who, event: transport::Event) {
        self.ordinal += 1;
        self.pending.insert((self.now + span, self.ordinal), (who, event));
    }
}

impl Conns for Wire {
    fn try_send(&mut self, conn: ConnId, class: Class, frame: Frame) -> Result<(), SendError> {
        let Some(end) = self.ends.get(&conn).copied().filter(|end| !end.closing) else {
            return Err(SendError::Gone(frame));
        };
        if self.full.contains(&conn) {
            return Err(SendError::Full(frame));
        }
        let type_byte = FrameHeader::of(&frame).map_or(0, |(header, _)| header.type_byte);
        self.sent.push((end.owner, conn, class, type_byte));
        let other = ConnId(conn.0 ^ 1);
        if let Some(peer) = self.ends.get(&other).map(|end| end.owner) {
            self.after(LATENCY, peer, transport::Event::Frame { conn: other, frame });
        }
        Ok(())
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        let end = self.ends.get(&conn)?;
        let rtt = self.rtts.get(&end.remote).copied().unwrap_or(2 * LATENCY);
        Some(PathInfo { remote: end.remote, rtt })
    }
}

/// The keys of the participant with this number.
pub(super) fn identity(number: u64) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::from_master_seed(&seed)
}
