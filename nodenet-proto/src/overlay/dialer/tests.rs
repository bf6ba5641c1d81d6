use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Dialer, Ended, Failed, Purpose};
use crate::NodeId;
use crate::api::{ConnectError, Event, RequestId};
use crate::context::Context;
use crate::env::{Ed25519Crypto, Random, Seed, UnixNanos, test_base};
use crate::identity::Identity;
use crate::overlay::{Action, Timer};
use crate::stats::{DropReason, Stats};
use crate::transport::{DialError, DialId};

const PEER: NodeId = NodeId::from_bytes([1; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// A dialer, its clock, and what it did. Timers fire by themselves when time passes.
struct Bench {
    dialer: Dialer,
    now: Instant,
    rng: Random,
    stats: Stats,
    identity: Identity,
    due: Option<Instant>,
    has_edge: bool,
}

/// What a dialer did, without what the timer is set to.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Dial(u64, SocketAddr),
    Cancel(u64),
    Tell(Event),
}

impl Bench {
    fn new() -> Self {
        Self {
            dialer: Dialer::new(true),
            now: test_base(),
            rng: Seed::from_u64(1).stream("test"),
            stats: Stats::default(),
            identity: Identity::from_master_seed(&[0; 32]),
            due: None,
            has_edge: false,
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Dialer, &mut Context<'_, Action>)) -> Vec<Did> {
        let mut out = Vec::new();
        let mut cx = Context {
            out: &mut out,
            now: self.now,
            wall: UnixNanos(0),
            rng: &mut self.rng,
            stats: &mut self.stats,
            crypto: &Ed25519Crypto,
            identity: &self.identity,
        };
        act(&mut self.dialer, &mut cx);
        self.dialer.check();
        out.into_iter().filter_map(|action| self.note(action)).collect()
    }

    fn note(&mut self, action: Action) -> Option<Did> {
        match action {
            Action::Set(Timer::Dial, at) => {
                assert!(at > self.now, "no timer is set to the past");
                self.due = Some(at);
                None
            }
            Action::Stop(Timer::Dial) => {
                self.due = None;
                None
            }
            Action::Dial { dial, expected, remote, deadline } => {
                assert_eq!(expected, PEER);
                assert!(deadline > self.now);
                Some(Did::Dial(dial.0, remote))
            }
            Action::CancelDial(dial) => Some(Did::Cancel(dial.0)),
            Action::Event(event) => Some(Did::Tell(event)),
            other => panic!("a dialer does not {other:?}"),
        }
    }

    fn pass(&mut self, span: Duration) -> Vec<Did> {
        let (end, mut did) = (self.now + span, Vec::new());
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.now = due;
            self.due = None;
            did.extend(self.act(|dialer, cx| dialer.on_timer(cx)));
        }
        self.now = end;
        did
    }

    fn seed(&mut self, addrs: &[SocketAddr]) -> Vec<Did> {
        let has_edge = self.has_edge;
        self.act(|dialer, cx| dialer.add_seed(cx, (PEER, addrs), 0, has_edge))
    }

    fn connect(&mut self, request: u64, addrs: &[SocketAddr]) -> Vec<Did> {
        let request = RequestId(request);
        self.act(|dialer, cx| dialer.connect(cx, request, PEER, addrs))
    }

    fn fail(&mut self, dial: u64, error: DialError) -> Vec<Did> {
        self.act(|dialer, cx| {
            dialer.on_dial_failed(cx, DialId(dial), error);
        })
    }

    fn edge_up(&mut self, dialed: bool) -> Vec<Did> {
        self.has_edge = true;
        self.act(|dialer, cx| dialer.on_edge_up(cx, PEER, dialed))
    }

    fn heard(&mut self) -> Vec<Did> {
        self.act(|dialer, cx| dialer.on_heard(cx, &PEER))
    }

    fn edge_down(&mut self, ended: Ended) -> Vec<Did> {
        self.has_edge = false;
        self.act(|dialer, cx| dialer.on_edge_down(cx, PEER, ended))
    }
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn connected(request: u64) -> Did {
    Did::Tell(Event::Connected { request: RequestId(request), peer: PEER })
}

fn failed(request: u64, error: ConnectError) -> Did {
    Did::Tell(Event::ConnectFailed { request: RequestId(request), error })
}

#[test]
fn a_seed_is_first_dialed_within_half_a_second_and_not_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.seed(&[addr(1)]), []);
    assert_eq!(bench.pass(SECOND / 2), [Did::Dial(0, addr(1))]);
}

