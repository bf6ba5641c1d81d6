//! One conn: a QUIC connection, the stream that carries its frames, its phase and its timers.
//!
//! The life of a conn: handshake; up, with an event for the engine; over, while QUIC closes or
//! drains (RFC 9000 §10.2). Between up and over it may be draining, after a graceful close by the
//! engine. Or it is ending, when the peer ended it and whole frames are still to be delivered.
//! Every change of phase is one `move_to_*` function, which also makes the event for the engine.
//!
//! A handler returns [`Touched`]: the turns that the conn needs because of it.

mod events;
mod path;
mod phase;
mod role;
mod timers;

use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, EndpointEvent, ReadError, StreamId};

use self::path::Path;
use self::phase::Phase;
use self::timers::{ConnTimer, ConnTimers};
use crate::NodeId;
use crate::buf::Frame;
use crate::io::TransmitBuf;
use crate::quic::edge::receive::{BadPrefix, Receiver};
use crate::quic::edge::send::{Progress, Refused, Sender};
use crate::quic::endpoint::admission::{Admission, HalfOpen, Slot};
use crate::quic::endpoint::{Endpoint, profile};
use crate::quic::turns::{Queued, Touched};
use crate::stats::DropReason;
use crate::transport::{
    Class, CloseMode, ConnDownReason, ConnId, DialError, DialId, Event, PathInfo, SendError,
};

/// Frames read from one conn before others get their turn (PROTOCOL.md#read-turns).
const FRAMES_PER_TURN: usize = 64;
/// Bytes read from one conn before others get their turn (PROTOCOL.md#read-turns).
const BYTES_PER_TURN: usize = 64 * 1024;

/// The dial that a conn belongs to until it is up.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) id: DialId,
    /// The identity that the peer must prove.
    pub(super) expected: NodeId,
    /// The key with which it proved that.
    key: Option<[u8; 32]>,
}

impl Dial {
    pub(super) const fn new(id: DialId, expected: NodeId) -> Self {
        Self { id, expected, key: None }
    }
}

/// Which end opened a conn, and what the conn holds for that.
#[derive(Debug)]
pub(super) enum Opened {
    /// This node, and the dial is not settled.
    Dialing(Box<Dial>),
    /// This node.
    Dialed,
    /// The peer, and the conn counts as a handshake.
    HalfOpen(HalfOpen),
    /// The peer, and the conn holds a slot.
    Counted(Slot),
}

impl Opened {
    /// The handshake is complete: the conn counts for its slot.
    fn count(&mut self, slot: Slot, admission: &mut Admission) {
        core::mem::replace(self, Self::Counted(slot)).release(admission);
    }

    fn release(self, admission: &mut Admission) {
        match self {
            Self::HalfOpen(half_open) => admission.end_handshake(half_open),
            Self::Counted(slot) => admission.end(slot),
            Self::Dialing(_) | Self::Dialed => {}
        }
    }
}

/// How a turn of reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The share is used up; there may be more.
    Share,
    /// Everything that arrived is read.
    Dry,
    /// The stream is over.
    Finished,
    /// The stream does not follow the framing.
    Misframed,
}

/// One conn.
pub(super) struct Conn {
    pub(super) id: ConnId,
    /// The number by which QUIC's endpoint calls it; nothing once the endpoint has forgotten it.
    handle: Option<u32>,
    pub(super) quic: Connection,
    pub(super) timers: ConnTimers,
    /// What the transport's queue of timers holds for it.
    pub(super) wakes_at: Option<Instant>,
    /// Its turns.
    pub(super) queued: Queued,
    /// What the current call leaves to be done.
    touched: Touched,
    phase: Phase,
    opened: Opened,
    /// A datagram arrived since the last packet was built.
    heard: bool,
    /// The address of this machine that the conn sends from is gone.
    has_lost_source: bool,
    /// Where the peer is, if it moved. Only conns that this node dialed have it.
    path: Option<Box<Path>>,
    /// QUIC's timers fired since the conn last settled.
    has_timed_out: bool,
    stream: Option<StreamId>,
    /// Absent while no frame is in progress.
    receiver: Option<Box<Receiver>>,
    sender: Sender,
    /// Since when the frame being written waits for QUIC to take all of it.
    stuck_since: Option<Instant>,
}

