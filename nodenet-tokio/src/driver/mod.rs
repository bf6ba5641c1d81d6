//! Driver task of one [`nodenet_proto::node::Node`].
//!
//! Responsible for: waiting for sockets, deadlines and requests, handing them to the node as
//! inputs, and carrying out its outputs. Never: a decision of the protocol.
//!
//! Life of a [`Driver`]: started with the node, it runs until the node has left, or until its main
//! socket fails for good. It sleeps until an input is due. When the socket is full it keeps the one
//! send that did not fit, and drains no further until there is room.

mod dropped;
mod network;
mod outlet;
mod pending;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use nodenet_proto::api::{self, Command, ConnectError, RendezvousError, SendFailure};
use nodenet_proto::drive::{self, Drained};
use nodenet_proto::env::WallClock;
use nodenet_proto::io::{SocketId, TransmitBuf};
use nodenet_proto::node::{self, Input};
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::channels::{Inlets, Outlets, Request};
use crate::clock;
use crate::error::Failure;
use crate::events::NodeStats;
use crate::platform::{Platform, ReadBuf, Received, Socket};
use network::Network;
use outlet::DriverOutlet;
use pending::Reply;

/// Requests taken before the node is drained.
const REQUEST_BATCH: usize = 64;
/// Batches read from one socket before the node is drained, so that a flood can not delay due
/// sends.
const READ_ROUNDS: usize = 2;
/// Time between two readings of the interface addresses, and two exact ones of the wall clock
/// (guess).
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Offset from which a refresh corrects the wall clock of the node. Readings of two clocks differ
/// by less, and freshness is counted in seconds (guess).
const WALL_STEP_MIN_NANOS: u64 = 1_000_000;
/// Offset from which each wake corrects it first. Time synchronisation never steps that far, but
/// monotonic time stands still while a machine sleeps. Far less than freshness allows, far more
/// than a task waits between two readings (guess).
const WALL_JUMP_MIN_NANOS: u64 = 1_000_000_000;
/// Longest time to leave; one second is enough if a neighbour does not answer
/// (PROTOCOL.md#shutdown).
const LEAVE_BOUND: Duration = Duration::from_secs(3);
/// Failed reads in a row after which the main socket counts as lost (guess).
const READ_FAILURES_MAX: u32 = 64;
/// Pause after a failed read. It doubles with each failure up to a factor of 2^10, so that the
/// driver gives up after about a minute.
const READ_FAILURE_PAUSE: Duration = Duration::from_millis(1);

/// The end of a wait.
enum Wake {
    Leave,
    /// Bootstrap peers whose addresses are new; none once the channel is closed.
    Bootstrap(Option<Vec<api::BootstrapPeer>>),
    Refresh,
    /// The network of this machine changed.
    Network,
    Request(Request),
    Readable(io::Result<()>),
    /// A deadline, or room in a full socket. Due work is done after every wait.
    Due,
}

