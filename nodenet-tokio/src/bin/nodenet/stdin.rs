//! Lines from standard input.
//!
//! Responsible for: reading bytes of any encoding, and keeping no more of a line than a message may
//! have. Never: what a line means.

use std::io;
use std::time::Duration;

use nodenet_tokio::proto::wire::{DIRECT_PAYLOAD_MAX, SEND_PAYLOAD_MAX};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Bytes of a line, at most: one more than any message may have, so that sending it is the error.
const LINE_LEN_MAX: usize =
    if DIRECT_PAYLOAD_MAX > SEND_PAYLOAD_MAX { DIRECT_PAYLOAD_MAX } else { SEND_PAYLOAD_MAX } + 1;

/// Time between two reads of a non-blocking source (guess: too short to notice).
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line without its end. Bytes that are no UTF-8 are replaced.
    Line(String),
    /// A line that was too long to be kept, with at least this many bytes.
    TooLong(usize),
    /// The end of the source.
    End,
}

/// The lines of a source of bytes.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    /// Bytes of a line, at most.
    len_max: usize,
    /// The beginning of the current line.
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines that are messages.
    pub(crate) fn new(source: R) -> Self {
        Self::up_to(LINE_LEN_MAX, source)
    }

    /// Lines of at most this many bytes.
    pub(crate) fn up_to(len_max: usize, source: R) -> Self {
        Self { source, len_max, line: Vec::new() }
    }

    /// The next line. Cancel safe: the bytes that were read are kept.
    pub(crate) async fn next(&mut self) -> io::Result<Input> {
        loop {
            let bytes = match self.source.fill_buf().await {
                Ok(bytes) => bytes,
                // Another process that shares the terminal may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                // The last line may have no end.
                return Ok(if self.line.is_empty() { Input::End } else { self.take() });
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let room = self.len_max + 1 - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = piece.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                return Ok(self.take());
            }
        }
    }

    fn take(&mut self) -> Input {
        let line = std::mem::take(&mut self.line);
        match line.len() {
            len if len > self.len_max => Input::TooLong(len),
            _ => Input::Line(String::from_utf8_lossy(&line).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, LINE_LEN_MAX, Lines};

    async fn all(bytes: &[u8]) -> Vec<Input> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        loop {
            match lines.next().await.expect("memory can be read") {
                Input::End => return all,
                input => all.push(input),
            }
        }
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    #[tokio::test]
    async fn lines_end_with_a_newline_or_the_input() {
        assert_eq!(all(b"").await, []);
        assert_eq!(all(b"\n").await, [line("")]);
        assert_eq!(all(b"one\r\n\ntwo").await, [line("one\r"), line(""), line("two")]);
    }

    #[tokio::test]
    async fn bytes_of_another_encoding_are_no_reason_to_stop() {
        assert_eq!(all(b"caf\xe9\nnext\n").await, [line("caf\u{fffd}"), line("next")]);
    }

    #[tokio::test]
    async fn a_line_without_end_fills_no_memory() {
        let longest = "x".repeat(LINE_LEN_MAX);
        assert_eq!(all(longest.as_bytes()).await, [line(&longest)]);
        let longer = format!("{}\nnext\n", "x".repeat(10 * LINE_LEN_MAX));
        assert_eq!(all(longer.as_bytes()).await, [Input::TooLong(LINE_LEN_MAX + 1), line("next")]);
    }

    #[tokio::test]
    async fn bytes_that_were_read_before_a_cancellation_are_kept() {
        let (mut keyboard, terminal) = tokio::io::duplex(64);
        let mut lines = Lines::new(tokio::io::BufReader::new(terminal));
        for piece in ["hel", "lo"] {
            tokio::io::AsyncWriteExt::write_all(&mut keyboard, piece.as_bytes()).await.unwrap();
            let waiting = tokio::time::timeout(std::time::Duration::ZERO, lines.next()).await;
            assert!(waiting.is_err(), "the line is not at its end");
        }
        drop(keyboard);
        assert_eq!(lines.next().await.unwrap(), line("hello"));
    }
}
