//! Files for their owner only, which are either whole or absent.
//!
//! Responsible for: writing one under a temporary name and making a new name last. Never: what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name beside `path` under which a file is written before it gets its own.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

/// Creates a file that only its owner may read, and returns when it is on the disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    // Left behind by a process of the same number that was killed in between.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
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
