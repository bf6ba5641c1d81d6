//! Benchmark suite: `cargo bench -p nodenet-benches`, or only some with `-- <part of a name>`.
//!
//! Ends with status 1 if a limit is exceeded.

use std::process::ExitCode;

use nodenet_benches::{Row, heading};

mod codecs;
mod decide;
mod edges;
mod envelope;
mod handshake;
mod minting;
mod transit;

/// A part of the suite.
type Part = (&'static str, fn() -> Vec<Row>);

const PARTS: &[Part] = &[
    ("codecs", codecs::rows),
    ("envelope", envelope::rows),
    ("decide", decide::rows),
    ("minting", minting::rows),
    ("transit", transit::rows),
    ("handshake", handshake::rows),
    ("memory", edges::memory),
    ("idle", edges::idle),
];

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let mut broken = 0;
    println!("{}", heading());
    for (_, rows) in PARTS.iter().filter(|(name, _)| is_wanted(name)) {
        for row in rows() {
            println!("{row}");
            broken += usize::from(!row.is_within_limit());
        }
    }
    if broken == 0 {
        return ExitCode::SUCCESS;
    }
    println!("{broken} limits broken");
    ExitCode::FAILURE
}
