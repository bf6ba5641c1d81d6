//! The service as a leaf: inputs and exact actions.

mod boxes;
mod bursts;
mod early;
mod predict;
mod probes;
mod sink;

use super::*;
use crate::api::{AddressPolicy, Config};
use crate::context::testing::Surroundings;
use crate::env::UnixNanos;
use crate::wire::Encode;
use crate::wire::nat::PUNCH_DATAGRAM;

struct Bench {
    around: Surroundings,
    nat: Nat,
    drops: Vec<(DropReason, u64)>,
}

const OWN: &str = "203.0.113.7:4242";
const NONCE: [u8; 16] = [7; 16];

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// Each neighbour is in a network of its own.
fn neighbour(number: u8) -> SocketAddr {
    SocketAddr::from(([20, number, 0, 1], 4242))
}

fn prober(number: u8) -> Prober {
    Prober { id: id(number), addrs: vec![SocketAddr::from(([30, number, 0, 1], 4242))] }
}

impl Bench {
    fn new(config: Config) -> Self {
        let mut around = Surroundings::new(config);
        around.own.set_local_addrs(&[addr("192.168.1.2:4242")]);
        let nat = Nat::new(around.now);
        Self { around, nat, drops: Vec::new() }
    }

    /// Three neighbours that this node dialed see it at [`OWN`].
    fn confirmed() -> Self {
        Self::confirmed_with(AddressPolicy::Anyone)
    }

    fn confirmed_with(address_policy: AddressPolicy) -> Self {
        let mut bench = Self::new(Config { address_policy, ..Config::default() });
        for number in 1..=3 {
            bench.dial(number);
            bench.pong(number, OWN);
        }
        bench
    }

    fn run(&mut self, act: impl FnOnce(&mut Nat, &mut Context<'_, Action>)) -> Vec<Action> {
        let nat = &mut self.nat;
        let ((), actions) = self.around.run(|cx| act(nat, cx));
        self.nat.check();
        self.drops = self.around.take_drops();
        actions
    }

    fn dial(&mut self, number: u8) {
        self.dial_at(number, neighbour(number));
    }

    fn dial_at(&mut self, number: u8, remote: SocketAddr) {
        self.around.paths.set(ConnId(number.into()), remote, Duration::ZERO);
        self.run(|nat, cx| {
            nat.handle_sent(cx, remote);
            nat.handle_edge_up(cx, id(number), remote, false);
        });
    }

    fn pong(&mut self, number: u8, text: &str) -> Vec<Action> {
        let observed = Addr::new(b"quic", text.as_bytes());
        let payload = Pong { observed }.to_bytes();
        self.run(|nat, cx| nat.handle_pong(cx, id(number), ConnId(number.into()), &payload))
    }

    /// Lets time pass to the next timer.
    fn timer(&mut self) -> Vec<Action> {
        let at = self.nat.timer.expect("a timer is set");
        let span = at.saturating_duration_since(self.around.now);
        self.around.pass(span);
        self.run(Nat::handle_timer)
    }

    fn ack(&mut self, from: u8, nonce: [u8; 16]) -> Vec<Action> {
        let payload = ConnectAck { nonce, addrs: AddrList::new() }.to_bytes();
        let envelope = self.envelope(from);
        self.run(|nat, cx| nat.handle_connect_ack(cx, envelope, &payload))
    }

    /// A round has come to the point where one of `probers` is asked. Returns it and the nonce.
    fn ask(&mut self, probers: &[Prober]) -> (NodeId, [u8; 16]) {
        assert_eq!(self.timer()[0], Action::FindProbers);
        let actions = self.run(|nat, cx| nat.handle_probers(cx, probers));
        let Action::Originate { frame_type: FrameType::Connect, target, payload } = &actions[0]
        else {
            panic!("a Connect leaves, not {actions:?}");
        };
        let (connect, _) = Connect::decode_with_signals(payload).expect("it was just written");
        let own = [Addr::from_socket_addr(addr(OWN))];
        assert_eq!(connect.addrs.as_slice(), own, "its own address and no other");
        (*target, connect.nonce)
    }

    fn punched(&mut self, from: &str) -> Vec<Action> {
        let remote = addr(from);
        self.run(|nat, cx| nat.handle_punched(cx, remote, false))
    }

    /// A Connect that took 100 ms arrives.
    fn connect(&mut self, from: u8, addrs: &[&str]) -> Vec<Action> {
        self.connect_with(from, NONCE, addrs)
    }

    fn connect_with(&mut self, from: u8, nonce: [u8; 16], addrs: &[&str]) -> Vec<Action> {
        let addrs = addrs.iter().map(|text| Addr::new(b"quic", text.as_bytes()));
        let payload = Connect { nonce, addrs: AddrList::first_of(addrs) }.to_bytes();
        let envelope = self.envelope(from);
        self.run(|nat, cx| nat.handle_connect(cx, envelope, &payload))
    }

    fn envelope(&self, from: u8) -> Envelope {
        let sent = UnixNanos(self.around.wall.0 - 100_000_000);
        Envelope { originator: id(from), sent, len: 180 }
    }

    fn reachability(&self) -> Reachability {
        self.nat.report().reachability
    }
}

/// Whether an answer is given to the attempts to connect.
fn is_passed_on(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Answered { .. }))
}

