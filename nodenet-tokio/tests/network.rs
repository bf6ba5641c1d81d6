//! Nodes on loopback through the async API.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::api::{DeliveryPath, EdgeDownReason};
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::proto::stats::DropReason;
use nodenet_tokio::proto::transport::DialError;
use nodenet_tokio::proto::wire::{DIRECT_PAYLOAD_MAX, SEND_PAYLOAD_MAX};
use nodenet_tokio::{
    BootstrapPeer, Builder, ConnectError, Delivery, Event, Node, NodeEvent, NodeEvents, SendError,
    mint,
};

/// Longest wait in these tests.
const WAIT_BOUND: Duration = Duration::from_secs(20);

fn builder() -> Builder {
    let seed = mint::random_seed().expect("the system has entropy");
    let loopback: SocketAddr = "127.0.0.1:0".parse().expect("it is an address");
    Node::builder(Identity::from_master_seed(&seed)).bind(loopback)
}

async fn start() -> Node {
    builder().start().await.expect("loopback has free ports")
}

async fn start_through(node: &Node) -> Node {
    let peer = BootstrapPeer::new(node.id(), node.local_addr());
    let joining = builder().bootstrap([peer]).start().await.expect("loopback has free ports");
    connected(&joining, node.id()).await;
    joining
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Waits until there is an edge.
async fn connected(node: &Node, peer: NodeId) {
    let mut events = node.events();
    soon("an edge", async {
        while !node.edges().await.expect("it runs").iter().any(|edge| edge.peer == peer) {
            events.recv().await.expect("it runs");
        }
    })
    .await;
}

async fn receive(node: &Node) -> Delivery {
    soon("a message", node.deliveries().recv()).await.expect("the node runs")
}

async fn event(events: &mut NodeEvents, wanted: impl Fn(&NodeEvent) -> bool) -> NodeEvent {
    soon("an event", async {
        loop {
            let event = events.recv().await.expect("the node runs");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

async fn edge_down(events: &mut NodeEvents, of: NodeId) -> EdgeDownReason {
    let is_down = |event: &NodeEvent| match event {
        NodeEvent::Protocol(Event::EdgeDown { peer, .. }) => *peer == of,
        _ => false,
    };
    match event(events, is_down).await {
        NodeEvent::Protocol(Event::EdgeDown { reason, .. }) => reason,
        other => unreachable!("{other:?} was not waited for"),
    }
}

#[tokio::test]
async fn two_nodes_exchange_messages_in_both_ways_and_both_directions() {
    let a = start().await;
    let b = start_through(&a).await;
    connected(&a, b.id()).await;
    let routed = DeliveryPath::Routed { hops: 1 };
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert_eq!(from.send(to.id(), "routed").await, Ok(1));
        let (originator, payload) = (from.id(), "routed".into());
        let expected = Delivery { originator, payload, path: routed, sealed: false };
        assert_eq!(receive(to).await, expected);
        from.send_direct(to.id(), "direct").await.expect("there is an edge");
        let delivery = receive(to).await;
        assert_eq!(
            (delivery.payload.as_ref(), delivery.path),
            (&b"direct"[..], DeliveryPath::Direct)
        );
        assert_eq!(delivery.originator, from.id());
    }
}

#[tokio::test]
async fn nodes_that_share_only_a_third_reach_each_other() {
    let hub = start().await;
    let (a, b) = (start_through(&hub).await, start_through(&hub).await);
    for (from, to) in [(&a, &b), (&b, &a)] {
        from.send(to.id(), vec![7; 10_000]).await.expect("there is an edge");
        let delivery = receive(to).await;
        assert_eq!((delivery.originator, delivery.payload.len()), (from.id(), 10_000));
        assert!(matches!(delivery.path, DeliveryPath::Routed { hops: 1 | 2 }), "{delivery:?}");
    }
}

#[tokio::test]
async fn messages_of_every_length_arrive_intact_and_longer_ones_are_refused() {
    let a = start().await;
    let b = start_through(&a).await;
    for len in [0, 1, 127, 128, 16_384, SEND_PAYLOAD_MAX] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        b.send(a.id(), payload.clone()).await.expect("there is an edge");
        assert!(receive(&a).await.payload == payload, "{len} bytes");
    }
    let too_large = b.send(a.id(), vec![0; SEND_PAYLOAD_MAX + 1]).await;
    let (len, max) = (SEND_PAYLOAD_MAX + 1, SEND_PAYLOAD_MAX);
    assert_eq!(too_large, Err(SendError::TooLarge { len, max }));

    b.send_direct(a.id(), vec![1; DIRECT_PAYLOAD_MAX]).await.expect("there is an edge");
    assert_eq!(receive(&a).await.payload.len(), DIRECT_PAYLOAD_MAX);
    let too_large = b.send_direct(a.id(), vec![1; DIRECT_PAYLOAD_MAX + 1]).await;
    let (len, max) = (DIRECT_PAYLOAD_MAX + 1, DIRECT_PAYLOAD_MAX);
    assert_eq!(too_large, Err(SendError::TooLarge { len, max }));
}

#[tokio::test]
async fn a_message_to_the_node_itself_arrives() {
    let node = start().await;
    assert_eq!(node.send(node.id(), "note").await, Ok(0));
    assert_eq!(receive(&node).await.payload, "note");
}

#[tokio::test]
async fn without_edges_there_is_no_route() {
    let (node, other) = (start().await, start().await);
    assert_eq!(node.send(other.id(), "hello?").await, Err(SendError::Unroutable));
    let direct = node.send_direct(other.id(), "hello?").await;
    assert_eq!(direct, Err(SendError::NoEdge));
}

#[tokio::test]
async fn a_connect_that_fails_has_a_reason() {
    let (a, b) = (start().await, start().await);
    let nobody = NodeId::from_bytes([7; 32]);
    let connect = |target, addr| soon("connecting", a.connect(target, [addr]));
    let wrong_id = connect(nobody, b.local_addr()).await;
    assert_eq!(wrong_id, Err(ConnectError::Dial(DialError::IdentityMismatch)));
    assert_eq!(connect(a.id(), b.local_addr()).await, Err(ConnectError::SelfEdge));
    let v6 = "[2001:db8::1]:4242".parse().expect("it is an address");
    assert_eq!(connect(nobody, v6).await, Err(ConnectError::NoAddress), "the socket is IPv4 only");
    assert_eq!(connect(b.id(), b.local_addr()).await, Ok(()));
    assert_eq!(soon("nothing", a.connect(b.id(), [])).await, Ok(()), "there is an edge already");
}

#[tokio::test]
async fn a_connect_fails_by_edge_policy_and_by_difficulty() {
    let b = start().await;
    let unwanted = b.id();
    let choosy = builder().edge_policy(move |peer| *peer != unwanted).start().await;
    let choosy = choosy.expect("loopback has free ports");
    let refused = soon("connecting", choosy.connect(b.id(), [b.local_addr()])).await;
    assert_eq!(refused, Err(ConnectError::Refused));

    // Half of all identities lack the bit.
    let (with_bit, without) = (worker(true), worker(false));
    let demanding = Node::builder(with_bit).bind(b.local_addr_on_free_port()).difficulty(1);
    let demanding = demanding.start().await.expect("it has the bit");
    let lazy = Node::builder(without).bind(b.local_addr_on_free_port());
    let lazy = lazy.start().await.expect("loopback has free ports");
    let unmet = soon("connecting", demanding.connect(lazy.id(), [lazy.local_addr()])).await;
    assert_eq!(unmet, Err(ConnectError::WorkUnmet));
}

trait FreePort {
    fn local_addr_on_free_port(&self) -> SocketAddr;
}

impl FreePort for Node {
    fn local_addr_on_free_port(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr().ip(), 0)
    }
}

/// An identity whose first bit is zero, or one.
fn worker(zero: bool) -> Identity {
    loop {
        let seed = mint::random_seed().expect("the system has entropy");
        let identity = Identity::from_master_seed(&seed);
        if (identity.id().leading_zeros() > 0) == zero {
            return identity;
        }
    }
}

#[tokio::test]
async fn the_edges_of_a_node_that_leaves_end_at_once() {
    let a = start().await;
    let b = start_through(&a).await;
    connected(&a, b.id()).await;
    let mut events = a.events();
    soon("leaving", b.shutdown()).await.expect("nothing failed");
    let noticed =
        tokio::time::timeout(Duration::from_secs(2), edge_down(&mut events, b.id())).await;
    assert_eq!(noticed, Ok(EdgeDownReason::Left));
    assert!(a.edges().await.expect("it runs").is_empty());

    assert_eq!(b.send(a.id(), "late").await, Err(SendError::Closed));
    assert_eq!(b.connect(a.id(), [a.local_addr()]).await, Err(ConnectError::Closed));
    assert!(b.edges().await.is_err() && b.stats().await.is_err());
    assert_eq!(b.deliveries().recv().await, None);
    assert_eq!(b.events().recv().await, None);
    assert_eq!(b.shutdown().await, Ok(()), "a second time changes nothing");
}

#[tokio::test]
async fn a_node_leaves_when_its_last_handle_is_dropped() {
    let a = start().await;
    let b = start_through(&a).await;
    connected(&a, b.id()).await;
    let (mut events, id, second_handle) = (a.events(), b.id(), b.clone());
    drop(b);
    second_handle.send(a.id(), "still here").await.expect("a handle is left");
    receive(&a).await;
    drop(second_handle);
    assert_eq!(edge_down(&mut events, id).await, EdgeDownReason::Left);
}

#[tokio::test]
async fn a_message_sent_just_before_leaving_arrives() {
    let a = start().await;
    let b = start_through(&a).await;
    b.send(a.id(), vec![7; 60_000]).await.expect("there is an edge");
    soon("leaving", b.shutdown()).await.expect("nothing failed");
    assert_eq!(receive(&a).await.payload.len(), 60_000);
}

#[tokio::test]
async fn an_edge_can_be_closed_and_opened_again() {
    let (a, b) = (start().await, start().await);
    assert_eq!(a.close_edge(b.id()).await, Ok(false));
    a.connect(b.id(), [b.local_addr()]).await.expect("it is there");
    connected(&b, a.id()).await;
    let mut events = b.events();
    assert_eq!(a.close_edge(b.id()).await, Ok(true));
    edge_down(&mut events, a.id()).await;
    assert!(a.edges().await.expect("it runs").is_empty());
    a.connect(b.id(), [b.local_addr()]).await.expect("it is there");
    a.send_direct(b.id(), "again").await.expect("there is an edge");
    assert_eq!(receive(&b).await.payload, "again");
}

#[tokio::test]
async fn a_clock_that_was_not_set_is_not_corrected() {
    let node = start().await;
    let counters = node.stats().await.expect("it runs").protocol.counters;
    assert_eq!(counters.wall_clock_setbacks, 0);
}

#[tokio::test]
async fn a_full_delivery_queue_drops_the_newest_and_counts_it() {
    let a = builder().delivery_queue(4).start().await;
    let a = a.expect("loopback has free ports");
    let b = start_through(&a).await;
    for i in 0..10_u8 {
        b.send_direct(a.id(), vec![i]).await.expect("there is an edge");
    }
    soon("the drops", async {
        while a.stats().await.expect("it runs").protocol.drops(DropReason::DeliveryQueueFull) < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for i in 0..4 {
        assert_eq!(receive(&a).await.payload.as_ref(), [i]);
    }
}

#[tokio::test]
async fn clones_of_deliveries_share_one_queue_and_dropped_waits_lose_nothing() {
    let node = start().await;
    let (first, second) = (node.deliveries(), node.deliveries());
    for _ in 0..100 {
        let gave_up = tokio::time::timeout(Duration::from_micros(50), first.recv()).await;
        assert!(gave_up.is_err(), "nothing was sent yet");
    }
    let mut got = BTreeSet::new();
    for i in 0..20_u8 {
        node.send(node.id(), vec![i]).await.expect("its own queue has room");
        let deliveries = if i % 2 == 0 { &first } else { &second };
        let delivery = soon("a message", deliveries.recv()).await.expect("it runs");
        got.insert(delivery.payload[0]);
    }
    assert_eq!(got.len(), 20);
}

#[tokio::test]
async fn an_identity_without_the_networks_work_does_not_start() {
    let error = Node::builder(worker(false)).difficulty(1).start().await.expect_err("no work");
    let text = error.to_string();
    assert!(text.contains("0 leading zero bits") && text.contains("requires 1"), "{text}");
}

#[tokio::test]
async fn a_dual_stack_node_serves_both_families() {
    let any: SocketAddr = "[::]:0".parse().expect("it is an address");
    let allow = |config: &mut nodenet_tokio::proto::node::Config| {
        config.engine.allow_local_addrs = true;
    };
    let dual = builder().bind(any).protocol(allow).start().await.expect("there are free ports");
    let mut ips = vec!["127.0.0.1"];
    // A machine without IPv6 serves IPv4.
    if dual.local_addr().is_ipv6() {
        ips.push("::1");
    }
    for ip in ips {
        let local = SocketAddr::new(ip.parse().expect("it is an address"), 0);
        let Ok(node) = builder().bind(local).start().await else { continue };
        let addr = SocketAddr::new(local.ip(), dual.local_addr().port());
        soon("connecting", node.connect(dual.id(), [addr])).await.expect("it is bound there");
        node.send(dual.id(), ip).await.expect("there is an edge");
        assert_eq!(receive(&dual).await.payload, ip);
        connected(&dual, node.id()).await;
        let edges = dual.edges().await.expect("it runs");
        let edge = edges.iter().find(|edge| edge.peer == node.id()).expect("it is connected");
        assert_eq!(edge.remote, node.local_addr(), "IPv4 is shown as IPv4");
        dual.send(node.id(), "back").await.expect("there is an edge");
        assert_eq!(receive(&node).await.payload, "back");
    }
}

#[tokio::test]
async fn a_bootstrap_peer_may_be_a_name_and_may_come_later() {
    let seed = mint::random_seed().expect("the system has entropy");
    let identity = Identity::from_master_seed(&seed);
    // A port that is free now, and most likely in a second.
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = reserved.local_addr().expect("it is bound");
    drop(reserved);

    let entry = format!("{}@localhost:{}", identity.id(), addr.port());
    let peer: BootstrapPeer = entry.parse().expect("it is well formed");
    let early = builder().bootstrap([peer]).start().await.expect("loopback has free ports");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(early.send(identity.id(), "anyone?").await, Err(SendError::Unroutable));

    let late = Node::builder(identity).bind(addr).start().await.expect("the port is free");
    connected(&early, late.id()).await;
    early.send(late.id(), "there you are").await.expect("there is an edge");
    assert_eq!(receive(&late).await.payload, "there you are");
}
