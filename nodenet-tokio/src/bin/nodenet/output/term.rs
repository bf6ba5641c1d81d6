//! Terminals: harmless text, and progress bars drawn through the queue of standard error.

use indicatif::ProgressDrawTarget;

use super::Output;

/// `text` with a replacement for each control character, so that text from the network does not
/// control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The target of progress bars: hidden unless standard error is a terminal.
#[cfg(unix)]
pub(crate) fn draw_target(err: &Output) -> ProgressDrawTarget {
    unix::draw_target(err)
}

/// The same. A console that is not read blocks the thread that draws.
#[cfg(not(unix))]
pub(crate) fn draw_target(_err: &Output) -> ProgressDrawTarget {
    ProgressDrawTarget::stderr()
}

#[cfg(unix)]
mod unix {
    use std::fmt::{self, Write};
    use std::io::{self, IsTerminal};
    use std::sync::{Mutex, PoisonError};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::Output;

    /// Drawings a second (as in indicatif for its own terminals).
    const DRAWINGS_PER_S: u8 = 20;

    pub(super) fn draw_target(err: &Output) -> ProgressDrawTarget {
        if !io::stderr().is_terminal() {
            return ProgressDrawTarget::hidden();
        }
        let terminal = Terminal { err: err.clone(), drawing: Mutex::default() };
        ProgressDrawTarget::term_like_with_hz(Box::new(terminal), DRAWINGS_PER_S)
    }

    /// A terminal that gets whole drawings, and misses one if it is too slow.
    struct Terminal {
        err: Output,
        drawing: Mutex<String>,
    }

    impl Terminal {
        fn draw(&self, part: fmt::Arguments<'_>) -> io::Result<()> {
            let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
            drawing.write_fmt(part).map_err(io::Error::other)
        }

        /// Moves the cursor (ECMA-48, CUU to CUB; a missing count means one).
        fn move_cursor(&self, count: usize, direction: char) -> io::Result<()> {
            if count == 0 { Ok(()) } else { self.draw(format_args!("\x1b[{count}{direction}")) }
        }
    }

    impl fmt::Debug for Terminal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Terminal").finish_non_exhaustive()
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            console::Term::stderr().size().1
        }

        fn height(&self) -> u16 {
            console::Term::stderr().size().0
        }

        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.move_cursor(n, 'A')
        }

        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.move_cursor(n, 'B')
        }

        fn move_cursor_right(&self, n: usize) -> io::Result<()> {
            self.move_cursor(n, 'C')
        }

        fn move_cursor_left(&self, n: usize) -> io::Result<()> {
            self.move_cursor(n, 'D')
        }

        fn write_line(&self, s: &str) -> io::Result<()> {
            self.draw(format_args!("{s}\n"))
        }

        fn write_str(&self, s: &str) -> io::Result<()> {
            self.draw(format_args!("{s}"))
        }

        fn clear_line(&self) -> io::Result<()> {
            self.draw(format_args!("\r\x1b[2K"))
        }

        fn flush(&self) -> io::Result<()> {
            let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
            if !drawing.is_empty() {
                self.err.0.push_transient(std::mem::take(&mut *drawing).into_bytes());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn text_from_the_network_does_not_control_the_terminal() {
        assert_eq!(printable("a\x1b[2J\rb"), "a\u{fffd}[2J\u{fffd}b");
    }
}
