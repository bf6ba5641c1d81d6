//! Outputs that are closed, full or non-blocking, and neighbours that observe a program with them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::api::EdgeDownReason;
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::{BootstrapPeer, Event, Node, NodeEvent, NodeEvents, mint};
use tokio::time::timeout;

use super::{Killed, PATIENCE, Scratch};

/// From asm-generic/fcntl.h, which x86, ARM and RISC-V follow.
const O_NONBLOCK: i32 = 0o4000;
const O_NOCTTY: i32 = 0o400;

/// Bytes of a message of a flood; its line has twice as many.
const MESSAGE_LEN: usize = 30_000;

/// A pipe whose reader is closed.
pub(crate) fn closed_pipe() -> PipeWriter {
    let (reader, writer) = pipe().expect("descriptors are left");
    drop(reader);
    writer
}

/// A pipe without room, and its reader, which must stay open for that.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().expect("descriptors are left");
    let mut filler = nonblocking(writer.try_clone().expect("descriptors are left"));
    // Down to single bytes: a pipe takes small writes whole or not at all.
    for len in [4096, 1] {
        while filler.write(&vec![b'\n'; len]).is_ok() {}
    }
    (reader, writer)
}

/// The same pipe, opened anew and non-blocking.
pub(crate) fn nonblocking(pipe: PipeWriter) -> File {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let file = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path);
    file.expect("a pipe can be opened again")
}

/// A device whose writes fail as on a full disk.
pub(crate) fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")
}

/// Whether there is `script` of util-linux, which makes the terminals below.
pub(crate) fn has_terminals() -> bool {
    let found = Command::new("script").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skip("a terminal", "there is no program script");
    }
    found
}

/// A terminal, and the process that holds its other end.
pub(crate) fn terminal() -> (File, Killed) {
    // The shell in it prints the name of the terminal, and waits for a line that never comes.
    let mut script = Command::new("script");
    script.args(["-qfec", "tty; read line", "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut holder = Killed::start(&mut script);
    let mut name = String::new();
    let stdout = holder.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut name).expect("it runs");
    let mut options = OpenOptions::new();
    let terminal = options.read(true).write(true).custom_flags(O_NOCTTY).open(name.trim());
    (terminal.expect("it is there"), holder)
}

/// A terminal whose other end is closed.
pub(crate) fn closed_terminal() -> File {
    let (mut terminal, holder) = terminal();
    drop(holder);
    let error = terminal.write(b"x").expect_err("it is closed");
    assert_eq!(error.raw_os_error(), Some(5), "EIO, not {error}");
    terminal
}

/// Reports a test that this machine does not permit. Fails if no test may be skipped.
pub(crate) fn skip(what: &str, why: &str) {
    let strict = std::env::var_os("CI_STRICT").is_some_and(|value| value == "1");
    assert!(!strict, "{what} was not tested: {why}");
    let _ = writeln!(io::stderr(), "SKIPPED: {what} was not tested: {why}");
}

/// A node in the test's own process.
pub(crate) async fn node(bootstrap: Option<BootstrapPeer>) -> Node {
    let seed = mint::random_seed().expect("the system has entropy");
    Node::builder(Identity::from_master_seed(&seed))
        .bind("127.0.0.1:0".parse().expect("it is an address"))
        .bootstrap(bootstrap)
        .start()
        .await
        .expect("loopback has free ports")
}

/// A node through which the program joins, to observe it from outside, independently of its
/// outputs.
pub(crate) struct Neighbour {
    pub(crate) node: Node,
    events: NodeEvents,
    /// The identifier of the program.
    pub(crate) id: NodeId,
    scratch: Scratch,
}

impl Neighbour {
    pub(crate) async fn new() -> Self {
        let node = node(None).await;
        let scratch = Scratch::new();
        let seed = mint::random_seed().expect("the system has entropy");
        scratch.write_secret("seed", &seed[..]);
        let events = node.events();
        Self { node, events, id: Identity::from_master_seed(&seed).id(), scratch }
    }

    /// The arguments with which a command joins.
    pub(crate) fn args(&self, command: &str) -> Vec<String> {
        let bootstrap = BootstrapPeer::new(self.node.id(), self.node.local_addr()).to_string();
        let seed = self.scratch.arg("seed");
        [command, "--addr", "127.0.0.1:0", "--bootstrap", &bootstrap, "--seed", &seed]
            .map(str::to_owned)
            .to_vec()
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Waits until the program has joined. Returns it as a bootstrap peer.
    pub(crate) async fn joined(&mut self) -> BootstrapPeer {
        let remote = self.wait_for(|event, id| match event {
            NodeEvent::Protocol(Event::EdgeUp { peer, remote, .. }) if *peer == id => Some(*remote),
            _ => None,
        });
        let remote = remote.await;
        BootstrapPeer::new(self.id, remote)
    }

    /// Waits for the Leave of the program. An edge that ends otherwise fails the test.
    pub(crate) async fn peer_left(&mut self) {
        let reason = self.wait_for(|event, id| match event {
            NodeEvent::Protocol(Event::EdgeDown { peer, reason }) if *peer == id => Some(*reason),
            _ => None,
        });
        assert_eq!(reason.await, EdgeDownReason::Left);
    }

    async fn wait_for<T>(&mut self, wanted: impl Fn(&NodeEvent, NodeId) -> Option<T>) -> T {
        let waiting = timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the node runs");
                if let Some(found) = wanted(&event, self.id) {
                    return found;
                }
            }
        });
        waiting.await.expect("it comes in time")
    }

    /// Sends `count` long messages over the edge, or over a new one if a busy machine lost it.
    pub(crate) async fn flood(&self, count: usize) {
        let flooding = timeout(PATIENCE, async {
            for _ in 0..count {
                let message = || vec![b'x'; MESSAGE_LEN];
                while self.node.send_direct_when_ready(self.id, message()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        flooding.await.expect("the program takes them");
    }

    /// Sends a short message again and again until `is_seen` is true.
    pub(crate) async fn send_until(&self, text: &'static str, mut is_seen: impl FnMut() -> bool) {
        let sending = timeout(PATIENCE, async {
            while !is_seen() {
                let _ = self.node.send_direct(self.id, text).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        sending.await.expect("the program prints the message");
    }
}
