//! Platform of production: UDP sockets, clock, interfaces and entropy of the operating system.

mod clock;
mod interfaces;
mod netlink;
mod udp;

use std::io;
use std::net::{self, SocketAddr};
use std::time::Duration;

use nodenet_proto::env::{Seed, UnixNanos};

use super::{NetworkMonitor, Platform, Socket};
pub(crate) use udp::bind_udp;

/// The operating system that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct System;

impl Platform for System {
    fn bind(&self, addr: SocketAddr) -> io::Result<Box<dyn Socket>> {
        bind_udp(addr).and_then(from_std)
    }

    fn wall(&self) -> UnixNanos {
        clock::wall()
    }

    fn node_seed(&self, _local_addr: SocketAddr) -> Result<Seed, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Seed::from_bytes(bytes))
    }

    fn reachable_addrs(&self, socket: &dyn Socket, allow_local: bool) -> Vec<SocketAddr> {
        interfaces::reachable_addrs(socket.local_addr(), socket.supports_ipv4(), allow_local)
    }

    fn network_monitor(&self) -> Option<Box<dyn NetworkMonitor>> {
        netlink::open()
    }

    fn slept(&self) -> Duration {
        netlink::slept()
    }
}

/// Takes over a bound UDP socket.
///
/// # Errors
/// If the system does not let the runtime use it.
pub(crate) fn from_std(socket: net::UdpSocket) -> io::Result<Box<dyn Socket>> {
    Ok(Box::new(udp::UdpSocket::new(socket)?))
}
