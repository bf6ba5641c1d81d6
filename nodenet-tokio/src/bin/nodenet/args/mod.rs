//! Flags that commands share, and the two forms of a flag.

mod addr;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nodenet_tokio::{HardPunch, NodeId, Profile};

use crate::CommandError;
use addr::parse_advertised;
pub(crate) use addr::parse_listen_addr;

/// Names of [`HardPunch`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HardPunchArg {
    Off,
    Predict,
}

/// Flags of a node.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// UDP address to listen on. No host means all interfaces, port 0 a free one. [default: :0]
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) addr: String,
    /// Nodes to join through, separated by commas. The peers of the last run are tried as well.
    /// They are in a file beside the key file, with .peers appended to its name.
    #[arg(long, value_name = "ID@HOST:PORT,…", default_value = "", hide_default_value = true)]
    pub(crate) bootstrap: String,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Edges that peers may open; 0 or less means as many as a node can have, 32768.
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    pub(crate) max_inbound: i64,
    /// Conns that peers may open from one IPv4 address or IPv6 /64; 0 or less means any number.
    #[arg(long, value_name = "N", default_value_t = 32, allow_negative_numbers = true)]
    pub(crate) max_inbound_per_ip: i64,
    /// Address at which this node can be reached from outside, for example a forwarded port. May be
    /// given several times.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_advertised)]
    pub(crate) advertise: Vec<SocketAddr>,
    /// Spare a battery: have few edges, and ping neighbours seldom and all at once, while they do
    /// not ping this node. It still forwards messages and can still be found.
    #[arg(long)]
    light: bool,
    /// Level of the log on standard error. Without this flag the environment variable RUST_LOG
    /// decides; without both it is info for run and warn for chat.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) log_level: Option<LogLevel>,
    /// Volunteer as a relay: two nodes that can not reach each other meet at this one, which passes
    /// their encrypted traffic on. Needs an address that others reach, and ports of the system's
    /// choice open for UDP.
    #[arg(
        long, num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
        default_value_t = false, default_missing_value = "true"
    )]
    relay: bool,
    /// What is tried where a NAT gives every destination another port: `off` leaves such pairs to
    /// relays, `predict` tells the peer the ports that come next, if they have an order.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = HardPunchArg::Predict)]
    hard_punch: HardPunchArg,
    /// Kilobytes that are relayed in a second, for all pairs together.
    #[arg(long, value_name = "KB", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    relay_rate: u64,
    /// Gigabytes that are relayed in a calendar month (UTC); any number without this flag. What is
    /// used is kept in a file beside the key file, with .relay appended to its name.
    #[arg(long, value_name = "GB", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    relay_quota: Option<u64>,
    /// Nodes that are relayed for, separated by commas: one end of each pair is one of them. All
    /// nodes without this flag.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    relay_for: Vec<NodeId>,
}

/// Flags of an identity.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Key file: 32 secret bytes, from which all keys of the node follow. Created if there is none.
    /// [default: nodenet.seed in the user's configuration directory]
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    pub(crate) seed: Option<PathBuf>,
    /// Leading zero bits that each identifier in the network must have. Each bit doubles the work
    /// of minting one.
    #[arg(long, value_name = "BITS", default_value_t = 0, allow_negative_numbers = true)]
    pow: i64,
}

impl IdentityArgs {
    /// The difficulty. Negative values mean 0. A value above the bits of an identifier is refused
    /// when minting.
    pub(crate) fn difficulty(&self) -> u16 {
        u16::try_from(self.pow.max(0)).unwrap_or(u16::MAX)
    }
}

/// Lowest severity in the log.
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
            CommandError::Other(format!(
                "can not listen on \"{}\": {problem}; write host:port, for example 0.0.0.0:4242",
                self.addr
            ))
        })
    }

    /// Whether the node is to volunteer as a relay.
    pub(crate) fn relay(&self) -> bool {
        self.relay
    }

    /// What is tried where ports have to be guessed.
    pub(crate) fn hard_punch(&self) -> HardPunch {
        match self.hard_punch {
            HardPunchArg::Off => HardPunch::Off,
            HardPunchArg::Predict => HardPunch::Predict,
        }
    }

    /// Bytes that it relays in a second.
    pub(crate) fn relay_rate(&self) -> u64 {
        self.relay_rate * 1_000
    }

    /// Bytes that it relays in a month, if that is bounded.
    pub(crate) fn relay_quota(&self) -> Option<u64> {
        self.relay_quota.filter(|_| self.relay).map(|gigabytes| gigabytes * 1_000_000_000)
    }

    /// The nodes that it relays for.
    pub(crate) fn relay_for(&self) -> &[NodeId] {
        &self.relay_for
    }

    /// Flags that contradict each other.
    pub(crate) fn check_relay(&self) -> Result<(), &'static str> {
        let is_bounded = self.relay_quota.is_some() || !self.relay_for.is_empty();
        match (self.relay, self.light) {
            (true, true) => Err(
                "--relay and --light contradict each other, because a light node relays nothing; \
                 leave one of them out",
            ),
            (false, _) if is_bounded => {
                Err("--relay-quota and --relay-for bound what --relay does; give that as well")
            }
            _ => Ok(()),
        }
    }

    /// Resources that the node spends on the network.
    pub(crate) fn profile(&self) -> Profile {
        if self.light { Profile::Light } else { Profile::Router }
    }

    /// Checks that the node listens at a known address or has peers to join through.
    pub(crate) fn check_presence(&self, remembers_peers: bool) -> Result<(), CommandError> {
        if self.addr.is_empty() && self.bootstrap.is_empty() && !remembers_peers {
            return Err(CommandError::Other(
                "give --addr HOST:PORT to listen at a known address, --bootstrap ID@HOST:PORT to \
                 join through another node, or both"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// A cap from the command line; 0 and less lift it.
pub(crate) fn cap(value: i64) -> usize {
    if value <= 0 { usize::MAX } else { usize::try_from(value).unwrap_or(usize::MAX) }
}

/// Gives long flags with one dash a second one, because users of the Go program write one, and
/// inserts `run` where there is no command.
pub(crate) fn normalise(
    args: impl Iterator<Item = OsString>,
    program: &clap::Command,
) -> Vec<OsString> {
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
    use super::cap;

    #[test]
    fn caps_of_nothing_and_less_are_no_caps() {
        assert_eq!([cap(-3), cap(0), cap(7)], [usize::MAX, usize::MAX, 7]);
    }
}
