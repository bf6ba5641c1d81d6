//! Nodes that die without a word.

mod kit;

use std::time::Duration;

use kit::{Running, Scratch};
use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::{BootstrapPeer, Event, Node, NodeEvent, mint};
use tokio::time::{sleep, timeout};

/// One of few edges that says nothing is pinged within 41 s and dead five seconds later; a busy
/// machine is a little late.
const DEAD_BOUND: Duration = Duration::from_secs(60);
/// After a minute without edges that is told at the next look, within 5 s; a busy machine is late.
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

/// Sends until the process has it, as an application would that wants an answer.
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
async fn a_killed_node_is_noticed_the_others_go_on_and_it_can_come_back() {
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
            // What the others have to say is not held up by one who is gone.
            assert_delivers(&other, &hub).await;
            assert_delivers(&hub, &other).await;
            let event = timeout(Duration::from_secs(1), events.recv()).await;
            if matches!(event, Ok(Some(NodeEvent::Protocol(Event::EdgeDown { peer, .. }))) if peer == id)
            {
                return;
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
async fn a_node_that_comes_back_before_anyone_noticed_is_reachable_at_once() {
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
fn that_nobody_answers_is_told_after_a_minute() {
    let scratch = Scratch::new();
    // A socket that nobody reads.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = silent.local_addr().expect("it is bound");
    let bootstrap = format!("{}@{addr}", "7".repeat(64));
    let seed = scratch.arg("node");
    let node = Running::start(&["run", "--bootstrap", &bootstrap, "--seed", &seed, "--json"]);
    let seed = scratch.arg("chat");
    let chat = Running::start(&["chat", "--bootstrap", &bootstrap, "--seed", &seed]);
    let said = chat.line_within("no lasting edge to any node for 60 s", WARNING_BOUND);
    assert!(said.starts_with('('), "unprompted: {said}");
    // There may be others: what was dropped, and that no address is a global one.
    while node.event_within("warning", WARNING_BOUND)["name"] != "lonely" {}
}
