//! Key file: the master seed of a node, its only secret, as 32 raw bytes.
//!
//! Responsible for: creating it whole and readable by its owner only, refusing a file that is not
//! so, and locking it against a second process. Never: what the seed means.
//!
//! The lock is on the file itself. It lasts as long as the [`KeyFile`], and ends with the process
//! in any case. So keep the value beside the node in a named variable: `let _ =` drops it at once.
//!
//! Of several processes that start at once, one runs under the identity in the file. The others get
//! [`KeyFileError::Exists`] or [`KeyFileError::InUse`], whose texts say what to do:
//!
//! ```no_run
//! # use std::path::Path;
//! # use nodenet_tokio::{Node, mint, key_file::KeyFile};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let path = Path::new("node.seed");
//! let key_file = match KeyFile::open(path)? {
//!     Some(key_file) => key_file,
//!     None => KeyFile::create(path, mint::random_seed()?)?,
//! };
//! let node = Node::builder(key_file.identity()).start().await?;
//! // … until it is time to go:
//! node.shutdown().await?;
//! drop(key_file);
//! # Ok(())
//! # }
//! ```
//!
//! Beside `node.seed`, a start that is cut off while it creates the file leaves `node.seed.`, 16
//! hex digits and `.tmp`. It holds a secret, possibly that of `node.seed`. It is never read, only
//! its owner may read it, and it can be removed when no node is starting. On a file system without
//! hard links an empty `node.seed.creating` stays; do not remove it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nodenet_proto::identity::{Identity, MASTER_SEED_LEN};
use zeroize::Zeroizing;

use crate::private_file;

/// Name of the file in the per-user directory.
const FILE_NAME: &str = "nodenet.seed";
/// Directory of this program in the per-user directory.
const DIRECTORY_NAME: &str = "nodenet";

/// A master seed; wiped when dropped.
pub type MasterSeed = Zeroizing<[u8; MASTER_SEED_LEN]>;

/// An open and locked key file. Dropping it releases the lock, and another process may run under
/// the same identity.
#[derive(Debug)]
#[must_use = "dropping this releases the lock: keep it as long as the node runs"]
pub struct KeyFile {
    seed: MasterSeed,
    /// Holds the lock.
    _file: File,
}

/// Why a key file can not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is not 32 bytes long.
    #[error(
        "key file {} has {len} bytes, a seed has {MASTER_SEED_LEN}; \
         restore it from a backup, or move it away to get a new identity", path.display()
    )]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// It consists of zeros.
    #[error(
        "key file {} holds {MASTER_SEED_LEN} zero bytes: its content was lost, as by a power cut \
         or a faulty disk, and a secret of zeros is no secret; restore it from a backup, or move \
         it away to get a new identity", path.display()
    )]
    Zeros {
        /// The file.
        path: PathBuf,
    },
    /// The seed to be written consists of zeros.
    #[error(
        "key file {} was not created: a seed of {MASTER_SEED_LEN} zero bytes is no secret; draw \
         one from entropy", path.display()
    )]
    ZeroSeed {
        /// The file.
        path: PathBuf,
    },
    /// Other users may read or write it.
    #[error(
        "key file {} is open to other users (mode {mode:04o}), but it is the only secret of the \
         node; run: chmod 600 {}", path.display(), path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another node uses it, of this process or of another one.
    #[error(
        "key file {} is in use: another node was first, and one identity can not be in two places; \
         stop the other node, or give this one a key file of its own", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory or a device.
    #[error("key file {} is not a regular file; give the path of a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file exists already, or another process is about to create it. It was not changed.
    #[error(
        "key file {} exists already: another node was first to create it, and it was not changed; \
         start again to use the identity in it once the other node has stopped, or give this one a \
         key file of its own", path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It can not be created or written.
    #[error("can not write key file {}: {cause}; {}", path.display(), write_advice(path, cause))]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The system refused an operation.
    #[error("can not {action} {}: {cause}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// There is no per-user directory.
    #[error("no per-user configuration directory: {0}; name the key file yourself")]
    NoDirectory(&'static str),
}

