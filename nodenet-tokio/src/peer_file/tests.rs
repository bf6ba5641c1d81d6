use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nodenet_proto::api::KnownPeer;
use nodenet_proto::env::Seed;
use nodenet_proto::identity::node_id;

use super::text::{self, Malformed};
use super::{FEW, LEN_MAX, PEERS_MAX, PeerFile, PeerFileError};
use crate::testing::Hub;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nodenet-peer-file-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("node.seed.peers")
    }

    /// Puts a file there as this program writes it: for its owner only.
    fn write(&self, bytes: &[u8]) {
        let (temporary, _) = crate::private_file::write_beside(&self.path(), bytes).unwrap();
        crate::private_file::replace(&temporary, &self.path()).unwrap();
    }

    fn error(&self) -> PeerFileError {
        PeerFile::open(&self.path()).unwrap_err()
    }

    fn peers(&self) -> Vec<KnownPeer> {
        PeerFile::open(&self.path()).unwrap().peers().to_vec()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn peer(number: u64, addrs: &[&str]) -> KnownPeer {
    let key = Seed::from_u64(number).bytes("key");
    let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
    KnownPeer { id: node_id(&key), key, addrs }
}

fn some(numbers: core::ops::Range<u64>) -> Vec<KnownPeer> {
    let addr = |n: u64| format!("192.0.2.{}:4242", n % 256);
    numbers.map(|n| peer(n, &[&addr(n), "[2001:db8::1]:7"])).collect()
}

#[test]
fn what_was_saved_is_read_back_in_order() {
    let scratch = Scratch::new();
    let file = PeerFile::open(&scratch.path()).unwrap();
    assert_eq!(file.peers(), []);
    let peers = [peer(2, &["192.0.2.7:4242", "[2001:db8::7]:1"]), peer(1, &["127.0.0.1:65535"])];
    file.save(&peers).unwrap();
    assert_eq!(scratch.peers(), peers);
    let names: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["node.seed.peers"], "the temporary file is gone");

    file.save(&peers[1..]).unwrap();
    assert_eq!(scratch.peers(), peers[1..], "a file is replaced");
}

/// Two nodes with one peer file: the last writer wins, and no file is a mix of two.
#[test]
fn a_file_that_many_save_at_once_is_from_one_of_them() {
    let scratch = Scratch::new();
    for round in 0..20 {
        let gate = Arc::new(Barrier::new(10));
        let savers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|first| {
            let (gate, path) = (Arc::clone(&gate), scratch.path());
            let file = PeerFile::afresh(&path);
            thread::spawn(move || {
                let peers = some(first..first + 1 + first * 12);
                gate.wait();
                file.save(&peers)
            })
        });
        let saved = savers.map(|saver| saver.join().unwrap());
        assert!(saved.iter().all(Result::is_ok), "round {round}: {saved:?}");
        let kept = scratch.peers();
        assert!((0..10).any(|first| kept == some(first..first + 1 + first * 12)), "round {round}");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "no temporary file is left");
    }
}

#[test]
fn the_format_is_this() {
    let text = text::write([peer(1, &["192.0.2.7:4242", "[::1]:1"]), peer(2, &[])].iter());
    let key: String =
        Seed::from_u64(1).bytes("key").iter().map(|byte: &u8| format!("{byte:02x}")).collect();
    assert_eq!(text, format!("nodenet-peers 1\n{key} 192.0.2.7:4242 [::1]:1\nend 1\n"));
}

#[cfg(unix)]
#[test]
fn a_file_is_for_its_owner_only_and_an_open_one_is_not_replaced() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let scratch = Scratch::new();
    let file = PeerFile::open(&scratch.path()).unwrap();
    file.save(&some(0..1)).unwrap();
    let mode = || fs::metadata(scratch.path()).unwrap().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    for open in [0o620, 0o602, 0o666] {
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(open)).unwrap();
        let shown = scratch.error().to_string();
        assert!(
            shown.contains(&format!("mode {open:04o}")) && shown.contains("chmod 600"),
            "{shown}"
        );
        assert!(shown.contains("neither used nor replaced"), "{shown}");
    }
    let later = PeerFile::afresh(&scratch.path());
    assert!(later.save(&[]).is_ok(), "nothing is to be written");
    let error = later.save(&some(0..2)).unwrap_err();
    assert!(matches!(error, PeerFileError::OpenToOthers { mode: 0o666, .. }), "{error}");
    // What the text of the error asks for, while the node runs.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(later.save(&some(0..2)).is_err(), "a file that was not read is not replaced");
    assert_eq!(scratch.peers(), some(0..1), "the next start has the old content");
    PeerFile::afresh(&scratch.path()).save(&some(0..2)).unwrap();
    assert_eq!((mode(), scratch.peers()), (0o600, some(0..2)));
}

#[test]
fn a_file_that_was_cut_short_anywhere_is_not_used() {
    let whole = text::write(some(0..3).iter());
    assert_eq!(text::read(whole.as_bytes()), Ok(some(0..3)));
    for len in 0..whole.len() {
        let read = text::read(&whole.as_bytes()[..len]);
        assert!(matches!(read, Err(Malformed::Damaged(1..=5, _))), "{len}: {read:?}");
    }
    let scratch = Scratch::new();
    scratch.write(&whole.as_bytes()[..whole.len() - 1]);
    let shown = scratch.error().to_string();
    assert!(shown.contains("damaged in line 5") && shown.contains("replaced when"), "{shown}");
    assert!(shown.contains(scratch.path().to_str().unwrap()), "{shown}");
}

