//! Edges on a hub: connect, bootstrap, refusal, addresses, a peer that comes back.

use std::net::SocketAddr;
use std::time::Duration;

use nodenet_tokio::testing::{Hub, LinkProfile};
use nodenet_tokio::{
    AddressPolicy, ConnectError, ConnectOutcome, ConnectStepKind, EdgeDownReason, Event, NodeEvent,
    Obstacle, StartError,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{edge_down, edge_up, pair, wait_for};

#[tokio::test(start_paused = true)]
async fn an_edge_that_the_peer_refuses_comes_up_and_goes_down_again() {
    let hub = Hub::new(13);
    let choosy = hub.builder(1).edge_policy(|_| false).start().await.unwrap();
    let node = hub.builder(2).start().await.unwrap();
    let mut events = node.events();
    let connecting = {
        let (node, id, addr) = (node.clone(), choosy.id(), choosy.local_addr());
        tokio::spawn(async move { node.connect(id, [addr]).await })
    };
    let up = wait_for(&mut events, |_| true).await;
    assert!(matches!(up, NodeEvent::Protocol(Event::EdgeUp { outgoing: true, .. })), "{up:?}");
    let begin = Instant::now();
    let down = wait_for(&mut events, |_| true).await;
    assert!(
        matches!(down, NodeEvent::Protocol(Event::EdgeDown { peer, .. }) if peer == choosy.id()),
        "{down:?}"
    );
    assert!(begin.elapsed() < 5 * LinkProfile::REGION.latency, "{:?}", begin.elapsed());
    let refused = timeout(Duration::from_secs(1), connecting).await.expect("it ends").unwrap();
    assert!(matches!(refused, Err(ConnectError::NotTaken(_))), "{refused:?}");
    assert!(node.edges().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_peer_that_can_not_be_reached_is_reported_once() {
    let hub = Hub::new(16);
    let absent = hub.peer(1);
    let node = hub.builder(2).bootstrap([absent.clone()]).start().await.unwrap();
    let mut events = node.events();
    let reported = wait_for(&mut events, |_| true).await;
    let NodeEvent::Protocol(Event::BootstrapFailed { peer, error: ConnectError::Dial(_) }) =
        reported
    else {
        panic!("{reported:?}");
    };
    assert_eq!(peer, absent.id());
    assert!(timeout(Duration::from_secs(600), events.recv()).await.is_err(), "it is tried on");

    let _late = hub.builder(1).start().await.unwrap();
    let up = wait_for(&mut events, |_| true).await;
    assert!(matches!(up, NodeEvent::Protocol(Event::EdgeUp { .. })), "{up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gets_its_bootstrap_peer_later_joins() {
    let hub = Hub::new(23);
    let a = hub.builder(1).start().await.unwrap();
    let b = hub.builder(2).start().await.unwrap();
    assert!(timeout(Duration::from_secs(60), b.joined()).await.is_err());
    b.add_bootstrap([hub.peer(1)]).await.unwrap();
    timeout(Duration::from_secs(1), b.joined()).await.unwrap().unwrap();
    assert_eq!(b.edges().await.unwrap()[0].peer, a.id());
    b.shutdown().await.unwrap();
    assert!(b.add_bootstrap([hub.peer(1)]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connect_whose_caller_gave_up_still_brings_an_edge_up() {
    let hub = Hub::new(14);
    let (a, b) = (hub.builder(1).start().await.unwrap(), hub.builder(2).start().await.unwrap());
    let mut events = a.events();
    let given_up = timeout(Duration::from_millis(1), a.connect(b.id(), [b.local_addr()])).await;
    assert!(given_up.is_err(), "a handshake takes longer");
    edge_up(&mut events).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_is_explained_while_it_runs_and_after_it() {
    let hub = Hub::new(24);
    let (a, b) = (hub.builder(1).start().await.unwrap(), hub.builder(2).start().await.unwrap());
    let absent = hub.peer(3).id();
    assert_eq!(a.explain(b.id()).await.unwrap(), None, "there was no connect");
    let connecting = {
        let (a, id, addr) = (a.clone(), b.id(), b.local_addr());
        tokio::spawn(async move { a.connect(id, [addr]).await })
    };
    tokio::task::yield_now().await;
    let meanwhile = a.explain(b.id()).await.unwrap().expect("it is under way");
    assert_eq!(meanwhile.outcome, None, "{meanwhile:?}");
    connecting.await.unwrap().unwrap();
    let after = a.explain(b.id()).await.unwrap().expect("it was an attempt");
    let outcome = ConnectOutcome::Direct { remote: b.local_addr() };
    assert_eq!(after.outcome, Some(outcome));
    assert!(after.steps.starts_with(&meanwhile.steps), "{after:?}");
    assert_eq!(after.steps.last().unwrap().kind, ConnectStepKind::Ended(outcome));

    let error = a.connect(absent, []).await.expect_err("there is no such node");
    let why = a.explain(absent).await.unwrap().expect("it was an attempt");
    assert_eq!(why.outcome, Some(ConnectOutcome::Failed(error)));
    assert_eq!(why.obstacle, Some(Obstacle::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn dials_without_an_answer_keep_no_other_request_waiting() {
    let hub = Hub::new(19);
    let (a, b) = pair(&hub).await;
    // As many as may wait: 64 for each of sixteen peers, because the core has a cap of 64 for one
    // peer.
    let absent = (100..116).map(|number| (hub.peer(number).id(), hub.addr(number)));
    let mut connects = JoinSet::new();
    for (target, addr) in absent.flat_map(|peer| [peer; 64]) {
        let a = a.clone();
        connects.spawn(async move { a.connect(target, [addr]).await });
    }
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let one_more = a.connect(hub.peer(200).id(), [hub.addr(200)]).await;
    assert_eq!(one_more, Err(ConnectError::Busy));
    a.send(b.id(), "hello").await.unwrap();
    a.send_direct(b.id(), "hello").await.unwrap();
    assert_eq!(a.edges().await.unwrap().len(), 1);
    a.stats().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO, "none of that waited");

    while let Some(ended) = connects.join_next().await {
        assert!(matches!(ended.unwrap(), Err(ConnectError::Dial(_))));
    }
    assert_eq!(a.connect(b.id(), []).await, Ok(()), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_peer_learns_every_address_that_a_node_may_advertise() {
    let hub = Hub::new(15);
    let advertised = [1, 2, 3, 4].map(|host| SocketAddr::from(([198, 51, 100, host], 4242)));
    let a = hub.builder(1).advertise(advertised).start().await.unwrap();
    let b = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let known = b.export_peers().await.unwrap();
    let reported = &known.iter().find(|peer| peer.id == a.id()).expect("it is its neighbour").addrs;
    assert!(advertised.iter().all(|addr| reported.contains(addr)), "{reported:?}");

    let five = advertised.into_iter().chain([hub.addr(9)]);
    let refused = hub.builder(3).advertise(five).start().await.expect_err("that is one too many");
    assert!(matches!(refused, StartError::TooManyAdvertised { count: 5 }), "{refused}");
    let absent = SocketAddr::from(([198, 51, 100, 1], 0));
    let refused = hub.builder(3).advertise([absent]).start().await.expect_err("it has no port");
    assert!(matches!(refused, StartError::Advertise { addr, .. } if addr == absent), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_crashed_node_comes_back_under_its_identifier() {
    let hub = Hub::new(7);
    let (a, b) = pair(&hub).await;
    let mut events = a.events();
    hub.partition([b.local_addr()]);
    b.shutdown().await.unwrap();
    let (peer, reason) = edge_down(&mut events).await;
    assert_eq!(peer, b.id());
    assert_ne!(reason, EdgeDownReason::Left, "no Leave crosses the cut");

    hub.heal();
    let again = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    assert_eq!((again.id(), again.local_addr()), (b.id(), b.local_addr()));
    edge_up(&mut events).await;
    a.send(again.id(), "welcome back").await.unwrap();
    assert_eq!(&again.deliveries().recv().await.unwrap().payload[..], b"welcome back");
}

#[tokio::test(start_paused = true)]
async fn a_node_says_which_addresses_any_node_is_told_and_which_neighbours_relay() {
    let hub = Hub::new(25);
    let volunteer = hub.builder(1).relay(true).advertise([hub.addr(1)]).start().await.unwrap();
    let secret = hub.builder(2).bootstrap([hub.peer(1)]).address_policy(AddressPolicy::RelayOnly);
    let secret = secret.start().await.unwrap();
    timeout(Duration::from_secs(60), async {
        while !secret.edges().await.unwrap().iter().any(|edge| edge.relays) {
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await
    .expect("the volunteer says so");
    assert!(!volunteer.edges().await.unwrap()[0].relays);
    assert_eq!(volunteer.named_addrs().await.unwrap(), [hub.addr(1)]);
    assert_eq!(secret.named_addrs().await.unwrap(), []);
}
