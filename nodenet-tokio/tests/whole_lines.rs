//! Lines of a program with outputs that are slow, full or shared: each is whole or counted.
#![cfg(target_os = "linux")]

mod kit;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kit::plug::{Neighbour, full_pipe, nonblocking, skip};
use kit::{Killed, PATIENCE, lines, nodenet, now, signal, wait};
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::sleep;

/// Messages of a flood: their lines take three times the room of the queue.
const FLOOD: usize = 60;

/// Lines that were read.
#[derive(Debug, Default)]
struct Tally {
    messages: usize,
    missed: u64,
    last: String,
}

impl Tally {
    /// Takes a line of JSON, which must be whole.
    fn take(&mut self, line: &str) {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in a line of {} bytes", line.len()));
        self.last = value["event"].as_str().expect("a line has a kind").to_owned();
        match self.last.as_str() {
            "message" => self.messages += 1,
            "missed" => self.missed += value["count"].as_u64().expect("a number"),
            _ => {}
        }
    }

    /// Each message was printed or counted as missed, and there were some of both.
    fn assert_complete(&self) {
        assert!(self.messages > 1, "the lines that waited come: {self:?}");
        assert!(self.missed > 0, "some did not fit: {self:?}");
        // Lines of other kinds that did not fit are counted, too.
        assert!(self.messages + self.missed as usize >= FLOOD, "{self:?}");
    }
}

/// A slow reader: a little at a time, with pauses.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        thread::sleep(Duration::from_millis(1));
        let len = buffer.len().min(5_000);
        self.0.read(&mut buffer[..len])
    }
}

fn command(hub: &Neighbour) -> Command {
    let mut args = hub.args("run");
    args.extend(["--json", "--stats-interval", "1"].map(str::to_owned));
    nodenet(&args)
}

/// Waits for the warning that lines were missed, and returns it.
fn warned(log: &mpsc::Receiver<String>) -> String {
    let give_up_at = now() + PATIENCE;
    loop {
        let left = give_up_at.saturating_duration_since(now());
        let line = log.recv_timeout(left).expect("it warns in time");
        if line.contains("lines were missed, because standard output") {
            return line;
        }
    }
}

/// Ends a node whose output is read, and takes its last lines.
fn take_the_end(mut child: Killed, lines: mpsc::Receiver<String>, tally: &mut Tally) {
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
    lines.iter().for_each(|line| tally.take(&line));
    assert_eq!(tally.last, "stopped");
}

