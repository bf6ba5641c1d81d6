//! The compiled program as a child process, and scratch directories.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

#[cfg(target_os = "linux")]
pub(crate) mod namespaces;
#[cfg(target_os = "linux")]
pub(crate) mod plug;

/// Longest wait in these tests, unless a test has its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory for one test, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("the target directory can be written");
        Self(directory)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("the path is UTF-8").to_owned()
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_secret(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("the directory can be written");
        self.set_mode(name, 0o600);
    }

    #[cfg(unix)]
    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), mode).expect("the file is ours");
    }

    #[cfg(not(unix))]
    pub(crate) fn set_mode(&self, _name: &str, _mode: u32) {}
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, ready to be started.
pub(crate) fn nodenet<S: AsRef<str>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodenet"));
    command.args(args.iter().map(AsRef::as_ref));
    command.env_remove("RUST_LOG");
    command
}

/// Runs the program to its end, without a signal.
pub(crate) fn run_to_end<S: AsRef<str>>(args: &[S]) -> Output {
    let mut child = nodenet(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    wait(&mut child, PATIENCE);
    child.wait_with_output().expect("the child is ours")
}

/// Runs the program, which must fail with this status. Returns its standard error.
pub(crate) fn failure<S: AsRef<str>>(status: i32, args: &[S]) -> String {
    let output = run_to_end(args);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{shown}");
    assert_eq!(output.stdout, b"", "errors belong on standard error");
    shown
}

/// A child process; killed when dropped.
pub(crate) struct Killed(Child);

impl Killed {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program starts"))
    }
}

impl Deref for Killed {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of a program.
pub(crate) fn wait(child: &mut Child, bound: Duration) -> ExitStatus {
    let give_up_at = now() + bound;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if now() >= give_up_at {
            let _ = child.kill();
            panic!("the program did not end within {bound:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A running program and its output.
pub(crate) struct Running {
    child: Killed,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start<S: AsRef<str>>(args: &[S]) -> Self {
        Self::spawn(&mut nodenet(args))
    }

    /// Starts a command that runs the program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Killed::start(command);
        let stdout = lines(child.stdout.take().expect("it is piped"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    /// The next line on standard output that contains `text`.
    pub(crate) fn line(&self, text: &str) -> String {
        self.line_within(text, PATIENCE)
    }

    /// The same, within `bound`.
    pub(crate) fn line_within(&self, text: &str, bound: Duration) -> String {
        next_line(&self.stdout, text, bound)
    }

    /// The next line on standard error that contains `text`.
    pub(crate) fn log_line(&self, text: &str) -> String {
        next_line(&self.stderr, text, PATIENCE)
    }

    /// The next JSON object of this kind on standard output, within `bound`.
    pub(crate) fn event_within(&self, kind: &str, bound: Duration) -> Value {
        let give_up_at = now() + bound;
        loop {
            let left = give_up_at.saturating_duration_since(now());
            let line = self.stdout.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {kind} within {bound:?}"));
            let value: Value = serde_json::from_str(&line).expect("every line is JSON");
            if value["event"] == kind {
                return value;
            }
        }
    }

    /// Whether a line that contains all these texts is printed within `bound`.
    pub(crate) fn prints(&self, texts: &[&str], bound: Duration) -> bool {
        let give_up_at = now() + bound;
        loop {
            let left = give_up_at.saturating_duration_since(now());
            match self.stdout.recv_timeout(left) {
                Ok(line) if texts.iter().all(|text| line.contains(text)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    pub(crate) fn event(&self, kind: &str) -> Value {
        self.event_within(kind, PATIENCE)
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.type_bytes(format!("{line}\n").as_bytes());
    }

    /// Types bytes, as a terminal of another encoding would send them.
    pub(crate) fn type_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(bytes).expect("the program reads");
    }

    /// Ends the input, as Ctrl-D does.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait(&mut self.child, PATIENCE)
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }
}

/// Sends a signal by name.
pub(crate) fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
    assert!(status.success(), "{kill}");
}

/// The lines of a source, as they come. The source is read to its end, even if the receiver is
/// dropped.
pub(crate) fn lines(source: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

fn next_line(source: &mpsc::Receiver<String>, text: &str, bound: Duration) -> String {
    let give_up_at = now() + bound;
    let mut others = Vec::new();
    loop {
        let left = give_up_at.saturating_duration_since(now());
        match source.recv_timeout(left) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => others.push(line),
            Err(_) => panic!("no line with {text:?}, but {others:#?}"),
        }
    }
}

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "tests of a real program run in real time")]
    Instant::now()
}

/// An identifier that no node has.
pub(crate) const ABSENT: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

/// A running node: its identifier, its address, and the value of --bootstrap for it.
pub(crate) struct Host {
    pub(crate) running: Running,
    pub(crate) id: String,
    pub(crate) addr: String,
    pub(crate) line: String,
}

/// Starts a node on loopback; one with `bootstrap` has an edge then.
pub(crate) fn host(scratch: &Scratch, name: &str, bootstrap: Option<&str>) -> Host {
    let seed = scratch.arg(name);
    let mut args = vec!["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--json"];
    args.extend(bootstrap.into_iter().flat_map(|line| ["--bootstrap", line]));
    let running = Running::start(&args);
    let started = running.event("started");
    if bootstrap.is_some() {
        running.event("edge_up");
    }
    let text = |name: &str| started[name].as_str().expect("a text").to_owned();
    Host { running, id: text("id"), addr: text("listening"), line: text("bootstrap") }
}
