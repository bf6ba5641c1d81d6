//! `nodenet demo`: a network on this machine that delivers a message from each node to each other.
//!
//! Starts nodes with UDP sockets on loopback, which join through the first one. Each node sends one
//! message to each other by identifier, and a report follows. The nodes share only the process: all
//! that a node knows of another came over its socket.

mod exchange;
mod nat;
mod report;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::proto::stats::Stats;
use nodenet_tokio::{BootstrapPeer, Node, NodeId, StartError, mint};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Cmd, Ended};
use crate::CommandError;
use crate::clock::now;
use crate::output::term::draw_target;
use crate::output::{Output, Outputs};
use crate::signals::Signals;
use exchange::{Exchange, Outcome};
use report::Report;

/// Time after which a node without an edge counts as not joined (guess).
const JOIN_BOUND: Duration = Duration::from_secs(30);
/// Time without a change of nearest neighbours after which the network counts as settled (guess).
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Longest wait for that after all nodes joined (guess).
const SETTLE_BOUND: Duration = Duration::from_secs(15);
/// Time between two checks of that (guess).
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for a node to leave (guess).
const LEAVE_BOUND: Duration = Duration::from_secs(5);

/// Flags of `nodenet demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Nodes to start.
    #[arg(
        long, value_name = "N", default_value_t = 12,
        value_parser = clap::value_parser!(u16).range(2..=1000)
    )]
    pub(crate) nodes: u16,
    /// Put half of the nodes behind emulated NATs, on an in-memory network, and connect all pairs
    /// instead.
    #[arg(long)]
    pub(crate) nat: bool,
    /// Print one JSON object at the end; docs/JSON.md in the source explains it.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cmd for DemoArgs {
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(demo(*self, signals, outputs))
    }
}

