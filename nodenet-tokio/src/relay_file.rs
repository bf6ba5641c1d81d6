//! Relay file: what a volunteer passed on this month, so that its quota holds over restarts.
//!
//! Responsible for: reading it, replacing it as a whole, and writing it while a node runs. Never:
//! counts; [`Node::relay_report`] does.
//!
//! A file that can not be read prevents the start of a node with a quota: the quota is a bound, and
//! without the file it would begin again with each start.
//!
//! ```text
//! nodenet relay usage 1
//! 2026-11 123456789
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nodenet_proto::api::RelayUsage;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::Node;
use crate::node::WeakNode;
use crate::private_file;

/// First line of a file.
const TITLE: &str = "nodenet relay usage 1";
/// Length of a file, at most.
const LEN_MAX: u64 = 256;
/// Time between two writings (guess: what a crash loses, against a disk that may sleep). Nothing is
/// written while nothing is relayed.
const INTERVAL: Duration = Duration::from_secs(60);

/// A relay file, whether it exists or not.
#[derive(Debug, Clone)]
pub struct RelayFile {
    path: PathBuf,
    usage: RelayUsage,
}

/// Why a relay file can not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayFileError {
    /// It has other content than this program writes.
    #[error(
        "relay file {} is damaged or of another version, so what this node relayed this month is \
         not known; correct it, or remove it to begin the month's quota again", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("can not {action} relay file {}: {cause}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
}

impl RelayFile {
    /// The path of the relay file for a key file: the same, with `.relay` appended.
    pub fn beside(key_file: &Path) -> PathBuf {
        let mut name = key_file.as_os_str().to_owned();
        name.push(".relay");
        name.into()
    }

    /// Reads a relay file. Without one, nothing was relayed.
    ///
    /// # Errors
    /// If the file can not be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, RelayFileError> {
        let io_error = |cause| RelayFileError::Io { action: "read", path: path.to_owned(), cause };
        let damaged = || RelayFileError::Damaged { path: path.to_owned() };
        let usage = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => RelayUsage::default(),
            Err(error) => return Err(io_error(error)),
            Ok(found) if !found.is_file() => return Err(damaged()),
            Ok(_) => {
                let mut text = String::new();
                let file = fs::File::open(path).map_err(io_error)?;
                file.take(LEN_MAX).read_to_string(&mut text).map_err(|_| damaged())?;
                parse(&text).ok_or_else(damaged)?
            }
        };
        Ok(Self { path: path.to_owned(), usage })
    }

    /// What was relayed, when the file was opened.
    pub fn usage(&self) -> RelayUsage {
        self.usage
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it can not be written. The existing file stays then.
    pub fn save(&self, usage: RelayUsage) -> Result<(), RelayFileError> {
        let text = format!("{TITLE}\n{} {}\n", usage.month, usage.bytes);
        let written = private_file::write_beside(&self.path, text.as_bytes())
            .and_then(|(temporary, _)| private_file::replace(&temporary, &self.path))
            .and_then(|()| private_file::sync_directory(private_file::directory_of(&self.path)));
        let path = || self.path.clone();
        written.map_err(|cause| RelayFileError::Io { action: "write", path: path(), cause })
    }

    /// Writes what `node` relayed once a minute, if it relayed something, and in
    /// [`RelayKeeper::finish`]. Does not keep the node running.
    pub fn keep(self, node: &Node) -> RelayKeeper {
        let (finish, asked) = oneshot::channel();
        let task = tokio::spawn(run(self, node.downgrade(), asked));
        RelayKeeper { finish, task }
    }
}

/// Writes what a node relayed to its [`RelayFile`]. Dropping it stops it at once.
#[derive(Debug)]
#[must_use = "dropping this stops the writing: keep it, and call finish() before shutdown()"]
pub struct RelayKeeper {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RelayKeeper {
    /// Writes once more and stops. Call it before [`Node::shutdown`].
    pub async fn finish(self) {
        let Self { finish, task } = self;
        // A task that has ended has nothing to write.
        let _ = finish.send(());
        let _ = task.await;
    }
}

async fn run(mut file: RelayFile, node: WeakNode, mut asked: oneshot::Receiver<()>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_last = tokio::select! {
            answer = &mut asked => match answer {
                Ok(()) => true,
                Err(_) => return,
            },
            _ = ticks.tick() => false,
        };
        let Some(node) = node.upgrade() else { return };
        let Ok(report) = node.relay_report().await else { return };
        drop(node);
        if report.used != file.usage {
            file = save(file, report.used).await;
        }
        if is_last {
            return;
        }
    }
}

/// Writes off the runtime's threads, for a disk may be slow. A failed write is tried again.
async fn save(file: RelayFile, usage: RelayUsage) -> RelayFile {
    let written = file.clone();
    let saved = tokio::task::spawn_blocking(move || written.save(usage)).await;
    match saved {
        Ok(Ok(())) => RelayFile { usage, ..file },
        Ok(Err(error)) => {
            tracing::warn!("{error}; a restart counts what was relayed since as not relayed");
            file
        }
        // The runtime shuts down.
        Err(_) => file,
    }
}

fn parse(text: &str) -> Option<RelayUsage> {
    let (month, bytes) =
        text.strip_prefix(TITLE)?.strip_prefix('\n')?.trim_end().split_once(' ')?;
    Some(RelayUsage { month: month.parse().ok()?, bytes: bytes.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use nodenet_proto::api::Month;

    use super::*;

    #[test]
    fn what_was_relayed_is_read_as_it_was_written_and_damage_is_an_error() {
        let name = format!("nodenet-relay-file-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory for this test");
        let path = RelayFile::beside(&directory.join("node.seed"));
        assert!(path.ends_with("node.seed.relay"));
        let file = RelayFile::open(&path).expect("no file is an empty one");
        assert_eq!(file.usage(), RelayUsage::default());
        let usage = RelayUsage { month: Month { year: 2026, month: 11 }, bytes: u64::MAX };
        file.save(usage).expect("the directory is writable");
        assert_eq!(RelayFile::open(&path).expect("just written").usage(), usage);
        assert_eq!(fs::read_dir(&directory).expect("it exists").count(), 1, "no other file");
        for text in ["", "nodenet relay usage 1", "nodenet relay usage 2\n2026-11 1\n", "\u{0}"] {
            fs::write(&path, text).expect("the directory is writable");
            let error = RelayFile::open(&path).expect_err(text).to_string();
            assert!(error.contains("remove it to begin"), "{error}");
        }
        fs::remove_dir_all(&directory).expect("it is of this test");
    }
}
