//! The boxes, each kind by itself.

mod linux;
mod nat64;
mod options;
mod rfc4787;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::NatBox;
use crate::env::test_base;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SECOND: Duration = Duration::from_secs(1);
/// Two endpoints of one server, and one of another.
const SERVERS: [SocketAddr; 3] = [server(1, 1), server(1, 2), server(2, 1)];

fn now() -> Instant {
    test_base()
}

const fn server(host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)), port)
}

fn inside(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

fn a() -> SocketAddr {
    inside(1, 4_242)
}

fn b() -> SocketAddr {
    inside(2, 4_242)
}

fn v6(text: &str) -> SocketAddr {
    text.parse().expect("a literal of this test")
}

fn out(nat: &mut NatBox, internal: SocketAddr, remote: SocketAddr) -> SocketAddr {
    nat.outbound(now(), internal, remote).expect("there is room")
}
