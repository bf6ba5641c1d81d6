//! A run that failed: what, where, and how to see it again.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::overlay::{HEADINGS, Trail};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::time::Moment;

/// A run that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What does not hold.
    pub what: String,
    /// When.
    pub at: Moment,
    /// Steps taken until then.
    pub step: u64,
    /// The last ones.
    pub trail: Trail,
    /// The run.
    pub scenario: Scenario,
    /// Where the scenario was written to, if it was.
    pub file: Option<PathBuf>,
    /// What it showed until then, unless a machine panicked.
    pub report: Option<Report>,
}

impl Failure {
    /// Writes the scenario to a file of its own in `dir`, which is made if need be.
    ///
    /// # Errors
    /// If the file can not be written.
    pub fn save(&mut self, dir: &Path) -> io::Result<&Path> {
        std::fs::create_dir_all(dir)?;
        let file = dir.join(format!("{}-{}.toml", self.scenario.name, self.scenario.seed));
        std::fs::write(&file, self.scenario.to_toml())?;
        Ok(self.file.insert(file))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FAIL {}", self.what)?;
        let Scenario { name, seed, .. } = &self.scenario;
        writeln!(f, "  scenario {name}   seed {seed}   step {}   t={}s", self.step, self.at)?;
        writeln!(f, "  {HEADINGS}")?;
        for step in self.trail.steps() {
            writeln!(f, "  {step}")?;
        }
        match &self.file {
            Some(file) => {
                let file = file.display();
                write!(f, "  replay  cargo run --release -p nodenet-sim -- replay {file}")
            }
            None => write!(
                f,
                "  replay  save this as FILE.toml and run nodenet-sim replay FILE.toml\n\n{}",
                self.scenario.to_toml()
            ),
        }
    }
}

impl std::error::Error for Failure {}
