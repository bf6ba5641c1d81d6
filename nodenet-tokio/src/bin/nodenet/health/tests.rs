use std::time::{Duration, Instant};

use nodenet_tokio::proto::stats::{DropReason, Stats};
use nodenet_tokio::proto::transport::{ConnDownReason, DialError};
use nodenet_tokio::{
    ConnectError, EdgeDownReason, EdgeInfo, Event, NatReport, NodeEvent, NodeId, Reachability,
};

use super::{Health, Notice, Warning};

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn up(byte: u8, outgoing: bool) -> NodeEvent {
    let remote = "192.0.2.1:4242".parse().unwrap();
    NodeEvent::Protocol(Event::EdgeUp { peer: NodeId::from_bytes([byte; 32]), outgoing, remote })
}

fn down(byte: u8) -> NodeEvent {
    down_because(byte, EdgeDownReason::Left)
}

fn down_because(byte: u8, reason: EdgeDownReason) -> NodeEvent {
    NodeEvent::Protocol(Event::EdgeDown { peer: NodeId::from_bytes([byte; 32]), reason })
}

fn warning(notice: Option<Notice>) -> Option<Warning> {
    match notice? {
        Notice::Warning(warning, _) => Some(warning),
        Notice::Debug(_) | Notice::Info(_) => None,
    }
}

fn kinds(notices: &[Notice]) -> String {
    let kind = |notice: &Notice| match notice {
        Notice::Debug(_) => 'd',
        Notice::Info(_) => 'i',
        Notice::Warning(..) => 'w',
    };
    notices.iter().map(kind).collect()
}

#[test]
fn the_first_edge_is_reported_once_and_inbound_edges_are_for_debugging() {
    let (mut health, now) = (Health::new(start()), start());
    let first = health.handle_event(now, &up(1, true));
    assert_eq!(first[1], Notice::Info("connected: the first edge is up".to_owned()));
    assert_eq!(kinds(&first), "ii");
    assert_eq!(kinds(&health.handle_event(now, &up(2, true))), "i");
    assert_eq!(kinds(&health.handle_event(now, &up(3, false))), "d");
    assert_eq!(kinds(&health.handle_event(now, &down(3))), "d");
    assert_eq!(kinds(&health.handle_event(now, &down(2))), "i");
}

#[test]
fn a_minute_without_edges_is_reported_once_and_so_is_its_end() {
    let (mut health, start) = (Health::new(start()), start());
    assert_eq!(health.handle_tick(start + 59 * SECOND), None);
    assert_eq!(warning(health.handle_tick(start + 60 * SECOND)), Some(Warning::NoEdges));
    assert_eq!(health.handle_tick(start + 200 * SECOND), None);
    assert_eq!(kinds(&health.handle_event(start + 201 * SECOND, &up(1, false))), "di");
    let again = Some(Notice::Info("connected again".to_owned()));
    assert_eq!(health.handle_tick(start + 202 * SECOND), again);
    assert_eq!(health.handle_tick(start + 203 * SECOND), None);
    health.handle_event(start + 300 * SECOND, &down(1));
    assert_eq!(health.handle_tick(start + 359 * SECOND), None);
    assert_eq!(warning(health.handle_tick(start + 360 * SECOND)), Some(Warning::NoEdges));
    health.handle_event(start + 400 * SECOND, &up(1, false));
    assert_eq!(health.handle_tick(start + 401 * SECOND), again);
}

#[test]
fn an_edge_that_is_closed_at_once_does_not_count() {
    let (mut health, start) = (Health::new(start()), start());
    for second in [10, 30, 50] {
        health.handle_event(start + second * SECOND, &up(1, false));
        health.handle_event(start + second * SECOND + SECOND / 2, &down(1));
    }
    assert_eq!(warning(health.handle_tick(start + 60 * SECOND)), Some(Warning::NoEdges));
    health.handle_event(start + 70 * SECOND, &up(1, false));
    assert_eq!(health.handle_tick(start + 70 * SECOND + SECOND / 2), None, "not again so soon");
    health.handle_event(start + 71 * SECOND, &down(1));
    // This edge lasted: a minute begins when it is gone.
    assert_eq!(health.handle_tick(start + 129 * SECOND), None);
    health.handle_event(start + 129 * SECOND, &up(2, true));
    assert_eq!(warning(health.handle_tick(start + 135 * SECOND)), None);
    health.handle_event(start + 140 * SECOND, &down(2));
    assert_eq!(health.handle_tick(start + 199 * SECOND), None);
    assert_eq!(warning(health.handle_tick(start + 200 * SECOND)), Some(Warning::NoEdges));
}

#[test]
fn peers_that_close_at_once_again_and_again_are_warning() {
    let (mut health, start) = (Health::new(start()), start());
    let mut try_at = |second: u32, outgoing, reason| {
        let at = start + second * SECOND;
        health.handle_event(at, &up(1, outgoing));
        let notices = health.handle_event(at + SECOND / 2, &down_because(1, reason));
        warning(notices.into_iter().next_back())
    };
    let closed = EdgeDownReason::Conn(ConnDownReason::ClosedByPeer);
    for second in 0..9 {
        assert_eq!(try_at(second, false, closed), None, "inbound edges may be quick");
    }
    assert_eq!(try_at(10, true, closed), None);
    assert_eq!(try_at(12, true, EdgeDownReason::Left), None);
    assert_eq!(try_at(16, true, closed), Some(Warning::ClosedAtOnce));
    assert_eq!(try_at(24, true, closed), None, "reported once in a while");
    assert_eq!(try_at(617, true, closed), Some(Warning::ClosedAtOnce));
    // A lost edge is not a refused one.
    for second in 2_000..2_005 {
        assert_eq!(try_at(second, true, EdgeDownReason::Dead), None);
    }
}

