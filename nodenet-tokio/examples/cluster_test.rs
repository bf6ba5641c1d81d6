//! Test of a cluster of an application: in one process, without ports, in virtual time.
//!
//! The application is a notice board: each member keeps all notes and sends them to all others
//! every five seconds. The test checks that all members have all notes again after the network was
//! cut in two for ten minutes.
//!
//! Run it with `cargo run -p nodenet-tokio --example cluster_test`. In an application the last
//! function would be a `#[tokio::test(start_paused = true)]`, which needs tokio's feature
//! `test-util`.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::testing::{Hub, LinkProfile};
use nodenet_tokio::{Builder, Node, StartError};
use tokio::time::{Instant, interval, sleep};

/// The application. It is the same on a hub, as here, and over UDP in production.
struct Board {
    node: Node,
    members: Vec<NodeId>,
    notes: Mutex<BTreeSet<String>>,
}

impl Board {
    async fn start(builder: Builder, members: Vec<NodeId>) -> Result<Arc<Self>, StartError> {
        let node = builder.start().await?;
        let board = Arc::new(Self { node, members, notes: Mutex::default() });
        tokio::spawn(Arc::clone(&board).run());
        Ok(board)
    }

    fn pin(&self, note: &str) {
        self.notes.lock().expect("no holder panics").insert(note.to_owned());
    }

    fn notes(&self) -> BTreeSet<String> {
        self.notes.lock().expect("no holder panics").clone()
    }

    async fn run(self: Arc<Self>) {
        let deliveries = self.node.deliveries();
        let mut round = interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                biased;
                delivery = deliveries.recv() => match delivery {
                    Some(delivery) => {
                        let text = String::from_utf8_lossy(&delivery.payload);
                        text.lines().for_each(|note| self.pin(note));
                    }
                    None => return,
                },
                _ = round.tick() => {
                    let text = self.notes().into_iter().collect::<Vec<_>>().join("\n");
                    for member in self.members.iter().filter(|member| **member != self.node.id()) {
                        // A member that can not be reached gets the notes in a later round.
                        let _ = self.node.send(*member, text.clone()).await;
                    }
                }
            }
        }
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let hub = Hub::new(2026);
    hub.set_links(LinkProfile { loss: 0.02, ..LinkProfile::WAN });
    let members: Vec<NodeId> = (1..=6).map(|number| hub.peer(number).id()).collect();
    let mut boards = Vec::new();
    for number in 1..=6 {
        // All members join through 1 and 4, so that each half stays connected.
        let entry =
            [1, 4].into_iter().filter(|entry| *entry != number).map(|entry| hub.peer(entry));
        boards.push(Board::start(hub.builder(number).bootstrap(entry), members.clone()).await?);
    }
    boards[0].pin("welcome");
    sleep(Duration::from_secs(30)).await;
    assert!(boards.iter().all(|board| board.notes().contains("welcome")));

    hub.partition(boards[..3].iter().map(|board| board.node.local_addr()));
    boards[0].pin("the river rose");
    boards[5].pin("the bridge is gone");
    sleep(Duration::from_secs(600)).await;
    for (side, has, lacks) in [
        (&boards[..3], "the river rose", "the bridge is gone"),
        (&boards[3..], "the bridge is gone", "the river rose"),
    ] {
        assert!(side.iter().all(|board| board.notes().contains(has)));
        assert!(side.iter().all(|board| !board.notes().contains(lacks)));
    }

    hub.heal();
    sleep(Duration::from_secs(120)).await;
    assert!(boards.iter().all(|board| board.notes().len() == 3), "all members have all notes");
    println!("{:?} of the cluster's time, {:?}", begin.elapsed(), hub.stats());
    Ok(())
}
