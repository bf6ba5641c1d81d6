//! First starts at the same moment on one key file: they get one identity, that in the file.
//!
//! Each round has ten starters and a new path. `NODENET_ROUNDS` sets the number of rounds. The
//! figures are on standard output: `--nocapture` shows them.

mod kit;

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use kit::Scratch;
use nodenet_tokio::key_file::{KeyFile, KeyFileError, peek};
use nodenet_tokio::mint;
use nodenet_tokio::proto::NodeId;

/// Starters of one round.
const STARTERS: usize = 10;

/// The rounds of a test: `default` takes a second or two in a debug build, the full number is
/// 1,000.
fn rounds(default: usize) -> usize {
    match std::env::var("NODENET_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("NODENET_ROUNDS is a number"),
        Err(_) => default,
    }
}

/// Result of a starter: the identity it runs under, or the text of the error.
type Started = Result<NodeId, String>;

/// Sums over all rounds.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    rounds: usize,
    /// Starters with an identity.
    winners: usize,
    /// Starters whose error says that another was first, and what to do.
    losers: usize,
    /// Starters with another error.
    other_errors: usize,
    /// Starters with an identity that is not in the file.
    mismatches: usize,
    /// Rounds whose file holds zeros.
    zeros: usize,
    /// Rounds whose file is missing or can not be used.
    unusable: usize,
    /// Rounds without a starter that has an identity.
    without_winner: usize,
    /// Other files than those of the rounds.
    leftovers: usize,
}

impl Tally {
    fn add(&mut self, path: &Path, started: &[Started]) {
        assert_eq!(started.len(), STARTERS);
        let kept = peek(path);
        let kept_id = kept.as_ref().ok().and_then(Option::as_ref).map(|identity| identity.id());
        self.rounds += 1;
        self.zeros += usize::from(std::fs::read(path).is_ok_and(|bytes| bytes == [0; 32]));
        self.unusable += usize::from(kept_id.is_none());
        self.without_winner += usize::from(started.iter().all(Result::is_err));
        for starter in started {
            match starter {
                Ok(id) => {
                    self.winners += 1;
                    self.mismatches += usize::from(Some(*id) != kept_id);
                }
                Err(message_text) if is_that_another_was_first(message_text, path) => {
                    self.losers += 1
                }
                Err(message_text) => {
                    self.other_errors += 1;
                    println!("other_errors: {message_text}");
                }
            }
        }
    }

    fn finish(&mut self, name: &str, scratch: &Scratch) {
        let entries = std::fs::read_dir(scratch.path("")).expect("the directory is there");
        let files = entries.map(|entry| entry.expect("it is listed").path());
        self.leftovers = files.filter(|file| file.extension() != Some("seed".as_ref())).count();
        println!("{name}: {self:?}");
    }

    /// Panics unless every round had a winner, each with the identity in the file.
    fn assert_one_identity(&self) {
        let Self { rounds, winners, losers, .. } = *self;
        assert_eq!(*self, Self { rounds, winners, losers, ..Self::default() });
        assert_eq!(winners + losers, rounds * STARTERS);
    }
}

/// Whether an error names the file, and says that another was first and what to do.
fn is_that_another_was_first(message_text: &str, path: &Path) -> bool {
    message_text.contains(path.to_str().expect("the path is UTF-8"))
        && message_text.contains("another node was first")
        && message_text.contains("give this one a key file of its own")
}

/// The example in the documentation of `key_file`.
fn open_or_create(path: &Path) -> Result<KeyFile, KeyFileError> {
    Ok(match KeyFile::open(path)? {
        Some(key_file) => key_file,
        None => KeyFile::create(path, mint::random_seed().expect("the system has entropy"))?,
    })
}

/// The same, with a check first that a file can be written, as in the program.
fn open_or_ask_and_create(path: &Path) -> Result<KeyFile, KeyFileError> {
    if let Some(key_file) = KeyFile::open(path)? {
        return Ok(key_file);
    }
    KeyFile::check_writable(path)?;
    KeyFile::create(path, mint::random_seed().expect("the system has entropy"))
}

