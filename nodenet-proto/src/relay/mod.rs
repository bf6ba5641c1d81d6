//! Relay service: volunteers that pass a pair's datagrams on, the two ends that ask for it, and
//! which addresses belong to relays (PROTOCOL.md#relay-volunteers).
//!
//! Responsible for: which requests this node serves, which binds it obeys, which volunteers it
//! asks, and how long it waits for one. Never: dials, punches, or touches a datagram of a pair;
//! `splice` passes those on.
//!
//! | part | what it is for |
//! |---|---|
//! | `volunteer` | sessions of pairs that this node relays for, and their shares |
//! | `request` | requests of this node to volunteers |
//! | `paths` | addresses of volunteers at which other peers seem to be |

mod paths;
mod request;
mod volunteer;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::paths::Paths;
use self::request::Searches;
use self::volunteer::Volunteer;
use crate::NodeId;
use crate::addr::canonical;
use crate::api::{AddressPolicy, Config, Month, RelayReport};
use crate::context::Context;
use crate::env::UnixNanos;
use crate::stats::{DropReason, Gauges};
use crate::transport::{Command, SpliceId, SpliceOverReason};
use crate::wire::nat::{
    MarkedRelayRequest, RefusedGrant, RelayAnswer, RelayBind, RelayGrant, punch_target,
};
use crate::wire::{Addr, Decode};

pub(crate) use self::request::RelayUnavailable;

/// Volunteers that a node names to others (a guess: as many as a caller asks at once).
const NAMED_MAX: usize = 2;

/// What says that a neighbour relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// Nothing.
    None,
    /// Other nodes.
    Gossiped,
    /// Itself.
    Signed,
}

/// An edge, as far as relaying depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// The peer.
    pub(crate) peer: NodeId,
    /// Where it is.
    pub(crate) remote: SocketAddr,
    /// Whether this node dialed any of its conns.
    pub(crate) is_dialed: bool,
    /// Whether it relays.
    pub(crate) claim: Claim,
    /// Its round-trip time in milliseconds, if it is known.
    pub(crate) rtt_ms: Option<u16>,
}

/// The edges of this node, which the engine knows.
pub(crate) trait Neighbours {
    /// The edge to this peer.
    fn find(&self, peer: &NodeId) -> Option<Neighbour>;

    /// The edges to peers that relay, as far as anything says so.
    fn volunteers(&self) -> Vec<Neighbour>;

    /// The addresses of all conns of edges.
    fn remotes(&self) -> Vec<SocketAddr>;
}

/// A message to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Relay to that node.
    Request(MarkedRelayRequest),
    /// Dial the target there.
    Grant(RelayGrant),
    /// No.
    Refuse(RefusedGrant),
    /// Punch there: a node that wants an edge dials through it.
    Bind(RelayBind),
}

/// What the engine carries out for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a message on the edge to this neighbour.
    Send(NodeId, Message),
    /// Have the transport do this.
    Transport(Command),
    /// Punch towards this address of a volunteer.
    Burst {
        /// The volunteer.
        peer: NodeId,
        /// Where.
        addr: SocketAddr,
    },
    /// `target` can be dialed through `volunteer`.
    Granted {
        /// The node that was asked for.
        target: NodeId,
        /// The volunteer.
        volunteer: NodeId,
        /// The address of the volunteer that leads to the target.
        addr: SocketAddr,
    },
    /// Have an edge to a volunteer that `target` named, which is at this address.
    Reach {
        /// The volunteer.
        volunteer: NodeId,
        /// Where.
        addr: SocketAddr,
    },
    /// No volunteer that was asked relays to `target`.
    Unavailable {
        /// The node that was asked for.
        target: NodeId,
        /// How many volunteers were asked.
        asked: u8,
        /// Why.
        reason: RelayUnavailable,
    },
    /// Set the timer, replacing it if it is set.
    Set(Instant),
    /// Stop the timer.
    Stop,
}

/// The state of the service.
#[derive(Debug)]
pub(crate) struct Relay {
    volunteer: Volunteer,
    searches: Searches,
    paths: Paths,
    timer: Option<Instant>,
}

impl Relay {
    /// No sessions and no requests.
    pub(crate) fn new(config: &Config, wall: UnixNanos) -> Self {
        Self {
            volunteer: Volunteer::new(&config.relay, Month::of(wall)),
            searches: Searches::default(),
            paths: Paths::default(),
            timer: None,
        }
    }