fn punch(remote: &str) -> Action {
    punch_with(remote, None)
}

fn punch_with(remote: &str, ttl: Option<u8>) -> Action {
    Action::Punch { remote: addr(remote), bytes: Bytes::from_static(&PUNCH_DATAGRAM), ttl }
}

#[test]
fn an_address_that_three_neighbours_name_is_reported_and_announced() {
    let mut bench = Bench::new(Config::default());
    for number in 1..=2 {
        bench.dial(number);
        // The timer is that of an extra probe.
        assert!(matches!(bench.pong(number, OWN)[..], [] | [Action::Set(_)]));
    }
    bench.dial(3);
    let actions = bench.pong(3, OWN);
    let [Action::Event(Event::NatChanged(report)), Action::Set(_)] = &actions[..] else {
        panic!("one event and the timer of the test, not {actions:?}");
    };
    assert_eq!(report.addrs, [addr(OWN)]);
    assert_eq!(report.mapping, Mapping::EndpointIndependent);
    assert_eq!(report.evidence, crate::api::NatEvidence { reports: 3, subnets: 3, addrs: 1 });
    assert_eq!(bench.around.own.addrs(), [addr(OWN)]);
    assert_eq!(bench.pong(3, OWN), [], "nothing new");
    let gone = bench.run(|nat, cx| nat.handle_edge_down(cx, id(3)));
    assert!(
        matches!(&gone[0], Action::Event(Event::NatChanged(report)) if report.addrs.is_empty())
    );
}

/// THREATS.md#d8, THREATS.md#n1
#[test]
fn reports_that_say_nothing_of_this_node_are_refused_and_counted() {
    let mut bench = Bench::new(Config::default());
    bench.dial(1);
    for (text, reason) in [
        ("127.0.0.1:4242", DropReason::ImplausibleAddress),
        ("0.0.0.0:4242", DropReason::ImplausibleAddress),
        ("[fe80::1]:4242", DropReason::ImplausibleAddress),
        ("203.0.113.7:0", DropReason::ImplausibleAddress),
        ("nodes.example.com:4242", DropReason::ImplausibleAddress),
        // A neighbour sees the family in which it is reached, and from far away no private address.
        ("[2001:db8::7]:4242", DropReason::ImplausibleAddress),
        ("192.168.7.7:4242", DropReason::ImplausibleAddress),
        // A splice of a volunteer: both ends see its sockets.
        ("20.1.0.1:50001", DropReason::ReportOfReporter),
    ] {
        assert_eq!(bench.pong(1, text), []);
        assert_eq!(bench.drops, [(reason, 1)], "{text}");
    }
    assert_eq!(bench.nat.report(), &NatReport::default());
}

#[test]
fn another_external_ip_has_every_neighbour_asked_once_a_minute() {
    let mut bench = Bench::confirmed();
    bench.dial(4);
    assert!(!bench.pong(4, "203.0.113.7:5000").contains(&Action::AskAll), "the same IP");
    assert!(bench.pong(1, "198.51.100.1:4242").contains(&Action::AskAll));
    assert!(!bench.pong(2, "198.51.100.1:4242").contains(&Action::AskAll));
    bench.around.pass(ASK_AGAIN);
    assert!(!bench.pong(3, OWN).contains(&Action::AskAll));
}

