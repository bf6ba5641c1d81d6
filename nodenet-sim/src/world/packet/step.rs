//! Event loop of the packet world: one order of all events, and what each does at its host.
//!
//! At one moment datagrams come first, in the order in which they were sent, then calendar entries
//! in the order in which they were made. Each event costs the same however many hosts there are.

use std::time::Duration;

use nodenet_proto::api::Event;
use nodenet_proto::drive::{Drained, drain};
use nodenet_proto::node::Input;
use nodenet_proto::testkit::{Arrival, Datagram, Realm};

use super::calendar::{Scheduled, WALL_EVERY};
use super::host::{HostOutlet, meter};
use super::journal::PacketStepKind;
use super::world::{PacketWorld, Seen};
use crate::clock::Moment;
use crate::world::{Host, Violation};

/// Time-outs of one node at one moment; more are treated as an endless loop (guess).
const CALLS_MAX: u32 = 10_000;

impl PacketWorld {
    /// Carries out all events that are due until `end`, and moves the clock there.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn run_until(&mut self, end: Moment) -> Result<(), Violation> {
        while self.next_at().is_some_and(|at| at <= end) {
            self.step()?;
        }
        self.move_to(self.now.max(end));
        Ok(())
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Violation> {
        self.run_until(self.now + span)
    }

