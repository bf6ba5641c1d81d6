//! Sweeps: punches at the ports that a peer predicts for itself (PROTOCOL.md#port-prediction).
//!
//! Responsible for: their schedule and limits. Never: predicts a port.
//!
//! The peer has sent already, so each datagram goes all the way. Only one that hits gets in, and
//! the peer answers it at once: this node's NAT lets that answer in.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::predict::PORTS_PER_MESSAGE;
use super::punch::{Budget, Naming};
use super::{Action, Nat};
use crate::NodeId;
use crate::addr::canonical;
use crate::api::HardPunch;
use crate::context::Context;
use crate::stats::DropReason;
use crate::wire::nat::Signals;

/// Sweeps under way, at most (a guess: four peers, each with a block).
pub(crate) const SWEEPS_MAX: usize = 16;
/// Datagrams that leave at once.
const AT_ONCE: usize = 20;
/// From some to the next: 400 datagrams a second (a guess).
const APART: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Sweep {
    peer: NodeId,
    left: Vec<SocketAddr>,
    at: Instant,
}

/// The sweeps of this node.
#[derive(Debug)]
pub(super) struct Sweeps {
    sweeps: Vec<Sweep>,
    budget: Budget,
}

impl Sweeps {
    /// None.
    pub(super) fn new(now: Instant) -> Self {
        Self { sweeps: Vec::new(), budget: Budget::of_sweeps(now) }
    }

    /// When the next datagrams are due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.sweeps.iter().map(|sweep| sweep.at).min()
    }

    /// There is a direct edge to this peer.
    pub(super) fn end(&mut self, peer: &NodeId) {
        self.sweeps.retain(|sweep| sweep.peer != *peer);
    }

    pub(super) fn stop(&mut self) {
        self.sweeps.clear();
    }

    pub(super) fn check(&self) {
        assert!(self.sweeps.len() <= SWEEPS_MAX);
        assert!(self.sweeps.iter().all(|sweep| !sweep.left.is_empty()));
        self.budget.check();
    }

    fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for sweep in self.sweeps.iter_mut().filter(|sweep| sweep.at <= now) {
            due.extend(sweep.left.drain(..AT_ONCE.min(sweep.left.len())));
            sweep.at = now + APART;
        }
        self.sweeps.retain(|sweep| !sweep.left.is_empty());
        due
    }
}

impl Nat {
    /// Sweeps the ports that a Connect of this length predicts. Returns false if it predicts none.
    pub(super) fn sweep(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        signals: &Signals,
        len: usize,
    ) -> bool {
        let Some((addr, step, count)) = signals.ports() else { return false };
        if cx.config.hard_punch == HardPunch::Off {
            return false;
        }
        let first = addr.to_socket_addr().map(canonical);
        let may_punch = |first: &SocketAddr| {
            cx.own.policy().may_dial(*first) && !self.is_own_ip(cx.own.addrs(), first.ip())
        };
        let Some(first) = first.filter(may_punch) else {
            cx.discard(DropReason::ImplausibleAddress);
            return true;
        };
        if self.sweeps.sweeps.len() >= SWEEPS_MAX {
            cx.discard(DropReason::PunchesFull);
            return true;
        }
        if !self.sweeps.budget.take_burst(cx.now, peer) {
            cx.discard(DropReason::PunchRateLimited);
            return true;
        }
        let neighbours = &self.neighbours;
        let is_validated = |ip: IpAddr| neighbours.values().any(|remote| remote.ip() == ip);
        let mut named = Naming::new(len, &is_validated);
        let port = |number: u16| first.port().wrapping_add(number.wrapping_mul(step));
        let ports = (0..count.min(PORTS_PER_MESSAGE)).map(port).filter(|port| *port != 0);
        let mut left: Vec<SocketAddr> =
            ports.map(|port| SocketAddr::new(first.ip(), port)).collect();
        left.retain(|target| self.sweeps.budget.take_target(cx.now, *target, 1, &mut named));
        if left.is_empty() {
            cx.discard(DropReason::PunchRateLimited);
        } else {
            self.sweeps.sweeps.push(Sweep { peer, left, at: cx.now });
            self.send_sweeps(cx);
        }
        true
    }

    /// Sends the datagrams of sweeps that are due.
    pub(super) fn send_sweeps(&mut self, cx: &mut Context<'_, Action>) {
        for remote in self.sweeps.due(cx.now) {
            self.send_punch(cx, remote, None);
        }
    }

    fn is_own_ip(&self, named: &[SocketAddr], ip: IpAddr) -> bool {
        named.iter().chain(&self.report.addrs).any(|own| own.ip() == ip)
    }
}
