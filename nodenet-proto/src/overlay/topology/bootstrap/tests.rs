use super::*;
use crate::context::testing::Surroundings;
use crate::transport::DialError;

const PEER: NodeId = NodeId::from_bytes([1; 32]);
const OTHER: NodeId = NodeId::from_bytes([9; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// The bootstrap peers of a node, its clock and their timer, which fires when the clock reaches it.
struct Bench {
    bootstrap: Bootstrap,
    around: Surroundings,
    due: Option<Instant>,
    has_edge: bool,
}

/// An action, without the time that the timer is set to.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Dial(Vec<SocketAddr>),
    Report(ConnectError),
}

impl Bench {
    fn new() -> Self {
        let (bootstrap, around) = (Bootstrap::new(true), Surroundings::default());
        Self { bootstrap, around, due: None, has_edge: false }
    }

    fn act(&mut self, act: impl FnOnce(&mut Bootstrap, &mut Context<'_, Action>)) -> Vec<Did> {
        let ((), out) = self.around.run(|cx| act(&mut self.bootstrap, cx));
        out.into_iter().filter_map(|action| self.note(action)).collect()
    }

    fn note(&mut self, action: Action) -> Option<Did> {
        match action {
            Action::Set(Timer::Bootstrap, at) => {
                assert!(at > self.around.now, "no timer is set to the past");
                self.due = Some(at);
                None
            }
            Action::Stop(Timer::Bootstrap) => {
                self.due = None;
                None
            }
            Action::Connect(Want { peer, candidates, purpose }) => {
                assert_eq!((peer, purpose), (PEER, Purpose::Bootstrap));
                Some(Did::Dial(candidates.iter().map(|candidate| candidate.addr).collect()))
            }
            Action::Event(Event::BootstrapFailed { peer, error }) => {
                assert_eq!(peer, PEER);
                Some(Did::Report(error))
            }
            other => panic!("bootstrap peers do not cause {other:?}"),
        }
    }

    fn pass(&mut self, span: Duration) -> Vec<Did> {
        let (end, mut did) = (self.around.now + span, Vec::new());
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.around.pass(due - self.around.now);
            self.due = None;
            did.extend(self.act(|bootstrap, cx| bootstrap.on_timer(cx)));
        }
        self.around.pass(end - self.around.now);
        did
    }

    fn add(&mut self, addrs: &[SocketAddr]) -> Vec<Did> {
        let has_edge = self.has_edge;
        let peers = [BootstrapPeer { id: PEER, addrs: addrs.to_vec() }];
        self.act(|bootstrap, cx| bootstrap.add(cx, &peers, |_| has_edge))
    }

    fn fail(&mut self, error: ConnectError) -> Vec<Did> {
        self.act(|bootstrap, cx| bootstrap.on_attempt_failed(cx, PEER, error))
    }

    fn edge_up(&mut self, peer: NodeId) -> Vec<Did> {
        self.act(|bootstrap, cx| bootstrap.on_edge_up(cx, &peer, true))
    }

    fn edge_down(&mut self, reason: EdgeDownReason, lived: Duration) -> Vec<Did> {
        self.act(|bootstrap, cx| bootstrap.on_edge_down(cx, &PEER, reason, lived))
    }

    fn check_for_others(
        &mut self,
        has_edge: bool,
    ) -> (Option<(NodeId, Option<SocketAddr>)>, Vec<Did>) {
        let mut begun = None;
        let did = self.act(|bootstrap, cx| begun = bootstrap.check_for_others(cx, |_| has_edge));
        (begun, did)
    }

    fn set_below_target(&mut self, below_target: bool) -> Vec<Did> {
        self.act(|bootstrap, cx| bootstrap.set_below_target(cx, below_target, |_| false))
    }
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn dial(port: u16) -> Did {
    Did::Dial(vec![addr(port)])
}

const NO_ROUTE: ConnectError = ConnectError::Dial(DialError::NoRoute);
const LOST: EdgeDownReason = EdgeDownReason::Conn(ConnDownReason::TimedOut);
const RESET: EdgeDownReason = EdgeDownReason::Conn(ConnDownReason::Reset);

#[test]
fn a_bootstrap_peer_is_first_dialed_within_half_a_second_and_not_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.add(&[addr(1)]), []);
    assert_eq!(bench.pass(SECOND / 2), [dial(1)]);
}