impl Conn {
    /// A conn whose handshake begins.
    pub(super) fn new(
        id: ConnId,
        handle: ConnectionHandle,
        quic: Connection,
        opened: Opened,
    ) -> Self {
        Self {
            id,
            handle: Some(handle.0 as u32),
            quic,
            timers: ConnTimers::default(),
            wakes_at: None,
            queued: Queued::default(),
            touched: Touched::default(),
            phase: Phase::Handshake,
            opened,
            heard: false,
            has_lost_source: false,
            path: None,
            has_timed_out: false,
            stream: None,
            receiver: None,
            sender: Sender::default(),
            stuck_since: None,
        }
    }

    /// Begins the handshake, with bounds that QUIC does not have (PROTOCOL.md#handshake-bounds).
    pub(super) fn start_handshake(
        &mut self,
        now: Instant,
        dial_deadline: Option<Instant>,
        endpoint: &mut Endpoint,
    ) -> Touched {
        self.timers.set(ConnTimer::Handshake, now + profile::HANDSHAKE);
        self.timers.set(ConnTimer::HandshakeSilence, now + profile::HANDSHAKE_SILENCE);
        if let Some(deadline) = dial_deadline {
            self.timers.set(ConnTimer::Dial, deadline);
        }
        self.service(now, endpoint);
        self.take_touched()
    }

    /// A datagram arrived for this conn and QUIC has taken it.
    #[inline]
    pub(super) fn on_datagram(&mut self, now: Instant, endpoint: &mut Endpoint) -> Touched {
        if self.phase == Phase::Handshake {
            self.timers.set(ConnTimer::HandshakeSilence, now + profile::HANDSHAKE_SILENCE);
        }
        self.heard = true;
        self.quic.set_send_window(profile::send_window(self.quic.congestion_state().window()));
        self.service(now, endpoint);
        let acked = self.sender.observe_acks(&mut endpoint.pool);
        if acked > 0 && self.phase == Phase::Up {
            let progress = self.sender.ack_progress(acked);
            self.report_writable(endpoint);
            self.watch_for_stall(now, progress);
        }
        self.take_touched()
    }