async fn is_read_slowly(blocking: bool) {
    let mut hub = Neighbour::new().await;
    let (reader, writer) = pipe().expect("descriptors are left");
    let stdout = if blocking { OwnedFd::from(writer) } else { nonblocking(writer).into() };
    let mut child = Killed::start(command(&hub).stdout(stdout).stderr(Stdio::piped()));
    let log = lines(child.stderr.take().expect("it is piped"));
    hub.joined().await;
    hub.flood(FLOOD).await;
    let message_text = block_in_place(|| warned(&log));
    assert!(message_text.contains("not read fast enough"), "{message_text}");
    let shown = lines(Slow(reader));
    let mut tally = Tally::default();
    while tally.messages + (tally.missed as usize) < FLOOD {
        tally.take(&block_in_place(|| shown.recv_timeout(PATIENCE)).expect("there is more"));
    }
    tally.assert_complete();
    block_in_place(|| take_the_end(child, shown, &mut tally));
    hub.peer_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_whole_lines_and_the_count_of_the_others() {
    both(is_read_slowly(true), is_read_slowly(false)).await;
}

/// Runs two slow cases at once.
async fn both(
    one: impl Future<Output = ()> + Send + 'static,
    other: impl Future<Output = ()> + Send + 'static,
) {
    let both = [tokio::spawn(one), tokio::spawn(other)];
    for ended in both {
        ended.await.expect("both pass");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_share_a_non_blocking_pipe_do_not_mix_up_their_lines() {
    let mut hub = Neighbour::new().await;
    let (reader, writer) = pipe().expect("descriptors are left");
    let stdout = OwnedFd::from(nonblocking(writer));
    let stderr = stdout.try_clone().expect("descriptors are left");
    let mut command = command(&hub);
    command.arg("--log-level=debug").stdout(stdout).stderr(stderr);
    let mut child = Killed::start(&mut command);
    drop(command);
    let shown = lines(Slow(reader));
    hub.joined().await;
    hub.flood(FLOOD).await;
    let (mut tally, mut logged) = (Tally::default(), 0);
    let mut take = |line: String, tally: &mut Tally| {
        if line.starts_with('{') {
            return tally.take(&line);
        }
        let kinds = [" INFO ", "DEBUG ", " WARN ", "lines are missing here"];
        assert!(kinds.iter().any(|kind| line.contains(kind)), "{line}");
        logged += 1;
    };
    while tally.messages + (tally.missed as usize) < FLOOD {
        let line = block_in_place(|| shown.recv_timeout(PATIENCE)).expect("there is more");
        take(line, &mut tally);
    }
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
    shown.iter().for_each(|line| take(line, &mut tally));
    assert_eq!(tally.last, "stopped");
    assert!(logged > 3, "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_read_again_has_the_number_of_missing_lines() {
    let mut hub = Neighbour::new().await;
    let (reader, writer) = full_pipe();
    let mut command = command(&hub);
    command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(writer);
    let mut child = Killed::start(&mut command);
    drop(command);
    let shown = lines(child.stdout.take().expect("it is piped"));
    hub.joined().await;
    // The trace of its packets alone fills the queue of the log.
    hub.flood(FLOOD).await;
    hub.flood(FLOOD).await;
    let heard = || shown.try_iter().any(|line| line.contains("6e6f77"));
    hub.send_until("now", heard).await;
    let log = lines(reader);
    let give_up_at = now() + PATIENCE;
    let message_text = block_in_place(|| {
        loop {
            let left = give_up_at.saturating_duration_since(now());
            let line = log.recv_timeout(left).expect("it comes in time");
            if line.contains("lines are missing here") {
                return line;
            }
        }
    });
    let count = message_text.split(' ').nth(1).expect("it begins with the name of the program");
    assert!(count.parse::<u64>().expect("a number") > 0, "{message_text}");
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
    assert!(log.iter().any(|line| line.contains("shutting down")), "more lines follow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_gets_lines_again_when_another_reader_comes() {
    let mut hub = Neighbour::new().await;
    let path = hub.scratch().path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("coreutils has it").success());
    // A FIFO is open when both ends are.
    let opening = thread::spawn({
        let path = path.clone();
        move || File::open(path).expect("it is there")
    });
    let stdout = OpenOptions::new().write(true).open(&path).expect("it is there");
    let reader = opening.join().expect("it does not panic");
    let mut command = command(&hub);
    let mut child = Killed::start(command.stdout(stdout).stderr(Stdio::null()));
    drop(command);
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).expect("it is open");
    assert!(first.contains("started"), "{first}");
    // That reader is closed, and writes fail.
    hub.joined().await;
    hub.flood(2).await;
    thread::sleep(Duration::from_millis(1_500));

    let shown = lines(File::open(&path).expect("it is there"));
    // The first line may be the rest of one that the other reader began.
    block_in_place(|| shown.recv_timeout(PATIENCE)).expect("lines come again");
    let mut tally = Tally::default();
    while tally.last != "stats" {
        tally.take(&block_in_place(|| shown.recv_timeout(PATIENCE)).expect("there is more"));
    }
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
    shown.iter().for_each(|line| tally.take(&line));
    assert_eq!(tally.last, "stopped");
}

/// Starts a node by a shell, which redirects its output to a file and gets that as `$0`.
fn start_by(shell: &[&str], hub: &Neighbour, file: &str) -> (Killed, mpsc::Receiver<String>) {
    let command = command(hub);
    let mut started = Command::new(shell[0]);
    started.args(&shell[1..]).arg(file).arg(command.get_program()).args(command.get_args());
    let mut child = Killed::start(started.stderr(Stdio::piped()));
    let log = lines(child.stderr.take().expect("it is piped"));
    (child, log)
}

/// Waits until the whole lines of a file contain `part`, and returns them.
fn whole_lines(path: &Path, part: &str) -> String {
    let give_up_at = now() + PATIENCE;
    loop {
        let mut text = fs::read_to_string(path).expect("it is there, and is text");
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        if text.contains(part) && !text.is_empty() {
            return text;
        }
        assert!(now() < give_up_at, "no {part}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a file does not grow any more.
fn wait_for_rest(path: &Path) {
    let len = || fs::metadata(path).expect("it is there").len();
    let mut before = u64::MAX;
    while len() != before {
        before = len();
        thread::sleep(Duration::from_millis(100));
    }
}

fn stop(mut child: Killed) {
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
}

async fn is_truncated(redirect: &str) {
    let mut hub = Neighbour::new().await;
    let path = hub.scratch().path("lines");
    // Room for three messages: 400 blocks of 512 bytes, as POSIX has it.
    let script = format!("ulimit -f 400; exec \"$@\" {redirect} \"$0\"");
    let file = hub.scratch().arg("lines");
    let (child, log) = start_by(&["sh", "-c", &script], &hub, &file);
    hub.joined().await;
    hub.flood(FLOOD).await;
    let message_text = block_in_place(|| warned(&log));
    assert!(message_text.contains("can not be written: File too large"), "{message_text}");
    let mut tally = Tally::default();
    block_in_place(|| {
        while tally.last != "stats" {
            wait_for_rest(&path);
            File::create(&path).expect("it is ours");
            whole_lines(&path, "").lines().for_each(|line| tally.take(line));
        }
    });
    assert!(tally.messages > 1 && tally.missed > 0, "{tally:?}");
    stop(child);
    hub.peer_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_gets_whole_lines_again_when_it_is_truncated() {
    // Opened for appending, and opened at a position.
    both(is_truncated(">>"), is_truncated(">")).await;
}

/// A disk with 100 KiB of room for lines.
const FULL_DISK: &str = "mount -t tmpfs -o size=2m none \"$0\" || exit 77; \
    dd if=/dev/zero of=\"$0/ballast\" bs=1k count=1948 2>/dev/null || exit 77; \
    exec \"$@\" >> \"$0/lines\"";

async fn is_full(truncate: bool) {
    let mut hub = Neighbour::new().await;
    let directory = hub.scratch().arg("disk");
    fs::create_dir(&directory).expect("it is ours");
    let shell = ["unshare", "-Urm", "sh", "-c", FULL_DISK];
    let (mut child, log) = start_by(&shell, &hub, &directory);
    let id = child.id();
    let has_ended = async {
        while child.try_wait().expect("it is ours").is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = hub.joined() => {}
        () = has_ended => {
            let message_text: Vec<String> = log.iter().collect();
            return skip("a full disk", &format!("no file system can be mounted: {message_text:?}"));
        }
    }
    hub.flood(FLOOD).await;
    let message_text = block_in_place(|| warned(&log));
    assert!(message_text.contains("can not be written: No space left on device"), "{message_text}");

    // The disk is mounted in the namespace of the node only.
    let disk = PathBuf::from(format!("/proc/{id}/root{directory}"));
    let path = disk.join("lines");
    let before = fs::read_to_string(&path).expect("it is text");
    assert!(!before.ends_with('\n'), "it is full in the middle of a line");
    if truncate {
        File::create(&path).expect("it is ours");
    }
    fs::remove_file(disk.join("ballast")).expect("it is ours");
    // The count of missed lines follows the lines that waited.
    block_in_place(|| whole_lines(&path, "\"missed\""));
    let text = block_in_place(|| whole_lines(&path, "\"stats\""));
    let mut tally = Tally::default();
    text.lines().for_each(|line| tally.take(line));
    match truncate {
        false => tally.assert_complete(),
        true => assert!(tally.messages > 1 && tally.missed > 0, "{tally:?}"),
    }
    stop(child);
    hub.peer_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_gets_whole_lines_again_when_there_is_room() {
    both(is_full(false), is_full(true)).await;
}
