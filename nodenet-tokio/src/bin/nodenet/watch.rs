//! What an operator should hear about a running node, and nothing that a stranger could make it say
//! too often: edges that others open or close are for the debug level, floods are summed up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::api::{EdgeDownReason, EdgeInfo};
use nodenet_tokio::proto::stats::{DropReason, Stats};
use nodenet_tokio::proto::transport::ConnDownReason;
use nodenet_tokio::{Event, NodeEvent};

/// After this long without any edge the operator is told (PROTOCOL.md#warning-without-edges).
const LONELY_AFTER: Duration = Duration::from_secs(60);
/// Time between two reminders that others can not be told a usable address
/// (PROTOCOL.md#warning-unreachable).
const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(600);

/// A peer that does not want this node closes the conn as soon as it knows whose it is. An edge
/// that lived this long was wanted (guess: a few round trips of a slow path).
const WANTED_AFTER: Duration = Duration::from_secs(1);
/// One peer may be full. When this many edges in a row were closed at once, it is worth a look
/// (guess).
const UNWANTED_MANY: u32 = 3;
/// Time between two reminders of that: peers may bring it about as often as they like.
const CLOSED_AT_ONCE_INTERVAL: Duration = Duration::from_secs(600);
/// Time between two reminders that lines are missed: a slow reader may miss some all the time.
const MISSED_LINES_INTERVAL: Duration = Duration::from_secs(600);

/// Something that may need a hand. Programs know it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warning {
    /// There is no edge.
    Lonely,
    /// Edges come up and are closed by the peers at once.
    ClosedAtOnce,
    /// There is no edge to a bootstrap peer.
    BootstrapFailed,
    /// Messages came faster than they were taken.
    DeliveriesDropped,
    /// Others can not be told a usable address.
    Unreachable,
    /// The clock is off.
    ClockSkew,
    /// Events came faster than they were taken, or lines did not fit.
    Missed,
    /// Input was discarded.
    Drops,
}

impl Warning {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Lonely,
        Self::ClosedAtOnce,
        Self::BootstrapFailed,
        Self::DeliveriesDropped,
        Self::Unreachable,
        Self::ClockSkew,
        Self::Missed,
        Self::Drops,
    ];

    /// A stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lonely => "lonely",
            Self::ClosedAtOnce => "closed_at_once",
            Self::BootstrapFailed => "bootstrap_failed",
            Self::DeliveriesDropped => "deliveries_dropped",
            Self::Unreachable => "unreachable",
            Self::ClockSkew => "clock_skew",
            Self::Missed => "missed",
            Self::Drops => "drops",
        }
    }
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    Debug(String),
    Info(String),
    Warning(Warning, String),
}

impl Notice {
    pub(crate) fn log(&self) {
        match self {
            Self::Debug(text) => tracing::debug!("{text}"),
            // Something is always dropped in a large network: people need not be alarmed.
            Self::Info(text) | Self::Warning(Warning::Drops, text) => tracing::info!("{text}"),
            Self::Warning(_, text) => tracing::warn!("{text}"),
        }
    }
}

/// An edge as far as an operator cares.
#[derive(Debug, Clone, Copy)]
struct Edge {
    up_since: Instant,
    /// This node dialed: a peer can not make such edges come and go at will.
    dialed: bool,
}

impl Edge {
    fn is_wanted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.up_since) >= WANTED_AFTER
    }
}

