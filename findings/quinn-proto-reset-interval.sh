#!/usr/bin/env bash
# Stateless resets of a restarted endpoint: one interval for all its peers together.
#
# Version
#   quinn-proto 0.11.19, crates.io, with the feature "rustls-ring".
#
# Behaviour
#   `EndpointConfig::min_reset_interval` (default 20 ms) holds for the whole endpoint. Within it the
#   endpoint drops each further packet of an unknown connection, from whichever address it comes.
#   Peers that send at the same instant have equal probe timeouts, which double alike. So they also
#   retransmit at the same instants. At each instant one of them gets its reset and the others get
#   none. An interval of 5 ms or 1 ms changes nothing, because no time lies between the packets.
#   With an interval of zero all peers have their reset after one round trip.
#
#   The documentation says that larger values may delay the detection of some errors. It does not
#   say that all peers share the interval, or that smaller values do not help.
#
# Why it matters
#   With stateless resets (RFC 9000 §10.3) a process that was started again ends the connections of
#   the process before. It has the same reset key and recognises its connection ids. Yet an endpoint
#   with many peers ends few of these connections. Each of the other peers takes its connection for
#   alive, until a later retransmission is answered or the idle timeout (30 s by default) ends it.
#   A user can set the interval to zero. That amplifies nothing, because a reset is always shorter
#   than the packet that it answers. A bound for each peer, or a number of resets in each interval,
#   would keep the protection and answer all peers.
#
# What the script does
#   Fifty client endpoints connect to a server endpoint over a link in memory, in virtual time. One
#   way takes 10 ms. Then an endpoint without connections takes the place of the server. It has the
#   same reset key and `HashedConnectionIdGenerator::from_key` with the same key. Every client
#   writes one byte to a new stream at the same instant. The input is valid: the script makes,
#   changes and loses no packet. It needs bash, cargo and access to crates.io.
#
# Output
#   cargo 1.95.0 (f2d3ce0bd 2026-03-21)
#   rustc 1.95.0 (59807616e 2026-04-14)
#   bytes v1.12.2
#   quinn-proto v0.11.19
#   rcgen v0.14.8
#   ring v0.17.14
#   rustls v0.23.46
#   50 clients send at the same instant; ended with Reset:
#    interval       after 20 ms  after 10 s
#       20 ms                 1           8
#        5 ms                 1           8
#        1 ms                 1           8
#        0 ms                50          50
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "reset-interval"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
bytes = "=1.12.2"
quinn-proto = { version = "=0.11.19", default-features = false, features = ["rustls-ring"] }
rcgen = { version = "=0.14.8", default-features = false, features = ["crypto", "ring"] }
ring = "=0.17.14"
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }

[workspace]
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, HashedConnectionIdGenerator, ServerConfig, Transmit,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

const CLIENTS: usize = 50;
const ONE_WAY: Duration = Duration::from_millis(10);
const SPAN: Duration = Duration::from_secs(10);

/// Certificates and keys that both server processes have.
struct Tls {
    server: Arc<QuicServerConfig>,
    client: Arc<QuicClientConfig>,
}

impl Tls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["server".to_string()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = [&rustls::version::TLS13];
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: Arc::new(server.try_into().unwrap()),
            client: Arc::new(client.try_into().unwrap()),
        }
    }
}

/// An endpoint, its connections and its address.
struct Host {
    addr: SocketAddr,
    endpoint: Endpoint,
    conns: BTreeMap<usize, Connection>,
    accepted: usize,
    connected: usize,
    /// Time and reason of each connection that was lost.
    lost: Vec<(Instant, ConnectionError)>,
}

impl Host {
    fn new(addr: SocketAddr, endpoint: Endpoint) -> Self {
        let conns = BTreeMap::new();
        Self { addr, endpoint, conns, accepted: 0, connected: 0, lost: Vec::new() }
    }

    /// A server process. Two of them have the same keys.
    fn server(tls: &Tls, interval: Duration) -> Self {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
        let mut config = EndpointConfig::new(Arc::new(key));
        config.cid_generator(|| Box::new(HashedConnectionIdGenerator::from_key(7)));
        config.min_reset_interval(interval);
        let server = Arc::new(ServerConfig::with_crypto(tls.server.clone()));
        Self::new(addr(0), Endpoint::new(Arc::new(config), Some(server), false, Some([7; 32])))
    }

    fn client(number: usize) -> Self {
        let config = Arc::new(EndpointConfig::default());
        let seed = [u8::try_from(number).unwrap() + 100; 32];
        Self::new(addr(number), Endpoint::new(config, None, false, Some(seed)))
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, packet: BytesMut, link: &mut Link) {
        let mut buf = Vec::new();
        match self.endpoint.handle(now, from, None, None, packet, &mut buf) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let (handle, conn) =
                    self.endpoint.accept(incoming, now, &mut buf, None).ok().expect("accepted");
                self.conns.insert(handle.0, conn);
                self.accepted += 1;
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(conn) = self.conns.get_mut(&handle.0) {
                    conn.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(transmit)) => link.carry(now, self.addr, &transmit, &buf),
            None => {}
        }
    }

    /// Runs due timers, and hands out all events and packets.
    fn drain(&mut self, now: Instant, link: &mut Link) {
        for (&handle, conn) in &mut self.conns {
            if conn.poll_timeout().is_some_and(|due| due <= now) {
                conn.handle_timeout(now);
            }
            loop {
                let mut idle = true;
                while let Some(event) = conn.poll_endpoint_events() {
                    idle = false;
                    if let Some(event) =
                        self.endpoint.handle_event(ConnectionHandle(handle), event)
                    {
                        conn.handle_event(event);
                    }
                }
                while let Some(event) = conn.poll() {
                    match event {
                        Event::Connected => self.connected += 1,
                        Event::ConnectionLost { reason } => self.lost.push((now, reason)),
                        _ => {}
                    }
                }
                let mut buf = Vec::new();
                if let Some(transmit) = conn.poll_transmit(now, 1, &mut buf) {
                    idle = false;
                    link.carry(now, self.addr, &transmit, &buf);
                }
                if idle {
                    break;
                }
            }
        }
        self.conns.retain(|_, conn| !conn.is_drained());
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.conns.values_mut().filter_map(Connection::poll_timeout).min()
    }
}

