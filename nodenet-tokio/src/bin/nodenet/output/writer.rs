//! Writer of whole lines to descriptors that may be full, slow, non-blocking or closed.
//!
//! Responsible for: that a line, once begun, is continued where it stopped, however long that
//! takes. Never: the queue behind it.

use std::io;
use std::time::Duration;

/// Time before a refused write is tried again; it doubles each time (guess).
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause while a non-blocking output is full: its reader exists, and may be slow (guess).
const FULL_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Longest pause after an error. A full disk may have room again, and a FIFO another reader. An
/// output that never works again costs one call a second (guess).
const BROKEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Target of lines.
pub(super) trait Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether the file was truncated below the end of the last write, so that the beginning of a
    /// line is lost. The next write goes to the new end.
    fn was_truncated(&mut self) -> bool;
}

/// Retry policy for an output that takes nothing.
pub(super) trait RetryPolicy {
    /// Waits for about `span`, and returns whether to try again.
    fn wait(&mut self, error: &io::Error, span: Duration) -> bool;
}

/// Writes a line whole.
///
/// # Errors
/// If the policy ends the tries. The line may be cut then.
pub(super) fn write_whole(
    sink: &mut impl Sink,
    line: &[u8],
    policy: &mut impl RetryPolicy,
) -> io::Result<()> {
    let (mut rest, mut pause) = (line, FIRST_PAUSE);
    while !rest.is_empty() {
        if sink.was_truncated() {
            rest = line;
        }
        let error = match sink.write(rest) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(len) => {
                (rest, pause) = (&rest[len..], FIRST_PAUSE);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        if !policy.wait(&error, pause) {
            return Err(error);
        }
        pause = (pause * 2).min(pause_max(&error));
    }
    Ok(())
}

fn pause_max(error: &io::Error) -> Duration {
    if is_full(error) { FULL_PAUSE_MAX } else { BROKEN_PAUSE_MAX }
}

/// Whether a non-blocking output is just full.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{self, ErrorKind};
    use std::time::Duration;

    use super::{RetryPolicy, Sink, write_whole};

    /// An output that follows a script, and then takes everything.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<Step>,
        written: Vec<u8>,
        truncated: bool,
    }

    enum Step {
        Take(usize),
        Fail(ErrorKind),
        /// Fails as a full file does, which is truncated then.
        Truncate,
    }

    impl Sink for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = match self.steps.pop_front() {
                None => bytes.len(),
                Some(Step::Take(len)) => len,
                Some(Step::Fail(kind)) => return Err(kind.into()),
                Some(Step::Truncate) => {
                    self.written.clear();
                    self.truncated = true;
                    return Err(ErrorKind::StorageFull.into());
                }
            };
            self.written.extend(&bytes[..len]);
            Ok(len)
        }

        fn was_truncated(&mut self) -> bool {
            std::mem::take(&mut self.truncated)
        }
    }

    /// Tries this many times, and records the pauses.
    struct Times(usize, Vec<Duration>);

    impl RetryPolicy for Times {
        fn wait(&mut self, _error: &io::Error, span: Duration) -> bool {
            self.1.push(span);
            self.1.len() <= self.0
        }
    }

    fn write(steps: Vec<Step>, times: usize) -> (io::Result<()>, String, Vec<Duration>) {
        let mut script = Script { steps: steps.into(), ..Script::default() };
        let mut policy = Times(times, Vec::new());
        let ended = write_whole(&mut script, b"a whole line\n", &mut policy);
        (ended, String::from_utf8(script.written).expect("it is text"), policy.1)
    }

    #[test]
    fn a_line_is_continued_where_it_stopped() {
        use Step::{Fail, Take};
        let steps = vec![
            Fail(ErrorKind::WouldBlock),
            Take(3),
            Fail(ErrorKind::Interrupted),
            Take(1),
            Fail(ErrorKind::StorageFull),
            Take(0),
            Take(2),
            Fail(ErrorKind::BrokenPipe),
        ];
        let (ended, written, pauses) = write(steps, 100);
        assert!(ended.is_ok());
        assert_eq!(written, "a whole line\n");
        assert_eq!(pauses.len(), 4, "there is no pause after an interruption");
    }

    #[test]
    fn a_line_whose_beginning_was_truncated_begins_anew() {
        let (ended, written, _) = write(vec![Step::Take(5), Step::Truncate], 100);
        assert!(ended.is_ok());
        assert_eq!(written, "a whole line\n");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_the_tries_end() {
        for (kind, longest_ms) in [(ErrorKind::WouldBlock, 100), (ErrorKind::BrokenPipe, 1_000)] {
            let steps = (0..30).map(|_| Step::Fail(kind)).collect();
            let (ended, written, pauses) = write(steps, 20);
            assert_eq!(ended.expect_err("the tries ended").kind(), kind);
            assert_eq!((written.as_str(), pauses.len()), ("", 21));
            assert_eq!(pauses[0], Duration::from_millis(1));
            assert_eq!(pauses[20], Duration::from_millis(longest_ms));
        }
    }
}
