//! Relay splices: pairs of UDP sockets between which a relay volunteer passes QUIC datagrams on
//! (PROTOCOL.md#relay-splices).
//!
//! Responsible for: the two sockets of a splice, the remote that each side is pinned to, the rates,
//! the idle time-out. Never: decides which peer may ask for a splice, looks into a datagram, or
//! takes a packet of this node's own conns.
//!
//! # The life of a splice
//! [`Splices::open`] asks the driver for two sockets. When both are bound, the engine gets
//! [`Event::SpliceOpened`] with their addresses. The first remote that sends QUIC or a punch to a
//! side is pinned there. A datagram from the pinned remote of one side then leaves, unchanged, from
//! the socket of the other side to its pinned remote. The splice ends with one
//! [`Event::SpliceOver`]: closed by the engine, idle, or without a socket.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use indexmap::IndexMap;

use crate::env::{CounterHash, Rate, TimerQueue, TokenBucket};
use crate::io::{Deadline, EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::stats::{DropReason, Stats};
use crate::transport::{Event, SpliceId, SpliceOverReason};

/// Splices of one node, at most (reference).
const SPLICES_MAX: usize = 256;
/// A splice that passed nothing on for this long is over (reference).
const IDLE: Duration = Duration::from_secs(30);
/// Datagrams that wait to be sent, at most, over all splices (guess: a burst of one splice).
const READY_MAX: usize = 64;
/// Datagrams that one splice passes on, both ways together (reference).
const PACKETS: Rate = Rate::new(1_000, 256);
/// Bytes that one splice passes on, both ways together (reference).
const BYTES: Rate = Rate::new(250_000, 131_072);
/// Bytes that all splices pass on together (reference).
const BYTES_OF_ALL: Rate = Rate::new(2_000_000, 262_144);

/// A datagram on a socket of a splice, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// It can be a QUIC packet, and is passed on.
    Quic,
    /// It opens a mapping in the sender's NAT. It pins its side and is not passed on.
    Punch,
}

/// Output of the splices for the driver.
#[derive(Debug)]
pub(crate) enum Output {
    /// Open a socket, and report that it is open or failed.
    OpenSocket {
        /// The id of the socket.
        socket: SocketId,
        /// The address of this node for it.
        local_ip: IpAddr,
    },
    /// Close a socket.
    CloseSocket {
        /// Which.
        socket: SocketId,
    },
    /// Send what is in the [`TransmitBuf`].
    Transmit(Transmit),
}

/// Number of a splice here. Its sockets follow from it, so that a datagram finds it in one look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair(u64);

impl Pair {
    fn of(socket: SocketId) -> Option<(Self, usize)> {
        let number = socket.0.checked_sub(SocketId::MAIN.0 + 1)?;
        Some((Self(number / 2), (number % 2) as usize))
    }

    fn socket(self, side: usize) -> SocketId {
        SocketId(SocketId::MAIN.0 + 1 + 2 * self.0 + side as u64)
    }
}

/// One side of a splice.
#[derive(Debug)]
struct Side {
    /// The address of its socket, once that is bound.
    local: Option<SocketAddr>,
    /// The host that alone can be pinned here.
    expected: Option<IpAddr>,
    /// The remote of this side.
    pin: Option<SocketAddr>,
}

impl Side {
    /// Whether `remote` is the one that is pinned here; the first one becomes it. Its port may
    /// change, as when a NAT mapping expires.
    fn admits(&mut self, remote: SocketAddr) -> bool {
        let host = self.pin.map(|pin| pin.ip()).or(self.expected);
        let admits = host.is_none_or(|host| host == remote.ip());
        if admits {
            self.pin = Some(remote);
        }
        admits
    }
}

#[derive(Debug)]
struct Splice {
    id: SpliceId,
    sides: [Side; 2],
    packets: TokenBucket,
    bytes: TokenBucket,
    /// When it last passed something on, or began.
    active_at: Instant,
}

/// All splices of a node.
#[derive(Debug)]
pub(crate) struct Splices {
    splices: IndexMap<Pair, Splice, CounterHash>,
    pairs: u64,
    bytes: TokenBucket,
    /// When to look whether a splice is idle. A datagram does not move it.
    timers: TimerQueue<Pair>,
    /// Datagrams to be sent.
    ready: VecDeque<(Transmit, BytesMut)>,
    /// Sockets to be opened and closed, two for each splice.
    sockets: VecDeque<Output>,
    /// Events for the engine, two for each splice.
    events: VecDeque<Event>,
    stats: Stats,
}