/// The packets under way, in the order in which they arrive.
#[derive(Default)]
struct Link {
    next: u64,
    packets: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, BytesMut)>,
}

impl Link {
    fn carry(&mut self, now: Instant, from: SocketAddr, transmit: &Transmit, buf: &[u8]) {
        self.next += 1;
        let packet = (from, transmit.destination, BytesMut::from(&buf[..transmit.size]));
        self.packets.insert((now + ONE_WAY, self.next), packet);
    }
}

/// Runs all hosts until `end`, in virtual time.
fn run(hosts: &mut [Host], link: &mut Link, now: &mut Instant, end: Instant) {
    loop {
        for host in hosts.iter_mut() {
            host.drain(*now, link);
        }
        let arrival = link.packets.keys().next().map(|(at, _)| *at);
        let deadline = hosts.iter_mut().filter_map(Host::deadline).min();
        let next = arrival.into_iter().chain(deadline).min().unwrap_or(end).max(*now);
        if next > end {
            *now = end;
            return;
        }
        *now = next;
        while let Some(entry) = link.packets.first_entry() {
            if entry.key().0 > *now {
                break;
            }
            let (from, to, packet) = entry.remove();
            if let Some(host) = hosts.iter_mut().find(|host| host.addr == to) {
                host.receive(*now, from, packet, link);
            }
        }
        if arrival.is_none() && deadline.is_none() {
            *now = end;
            return;
        }
    }
}

/// The connections that ended with a reset, after one round trip and after [`SPAN`].
fn resets(tls: &Tls, interval: Duration) -> (usize, usize) {
    let mut now = Instant::now();
    let mut link = Link::default();
    let mut hosts = vec![Host::server(tls, interval)];
    let mut streams = Vec::new();
    for number in 1..=CLIENTS {
        let mut host = Host::client(number);
        let config = ClientConfig::new(tls.client.clone());
        let (handle, conn) = host.endpoint.connect(now, config, addr(0), "server").unwrap();
        host.conns.insert(handle.0, conn);
        hosts.push(host);
    }
    let end = now + Duration::from_secs(5);
    run(&mut hosts, &mut link, &mut now, end);
    assert_eq!(hosts[0].accepted, CLIENTS);
    assert!(hosts[1..].iter().all(|host| host.connected == 1 && host.lost.is_empty()));
    assert!(link.packets.is_empty(), "nothing is under way");

    hosts[0] = Host::server(tls, interval);
    for host in &mut hosts[1..] {
        let conn = host.conns.values_mut().next().unwrap();
        let stream = conn.streams().open(Dir::Uni).unwrap();
        assert_eq!(conn.send_stream(stream).write(b"x").unwrap(), 1);
        streams.push(stream);
    }
    let (sent, end) = (now, now + SPAN);
    run(&mut hosts, &mut link, &mut now, end);
    let lost: Vec<_> = hosts[1..].iter().flat_map(|host| &host.lost).collect();
    assert!(lost.iter().all(|(_, reason)| *reason == ConnectionError::Reset), "{lost:?}");
    (lost.iter().filter(|(at, _)| *at <= sent + 2 * ONE_WAY).count(), lost.len())
}

fn addr(number: usize) -> SocketAddr {
    let ip = Ipv4Addr::new(10, 0, 0, u8::try_from(number + 1).unwrap());
    SocketAddr::new(IpAddr::V4(ip), 4433)
}

fn main() -> ExitCode {
    let tls = Tls::new();
    println!("{CLIENTS} clients send at the same instant; ended with Reset:");
    println!("{:>9}  {:>16}  {:>10}", "interval", "after 20 ms", "after 10 s");
    let mut as_described = true;
    for interval_ms in [20, 5, 1, 0] {
        let (first, all) = resets(&tls, Duration::from_millis(interval_ms));
        println!("{:>6} ms  {first:>16}  {all:>10}", interval_ms);
        as_described &= if interval_ms == 0 {
            first == CLIENTS && all == CLIENTS
        } else {
            first == 1 && all < CLIENTS / 4
        };
    }
    println!("{}", if as_described { "as described" } else { "NOT as described" });
    if as_described { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
RUST

cd "$folder"
cargo --version
rustc --version
cargo build --quiet --target-dir target
cargo tree --quiet --prefix none --depth 1 | sed 's/ (.*//' | grep -v '^reset-interval'
target/debug/reset-interval
