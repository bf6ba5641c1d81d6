//! Addresses of a lab in both families.

use std::net::{IpAddr, SocketAddr};

/// An inside socket: the number of the host, and the port.
pub(crate) type Socket = (u8, u16);

/// The port of every server.
const SERVER_PORT: u16 = 7_000;

/// The family of the addresses in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The external address of the outermost router.
    pub(crate) fn wan(self) -> IpAddr {
        match self {
            Self::V4 => [198, 18, 1, 2].into(),
            Self::V6 => [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 2].into(),
        }
    }

    /// A server that no script uses, by which the links are seen to be up.
    pub(crate) fn first(self) -> SocketAddr {
        let ip: IpAddr = match self {
            Self::V4 => [198, 18, 1, 1].into(),
            Self::V6 => [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1].into(),
        };
        SocketAddr::new(ip, SERVER_PORT)
    }

    /// The servers that a script can use: three in networks of their own, and with IPv4 a hundred
    /// more in that of the first.
    pub(crate) fn server(self, number: usize) -> SocketAddr {
        let ip: IpAddr = match (self, number) {
            (Self::V4, 0) => [192, 0, 2, 10].into(),
            (Self::V4, 1) => [198, 51, 100, 10].into(),
            (Self::V4, 2) => [203, 0, 113, 10].into(),
            (Self::V4, _) => [192, 0, 2, 100 + number as u8].into(),
            (Self::V6, _) => [0x2001, 0xdb8, 0xa + number as u16, 0, 0, 0, 0, 0x10].into(),
        };
        SocketAddr::new(ip, SERVER_PORT)
    }

    /// The address of an inside socket.
    pub(crate) fn inside(self, (host, port): Socket) -> SocketAddr {
        let ip: IpAddr = match self {
            Self::V4 => [10, 0, host, 10].into(),
            Self::V6 => [0x2001, 0xdb8, host.into(), 0, 0, 0, 0, 0x10].into(),
        };
        SocketAddr::new(ip, port)
    }
}

/// The socket with this inside address.
pub(crate) fn socket_of(addr: SocketAddr) -> Socket {
    let host = match addr.ip() {
        IpAddr::V4(ip) => ip.octets()[2],
        IpAddr::V6(ip) => ip.segments()[2] as u8,
    };
    (host, addr.port())
}