/// Follows a node's edges.
#[derive(Debug)]
pub(crate) struct Watch {
    edges: BTreeMap<NodeId, Edge>,
    was_connected: bool,
    /// Since when there is no edge but such as are closed at once.
    lonely_since: Instant,
    said_lonely: bool,
    /// Dialed edges in a row that the peer closed at once, while there was no other.
    unwanted: u32,
    said_unwanted_at: Option<Instant>,
    said_unreachable_at: Option<Instant>,
    said_missed_lines_at: Option<Instant>,
    /// Lines that were missed when that was said.
    said_missed_lines: u64,
    drops: Stats,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            edges: BTreeMap::new(),
            was_connected: false,
            lonely_since: now,
            said_lonely: false,
            unwanted: 0,
            said_unwanted_at: None,
            said_unreachable_at: None,
            said_missed_lines_at: None,
            said_missed_lines: 0,
            drops: Stats::default(),
        }
    }

    /// Takes what happened and says what is to be said about it.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &NodeEvent) -> Vec<Notice> {
        let mut remarks = Vec::new();
        match event {
            NodeEvent::Protocol(Event::EdgeUp { peer, outgoing, remote }) => {
                self.edges.insert(*peer, Edge { up_since: now, dialed: *outgoing });
                remarks.push(match outgoing {
                    true => Notice::Info(format!("edge to {peer} at {remote}")),
                    false => Notice::Debug(format!("edge from {peer} at {remote}")),
                });
                if !self.was_connected {
                    self.was_connected = true;
                    remarks.push(Notice::Info("connected: the first edge is up".to_owned()));
                }
            }
            NodeEvent::Protocol(Event::EdgeDown { peer, reason }) => {
                let edge = self.edges.remove(peer);
                let text = format!("edge to {peer} is gone: {reason}");
                let dialed = edge.is_some_and(|edge| edge.dialed);
                remarks.push(if dialed { Notice::Info(text) } else { Notice::Debug(text) });
                match edge {
                    Some(edge) if is_by_peer(*reason) && !edge.is_wanted(now) => {
                        // Somebody who dials and leaves at once may just have been quick.
                        remarks.extend(edge.dialed.then(|| self.on_unwanted(now)).flatten());
                    }
                    _ => self.on_gone(now),
                }
            }
            NodeEvent::Protocol(Event::BootstrapFailed { peer, error }) => remarks.push(Notice::Warning(
                Warning::BootstrapFailed,
                format!("no edge to the bootstrap peer {peer}: {error}; it is tried on"),
            )),
            NodeEvent::DeliveriesDropped(count) => remarks.push(Notice::Warning(
                Warning::DeliveriesDropped,
                format!("{count} messages were lost, because they came faster than they are taken"),
            )),
            NodeEvent::Protocol(Event::ClockSkewSuspected { offset_s }) => remarks.push(clock_skew(*offset_s)),
            NodeEvent::Missed(count) => remarks.push(Notice::Warning(
                Warning::Missed,
                format!(
                    "{count} events were missed, because this process does not get time to take them \
                     as they come; the edges were looked up again"
                ),
            )),
            _ => {}
        }
        remarks
    }

    /// Takes the edges as they are, after events were missed.
    pub(crate) fn handle_edges(&mut self, now: Instant, edges: &[EdgeInfo]) {
        let edge = |info: &EdgeInfo| {
            // An edge is never older than the clock.
            let up_since = now.checked_sub(info.age).unwrap_or(now);
            (info.peer, Edge { up_since, dialed: info.outgoing })
        };
        self.edges = edges.iter().map(edge).collect();
        if self.edges.is_empty() {
            self.on_gone(now);
        }
    }

    /// Says what time alone makes worth saying of the edges.
    pub(crate) fn handle_tick(&mut self, now: Instant) -> Option<Notice> {
        if self.has_wanted_edge(now) {
            self.unwanted = 0;
            let was_lonely = std::mem::take(&mut self.said_lonely);
            return was_lonely.then(|| Notice::Info("connected again".to_owned()));
        }
        let lonely = now.saturating_duration_since(self.lonely_since) >= LONELY_AFTER;
        if !self.edges.is_empty() || !lonely || self.said_lonely {
            return None;
        }
        self.said_lonely = true;
        let text = format!(
            "no lasting edge to any node for {} s; check the network and the --bootstrap peers, \
             which are tried for ever",
            LONELY_AFTER.as_secs()
        );
        Some(Notice::Warning(Warning::Lonely, text))
    }

    /// Reminds of it now and then that no address which this node advertises can be dialed from
    /// anywhere, if that is so.
    pub(crate) fn handle_reachability(
        &mut self,
        now: Instant,
        globally_reachable: bool,
    ) -> Option<Notice> {
        if globally_reachable || !is_due(self.said_unreachable_at, now, UNREACHABLE_INTERVAL) {
            return None;
        }
        self.said_unreachable_at = Some(now);
        let text = "no address of this node is known to work from outside its own network; if a \
                    port is forwarded to it, say so with --advertise IP:PORT";
        Some(Notice::Warning(Warning::Unreachable, text.to_owned()))
    }

    /// Reminds of it now and then that lines for programs are missed, of which there were `missed`
    /// since the start; `problem` says why none can be written, if none can.
    pub(crate) fn handle_missed_lines(
        &mut self,
        now: Instant,
        missed: u64,
        problem: Option<String>,
    ) -> Option<Notice> {
        let count = missed - self.said_missed_lines;
        if count == 0 || !is_due(self.said_missed_lines_at, now, MISSED_LINES_INTERVAL) {
            return None;
        }
        (self.said_missed_lines_at, self.said_missed_lines) = (Some(now), missed);
        let why = match problem {
            Some(problem) => format!("can not be written: {problem}; they come again once it can"),
            None => "is not read fast enough; what reads it has to read on".to_owned(),
        };
        let text = format!("{count} lines were missed, because standard output {why}");
        Some(Notice::Warning(Warning::Missed, text))
    }

    /// Sums up what was dropped since the last time.
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

    fn has_wanted_edge(&self, now: Instant) -> bool {
        self.edges.values().any(|edge| edge.is_wanted(now))
    }

    /// An edge is gone that was wanted, or that nobody closed.
    fn on_gone(&mut self, now: Instant) {
        self.lonely_since = now;
        self.unwanted = 0;
    }

    /// An edge that this node dialed was closed by its peer as soon as it was up.
    fn on_unwanted(&mut self, now: Instant) -> Option<Notice> {
        if !self.edges.is_empty() {
            // With others up, it is nothing to worry about.
            return None;
        }
        self.unwanted += 1;
        let due = is_due(self.said_unwanted_at, now, CLOSED_AT_ONCE_INTERVAL);
        if self.unwanted < UNWANTED_MANY || !due {
            return None;
        }
        self.said_unwanted_at = Some(now);
        let text = format!(
            "peers close the edge as soon as it is up, {} times in a row now; check that --pow is the \
             same on both sides; if it is, they are full, or their policy refuses this node: try \
             other --bootstrap peers",
            self.unwanted
        );
        Some(Notice::Warning(Warning::ClosedAtOnce, text))
    }
}

