//! Task that writes a peer file while a node runs.

use std::sync::Arc;
use std::time::Duration;

use nodenet_proto::api::Event;
use nodenet_proto::env::{Random, Seed};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::PeerFile;
use crate::node::WeakNode;
use crate::{Node, NodeEvent, NodeEvents};

/// Time from the first edge to the first writing, so that a node that is killed soon after its
/// first start finds back into the network (guess: edges that come up together share one writing).
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Time from the start to the second writing: a new node knows its neighbourhood by then (guess).
const SECOND_AFTER: Duration = Duration::from_secs(30);
/// Time between two writings from then on (guess: peers lost in a crash, against a disk that may
/// sleep).
const INTERVAL: Duration = Duration::from_secs(600);
/// Jitter of both, so that machines that start together do not write together (guess).
const JITTER_PERCENT: u32 = 25;

/// Writes what a node exports to its [`PeerFile`] now and then. Dropping it stops it at once.
///
/// The first failed write in a row is logged as a warning; each is tried again.
#[derive(Debug)]
#[must_use = "dropping this stops the writing: keep it, and call finish() before shutdown()"]
pub struct Keeper {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(file: PeerFile, node: &Node) -> Self {
        let (finish, asked) = oneshot::channel();
        // The times are no secret; each node only needs its own stream.
        let random = Seed::from_bytes(*node.id().as_bytes()).stream("peer file");
        let (file, events) = (Arc::new(file), node.events());
        let task = Task { file, node: node.downgrade(), random, has_kept: false, failed: false };
        Self { finish, task: tokio::spawn(task.run(events, asked)) }
    }

    /// Writes once more and stops. Call it before [`Node::shutdown`]: a node that has left exports
    /// nothing.
    pub async fn finish(self) {
        let Self { finish, task } = self;
        // A task that has ended has nothing to write.
        let _ = finish.send(());
        let _ = task.await;
    }
}

struct Task {
    file: Arc<PeerFile>,
    node: WeakNode,
    random: Random,
    /// Whether any peer has been written.
    has_kept: bool,
    /// Whether the last write failed.
    failed: bool,
}

impl Task {
    async fn run(mut self, mut events: NodeEvents, mut asked: oneshot::Receiver<()>) {
        let second = Instant::now() + self.random.jitter(SECOND_AFTER, JITTER_PERCENT);
        let mut next = second;
        loop {
            let is_last = tokio::select! {
                answer = &mut asked => match answer {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = sleep_until(next) => false,
                () = edge_up(&mut events), if !self.has_kept => {
                    next = next.min(Instant::now() + FIRST_AFTER);
                    continue;
                }
            };
            if self.write().await.is_none() || is_last {
                return;
            }
            let now = Instant::now();
            next = now + self.random.jitter(INTERVAL, JITTER_PERCENT);
            if now < second {
                next = second;
            }
        }
    }

    /// Writes what the node exports now; none if the node is closed.
    async fn write(&mut self) -> Option<()> {
        let peers = self.node.upgrade()?.export_peers().await.ok()?;
        let has_peers = !peers.is_empty();
        let file = Arc::clone(&self.file);
        // A disk may be slow.
        let saved = tokio::task::spawn_blocking(move || file.save(&peers)).await.ok()?;
        if let Err(error) = &saved
            && !self.failed
        {
            tracing::warn!("{error}; a restart may need the bootstrap peers");
        }
        self.failed = saved.is_err();
        self.has_kept |= has_peers && !self.failed;
        Some(())
    }
}

/// Waits until an edge comes up; without end once the node is closed.
async fn edge_up(events: &mut NodeEvents) {
    loop {
        match events.recv().await {
            Some(NodeEvent::Protocol(Event::EdgeUp { .. }) | NodeEvent::Missed(_)) => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
