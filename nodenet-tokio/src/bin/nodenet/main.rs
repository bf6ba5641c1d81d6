//! The `nodenet` program: run a node, chat over the network, see it work.
//!
//! `--help` lists the exit status.
#![forbid(unsafe_code)]

mod args;
mod cascade;
mod clock;
mod cmd;
mod control;
mod health;
mod identity;
mod output;
mod session;
mod signals;
mod stdin;
mod visit;

use std::io::Write;
use std::process::ExitCode;

use nodenet_tokio::key_file::KeyFileError;
use nodenet_tokio::mint::MintError;
use nodenet_tokio::relay_file::RelayFileError;
use nodenet_tokio::{Closed, Failure, ParseBootstrapError, StartError};

use cmd::{Cmd, Ended};
use output::Outputs;
use signals::Signals;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Bootstrap(#[from] ParseBootstrapError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    RelayFile(#[from] RelayFileError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("the node failed: {0}")]
    Failure(#[from] Failure),
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error(
        "can not read standard input: {0}; start the program where its standard input can be read"
    )]
    Input(std::io::Error),
    #[error("can not write the result: {0}")]
    Output(#[from] std::io::Error),
    /// Any other failure, with its text.
    #[error("{0}")]
    Other(String),
}

fn main() -> ExitCode {
    let command = match cmd::parse() {
        Ok(command) => command,
        Err(status) => return status,
    };
    let outputs = match Outputs::start(command.missed_line()) {
        Ok(outputs) => outputs,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "nodenet: can not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    output::report_panics(outputs.err.clone());
    output::log::start(command.log_level(), command.default_log_level(), outputs.err.clone());
    execute(command, &outputs).unwrap_or_else(|error| {
        outputs.err.print(format_args!("nodenet: {error}"));
        ExitCode::FAILURE
    })
}

fn execute(command: Box<dyn Cmd>, outputs: &Outputs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Other(format!("can not start: {error}")))?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen()
            .map_err(|error| CommandError::Other(format!("can not listen for signals: {error}")))?;
        command.execute(signals, outputs).await
    });
    // A thread that reads the terminal, or writes a result, can not be stopped, so it is not
    // waited for.
    runtime.shutdown_background();
    ended
}
