//! Simulated transport: reliable, ordered conns between hosts, with delay, loss and bytes on the
//! wire.
//!
//! Responsible for: conns and what the transport boundary promises of them, delays, loss,
//! partitions, traffic. Never: the meaning of a frame, nor a call into a machine. Events for a
//! machine wait in the event queue.
//!
//! A conn is reliable. Loss makes a frame, and every later one of that direction, late by a
//! retransmission (RFC 9002 §6.2). A partition holds frames back until it heals. When a host
//! crashes, its conns go silent: frames into them are dropped and not counted as received.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use nodenet_proto::buf::Frame;
use nodenet_proto::transport::{
    Class, CloseMode, ConnDownReason, ConnId, DRAIN_MAX, Direction, Event, FIRST_FRAME_TIMEOUT,
    IDLE_TIMEOUT, Role,
};
use slab::Slab;

use super::conns::{ConnTable, EndRef, EndState, Packet};
use super::dials::{DialStep, DialTable};
use super::host::HostState;
use super::splices::{SideRef, SpliceStep, SpliceTable};
use crate::clock::EventQueue;
use crate::clock::{Moment, nanos};
use crate::hash;
use crate::net::Nat;
use crate::net::latency;
use crate::world::Host;
use crate::world::meters::{Meters, Traffic, frame_bytes, packets};

/// Longest that an acknowledgement waits for a frame that carries it: quinn-proto's `max_ack_delay`
/// (RFC 9000 §18.2: 25 ms).
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Bytes in flight from which the queue of a class is full (guess). Control has the largest, so
/// that it is refused last.
pub(super) const IN_FLIGHT_MAX: [u32; Class::ALL.len()] =
    [384 << 10, 256 << 10, 128 << 10, 384 << 10];
/// Interval of the search for idle conns.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Retransmissions of one packet after which it arrives in any case (guess). With 10 % loss that
/// concerns one packet in ten million.
const RETRANSMISSIONS_MAX: u32 = 7;

/// An event in the queue of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheduled {
    /// The deadline of a host, or an earlier one that was replaced.
    Wake(Host),
    /// A frame arrives.
    Arrival { packet: u32 },
    /// An end gets `Writable`.
    Writable { end: EndRef, generation: u32 },
    /// An end gets `ConnDown`.
    Gone { end: EndRef, generation: u32, reason: ConnDownReason },
    /// A host's own close is complete.
    ClosedHere { host: Host, conn: ConnId },
    /// A draining end was acknowledged, or waited long enough.
    Drained { end: EndRef, generation: u32 },
    /// The bound for the first frame on an accepted conn.
    FirstFrame { end: EndRef, generation: u32 },
    /// An end gets a packet from another address of its peer.
    PathChanged { end: EndRef, generation: u32 },
    /// A punch arrives, if the NAT of the host it is for lets it in.
    Punch { from: Host, to: Host },
    /// A splice goes on.
    Splice(SpliceStep),
    /// A dial goes on.
    Dial { dial: u32, serial: u32, step: DialStep },
    /// The search for idle conns.
    Sweep,
}

/// Settings of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NetConfig {
    /// Seed of all fates of the network.
    pub(crate) salt: u64,
    /// Share of packets that are lost.
    pub(crate) loss: f64,
    /// Conns a host accepts, at most.
    pub(crate) accepted_conns_max: u32,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) config: NetConfig,
    pub(crate) now: Moment,
    pub(crate) queue: EventQueue<Scheduled>,
    pub(crate) host_states: Vec<HostState>,
    pub(crate) meters: Meters,
    pub(crate) conns: ConnTable,
    pub(crate) dials: DialTable,
    pub(crate) splices: SpliceTable,
    /// What is under way, each with one arrival in the queue unless it is held back. Nothing where
    /// a packet was put behind others and goes under another key: its first arrival is then void.
    pub(super) packets: Slab<Option<Packet>>,
    by_addr: IndexMap<SocketAddr, Host>,
    /// The hosts behind hard NATs by the IP address of the NAT, of which each has one.
    hard_by_ip: IndexMap<Ipv4Addr, Host>,
    /// Frames that a partition holds back, in order of arrival.
    pub(super) held: Vec<u32>,
    /// The last punch that was sent.
    pub(super) punch: Option<(Host, SocketAddr, Bytes, Option<u8>)>,
    pub(super) partitioned: bool,
}