#[test]
fn a_seed_that_is_an_edge_already_is_not_dialed() {
    let mut bench = Bench::new();
    bench.has_edge = true;
    bench.seed(&[addr(1)]);
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn addresses_are_dialed_a_quarter_of_a_second_apart() {
    let mut bench = Bench::new();
    assert_eq!(bench.connect(7, &[addr(1), addr(2), addr(3)]), [Did::Dial(0, addr(1))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(1, addr(2))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(2, addr(3))]);
    assert_eq!(bench.pass(9 * SECOND), []);
}

#[test]
fn a_dial_that_fails_is_followed_by_the_next_at_once() {
    let mut bench = Bench::new();
    bench.connect(7, &[addr(1), addr(2)]);
    assert_eq!(bench.fail(0, DialError::NoRoute), [Did::Dial(1, addr(2))]);
    let error = ConnectError::Dial(DialError::TimedOut);
    assert_eq!(bench.fail(1, DialError::TimedOut), [failed(7, error)]);
    assert_eq!(bench.pass(3600 * SECOND), [], "one attempt is all that was asked for");
}

#[test]
fn the_first_conn_settles_every_request_and_ends_the_other_dials() {
    let mut bench = Bench::new();
    bench.connect(7, &[addr(1), addr(2)]);
    assert_eq!(bench.connect(8, &[]), []);
    bench.pass(SECOND / 4);
    assert_eq!(bench.dialer.on_dial_up(DialId(1)), Some(Purpose::Edge));
    assert_eq!(bench.edge_up(true), [Did::Cancel(0)]);
    assert_eq!(bench.heard(), [connected(7), connected(8)]);
    assert_eq!(bench.heard(), []);
    assert_eq!(bench.fail(0, DialError::Cancelled), [], "that is no news");
    assert_eq!(bench.dialer.on_dial_up(DialId(0)), None, "nor would this have been");
}

#[test]
fn an_edge_that_the_peer_opened_settles_requests_too() {
    let mut bench = Bench::new();
    bench.connect(7, &[addr(1)]);
    assert_eq!(bench.edge_up(false), [Did::Cancel(0)]);
    assert_eq!(bench.heard(), [connected(7)]);
}

#[test]
fn only_addresses_that_a_host_can_answer_at_are_dialed_eight_at_most() {
    let mut bench = Bench::new();
    let bad = ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "192.0.2.1:0"];
    let bad: Vec<SocketAddr> = bad.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(bench.connect(7, &bad), [failed(7, ConnectError::NoAddress)]);
    assert_eq!(bench.stats.drops(DropReason::ImplausibleAddress), 5);
    let many: Vec<SocketAddr> = (1..=20).map(addr).collect();
    let mut dialed = bench.connect(8, &many);
    dialed.extend(bench.pass(9 * SECOND));
    let expected: Vec<Did> = (1..=8).map(|i| Did::Dial(u64::from(i) - 1, addr(i))).collect();
    assert_eq!(dialed, expected);
}

#[test]
fn new_addresses_of_a_seed_replace_the_old() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    bench.seed(&[addr(2)]);
    assert_eq!(bench.pass(SECOND), [Did::Dial(0, addr(2))]);
}

#[test]
fn the_address_that_worked_leads_the_next_time() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1), addr(2)]);
    bench.pass(SECOND);
    assert_eq!(bench.dialer.on_dial_up(DialId(1)), Some(Purpose::Edge));
    bench.edge_up(true);
    bench.edge_down(Ended::Lost(100 * SECOND));
    assert_eq!(bench.pass(SECOND * 6 / 5)[0], Did::Dial(2, addr(2)));
}

#[test]
fn a_seed_is_tried_for_ever_at_growing_intervals() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    bench.act(|dialer, cx| dialer.on_edge_up(cx, NodeId::from_bytes([9; 32]), true));
    let mut dials = Vec::new();
    while dials.len() < 40 {
        for did in bench.pass(SECOND) {
            let Did::Dial(dial, _) = did else { panic!("{did:?}") };
            dials.push(bench.now);
            let told = bench.fail(dial, DialError::NoRoute);
            let error = ConnectError::Dial(DialError::NoRoute);
            let news = (dials.len() == 1)
                .then_some(Did::Tell(Event::BootstrapFailed { peer: PEER, error }));
            assert_eq!(told, Vec::from_iter(news), "the same failure is told once");
        }
    }
    let last = dials[39] - dials[38];
    assert!(Duration::from_secs(239) <= last && last <= Duration::from_secs(361), "{last:?}");
}

