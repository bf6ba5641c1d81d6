//! Bounded queue of lines between tasks, which must not wait, and the thread that writes.
//!
//! Responsible for: the order of lines, and the count of those that did not fit. Never: a
//! descriptor.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The lines that wait for one output.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
    /// Makes the line with the number of missed ones.
    missed_text: fn(u64) -> String,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of these, and of the line that is being written.
    bytes: usize,
    /// Lines that did not fit since the last such line.
    unreported: u64,
    /// Lines that did not fit since the start.
    missed: u64,
    /// The error for which the output takes nothing, if there is one.
    problem: Option<String>,
    /// No line comes any more, and lines that can not be written now are discarded.
    ending: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, missed_text: fn(u64) -> String) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), bytes_max, missed_text }
    }

    /// Appends a line, or counts it if there is no room. Never waits for the output.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if self.has_room(&state, line.len()) {
            self.append(&mut state, line);
        } else {
            state.miss();
        }
    }

    /// The same for a line that is costly to make: it is made only if there seems to be room.
    pub(super) fn push_with(&self, make: impl FnOnce() -> Vec<u8>) {
        let mut state = self.lock();
        if self.has_room(&state, 0) {
            drop(state);
            self.push(make());
        } else {
            state.miss();
        }
    }

    /// Appends the last line, also without room, because the reader waits for it.
    pub(super) fn push_last(&self, line: Vec<u8>) {
        self.append(&mut self.lock(), line);
    }

    /// Appends a drawing that the next one replaces. Without room it is left out and not counted.
    #[cfg(unix)]
    pub(super) fn push_transient(&self, bytes: Vec<u8>) {
        let mut state = self.lock();
        if self.has_room(&state, bytes.len()) {
            self.append(&mut state, bytes);
        }
    }

    /// Waits for the next line to write; none at the end. [`Queue::wrote`] follows.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                return Some(line);
            }
            if let Some(line) = self.missed_line(&mut state) {
                state.bytes += line.len();
                return Some(line);
            }
            if state.ending {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A line of this length was written.
    pub(super) fn wrote(&self, len: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(len);
        state.problem = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Discards the lines that wait: they can not be written.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        let missed = state.missed;
        *state = State { ending: true, missed, ..State::default() };
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for `span`, or until the end begins.
    pub(super) fn pause(&self, span: Duration) {
        let state = self.lock();
        if state.ending {
            drop(state);
            std::thread::sleep(span);
        } else {
            let pause = self.changed.wait_timeout_while(state, span, |state| !state.ending);
            drop(pause);
        }
    }

    /// Notes the error for which the output takes nothing.
    pub(super) fn note_problem(&self, problem: String) {
        self.lock().problem = Some(problem);
    }

    /// The error for which the output takes nothing, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// Lines that did not fit, since the start.
    pub(super) fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// Begins the end.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.changed.notify_all();
    }

    pub(super) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Waits until everything is written, for `span` at most.
    pub(super) fn wait_written(&self, span: Duration) {
        let is_waiting = |state: &mut State| state.bytes > 0 || state.unreported > 0;
        let waited = self.changed.wait_timeout_while(self.lock(), span, is_waiting);
        drop(waited);
    }

    /// Whether a line of this length fits. Any line fits into an empty queue. After a miss half of
    /// the room must be free first: otherwise every second line for a slow reader would report
    /// missed ones.
    fn has_room(&self, state: &State, len: usize) -> bool {
        let bytes_max = if state.unreported == 0 { self.bytes_max } else { self.bytes_max / 2 };
        state.bytes == 0 || state.bytes + len < bytes_max
    }

    fn append(&self, state: &mut State, line: Vec<u8>) {
        // The gap is reported where it is.
        let missed = self.missed_line(state);
        for line in missed.into_iter().chain([line]) {
            state.bytes += line.len();
            state.lines.push_back(line);
        }
        self.changed.notify_all();
    }

    fn missed_line(&self, state: &mut State) -> Option<Vec<u8>> {
        let missed = std::mem::take(&mut state.unreported);
        (missed > 0).then(|| ((self.missed_text)(missed) + "\n").into_bytes())
    }

    /// No invariant spans two steps, so what a thread that panicked leaves behind can be used.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn miss(&mut self) {
        self.unreported += 1;
        self.missed += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Queue;

    fn queue() -> Queue {
        Queue::new(100, |missed| format!("missed {missed}"))
    }

    /// Takes the next line, as if it were written at once.
    fn write(queue: &Queue) -> String {
        let line = queue.next().expect("it has not ended");
        queue.wrote(line.len());
        String::from_utf8(line).expect("lines are text")
    }

    fn fill(queue: &Queue) {
        for _ in 0..9 {
            queue.push(b"123456789\n".to_vec());
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_and_reported_where_they_are_missing() {
        let queue = queue();
        fill(&queue);
        for _ in 0..3 {
            queue.push(b"does not fit\n".to_vec());
        }
        queue.push_with(|| b"neither does this\n".to_vec());
        assert_eq!(queue.missed(), 4);
        for _ in 0..9 {
            assert_eq!(write(&queue), "123456789\n");
        }
        queue.push(b"fits again\n".to_vec());
        assert_eq!(write(&queue), "missed 4\n");
        assert_eq!(write(&queue), "fits again\n");
        assert_eq!(queue.missed(), 4, "all since the start");
    }

    #[test]
    fn missed_lines_are_reported_even_if_no_line_follows() {
        let queue = queue();
        fill(&queue);
        queue.push(vec![b'x'; 50]);
        for _ in 0..9 {
            write(&queue);
        }
        assert_eq!(write(&queue), "missed 1\n");
    }

    #[test]
    fn a_slow_reader_does_not_get_a_report_for_each_missed_line() {
        let queue = queue();
        fill(&queue);
        queue.push(b"123456789\n".to_vec());
        for _ in 0..4 {
            write(&queue);
            queue.push(b"too early\n".to_vec());
        }
        assert_eq!(queue.missed(), 5);
        write(&queue);
        write(&queue);
        queue.push(b"half free\n".to_vec());
        assert_eq!(queue.missed(), 5);
    }

    #[test]
    fn any_line_fits_into_an_empty_queue_and_the_last_one_always() {
        let queue = queue();
        queue.push(vec![b'x'; 1_000]);
        queue.push(b"no room\n".to_vec());
        queue.push_last(b"last\n".to_vec());
        queue.end();
        assert_eq!(write(&queue).len(), 1_000);
        assert_eq!(write(&queue), "missed 1\n");
        assert_eq!(write(&queue), "last\n");
        assert_eq!(queue.next(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_drawing_that_the_next_one_replaces_is_not_counted() {
        let queue = queue();
        fill(&queue);
        queue.push_transient(vec![b'x'; 50]);
        assert_eq!(queue.missed(), 0);
    }

    #[test]
    fn the_wait_for_a_stalled_output_is_bounded() {
        let queue = queue();
        queue.push(b"it is not taken\n".to_vec());
        queue.wait_written(Duration::from_millis(1));
        queue.end();
        queue.give_up();
        queue.wait_written(Duration::from_secs(3_600));
        assert_eq!(queue.next(), None);
    }
}
