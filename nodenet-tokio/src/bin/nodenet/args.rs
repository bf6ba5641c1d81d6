//! The command line. Long flags may be written with one dash or two, as users of the Go program are
//! used to, and `nodenet --addr …` means `nodenet run --addr …`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use nodenet_tokio::proto::api::Profile;

use crate::CommandError;

/// What the exit status means, as `--help` shows it.
pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0      done, or stopped by a signal as a node is meant to be
  1      it failed, or nodenet id was interrupted, or minting
  2      the command line can not be read
  128+n  signal n ended it: the demo at the first, anything at the second (SIGHUP 129, SIGINT 130,
         SIGTERM 143)";

/// Finds a route to any node by its identifier, without servers.
#[derive(Debug, Parser)]
#[command(name = "nodenet", version, arg_required_else_help = true, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join a network and route for it until stopped.
    Run(RunArgs),
    /// Show this machine's node identifier; mint an identity if there is none.
    Id(IdArgs),
    /// Join a network and exchange messages with its nodes.
    Chat(ChatArgs),
    /// Start a network on this machine, send a message from every node to every other, and tell how
    /// it went.
    Demo(DemoArgs),
}

impl Command {
    /// What was asked for.
    pub(crate) fn log_level(&self) -> Option<LogLevel> {
        match self {
            Self::Run(args) => args.node.log_level,
            Self::Chat(args) => args.node.log_level,
            Self::Id(_) | Self::Demo(_) => None,
        }
    }

