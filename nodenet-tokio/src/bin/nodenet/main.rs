//! The `nodenet` program: run a node, chat over the network, see it work.
//!
//! The exit status is told by `--help`: see [`args::EXIT_STATUS`].
#![forbid(unsafe_code)]

mod args;
mod chat;
mod clock;
mod demo;
mod identity;
mod json_lines;
mod log;
mod output;
mod run;
mod signals;
mod typed;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use nodenet_tokio::key_file::KeyFileError;
use nodenet_tokio::mint::MintError;
use nodenet_tokio::{Closed, Failure, ParseBootstrapError, StartError};

use args::Command;
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
    Mint(#[from] MintError),
    #[error("the node failed: {0}")]
    Failure(#[from] Failure),
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error(
        "can not read what is typed: {0}; start the program where its standard input can be read"
    )]
    Input(std::io::Error),
    #[error("can not write the result: {0}")]
    Output(#[from] std::io::Error),
    /// Said in the words of the place it happened.
    #[error("{0}")]
    Said(String),
}

fn main() -> ExitCode {
    let command = match args::parse() {
        Ok(command) => command,
        Err(status) => return status,
    };
    let outputs = match Outputs::start(missed_line(&command)) {
        Ok(outputs) => outputs,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "nodenet: can not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    output::report_panics(outputs.err.clone());
    log::start(command.log_level(), command.usual_log_level(), outputs.err.clone());
    execute(command, &outputs).unwrap_or_else(|error| {
        outputs.err.say(format_args!("nodenet: {error}"));
        ExitCode::FAILURE
    })
}

/// What makes the line on standard output that tells of missed ones.
fn missed_line(command: &Command) -> fn(u64) -> String {
    match command {
        Command::Run(args) if args.json => |count| json_lines::missed(count).to_string(),
        _ => output::missed_by_people,
    }
}

fn execute(command: Command, outputs: &Outputs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Said(format!("can not start: {error}")))?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen()
            .map_err(|error| CommandError::Said(format!("can not listen for signals: {error}")))?;
        match command {
            Command::Run(args) => run::run(args, signals, outputs).await,
            Command::Id(args) => identity::show_or_mint(args, signals, outputs).await,
            Command::Chat(args) => chat::chat(args, signals, outputs).await,
            Command::Demo(args) => demo::demo(args, signals, outputs).await,
        }
    });
    // A thread that reads the terminal, or writes a result, can not be stopped; nobody waits for
    // it.
    runtime.shutdown_background();
    ended
}