/// One node with its sockets, channels and clocks.
pub(crate) struct Driver {
    node: node::Node,
    buf: TransmitBuf,
    read_buf: ReadBuf,
    outlet: DriverOutlet,
    inlets: Inlets,
    bootstrap_open: bool,
    allow_local: bool,
    network: Network,
    /// Whether nothing but input wakes the driver.
    is_suspended: bool,
    /// The wall clock as the node knows it.
    wall_clock: WallClock,
    read_failures: u32,
    /// Reading pauses until then.
    read_after: Option<Instant>,
    leave_by: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        node: node::Node,
        platform: Arc<dyn Platform>,
        socket: Box<dyn Socket>,
        inlets: Inlets,
        outlets: Outlets,
        allow_local: bool,
    ) -> Self {
        let wall_clock = WallClock::new(clock::now(), platform.wall());
        let network = Network::new(&*platform);
        let outlet = DriverOutlet::new(platform, socket, outlets);
        let mut driver = Self {
            node,
            buf: TransmitBuf::new(1),
            read_buf: ReadBuf::new(),
            outlet,
            inlets,
            bootstrap_open: true,
            allow_local,
            network,
            is_suspended: false,
            wall_clock,
            read_failures: 0,
            read_after: None,
            leave_by: None,
        };
        // So that handles have them from the start.
        driver.refresh();
        driver
    }

    /// Drives the node until it has left.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let ended = self.drive().await;
        let dropped = self.outlet.dropped.take();
        self.outlet.report_dropped(dropped);
        ended
    }

    async fn drive(&mut self) -> Result<(), Failure> {
        let first_refresh = tokio::time::Instant::now() + REFRESH_INTERVAL;
        let mut refreshes = interval_at(first_refresh, REFRESH_INTERVAL);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.drain();
            let dropped = self.outlet.dropped.take_due(clock::now());
            self.outlet.report_dropped(dropped);
            if self.outlet.left && self.outlet.blocked.is_none() {
                return Ok(());
            }
            if self.leave_by.is_some_and(|by| clock::now() >= by) {
                return Ok(());
            }
            let network_due = self.network.due().filter(|_| !self.is_suspended);
            let driver_dues = [self.outlet.dropped.due(), network_due];
            let dues = [due, self.read_after, self.leave_by].into_iter().chain(driver_dues);
            let wake_at = dues.flatten().min();
            let wake = self.wait(&mut refreshes, wake_at).await;
            // First: after a sleep of the machine, messages are stamped and judged by this clock.
            self.correct_wall(WALL_JUMP_MIN_NANOS);
            self.follow_network();
            self.handle(wake)?;
            // Deadlines and sockets get their turn after each wake, so that requests can not starve
            // them.
            if wake_at.is_some_and(|at| at <= clock::now()) {
                self.on_wake();
            }
            if self.read_after.is_none() {
                self.receive()?;
            }
        }
    }

    /// Waits for the next input, and takes it.
    async fn wait(&mut self, refreshes: &mut Interval, wake_at: Option<Instant>) -> Wake {
        let may_read = self.read_after.is_none();
        let blocked_on = self.outlet.blocked.as_ref().map(|blocked| blocked.transmit.socket);
        // In a fixed order, so that a run on a hub can be repeated.
        tokio::select! {
            biased;
            _ = self.inlets.leave.changed(), if self.leave_by.is_none() => Wake::Leave,
            peers = self.inlets.bootstrap.recv(), if self.bootstrap_open => Wake::Bootstrap(peers),
            _ = refreshes.tick(), if !self.is_suspended => Wake::Refresh,
            () = self.network.changed() => Wake::Network,
            () = writable(&self.outlet.sockets, blocked_on), if blocked_on.is_some() => Wake::Due,
            Some(request) = self.inlets.requests.recv(),
                if !self.outlet.pending.is_full() => Wake::Request(request),
            read = readable(&self.outlet.sockets), if may_read => Wake::Readable(read),
            () = wait_until(wake_at), if wake_at.is_some() => Wake::Due,
        }
    }

    fn handle(&mut self, wake: Wake) -> Result<(), Failure> {
        match wake {
            Wake::Leave => self.on_leave(),
            Wake::Bootstrap(Some(peers)) => self.on_bootstrap(peers),
            Wake::Bootstrap(None) => self.bootstrap_open = false,
            Wake::Refresh => self.refresh(),
            Wake::Network => self.network.on_change(clock::now()),
            Wake::Request(request) => self.on_requests(request),
            Wake::Readable(Err(error)) => self.on_read_failure(&error)?,
            Wake::Readable(Ok(())) | Wake::Due => {}
        }
        Ok(())
    }

    /// Carries out the outputs of the node as far as the sockets take them. Returns the next
    /// deadline.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            if !self.outlet.resume() {
                return None;
            }
            self.buf.segments_max = self.outlet.segments_max();
            let drained = drive::drain(&mut self.node, &mut self.buf, &mut self.outlet);
            let opened = std::mem::take(&mut self.outlet.opened);
            if opened.is_empty() {
                return match drained {
                    Drained::Idle(deadline) => deadline.map(|deadline| deadline.at),
                    Drained::Blocked => None,
                };
            }
            for (socket, local) in opened {
                self.input(match local {
                    Some(local) => Input::SocketOpened { socket, local },
                    None => Input::SocketFailed { socket },
                });
            }
        }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let now = clock::now();
        let Self { node, outlet, read_buf, .. } = self;
        let mut failed = None;
        for (id, socket) in &outlet.sockets {
            let mut input = |one: Received| {
                let Received { remote, local_ip, ecn, data } = one;
                let socket = *id;
                node.handle_input(now, Input::Datagram { socket, remote, local_ip, ecn, data });
            };
            let (succeeded, ended) = read_rounds(|| socket.try_receive(read_buf, &mut input));
            if succeeded && *id == SocketId::MAIN {
                self.read_failures = 0;
            }
            if let Err(error) = ended {
                failed = Some((*id, error));
            }
        }
        match failed {
            None => Ok(()),
            Some((SocketId::MAIN, error)) => self.on_read_failure(&error),
            // The node works without the others.
            Some((socket, error)) => {
                tracing::debug!(%error, "an extra socket failed");
                self.outlet.sockets.remove(&socket);
                self.input(Input::SocketFailed { socket });
                Ok(())
            }
        }
    }

    /// A read can fail for a passing reason, such as an interface that went down. Reading goes on
    /// after a pause, until too many reads in a row have failed.
    fn on_read_failure(&mut self, error: &io::Error) -> Result<(), Failure> {
        tracing::debug!(%error, failures = self.read_failures, "can not read the socket");
        self.outlet.socket_stats.receive_errors += 1;
        self.read_failures += 1;
        if self.read_failures >= READ_FAILURES_MAX {
            return Err(Failure::Socket(error.to_string()));
        }
        self.read_after =
            Some(clock::now() + READ_FAILURE_PAUSE * (1 << self.read_failures.min(10)));
        Ok(())
    }

    fn on_wake(&mut self) {
        let now = clock::now();
        self.read_after = self.read_after.filter(|after| *after > now);
        self.node.handle_timeout(now);
    }

    /// Takes all requests that wait, so that small messages share packets.
    fn on_requests(&mut self, first: Request) {
        self.on_request(first);
        for _ in 1..REQUEST_BATCH {
            if self.outlet.pending.is_full() {
                return;
            }
            let Ok(request) = self.inlets.requests.try_recv() else { return };
            self.on_request(request);
        }
    }

    fn on_request(&mut self, request: Request) {
        let pending = &mut self.outlet.pending;
        let command = match request {
            Request::Send { target, payload, reply } => {
                Command::Send { request: pending.insert(Reply::Send(reply)), target, payload }
            }
            Request::SendDirect { target, payload, reply } => {
                let request = pending.insert(Reply::Send(reply));
                Command::SendDirect { request, target, payload }
            }
            // A dial takes seconds, and other requests must not wait for it.
            Request::Connect { reply, .. } if pending.has_all_slow() => {
                let _ = reply.send(Err(ConnectError::Busy));
                return;
            }
            Request::Connect { target, mut addrs, reply } => {
                addrs.retain(|addr| self.outlet.sockets[&SocketId::MAIN].supports(addr));
                Command::Connect { request: pending.insert(Reply::Connect(reply)), target, addrs }
            }
            // The target may take seconds to answer, too.
            Request::Rendezvous { reply, .. } if pending.has_all_slow() => {
                let _ = reply.send(Err(RendezvousError::Busy));
                return;
            }
            Request::Rendezvous { target, within, reply } => {
                let request = pending.insert(Reply::Rendezvous(reply));
                Command::Rendezvous { request, target, within }
            }
            Request::SendSealed { reply, .. } if pending.has_all_slow() => {
                let _ = reply.send(Err(SendFailure::Backpressure));
                return;
            }
            Request::SendSealed { target, payload, within, reply } => {
                let request = pending.insert(Reply::SendSealed(reply));
                Command::SendSealed { request, target, payload, within }
            }
            Request::CloseEdge { peer, reply } => {
                Command::CloseEdge { request: pending.insert(Reply::CloseEdge(reply)), peer }
            }
            // The caller may have given up.
            Request::Explain { peer, reply } => {
                return drop(reply.send(self.node.explain(&peer)));
            }
            Request::Edges(reply) => return drop(reply.send(self.node.edges())),
            Request::Stats(reply) => return drop(reply.send(self.stats())),
            Request::NamedAddrs(reply) => return drop(reply.send(self.node.named_addrs())),
            Request::NatReport(reply) => {
                return drop(reply.send(self.node.nat_report().clone()));
            }
            Request::RelayReport(reply) => {
                let _ = reply.send(self.node.relay_report());
                return;
            }
            Request::ExportPeers(reply) => return drop(reply.send(self.node.export_peers())),
            Request::Suspend(reply) => {
                self.is_suspended = true;
                let _ = reply.send(());
                Command::Suspend
            }
            Request::Resume(reply) => {
                self.is_suspended = false;
                self.refresh();
                let _ = reply.send(());
                Command::Resume
            }
        };
        self.input(Input::Command(command));
    }

    fn on_leave(&mut self) {
        self.leave_by = Some(clock::now() + LEAVE_BOUND);
        let request = self.outlet.pending.insert(Reply::Leave);
        self.input(Input::Command(Command::Leave { request }));
    }

    fn on_bootstrap(&mut self, mut peers: Vec<api::BootstrapPeer>) {
        for peer in &mut peers {
            peer.addrs.retain(|addr| self.outlet.sockets[&SocketId::MAIN].supports(addr));
        }
        self.input(Input::Command(Command::Bootstrap(peers)));
    }

    /// Reads the addresses when the network has settled after a change, and when the machine slept.
    /// The node then probes its edges, also where only a route or a carrier changed.
    fn follow_network(&mut self) {
        if !self.is_suspended && self.network.take_due(clock::now(), &*self.outlet.platform) {
            self.refresh();
            self.input(Input::Command(Command::Resume));
        }
    }

    /// Hands changes of the wall clock and of the interface addresses to the node.
    fn refresh(&mut self) {
        self.correct_wall(WALL_STEP_MIN_NANOS);
        let socket = &*self.outlet.sockets[&SocketId::MAIN];
        let addrs = self.outlet.platform.reachable_addrs(socket, self.allow_local);
        let changed = self.outlet.outlets.reachable.send_if_modified(|known| {
            let changed = *known != addrs;
            known.clone_from(&addrs);
            changed
        });
        if changed {
            self.input(Input::LocalAddrs(addrs));
        }
    }

    /// Corrects the wall clock of the node if it is off by at least this much.
    fn correct_wall(&mut self, off_min_nanos: u64) {
        let (now, wall) = (clock::now(), self.outlet.platform.wall());
        if self.wall_clock.at(now).0.abs_diff(wall.0) >= off_min_nanos {
            self.wall_clock = WallClock::new(now, wall);
            self.input(Input::WallClock(wall));
        }
    }

    fn stats(&self) -> NodeStats {
        let mut protocol = self.node.stats();
        protocol.merge(&self.outlet.stats);
        NodeStats { protocol, sockets: self.outlet.socket_stats }
    }

    fn input(&mut self, input: Input) {
        self.node.handle_input(clock::now(), input);
    }
}

