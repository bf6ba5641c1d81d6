#!/usr/bin/env bash
# A send from a source address that the host lost: quinn-udp gives up GSO and IPv4 ECN for all peers.
#
# Version
#   quinn-udp 0.6.3, crates.io, on Linux with UDP GSO.
#
# Behaviour
#   `Transmit::src_ip` names an IPv6 address that the host had a moment ago. The kernel refuses the
#   datagram with EINVAL. quinn-udp takes that for an old kernel or a driver without segmentation:
#   from then on `max_gso_segments()` is 1 instead of 64, and datagrams to IPv4 peers have no ECN
#   mark. That holds for every peer of the socket, also when the address is back. A new
#   `UdpSocketState` for the same socket starts afresh.
#
#   The documentation of `max_gso_segments` does not say that it may fall. `try_send` returns the
#   error of the one datagram; that the socket changed is logged at most.
#
# Why it matters
#   QUIC endpoints send from the address on which the peer's datagrams came in. A laptop that leaves
#   a network, or an IPv6 privacy address that expires, is enough: with the next datagram to one idle
#   peer, every transfer of the process loses batches of 64 datagrams a call and congestion signals.
#   The cure is to leave `src_ip` out for addresses that are gone, or to make a new state after EINVAL.
#
# What the script does
#   In a network namespace of its own, a dual-stack socket sends to one peer from 2001:db8::1 and to
#   another one over IPv4: before the address is removed, after that, when it is back, and with a new
#   state. The input is valid. It needs bash, cargo, access to crates.io, iproute2, and user namespaces (unshare).
#
# Output
#   cargo 1.95.0 (f2d3ce0bd 2026-03-21)
#   rustc 1.95.0 (59807616e 2026-04-14)
#   quinn-udp v0.6.3
#   at first
#     to the first peer, from 2001:db8::1: Ok(())
#     another peer, over IPv4: mark Some(Ect0); segments in a batch: 64
#   the address is removed
#     to the first peer, from 2001:db8::1: Err("Invalid argument (os error 22)")
#     another peer, over IPv4: mark None; segments in a batch: 1
#   the address is back
#     to the first peer, from 2001:db8::1: Ok(())
#     another peer, over IPv4: mark None; segments in a batch: 1
#   a new state
#     to the first peer, from 2001:db8::1: Ok(())
#     another peer, over IPv4: mark Some(Ect0); segments in a batch: 64
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "gone-source"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
quinn-udp = { version = "=0.6.3", default-features = false }

[workspace]
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::io::IoSliceMut;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

/// A dual-stack socket, as a QUIC endpoint uses it for all of its peers.
struct Shared(UdpSocket, UdpSocketState);

impl Shared {
    fn new() -> Self {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let state = UdpSocketState::new((&socket).into()).unwrap();
        Self(socket, state)
    }

    /// Sends one datagram that is marked ECT(0), from a source address if one is given.
    fn send(&self, host: &str, to: &Self, src_ip: Option<IpAddr>) -> Result<(), String> {
        let port = to.0.local_addr().unwrap().port();
        let transmit = Transmit {
            destination: format!("{host}:{port}").parse().unwrap(),
            ecn: Some(EcnCodepoint::Ect0),
            contents: &[7; 100],
            segment_size: None,
            src_ip,
        };
        self.1.try_send((&self.0).into(), &transmit).map_err(|error| error.to_string())
    }

    /// The mark of the next datagram.
    fn mark(&self) -> Option<EcnCodepoint> {
        let (mut buffer, mut meta) = (vec![0; 65_535], [RecvMeta::default()]);
        for _ in 0..100 {
            let mut pieces = [IoSliceMut::new(&mut buffer)];
            match self.1.recv((&self.0).into(), &mut pieces, &mut meta) {
                Ok(_) => return meta[0].ecn,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        panic!("nothing arrived");
    }
}

fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
}

fn main() -> ExitCode {
    let (mut shared, first, other) = (Shared::new(), Shared::new(), Shared::new());
    let source: IpAddr = "2001:db8::1".parse().unwrap();
    let mut seen = Vec::new();
    for step in ["at first", "the address is removed", "the address is back", "a new state"] {
        println!("{step}");
        match step {
            "the address is removed" => ip("-6 addr del 2001:db8::1/128 dev lo"),
            "the address is back" => ip("-6 addr add 2001:db8::1/128 dev lo nodad"),
            "a new state" => shared.1 = UdpSocketState::new((&shared.0).into()).unwrap(),
            _ => {}
        }
        let sent = shared.send("[2001:db8::2]", &first, Some(source));
        println!("  to the first peer, from 2001:db8::1: {sent:?}");
        shared.send("[::ffff:127.0.0.1]", &other, None).unwrap();
        let (mark, segments) = (other.mark(), shared.1.max_gso_segments());
        println!("  another peer, over IPv4: mark {mark:?}; segments in a batch: {segments}");
        seen.push((sent.is_ok(), mark, segments));
    }
    let mark = Some(EcnCodepoint::Ect0);
    if seen == [(true, mark, 64), (false, None, 1), (true, None, 1), (true, mark, 64)] {
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
cargo build --quiet --release
unshare --user --map-root-user --net bash -euc '
    ip link set lo up
    ip -6 addr add 2001:db8::1/128 dev lo nodad
    ip -6 addr add 2001:db8::2/128 dev lo nodad
    target/release/gone-source
'