#[test]
fn a_machine_that_moved_asks_every_neighbour() {
    let mut bench = Bench::confirmed();
    assert_eq!(bench.nat.handle_local_addrs(bench.around.now), Some(bench.around.now + SOON));
    assert_eq!(bench.timer()[0], Action::AskAll);
    assert_eq!(Nat::new(bench.around.now).handle_local_addrs(bench.around.now), None);
}

#[test]
fn a_punch_from_a_prober_that_was_asked_proves_reachability() {
    let mut bench = Bench::confirmed();
    assert_eq!(bench.reachability(), Reachability::Unknown);
    let (asked, nonce) = bench.ask(&[prober(9)]);
    assert_eq!(asked, id(9));
    assert!(bench.nat.is_quiet(bench.around.now, &asked));
    bench.ack(9, nonce);
    assert_eq!(bench.drops, []);
    let actions = bench.punched("30.9.0.1:4242");
    assert!(matches!(&actions[0], Action::Event(Event::NatChanged(_))));
    assert_eq!(bench.reachability(), Reachability::Reachable);
    assert!(bench.around.own.is_reachable());
    let hour = bench.nat.timer.expect("the next round is planned");
    assert!(hour.duration_since(bench.around.now) > Duration::from_secs(3500));
}

/// THREATS.md#n2
#[test]
fn a_punch_that_a_mapping_could_have_let_in_proves_nothing() {
    let mut bench = Bench::confirmed();
    bench.punched("30.9.0.1:4242");
    assert_eq!(bench.drops, [(DropReason::Punch, 1)], "no test is under way");
    bench.ask(&[prober(9)]);
    // A neighbour, one of its network, this node's own network, and the site.
    for from in ["20.1.0.1:4242", "20.1.200.1:9", "203.0.1.1:9", "192.168.1.9:4242"] {
        bench.punched(from);
        assert_eq!(bench.drops, [(DropReason::Punch, 1)], "{from}");
    }
    assert_eq!(bench.reachability(), Reachability::Unknown);
    bench.around.pass(reachability::QUIET);
    bench.punched("30.9.0.1:4242");
    assert_eq!(bench.drops, [(DropReason::Punch, 1)], "too late");
}

#[test]
fn two_probers_that_confirmed_and_are_not_heard_mean_unreachable() {
    let mut bench = Bench::confirmed();
    let all: Vec<Prober> = (9..16).map(prober).collect();
    let mut asked = Vec::new();
    for confirms in [true, false, true] {
        let (peer, nonce) = bench.ask(&all);
        assert!(!asked.contains(&peer), "each is asked once");
        asked.push(peer);
        if confirms {
            let first = peer.as_bytes()[0];
            assert!(!is_passed_on(&bench.ack(first, nonce)));
            assert!(is_passed_on(&bench.ack(first, nonce)), "a second time");
        }
        assert_eq!(bench.reachability(), Reachability::Unknown);
    }
    bench.timer();
    assert_eq!(bench.reachability(), Reachability::Unreachable);
    assert!(!bench.around.own.is_reachable());
}

#[test]
fn probers_that_do_not_confirm_prove_nothing() {
    let mut bench = Bench::confirmed();
    let all: Vec<Prober> = (9..20).map(prober).collect();
    for _ in 0..6 {
        bench.ask(&all);
    }
    assert_eq!(bench.timer(), [Action::Set(bench.nat.timer.expect("set"))]);
    assert_eq!(bench.reachability(), Reachability::Unknown);
}

/// THREATS.md#n2
#[test]
fn only_the_asked_prober_confirms() {
    let mut bench = Bench::confirmed();
    let (_, nonce) = bench.ask(&[prober(9)]);
    for (from, nonce) in [(10, nonce), (9, [0; 16])] {
        assert!(is_passed_on(&bench.ack(from, nonce)), "the test does not wait for it");
    }
}

