//! What an operator should hear about a running node, and nothing that a stranger could make it say
//! too often: edges that others open or close are for the debug level, floods are summed up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nodenet_tokio::NodeEvent;
use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::stats::{DropReason, Stats};

/// After this long without any edge the operator is told (spec 90 §6.5).
const LONELY_AFTER: Duration = Duration::from_secs(60);
/// Time between two reminders that others can not be told a usable address (spec 90 §6.6).
const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(600);

/// Something that may need a hand. Programs know it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warning {
    /// There is no edge.
    Lonely,
    /// Others can not be told a usable address.
    Unreachable,
    /// The clock is off.
    ClockSkew,
    /// Events came faster than they were taken.
    Missed,
    /// Input was discarded.
    Drops,
}

impl Warning {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] =
        [Self::Lonely, Self::Unreachable, Self::ClockSkew, Self::Missed, Self::Drops];

    /// A stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lonely => "lonely",
            Self::Unreachable => "unreachable",
            Self::ClockSkew => "clock_skew",
            Self::Missed => "missed",
            Self::Drops => "drops",
        }
    }
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    Debug(String),
    Info(String),
    Warning(Warning, String),
}

impl Remark {
    pub(crate) fn log(&self) {
        match self {
            Self::Debug(text) => tracing::debug!("{text}"),
            // Something is always dropped in a large network: people need not be alarmed.
            Self::Info(text) | Self::Warning(Warning::Drops, text) => tracing::info!("{text}"),
            Self::Warning(_, text) => tracing::warn!("{text}"),
        }
    }
}

/// Follows a node's edges.
#[derive(Debug)]
pub(crate) struct Watch {
    edges: BTreeSet<NodeId>,
    /// Edges this node dialed: a peer can not make these come and go at will.
    dialed: BTreeSet<NodeId>,
    was_connected: bool,
    lonely_since: Instant,
    said_lonely: bool,
    said_unreachable_at: Option<Instant>,
    drops: Stats,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            edges: BTreeSet::new(),
            dialed: BTreeSet::new(),
            was_connected: false,
            lonely_since: now,
            said_lonely: false,
            said_unreachable_at: None,
            drops: Stats::default(),
        }
    }

    /// Takes what happened and says what is to be said about it.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &NodeEvent) -> Vec<Remark> {
        let mut remarks = Vec::new();
        match event {
            NodeEvent::EdgeUp { peer, outgoing, remote } => {
                self.edges.insert(*peer);
                if *outgoing {
                    self.dialed.insert(*peer);
                    remarks.push(Remark::Info(format!("edge to {peer} at {remote}")));
                } else {
                    remarks.push(Remark::Debug(format!("edge from {peer} at {remote}")));
                }
                self.on_connected(&mut remarks);
            }
            NodeEvent::EdgeDown { peer, reason } => {
                self.edges.remove(peer);
                let text = format!("edge to {peer} is gone: {reason}");
                let dialed = self.dialed.remove(peer);
                remarks.push(if dialed { Remark::Info(text) } else { Remark::Debug(text) });
                self.on_lonely(now);
            }
            NodeEvent::ClockSkewSuspected { offset_s } => remarks.push(clock_skew(*offset_s)),
            NodeEvent::Missed(count) => remarks.push(Remark::Warning(
                Warning::Missed,
                format!(
                    "{count} events were missed, because what this program prints is not read fast \
                     enough; the edges were looked up again"
                ),
            )),
            _ => {}
        }
        remarks
    }

    /// Takes the edges as they are, after events were missed.
    pub(crate) fn handle_edges(
        &mut self,
        now: Instant,
        edges: impl Iterator<Item = (NodeId, bool)>,
    ) {
        self.edges.clear();
        self.dialed.clear();
        for (peer, dialed) in edges {
            self.edges.insert(peer);
            if dialed {
                self.dialed.insert(peer);
            }
        }
        self.on_lonely(now);
    }

    /// Says what time alone makes worth saying. `globally_reachable`: some address that this node
    /// advertises can be dialed from anywhere.
    pub(crate) fn handle_tick(&mut self, now: Instant, globally_reachable: bool) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let lonely = now.saturating_duration_since(self.lonely_since) >= LONELY_AFTER;
        if self.edges.is_empty() && lonely && !self.said_lonely {
            self.said_lonely = true;
            let text = format!(
                "no edge to any node for {} s; check the network and the --bootstrap peers, which \
                 are tried for ever",
                LONELY_AFTER.as_secs()
            );
            remarks.push(Remark::Warning(Warning::Lonely, text));
        }
        let due = self
            .said_unreachable_at
            .is_none_or(|at| now.saturating_duration_since(at) >= UNREACHABLE_INTERVAL);
        if !globally_reachable && due {
            self.said_unreachable_at = Some(now);
            let text = "no address of this node is known to work from outside its own network; if a \
                        port is forwarded to it, say so with --advertise IP:PORT";
            remarks.push(Remark::Warning(Warning::Unreachable, text.to_owned()));
        }
        remarks
    }

    /// Sums up what was dropped since the last time.
    pub(crate) fn handle_stats(&mut self, stats: &Stats) -> Option<Remark> {
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
        (!grown.is_empty()).then_some(Remark::Warning(Warning::Drops, text))
    }

    fn on_connected(&mut self, remarks: &mut Vec<Remark>) {
        if !self.was_connected {
            self.was_connected = true;
            remarks.push(Remark::Info("connected: the first edge is up".to_owned()));
        } else if self.said_lonely {
            remarks.push(Remark::Info("connected again".to_owned()));
        }
        self.said_lonely = false;
    }

    fn on_lonely(&mut self, now: Instant) {
        if self.edges.is_empty() {
            self.lonely_since = now;
        }
    }
}

