#!/usr/bin/env bash
# A sender whose congestion window is full: quinn-proto sends no acknowledgement while data waits.
#
# Version
#   quinn-proto 0.11.19, crates.io, with the feature "rustls-ring" and default settings.
#
# Behaviour
#   A client has sent what its congestion window allows. Datagrams of the server arrive. If all data
#   has left, the client acknowledges them, one packet for every two. If more data waits for room in
#   the window, it acknowledges none of them: its packets would carry data as well, and those have
#   to wait.
#
#   RFC 9002 section 7 exempts packets with nothing but ACK frames from congestion control, so that
#   acknowledgements need no room in the window.
#
# Why it matters
#   After an outage both ends of a connection that is busy in both directions have a full window and
#   data that waits. Neither acknowledges what arrives of the other, so neither window opens. Only
#   probes get through, and their interval has grown during the outage. Tests with traffic in one
#   direction do not show it. A congestion controller of one's own can cure it: its `window()` has
#   room for one packet more after each datagram that arrives.
#
# What the script does
#   It connects a client and a server in memory. The client writes 1,000, 10,500 and 1,000,000 bytes,
#   and nothing of that is delivered. Then ten datagrams of the server are, and the script counts the
#   acknowledgements. The input is valid. It needs bash, cargo and access to crates.io.
#
# Output
#   cargo 1.95.0 (f2d3ce0bd 2026-03-21)
#   rustc 1.95.0 (59807616e 2026-04-14)
#   bytes v1.12.2
#   quinn-proto v0.11.19
#   rcgen v0.14.8
#   rustls v0.23.46
#   window 12000 B, 1000 B to send:
#     ten datagrams arrive, 5 are sent with 5 acknowledgements
#   window 12000 B, 10500 B to send:
#     ten datagrams arrive, 5 are sent with 5 acknowledgements
#   window 12000 B, 1000000 B to send:
#     ten datagrams arrive, 0 are sent with 0 acknowledgements
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "held-acks"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
bytes = "=1.12.2"
quinn-proto = { version = "=0.11.19", default-features = false, features = ["rustls-ring"] }
rcgen = { version = "=0.14.8", default-features = false, features = ["crypto", "ring"] }
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }

[workspace]
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    ServerConfig, StreamId,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// One end: its endpoint and its connection, once there is one.
struct End {
    endpoint: Endpoint,
    addr: SocketAddr,
    conn: Option<(ConnectionHandle, Connection)>,
}

impl End {
    fn conn(&mut self) -> &mut Connection {
        &mut self.conn.as_mut().unwrap().1
    }

    /// Every datagram that it sends now.
    fn sends(&mut self, now: Instant) -> Vec<BytesMut> {
        let (mut datagrams, mut buf) = (Vec::new(), Vec::new());
        let Some((handle, conn)) = &mut self.conn else { return datagrams };
        loop {
            while let Some(event) = conn.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    conn.handle_event(event);
                }
            }
            buf.clear();
            let Some(transmit) = conn.poll_transmit(now, 1, &mut buf) else { return datagrams };
            datagrams.push(BytesMut::from(&buf[..transmit.size]));
        }
    }

    fn receives(&mut self, now: Instant, from: SocketAddr, datagrams: Vec<BytesMut>) {
        for data in datagrams {
            let mut buf = Vec::new();
            match self.endpoint.handle(now, from, None, None, data, &mut buf) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    self.conn = self.endpoint.accept(incoming, now, &mut buf, None).ok();
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => self.conn().handle_event(event),
                _ => {}
            }
        }
    }
}

/// A client and a server with a connection between them.
fn connected(now: Instant) -> (End, End) {
    let made = rcgen::generate_simple_self_signed(["server".to_string()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let chain = vec![made.cert.der().clone()];
    let server = QuicServerConfig::try_from(
        rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .unwrap(),
    );
    let server = ServerConfig::with_crypto(Arc::new(server.unwrap()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    let config = || Arc::new(EndpointConfig::default());
    let (at_client, at_server) =
        ("192.0.2.2:5000".parse().unwrap(), "192.0.2.1:443".parse().unwrap());
    let mut endpoint = Endpoint::new(config(), None, false, None);
    let conn = endpoint.connect(now, client, at_server, "server").ok();
    let mut client = End { endpoint, addr: at_client, conn };
    let endpoint = Endpoint::new(config(), Some(Arc::new(server)), false, None);
    let mut server = End { endpoint, addr: at_server, conn: None };
    for _ in 0..10 {
        exchange(now, &mut client, &mut server);
        exchange(now, &mut server, &mut client);
    }
    (client, server)
}

fn exchange(now: Instant, from: &mut End, to: &mut End) {
    let datagrams = from.sends(now);
    to.receives(now, from.addr, datagrams);
}

fn stream(end: &mut End) -> StreamId {
    end.conn().streams().open(Dir::Uni).unwrap()
}

/// The client writes this many bytes and sends what it may; none of it arrives. Then ten datagrams
/// of the server do. Returns how many acknowledgements the client sends.
fn acknowledgements(written: usize) -> u64 {
    let mut now = Instant::now();
    let (mut client, mut server) = connected(now);
    let (up, down) = (stream(&mut client), stream(&mut server));
    let taken = client.conn().send_stream(up).write(&vec![7; written]).unwrap();
    // Pacing spreads a window over a round trip.
    for _ in 0..20 {
        client.sends(now);
        now += Duration::from_millis(5);
        client.conn().handle_timeout(now);
    }
    let before = client.conn().stats();
    let mut sent = 0;
    for _ in 0..10 {
        server.conn().send_stream(down).write(&[7; 100]).unwrap();
        exchange(now, &mut server, &mut client);
        sent += client.sends(now).len();
    }
    let after = client.conn().stats();
    let acknowledgements = after.frame_tx.acks - before.frame_tx.acks;
    println!("window {} B, {taken} B to send:", before.path.cwnd);
    println!("  ten datagrams arrive, {sent} are sent with {acknowledgements} acknowledgements");
    acknowledgements
}

fn main() -> ExitCode {
    let (open, written, waiting) =
        (acknowledgements(1_000), acknowledgements(10_500), acknowledgements(1_000_000));
    if open > 0 && written > 0 && waiting == 0 {
        println!("as described");
        ExitCode::SUCCESS
    } else {
        println!("NOT as described");
        ExitCode::FAILURE
    }
}
RUST

cargo --version
rustc --version
cd "$folder"
cargo generate-lockfile --quiet
cargo tree --quiet --depth 1 --prefix none | tail -n +2 | cut -d ' ' -f 1,2
cargo run --quiet --release
