//! Own address, NAT behaviour and reachability of a node; hole punching.
//!
//! Responsible for: what neighbours report to see of this node and what follows from it, the test
//! whether probers can reach it, and the punches that a Connect or an attempt asks for. Never:
//! dials, and never starts an attempt to connect.
//!
//! - `reflexive`: the address that enough neighbours name.
//! - `mapping`: the behaviour of the NAT between.
//! - `reachability`: whether any node can reach this one, tested without a server.
//! - `bursts`: answers to Connects, and punches of own attempts.
//! - `punch`: when punches leave, and how many.
//! - `probes`: extra pings, for what the reports do not tell.
//! - `answered`: which Connects are copies.
//! - `advertise`: what is said of it to others.
//! - `destinations`: where this node has sent.
//! - `neighbours`: where its neighbours are.
//! - `predict`: the ports at which a peer will see this node.
//! - `sweep`: punches at ports that a peer predicts.
//! - `unsolicited`: what it says that a peer opened an edge.

mod advertise;
mod answered;
mod bursts;
mod destinations;
mod mapping;
mod neighbours;
mod predict;
mod probes;
mod punch;
mod reachability;
mod reflexive;
mod sweep;
mod unsolicited;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::answered::Answered;
use self::destinations::{Destinations, beyond_nat64, network};
use self::mapping::{Behaviour, classify};
use self::neighbours::Neighbours;
use self::predict::{Predictions, has_one_endpoint};
use self::probes::Probes;
use self::punch::{Punches, TARGETS_MAX};
use self::reachability::{Step, Test};
use self::reflexive::{Report, Reports};
use self::sweep::Sweeps;
use crate::NodeId;
use crate::addr::{Subnet, canonical, is_plausible_reflexive, scope};
use crate::api::{Disclosure, Event, NatReport, PathSide, Reachability};
use crate::connect::Answer;
use crate::context::Context;
use crate::stats::{DropReason, Gauges};
use crate::transport::ConnId;
use crate::wire::nat::{Connect, ConnectAck, Mapping, Signals, WithSignals};
use crate::wire::{Addr, AddrList, Decode, FrameType, Pong};

pub(crate) use self::bursts::Envelope;
pub(crate) use self::punch::Volley;
pub(crate) use self::reachability::Prober;

/// All neighbours are asked what they see at most this often, if one names another IP address.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Conclusions are drawn anew after this long although neighbours repeat themselves, because other
/// reports may have aged.
const UPDATE_AGAIN: Duration = Duration::from_secs(60);
/// What is due already is done by a timer after this long.
const SOON: Duration = Duration::from_millis(1);

/// What the engine carries out for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a routed message.
    Originate {
        /// Its type.
        frame_type: FrameType,
        /// The node that it is for.
        target: NodeId,
        /// What it says.
        payload: Bytes,
    },
    /// Send one datagram from the socket of the conns.
    Punch {
        /// Where.
        remote: SocketAddr,
        /// What.
        bytes: Bytes,
        /// With which TTL, if not the system's.
        ttl: Option<u8>,
    },
    /// A peer answered a Connect that is not of this service.
    Answered {
        /// The peer.
        peer: NodeId,
        /// What it answered.
        answer: Answer,
        /// The nodes that relay to it, as it says.
        volunteers: Vec<(NodeId, SocketAddr)>,
    },
    /// Pass the nodes without an edge to [`Nat::handle_probers`].
    FindProbers,
    /// Pass the nodes without an edge that any node can reach to [`Nat::handle_witnesses`].
    FindWitness(NodeId),
    /// Open an edge to this node: what it sees is wanted.
    Reach {
        /// The node.
        peer: NodeId,
        /// Where it is.
        addr: SocketAddr,
    },
    /// An early packet moved the port of this node, which is told to the peer.
    PortMoved {
        /// The peer.
        peer: NodeId,
        /// Where this node is seen now.
        addr: SocketAddr,
    },
    /// A peer is told at which ports it will see this node.
    Predicted {
        /// The peer.
        peer: NodeId,
        /// The first port.
        first: u16,
        /// From one to the next.
        step: u16,
        /// How many.
        count: u16,
    },
    /// Ask every neighbour what it sees.
    AskAll,
    /// Ask this neighbour what it sees.
    Ask(NodeId),
    /// Report this event to the application.
    Event(Event),
    /// Set the timer, replacing it if it is set.
    Set(Instant),
    /// Stop the timer.
    Stop,
}

