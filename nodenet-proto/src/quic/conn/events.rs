//! What QUIC reports of a conn, and what follows from it.

use std::time::Instant;

use quinn_proto::{ConnectionError, Dir, Event, StreamEvent};

use super::phase::Phase;
use super::timers::ConnTimer;
use super::{Conn, Dial};
use crate::quic::endpoint::{profile, tls};
use crate::quic::shared::Shared;
use crate::stats::DropReason;
use crate::transport::{ConnDownReason, DialError, Direction};

impl Conn {
    pub(super) fn on_quic_event(&mut self, now: Instant, event: Event, shared: &mut Shared) {
        match event {
            Event::Connected => self.on_connected(now, shared),
            Event::ConnectionLost { reason } => self.on_lost(now, &reason, shared),
            Event::Stream(event) => self.on_stream_event(now, event, shared),
            Event::DatagramReceived => {
                while self.quic.datagrams().recv().is_some() {
                    shared.stats.count_drop(DropReason::UnexpectedDatagram);
                }
            }
            Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
        }
    }

    fn on_stream_event(&mut self, now: Instant, event: StreamEvent, shared: &mut Shared) {
        let ours = self.stream;
        match event {
            StreamEvent::Opened { dir } => self.accept_streams(now, dir, shared),
            StreamEvent::Available { dir: Dir::Bi } => self.open_stream(now, shared),
            StreamEvent::Readable { id } if Some(id) == ours => self.mark_readable(shared),
            StreamEvent::Writable { id } if Some(id) == ours => {
                self.sender.unblock();
                self.flush(now, shared);
            }
            StreamEvent::Finished { id } if Some(id) == ours => {
                self.move_to_over(now, ConnDownReason::ClosedHere, shared);
            }
            StreamEvent::Stopped { id, .. } if Some(id) == ours => {
                self.move_to_ending(now, ConnDownReason::ClosedByPeer, shared);
            }
            // Of streams that were refused, or of kinds that we never open.
            _ => {}
        }
    }

    /// The handshake is complete. A dialer knows whom to expect; an acceptor asks whether there is
    /// room.
    fn on_connected(&mut self, now: Instant, shared: &mut Shared) {
        if self.phase != Phase::Handshake {
            return;
        }
        self.timers.stop(ConnTimer::HandshakeSilence);
        // The verifier lets nobody through without a certificate that has an identity.
        let peer = tls::peer_identity(&self.quic);
        match (&mut self.dial, peer) {
            (Some(dial), Some((peer, key))) if peer == dial.expected => {
                dial.key = Some(key);
                self.move_to_await_stream();
                self.open_stream(now, shared);
            }
            (Some(_), _) => self.move_to_failed(now, DialError::IdentityMismatch, shared),
            (None, Some((peer, key))) => {
                match shared.admission.accept(self.quic.remote_address()) {
                    Ok(slot) => {
                        self.slot = Some(slot);
                        if let Some(half_open) = self.half_open.take() {
                            shared.admission.end_handshake(half_open);
                        }
                        self.move_to_up(peer, key, Direction::Inbound, shared);
                        self.timers.set(ConnTimer::FirstFrame, now + profile::FIRST_FRAME);
                    }
                    // It counts as a handshake until QUIC has forgotten it.
                    Err(reason) => {
                        shared.stats.count_drop(reason);
                        self.move_to_failed(now, DialError::NoRoute, shared);
                    }
                }
            }
            (None, None) => self.move_to_failed(now, DialError::NoRoute, shared),
        }
    }

    fn on_lost(&mut self, now: Instant, reason: &ConnectionError, shared: &mut Shared) {
        match self.phase {
            Phase::Handshake | Phase::AwaitStream => {
                self.move_to_failed(now, DialError::NoRoute, shared);
            }
            _ => self.move_to_ending(now, down_reason(reason), shared),
        }
    }

    /// The dialer's only stream. If the peer grants none yet, the event that it does comes here
    /// too.
    fn open_stream(&mut self, now: Instant, shared: &mut Shared) {
        if self.phase != Phase::AwaitStream {
            return;
        }
        self.stream = self.quic.streams().open(Dir::Bi);
        if self.stream.is_some()
            && let Some(Dial { id: dial, expected, key: Some(key) }) = self.dial.take().map(|d| *d)
        {
            shared.dials.remove(&dial);
            self.move_to_up(expected, key, Direction::Outgoing(dial), shared);
            self.flush(now, shared);
        }
    }

    /// The first bidirectional stream is the edge's; every other is refused.
    fn accept_streams(&mut self, now: Instant, dir: Dir, shared: &mut Shared) {
        while let Some(id) = self.quic.streams().accept(dir) {
            if dir == Dir::Bi && self.stream.is_none() && self.phase == Phase::Up {
                self.stream = Some(id);
                self.timers.set(ConnTimer::FirstFrame, now + profile::FIRST_FRAME);
                self.mark_readable(shared);
                self.flush(now, shared);
                continue;
            }
            shared.stats.count_drop(DropReason::ExtraStream);
            // Either may be closed already, which is as good.
            let _ = self.quic.recv_stream(id).stop(profile::CODE);
            if dir == Dir::Bi {
                let _ = self.quic.send_stream(id).reset(profile::CODE);
            }
        }
    }
}

fn down_reason(error: &ConnectionError) -> ConnDownReason {
    match error {
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            ConnDownReason::ClosedByPeer
        }
        ConnectionError::TimedOut => ConnDownReason::TimedOut,
        ConnectionError::Reset => ConnDownReason::Reset,
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            ConnDownReason::ClosedHere
        }
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            ConnDownReason::PeerMisbehaved
        }
    }
}