#[test]
fn no_node_is_asked_that_was_sent_to_or_is_in_a_known_network() {
    let mut bench = Bench::confirmed();
    let dialed = addr("40.1.0.1:1");
    bench.run(|nat, cx| nat.handle_sent(cx, dialed));
    assert_eq!(bench.timer()[0], Action::FindProbers);
    let at = |text: &str| Prober { id: id(9), addrs: vec![addr(text)] };
    let unfit = [
        at("40.1.0.1:2"),
        at("20.2.9.9:1"),
        at("203.0.9.9:1"),
        at("192.168.7.7:1"),
        at("[2001:db8::1]:1"),
        Prober { id: id(9), addrs: vec![] },
        Prober { id: id(9), addrs: vec![addr("50.1.0.1:1"), dialed] },
    ];
    assert_eq!(bench.run(|nat, cx| nat.handle_probers(cx, &unfit)), []);
    bench.ask(&[at("50.1.0.1:1")]);
}

#[test]
fn a_dial_to_the_asked_prober_voids_its_answer() {
    let mut bench = Bench::confirmed();
    let (_, nonce) = bench.ask(&[prober(9)]);
    bench.ack(9, nonce);
    bench.run(|nat, cx| nat.handle_sent(cx, addr("30.9.0.1:77")));
    bench.punched("30.9.0.1:4242");
    assert_eq!(bench.drops, [(DropReason::Punch, 1)]);
    assert_eq!(bench.reachability(), Reachability::Unknown);
    assert_eq!(bench.timer()[0], Action::FindProbers, "another one is asked");
}

#[test]
fn an_address_is_tested_once_an_hour_and_a_new_one_soon() {
    let mut bench = Bench::confirmed();
    bench.ask(&[prober(9)]);
    bench.punched("30.9.0.1:4242");
    let begun = bench.around.now;
    for number in 1..=3 {
        bench.pong(number, "203.0.113.7:5000");
    }
    assert_eq!(bench.reachability(), Reachability::Unknown, "of the new address");
    let new = bench.nat.timer.expect("a round is planned");
    assert_eq!(new.duration_since(begun), Duration::from_secs(10));
    for number in 1..=3 {
        bench.pong(number, OWN);
    }
    let old = bench.nat.timer.expect("a round is planned");
    assert_eq!(old.duration_since(begun), reachability::PERIOD);
}

#[test]
fn a_conn_from_a_prober_proves_reachability() {
    let mut bench = Bench::confirmed();
    let neighbour = addr("20.1.7.7:1");
    bench.run(|nat, cx| nat.handle_edge_up(cx, id(8), neighbour, true));
    assert_eq!(bench.reachability(), Reachability::Unknown, "of a known network");
    bench.run(|nat, cx| nat.handle_edge_up(cx, id(9), addr("30.9.0.1:4242"), true));
    assert_eq!(bench.reachability(), Reachability::Reachable);
}

#[test]
fn a_node_that_keeps_its_address_to_itself_asks_none_to_reach_it() {
    assert_eq!(Bench::confirmed_with(AddressPolicy::Known).nat.timer, None);
    assert!(Bench::confirmed().nat.timer.is_some());
}

#[test]
fn malformed_messages_are_counted() {
    let mut bench = Bench::confirmed();
    let envelope = bench.envelope(9);
    bench.run(|nat, cx| nat.handle_connect(cx, envelope, &[1, 2]));
    assert_eq!(bench.drops, [(DropReason::MalformedMessage, 1)]);
    bench.run(|nat, cx| nat.handle_connect_ack(cx, envelope, &[1, 2]));
    assert_eq!(bench.drops, [(DropReason::MalformedMessage, 1)]);
}

#[test]
fn a_node_without_maintenance_answers_and_tests_nothing() {
    for config in [
        Config { maintenance: false, ..Config::default() },
        Config { test_reachability: false, ..Config::default() },
    ] {
        let mut bench = Bench::new(config);
        for number in 1..=3 {
            bench.dial(number);
            bench.pong(number, OWN);
        }
        assert_eq!(bench.nat.timer, None);
        let punched = punch_with("198.51.100.1:1", Some(2));
        assert!(bench.connect(9, &["198.51.100.1:1"]).contains(&punched));
    }
}

#[test]
fn a_configured_address_needs_no_test() {
    let public_addrs = vec![addr("203.0.113.7:9")];
    let mut bench = Bench::new(Config { public_addrs, ..Config::default() });
    for number in 1..=3 {
        bench.dial(number);
        bench.pong(number, OWN);
    }
    assert_eq!((bench.nat.timer, bench.reachability()), (None, Reachability::Reachable));
}
