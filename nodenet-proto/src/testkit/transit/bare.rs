//! quinn-proto with a node's TLS and a node's settings alone, as a baseline.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, IdleTimeout, StreamEvent,
    StreamId, TransportConfig, VarInt,
};

use super::SEGMENTS_MAX;
use crate::env::Seed;
use crate::identity::Identity;
use crate::quic::tls::{Entropy, Tls, server_name, with_entropy};
use crate::testkit::host::{Datagram, Host, Outbox, Outgoing};

/// An endpoint, its connections, and on each of them at most one stream.
///
/// A relay of two connections writes what arrives on the stream of one to the stream of the other,
/// in the chunks it arrived in. It does so as soon as a message is complete, because another may
/// write to that stream next. That is the least that a relay can do.
pub struct Bare {
    addr: SocketAddr,
    tls: Tls,
    endpoint: Endpoint,
    conns: Vec<Option<Box<Conn>>>,
    /// Absent only while it is in use.
    entropy: Option<Entropy>,
    dirty: VecDeque<usize>,
    buf: Vec<u8>,
    /// Storage for chunks on their way from one connection to another.
    passing: VecDeque<Bytes>,
    /// Connections whose handshake was completed.
    pub connected: usize,
    /// Length of the messages that are passed on. Zero: what arrives is counted and forgotten.
    pub relays: usize,
    /// Whether it sends on each stream what it received there first.
    pub answers: bool,
    /// Bytes that arrived on streams.
    pub heard: usize,
}

struct Conn {
    quic: Connection,
    stream: Option<StreamId>,
    /// Of a message that is not complete.
    arrived: VecDeque<Bytes>,
    arrived_len: usize,
    /// For this connection's stream.
    waiting: VecDeque<Bytes>,
    deadline: Option<Instant>,
    is_dirty: bool,
    is_readable: bool,
    is_drained: bool,
}

impl Bare {
    /// An endpoint without connections.
    pub fn new(addr: SocketAddr, identity: &Identity, seed: &Seed) -> Self {
        let tls = Tls::new(identity, seed);
        let mut server = tls.server_config();
        server.transport_config(transport(2, 16, Some(64 * 1024)));
        server.max_incoming(1 << 10);
        let config = Arc::new(tls.endpoint_config());
        let endpoint = Endpoint::new(config, Some(Arc::new(server)), false, None);
        Self {
            addr,
            tls,
            endpoint,
            conns: Vec::new(),
            entropy: Some(Entropy::new(seed)),
            dirty: VecDeque::new(),
            buf: Vec::with_capacity(1 << 16),
            passing: VecDeque::new(),
            connected: 0,
            relays: 0,
            answers: false,
            heard: 0,
        }
    }

    /// Dials, as `tls` proves to be.
    pub fn dial(&mut self, now: Instant, remote: SocketAddr, tls: Option<&Tls>) -> usize {
        let mut config = tls.unwrap_or(&self.tls).client_config();
        config.transport_config(transport(0, 0, None));
        let name = server_name(remote);
        let dialed = self.scoped(|bare| bare.endpoint.connect(now, config, remote, &name));
        let (handle, quic) = dialed.expect("an address that can be dialed");
        self.insert(handle, quic);
        handle.0
    }

    /// Opens the stream of a connection and writes to it.
    pub fn write(&mut self, index: usize, data: Bytes) {
        let conn = self.conns[index].as_mut().expect("it is not closed");
        conn.stream = conn.stream.or_else(|| conn.quic.streams().open(Dir::Bi));
        conn.waiting.push_back(data);
        conn.flush();
        self.mark(index);
    }

    /// Closes every connection.
    pub fn close_all(&mut self, now: Instant) {
        for index in 0..self.conns.len() {
            if let Some(conn) = &mut self.conns[index] {
                conn.quic.close(now, VarInt::from_u32(0), Bytes::new());
                self.mark(index);
            }
        }
    }

    /// Bytes that it holds for its own bookkeeping, beside what quinn-proto holds.
    pub fn bookkeeping(&self) -> usize {
        let queues =
            self.conns.iter().flatten().map(|conn| {
                (conn.arrived.capacity() + conn.waiting.capacity()) * size_of::<Bytes>()
            });
        let conns = self.open() * (size_of::<Conn>() - size_of::<Connection>());
        queues.sum::<usize>() + conns + self.conns.capacity() * size_of::<Option<Box<Conn>>>()
    }

    /// Connections that are not gone.
    pub fn open(&self) -> usize {
        self.endpoint.open_connections()
    }

    fn insert(&mut self, handle: ConnectionHandle, quic: Connection) {
        if self.conns.len() <= handle.0 {
            self.conns.resize_with(handle.0 + 1, || None);
        }
        let conn = Conn {
            quic,
            stream: None,
            arrived: VecDeque::new(),
            arrived_len: 0,
            waiting: VecDeque::new(),
            deadline: None,
            is_dirty: false,
            is_readable: false,
            is_drained: false,
        };
        self.conns[handle.0] = Some(Box::new(conn));
        self.mark(handle.0);
    }