#[test]
fn garbage_is_an_error_with_its_line() {
    let key = "ab".repeat(32);
    let line = format!("{key} 192.0.2.1:1\n");
    let addrs = |count| " 192.0.2.1:1".repeat(count);
    for (line_number, body) in [
        (2, "end 1\n".to_owned()),
        (2, "end\n".to_owned()),
        (2, "\n".to_owned()),
        (2, format!("{key}\nend 1\n")),
        (2, format!("{key}{}\nend 1\n", addrs(9))),
        (2, format!("{key}  192.0.2.1:1\nend 1\n")),
        (2, format!("{key} example.org:1\nend 1\n")),
        (2, format!("{key} 192.0.2.1:65536\nend 1\n")),
        (2, format!("{} 192.0.2.1:1\nend 1\n", &key[2..])),
        (2, format!("{}ä 192.0.2.1:1\nend 1\n", &key[2..])),
        (2, format!("+{} 192.0.2.1:1\nend 1\n", &key[1..])),
        (3, format!("{line}end 1\n{line}")),
        (3, format!("{line}end 01\n")),
        (PEERS_MAX + 2, format!("{}end {}\n", line.repeat(PEERS_MAX + 1), PEERS_MAX + 1)),
    ] {
        let text = format!("nodenet-peers 1\n{body}");
        let read = text::read(text.as_bytes());
        assert!(
            matches!(read, Err(Malformed::Damaged(at, _)) if at == line_number),
            "{text}{read:?}"
        );
    }
    assert_eq!(text::read(b"nodenet-peers 1\nend 0\n"), Ok(Vec::new()));
    for wrong in [&b"\xff\xfe\x00"[..], b"", b"\n", b"nodenet-peers\n", b"PNG 1\nend 0\n"] {
        assert!(matches!(text::read(wrong), Err(Malformed::Damaged(1, _))), "{wrong:?}");
    }
    for other in [&b"nodenet-peers 2\n\x01\n"[..], b"nodenet-peers 11\nend 0\n"] {
        assert_eq!(text::read(other), Err(Malformed::OtherVersion));
    }
}

/// With one byte changed, the file is refused, or it holds claims like any other.
#[test]
fn a_changed_byte_never_does_more_than_change_a_claim() {
    let whole = text::write(some(0..3).iter()).into_bytes();
    for place in 0..whole.len() {
        for byte in [0, b' ', b'\n', b'0', b'e', whole[place] ^ 1, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            if let Ok(peers) = text::read(&bytes) {
                assert!(peers.len() == 3 && peers.iter().all(|p| p.id == node_id(&p.key)));
            }
        }
    }
}

#[test]
fn a_file_holds_no_more_than_its_caps_and_they_fit() {
    let longest: SocketAddr =
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
    let peers: Vec<_> = (0..PEERS_MAX as u64 + 9)
        .map(|number| KnownPeer { addrs: vec![longest; 20], ..peer(number, &[]) })
        .collect();
    let scratch = Scratch::new();
    PeerFile::afresh(&scratch.path()).save(&peers).unwrap();
    assert!(fs::metadata(scratch.path()).unwrap().len() < LEN_MAX);
    let read = scratch.peers();
    assert_eq!(read.len(), PEERS_MAX);
    assert!(read.iter().zip(&peers).all(|(a, b)| a.id == b.id && a.addrs.len() == 8));

    let file = fs::OpenOptions::new().write(true).open(scratch.path()).unwrap();
    file.set_len(LEN_MAX + 1).unwrap();
    assert!(matches!(scratch.error(), PeerFileError::TooLong { .. }));
}

#[test]
fn peers_of_the_last_run_are_kept_while_this_one_knows_few() {
    let scratch = Scratch::new();
    PeerFile::afresh(&scratch.path()).save(&some(0..PEERS_MAX as u64)).unwrap();
    let file = PeerFile::open(&scratch.path()).unwrap();
    file.save(&[]).unwrap();
    assert_eq!(scratch.peers(), some(0..128), "a node that was offline loses nothing");
    file.save(&[some(200..202), some(1..2)].concat()).unwrap();
    let few = [some(200..202), some(1..2), some(0..1), some(2..126)].concat();
    assert!(scratch.peers() == few, "the best stay, behind the new ones, and each is there once");
    let enough = 200 + FEW as u64;
    file.save(&some(200..enough - 1)).unwrap();
    assert!(scratch.peers() == [some(200..enough - 1), some(0..128 - 31)].concat());
    file.save(&some(200..enough)).unwrap();
    assert_eq!(scratch.peers(), some(200..enough));
}

#[test]
fn what_is_not_a_file_is_refused_and_a_missing_directory_is_named() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).unwrap();
    assert!(matches!(scratch.error(), PeerFileError::NotAFile { .. }));
    let error = PeerFile::afresh(&scratch.path()).save(&some(0..1)).unwrap_err();
    assert!(error.to_string().contains("can not write peer file"), "{error}");
    let path = scratch.path().join("missing").join("peers");
    let error = PeerFile::open(&path).unwrap().save(&some(0..1)).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn the_file_stands_beside_the_key_file() {
    let beside = PeerFile::beside("/home/me/alice.seed".as_ref());
    assert_eq!(beside, PathBuf::from("/home/me/alice.seed.peers"));
}

#[tokio::test(start_paused = true)]
#[expect(unused_must_use, reason = "the compiler is to warn of this mistake")]
async fn a_keeper_that_is_dropped_at_once_writes_nothing_and_is_warned_about() {
    let (hub, scratch) = (Hub::new(1), Scratch::new());
    let _first = hub.builder(1).start().await.unwrap();
    let node = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    PeerFile::afresh(&scratch.path()).keep(&node);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!scratch.path().exists());
    PeerFile::afresh(&scratch.path()).save(&node.export_peers().await.unwrap()).unwrap();
    assert!(scratch.path().exists(), "there were peers to write");
}
