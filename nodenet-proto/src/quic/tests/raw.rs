//! Raw QUIC endpoint with valid keys, which does what a test scripts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    Event, ServerConfig, StreamEvent, StreamId, Transmit, TransportConfig, VarInt,
};

use crate::NodeId;
use crate::env::Seed;
use crate::quic::tls::{Entropy, Tls, with_entropy};
use crate::testkit::host::Outgoing;
use crate::testkit::{self, Datagram, Host, Net, Outbox};

/// A QUIC endpoint with a node's keys and none of its rules.
pub(crate) struct Raw {
    pub(crate) addr: SocketAddr,
    pub(crate) id: NodeId,
    pub(crate) conns: BTreeMap<usize, Connection>,
    /// What QUIC reported, by conn.
    pub(crate) events: Vec<(usize, Event)>,
    /// First bytes of the packets received that are not 1-RTT.
    pub(crate) long_headers: Vec<u8>,
    /// Whether datagrams vanish instead of being sent.
    pub(crate) is_mute: bool,
    client: ClientConfig,
    entropy: Entropy,
    endpoint: Endpoint,
    responses: Vec<(Transmit, Vec<u8>)>,
    deadline: Option<Instant>,
}

impl Raw {
    /// The peer with this number, with QUIC's own settings.
    pub(crate) fn new(number: u8) -> Self {
        Self::with_transport(number, TransportConfig::default())
    }

    /// The same with other settings, and without an idle time-out.
    pub(crate) fn with_transport(number: u8, mut transport: TransportConfig) -> Self {
        transport.max_idle_timeout(None);
        let tls = Tls::new(&testkit::identity(number.into()), &Seed::from_u64(u64::from(number)));
        Self::with_tls(number, tls, transport)
    }

    /// The same for other application protocols.
    pub(crate) fn with_protocols(number: u8, protocols: &[&[u8]]) -> Self {
        let seed = Seed::from_u64(u64::from(number));
        let tls = Tls::with_protocols(&testkit::identity(number.into()), &seed, protocols, &[]);
        Self::with_tls(number, tls, TransportConfig::default())
    }

    fn with_tls(number: u8, tls: Tls, transport: TransportConfig) -> Self {
        let identity = testkit::identity(number.into());
        let seed = Seed::from_u64(u64::from(number));
        let transport = Arc::new(transport);
        let mut server: ServerConfig = tls.server_config();
        server.transport_config(transport.clone());
        let mut client = tls.client_config();
        client.transport_config(transport);
        Self {
            addr: testkit::addr(number),
            id: identity.id(),
            conns: BTreeMap::new(),
            events: Vec::new(),
            long_headers: Vec::new(),
            is_mute: false,
            endpoint: Endpoint::new(
                Arc::new(tls.endpoint_config()),
                Some(Arc::new(server)),
                false,
                None,
            ),
            entropy: Entropy::new(&seed),
            client,
            responses: Vec::new(),
            deadline: None,
        }
    }

    /// Takes no conns from now on.
    pub(crate) fn accept_no_more(&mut self) {
        self.endpoint.set_server_config(None);
    }

    /// Dials; returns the conn.
    pub(crate) fn dial(&mut self, now: Instant, remote: SocketAddr) -> usize {
        let config = self.client.clone();
        let endpoint = &mut self.endpoint;
        let (handle, conn) = with_entropy(&mut self.entropy, || {
            endpoint.connect(now, config, remote, "192.0.2.1").expect("a good address")
        });
        self.conns.insert(handle.0, conn);
        handle.0
    }

    /// Dials, and gives the handshake time.
    pub(crate) fn connect(net: &mut Net, raw: &mut Self, peer: &mut dyn Host) -> usize {
        let conn = raw.dial(net.now, peer.addr());
        net.run(&mut [raw, peer], Duration::from_secs(1));
        assert!(raw.is_connected(conn), "the handshake completes at the dialer");
        conn
    }

    /// A conn by its number.
    pub(crate) fn conn(&mut self, conn: usize) -> &mut Connection {
        self.conns.get_mut(&conn).expect("a conn of this test")
    }

    /// Opens a stream and writes to it.
    pub(crate) fn open(&mut self, conn: usize, dir: Dir, bytes: &[u8]) -> StreamId {
        let stream = self.conn(conn).streams().open(dir).expect("the peer grants a stream");
        self.write(conn, stream, bytes);
        stream
    }

