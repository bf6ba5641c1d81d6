//! Socket on a hub.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use nodenet_proto::io::Transmit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Hub;
use crate::clock;
use crate::platform::{ReadBuf, Received, Socket, SocketStats};

/// Datagrams taken in one read, at most.
const READ_BATCH: usize = 64;
/// Datagrams in one send, as with segmentation offload.
const SEGMENTS_MAX: usize = 44;

/// One socket. Datagrams that it did not read are lost when it is closed.
pub(crate) struct HubSocket {
    hub: Hub,
    local_addr: SocketAddr,
    /// Timer for the arrival of the next datagram. Locked only during a poll.
    arrival: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl HubSocket {
    pub(crate) fn bind(hub: &Hub, addr: SocketAddr) -> io::Result<Self> {
        let local_addr = hub.with_network(|network| network.bind(clock::now(), addr))?;
        Ok(Self { hub: hub.clone(), local_addr, arrival: Mutex::new(None) })
    }
}

impl Socket for HubSocket {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn supports_ipv4(&self) -> bool {
        true
    }

    fn supports(&self, _remote: &SocketAddr) -> bool {
        true
    }

    fn never_fragments(&self) -> bool {
        true
    }

    fn segments_max(&self) -> usize {
        SEGMENTS_MAX
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let next = self.hub.with_network(|network| {
            network.next_arrival(clock::now(), self.local_addr, cx.waker())
        });
        let Some(at) = next.map(Instant::from_std) else { return Poll::Pending };
        if at <= Instant::now() {
            return Poll::Ready(Ok(()));
        }
        let mut arrival = self.arrival.lock().expect("nothing panics while it holds this");
        let sleep = arrival.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx).map(Ok)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = Some(cx.waker());
        match self.hub.with_network(|network| network.is_writable(self.local_addr, waker)) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn try_receive(&self, _: &mut ReadBuf, each: &mut dyn FnMut(Received)) -> io::Result<()> {
        let now = clock::now();
        for taken in 0..READ_BATCH {
            // The lock is released before the node handles the datagram, because the node may send.
            let received = self.hub.with_network(|network| network.receive(now, self.local_addr));
            match received {
                Some(received) => each(received),
                None if taken == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                None => break,
            }
        }
        Ok(())
    }

    fn try_send(
        &self,
        transmit: &Transmit,
        bytes: &[u8],
        done: &mut usize,
        _: &mut SocketStats,
    ) -> bool {
        let now = clock::now();
        let segment_len = transmit.segment_len.unwrap_or(bytes.len()).max(1);
        self.hub.with_network(|network| {
            if !network.is_writable(self.local_addr, None) {
                return false;
            }
            for datagram in bytes[*done..].chunks(segment_len) {
                let ends = (self.local_addr, transmit.remote);
                network.send(now, ends, transmit, datagram);
                *done += datagram.len();
            }
            true
        })
    }
}

impl Drop for HubSocket {
    fn drop(&mut self) {
        self.hub.with_network(|network| network.unbind(clock::now(), self.local_addr));
    }
}