    /// Builds the next packets, at most `segments`. After a datagram arrived, one of them may leave
    /// although the window is full, because it carries the acknowledgement.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        segments: usize,
        buf: &mut TransmitBuf,
        endpoint: &Endpoint,
    ) -> Option<quinn_proto::Transmit> {
        if self.heard {
            endpoint.allowance.grant();
        }
        let segments = self.batch(now, segments);
        let mut transmit = self.quic.poll_transmit(now, segments, &mut buf.bytes);
        endpoint.allowance.revoke();
        if let Some(transmit) = &mut transmit {
            self.heard = false;
            self.address(now, transmit);
        }
        transmit
    }

    /// Lets the timers fire that are due.
    pub(super) fn on_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) -> Touched {
        self.wakes_at = None;
        while let Some(timer) = self.timers.pop_due(now) {
            self.on_timer(now, timer, endpoint);
        }
        self.take_touched()
    }

    /// Queues a frame and hands QUIC what it takes.
    pub(super) fn send(
        &mut self,
        now: Instant,
        class: Class,
        frame: Frame,
        endpoint: &mut Endpoint,
    ) -> (Touched, Result<(), SendError>) {
        if self.phase != Phase::Up {
            return (Touched::default(), Err(SendError::Gone(frame)));
        }
        if let Err(frame) = self.sender.push(class, frame, &mut endpoint.pool) {
            endpoint.stats.counters.sends_refused += 1;
            self.watch_for_stall(now, Progress::default());
            // The wait for progress may begin only now.
            let transmit = self.timers.next().map(|(at, _)| at) != self.wakes_at;
            let touched = Touched { transmit, ..Touched::default() };
            return (touched, Err(SendError::Full(frame)));
        }
        self.flush(now, endpoint);
        (self.take_touched(), Ok(()))
    }

    /// The engine cancels a dial.
    pub(super) fn cancel_dial(&mut self, now: Instant, endpoint: &mut Endpoint) -> Touched {
        self.move_to_failed(now, DialError::Cancelled, endpoint);
        self.service(now, endpoint);
        self.take_touched()
    }

    /// The engine closes the conn.
    pub(super) fn close(
        &mut self,
        now: Instant,
        mode: CloseMode,
        endpoint: &mut Endpoint,
    ) -> Touched {
        endpoint.discard_frames(self.id);
        match (mode, self.phase) {
            (_, Phase::Over | Phase::Draining) => return Touched::default(),
            (CloseMode::Drain, Phase::Up) if self.stream.is_some() => {
                self.move_to_draining(now, endpoint);
            }
            _ => self.move_to_over(now, ConnDownReason::ClosedHere, endpoint),
        }
        self.service(now, endpoint);
        self.take_touched()
    }

    /// Reads this conn's share and reports the frames that it completes.
    #[inline]
    pub(super) fn read_turn(&mut self, now: Instant, endpoint: &mut Endpoint) -> Touched {
        if !matches!(self.phase, Phase::Up | Phase::Ending(_)) {
            return Touched::default();
        }
        let before = endpoint.stats.counters.frames_received;
        let kept = self.receiver.take().or_else(|| endpoint.pool.receivers.pop());
        let mut receiver = kept.unwrap_or_default();
        let turn = self.read_share(&mut receiver, endpoint);
        let completed = endpoint.stats.counters.frames_received > before;
        endpoint.stats.counters.frames_coalesced += receiver.take_coalesced();
        if completed {
            self.timers.stop(ConnTimer::FirstFrame);
        }
        if !receiver.is_partial() {
            self.timers.stop(ConnTimer::Frame);
        } else if completed || !self.timers.is_set(ConnTimer::Frame) {
            self.timers.set(ConnTimer::Frame, now + profile::FRAME);
        }
        if receiver.is_idle() {
            endpoint.pool.keep_receiver(receiver);
        } else {
            self.receiver = Some(receiver);
        }
        match (turn, self.phase) {
            (Turn::Share, _) => self.touched.readable = true,
            (Turn::Misframed, _) => {
                endpoint.stats.count_drop(DropReason::BadLengthPrefix);
                self.move_to_over(now, ConnDownReason::PeerMisbehaved, endpoint);
            }
            (_, Phase::Ending(reason)) => self.move_to_over(now, reason, endpoint),
            (Turn::Finished, _) => self.move_to_over(now, ConnDownReason::ClosedByPeer, endpoint),
            (Turn::Dry, _) => {}
        }
        self.touched.transmit = true;
        self.take_touched()
    }

    /// Nothing is left to send: brings the timers up to date, unless one of QUIC's was due.
    #[inline]
    pub(super) fn settle(&mut self, now: Instant, endpoint: &mut Endpoint) -> Touched {
        self.forward_endpoint_events(endpoint);
        if self.phase == Phase::Over && self.handle.is_none() {
            return Touched { over: true, ..Touched::default() };
        }
        let has_timed_out = core::mem::take(&mut self.has_timed_out);
        match self.quic.poll_timeout() {
            // What is overdue is handled now, but once: a deadline that stays overdue must not keep
            // this turn from ending.
            Some(at) if at <= now && !has_timed_out => {
                self.on_timer(now, ConnTimer::Quic, endpoint);
            }
            Some(at) if at <= now => self.timers.set(ConnTimer::Quic, now + profile::GRANULARITY),
            Some(at) => self.timers.set(ConnTimer::Quic, at),
            None => self.timers.stop(ConnTimer::Quic),
        }
        self.take_touched()
    }

    /// Gives back its place among handshakes or conns. The endpoint has forgotten it before.
    pub(super) fn release(&mut self, admission: &mut Admission) {
        debug_assert!(self.handle.is_none(), "only a conn that is over is released");
        core::mem::replace(&mut self.opened, Opened::Dialed).release(admission);
    }

    /// What QUIC's endpoint calls it; nothing once the endpoint has forgotten it.
    pub(super) fn handle(&self) -> Option<ConnectionHandle> {
        self.handle.map(|number| ConnectionHandle(number as usize))
    }

    /// Whether the engine knows it and may send on it.
    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether it is over for the engine.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Draining)
    }

    /// The current path, while the conn is up.
    pub(super) fn path(&self) -> Option<PathInfo> {
        self.is_up().then(|| PathInfo { remote: self.remote(), rtt: self.quic.rtt() })
    }

    /// Bytes of frames waiting to be sent.
    pub(super) fn queued(&self) -> usize {
        self.sender.queued()
    }

    /// Bytes of frames that are not complete.
    pub(super) fn buffered(&self) -> usize {
        self.receiver.as_ref().map_or(0, |receiver| receiver.buffered())
    }

    /// Asserts every invariant.
    pub(super) fn check(&self) {
        self.sender.check();
        if matches!(self.phase, Phase::Handshake | Phase::AwaitStream) {
            assert!(self.stream.is_none(), "the stream comes with the conn");
        }
        if self.phase == Phase::Over {
            assert!(self.quic.is_closed(), "what is over for us is over for QUIC");
        }
        assert_eq!(self.touched, Touched::default(), "each call returned what it left to be done");
    }

    fn take_touched(&mut self) -> Touched {
        core::mem::take(&mut self.touched)
    }

    fn take_dial(&mut self) -> Option<Dial> {
        match core::mem::replace(&mut self.opened, Opened::Dialed) {
            Opened::Dialing(dial) => Some(*dial),
            other => {
                self.opened = other;
                None
            }
        }
    }

    /// Passes events between QUIC and its endpoint, and takes what QUIC reports.
    fn service(&mut self, now: Instant, endpoint: &mut Endpoint) {
        loop {
            self.forward_endpoint_events(endpoint);
            match self.quic.poll() {
                Some(event) => self.on_quic_event(now, event, endpoint),
                None => break,
            }
        }
        self.touched.transmit = true;
    }

    fn on_timer(&mut self, now: Instant, timer: ConnTimer, endpoint: &mut Endpoint) {
        match timer {
            ConnTimer::Quic => {
                self.has_timed_out = true;
                let before = self.quic.remote_address();
                self.quic.handle_timeout(now);
                self.observe_path(now, before, endpoint);
            }
            ConnTimer::Handshake | ConnTimer::HandshakeSilence => {
                endpoint.stats.count_drop(DropReason::HandshakeTimeout);
                self.move_to_failed(now, DialError::NoRoute, endpoint);
            }
            ConnTimer::Dial => self.move_to_failed(now, DialError::TimedOut, endpoint),
            ConnTimer::FirstFrame => {
                endpoint.stats.count_drop(DropReason::FirstFrameTimeout);
                self.move_to_over(now, ConnDownReason::Silent, endpoint);
            }
            ConnTimer::Frame => {
                endpoint.stats.count_drop(DropReason::FrameTimeout);
                self.move_to_over(now, ConnDownReason::PeerMisbehaved, endpoint);
            }
            ConnTimer::Stall => self.move_to_over(now, ConnDownReason::Stalled, endpoint),
            ConnTimer::KeepAlive => self.quic.ping(),
            ConnTimer::Drain => self.move_to_over(now, ConnDownReason::ClosedHere, endpoint),
            ConnTimer::Forget => self.forget(endpoint),
        }
        self.service(now, endpoint);
    }

    fn forward_endpoint_events(&mut self, endpoint: &mut Endpoint) {
        while let Some(event) = self.quic.poll_endpoint_events() {
            let Some(handle) = self.handle() else { continue };
            if event.is_drained() {
                self.handle = None;
                endpoint.unbind(handle);
            }
            if let Some(event) = endpoint.quic.handle_event(handle, event) {
                self.quic.handle_event(event);
            }
        }
    }

    /// Does not wait until QUIC needs it no longer.
    fn forget(&mut self, endpoint: &mut Endpoint) {
        if let Some(handle) = self.handle() {
            self.handle = None;
            endpoint.unbind(handle);
            endpoint.quic.handle_event(handle, EndpointEvent::drained());
        }
    }

    fn flush(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let Some(stream) = self.stream else { return };
        if !matches!(self.phase, Phase::Up | Phase::Draining) {
            return;
        }
        match self.sender.flush(self.quic.send_stream(stream), &mut endpoint.pool) {
            Ok(progress) => {
                endpoint.stats.counters.frames_sent += progress.frames;
                // The end of a drain has a timer of its own.
                if self.phase == Phase::Up {
                    self.watch_for_stall(now, progress);
                }
            }
            Err(Refused) => self.move_to_ending(now, ConnDownReason::ClosedByPeer, endpoint),
        }
        self.report_writable(endpoint);
        if self.phase == Phase::Draining && self.sender.is_idle() {
            // Fails if the peer stopped the stream, which has its own event.
            let _ = self.quic.send_stream(stream).finish();
        }
        self.touched.transmit = true;
    }

    fn report_writable(&mut self, endpoint: &mut Endpoint) {
        if self.phase == Phase::Up && self.sender.take_writable() {
            endpoint.events.push_back(Event::Writable(self.id));
        }
    }

    /// Any byte that QUIC takes shows progress of the path, at any speed. Where QUIC has taken
    /// everything, any acknowledged frame does. With that alone a peer could hold what waits for it
    /// with a byte now and then. A frame must therefore also be taken whole in the time that a
    /// receiver gives it. A peer that takes a whole frame in every such time holds no more than the
    /// cap of the queues.
    fn watch_for_stall(&mut self, now: Instant, progress: Progress) {
        if progress.frames > 0 || !self.sender.is_stuck() {
            self.stuck_since = None;
        }
        if !self.sender.is_stuck() {
            self.timers.stop(ConnTimer::Stall);
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if progress != Progress::default() || !self.timers.is_set(ConnTimer::Stall) {
            let at = (now + profile::STALL).min(since + profile::FRAME);
            self.timers.set(ConnTimer::Stall, at);
        }
    }

    fn read_share(&mut self, receiver: &mut Receiver, endpoint: &mut Endpoint) -> Turn {
        let Some(stream) = self.stream else { return Turn::Dry };
        let mut stream = self.quic.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return Turn::Finished };
        let (mut frames, mut bytes) = (0, 0);
        loop {
            match receiver.poll_frame(&mut endpoint.pool.spare) {
                Ok(Some(frame)) => {
                    endpoint.events.push_back(Event::Frame { conn: self.id, frame });
                    endpoint.stats.counters.frames_received += 1;
                    frames += 1;
                    if frames == FRAMES_PER_TURN {
                        return Turn::Share;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(BadPrefix) => return Turn::Misframed,
            }
            if bytes >= BYTES_PER_TURN {
                return Turn::Share;
            }
            match chunks.next(BYTES_PER_TURN - bytes) {
                Ok(Some(chunk)) => {
                    bytes += chunk.bytes.len();
                    receiver.push(chunk.bytes);
                }
                Ok(None) | Err(ReadError::Reset(_)) => return Turn::Finished,
                Err(ReadError::Blocked) => return Turn::Dry,
            }
        }
    }
}
