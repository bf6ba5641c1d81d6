use std::fs;
#[cfg(target_os = "linux")]
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "linux")]
use super::lock;
use super::{KeyFile, KeyFileError, MasterSeed, create_directory, peek};

/// A directory that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nodenet-key-file-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("node.seed")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn seed(byte: u8) -> MasterSeed {
    MasterSeed::new([byte; 32])
}

#[cfg(unix)]
/// Writes a file with these permissions.
fn write(path: &Path, bytes: &[u8], mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_created_is_read_back_under_the_same_identity() {
    let scratch = Scratch::new();
    assert!(KeyFile::open(&scratch.path()).unwrap().is_none());
    assert!(peek(&scratch.path()).unwrap().is_none());
    let id = KeyFile::create(&scratch.path(), seed(1)).unwrap().identity().id();
    let again = KeyFile::open(&scratch.path()).unwrap().expect("it was created");
    assert_eq!(again.identity().id(), id);
    assert_eq!(fs::read(scratch.path()).unwrap(), [1; 32]);
    assert_eq!(scratch.names(), ["node.seed"], "the temporary file is gone");
}

#[cfg(unix)]
#[test]
fn a_new_file_is_for_its_owner_only() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    drop(KeyFile::create(&scratch.path(), seed(1)).unwrap());
    assert_eq!(fs::metadata(scratch.path()).unwrap().mode() & 0o7777, 0o600);
    let inner = scratch.0.join("a").join("b");
    create_directory(&inner).unwrap();
    for directory in [&inner, &scratch.0.join("a")] {
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700);
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let scratch = Scratch::new();
    drop(KeyFile::create(&scratch.path(), seed(1)).unwrap());
    let error = KeyFile::create(&scratch.path(), seed(2)).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    let text = error.to_string();
    for part in ["another node was first", "start again", "a key file of its own"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(fs::read(scratch.path()).unwrap(), [1; 32]);
    assert_eq!(scratch.names(), ["node.seed"]);
}

#[test]
fn a_second_user_is_refused_until_the_first_is_done() {
    let scratch = Scratch::new();
    let first = KeyFile::create(&scratch.path(), seed(1)).unwrap();
    let error = KeyFile::open(&scratch.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("another node was first"), "{text}");
    assert!(text.contains("stop the other node"), "{text}");
    assert_eq!(peek(&scratch.path()).unwrap().unwrap().id(), first.identity().id());
    drop(first);
    let second = KeyFile::open(&scratch.path()).unwrap().unwrap();
    assert!(KeyFile::open(&scratch.path()).is_err(), "an opened file is locked as well");
    drop(second);
}

#[test]
#[expect(unused_must_use, reason = "the compiler is to warn of this mistake")]
fn a_lock_that_is_dropped_at_once_is_released_and_warned_about() {
    let scratch = Scratch::new();
    KeyFile::create(&scratch.path(), seed(1)).unwrap();
    assert!(KeyFile::open(&scratch.path()).is_ok(), "it can be locked again");
}

/// A network file system locks only files that are open for writing.
#[test]
fn an_opened_file_is_open_for_writing() {
    let scratch = Scratch::new();
    drop(KeyFile::create(&scratch.path(), seed(1)).unwrap());
    let opened = KeyFile::open(&scratch.path()).unwrap().unwrap();
    // Only a writer may set the length, even to what it is.
    opened._file.set_len(32).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_can_not_be_locked_is_still_used() {
    use std::os::unix::fs::OpenOptionsExt;
    const O_PATH: i32 = 0o10_000_000;
    let scratch = Scratch::new();
    write(&scratch.path(), &[1; 32], 0o600);
    // A lock on an O_PATH handle fails with the error of NFS for a reader.
    let handle = fs::File::options().read(true).custom_flags(O_PATH).open(scratch.path()).unwrap();
    assert_eq!(
        handle.try_lock().map_err(|error| io::Error::from(error).raw_os_error()),
        Err(Some(9))
    );
    lock(&handle, &scratch.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_refused_with_the_remedy() {
    let scratch = Scratch::new();
    for mode in [0o644, 0o640, 0o602, 0o601] {
        write(&scratch.path(), &[1; 32], mode);
        let error = KeyFile::open(&scratch.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
        assert!(error.contains(&format!("chmod 600 {}", scratch.path().display())), "{error}");
        assert!(peek(&scratch.path()).is_err());
    }
    write(&scratch.path(), &[1; 32], 0o400);
    assert!(KeyFile::open(&scratch.path()).unwrap().is_some(), "read-only is fine");
}

#[cfg(unix)]
#[test]
fn a_file_of_wrong_length_is_refused_and_not_changed() {
    let scratch = Scratch::new();
    for len in [0, 31, 33, 64] {
        write(&scratch.path(), &vec![1; len], 0o600);
        let error = KeyFile::open(&scratch.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("has {len} bytes, a seed has 32")), "{error}");
        assert_eq!(fs::read(scratch.path()).unwrap().len(), len);
    }
}

#[cfg(unix)]
#[test]
fn a_file_of_zeros_is_refused_with_what_happened_and_the_remedy() {
    let scratch = Scratch::new();
    write(&scratch.path(), &[0; 32], 0o600);
    let opened = KeyFile::open(&scratch.path()).map(drop);
    let peeked = peek(&scratch.path()).map(drop);
    for error in [opened.unwrap_err(), peeked.unwrap_err()] {
        assert!(matches!(error, KeyFileError::Zeros { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&scratch.path().display().to_string()), "{text}");
        for part in ["holds 32 zero bytes", "power cut", "backup", "move it away"] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(fs::read(scratch.path()).unwrap(), [0; 32], "it is not changed");
    write(&scratch.path(), &[[0; 31].as_slice(), &[1]].concat(), 0o600);
    assert!(KeyFile::open(&scratch.path()).unwrap().is_some(), "one bit makes the difference");
}

#[test]
fn no_file_of_zeros_is_created() {
    let scratch = Scratch::new();
    let error = KeyFile::create(&scratch.path(), MasterSeed::default()).unwrap_err();
    assert!(matches!(error, KeyFileError::ZeroSeed { .. }), "{error}");
    assert!(error.to_string().contains("was not created"), "{error}");
    assert_eq!(scratch.names(), [""; 0]);
}

/// Leftovers of a process that was killed before it gave the file its name, and after that.
#[test]
fn leftovers_of_a_killed_process_are_neither_used_nor_changed() {
    let scratch = Scratch::new();
    let leftover = |digit: &str| format!("node.seed.{}.tmp", digit.repeat(16));
    fs::write(scratch.0.join(leftover("a")), [7; 32]).unwrap();
    fs::write(scratch.0.join(leftover("b")), [7; 5]).unwrap();
    assert!(KeyFile::open(&scratch.path()).unwrap().is_none());
    assert!(peek(&scratch.path()).unwrap().is_none());
    KeyFile::check_writable(&scratch.path()).unwrap();
    drop(KeyFile::create(&scratch.path(), seed(1)).unwrap());
    fs::hard_link(scratch.path(), scratch.0.join(leftover("c"))).unwrap();
    let opened = KeyFile::open(&scratch.path()).unwrap().unwrap();
    assert_eq!(*opened.seed, [1; 32]);
    let error = KeyFile::open(&scratch.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::InUse { .. }), "{error}");
    let mut names = scratch.names();
    names.sort();
    assert_eq!(names, ["node.seed".to_owned(), leftover("a"), leftover("b"), leftover("c")]);
    assert_eq!(fs::read(scratch.0.join(leftover("a"))).unwrap(), [7; 32]);
}

#[test]
fn what_is_not_a_file_is_refused() {
    let scratch = Scratch::new();
    let error = KeyFile::open(&scratch.0).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
}

#[test]
fn a_path_that_can_not_be_written_is_known_before_there_is_a_seed() {
    let scratch = Scratch::new();
    KeyFile::check_writable(&scratch.path()).unwrap();
    assert_eq!(scratch.names(), [""; 0], "nothing is left behind");
    let path = scratch.0.join("missing").join("node.seed");
    let early = KeyFile::check_writable(&path).unwrap_err().to_string();
    let late = KeyFile::create(&path, seed(1)).unwrap_err().to_string();
    let directory = path.parent().unwrap().display();
    for text in [&early, &late] {
        let begin = format!("can not write key file {}: ", path.display());
        assert!(text.starts_with(&begin), "the path that was given: {text}");
        let end = format!("create the directory {directory} first, or name another file");
        assert!(text.ends_with(&end), "{text}");
    }
    fs::write(scratch.0.join("missing"), "a file").unwrap();
    assert!(KeyFile::check_writable(&path).is_err());
}
