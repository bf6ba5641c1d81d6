//! Journal of the last steps of a run, printed on failure.

use core::fmt;
use std::collections::VecDeque;

use crate::clock::Moment;
use crate::world::Host;

/// Steps that are kept (SIMULATOR.md#when-a-run-fails).
const STEPS_MAX: usize = 20;

/// Kind of a step. The discriminant enters the trace hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A host started.
    Join = 1,
    /// A host crashed.
    Crash = 2,
    /// A host closed down.
    Left = 3,
    /// The application gave a command.
    Command = 4,
    /// A timer fired.
    Timeout = 5,
    /// A frame arrived.
    Frame = 6,
    /// A conn came up.
    ConnUp = 7,
    /// A conn is gone.
    ConnDown = 8,
    /// A dial failed.
    DialFailed = 9,
    /// A conn takes frames again.
    Writable = 10,
    /// The network was split.
    Partition = 11,
    /// The network was joined again.
    Heal = 12,
    /// The application got an event.
    Event = 13,
    /// The peer of a conn sends from another address.
    PathChanged = 14,
    /// A splice is over.
    SpliceOver = 15,
    /// A punch arrived.
    Punched = 16,
    /// A splice is open.
    SpliceOpened = 17,
}

impl StepKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 17] = [
        Self::Join,
        Self::Crash,
        Self::Left,
        Self::Command,
        Self::Timeout,
        Self::Frame,
        Self::ConnUp,
        Self::ConnDown,
        Self::DialFailed,
        Self::Writable,
        Self::Partition,
        Self::Heal,
        Self::Event,
        Self::PathChanged,
        Self::SpliceOver,
        Self::Punched,
        Self::SpliceOpened,
    ];

    /// A name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Crash => "crash",
            Self::Left => "left",
            Self::Command => "command",
            Self::Timeout => "timeout",
            Self::Frame => "frame",
            Self::ConnUp => "conn_up",
            Self::ConnDown => "conn_down",
            Self::DialFailed => "dial_failed",
            Self::Writable => "writable",
            Self::Partition => "partition",
            Self::Heal => "heal",
            Self::Event => "event",
            Self::PathChanged => "path_changed",
            Self::SpliceOver => "splice_over",
            Self::Punched => "punched",
            Self::SpliceOpened => "splice_opened",
        }
    }
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Time of the step.
    pub at: Moment,
    /// The host that took it.
    pub host: Host,
    /// Its kind.
    pub kind: StepKind,
    /// Its detail: the type byte of a frame, else zero.
    pub tag: u8,
    /// Bytes that came with it.
    pub bytes: u32,
    /// Its conn, as a number that the host counts up.
    pub conn: Option<u32>,
}

/// Formatted in fixed columns; [`HEADINGS`] names them.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conn = self.conn.map_or_else(|| "-".to_owned(), |conn| format!("c{conn}"));
        let kind = format!("{:?}", self.kind);
        write!(f, "{:>12} {} {kind:<10} {conn:>7} {:>7}", self.at, self.host, self.bytes)?;
        if self.kind == StepKind::Frame { write!(f, "  type={}", self.tag) } else { Ok(()) }
    }
}

/// Names of the columns of a [`Step`].
pub const HEADINGS: &str = "           t   node event         conn   bytes  detail";

/// The last steps.
#[derive(Debug, Clone, Default)]
pub struct Journal(VecDeque<Step>);

impl Journal {
    pub(crate) fn push(&mut self, step: Step) {
        if self.0.len() == STEPS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(step);
    }

    /// The steps, oldest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.iter()
    }
}
