//! Nodes with outputs that are closed, full, stalled or non-blocking, and their end by a signal.
#![cfg(target_os = "linux")]

mod kit;

use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kit::plug::{
    Neighbour, closed_pipe, closed_terminal, full_disk, full_pipe, has_terminals, node,
    nonblocking, terminal,
};
use kit::{Killed, PATIENCE, Scratch, lines, nodenet, now, signal, wait};
use nodenet_tokio::peer_file::PeerFile;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Longest time by which an output may delay the end after a signal.
const SIGNAL_BOUND: Duration = Duration::from_secs(1);
/// Tries of a test: a busy machine may be late now and then, a real delay occurs each time.
const ATTEMPTS: usize = 3;

/// Outputs of a program under test.
struct Plug {
    stdout: Stdio,
    stderr: Stdio,
    /// The other end of the output that is read, if one is.
    works: Option<PipeReader>,
    /// An end that is open and not read.
    held: Option<PipeReader>,
}

impl Plug {
    fn only_stdout(stdout: impl Into<Stdio>, held: Option<PipeReader>) -> Self {
        let (works, stderr) = pipe().expect("descriptors are left");
        Self { stdout: stdout.into(), stderr: stderr.into(), works: Some(works), held }
    }

    fn only_stderr(stderr: impl Into<Stdio>, held: Option<PipeReader>) -> Self {
        let (works, stdout) = pipe().expect("descriptors are left");
        Self { stdout: stdout.into(), stderr: stderr.into(), works: Some(works), held }
    }

    /// Outputs that are read.
    fn usual() -> Self {
        Self::only_stdout(Stdio::null(), None)
    }

    fn both(output: impl Into<OwnedFd>, held: Option<PipeReader>) -> Self {
        let stdout: OwnedFd = output.into();
        let stderr = stdout.try_clone().expect("descriptors are left");
        Self { stdout: stdout.into(), stderr: stderr.into(), works: None, held }
    }
}

/// A program under test, and the other ends of its outputs.
struct Started {
    child: Killed,
    works: Option<mpsc::Receiver<String>>,
    /// Stays open as long as the program runs.
    _held: Option<PipeReader>,
}

fn start(command: &mut Command, plug: Plug) -> Started {
    let Plug { stdout, stderr, works, held } = plug;
    let command = command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
    Started { child: Killed::start(command), works: works.map(lines), _held: held }
}

/// Sends a signal and waits for the end. Returns the exit status and the time it took.
async fn ends_by(mut program: Started, name: &'static str) -> (Option<i32>, Duration) {
    let ended = spawn_blocking(move || {
        let since = now();
        signal(&program.child, name);
        (wait(&mut program.child, PATIENCE).code(), now() - since)
    });
    ended.await.expect("it ends")
}

/// Fails if each call of `try_once` returns a delay above the bound.
async fn assert_no_delay<F: Future<Output = Vec<Duration>>>(try_once: impl Fn() -> F) {
    let mut delays = Vec::new();
    for _ in 0..ATTEMPTS {
        delays = try_once().await;
        if delays.iter().all(|delay| *delay < SIGNAL_BOUND) {
            return;
        }
    }
    panic!("signals are delayed by {delays:?}");
}

/// Starts a node with these outputs, makes another join through it, sends it messages, and stops it
/// by a signal. Returns how long the stop took.
async fn goes_on_and_leaves(
    command: &'static str,
    make: fn() -> Plug,
    name: &'static str,
    together: Arc<Barrier>,
) -> Duration {
    let mut hub = Neighbour::new().await;
    let mut args = hub.args(command);
    if command == "run" {
        args.extend(["--json", "--stats-interval", "1"].map(str::to_owned));
    }
    args.extend(["--log-level", "debug"].map(str::to_owned));
    let mut program = start(&mut nodenet(&args), make());
    let itself = hub.joined().await;
    hub.flood(20).await;
    let other = node(Some(itself)).await;
    timeout(PATIENCE, other.joined()).await.expect("in time").expect("it joins through it");
    other.send(hub.node.id(), "hello").await.expect("there is an edge");
    let heard = timeout(PATIENCE, hub.node.deliveries().recv()).await.expect("in time");
    assert_eq!(heard.expect("it runs").originator, other.id());
    if let Some(works) = program.works.take() {
        let text = |line: &String| {
            line.contains("\"still there?\"")
                || line.contains(": still there?")
                || line.contains("7374696c6c2074686572653f")
        };
        hub.send_until("still there?", move || works.try_iter().any(|line| text(&line))).await;
    }

    timeout(PATIENCE, together.wait()).await.expect("the others get there");
    let (status, span) = ends_by(program, name).await;
    assert_eq!(status, Some(0), "{name}");
    hub.peer_left().await;
    let kept = PeerFile::open(&PeerFile::beside(&hub.scratch().path("seed"))).expect("whole");
    assert!(!kept.peers().is_empty(), "{name}: the peers are kept");
    span
}

