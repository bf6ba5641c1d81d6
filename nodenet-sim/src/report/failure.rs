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
/// Its text has all that a replay needs: the command, and the scenario unless that was written to
/// a file.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What does not hold.
    pub what: String,
    /// When.
    pub at: Moment,
    /// Steps taken until then.
    pub step: u64,
    /// The last ones.
    pub journal: Journal,
    /// The run.
    pub scenario: Scenario,
    /// Where the scenario was written to, if it was.
    pub file: Option<PathBuf>,
    /// What it showed until then, unless a machine panicked.
    pub report: Option<Report>,
}

impl Failure {
    /// Writes the scenario to a file in `dir`, which is made if need be. The file is named after
    /// the scenario and its seed, and replaces an older one of that name.
    ///
    /// # Errors
    /// If the file can not be written.
    pub fn save(&mut self, dir: &Path) -> io::Result<&Path> {
        std::fs::create_dir_all(dir)?;
        let file = dir.join(self.file_name());
        std::fs::write(&file, self.scenario.to_toml())?;
        Ok(self.file.insert(file))
    }

    /// Scenarios may be called anything, but this is for one folder and for a command line.
    fn file_name(&self) -> String {
        let strange = |letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter);
        format!("{}-{}.toml", self.scenario.name.replace(strange, "-"), self.scenario.seed)
    }
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
                let file = self.file_name();
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
    use super::Failure;
    use crate::clock::Moment;
    use crate::scenario::Scenario;
    use crate::world::Journal;

    #[test]
    fn a_file_stays_in_its_folder_whatever_the_scenario_is_called() {
        let of = |name| Failure {
            what: String::new(),
            at: Moment::START,
            step: 0,
            journal: Journal::default(),
            scenario: Scenario::new(name, 3),
            file: None,
            report: None,
        };
        assert_eq!(of("scale-50-loss0.5").file_name(), "scale-50-loss0.5-3.toml");
        assert_eq!(of("../half & half").file_name(), "..-half---half-3.toml");
    }
}
