//! One conn: a QUIC connection, the stream its frames run on, and where it is in its life.
//!
//! Its life: a handshake; then up, and the engine knows it; then over, while QUIC says its last
//! words. Between up and over it may be draining, when the engine closed it gracefully, or ending,
//! when the peer ended it and whole frames are still to be delivered. Every change of phase is one
//! `move_to_*` function, which also tells the engine. Nobody else does.

mod events;
mod phase;
mod timers;

use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, EndpointEvent, ReadError, StreamId};

use self::phase::Phase;
use self::timers::{ConnTimer, ConnTimers};
use crate::NodeId;
use crate::buf::Frame;
use crate::quic::edge::receive::{BadPrefix, Receiver};
use crate::quic::edge::send::{Progress, Refused, Sender};
use crate::quic::endpoint::admission::{HalfOpen, Slot};
use crate::quic::endpoint::profile;
use crate::quic::shared::Shared;
use crate::stats::DropReason;
use crate::transport::{
    Class, CloseMode, ConnDownReason, ConnId, DialError, DialId, Event, PathInfo, SendError,
};

/// Frames read from one conn before others get their turn (PROTOCOL.md#read-turns).
const FRAMES_PER_TURN: usize = 64;
/// Bytes read from one conn before others get their turn (PROTOCOL.md#read-turns).
const BYTES_PER_TURN: usize = 64 * 1024;

/// What a conn that we began is for.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) id: DialId,
    /// Whom the other end must prove to be.
    pub(super) expected: NodeId,
    /// The key with which it proved that.
    key: Option<[u8; 32]>,
}

impl Dial {
    pub(super) const fn new(id: DialId, expected: NodeId) -> Self {
        Self { id, expected, key: None }
    }
}

