//! The task that writes a peer file for as long as a node runs.

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
/// first start finds back (guess: edges that come up together share a writing).
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Time from the start to the writing after that: a newcomer knows its neighbourhood by then
/// (guess).
const SECOND_AFTER: Duration = Duration::from_secs(30);
/// Time between two from then on (guess: what a crash may cost, against a disk that may sleep).
const INTERVAL: Duration = Duration::from_secs(600);
/// Machines that were started together do not write together.
const JITTER_PERCENT: u32 = 25;

/// Writes what a node exports to its [`PeerFile`] now and then. Dropped, it stops at once.
///
/// A file that can not be written is told as a warning when that begins, and tried again.
#[derive(Debug)]
#[must_use = "the peers are kept only while this lives: keep it, and finish() before shutdown()"]
pub struct Keeper {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(file: PeerFile, node: &Node) -> Self {
        let (finish, asked) = oneshot::channel();
        // Nothing is secret about when; another stream for each node is all that is needed.
        let random = Seed::from_bytes(*node.id().as_bytes()).stream("peer file");
        let (file, events) = (Arc::new(file), node.events());
        let task = Task { file, node: node.downgrade(), random, has_kept: false, failed: false };
        Self { finish, task: tokio::spawn(task.run(events, asked)) }
    }

    /// Writes once more and stops. To be called before [`Node::shutdown`]: a node that has left
    /// exports nothing.
    pub async fn finish(self) {
        let Self { finish, task } = self;
        // A task that ended has nothing left to write.
        let _ = finish.send(());
        let _ = task.await;
    }
}

struct Task {
    file: Arc<PeerFile>,
    node: WeakNode,
    random: Random,
    /// Whether a peer was ever written.
    has_kept: bool,
    /// Whether the last writing failed.
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

    /// Writes what the node exports now; nothing if the node is gone.
    async fn write(&mut self) -> Option<()> {
        let peers = self.node.upgrade()?.export_peers().await.ok()?;
        let has_peers = !peers.is_empty();
        let file = Arc::clone(&self.file);
        // A disk may take its time.
        let saved = tokio::task::spawn_blocking(move || file.save(&peers)).await.ok()?;
        if let Err(error) = &saved
            && !self.failed
        {
            tracing::warn!("{error}; a restart may have to rely on the bootstrap list");
        }
        self.failed = saved.is_err();
        self.has_kept |= has_peers && !self.failed;
        Some(())
    }
}

/// Waits until an edge comes up; for ever once the node is gone.
async fn edge_up(events: &mut NodeEvents) {
    loop {
        match events.recv().await {
            Some(NodeEvent::Protocol(Event::EdgeUp { .. }) | NodeEvent::Missed(_)) => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