#[test]
fn while_there_is_no_edge_at_all_a_seed_is_dialed_every_half_minute() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    let mut dials = Vec::new();
    for _ in 0..600 {
        for did in bench.pass(SECOND) {
            let Did::Dial(dial, _) = did else { panic!("{did:?}") };
            dials.push(bench.now);
            bench.fail(dial, DialError::NoRoute);
        }
    }
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] <= 30 * SECOND));
}

#[test]
fn an_edge_that_never_lasts_does_not_reset_the_ladder() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    let mut waits = Vec::new();
    bench.pass(SECOND);
    for dial in 0..6 {
        assert_eq!(bench.dialer.on_dial_up(DialId(dial)), Some(Purpose::Edge));
        bench.edge_up(true);
        bench.edge_down(Ended::Lost(SECOND));
        let start = bench.now;
        while bench.pass(SECOND / 10).is_empty() {}
        waits.push((bench.now - start).as_secs_f32());
    }
    for (i, wait) in waits.iter().enumerate() {
        let ideal = f32::from(1_u8 << i);
        assert!((ideal * 0.79..=ideal * 1.21 + 0.1).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_seed_that_was_started_again_is_dialed_at_once_however_often_that_happens() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    for dial in 0..20 {
        assert_eq!(bench.pass(SECOND / 2), [Did::Dial(dial, addr(1))]);
        assert_eq!(bench.dialer.on_dial_up(DialId(dial)), Some(Purpose::Edge));
        bench.edge_up(true);
        bench.edge_down(Ended::Reset(5 * SECOND));
    }
}

#[test]
fn a_seed_that_resets_what_has_just_come_up_is_dialed_ever_less() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    let start = bench.now;
    for dial in 0..5 {
        while bench.pass(SECOND / 10).is_empty() {}
        assert_eq!(bench.dialer.on_dial_up(DialId(dial)), Some(Purpose::Edge));
        bench.edge_up(true);
        bench.edge_down(Ended::Reset(SECOND));
    }
    assert!(bench.now - start > 12 * SECOND, "1 + 2 + 4 + 8 s, less a fifth");
}

#[test]
fn seeds_take_turns_and_wait_once_there_is_an_edge() {
    let mut bench = Bench::new();
    bench.act(|dialer, cx| dialer.add_seed(cx, (PEER, &[addr(1)]), 3, false));
    assert_eq!(bench.pass(SECOND * 3 / 2), []);
    bench.act(|dialer, cx| dialer.on_edge_up(cx, NodeId::from_bytes([9; 32]), true));
    assert_eq!(bench.pass(SECOND * 4), []);
    assert_eq!(bench.pass(SECOND), [Did::Dial(0, addr(1))]);
}

#[test]
fn a_node_that_does_well_leaves_its_seeds_alone_but_for_a_look_now_and_then() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    bench.act(|dialer, cx| dialer.set_below_target(cx, false, |_| false));
    assert_eq!(bench.pass(3600 * SECOND), []);
    assert_eq!(bench.act(|dialer, cx| dialer.check_seeds(cx, |_| true)), []);
    let look = bench.act(|dialer, cx| dialer.check_seeds(cx, |_| false));
    assert_eq!(look, [Did::Dial(0, addr(1))]);
    bench.fail(0, DialError::NoRoute);
    assert_eq!(bench.pass(3600 * SECOND), []);
    bench.act(|dialer, cx| dialer.set_below_target(cx, true, |_| false));
    assert_eq!(bench.pass(10 * SECOND), [Did::Dial(1, addr(1))]);
}