#[test]
fn a_bootstrap_peer_with_an_edge_is_not_dialed() {
    let mut bench = Bench::new();
    bench.has_edge = true;
    bench.add(&[addr(1)]);
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn this_node_itself_is_no_bootstrap_peer() {
    let mut bench = Bench::new();
    let own = BootstrapPeer { id: bench.around.identity.id(), addrs: vec![addr(1)] };
    bench.act(|bootstrap, cx| bootstrap.add(cx, &[own], |_| false));
    assert_eq!(bench.bootstrap.len(), 0);
}

#[test]
fn new_addresses_replace_the_old_and_are_dialed_at_once_during_an_attempt() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.add(&[addr(2)]);
    assert_eq!(bench.pass(SECOND), [dial(2)]);
    assert_eq!(bench.add(&[addr(3)]), [dial(3)]);
    assert_eq!(bench.add(&[addr(3)]), [], "that is no news");
}

#[test]
fn a_bootstrap_peer_without_an_address_waits_for_one() {
    let mut bench = Bench::new();
    bench.add(&[]);
    assert_eq!(bench.pass(3600 * SECOND), []);
    bench.add(&[addr(1)]);
    assert_eq!(bench.pass(SECOND), [dial(1)]);
}

#[test]
fn the_address_that_answered_is_the_first_of_the_next_attempt() {
    let mut bench = Bench::new();
    bench.add(&[addr(1), addr(2), addr(3)]);
    bench.pass(SECOND);
    bench.bootstrap.on_answered(&PEER, addr(3));
    assert_eq!(bench.bootstrap.addrs(&PEER), [addr(3), addr(1), addr(2)]);
    bench.edge_up(PEER);
    bench.edge_down(LOST, 100 * SECOND);
    let again = Did::Dial(vec![addr(3), addr(1), addr(2)]);
    assert_eq!(bench.pass(SECOND * 6 / 5), [again]);
}

#[test]
fn a_bootstrap_peer_is_tried_for_ever_at_growing_intervals_and_a_failure_is_reported_once() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.edge_up(OTHER);
    let mut dials = Vec::new();
    while dials.len() < 40 {
        for did in bench.pass(SECOND) {
            assert_eq!(did, dial(1));
            dials.push(bench.around.now);
            let news = (dials.len() == 1).then_some(Did::Report(NO_ROUTE));
            assert_eq!(bench.fail(NO_ROUTE), Vec::from_iter(news));
        }
    }
    let last = dials[39] - dials[38];
    assert!(Duration::from_secs(239) <= last && last <= Duration::from_secs(361), "{last:?}");
}

#[test]
fn without_an_outgoing_edge_a_bootstrap_peer_is_dialed_every_half_minute() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    let mut dials = Vec::new();
    for _ in 0..600 {
        for _ in bench.pass(SECOND) {
            dials.push(bench.around.now);
            bench.fail(NO_ROUTE);
        }
    }
    assert!(dials.len() > 19);
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] <= 30 * SECOND));
}

#[test]
fn losing_the_last_outgoing_edge_brings_the_next_dial_forward() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.edge_up(OTHER);
    bench.pass(6 * SECOND);
    // A refusal waits for as long as ten failures.
    bench.fail(ConnectError::WorkUnmet);
    assert_eq!(bench.pass(200 * SECOND), []);
    bench.act(|bootstrap, cx| bootstrap.on_no_outgoing(cx));
    assert_eq!(bench.pass(20 * SECOND), [dial(1)]);
}

#[test]
fn an_edge_that_never_lasts_does_not_reset_the_backoff() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    let mut waits = Vec::new();
    bench.pass(SECOND);
    for _ in 0..6 {
        bench.edge_up(PEER);
        bench.edge_down(LOST, SECOND);
        let start = bench.around.now;
        while bench.pass(SECOND / 10).is_empty() {}
        waits.push((bench.around.now - start).as_secs_f32());
    }
    for (i, wait) in waits.iter().enumerate() {
        let ideal = f32::from(1_u8 << i);
        assert!((ideal * 0.79..=ideal * 1.21 + 0.1).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_bootstrap_peer_is_dialed_at_once_after_each_restart() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    for _ in 0..20 {
        assert_eq!(bench.pass(SECOND / 2), [dial(1)]);
        bench.edge_up(PEER);
        bench.edge_down(RESET, 5 * SECOND);
    }
}

#[test]
fn a_bootstrap_peer_that_resets_young_edges_is_dialed_ever_less() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    let start = bench.around.now;
    for _ in 0..5 {
        while bench.pass(SECOND / 10).is_empty() {}
        bench.edge_up(PEER);
        bench.edge_down(RESET, SECOND);
    }
    assert!(bench.around.now - start > 12 * SECOND, "1 + 2 + 4 + 8 s, less a fifth");
}

#[test]
fn a_bootstrap_peer_that_left_is_held_off() {
    for reason in [EdgeDownReason::Left, EdgeDownReason::ClosedHere] {
        let mut bench = Bench::new();
        bench.add(&[addr(1)]);
        bench.pass(SECOND);
        bench.edge_up(PEER);
        bench.edge_down(reason, 100 * SECOND);
        assert_eq!(bench.pass(HOLD_OFF * 7 / 10), []);
        assert_eq!(bench.pass(HOLD_OFF * 6 / 10), [dial(1)]);
    }
}