impl Net {
    pub(crate) fn new(config: NetConfig) -> Self {
        let mut queue = EventQueue::new();
        queue.push(Moment::START + SWEEP_INTERVAL, Scheduled::Sweep);
        Self {
            config,
            now: Moment::START,
            queue,
            host_states: Vec::new(),
            meters: Meters::default(),
            conns: ConnTable::default(),
            dials: DialTable::default(),
            splices: SpliceTable::default(),
            packets: Slab::new(),
            by_addr: IndexMap::new(),
            hard_by_ip: IndexMap::new(),
            held: Vec::new(),
            punch: None,
            partitioned: false,
        }
    }

    pub(crate) fn add(&mut self, state: HostState) -> Host {
        let host = Host(self.host_states.len() as u32);
        self.by_addr.insert(state.addr.into(), host);
        if state.nat == Nat::Hard {
            self.hard_by_ip.insert(*state.addr.ip(), host);
        }
        self.host_states.push(state);
        self.meters.add_host(self.now);
        host
    }

    pub(crate) fn host_state(&self, host: Host) -> &HostState {
        &self.host_states[host.index()]
    }

    pub(crate) fn host_state_mut(&mut self, host: Host) -> &mut HostState {
        &mut self.host_states[host.index()]
    }

    /// The host that is to be found at an address.
    pub(crate) fn at_addr(&self, addr: &SocketAddr) -> Option<Host> {
        self.by_addr.get(addr).copied()
    }

    /// The host that packets of `from` to this address get to, or to the NAT of.
    pub(super) fn found_at(&self, from: Host, addr: &SocketAddr) -> Option<Host> {
        let IpAddr::V4(ip) = addr.ip() else { return self.at_addr(addr) };
        match self.hard_by_ip.get(&ip) {
            Some(&hard) if self.host_state(hard).up => {
                (SocketAddr::from(self.seen_from(hard, from)) == *addr).then_some(hard)
            }
            _ => self.at_addr(addr),
        }
    }

    /// The address of `host` as `other` sees it. A hard NAT maps another port for every peer.
    pub(super) fn seen_from(&self, host: Host, other: Host) -> SocketAddrV4 {
        let state = self.host_state(host);
        let mut addr = state.addr;
        if state.nat == Nat::Hard {
            let fate = hash::fate(self.config.salt, self.link(host, other), u64::from(host.0));
            addr.set_port(10_000 + hash::below(fate, 50_000) as u16);
        }
        addr
    }

    /// Key of a pair of hosts, made from their identifiers, so that fates do not depend on the
    /// order of joins.
    pub(crate) fn link(&self, a: Host, b: Host) -> u64 {
        let [a, b] = [a, b].map(|host| {
            let id = self.host_state(host).id;
            u64::from_le_bytes(id.as_bytes()[..8].try_into().expect("an identifier is longer"))
        });
        a.rotate_left(1).wrapping_add(b)
    }

    /// The host crashes: its conns go silent.
    pub(crate) fn crash(&mut self, host: Host) {
        let state = self.host_state_mut(host);
        state.up = false;
        let addr = SocketAddr::from(state.addr);
        (state.wake_at, state.deadline) = (None, None);
        for end in core::mem::take(&mut self.host_state_mut(host).ends) {
            self.finish(end, EndState::Silent);
        }
        self.splices.remove_all_of(host);
        if self.by_addr.get(&addr) == Some(&host) {
            self.by_addr.swap_remove(&addr);
        }
        if let IpAddr::V4(ip) = addr.ip()
            && self.hard_by_ip.get(&ip) == Some(&host)
        {
            self.hard_by_ip.swap_remove(&ip);
        }
    }