/// What a node knows of its own address.
#[derive(Debug)]
pub(crate) struct Nat {
    reports: Reports,
    destinations: Destinations,
    /// Neighbours, and where each is.
    neighbours: Neighbours,
    probes: Probes,
    test: Test,
    punches: Punches,
    predictions: Predictions,
    sweeps: Sweeps,
    answered: Answered,
    report: NatReport,
    asked_all: Option<Instant>,
    /// Peers that opened edges from where this node never sent anything.
    unsolicited: u8,
    /// Whether the addresses of this machine changed since neighbours were asked.
    is_moved: bool,
    timer: Option<Instant>,
    /// When conclusions were drawn last.
    updated: Instant,
    /// Whether the node has left, or is about to.
    is_stopped: bool,
}

impl Nat {
    /// A node that knows nothing of itself.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            reports: Reports::default(),
            destinations: Destinations::default(),
            neighbours: Neighbours::default(),
            probes: Probes::default(),
            test: Test::default(),
            punches: Punches::new(now),
            predictions: Predictions::new(now),
            sweeps: Sweeps::new(now),
            answered: Answered::default(),
            report: NatReport::default(),
            asked_all: None,
            unsolicited: 0,
            is_moved: false,
            timer: None,
            updated: now,
            is_stopped: false,
        }
    }

    /// What is known.
    pub(crate) fn report(&self) -> &NatReport {
        &self.report
    }

    /// A neighbour answered a ping with the address at which it sees this node.
    pub(crate) fn handle_pong(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        conn: ConnId,
        payload: &[u8],
    ) {
        let Ok(pong) = Pong::decode_exact(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        let path = cx.paths.path(conn);
        let Some(remote) = path.map(|path| beyond_nat64(path.remote)) else { return };
        let addr = pong.observed.to_socket_addr().map(canonical);
        let is_plausible = |addr: &SocketAddr| can_see(cx.own.local_addrs(), remote, *addr);
        let Some(addr) = addr.filter(is_plausible) else {
            return cx.discard(DropReason::ImplausibleAddress);
        };
        if addr.ip() == remote.ip() {
            self.probes.handle_useless(from);
            return cx.discard(DropReason::ReportOfReporter);
        }
        self.probes.settle(&from);
        let subnet = Subnet::counted(remote.ip());
        let dialed = self.destinations.ordinal(remote);
        self.handle_witness(cx.now, &from, addr);
        let report = Report { addr, remote, subnet, dialed, at: cx.now, since: cx.now };
        self.neighbours.insert(from, remote);
        let is_elsewhere = self.reports.is_elsewhere(cx.now, &report);
        let before = self.reports.get(&from).map(|known| known.addr);
        if before.is_some_and(|before| before != addr && self.report.addrs.contains(&before)) {
            self.probes.handle_change(cx.now);
        }
        let Some(is_news) = self.reports.record(from, report) else {
            return cx.discard(DropReason::ReportersFull);
        };
        if is_elsewhere {
            self.ask_all(cx);
        }
        if is_news || self.updated + UPDATE_AGAIN <= cx.now {
            self.update(cx);
        } else {
            self.arm(cx);
        }
    }

    /// There is an edge to this peer, or another conn of it.
    pub(crate) fn handle_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        remote: SocketAddr,
        is_accepted: bool,
    ) {
        let remote = beyond_nat64(remote);
        cx.own.observe_edge(remote);
        if is_accepted {
            self.handle_opened(cx, remote);
        }
        self.neighbours.insert(peer, remote);
        self.punches.end(&peer);
        self.predictions.end(&peer);
        self.sweeps.end(&peer);
        if !is_accepted {
            self.destinations.insert(remote);
            self.probes.handle_edge_up(cx.now, peer);
        }
        self.update(cx);
    }

    /// The edge to this peer is gone.
    pub(crate) fn handle_edge_down(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        // The peer's NAT may know this node for a while, as a neighbour that is no more.
        if let Some(remote) = self.neighbours.remove(&peer) {
            self.destinations.insert(remote);
        }
        self.reports.remove(&peer);
        self.probes.settle(&peer);
        self.update(cx);
    }

    /// Datagrams of this node go to this address from now on: it is dialed, or a peer moved there.
    pub(crate) fn handle_sent(&mut self, cx: &mut Context<'_, Action>, remote: SocketAddr) {
        let remote = beyond_nat64(remote);
        self.destinations.insert(remote);
        self.test.handle_sent(cx.now, remote.ip());
        self.arm(cx);
    }

    /// The addresses of this machine changed. Returns when the timer has to fire, if neighbours are
    /// to be asked what they see now.
    pub(crate) fn handle_local_addrs(&mut self, now: Instant) -> Option<Instant> {
        if self.is_stopped || self.neighbours.is_empty() {
            return None;
        }
        self.is_moved = true;
        self.timer = Some(now + SOON);
        self.timer
    }

    /// A verified ConnectAck arrived.
    pub(crate) fn handle_connect_ack(
        &mut self,
        cx: &mut Context<'_, Action>,
        envelope: Envelope,
        payload: &[u8],
    ) {
        let Envelope { originator, len, .. } = envelope;
        let Ok((ack, signals)) = ConnectAck::decode_with_signals(payload) else {
            return cx.discard(DropReason::MalformedMessage);
        };
        if self.test.handle_ack(cx.now, originator, &ack.nonce) {
            return self.arm(cx);
        }
        if self.predictions.has_nonce(&originator, &ack.nonce) {
            return;
        }
        let has_signals = signals.is_some();
        let signals = signals.unwrap_or_default();
        let is_of_use = has_one_endpoint(&signals);
        let peer = self.side_of(cx, &ack.addrs, &signals);
        // With what it names to peers, which is more than it is sure of.
        let named = self.named_to(cx, true, ack.addrs.as_slice());
        let addrs = named.as_slice().iter().filter_map(Addr::to_socket_addr).collect();
        let own = PathSide { addrs, ..PathSide::from(&self.report) };
        let is_guess = cx.own.guesses().next().is_some() && own.mapping == Mapping::Unknown;
        let is_unsure = is_guess || (has_signals && advertise::is_vague(&peer));
        let answer = Answer { nonce: ack.nonce, len, has_signals, peer, own, is_unsure };
        let volunteers = advertise::volunteers(&signals);
        if is_of_use {
            self.expect_port(cx, originator, &answer.peer.addrs);
            self.want_ports(cx, originator);
            self.expect_punch(cx, originator, &answer.peer.addrs);
        }
        cx.act(Action::Answered { peer: originator, answer, volunteers });
    }

    /// What a peer says of itself, as far as it is of use here.
    fn side_of(
        &self,
        cx: &mut Context<'_, Action>,
        named: &AddrList,
        signals: &Signals,
    ) -> PathSide {
        let mut addrs = Vec::new();
        for addr in named.as_slice().iter().take(TARGETS_MAX) {
            let may_dial = |target: &SocketAddr| {
                cx.own.policy().may_dial(*target) && !self.is_own(cx.own.addrs(), *target)
            };
            match addr.to_socket_addr().map(canonical).filter(may_dial) {
                Some(target) if addrs.contains(&target) => {}
                Some(target) => addrs.push(target),
                None => cx.discard(DropReason::ImplausibleAddress),
            }
        }
        let (mapping, allocator) = signals.nat();
        let reachability = match signals.reachable() {
            None => Reachability::Unknown,
            Some(true) => Reachability::Reachable,
            Some(false) => Reachability::Unreachable,
        };
        PathSide { addrs, mapping, allocator, reachability }
    }

    /// The nodes without an edge, of which one may be asked.
    pub(crate) fn handle_probers(&mut self, cx: &mut Context<'_, Action>, probers: &[Prober]) {
        let mut known = self.destinations.networks();
        known.extend(self.neighbours.values().map(|remote| network(remote.ip())));
        let is_known = |ip: IpAddr| known.contains(&network(ip));
        let step = self.test.handle_probers(cx.now, cx.rng, probers, is_known);
        self.act_on(cx, step);
        self.arm(cx);
    }

    /// A Connect found no way out.
    pub(crate) fn handle_unsent(&mut self, cx: &mut Context<'_, Action>, frame_type: FrameType) {
        if frame_type == FrameType::Connect {
            self.test.handle_unsent(cx.now);
            self.arm(cx);
        }
    }

    /// The timer fired.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context<'_, Action>) {
        self.timer = None;
        if core::mem::take(&mut self.is_moved) {
            self.ask_all(cx);
        }
        self.send_volleys(cx);
        self.send_sweeps(cx);
        self.tell_ports(cx);
        self.send_probe(cx);
        if is_testing(cx) {
            let before = self.test.outcome();
            let step = self.test.handle_time(cx.now);
            if self.test.outcome() != before {
                cx.own.set_reachable(self.test.outcome() == Reachability::Reachable);
            }
            self.act_on(cx, step);
        }
        self.update(cx);
    }

    /// The node leaves the network.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        self.is_stopped = true;
        self.punches.stop();
        self.predictions.stop();
        self.sweeps.stop();
        self.probes.stop();
        self.test.set_addr(cx.now, None);
        self.arm(cx);
    }

    /// Where a neighbour is.
    pub(crate) fn neighbour(&self, peer: &NodeId) -> Option<SocketAddr> {
        self.neighbours.get(peer)
    }

    /// Whether nothing may be sent to this peer of this node's own accord.
    pub(crate) fn is_quiet(&self, now: Instant, peer: &NodeId) -> bool {
        self.test.is_quiet(now, peer)
    }

    /// How full every table is.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.address_reports = self.reports.len() as u64;
        gauges.punch_bursts = self.punches.len() as u64;
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.reports.check();
        self.destinations.check();
        self.test.check();
        self.punches.check();
        self.predictions.check();
        self.sweeps.check();
        self.answered.check();
    }

    fn ask_all(&mut self, cx: &mut Context<'_, Action>) {
        if self.asked_all.is_none_or(|at| at + ASK_AGAIN <= cx.now) {
            self.asked_all = Some(cx.now);
            cx.act(Action::AskAll);
        }
    }

    fn act_on(&self, cx: &mut Context<'_, Action>, step: Step) {
        match step {
            Step::Wait => {}
            Step::FindProbers => cx.act(Action::FindProbers),
            Step::Ask { peer, nonce, addr } => {
                let addrs = AddrList::first_of([Addr::from_socket_addr(addr)]);
                let payload =
                    Connect { nonce, addrs }.to_bytes_with(&advertise::signals(&self.report, &[]));
                let frame_type = FrameType::Connect;
                cx.act(Action::Originate { frame_type, target: peer, payload });
            }
        }
    }

    /// Draws the conclusions from what is known now, and passes them on if they are new.
    fn update(&mut self, cx: &mut Context<'_, Action>) {
        self.updated = cx.now;
        let addrs = advertise::confirmed(&self.reports, cx.now);
        cx.own.set_reflexive_addrs(&addrs);
        cx.own.set_guesses(advertise::guesses(&self.reports, cx.now, &addrs));
        if cx.config.public_addrs.is_empty() && !self.is_stopped {
            self.test.set_addr(cx.now, advertise::tested(&addrs));
        }
        let named = self.behaviour(cx);
        self.plan_probe(cx, &named);
        let Behaviour { mapping, allocator, evidence } = named;
        let has_no_addr = !matches!(mapping, Mapping::Unknown | Mapping::EndpointIndependent)
            && advertise::tested(&addrs).is_none();
        let reachability = match self.test.outcome() {
            _ if !cx.config.public_addrs.is_empty() => Reachability::Reachable,
            // Each destination has a port of its own: there is none to name to others.
            Reachability::Unknown if has_no_addr => Reachability::Unreachable,
            outcome => outcome,
        };
        let report = NatReport { addrs, mapping, allocator, evidence, reachability };
        let is_news = !report.says_the_same(&self.report);
        self.report = report;
        if is_news {
            cx.act(Action::Event(Event::NatChanged(Box::new(self.report.clone()))));
        }
        self.arm(cx);
    }

    /// The behaviour towards the group with the widest scope.
    fn behaviour(&self, cx: &Context<'_, Action>) -> Behaviour {
        let Some(group) = self.reports.groups(cx.now).first().copied() else {
            return Behaviour::default();
        };
        classify(&self.reports.current(cx.now, group), cx.own.local_addrs())
    }

    /// Sets the timer to what is due next.
    fn arm(&mut self, cx: &mut Context<'_, Action>) {
        let test = self.test.next_at().filter(|_| is_testing(cx));
        let punches = [self.punches.next_at(), self.predictions.next_at(), self.sweeps.next_at()];
        let next = punches.into_iter().flatten().chain(test).chain(self.probes.next_at()).min();
        // What is due already is done by a timer as well, after this call.
        let next = next.map(|at| at.max(cx.now + SOON));
        if next == self.timer {
            return;
        }
        self.timer = next;
        cx.act(match next {
            Some(at) => Action::Set(at),
            None => Action::Stop,
        });
    }
}

/// Whether a neighbour at `remote` can see this node at `addr`. It sees the family in which it is
/// reached, and from farther away no address of this node's own site but one that is not
/// translated, which this node has itself.
fn can_see(local_addrs: &[SocketAddr], remote: SocketAddr, addr: SocketAddr) -> bool {
    let is_local = local_addrs.iter().any(|local| local.ip() == addr.ip());
    is_plausible_reflexive(addr.ip())
        && addr.port() != 0
        && addr.is_ipv4() == remote.is_ipv4()
        && (scope(addr.ip()) >= scope(remote.ip()) || is_local)
}

/// Whether reachability is tested. The test tells strangers where this node is.
fn is_testing(cx: &Context<'_, Action>) -> bool {
    let is_told = cx.config.address_policy.disclosure(false) == Disclosure::Addresses;
    cx.config.maintenance && cx.config.test_reachability && is_told
}
