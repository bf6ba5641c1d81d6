//! Event loop of the overlay world: passes each event to its machine and carries out the outputs.

use nodenet_proto::api::Event;
use nodenet_proto::engine::Output;
use nodenet_proto::transport::{self, ConnId, Direction};
use nodenet_proto::wire::FrameType;

use super::conns::EndRef;
use super::dial::DialOutcome;
use super::dials::DialStep;
use super::host_conns::HostConns;
use super::net::Scheduled;
use super::splices::SpliceStep;
use super::world::OverlayWorld;
use crate::clock::Moment;
use crate::world::{Host, StepKind, Violation, World};

/// Outputs of one machine without an input; more are treated as an endless loop (guess).
const OUTPUTS_MAX: u32 = 1_000_000;
/// Time-outs of one machine at one moment; more are treated as an endless loop (guess).
const CALLS_MAX: u32 = 10_000;

impl OverlayWorld {
    pub(super) fn on_scheduled(&mut self, scheduled: Scheduled) -> Result<(), Violation> {
        match scheduled {
            Scheduled::Wake(host) => self.on_wake(host),
            Scheduled::Arrival { packet } => self.on_arrival(packet),
            Scheduled::Writable { end, generation } => {
                if !self.net.current(end, generation) {
                    return Ok(());
                }
                let conn = self.net.conns.id(end);
                let host = self.net.conns.end(end).host;
                self.report(host, conn, StepKind::Writable, transport::Event::Writable(conn))
            }
            Scheduled::Gone { end, generation, reason } => {
                if !self.net.current(end, generation) || !self.net.gone_arrives(end, reason) {
                    return Ok(());
                }
                self.on_gone(end, reason)
            }
            Scheduled::ClosedHere { host, conn } => {
                let reason = transport::ConnDownReason::ClosedHere;
                let event = transport::Event::ConnDown { conn, reason };
                self.report(host, conn, StepKind::ConnDown, event)
            }
            Scheduled::Drained { end, generation } => {
                self.net.on_drained(end, generation);
                Ok(())
            }
            Scheduled::FirstFrame { end, generation } => {
                if !self.net.current(end, generation) || self.net.conns.end(end).heard {
                    return Ok(());
                }
                self.on_gone(end, transport::ConnDownReason::Silent)
            }
            Scheduled::PathChanged { end, generation } => {
                if !self.net.current(end, generation) {
                    return Ok(());
                }
                let (host, conn) = (self.net.conns.end(end).host, self.net.conns.id(end));
                let remote = self.net.on_path_changed(end);
                let event = transport::Event::PathChanged { conn, remote };
                self.report(host, conn, StepKind::PathChanged, event)
            }
            Scheduled::Punch { from, to } => {
                let Some(remote) = self.net.on_punch(from, to) else { return Ok(()) };
                self.note(to, StepKind::Punched, 0, 0, None);
                self.tell(to, transport::Event::Punched { remote })
            }
            Scheduled::Splice(step) => self.on_splice(step),
            Scheduled::Dial { dial, serial, step } => self.on_dial(dial, serial, step),
            Scheduled::Sweep => {
                self.net.sweep();
                Ok(())
            }
        }
    }

    fn on_splice(&mut self, step: SpliceStep) -> Result<(), Violation> {
        let (kind, told) = match step {
            SpliceStep::Punch(at, from) => {
                self.net.pin_splice(at, from);
                return Ok(());
            }
            SpliceStep::Opened(splice) => (StepKind::SpliceOpened, self.net.splice_opened(splice)),
            SpliceStep::Closed => (StepKind::SpliceOver, self.net.splice_closed()),
            SpliceStep::Idle(splice) => (StepKind::SpliceOver, self.net.on_splice_idle(splice)),
        };
        let Some((host, event)) = told else { return Ok(()) };
        if !self.is_up(host) {
            return Ok(());
        }
        self.note(host, kind, 0, 0, None);
        self.tell(host, event)
    }