async fn demo(args: DemoArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    let progress = Progress::new(&outputs.err);
    if args.nat {
        return demo_nat(&args, signals, outputs, &progress).await;
    }
    let network = tokio::select! {
        network = Network::start(args.nodes, &progress) => network?,
        signal = signals.stop() => return Ok(signal.exit_status().into()),
    };
    let (joined, outcome) = tokio::select! {
        ran = network.run(&progress) => ran,
        signal = signals.stop() => {
            progress.finish();
            network.leave().await;
            return Ok(signal.exit_status().into());
        }
    };
    let report = network.report(joined, outcome).await;
    progress.finish();
    network.leave().await;
    tokio::select! {
        written = outputs.write_result(report.result(args.json)) => written?,
        signal = signals.stop() => return Ok(signal.exit_status().into()),
    }
    report.explain_loss(&outputs.err);
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The demo with NATs.
async fn demo_nat(
    args: &DemoArgs,
    mut signals: Signals,
    outputs: &Outputs,
    progress: &Progress,
) -> Ended {
    let network = nat::start(args.nodes, progress).await?;
    let ran = tokio::select! {
        ran = nat::run(&network, progress) => Ok(ran),
        signal = signals.stop() => Err(signal),
    };
    progress.finish();
    network.leave().await;
    let connects = match ran {
        Ok(connects) => connects,
        Err(signal) => return Ok(signal.exit_status().into()),
    };
    tokio::select! {
        written = outputs.write_result(connects.result(args.json)) => written?,
        signal = signals.stop() => return Ok(signal.exit_status().into()),
    }
    connects.explain_failures(&outputs.err);
    Ok(if connects.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Network {
    nodes: Vec<Node>,
    started: Instant,
    caps_lifted: bool,
}

/// Number of nodes that joined, and the time at which the last did.
struct Joined {
    count: usize,
    after: Duration,
}

impl Network {
    async fn start(count: u16, progress: &Progress) -> Result<Self, CommandError> {
        // The first node binds the first address, so the second shows whether there are more.
        let own_addresses = has_address(address_of(1))?;
        if !own_addresses {
            progress.err.print(
                "this system has no loopback address but 127.0.0.1: all nodes share it, so the \
                 demo lifts the caps on conns from one address",
            );
        }
        progress.phase("starting", u64::from(count));
        let mut network = Self {
            nodes: Vec::with_capacity(count.into()),
            started: now(),
            caps_lifted: !own_addresses,
        };
        for index in 0..count {
            let ip = if own_addresses { address_of(index) } else { Ipv4Addr::LOCALHOST };
            let seed = mint::random_seed()?;
            let mut builder = Node::builder(Identity::from_master_seed(&seed))
                .bind(SocketAddr::new(IpAddr::V4(ip), 0));
            if let Some(first) = network.nodes.first() {
                builder = builder.bootstrap([BootstrapPeer::new(first.id(), first.local_addr())]);
            }
            if !own_addresses {
                builder = builder.max_inbound_per_address(usize::MAX).protocol(|config| {
                    config.quic.handshakes_per_address_max = usize::MAX;
                });
            }
            network.nodes.push(builder.start().await?);
            progress.step();
        }
        Ok(network)
    }

    /// Waits until all nodes have joined, then exchanges the messages.
    async fn run(&self, progress: &Progress) -> (Joined, Outcome) {
        let joined = self.join(progress).await;
        let count = self.nodes.len() as u64;
        progress.phase("sending", count * (count - 1));
        let outcome = Exchange::new(&self.nodes).run(|| progress.step()).await;
        (joined, outcome)
    }

    async fn join(&self, progress: &Progress) -> Joined {
        progress.phase("joining", self.nodes.len() as u64);
        let mut waiting = JoinSet::new();
        for node in &self.nodes {
            let node = node.clone();
            waiting.spawn(timeout(JOIN_BOUND, async move { node.joined().await }));
        }
        let mut joined = Joined { count: 0, after: Duration::ZERO };
        while let Some(ended) = waiting.join_next().await {
            if matches!(ended, Ok(Ok(Ok(())))) {
                joined.count += 1;
                joined.after = now() - self.started;
                progress.step();
            }
        }
        // A node with one edge has joined, but the nearest neighbours take a moment to settle.
        let _ = timeout(SETTLE_BOUND, self.settle()).await;
        joined
    }

    async fn settle(&self) {
        let (mut before, mut since) = (self.neighbours().await, now());
        while now() - since < SETTLED_AFTER {
            sleep(LOOK_INTERVAL).await;
            let after = self.neighbours().await;
            if after != before {
                (before, since) = (after, now());
            }
        }
    }

    /// The nearest neighbours of each node. Other edges come and go while faster ones are tried.
    async fn neighbours(&self) -> Vec<Vec<NodeId>> {
        let mut all = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let edges = node.edges().await.unwrap_or_default();
            all.push(edges.iter().filter(|edge| edge.sibling).map(|edge| edge.peer).collect());
        }
        all
    }

    async fn report(&self, joined: Joined, outcome: Outcome) -> Report {
        let mut edges = Vec::new();
        let mut drops = Stats::default();
        for node in &self.nodes {
            edges.push(node.edges().await.map_or(0, |edges| edges.len()));
            if let Ok(stats) = node.stats().await {
                drops.merge(&stats.protocol);
            }
        }
        Report {
            nodes: self.nodes.len(),
            first: self.nodes[0].local_addr(),
            last: self.nodes[self.nodes.len() - 1].local_addr(),
            caps_lifted: self.caps_lifted,
            joined: joined.count,
            joined_after: joined.after,
            elapsed: now() - self.started,
            outcome,
            edges,
            drops,
        }
    }

    async fn leave(&self) {
        let mut leaving = JoinSet::new();
        for node in &self.nodes {
            let node = node.clone();
            leaving.spawn(async move { timeout(LEAVE_BOUND, node.shutdown()).await });
        }
        while leaving.join_next().await.is_some() {}
    }
}

/// 127.0.N.1, where N counts from 1: a /24 of its own for every node.
fn address_of(index: u16) -> Ipv4Addr {
    let [high, low] = (index + 1).to_be_bytes();
    Ipv4Addr::new(127, high, low, 1)
}

fn has_address(ip: Ipv4Addr) -> Result<bool, CommandError> {
    match nodenet_tokio::bind(SocketAddr::new(ip.into(), 0)) {
        Ok(_) => Ok(true),
        Err(StartError::Bind { cause, .. }) if cause.kind() == io::ErrorKind::AddrNotAvailable => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Progress: a bar on a terminal, elsewhere a line for each phase.
struct Progress {
    bar: ProgressBar,
    err: Output,
}

impl Progress {
    fn new(err: &Output) -> Self {
        Self { bar: ProgressBar::with_draw_target(Some(0), draw_target(err)), err: err.clone() }
    }

    fn phase(&self, name: &'static str, steps: u64) {
        let style = ProgressStyle::with_template("{msg:9} {wide_bar} {pos} of {len}, {elapsed}");
        self.bar.set_style(style.expect("the template is valid"));
        self.bar.set_message(name);
        self.bar.set_length(steps);
        self.bar.set_position(0);
        if self.bar.is_hidden() {
            self.err.print(format_args!("{name} ({steps})"));
        }
    }

    fn step(&self) {
        self.bar.inc(1);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