fn race_in_threads(name: &str, start: fn(&Path) -> Result<KeyFile, KeyFileError>) -> Tally {
    let (scratch, mut tally) = (Scratch::new(), Tally::default());
    for round in 0..rounds(100) {
        let path = scratch.path(&format!("{round}.seed"));
        let gate = Arc::new(Barrier::new(STARTERS));
        let starters = [(); STARTERS].map(|()| {
            let (path, gate) = (path.clone(), Arc::clone(&gate));
            thread::spawn(move || {
                gate.wait();
                start(&path)
            })
        });
        // Opened files stay open, so that a winner still holds the lock when the next starter
        // comes.
        let started = starters.map(|starter| starter.join().expect("no starter panics"));
        let identity = |file: &KeyFile| file.identity().id();
        let outcome = |result: &Result<_, KeyFileError>| {
            result.as_ref().map(identity).map_err(ToString::to_string)
        };
        tally.add(&path, &started.iter().map(outcome).collect::<Vec<_>>());
    }
    tally.finish(name, &scratch);
    tally
}

#[test]
fn of_ten_threads_one_has_an_identity_and_that_is_in_the_file() {
    let tally = race_in_threads("threads, as in the public example", open_or_create);
    tally.assert_one_identity();
    assert_eq!(tally.winners, tally.rounds, "one in each round");
}

#[test]
fn of_ten_threads_that_ask_first_one_has_an_identity_and_that_is_in_the_file() {
    let tally = race_in_threads("threads, asking first", open_or_ask_and_create);
    tally.assert_one_identity();
    assert_eq!(tally.winners, tally.rounds, "one in each round");
}

#[cfg(target_os = "linux")]
mod namespaces {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::kit::{self, Scratch};
    use super::{STARTERS, Started, Tally, rounds};

    /// Starters in separate process namespaces have the same process number, like those of
    /// containers on one volume.
    #[test]
    fn of_ten_processes_with_one_number_all_that_succeed_have_the_identity_in_the_file() {
        let Some(unshare) = process_namespace() else { return };
        let (scratch, mut tally) = (Scratch::new(), Tally::default());
        for round in 0..rounds(10) {
            let path = scratch.path(&format!("{round}.seed"));
            let mut starters = [(); STARTERS].map(|()| waiting(unshare, &path));
            for starter in &mut starters {
                // All start within the time of ten writes to a pipe.
                let mut gate = starter.stdin.take().expect("it is piped");
                gate.write_all(b"go\n").expect("the shell reads");
            }
            tally.add(&path, &starters.map(ended));
        }
        tally.finish("processes, `nodenet id`", &scratch);
        tally.assert_one_identity();
    }

    /// Arguments of `unshare` that make a process namespace here, if there are any. Unprivileged
    /// first.
    fn process_namespace() -> Option<&'static [&'static str]> {
        const WAYS: [&[&str]; 2] = [
            &["--user", "--map-root-user", "--pid", "--fork", "--kill-child"],
            &["--pid", "--fork", "--kill-child"],
        ];
        let works = |way: &&&[&str]| {
            let shown = Command::new("unshare").args(**way).args(["sh", "-c", "echo $$"]).output();
            shown.is_ok_and(|output| output.stdout == b"1\n")
        };
        let way = WAYS.iter().find(works).copied();
        if way.is_none() {
            let skip = "SKIPPED: no process namespace can be made here; allow unprivileged user \
                        namespaces, or run the test as root, with unshare of util-linux";
            assert!(std::env::var_os("CI_STRICT").is_none_or(|strict| strict != "1"), "{skip}");
            // Not captured, as `println!` would be in a test that passes.
            writeln!(std::io::stderr(), "{skip}").expect("there is a standard error");
        }
        way
    }

    /// The program in a namespace of its own. It starts when its input gets a line.
    fn waiting(unshare: &[&str], path: &Path) -> Child {
        Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", "read -r go && exec \"$0\" id --pow 0 --seed \"$1\""])
            .args([env!("CARGO_BIN_EXE_nodenet").as_ref(), path])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare worked before")
    }

    fn ended(mut starter: Child) -> Started {
        kit::wait(&mut starter, kit::PATIENCE);
        let output = starter.wait_with_output().expect("the child is ours");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        let (shown, message_text) = (text(output.stdout), text(output.stderr));
        match output.status.code() {
            Some(0) => Ok(shown.trim_end().parse().expect("an identity, and nothing else")),
            status => {
                assert_eq!((status, shown.as_str()), (Some(1), ""), "{message_text}");
                Err(message_text)
            }
        }
    }
}