/// Whether the peer ended the edge.
fn is_by_peer(reason: EdgeDownReason) -> bool {
    use EdgeDownReason::{Conn, Left};
    matches!(reason, Left | Conn(ConnDownReason::ClosedByPeer))
}

/// Whether it is time for a reminder.
fn is_due(said_at: Option<Instant>, now: Instant, interval: Duration) -> bool {
    said_at.is_none_or(|at| now.saturating_duration_since(at) >= interval)
}

fn clock_skew(offset_s: i64) -> Notice {
    let text = format!(
        "this machine's clock seems {} s {}, or everyone else's is: messages more than 30 s off are \
         dropped everywhere, so set the clock",
        offset_s.unsigned_abs(),
        if offset_s > 0 { "behind" } else { "ahead" },
    );
    Notice::Warning(Warning::ClockSkew, text)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nodenet_tokio::proto::NodeId;
    use nodenet_tokio::proto::api::{EdgeDownReason, EdgeInfo};
    use nodenet_tokio::proto::stats::{DropReason, Stats};
    use nodenet_tokio::proto::transport::{ConnDownReason, DialError};
    use nodenet_tokio::{ConnectError, Event, NodeEvent};

    use super::{Notice, Warning, Watch};

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn up(byte: u8, outgoing: bool) -> NodeEvent {
        let remote = "192.0.2.1:4242".parse().unwrap();
        NodeEvent::Protocol(Event::EdgeUp {
            peer: NodeId::from_bytes([byte; 32]),
            outgoing,
            remote,
        })
    }

    fn down(byte: u8) -> NodeEvent {
        down_because(byte, EdgeDownReason::Left)
    }

    fn down_because(byte: u8, reason: EdgeDownReason) -> NodeEvent {
        NodeEvent::Protocol(Event::EdgeDown { peer: NodeId::from_bytes([byte; 32]), reason })
    }

    fn told(remark: Option<Notice>) -> Option<Warning> {
        match remark? {
            Notice::Warning(warning, _) => Some(warning),
            Notice::Debug(_) | Notice::Info(_) => None,
        }
    }

    fn kinds(remarks: &[Notice]) -> String {
        let kind = |remark: &Notice| match remark {
            Notice::Debug(_) => 'd',
            Notice::Info(_) => 'i',
            Notice::Warning(..) => 'w',
        };
        remarks.iter().map(kind).collect()
    }

    #[test]
    fn the_first_edge_is_told_once_and_what_strangers_do_is_for_debugging() {
        let (mut watch, now) = (Watch::new(start()), start());
        let first = watch.handle_event(now, &up(1, true));
        assert_eq!(first[1], Notice::Info("connected: the first edge is up".to_owned()));
        assert_eq!(kinds(&first), "ii");
        assert_eq!(kinds(&watch.handle_event(now, &up(2, true))), "i");
        assert_eq!(kinds(&watch.handle_event(now, &up(3, false))), "d");
        assert_eq!(kinds(&watch.handle_event(now, &down(3))), "d");
        assert_eq!(kinds(&watch.handle_event(now, &down(2))), "i");
    }

    #[test]
    fn a_minute_without_edges_is_told_once_and_so_is_its_end() {
        let (mut watch, start) = (Watch::new(start()), start());
        assert_eq!(watch.handle_tick(start + 59 * SECOND), None);
        assert_eq!(told(watch.handle_tick(start + 60 * SECOND)), Some(Warning::Lonely));
        assert_eq!(watch.handle_tick(start + 200 * SECOND), None);
        assert_eq!(kinds(&watch.handle_event(start + 201 * SECOND, &up(1, false))), "di");
        let again = Some(Notice::Info("connected again".to_owned()));
        assert_eq!(watch.handle_tick(start + 202 * SECOND), again);
        assert_eq!(watch.handle_tick(start + 203 * SECOND), None);
        watch.handle_event(start + 300 * SECOND, &down(1));
        assert_eq!(watch.handle_tick(start + 359 * SECOND), None);
        assert_eq!(told(watch.handle_tick(start + 360 * SECOND)), Some(Warning::Lonely));
        watch.handle_event(start + 400 * SECOND, &up(1, false));
        assert_eq!(watch.handle_tick(start + 401 * SECOND), again);
    }

    #[test]
    fn an_edge_that_is_closed_at_once_is_no_company() {
        let (mut watch, start) = (Watch::new(start()), start());
        for second in [10, 30, 50] {
            watch.handle_event(start + second * SECOND, &up(1, false));
            watch.handle_event(start + second * SECOND + SECOND / 2, &down(1));
        }
        assert_eq!(told(watch.handle_tick(start + 60 * SECOND)), Some(Warning::Lonely));
        watch.handle_event(start + 70 * SECOND, &up(1, false));
        assert_eq!(watch.handle_tick(start + 70 * SECOND + SECOND / 2), None, "not again so soon");
        watch.handle_event(start + 71 * SECOND, &down(1));
        // This one was wanted: a minute begins when it is gone.
        assert_eq!(watch.handle_tick(start + 129 * SECOND), None);
        watch.handle_event(start + 129 * SECOND, &up(2, true));
        assert_eq!(told(watch.handle_tick(start + 135 * SECOND)), None);
        watch.handle_event(start + 140 * SECOND, &down(2));
        assert_eq!(watch.handle_tick(start + 199 * SECOND), None);
        assert_eq!(told(watch.handle_tick(start + 200 * SECOND)), Some(Warning::Lonely));
    }

    #[test]
    fn peers_that_close_at_once_again_and_again_are_told() {
        let (mut watch, start) = (Watch::new(start()), start());
        let mut try_at = |second: u32, outgoing, reason| {
            let at = start + second * SECOND;
            watch.handle_event(at, &up(1, outgoing));
            let remarks = watch.handle_event(at + SECOND / 2, &down_because(1, reason));
            told(remarks.into_iter().next_back())
        };
        let closed = EdgeDownReason::Conn(ConnDownReason::ClosedByPeer);
        for second in 0..9 {
            assert_eq!(try_at(second, false, closed), None, "others may be quick");
        }
        assert_eq!(try_at(10, true, closed), None);
        assert_eq!(try_at(12, true, EdgeDownReason::Left), None);
        assert_eq!(try_at(16, true, closed), Some(Warning::ClosedAtOnce));
        assert_eq!(try_at(24, true, closed), None, "told once in a while");
        assert_eq!(try_at(617, true, closed), Some(Warning::ClosedAtOnce));
        // Lost is not unwanted.
        for second in 2_000..2_005 {
            assert_eq!(try_at(second, true, EdgeDownReason::Dead), None);
        }
    }

    #[test]
    fn what_a_bootstrap_peer_and_a_full_queue_cost_is_told() {
        let mut watch = Watch::new(start());
        let error = ConnectError::Dial(DialError::TimedOut);
        let peer = NodeId::from_bytes([1; 32]);
        let remarks = watch
            .handle_event(start(), &NodeEvent::Protocol(Event::BootstrapFailed { peer, error }));
        let [Notice::Warning(Warning::BootstrapFailed, text)] = &remarks[..] else {
            panic!("{remarks:?}");
        };
        assert!(text.contains("01010101") && text.contains(&error.to_string()), "{text}");
        let remarks = watch.handle_event(start(), &NodeEvent::DeliveriesDropped(7));
        assert_eq!(told(remarks.into_iter().next()), Some(Warning::DeliveriesDropped));
    }

    #[test]
    fn who_closes_at_once_is_of_no_interest_while_there_are_others() {
        let (mut watch, start) = (Watch::new(start()), start());
        watch.handle_event(start, &up(9, true));
        for second in 1..9 {
            watch.handle_event(start + second * SECOND, &up(1, true));
            assert_eq!(kinds(&watch.handle_event(start + second * SECOND, &down(1))), "i");
        }
    }

    #[test]
    fn after_missed_events_the_edges_themselves_count() {
        let (mut watch, start) = (Watch::new(start()), start());
        watch.handle_event(start, &up(1, true));
        watch.handle_edges(start + 10 * SECOND, &[]);
        let remarks = watch.handle_event(start + 10 * SECOND, &NodeEvent::Missed(7));
        assert!(
            matches!(&remarks[..], [Notice::Warning(Warning::Missed, text)] if text.starts_with("7 ")),
            "{remarks:?}"
        );
        assert_eq!(watch.handle_tick(start + 69 * SECOND), None);
        assert_eq!(told(watch.handle_tick(start + 70 * SECOND)), Some(Warning::Lonely));
        let edge = EdgeInfo {
            peer: NodeId::from_bytes([2; 32]),
            outgoing: true,
            sibling: true,
            remote: "192.0.2.1:4242".parse().unwrap(),
            rtt: SECOND / 10,
            conns: 1,
            age: SECOND,
            idle: SECOND,
        };
        watch.handle_edges(start + 80 * SECOND, &[edge]);
        let again = Some(Notice::Info("connected again".to_owned()));
        assert_eq!(watch.handle_tick(start + 80 * SECOND), again);
    }

    #[test]
    fn an_address_that_nobody_can_dial_is_told_every_ten_minutes() {
        let (mut watch, start) = (Watch::new(start()), start());
        let unreachable = Some(Warning::Unreachable);
        assert_eq!(watch.handle_reachability(start, true), None);
        assert_eq!(told(watch.handle_reachability(start, false)), unreachable);
        assert_eq!(watch.handle_reachability(start + 599 * SECOND, false), None);
        assert_eq!(told(watch.handle_reachability(start + 600 * SECOND, false)), unreachable);
    }

    #[test]
    fn missed_lines_are_told_every_ten_minutes_with_the_reason() {
        let (mut watch, start) = (Watch::new(start()), start());
        let mut said = |second: u32, missed, problem: Option<&str>| {
            let problem = problem.map(str::to_owned);
            match watch.handle_missed_lines(start + second * SECOND, missed, problem)? {
                Notice::Warning(Warning::Missed, text) => Some(text),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(said(0, 0, None), None);
        let first = said(5, 3, None).expect("lines were missed");
        assert!(first.starts_with("3 lines") && first.contains("not read fast enough"), "{first}");
        assert_eq!(said(10, 4, None), None, "told once in a while");
        let again = said(605, 9, Some("No space left")).expect("it is time");
        assert!(
            again.starts_with("6 lines") && again.contains("written: No space left"),
            "{again}"
        );
        assert_eq!(said(2_000, 9, None), None, "nothing new");
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
        assert_eq!(watch.handle_stats(&stats), Some(Notice::Warning(Warning::Drops, text)));
        assert_eq!(watch.handle_stats(&stats), None);
    }
}