    /// Opens a conn between two hosts, through the side of a splice that the dialer dialed if there
    /// is one; gives the dialer's end.
    pub(crate) fn open(&mut self, dialer: Host, acceptor: Host, via: Option<SideRef>) -> EndRef {
        let through = via.and_then(|via| self.splices.seen_at(via));
        let seen_at = through.unwrap_or_else(|| {
            [self.seen_from(dialer, acceptor), self.seen_from(acceptor, dialer)]
        });
        let ends = [(dialer, seen_at[0]), (acceptor, seen_at[1])].map(|(host, seen_at)| {
            let state = self.host_state_mut(host);
            state.conns_ever += 1;
            (host, state.conns_ever - 1, seen_at)
        });
        let latency = self.latency_between(dialer, acceptor, via);
        let link = self.link(dialer, acceptor);
        let splice = via.map(|via| via.splice());
        let end = self.conns.open(ends, self.now, nanos(latency), link, splice);
        self.host_state_mut(dialer).ends.push(end);
        let state = self.host_state_mut(acceptor);
        state.ends.push(end.peer());
        state.accepted += 1;
        self.meters.count_probes([dialer, acceptor], self.now);
        let generation = self.conns.generation(end);
        let due = Scheduled::FirstFrame { end: end.peer(), generation };
        self.queue.push(self.now + FIRST_FRAME_TIMEOUT, due);
        end
    }

    /// The event of a new conn for the host of `end`.
    pub(crate) fn conn_up(&self, end: EndRef, direction: Direction) -> Event {
        let peer = self.conns.end(end.peer());
        let state = self.host_state(peer.host);
        Event::ConnUp {
            conn: self.conns.id(end),
            peer: state.id,
            key: state.key,
            role: Role::Edge,
            direction,
            remote: peer.seen_at.into(),
        }
    }

    /// Takes a frame that is due; nothing if it does not arrive.
    pub(crate) fn arrive(&mut self, packet: u32) -> Option<(EndRef, Frame)> {
        let sender = self.sender(packet);
        if sender.is_some_and(|from| self.crosses_partition(from)) {
            self.held.push(packet);
            return None;
        }
        let Packet { frame, .. } = self.packets.remove(packet as usize)?;
        let from = sender.filter(|&from| !self.is_cut(from))?;
        match self.conns.end(from.peer()).state {
            EndState::Open => {}
            EndState::Draining | EndState::Silent => return None,
            EndState::Closed => {
                self.reset(from);
                return None;
            }
        }
        self.on_arrival(from, frame.len(), Traffic::of(&frame));
        Some((from.peer(), frame))
    }

    /// Whether the conn of `end` is the same and the end is open.
    pub(crate) fn current(&self, end: EndRef, generation: u32) -> bool {
        self.conns.is_current(end, generation) && self.conns.end(end).state == EndState::Open
    }

    /// Carries out a close that a host asked for.
    pub(crate) fn close(&mut self, host: Host, conn: ConnId, mode: CloseMode) {
        let Some(end) = self.conns.resolve(host, conn) else { return };
        let generation = self.conns.generation(end);
        let pending = self.conns.end(end).last_arrival
            + Duration::from_nanos(self.conns.conn(end).delay_nanos);
        if mode == CloseMode::Drain && pending > self.now {
            self.conns.end_mut(end).state = EndState::Draining;
            let at = pending.min(self.now + DRAIN_MAX);
            self.queue.push(at, Scheduled::Drained { end, generation });
        } else {
            self.finish_close(end);
        }
    }

    /// What a draining end sent is acknowledged, or it waited long enough.
    pub(crate) fn on_drained(&mut self, end: EndRef, generation: u32) {
        let draining = self.conns.end(end).state == EndState::Draining;
        if self.conns.is_current(end, generation) && draining {
            self.finish_close(end);
        }
    }

    /// The end is closed. Its host gets an event, and so does its peer if the close can reach it.
    fn finish_close(&mut self, end: EndRef) {
        let host = self.conns.end(end).host;
        let closed = Scheduled::ClosedHere { host, conn: self.conns.id(end) };
        self.queue.push(self.now, closed);
        self.tell_peer(end);
        self.detach(end);
    }

    /// A close goes to the peer, behind every frame, unless something is in the way.
    pub(crate) fn tell_peer(&mut self, end: EndRef) {
        let (host, peer) = (self.conns.end(end).host, self.conns.end(end.peer()));
        self.meters.count_close(host, self.now);
        if peer.state == EndState::Open && !self.crosses_partition(end) && !self.is_cut(end) {
            let arrival = self.conns.end(end).last_arrival.max(self.delayed(end));
            let generation = self.conns.generation(end);
            let reason = ConnDownReason::ClosedByPeer;
            let gone = Scheduled::Gone { end: end.peer(), generation, reason };
            self.queue.push(arrival, gone);
        }
    }

