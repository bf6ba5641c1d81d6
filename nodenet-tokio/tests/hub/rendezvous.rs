//! Rendezvous and sealed messages on a hub.

use std::time::Duration;

use nodenet_tokio::testing::Hub;
use nodenet_tokio::{AddressPolicy, DeliveryPath, Event, NodeEvent, RendezvousError, SendError};
use tokio::time::{Instant, sleep, timeout};

use super::{cluster, pair};

#[tokio::test(start_paused = true)]
async fn a_node_is_found_by_its_identifier_and_gets_a_sealed_message() {
    let hub = Hub::new(31);
    let nodes = cluster(&hub, 6).await;
    let (asker, target) = (&nodes[1], &nodes[5]);
    let found = asker.rendezvous(target.id()).await.expect("it is there");
    assert_eq!((found.id, &found.addrs[..]), (target.id(), &target.reachable_addrs()[..]));
    asker.send_sealed(target.id(), "secret").await.expect("its key is known");
    let delivery = timeout(Duration::from_secs(5), target.deliveries().recv()).await;
    let delivery = delivery.expect("in time").expect("it runs");
    assert!(delivery.sealed && matches!(delivery.path, DeliveryPath::Routed { .. }));
    assert_eq!((delivery.originator, &delivery.payload[..]), (asker.id(), &b"secret"[..]));
    asker.send(target.id(), "public").await.expect("there is a route");
    let delivery = timeout(Duration::from_secs(5), target.deliveries().recv()).await;
    assert!(!delivery.expect("in time").expect("it runs").sealed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_exist_is_reported_at_the_deadline() {
    let hub = Hub::new(32);
    let (a, b) = pair(&hub).await;
    let stranger = hub.builder(77).start().await.expect("the address is free");
    let begin = Instant::now();
    let within = Duration::from_secs(3);
    let result = a.rendezvous_within(stranger.id(), within).await;
    assert_eq!(result, Err(RendezvousError::Unanswered));
    assert!((within..within + Duration::from_millis(100)).contains(&begin.elapsed()));
    assert_eq!(a.send_sealed(stranger.id(), "secret").await, Err(SendError::NoKey));
    assert_eq!(stranger.rendezvous(b.id()).await, Err(RendezvousError::Unroutable));
    b.shutdown().await.expect("it leaves");
    assert_eq!(b.rendezvous(a.id()).await, Err(RendezvousError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_node_names_its_addresses_as_its_policy_says() {
    let hub = Hub::new(33);
    let asker = hub.builder(1).start().await.expect("the address is free");
    let hidden = hub.builder(2).bootstrap([hub.peer(1)]);
    let hidden = hidden.address_policy(AddressPolicy::RelayOnly).start().await.expect("free");
    let mut events = hidden.events();
    let up = |event: &NodeEvent| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. }));
    super::wait_for(&mut events, up).await;
    sleep(Duration::from_secs(1)).await;
    let found = asker.rendezvous(hidden.id()).await.expect("it answers");
    assert_eq!(found.addrs, []);
    assert!(!hidden.rendezvous(asker.id()).await.expect("it answers").addrs.is_empty());
}
