//! Events of QUIC on one conn, and the reactions to them.

use std::time::Instant;

use quinn_proto::{ConnectionError, Dir, Event, StreamEvent};

use super::phase::Phase;
use super::timers::ConnTimer;
use super::{Conn, Dial, Opened, role};
use crate::NodeId;
use crate::quic::endpoint::{Endpoint, profile, tls};
use crate::stats::DropReason;
use crate::transport::{ConnDownReason, DialError, Direction, FIRST_FRAME_TIMEOUT, Role};

impl Conn {
    pub(super) fn on_quic_event(&mut self, now: Instant, event: Event, endpoint: &mut Endpoint) {
        match event {
            Event::Connected => self.on_connected(now, endpoint),
            Event::ConnectionLost { reason } => self.on_lost(now, &reason, endpoint),
            Event::Stream(event) => self.on_stream_event(now, event, endpoint),
            Event::DatagramReceived => {
                while self.quic.datagrams().recv().is_some() {
                    endpoint.stats.count_drop(DropReason::UnexpectedDatagram);
                }
            }
            Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
        }
    }

    fn on_stream_event(&mut self, now: Instant, event: StreamEvent, endpoint: &mut Endpoint) {
        let ours = self.stream;
        match event {
            StreamEvent::Opened { dir } => self.accept_streams(now, dir, endpoint),
            StreamEvent::Available { dir: Dir::Bi } => self.open_stream(now, endpoint),
            StreamEvent::Readable { id } if Some(id) == ours => self.touched.readable = true,
            StreamEvent::Writable { id } if Some(id) == ours => {
                self.sender.unblock();
                self.flush(now, endpoint);
            }
            StreamEvent::Finished { id } if Some(id) == ours => {
                self.move_to_over(now, ConnDownReason::ClosedHere, endpoint);
            }
            StreamEvent::Stopped { id, .. } if Some(id) == ours => {
                self.move_to_ending(now, ConnDownReason::ClosedByPeer, endpoint);
            }
            // Of streams that were refused, or of kinds that are never opened.
            _ => {}
        }
    }

    /// The handshake is complete. A dialed conn compares identities, an accepted one needs a slot.
    fn on_connected(&mut self, now: Instant, endpoint: &mut Endpoint) {
        if self.phase != Phase::Handshake {
            return;
        }
        self.timers.stop(ConnTimer::HandshakeSilence);
        if role::of(&self.quic) != Some(Role::Edge) {
            endpoint.stats.count_drop(DropReason::ProtocolNotServed);
            return self.move_to_failed(now, DialError::NoRoute, endpoint);
        }
        // The verifier ends every handshake in which no certificate proves an identity.
        let peer = tls::peer_identity(&self.quic);
        match (&mut self.opened, peer) {
            (Opened::Dialing(dial), Some((peer, key))) if peer == dial.expected => {
                dial.key = Some(key);
                self.move_to_await_stream();
                self.open_stream(now, endpoint);
            }
            (Opened::HalfOpen(_), Some((peer, key))) => self.accept(now, peer, key, endpoint),
            _ => self.move_to_failed(now, DialError::IdentityMismatch, endpoint),
        }
    }

    /// An accepted conn takes its slot, or fails and counts as a handshake until QUIC has forgotten
    /// it.
    fn accept(&mut self, now: Instant, peer: NodeId, key: [u8; 32], endpoint: &mut Endpoint) {
        match endpoint.admission.accept(self.quic.remote_address()) {
            Ok(slot) => {
                self.opened.count(slot, &mut endpoint.admission);
                self.move_to_up(peer, key, Direction::Inbound, endpoint);
                self.timers.set(ConnTimer::FirstFrame, now + FIRST_FRAME_TIMEOUT);
            }
            Err(reason) => {
                endpoint.stats.count_drop(reason);
                self.move_to_failed(now, DialError::NoRoute, endpoint);
            }
        }
    }

    fn on_lost(&mut self, now: Instant, reason: &ConnectionError, endpoint: &mut Endpoint) {
        match self.phase {
            Phase::Handshake | Phase::AwaitStream => {
                if tls::is_protocol_mismatch(reason) {
                    endpoint.stats.count_drop(DropReason::ProtocolNotServed);
                }
                self.move_to_failed(now, DialError::NoRoute, endpoint);
            }
            _ => self.move_to_ending(now, down_reason(reason), endpoint),
        }
    }

    /// Opens the one stream of a dialed conn. If the peer grants none yet, the event that it does
    /// comes here, too.
    fn open_stream(&mut self, now: Instant, endpoint: &mut Endpoint) {
        if self.phase != Phase::AwaitStream {
            return;
        }
        self.stream = self.quic.streams().open(Dir::Bi);
        if self.stream.is_some()
            && let Some(Dial { id: dial, expected, key: Some(key) }) = self.take_dial()
        {
            endpoint.dials.remove(&dial);
            self.move_to_up(expected, key, Direction::Outgoing(dial), endpoint);
            // One end suffices: the packet and its acknowledgement pass all boxes on the path.
            self.keep_alive(now);
            self.flush(now, endpoint);
        }
    }

    /// The first bidirectional stream is the edge's; every other is refused.
    fn accept_streams(&mut self, now: Instant, dir: Dir, endpoint: &mut Endpoint) {
        while let Some(id) = self.quic.streams().accept(dir) {
            if dir == Dir::Bi && self.stream.is_none() && self.phase == Phase::Up {
                self.stream = Some(id);
                self.timers.set(ConnTimer::FirstFrame, now + FIRST_FRAME_TIMEOUT);
                self.touched.readable = true;
                self.flush(now, endpoint);
                continue;
            }
            endpoint.stats.count_drop(DropReason::ExtraStream);
            // Errors are ignored: the stream may already be closed.
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
