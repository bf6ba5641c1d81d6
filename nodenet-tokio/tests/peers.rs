//! Nodes that return without any of their bootstrap peers.

mod kit;

use std::time::Duration;

use kit::{PATIENCE, Running, Scratch};
use nodenet_tokio::peer_file::PeerFile;
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::testing::Hub;
use nodenet_tokio::{BootstrapPeer, Node, mint};
use tokio::time::{Instant, sleep, timeout};

/// Ends a node as a power failure does: no peer receives a Leave.
fn crash(hub: &Hub, node: Node) {
    hub.partition([node.local_addr()]);
    drop(node);
}

#[tokio::test(start_paused = true)]
async fn exported_peers_lead_back_without_the_bootstrap_peer() {
    let hub = Hub::new(21);
    let mut cluster = vec![hub.builder(1).start().await.unwrap()];
    for number in 2..=8 {
        let node = hub.builder(number).bootstrap([hub.peer(1)]).start().await.unwrap();
        node.joined().await.unwrap();
        cluster.push(node);
    }
    sleep(Duration::from_secs(60)).await;
    let last = cluster.pop().unwrap();
    let known = last.export_peers().await.unwrap();
    assert!(known.len() >= 6, "it knows the others: {known:?}");
    assert!(known.iter().all(|peer| peer.id != last.id() && !peer.addrs.is_empty()));
    let (id, addr) = (last.id(), last.local_addr());
    last.shutdown().await.unwrap();
    drop(last);
    crash(&hub, cluster.remove(0));
    sleep(Duration::from_secs(300)).await;

    let again = hub.builder(8).known_peers(known).start().await.unwrap();
    assert_eq!((again.id(), again.local_addr()), (id, addr));
    let begin = Instant::now();
    again.joined().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    sleep(Duration::from_secs(10)).await;
    for other in &cluster {
        other.send(id, "you are back").await.unwrap();
        let heard = timeout(Duration::from_secs(5), again.deliveries().recv()).await;
        assert_eq!(heard.expect("in time").expect("it runs").originator, other.id());
        again.send(other.id(), "so I am").await.unwrap();
        let heard = timeout(Duration::from_secs(5), other.deliveries().recv()).await;
        assert_eq!(heard.expect("in time").expect("it runs").originator, id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_writes_soon_and_then_seldom_and_does_not_keep_the_node_running() {
    let hub = Hub::new(22);
    let scratch = Scratch::new();
    let path = scratch.path("node.seed.peers");
    let node = hub.builder(2).start().await.unwrap();
    let keeper = PeerFile::open(&path).unwrap().keep(&node);
    sleep(Duration::from_secs(10)).await;
    let first = hub.builder(1).bootstrap([hub.peer(2)]).start().await.unwrap();
    first.joined().await.unwrap();
    let ids = || PeerFile::open(&path).unwrap().peers().iter().map(|p| p.id).collect::<Vec<_>>();

    sleep(Duration::from_secs(2)).await;
    assert_eq!(ids(), [first.id()], "a node that crashes two seconds later has the peer");
    let second = hub.builder(4).bootstrap([hub.peer(2)]).start().await.unwrap();
    sleep(Duration::from_secs(40)).await;
    assert!(ids().contains(&second.id()), "after a minute it has its neighbourhood");
    second.shutdown().await.unwrap();
    let third = hub.builder(3).bootstrap([hub.peer(2)]).start().await.unwrap();
    sleep(Duration::from_secs(15 * 60)).await;
    assert!(ids().contains(&third.id()), "it is written again");
    std::fs::remove_file(&path).unwrap();
    keeper.finish().await;
    assert!(ids().contains(&third.id()), "and at the end");

    let keeper = PeerFile::open(&path).unwrap().keep(&node);
    let (closed, mut events) = (node.clone(), first.events());
    drop(closed);
    drop(node);
    let down = timeout(Duration::from_secs(10), events.recv()).await;
    assert!(down.is_ok(), "a keeper does not keep the node running");
    keeper.finish().await;
}

/// A node of this process in a network of programs.
async fn start(bootstrap: &[BootstrapPeer]) -> Node {
    let seed = mint::random_seed().expect("the system has entropy");
    let loopback = "127.0.0.1:0".parse().expect("it is an address");
    let builder = Node::builder(Identity::from_master_seed(&seed)).bind(loopback);
    builder.bootstrap(bootstrap.to_vec()).start().await.expect("loopback has free ports")
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_program_comes_back_without_any_of_its_bootstrap_peers() {
    let scratch = Scratch::new();
    let contacts = [scratch.arg("one"), scratch.arg("two")]
        .map(|seed| Running::start(&["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--json"]));
    let lines = contacts.each_ref().map(|contact| {
        contact.event("started")["bootstrap"].as_str().expect("loopback will do").to_owned()
    });
    let list = lines.join(",");
    let peers = BootstrapPeer::parse_list(&list).expect("the program wrote them");
    let others = [start(&peers).await, start(&peers).await, start(&peers).await];

    let seed = scratch.arg("wanderer");
    let mut wanderer = Running::start(&["run", "--bootstrap", &list, "--seed", &seed, "--json"]);
    let id = wanderer.event("started")["id"].as_str().expect("a string").to_owned();
    let mut met = 0;
    while met < others.len() {
        let peer = wanderer.event("edge_up")["peer"].to_string();
        met += usize::from(others.iter().any(|node| peer.contains(&node.id().to_string())));
    }
    // Peers that dialed it send their addresses in this time.
    sleep(Duration::from_secs(2)).await;
    wanderer.signal("TERM");
    assert_eq!(wanderer.end().code(), Some(0));
    let kept = PeerFile::open(&PeerFile::beside(seed.as_ref())).expect("it was just written");
    assert!(others.iter().any(|node| kept.peers().iter().any(|peer| peer.id == node.id())));
    for mut contact in contacts {
        contact.signal("KILL");
        contact.end();
    }

    let mut back = Running::start(&["chat", "--seed", &seed, "--log-level", "info"]);
    assert!(back.line("you are ").ends_with(&id), "the key file decides");
    let (sender, target) = (others[2].clone(), id.parse().expect("the program wrote it"));
    let stop = tokio::spawn(async move {
        loop {
            let _ = sender.send(target, "are you there?").await;
            sleep(Duration::from_millis(200)).await;
        }
    });
    tokio::task::block_in_place(|| back.line("are you there?"));
    stop.abort();
    back.type_line(&format!("/to {}", others[0].id()));
    back.type_line("I am back");
    let heard = timeout(PATIENCE, others[0].deliveries().recv()).await;
    let heard = heard.expect("in time").expect("it runs");
    assert_eq!((heard.originator.to_string(), &heard.payload[..]), (id, &b"I am back"[..]));
}

#[test]
fn a_damaged_peer_file_is_logged_and_does_not_prevent_the_start() {
    let scratch = Scratch::new();
    scratch.write_secret("seed.peers", b"nodenet-peers 1\nhalf a li");
    let (seed, addr) = (scratch.arg("seed"), "127.0.0.1:0");
    let mut node = Running::start(&["run", "--addr", addr, "--seed", &seed, "--json"]);
    let text = node.log_line("peer file");
    assert!(text.contains("seed.peers is damaged in line 2") && text.contains("WARN"), "{text}");
    node.event("started");
    node.signal("TERM");
    assert_eq!(node.end().code(), Some(0));
    let text = kit::failure(1, &["run", "--seed", &seed]);
    assert!(text.contains("damaged in line 2"), "a node without peers did not replace it: {text}");
    assert!(text.contains("--bootstrap ID@HOST:PORT"), "{text}");
}
