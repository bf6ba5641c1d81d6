//! Peer file: the peers that a node knew, so that it finds back into its network without any
//! bootstrap peer.
//!
//! Responsible for: reading it, replacing it as a whole, and writing it now and then while a node
//! runs. Never: which peers are kept ([`Node::export_peers`] decides), and never a reason for a
//! node not to start. A file that can not be used only costs its content; one that other users may
//! write to stays as it is until its owner has checked it.
//!
//! Life of a [`PeerFile`]: it is opened before the node starts, and [`Builder::known_peers`] gets
//! its peers. Then a [`Keeper`] owns it and writes what the node exports.
//!
//! ```no_run
//! # use std::path::PathBuf;
//! # use nodenet_tokio::{Node, proto::identity::Identity, peer_file::PeerFile};
//! # async fn run(identity: Identity) -> Result<(), Box<dyn std::error::Error>> {
//! let path = PathBuf::from("node.seed.peers");
//! let file = PeerFile::open(&path).unwrap_or_else(|error| {
//!     eprintln!("{error}");
//!     PeerFile::afresh(&path)
//! });
//! let node = Node::builder(identity).known_peers(file.peers().to_vec()).start().await?;
//! let keeper = file.keep(&node);
//! // … until it is time to go:
//! keeper.finish().await;
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Builder::known_peers`]: crate::Builder::known_peers

mod keeper;
mod text;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nodenet_proto::api::KnownPeer;

pub use keeper::Keeper;

use crate::Node;
use crate::private_file;

/// Peers in a file, at most: as many as a node exports.
pub const PEERS_MAX: usize = 128;
/// Length of a file, at most. [`PEERS_MAX`] peers with eight of the longest addresses need less.
const LEN_MAX: u64 = 96 * 1024;
/// While a node exports fewer peers than this, those of the run before stay in the file behind
/// them, as far as there is room. So a node that is stopped just after its start, or was offline,
/// loses nothing (guess).
const FEW: usize = 32;

/// A peer file, whether it exists or not.
#[derive(Debug)]
pub struct PeerFile {
    path: PathBuf,
    /// Its peers when it was opened, best first.
    earlier: Vec<KnownPeer>,
    /// The permission bits of an existing file that other users may write to. Its owner has to
    /// decide whether to trust it, so it is not replaced.
    open_to_others: Option<u32>,
}

/// Why a peer file can not be used. A node starts without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFileError {
    /// It was cut short, or another program wrote to it.
    #[error(
        "peer file {} is damaged in line {line}: {problem}; it is not used, and replaced when the \
         node knows peers", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The fault in it.
        problem: &'static str,
    },
    /// It has a format that this version does not know.
    #[error(
        "peer file {} is of another version of nodenet; it is not used, and replaced when the node \
         knows peers", path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
    },
    /// It is longer than any file that this program writes.
    #[error(
        "peer file {} has {len} bytes, more than {LEN_MAX}; it is not used, and replaced when the \
         node knows peers", path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// Other users could have chosen the peers in it.
    #[error(
        "other users may write to peer file {} (mode {mode:04o}) and choose this node's peers; it \
         is neither used nor replaced; if you trust its content, run: chmod 600 {}; if not, remove \
         it; then start again", path.display(), path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory or a device.
    #[error("peer file {} is not a regular file; move it away", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("can not {action} peer file {}: {cause}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
}

impl PeerFile {
    /// The path of the peer file for a key file: the same, with `.peers` appended.
    pub fn beside(key_file: &Path) -> PathBuf {
        let mut name = key_file.as_os_str().to_owned();
        name.push(".peers");
        name.into()
    }

    /// Reads a peer file. A file that does not exist counts as empty.
    ///
    /// # Errors
    /// If the file can not be used; continue with [`PeerFile::afresh`].
    pub fn open(path: &Path) -> Result<Self, PeerFileError> {
        let earlier = match read(path)? {
            Some(bytes) => text::read(&bytes).map_err(|error| error.of(path))?,
            None => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), earlier, open_to_others: None })
    }

    /// A file that starts empty. [`PeerFile::save`] replaces an existing file unread, unless other
    /// users may write to that: then it refuses, so that the owner can check the content.
    pub fn afresh(path: &Path) -> Self {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        let open_to_others = found.and_then(|found| writable_for_others(&found));
        Self { path: path.to_owned(), earlier: Vec::new(), open_to_others }
    }

    /// Its peers when it was opened, best first, for
    /// [`Builder::known_peers`](crate::Builder::known_peers).
    pub fn peers(&self) -> &[KnownPeer] {
        &self.earlier
    }

    /// Replaces the file by one with these peers, best first. If they are fewer than 32, the peers
    /// from when it was opened follow them, up to [`PEERS_MAX`]. Without peers, the file stays as
    /// it is.
    ///
    /// # Errors
    /// If it can not be written, or was open to other users. The existing file stays then.
    pub fn save(&self, tried: &[KnownPeer]) -> Result<(), PeerFileError> {
        if tried.is_empty() {
            return Ok(());
        }
        refuse_if_open(&self.path, self.open_to_others)?;
        let tried = &tried[..tried.len().min(PEERS_MAX)];
        let is_new = |peer: &&KnownPeer| tried.iter().all(|other| other.id != peer.id);
        let earlier = if tried.len() < FEW { &self.earlier[..] } else { &[] };
        let earlier = earlier.iter().filter(is_new);
        // The text ends where the room does.
        let text = text::write(tried.iter().chain(earlier));
        let failed = |cause| io_error("write", &self.path, cause);
        let written = private_file::write_beside(&self.path, text.as_bytes());
        written
            .and_then(|(temporary, _)| private_file::replace(&temporary, &self.path))
            .map_err(failed)?;
        private_file::sync_directory(private_file::directory_of(&self.path)).map_err(failed)
    }

    /// Writes what `node` exports to the file: a second after its first edge, half a minute after
    /// this call, about every ten minutes from then on, and in [`Keeper::finish`]. Does not keep
    /// the node running.
    pub fn keep(self, node: &Node) -> Keeper {
        Keeper::start(self, node)
    }
}

/// The bytes of the file, if it exists.
fn read(path: &Path) -> Result<Option<Vec<u8>>, PeerFileError> {
    let failed = |cause| io_error("read", path, cause);
    // Checked first, because opening a pipe would wait for its other end.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(PeerFileError::NotAFile { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    refuse_if_open(path, writable_for_others(&found))?;
    if found.len() > LEN_MAX {
        return Err(PeerFileError::TooLong { path: path.to_owned(), len: found.len() });
    }
    let mut bytes = Vec::new();
    file.take(LEN_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// The permissions of a file, if other users may write to it.
fn writable_for_others(found: &fs::Metadata) -> Option<u32> {
    private_file::open_to_others(found, 0o022)
}

fn refuse_if_open(path: &Path, open_to_others: Option<u32>) -> Result<(), PeerFileError> {
    match open_to_others {
        None => Ok(()),
        Some(mode) => Err(PeerFileError::OpenToOthers { path: path.to_owned(), mode }),
    }
}

fn io_error(action: &'static str, path: &Path, cause: io::Error) -> PeerFileError {
    PeerFileError::Io { action, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests;
