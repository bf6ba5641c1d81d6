//! In-memory network for whole nodes, so that an application can test a cluster of itself.
//!
//! A [`Hub`] stands in for the network. Nodes on it are ordinary [`crate::Node`]s, driven by the
//! same task as over UDP; only their sockets, their wall clock and their randomness come from the
//! hub. Between them lie links with latency, jitter, loss and a rate, which a test can change, cut
//! and heal, and NAT boxes if the test puts hosts behind them ([`Hub::add_nat`]).
//!
//! Under tokio's paused clock virtual minutes pass at once, and a run is a function of the hub's
//! seed and of what the application does. For that, start the runtime with `start_paused = true`,
//! make identities from numbers ([`Hub::builder`]), and write `biased;` into each `select!` of the
//! application, which is random otherwise. Without the paused clock a hub works in real time.
//!
//! ```
//! use std::time::Duration;
//! use nodenet_tokio::testing::{Hub, LinkProfile};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let hub = Hub::new(7);
//!     hub.set_links(LinkProfile::WAN);
//!     let first = hub.builder(1).start().await?;
//!     let mut cluster = vec![first.clone()];
//!     for number in 2..=5 {
//!         cluster.push(hub.builder(number).bootstrap([hub.peer(1)]).start().await?);
//!     }
//!     tokio::time::sleep(Duration::from_secs(60)).await;
//!
//!     cluster[4].send(first.id(), "hello").await?;
//!     let delivery = first.deliveries().recv().await.expect("the node runs");
//!     assert_eq!(delivery.originator, cluster[4].id());
//!
//!     hub.partition([first.local_addr()]);
//!     let _ = cluster[4].send(first.id(), "is this node there?").await;
//!     let waiting = tokio::time::timeout(Duration::from_secs(1), first.deliveries().recv()).await;
//!     assert!(waiting.is_err(), "nothing crosses the cut");
//!     hub.heal();
//!     Ok(())
//! }
//! ```

mod network;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use nodenet_proto::env::{Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::testkit::{NatBox, Realm};

pub use network::HubStats;
pub use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatConfig, Pooling, PortAllocation,
    SourceRule,
};
pub use nodenet_proto::testkit::{LinkProfile, LossBursts};

use crate::bootstrap::BootstrapPeer;
use crate::builder::Builder;
use crate::clock;
use crate::node::Node;
use crate::platform::{Platform, Socket};
use network::{Network, PORT, host_ip, nat_ips};
use socket::HubSocket;

/// Wall time at the start of the first node: 2026-01-01 00:00 UTC, chosen freely.
const WALL_AT_START: i64 = 1_767_225_600_000_000_000;

/// An in-memory network. Clones are handles to the same one.
///
/// A host is an IP address, so where a method takes a [`SocketAddr`] for a host its port does not
/// matter. Each host reaches each other, across address families.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    seed: Seed,
    /// Never held across a call into a node or a waker.
    network: Mutex<Network>,
}

impl Hub {
    /// A network without nodes. Every link is a [`LinkProfile::REGION`].
    ///
    /// All randomness, here and in the nodes, comes from `seed`. The fate of a datagram depends
    /// only on the seed, its link, and how many datagrams went before it on that link.
    pub fn new(seed: u64) -> Self {
        let seed = Seed::from_u64(seed);
        let network = Mutex::new(Network::new(seed.child("network", 0)));
        Self(Arc::new(Shared { seed, network }))
    }

    /// Prepares node `number`, with its own identity, at [`Hub::addr`] of the same number. For
    /// another identity use [`Builder::hub`].
    pub fn builder(&self, number: u32) -> Builder {
        Node::builder(self.identity(number)).hub(self).bind(self.addr(number))
    }

    /// Node `number` as a bootstrap peer of others.
    pub fn peer(&self, number: u32) -> BootstrapPeer {
        BootstrapPeer::new(self.identity(number).id(), self.addr(number))
    }

    /// The address of node `number`.
    pub fn addr(&self, number: u32) -> SocketAddr {
        SocketAddr::new(host_ip(number), PORT)
    }

    /// Sets the profile of all links without a profile of their own, for datagrams sent from now
    /// on.
    ///
    /// # Panics
    /// If the loss is not a share, or latency and jitter together are longer than a day.
    pub fn set_links(&self, profile: LinkProfile) {
        profile.check();
        self.with_network(|network| network.set_default_profile(profile));
    }

    /// Gives the link between two hosts a profile of its own, in both directions.
    ///
    /// # Panics
    /// If the loss is not a share, or latency and jitter together are longer than a day.
    pub fn set_link(&self, a: SocketAddr, b: SocketAddr, profile: LinkProfile) {
        self.set_link_one_way(a, b, profile);
        self.set_link_one_way(b, a, profile);
    }

    /// Gives one direction between two hosts a profile of its own.
    ///
    /// # Panics
    /// If the loss is not a share, or latency and jitter together are longer than a day.
    pub fn set_link_one_way(&self, from: SocketAddr, to: SocketAddr, profile: LinkProfile) {
        profile.check();
        self.with_network(|network| network.set_profile(from.ip(), to.ip(), profile));
    }