impl KeyFile {
    /// Opens and locks a key file; none if there is no file.
    ///
    /// # Errors
    /// If it is not a regular file of the right length, holds zeros, is open to other users, or in
    /// use.
    pub fn open(path: &Path) -> Result<Option<Self>, KeyFileError> {
        // Locked before it is read, so that the content can not change in between.
        let open = |path: &Path| {
            let file = open_for_lock(path).map_err(|cause| read_error(path, cause))?;
            lock(&file, path)?;
            Ok(file)
        };
        let opened = read(path, open)?;
        Ok(opened.map(|(file, seed)| Self { seed, _file: file }))
    }

    /// Checks that a key file could be created here, before the search for a seed, which may take
    /// hours. Leaves no file behind.
    ///
    /// # Errors
    /// If no file can be written.
    pub fn check_writable(path: &Path) -> Result<(), KeyFileError> {
        private_file::probe(path).map_err(|cause| not_writable(path, cause))
    }

    /// Creates a key file and locks it. An existing file is never overwritten: of several calls
    /// that create the same file at once, all but one get [`KeyFileError::Exists`].
    ///
    /// The seed is written to a temporary file beside it, which gets the name when it is on the
    /// disk and locked.
    ///
    /// # Errors
    /// If the file exists or can not be written, or the seed is zeros. The directory must exist.
    pub fn create(path: &Path, seed: MasterSeed) -> Result<Self, KeyFileError> {
        if is_zeros(&seed) {
            return Err(KeyFileError::ZeroSeed { path: path.to_owned() });
        }
        let written = private_file::write_beside(path, &*seed);
        let (temporary, file) = written.map_err(|cause| not_writable(path, cause))?;
        lock(&file, path)?;
        private_file::publish(&temporary, path).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
            _ => not_writable(path, cause),
        })?;
        // Removed first, so that the directory is on the disk without that name, too.
        drop(temporary);
        let directory = private_file::directory_of(path);
        private_file::sync_directory(directory)
            .map_err(|cause| io_error("sync directory", directory, cause))?;
        Ok(Self { seed, _file: file })
    }

    /// The identity that follows from the seed.
    pub fn identity(&self) -> Identity {
        Identity::from_master_seed(&self.seed)
    }
}

/// The identity of a key file, in use or not; none if there is no file. For display: a node needs
/// the lock of [`KeyFile::open`].
///
/// # Errors
/// If it is not a regular file of the right length, holds zeros, or is open to other users.
pub fn peek(path: &Path) -> Result<Option<Identity>, KeyFileError> {
    let open = |path: &Path| File::open(path).map_err(|cause| read_error(path, cause));
    Ok(read(path, open)?.map(|(_, seed)| Identity::from_master_seed(&seed)))
}

/// The path of the key file in the per-user directory, which is created, for its owner only.
///
/// # Errors
/// If there is no such directory and none can be created.
pub fn default_path() -> Result<PathBuf, KeyFileError> {
    let directory = config_directory()?.join(DIRECTORY_NAME);
    create_directory(&directory)?;
    Ok(directory.join(FILE_NAME))
}

fn read(
    path: &Path,
    open: impl FnOnce(&Path) -> Result<File, KeyFileError>,
) -> Result<Option<(File, MasterSeed)>, KeyFileError> {
    let failed = |cause| read_error(path, cause);
    // Checked first, because opening a pipe would wait for its other end.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(KeyFileError::NotAFile { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut file = open(path)?;
    let found = file.metadata().map_err(failed)?;
    refuse_if_open_to_others(path, &found)?;
    if found.len() != MASTER_SEED_LEN as u64 {
        return Err(KeyFileError::WrongLength { path: path.to_owned(), len: found.len() });
    }
    let mut seed = MasterSeed::default();
    file.read_exact(&mut *seed).map_err(failed)?;
    if is_zeros(&seed) {
        return Err(KeyFileError::Zeros { path: path.to_owned() });
    }
    Ok(Some((file, seed)))
}

