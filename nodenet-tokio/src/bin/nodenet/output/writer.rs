//! Writer of whole lines to descriptors that may be full, slow, non-blocking or gone.
//!
//! Responsible for: that a line, once begun, is continued where it stopped, however long that
//! takes. Never: what waits behind it.

use std::io;
use std::time::Duration;

/// Time before something that was refused is tried again; doubled each time (guess).
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest one while a non-blocking output is full: its reader is there, and may be slow (guess).
const FULL_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Longest one after an error. A full disk may have room again, and a FIFO another reader. One that
/// never works again costs one call a second (guess).
const BROKEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) trait Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether the file was truncated below the place that the last write came to, so that the
    /// beginning of a line is gone. The next write goes to its end.
    fn was_truncated(&mut self) -> bool;
}

/// What to do about an output that takes nothing.
pub(super) trait Patience {
    /// Waits for about `span`, and says whether to go on.
    fn wait(&mut self, error: &io::Error, span: Duration) -> bool;
}

/// Writes a line whole.
///
/// # Errors
/// If the patience ended. The line may be cut then.
pub(super) fn write_whole(
    sink: &mut impl Sink,
    line: &[u8],
    patience: &mut impl Patience,
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
        if !patience.wait(&error, pause) {
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

    use super::{Patience, Sink, write_whole};

    /// An output that does what was written down for it, and then takes everything.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<Step>,
        written: Vec<u8>,
        truncated: bool,
    }

    enum Step {
        Take(usize),
        Fail(ErrorKind),
        /// Fails because it is full, and is emptied then.
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

    /// Goes on so many times, and remembers how long it was to wait.
    struct Times(usize, Vec<Duration>);

    impl Patience for Times {
        fn wait(&mut self, _error: &io::Error, span: Duration) -> bool {
            self.1.push(span);
            self.1.len() <= self.0
        }
    }

    fn write(steps: Vec<Step>, times: usize) -> (io::Result<()>, String, Vec<Duration>) {
        let mut script = Script { steps: steps.into(), ..Script::default() };
        let mut patience = Times(times, Vec::new());
        let ended = write_whole(&mut script, b"a whole line\n", &mut patience);
        (ended, String::from_utf8(script.written).expect("it is text"), patience.1)
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
        assert_eq!(pauses.len(), 4, "an interruption is no reason to wait");
    }

    #[test]
    fn a_line_whose_beginning_was_truncated_begins_anew() {
        let (ended, written, _) = write(vec![Step::Take(5), Step::Truncate], 100);
        assert!(ended.is_ok());
        assert_eq!(written, "a whole line\n");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_patience_ends() {
        for (kind, longest_ms) in [(ErrorKind::WouldBlock, 100), (ErrorKind::BrokenPipe, 1_000)] {
            let steps = (0..30).map(|_| Step::Fail(kind)).collect();
            let (ended, written, pauses) = write(steps, 20);
            assert_eq!(ended.expect_err("patience ended").kind(), kind);
            assert_eq!((written.as_str(), pauses.len()), ("", 21));
            assert_eq!(pauses[0], Duration::from_millis(1));
            assert_eq!(pauses[20], Duration::from_millis(longest_ms));
        }
    }
}
