//! Session of one node of the program: its files, its start, its end, and what commands show of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nodenet_tokio::key_file::KeyFile;
use nodenet_tokio::peer_file::{Keeper, PeerFile};
use nodenet_tokio::proto::addr::{Scope, scope};
use nodenet_tokio::{BootstrapPeer, DeliveryPath, Node, NodeEvent};

use crate::args::{NodeArgs, cap};
use crate::clock::now;
use crate::health::{Health, Notice};
use crate::output::Output;
use crate::signals::Signals;
use crate::{CommandError, identity};

/// Time between two looks at whether something is to be said.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_secs(5);

/// A node and what it must not be without.
pub(crate) struct Session {
    pub(crate) node: Node,
    peers: Vec<BootstrapPeer>,
    /// Peers of the last run.
    remembered: usize,
    keeper: Keeper,
    /// Keeps the key file locked.
    _key_file: KeyFile,
}

impl Session {
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
    pub(crate) async fn observe(&self, health: &mut Health, event: &NodeEvent) -> Vec<Notice> {
        if matches!(event, NodeEvent::Missed(_)) {
            // A node that is closed has no edges.
            health.handle_edges(now(), &self.node.edges().await.unwrap_or_default());
        }
        health.handle_event(now(), event)
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

    /// Logs what the node is and where it listens.
    pub(crate) fn announce(&self) {
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