fn is_zeros(seed: &MasterSeed) -> bool {
    **seed == [0; MASTER_SEED_LEN]
}

/// Opens a file for its lock. The mode is for writing although the file is never written, because
/// NFS grants this lock to writers only. A read-only file is accepted, too.
fn open_for_lock(path: &Path) -> io::Result<File> {
    match File::options().read(true).write(true).open(path) {
        Err(error) if is_read_only(&error) => File::open(path),
        opened => opened,
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn lock(file: &File, path: &Path) -> Result<(), KeyFileError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(KeyFileError::InUse { path: path.to_owned() }),
        // A node starts on a file system without locks, too, but a second process is not kept out.
        Err(TryLockError::Error(error)) if can_not_be_locked(&error) => {
            tracing::warn!(path = %path.display(), "the file system does not lock the key file");
            Ok(())
        }
        Err(TryLockError::Error(cause)) => Err(io_error("lock key file", path, cause)),
    }
}

/// Whether the lock failed because of the file system, not because of another process.
fn can_not_be_locked(error: &io::Error) -> bool {
    const BAD_FILE_DESCRIPTOR: i32 = 9;
    // The error of NFS for a file that is open for reading only, see `open_for_lock`.
    let wants_writer = cfg!(unix) && error.raw_os_error() == Some(BAD_FILE_DESCRIPTOR);
    error.kind() == io::ErrorKind::Unsupported || wants_writer
}

fn create_directory(directory: &Path) -> Result<(), KeyFileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|cause| io_error("create directory", directory, cause))
}

fn refuse_if_open_to_others(path: &Path, found: &fs::Metadata) -> Result<(), KeyFileError> {
    match private_file::open_to_others(found, 0o077) {
        None => Ok(()),
        Some(mode) => Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode }),
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn config_directory() -> Result<PathBuf, KeyFileError> {
    match std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        Some(directory) if Path::new(&directory).is_absolute() => Ok(directory.into()),
        Some(_) => Err(KeyFileError::NoDirectory("$XDG_CONFIG_HOME is not an absolute path")),
        None => {
            let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
            let home =
                home.ok_or(KeyFileError::NoDirectory("neither $XDG_CONFIG_HOME nor $HOME is set"))?;
            Ok(PathBuf::from(home).join(".config"))
        }
    }
}

#[cfg(target_os = "macos")]
fn config_directory() -> Result<PathBuf, KeyFileError> {
    let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
    let home = home.ok_or(KeyFileError::NoDirectory("$HOME is not set"))?;
    Ok(PathBuf::from(home).join("Library").join("Application Support"))
}

#[cfg(windows)]
fn config_directory() -> Result<PathBuf, KeyFileError> {
    let directory = std::env::var_os("AppData").filter(|value| !value.is_empty());
    Ok(directory.ok_or(KeyFileError::NoDirectory("%AppData% is not set"))?.into())
}

fn io_error(action: &'static str, path: &Path, cause: io::Error) -> KeyFileError {
    KeyFileError::Io { action, path: path.to_owned(), cause }
}

fn read_error(path: &Path, cause: io::Error) -> KeyFileError {
    io_error("read key file", path, cause)
}

fn not_writable(path: &Path, cause: io::Error) -> KeyFileError {
    KeyFileError::NotWritable { path: path.to_owned(), cause }
}

fn write_advice(path: &Path, cause: &io::Error) -> String {
    let directory = private_file::directory_of(path);
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            format!("create the directory {} first, or name another file", directory.display())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a file in a directory that you may write to".to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, or name a file on another disk".to_owned()
        }
        io::ErrorKind::Unsupported => "name a file on another disk".to_owned(),
        _ => "name another file".to_owned(),
    }
}

#[cfg(test)]
mod tests;