/// What became of a conn when there was nothing more to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// Its timers are up to date and nothing is to be done.
    Quiet,
    /// A timer of QUIC was due; look again.
    Again,
    /// It can be forgotten.
    Gone,
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
    pub(super) handle: ConnectionHandle,
    pub(super) quic: Connection,
    pub(super) timers: ConnTimers,
    /// What the transport's queue holds for it.
    pub(super) wakes_at: Option<Instant>,
    /// Whether it is in [`Shared::dirty`].
    pub(super) is_dirty: bool,
    /// Whether it is in [`Shared::readable`].
    pub(super) is_readable: bool,
    /// Whether the endpoint has forgotten it.
    is_drained: bool,
    /// When QUIC's timers last fired.
    timed_out_at: Option<Instant>,
    /// Of a conn that we began, until it is up.
    dial: Option<Box<Dial>>,
    phase: Phase,
    half_open: Option<HalfOpen>,
    slot: Option<Slot>,
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
        dial: Option<Dial>,
        half_open: Option<HalfOpen>,
    ) -> Self {
        Self {
            id,
            handle,
            quic,
            timers: ConnTimers::default(),
            wakes_at: None,
            is_dirty: false,
            is_readable: false,
            is_drained: false,
            timed_out_at: None,
            dial: dial.map(Box::new),
            phase: Phase::Handshake,
            half_open,
            slot: None,
            stream: None,
            receiver: None,
            sender: Sender::default(),
            stuck_since: None,
        }
    }

    /// Starts the bounds of the handshake, which QUIC does not have (PROTOCOL.md#handshake-bounds).
    pub(super) fn start_handshake(&mut self, now: Instant, dial_deadline: Option<Instant>) {
        self.timers.set(ConnTimer::Handshake, now + profile::HANDSHAKE);
        self.timers.set(ConnTimer::HandshakeSilence, now + profile::HANDSHAKE_SILENCE);
        if let Some(deadline) = dial_deadline {
            self.timers.set(ConnTimer::Dial, deadline);
        }
    }

    /// A datagram arrived for this conn and QUIC has taken it.
    #[inline]
    pub(super) fn on_datagram(&mut self, now: Instant, shared: &mut Shared) {
        if self.phase == Phase::Handshake {
            self.timers.set(ConnTimer::HandshakeSilence, now + profile::HANDSHAKE_SILENCE);
        }
        self.quic.set_send_window(profile::send_window(self.quic.congestion_state().window()));
        self.service(now, shared);
        let acked = self.sender.observe_acks(&mut shared.pool);
        if acked > 0 && self.phase == Phase::Up {
            let progress = self.sender.ack_progress(acked);
            self.report_writable(shared);
            self.watch_for_stall(now, progress);
        }
    }

    /// Lets QUIC and its endpoint talk, and takes what QUIC reports.
    pub(super) fn service(&mut self, now: Instant, shared: &mut Shared) {
        loop {
            self.forward_endpoint_events(shared);
            match self.quic.poll() {
                Some(event) => self.on_quic_event(now, event, shared),
                None => break,
            }
        }
        self.mark_dirty(shared);
    }

    /// A timer of this conn fired.
    pub(super) fn on_timer(&mut self, now: Instant, timer: ConnTimer, shared: &mut Shared) {
        match timer {
            ConnTimer::Quic => {
                self.timed_out_at = Some(now);
                self.quic.handle_timeout(now);
            }
            ConnTimer::Handshake | ConnTimer::HandshakeSilence => {
                shared.stats.count_drop(DropReason::HandshakeTimeout);
                self.move_to_failed(now, DialError::NoRoute, shared);
            }
            ConnTimer::Dial => self.move_to_failed(now, DialError::TimedOut, shared),
            ConnTimer::FirstFrame => {
                shared.stats.count_drop(DropReason::FirstFrameTimeout);
                self.move_to_over(now, ConnDownReason::Silent, shared);
            }
            ConnTimer::Frame => {
                shared.stats.count_drop(DropReason::FrameTimeout);
                self.move_to_over(now, ConnDownReason::PeerMisbehaved, shared);
            }
            ConnTimer::Stall => self.move_to_over(now, ConnDownReason::Stalled, shared),
            ConnTimer::Drain => self.move_to_over(now, ConnDownReason::ClosedHere, shared),
            ConnTimer::Forget => self.forget(shared),
        }
        self.service(now, shared);
    }

    /// Queues a frame and hands QUIC what it takes.
    pub(super) fn send(
        &mut self,
        now: Instant,
        class: Class,
        frame: Frame,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        if self.phase != Phase::Up {
            return Err(SendError::Gone(frame));
        }
        if let Err(frame) = self.sender.push(class, frame, &mut shared.pool) {
            shared.stats.counters.sends_refused += 1;
            self.watch_for_stall(now, Progress::default());
            return Err(SendError::Full(frame));
        }
        self.flush(now, shared);
        Ok(())
    }

    /// The engine gives a dial up.
    pub(super) fn cancel_dial(&mut self, now: Instant, shared: &mut Shared) {
        self.move_to_failed(now, DialError::Cancelled, shared);
        self.service(now, shared);
    }

    /// The engine closes the conn.
    pub(super) fn close(&mut self, now: Instant, mode: CloseMode, shared: &mut Shared) {
        shared.discard_frames(self.id);
        match (mode, self.phase) {
            (_, Phase::Over | Phase::Draining) => return,
            (CloseMode::Drain, Phase::Up) if self.stream.is_some() => {
                self.move_to_draining(now, shared);
            }
            _ => self.move_to_over(now, ConnDownReason::ClosedHere, shared),
        }
        self.service(now, shared);
    }

    /// Reads this conn's share and reports the frames that it completes.
    #[inline]
    pub(super) fn read_turn(&mut self, now: Instant, shared: &mut Shared) {
        if !matches!(self.phase, Phase::Up | Phase::Ending(_)) {
            return;
        }
        let before = shared.stats.counters.frames_received;
        let kept = self.receiver.take().or_else(|| shared.pool.receivers.pop());
        let mut receiver = kept.unwrap_or_default();
        let turn = self.read_share(&mut receiver, shared);
        let completed = shared.stats.counters.frames_received > before;
        shared.stats.counters.frames_coalesced += receiver.take_coalesced();
        if completed {
            self.timers.stop(ConnTimer::FirstFrame);
        }
        if !receiver.is_partial() {
            self.timers.stop(ConnTimer::Frame);
        } else if completed || !self.timers.is_set(ConnTimer::Frame) {
            self.timers.set(ConnTimer::Frame, now + profile::FRAME);
        }
        if receiver.is_idle() {
            shared.pool.keep_receiver(receiver);
        } else {
            self.receiver = Some(receiver);
        }
        match (turn, self.phase) {
            (Turn::Share, _) => self.mark_readable(shared),
            (Turn::Misframed, _) => {
                shared.stats.count_drop(DropReason::BadLengthPrefix);
                self.move_to_over(now, ConnDownReason::PeerMisbehaved, shared);
            }
            (_, Phase::Ending(reason)) => self.move_to_over(now, reason, shared),
            (Turn::Finished, _) => self.move_to_over(now, ConnDownReason::ClosedByPeer, shared),
            (Turn::Dry, _) => {}
        }
        self.mark_dirty(shared);
    }

    /// Nothing is left to send: brings the timers up to date.
    #[inline]
    pub(super) fn settle(&mut self, now: Instant, shared: &mut Shared) -> Settled {
        self.forward_endpoint_events(shared);
        if self.phase == Phase::Over && self.is_drained {
            return Settled::Gone;
        }
        match self.quic.poll_timeout() {
            // What is overdue is handled now, but once: a deadline that stays overdue must not keep
            // this turn from ending.
            Some(at) if at <= now && self.timed_out_at != Some(now) => {
                self.on_timer(now, ConnTimer::Quic, shared);
                return Settled::Again;
            }
            Some(at) if at <= now => self.timers.set(ConnTimer::Quic, now + profile::GRANULARITY),
            Some(at) => self.timers.set(ConnTimer::Quic, at),
            None => self.timers.stop(ConnTimer::Quic),
        }
        Settled::Quiet
    }

    /// Gives back what it holds of shared things. The last call, once the endpoint has forgotten
    /// it.
    pub(super) fn release(&mut self, shared: &mut Shared) {
        debug_assert!(self.is_drained, "only a conn that is gone is released");
        if let Some(half_open) = self.half_open.take() {
            shared.admission.end_handshake(half_open);
        }
        if let Some(slot) = self.slot.take() {
            shared.admission.end(slot);
        }
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
        self.is_up().then(|| PathInfo { remote: self.quic.remote_address(), rtt: self.quic.rtt() })
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
        assert!(!(self.slot.is_some() && self.half_open.is_some()), "one or the other counts");
    }

    /// The conn may have something to send.
    fn mark_dirty(&mut self, shared: &mut Shared) {
        if !self.is_dirty {
            self.is_dirty = true;
            shared.dirty.push_back(self.id);
        }
    }

    /// The conn may have something to read.
    fn mark_readable(&mut self, shared: &mut Shared) {
        if !self.is_readable {
            self.is_readable = true;
            shared.readable.push_back(self.id);
        }
    }

    fn forward_endpoint_events(&mut self, shared: &mut Shared) {
        while let Some(event) = self.quic.poll_endpoint_events() {
            if self.is_drained {
                continue;
            }
            if event.is_drained() {
                self.is_drained = true;
                self.forget_handle(shared);
            }
            if let Some(event) = shared.endpoint.handle_event(self.handle, event) {
                self.quic.handle_event(event);
            }
        }
    }

    /// Does not wait until QUIC has no use for it any more.
    fn forget(&mut self, shared: &mut Shared) {
        if !self.is_drained {
            self.is_drained = true;
            self.forget_handle(shared);
            shared.endpoint.handle_event(self.handle, EndpointEvent::drained());
        }
    }

    fn forget_handle(&self, shared: &mut Shared) {
        shared.by_handle[self.handle.0] = None;
    }

    fn flush(&mut self, now: Instant, shared: &mut Shared) {
        let Some(stream) = self.stream else { return };
        if !matches!(self.phase, Phase::Up | Phase::Draining) {
            return;
        }
        match self.sender.flush(self.quic.send_stream(stream), &mut shared.pool) {
            Ok(progress) => {
                shared.stats.counters.frames_sent += progress.frames;
                // The end of a drain has a timer of its own.
                if self.phase == Phase::Up {
                    self.watch_for_stall(now, progress);
                }
            }
            Err(Refused) => self.move_to_ending(now, ConnDownReason::ClosedByPeer, shared),
        }
        self.report_writable(shared);
        if self.phase == Phase::Draining && self.sender.is_idle() {
            // Fails if the peer stopped the stream, which has its own event.
            let _ = self.quic.send_stream(stream).finish();
        }
        self.mark_dirty(shared);
    }

    fn report_writable(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Up && self.sender.take_writable() {
            shared.events.push_back(Event::Writable(self.id));
        }
    }

    /// Any byte that QUIC takes shows that the path moves, however slowly; where QUIC has taken
    /// everything, any frame that is acknowledged. If that were all, a peer could hold what waits
    /// for it with a byte now and then; so a frame must also be taken whole in the time that a
    /// receiver gives it. What a peer holds by taking a whole frame in every such time has the cap
    /// of the queues.
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

    fn read_share(&mut self, receiver: &mut Receiver, shared: &mut Shared) -> Turn {
        let Some(stream) = self.stream else { return Turn::Dry };
        let mut stream = self.quic.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return Turn::Finished };
        let (mut frames, mut bytes) = (0, 0);
        loop {
            match receiver.poll_frame(&mut shared.pool.spare) {
                Ok(Some(frame)) => {
                    shared.events.push_back(Event::Frame { conn: self.id, frame });
                    shared.stats.counters.frames_received += 1;
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
