#!/usr/bin/env bash
# A read that merges several datagrams: quinn-udp reports no ECN mark for it.
#
# Version
#   quinn-udp 0.6.3, crates.io, on Linux with UDP GSO and GRO (5.0 and later).
#
# Behaviour
#   A sender marks all of its datagrams ECT(0). A datagram that is read alone has
#   `RecvMeta::ecn == Some(Ect0)`. Four datagrams that the kernel merges into one read have
#   `ecn == None`, over IPv4 as over IPv6.
#
#   The buffer for control messages holds 96 bytes. A merged read has four messages: the timestamp,
#   the destination, the size of the pieces and the mark. They take more, the mark comes last, and
#   the kernel cuts it off. Without the timestamp, which quinn-udp 0.6 asks for on its own, the mark
#   is there. The script shows that by switching the timestamp off.
#
#   The documentation of `RecvMeta::ecn` says nothing of merged reads.
#
# Why it matters
#   Merged reads are those of fast senders, which need ECN most. A receiver that reports the marks
#   it saw (RFC 9000 section 13.4.1) then reports fewer than were sent. The sender's validation fails
#   and it stops using ECN on the path. A receiver that takes a missing mark for an unmarked datagram
#   blames the path.
#
# What the script does
#   It sends datagrams between two sockets on loopback, alone and as a batch of four (GSO), and
#   prints the first read. The input is valid. It needs bash, cargo and access to crates.io.
#
# Output
#   cargo 1.95.0 (f2d3ce0bd 2026-03-21)
#   rustc 1.95.0 (59807616e 2026-04-14)
#   libc v0.2.191
#   quinn-udp v0.6.3
#   127.0.0.1 1 sent: read 1200 B in pieces of 1200 B with timestamp, ecn Some(Ect0)
#   127.0.0.1 4 sent: read 4800 B in pieces of 1200 B with timestamp, ecn None
#   127.0.0.1 4 sent: read 4800 B in pieces of 1200 B without timestamp, ecn Some(Ect0)
#   [::1]     1 sent: read 1200 B in pieces of 1200 B with timestamp, ecn Some(Ect0)
#   [::1]     4 sent: read 4800 B in pieces of 1200 B with timestamp, ecn None
#   [::1]     4 sent: read 4800 B in pieces of 1200 B without timestamp, ecn Some(Ect0)
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "merged-reads"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
libc = "=0.2.191"
quinn-udp = { version = "=0.6.3", default-features = false }

[workspace]
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

fn main() -> ExitCode {
    let mut is_as_described = true;
    for host in ["127.0.0.1", "[::1]"] {
        let mark = Some(EcnCodepoint::Ect0);
        is_as_described &= read(host, 1, true) == (1200, mark);
        is_as_described &= read(host, 4, true) == (4800, None);
        is_as_described &= read(host, 4, false) == (4800, mark);
    }
    println!("{}", if is_as_described { "as described" } else { "NOT as described" });
    if is_as_described { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sends datagrams of 1200 bytes in one batch, all marked ECT(0). Returns the length and the mark of
/// the first read.
fn read(host: &str, count: usize, has_timestamps: bool) -> (usize, Option<EcnCodepoint>) {
    let (from, to) = (bind(host), bind(host));
    let (sending, receiving) = (state(&from), state(&to));
    if !has_timestamps {
        switch_timestamps_off(&to);
    }
    let contents = vec![7; 1200 * count];
    let transmit = Transmit {
        destination: to.local_addr().unwrap(),
        ecn: Some(EcnCodepoint::Ect0),
        contents: &contents,
        segment_size: (count > 1).then_some(1200),
        src_ip: None,
    };
    sending.try_send((&from).into(), &transmit).unwrap();
    let mut buffer = vec![0; 65_535];
    let mut meta = [RecvMeta::default()];
    // The socket does not block.
    for _ in 0..100 {
        match receiving.recv((&to).into(), &mut [IoSliceMut::new(&mut buffer)], &mut meta) {
            Ok(_) => break,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let RecvMeta { len, stride, ecn, timestamp, .. } = meta[0];
    let stamped = if timestamp.is_some() { "with" } else { "without" };
    println!("{host:9} {count} sent: read {len} B in pieces of {stride} B {stamped} timestamp, ecn {ecn:?}");
    (len, ecn)
}

fn bind(host: &str) -> UdpSocket {
    UdpSocket::bind(format!("{host}:0")).unwrap()
}

fn state(socket: &UdpSocket) -> UdpSocketState {
    UdpSocketState::new(socket.into()).unwrap()
}

fn switch_timestamps_off(socket: &UdpSocket) {
    let off: libc::c_int = 0;
    // SAFETY: the pointer and the length are those of an int that lives until the call returns.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    assert_eq!(done, 0);
}
RUST

cargo --version
rustc --version
cd "$folder"
cargo generate-lockfile --quiet
cargo tree --quiet --depth 1 --prefix none | tail -n +2 | cut -d ' ' -f 1,2
cargo run --quiet --release