#[test]
fn what_a_bootstrap_peer_and_a_full_queue_cost_is_warning() {
    let mut health = Health::new(start());
    let error = ConnectError::Dial(DialError::TimedOut);
    let peer = NodeId::from_bytes([1; 32]);
    let notices =
        health.handle_event(start(), &NodeEvent::Protocol(Event::BootstrapFailed { peer, error }));
    let [Notice::Warning(Warning::BootstrapFailed, text)] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert!(text.contains("01010101") && text.contains(&error.to_string()), "{text}");
    let notices = health.handle_event(start(), &NodeEvent::DeliveriesDropped(7));
    assert_eq!(warning(notices.into_iter().next()), Some(Warning::DeliveriesDropped));
}

#[test]
fn edges_that_are_closed_at_once_are_no_warning_while_there_are_others() {
    let (mut health, start) = (Health::new(start()), start());
    health.handle_event(start, &up(9, true));
    for second in 1..9 {
        health.handle_event(start + second * SECOND, &up(1, true));
        assert_eq!(kinds(&health.handle_event(start + second * SECOND, &down(1))), "i");
    }
}

#[test]
fn after_missed_events_the_edges_themselves_count() {
    let (mut health, start) = (Health::new(start()), start());
    health.handle_event(start, &up(1, true));
    health.handle_edges(start + 10 * SECOND, &[]);
    let notices = health.handle_event(start + 10 * SECOND, &NodeEvent::Missed(7));
    assert!(
        matches!(&notices[..], [Notice::Warning(Warning::Missed, text)] if text.starts_with("7 ")),
        "{notices:?}"
    );
    assert_eq!(health.handle_tick(start + 69 * SECOND), None);
    assert_eq!(warning(health.handle_tick(start + 70 * SECOND)), Some(Warning::NoEdges));
    let edge = EdgeInfo {
        peer: NodeId::from_bytes([2; 32]),
        outgoing: true,
        sibling: true,
        remote: "192.0.2.1:4242".parse().unwrap(),
        relayed_by: None,
        relays: false,
        rtt: SECOND / 10,
        conns: 1,
        age: SECOND,
        idle: SECOND,
        questions: 0,
        unanswered: 0,
    };
    health.handle_edges(start + 80 * SECOND, &[edge]);
    let again = Some(Notice::Info("connected again".to_owned()));
    assert_eq!(health.handle_tick(start + 80 * SECOND), again);
}

#[test]
fn a_node_without_a_global_address_is_reported_every_ten_minutes() {
    let (mut health, start) = (Health::new(start()), start());
    let unreachable = Some(Warning::Unreachable);
    assert_eq!(health.handle_reachability(start, true), None);
    assert_eq!(warning(health.handle_reachability(start, false)), unreachable);
    assert_eq!(health.handle_reachability(start + 599 * SECOND, false), None);
    assert_eq!(warning(health.handle_reachability(start + 600 * SECOND, false)), unreachable);
}

#[test]
fn missed_lines_are_reported_every_ten_minutes_with_the_reason() {
    let (mut health, start) = (Health::new(start()), start());
    let mut shown = |second: u32, missed, problem: Option<&str>| {
        let problem = problem.map(str::to_owned);
        match health.handle_missed_lines(start + second * SECOND, missed, problem)? {
            Notice::Warning(Warning::Missed, text) => Some(text),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown(0, 0, None), None);
    let first = shown(5, 3, None).expect("lines were missed");
    assert!(first.starts_with("3 lines") && first.contains("not read fast enough"), "{first}");
    assert_eq!(shown(10, 4, None), None, "reported once in a while");
    let again = shown(605, 9, Some("No space left")).expect("it is time");
    assert!(again.starts_with("6 lines") && again.contains("written: No space left"), "{again}");
    assert_eq!(shown(2_000, 9, None), None, "nothing new");
}

#[test]
fn drops_are_summed_up_without_the_expected_ones() {
    let mut health = Health::new(start());
    let mut stats = Stats::default();
    assert_eq!(health.handle_stats(&stats), None);
    stats.count_drop(DropReason::Duplicate);
    assert_eq!(health.handle_stats(&stats), None);
    stats.count_drop(DropReason::Stale);
    stats.count_drop(DropReason::Stale);
    stats.count_drop(DropReason::DeadEnd);
    let text = "dropped in the last minute: stale 2, dead_end 1".to_owned();
    assert_eq!(health.handle_stats(&stats), Some(Notice::Warning(Warning::Drops, text)));
    assert_eq!(health.handle_stats(&stats), None);
}

#[test]
fn what_the_node_learns_of_its_address_is_told_in_one_line() {
    let mut health = Health::new(start());
    let mut told = |report: NatReport| {
        health.handle_event(start(), &NodeEvent::Protocol(Event::NatChanged(Box::new(report))))
    };
    let addrs = vec!["203.0.113.7:4242".parse().unwrap()];
    let reachability = Reachability::Unreachable;
    let known = told(NatReport { addrs, reachability, ..NatReport::default() });
    let text = "others see this node at 203.0.113.7:4242; mapping of its NAT: unknown; from \
                anywhere: unreachable";
    assert_eq!(known, [Notice::Info(text.to_owned())]);
    let text = "others do not agree on an address of this node; mapping of its NAT: unknown; from \
                anywhere: unknown";
    assert_eq!(told(NatReport::default()), [Notice::Info(text.to_owned())]);
}
