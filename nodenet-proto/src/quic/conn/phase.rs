//! Where a conn is in its life, and the only ways from one place to the next.

use std::time::Instant;

use bytes::Bytes;

use super::timers::ConnTimer;
use super::{Conn, Dial};
use crate::NodeId;
use crate::quic::edge::send::Sender;
use crate::quic::endpoint::profile;
use crate::quic::shared::Shared;
use crate::stats::DropReason;
use crate::transport::{ConnDownReason, DialError, Direction, Event};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The engine knows nothing of an accepted conn, and of a dialed one only the dial.
    Handshake,
    /// Dialed; the peer proved to be the expected one but granted no stream yet.
    AwaitStream,
    /// The engine was told.
    Up,
    /// The engine closed it; what was queued is on its way.
    Draining,
    /// The peer ended it, or it was lost; what was received is still to be delivered.
    Ending(ConnDownReason),
    /// The engine was told, or never knew.
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
        shared: &mut Shared,
    ) {
        self.phase = Phase::Up;
        self.timers.stop(ConnTimer::Handshake);
        self.timers.stop(ConnTimer::Dial);
        match direction {
            Direction::Outgoing(_) => shared.stats.counters.conns_dialed += 1,
            Direction::Inbound => shared.stats.counters.conns_accepted += 1,
        }
        let remote = self.quic.remote_address();
        shared.events.push_back(Event::ConnUp { conn: self.id, peer, key, direction, remote });
    }

    pub(super) fn move_to_draining(&mut self, now: Instant, shared: &mut Shared) {
        self.phase = Phase::Draining;
        self.timers.stop_all();
        self.timers.set(ConnTimer::Drain, now + profile::DRAIN);
        self.flush(now, shared);
    }

    /// The conn is no good any more, but what was received is to be delivered first, unless the
    /// engine closed the conn before.
    pub(super) fn move_to_ending(
        &mut self,
        now: Instant,
        reason: ConnDownReason,
        shared: &mut Shared,
    ) {
        match self.phase {
            Phase::Up => {
                self.phase = Phase::Ending(reason);
                self.timers.stop_all();
                self.mark_readable(shared);
            }
            Phase::Draining => self.move_to_over(now, ConnDownReason::ClosedHere, shared),
            _ => {}
        }
    }

    /// A handshake came to nothing; if it was ours, so did the dial.
    pub(super) fn move_to_failed(&mut self, now: Instant, error: DialError, shared: &mut Shared) {
        if !matches!(self.phase, Phase::Handshake | Phase::AwaitStream) {
            return;
        }
        if let Some(Dial { id: dial, .. }) = self.dial.take().map(|dial| *dial) {
            shared.dials.remove(&dial);
            shared.stats.counters.dials_failed += 1;
            shared.events.push_back(Event::DialFailed { dial, error });
        }
        self.close_quic(now, shared);
    }

    /// The engine knows the conn and is told that it is gone.
    pub(super) fn move_to_over(
        &mut self,
        now: Instant,
        reason: ConnDownReason,
        shared: &mut Shared,
    ) {
        if matches!(self.phase, Phase::Up | Phase::Draining | Phase::Ending(_)) {
            shared.events.push_back(Event::ConnDown { conn: self.id, reason });
            self.close_quic(now, shared);
        }
    }

    fn close_quic(&mut self, now: Instant, shared: &mut Shared) {
        self.phase = Phase::Over;
        self.timers.stop_all();
        self.receiver = None;
        shared.stats.count_drops(DropReason::UnsentAtEnd, self.sender.unsent() as u64);
        self.sender = Sender::default();
        self.timers.set(ConnTimer::Forget, now + profile::FORGET);
        self.quic.close(now, profile::CODE, Bytes::new());
    }
}
