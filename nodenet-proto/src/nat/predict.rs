//! Port prediction: where one peer is going to see this node, behind a NAT that takes external
//! ports in sequence or of a block for each host (PROTOCOL.md#port-prediction).
//!
//! Responsible for: the witness that tells where the sequence is, the ports that follow, and how
//! they are told to the peer. Never: sends to a guessed port; the peer does ([`super::sweep`]).
//!
//! The first datagram to a witness, a node that this one never sent to, leaves just before the
//! first one to the peer. So the NAT gives both neighbouring ports, and what the witness sees
//! tells the port for the peer, however many flows other hosts begin meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::destinations::network;
use super::{Action, Nat, Prober, SOON, advertise};
use crate::NodeId;
use crate::addr::{Scope, canonical, scope};
use crate::api::{Disclosure, HardPunch, Reachability};
use crate::context::Context;
use crate::env::{Rate, TokenBucket};
use crate::wire::nat::{Allocator, Connect, Mapping, NAT_NONCE_LEN, Signal, Signals, WithSignals};
use crate::wire::{Addr, AddrList, FrameType};

/// Predictions under way, at most; the oldest go first (a guess: those of a few attempts at once).
pub(crate) const PREDICTIONS_MAX: usize = 16;
/// A mapping to the peer is taken to be the one that was made for this long (a guess: shorter than
/// any NAT keeps one).
const KEPT: Duration = Duration::from_secs(25);
/// Witnesses that are dialed: four at once and one in ten seconds (a guess). A peer causes them by
/// connecting, at the cost of a signature each.
const WITNESSES: Rate = Rate::new(1, 4 * WITNESS_COST);
const WITNESS_COST: u64 = 10;
/// A witness that has not answered by then is not waited for (a guess: three round trips around
/// half the earth).
const WITNESS_WAIT: Duration = Duration::from_secs(1);
/// A peer of which no punch arrived is silent after this long: it waits for half a second at most,
/// and its datagram crosses one path (a guess).
const SILENCE: Duration = Duration::from_secs(1);
/// Ports that one message names: three times its bytes hold as many datagrams, and a peer sends no
/// more because of it.
pub(super) const PORTS_PER_MESSAGE: u16 = 40;
/// Ports of a sequence that are named: the next one, and as many as other hosts and further
/// addresses of the peer may have taken meanwhile (a guess).
const SEQUENCE: u16 = 16;
/// Ports of a sequence before the first flow of an other host, without a witness.
const SEQUENCE_UNWITNESSED: u16 = PORTS_PER_MESSAGE;
/// Messages for the ports of one block (a guess: below 300 datagrams).
const BLOCK_MESSAGES_MAX: usize = 6;
/// From one message to the next: what it names is tried within that.
const MESSAGES_APART: Duration = Duration::from_millis(100);

/// Ports of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    first: u16,
    step: u16,
    count: u16,
}

/// The node that tells where the sequence was just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Witness {
    /// None: the order of ports is not that of time, a mapping for the peer was made before, or
    /// there is no such node.
    Without,
    /// One is being looked for.
    Sought,
    /// This one was sent to.
    Asked(NodeId),
    /// It saw this node here.
    Saw(SocketAddr),
}

/// What a witness is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// The ports that follow what it sees.
    Ports,
    /// Whether this node's port is still the one that it named: the peer is silent .
    Moved,
}

/// What is predicted for one peer.
#[derive(Debug)]
struct Prediction {
    peer: NodeId,
    goal: Goal,
    /// The endpoint of the peer.
    remote: SocketAddr,
    begun: Instant,
    witness: Witness,
    /// Whether the peer is to be told.
    is_wanted: bool,
    /// What it is told, from the last message to the next.
    untold: Vec<(SocketAddr, Ports)>,
    /// The nonces of the messages.
    nonces: Vec<[u8; NAT_NONCE_LEN]>,
    /// When the next step is due.
    at: Option<Instant>,
}

impl Prediction {
    fn new(now: Instant, peer: NodeId, goal: Goal, remote: SocketAddr, witness: Witness) -> Self {
        let (untold, nonces) = (Vec::new(), Vec::new());
        Self { peer, goal, remote, begun: now, witness, is_wanted: false, untold, nonces, at: None }
    }
}

/// All predictions.
#[derive(Debug)]
pub(super) struct Predictions {
    all: Vec<Prediction>,
    witnesses: TokenBucket,
}