    /// Lets time pass until `is_met`, at most until `end`. Returns whether it is met.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn run_until_met(
        &mut self,
        end: Moment,
        is_met: impl Fn(&Self) -> bool,
    ) -> Result<bool, Violation> {
        while !is_met(self) {
            if self.next_at().is_none_or(|at| at > end) {
                self.move_to(self.now.max(end));
                return Ok(is_met(self));
            }
            self.step()?;
        }
        Ok(true)
    }

    /// When the next event is due.
    fn next_at(&mut self) -> Option<Moment> {
        let arrival = self.net.next_arrival().map(|at| self.epoch.moment(at));
        match (arrival, self.calendar.next_at()) {
            (Some(arrival), Some(entry)) => Some(arrival.min(entry)),
            (arrival, entry) => arrival.or(entry),
        }
    }

    /// Carries out the next event.
    fn step(&mut self) -> Result<(), Violation> {
        let Some(at) = self.next_at() else { return Ok(()) };
        self.move_to(at.max(self.now));
        if self.net.next_arrival().is_some_and(|at| at <= self.net.now) {
            // What a gateway drops arrives nowhere.
            return match self.net.poll_arrival() {
                Some((realm, arrival)) => self.on_arrival(realm, arrival),
                None => Ok(()),
            };
        }
        match self.calendar.pop() {
            Some((_, Scheduled::Wake(host))) => self.on_wake(host),
            Some((_, Scheduled::Wall { host, generation })) => self.on_wall(host, generation),
            Some((_, Scheduled::Writable(host))) => self.on_writable(host),
            None => Ok(()),
        }
    }

    fn move_to(&mut self, at: Moment) {
        if at != self.now {
            self.now = at;
            self.net.now = self.epoch.instant(at);
        }
    }

    fn on_arrival(&mut self, realm: Realm, arrival: Arrival) -> Result<(), Violation> {
        // The operating system keeps a report of a too long packet to itself: datagrams leave with
        // path MTU discovery by probes.
        let Arrival::Datagram(Datagram { from: remote, to, ecn, data }) = arrival else {
            return Ok(());
        };
        let Some(&host) = self.places.get(&(realm, to.ip())) else {
            self.drops.absent += 1;
            return Ok(());
        };
        let state = &self.hosts[host.index()];
        if state.is_asleep {
            self.drops.asleep += 1;
            return Ok(());
        }
        let (remote, local_ip) = state.sockets.received(remote, to);
        let Some(socket) = state.sockets.at(to).filter(|_| state.node.is_some()) else {
            self.drops.closed += 1;
            return Ok(());
        };
        self.note_bytes(PacketStepKind::Datagram, Some(host), data.len(), Some((remote, to)));
        meter(&mut self.meters, host, self.now, remote, data.len());
        self.input(host, Input::Datagram { socket, remote, local_ip, ecn, data })
    }

    fn on_wake(&mut self, host: Host) -> Result<(), Violation> {
        let state = &mut self.hosts[host.index()];
        if state.wake_at != Some(self.now) {
            return Ok(());
        }
        state.wake_at = None;
        self.on_due(host)
    }

    /// Lets timers of a node fire, if its deadline has come.
    pub(super) fn on_due(&mut self, host: Host) -> Result<(), Violation> {
        let now = self.now;
        let state = &mut self.hosts[host.index()];
        if state.is_asleep || state.sockets.refused.is_some() {
            return Ok(());
        }
        let (since, times) = &mut self.spin;
        *times = if *since == (host, now) { *times + 1 } else { 0 };
        *since = (host, now);
        let instant = state.clock.instant(now);
        if *times > CALLS_MAX {
            return self.violation(host, format!("{CALLS_MAX} calls at one moment"));
        }
        if state.deadline.is_none_or(|deadline| deadline > instant) {
            self.schedule(host);
            return Ok(());
        }
        self.note(PacketStepKind::Timeout, Some(host));
        self.meters.activity(host, now);
        let Some(node) = &mut self.hosts[host.index()].node else { return Ok(()) };
        node.handle_timeout(instant);
        self.drain(host)
    }

    fn on_wall(&mut self, host: Host, generation: u64) -> Result<(), Violation> {
        let state = &self.hosts[host.index()];
        if state.node.is_none() || state.starts != generation {
            return Ok(());
        }
        self.calendar.push(self.now + WALL_EVERY, Scheduled::Wall { host, generation });
        match state.is_asleep {
            true => Ok(()),
            false => self.report_wall(host),
        }
    }

    fn on_writable(&mut self, host: Host) -> Result<(), Violation> {
        let now = self.now;
        let state = &mut self.hosts[host.index()];
        // It may have been blocked anew, for longer.
        if state.sockets.blocked_until.is_none_or(|until| until > now) {
            return Ok(());
        }
        state.sockets.blocked_until = None;
        self.note(PacketStepKind::Writable, Some(host));
        self.drain(host)
    }

    /// Gives a node the wall clock.
    pub(super) fn report_wall(&mut self, host: Host) -> Result<(), Violation> {
        let wall = self.hosts[host.index()].clock.wall(self.now);
        self.input(host, Input::WallClock(wall))
    }

    /// Gives a node the addresses of its main socket.
    pub(super) fn report_addrs(&mut self, host: Host) -> Result<(), Violation> {
        let addrs = self.local_addrs(host);
        self.input(host, Input::LocalAddrs(addrs))
    }

    /// Gives a node an input. A node that is down ignores it.
    pub(super) fn input(&mut self, host: Host, input: Input) -> Result<(), Violation> {
        let state = &mut self.hosts[host.index()];
        let instant = state.clock.instant(self.now);
        let Some(node) = &mut state.node else { return Ok(()) };
        node.handle_input(instant, input);
        self.drain(host)
    }

    /// Carries out the outputs of a node as far as its sockets take them.
    fn drain(&mut self, host: Host) -> Result<(), Violation> {
        let now = self.now;
        let state = &mut self.hosts[host.index()];
        if state.is_asleep {
            return Ok(());
        }
        let Some(node) = &mut state.node else { return Ok(()) };
        let mut outlet = HostOutlet {
            host,
            now,
            sockets: &mut state.sockets,
            net: &mut self.net,
            drops: &mut self.drops,
            trace: &mut self.trace,
            tally: &mut self.tally,
            meters: &mut self.meters,
            events: &mut self.events,
        };
        if outlet.sockets.blocked_until.is_none()
            && let Some((how, bytes)) = outlet.sockets.refused.take()
        {
            outlet.send(&how, &bytes);
        }
        while outlet.sockets.refused.is_none() {
            match drain(node, &mut self.buf, &mut outlet) {
                Drained::Idle(deadline) => state.deadline = deadline.map(|deadline| deadline.at),
                Drained::Blocked => {}
            }
            let opened = std::mem::take(&mut outlet.sockets.opened);
            if opened.is_empty() {
                break;
            }
            let instant = state.clock.instant(now);
            for (socket, local) in opened {
                node.handle_input(
                    instant,
                    match local {
                        Some(local) => Input::SocketOpened { socket, local },
                        None => Input::SocketFailed { socket },
                    },
                );
            }
        }
        self.steps += 1;
        if self.steps.is_multiple_of(self.config.check_every) {
            node.check();
        }
        self.schedule(host);
        self.on_events(host)
    }

    /// Enters the deadline of a node into the calendar, unless an earlier entry is there.
    fn schedule(&mut self, host: Host) {
        let state = &mut self.hosts[host.index()];
        let due = state.deadline.and_then(|deadline| state.clock.moment(deadline));
        let Some(at) = due.map(|at| at.max(self.now)) else { return };
        if state.wake_at.is_none_or(|wake_at| at < wake_at) {
            state.wake_at = Some(at);
            self.calendar.push(at, Scheduled::Wake(host));
        }
    }

    fn on_events(&mut self, host: Host) -> Result<(), Violation> {
        if self.events.is_empty() {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.events);
        let outcome = events.drain(..).try_for_each(|event| self.on_event(host, event));
        self.events = events;
        outcome
    }

    fn on_event(&mut self, host: Host, event: Event) -> Result<(), Violation> {
        self.note(PacketStepKind::Event, Some(host));
        let before = self.probes.arrived();
        let edges = match event {
            Event::Connected { .. } => self.edges(host),
            _ => Vec::new(),
        };
        let is_relayed =
            |peer| edges.iter().any(|edge| edge.peer == peer && edge.relayed_by.is_some());
        let hosts = &self.hosts;
        let id = |from: Host| hosts[from.index()].id;
        let seen = self.probes.observe(host, self.now, &event, is_relayed, id);
        if let Err(what) = seen {
            return self.violation(host, what);
        }
        if matches!(event, Event::Delivered { .. }) && self.probes.arrived() == before {
            self.delivered_untracked += 1;
        }
        if matches!(event, Event::EdgeUp { .. }) {
            self.hosts[host.index()].joined_at.get_or_insert(self.now);
        }
        if matches!(event, Event::Left { .. }) {
            self.note(PacketStepKind::Left, Some(host));
            self.stop(host);
        }
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { at: self.now, host, event });
        }
        Ok(())
    }

    fn violation(&self, host: Host, what: String) -> Result<(), Violation> {
        Err(Violation { at: self.now, host, what })
    }
}
