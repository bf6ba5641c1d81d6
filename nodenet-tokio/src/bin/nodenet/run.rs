//! `nodenet run`: a node that routes until it is stopped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nodenet_tokio::key_file::KeyFile;
use nodenet_tokio::peer_file::{Keeper, PeerFile};
use nodenet_tokio::proto::addr::{Scope, scope};
use nodenet_tokio::proto::api::DeliveryPath;
use nodenet_tokio::{BootstrapPeer, Delivery, Node, NodeEvent};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::args::{NodeArgs, RunArgs, cap};
use crate::clock::now;
use crate::json_lines::JsonLines;
use crate::log::{RateLimit, preview};
use crate::output::{Output, Outputs};
use crate::signals::Signals;
use crate::watch::{Notice, Watch};
use crate::{CommandError, identity, json_lines};

/// Time between two looks at whether something is to be said.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_secs(5);
/// Ticks between two summaries of the counters.
const TICKS_PER_SUMMARY: u32 = 12;

/// A node and what it must not be without.
pub(crate) struct Running {
    pub(crate) node: Node,
    peers: Vec<BootstrapPeer>,
    /// Peers of the last run.
    remembered: usize,
    keeper: Keeper,
    /// Keeps the key file locked.
    _key_file: KeyFile,
}

impl Running {
    /// Does all that stands between the command line and a running node, in the order of
    /// PROTOCOL.md#start-order, but binds before it mints: an address that is taken should not cost
    /// the search.
    pub(crate) async fn start(
        args: &NodeArgs,
        signals: &mut Signals,
        err: &Output,
    ) -> Result<Self, CommandError> {
        let peers = BootstrapPeer::parse_list(&args.bootstrap)?;
        let addr = args.listen_addr()?;
        let difficulty = args.identity.difficulty();
        let path = identity::key_path(&args.identity)?;
        let peer_file = open_peer_file(&path);
        args.check_presence(!peer_file.peers().is_empty())?;
        let socket = nodenet_tokio::bind(addr)?;
        let key_file = identity::load_or_mint(&path, difficulty, signals, err).await?;
        let node = Node::builder(key_file.identity())
            .socket(socket)
            .bootstrap(peers.clone())
            .known_peers(peer_file.peers().to_vec())
            .difficulty(difficulty)
            .max_inbound(cap(args.max_inbound))
            .max_inbound_per_address(cap(args.max_inbound_per_ip))
            .profile(args.profile())
            .advertise(args.advertise.iter().copied())
            .start()
            .await?;
        let remembered = peer_file.peers().len();
        let keeper = peer_file.keep(&node);
        Ok(Self { node, peers, remembered, keeper, _key_file: key_file })
    }

    /// Keeps the peers for the next start and leaves the network.
    pub(crate) async fn leave(self) -> Result<(), CommandError> {
        self.keeper.finish().await;
        Ok(self.node.shutdown().await?)
    }

    /// Takes what happened to the node, and returns what is to be said about it.
    pub(crate) async fn observe(&self, watch: &mut Watch, event: &NodeEvent) -> Vec<Notice> {
        if matches!(event, NodeEvent::Missed(_)) {
            // A node that is closed has no edges.
            watch.handle_edges(now(), &self.node.edges().await.unwrap_or_default());
        }
        watch.handle_event(now(), event)
    }

    /// What another node puts after `--bootstrap` to join through this one.
    pub(crate) fn bootstrap_line(&self) -> Option<String> {
        let addr = *self.node.reachable_addrs().first()?;
        Some(BootstrapPeer::new(self.node.id(), addr).to_string())
    }

    /// Whether some address of this node can be dialed from anywhere, as far as it looks from here.
    pub(crate) fn is_globally_reachable(&self) -> bool {
        // A node that was told its address is where its operator wants it.
        let bound_to_wildcard = self.node.local_addr().ip().is_unspecified();
        !bound_to_wildcard || self.node.reachable_addrs().iter().any(is_global)
    }

    fn announce(&self) {
        let node = &self.node;
        // Programs parse this line.
        tracing::info!("node {}", node.id());
        tracing::info!("listening on {} (quic)", node.local_addr());
        let reachable: Vec<String> =
            node.reachable_addrs().iter().map(SocketAddr::to_string).collect();
        tracing::info!("advertising {}", reachable.join(", "));
        if !self.peers.is_empty() {
            tracing::info!("bootstrapping from {} peer(s)", self.peers.len());
        }
        if self.remembered > 0 {
            tracing::info!("trying {} peer(s) of the last run", self.remembered);
        }
    }
}

/// The peers of the last run, kept beside the key file. That they can not be used is no reason not
/// to start.
fn open_peer_file(key_path: &Path) -> PeerFile {
    let path = PeerFile::beside(key_path);
    PeerFile::open(&path).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        PeerFile::afresh(&path)
    })
}