    /// Writes to a stream.
    pub(crate) fn write(&mut self, conn: usize, stream: StreamId, bytes: &[u8]) {
        let mut stream = self.conn(conn).send_stream(stream);
        let written = stream.write(bytes).expect("the stream takes it");
        assert_eq!(written, bytes.len());
    }

    /// Whether the handshake of a conn is complete.
    pub(crate) fn is_connected(&self, conn: usize) -> bool {
        self.events.iter().any(|(of, event)| *of == conn && matches!(event, Event::Connected))
    }

    /// How a conn ended, if it did.
    pub(crate) fn lost(&self, conn: usize) -> Option<&ConnectionError> {
        self.events.iter().find_map(|(of, event)| match event {
            Event::ConnectionLost { reason } if *of == conn => Some(reason),
            _ => None,
        })
    }

    /// The code with which the peer closed a conn, if it did.
    pub(crate) fn close_code(&self, conn: usize) -> Option<VarInt> {
        match self.lost(conn)? {
            ConnectionError::ApplicationClosed(close) => Some(close.error_code),
            other => panic!("an application close is due, not {other:?}"),
        }
    }

    /// The code with which the peer stopped a stream, if it did.
    pub(crate) fn stop_code(&self, stream: StreamId) -> Option<VarInt> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Stream(StreamEvent::Stopped { id, error_code }) if *id == stream => {
                Some(*error_code)
            }
            _ => None,
        })
    }

    /// All bytes that arrived on a stream.
    pub(crate) fn read(&mut self, conn: usize, stream: StreamId) -> Vec<u8> {
        let mut all = Vec::new();
        let mut stream = self.conn(conn).recv_stream(stream);
        if let Ok(mut chunks) = stream.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                all.extend_from_slice(&chunk.bytes);
            }
            let _ = chunks.finalize();
        }
        all
    }

    /// Closes a conn with an application code.
    pub(crate) fn close(&mut self, now: Instant, conn: usize, code: u32) {
        self.conn(conn).close(now, VarInt::from_u32(code), Bytes::from_static(b"bye"));
    }

    fn pump(&mut self) {
        for (number, conn) in &mut self.conns {
            let handle = ConnectionHandle(*number);
            loop {
                while let Some(event) = conn.poll_endpoint_events() {
                    if let Some(event) = self.endpoint.handle_event(handle, event) {
                        conn.handle_event(event);
                    }
                }
                match conn.poll() {
                    Some(event) => self.events.push((*number, event)),
                    None => break,
                }
            }
        }
    }

    fn take(&mut self, now: Instant, event: Option<DatagramEvent>, mut response: Vec<u8>) {
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(conn) = self.conns.get_mut(&handle.0) {
                    conn.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut response, None);
                let (handle, conn) = accepted.expect("a handshake from a node");
                self.conns.insert(handle.0, conn);
            }
            Some(DatagramEvent::Response(transmit)) => self.responses.push((transmit, response)),
            None => {}
        }
    }
}

impl Host for Raw {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { from, ecn, data, .. } = datagram;
        if data[0] & 0x80 != 0 {
            self.long_headers.push(data[0]);
        }
        let mut entropy = std::mem::replace(&mut self.entropy, Entropy::new(&Seed::from_u64(0)));
        with_entropy(&mut entropy, || {
            let mut response = Vec::new();
            let event = self.endpoint.handle(now, from, None, ecn, data, &mut response);
            self.take(now, event, response);
            self.pump();
        });
        self.entropy = entropy;
    }

    fn expire(&mut self, now: Instant) {
        for conn in self.conns.values_mut() {
            conn.handle_timeout(now);
        }
        self.pump();
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        let mut sent = Outbox::default();
        for (transmit, bytes) in self.responses.drain(..) {
            sent.push(outgoing(&transmit, None), &bytes[..transmit.size]);
        }
        let mut buf = Vec::new();
        for conn in self.conns.values_mut() {
            while let Some(transmit) = conn.poll_transmit(now, 1, &mut buf) {
                sent.push(outgoing(&transmit, transmit.segment_size), &buf);
                buf.clear();
            }
        }
        self.pump();
        self.deadline = self.conns.values_mut().filter_map(Connection::poll_timeout).min();
        if !self.is_mute {
            *out = sent;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

fn outgoing(transmit: &Transmit, segment_len: Option<usize>) -> Outgoing {
    Outgoing { ecn: transmit.ecn, segment_len, ..Outgoing::new(transmit.destination) }
}
