//! The file that keeps the peers a node knew, so that it finds back into its network when every
//! bootstrap contact is gone.
//!
//! Responsible for: reading it, writing it so that it is either whole or absent, writing it now and
//! then for as long as a node runs. Never: which peers are worth it ([`Node::export_peers`]), and
//! never a reason for a node not to start: a file that can not be used costs what it holds, no
//! more. (One that others may write to is for its owner to look at, and stays as it is until then.)
//!
//! Life of a [`PeerFile`]: opened before the node starts, its peers given to
//! [`Builder::known_peers`], then handed to a [`Keeper`], which writes what the node exports.
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
/// While fewer peers than this proved themselves, those of the run before stay in the file behind
/// them, as far as there is room: a node that is stopped just after its start, or was offline,
/// loses nothing (guess).
const FEW: usize = 32;

/// A peer file, whether it exists or not.
#[derive(Debug)]
pub struct PeerFile {
    path: PathBuf,
    /// What it held when it was opened, best first.
    earlier: Vec<KnownPeer>,
    /// The permission bits with which others might write to what was there. Then its owner is asked
    /// whether to trust it, so it is left alone.
    open_to_others: Option<u32>,
}

/// Why a peer file can not be used. A node does without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFileError {
    /// It was cut short, or something else wrote to it.
    #[error(
        "peer file {} is damaged in line {line}: {problem}; it is not used, and replaced when the \
         node knows peers", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// It is in a format that this version does not know.
    #[error(
        "peer file {} is of another version of nodenet; it is not used, and replaced when the node \
         knows peers", path.display()
    )]
    OtherVersion {
        /// Which file.
        path: PathBuf,
    },
    /// It is far too long for what it should hold.
    #[error(
        "peer file {} has {len} bytes, more than {LEN_MAX}; it is not used, and replaced when the \
         node knows peers", path.display()
    )]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// How long it is, in bytes.
        len: u64,
    },
    /// Others could have put peers of theirs into it.
    #[error(
        "others may write to peer file {} (mode {mode:04o}) and choose this node's peers; it is \
         neither used nor replaced; if you trust what is in it, run: chmod 600 {}; if not, remove it; \
         then start again", path.display(), path.display()
    )]
    OpenToOthers {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory or a device.
    #[error("peer file {} is not a regular file; move it away", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The system says no.
    #[error("can not {action} peer file {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl PeerFile {
    /// Where the peers of the node with this key file are kept: beside it, with `.peers` appended
    /// to its name.
    pub fn beside(key_file: &Path) -> PathBuf {
        let mut name = key_file.as_os_str().to_owned();
        name.push(".peers");
        name.into()
    }

    /// Reads a peer file. One that does not exist yet is empty.
    ///
    /// # Errors
    /// If what is there can not be used; go on with [`PeerFile::afresh`].
    pub fn open(path: &Path) -> Result<Self, PeerFileError> {
        let earlier = match read(path)? {
            Some(bytes) => text::read(&bytes).map_err(|error| error.of(path))?,
            None => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), earlier, open_to_others: None })
    }

    /// A file that starts empty: what is there now will be replaced, unread. Unless others may
    /// write to it: then its owner may want to look at it, and [`PeerFile::save`] refuses to
    /// replace it for as long as this value lives.
    pub fn afresh(path: &Path) -> Self {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        let open_to_others = found.and_then(|found| writable_for_others(&found));
        Self { path: path.to_owned(), earlier: Vec::new(), open_to_others }
    }

    /// The peers it held when it was opened, best first, for
    /// [`Builder::known_peers`](crate::Builder::known_peers).
    pub fn peers(&self) -> &[KnownPeer] {
        &self.earlier
    }

    /// Replaces the file by one with these peers, best first. If they are fewer than 32, those it
    /// held when it was opened come behind them, up to [`PEERS_MAX`]; if there are none, the file
    /// stays as it is.
    ///
    /// # Errors
    /// If it can not be written, or was open to others; what was there before is then unharmed.
    pub fn save(&self, tried: &[KnownPeer]) -> Result<(), PeerFileError> {
        if tried.is_empty() {
            return Ok(());
        }
        refuse_if_open(&self.path, self.open_to_others)?;
        let tried = &tried[..tried.len().min(PEERS_MAX)];
        let is_new = |peer: &&KnownPeer| tried.iter().all(|other| other.id != peer.id);
        let earlier = if tried.len() < FEW { &self.earlier[..] } else { &[] };
        let earlier = earlier.iter().filter(is_new);
        // No more than there is room for.
        let text = text::write(tried.iter().chain(earlier));
        let failed = |cause| io_error("write", &self.path, cause);
        let written = private_file::write_beside(&self.path, text.as_bytes());
        written
            .and_then(|(temporary, _)| private_file::replace(&temporary, &self.path))
            .map_err(failed)?;
        private_file::sync_directory(private_file::directory_of(&self.path)).map_err(failed)
    }

    /// Writes what `node` exports to the file: a second after its first edge, half a minute after
    /// this call, about every ten minutes from then on, and when the keeper is told to finish. Does
    /// not keep the node alive.
    pub fn keep(self, node: &Node) -> Keeper {
        Keeper::start(self, node)
    }
}

/// The bytes of the file, if it exists.
fn read(path: &Path) -> Result<Option<Vec<u8>>, PeerFileError> {
    let failed = |cause| io_error("read", path, cause);
    // Looked at first, because opening a pipe would wait for its other end.
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

/// The permissions of a file, if others may write to it.
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
