//! Reports of the engine's state: counters, gauges, edges, and peers worth remembering.

use std::net::SocketAddr;

use super::Engine;
use crate::NodeId;
use crate::api::{Disclosure, EdgeInfo, Explanation, KnownPeer, NatReport, RelayReport};
use crate::overlay::edges::Edge;
use crate::rendezvous::Questions;
use crate::stats::{Gauges, Stats};
use crate::transport::Conns;
use crate::wire::Capabilities;

impl Engine {
    /// Counters of everything above the boundary. [`Self::gauges`] has the gauges.
    pub fn stats(&self) -> &Stats {
        self.env.stats()
    }

    /// How full every table above the boundary is now. Reads all of them.
    pub fn gauges(&self) -> Gauges {
        let mut overlay = self.overlay.gauges();
        self.rendezvous.fill_gauges(&mut overlay);
        self.nat.fill_gauges(&mut overlay);
        self.relay.fill_gauges(&mut overlay);
        Gauges {
            timers: self.timers.len() as u64,
            held_messages: self.held.len() as u64,
            dial_targets: overlay.dial_targets + self.connect.contacts() as u64,
            ..overlay
        }
    }

    /// What this node knows of its own address, the NAT in front of it and its reachability.
    pub fn nat_report(&self) -> &NatReport {
        self.nat.report()
    }

    /// What happened in the last attempt to connect to `peer` that the application asked for, and
    /// why the path is not direct. Nothing if there was none, or if it was long ago.
    pub fn explain(&self, peer: &NodeId) -> Option<Explanation> {
        self.connect.explain(peer)
    }

    /// The addresses that any node is told that asks for those of this one.
    pub fn named_addrs(&self) -> Vec<SocketAddr> {
        match self.env.config().address_policy.disclosure(false) {
            Disclosure::Addresses => self.env.own().addrs().to_vec(),
            Disclosure::Volunteers => Vec::new(),
        }
    }

    /// What this node does as a relay volunteer.
    pub fn relay_report(&self) -> RelayReport {
        self.relay.report(self.env.own())
    }

    /// The live edges, nearest to this node first.
    pub fn edges(&self, conns: &dyn Conns) -> Vec<EdgeInfo> {
        let (now, own) = (self.env.now(), self.id());
        let info = |edge: &Edge| {
            let path = conns.path(edge.send_conn().id)?;
            let Questions { asked, unanswered, .. } = self.rendezvous.questions_over(&edge.peer);
            Some(EdgeInfo {
                peer: edge.peer,
                outgoing: edge.is_outgoing(),
                sibling: edge.is_sibling(),
                remote: path.remote,
                relayed_by: self.relay.is_relayed(path.remote),
                relays: self
                    .overlay
                    .capabilities(&edge.peer)
                    .is_some_and(|(caps, _)| caps.has(Capabilities::CAN_RELAY)),
                rtt: path.rtt,
                conns: edge.conn_count() as u8,
                age: now.saturating_duration_since(edge.since),
                idle: now.saturating_duration_since(edge.heard()),
                questions: asked,
                unanswered,
            })
        };
        let mut edges: Vec<EdgeInfo> = self.overlay.edges().iter().filter_map(info).collect();
        edges.sort_by(|a, b| own.compare_distance(&a.peer, &b.peer));
        edges
    }

    /// Peers worth keeping across a restart, best first, spread over the network. Those with a
    /// verified address come first, then those that signed theirs. Live edges without either come
    /// last, at the current address of their conn. Pass them to
    /// [`crate::api::Command::ImportPeers`] at the next start.
    pub fn export_peers(&self, conns: &dyn Conns) -> Vec<KnownPeer> {
        self.overlay.export(conns)
    }
}