    /// What is good if nothing was asked for.
    pub(crate) fn usual_log_level(&self) -> LogLevel {
        match self {
            Self::Run(_) => LogLevel::Info,
            // Somebody is reading along: only what matters.
            Self::Chat(_) | Self::Id(_) | Self::Demo(_) => LogLevel::Warn,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print what happens as JSON, one object to a line, on standard output. docs/JSON.md in the
    /// source explains the lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a line with all counters, too, every so many seconds. Needs --json.
    #[arg(
        long, value_name = "SECS", requires = "json",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    stats_interval: Option<u32>,
}

impl RunArgs {
    /// Time between two lines with all counters, if these are wanted.
    pub(crate) fn stats_interval(&self) -> Option<Duration> {
        self.stats_interval.map(|secs| Duration::from_secs(secs.into()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// What a node needs.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// UDP address to listen on. No host means all interfaces, port 0 a free one. [default: :0]
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) addr: String,
    /// Nodes to join through, separated by commas. Beside them the peers of the last run are tried,
    /// which are kept in a file beside the key file, with .peers appended to its name.
    #[arg(long, value_name = "ID@HOST:PORT,…", default_value = "", hide_default_value = true)]
    pub(crate) bootstrap: String,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Edges that others may open; 0 or less means as many as a node can have, 32768.
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    pub(crate) max_inbound: i64,
    /// Of these from one IPv4 address or IPv6 /64; 0 or less means any number.
    #[arg(long, value_name = "N", default_value_t = 32, allow_negative_numbers = true)]
    pub(crate) max_inbound_per_ip: i64,
    /// Address under which this node can be reached from outside, a forwarded port for example. May
    /// be given several times.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_advertised)]
    pub(crate) advertise: Vec<SocketAddr>,
    /// Spare a battery: have few edges, and have neighbours leave the pinging to this node, which
    /// does it seldom and for all of them at once. It still forwards and is still found.
    #[arg(long)]
    light: bool,
    /// How much to say on standard error. Without this flag the environment variable RUST_LOG
    /// decides, and without that it is info for run, warn for chat.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) log_level: Option<LogLevel>,
    /// Volunteer as a relay. Not part of this version.
    #[arg(
        long, hide = true, num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
        default_value_t = false, default_missing_value = "true"
    )]
    relay: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Key file: 32 secret bytes, from which all keys of the node follow. Created if there is none.
    /// [default: nodenet.seed in the user's configuration directory]
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    pub(crate) seed: Option<PathBuf>,
    /// Leading zero bits that the network asks of identifiers; the same for all its nodes. Each bit
    /// doubles the work of minting one.
    #[arg(long, value_name = "BITS", default_value_t = 0, allow_negative_numbers = true)]
    pow: i64,
}

impl IdentityArgs {
    /// The difficulty; negative ones ask for nothing, like 0. Larger ones than an identifier has
    /// bits are refused when minting.
    pub(crate) fn difficulty(&self) -> u16 {
        u16::try_from(self.pow.max(0)).unwrap_or(u16::MAX)
    }
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Nodes to start.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) nodes: u16,
    /// Print one JSON object at the end; docs/JSON.md in the source explains it.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl NodeArgs {
    /// The address to listen on.
    pub(crate) fn listen_addr(&self) -> Result<SocketAddr, CommandError> {
        parse_listen_addr(&self.addr).map_err(|problem| {
            CommandError::Said(format!(
                "can not listen on \"{}\": {problem}; write host:port, for example 0.0.0.0:4242",
                self.addr
            ))
        })
    }

    /// What the node spends on the network.
    pub(crate) fn profile(&self) -> Profile {
        if self.light { Profile::Light } else { Profile::Router }
    }

    /// Whether there is anything to start from.
    pub(crate) fn check_presence(&self, remembers_peers: bool) -> Result<(), CommandError> {
        if self.addr.is_empty() && self.bootstrap.is_empty() && !remembers_peers {
            return Err(CommandError::Said(
                "give --addr HOST:PORT to listen where others can join, --bootstrap \
                 ID@HOST:PORT to join through a node that is there, or both"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// A cap as the command line has it; 0 and less lift it.
pub(crate) fn cap(value: i64) -> usize {
    if value <= 0 { usize::MAX } else { usize::try_from(value).unwrap_or(usize::MAX) }
}

fn parse_listen_addr(text: &str) -> Result<SocketAddr, String> {
    let text = if text.is_empty() { ":0" } else { text };
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = text.rsplit_once(':').ok_or("there is no port")?;
    let port: u16 =
        port.parse().map_err(|_| format!("\"{port}\" is not a port from 0 to 65535"))?;
    if host.is_empty() {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err("IPv6 addresses stand in brackets".to_owned());
    }
    let mut found = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    // A name that has both: IPv4, because more peers speak it.
    let first = found.next().ok_or("the name has no address")?;
    Ok(std::iter::once(first)
        .chain(found)
        .find(|addr| matches!(addr.ip(), IpAddr::V4(_)))
        .unwrap_or(first))
}

/// An address that others can dial.
fn parse_advertised(text: &str) -> Result<SocketAddr, String> {
    let advice = "write the one under which others reach this node, for example 203.0.113.5:4242";
    let addr: SocketAddr = text
        .parse()
        .map_err(|_| format!("it is no IP address with a port, IPv6 in brackets; {advice}"))?;
    nodenet_tokio::check_advertised(addr).map_err(|problem| problem.to_string())?;
    Ok(addr)
}

/// Reads the command line. Where there is nothing to carry out, prints what is to be said instead,
/// and returns the exit status: 2 if the command line can not be read. Signals have their usual
/// effect until here, so this may wait for the output.
pub(crate) fn parse() -> Result<Command, ExitCode> {
    read_command().map_err(|problem| {
        let wants_stdout = !problem.use_stderr();
        match problem.print() {
            Err(error) if wants_stdout => {
                let error = CommandError::Output(error);
                let _ = writeln!(std::io::stderr(), "nodenet: {error}");
                ExitCode::FAILURE
            }
            // Nothing is left to say it with.
            Ok(()) | Err(_) => ExitCode::from(u8::try_from(problem.exit_code()).unwrap_or(2)),
        }
    })
}

fn read_command() -> Result<Command, clap::Error> {
    let normalised = normalise(std::env::args_os(), &Cli::command());
    let command = Cli::try_parse_from(normalised)?.command;
    let relay = match &command {
        Command::Run(args) => args.node.relay,
        Command::Chat(args) => args.node.relay,
        Command::Id(_) | Command::Demo(_) => false,
    };
    if relay {
        let text = "--relay: relaying for others is not part of this version; leave the flag out";
        return Err(Cli::command().error(ErrorKind::InvalidValue, text));
    }
    Ok(command)
}

/// Gives long flags with one dash their second, and puts `run` where no command stands.
fn normalise(args: impl Iterator<Item = OsString>, program: &clap::Command) -> Vec<OsString> {
    let longs: Vec<String> = program
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long_and_visible_aliases)
        .flatten()
        .chain(["help", "version"])
        .map(str::to_owned)
        .collect();
    let mut args: Vec<OsString> = args
        .map(|arg| match arg.to_str().and_then(|text| text.strip_prefix('-')) {
            Some(flag) if longs.iter().any(|long| flag.split('=').next() == Some(long)) => {
                OsString::from(format!("--{flag}"))
            }
            _ => arg,
        })
        .collect();
    let is_flag = |arg: &OsString| arg.to_str().is_some_and(|text| text.starts_with('-'));
    let own = ["--help", "-h", "--version", "-V"].map(OsStr::new);
    if args.get(1).is_some_and(|first| is_flag(first) && !own.contains(&first.as_os_str())) {
        args.insert(1, "run".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};
    use nodenet_tokio::proto::api::Profile;

    use super::{Cli, Command, NodeArgs, cap, normalise, parse_listen_addr};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let args = line.split(' ').map(Into::into);
        Cli::try_parse_from(normalise(args, &Cli::command())).map(|cli| cli.command)
    }

    fn node_args(line: &str) -> NodeArgs {
        match parse(line).unwrap() {
            Command::Run(args) => args.node,
            Command::Chat(args) => args.node,
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two_and_run_goes_without_saying() {
        for line in [
            "nodenet run --addr :1 --max-inbound-per-ip=-1 --log-level debug --pow 3",
            "nodenet run -addr :1 -max-inbound-per-ip -1 -log-level=debug -pow=3",
            "nodenet -addr=:1 --max-inbound-per-ip -1 -log-level debug -pow 3",
            "nodenet chat -addr=:1 --max-inbound-per-ip=-1 -log-level debug -pow 3",
        ] {
            let args = node_args(line);
            assert_eq!((args.addr.as_str(), args.max_inbound_per_ip), (":1", -1), "{line}");
            assert_eq!(args.identity.difficulty(), 3, "{line}");
            assert_eq!(args.log_level.unwrap().name(), "debug", "{line}");
            assert_eq!(args.max_inbound, 256, "{line}");
        }
    }

    #[test]
    fn the_key_file_has_two_flags_and_each_has_one_dash_or_two() {
        for flag in ["--seed", "-seed", "--key", "-key"] {
            let args = node_args(&format!("nodenet run -addr :1 {flag} a.seed"));
            assert_eq!(args.identity.seed.expect(flag).to_str(), Some("a.seed"), "{flag}");
        }
    }

    #[test]
    fn booleans_may_have_a_value() {
        assert!(node_args("nodenet -relay -addr :1").relay);
        assert!(node_args("nodenet -relay=true -addr :1").relay);
        assert!(!node_args("nodenet -relay=false -addr :1").relay);
        assert!(!node_args("nodenet -addr :1").relay);
    }

    #[test]
    fn a_node_is_a_router_unless_it_is_to_be_light() {
        for command in ["run", "chat"] {
            let args = |flag| node_args(&format!("nodenet {command} -addr :1{flag}"));
            assert_eq!(args("").profile(), Profile::Router);
            assert_eq!(args(" -light").profile(), Profile::Light);
        }
    }

    #[test]
    fn counters_are_printed_when_that_is_asked_for() {
        let interval = |line| match parse(line).unwrap() {
            Command::Run(args) => args.stats_interval(),
            other => panic!("{line} is {other:?}"),
        };
        assert_eq!(interval("nodenet -addr :1 -json"), None);
        let asked = "nodenet -addr :1 -json -stats-interval 30";
        assert_eq!(interval(asked), Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_can_not_be_read_is_a_usage_error() {
        for line in [
            "nodenet run --unknown",
            "nodenet run -addr",
            "nodenet run --pow many",
            "nodenet run --log-level loud",
            "nodenet run --addr :1 --stats-interval 5",
            "nodenet run --addr :1 --json --stats-interval 0",
            "nodenet demo --nodes 1",
            "nodenet fly",
            "nodenet run extra",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("nodenet -h").unwrap_err().exit_code(), 0);
        assert_eq!(parse("nodenet run -help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn what_is_advertised_can_be_dialed() {
        let args = node_args("nodenet run -advertise 192.0.2.1:1 -advertise [2001:db8::1]:2");
        assert_eq!(args.advertise.len(), 2);
        for (addr, problem) in [
            ("0.0.0.0:4242", "0.0.0.0 is no address of one host"),
            ("[::]:4242", ":: is no address of one host"),
            ("[::ffff:0.0.0.0]:4242", "no address of one host"),
            ("239.1.2.3:4242", "no address of one host"),
            ("[ff0e::1]:4242", "no address of one host"),
            ("255.255.255.255:1", "no address of one host"),
            ("192.0.2.1:0", "nobody can be dialed at port 0"),
            ("192.0.2.1", "no IP address with a port"),
            ("example.org:4242", "no IP address with a port"),
        ] {
            let error = parse(&format!("nodenet run -advertise {addr}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{addr}");
            let said = error.to_string();
            for part in [problem, addr, "for example 203.0.113.5:4242"] {
                assert!(said.contains(part), "{part:?} is missing in: {said}");
            }
        }
    }

    #[test]
    fn caps_of_nothing_and_less_are_no_caps() {
        assert_eq!([cap(-3), cap(0), cap(7)], [usize::MAX, usize::MAX, 7]);
    }

    #[test]
    fn difficulties_are_clamped_at_the_ends() {
        assert_eq!(node_args("nodenet -addr :1 -pow -5").identity.difficulty(), 0);
        assert_eq!(node_args("nodenet -addr :1 -pow 99999999").identity.difficulty(), u16::MAX);
    }

    #[test]
    fn listen_addresses_are_read_as_go_reads_them() {
        let read = |text| parse_listen_addr(text).map(|addr| addr.to_string());
        assert_eq!(read("").unwrap(), "[::]:0");
        assert_eq!(read(":4242").unwrap(), "[::]:4242");
        assert_eq!(read("0.0.0.0:4242").unwrap(), "0.0.0.0:4242");
        assert_eq!(read("[::1]:7").unwrap(), "[::1]:7");
        assert_eq!(read("localhost:7").unwrap(), "127.0.0.1:7");
        assert!(read("4242").unwrap_err().contains("no port"));
        assert!(read("127.0.0.1:x").unwrap_err().contains("\"x\" is not a port"));
        assert!(read("127.0.0.1:70000").unwrap_err().contains("not a port"));
        assert!(read("::1:7").unwrap_err().contains("brackets"));
    }
}