/// The same with each signal, beside a node whose outputs are read: all have to end as soon as that
/// one.
async fn survives(command: &'static str, make: fn() -> Plug) {
    assert_no_delay(|| async {
        let together = Arc::new(Barrier::new(4));
        let usual = goes_on_and_leaves("run", Plug::usual, "TERM", together.clone());
        let nodes = ["TERM", "INT", "HUP"]
            .map(|name| tokio::spawn(goes_on_and_leaves(command, make, name, together.clone())));
        let usual = usual.await;
        let mut delays = Vec::new();
        for node in nodes {
            let span = node.await.expect("its test passes");
            delays.push(span.saturating_sub(usual));
        }
        delays
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_disk_ends_no_node() {
    survives("run", || Plug::only_stderr(full_disk(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_into_a_closed_pipe_ends_no_node() {
    survives("run", || Plug::only_stderr(closed_pipe(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_holds_up_no_node() {
    let make = || {
        let (reader, writer) = full_pipe();
        Plug::only_stderr(writer, Some(reader))
    };
    survives("run", make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_into_a_closed_pipe_end_no_node() {
    survives("run", || Plug::only_stdout(closed_pipe(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_on_a_full_disk_end_no_node() {
    survives("run", || Plug::only_stdout(full_disk(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_not_read_hold_up_no_node() {
    let make = || {
        let (reader, writer) = full_pipe();
        Plug::only_stdout(writer, Some(reader))
    };
    survives("run", make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn non_blocking_lines_that_are_not_read_end_no_node() {
    let make = || {
        let (reader, writer) = full_pipe();
        Plug::only_stdout(nonblocking(writer), Some(reader))
    };
    survives("run", make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_share_a_pipe_that_is_not_read_hold_up_no_node() {
    let make = || {
        let (reader, writer) = full_pipe();
        Plug::both(writer, Some(reader))
    };
    survives("run", make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_ends_no_node() {
    if has_terminals() {
        survives("run", || Plug::both(closed_terminal(), None)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_can_not_be_shown_ends_no_node() {
    survives("chat", || Plug::both(full_disk(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_is_not_read_holds_up_no_node() {
    let make = || {
        let (reader, writer) = full_pipe();
        Plug::both(writer, Some(reader))
    };
    survives("chat", make).await;
}

/// Another program that shares the terminal may have made it non-blocking.
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_on_a_non_blocking_terminal_reads_and_writes_on() {
    let mut hub = Neighbour::new().await;
    let (mut terminal, chat) = UnixStream::pair().expect("descriptors are left");
    chat.set_nonblocking(true).expect("a socket can be");
    let [stdin, stdout] =
        [(); 2].map(|()| OwnedFd::from(chat.try_clone().expect("descriptors are left")));
    let mut command = nodenet(&hub.args("chat"));
    let mut child = Killed::start(command.stdin(stdin).stdout(stdout).stderr(OwnedFd::from(chat)));
    let shown = lines(terminal.try_clone().expect("descriptors are left"));
    hub.joined().await;
    writeln!(terminal, "/to {}\nis this node there?", hub.node.id()).expect("it is read");
    let heard = timeout(PATIENCE, hub.node.deliveries().recv()).await.expect("in time");
    assert_eq!(heard.expect("it runs").payload, "is this node there?");
    hub.send_until("yes", || shown.try_iter().any(|line| line.ends_with(": yes"))).await;
    writeln!(terminal, "/quit").expect("it is read");
    assert_eq!(wait(&mut child, PATIENCE).code(), Some(0));
    hub.peer_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_started_with_nohup_goes_on_after_a_hangup() {
    let mut hub = Neighbour::new().await;
    let mut command = Command::new("nohup");
    command.arg(nodenet::<&str>(&[]).get_program()).args(hub.args("run")).arg("--json");
    let mut program = start(&mut command, Plug::only_stdout(full_disk(), None));
    let itself = hub.joined().await;
    for _ in 0..3 {
        signal(&program.child, "HUP");
    }
    let works = program.works.take().expect("its log is read");
    hub.send_until("still there?", || works.try_iter().any(|line| line.contains("still there?")))
        .await;
    let other = node(Some(itself)).await;
    timeout(PATIENCE, other.joined()).await.expect("in time").expect("it joins through it");
    let (status, _) = ends_by(program, "TERM").await;
    assert_eq!(status, Some(0));
    hub.peer_left().await;
}

/// The kernel sends a hangup to a node in the foreground, and the shell sends another.
#[tokio::test(flavor = "multi_thread")]
async fn hangups_that_come_together_count_once() {
    for first in ["HUP", "TERM"] {
        let mut hub = Neighbour::new().await;
        let plug = Plug::both(closed_pipe(), None);
        let mut program = start(&mut nodenet(&hub.args("run")), plug);
        hub.joined().await;
        // One shell sends both, so that they come within milliseconds.
        let both = format!("kill -{first} {0}; kill -HUP {0}", program.child.id());
        let sent = Command::new("sh").args(["-c", &both]).status();
        assert!(sent.expect("there is a shell").success());
        assert_eq!(wait(&mut program.child, PATIENCE).code(), Some(0), "{first}");
        hub.peer_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_a_terminal_that_is_closed_leaves() {
    if !has_terminals() {
        return;
    }
    let mut hub = Neighbour::new().await;
    let command = nodenet(&hub.args("run"));
    let parts = [command.get_program()].into_iter().chain(command.get_args());
    let parts: Vec<_> = parts.map(|part| part.to_str().expect("it is UTF-8")).collect();
    let mut script = Command::new("script");
    script.args(["-qfec", &format!("exec {}", parts.join(" ")), "/dev/null"]);
    let holder = Killed::start(script.stdin(Stdio::piped()).stdout(Stdio::null()));
    hub.joined().await;
    drop(holder);
    hub.peer_left().await;
    let seed = hub.scratch().path("seed");
    let kept = PeerFile::open(&PeerFile::beside(&seed)).expect("it is whole");
    assert!(!kept.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_can_not_be_written_is_an_error() {
    let scratch = Scratch::new();
    let [seed, other] = ["seed", "other"].map(|name| scratch.arg(name));
    let mut commands = JoinSet::new();
    for (args, stdout, why) in [
        (&["id", "--seed", &seed][..], Stdio::from(full_disk()), "No space left on device"),
        (&["id", "--seed", &other, "--json"], closed_pipe().into(), "Broken pipe"),
        (&["demo", "--nodes", "2"], full_disk().into(), "No space left on device"),
        (&["demo", "--nodes", "2", "--json"], closed_pipe().into(), "Broken pipe"),
        (&["--help"], full_disk().into(), "No space left on device"),
        (&["id", "--help"], closed_pipe().into(), "Broken pipe"),
        (&["--version"], full_disk().into(), "No space left on device"),
    ] {
        let mut command = nodenet(args);
        command.stdout(stdout).stderr(Stdio::piped());
        commands.spawn_blocking(move || (command.output().expect("it starts"), command, why));
    }
    while let Some(ended) = commands.join_next().await {
        let (output, command, why) = ended.expect("it ends");
        let message_text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {message_text}");
        assert!(
            message_text.contains("can not write the result: ") && message_text.contains(why),
            "{message_text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_does_not_need_standard_error() {
    let scratch = Scratch::new();
    // Without terminals, another closed output.
    let gone_terminal = || match has_terminals() {
        true => Stdio::from(closed_terminal()),
        false => closed_pipe().into(),
    };
    let [one, other, third] = ["one", "other", "third"].map(|name| scratch.arg(name));
    let mut commands = JoinSet::new();
    for (args, stderr) in [
        (&["id", "--seed", &one, "--pow", "4"][..], Stdio::from(full_disk())),
        (&["id", "--seed", &other, "--pow", "4"], closed_pipe().into()),
        (&["id", "--seed", &third, "--pow", "4"], gone_terminal()),
        (&["demo", "--nodes", "2"], full_disk().into()),
        (&["demo", "--nodes", "2"], closed_pipe().into()),
        (&["demo", "--nodes", "2"], gone_terminal()),
    ] {
        let mut command = nodenet(args);
        command.stdout(Stdio::piped()).stderr(stderr);
        commands.spawn_blocking(move || (command.output().expect("it starts"), command));
    }
    while let Some(ended) = commands.join_next().await {
        let (output, command) = ended.expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert_ne!(output.stdout, b"", "{command:?}");
    }
    // A failure does not need it either, and keeps its status.
    for (args, status) in [(&["run", "--bootstrap", "malformed"][..], 1), (&["run", "--loud"], 2)] {
        let failing = nodenet(args).stderr(full_disk()).status();
        assert_eq!(failing.expect("the program starts").code(), Some(status));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_command_whose_output_is_not_read() {
    assert_no_delay(|| async {
        let scratch = Scratch::new();
        let [seed, unborn] = ["seed", "unborn"].map(|name| scratch.arg(name));
        let minted = nodenet(&["id", "--seed", &seed]).output();
        assert!(minted.expect("it starts").status.success());
        let mut commands = JoinSet::new();
        for (args, name, status) in [
            (&["id", "--seed", &seed][..], "TERM", 1),
            (&["id", "--seed", &unborn, "--pow", "60"], "INT", 1),
            (&["demo", "--nodes", "2"], "HUP", 129),
            (&["demo", "--nodes", "2"], "INT", 130),
            (&["demo", "--nodes", "2"], "TERM", 143),
        ] {
            // The progress can not be observed from outside. The demo takes four seconds: it is at
            // work after the first of these times, and writes its result after the second.
            for millis in [1_500, 6_500] {
                let (reader, writer) = full_pipe();
                let program = start(&mut nodenet(args), Plug::both(writer, Some(reader)));
                commands.spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    (ends_by(program, name).await, (name, millis), status)
                });
            }
        }
        let mut delays = Vec::new();
        while let Some(ended) = commands.join_next().await {
            let ((ended, span), what, status) = ended.expect("it ends");
            assert_eq!(ended, Some(status), "{what:?}");
            delays.push(span);
        }
        delays
    })
    .await;
}

/// Progress is drawn on terminals only.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_command_that_draws_on_a_terminal_that_is_not_read() {
    if !has_terminals() {
        return;
    }
    assert_no_delay(|| async {
        let scratch = Scratch::new();
        let unborn = scratch.arg("unborn");
        let mut delays = Vec::new();
        for (args, status) in
            [(&["id", "--seed", &unborn, "--pow", "60"][..], 1), (&["demo", "--nodes", "2"], 143)]
        {
            let (terminal, holder) = terminal();
            signal(&holder, "STOP");
            fill(&terminal).await;
            let program = start(&mut nodenet(args), Plug::both(terminal, None));
            // Long enough for a drawing, which would block.
            sleep(Duration::from_millis(1_000)).await;
            let (ended, span) = ends_by(program, "TERM").await;
            assert_eq!(ended, Some(status), "{args:?}");
            delays.push(span);
            drop(holder);
        }
        delays
    })
    .await;
}

/// Writes to a terminal until it takes no more.
async fn fill(terminal: &File) {
    let mut terminal = terminal.try_clone().expect("descriptors are left");
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    // This thread ends when the other end is closed.
    std::thread::spawn(move || {
        while terminal.write_all(&[b'x'; 64]).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = usize::MAX;
    while written.load(Ordering::Relaxed) != before {
        before = written.load(Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
    }
}

/// No input makes the program panic, but tokio does for a bad environment variable.
#[test]
fn a_panic_is_reported_and_waits_for_no_reader() {
    let panics = |stderr: Stdio| {
        let mut command = nodenet(&["demo", "--nodes", "2"]);
        let command = command.env("TOKIO_WORKER_THREADS", "many").stdout(Stdio::null());
        Killed::start(command.stderr(stderr))
    };
    let mut child = panics(Stdio::piped());
    let message_text: Vec<String> =
        lines(child.stderr.take().expect("it is piped")).iter().collect();
    let message_text = message_text.join("\n");
    assert!(
        message_text.contains("thread 'main' panicked at")
            && message_text.contains("must be usize"),
        "{message_text}"
    );
    let (_reader, writer) = full_pipe();
    for stderr in [Stdio::from(writer), full_disk().into(), closed_pipe().into()] {
        let mut child = panics(stderr);
        assert_eq!(wait(&mut child, PATIENCE).code(), Some(101));
    }
}
