mod negotiate;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Action, Answer, Candidate, Connect, Nonce, Purpose, Source, Want};
use crate::NodeId;
use crate::api::{ConnectError, ConnectOutcome, EdgeDownReason, Explanation, PathSide};
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::stats::DropReason;
use crate::transport::{DialError, DialId};

const PEER: NodeId = NodeId::from_bytes([1; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// A connect machine, its clock, and its timer, which fires when the clock reaches it.
struct Bench {
    connect: Connect,
    around: Surroundings,
    due: Option<Instant>,
    /// Whether an edge takes a Connect.
    is_routed: bool,
    /// Of the last Connect.
    nonce: Nonce,
    /// Whether that is to wait for an address.
    is_waiting: bool,
}

/// An action of the machine, without the time that the timer is set to.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Dial(u64, SocketAddr),
    Begun,
    Cancel(u64),
    Settle(Result<(), ConnectError>),
    Elsewhere(SocketAddr),
    Failed(ConnectError),
    FailedPartly(ConnectError),
    /// With the first hops to be avoided.
    Ask(usize),
    PunchShort(Vec<SocketAddr>),
    Punch(Vec<SocketAddr>),
    AskRelay,
    StopRelay,
    Upgrade,
}

impl Bench {
    fn new() -> Self {
        let (connect, around) = (Connect::new(), Surroundings::default());
        Self { connect, around, due: None, is_routed: false, nonce: [0; 16], is_waiting: false }
    }

    /// A node with edges over which its Connects leave, and an address of each family to name.
    fn routed() -> Self {
        let mut bench = Self::unnamed();
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], 4242));
        bench.around.own.set_local_addrs(&[SocketAddr::from(([203, 0, 113, 1], 4242)), v6]);
        bench
    }

    /// A node with edges that has nothing to name.
    fn unnamed() -> Self {
        Self { is_routed: true, ..Self::new() }
    }

    fn act(&mut self, act: impl FnOnce(&mut Connect, &mut Context<'_, Action>)) -> Vec<Did> {
        let ((), out) = self.around.run(|cx| act(&mut self.connect, cx));
        let did = self.note_all(out);
        self.connect.check();
        did
    }

    fn note_all(&mut self, out: Vec<Action>) -> Vec<Did> {
        let mut did = Vec::new();
        for action in out {
            did.extend(self.note(action));
            if matches!(did.last(), Some(Did::Ask(_))) {
                let (hops, nonce) = ([1, 2, 3].map(|n| NodeId::from_bytes([n; 32])), self.nonce);
                let taken = self.is_routed.then_some(&hops[..]);
                if taken.is_none() || self.is_waiting {
                    did.pop();
                }
                if self.is_routed && self.is_waiting {
                    continue;
                }
                let connect = &mut self.connect;
                let asked = |cx: &mut Context<'_, Action>| {
                    connect.handle_asked(cx, PEER, &nonce, taken);
                };
                let ((), out) = self.around.run(asked);
                did.extend(self.note_all(out));
            }
        }
        did
    }

    /// The peer answers the last Connect.
    fn answer(&mut self, peer: PathSide, own: PathSide) -> Vec<Did> {
        let answer =
            Answer { nonce: self.nonce, len: 100, has_signals: true, peer, own, is_unsure: false };
        self.act(|connect, cx| assert!(connect.handle_answer(cx, PEER, &answer)))
    }

    fn explain(&self) -> Explanation {
        self.connect.explain(&PEER).expect("the application asked for the peer")
    }

    fn note(&mut self, action: Action) -> Option<Did> {
        Some(match action {
            Action::Set(at) => {
                assert!(at > self.around.now, "no timer is set to the past");
                self.due = Some(at);
                return None;
            }
            Action::Stop => {
                self.due = None;
                return None;
            }
            Action::Dial { dial, remote, deadline, .. } => {
                assert!(deadline > self.around.now);
                Did::Dial(dial.0, remote)
            }
            Action::Begun(_) => Did::Begun,
            Action::CancelDial(dial) => Did::Cancel(dial.0),
            Action::Ask { nonce, is_to_wait, tried, .. } => {
                (self.nonce, self.is_waiting) = (nonce, is_to_wait);
                Did::Ask(tried.len())
            }
            Action::Punch { addrs, named_by: None, .. } => Did::PunchShort(addrs),
            Action::Punch { addrs, named_by: Some(100), .. } => Did::Punch(addrs),
            Action::Punch { named_by, .. } => panic!("the answer has 100 bytes, not {named_by:?}"),
            Action::AskRelay(_) => Did::AskRelay,
            Action::StopRelay(_) => Did::StopRelay,
            Action::Upgrade(_) => Did::Upgrade,
            Action::Settle { result, .. } => Did::Settle(result),
            Action::Elsewhere { addr, .. } => Did::Elsewhere(addr),
            Action::Failed { error, is_partial: false, .. } => Did::Failed(error),
            Action::Failed { error, is_partial: true, .. } => Did::FailedPartly(error),
        })
    }

    fn pass(&mut self, span: Duration) -> Vec<Did> {
        let (end, mut did) = (self.around.now + span, Vec::new());
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.around.pass(due - self.around.now);
            self.due = None;
            did.extend(self.act(|connect, cx| connect.handle_timer(cx)));
        }
        self.around.pass(end - self.around.now);
        did
    }

    fn want(&mut self, purpose: Purpose, addrs: &[SocketAddr]) -> Vec<Did> {
        self.act(|connect, cx| want(connect, cx, PEER, purpose, addrs).expect("it has an address"))
    }

    fn refused(&mut self, peer: NodeId, purpose: Purpose, addrs: &[SocketAddr]) -> ConnectError {
        let mut error = None;
        let did = self.act(|connect, cx| error = want(connect, cx, peer, purpose, addrs).err());
        assert_eq!(did, []);
        error.expect("it is refused")
    }

    fn fail(&mut self, dial: u64, error: DialError) -> Vec<Did> {
        self.act(|connect, cx| connect.handle_dial_failed(cx, DialId(dial), error))
    }

    fn edge_up(&mut self, is_taken: bool) -> Vec<Did> {
        self.edge_up_at(addr(1), is_taken)
    }

    fn edge_up_at(&mut self, remote: SocketAddr, is_taken: bool) -> Vec<Did> {
        self.edge_up_over(ConnectOutcome::Direct { remote }, is_taken)
    }

    fn edge_up_over(&mut self, path: ConnectOutcome, is_taken: bool) -> Vec<Did> {
        self.act(|connect, cx| connect.handle_edge_up(cx, PEER, Some(path), is_taken))
    }
}

