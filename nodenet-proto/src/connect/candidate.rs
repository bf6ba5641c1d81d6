//! Candidate addresses of a peer (RFC 8445 §5.1), each with its source.

use std::net::SocketAddr;

use crate::addr::{PEER_ADDRS_MAX, Scope, canonical, scope};
use crate::context::Context;
use crate::stats::DropReason;

/// Source of a candidate address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The operator or the application, or the application asked for the peer.
    Given,
    /// The peer proved its identifier there.
    Verified,
    /// The peer signed it, or others gossiped it.
    Unverified,
}

/// An address at which a peer may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The address.
    pub(crate) addr: SocketAddr,
    /// Its source.
    pub(crate) source: Source,
    /// Whether the peer itself says that any node reaches it there.
    pub(crate) is_open: bool,
}

impl Candidate {
    /// An address that the operator or the application named.
    pub(crate) const fn given(addr: SocketAddr) -> Self {
        Self { addr, source: Source::Given, is_open: true }
    }

    /// Whether a packet that arrives before the peer has sent does no harm: there is no NAT whose
    /// port it could move (PROTOCOL.md#early-packets).
    pub(crate) fn may_be_early(&self) -> bool {
        self.is_open || !is_early(self.addr)
    }
}

/// Whether a packet to this address may come too early at a router: there may be a NAT.
pub(super) fn is_early(addr: SocketAddr) -> bool {
    scope(addr.ip()) == Some(Scope::Global)
}

/// The first eight of `candidates` that one host can answer at, in canonical form. Addresses of
/// this machine are allowed: an operator, unlike a peer, may mean them.
pub(crate) fn dialable<A>(
    cx: &mut Context<'_, A>,
    candidates: impl IntoIterator<Item = Candidate>,
) -> Vec<Candidate> {
    let mut dialable: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let addr = canonical(candidate.addr);
        if addr.port() == 0 || scope(addr.ip()).is_none() {
            cx.discard(DropReason::ImplausibleAddress);
        } else if dialable.len() < PEER_ADDRS_MAX && !dialable.iter().any(|c| c.addr == addr) {
            dialable.push(Candidate { addr, ..candidate });
        }
    }
    dialable
}