fn clock_skew(offset_s: i64) -> Remark {
    let text = format!(
        "this machine's clock seems {} s {}, or everyone else's is: messages more than 30 s off are \
         dropped everywhere, so set the clock",
        offset_s.unsigned_abs(),
        if offset_s > 0 { "behind" } else { "ahead" },
    );
    Remark::Warning(Warning::ClockSkew, text)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nodenet_tokio::NodeEvent;
    use nodenet_tokio::proto::NodeId;
    use nodenet_tokio::proto::engine::EdgeDownReason;
    use nodenet_tokio::proto::stats::{DropReason, Stats};

    use super::{Remark, Warning, Watch};

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn up(byte: u8, outgoing: bool) -> NodeEvent {
        let remote = "192.0.2.1:4242".parse().unwrap();
        NodeEvent::EdgeUp { peer: NodeId::from_bytes([byte; 32]), outgoing, remote }
    }

    fn down(byte: u8) -> NodeEvent {
        NodeEvent::EdgeDown { peer: NodeId::from_bytes([byte; 32]), reason: EdgeDownReason::Left }
    }

    fn kinds(remarks: &[Remark]) -> String {
        let kind = |remark: &Remark| match remark {
            Remark::Debug(_) => 'd',
            Remark::Info(_) => 'i',
            Remark::Warning(..) => 'w',
        };
        remarks.iter().map(kind).collect()
    }

    #[test]
    fn the_first_edge_is_told_once_and_what_strangers_do_is_for_debugging() {
        let (mut watch, now) = (Watch::new(start()), start());
        let first = watch.handle_event(now, &up(1, true));
        assert_eq!(first[1], Remark::Info("connected: the first edge is up".to_owned()));
        assert_eq!(kinds(&first), "ii");
        assert_eq!(kinds(&watch.handle_event(now, &up(2, true))), "i");
        assert_eq!(kinds(&watch.handle_event(now, &up(3, false))), "d");
        assert_eq!(kinds(&watch.handle_event(now, &down(3))), "d");
        assert_eq!(kinds(&watch.handle_event(now, &down(2))), "i");
    }

    #[test]
    fn a_minute_without_edges_is_told_once_and_so_is_its_end() {
        let (mut watch, start) = (Watch::new(start()), start());
        assert_eq!(kinds(&watch.handle_tick(start + 59 * SECOND, true)), "");
        assert_eq!(kinds(&watch.handle_tick(start + 60 * SECOND, true)), "w");
        assert_eq!(kinds(&watch.handle_tick(start + 200 * SECOND, true)), "");
        assert_eq!(kinds(&watch.handle_event(start + 201 * SECOND, &up(1, false))), "di");
        watch.handle_event(start + 300 * SECOND, &down(1));
        assert_eq!(kinds(&watch.handle_tick(start + 359 * SECOND, true)), "");
        assert_eq!(kinds(&watch.handle_tick(start + 360 * SECOND, true)), "w");
        let again = watch.handle_event(start + 400 * SECOND, &up(1, false));
        assert_eq!(again[1], Remark::Info("connected again".to_owned()));
    }

    #[test]
    fn after_missed_events_the_edges_themselves_count() {
        let (mut watch, start) = (Watch::new(start()), start());
        watch.handle_event(start, &up(1, true));
        watch.handle_edges(start + 10 * SECOND, std::iter::empty());
        let told = watch.handle_event(start + 10 * SECOND, &NodeEvent::Missed(7));
        assert!(
            matches!(&told[..], [Remark::Warning(Warning::Missed, text)] if text.starts_with("7 ")),
            "{told:?}"
        );
        assert_eq!(kinds(&watch.handle_tick(start + 69 * SECOND, true)), "");
        assert_eq!(kinds(&watch.handle_tick(start + 70 * SECOND, true)), "w");
    }

    #[test]
    fn an_address_that_nobody_can_dial_is_told_every_ten_minutes() {
        let (mut watch, start) = (Watch::new(start()), start());
        watch.handle_event(start, &up(1, true));
        assert_eq!(kinds(&watch.handle_tick(start, true)), "");
        assert_eq!(kinds(&watch.handle_tick(start, false)), "w");
        assert_eq!(kinds(&watch.handle_tick(start + 599 * SECOND, false)), "");
        assert_eq!(kinds(&watch.handle_tick(start + 600 * SECOND, false)), "w");
    }

    #[test]
    fn drops_are_summed_up_without_the_expected_ones() {
        let mut watch = Watch::new(start());
        let mut stats = Stats::default();
        assert_eq!(watch.handle_stats(&stats), None);
        stats.count_drop(DropReason::Duplicate);
        assert_eq!(watch.handle_stats(&stats), None);
        stats.count_drop(DropReason::Stale);
        stats.count_drop(DropReason::Stale);
        stats.count_drop(DropReason::DeadEnd);
        let text = "dropped in the last minute: stale 2, dead_end 1".to_owned();
        assert_eq!(watch.handle_stats(&stats), Some(Remark::Warning(Warning::Drops, text)));
        assert_eq!(watch.handle_stats(&stats), None);
    }
}
