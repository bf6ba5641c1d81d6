//! Failure of a packet run: what does not hold, the last steps, and the command that replays it.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::report::failure::{PROGRAM, file_name};
use crate::scenario::packet::PacketScenario;
use crate::world::packet::{PACKET_HEADINGS, PacketJournal};

/// What became of a message that did not arrive, as far as its originator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFate {
    /// Its node refused to send it.
    Refused,
    /// Its node has not said yet.
    Waiting,
    /// It left, and was lost.
    Lost,
}

/// What a run failed of. Two runs with the same kind fail in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The scenario is not consistent.
    Invalid,
    /// A node panicked; the text without numbers.
    Panicked(String),
    /// An invariant does not hold; the text without numbers.
    Violated {
        /// The host.
        host: String,
        /// The invariant.
        what: String,
    },
    /// A message did not arrive.
    NotDelivered {
        /// The host that sent it.
        from: String,
        /// The target.
        to: String,
        /// What became of it.
        fate: MessageFate,
    },
    /// A message arrived twice.
    DeliveredTwice {
        /// The host that sent it.
        from: String,
        /// The target.
        to: String,
    },
    /// An edge that a message is to cross is missing.
    PathMissing {
        /// The end that is nearer to the originator.
        from: String,
        /// The other end.
        to: String,
    },
    /// There is an edge that should not be, or none where one should be.
    EdgeDiffers {
        /// One end.
        from: String,
        /// The other.
        to: String,
        /// Whether there should be one.
        expected: bool,
    },
    /// A host has too few edges.
    EdgesMissing {
        /// The host.
        host: String,
    },
}

/// A packet run that failed.
///
/// Its text has everything for a replay: the command, and the scenario unless it was written to a
/// file.
#[derive(Debug, Clone)]
pub struct PacketFailure {
    /// What it failed of.
    pub kind: FailureKind,
    /// The same as a text.
    pub what: String,
    /// The number of the step that failed, counted from 1; none before the first.
    pub step: Option<usize>,
    /// Time of the failure.
    pub at: Moment,
    /// Events until then.
    pub events: u64,
    /// The last of them.
    pub journal: PacketJournal,
    /// Names of the hosts in the journal, by their number.
    pub names: Vec<String>,
    /// The run.
    pub scenario: PacketScenario,
    /// The file of the scenario, if it was written.
    pub file: Option<PathBuf>,
}

impl PacketFailure {
    /// A failure before the world began.
    pub(super) fn before(scenario: PacketScenario, kind: FailureKind, what: String) -> Self {
        Self {
            kind,
            what,
            step: None,
            at: Moment::START,
            events: 0,
            journal: PacketJournal::default(),
            names: Vec::new(),
            scenario,
            file: None,
        }
    }

    /// Writes the scenario to a file in `dir`, which is created if it is missing. The file is named
    /// after the scenario and its seed, and replaces an older one of that name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&mut self, dir: &Path) -> io::Result<&Path> {
        std::fs::create_dir_all(dir)?;
        let file = dir.join(file_name(&self.scenario.name, self.scenario.seed));
        std::fs::write(&file, self.scenario.to_toml())?;
        Ok(self.file.insert(file))
    }
}

impl fmt::Display for PacketFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FAIL {}", self.what)?;
        let PacketScenario { name, seed, .. } = &self.scenario;
        let step = self.step.map_or_else(|| "-".to_owned(), |step| step.to_string());
        writeln!(f, "  scenario {name}   seed {seed}   step {step}   t={}s", self.at)?;
        writeln!(f, "  {PACKET_HEADINGS}")?;
        let mut shown = Vec::new();
        for step in self.journal.steps() {
            writeln!(f, "  {step}")?;
            shown.extend(step.host);
        }
        shown.sort_unstable();
        shown.dedup();
        for host in shown {
            if let Some(name) = self.names.get(host.index()) {
                writeln!(f, "  {host} is {name}")?;
            }
        }
        match &self.file {
            Some(file) => {
                writeln!(f, "  replay  {PROGRAM} replay {}", file.display())?;
                write!(f, "  reduce  {PROGRAM} shrink {}", file.display())
            }
            None => {
                let file = file_name(name, *seed);
                writeln!(
                    f,
                    "  replay  save what follows as {file} in a checkout of nodenet and run"
                )?;
                writeln!(f, "          {PROGRAM} replay {file}\n")?;
                f.write_str(&self.scenario.to_toml())
            }
        }
    }
}

impl std::error::Error for PacketFailure {}
