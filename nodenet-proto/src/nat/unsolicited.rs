//! Edges that peers open to where this node never sent anything.
//!
//! Responsible for: whether such an edge says that any node can reach this one. Never: asks a
//! prober, which [`super::reachability`] chooses.

use std::net::SocketAddr;

use super::destinations::network;
use super::{Action, Nat};
use crate::addr::{Scope, scope};
use crate::context::Context;

/// Peers that open edges from where this node never sent anything before it calls itself reachable
/// (a guess).
const UNSOLICITED_MIN: u8 = 2;

impl Nat {
    /// A peer opened an edge from this address. If nothing was ever sent there, no mapping and no
    /// filter that this node opened let it in.
    pub(super) fn handle_opened(&mut self, cx: &mut Context<'_, Action>, remote: SocketAddr) {
        if self.is_unsent_to(remote) {
            self.test.handle_reached(cx.now);
        }
        if cx.own.is_outside(remote) && !self.has_sent_to(remote) {
            self.unsolicited = self.unsolicited.saturating_add(1);
            if self.unsolicited == UNSOLICITED_MIN {
                cx.own.set_reachable(true);
            }
        }
    }

    /// Whether this node never sent to that network, so that no mapping of its NAT lets it in.
    pub(super) fn is_unsent_to(&self, remote: SocketAddr) -> bool {
        let of = |remote: &SocketAddr| network(remote.ip());
        scope(remote.ip()) == Some(Scope::Global)
            && !self.neighbours.values().any(|known| of(&known) == of(&remote))
            && !self.report.addrs.iter().any(|own| of(own) == of(&remote))
            && !self.destinations.networks().contains(&of(&remote))
    }

    /// Whether this node sent to that host, so that a filter may let it in, or shares its NAT with
    /// it. On the loopback interface each port is a host.
    fn has_sent_to(&self, remote: SocketAddr) -> bool {
        let is_same = |known: SocketAddr| {
            known.ip() == remote.ip()
                && (known.port() == remote.port() || !known.ip().is_loopback())
        };
        self.neighbours.values().any(is_same)
            || self.report.addrs.iter().any(|own| is_same(*own))
            || self.destinations.iter().any(is_same)
    }
}
