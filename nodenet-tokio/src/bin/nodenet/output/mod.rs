//! Standard output and standard error, each with a bounded queue of lines and a thread that writes
//! it.
//!
//! Responsible for: that no state of an output ends the program, delays a task or cuts a line.
//! Lines that do not fit are counted and reported as missed. Never: the content of a line.

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
use writer::{RetryPolicy, is_full, write_whole};

/// Bytes of lines that wait for standard output (guess: seven messages of the largest size).
const OUT_BYTES_MAX: usize = 1 << 20;
/// Bytes of lines that wait for standard error (guess: two thousand lines).
const ERR_BYTES_MAX: usize = 1 << 18;
/// Longest wait at the end for both outputs to be written (guess: an active reader needs
/// milliseconds, and a stalled one must not delay the end).
const END_BOUND: Duration = Duration::from_millis(300);
/// Longest wait for the message of a panic on standard error, which may be the last (guess).
const PANIC_BOUND: Duration = Duration::from_millis(100);

/// Both outputs. Dropping this waits a moment for their queues to be written.
pub(crate) struct Outputs {
    pub(crate) out: Output,
    pub(crate) err: Output,
}

impl Outputs {
    /// Starts the threads. `missed_line` makes the line on standard output with the number of
    /// missed ones.
    pub(crate) fn start(missed_line: fn(u64) -> String) -> io::Result<Self> {
        let out = Output(Arc::new(Queue::new(OUT_BYTES_MAX, missed_line)));
        let err = Output(Arc::new(Queue::new(ERR_BYTES_MAX, missed_of_log)));
        let (to_out, to_err) = (Descriptor::stdout()?, Descriptor::stderr()?);
        let turn = Turn::default();
        // Two threads that write to one file would mix up their lines there.
        let other = if to_out.is_same_place(&to_err) { turn.clone() } else { Turn::default() };
        out.spawn_writer("stdout", to_out, turn)?;
        err.spawn_writer("stderr", to_err, other)?;
        Ok(Self { out, err })
    }

    /// Writes the result of a command to standard output, after the lines on standard error. Waits
    /// for a reader, if there is one. A future that is dropped leaves a thread behind, which ends
    /// with the process.
    ///
    /// # Errors
    /// If standard output does not take it; there is no second try.
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
    /// Queues a line, or counts it as missed. Never waits.
    pub(crate) fn print(&self, line: impl Display) {
        self.0.push(whole(line));
    }

    /// The same for a line that is costly to make: `make` is called only if there seems to be room.
    pub(crate) fn print_with<L: Display>(&self, make: impl FnOnce() -> L) {
        self.0.push_with(|| whole(make()));
    }

    /// Queues the last line, for which there is always room.
    pub(crate) fn print_last(&self, line: impl Display) {
        self.0.push_last(whole(line));
    }

    /// Lines that were missed, since the start.
    pub(crate) fn missed(&self) -> u64 {
        self.0.missed()
    }

    /// The error that keeps lines from being written, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn spawn_writer(&self, name: &str, mut to: Descriptor, turn: Turn) -> io::Result<()> {
        let queue = Arc::clone(&self.0);
        // This thread is never joined: it may be blocked as long as the process runs.
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

/// For the log, which writes whole lines.
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

/// Tries again after each error; at the end of the program only while the output is just full.
struct UntilTheEnd<'a>(&'a Queue);

impl RetryPolicy for UntilTheEnd<'_> {
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

/// Waits while the output is full; any other error is final.
struct WhileFull;

impl RetryPolicy for WhileFull {
    fn wait(&mut self, error: &io::Error, span: Duration) -> bool {
        thread::sleep(span);
        is_full(error)
    }
}

/// Reports panics through the queue: the default report would wait for standard error.
pub(crate) fn report_panics(err: Output) {
    std::panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        err.print(format_args!("thread '{}' {info}", thread.name().unwrap_or("without a name")));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            err.print(backtrace);
        }
        err.0.wait_written(PANIC_BOUND);
    }));
}

/// The line for people in place of lines on standard output that did not fit.
pub(crate) fn missed_text(count: u64) -> String {
    format!("({count} lines are missing here: they were not read, or could not be written)")
}

fn missed_of_log(count: u64) -> String {
    format!("nodenet: {count} lines are missing here: they were not read, or could not be written")
}

fn whole(line: impl Display) -> Vec<u8> {
    format!("{line}\n").into_bytes()
}
