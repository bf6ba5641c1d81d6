//! Failure of a run: what does not hold, the last steps, and the command that replays it.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Report;
use crate::clock::Moment;
use crate::scenario::Scenario;
use crate::world::{HEADINGS, Journal};

/// Command that runs the program in a checkout of this repository, without arguments.
pub const PROGRAM: &str = "cargo run --release -p nodenet-sim --";

/// A run that failed.
///
/// Its text has everything for a replay: the command, and the scenario unless it was written to a
/// file.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The violated expectation or invariant.
    pub what: String,
    /// Time of the failure.
    pub at: Moment,
    /// Steps taken until then.
    pub step: u64,
    /// The last steps.
    pub journal: Journal,
    /// The run.
    pub scenario: Scenario,
    /// The file of the scenario, if it was written.
    pub file: Option<PathBuf>,
    /// Results until then, unless a machine panicked.
    pub report: Option<Report>,
}

impl Failure {
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

/// A name of a scenario may have any characters. A file name must stay in its folder and be usable
/// on a command line.
pub(crate) fn file_name(scenario: &str, seed: u64) -> String {
    let strange = |letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter);
    format!("{}-{seed}.toml", scenario.replace(strange, "-"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FAIL {}", self.what)?;
        let Scenario { name, seed, .. } = &self.scenario;
        writeln!(f, "  scenario {name}   seed {seed}   step {}   t={}s", self.step, self.at)?;
        writeln!(f, "  {HEADINGS}")?;
        for step in self.journal.steps() {
            writeln!(f, "  {step}")?;
        }
        match &self.file {
            Some(file) => write!(f, "  replay  {PROGRAM} replay {}", file.display()),
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

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_file_stays_in_its_folder_for_any_name_of_the_scenario() {
        assert_eq!(file_name("scale-50-loss0.5", 3), "scale-50-loss0.5-3.toml");
        assert_eq!(file_name("../half & half", 3), "..-half---half-3.toml");
    }
}
