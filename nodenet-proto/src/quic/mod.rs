//! The transport over quinn-proto: one endpoint, authenticated conns, frames on one stream each.
//!
//! Responsible for: handshakes and who may begin one, framing, queues and backpressure, bounds that
//! QUIC does not have, closing (PROTOCOL.md#conns). Never: a routing decision, or what is in a
//! frame. It speaks the language of [`crate::transport`] with the engine and datagrams with the
//! driver.
//!
//! # The life of a call
//! An input (datagram, command, timeout) is given to QUIC, and what QUIC reports at once becomes
//! events. The conn is then marked dirty, because it may have something to send, and readable if
//! stream data arrived. [`Quic::read`] gives each readable conn its share of frames, and
//! [`Quic::poll_transmit`] each dirty conn one batch of datagrams, both round robin. A conn that is
//! marked neither costs nothing, so an idle poll does not depend on how many conns there are.

mod conn;
mod edge;
mod endpoint;
mod shared;
#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use indexmap::IndexMap;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, Incoming, ServerConfig,
};

pub use endpoint::config::Config;
pub use endpoint::tls;

use crate::addr::canonical;
use crate::buf::Frame;
use crate::env::{CounterHash, Seed, TimerQueue};
use crate::identity::Identity;
use crate::io::{Deadline, EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::stats::{DropReason, Gauges, Stats};
use crate::transport::{Class, Command, ConnId, Conns, DialError, Event, PathInfo, SendError};
use conn::{Conn, Dial, Settled};
use endpoint::admission::{Admission, Verdict};
use endpoint::profile;
use endpoint::ready::Ready;
use shared::Shared;
use tls::{Entropy, Tls, with_entropy};

/// Conns that get their share of reading in one call (guess); the next call goes on with the
/// others.
const TURNS_PER_CALL: usize = 16;
/// Conns whose timers fire in one call (guess); the next call goes on with the others.
const EXPIRIES_PER_CALL: usize = 256;
/// Bytes that one send can carry: the largest UDP payload over IPv4.
const BATCH_MAX: usize = 65_507;

/// The transport over QUIC.
pub struct Quic {
    conns: IndexMap<ConnId, Box<Conn>, CounterHash>,
    shared: Shared,
    ready: Ready,
    timers: TimerQueue<ConnId>,
    /// The first of the timers, once nothing is left to transmit.
    deadline: Option<Deadline>,
    tls: Tls,
    /// Absent only while it is in use.
    entropy: Option<Entropy>,
    client: ClientConfig,
    last_id: u64,
    started: Instant,
    now: Instant,
}

impl Quic {
    /// A transport without conns. It proves to be `identity`; all its randomness comes from `seed`.
    pub fn new(config: Config, identity: &Identity, seed: &Seed, now: Instant) -> Self {
        let tls = Tls::new(identity, seed);
        let mut client = tls.client_config();
        client.transport_config(profile::dialed(config.mtu_discovery));
        let server = listener(&tls, &config);
        let mut endpoint = tls.endpoint_config();
        endpoint.max_udp_payload_size(profile::MTU_MAX).expect("more than the least, 1200");
        let endpoint =
            Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), config.mtu_discovery, None);
        Self {
            conns: IndexMap::default(),
            shared: Shared::new(endpoint, Admission::new(config)),
            ready: Ready::default(),
            timers: TimerQueue::new(),
            deadline: None,
            tls,
            entropy: Some(Entropy::new(seed)),
            client,
            last_id: 0,
            started: now,
            now,
        }
    }

    /// Tells the time to the calls that do not take it: [`Conns::try_send`], [`Self::read`] and
    /// [`Self::poll_transmit`]. Handlers tell it too.
    pub fn advance(&mut self, now: Instant) {
        if now == self.now {
            return;
        }
        self.now = now;
        self.tls.token_clock().set(now.saturating_duration_since(self.started));
    }

    /// Takes a datagram that arrived on the main socket and may be a QUIC packet.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        self.advance(now);
        self.with_entropy(|quic| quic.on_datagram(remote, local_ip, ecn, data));
    }

    /// Carries out what the engine asks.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.advance(now);
        match command {
            Command::Dial { dial, expected, remote, deadline } => {
                let wanted = Dial::new(dial, expected);
                if let Err(error) =
                    self.with_entropy(|quic| quic.dial(wanted, canonical(remote), deadline))
                {
                    self.shared.stats.counters.dials_failed += 1;
                    self.shared.events.push_back(Event::DialFailed { dial, error });
                }
            }
            Command::CancelDial(dial) => {
                if let Some(id) = self.shared.dials.get(&dial).copied() {
                    self.on_conn(id, |conn, shared| conn.cancel_dial(now, shared));
                }
            }
            Command::Close { conn, mode } => {
                self.on_conn(conn, |conn, shared| conn.close(now, mode, shared));
            }
        }
    }

    /// Lets timers that are due fire, a bounded number of them.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for _ in 0..EXPIRIES_PER_CALL {
            let Some(id) = self.timers.pop_due(now) else { return };
            self.on_conn(id, |conn, shared| {
                conn.wakes_at = None;
                while let Some(timer) = conn.timers.pop_due(now) {
                    conn.on_timer(now, timer, shared);
                }
            });
        }
    }

    /// Gives conns that have something to read their share, each at most once and a bounded number
    /// of them. Returns whether anybody had a turn.
    pub fn read(&mut self) -> bool {
        let turns = self.shared.readable.len().min(TURNS_PER_CALL);
        if turns == 0 {
            return false;
        }
        let now = self.now;
        for _ in 0..turns {
            let Some(id) = self.shared.readable.pop_front() else { break };
            self.on_conn(id, |conn, shared| {
                conn.is_readable = false;
                conn.read_turn(now, shared);
            });
        }
        true
    }

    /// Whether a conn still has something to read.
    pub fn is_readable(&self) -> bool {
        !self.shared.readable.is_empty()
    }

    /// Whether a conn, or the endpoint, may have something to send, or timers may have changed.
    pub fn is_dirty(&self) -> bool {
        !self.shared.dirty.is_empty() || !self.ready.is_empty()
    }

    /// Whether there is something to tell the engine.
    pub fn has_event(&self) -> bool {
        !self.shared.events.is_empty()
    }

    /// The next thing to tell the engine.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// Writes the next datagram, or batch of datagrams, into `buf`, which must be empty. When there
    /// is none, every timer is up to date.
    pub fn poll_transmit(&mut self, buf: &mut TransmitBuf) -> Option<Transmit> {
        let transmit = match self.ready.pop(&mut buf.bytes) {
            Some(transmit) => transmit,
            None => self.poll_dirty(buf)?,
        };
        let counters = &mut self.shared.stats.counters;
        counters.datagrams_sent += datagrams(&transmit);
        counters.bytes_sent += transmit.size as u64;
        Some(Transmit {
            socket: SocketId::MAIN,
            remote: transmit.destination,
            local_ip: transmit.src_ip,
            ecn: transmit.ecn,
            segment_len: transmit.segment_size,
        })
    }

    /// When to call [`Self::handle_timeout`], if ever. Right once nothing is left to transmit.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Counters, and gauges of now.
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.stats.clone();
        let mut gauges = Gauges {
            conns_accepted: self.shared.admission.conns() as u64,
            handshakes: self.shared.admission.handshakes() as u64,
            dials: self.shared.dials.len() as u64,
            ..Gauges::default()
        };
        for conn in self.conns.values() {
            gauges.conns += u64::from(conn.is_up());
            gauges.conns_closing += u64::from(conn.is_over());
            gauges.queued_bytes += conn.queued() as u64;
            gauges.buffered_bytes += conn.buffered() as u64;
        }
        stats.gauges = gauges;
        stats
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {
        self.shared.admission.check();
        self.timers.check();
        if !self.is_dirty() {
            assert_eq!(self.deadline, self.first_timer(), "the deadline is up to date");
        }
        for (id, conn) in &self.conns {
            assert_eq!(*id, conn.id);
            conn.check();
            if !conn.is_dirty {
                let next = conn.timers.next().map(|(at, _)| at);
                assert_eq!(conn.wakes_at, next, "the queue knows the next timer");
                assert_eq!(self.timers.deadline(id), next);
            }
        }
        for (dial, id) in &self.shared.dials {
            assert!(self.conns.contains_key(id), "{dial} has a conn");
        }
        for (handle, id) in self.shared.by_handle.iter().enumerate() {
            let conn = id.and_then(|id| self.conns.get(&id));
            assert_eq!(id.is_some(), conn.is_some_and(|conn| conn.handle.0 == handle));
        }
    }

    /// Runs `call`, and with it TLS, on this node's own randomness. TLS acts when a datagram is
    /// taken and when a conn begins; timers, streams and what is sent ask it for nothing random.
    fn with_entropy<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let mut entropy = self.entropy.take().expect("calls into QUIC do not nest");
        let result = with_entropy(&mut entropy, || call(self));
        self.entropy = Some(entropy);
        result
    }

    /// Lets a conn act, unless it is gone: a command may cross the end of its conn, and a conn that
    /// is gone may still be marked.
    fn on_conn(&mut self, id: ConnId, call: impl FnOnce(&mut Conn, &mut Shared)) {
        if let Some(conn) = self.conns.get_mut(&id) {
            call(conn, &mut self.shared);
        }
    }

    fn on_datagram(
        &mut self,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        let now = self.now;
        let mut response = self.ready.buffer();
        let event = self.shared.endpoint.handle(now, remote, local_ip, ecn, data, &mut response);
        let transmit = match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let id = self.shared.by_handle[handle.0];
                if let Some(conn) = id.and_then(|id| self.conns.get_mut(&id)) {
                    conn.quic.handle_event(event);
                    conn.on_datagram(now, &mut self.shared);
                }
                None
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.admit(remote, incoming, &mut response)
            }
            Some(DatagramEvent::Response(transmit)) => Some(transmit),
            None => {
                self.shared.stats.count_drop(DropReason::Stray);
                None
            }
        };
        if !self.ready.push(transmit, response) {
            self.shared.stats.count_drop(DropReason::ReadyQueueFull);
        }
    }

    /// Decides about the first packet of a handshake.
    fn admit(
        &mut self,
        remote: SocketAddr,
        incoming: Incoming,
        response: &mut Vec<u8>,
    ) -> Option<quinn_proto::Transmit> {
        let address_proven = incoming.remote_address_validated();
        let shared = &mut self.shared;
        match shared.admission.decide(remote, address_proven) {
            Verdict::Retry => match shared.endpoint.retry(incoming, response) {
                Ok(transmit) => {
                    shared.stats.counters.retries_sent += 1;
                    Some(transmit)
                }
                // Only after a Retry, which would have proved the address.
                Err(error) => Some(shared.endpoint.refuse(error.into_incoming(), response)),
            },
            Verdict::Refuse(reason) => {
                shared.stats.count_drop(reason);
                Some(shared.endpoint.refuse(incoming, response))
            }
            Verdict::Handshake => {
                let now = self.now;
                match shared.endpoint.accept(incoming, now, response, None) {
                    Ok((handle, quic)) => {
                        let half_open = shared.admission.begin_handshake(remote, address_proven);
                        let id =
                            self.insert(|id| Conn::new(id, handle, quic, None, Some(half_open)));
                        self.on_conn(id, |conn, shared| {
                            conn.start_handshake(now, None);
                            conn.service(now, shared);
                        });
                        None
                    }
                    Err(error) => {
                        shared.stats.count_drop(DropReason::Stray);
                        error.response
                    }
                }
            }
        }
    }

    fn dial(&mut self, dial: Dial, remote: SocketAddr, deadline: Instant) -> Result<(), DialError> {
        let now = self.now;
        if deadline <= now {
            return Err(DialError::TimedOut);
        }
        let (handle, quic) = self.connect(remote).ok_or(DialError::BadAddress)?;
        let name = dial.id;
        let id = self.insert(|id| Conn::new(id, handle, quic, Some(dial), None));
        let before = self.shared.dials.insert(name, id);
        assert!(before.is_none(), "the engine never uses {name} again");
        self.on_conn(id, |conn, shared| {
            conn.start_handshake(now, Some(deadline));
            conn.service(now, shared);
        });
        Ok(())
    }

    fn connect(&mut self, remote: SocketAddr) -> Option<(ConnectionHandle, Connection)> {
        let ip = remote.ip();
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if broadcast || ip.is_multicast() || ip.is_unspecified() || remote.port() == 0 {
            return None;
        }
        let name = tls::server_name(remote);
        self.shared.endpoint.connect(self.now, self.client.clone(), remote, &name).ok()
    }

    fn insert(&mut self, make: impl FnOnce(ConnId) -> Conn) -> ConnId {
        self.last_id += 1;
        let id = ConnId(self.last_id);
        let conn = make(id);
        self.shared.bind_handle(conn.handle.0, id);
        self.conns.insert(id, Box::new(conn));
        id
    }

    fn poll_dirty(&mut self, buf: &mut TransmitBuf) -> Option<quinn_proto::Transmit> {
        while let Some(id) = self.shared.dirty.pop_front() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let mtu = usize::from(conn.quic.current_mtu());
            let segments = match buf.segments_max.max(1) {
                segments if segments * mtu <= BATCH_MAX => segments,
                _ => (BATCH_MAX / mtu).max(1),
            };
            if let Some(transmit) = conn.quic.poll_transmit(self.now, segments, &mut buf.bytes) {
                self.shared.dirty.push_back(id);
                return Some(transmit);
            }
            conn.is_dirty = false;
            match conn.settle(self.now, &mut self.shared) {
                Settled::Again => {}
                Settled::Quiet => {
                    let next = conn.timers.next().map(|(at, _)| at);
                    if next != conn.wakes_at {
                        conn.wakes_at = next;
                        match next {
                            Some(at) => self.timers.set(id, at),
                            None => self.timers.stop(&id),
                        }
                    }
                }
                Settled::Gone => {
                    conn.release(&mut self.shared);
                    self.timers.stop(&id);
                    self.conns.swap_remove(&id);
                }
            }
        }
        self.deadline = self.first_timer();
        None
    }

    fn first_timer(&self) -> Option<Deadline> {
        let (at, id) = self.timers.peek()?;
        let reason = self.conns.get(&id)?.timers.next()?.1.name();
        Some(Deadline { at, reason })
    }
}

impl Conns for Quic {
    fn try_send(&mut self, conn: ConnId, class: Class, frame: Frame) -> Result<(), SendError> {
        match self.conns.get_mut(&conn) {
            Some(conn) => conn.send(self.now, class, frame, &mut self.shared),
            None => Err(SendError::Gone(frame)),
        }
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        self.conns.get(&conn)?.path()
    }
}

/// How we listen. QUIC itself holds no handshake that we did not decide about, so its own limits on
/// these are low.
fn listener(tls: &Tls, config: &Config) -> ServerConfig {
    let mut server = tls.server_config();
    server.transport_config(profile::accepted(config.mtu_discovery));
    server.migration(true);
    server.incoming_buffer_size(profile::INCOMING_BUFFER);
    server.incoming_buffer_size_total(profile::INCOMING_BUFFER * config.handshakes_max as u64);
    server.max_incoming(config.handshakes_max);
    server
}

fn datagrams(transmit: &quinn_proto::Transmit) -> u64 {
    transmit.segment_size.map_or(1, |segment| transmit.size.div_ceil(segment)) as u64
}