fn want(
    connect: &mut Connect,
    cx: &mut Context<'_, Action>,
    peer: NodeId,
    purpose: Purpose,
    addrs: &[SocketAddr],
) -> Result<(), ConnectError> {
    let source = match purpose {
        Purpose::Request | Purpose::Bootstrap => Source::Given,
        Purpose::Renew => Source::Verified,
        Purpose::Edge | Purpose::Probe | Purpose::Upgrade => Source::Unverified,
    };
    let of = |&addr: &SocketAddr| Candidate { addr, source, is_open: true };
    let candidates = addrs.iter().map(of).collect();
    connect.want(cx, Want { peer, candidates, purpose })
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn dial_error(error: DialError) -> ConnectError {
    ConnectError::Dial(error)
}

#[test]
fn candidates_are_dialed_a_quarter_of_a_second_apart() {
    let mut bench = Bench::new();
    let first = bench.want(Purpose::Request, &[addr(1), addr(2), addr(3)]);
    assert_eq!(first, [Did::Begun, Did::Dial(0, addr(1))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(1, addr(2))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(2, addr(3))]);
    assert_eq!(bench.pass(9 * SECOND), []);
}

#[test]
fn a_dial_that_fails_is_followed_by_the_next_at_once() {
    let mut bench = Bench::new();
    bench.want(Purpose::Request, &[addr(1), addr(2)]);
    assert_eq!(bench.fail(0, DialError::NoRoute), [Did::Dial(1, addr(2))]);
    let error = dial_error(DialError::TimedOut);
    let over = [Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.fail(1, DialError::TimedOut), over);
    assert_eq!(bench.pass(3600 * SECOND), [], "one attempt is all that was wanted");
}

#[test]
fn the_first_edge_ends_the_other_dials_and_the_first_frame_settles_requests() {
    let mut bench = Bench::new();
    bench.want(Purpose::Request, &[addr(1), addr(2)]);
    assert_eq!(bench.want(Purpose::Request, &[]), []);
    bench.pass(SECOND / 4);
    assert_eq!(bench.connect.handle_dial_up(DialId(1)), Some(Purpose::Request));
    assert_eq!(bench.edge_up(false), [Did::Cancel(0)]);
    assert!(bench.connect.is_requested(&PEER));
    let first_frame =
        |bench: &mut Bench| bench.act(|connect, cx| connect.handle_first_frame(cx, PEER));
    assert_eq!(first_frame(&mut bench), [Did::Settle(Ok(()))]);
    assert_eq!(first_frame(&mut bench), []);
    assert!(!bench.connect.is_requested(&PEER));
    assert_eq!(bench.fail(0, DialError::Cancelled), [], "that is no news");
    assert_eq!(bench.connect.handle_dial_up(DialId(0)), None, "nor would this have been");
}

#[test]
fn an_edge_that_the_peer_opened_settles_requests_at_once() {
    let mut bench = Bench::new();
    bench.want(Purpose::Request, &[addr(1)]);
    assert_eq!(bench.edge_up(true), [Did::Cancel(0), Did::Settle(Ok(()))]);
}

#[test]
fn an_edge_that_ends_before_its_first_frame_fails_requests() {
    let mut bench = Bench::new();
    bench.connect.await_first_frame(PEER);
    let reason = EdgeDownReason::Left;
    let down = |connect: &mut Connect, cx: &mut Context<'_, Action>| {
        connect.handle_edge_down(cx, PEER, reason);
    };
    let failed = Did::Settle(Err(ConnectError::NotTaken(reason)));
    assert_eq!(bench.act(down), [failed]);
    assert_eq!(bench.act(down), []);
}

