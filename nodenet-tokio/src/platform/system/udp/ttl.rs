//! TTL of a single datagram (IPv6: its hop limit), as a control message of `sendmsg`.
//!
//! The option of a socket is no substitute: it holds for all datagrams, and a dual-stack socket has
//! two of them.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{IS_SUPPORTED, send};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::io::{self, IoSlice};
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use nix::libc::c_int;
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

    /// Whether the TTL of one datagram can be set here.
    pub(in super::super) const IS_SUPPORTED: bool = true;

    /// Sends one datagram with this TTL.
    pub(in super::super) fn send(
        socket: &impl AsRawFd,
        remote: SocketAddr,
        ttl: u8,
        bytes: &[u8],
    ) -> io::Result<()> {
        let ttl = c_int::from(ttl);
        // Linux takes an IPv4-mapped destination for IPv4, and so the option of IPv4.
        let option = match remote.ip().to_canonical().is_ipv4() {
            true => ControlMessage::Ipv4Ttl(&ttl),
            false => ControlMessage::Ipv6HopLimit(&ttl),
        };
        let remote = SockaddrStorage::from(remote);
        let bytes = [IoSlice::new(bytes)];
        sendmsg(socket.as_raw_fd(), &bytes, &[option], MsgFlags::empty(), Some(&remote))?;
        Ok(())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{IS_SUPPORTED, send};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other {
    use std::io;
    use std::net::SocketAddr;

    /// Whether the TTL of one datagram can be set here.
    pub(in super::super) const IS_SUPPORTED: bool = false;

    /// Refuses.
    pub(in super::super) fn send<S>(_: &S, _: SocketAddr, _: u8, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
