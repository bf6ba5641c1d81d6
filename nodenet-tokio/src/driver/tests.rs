use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{DeliveryPath, EdgeDownReason, Event, SendFailure};
use nodenet_proto::drive::Outlet;
use nodenet_proto::env::{Seed, UnixNanos, WallClock};
use nodenet_proto::identity::Identity;
use nodenet_proto::io::{SocketId, Transmit};
use nodenet_proto::node::{self, Input};
use nodenet_proto::stats::DropReason;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Driver, Failure, READ_FAILURES_MAX, READ_ROUNDS, Request, read_rounds};
use crate::channels::{Channels, Handles};
use crate::clock;
use crate::events::{NodeEvent, NodeEvents};
use crate::platform::system::System;
use crate::platform::{Platform, ReadBuf};
use crate::testing::Hub;

/// The master seed of the node in a [`Rig`].
const SEED: [u8; 32] = [7; 32];
/// Messages that wait for the application of a [`Rig`].
const DELIVERY_QUEUE: usize = 2;

/// A driver that is not running, and the ends that handles have of its channels.
struct Rig {
    driver: Driver,
    handles: Handles,
    events: NodeEvents,
}

impl Rig {
    fn on_loopback() -> Self {
        Self::new(Arc::new(System), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
    }

    fn new(platform: Arc<dyn Platform>, addr: SocketAddr) -> Self {
        let identity = Identity::from_master_seed(&SEED);
        let (seed, wall) = (Seed::from_u64(1), UnixNanos(0));
        let node = node::Node::new(node::Config::default(), identity, seed, clock::now(), wall);
        let node = node.expect("the defaults work");
        let Channels { handles, inlets, outlets, .. } = Channels::new(DELIVERY_QUEUE);
        let events = NodeEvents::new(handles.events.upgrade().map(|events| events.subscribe()));
        let socket = platform.bind(addr).expect("there are free ports");
        let driver = Driver::new(node, platform, socket, inlets, outlets, true);
        Self { driver, handles, events }
    }

    /// The next message that waits for the application.
    async fn delivery(&self) -> Option<Bytes> {
        let next = timeout(Duration::ZERO, self.handles.deliveries.recv()).await;
        Some(next.ok()?.expect("the driver is there").payload)
    }

    fn local_addr(&self) -> SocketAddr {
        self.driver.outlet.sockets[&SocketId::MAIN].local_addr()
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_socket_keeps_one_send_until_there_is_room() {
    let hub = Hub::new(1);
    let mut rig = Rig::new(Arc::new(hub.clone()), hub.addr(1));
    let peer = hub.bind(hub.addr(2)).expect("the address is free");
    let transmit = Transmit {
        socket: SocketId::MAIN,
        remote: peer.local_addr(),
        local_ip: None,
        ecn: None,
        segment_len: Some(3),
        ttl: None,
    };
    rig.driver.drain();
    hub.set_send_buffer_full(hub.addr(1), true);
    assert!(!rig.driver.outlet.transmit(&transmit, b"onetwo"));
    // While a send waits the node is not asked for more, and no deadline wakes the task.
    assert_eq!(rig.driver.drain(), None);
    assert!(rig.driver.outlet.blocked.is_some());

    hub.set_send_buffer_full(hub.addr(1), false);
    rig.driver.drain();
    assert!(rig.driver.outlet.blocked.is_none());
    let mut got = Vec::new();
    poll_fn(|cx| peer.poll_readable(cx)).await.expect("a hub never fails");
    let receive = peer.try_receive(&mut ReadBuf::new(), &mut |one| got.push(one.data));
    receive.expect("something arrived");
    assert_eq!(got, [&b"one"[..], b"two"]);
}

#[tokio::test]
async fn reads_that_fail_pause_and_give_up_in_the_end() {
    let mut rig = Rig::on_loopback();
    let error = || io::Error::other("the interface is gone");
    let mut pause = Duration::ZERO;
    for count in 1..READ_FAILURES_MAX {
        let before = clock::now();
        rig.driver.on_read_failure(&error()).expect("not yet");
        let after = rig.driver.read_after.expect("reading pauses");
        assert!(after - before >= pause, "the pause grows: failure {count}");
        pause = after - clock::now();
    }
    let given_up = rig.driver.on_read_failure(&error());
    assert_eq!(given_up, Err(Failure::Socket("the interface is gone".to_owned())));
    assert_eq!(rig.driver.outlet.socket_stats.receive_errors, u64::from(READ_FAILURES_MAX));
}

#[tokio::test]
async fn a_read_that_succeeds_forgives_those_that_failed() {
    let mut rig = Rig::on_loopback();
    rig.driver.on_read_failure(&io::Error::other("passing")).expect("not yet");
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(b"hello", rig.local_addr()).unwrap();
    let arrived = async {
        while rig.driver.stats().protocol.counters.datagrams_received == 0 {
            super::readable(&rig.driver.outlet.sockets).await.expect("the socket is fine");
            rig.driver.receive().expect("the socket is fine");
        }
    };
    timeout(Duration::from_secs(5), arrived).await.expect("the datagram arrives");
    assert_eq!(rig.driver.read_failures, 0);
}

#[test]
fn a_remote_port_that_is_closed_is_no_failure_of_the_socket() {
    let read = |answers: &[io::ErrorKind]| {
        let mut answers = answers.iter();
        // After these answers there is one datagram in each read.
        let (succeeded, ended) =
            read_rounds(|| answers.next().map_or(Ok(()), |kind| Err((*kind).into())));
        (succeeded, ended.map_err(|error| error.kind()), answers.count())
    };
    use io::ErrorKind::{ConnectionReset, Other, WouldBlock};
    assert_eq!(read(&[]), (true, Ok(()), 0));
    assert_eq!(read(&[WouldBlock, Other]), (false, Ok(()), 1));
    assert_eq!(read(&[Other]), (false, Err(Other), 0));
    assert_eq!(read(&[ConnectionReset]), (true, Ok(()), 0), "the next datagram is read");
    assert_eq!(
        read(&[ConnectionReset; 9]),
        (false, Ok(()), 9 - READ_ROUNDS),
        "the number of reads is bounded"
    );
}

#[tokio::test]
async fn sockets_are_opened_and_closed_on_demand() {
    let mut rig = Rig::on_loopback();
    let outlet = &mut rig.driver.outlet;
    outlet.open_socket(SocketId(1), IpAddr::V4(Ipv4Addr::LOCALHOST));
    // No interface has an address that is reserved for documentation.
    outlet.open_socket(SocketId(2), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
    let opened = std::mem::take(&mut outlet.opened);
    assert!(matches!(opened[0], (SocketId(1), Some(addr)) if addr.ip().is_loopback()));
    assert_eq!(opened[1], (SocketId(2), None));
    assert_eq!(outlet.sockets.keys().copied().collect::<Vec<_>>(), [SocketId::MAIN, SocketId(1)]);
    outlet.close_socket(SocketId(1));
    assert_eq!(outlet.sockets.len(), 1);
}

#[tokio::test]
async fn events_reach_subscribers_and_drops_of_a_full_queue_are_counted() {
    let mut rig = Rig::on_loopback();
    let peer = NodeId::from_bytes([9; 32]);
    let delivered = |byte| Event::Delivered {
        originator: peer,
        payload: vec![byte].into(),
        path: DeliveryPath::Direct,
        sealed: false,
        request: None,
    };
    for byte in 0..5 {
        rig.driver.outlet.event(delivered(byte));
    }
    assert_eq!(rig.driver.stats().protocol.drops(DropReason::DeliveryQueueFull), 3);
    assert_eq!(rig.delivery().await.as_deref(), Some(&[0][..]));
    assert_eq!(rig.delivery().await.as_deref(), Some(&[1][..]));
    assert_eq!(rig.delivery().await, None);

    let reason = EdgeDownReason::Left;
    rig.driver.outlet.event(Event::EdgeDown { peer, reason });
    let event = timeout(Duration::ZERO, rig.events.recv()).await;
    assert_eq!(event, Ok(Some(NodeEvent::Protocol(Event::EdgeDown { peer, reason }))));
}

#[tokio::test]
async fn a_message_to_oneself_that_found_no_room_was_not_sent() {
    let mut rig = Rig::on_loopback();
    let target = Identity::from_master_seed(&SEED).id();
    let send = |rig: &mut Rig, direct| {
        let (reply, answer) = oneshot::channel();
        let payload = "note".into();
        rig.driver.on_request(match direct {
            true => Request::SendDirect { target, payload, reply },
            false => Request::Send { target, payload, reply },
        });
        answer
    };
    // The queue of the rig holds two. All requests come before the first delivery.
    let answers = [false, true, false, true].map(|direct| send(&mut rig, direct));
    rig.driver.drain();
    let full = Err(SendFailure::Backpressure);
    let answers = answers.map(|mut answer| answer.try_recv().expect("it is settled"));
    assert_eq!(answers, [Ok(0), Ok(0), full, full]);
    assert_eq!(rig.driver.stats().protocol.drops(DropReason::DeliveryQueueFull), 2);

    rig.delivery().await.expect("two wait");
    let mut answer = send(&mut rig, false);
    rig.driver.drain();
    assert_eq!(answer.try_recv().expect("it is settled"), Ok(0), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_is_seen_before_anything_else_is_handled() {
    let hub = Hub::new(3);
    let mut rig = Rig::new(Arc::new(hub.clone()), hub.addr(1));
    // The hub's clock shows ten minutes less than the node takes it to show.
    let ahead = UnixNanos(hub.wall().0 + 600_000_000_000);
    rig.driver.wall_clock = WallClock::new(clock::now(), ahead);
    rig.driver.input(Input::WallClock(ahead));
    let (reply, answer) = oneshot::channel();
    let Rig { driver, handles, .. } = rig;
    assert!(handles.requests.try_send(Request::Stats(reply)).is_ok(), "the queue is empty");
    let driver = tokio::spawn(driver.run());
    let counters = answer.await.expect("the driver answers").protocol.counters;
    assert_eq!(counters.wall_clock_setbacks, 1, "the correction comes before the answer");
    driver.abort();
}

#[tokio::test]
async fn an_idle_driver_waits_for_a_deadline_that_is_still_to_come() {
    let mut rig = Rig::on_loopback();
    let due = rig.driver.drain();
    // A node without edges and bootstrap peers has no deadline, or one that is still to come.
    assert!(due.is_none_or(|due| due > clock::now()), "a deadline in the past is a busy loop");
}