impl Predictions {
    /// None.
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Vec::new(), witnesses: TokenBucket::new(now) }
    }

    /// When a step is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.all.iter().filter_map(|prediction| prediction.at).min()
    }

    /// There is a direct edge to this peer.
    pub(super) fn end(&mut self, peer: &NodeId) {
        self.all.retain(|prediction| prediction.peer != *peer);
    }

    /// A punch arrived from this host: no port that the two use is another one.
    pub(super) fn handle_punched(&mut self, ip: IpAddr) {
        let is_waiting = |known: &Prediction| known.goal == Goal::Moved && known.nonces.is_empty();
        self.all.retain(|known| !is_waiting(known) || known.remote.ip() != ip);
    }

    /// Whether this nonce is one of a message with predicted ports.
    pub(super) fn has_nonce(&self, peer: &NodeId, nonce: &[u8; NAT_NONCE_LEN]) -> bool {
        self.all.iter().any(|known| known.peer == *peer && known.nonces.contains(nonce))
    }

    /// The peer that was told where to look, if this endpoint is its.
    pub(super) fn told(&self, remote: SocketAddr) -> Option<NodeId> {
        let found = self
            .all
            .iter()
            .find(|known| !known.nonces.is_empty() && known.remote.ip() == remote.ip());
        found.map(|known| known.peer)
    }

    pub(super) fn stop(&mut self) {
        self.all.clear();
    }

    pub(super) fn check(&self) {
        assert!(self.all.len() <= PREDICTIONS_MAX);
    }

    fn push(&mut self, prediction: Prediction) {
        if self.all.len() >= PREDICTIONS_MAX {
            self.all.remove(0);
        }
        self.all.push(prediction);
    }

    fn find(&mut self, peer: &NodeId) -> Option<&mut Prediction> {
        self.all.iter_mut().find(|known| known.peer == *peer)
    }
}

impl Nat {
    /// The peer was asked to punch, and punches leave. If none of the peer arrives, one of the two
    /// ports may be another one by now: an early packet moves it ([early
    /// packets](PROTOCOL.md#early-packets)).
    pub(super) fn expect_punch(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        targets: &[SocketAddr],
    ) {
        let is_fixed = self.report.mapping == Mapping::EndpointIndependent
            && self.report.reachability != Reachability::Reachable;
        if !is_fixed || !self.may_tell(cx) || self.predictions.find(&peer).is_some() {
            return;
        }
        let Some(remote) = self.endpoint_of(cx, targets) else { return };
        let mut prediction = Prediction::new(cx.now, peer, Goal::Moved, remote, Witness::Without);
        prediction.is_wanted = true;
        prediction.at = Some(cx.now + SILENCE);
        self.predictions.push(prediction);
        self.arm(cx);
    }

    /// The peer is silent, or a witness answered.
    fn check_port(&mut self, cx: &mut Context<'_, Action>, at: usize) {
        let named = cx.own.addrs().iter().chain(&self.report.addrs);
        let prediction = &mut self.predictions.all[at];
        let peer = prediction.peer;
        prediction.at = None;
        match prediction.witness {
            Witness::Without => {
                prediction.witness = Witness::Sought;
                prediction.at = Some(cx.now + WITNESS_WAIT);
                cx.act(Action::FindWitness(peer));
            }
            Witness::Saw(seen) if !named.copied().any(|own| own == seen) => {
                let ports = Ports { first: seen.port(), step: 1, count: 1 };
                prediction.untold = vec![(seen, ports)];
                cx.act(Action::PortMoved { peer, addr: seen });
                self.tell_next(cx, at);
            }
            Witness::Saw(_) | Witness::Sought | Witness::Asked(_) => {}
        }
    }
}

/// Whether a peer is seen at one endpoint by all, so that a port predicted for it is of use.
pub(super) fn has_one_endpoint(signals: &Signals) -> bool {
    signals.nat().0 == Mapping::EndpointIndependent && signals.reachable() != Some(true)
}

impl Nat {
    /// The first datagram to one of these addresses of a peer is about to leave. If its port can be
    /// predicted, one to a witness goes before.
    pub(super) fn expect_port(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        targets: &[SocketAddr],
    ) {
        self.predictions.all.retain(|known| cx.now < known.begun + KEPT);
        if !self.is_predictable(cx) || self.predictions.find(&peer).is_some() {
            return;
        }
        let Some(remote) = self.endpoint_of(cx, targets) else { return };
        let is_sequence = matches!(self.report.allocator, Allocator::Sequential { .. });
        let is_fresh_sequence = is_sequence && self.destinations.ordinal(remote).is_none();
        let witness = if is_fresh_sequence { Witness::Sought } else { Witness::Without };
        self.predictions.push(Prediction::new(cx.now, peer, Goal::Ports, remote, witness));
        if is_fresh_sequence {
            cx.act(Action::FindWitness(peer));
        }
    }