#[test]
fn only_addresses_that_a_host_can_answer_at_are_dialed_eight_at_most() {
    let mut bench = Bench::new();
    let bad = ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "192.0.2.1:0"];
    let bad: Vec<SocketAddr> = bad.iter().map(|text| text.parse().expect("a literal")).collect();
    assert_eq!(bench.refused(PEER, Purpose::Edge, &bad), ConnectError::NoAddress);
    assert_eq!(bench.around.stats.drops(DropReason::ImplausibleAddress), 5);
    let many: Vec<SocketAddr> = (1..=20).map(addr).collect();
    let mut dialed = bench.want(Purpose::Request, &many);
    dialed.extend(bench.pass(9 * SECOND));
    let dials = (1..=8).map(|i| Did::Dial(u64::from(i) - 1, addr(i)));
    let expected: Vec<Did> = [Did::Begun].into_iter().chain(dials).collect();
    assert_eq!(dialed, expected);
}

#[test]
fn an_attempt_at_a_contact_reports_its_outcome() {
    let mut bench = Bench::new();
    let (addrs, purpose) = ([addr(1), addr(2)], Purpose::Edge);
    assert_eq!(bench.want(purpose, &addrs), [Did::Begun, Did::Dial(0, addr(1))]);
    assert_eq!(bench.want(purpose, &addrs), [], "it is being dialed");
    let in_flight: Vec<_> = bench.connect.in_flight().collect();
    assert_eq!(in_flight, [(PEER, Some(addr(1)))]);
    let mismatch = bench.fail(0, DialError::IdentityMismatch);
    assert_eq!(mismatch, [Did::Elsewhere(addr(1)), Did::Dial(1, addr(2))]);
    let failed = Did::Failed(dial_error(DialError::TimedOut));
    assert_eq!(bench.fail(1, DialError::TimedOut), [failed]);
    assert_eq!(bench.connect.in_flight().count(), 0);
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn attempts_beyond_sixty_four_are_refused_but_for_bootstrap_peers() {
    let mut bench = Bench::new();
    let peer = |number: u8| NodeId::from_bytes([number; 32]);
    let at = |number: u8| [SocketAddr::from(([192, 0, 2, number], 1))];
    for number in 100..164 {
        bench.act(|connect, cx| {
            want(connect, cx, peer(number), Purpose::Probe, &at(number)).expect("there is room");
        });
    }
    for purpose in [Purpose::Probe, Purpose::Edge, Purpose::Request] {
        assert_eq!(bench.refused(peer(200), purpose, &at(200)), ConnectError::Busy);
    }
    assert!(matches!(bench.want(Purpose::Bootstrap, &at(1))[..], [Did::Begun, Did::Dial(..)]));
    assert_eq!(bench.connect.contacts(), 64);
    bench.fail(0, DialError::NoRoute);
    bench.act(|connect, cx| {
        want(connect, cx, peer(200), Purpose::Request, &at(200)).expect("one attempt is over");
    });
}

#[test]
fn unproven_candidates_of_a_busy_host_are_left_out() {
    let mut bench = Bench::new();
    let ports: Vec<SocketAddr> = (1..=7).map(addr).collect();
    bench.act(|connect, cx| {
        let other = NodeId::from_bytes([9; 32]);
        want(connect, cx, other, Purpose::Edge, &ports).expect("the host is not dialed yet");
    });
    assert_eq!(bench.want(Purpose::Edge, &[addr(8), addr(9)]), [Did::Begun, Did::Dial(1, addr(8))]);
    let error = dial_error(DialError::NoRoute);
    assert_eq!(bench.fail(1, DialError::NoRoute), [Did::FailedPartly(error)]);
    bench.want(Purpose::Edge, &[addr(8)]);
    let third = NodeId::from_bytes([3; 32]);
    assert_eq!(bench.refused(third, Purpose::Edge, &[addr(10)]), ConnectError::Busy);
}

#[test]
fn a_probe_ends_with_the_first_conn_that_comes_up() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.want(Purpose::Probe, &[addr(1), addr(2)]),
        [Did::Begun, Did::Dial(0, addr(1))]
    );
    assert_eq!(bench.pass(SECOND), [Did::Dial(1, addr(2))]);
    assert_eq!(bench.connect.handle_dial_up(DialId(1)), Some(Purpose::Probe));
    let did = bench.act(|connect, cx| connect.handle_probe_over(cx, PEER));
    assert_eq!((did, bench.connect.contacts()), (vec![Did::Cancel(0)], 0));
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn a_probe_becomes_a_request_if_the_application_asks_for_the_peer() {
    let mut bench = Bench::new();
    bench.want(Purpose::Probe, &[addr(1)]);
    assert_eq!(bench.want(Purpose::Request, &[]), []);
    assert_eq!(bench.connect.handle_dial_up(DialId(0)), Some(Purpose::Request));
}

