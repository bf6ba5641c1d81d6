//! Transport over quinn-proto: one endpoint, authenticated conns, frames on one stream each.
//!
//! Responsible for: handshakes and their admission, framing, queues and backpressure, bounds that
//! QUIC does not have, closing (PROTOCOL.md#conns). Never: a routing decision, or what is in a
//! frame. Its vocabulary is that of [`crate::transport`] towards the engine, and datagrams towards
//! the driver.
//!
//! # The life of a call
//! An input (datagram, command, timeout) is given to QUIC, and what QUIC reports at once becomes
//! events. The conn then gets a turn to transmit, because it may have something to send, and a turn
//! to read if stream data arrived. [`Quic::read`] gives each conn its share of frames, and
//! [`Quic::poll_transmit`] one batch of datagrams, both round robin. A conn without a turn costs
//! nothing, so an idle poll does not depend on how many conns there are.

mod conn;
mod edge;
mod endpoint;
mod media;
mod paths;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use indexmap::IndexMap;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Incoming, ServerConfig,
};

pub use endpoint::config::Config;
pub use endpoint::tls;

use crate::addr::canonical;
use crate::buf::Frame;
use crate::env::counter_hash::reserve_one;
use crate::env::{CounterHash, Seed, TimerQueue};
use crate::identity::Identity;
use crate::io::{Deadline, EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::stats::{DropReason, Gauges, Stats};
use crate::transport::{
    Class, Command, ConnId, Conns, DialError, Event, PathInfo, SendError, SpliceOverReason,
};
use conn::{Conn, Dial, Opened};
use endpoint::admission::{Admission, Verdict};
use endpoint::congestion::Hooks;
use endpoint::ready::Ready;
use endpoint::{Endpoint, profile};
use tls::{Entropy, Tls, with_entropy};
use turns::{Touched, Turns};

/// Conns that get their share of reading in one call (guess); the next call goes on with the
/// others.
const TURNS_PER_CALL: usize = 16;
/// Conns that fire timers in one call (guess); the next call goes on with the others.
const EXPIRIES_PER_CALL: usize = 256;
/// Bytes that one send can carry: the largest UDP payload over IPv4.
const BATCH_MAX: usize = 65_507;

/// The transport over QUIC.
pub struct Quic {
    conns: IndexMap<ConnId, Box<Conn>, CounterHash>,
    endpoint: Endpoint,
    turns: Turns,
    ready: Ready,
    translated: paths::Translated,
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
        Self::with_tls(config, Tls::new(identity, seed), seed, now)
    }

    fn with_tls(config: Config, tls: Tls, seed: &Seed, now: Instant) -> Self {
        let mut client = tls.client_config();
        let hooks = Hooks::default();
        client.transport_config(profile::dialed(config.mtu_discovery, &hooks));
        let server = listener(&tls, &config, &hooks);
        let mut settings = tls.endpoint_config();
        settings.max_udp_payload_size(profile::MTU_MAX).expect("more than the least, 1200");
        let (settings, server) = (Arc::new(settings), Some(Arc::new(server)));
        let quic = quinn_proto::Endpoint::new(settings, server, config.mtu_discovery, None);
        Self {
            conns: IndexMap::default(),
            endpoint: Endpoint::new(quic, Admission::new(config), hooks),
            turns: Turns::default(),
            ready: Ready::default(),
            translated: paths::Translated::default(),
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

    /// Sets the time for the calls that do not take it: [`Conns::try_send`], [`Self::read`] and
    /// [`Self::poll_transmit`]. Handlers set it, too.
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

    /// Carries out a command of the engine.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.advance(now);
        match command {
            Command::Dial { dial, expected, remote, deadline } => {
                let wanted = Dial::new(dial, expected);
                if let Err(error) =
                    self.with_entropy(|quic| quic.dial(wanted, canonical(remote), deadline))
                {
                    self.endpoint.stats.counters.dials_failed += 1;
                    self.endpoint.events.push_back(Event::DialFailed { dial, error });
                }
            }
            Command::CancelDial(dial) => {
                if let Some(id) = self.endpoint.dials.get(&dial).copied() {
                    self.on_conn(id, |conn, endpoint| conn.cancel_dial(now, endpoint));
                }
            }
            Command::Close { conn, mode } => {
                self.on_conn(conn, |conn, endpoint| conn.close(now, mode, endpoint));
            }
            Command::Punch { remote, bytes, ttl } => self.punch(canonical(remote), &bytes, ttl),
            // Splices are those of the node, which has another machine for them.
            Command::OpenSplice { splice, .. } => {
                let reason = SpliceOverReason::Unsupported;
                self.endpoint.events.push_back(Event::SpliceOver { splice, reason });
            }
            Command::CloseSplice(_) | Command::LimitSplices { .. } => {}
        }
    }

    /// Fires timers that are due, a bounded number of them.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for _ in 0..EXPIRIES_PER_CALL {
            let Some(id) = self.timers.pop_due(now) else { return };
            self.on_conn(id, |conn, endpoint| conn.on_timeout(now, endpoint));
        }
    }

    /// Gives conns that have something to read their share, each at most once and a bounded number
    /// of them. Returns whether a conn had a turn.
    pub fn read(&mut self) -> bool {
        let turns = self.turns.to_read().min(TURNS_PER_CALL);
        if turns == 0 {
            return false;
        }
        let now = self.now;
        for _ in 0..turns {
            let Some(id) = self.turns.next_to_read() else { break };
            self.on_conn(id, |conn, endpoint| {
                Turns::begin_read(&mut conn.queued);
                conn.read_turn(now, endpoint)
            });
        }
        true
    }

    /// Whether a conn still has something to read.
    pub fn is_readable(&self) -> bool {
        self.turns.to_read() > 0
    }

    /// Whether a conn, or the endpoint, may have something to send, or timers may have changed.
    pub fn is_dirty(&self) -> bool {
        !self.turns.none_to_transmit() || !self.ready.is_empty()
    }

    /// Whether there is an event for the engine.
    pub fn has_event(&self) -> bool {
        !self.endpoint.events.is_empty()
    }

    /// The next event for the engine.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.endpoint.events.pop_front()?;
        if let Event::ConnUp { peer, remote, .. } = event {
            self.confirm(peer, remote);
        }
        Some(event)
    }

    /// Writes the next datagram, or batch of datagrams, into `buf`, which must be empty. When there
    /// is none, every timer is up to date.
    pub fn poll_transmit(&mut self, buf: &mut TransmitBuf) -> Option<Transmit> {
        let (transmit, ttl) = match self.ready.pop(&mut buf.bytes) {
            Some(datagram) => datagram,
            None => (self.poll_conns(buf)?, None),
        };
        let counters = &mut self.endpoint.stats.counters;
        counters.datagrams_sent += datagrams(&transmit);
        counters.bytes_sent += transmit.size as u64;
        Some(Transmit {
            socket: SocketId::MAIN,
            remote: transmit.destination,
            local_ip: transmit.src_ip,
            ecn: transmit.ecn,
            segment_len: transmit.segment_size,
            ttl,
        })
    }

    /// When to call [`Self::handle_timeout`], if ever. Right once nothing is left to transmit.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Counters, and gauges of now.
    pub fn stats(&self) -> Stats {
        let mut stats = self.endpoint.stats.clone();
        let mut gauges = Gauges {
            conns_accepted: self.endpoint.admission.conns() as u64,
            handshakes: self.endpoint.admission.handshakes() as u64,
            dials: self.endpoint.dials.len() as u64,
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
        self.endpoint.admission.check();
        self.timers.check();
        if !self.is_dirty() {
            assert_eq!(self.deadline, self.first_timer(), "the deadline is up to date");
        }
        for (id, conn) in &self.conns {
            assert_eq!(*id, conn.id);
            conn.check();
            if conn.queued.is_settled() {
                let next = conn.timers.next().map(|(at, _)| at);
                assert_eq!(conn.wakes_at, next, "the queue knows the next timer");
                assert_eq!(self.timers.deadline(id), next);
            }
        }
        for (dial, id) in &self.endpoint.dials {
            assert!(self.conns.contains_key(id), "{dial} has a conn");
        }
        let with_handle = self.conns.values().filter(|conn| conn.handle().is_some()).count();
        assert_eq!(self.endpoint.bound().count(), with_handle);
        for (handle, id) in self.endpoint.bound() {
            assert_eq!(
                self.conns[&id].handle(),
                Some(handle),
                "a handle means the conn that has it"
            );
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

    /// Calls a conn, unless it is gone. A command may cross the end of its conn, and a conn that is
    /// gone may still have a turn.
    #[inline]
    fn on_conn(&mut self, id: ConnId, call: impl FnOnce(&mut Conn, &mut Endpoint) -> Touched) {
        if let Some(conn) = self.conns.get_mut(&id) {
            let touched = call(conn, &mut self.endpoint);
            self.turns.touch(id, &mut conn.queued, touched);
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
        let len = data.len();
        self.translated.keep(&data);
        let event = self.endpoint.quic.handle(now, remote, local_ip, ecn, data, &mut response);
        let transmit = match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let id = self.endpoint.conn_of(handle);
                if let Some(conn) = id.and_then(|id| self.conns.get_mut(&id)) {
                    let event = match conn.must_translate(remote) {
                        true => self.translated.event(now, conn, ecn, &mut self.endpoint),
                        false => Some(event),
                    };
                    if let Some(event) = event {
                        let touched = conn.take(now, remote, len, event, &mut self.endpoint);
                        self.turns.touch(conn.id, &mut conn.queued, touched);
                    }
                }
                None
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.admit(remote, incoming, &mut response)
            }
            Some(DatagramEvent::Response(transmit)) => Some(transmit),
            None => {
                self.endpoint.stats.count_drop(DropReason::Stray);
                None
            }
        };
        self.push_ready(transmit, None, response);
    }

    /// Sends a datagram that belongs to no conn.
    fn punch(&mut self, remote: SocketAddr, bytes: &[u8], ttl: Option<u8>) {
        if !can_be_dialed(remote) {
            return self.endpoint.stats.count_drop(DropReason::ImplausibleAddress);
        }
        let mut datagram = self.ready.buffer();
        datagram.extend_from_slice(bytes);
        let transmit = quinn_proto::Transmit {
            destination: remote,
            ecn: None,
            size: bytes.len(),
            segment_size: None,
            src_ip: None,
        };
        self.push_ready(Some(transmit), ttl, datagram);
    }

    fn push_ready(
        &mut self,
        transmit: Option<quinn_proto::Transmit>,
        ttl: Option<u8>,
        bytes: Vec<u8>,
    ) {
        if !self.ready.push(transmit, ttl, bytes) {
            self.endpoint.stats.count_drop(DropReason::ReadyQueueFull);
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
        let endpoint = &mut self.endpoint;
        match endpoint.admission.decide(remote, address_proven) {
            Verdict::Retry => match endpoint.quic.retry(incoming, response) {
                Ok(transmit) => {
                    endpoint.stats.counters.retries_sent += 1;
                    Some(transmit)
                }
                // Only after a Retry, which would have proved the address.
                Err(error) => Some(endpoint.quic.refuse(error.into_incoming(), response)),
            },
            Verdict::Refuse(reason) => {
                endpoint.stats.count_drop(reason);
                Some(endpoint.quic.refuse(incoming, response))
            }
            Verdict::Handshake => {
                let now = self.now;
                match endpoint.quic.accept(incoming, now, response, None) {
                    Ok((handle, quic)) => {
                        let half_open = endpoint.admission.begin_handshake(remote, address_proven);
                        let id = self.insert(handle, quic, Opened::HalfOpen(half_open));
                        self.on_conn(id, |conn, endpoint| {
                            conn.start_handshake(now, None, endpoint)
                        });
                        None
                    }
                    Err(error) => {
                        let reason = match tls::is_protocol_mismatch(&error.cause) {
                            true => DropReason::ProtocolNotServed,
                            false => DropReason::Stray,
                        };
                        endpoint.stats.count_drop(reason);
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
        let id = self.insert(handle, quic, Opened::Dialing(Box::new(dial)));
        let before = self.endpoint.dials.insert(name, id);
        assert!(before.is_none(), "the engine never uses {name} again");
        self.on_conn(id, |conn, endpoint| conn.start_handshake(now, Some(deadline), endpoint));
        Ok(())
    }

    /// From now on a full window holds acknowledgements back, for comparison.
    #[cfg(test)]
    pub(crate) fn withhold_ack_allowance(&mut self) {
        self.endpoint.allowance = endpoint::congestion::AckAllowance::default();
    }

    fn connect(&mut self, remote: SocketAddr) -> Option<(ConnectionHandle, Connection)> {
        if !can_be_dialed(remote) {
            return None;
        }
        let name = tls::server_name(remote);
        self.endpoint.quic.connect(self.now, self.client.clone(), remote, &name).ok()
    }

    fn insert(&mut self, handle: ConnectionHandle, quic: Connection, opened: Opened) -> ConnId {
        self.last_id += 1;
        let id = ConnId(self.last_id);
        self.endpoint.bind(handle, id);
        reserve_one(&mut self.conns);
        self.conns.insert(id, Box::new(Conn::new(id, handle, quic, opened)));
        id
    }

    fn poll_conns(&mut self, buf: &mut TransmitBuf) -> Option<quinn_proto::Transmit> {
        while let Some(id) = self.turns.next_to_transmit() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            Turns::begin_transmit(&mut conn.queued);
            let mtu = usize::from(conn.quic.current_mtu());
            let segments = match buf.segments_max.max(1) {
                segments if segments * mtu <= BATCH_MAX => segments,
                _ => (BATCH_MAX / mtu).max(1),
            };
            if let Some(transmit) = conn.transmit(self.now, segments, buf, &self.endpoint) {
                let again = Touched { transmit: true, ..Touched::default() };
                self.turns.touch(id, &mut conn.queued, again);
                return Some(transmit);
            }
            let touched = conn.settle(self.now, &mut self.endpoint);
            self.turns.touch(id, &mut conn.queued, touched);
            if touched.over {
                conn.release(&mut self.endpoint.admission);
                self.timers.stop(&id);
                self.conns.swap_remove(&id);
            } else if !touched.transmit {
                let next = conn.timers.next().map(|(at, _)| at);
                if next != conn.wakes_at {
                    conn.wakes_at = next;
                    match next {
                        Some(at) => self.timers.set(id, at),
                        None => self.timers.stop(&id),
                    }
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
        let Some(conn) = self.conns.get_mut(&conn) else { return Err(SendError::Gone(frame)) };
        let (touched, sent) = conn.send(self.now, class, frame, &mut self.endpoint);
        self.turns.touch(conn.id, &mut conn.queued, touched);
        sent
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        self.conns.get(&conn)?.path()
    }

    fn received(&self, conn: ConnId) -> Option<u64> {
        Some(self.conns.get(&conn)?.quic.stats().udp_rx.datagrams)
    }
}

/// Whether datagrams to `remote` can go to one host.
fn can_be_dialed(remote: SocketAddr) -> bool {
    let ip = remote.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_multicast() || ip.is_unspecified() || remote.port() == 0)
}

/// Settings of the listener. QUIC itself holds no handshake that admission did not decide about, so
/// its own limits on these are low.
fn listener(tls: &Tls, config: &Config, hooks: &Hooks) -> ServerConfig {
    let mut server = tls.server_config();
    server.transport_config(profile::accepted(config.mtu_discovery, hooks));
    server.migration(true);
    server.incoming_buffer_size(profile::INCOMING_BUFFER);
    server.incoming_buffer_size_total(profile::INCOMING_BUFFER * config.handshakes_max as u64);
    server.max_incoming(config.handshakes_max);
    server
}

fn datagrams(transmit: &quinn_proto::Transmit) -> u64 {
    transmit.segment_size.map_or(1, |segment| transmit.size.div_ceil(segment)) as u64
}