#[test]
fn bootstrap_peers_take_turns_and_wait_once_there_is_an_edge() {
    let mut bench = Bench::new();
    let peer = BootstrapPeer { id: PEER, addrs: vec![addr(1)] };
    bench.act(|bootstrap, cx| bootstrap.add_one(cx, &peer, 3, false));
    assert_eq!(bench.pass(SECOND * 3 / 2), []);
    bench.edge_up(OTHER);
    assert_eq!(bench.pass(SECOND * 4), []);
    assert_eq!(bench.pass(SECOND), [dial(1)]);
}

#[test]
fn an_inbound_edge_delays_no_dial() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.act(|bootstrap, cx| bootstrap.on_edge_up(cx, &OTHER, false));
    assert_eq!(bench.pass(SECOND / 2), [dial(1)]);
}

#[test]
fn a_well_connected_node_dials_a_bootstrap_peer_only_for_a_check() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.set_below_target(false);
    assert_eq!(bench.pass(3600 * SECOND), []);
    assert_eq!(bench.check_for_others(true), (None, vec![]));
    assert_eq!(bench.check_for_others(false), (Some((PEER, Some(addr(1)))), vec![dial(1)]));
    bench.fail(NO_ROUTE);
    assert_eq!(bench.pass(3600 * SECOND), []);
    bench.set_below_target(true);
    assert_eq!(bench.pass(10 * SECOND), [dial(1)]);
    let check = bench.check_for_others(false);
    assert_eq!(check, (None, vec![]), "a node that needs them dials them anyway");
}

#[test]
fn a_bootstrap_peer_stays_one_after_a_probe() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.set_below_target(false);
    bench.act(|bootstrap, cx| bootstrap.on_probe_over(cx, &PEER));
    assert_eq!(bench.pass(3600 * SECOND), []);
    bench.set_below_target(true);
    assert_eq!(bench.pass(10 * SECOND), [dial(1)]);
    bench.act(|bootstrap, cx| bootstrap.on_probe_over(cx, &PEER));
    assert_eq!(bench.pass(10 * SECOND), [dial(1)], "the node needs it");
}

#[test]
fn an_edge_that_was_not_taken_is_reported_and_after_a_taken_one_failures_are_again() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    let mut ending = |is_taken, reason| {
        bench.act(|bootstrap, cx| bootstrap.on_edge_ending(cx, PEER, is_taken, reason))
    };
    let report = || [Did::Report(ConnectError::NotTaken(LOST))];
    assert_eq!(ending(false, LOST), report());
    assert_eq!(ending(false, LOST), [], "that was reported");
    assert_eq!(ending(true, LOST), []);
    assert_eq!(ending(false, LOST), report());
    assert_eq!(ending(false, EdgeDownReason::ClosedHere), [], "the node closed it itself");
}

#[test]
fn a_node_that_leaves_dials_none() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    assert_eq!(bench.act(|bootstrap, cx| bootstrap.stop(cx)), []);
    assert_eq!(bench.due, None);
    bench.add(&[addr(1)]);
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn an_attempt_for_another_purpose_takes_the_place_of_the_next_one() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    let begun = bench.act(|bootstrap, cx| bootstrap.on_attempt_begun(cx, &PEER));
    assert_eq!((begun, bench.due), (vec![], None));
    assert_eq!(bench.pass(3600 * SECOND), [], "the attempt that is under way is the only one");
    assert_eq!(bench.fail(NO_ROUTE), [Did::Report(NO_ROUTE)]);
    assert_eq!(bench.pass(SECOND * 6 / 5), [dial(1)], "its failure is followed by a wait");
}

#[test]
fn an_attempt_at_another_peer_changes_nothing() {
    let mut bench = Bench::new();
    bench.add(&[addr(1)]);
    bench.act(|bootstrap, cx| bootstrap.on_attempt_begun(cx, &OTHER));
    assert_eq!(bench.pass(SECOND / 2), [dial(1)]);
}

#[test]
fn a_bootstrap_peer_that_the_policy_refuses_is_reported_and_not_dialed() {
    let mut bench = Bench::new();
    bench.around.config.edge_policy = crate::api::EdgePolicy::Ask(std::sync::Arc::new(|_| false));
    bench.add(&[addr(1)]);
    assert_eq!(bench.pass(3600 * SECOND), [Did::Report(ConnectError::Refused)]);
    bench.act(|bootstrap, cx| bootstrap.set_below_target(cx, false, |_| false));
    let mut found = None;
    bench.act(|bootstrap, cx| found = bootstrap.check_for_others(cx, |_| false));
    assert_eq!(found, None);
}