/// Whether an address can be dialed from anywhere, by its range alone.
fn is_global(addr: &SocketAddr) -> bool {
    scope(addr.ip()) == Some(Scope::Global) && addr.port() != 0
}

/// `nodenet run`.
pub(crate) async fn run(
    args: RunArgs,
    signals: Signals,
    outputs: &Outputs,
) -> Result<ExitCode, CommandError> {
    let lines = JsonLines::new(args.json, &outputs.out);
    let ended = route(&args, signals, &lines, outputs).await;
    // However it ends, the last line tells.
    lines.print_last(&match &ended {
        Ok(()) => json_lines::stopped(),
        Err(error) => json_lines::failed(error),
    });
    ended.map(|()| ExitCode::SUCCESS)
}

async fn route(
    args: &RunArgs,
    mut signals: Signals,
    lines: &JsonLines,
    outputs: &Outputs,
) -> Result<(), CommandError> {
    let running = Running::start(&args.node, &mut signals, &outputs.err).await?;
    let node = running.node.clone();
    let deliveries = node.deliveries();
    let mut events = node.events();
    let mut ticks = tokio::time::interval(TICK_INTERVAL);
    let mut stats_ticks = args.stats_interval().map(interval_from_now);
    let mut tick_count = 0;
    let mut watch = Watch::new(now());
    let mut limit = RateLimit::new(now());

    running.announce();
    let line = running.bootstrap_line();
    lines.print_with(|| json_lines::started(&node, line.as_deref()));
    announce_bootstrap_line(line, args.json, &outputs.out);
    // A node that is closed answers nothing. The next round says why it is.
    loop {
        tokio::select! {
            _ = signals.stop() => break,
            ended = node.closed() => {
                ended?;
                break;
            }
            Some(delivery) = deliveries.recv() => {
                lines.print_with(|| json_lines::message(&delivery));
                log_message(&delivery, &mut limit);
            }
            Some(event) = events.recv() => {
                lines.print_with(|| json_lines::event(&event));
                tell(lines, running.observe(&mut watch, &event).await);
            }
            _ = ticks.tick() => {
                tell(lines, watch.handle_tick(now()));
                tell(lines, watch.handle_reachability(now(), running.is_globally_reachable()));
                tell(lines, watch.handle_missed_lines(now(), lines.missed(), lines.problem()));
                tick_count += 1;
                if tick_count % TICKS_PER_SUMMARY == 0 && let Ok(stats) = node.stats().await {
                    tell(lines, watch.handle_stats(&stats.protocol));
                }
            }
            () = next_tick(&mut stats_ticks) => if let Ok(stats) = node.stats().await {
                lines.print_with(|| json_lines::stats(&stats));
            },
        }
    }
    tracing::info!("shutting down");
    running.leave().await
}

/// Ticks, the first after one period. Those that come too late are left out.
fn interval_from_now(period: Duration) -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Waits for the next tick; for ever where there are none. Cancel safe.
async fn next_tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

fn announce_bootstrap_line(line: Option<String>, json: bool, out: &Output) {
    match line {
        Some(_) if json => {}
        Some(line) => {
            tracing::info!("others join through this node with --bootstrap and this line:");
            out.say(line);
        }
        None => tracing::warn!("this machine has no address that others could join through"),
    }
}

/// Says it to people, and what is a warning to programs as well.
fn tell(lines: &JsonLines, remarks: impl IntoIterator<Item = Notice>) {
    for remark in remarks {
        remark.log();
        if let Notice::Warning(warning, text) = remark {
            lines.print_with(|| json_lines::warning(warning, &text));
        }
    }
}

fn log_message(delivery: &Delivery, limit: &mut RateLimit) {
    let Some(suppressed) = limit.allow(now()) else { return };
    if suppressed > 0 {
        tracing::info!("{suppressed} more messages, not shown");
    }
    tracing::info!(
        "message from {} ({} bytes, {}): {}",
        delivery.originator,
        delivery.payload.len(),
        describe_path(delivery.path),
        preview(&delivery.payload)
    );
}

/// How a message came, for people.
pub(crate) fn describe_path(path: DeliveryPath) -> String {
    match path {
        DeliveryPath::Direct => "direct".to_owned(),
        DeliveryPath::Routed { hops: 1 } => "routed, 1 hop".to_owned(),
        DeliveryPath::Routed { hops } => format!("routed, {hops} hops"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_global;

    #[test]
    fn an_address_that_nobody_has_is_not_reachable_from_anywhere() {
        let is_global = |addr: &str| is_global(&addr.parse().unwrap());
        for addr in ["8.8.8.8:1", "[2001:4860::8]:1"] {
            assert!(is_global(addr), "{addr}");
        }
        for addr in [
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            "[ff0e::1]:1",
            "255.255.255.255:1",
            "8.8.8.8:0",
            "127.0.0.1:1",
            "10.0.0.1:1",
            "100.64.0.1:1",
            "169.254.0.1:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert!(!is_global(addr), "{addr}");
        }
    }
}