    /// Counts the close or reset that arrives at a host.
    pub(crate) fn count_gone(&mut self, end: EndRef, reason: ConnDownReason) {
        let [host, peer] = [end, end.peer()].map(|end| self.conns.end(end).host);
        match reason {
            ConnDownReason::ClosedByPeer => self.meters.count_answered_close(peer, host, self.now),
            ConnDownReason::Reset => self.meters.count_close(host, self.now),
            _ => {}
        }
    }

    /// The end is closed, and its host knows or will get an event.
    pub(crate) fn detach(&mut self, end: EndRef) {
        let host = self.conns.end(end).host;
        let state = self.host_state_mut(host);
        let at = state.ends.iter().position(|&other| other == end);
        state.ends.swap_remove(at.expect("an end that is not over is listed at its host"));
        state.accepted -= u32::from(!end.is_dialer());
        self.finish(end, EndState::Closed);
    }

    /// The end is over. An acknowledgement that is not due yet is in the packet of the close, or is
    /// never sent if the host crashed.
    fn finish(&mut self, end: EndRef, state: EndState) {
        self.settle_ack(end);
        let mine = self.conns.end_mut(end);
        mine.set_ack_due(None);
        mine.state = state;
        self.release_if_over(end);
    }

    /// Ends conns without traffic for the idle time-out.
    pub(crate) fn sweep(&mut self) {
        self.queue.push(self.now + SWEEP_INTERVAL, Scheduled::Sweep);
        for dialer in self.conns.slots() {
            let ends = [dialer, dialer.peer()];
            let states = ends.map(|end| self.conns.end(end).state);
            let moved = ends.map(|end| self.conns.end(end).last_arrival).into_iter().max();
            // A conn that is over needs no event. One whose other host crashed gets none: the
            // engine has to notice.
            if !states.contains(&EndState::Open)
                || states.contains(&EndState::Silent)
                || self.now.since(moved.unwrap_or(self.now)) <= IDLE_TIMEOUT
            {
                continue;
            }
            let generation = self.conns.generation(dialer);
            for end in ends {
                let reason = ConnDownReason::TimedOut;
                self.queue.push(self.now, Scheduled::Gone { end, generation, reason });
            }
        }
    }

    /// Counts acknowledgements that nothing carried and that are overdue.
    pub(crate) fn settle_acks(&mut self) {
        for dialer in self.conns.slots() {
            for end in [dialer, dialer.peer()] {
                self.settle_ack(end);
            }
        }
    }

    /// When something sent from `end` now arrives, if no loss delays it and nothing goes before it.
    pub(super) fn delayed(&self, end: EndRef) -> Moment {
        let conn = self.conns.conn(end);
        let ordinal = u64::from(self.conns.end(end).sent) << 1 | u64::from(end.is_dialer());
        let fate = hash::fate(self.config.salt, conn.link, ordinal);
        self.now + Duration::from_nanos(latency::jitter(conn.delay_nanos, fate))
    }

    pub(super) fn transmit(&mut self, end: EndRef, frame: Frame) {
        let len = frame.len();
        let kind = Traffic::of(&frame);
        self.settle_ack(end);
        let arrival = self.delayed(end);
        let lost = self.retransmissions(end, packets(len));
        let mine = self.conns.end_mut(end);
        let (host, number) = (mine.host, mine.sent);
        mine.set_ack_due(None);
        mine.sent += 1;
        mine.in_flight = mine.in_flight.saturating_add(len as u32);
        let bytes = frame_bytes(len) + frame_bytes(len.min(1_200)) * u64::from(lost.0);
        self.meters.count(host, self.now, kind, bytes);
        if self.conns.end(end.peer()).state == EndState::Silent || self.is_cut(end) {
            return;
        }
        if let Some(splice) = self.conns.conn(end).splice {
            self.pass_on(splice, kind, bytes);
        }
        let generation = self.conns.generation(end);
        let packet = Packet { from: end, generation, number, frame };
        let packet = self.packets.insert(Some(packet)) as u32;
        self.schedule_arrival(end, packet, arrival + lost.1);
    }