#[test]
fn an_attempt_at_a_contact_is_one_attempt_and_says_how_it_went() {
    let mut bench = Bench::new();
    let attempt = |dialer: &mut Dialer, cx: &mut Context<'_, Action>| {
        dialer.try_contact(cx, (PEER, Purpose::Edge), &[addr(1), addr(2)]);
    };
    assert_eq!(bench.act(attempt), [Did::Dial(0, addr(1))]);
    assert_eq!(bench.act(attempt), [], "it is being dialed");
    assert_eq!(bench.dialer.dialing().map(|(peer, _)| peer).collect::<Vec<_>>(), [PEER]);
    let mut failures = Vec::new();
    for (dial, error) in [(0, DialError::IdentityMismatch), (1, DialError::TimedOut)] {
        bench.act(|dialer, cx| {
            failures.push(dialer.on_dial_failed(cx, DialId(dial), error));
        });
    }
    let failed =
        |elsewhere, is_over| Some(Failed { peer: PEER, elsewhere, is_over, is_partial: false });
    assert_eq!(failures, [failed(Some(addr(1)), false), failed(None, true)]);
    assert_eq!(bench.dialer.dialing().count(), 0);
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn contacts_beyond_sixty_four_are_not_dialed_but_seeds_are() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    // How many of these peers are dialed when they are tried.
    let dialed = |bench: &mut Bench, peers: core::ops::Range<u8>| {
        let mut dialed = 0;
        bench.act(|dialer, cx| {
            for peer in peers {
                let peer = NodeId::from_bytes([peer; 32]);
                dialer.try_contact(cx, (peer, Purpose::Probe), &[addr(1)]);
            }
            dialed = cx.out.iter().filter(|action| matches!(action, Action::Dial { .. })).count();
            cx.out.clear();
        });
        dialed
    };
    assert_eq!(dialed(&mut bench, 100..200), 64);
    assert_eq!(bench.dialer.targets(), 65);
    assert_eq!(dialed(&mut bench, 1..2), 1, "a seed is none of them");
    assert_eq!(dialed(&mut bench, 100..200), 0, "they are being dialed, or there is no place");
    assert_eq!(bench.fail(0, DialError::NoRoute), []);
    assert_eq!(dialed(&mut bench, 190..200), 1);
}

#[test]
fn a_trial_ends_with_the_first_conn_that_comes_up() {
    let mut bench = Bench::new();
    let attempt = |dialer: &mut Dialer, cx: &mut Context<'_, Action>| {
        dialer.try_contact(cx, (PEER, Purpose::Probe), &[addr(1), addr(2)]);
    };
    assert_eq!(bench.act(attempt), [Did::Dial(0, addr(1))]);
    assert_eq!(bench.pass(SECOND), [Did::Dial(1, addr(2))]);
    assert_eq!(bench.dialer.on_dial_up(DialId(1)), Some(Purpose::Probe));
    let did = bench.act(|dialer, cx| dialer.on_trial_over(cx, PEER));
    assert_eq!((did, bench.dialer.targets()), (vec![Did::Cancel(0)], 0));
    assert_eq!(bench.pass(3600 * SECOND), []);
}

#[test]
fn a_trial_of_a_seed_leaves_it_a_seed() {
    let mut bench = Bench::new();
    bench.seed(&[addr(1)]);
    bench.act(|dialer, cx| dialer.set_below_target(cx, false, |_| false));
    bench.act(|dialer, cx| dialer.try_contact(cx, (PEER, Purpose::Probe), &[addr(1)]));
    assert_eq!(bench.dialer.on_dial_up(DialId(0)), Some(Purpose::Probe));
    bench.act(|dialer, cx| dialer.on_trial_over(cx, PEER));
    assert_eq!(bench.pass(3600 * SECOND), []);
    bench.act(|dialer, cx| dialer.set_below_target(cx, true, |_| false));
    assert_eq!(bench.pass(10 * SECOND), [Did::Dial(1, addr(1))]);
    bench.fail(1, DialError::NoRoute);
    bench.act(|dialer, cx| dialer.try_contact(cx, (PEER, Purpose::Probe), &[addr(1)]));
    assert_eq!(bench.dialer.on_dial_up(DialId(2)), Some(Purpose::Probe));
    bench.act(|dialer, cx| dialer.on_trial_over(cx, PEER));
    assert_eq!(bench.pass(10 * SECOND), [Did::Dial(3, addr(1))], "the node needs it");
}

#[test]
fn a_trial_of_a_peer_that_the_application_wants_meanwhile_is_one_no_more() {
    let mut bench = Bench::new();
    bench.act(|dialer, cx| dialer.try_contact(cx, (PEER, Purpose::Probe), &[addr(1)]));
    assert_eq!(bench.connect(7, &[]), []);
    assert_eq!(bench.dialer.on_dial_up(DialId(0)), Some(Purpose::Edge));
}

#[test]
fn giving_up_settles_every_request() {
    let mut bench = Bench::new();
    bench.connect(7, &[addr(1)]);
    let did = bench.act(|dialer, cx| dialer.stop(cx));
    assert_eq!(did, [Did::Cancel(0), failed(7, ConnectError::Closed)]);
    assert_eq!(bench.due, None);
}
