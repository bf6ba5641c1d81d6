//! Messages on a hub: bursts, room to send, delivery queues, a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nodenet_tokio::testing::{Hub, LinkProfile};
use nodenet_tokio::{Node, NodeEvent, NodeEvents, NodeId, SendError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{cluster, pair, wait_for};

#[tokio::test(start_paused = true)]
async fn a_burst_within_the_limits_waits_whole_for_an_application_that_is_busy() {
    let hub = Hub::new(16);
    let (a, b) = pair(&hub).await;
    // One thread runs both nodes and this, which takes nothing until all are sent.
    for number in 0..1_000_u32 {
        while let Err(error) = b.send_direct(a.id(), number.to_be_bytes().to_vec()).await {
            assert_eq!(error, SendError::Backpressure);
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    let mut arrived = BTreeSet::new();
    while let Ok(delivery) = timeout(Duration::from_secs(1), a.deliveries().recv()).await {
        assert!(arrived.insert(delivery.unwrap().payload), "each arrives once");
    }
    assert_eq!(arrived.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_for_room_sends_much_over_a_slow_link() {
    let hub = Hub::new(21);
    let (a, b) = pair(&hub).await;
    hub.set_links(LinkProfile { rate_bytes_per_s: Some(1_000_000), ..LinkProfile::REGION });
    let payload = |number: u8| vec![number; 60_000];
    let begin = Instant::now();
    let mut refused = 0;
    for number in 0..30 {
        match b.send_direct(a.id(), payload(number)).await {
            Err(SendError::Backpressure) => refused += 1,
            sent => sent.unwrap(),
        }
    }
    assert!((20..30).contains(&refused), "{refused} were refused");
    let (b, to) = (b.clone(), a.id());
    let sender = tokio::spawn(async move {
        for number in 30..60 {
            b.send_direct_when_ready(to, payload(number)).await.unwrap();
            b.send_when_ready(to, payload(number)).await.unwrap();
        }
    });
    sender.await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(3), "3.6 MB at 1 MB a second");
    for _ in refused..90 {
        let delivery = timeout(Duration::from_secs(5), a.deliveries().recv()).await;
        assert_eq!(delivery.expect("nothing is lost").unwrap().payload.len(), 60_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_for_room_at_a_peer_that_is_gone_gets_an_error() {
    let hub = Hub::new(22);
    let (a, b) = pair(&hub).await;
    hub.partition([a.local_addr()]);
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = b.send_direct_when_ready(a.id(), vec![0; 60_000]).await {
            break error;
        }
    };
    assert_eq!(error, SendError::NoEdge);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    for number in 0..2_000_u32 {
        match b.send_when_ready(b.id(), number.to_be_bytes().to_vec()).await {
            Ok(0) => {}
            refused => {
                return assert_eq!(refused, Err(SendError::Backpressure), "they are not taken");
            }
        }
    }
    panic!("a queue without an end");
}

#[tokio::test(start_paused = true)]
async fn a_full_socket_delays_messages_and_loses_none() {
    let hub = Hub::new(6);
    let (a, b) = pair(&hub).await;
    let before = b.stats().await.unwrap().protocol.counters.datagrams_sent;
    hub.set_send_buffer_full(b.local_addr(), true);
    let sends = (0..20).map(|n| {
        let (b, target) = (b.clone(), a.id());
        async move { b.send_direct(target, vec![n; 3_000]).await.unwrap() }
    });
    let sends = sends.collect::<JoinSet<()>>();
    assert!(timeout(Duration::from_millis(20), a.deliveries().recv()).await.is_err());
    hub.set_send_buffer_full(b.local_addr(), false);
    sends.join_all().await;
    for n in 0..20 {
        let delivery = timeout(Duration::from_secs(1), a.deliveries().recv()).await.unwrap();
        assert_eq!(delivery.unwrap().payload, vec![n; 3_000]);
    }
    let sent = b.stats().await.unwrap().protocol.counters.datagrams_sent - before;
    assert!((42..60).contains(&sent), "60,000 bytes in {sent} datagrams: none was sent again");
}

#[tokio::test(start_paused = true)]
async fn the_delivery_queue_has_the_length_that_the_application_sets() {
    let hub = Hub::new(17);
    for (asked, given) in [(0, 1), (3, 3), (usize::MAX, 5)] {
        let node = hub.builder(1).delivery_queue(asked).start().await.unwrap();
        let mut sent = 0;
        while sent < 5 && node.send(node.id(), "note").await == Ok(0) {
            sent += 1;
        }
        assert_eq!(sent, given, "{asked} were asked for");
        if sent < 5 {
            assert_eq!(node.send(node.id(), "note").await, Err(SendError::Backpressure));
            node.deliveries().recv().await.unwrap();
            assert_eq!(node.send(node.id(), "note").await, Ok(0), "there is room again");
        }
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_messages_are_reported_once_a_second_with_their_number() {
    let hub = Hub::new(18);
    let a = hub.builder(1).delivery_queue(4).start().await.unwrap();
    let b = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    b.joined().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let mut events = a.events();
    let burst = async |count| {
        for number in 0..count {
            b.send_direct(a.id(), vec![number]).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    };
    let dropped = async |events: &mut NodeEvents| match wait_for(events, |_| true).await {
        NodeEvent::DeliveriesDropped(count) => (count, Instant::now()),
        other => panic!("{other:?}"),
    };
    let ((), (first, first_at)) = tokio::join!(burst(24), dropped(&mut events));
    let (rest, rest_at) = dropped(&mut events).await;
    assert_eq!((first, first + rest), (1, 20), "the queue holds four");
    let apart = rest_at - first_at;
    assert!(apart >= Duration::from_secs(1) && apart < Duration::from_millis(1_100), "{apart:?}");
    assert!(timeout(Duration::from_secs(60), events.recv()).await.is_err(), "that was all");

    // Two within a second, and then the end.
    burst(2).await;
    assert_eq!(dropped(&mut events).await.0, 1);
    sleep(LinkProfile::REGION.latency).await;
    a.shutdown().await.unwrap();
    let mut last = Vec::new();
    while let Some(event) = events.recv().await {
        last.push(event);
    }
    assert!(last.contains(&NodeEvent::DeliveriesDropped(1)), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn every_node_of_a_cluster_of_twenty_reaches_every_other() {
    let hub = Hub::new(8);
    let cluster = cluster(&hub, 20).await;
    let begin = Instant::now();
    sleep(Duration::from_secs(300)).await;
    let arrived = send_from_each_to_each(&cluster).await;
    assert_eq!(arrived, 20 * 19);
    assert!(begin.elapsed() >= Duration::from_secs(300));
}

/// Sends a message from each node to each other. Returns how many different messages arrived.
async fn send_from_each_to_each(cluster: &[Node]) -> usize {
    let mut receivers = JoinSet::new();
    for node in cluster {
        let (id, deliveries, count) = (node.id(), node.deliveries(), cluster.len() - 1);
        receivers.spawn(async move {
            let mut from = BTreeMap::<NodeId, u32>::new();
            let all = async {
                while from.len() < count {
                    let delivery = deliveries.recv().await.expect("the node runs");
                    assert_eq!(&delivery.payload[..], id.as_bytes());
                    *from.entry(delivery.originator).or_default() += 1;
                }
            };
            let _ = timeout(Duration::from_secs(30), all).await;
            assert!(from.values().all(|copies| *copies == 1), "each arrives once");
            from.len()
        });
    }
    for from in cluster {
        for to in cluster.iter().filter(|to| to.id() != from.id()) {
            from.send(to.id(), to.id().as_bytes().to_vec()).await.expect("there is room");
        }
        sleep(Duration::from_millis(100)).await;
    }
    receivers.join_all().await.into_iter().sum()
}