    /// Puts these hosts behind one NAT box with addresses of its own. Other hosts see them there.
    /// The box is inside of those that the hosts are behind already: that of a carrier comes first.
    ///
    /// The kind is a [`LinuxConfig`], the usual router of a household, a [`NatConfig`] in the terms
    /// of RFC 4787, or another [`BoxKind`]. A link to or from these hosts is one to or from the
    /// addresses of the box, which [`Self::set_link`] does not name: it has the profile of
    /// [`Self::set_links`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use nodenet_tokio::testing::{Hub, LinuxConfig};
    ///
    /// #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let hub = Hub::new(7);
    ///     let router = hub.add_nat([hub.addr(2)], LinuxConfig::default());
    ///     let public = hub.builder(1).start().await?;
    ///     let hidden = hub.builder(2).bootstrap([hub.peer(1)]).start().await?;
    ///     tokio::time::sleep(Duration::from_secs(5)).await;
    ///     public.send(hidden.id(), "over the edge that it dialed").await?;
    ///     assert!(hidden.deliveries().recv().await.is_some());
    ///     router.restart();
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Panics
    /// If the configuration has no ports, or the hosts are not all behind the same box.
    pub fn add_nat(
        &self,
        hosts: impl IntoIterator<Item = SocketAddr>,
        kind: impl Into<BoxKind>,
    ) -> HubNat {
        let (hosts, kind) = (hosts.into_iter().map(|addr| addr.ip()), kind.into());
        let realm = self.with_network(|network| {
            network.add_gateway(hosts, |seed, number| NatBox::new(kind, nat_ips(number), seed))
        });
        HubNat { hub: self.clone(), realm }
    }

    /// Puts these hosts behind one stateful firewall.
    ///
    /// # Panics
    /// If the hosts are not all behind the same box.
    pub fn add_firewall(
        &self,
        hosts: impl IntoIterator<Item = SocketAddr>,
        filtering: Behavior,
    ) -> HubNat {
        let hosts = hosts.into_iter().map(|addr| addr.ip());
        let realm = self.with_network(|network| {
            network.add_gateway(hosts, |seed, _| NatBox::firewall(filtering, seed))
        });
        HubNat { hub: self.clone(), realm }
    }

    /// Splits these hosts from all others. Links among them stay as they are; datagrams on their
    /// way across the cut are lost. Another call splits off other hosts, or moves these.
    ///
    /// To crash a node, split it off before you drop its handles: no peer receives its Leave then.
    pub fn partition(&self, hosts: impl IntoIterator<Item = SocketAddr>) {
        let hosts = hosts.into_iter().map(|addr| addr.ip());
        self.with_network(|network| network.partition(clock::now(), hosts));
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.with_network(|network| network.heal(clock::now()));
    }

    /// Makes the sockets of a host refuse datagrams, as if the send buffer of the system were full,
    /// or accept them again.
    pub fn set_send_buffer_full(&self, host: SocketAddr, full: bool) {
        self.with_network(|network| network.set_full(host.ip(), full));
    }

    /// Counters of datagrams so far.
    pub fn stats(&self) -> HubStats {
        self.with_network(|network| network.stats(clock::now()))
    }

    fn identity(&self, number: u32) -> Identity {
        let seed = self.0.seed.child("identity", number.into());
        Identity::from_master_seed(&seed.bytes("master seed"))
    }

    /// Calls `act` with the network, and then the wakers of the sockets that it concerns.
    fn with_network<T>(&self, act: impl FnOnce(&mut Network) -> T) -> T {
        let mut network = self.0.network.lock().expect("no call panics while it holds the network");
        let result = act(&mut network);
        let wake = network.take_wakers();
        drop(network);
        wake.into_iter().for_each(std::task::Waker::wake);
        result
    }
}

/// A NAT box or firewall of a [`Hub`]. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct HubNat {
    hub: Hub,
    /// The realm inside.
    realm: Realm,
}

impl HubNat {
    /// Reboots the box: it loses all mappings, and has the same addresses afterwards.
    pub fn restart(&self) {
        self.hub.with_network(|network| network.restart_nat(clock::now(), self.realm, false));
    }

    /// Reboots the box: it loses all mappings, and has other addresses afterwards. A firewall has
    /// none before and after.
    pub fn restart_elsewhere(&self) {
        self.hub.with_network(|network| network.restart_nat(clock::now(), self.realm, true));
    }

    /// Leads an external port to a socket inside, as a port mapping of the user does.
    pub fn forward_port(&self, port: u16, to: SocketAddr) {
        self.with_nat(|nat| nat.forward_port(port, to));
    }

    /// The external addresses of the box.
    pub fn external(&self) -> Vec<IpAddr> {
        self.with_nat(|nat| nat.external().to_vec())
    }

    /// Datagrams that the box dropped.
    pub fn drops(&self) -> u64 {
        self.with_nat(|nat| nat.drops_total())
    }

    fn with_nat<T>(&self, act: impl FnOnce(&mut NatBox) -> T) -> T {
        self.hub.with_network(|network| network.nat(clock::now(), self.realm, act))
    }
}

impl Platform for Hub {
    fn bind(&self, addr: SocketAddr) -> io::Result<Box<dyn Socket>> {
        Ok(Box::new(HubSocket::bind(self, addr)?))
    }

    fn wall(&self) -> UnixNanos {
        let elapsed = self.with_network(|network| network.elapsed(clock::now())).as_nanos();
        UnixNanos(WALL_AT_START.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX)))
    }

    fn node_seed(&self, local_addr: SocketAddr) -> Result<Seed, getrandom::Error> {
        Ok(self.with_network(|network| network.node_seed(local_addr.ip())))
    }

    fn reachable_addrs(&self, socket: &dyn Socket, _allow_local: bool) -> Vec<SocketAddr> {
        vec![socket.local_addr()]
    }
}

impl Builder {
    /// Runs the node on an in-memory network, for tests. It gets a host of its own, unless an
    /// address is bound after this call.
    pub fn hub(self, hub: &Hub) -> Self {
        self.platform(Arc::new(hub.clone()))
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({:?})", self.stats())
    }
}