    /// The endpoint of a peer at which its NAT is.
    pub(super) fn endpoint_of(
        &self,
        cx: &Context<'_, Action>,
        targets: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let mut targets = targets.iter().copied().map(canonical);
        targets.find(|at| {
            at.is_ipv4()
                && scope(at.ip()) == Some(Scope::Global)
                && !self.is_own(cx.own.addrs(), *at)
        })
    }

    /// Nodes without an edge that any node can reach, of which one becomes the witness.
    pub(crate) fn handle_witnesses(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        nodes: &[Prober],
    ) {
        let mut known = self.destinations.networks();
        known.extend(self.neighbours.values().map(|remote| network(remote.ip())));
        let fit = |addr: &SocketAddr| {
            addr.is_ipv4()
                && scope(addr.ip()) == Some(Scope::Global)
                && !known.contains(&network(addr.ip()))
        };
        let of = |node: &Prober| Some((node.id, node.addrs.iter().copied().find(fit)?));
        let fit: Vec<(NodeId, SocketAddr)> = nodes.iter().filter_map(of).collect();
        let is_free =
            !fit.is_empty() && self.predictions.witnesses.take(cx.now, WITNESSES, WITNESS_COST);
        let Some(prediction) = self.predictions.find(&peer) else { return };
        if !is_free {
            prediction.witness = Witness::Without;
            return;
        }
        let (witness, addr) = fit[cx.rng.below(fit.len() as u64) as usize];
        prediction.witness = Witness::Asked(witness);
        // What this call was asked for leaves next: the first datagram to the peer.
        self.send_punch(cx, addr, None);
        cx.act(Action::Reach { peer: witness, addr });
        self.arm(cx);
    }

    /// The peer has one endpoint, so that it is of use to tell it where this node will be seen.
    pub(super) fn want_ports(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(prediction) = self.predictions.find(&peer) else { return };
        if prediction.goal != Goal::Ports {
            return;
        }
        prediction.is_wanted = true;
        if !prediction.untold.is_empty() {
            return;
        }
        // Another attempt may find what the last one did not.
        prediction.nonces.clear();
        let waits = matches!(prediction.witness, Witness::Sought | Witness::Asked(_));
        let wait = if waits { WITNESS_WAIT } else { SOON };
        prediction.at = Some(cx.now + wait);
        self.arm(cx);
    }

    /// A neighbour sees this node here. It may be a witness.
    pub(super) fn handle_witness(&mut self, now: Instant, witness: &NodeId, seen: SocketAddr) {
        for prediction in &mut self.predictions.all {
            if prediction.witness == Witness::Asked(*witness) {
                prediction.witness = Witness::Saw(seen);
                if prediction.is_wanted {
                    prediction.at = Some(now + SOON);
                }
            }
        }
    }

    /// Tells peers what is due.
    pub(super) fn tell_ports(&mut self, cx: &mut Context<'_, Action>) {
        for at in 0..self.predictions.all.len() {
            let prediction = &self.predictions.all[at];
            if prediction.at.is_none_or(|due| due > cx.now) {
                continue;
            }
            if prediction.goal == Goal::Moved && prediction.nonces.is_empty() {
                self.check_port(cx, at);
                continue;
            }
            if prediction.nonces.is_empty() {
                let ports = self.predicted(cx, prediction);
                self.predictions.all[at].untold = ports;
            }
            self.tell_next(cx, at);
        }
    }

    pub(super) fn tell_next(&mut self, cx: &mut Context<'_, Action>, at: usize) {
        let prediction = &mut self.predictions.all[at];
        prediction.at = None;
        if prediction.untold.is_empty() {
            return;
        }
        let (addr, ports) = prediction.untold.remove(0);
        let nonce = cx.rng.array();
        prediction.nonces.push(nonce);
        if !prediction.untold.is_empty() {
            prediction.at = Some(cx.now + MESSAGES_APART);
        }
        let peer = prediction.peer;
        let Ports { first, step, count } = ports;
        // A node of the reference punches at the addresses.
        let port = |number: u16| first.wrapping_add(number.wrapping_mul(step));
        let addrs = (0..count).map(port).filter(|port| *port != 0);
        let addrs = addrs.map(|port| Addr::from_socket_addr(SocketAddr::new(addr.ip(), port)));
        let addrs = AddrList::first_of(addrs.take(crate::api::NAMED_ADDRS_MAX));
        let mut signals = advertise::signals(&self.report, &[]);
        let addr = Addr::from_socket_addr(SocketAddr::new(addr.ip(), first));
        signals.entries.push(Signal::Ports { addr, step, count });
        let payload = Connect { nonce, addrs }.to_bytes_with(&signals);
        cx.act(Action::Predicted { peer, first, step, count });
        let frame_type = FrameType::Connect;
        cx.act(Action::Originate { frame_type, target: peer, payload });
    }

