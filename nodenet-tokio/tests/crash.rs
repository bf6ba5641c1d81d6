//! Nodes that end without a Leave.

mod kit;

use std::time::Duration;

use kit::{Running, Scratch};
use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::{BootstrapPeer, Event, Node, NodeEvent, mint};
use tokio::time::{sleep, timeout};

/// Time until a silent edge is closed. Of a few edges, it is pinged within 41 s and closed five
/// seconds later; a busy machine takes longer.
const DEAD_BOUND: Duration = Duration::from_secs(60);
/// Time until the warning that there is no edge: a minute, and up to 5 s until the next check; a
/// busy machine takes longer.
const WARNING_BOUND: Duration = Duration::from_secs(75);

async fn start(bootstrap: Option<&Node>) -> Node {
    let seed = mint::random_seed().expect("the system has entropy");
    let loopback = "127.0.0.1:0".parse().expect("it is an address");
    Node::builder(Identity::from_master_seed(&seed))
        .bind(loopback)
        .bootstrap(bootstrap.map(|node| BootstrapPeer::new(node.id(), node.local_addr())))
        .start()
        .await
        .expect("loopback has free ports")
}

/// A `nodenet run` that joins through `hub`.
fn spawn(scratch: &Scratch, hub: &Node) -> (Running, NodeId) {
    let bootstrap = BootstrapPeer::new(hub.id(), hub.local_addr()).to_string();
    let seed = scratch.arg("seed");
    let process = Running::start(&["run", "--bootstrap", &bootstrap, "--seed", &seed, "--json"]);
    let id = process.event("started")["id"].as_str().expect("a string").parse().expect("an id");
    process.event("edge_up");
    (process, id)
}

/// Sends again and again until the message arrives at the process.
async fn reach(from: &Node, to: NodeId, process: &Running) {
    let stop = tokio::spawn({
        let from = from.clone();
        async move {
            loop {
                let _ = from.send(to, "are you there?").await;
                sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let message = tokio::task::block_in_place(|| process.event("message"));
    stop.abort();
    assert_eq!(message["from"], from.id().to_string());
    assert_eq!(message["payload_hex"], "61726520796f752074686572653f");
}

async fn assert_delivers(from: &Node, to: &Node) {
    from.send(to.id(), "still here").await.expect("there is an edge");
    let delivery = timeout(Duration::from_secs(5), to.deliveries().recv()).await;
    assert_eq!(delivery.expect("in time").expect("it runs").payload, "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_noticed_and_can_come_back_while_the_others_go_on() {
    let hub = start(None).await;
    let other = start(Some(&hub)).await;
    let scratch = Scratch::new();
    let (mut process, id) = spawn(&scratch, &hub);
    reach(&other, id, &process).await;

    let mut events = hub.events();
    process.signal("KILL");
    process.end();
    let noticed = timeout(DEAD_BOUND, async {
        loop {
            // The ended node does not delay messages of the others.
            assert_delivers(&other, &hub).await;
            assert_delivers(&hub, &other).await;
            let event = timeout(Duration::from_secs(1), events.recv()).await;
            match event {
                Ok(Some(NodeEvent::Protocol(Event::EdgeDown { peer, .. }))) if peer == id => return,
                _ => {}
            }
        }
    });
    noticed.await.expect("the edge is dropped");
    assert!(hub.edges().await.expect("it runs").iter().all(|edge| edge.peer != id));

    let (process, id_again) = spawn(&scratch, &hub);
    assert_eq!(id_again, id, "the key file decides");
    reach(&other, id, &process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_before_its_peers_notice_is_reachable_at_once() {
    let hub = start(None).await;
    let other = start(Some(&hub)).await;
    let scratch = Scratch::new();
    let (mut process, id) = spawn(&scratch, &hub);
    reach(&other, id, &process).await;
    process.signal("KILL");
    process.end();
    let (process, id_again) = spawn(&scratch, &hub);
    assert_eq!(id_again, id);
    reach(&other, id, &process).await;
}

#[test]
fn a_minute_without_an_answer_is_reported() {
    let scratch = Scratch::new();
    // A socket that is not read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = silent.local_addr().expect("it is bound");
    let bootstrap = format!("{}@{addr}", "7".repeat(64));
    let seed = scratch.arg("node");
    let node = Running::start(&["run", "--bootstrap", &bootstrap, "--seed", &seed, "--json"]);
    let seed = scratch.arg("chat");
    let chat = Running::start(&["chat", "--bootstrap", &bootstrap, "--seed", &seed]);
    let text = chat.line_within("no lasting edge to any node for 60 s", WARNING_BOUND);
    assert!(text.starts_with('('), "the warning comes unprompted: {text}");
    // Other warnings may come: drops, and that no address is global.
    while node.event_within("warning", WARNING_BOUND)["name"] != "lonely" {}
}
