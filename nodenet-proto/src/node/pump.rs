//! Pump of a node: the order in which a drain moves events, frames, datagrams and timers.
//!
//! Input is processed while output is drained. An input that brings stream data marks its conn as
//! readable and ends there. The frames are read by the calls that drain output, in bounded turns,
//! one for each readable conn (PROTOCOL.md#read-turns). Frames that were read in one turn are
//! handled, and what they cause is sent, before any conn has its next turn. So a conn with much to
//! read does not starve the others, and one call takes a bounded time.
//!
//! Responsible for: that order. Never: what an event or a command means.

use std::time::Instant;

use super::{Node, Output};
use crate::api::Event;
use crate::engine;
use crate::io::{Deadline, TransmitBuf};
use crate::splice;
use crate::transport::Command;

/// State of the engine, as far as the pump needs it.
#[derive(Debug, Clone, Copy)]
pub(super) enum EngineState {
    /// It may have something to hand out.
    HasInput,
    /// It has handed out everything, and waits until then or for an input.
    Waits(Option<Deadline>),
}

impl EngineState {
    /// Whether a timer of the engine may be due.
    pub(super) fn is_due(self, now: Instant) -> bool {
        match self {
            Self::HasInput => true,
            Self::Waits(deadline) => deadline.is_some_and(|next| next.at <= now),
        }
    }
}

/// Stages of a drain. Before conns read and before datagrams leave, engine and transport take what
/// they have for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Readable conns have a turn.
    Read,
    /// A batch of datagrams is handed out, or a socket is asked for.
    Transmit,
    /// Nothing is left to read and to send: timers that are due fire.
    Expire,
}

/// Whether timers fired in this drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timers {
    NotYet,
    Fired,
}

impl Node {
    /// The next output. Most of the checks fail: the checks are cheap, the calls are not.
    #[inline]
    pub(super) fn pump(&mut self, buf: &mut TransmitBuf) -> Output {
        buf.bytes.clear();
        let (mut stage, mut timers) = (Stage::Read, Timers::NotYet);
        loop {
            if stage != Stage::Expire
                && self.has_exchange()
                && let Some(event) = self.exchange()
            {
                return Output::Event(event);
            }
            stage = match stage {
                Stage::Read if self.quic.is_readable() => {
                    self.quic.read();
                    Stage::Transmit
                }
                Stage::Read | Stage::Transmit => {
                    // First, for the rates of splices leave most of the time to conns.
                    if self.splices.has_output()
                        && let Some(output) = self.splices.poll_output(buf)
                    {
                        return of_splice(output);
                    }
                    if self.quic.is_dirty()
                        && let Some(transmit) = self.quic.poll_transmit(buf)
                    {
                        return Output::Transmit(transmit);
                    }
                    match self.quic.is_readable() || self.quic.has_event() {
                        true => Stage::Read,
                        false => Stage::Expire,
                    }
                }
                Stage::Expire => {
                    let deadline = self.deadline();
                    // Once: a timer that is due again at once must not hold the call up.
                    if timers == Timers::Fired || deadline.is_none_or(|next| next.at > self.now) {
                        return Output::Timeout(deadline);
                    }
                    timers = Timers::Fired;
                    self.handle_timeout(self.now);
                    Stage::Read
                }
            };
        }
    }

    /// Whether engine or transport may have something for the other.
    #[inline]
    fn has_exchange(&self) -> bool {
        matches!(self.engine_state, EngineState::HasInput)
            || self.quic.has_event()
            || self.splices.has_event()
    }

    /// Passes on what engine and transport have for each other, until one has something for the
    /// application or neither has anything.
    #[inline(never)]
    fn exchange(&mut self) -> Option<Event> {
        loop {
            while let EngineState::HasInput = self.engine_state {
                match self.engine.poll() {
                    engine::Output::Event(event) => return Some(event),
                    engine::Output::Transport(command) => self.on_command(command),
                    engine::Output::Timeout(deadline) => {
                        self.engine_state = EngineState::Waits(deadline);
                    }
                }
            }
            let event = self.quic.poll_event().or_else(|| self.splices.poll_event())?;
            self.engine_state = EngineState::HasInput;
            self.engine.handle_transport(self.now, event, &mut self.quic);
        }
    }

    /// Gives a command to the machine that carries it out.
    fn on_command(&mut self, command: Command) {
        match command {
            Command::OpenSplice { splice, sides, group } => {
                self.splices.open(self.now, splice, sides, group);
            }
            Command::LimitSplices { bytes_per_s, bytes_left } => {
                self.splices.limit(self.now, bytes_per_s, bytes_left);
            }
            Command::CloseSplice(splice) => self.splices.close(splice),
            Command::Dial { .. }
            | Command::CancelDial(_)
            | Command::Close { .. }
            | Command::Punch { .. } => self.quic.handle_command(self.now, command),
        }
    }

    /// When the first timer of any machine is due.
    fn deadline(&self) -> Option<Deadline> {
        if self.engine.is_suspended() {
            return None;
        }
        let engine = match self.engine_state {
            EngineState::HasInput => None,
            EngineState::Waits(deadline) => deadline,
        };
        let conns = match (self.quic.next_deadline(), engine) {
            (Some(quic), Some(engine)) if engine.at < quic.at => Some(engine),
            (quic, engine) => quic.or(engine),
        };
        match self.splices.next_deadline() {
            Some(splice) if conns.is_none_or(|conns| splice.at < conns.at) => Some(splice),
            _ => conns,
        }
    }
}

fn of_splice(output: splice::Output) -> Output {
    match output {
        splice::Output::OpenSocket { socket, local_ip } => Output::OpenSocket { socket, local_ip },
        splice::Output::CloseSocket { socket } => Output::CloseSocket { socket },
        splice::Output::Transmit(transmit) => Output::Transmit(transmit),
    }
}
