//! Command line: options, their ranges and their help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use nodenet_sim::net::AddressPlan;
use nodenet_sim::scenario::{Probe, STAGE_SECS_MAX};

/// Networks of thousands of whole nodes in one process, reproducible from a seed.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Grow a network, let it settle, and measure what it delivers.
    Scale(Scale),
    /// Run a scenario from a file. The repository has some in nodenet-sim/scenarios.
    #[command(visible_alias = "run")]
    Replay(Replay),
    /// Run several sizes and seeds on all cores, into one table and one page. Failed runs are
    /// listed at the end.
    Sweep(Sweep),
    /// Reduce a packet scenario that fails to the hosts and steps without which it does not.
    Shrink(Shrink),
    /// Measure what a packet world costs: whole nodes with QUIC and TLS, a fixed number of edges
    /// each, small messages on every edge.
    PacketScale(PacketScale),
    /// Every pair of kinds of NAT: whether a direct path is possible, and whether it is found.
    ///
    /// For each ordered pair the oracle says what the terms of RFC 4787 allow: a direct path, one
    /// only by guessing ports, or none. Two hosts of bare UDP with a perfect schedule try it, once
    /// for each seed. A pair that is not as expected ends the program with status 1.
    NatMatrix(NatMatrix),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Shrink {
    /// The scenario.
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    /// Where to write the reduced scenario; beside the other one by default, as FILE.small.toml.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PacketScale {
    /// Nodes, more than twice the edges of each.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(3..=9_999))]
    pub(crate) nodes: u32,
    /// Edges of each node, an even number.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub(crate) edges: u32,
    /// Seed of all random choices: the same seed gives the same run.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Seconds of silence before the first message.
    #[arg(long, default_value_t = 10)]
    pub(crate) settle: u64,
    /// Seconds in which each edge carries a message a second.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Let both ends of an edge send a message a second, in place of turns.
    #[arg(long)]
    pub(crate) both_ways: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    /// Nodes to grow to.
    #[arg(long, value_parser = nodes())]
    pub(crate) nodes: u32,
    /// Seed of all random choices: the same seed gives the same run.
    #[arg(long)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) world: WorldArgs,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Also write the scenario to this file, for `replay`.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) save: Option<PathBuf>,
}

/// Default of `--minutes`; the name of a scenario has only what differs from a default.
pub(crate) const MINUTES: u64 = 10;
pub(crate) const CHURN_MINUTES: u64 = 15;
pub(crate) const MESSAGES: u32 = 10_000;

/// Seeds in one range.
const SEEDS_MAX: u64 = 100_000;

/// Options that `scale` and `sweep` share.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorldArgs {
    /// Minutes of virtual time between the last join and the first message.
    #[arg(long, default_value_t = MINUTES, value_parser = minutes(0))]
    pub(crate) minutes: u64,
    /// Afterwards replace P percent of the nodes by new nodes every SECONDS seconds.
    #[arg(long, value_name = "P%/SECONDSs", value_parser = churn)]
    pub(crate) churn: Option<Churn>,
    /// Minutes of churn.
    #[arg(long, default_value_t = CHURN_MINUTES, requires = "churn", value_parser = minutes(1))]
    pub(crate) churn_minutes: u64,
    /// Percent of nodes behind a NAT.
    #[arg(long, value_name = "P", default_value = "0", value_parser = percent)]
    pub(crate) nat_share: f64,
    /// Percent of nodes that run the light profile.
    #[arg(long, value_name = "P", default_value = "0", value_parser = percent)]
    pub(crate) light_share: f64,
    /// Percent of nodes that take messages for others and forward none.
    #[arg(long, value_name = "P", default_value = "0", value_parser = percent)]
    pub(crate) silent_share: f64,
    /// Measure rendezvous instead of messages, as many in each phase.
    #[arg(long)]
    pub(crate) rendezvous: bool,
    /// Measure connects instead of messages, this many in each phase.
    #[arg(long, value_name = "N", conflicts_with_all = ["rendezvous", "messages"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connects: Option<u32>,
    /// Percent of the nodes without a NAT that relay for others.
    #[arg(long, value_name = "P", default_value = "0", value_parser = percent)]
    pub(crate) relay_share: f64,
    /// Percent of packets lost.
    #[arg(long, value_name = "P", default_value = "0", value_parser = percent)]
    pub(crate) loss: f64,
    /// Nodes through which newcomers join.
    #[arg(long, value_enum, default_value = "ten")]
    pub(crate) bootstrap: Bootstrap,
    /// Messages sent in each phase.
    #[arg(long, default_value_t = MESSAGES, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) messages: u32,
    /// The world: engines on conns in memory, or whole nodes on a network of datagrams.
    #[arg(long = "world", value_enum, default_value = "overlay")]
    pub(crate) name: WorldName,
    /// Sign with Ed25519 instead of a keyed hash.
    #[arg(long)]
    pub(crate) real_crypto: bool,
}

