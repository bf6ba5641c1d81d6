//! Whole nodes on an in-memory network, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::api::{EdgeDownReason, Profile};
use nodenet_tokio::testing::{Hub, HubStats, LinkProfile};
use nodenet_tokio::{ConnectError, Event, Node, NodeEvent, NodeEvents, SendError, StartError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn two_nodes_talk_and_the_latency_shows() {
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
async fn a_light_node_says_less_in_an_idle_hour() {
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
async fn an_edge_that_the_peer_refuses_comes_up_and_goes_down_again() {
    let hub = Hub::new(13);
    let choosy = hub.builder(1).edge_policy(|_| false).start().await.unwrap();
    let node = hub.builder(2).start().await.unwrap();
    let mut events = node.events();
    let asked = {
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
    let refused = timeout(Duration::from_secs(1), asked).await.expect("it ends").unwrap();
    assert!(matches!(refused, Err(ConnectError::NotTaken(_))), "{refused:?}");
    assert!(node.edges().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn why_a_bootstrap_peer_can_not_be_reached_is_told_once() {
    let hub = Hub::new(16);
    let nobody = hub.peer(1);
    let node = hub.builder(2).bootstrap([nobody.clone()]).start().await.unwrap();
    let mut events = node.events();
    let told = wait_for(&mut events, |_| true).await;
    let NodeEvent::Protocol(Event::BootstrapFailed { peer, error: ConnectError::Dial(_) }) = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(peer, nobody.id());
    assert!(timeout(Duration::from_secs(600), events.recv()).await.is_err(), "it is tried on");

    let _late = hub.builder(1).start().await.unwrap();
    let up = wait_for(&mut events, |_| true).await;
    assert!(matches!(up, NodeEvent::Protocol(Event::EdgeUp { .. })), "{up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_nobody_waits_for_brings_an_edge_up_all_the_same() {
    let hub = Hub::new(14);
    let (a, b) = (hub.builder(1).start().await.unwrap(), hub.builder(2).start().await.unwrap());
    let mut events = a.events();
    let given_up = timeout(Duration::from_millis(1), a.connect(b.id(), [b.local_addr()])).await;
    assert!(given_up.is_err(), "a handshake takes longer");
    wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. }))).await;
}

#[tokio::test(start_paused = true)]
async fn others_are_told_every_address_that_a_node_may_advertise() {
    let hub = Hub::new(15);
    let advertised = [1, 2, 3, 4].map(|host| SocketAddr::from(([198, 51, 100, host], 4242)));
    let a = hub.builder(1).advertise(advertised).start().await.unwrap();
    let b = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let known = b.export_peers().await.unwrap();
    let told = &known.iter().find(|peer| peer.id == a.id()).expect("it is its neighbour").addrs;
    assert!(advertised.iter().all(|addr| told.contains(addr)), "{told:?}");

    let five = advertised.into_iter().chain([hub.addr(9)]);
    let refused = hub.builder(3).advertise(five).start().await.expect_err("that is one too many");
    assert!(matches!(refused, StartError::TooManyAdvertised { count: 5 }), "{refused}");
    let nobody = SocketAddr::from(([198, 51, 100, 1], 0));
    let refused = hub.builder(3).advertise([nobody]).start().await.expect_err("it has no port");
    assert!(matches!(refused, StartError::Advertise { addr, .. } if addr == nobody), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn dials_that_nobody_answers_keep_nothing_else_waiting() {
    let hub = Hub::new(19);
    let (a, b) = pair(&hub).await;
    // As many as may wait: 64 for each of sixteen peers, for the core lets no more wait for one
    // peer.
    let nobody = (100..116).map(|number| (hub.peer(number).id(), hub.addr(number)));
    let mut connects = JoinSet::new();
    for (target, addr) in nobody.flat_map(|peer| [peer; 64]) {
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
async fn a_partition_stops_delivery_until_it_heals() {
    let hub = Hub::new(3);
    let (a, b) = pair(&hub).await;
    let mut events = b.events();
    hub.partition([a.local_addr()]);
    b.send(a.id(), "lost").await.unwrap();
    assert!(timeout(Duration::from_secs(3), a.deliveries().recv()).await.is_err());
    let cut = hub.stats().cut;
    assert!(cut > 0);
    let down =
        wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeDown { .. })))
            .await;
    assert!(
        matches!(down, NodeEvent::Protocol(Event::EdgeDown { peer, reason }) if peer == a.id() && reason != EdgeDownReason::Left),
        "{down:?}"
    );

    sleep(Duration::from_secs(600)).await;
    hub.heal();
    wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. }))).await;
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
async fn whoever_waits_for_room_sends_much_over_a_slow_link() {
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
async fn whoever_waits_for_room_at_a_peer_that_is_gone_hears_of_that() {
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
                return assert_eq!(refused, Err(SendError::Backpressure), "nobody takes them");
            }
        }
    }
    panic!("a queue without an end");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_told_later_whom_to_enter_through_joins() {
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
async fn whoever_loses_messages_is_told_how_many_once_a_second() {
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
async fn the_application_says_how_many_messages_may_wait() {
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
async fn a_full_socket_delays_and_loses_nothing() {
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
async fn a_crashed_node_comes_back_under_its_identifier() {
    let hub = Hub::new(7);
    let (a, b) = pair(&hub).await;
    let mut events = a.events();
    hub.partition([b.local_addr()]);
    b.shutdown().await.unwrap();
    let down =
        wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeDown { .. })))
            .await;
    let NodeEvent::Protocol(Event::EdgeDown { peer, reason }) = down else {
        unreachable!("{down:?}")
    };
    assert_eq!(peer, b.id());
    assert_ne!(reason, EdgeDownReason::Left, "nobody heard it leave");

    hub.heal();
    let again = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    assert_eq!((again.id(), again.local_addr()), (b.id(), b.local_addr()));
    wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. }))).await;
    a.send(again.id(), "welcome back").await.unwrap();
    assert_eq!(&again.deliveries().recv().await.unwrap().payload[..], b"welcome back");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_twenty_reaches_everyone() {
    let hub = Hub::new(8);
    let cluster = cluster(&hub, 20).await;
    let begin = Instant::now();
    sleep(Duration::from_secs(300)).await;
    let arrived = everyone_to_everyone(&cluster).await;
    assert_eq!(arrived, 20 * 19);
    assert!(begin.elapsed() >= Duration::from_secs(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_real_time_and_on_several_threads_it_works_as_well() {
    let hub = Hub::new(11);
    let cluster = cluster(&hub, 4).await;
    let (from, to) = (&cluster[3], &cluster[2]);
    from.send(to.id(), "hello").await.unwrap();
    let delivery = timeout(Duration::from_secs(20), to.deliveries().recv()).await.unwrap();
    assert_eq!(delivery.unwrap().originator, from.id());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let reference = scenario(9);
    assert_eq!(scenario(9), reference);
    let (stats, log) = scenario(10);
    assert_ne!(stats.trace_hash, reference.0.trace_hash);
    assert_ne!(log, reference.1);
    assert!(reference.1.iter().any(|line| line.contains("EdgeDown")), "{:?}", reference.1);
}

/// In the environment of the other process, which runs the same test.
const ELSEWHERE: &str = "NODENET_TEST_ELSEWHERE";

#[test]
fn the_same_seed_gives_the_same_run_in_another_process() {
    let here = scenario(9).0.trace_hash;
    if std::env::var_os(ELSEWHERE).is_some() {
        return println!("trace {here}");
    }
    let this = std::env::current_exe().expect("this test runs");
    let only = ["--exact", "the_same_seed_gives_the_same_run_in_another_process", "--nocapture"];
    let other = Command::new(this).args(only).env(ELSEWHERE, "1").output();
    let output = other.expect("this test can run again");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let trace = text.lines().find_map(|line| line.split_once("trace ")).expect("it tells").1;
    assert_eq!(trace, here.to_string());
}

/// A run with loss, a partition and everyone talking: what every node saw, and when.
fn scenario(seed: u64) -> (HubStats, Vec<String>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begin = Instant::now();
        let hub = Hub::new(seed);
        hub.set_links(LinkProfile { loss: 0.05, ..LinkProfile::MOBILE });
        let cluster = cluster(&hub, 6).await;
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        for (number, node) in cluster.iter().enumerate() {
            let (mut events, deliveries) = (node.events(), node.deliveries());
            let report = report.clone();
            tokio::spawn(async move {
                loop {
                    let what = tokio::select! {
                        biased;
                        Some(event) = events.recv() => format!("{event:?}"),
                        Some(delivery) = deliveries.recv() => format!("{delivery:?}"),
                        else => return,
                    };
                    let line = format!("{:?} n{number} {what}", begin.elapsed());
                    let _ = report.send(line);
                }
            });
        }
        drop(report);
        for round in 0..20_u8 {
            if round == 5 {
                hub.partition(cluster[3..].iter().map(Node::local_addr));
            }
            if round == 15 {
                hub.heal();
            }
            for from in &cluster {
                for to in &cluster {
                    let _ = from.send(to.id(), vec![round; 100]).await;
                }
            }
            sleep(Duration::from_secs(10)).await;
        }
        for node in &cluster {
            node.shutdown().await.unwrap();
        }
        drop(cluster);
        let mut log = Vec::new();
        while let Some(line) = reports.recv().await {
            log.push(line);
        }
        (hub.stats(), log)
    })
}

async fn pair(hub: &Hub) -> (Node, Node) {
    let mut nodes = cluster(hub, 2).await.into_iter();
    (nodes.next().unwrap(), nodes.next().unwrap())
}

/// Nodes 1 to `count`, joined through the first.
async fn cluster(hub: &Hub, count: u32) -> Vec<Node> {
    let mut cluster = vec![hub.builder(1).start().await.unwrap()];
    for number in 2..=count {
        let node = hub.builder(number).bootstrap([hub.peer(1)]).start().await.unwrap();
        let mut events = node.events();
        wait_for(&mut events, |event| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. })))
            .await;
        cluster.push(node);
    }
    // Whoever was dialed hears of it a little later.
    sleep(Duration::from_secs(1)).await;
    cluster
}

async fn wait_for(events: &mut NodeEvents, wanted: impl Fn(&NodeEvent) -> bool) -> NodeEvent {
    let found = async {
        loop {
            let event = events.recv().await.expect("the node runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(Duration::from_secs(600), found).await.expect("it happens within ten minutes")
}

/// Lets everyone send to everyone else. Returns how many different messages arrived.
async fn everyone_to_everyone(cluster: &[Node]) -> usize {
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
            from.send(to.id(), to.id().as_bytes().to_vec()).await.unwrap();
        }
        sleep(Duration::from_millis(100)).await;
    }
    receivers.join_all().await.into_iter().sum()
}
