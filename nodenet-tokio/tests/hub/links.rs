//! Links of a hub: latency, loss, rate, partitions, idle time.

use std::collections::BTreeSet;
use std::time::Duration;

use nodenet_tokio::testing::{Hub, HubStats, LinkProfile, NatConfig};
use nodenet_tokio::{EdgeDownReason, Profile};
use tokio::time::{Instant, sleep, timeout};

use super::{edge_down, edge_up, pair};

#[tokio::test(start_paused = true)]
async fn a_message_takes_the_latency_of_its_link() {
    let hub = Hub::new(1);
    let (a, b) = pair(&hub).await;
    for latency_ms in [10, 250] {
        let latency = Duration::from_millis(latency_ms);
        hub.set_links(LinkProfile { latency, ..LinkProfile::REGION });
        let begin = Instant::now();
        assert_eq!(b.send(a.id(), "hello").await, Ok(1));
        let delivery = a.deliveries().recv().await.unwrap();
        assert_eq!((delivery.originator, &delivery.payload[..]), (b.id(), &b"hello"[..]));
        assert_eq!(begin.elapsed(), latency);
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(hub.stats().delivered, hub.stats().sent, "{:?}", hub.stats());
}

#[tokio::test(start_paused = true)]
async fn an_idle_edge_stays_up_for_a_day_and_messages_stay_fresh() {
    let hub = Hub::new(2);
    let (a, b) = pair(&hub).await;
    let mut events = b.events();
    sleep(Duration::from_secs(86_400)).await;
    assert!(timeout(Duration::ZERO, events.recv()).await.is_err(), "nothing happened");
    b.send(a.id(), "still there?").await.unwrap();
    assert_eq!(&a.deliveries().recv().await.unwrap().payload[..], b"still there?");
}

#[tokio::test(start_paused = true)]
async fn a_light_node_sends_less_in_an_idle_hour() {
    let datagrams = async |profile| {
        let hub = Hub::new(12);
        let _router = hub.builder(1).start().await.unwrap();
        let node = hub.builder(2).profile(profile).bootstrap([hub.peer(1)]).start().await.unwrap();
        node.joined().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        let before = hub.stats().sent;
        sleep(Duration::from_secs(3_600)).await;
        hub.stats().sent - before
    };
    let (router, light) = (datagrams(Profile::Router).await, datagrams(Profile::Light).await);
    assert!(light * 4 < router * 3, "{light} datagrams, as a router {router}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_stops_delivery_until_it_heals() {
    let hub = Hub::new(3);
    let (a, b) = pair(&hub).await;
    let mut events = b.events();
    hub.partition([a.local_addr()]);
    b.send(a.id(), "lost").await.unwrap();
    assert!(timeout(Duration::from_secs(3), a.deliveries().recv()).await.is_err());
    let cut = hub.stats().cut;
    assert!(cut > 0);
    let (peer, reason) = edge_down(&mut events).await;
    assert_eq!(peer, a.id());
    assert_ne!(reason, EdgeDownReason::Left, "no Leave crosses the cut");

    sleep(Duration::from_secs(600)).await;
    hub.heal();
    edge_up(&mut events).await;
    b.send(a.id(), "healed").await.unwrap();
    let delivery = timeout(Duration::from_secs(1), a.deliveries().recv()).await.unwrap().unwrap();
    assert_eq!(&delivery.payload[..], b"healed");
}

#[tokio::test(start_paused = true)]
async fn a_tenth_of_the_datagrams_lost_loses_no_message() {
    let hub = Hub::new(4);
    hub.set_links(LinkProfile { loss: 0.1, ..LinkProfile::WAN });
    let (a, b) = pair(&hub).await;
    for number in 0..200_u32 {
        b.send(a.id(), number.to_be_bytes().to_vec()).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    let mut arrived = BTreeSet::new();
    while let Ok(Some(delivery)) = timeout(Duration::from_secs(5), a.deliveries().recv()).await {
        assert!(arrived.insert(delivery.payload), "each arrives once");
    }
    assert_eq!(arrived.len(), 200);
    let HubStats { sent, lost, .. } = hub.stats();
    assert!(lost * 100 / sent >= 5, "{lost} of {sent} lost");
}

#[tokio::test(start_paused = true)]
async fn large_messages_pass_a_link_of_limited_rate() {
    let hub = Hub::new(5);
    let (a, b) = pair(&hub).await;
    hub.set_links(LinkProfile { rate_bytes_per_s: Some(100_000), ..LinkProfile::REGION });
    let begin = Instant::now();
    let payload = vec![7; 60_000];
    b.send_direct(a.id(), payload.clone()).await.unwrap();
    assert_eq!(a.deliveries().recv().await.unwrap().payload, payload);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_behind_a_nat_box_joins_and_is_dialed_by_no_other() {
    let hub = Hub::new(6);
    hub.add_nat([hub.addr(2)], NatConfig::default());
    let (a, b) = pair(&hub).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        from.send(to.id(), "through the box").await.unwrap();
        let delivery = timeout(Duration::from_secs(1), to.deliveries().recv()).await.unwrap();
        assert_eq!(delivery.unwrap().originator, from.id());
    }
    let c = hub.builder(3).start().await.unwrap();
    let dialed = c.connect(b.id(), [hub.addr(2)]).await;
    assert!(dialed.is_err(), "its own address leads nowhere: {dialed:?}");
    assert!(hub.stats().unreachable > 0, "{:?}", hub.stats());
}
