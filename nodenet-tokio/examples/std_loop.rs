//! Driver without a runtime: one `std` socket, one plain loop.
//!
//! Two of them talk on loopback, each on a thread of its own: the second joins through the first,
//! sends it a message by identifier and waits for the answer.
//!
//! Run it with `cargo run -p nodenet-tokio --example std_loop`.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use nodenet_proto::NodeId;
use nodenet_proto::api::{BootstrapPeer, Command, DeliveryPath, Event, RequestId};
use nodenet_proto::drive::{self, Drained, Outlet};
use nodenet_proto::env::{Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::io::{SocketId, Transmit, TransmitBuf};
use nodenet_proto::node::{Config, Input, Node};

/// Largest length of a UDP datagram.
const DATAGRAM_LEN_MAX: usize = 65_535;
/// Longest run of the loop.
const RUN_BOUND: Duration = Duration::from_secs(20);

/// Ends when the second peer has its answer and the first has left.
pub(crate) fn main() -> io::Result<()> {
    let mut first = Peer::bind("127.0.0.1:0")?;
    let mut second = Peer::bind("127.0.0.1:0")?;
    let (first_id, first_addr) = (first.id, first.addr()?);

    let echo = thread::spawn(move || {
        let (from, text) = first.run_until(|event| match event {
            Event::Delivered { originator, payload, .. } => Some((originator, payload)),
            _ => None,
        })?;
        let answer = [b"you said: ".as_slice(), &text].concat();
        first.command(Command::Send {
            request: RequestId(0),
            target: from,
            payload: answer.into(),
        });
        // A Leave waits for queued data.
        first.command(Command::Leave { request: RequestId(1) });
        first.run_until(|event| matches!(event, Event::Left { .. }).then_some(()))
    });

    let peer = BootstrapPeer { id: first_id, addrs: vec![first_addr] };
    second.command(Command::Bootstrap(vec![peer]));
    second.run_until(|event| matches!(event, Event::EdgeUp { .. }).then_some(()))?;
    let payload = Bytes::from_static(b"hello");
    second.command(Command::Send { request: RequestId(0), target: first_id, payload });
    let (answer, path) = second.run_until(|event| match event {
        Event::Delivered { payload, path, .. } => Some((payload, path)),
        _ => None,
    })?;
    assert_eq!(&answer[..], b"you said: hello");
    assert_eq!(path, DeliveryPath::Routed { hops: 1 });
    println!("{}", String::from_utf8_lossy(&answer));
    echo.join().expect("the other thread panicked")
}

/// A node with its socket and its events.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) node: Node,
    buf: TransmitBuf,
    io: Io,
}

/// The outlet of the node.
struct Io {
    socket: UdpSocket,
    events: VecDeque<Event>,
    /// Further sockets that the node asked for. A loop around one blocking socket has none.
    refused: Vec<SocketId>,
}

impl Peer {
    pub(crate) fn bind(addr: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(addr)?;
        let mut config = Config::default();
        // On loopback all addresses are local. A std socket does not forbid fragments, so the path
        // MTU can not be probed.
        config.engine.allow_local_addrs = true;
        config.quic.mtu_discovery = false;
        let identity = Identity::from_master_seed(&random()?);
        let id = identity.id();
        let seed = Seed::from_bytes(random()?);
        let node = Node::new(config, identity, seed, now(), wall()).map_err(io::Error::other)?;
        let io = Io { socket, events: VecDeque::new(), refused: Vec::new() };
        // A std socket sends one datagram at a time.
        let mut peer = Self { id, node, buf: TransmitBuf::new(1), io };
        let local_addr = peer.addr()?;
        peer.node.handle_input(now(), Input::LocalAddrs(vec![local_addr]));
        Ok(peer)
    }

    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.io.socket.local_addr()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.node.handle_input(now(), Input::Command(command));
    }

    /// Runs until `wanted` takes an event.
    fn run_until<T>(&mut self, wanted: impl FnMut(Event) -> Option<T>) -> io::Result<T> {
        self.run_for(RUN_BOUND, wanted)?.ok_or(io::ErrorKind::TimedOut.into())
    }

    /// The loop: drain, wait for a datagram or the deadline, feed it in, again. Ends with the first
    /// event that `wanted` takes, or without one after this time.
    pub(crate) fn run_for<T>(
        &mut self,
        bound: Duration,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let give_up_at = now() + bound;
        let mut bytes = vec![0; DATAGRAM_LEN_MAX];
        loop {
            // A blocking socket takes everything.
            let drained = drive::drain(&mut self.node, &mut self.buf, &mut self.io);
            let Drained::Idle(deadline) = drained else { unreachable!("see Io::transmit") };
            if !self.io.refused.is_empty() {
                for socket in self.io.refused.drain(..) {
                    self.node.handle_input(now(), Input::SocketFailed { socket });
                }
                continue;
            }
            while let Some(event) = self.io.events.pop_front() {
                if let Some(found) = wanted(event) {
                    return Ok(Some(found));
                }
            }
            if now() >= give_up_at {
                return Ok(None);
            }
            let wake_at = deadline.map_or(give_up_at, |deadline| deadline.at.min(give_up_at));
            let wait = wake_at.saturating_duration_since(now());
            // A timeout of zero would mean none.
            self.io.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            let received = self.io.socket.recv_from(&mut bytes);
            // The machine may have slept, and its clock may have been set.
            self.node.handle_input(now(), Input::WallClock(wall()));
            match received {
                Ok((len, remote)) => {
                    let data = BytesMut::from(&bytes[..len]);
                    let socket = SocketId::MAIN;
                    let input = Input::Datagram { socket, remote, local_ip: None, ecn: None, data };
                    self.node.handle_input(now(), input);
                }
                Err(error) if is_timeout(&error) || is_refusal(&error) => {
                    self.node.handle_timeout(now());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Outlet for Io {
    fn transmit(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        // std cannot set the TTL of one datagram. One that is to end on the way is lost here.
        if transmit.ttl.is_none() {
            // A send that fails counts as a lost datagram, which the protocol repairs.
            let _ = self.socket.send_to(bytes, transmit.remote);
        }
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    fn open_socket(&mut self, socket: SocketId, _local_ip: IpAddr) {
        self.refused.push(socket);
    }

    fn close_socket(&mut self, _socket: SocketId) {}
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Windows reports an ICMP port unreachable in this way. The socket can still be used.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a driver owns the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a driver owns the clock")]
fn wall() -> UnixNanos {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(since_epoch.as_nanos() as i64)
}
