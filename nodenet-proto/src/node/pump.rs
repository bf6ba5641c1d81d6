//! Pump of a node: the order in which a drain moves events, frames, datagrams and timers.
//!
//! Input is processed while output is drained. An input that brings stream data marks its conn as
//! readable and ends there. The frames are read by the calls that drain output, in bounded turns,
//! one for each readable conn (PROTOCOL.md#read-turns). Frames that were read in one turn are
//! handled, and what they cause is sent, before any conn has its next turn. So a conn with much to
//! read does not starve the others, and one call takes a bounded time.
//!
//! Responsible for: that order. Never: what an event or a command means.

use super::{Node, Output};
use crate::api::Event;
use crate::engine;
use crate::io::{Deadline, TransmitBuf};

/// What the pump knows of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) enum EngineState {
    /// It may have something to hand out.
    HasInput,
    /// It has handed out everything, and waits until then or for an input.
    Waits(Option<Deadline>),
}

/// Stages of a round. Between two stages, engine and transport take what they have for each other.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Readable conns have a turn.
    Read,
    /// A batch of datagrams is handed out.
    Transmit,
}

impl Node {
    /// The next thing to do.
    pub(super) fn pump(&mut self, buf: &mut TransmitBuf) -> Output {
        buf.bytes.clear();
        if let Some(output) = self.rounds(buf) {
            return output;
        }
        // Timers fire once in a call: one that is due again at once must not hold the call up.
        if self.deadline().is_some_and(|deadline| deadline.at <= self.now) {
            self.handle_timeout(self.now);
            if let Some(output) = self.rounds(buf) {
                return output;
            }
        }
        Output::Timeout(self.deadline())
    }

    /// Goes through the stages until there is an output, or nothing to do but to wait. Most of what
    /// is asked here has the answer no: the questions are cheap, the calls are not.
    fn rounds(&mut self, buf: &mut TransmitBuf) -> Option<Output> {
        let mut stage = Stage::Read;
        loop {
            let is_waiting = matches!(self.engine_state, EngineState::Waits(_));
            if (!is_waiting || self.quic.has_event())
                && let Some(event) = self.exchange()
            {
                return Some(Output::Event(event));
            }
            stage = match stage {
                Stage::Read if self.quic.is_readable() => {
                    self.quic.read();
                    Stage::Transmit
                }
                Stage::Read | Stage::Transmit => {
                    if self.quic.is_dirty()
                        && let Some(transmit) = self.quic.poll_transmit(buf)
                    {
                        return Some(Output::Transmit(transmit));
                    }
                    if !self.quic.is_readable() && !self.quic.has_event() {
                        return None;
                    }
                    Stage::Read
                }
            };
        }
    }

    /// Passes on what engine and transport have for each other, until one has something for the
    /// application or neither has anything.
    #[inline(never)]
    fn exchange(&mut self) -> Option<Event> {
        loop {
            while let EngineState::HasInput = self.engine_state {
                match self.engine.poll() {
                    engine::Output::Event(event) => return Some(event),
                    engine::Output::Transport(command) => {
                        self.quic.handle_command(self.now, command);
                    }
                    engine::Output::Timeout(deadline) => {
                        self.engine_state = EngineState::Waits(deadline);
                    }
                }
            }
            let event = self.quic.poll_event()?;
            self.engine_state = EngineState::HasInput;
            self.engine.handle_transport(self.now, event, &mut self.quic);
        }
    }

    /// When the first timer of any machine is due.
    fn deadline(&self) -> Option<Deadline> {
        let engine = match self.engine_state {
            EngineState::HasInput => None,
            EngineState::Waits(deadline) => deadline,
        };
        match (self.quic.next_deadline(), engine) {
            (Some(quic), Some(engine)) if engine.at < quic.at => Some(engine),
            (quic, engine) => quic.or(engine),
        }
    }
}
