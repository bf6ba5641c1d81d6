//! Session of one node: its start with key file and peer file, its end, and texts about it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nodenet_tokio::key_file::KeyFile;
use nodenet_tokio::peer_file::{Keeper, PeerFile};
use nodenet_tokio::proto::addr::{Scope, scope};
use nodenet_tokio::relay_file::{RelayFile, RelayKeeper};
use nodenet_tokio::{BootstrapPeer, DeliveryPath, Node, NodeEvent, RelayReport};

use crate::args::{NodeArgs, cap};
use crate::clock::now;
use crate::health::{Health, Notice};
use crate::output::Output;
use crate::signals::Signals;
use crate::{CommandError, identity};

/// Time between two checks of the health of a node (guess).
pub(crate) const TICK_INTERVAL: Duration = Duration::from_secs(5);

/// A running node with its files.
pub(crate) struct Session {
    pub(crate) node: Node,
    peers: Vec<BootstrapPeer>,
    /// Number of peers from the last run.
    remembered: usize,
    keeper: Keeper,
    /// Writes what the node relays, if it has a quota.
    relay_keeper: Option<RelayKeeper>,
    /// Holds the lock of the key file.
    _key_file: KeyFile,
}

impl Session {
    /// Starts a node from the flags, in the order of PROTOCOL.md#start-order, but binds before it
    /// mints: an address in use is an error before the search, not after it.
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
        let relay_file = match args.relay_quota() {
            Some(_) => Some(RelayFile::open(&RelayFile::beside(&path))?),
            None => None,
        };
        let mut builder = Node::builder(key_file.identity())
            .socket(socket)
            .bootstrap(peers.clone())
            .known_peers(peer_file.peers().to_vec())
            .difficulty(difficulty)
            .max_inbound(cap(args.max_inbound))
            .max_inbound_per_address(cap(args.max_inbound_per_ip))
            .profile(args.profile())
            .advertise(args.advertise.iter().copied())
            .hard_punch(args.hard_punch())
            .relay(args.relay())
            .relay_rate(args.relay_rate())
            .relay_for(args.relay_for().iter().copied());
        if let (Some(bytes_per_month), Some(file)) = (args.relay_quota(), &relay_file) {
            builder = builder.relay_quota(bytes_per_month, file.usage());
        }
        let node = builder.start().await?;
        let remembered = peer_file.peers().len();
        let keeper = peer_file.keep(&node);
        let relay_keeper = relay_file.map(|file| file.keep(&node));
        Ok(Self { node, peers, remembered, keeper, relay_keeper, _key_file: key_file })
    }

    /// Saves the peers for the next start and leaves the network.
    pub(crate) async fn leave(self) -> Result<(), CommandError> {
        self.keeper.finish().await;
        if let Some(keeper) = self.relay_keeper {
            keeper.finish().await;
        }
        Ok(self.node.shutdown().await?)
    }

    /// Hands an event to `health`, and returns the notices that follow.
    pub(crate) async fn observe(&self, health: &mut Health, event: &NodeEvent) -> Vec<Notice> {
        if matches!(event, NodeEvent::Missed(_)) {
            // A node that is closed has no edges.
            health.handle_edges(now(), &self.node.edges().await.unwrap_or_default());
        }
        health.handle_event(now(), event)
    }

    /// The value of `--bootstrap` with which another node joins through this one.
    pub(crate) fn bootstrap_line(&self) -> Option<String> {
        let addr = *self.node.reachable_addrs().first()?;
        Some(BootstrapPeer::new(self.node.id(), addr).to_string())
    }

    /// Whether some address of this node can be dialed from anywhere, as far as this machine knows.
    pub(crate) fn is_globally_reachable(&self) -> bool {
        // A node on a given address is where its operator wants it.
        let bound_to_wildcard = self.node.local_addr().ip().is_unspecified();
        !bound_to_wildcard || self.node.reachable_addrs().iter().any(is_global)
    }

    /// Logs whether the node relays for others, if it is set to and that changed.
    pub(crate) async fn announce_relaying(&self, known: &mut Option<RelayReport>) {
        let Ok(report) = self.node.relay_report().await else { return };
        let is_news = known.is_none_or(|known| known.obstacle != report.obstacle);
        if report.volunteer && is_news {
            match report.obstacle {
                Some(obstacle) => tracing::warn!("not relaying for others: {obstacle}"),
                None => tracing::info!("relaying for others"),
            }
        }
        *known = Some(report);
    }

    /// Logs the identifier and the addresses of the node.
    pub(crate) fn announce(&self) {
        let node = &self.node;
        // Programs parse these two lines.
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

/// The peer file beside the key file. One that can not be used does not prevent the start.
pub(crate) fn open_peer_file(key_path: &Path) -> PeerFile {
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

/// The path of a message, for people.
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
    fn an_address_of_no_single_host_is_not_globally_reachable() {
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