    fn mark(&mut self, index: usize) {
        if let Some(conn) = self.conns[index].as_mut().filter(|conn| !conn.is_dirty) {
            conn.is_dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// Runs `call` on this endpoint's own randomness.
    fn scoped<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let mut entropy = self.entropy.take().expect("calls do not nest");
        let result = with_entropy(&mut entropy, || call(self));
        self.entropy = Some(entropy);
        result
    }

    fn handle(&mut self, now: Instant, from: SocketAddr, data: BytesMut) {
        let mut response = Vec::new();
        let event = self.endpoint.handle(now, from, None, None, data, &mut response);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(conn) = &mut self.conns[handle.0] {
                    conn.quic.handle_event(event);
                }
                self.react(handle.0);
                self.mark(handle.0);
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut response, None);
                let (handle, quic) = accepted.map_err(|error| error.cause).expect("an honest peer");
                self.insert(handle, quic);
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Takes what a connection reports.
    fn react(&mut self, index: usize) {
        let Some(conn) = &mut self.conns[index] else { return };
        while let Some(event) = conn.quic.poll() {
            match event {
                Event::Connected => self.connected += 1,
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    conn.stream = conn.quic.streams().accept(Dir::Bi);
                    conn.is_readable = true;
                }
                Event::Stream(StreamEvent::Readable { .. }) => conn.is_readable = true,
                Event::Stream(StreamEvent::Writable { .. }) => conn.flush(),
                _ => {}
            }
        }
    }

    /// Reads what has arrived on a connection and passes on the messages that are complete.
    fn read(&mut self, index: usize) {
        let next = (index + 1) % self.conns.len();
        let Some(conn) = &mut self.conns[index] else { return };
        self.heard += conn.read();
        if self.relays == 0 {
            if self.answers {
                conn.waiting.extend(conn.arrived.drain(..));
                conn.flush();
            }
            conn.arrived.clear();
            conn.arrived_len = 0;
            return;
        }
        let mut passed_on = std::mem::take(&mut self.passing);
        while conn.arrived_len >= self.relays {
            conn.arrived_len -= self.relays;
            split_front(&mut conn.arrived, self.relays, &mut passed_on);
        }
        if let (false, Some(to)) = (passed_on.is_empty(), &mut self.conns[next]) {
            to.waiting.extend(passed_on.drain(..));
            to.flush();
            self.mark(next);
        }
        self.passing = passed_on;
    }

    fn transmit(&mut self, now: Instant, out: &mut Outbox) {
        for at in 0..self.dirty.len() {
            let index = self.dirty[at];
            if self.conns[index].as_mut().is_some_and(|conn| std::mem::take(&mut conn.is_readable))
            {
                self.read(index);
            }
        }
        while let Some(index) = self.dirty.pop_front() {
            let Some(conn) = &mut self.conns[index] else { continue };
            conn.is_dirty = false;
            loop {
                self.buf.clear();
                let sent = conn.quic.poll_transmit(now, SEGMENTS_MAX, &mut self.buf);
                let Some(sent) = sent else { break };
                let (to, segment_len) = (sent.destination, sent.segment_size);
                out.push(Outgoing { segment_len, ..Outgoing::new(to) }, &self.buf);
            }
            while let Some(event) = conn.quic.poll_endpoint_events() {
                conn.is_drained |= event.is_drained();
                if let Some(event) = self.endpoint.handle_event(ConnectionHandle(index), event) {
                    conn.quic.handle_event(event);
                }
            }
            conn.deadline = conn.quic.poll_timeout();
            if conn.is_drained {
                self.conns[index] = None;
            }
        }
    }
}

impl Conn {
    fn read(&mut self) -> usize {
        let Some(stream) = self.stream else { return 0 };
        let mut stream = self.quic.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return 0 };
        let before = self.arrived_len;
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.arrived_len += chunk.bytes.len();
            self.arrived.push_back(chunk.bytes);
        }
        let _ = chunks.finalize();
        self.arrived_len - before
    }

    fn flush(&mut self) {
        let Some(stream) = self.stream else { return };
        while !self.waiting.is_empty() {
            let chunks = self.waiting.make_contiguous();
            let Ok(written) = self.quic.send_stream(stream).write_chunks(chunks) else { return };
            self.waiting.drain(..written.chunks);
        }
    }
}

impl Host for Bare {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        self.scoped(|bare| bare.handle(now, datagram.from, datagram.data));
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.scoped(|bare| bare.transmit(now, out));
    }

    fn expire(&mut self, now: Instant) {
        self.scoped(|bare| {
            for index in 0..bare.conns.len() {
                let Some(conn) = &mut bare.conns[index] else { continue };
                if conn.deadline.is_some_and(|at| at <= now) {
                    conn.quic.handle_timeout(now);
                    bare.react(index);
                    bare.mark(index);
                }
            }
        });
    }

    fn deadline(&self) -> Option<Instant> {
        self.conns.iter().flatten().filter_map(|conn| conn.deadline).min()
    }
}

/// Moves the first `len` bytes of `from` to `to`.
fn split_front(from: &mut VecDeque<Bytes>, mut len: usize, to: &mut VecDeque<Bytes>) {
    while len > 0 {
        let first = from.front_mut().expect("there are that many bytes");
        let part = first.split_to(first.len().min(len));
        if first.is_empty() {
            from.pop_front();
        }
        len -= part.len();
        to.push_back(part);
    }
}

/// The settings of an overlay conn (PROTOCOL.md#conns), as they stand in `quic::endpoint`.
fn transport(bidi: u32, uni: u32, datagrams: Option<usize>) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(300_000))));
    transport.stream_receive_window(VarInt::from_u32(512 * 1024));
    transport.receive_window(VarInt::from_u32(768 * 1024));
    transport.send_window(256 * 1024);
    transport.initial_mtu(1280);
    transport.initial_rtt(Duration::from_millis(100));
    transport.mtu_discovery_config(None);
    transport.max_concurrent_bidi_streams(VarInt::from_u32(bidi));
    transport.max_concurrent_uni_streams(VarInt::from_u32(uni));
    transport.datagram_receive_buffer_size(datagrams);
    Arc::new(transport)
}