    pub(super) fn schedule_arrival(&mut self, from: EndRef, packet: u32, at: Moment) {
        let sender = self.conns.end_mut(from);
        sender.last_arrival = sender.last_arrival.max(at);
        let at = sender.last_arrival;
        self.queue.push(at, Scheduled::Arrival { packet });
    }

    /// How many packets of a frame are sent again, and how much later the frame is whole.
    fn retransmissions(&self, end: EndRef, packets: u64) -> (u32, Duration) {
        if self.config.loss == 0.0 {
            return (0, Duration::ZERO);
        }
        let conn = self.conns.conn(end);
        let ordinal = u64::from(self.conns.end(end).sent) << 1 | u64::from(end.is_dialer());
        let mut repeats = 0;
        let mut worst = 0;
        for packet in 0..packets {
            let again = lost_in_a_row(self.config, conn.link, ordinal << 8 | packet);
            repeats += again;
            worst = worst.max(again);
        }
        // The probe timeout of a path whose round trips vary by an eighth (RFC 9002 §6.2.1).
        let timeout = Duration::from_nanos(conn.delay_nanos * 3) + ACK_DELAY;
        (repeats, timeout * ((1 << worst) - 1))
    }

    fn on_arrival(&mut self, from: EndRef, len: usize, kind: Traffic) {
        let now = self.now;
        let delay_nanos = self.conns.conn(from).delay_nanos;
        let sender = self.conns.end_mut(from);
        let sending = sender.host;
        sender.in_flight = sender.in_flight.saturating_sub(len as u32);
        if sender.refused && sender.in_flight < IN_FLIGHT_MAX[Class::Transit as usize] / 2 {
            sender.refused = false;
            let generation = self.conns.generation(from);
            let at = now + Duration::from_nanos(delay_nanos);
            self.queue.push(at, Scheduled::Writable { end: from, generation });
        }
        let end = from.peer();
        self.settle_ack(end);
        let packets = packets(len);
        let receiver = self.conns.end_mut(end);
        let receiving = receiver.host;
        receiver.heard = true;
        // Every second packet is acknowledged at once, a single one after the delay (RFC 9000
        // §13.2).
        let pending = packets + u64::from(receiver.ack_due().is_some());
        let due = if pending.is_multiple_of(2) { now } else { now + ACK_DELAY };
        receiver.set_ack_due(Some(due));
        for _ in 0..(pending - 1) / 2 {
            self.meters.count_ack(receiving, sending);
        }
        self.meters.count(receiving, now, kind, frame_bytes(len));
        self.meters.busy_until(receiving, now + ACK_DELAY);
        self.meters.busy_until(sending, now + ACK_DELAY + Duration::from_nanos(delay_nanos));
    }

    /// Counts the acknowledgement that left as a packet of its own because no frame carried it in
    /// time.
    fn settle_ack(&mut self, end: EndRef) {
        let mine = self.conns.end_mut(end);
        if mine.ack_due().is_some_and(|due| due < self.now) {
            mine.set_ack_due(None);
            let host = mine.host;
            self.meters.count_ack(host, self.conns.end(end.peer()).host);
        }
    }

    /// The host at the other end of `end` is up but knows nothing of the conn (RFC 9000 §10.3).
    fn reset(&mut self, end: EndRef) {
        let knows_nothing = self.conns.end_mut(end.peer());
        if !core::mem::replace(&mut knows_nothing.reset_sent, true) {
            let (resetting, generation) = (knows_nothing.host, self.conns.generation(end));
            self.meters.count_close(resetting, self.now);
            let reason = ConnDownReason::Reset;
            let at = self.delayed(end.peer());
            self.queue.push(at, Scheduled::Gone { end, generation, reason });
        }
    }

    fn release_if_over(&mut self, end: EndRef) {
        let over = |end| matches!(self.conns.end(end).state, EndState::Closed | EndState::Silent);
        if over(end) && over(end.peer()) {
            self.conns.release(end);
        }
    }
}

/// Losses of a packet, one after the other, until it arrives.
pub(crate) fn lost_in_a_row(config: NetConfig, link: u64, ordinal: u64) -> u32 {
    let lost = |attempt: &u32| {
        let fate = hash::fate(!config.salt, link, ordinal << 4 | u64::from(*attempt));
        hash::hit(fate, config.loss)
    };
    (0..RETRANSMISSIONS_MAX).take_while(lost).count() as u32
}
