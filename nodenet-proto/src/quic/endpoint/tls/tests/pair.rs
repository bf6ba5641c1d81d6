//! Two bare quinn-proto endpoints on either end of an in-memory pipe, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Endpoint, Event,
    TransportConfig,
};
use sha2::{Digest, Sha256};

use crate::NodeId;
use crate::env::Seed;
use crate::identity::Identity;
use crate::quic::tls::{Entropy, Tls, peer_identity, server_name, with_entropy};

/// One way through the pipe.
const DELAY: Duration = Duration::from_millis(10);
/// Ample for a handshake and its failure, and less than an idle timeout.
const RUN: Duration = Duration::from_secs(5);

/// One end: an endpoint with its own TLS and entropy, and its only connection.
pub(super) struct Peer {
    tls: Tls,
    pub(super) client: ClientConfig,
    endpoint: Endpoint,
    entropy: Entropy,
    addr: SocketAddr,
    pub(super) connection: Option<(ConnectionHandle, Connection)>,
    pub(super) connected: bool,
    pub(super) lost: Option<ConnectionError>,
    /// Calls into quinn-proto are made without entropy.
    pub(super) starved: bool,
}

impl Peer {
    pub(super) fn with_tls(number: u8, seed: &Seed, tls: Tls) -> Self {
        let transport = Arc::new(TransportConfig::default());
        let mut client = tls.client_config();
        client.transport_config(transport.clone());
        let mut server = tls.server_config();
        server.transport_config(transport);
        let config = Arc::new(tls.endpoint_config());
        Self {
            client,
            endpoint: Endpoint::new(config, Some(Arc::new(server)), true, None),
            entropy: Entropy::new(seed),
            addr: (Ipv4Addr::new(127, 0, 0, number), 4242).into(),
            connection: None,
            connected: false,
            lost: None,
            starved: false,
            tls,
        }
    }

    /// The identity that this end sees at the other.
    pub(super) fn sees(&self) -> Option<(NodeId, [u8; 32])> {
        peer_identity(&self.connection.as_ref()?.1)
    }

    /// The transport error with which either end closed.
    pub(super) fn close_code(&self) -> Option<u64> {
        match self.lost.as_ref()? {
            ConnectionError::TransportError(error) => Some(error.code.into()),
            ConnectionError::ConnectionClosed(close) => Some(close.error_code.into()),
            _ => None,
        }
    }

    fn dial(&mut self, now: Instant, remote: SocketAddr) {
        let config = self.client.clone();
        let dialed = with_entropy(&mut self.entropy, || {
            self.endpoint.connect(now, config, remote, &server_name(remote))
        });
        self.connection = Some(dialed.unwrap());
    }

    /// Takes one datagram and returns what answers it at once.
    fn handle(&mut self, now: Instant, from: SocketAddr, data: BytesMut, retry: bool) -> Vec<u8> {
        let mut answer = Vec::new();
        scoped(self.starved, &mut self.entropy, || {
            let endpoint = &mut self.endpoint;
            match endpoint.handle(now, from, None, None, data, &mut answer) {
                Some(DatagramEvent::NewConnection(incoming))
                    if retry && !incoming.remote_address_validated() =>
                {
                    endpoint.retry(incoming, &mut answer).map(|_| ()).unwrap();
                }
                Some(DatagramEvent::NewConnection(incoming)) => {
                    match endpoint.accept(incoming, now, &mut answer, None) {
                        Ok(accepted) => self.connection = Some(accepted),
                        Err(error) => self.lost = Some(error.cause),
                    }
                }
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some((own, connection)) = &mut self.connection {
                        assert_eq!(*own, handle);
                        connection.handle_event(event);
                    }
                }
                Some(DatagramEvent::Response(_)) | None => {}
            }
        });
        answer
    }

    /// Fires timers, notes events and returns the datagrams that are due.
    fn advance(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let Some((handle, connection)) = &mut self.connection else { return datagrams };
        scoped(self.starved, &mut self.entropy, || {
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            let mut buf = Vec::new();
            while connection.poll_transmit(now, 1, &mut buf).is_some() {
                datagrams.push(std::mem::take(&mut buf));
            }
        });
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                _ => {}
            }
        }
        datagrams
    }
}

fn scoped(starved: bool, entropy: &mut Entropy, call: impl FnOnce()) {
    if starved { call() } else { with_entropy(entropy, call) }
}

/// A dialer, an acceptor, and what is under way between them.
pub(super) struct Pair {
    pub(super) dialer: Peer,
    pub(super) acceptor: Peer,
    /// The acceptor answers the first attempt with Retry.
    pub(super) retry: bool,
    /// How much faster token clocks go.
    pub(super) clock_rate: u32,
    base: Instant,
    elapsed: Duration,
    under_way: BTreeMap<Duration, VecDeque<(bool, Vec<u8>)>>,
    trace: Sha256,
}

impl Pair {
    pub(super) fn new(dialer: Peer, acceptor: Peer) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made without a clock")]
        let base = Instant::now();
        Self {
            dialer,
            acceptor,
            retry: false,
            clock_rate: 1,
            base,
            elapsed: Duration::ZERO,
            under_way: BTreeMap::new(),
            trace: Sha256::new(),
        }
    }

    /// Dials, and advances the clock until the exchange is over.
    pub(super) fn run(mut self) -> Self {
        self.dialer.dial(self.base, self.acceptor.addr);
        while self.elapsed < RUN {
            self.deliver();
            self.transmit();
            self.elapsed += Duration::from_millis(1);
        }
        self
    }

    /// A digest of every datagram sent, with its direction and time.
    pub(super) fn trace(&self) -> [u8; 32] {
        self.trace.clone().finalize().into()
    }

    fn deliver(&mut self) {
        for (to_acceptor, datagram) in self.under_way.remove(&self.elapsed).unwrap_or_default() {
            let now = self.base + self.elapsed;
            let (to, from) = match to_acceptor {
                true => (&mut self.acceptor, self.dialer.addr),
                false => (&mut self.dialer, self.acceptor.addr),
            };
            to.tls.token_clock().set(self.elapsed * self.clock_rate);
            let answer = to.handle(now, from, BytesMut::from(&datagram[..]), self.retry);
            if !answer.is_empty() {
                self.send(!to_acceptor, answer);
            }
        }
    }

    fn transmit(&mut self) {
        for from_dialer in [true, false] {
            let peer = if from_dialer { &mut self.dialer } else { &mut self.acceptor };
            for datagram in peer.advance(self.base + self.elapsed) {
                self.send(from_dialer, datagram);
            }
        }
    }

    fn send(&mut self, from_dialer: bool, datagram: Vec<u8>) {
        self.trace.update([u8::from(from_dialer)]);
        self.trace.update(self.elapsed.as_nanos().to_le_bytes());
        self.trace.update((datagram.len() as u64).to_le_bytes());
        self.trace.update(&datagram);
        self.under_way.entry(self.elapsed + DELAY).or_default().push_back((from_dialer, datagram));
    }
}

/// The identity of the node with this number.
pub(super) fn identity(number: u8) -> Identity {
    Identity::from_master_seed(&[number; 32])
}
