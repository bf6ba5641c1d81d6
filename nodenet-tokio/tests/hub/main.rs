//! Whole nodes on an in-memory network, in virtual time.

mod connecting;
mod determinism;
mod links;
mod messages;
mod rendezvous;

use std::time::Duration;

use nodenet_tokio::testing::Hub;
use nodenet_tokio::{EdgeDownReason, Event, Node, NodeEvent, NodeEvents, NodeId};
use tokio::time::{sleep, timeout};

/// Two nodes with an edge between them.
async fn pair(hub: &Hub) -> (Node, Node) {
    let mut nodes = cluster(hub, 2).await.into_iter();
    let mut next = || nodes.next().expect("there are two");
    (next(), next())
}

/// Nodes 1 to `count`, joined through the first.
async fn cluster(hub: &Hub, count: u32) -> Vec<Node> {
    let first = hub.builder(1).start().await.expect("the address is free");
    let mut cluster = vec![first];
    for number in 2..=count {
        let builder = hub.builder(number).bootstrap([hub.peer(1)]);
        let node = builder.start().await.expect("the address is free");
        edge_up(&mut node.events()).await;
        cluster.push(node);
    }
    // The edge comes up at the accepting end a little later.
    sleep(Duration::from_secs(1)).await;
    cluster
}

async fn edge_up(events: &mut NodeEvents) {
    let is_up = |event: &NodeEvent| matches!(event, NodeEvent::Protocol(Event::EdgeUp { .. }));
    wait_for(events, is_up).await;
}

/// Waits until an edge is gone. Returns to which peer it was, and why it ended.
async fn edge_down(events: &mut NodeEvents) -> (NodeId, EdgeDownReason) {
    let is_down = |event: &NodeEvent| matches!(event, NodeEvent::Protocol(Event::EdgeDown { .. }));
    match wait_for(events, is_down).await {
        NodeEvent::Protocol(Event::EdgeDown { peer, reason }) => (peer, reason),
        other => unreachable!("{other:?} was not waited for"),
    }
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