impl WorldArgs {
    /// What is measured, and how many in each phase.
    pub(crate) fn probes(&self) -> (Probe, u32) {
        match self.connects {
            Some(connects) => (Probe::Connect, connects),
            None if self.rendezvous => (Probe::Rendezvous, self.messages),
            None => (Probe::Message, self.messages),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with charts to this file.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

impl Output {
    /// Checks that the page can be written, before a long run begins.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Some(file) = &self.report else { return Ok(()) };
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
        opened.map(drop).map_err(|error| format!("{} cannot be written: {error}", file.display()))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The scenario.
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    /// Nodes to grow to, in place of the number in the file.
    #[arg(long, value_parser = nodes())]
    pub(crate) nodes: Option<u32>,
    /// Seed of all random choices, in place of the seed in the file.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Sizes, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "50,200,500,1000")]
    pub(crate) nodes: Vec<u32>,
    /// Seeds: numbers and ranges such as 1..5, separated by commas.
    #[arg(long, default_value = "1", value_parser = seeds)]
    pub(crate) seeds: Seeds,
    /// Runs at a time; by default one for each core.
    #[arg(long)]
    pub(crate) jobs: Option<usize>,
    #[command(flatten)]
    pub(crate) world: WorldArgs,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorldName {
    /// Engines on conns in memory.
    Overlay,
    /// Whole nodes with QUIC and TLS, on links and NAT boxes. Signatures are real.
    Packet,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NatMatrix {
    /// First seed: the same seed gives the same figures.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Seeds to run of each pair, counted from the first one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) seeds: u32,
    /// Bare UDP with a perfect schedule in place of whole nodes: what can be reached at all.
    #[arg(long)]
    pub(crate) bare: bool,
    /// Percent of datagrams that are lost between any two hosts, in each direction, from the
    /// connect on.
    #[arg(long, default_value_t = 0, conflicts_with = "bare")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=90))]
    pub(crate) loss: u8,
    /// Lose them in bursts of this many on average.
    #[arg(long, requires = "loss", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) burst: Option<u8>,
    /// New flows a second that other hosts begin behind each box on average.
    #[arg(long, default_value_t = 0, conflicts_with = "bare")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=500))]
    pub(crate) background: u32,
    /// Only the pairs of these kinds, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) kinds: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Bootstrap {
    /// The first ten nodes, which churn spares.
    Ten,
    /// One live public member each, drawn among those that joined.
    Any,
}

/// Seeds of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seeds(pub(crate) Vec<u64>);

/// Share of nodes that is replaced, and the interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Churn {
    pub(crate) percent: f64,
    pub(crate) every_secs: u64,
}

/// A stage lasts ten years at most.
fn minutes(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=STAGE_SECS_MAX / 60)
}

fn nodes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(AddressPlan::HOSTS_MAX))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("give a percentage between 0 and 100, for example 2 or 2%".to_owned()),
    }
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < SEEDS_MAX => {
                all.extend(first..=last);
            }
            _ => {
                return Err(format!(
                    "give numbers and ranges of at most {SEEDS_MAX}, for example 1..5 or 1,2,7"
                ));
            }
        }
    }
    Ok(Seeds(all))
}

fn churn(text: &str) -> Result<Churn, String> {
    let parts = text.split_once('/').and_then(|(share, every)| {
        let every_secs = every.strip_suffix('s')?.parse().ok()?;
        Some(Churn { percent: percent(share).ok()?, every_secs })
    });
    match parts {
        Some(churn) if churn.percent > 0.0 && churn.every_secs > 0 => Ok(churn),
        _ => Err("give a percentage and a time in seconds, for example 2%/30s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Args, Churn, Seeds, churn, percent, seeds};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn seeds_are_numbers_and_ranges_that_include_their_end() {
        assert_eq!(seeds("1..3,7"), Ok(Seeds(vec![1, 2, 3, 7])));
        for wrong in ["", "3..1", "1..", "a", "1,,2", "1..18446744073709551615"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_read_as_percent() {
        assert_eq!(percent("60"), Ok(60.0));
        assert_eq!(percent("0.5%"), Ok(0.5));
        assert!(percent("101").is_err() && percent("NaN").is_err() && percent("-1").is_err());
        assert_eq!(churn("2%/30s"), Ok(Churn { percent: 2.0, every_secs: 30 }));
        for wrong in ["2%", "2%/30", "2%/0s", "0%/30s", "2/30m", ""] {
            assert!(churn(wrong).is_err(), "{wrong}");
        }
    }
}
