//! Monitor of the network of this machine: addresses, default routes and carriers (rtnetlink(7)).
//!
//! Responsible for: waking the driver when one of them changed. Never: what they are now, which the
//! driver reads afterwards. Where the system has no such watch, the driver only reads from time to
//! time.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{open, slept};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::collections::BTreeMap;
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    };
    use nix::time::{ClockId, clock_gettime};
    use tokio::io::unix::AsyncFd;

    use crate::platform::NetworkMonitor;

    /// Groups of links, and of addresses and routes of both families (rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    /// Length of the header of a message (netlink(7)).
    const HEADER_LEN: usize = 16;
    /// Kinds of messages (rtnetlink(7)).
    const NEW_LINK: u16 = 16;
    const NEW_ADDR: u16 = 20;
    const DEL_ADDR: u16 = 21;
    const NEW_ROUTE: u16 = 24;
    const DEL_ROUTE: u16 = 25;
    /// The flag of a link whose carrier is there (netdevice(7)).
    const IFF_RUNNING: u32 = 0x40;
    /// Interfaces whose carrier is remembered, at most; further ones are not watched (guess).
    const LINKS_MAX: usize = 256;

    /// Opens the watch, if the system lets this process have one.
    pub(in super::super) fn open() -> Option<Box<dyn NetworkMonitor>> {
        let open = || -> io::Result<Netlink> {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
            let fd = socket(family, SockType::Raw, flags, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
            Ok(Netlink { fd: register(fd)?, links: Links::default() })
        };
        match open() {
            Ok(monitor) => Some(Box::new(monitor)),
            Err(error) => {
                tracing::debug!(%error, "no watch on the network; going on without");
                None
            }
        }
    }

    /// How long this machine slept since it started: the clock that goes on meanwhile, less the one
    /// that stands still.
    pub(in super::super) fn slept() -> Duration {
        let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
        let awake = read(ClockId::CLOCK_MONOTONIC);
        read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
    }

    /// Hands the socket to the runtime.
    #[expect(deprecated, reason = "the other way is unsafe code; an owned descriptor stays open")]
    fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::new(fd)
    }

    struct Netlink {
        fd: AsyncFd<OwnedFd>,
        links: Links,
    }

    impl NetworkMonitor for Netlink {
        fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            let mut buf = [0; 8_192];
            loop {
                let Ok(mut guard) = ready!(self.fd.poll_read_ready(cx)) else {
                    return Poll::Pending;
                };
                let read =
                    guard.try_io(|fd| Ok(recv(fd.as_raw_fd(), &mut buf, MsgFlags::empty())?));
                match read {
                    Ok(Ok(len)) if self.links.observe(&buf[..len]) => return Poll::Ready(()),
                    // Messages were lost, and one of them may have counted.
                    Ok(Err(_)) => return Poll::Ready(()),
                    Ok(Ok(_)) | Err(_) => {}
                }
            }
        }
    }

    /// Which interfaces had a carrier.
    #[derive(Debug, Default)]
    pub(super) struct Links(BTreeMap<u32, bool>);

    impl Links {
        /// Takes messages of the kernel. Returns whether one of them says that packets may take
        /// another way now.
        pub(super) fn observe(&mut self, mut messages: &[u8]) -> bool {
            let mut changed = false;
            while let Some((len, kind)) = header(messages) {
                let body = &messages[HEADER_LEN..len];
                changed |= match kind {
                    NEW_ADDR | DEL_ADDR => true,
                    // Of routes the default ones alone, whose prefix has no length.
                    NEW_ROUTE | DEL_ROUTE => body.get(1) == Some(&0),
                    NEW_LINK => self.observe_link(body).unwrap_or(false),
                    _ => false,
                };
                messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
            changed
        }

        /// Whether a carrier came back.
        fn observe_link(&mut self, body: &[u8]) -> Option<bool> {
            let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
            let flags = u32::from_ne_bytes(body.get(8..12)?.try_into().ok()?);
            let has_carrier = flags & IFF_RUNNING != 0;
            if !self.0.contains_key(&index) && self.0.len() >= LINKS_MAX {
                return None;
            }
            Some(self.0.insert(index, has_carrier) == Some(false) && has_carrier)
        }
    }

    /// Length and kind of the first message.
    fn header(messages: &[u8]) -> Option<(usize, u16)> {
        let len = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
        (HEADER_LEN..=messages.len()).contains(&len).then_some((len, kind))
    }

    #[cfg(test)]
    mod tests {
        use super::{DEL_ROUTE, HEADER_LEN, Links, NEW_ADDR, NEW_LINK, NEW_ROUTE, slept};

        fn message(kind: u16, body: &[u8]) -> Vec<u8> {
            let len = (HEADER_LEN + body.len()) as u32;
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER_LEN, 0);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }

        fn link(index: u32, flags: u32) -> Vec<u8> {
            let mut body = vec![0; 4];
            body.extend(index.to_ne_bytes());
            body.extend(flags.to_ne_bytes());
            message(NEW_LINK, &body)
        }

        #[test]
        fn addresses_default_routes_and_carriers_that_come_back_count() {
            let mut links = Links::default();
            assert!(links.observe(&message(NEW_ADDR, &[2, 24, 0, 0])));
            assert!(links.observe(&message(DEL_ROUTE, &[2, 0, 0, 0])));
            assert!(!links.observe(&message(NEW_ROUTE, &[2, 24, 0, 0])), "a route to one network");
            assert!(!links.observe(&link(3, 0x41)), "an interface that was not known");
            assert!(!links.observe(&link(3, 0x1)), "its carrier is gone");
            assert!(links.observe(&link(3, 0x41)), "its carrier is back");
            let both = [link(3, 0x41), message(NEW_ADDR, &[2, 24, 0])].concat();
            assert!(links.observe(&both), "the second of two messages");
        }

        #[test]
        fn messages_that_are_cut_off_are_no_change() {
            let whole = message(NEW_ADDR, &[2, 24, 0, 0]);
            for len in 0..whole.len() {
                assert!(!Links::default().observe(&whole[..len]), "{len} bytes");
            }
        }

        #[test]
        fn a_machine_does_not_sleep_while_it_runs_a_test() {
            let before = slept();
            assert!(slept().abs_diff(before) < std::time::Duration::from_secs(1));
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{open, slept};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other {
    use std::time::Duration;

    use crate::platform::NetworkMonitor;

    /// There is none.
    pub(in super::super) fn open() -> Option<Box<dyn NetworkMonitor>> {
        None
    }

    /// Not known here.
    pub(in super::super) fn slept() -> Duration {
        Duration::ZERO
    }
}