/// Reads until the socket is empty, but at most [`READ_ROUNDS`] times. Returns whether a read
/// succeeded, and the error of one that failed.
fn read_rounds(mut read: impl FnMut() -> io::Result<()>) -> (bool, io::Result<()>) {
    let mut succeeded = false;
    for _ in 0..READ_ROUNDS {
        match read() {
            Ok(()) => succeeded = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Windows reports an ICMP port unreachable in this way. It concerns a remote address,
            // not this socket, and any peer can cause it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return (succeeded, Err(error)),
        }
    }
    (succeeded, Ok(()))
}

/// Waits until some socket can be read.
async fn readable(sockets: &BTreeMap<SocketId, Box<dyn Socket>>) -> io::Result<()> {
    poll_fn(|cx| {
        // Every socket is polled, so that each wakes the task.
        let mut ready = Poll::Pending;
        for socket in sockets.values() {
            if let Poll::Ready(result) = socket.poll_readable(cx) {
                ready = Poll::Ready(result);
            }
        }
        ready
    })
    .await
}

/// Waits until the socket can be written, if there is such a socket.
async fn writable(sockets: &BTreeMap<SocketId, Box<dyn Socket>>, id: Option<SocketId>) {
    if let Some(socket) = id.and_then(|id| sockets.get(&id)) {
        // An error of the socket shows at the next send.
        let _ = poll_fn(|cx| socket.poll_writable(cx)).await;
    }
}

async fn wait_until(at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at.into()).await;
    }
}

#[cfg(test)]
mod tests;
