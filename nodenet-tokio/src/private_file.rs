//! Files for their owner only that are either whole or absent.
//!
//! Responsible for: writing one under a temporary name, giving it its own name last, and letting
//! one writer win where many come at once. Never: the content.
//!
//! Temporary names are drawn from entropy and opened as new files, so no two writers share one,
//! whatever process numbers they have. A writer that is killed leaves its temporary file behind. No
//! code reads or removes a file of such a name: it may belong to another writer.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ends the temporary name of a file that gets its own name later.
const WRITING: &str = "tmp";
/// Ends the name of a file that is written as a probe. No file that matters is ever written under
/// such a name.
const PROBE: &str = "probe";
/// Ends the name of the lock file of [`publish_by_rename`].
const CREATING: &str = "creating";
/// Content of a probe. Its length and its text differ from those of any file that matters.
const PROBE_BYTES: &[u8] =
    b"nodenet wrote this to check that files can be written here. It can be removed.\n";
/// Bytes of entropy in a temporary name: of a million names for one path two are the same with a
/// probability of 3e-8 (birthday bound). The second of two writers with one name would fail.
const NAME_ENTROPY: usize = 8;

/// The name of a temporary file, which is removed when this is dropped. If it has a second name by
/// then, the file stays under that.
#[derive(Debug)]
pub(crate) struct TemporaryName(PathBuf);

impl TemporaryName {
    fn draw(beside: &Path, ending: &str) -> io::Result<Self> {
        let mut entropy = [0; NAME_ENTROPY];
        getrandom::fill(&mut entropy).map_err(|error| io::Error::other(error.to_string()))?;
        let mut drawn = String::new();
        for byte in entropy {
            write!(drawn, "{byte:02x}").expect("writing to a string never fails");
        }
        Ok(Self(with_ending(beside, &format!("{drawn}.{ending}"))))
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.0.display();
                tracing::warn!(%path, "can not remove a temporary file: {error}");
            }
            // A renamed file has no name here any more.
            _ => {}
        }
    }
}

/// Writes a file that only its owner may read under a temporary name beside `path`, and returns
/// when its content is on the disk. So a name that it gets later leads to the whole content, also
/// after a power failure.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<(TemporaryName, File)> {
    write_temporary(path, WRITING, bytes)
}

/// Writes a probe, gives it a second name as [`publish`] would, and removes both.
pub(crate) fn probe(path: &Path) -> io::Result<()> {
    let (temporary, _) = write_temporary(path, PROBE, PROBE_BYTES)?;
    let published = TemporaryName::draw(path, PROBE)?;
    let _lock_file = TemporaryName(with_ending(&published.0, CREATING));
    publish(&temporary, &published.0)
}

fn write_temporary(path: &Path, ending: &str, bytes: &[u8]) -> io::Result<(TemporaryName, File)> {
    let temporary = TemporaryName::draw(path, ending)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let mut file = for_owner_only(&mut options).open(&temporary.0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok((temporary, file))
}

/// Gives a finished file its own name, in place of what has that name.
pub(crate) fn replace(temporary: &TemporaryName, path: &Path) -> io::Result<()> {
    fs::rename(&temporary.0, path)
}

/// Gives a finished file its own name, unless that is taken: of many writers one wins, the others
/// get [`io::ErrorKind::AlreadyExists`].
///
/// A hard link can not overwrite. Where there are none, a rename under a lock does it.
pub(crate) fn publish(temporary: &TemporaryName, path: &Path) -> io::Result<()> {
    match fs::hard_link(&temporary.0, path) {
        Err(error) if has_no_hard_links(&error) => publish_by_rename(temporary, path),
        linked => linked,
    }
}

/// Whether a hard link failed because there are none here, so that it fails for every writer. A
/// rename would overwrite what another writer published by a link.
fn has_no_hard_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    /// The error of Windows on FAT and exFAT.
    const ERROR_INVALID_FUNCTION: i32 = 1;
    let on_windows = cfg!(windows) && error.raw_os_error() == Some(ERROR_INVALID_FUNCTION);
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
        || on_windows
}

/// The same for a file system without hard links, like FAT, exFAT and many shared folders.
///
/// A rename overwrites, and another writer may publish between the check of the name and the
/// rename. A flag of the system call forbids that on Linux, but neither the standard library nor a
/// dependency offers it without unsafe code. Creating the name first, as a claim, would put a
/// placeholder under the name of a secret. So writers exclude each other by a lock on an empty file
/// beside it. That file is never removed: a writer could hold the lock on the removed one, and
/// another the lock on its successor. Without locks, nothing is published.
fn publish_by_rename(temporary: &TemporaryName, path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let lock_file = for_owner_only(&mut options).open(with_ending(path, CREATING))?;
    match lock_file.try_lock() {
        Ok(()) => {}
        // Another writer is between its check and its rename. It may be stopped there, so this one
        // does not wait.
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(TryLockError::Error(error)) => {
            let problem = format!("the file system has no hard links and no locks ({error})");
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
    }
    // A dangling symbolic link takes the name, too.
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(&temporary.0, path),
        Err(error) => Err(error),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn for_owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// The permissions of a file, if they give others one of those in `forbidden`. Systems without such
/// permissions close the per-user directory to others.
pub(crate) fn open_to_others(found: &fs::Metadata, forbidden: u32) -> Option<u32> {
    #[cfg(unix)]
    let mode = std::os::unix::fs::MetadataExt::mode(found) & 0o7777;
    #[cfg(not(unix))]
    let mode = {
        let _ = found;
        0
    };
    (mode & forbidden != 0).then_some(mode)
}

/// The directory a file is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes new names in a directory survive a power failure.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