    /// Whether a peer that this node connects to may learn where it is.
    pub(super) fn may_tell(&self, cx: &Context<'_, Action>) -> bool {
        !self.is_stopped && cx.config.address_policy.disclosure(true) == Disclosure::Addresses
    }

    /// Whether ports of this node's NAT can be predicted, and may be.
    fn is_predictable(&self, cx: &Context<'_, Action>) -> bool {
        let changes =
            !matches!(self.report.mapping, Mapping::Unknown | Mapping::EndpointIndependent);
        let has_order =
            matches!(self.report.allocator, Allocator::Sequential { .. } | Allocator::Block { .. });
        changes && has_order && cx.config.hard_punch != HardPunch::Off && self.may_tell(cx)
    }

    /// The ports at which the peer is to see this node, for one message after the other.
    fn predicted(
        &self,
        cx: &Context<'_, Action>,
        prediction: &Prediction,
    ) -> Vec<(SocketAddr, Ports)> {
        let is_v4 = |addr: &SocketAddr| addr.is_ipv4() && scope(addr.ip()) == Some(Scope::Global);
        let reports = self.reports.all().filter(|one| one.dialed.is_some() && is_v4(&one.addr));
        let reports: Vec<_> = reports.filter(|one| one.at <= cx.now).collect();
        let newest = reports.iter().max_by_key(|report| report.dialed);
        match self.report.allocator {
            Allocator::Sequential { step } => {
                let witnessed = match prediction.witness {
                    Witness::Saw(seen) => Some((seen, 1, SEQUENCE)),
                    _ => None,
                };
                // Each destination since then has a port of its own.
                let since = newest.and_then(|report| {
                    let own = self.destinations.ordinal(prediction.remote)?;
                    let gap = own.wrapping_sub(report.dialed?).min(256) as u16;
                    Some((report.addr, gap.max(1), SEQUENCE_UNWITNESSED))
                });
                let found = witnessed.or(since).map(|(seen, gap, count)| {
                    let first = seen.port().wrapping_add(gap.wrapping_mul(step));
                    (seen, Ports { first, step, count })
                });
                found.into_iter().collect()
            }
            Allocator::Block { .. } => {
                let Some(ip) = newest.map(|report| report.addr.ip()) else { return Vec::new() };
                let ports = reports.iter().map(|report| report.addr);
                let ports = ports.filter(|addr| addr.ip() == ip).map(|addr| addr.port());
                let ports: Vec<u16> = ports.collect();
                let parts = block(&ports).into_iter();
                parts.map(|ports| (SocketAddr::new(ip, ports.first), ports)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A block, of which these ports were seen: what lies between first, then what may lie around.
fn block(seen: &[u16]) -> Vec<Ports> {
    let (Some(&low), Some(&high)) = (seen.iter().min(), seen.iter().max()) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    let mut add = |from: u32, to: u32| {
        let mut first = from;
        while first <= to {
            let count = (to - first + 1).min(PORTS_PER_MESSAGE.into());
            parts.push(Ports { first: first as u16, step: 1, count: count as u16 });
            first += count;
        }
    };
    let (low, high) = (u32::from(low), u32::from(high));
    // Of a block of 64 seven ports are seen: there are more than 40 beyond on one side in less than
    // one case of a thousand. A larger block is not guessed for certain.
    let around = u32::from(PORTS_PER_MESSAGE);
    let (start, end) = (low.saturating_sub(around).max(1), (high + around).min(u16::MAX.into()));
    add(low, high);
    if start < low {
        add(start, low - 1);
    }
    if high < end {
        add(high + 1, end);
    }
    parts.truncate(BLOCK_MESSAGES_MAX);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_from_the_inside_out() {
        let part = |first, count| Ports { first, step: 1, count };
        assert_eq!(block(&[]), []);
        assert_eq!(
            block(&[1_100, 1_140]),
            [part(1_100, 40), part(1_140, 1), part(1_060, 40), part(1_141, 40),]
        );
        assert_eq!(block(&[5, 65_530]).len(), BLOCK_MESSAGES_MAX, "no block is that large");
        assert_eq!(block(&[1]), [part(1, 1), part(2, 40)]);
        assert_eq!(block(&[65_535]), [part(65_535, 1), part(65_495, 40)]);
    }
}
