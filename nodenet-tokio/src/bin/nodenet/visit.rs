//! Short-lived node of a command that ends with a result: `connect`, `ping`, `doctor`.
//!
//! Its identity is a throw-away one unless a key file is named, so that a command can run beside a
//! node of this machine, whose key file is locked.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use nodenet_tokio::key_file::KeyFile;
use nodenet_tokio::peer_file::Keeper;
use nodenet_tokio::proto::identity::Identity;
use nodenet_tokio::{
    BootstrapPeer, Builder, ConnectError, EdgeInfo, Event, Node, NodeEvent, NodeEvents, NodeId,
    ParseBootstrapError,
};
use tokio::time::{sleep, timeout_at};

use crate::args::{LogLevel, parse_listen_addr};
use crate::clock::now;
use crate::output::Output;
use crate::session::open_peer_file;
use crate::signals::Signals;
use crate::{CommandError, identity};

/// Longest wait for neighbours to agree on this node's address (a guess: a lookup and a few dials).
const ADDRESS_BOUND: Duration = Duration::from_millis(2_500);
/// The same while there are fewer than [`REPORTERS_MIN`] edges.
const FEW_EDGES_BOUND: Duration = Duration::from_millis(700);
/// Edges below which no address is confirmed (PROTOCOL.md#own-address).
const REPORTERS_MIN: usize = 3;
/// Time between two looks at the node (guess).
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for the node to leave (guess).
const LEAVE_BOUND: Duration = Duration::from_secs(2);

/// Flags of a short-lived node.
#[derive(Debug, Args)]
pub(crate) struct VisitArgs {
    /// Nodes to join through, separated by commas. With --seed the peers that were kept beside the
    /// key file are tried as well.
    #[arg(long, value_name = "ID@HOST:PORT,…", default_value = "", hide_default_value = true)]
    pub(crate) bootstrap: PeerList,
    /// Key file of the node. Without it the identity is a throw-away one, and nothing is kept.
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    pub(crate) seed: Option<PathBuf>,
    /// Leading zero bits that each identifier in the network must have.
    #[arg(long, value_name = "BITS", default_value_t = 0, allow_negative_numbers = true)]
    pow: i64,
    /// UDP address to listen on. No host means all interfaces, port 0 a free one. [default: :0]
    #[arg(
        long, value_name = "HOST:PORT", default_value = "", hide_default_value = true,
        value_parser = parse_listen_addr
    )]
    listen: SocketAddr,
    /// Level of the log on standard error. Without this flag the environment variable RUST_LOG
    /// decides; without both it is error.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) log_level: Option<LogLevel>,
}

impl VisitArgs {
    /// The difficulty. Negative values mean 0.
    pub(crate) fn difficulty(&self) -> u16 {
        u16::try_from(self.pow.max(0)).unwrap_or(u16::MAX)
    }
}

/// Bootstrap peers, separated by commas.
#[derive(Debug, Clone)]
pub(crate) struct PeerList(pub(crate) Vec<BootstrapPeer>);

impl FromStr for PeerList {
    type Err = ParseBootstrapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        BootstrapPeer::parse_list(text).map(Self)
    }
}

/// A short-lived node with its files.
pub(crate) struct Visit {
    pub(crate) node: Node,
    /// When it was started.
    pub(crate) begun: Instant,
    /// Peers to join through.
    peers: usize,
    events: NodeEvents,
    keeper: Option<Keeper>,
    /// Holds the lock of the key file.
    _key_file: Option<KeyFile>,
}

/// Why a node has no edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotJoined {
    /// There is nothing to join through.
    NoPeers,
    /// The last reason that a bootstrap peer failed for, if there is one.
    NoEdge(Option<ConnectError>),
}

impl fmt::Display for NotJoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeers => f.write_str("there is no node to join through; give --bootstrap"),
            Self::NoEdge(None) => f.write_str(
                "no node to join through answered in time; `nodenet doctor` with the same \
                 --bootstrap says more",
            ),
            Self::NoEdge(Some(error)) => write!(
                f,
                "no edge to a node to join through ({error}); `nodenet doctor` with the same \
                 --bootstrap says more"
            ),
        }
    }
}

impl Visit {
    /// Starts the node. `adjust` may change its settings.
    pub(crate) async fn start(
        args: &VisitArgs,
        signals: &mut Signals,
        err: &Output,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, CommandError> {
        let socket = nodenet_tokio::bind(args.listen)?;
        let difficulty = args.difficulty();
        let (identity, key_file, peer_file) = match &args.seed {
            Some(path) => {
                let key_file = identity::load_or_mint(path, difficulty, signals, err).await?;
                (key_file.identity(), Some(key_file), Some(open_peer_file(path)))
            }
            None => (throw_away(difficulty, signals, err).await?, None, None),
        };
        let known = peer_file.as_ref().map(|file| file.peers().to_vec()).unwrap_or_default();
        let peers = args.bootstrap.0.len() + known.len();
        let builder = Node::builder(identity)
            .socket(socket)
            .bootstrap(args.bootstrap.0.clone())
            .known_peers(known)
            .difficulty(difficulty);
        let begun = now();
        let node = adjust(builder).start().await?;
        let events = node.events();
        let keeper = peer_file.map(|file| file.keep(&node));
        Ok(Self { node, begun, peers, events, keeper, _key_file: key_file })
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.begun)
    }

    /// Whether there are peers to join through.
    pub(crate) fn has_peers(&self) -> bool {
        self.peers > 0
    }

    /// Waits for the first edge until then.
    pub(crate) async fn join(&mut self, give_up_at: Instant) -> Result<EdgeInfo, NotJoined> {
        if !self.has_peers() {
            return Err(NotJoined::NoPeers);
        }
        let mut last = None;
        loop {
            // A closed node has no edges.
            if let Some(edge) = self.node.edges().await.unwrap_or_default().first() {
                return Ok(edge.clone());
            }
            match timeout_at(give_up_at.into(), self.events.recv()).await {
                Ok(Some(NodeEvent::Protocol(Event::BootstrapFailed { error, .. }))) => {
                    last = Some(error);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Err(NotJoined::NoEdge(last)),
            }
        }
    }

    /// Waits a little for neighbours to agree on this node's address: a peer behind a NAT punches
    /// towards it. Ends early with an edge to `peer`. Returns what is known then.
    pub(crate) async fn learn_own_address(
        &self,
        peer: NodeId,
        give_up_at: Instant,
    ) -> Vec<SocketAddr> {
        let begun = now();
        loop {
            let addrs = self.node.nat_report().await.map(|nat| nat.addrs).unwrap_or_default();
            let edges = self.node.edges().await.unwrap_or_default();
            let bound = if edges.len() < REPORTERS_MIN { FEW_EDGES_BOUND } else { ADDRESS_BOUND };
            let is_there = edges.iter().any(|edge| edge.peer == peer);
            if is_there || !addrs.is_empty() || now() >= (begun + bound).min(give_up_at) {
                return addrs;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Leaves the network.
    pub(crate) async fn leave(self) {
        if let Some(keeper) = self.keeper {
            keeper.finish().await;
        }
        // The result of the command stands, however the node ends.
        let _ = tokio::time::timeout(LEAVE_BOUND, self.node.shutdown()).await;
    }
}

/// An identity that is kept nowhere.
async fn throw_away(
    difficulty: u16,
    signals: &mut Signals,
    err: &Output,
) -> Result<Identity, CommandError> {
    let seed = match difficulty {
        0 => nodenet_tokio::mint::random_seed()?,
        _ => identity::mint(difficulty, signals, err).await?,
    };
    Ok(Identity::from_master_seed(&seed))
}
