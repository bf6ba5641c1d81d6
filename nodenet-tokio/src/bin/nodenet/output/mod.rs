//! Standard output and standard error, each with a bounded queue of lines and a thread that writes
//! it.
//!
//! Responsible for: that no output, whatever becomes of it, ends the program, keeps a task waiting
//! or gets half a line; lines that do not fit are counted, and told as missed. Never: what a line
//! says.

mod descriptor;
pub(crate) mod json;
pub(crate) mod log;
mod queue;
pub(crate) mod term;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::now;
use descriptor::Descriptor;
use queue::Queue;
use writer::{Patience, is_full, write_whole};

/// Bytes of lines that wait for standard output (guess: seven messages of the largest size).
const OUT_BYTES_MAX: usize = 1 << 20;
/// Bytes of lines that wait for standard error (guess: two thousand lines).
const ERR_BYTES_MAX: usize = 1 << 18;
/// At the end, longest wait for both outputs to take what was said (guess: a reader that runs needs
/// milliseconds; one that does not must not hold up the end).
const END_BOUND: Duration = Duration::from_millis(300);
/// Longest wait for standard error to take the message of a panic, which may be the last (guess).
const PANIC_BOUND: Duration = Duration::from_millis(100);

/// Both outputs. When this is dropped, they get a moment to take what was said.
pub(crate) struct Outputs {
    pub(crate) out: Output,
    pub(crate) err: Output,
}

impl Outputs {
    /// Starts the threads. `tell_missed` makes the line on standard output that says how many were
    /// missed.
    pub(crate) fn start(tell_missed: fn(u64) -> String) -> io::Result<Self> {
        let out = Output(Arc::new(Queue::new(OUT_BYTES_MAX, tell_missed)));
        let err = Output(Arc::new(Queue::new(ERR_BYTES_MAX, missed_of_log)));
        let (to_out, to_err) = (Descriptor::stdout()?, Descriptor::stderr()?);
        let turn = Turn::default();
        // Two threads that write to one place would mix up their lines there.
        let other = if to_out.is_same_place(&to_err) { turn.clone() } else { Turn::default() };
        out.spawn_writer("stdout", to_out, turn)?;
        err.spawn_writer("stderr", to_err, other)?;
        Ok(Self { out, err })
    }

    /// Writes the result of a command to standard output, after what was said on standard error.
    /// Waits for a reader, if there is one. A future that is dropped leaves a thread behind, which
    /// ends with the process.
    ///
    /// # Errors
    /// If standard output does not take it: this is not tried twice.
    pub(crate) async fn write_result(&self, result: String) -> io::Result<()> {
        let err = self.err.clone();
        let written = tokio::task::spawn_blocking(move || {
            err.0.wait_written(END_BOUND);
            write_whole(&mut Descriptor::stdout()?, result.as_bytes(), &mut WhileFull)
        });
        written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let give_up_at = now() + END_BOUND;
        for output in [&self.out, &self.err] {
            output.0.end();
        }
        for output in [&self.out, &self.err] {
            output.0.wait_written(give_up_at.saturating_duration_since(now()));
        }
    }
}

/// One output. Clones share its queue.
#[derive(Clone)]
pub(crate) struct Output(Arc<Queue>);

impl Output {
    /// Says a line, or counts it as missed. Never waits.
    pub(crate) fn say(&self, line: impl Display) {
        self.0.push(whole(line));
    }

    /// The same for a line that is costly to make: it is made only if there seems to be room.
    pub(crate) fn say_with<L: Display>(&self, make: impl FnOnce() -> L) {
        self.0.push_with(|| whole(make()));
    }

    /// Says the last line, for which there is always room.
    pub(crate) fn say_last(&self, line: impl Display) {
        self.0.push_last(whole(line));
    }

    /// Lines that were missed, since the start.
    pub(crate) fn missed(&self) -> u64 {
        self.0.missed()
    }

    /// Why nothing can be written, if that is so.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn spawn_writer(&self, name: &str, mut to: Descriptor, turn: Turn) -> io::Result<()> {
        let queue = Arc::clone(&self.0);
        // Nothing waits for this thread: it may be blocked for as long as the process lives.
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(line) = queue.next() {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                match write_whole(&mut to, &line, &mut UntilTheEnd(&queue)) {
                    Ok(()) => queue.wrote(line.len()),
                    Err(_) => return queue.give_up(),
                }
            }
        })?;
        Ok(())
    }
}

/// For the log, which comes in whole lines.
impl io::Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Held by the thread that writes a line.
type Turn = Arc<Mutex<()>>;

/// Tries on whatever happens, and at the end of the program only while the output is just full.
struct UntilTheEnd<'a>(&'a Queue);

impl Patience for UntilTheEnd<'_> {
    fn wait(&mut self, error: &io::Error, span: Duration) -> bool {
        if !is_full(error) {
            if self.0.is_ending() {
                return false;
            }
            self.0.note_problem(error.to_string());
        }
        self.0.pause(span);
        true
    }
}

/// Waits for a reader, and takes any error for final.
struct WhileFull;

impl Patience for WhileFull {
    fn wait(&mut self, error: &io::Error, span: Duration) -> bool {
        thread::sleep(span);
        is_full(error)
    }
}

/// Has panics reported like everything else on standard error: the usual report would wait for it.
pub(crate) fn report_panics(err: Output) {
    std::panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        err.say(format_args!("thread '{}' {info}", thread.name().unwrap_or("without a name")));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            err.say(backtrace);
        }
        err.0.wait_written(PANIC_BOUND);
    }));
}

/// What people read in place of lines on standard output that did not fit.
pub(crate) fn missed_text(count: u64) -> String {
    format!("({count} lines are missing here: they were not read, or could not be written)")
}

fn missed_of_log(count: u64) -> String {
    format!("nodenet: {count} lines are missing here: they were not read, or could not be written")
}

fn whole(line: impl Display) -> Vec<u8> {
    format!("{line}\n").into_bytes()
}