    fn on_wake(&mut self, host: Host) -> Result<(), Violation> {
        let now = self.net.now;
        let state = self.net.host_state_mut(host);
        if state.wake_at != Some(now) {
            return Ok(());
        }
        state.wake_at = None;
        match state.deadline {
            Some(deadline) if deadline <= now => state.deadline = None,
            Some(deadline) => {
                self.wake(host, deadline);
                return Ok(());
            }
            None => return Ok(()),
        }
        let (since, times) = &mut self.spin;
        *times = if *since == (host, now) { *times + 1 } else { 0 };
        *since = (host, now);
        if *times > CALLS_MAX {
            return self.violation(host, format!("{CALLS_MAX} calls at one moment"));
        }
        self.net.meters.activity(host, now);
        self.note(host, StepKind::Timeout, 0, 0, None);
        let Some(machine) = &mut self.processes[host.index()].machine else { return Ok(()) };
        let instant = self.epoch.instant(now);
        machine.handle_timeout(instant, &mut HostConns { net: &mut self.net, host });
        self.drain(host)
    }

    fn on_arrival(&mut self, packet: u32) -> Result<(), Violation> {
        let Some((end, frame)) = self.net.arrive(packet) else { return Ok(()) };
        let host = self.net.conns.end(end).host;
        let conn = self.net.conns.id(end);
        let mut head = [0; 48];
        let head_len = frame.copy_to(0, &mut head);
        self.note(host, StepKind::Frame, head[1], frame.len(), Some(conn));
        for chunk in frame.chunks() {
            self.trace.bytes(chunk);
        }
        let process = &mut self.processes[host.index()];
        if process.joined_at.is_none() && is_sibling_answer(&head[..head_len]) {
            process.joined_at = Some(self.net.now);
        }
        let state = self.net.host_state(host);
        if state.silent && is_for_another(&head[..head_len], state.id.as_bytes()) {
            return Ok(());
        }
        let Some(machine) = &mut process.machine else { return Ok(()) };
        let event = transport::Event::Frame { conn, frame };
        let instant = self.epoch.instant(self.net.now);
        machine.handle_transport(instant, event, &mut HostConns { net: &mut self.net, host });
        self.drain(host)
    }

    /// The conn of an end is gone, and its host did not close it.
    fn on_gone(&mut self, end: EndRef, reason: transport::ConnDownReason) -> Result<(), Violation> {
        let (host, conn) = (self.net.conns.end(end).host, self.net.conns.id(end));
        self.net.count_gone(end, reason);
        if reason == transport::ConnDownReason::Silent {
            self.net.tell_peer(end);
        }
        self.net.detach(end);
        let event = transport::Event::ConnDown { conn, reason };
        self.report(host, conn, StepKind::ConnDown, event)
    }

    fn on_dial(&mut self, dial: u32, serial: u32, step: DialStep) -> Result<(), Violation> {
        match self.net.on_dial(dial, serial, step) {
            DialOutcome::Nothing => Ok(()),
            DialOutcome::Failed(host, dial, error) => {
                self.note(host, StepKind::DialFailed, 0, 0, None);
                self.tell(host, transport::Event::DialFailed { dial, error })
            }
            DialOutcome::Up(dial, end) => {
                let ends = [(end, Direction::Outgoing(dial)), (end.peer(), Direction::Inbound)];
                let generation = self.net.conns.generation(end);
                for (end, direction) in ends {
                    if !self.net.current(end, generation) {
                        continue;
                    }
                    let (host, conn) = (self.net.conns.end(end).host, self.net.conns.id(end));
                    let event = self.net.conn_up(end, direction);
                    self.report(host, conn, StepKind::ConnUp, event)?;
                }
                Ok(())
            }
        }
    }

    fn report(
        &mut self,
        host: Host,
        conn: ConnId,
        kind: StepKind,
        event: transport::Event,
    ) -> Result<(), Violation> {
        if !self.is_up(host) {
            return Ok(());
        }
        self.note(host, kind, 0, 0, Some(conn));
        self.tell(host, event)
    }

    fn tell(&mut self, host: Host, event: transport::Event) -> Result<(), Violation> {
        let instant = self.epoch.instant(self.net.now);
        let Some(machine) = &mut self.processes[host.index()].machine else { return Ok(()) };
        machine.handle_transport(instant, event, &mut HostConns { net: &mut self.net, host });
        self.drain(host)
    }