#[test]
fn a_request_that_joins_a_short_attempt_gets_its_full_ten_seconds() {
    let mut bench = Bench::new();
    bench.want(Purpose::Edge, &[addr(1)]);
    assert_eq!(bench.pass(2 * SECOND), []);
    assert_eq!(bench.want(Purpose::Request, &[]), []);
    bench.pass(SECOND);
    // The dial ends at the deadline of the attempt that the topology began.
    assert_eq!(bench.fail(0, DialError::TimedOut), [Did::Dial(1, addr(1))]);
    bench.pass(9 * SECOND);
    let error = dial_error(DialError::TimedOut);
    let over = [Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.fail(1, DialError::TimedOut), over);
}

#[test]
fn only_the_dials_that_were_cut_short_are_repeated() {
    let mut bench = Bench::new();
    bench.want(Purpose::Edge, &[addr(1)]);
    bench.pass(SECOND);
    assert_eq!(bench.want(Purpose::Request, &[addr(2)]), []);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(1, addr(2))]);
    bench.pass(SECOND * 7 / 4);
    assert_eq!(bench.fail(0, DialError::TimedOut), [], "the other dial is under way");
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(2, addr(1))]);
    bench.pass(8 * SECOND);
    assert_eq!(bench.fail(1, DialError::TimedOut), []);
    let error = dial_error(DialError::TimedOut);
    let over = [Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.fail(2, DialError::TimedOut), over);
}

#[test]
fn what_a_request_names_is_dialed_before_what_was_known() {
    let mut bench = Bench::new();
    let known: Vec<SocketAddr> = (1..=8).map(addr).collect();
    assert_eq!(bench.want(Purpose::Edge, &known), [Did::Begun, Did::Dial(0, addr(1))]);
    assert_eq!(bench.want(Purpose::Request, &[addr(9)]), []);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(1, addr(9))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(2, addr(2))]);
}

#[test]
fn a_refused_peer_ends_the_attempt_and_its_other_dials() {
    let mut bench = Bench::new();
    bench.want(Purpose::Request, &[addr(1), addr(2)]);
    bench.pass(SECOND / 4);
    bench.connect.handle_dial_up(DialId(0));
    let error = ConnectError::WorkUnmet;
    let did = bench.act(|connect, cx| connect.handle_refused(cx, PEER, error));
    assert_eq!(did, [Did::Cancel(1), Did::Settle(Err(error)), Did::Failed(error)]);
    assert_eq!(bench.due, None);
}

#[test]
fn stopping_settles_every_request() {
    let mut bench = Bench::new();
    bench.want(Purpose::Request, &[addr(1)]);
    bench.connect.await_first_frame(NodeId::from_bytes([2; 32]));
    let did = bench.act(|connect, cx| connect.stop(cx));
    let closed = || Did::Settle(Err(ConnectError::Closed));
    assert_eq!(did, [Did::Cancel(0), closed(), closed()]);
    assert_eq!(bench.due, None);
}

#[test]
fn a_request_that_joins_an_attempt_at_a_bootstrap_peer_gets_its_full_ten_seconds() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Bootstrap, &[addr(1)]);
    bench.pass(SECOND * 9);
    assert_eq!(bench.want(Purpose::Request, &[]), [Did::Ask(0)]);
    bench.pass(SECOND);
    assert_eq!(bench.fail(0, DialError::TimedOut), [Did::Dial(1, addr(1))]);
    bench.pass(SECOND * 8);
    let error = dial_error(DialError::TimedOut);
    let over = [Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.fail(1, DialError::TimedOut), over);
}
