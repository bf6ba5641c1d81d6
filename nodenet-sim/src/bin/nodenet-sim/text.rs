//! Texts in and out: files of scenarios and pages, standard output.

use std::io::{self, Write as _};
use std::path::Path;

/// Writes to standard output. A closed pipe is no error: `head` closes it early.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the figures cannot be written to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Reads the file of a scenario.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("the scenario {} cannot be read: {error}", file.display()))
}

pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text)
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))
}
