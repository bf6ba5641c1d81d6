#!/usr/bin/env bash
# A handshake that TLS refuses: an error of `Endpoint::accept` or of the connection, by its size.
#
# Version
#   quinn-proto 0.11.19, crates.io, with the feature "rustls-ring".
#
# Behaviour
#   A client offers only application protocols (ALPN) that the server does not have. If its
#   ClientHello fits into one datagram, `Endpoint::accept` returns an `AcceptError`, and no
#   `Connection` exists. If the ClientHello takes two datagrams, `accept` returns a connection, and
#   the same error (code 0x178, no_application_protocol) comes later as `Event::ConnectionLost`.
#
#   The documentation of `accept` says that an error may still occur. It does not say that the size
#   of the ClientHello decides where a refusal by TLS appears.
#
# Why it matters
#   A server that counts, logs or limits refused handshakes has to do it in two places. Otherwise it
#   misses either all small ClientHellos or all large ones. Large ones are common: post-quantum key
#   shares (X25519MLKEM768) alone take 1.2 kB. The small one never has a connection; the large one
#   has one until the second datagram arrives.
#
# What the script does
#   A client endpoint connects to a server endpoint in memory, once with one protocol name and once
#   with thirty. The script hands the datagrams of the client to the server as they are. The input is
#   valid. It needs bash, cargo and access to crates.io.
#
# Output
#   cargo 1.95.0 (f2d3ce0bd 2026-03-21)
#   rustc 1.95.0 (59807616e 2026-04-14)
#   bytes v1.12.2
#   quinn-proto v0.11.19
#   rcgen v0.14.8
#   rustls v0.23.46
#    1 names, 1 datagram(s): Endpoint::accept: the cryptographic handshake failed: error 120: peer doesn't support any known protocol
#   30 names, 2 datagram(s): Event::ConnectionLost: the cryptographic handshake failed: error 120: peer doesn't support any known protocol
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "accept-error"
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
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, ConnectionError, DatagramEvent, Endpoint, EndpointConfig, Event, ServerConfig,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// How many datagrams the ClientHello took, and where the refusal appeared.
fn refuse(offered: Vec<Vec<u8>>) -> (usize, &'static str, ConnectionError) {
    let made = rcgen::generate_simple_self_signed(["server".to_string()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    server.alpn_protocols = vec![b"served/1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = offered;
    let server: QuicServerConfig = server.try_into().unwrap();
    let client: QuicClientConfig = client.try_into().unwrap();

    let (now, mut buf) = (Instant::now(), Vec::new());
    let at_server: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let at_client: SocketAddr = "192.0.2.2:5000".parse().unwrap();
    let config = || Arc::new(EndpointConfig::default());
    let server = ServerConfig::with_crypto(Arc::new(server));
    let mut server = Endpoint::new(config(), Some(Arc::new(server)), false, None);
    let mut dialer = Endpoint::new(config(), None, false, None);
    let client = ClientConfig::new(Arc::new(client));
    let (_, mut conn) = dialer.connect(now, client, at_server, "server").unwrap();
    let mut datagrams = Vec::new();
    loop {
        let mut datagram = Vec::new();
        let Some(transmit) = conn.poll_transmit(now, 1, &mut datagram) else { break };
        datagrams.push(BytesMut::from(&datagram[..transmit.size]));
    }

    let (count, mut accepted) = (datagrams.len(), None);
    for data in datagrams {
        match server.handle(now, at_client, None, None, data, &mut buf) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                match server.accept(incoming, now, &mut buf, None) {
                    Ok((_, conn)) => accepted = Some(conn),
                    Err(error) => return (count, "Endpoint::accept", error.cause),
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                accepted.as_mut().unwrap().handle_event(event);
            }
            _ => {}
        }
        while let Some(event) = accepted.as_mut().and_then(|conn| conn.poll()) {
            if let Event::ConnectionLost { reason } = event {
                return (count, "Event::ConnectionLost", reason);
            }
        }
    }
    panic!("the handshake was not refused");
}

fn main() -> ExitCode {
    let name = |number: usize| format!("other-protocol-with-a-long-name/{number:02}").into_bytes();
    let mut seen = Vec::new();
    for offered in [1, 30] {
        let (datagrams, place, error) = refuse((0..offered).map(name).collect());
        println!("{offered:>2} names, {datagrams} datagram(s): {place}: {error}");
        seen.push((datagrams, place));
    }
    if seen == [(1, "Endpoint::accept"), (2, "Event::ConnectionLost")] {
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
