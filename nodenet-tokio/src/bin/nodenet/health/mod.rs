//! Health of a running node: which of its events and figures become notices, and how often.
//!
//! Responsible for: that nothing a peer can cause fills the log. Edges that peers open or close are
//! for the debug level, and floods are summed up. Never: the form in which a notice is shown.

mod edges;
mod notice;
mod reminder;

use std::time::{Duration, Instant};

use nodenet_tokio::proto::stats::{DropReason, Stats};
use nodenet_tokio::{EdgeInfo, Event, NatReport, NodeEvent};

use edges::EdgeHealth;
pub(crate) use notice::{Notice, Warning};
use reminder::Reminder;

/// Time between two warnings that no address of this node can be dialed from outside
/// (PROTOCOL.md#warning-unreachable).
const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(600);
/// Time between two warnings that lines are missed: a slow reader may miss some all the time
/// (guess).
const MISSED_LINES_INTERVAL: Duration = Duration::from_secs(600);

/// Health of a node, with the notices so far.
#[derive(Debug)]
pub(crate) struct Health {
    edges: EdgeHealth,
    unreachable: Reminder,
    missed_lines: Reminder,
    /// Missed lines that a warning has counted.
    missed_lines_reported: u64,
    /// Drops until the last summary.
    drops: Stats,
}

impl Health {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            edges: EdgeHealth::new(now),
            unreachable: Reminder::every(UNREACHABLE_INTERVAL),
            missed_lines: Reminder::every(MISSED_LINES_INTERVAL),
            missed_lines_reported: 0,
            drops: Stats::default(),
        }
    }

    /// Takes an event, and returns the notices that follow.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &NodeEvent) -> Vec<Notice> {
        match event {
            NodeEvent::Protocol(event) => self.on_protocol_event(now, event),
            NodeEvent::DeliveriesDropped(count) => vec![Notice::Warning(
                Warning::DeliveriesDropped,
                format!("{count} messages were lost, because they came faster than they are taken"),
            )],
            NodeEvent::Missed(count) => vec![Notice::Warning(
                Warning::Missed,
                format!(
                    "{count} events were missed, because this process does not get time to take \
                     them as they come; the edges were looked up again"
                ),
            )],
            _ => Vec::new(),
        }
    }

    fn on_protocol_event(&mut self, now: Instant, event: &Event) -> Vec<Notice> {
        match event {
            Event::EdgeUp { peer, outgoing, remote } => {
                let mut notices = vec![match outgoing {
                    true => Notice::Info(format!("edge to {peer} at {remote}")),
                    false => Notice::Debug(format!("edge from {peer} at {remote}")),
                }];
                if self.edges.up(now, *peer, *outgoing) {
                    notices.push(Notice::Info("connected: the first edge is up".to_owned()));
                }
                notices
            }
            Event::EdgeDown { peer, reason } => {
                let (dialed, warning) = self.edges.down(now, peer, *reason);
                let text = format!("edge to {peer} is gone: {reason}");
                let notice = if dialed { Notice::Info(text) } else { Notice::Debug(text) };
                std::iter::once(notice).chain(warning).collect()
            }
            Event::BootstrapFailed { peer, error } => vec![Notice::Warning(
                Warning::BootstrapFailed,
                format!("no edge to the bootstrap peer {peer}: {error}; it is tried on"),
            )],
            Event::NatChanged(report) => vec![Notice::Info(own_address(report))],
            Event::ClockSkewSuspected { offset_s } => vec![clock_skew(*offset_s)],
            _ => Vec::new(),
        }
    }

    /// Takes the edges as they are, after events were missed.
    pub(crate) fn handle_edges(&mut self, now: Instant, edges: &[EdgeInfo]) {
        self.edges.replace(now, edges);
    }

    /// Returns the notice about edges that follows from the time alone.
    pub(crate) fn handle_tick(&mut self, now: Instant) -> Option<Notice> {
        self.edges.tick(now)
    }

    /// Warns now and then while no address of this node can be dialed from everywhere.
    pub(crate) fn handle_reachability(
        &mut self,
        now: Instant,
        globally_reachable: bool,
    ) -> Option<Notice> {
        if globally_reachable || !self.unreachable.pass(now) {
            return None;
        }
        let text = "no address of this node is known to work from outside its own network; if a \
                    port is forwarded to it, say so with --advertise IP:PORT";
        Some(Notice::Warning(Warning::Unreachable, text.to_owned()))
    }

    /// Warns now and then of lines for programs that are missed: `missed` since the start.
    /// `problem` is the error that keeps all lines from being written, if there is one.
    pub(crate) fn handle_missed_lines(
        &mut self,
        now: Instant,
        missed: u64,
        problem: Option<String>,
    ) -> Option<Notice> {
        let count = missed - self.missed_lines_reported;
        if count == 0 || !self.missed_lines.pass(now) {
            return None;
        }
        self.missed_lines_reported = missed;
        let why = match problem {
            Some(problem) => format!("can not be written: {problem}; they come again once it can"),
            None => "is not read fast enough; what reads it has to read on".to_owned(),
        };
        let text = format!("{count} lines were missed, because standard output {why}");
        Some(Notice::Warning(Warning::Missed, text))
    }

    /// Sums up the drops since the last summary.
    pub(crate) fn handle_stats(&mut self, stats: &Stats) -> Option<Notice> {
        let grown: Vec<String> = DropReason::ALL
            .iter()
            // Two of three copies of a message are expected to come too late.
            .filter(|reason| **reason != DropReason::Duplicate)
            .map(|reason| (reason, stats.drops(*reason) - self.drops.drops(*reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        self.drops = stats.clone();
        let text = format!("dropped in the last minute: {}", grown.join(", "));
        (!grown.is_empty()).then_some(Notice::Warning(Warning::Drops, text))
    }
}

fn own_address(report: &NatReport) -> String {
    let addrs: Vec<String> = report.addrs.iter().map(ToString::to_string).collect();
    let seen = match addrs.is_empty() {
        true => "others do not agree on an address of this node".to_owned(),
        false => format!("others see this node at {}", addrs.join(", ")),
    };
    let (mapping, reachability) = (report.mapping.name(), report.reachability.name());
    format!("{seen}; mapping of its NAT: {mapping}; from anywhere: {reachability}")
}

fn clock_skew(offset_s: i64) -> Notice {
    let text = format!(
        "this machine's clock seems {} s {}, or everyone else's is: messages more than 30 s off \
         are dropped everywhere, so set the clock",
        offset_s.unsigned_abs(),
        if offset_s > 0 { "behind" } else { "ahead" },
    );
    Notice::Warning(Warning::ClockSkew, text)
}

#[cfg(test)]
mod tests;