impl Splices {
    /// None.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            splices: IndexMap::default(),
            pairs: 0,
            bytes: TokenBucket::new(now),
            timers: TimerQueue::new(),
            ready: VecDeque::new(),
            sockets: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Asks for the sockets of a splice. Where `expected` names a host, only that can be pinned.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        id: SpliceId,
        local_ip: IpAddr,
        expected: [Option<IpAddr>; 2],
    ) {
        if self.splices.len() >= SPLICES_MAX {
            let reason = SpliceOverReason::Full;
            return self.events.push_back(Event::SpliceOver { splice: id, reason });
        }
        let pair = Pair(self.pairs);
        self.pairs += 1;
        let sides = expected.map(|expected| Side { local: None, expected, pin: None });
        let (packets, bytes) = (TokenBucket::new(now), TokenBucket::new(now));
        self.splices.insert(pair, Splice { id, sides, packets, bytes, active_at: now });
        self.timers.set(pair, now + IDLE);
        for socket in [pair.socket(0), pair.socket(1)] {
            self.sockets.push_back(Output::OpenSocket { socket, local_ip });
        }
    }

    /// Ends a splice. One that is over already has reported so.
    pub(crate) fn close(&mut self, id: SpliceId) {
        let found = self.splices.iter().find(|(_, splice)| splice.id == id);
        if let Some(pair) = found.map(|(pair, _)| *pair) {
            self.end(pair, SpliceOverReason::ClosedHere, None);
        }
    }

    /// A socket is bound.
    pub(crate) fn handle_socket_opened(&mut self, socket: SocketId, local: SocketAddr) {
        let Some((pair, side)) = self.find(socket) else { return };
        let splice = &mut self.splices[&pair];
        splice.sides[side].local = Some(local);
        if let [Some(one), Some(other)] = [0, 1].map(|side| splice.sides[side].local) {
            self.events.push_back(Event::SpliceOpened { splice: splice.id, locals: [one, other] });
        }
    }

    /// A socket could not be opened, or is lost.
    pub(crate) fn handle_socket_failed(&mut self, socket: SocketId) {
        if let Some((pair, _)) = self.find(socket) {
            self.end(pair, SpliceOverReason::SocketFailed, Some(socket));
        }
    }

    /// A datagram arrived on another socket than the main one. It leaves on the other side if both
    /// sides are pinned and the rates allow it.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        remote: SocketAddr,
        ecn: Option<EcnCodepoint>,
        payload: Payload,
        data: BytesMut,
    ) {
        if let Err(reason) = self.forward(now, (socket, remote), ecn, payload, data) {
            self.stats.count_drop(reason);
        }
    }

    /// Ends the splices that are idle.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(pair) = self.timers.pop_due(now) {
            let idle_at = self.splices[&pair].active_at + IDLE;
            if idle_at > now {
                self.timers.set(pair, idle_at);
            } else {
                self.end(pair, SpliceOverReason::Idle, None);
            }
        }
    }

    /// Whether there is an event for the engine.
    #[inline]
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event for the engine.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether something is to be done.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.sockets.is_empty()
    }

    /// The next thing to do. A datagram is written into `buf`, which must be empty. Datagrams come
    /// first, so that what was taken before a socket closes is sent from it.
    pub(crate) fn poll_output(&mut self, buf: &mut TransmitBuf) -> Option<Output> {
        let Some((transmit, data)) = self.ready.pop_front() else {
            return self.sockets.pop_front();
        };
        buf.bytes.extend_from_slice(&data);
        self.stats.counters.datagrams_sent += 1;
        self.stats.counters.bytes_sent += data.len() as u64;
        Some(Output::Transmit(transmit))
    }

    /// When to call [`Self::handle_timeout`], if ever.
    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.peek().map(|(at, _)| Deadline { at, reason: "splice" })
    }

    /// Counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.timers.check();
        assert!(self.splices.len() <= SPLICES_MAX && self.ready.len() <= READY_MAX);
        assert_eq!(self.timers.len(), self.splices.len(), "every splice has a timer");
        for pair in self.splices.keys() {
            assert!(self.timers.deadline(pair).is_some() && pair.0 < self.pairs);
        }
    }

    fn forward(
        &mut self,
        now: Instant,
        (socket, remote): (SocketId, SocketAddr),
        ecn: Option<EcnCodepoint>,
        payload: Payload,
        data: BytesMut,
    ) -> Result<(), DropReason> {
        let (pair, side) = Pair::of(socket).ok_or(DropReason::UnknownSocket)?;
        let splice = self.splices.get_mut(&pair).ok_or(DropReason::UnknownSocket)?;
        if !splice.sides[side].admits(remote) {
            return Err(DropReason::SpliceOtherRemote);
        }
        if payload == Payload::Punch {
            return Err(DropReason::Punch);
        }
        let other = 1 - side;
        let remote = splice.sides[other].pin.ok_or(DropReason::SpliceNotPinned)?;
        let len = data.len() as u64;
        // What an earlier bucket gave is not given back when a later one refuses (reference).
        if !splice.packets.take(now, PACKETS, 1)
            || !splice.bytes.take(now, BYTES, len)
            || !self.bytes.take(now, BYTES_OF_ALL, len)
        {
            return Err(DropReason::SpliceRateLimited);
        }
        if self.ready.len() >= READY_MAX {
            return Err(DropReason::ReadyQueueFull);
        }
        splice.active_at = now;
        let socket = pair.socket(other);
        let transmit =
            Transmit { socket, remote, local_ip: None, ecn, segment_len: None, ttl: None };
        self.ready.push_back((transmit, data));
        Ok(())
    }

    /// The live splice of a socket. A report about another socket crossed the end of its splice, or
    /// the driver made it up.
    fn find(&mut self, socket: SocketId) -> Option<(Pair, usize)> {
        let found = Pair::of(socket).filter(|(pair, _)| self.splices.contains_key(pair));
        if found.is_none() {
            self.stats.count_drop(DropReason::UnknownSocket);
        }
        found
    }

    fn end(&mut self, pair: Pair, reason: SpliceOverReason, lost: Option<SocketId>) {
        let Some(splice) = self.splices.swap_remove(&pair) else { return };
        self.timers.stop(&pair);
        for socket in [pair.socket(0), pair.socket(1)] {
            if Some(socket) != lost {
                self.sockets.push_back(Output::CloseSocket { socket });
            }
        }
        self.events.push_back(Event::SpliceOver { splice: splice.id, reason });
    }
}

#[cfg(test)]
mod tests;