    /// Carries out all outputs of the machine of a host.
    pub(super) fn drain(&mut self, host: Host) -> Result<(), Violation> {
        for _ in 0..OUTPUTS_MAX {
            let Some(machine) = &mut self.processes[host.index()].machine else { return Ok(()) };
            match machine.poll() {
                Output::Transport(command) => self.execute(host, &command),
                Output::Event(event) => self.on_event(host, &event)?,
                Output::Timeout(deadline) => {
                    self.steps += 1;
                    if self.steps.is_multiple_of(self.config.check_every) {
                        machine.check();
                    }
                    self.set_deadline(
                        host,
                        deadline.map(|deadline| self.epoch.moment(deadline.at)),
                    );
                    return Ok(());
                }
            }
        }
        self.violation(host, format!("{OUTPUTS_MAX} outputs without an input"))
    }

    fn set_deadline(&mut self, host: Host, at: Option<Moment>) {
        // A deadline in the past is due at once.
        let at = at.map(|at| at.max(self.net.now));
        self.net.host_state_mut(host).deadline = at;
        match at {
            Some(at) if self.net.host_state(host).wake_at.is_none_or(|wake_at| at < wake_at) => {
                self.wake(host, at);
            }
            _ => {}
        }
    }

    fn wake(&mut self, host: Host, at: Moment) {
        self.net.host_state_mut(host).wake_at = Some(at);
        self.net.queue.push(at, Scheduled::Wake(host));
    }

    fn execute(&mut self, host: Host, command: &transport::Command) {
        match command {
            transport::Command::Dial { deadline, .. } => {
                let deadline = self.epoch.moment(*deadline);
                self.net.dial(host, command, deadline);
            }
            transport::Command::CancelDial(dial) => self.net.cancel_dial(host, *dial),
            transport::Command::Close { conn, mode } => self.net.close(host, *conn, *mode),
            transport::Command::Punch { remote, bytes, ttl } => {
                self.net.punch(host, *remote, bytes, *ttl);
            }
            transport::Command::OpenSplice { splice, sides, .. } => {
                self.net.open_splice(host, *splice, *sides);
            }
            transport::Command::CloseSplice(splice) => self.net.close_splice(host, *splice),
            // Rates are the packet world's.
            transport::Command::LimitSplices { .. } => {}
        }
    }

    fn on_event(&mut self, host: Host, event: &Event) -> Result<(), Violation> {
        // The outcome of dials, the room on conns and the Pongs are in the trace already.
        let is_traced = matches!(
            event,
            Event::BootstrapFailed { .. } | Event::SendReady | Event::NatChanged(_)
        );
        if is_traced {
            return Ok(());
        }
        self.note(host, StepKind::Event, 0, 0, None);
        let edges = match event {
            Event::Connected { .. } => self.edges(host),
            _ => Vec::new(),
        };
        let is_relayed =
            |peer| edges.iter().any(|edge| edge.peer == peer && edge.relayed_by.is_some());
        let host_states = &self.net.host_states;
        let id = |from: Host| host_states[from.index()].id;
        let seen = self.probes.observe(host, self.net.now, event, is_relayed, id);
        if let Err(what) = seen {
            return self.violation(host, what);
        }
        if matches!(event, Event::Left { .. }) {
            self.note(host, StepKind::Left, 0, 0, None);
            self.remove(host);
        }
        Ok(())
    }
}

/// Whether a frame with this head carries a message that another node is to take. Questions to the
/// neighbours, which look for identifiers of others as well, do not count.
fn is_for_another(head: &[u8], own: &[u8; 32]) -> bool {
    let Some(&[_, type_byte]) = head.get(..2).and_then(|head| head.first_chunk()) else {
        return false;
    };
    let is_message = FrameType::from_byte(type_byte).is_some_and(|frame_type| {
        frame_type.is_routed() && !matches!(frame_type, FrameType::Lookup | FrameType::Neighbors)
    });
    let length_end = head[2..].iter().position(|byte| byte & 0x80 == 0).map(|at| 3 + at);
    let target = length_end.and_then(|payload| head.get(payload..payload + 32));
    is_message && target.is_some_and(|target| target != own)
}

/// Whether a frame with this head is the neighbour's answer to Siblings: a Neighbors message (type
/// 5) whose hop limit is 1 (PROTOCOL.md#control-messages).
fn is_sibling_answer(head: &[u8]) -> bool {
    let Some(&[_, 5]) = head.get(..2).and_then(|head| head.first_chunk()) else { return false };
    let length_end = head[2..].iter().position(|byte| byte & 0x80 == 0).map(|at| 3 + at);
    length_end.and_then(|payload| head.get(payload + 32)) == Some(&1)
}
