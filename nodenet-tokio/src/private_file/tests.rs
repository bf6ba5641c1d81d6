use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;

/// A directory that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nodenet-private-file-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("secret")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The random part of a temporary name, if the name has that form.
fn drawn<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let drawn = name.strip_prefix("secret.")?.strip_suffix(ending)?;
    let is_hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
    (drawn.len() == 2 * NAME_ENTROPY && drawn.chars().all(is_hex)).then_some(drawn)
}

#[test]
fn writers_of_one_path_in_one_process_have_a_temporary_file_each() {
    let scratch = Scratch::new();
    let written: Vec<_> =
        (0..100).map(|byte| write_beside(&scratch.path(), &[byte; 32]).unwrap()).collect();
    let names = scratch.names();
    assert_eq!(names.len(), 100);
    assert!(names.iter().all(|name| drawn(name, ".tmp").is_some()), "{names:?}");
    for (byte, (temporary, _)) in written.iter().enumerate() {
        assert_eq!(fs::read(&temporary.0).unwrap(), [byte as u8; 32]);
        #[cfg(unix)]
        assert_eq!(open_to_others(&fs::metadata(&temporary.0).unwrap(), 0o7177), None);
    }
    drop(written);
    assert_eq!(scratch.names(), [""; 0], "unpublished files are removed");
}

#[test]
fn a_temporary_file_is_never_one_that_was_there() {
    let scratch = Scratch::new();
    let (temporary, _) = write_beside(&scratch.path(), b"first").unwrap();
    let mut options = OpenOptions::new();
    let again = for_owner_only(options.write(true).create_new(true)).open(&temporary.0);
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_probe_has_neither_the_name_nor_the_length_of_a_secret() {
    let scratch = Scratch::new();
    let (placeholder, file) = write_temporary(&scratch.path(), PROBE, PROBE_BYTES).unwrap();
    let names = scratch.names();
    assert!(drawn(&names[0], ".probe").is_some(), "{names:?}");
    assert_ne!(file.metadata().unwrap().len(), 32);
    drop(placeholder);
    probe(&scratch.path()).unwrap();
    assert_eq!(scratch.names(), [""; 0], "nothing is left behind");
}

/// Lists the directory while probes are made in it.
#[test]
fn no_probe_is_ever_seen_under_the_name_of_a_secret() {
    let (scratch, enough) = (Scratch::new(), Arc::new(AtomicBool::new(false)));
    let probes = thread::spawn({
        let (path, enough) = (scratch.path(), Arc::clone(&enough));
        // Far more than are needed.
        move || {
            for _ in 0..100_000 {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                probe(&path).unwrap();
            }
        }
    });
    let mut seen = 0;
    while seen < 50 && !probes.is_finished() {
        for name in scratch.names() {
            assert!(drawn(&name, ".probe").is_some(), "{name}");
            seen += 1;
        }
    }
    enough.store(true, Ordering::Relaxed);
    probes.join().unwrap();
    assert!(seen >= 50, "seen {seen} times");
    assert_eq!(scratch.names(), [""; 0], "nothing is left behind");
}

#[test]
fn publish_replaces_no_file_and_replace_does() {
    for publish in [publish, publish_by_rename] {
        let scratch = Scratch::new();
        let (first, _) = write_beside(&scratch.path(), b"first").unwrap();
        let (second, _) = write_beside(&scratch.path(), b"second").unwrap();
        publish(&first, &scratch.path()).unwrap();
        let error = publish(&second, &scratch.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(scratch.path()).unwrap(), b"first");
        replace(&second, &scratch.path()).unwrap();
        assert_eq!(fs::read(scratch.path()).unwrap(), b"second");
        drop((first, second));
        let lock_file = "secret.creating".to_owned();
        let names = scratch.names().into_iter().filter(|name| *name != lock_file);
        assert_eq!(names.collect::<Vec<_>>(), ["secret"]);
    }
}

#[cfg(unix)]
#[test]
fn a_dangling_link_takes_the_name_as_a_file_does() {
    for publish in [publish, publish_by_rename] {
        let scratch = Scratch::new();
        std::os::unix::fs::symlink("nowhere", scratch.path()).unwrap();
        let (temporary, _) = write_beside(&scratch.path(), b"first").unwrap();
        let error = publish(&temporary, &scratch.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_link(scratch.path()).unwrap(), PathBuf::from("nowhere"));
    }
}

#[test]
fn of_ten_that_publish_at_once_one_wins_with_and_without_hard_links() {
    for publish in [publish, publish_by_rename] {
        for _ in 0..50 {
            let scratch = Scratch::new();
            let gate = Arc::new(Barrier::new(10));
            let writers: Vec<_> = (0..10)
                .map(|byte| {
                    let (gate, path) = (Arc::clone(&gate), scratch.path());
                    thread::spawn(move || {
                        let (temporary, _) = write_beside(&path, &[byte; 32]).unwrap();
                        gate.wait();
                        publish(&temporary, &path).map(|()| byte)
                    })
                })
                .collect();
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            let winners: Vec<_> = ended.iter().flatten().collect();
            assert_eq!(winners.len(), 1, "{ended:?}");
            assert_eq!(fs::read(scratch.path()).unwrap(), [*winners[0]; 32]);
            let mut losers = ended.iter().filter_map(|ended| ended.as_ref().err());
            assert!(losers.all(|error| error.kind() == io::ErrorKind::AlreadyExists), "{ended:?}");
        }
    }
}

#[test]
fn a_writer_without_hard_links_does_not_wait_for_one_that_hangs() {
    let scratch = Scratch::new();
    let lock_file = File::create(scratch.0.join("secret.creating")).unwrap();
    lock_file.lock().unwrap();
    let (temporary, _) = write_beside(&scratch.path(), b"late").unwrap();
    let error = publish_by_rename(&temporary, &scratch.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(!scratch.path().exists());
    drop(lock_file);
    publish_by_rename(&temporary, &scratch.path()).unwrap();
    assert_eq!(scratch.names(), ["secret", "secret.creating"]);
}

#[cfg(target_os = "linux")]
#[test]
fn only_a_link_that_fails_for_every_writer_makes_way_for_a_rename() {
    let has_none = |code| has_no_hard_links(&io::Error::from_raw_os_error(code));
    let (eperm, exdev, emlink, enosys, eopnotsupp) = (1, 18, 31, 38, 95);
    for code in [eperm, exdev, emlink, enosys, eopnotsupp] {
        assert!(has_none(code), "{code}");
    }
    let (enoent, eio, eexist, enospc, edquot) = (2, 5, 17, 28, 122);
    for code in [enoent, eio, eexist, enospc, edquot] {
        assert!(!has_none(code), "{code}");
    }
}