    /// Whether what this node relays in this month is used up.
    pub(crate) fn is_quota_used(&self) -> bool {
        self.volunteer.is_quota_used()
    }

    /// A neighbour asks this node to relay.
    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        from: &Neighbour,
        payload: &[u8],
    ) {
        let Ok((request, is_marked)) = MarkedRelayRequest::decode_any(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        // The address of a relayed end is the one of its volunteer, where it will not send from.
        let known = |ip: SocketAddr| self.paths.find(ip).is_none().then_some(ip.ip());
        let decided = self.volunteer.decide(cx, neighbours, from, &request.target, known);
        match decided {
            Ok(session) => self.volunteer.open(cx, session, request.nonce, is_marked),
            Err(reason) => {
                cx.discard(DropReason::RelayRefused);
                if is_marked {
                    let refused = RefusedGrant { nonce: request.nonce, reason };
                    cx.act(Action::Send(from.peer, Message::Refuse(refused)));
                }
            }
        }
        self.arm(cx);
    }

    /// A volunteer answers a request.
    pub(crate) fn handle_grant(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        from: &Neighbour,
        payload: &[u8],
    ) {
        let Ok((nonce, answer)) = RelayAnswer::decode(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        let Some(target) = self.searches.asked(cx.now, &from.peer, &nonce) else {
            return cx.discard(DropReason::Unsolicited);
        };
        let granted = match &answer {
            RelayAnswer::Granted(addr) => self.usable(cx, neighbours, from, addr),
            RelayAnswer::Refused(_) => None,
        };
        match (granted, answer) {
            (Some(addr), _) => self.searches.grant(cx, &target, &from.peer, addr),
            (None, RelayAnswer::Refused(reason)) => {
                self.searches.refuse(cx, neighbours, &target, &from.peer, reason);
            }
            (None, RelayAnswer::Granted(_)) => {
                self.searches.distrust(cx, neighbours, &target, &from.peer)
            }
        }
        self.arm(cx);
    }

    /// A volunteer asks this node to punch, because a node dials it through there.
    pub(crate) fn handle_bind(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        from: &Neighbour,
        payload: &[u8],
    ) {
        let Ok(bind) = RelayBind::decode_front(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        if !from.is_dialed && from.claim != Claim::Signed {
            return cx.discard(DropReason::BindRefused);
        }
        if let Some(addr) = self.usable(cx, neighbours, from, &bind.addr) {
            cx.act(Action::Burst { peer: from.peer, addr });
        }
    }

    /// The address of a grant or bind if it is one of the volunteer that sent it
    /// (THREATS.md#e14). It is noted as one that leads to other nodes.
    fn usable(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        from: &Neighbour,
        addr: &Addr,
    ) -> Option<SocketAddr> {
        let remote = canonical(from.remote);
        let named = addr.to_socket_addr().map(canonical);
        // A reference volunteer on a wildcard socket names that.
        let own = named.map(|mut named| {
            if named.ip().is_unspecified() {
                named.set_ip(remote.ip());
            }
            named
        });
        let is_its_own = |addr: &SocketAddr| addr.ip() == remote.ip() && *addr != remote;
        let may_use = |addr: &SocketAddr| {
            let is_target = punch_target(&Addr::from_socket_addr(*addr)).is_some();
            let is_local = addr.ip().is_loopback();
            (is_target || is_local) && cx.own.policy().may_dial(*addr)
        };
        let is_relayed = self.paths.find(remote).is_some();
        let Some(addr) = own.filter(is_its_own).filter(may_use).filter(|_| !is_relayed) else {
            cx.discard(DropReason::RelayAddressForeign);
            return None;
        };
        let is_kept = self.paths.insert(cx.now, addr, from.peer, || neighbours.remotes());
        if !is_kept {
            cx.discard(DropReason::RelayPathsFull);
            return None;
        }
        Some(addr)
    }

    /// Asks volunteers to relay to `target`, two at a time: those that it named, then neighbours
    /// that relay. Ends with [`Action::Granted`], once for each volunteer that grants it, or with
    /// one [`Action::Unavailable`].
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        target: NodeId,
    ) {
        self.searches.ask(cx, neighbours, target);
        self.arm(cx);
    }

    /// Forgets the requests for `target`; a grant that comes later is unsolicited.
    pub(crate) fn stop_asking(&mut self, cx: &mut Context<'_, Action>, target: &NodeId) {
        self.searches.stop_asking(target);
        self.arm(cx);
    }

    /// There is an edge to this peer, which may be a volunteer that a search waits for.
    pub(crate) fn handle_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        peer: &NodeId,
    ) {
        self.volunteer.plan_check(cx.now);
        self.searches.handle_edge_up(cx, neighbours, peer);
        self.arm(cx);
    }

    /// A node that this one connects to named these volunteers in a message that it signed. That
    /// they relay is believed only from themselves, by their grant.
    pub(crate) fn note_named(&mut self, target: NodeId, volunteers: Vec<(NodeId, SocketAddr)>) {
        self.searches.note_named(target, volunteers);
    }

    /// The edge to this peer is gone. It will not answer what it was asked.
    pub(crate) fn handle_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        peer: &NodeId,
    ) {
        self.searches.handle_edge_down(cx, neighbours, peer);
        self.arm(cx);
    }

    /// The sockets of a splice are bound: the requester hears of it first, so that its handshake
    /// is on its way when the target punches.
    pub(crate) fn handle_splice_opened(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
        splice: SpliceId,
        locals: [SocketAddr; 2],
    ) {
        self.volunteer.handle_opened(cx, neighbours, splice, locals);
    }

    /// A splice is over.
    pub(crate) fn handle_splice_over(
        &mut self,
        cx: &mut Context<'_, Action>,
        splice: SpliceId,
        reason: SpliceOverReason,
    ) {
        self.volunteer.handle_over(cx, splice, reason);
        self.arm(cx);
    }

    /// The timer fired.
    pub(crate) fn handle_timer(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &dyn Neighbours,
    ) {
        self.timer = None;
        self.searches.handle_time(cx, neighbours);
        self.volunteer.handle_time(cx);
        self.arm(cx);
    }

    /// The node leaves the network.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        self.searches.stop();
        self.volunteer.stop(cx);
        self.arm(cx);
    }

    /// The volunteer whose address this is, if a peer there is relayed: what is sent there reaches
    /// another node, and what that node sees is the volunteer's.
    pub(crate) fn is_relayed(&self, remote: SocketAddr) -> Option<NodeId> {
        self.paths.find(canonical(remote))
    }

    /// Notes which neighbours this node names as those that relay to it: near ones in different
    /// subnets that say of themselves that they relay. One that others can reach needs none.
    pub(crate) fn choose_named(&self, cx: &mut Context<'_, Action>, neighbours: &dyn Neighbours) {
        let is_hidden = cx.config.address_policy == AddressPolicy::RelayOnly;
        if cx.own.is_reachable() && !is_hidden {
            return cx.own.set_volunteers(Vec::new());
        }
        let mut known = neighbours.volunteers();
        known.retain(|known| {
            known.claim == Claim::Signed && self.is_relayed(known.remote).is_none()
        });
        known.sort_by_key(|known| (known.rtt_ms.unwrap_or(u16::MAX), known.peer));
        let mut named: Vec<(NodeId, SocketAddr)> = Vec::new();
        for Neighbour { peer, remote, .. } in known {
            let subnet = crate::addr::Subnet::of(remote.ip());
            let is_new =
                |(_, other): &(NodeId, SocketAddr)| crate::addr::Subnet::of(other.ip()) != subnet;
            if named.len() < NAMED_MAX && named.iter().all(is_new) {
                named.push((peer, canonical(remote)));
            }
        }
        cx.own.set_volunteers(named);
    }

    /// What this node does as a volunteer. `own` describes it.
    pub(crate) fn report(&self, own: &crate::api::SelfDescription) -> RelayReport {
        RelayReport {
            volunteer: own.is_volunteer(),
            obstacle: own.relay_obstacle().filter(|_| own.is_volunteer()),
            sessions: self.volunteer.len(),
            bytes_per_month: self.volunteer.bytes_per_month(),
            used: self.volunteer.used(),
        }
    }

    /// How full every table is.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.relay_sessions = self.volunteer.len() as u64;
        gauges.relay_searches = self.searches.len() as u64;
        gauges.relay_paths = self.paths.len() as u64;
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.volunteer.check();
        self.searches.check();
        self.paths.check();
    }

    /// Sets the timer to what is due next.
    fn arm(&mut self, cx: &mut Context<'_, Action>) {
        let next = self.searches.next_at().into_iter().chain(self.volunteer.next_at()).min();
        if next == self.timer {
            return;
        }
        self.timer = next;
        cx.act(match next {
            // A driver may be late: something is due already, and is handled next.
            Some(at) => Action::Set(at.max(cx.now + Duration::from_nanos(1))),
            None => Action::Stop,
        });
    }
}
