//! Phases of a conn, and the transitions between them.

use std::time::Instant;

use bytes::Bytes;

use super::timers::ConnTimer;
use super::{Conn, Dial};
use crate::NodeId;
use crate::quic::edge::send::Sender;
use crate::quic::endpoint::{Endpoint, profile};
use crate::stats::DropReason;
use crate::transport::{ConnDownReason, DRAIN_MAX, DialError, Direction, Event, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The engine has no event of an accepted conn, and of a dialed one it has only the dial.
    Handshake,
    /// Dialed; the peer proved to be the expected one but granted no stream yet.
    AwaitStream,
    /// The engine knows it.
    Up,
    /// The engine closed it; what was queued is on its way.
    Draining,
    /// The peer ended it, or it was lost; what was received is still to be delivered.
    Ending(ConnDownReason),
    /// The engine knows that it is over, or never knew it.
    Over,
}

impl Conn {
    pub(super) fn move_to_await_stream(&mut self) {
        self.phase = Phase::AwaitStream;
    }

    pub(super) fn move_to_up(
        &mut self,
        peer: NodeId,
        key: [u8; 32],
        direction: Direction,
        endpoint: &mut Endpoint,
    ) {
        self.phase = Phase::Up;
        self.timers.stop(ConnTimer::Handshake);
        self.timers.stop(ConnTimer::Dial);
        match direction {
            Direction::Outgoing(_) => endpoint.stats.counters.conns_dialed += 1,
            Direction::Inbound => endpoint.stats.counters.conns_accepted += 1,
        }
        let remote = self.quic.remote_address();
        let (conn, role) = (self.id, Role::Edge);
        endpoint.events.push_back(Event::ConnUp { conn, peer, key, role, direction, remote });
    }

    pub(super) fn move_to_draining(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.phase = Phase::Draining;
        self.timers.stop_all();
        self.timers.set(ConnTimer::Drain, now + DRAIN_MAX);
        self.flush(now, endpoint);
    }

    /// The conn is lost. What was received is delivered first, unless the engine closed the conn.
    pub(super) fn move_to_ending(
        &mut self,
        now: Instant,
        reason: ConnDownReason,
        endpoint: &mut Endpoint,
    ) {
        match self.phase {
            Phase::Up => {
                self.phase = Phase::Ending(reason);
                self.timers.stop_all();
                self.touched.readable = true;
            }
            Phase::Draining => self.move_to_over(now, ConnDownReason::ClosedHere, endpoint),
            _ => {}
        }
    }

    /// The handshake failed, and with it the dial if there is one.
    pub(super) fn move_to_failed(
        &mut self,
        now: Instant,
        error: DialError,
        endpoint: &mut Endpoint,
    ) {
        if !matches!(self.phase, Phase::Handshake | Phase::AwaitStream) {
            return;
        }
        if let Some(Dial { id: dial, .. }) = self.take_dial() {
            endpoint.dials.remove(&dial);
            endpoint.stats.counters.dials_failed += 1;
            endpoint.events.push_back(Event::DialFailed { dial, error });
        }
        self.close_quic(now, endpoint);
    }

    /// The conn is over, and the engine gets an event if it knows the conn.
    pub(super) fn move_to_over(
        &mut self,
        now: Instant,
        reason: ConnDownReason,
        endpoint: &mut Endpoint,
    ) {
        if matches!(self.phase, Phase::Up | Phase::Draining | Phase::Ending(_)) {
            endpoint.events.push_back(Event::ConnDown { conn: self.id, reason });
            self.close_quic(now, endpoint);
        }
    }

    fn close_quic(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.phase = Phase::Over;
        self.timers.stop_all();
        self.receiver = None;
        endpoint.stats.count_drops(DropReason::UnsentAtEnd, self.sender.unsent() as u64);
        self.sender = Sender::default();
        self.timers.set(ConnTimer::Forget, now + profile::FORGET);
        self.quic.close(now, profile::CODE, Bytes::new());
    }
}
