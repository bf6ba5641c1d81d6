//! The task that writes a peer file for as long as a node runs.

use std::sync::Arc;
use std::time::Duration;

use nodenet_proto::env::{Random, Seed};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::PeerFile;
use crate::Node;
use crate::node::WeakNode;

/// Times to the first two writings. A node that is killed soon after its first start finds back by the
/// first (guess: it has joined by then); it knows its neighbourhood at the second (guess).
const FIRST: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(28)];
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
        let task = Task { file: Arc::new(file), node: node.downgrade(), random, failed: false };
        Self { finish, task: tokio::spawn(task.run(asked)) }
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
    /// Whether the last writing failed.
    failed: bool,
}

impl Task {
    async fn run(mut self, mut asked: oneshot::Receiver<()>) {
        let mut pauses = FIRST.into_iter();
        loop {
            let pause = pauses.next().unwrap_or(INTERVAL);
            let is_last = tokio::select! {
                answer = &mut asked => match answer {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = sleep(self.random.jitter(pause, JITTER_PERCENT)) => false,
            };
            let Some(node) = self.node.upgrade() else { return };
            let Ok(tried) = node.export_peers().await else { return };
            drop(node);
            let file = Arc::clone(&self.file);
            // A disk may take its time.
            let saved = tokio::task::spawn_blocking(move || file.save(&tried)).await;
            let Ok(saved) = saved else { return };
            if let Err(error) = &saved
                && !self.failed
            {
                tracing::warn!("{error}; a restart may have to rely on the bootstrap list");
            }
            self.failed = saved.is_err();
            if is_last {
                return;
            }
        }
    }
}
