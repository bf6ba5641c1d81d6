//! Relay splices: pairs of UDP sockets between which a relay volunteer passes QUIC datagrams on
//! (PROTOCOL.md#relay-splices).
//!
//! Responsible for: the two sockets of a splice, the remote that each side is pinned to (`side`),
//! the rates (`shares`), the idle time-out. Never: decides which peer may ask for a splice, reads
//! more of a packet than its connection IDs, or takes a packet of this node's own conns.
//!
//! # The life of a splice
//! [`Splices::open`] asks the driver for two sockets. When both are bound, the engine gets
//! [`Event::SpliceOpened`] with their addresses. A remote that sends QUIC or a punch to a side is
//! pinned there. A datagram from the pinned remote of one side then leaves, unchanged, from the
//! socket of the other side to its pinned remote. The splice ends with one [`Event::SpliceOver`]:
//! closed by the engine, idle, without a socket, or because a quota is used up.

mod shares;
mod side;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use indexmap::IndexMap;

use self::shares::Shares;
use self::side::{Header, Side};
use crate::env::{CounterHash, Rate, TimerQueue, TokenBucket};
use crate::io::{Deadline, EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::stats::{DropReason, Stats};
use crate::transport::{Event, SPLICE_BYTES_PER_S, SpliceId, SpliceOverReason, SpliceSide};

/// Splices of one node, at most (reference).
const SPLICES_MAX: usize = 256;
/// A splice that passed nothing on for this long is over (reference).
const IDLE: Duration = Duration::from_secs(30);
/// One that passed nothing on at all is over after this long (a guess: its two ends begin at once
/// or not at all).
const UNUSED: Duration = Duration::from_secs(10);
/// Datagrams that wait to be sent, at most, over all splices (guess: a burst of one splice).
const READY_MAX: usize = 64;
/// Datagrams that one splice passes on, both ways together (reference).
const PACKETS: Rate = Rate::new(1_000, 256);
/// Bytes that one splice passes on, both ways together (reference).
const BYTES: Rate = Rate::new(250_000, 131_072);
/// Bytes that all splices pass on at once, unless the engine sets a rate (reference).
const BURST_OF_ALL: u64 = 262_144;

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

#[derive(Debug)]
struct Splice {
    id: SpliceId,
    sides: [Side; 2],
    /// Splices of one group share the rate of all as one.
    group: u64,
    packets: TokenBucket,
    bytes: TokenBucket,
    /// When it last passed something on, or began.
    active_at: Instant,
    /// Whether it passed anything on.
    is_used: bool,
}

impl Splice {
    /// When it is over if it passes nothing on.
    fn idle_at(&self) -> Instant {
        self.active_at + if self.is_used { IDLE } else { UNUSED }
    }
}

/// All splices of a node.
#[derive(Debug)]
pub(crate) struct Splices {
    splices: IndexMap<Pair, Splice, CounterHash>,
    pairs: u64,
    shares: Shares,
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
            shares: Shares::new(now, SPLICE_BYTES_PER_S, BURST_OF_ALL),
            timers: TimerQueue::new(),
            ready: VecDeque::new(),
            sockets: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Asks for the sockets of a splice, one that shares the rate of all with its group.
    pub(crate) fn open(&mut self, now: Instant, id: SpliceId, sides: [SpliceSide; 2], group: u64) {
        let refused = match self.shares.bytes_left() {
            Some(0) => Some(SpliceOverReason::QuotaUsed),
            _ if self.splices.len() >= SPLICES_MAX => Some(SpliceOverReason::Full),
            _ => None,
        };
        if let Some(reason) = refused {
            return self.events.push_back(Event::SpliceOver { splice: id, reason });
        }
        let pair = Pair(self.pairs);
        self.pairs += 1;
        for (number, side) in sides.iter().enumerate() {
            let (socket, local_ip) = (pair.socket(number), side.local_ip);
            self.sockets.push_back(Output::OpenSocket { socket, local_ip });
        }
        let sides = sides.map(|side| Side::new(side.prefers));
        let (packets, bytes) = (TokenBucket::new(now), TokenBucket::new(now));
        let splice = Splice { id, sides, group, packets, bytes, active_at: now, is_used: false };
        self.timers.set(pair, splice.idle_at());
        self.splices.insert(pair, splice);
        self.shares.join(now, group);
    }

    /// Sets the rate of all splices, and how much they may pass on from now.
    pub(crate) fn limit(&mut self, now: Instant, bytes_per_s: u64, bytes_left: Option<u64>) {
        self.shares.set(now, bytes_per_s, bytes_left);
    }

    /// What is left of the quota, if there is one.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        self.shares.bytes_left()
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
            if reason == DropReason::SpliceQuotaUsed {
                self.shares.use_up();
                self.end_all(SpliceOverReason::QuotaUsed);
            }
        }
    }

    /// Ends the splices that are idle.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(pair) = self.timers.pop_due(now) {
            let idle_at = self.splices[&pair].idle_at();
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
        assert_eq!(self.shares.splices(), self.splices.len(), "every splice is in a group");
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
        let header = match payload {
            Payload::Punch => None,
            Payload::Quic => Some(Header::of(&data).ok_or(DropReason::SpliceNotQuic)?),
        };
        let [caller, callee] = &mut splice.sides;
        let (from, to) = if side == 0 { (caller, callee) } else { (callee, caller) };
        from.admit(remote, header, to)?;
        if payload == Payload::Punch {
            return Err(DropReason::Punch);
        }
        let remote = to.pin().ok_or(DropReason::SpliceNotPinned)?;
        let len = data.len() as u64;
        // What an earlier bucket gave is not given back when a later one refuses (reference).
        if !splice.packets.take(now, PACKETS, 1) || !splice.bytes.take(now, BYTES, len) {
            return Err(DropReason::SpliceRateLimited);
        }
        self.shares.take(now, splice.group, len)?;
        if self.ready.len() >= READY_MAX {
            return Err(DropReason::ReadyQueueFull);
        }
        (splice.active_at, splice.is_used) = (now, true);
        self.stats.counters.bytes_relayed += len;
        let socket = pair.socket(1 - side);
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

    fn end_all(&mut self, reason: SpliceOverReason) {
        let pairs: Vec<Pair> = self.splices.keys().copied().collect();
        for pair in pairs {
            self.end(pair, reason, None);
        }
    }

    fn end(&mut self, pair: Pair, reason: SpliceOverReason, lost: Option<SocketId>) {
        let Some(splice) = self.splices.swap_remove(&pair) else { return };
        self.timers.stop(&pair);
        self.shares.leave(splice.group);
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
