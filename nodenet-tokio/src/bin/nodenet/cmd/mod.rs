//! Commands of the program: the command line, and a module for each command.
//!
//! A new command is a module here, a variant of [`Command`] and an arm of [`Command::into_cmd`].
//! The flags are a struct in the module, which implements [`Cmd`].

mod chat;
mod connect;
mod demo;
mod doctor;
mod id;
mod ping;
mod run;

use std::ffi::OsString;
use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::CommandError;
use crate::args::{LogLevel, NodeArgs, normalise};
use crate::output::Outputs;
use crate::signals::Signals;

/// What the exit status means, as `--help` shows it.
const EXIT_STATUS: &str = "\
Exit status:
  0      done, or stopped by a signal as a node is meant to be
  1      it failed: no edge, no answer, something wrong; or nodenet id was interrupted, or minting
  2      the command line can not be read
  128+n  signal n ended it: connect, doctor, demo and ping without a result at the first, anything
         at the second (SIGHUP 129, SIGINT 130, SIGTERM 143)";

/// Finds a route to any node by its identifier, without servers.
#[derive(Debug, Parser)]
#[command(name = "nodenet", version, arg_required_else_help = true, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The command of a command line.
#[derive(Debug, Subcommand)]
enum Command {
    /// Join a network and route for it until stopped.
    Run(run::RunArgs),
    /// Show this machine's node identifier; mint an identity if there is none.
    Id(id::IdArgs),
    /// Join a network and exchange messages with its nodes.
    Chat(chat::ChatArgs),
    /// Get an edge to a node, show each step, and say why the path is what it is.
    Connect(connect::ConnectArgs),
    /// Measure round trips to a node, over routing and over an edge.
    Ping(ping::PingArgs),
    /// Find out what keeps a node on this machine from its peers, and what would help.
    Doctor(doctor::DoctorArgs),
    /// Start a network on this machine, send a message from every node to every other, and report
    /// the result.
    Demo(demo::DemoArgs),
}

impl Command {
    fn into_cmd(self) -> Box<dyn Cmd> {
        match self {
            Self::Run(args) => Box::new(args),
            Self::Id(args) => Box::new(args),
            Self::Chat(args) => Box::new(args),
            Self::Connect(args) => Box::new(args),
            Self::Ping(args) => Box::new(args),
            Self::Doctor(args) => Box::new(args),
            Self::Demo(args) => Box::new(args),
        }
    }
}

/// The end of a command: its exit status, or why it failed.
pub(crate) type Ended = Result<ExitCode, CommandError>;

/// A command with its flags.
pub(crate) trait Cmd {
    /// Carries the command out.
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>>;

    /// The flags of the node, if the command starts one node.
    fn node_args(&self) -> Option<&NodeArgs> {
        None
    }

    /// The log level of `--log-level`, if the command has that flag and it is given.
    fn log_level(&self) -> Option<LogLevel> {
        self.node_args().and_then(|node| node.log_level)
    }

    /// The log level without `--log-level` and without `RUST_LOG`.
    fn default_log_level(&self) -> LogLevel {
        LogLevel::Warn
    }

    /// Makes the line on standard output that replaces lines that did not fit.
    fn missed_line(&self) -> fn(u64) -> String {
        crate::output::missed_text
    }
}

/// Reads the command line. Without a command to carry out it prints the help or the error, and
/// returns the exit status: 2 if the command line can not be read. Signals have their usual effect
/// until here, so this may wait for the output.
pub(crate) fn parse() -> Result<Box<dyn Cmd>, ExitCode> {
    read(std::env::args_os()).map_err(|problem| {
        let wants_stdout = !problem.use_stderr();
        match problem.print() {
            Err(error) if wants_stdout => {
                let error = CommandError::Output(error);
                let _ = writeln!(std::io::stderr(), "nodenet: {error}");
                ExitCode::FAILURE
            }
            // No output is left to report an error on.
            Ok(()) | Err(_) => ExitCode::from(u8::try_from(problem.exit_code()).unwrap_or(2)),
        }
    })
}

fn read(args: impl Iterator<Item = OsString>) -> Result<Box<dyn Cmd>, clap::Error> {
    let command = Cli::try_parse_from(normalise(args, &Cli::command()))?.command;
    let cmd = command.into_cmd();
    if let Some(Err(text)) = cmd.node_args().map(NodeArgs::check_relay) {
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, text));
    }
    Ok(cmd)
}

#[cfg(test)]
mod tests;
