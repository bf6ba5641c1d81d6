//! Port prediction and sweeps: exact actions.

use super::*;
use crate::api::HardPunch;
use crate::wire::nat::{Allocator, Signal, Signals};

const OTHER: [u8; 16] = [8; 16];
const PEER: &str = "198.51.100.1:4242";

/// Eight neighbours see ports that follow each other by two.
fn sequential(hard_punch: HardPunch) -> Bench {
    let mut bench = Bench::new(Config { hard_punch, maintenance: false, ..Config::default() });
    for number in 1..=8 {
        bench.dial(number);
        bench.pong(number, &format!("203.0.113.7:{}", 1_000 + 2 * u16::from(number)));
    }
    assert_eq!(bench.nat.report().allocator, Allocator::Sequential { step: 2 });
    bench
}

fn easy() -> Signals {
    let mapping = Mapping::EndpointIndependent;
    Signals::new([Signal::Nat { mapping, allocator: Allocator::Preserving }])
}

impl Bench {
    /// A Connect with signals arrives.
    fn connect_from(
        &mut self,
        from: u8,
        nonce: [u8; 16],
        at: &str,
        signals: &Signals,
    ) -> Vec<Action> {
        let addrs = AddrList::first_of([Addr::from_socket_addr(addr(at))]);
        let payload = Connect { nonce, addrs }.to_bytes_with(signals);
        let envelope = self.envelope(from);
        self.run(|nat, cx| nat.handle_connect(cx, envelope, &payload))
    }

    /// What the peer is told next, with the nonce.
    fn told(&mut self) -> Option<([u8; 16], u16, u16, u16)> {
        for _ in 0..20 {
            for action in self.timer() {
                let Action::Originate { frame_type: FrameType::Connect, payload, .. } = action
                else {
                    continue;
                };
                let (connect, signals) = Connect::decode_with_signals(&payload).expect("its own");
                let signals = signals.expect("it has ports");
                let (at, step, count) = signals.ports().expect("it has ports");
                let at = at.to_socket_addr().expect("an address");
                assert_eq!(connect.addrs.as_slice()[0], Addr::from_socket_addr(at));
                assert_eq!(at.ip(), addr(OWN).ip());
                return Some((connect.nonce, at.port(), step, count));
            }
        }
        None
    }
}

fn is_find(action: &Action) -> bool {
    *action == Action::FindWitness(id(20))
}

#[test]
fn a_witness_tells_the_port_that_the_peer_will_see() {
    let mut bench = sequential(HardPunch::Predict);
    let actions = bench.connect_from(20, NONCE, PEER, &easy());
    let short = punch_with(PEER, Some(2));
    let place = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted);
    assert!(place(&is_find) < place(&|action| *action == short), "the witness goes first");
    // One is at the address of a neighbour.
    let known = Prober { id: id(30), addrs: vec![neighbour(1)] };
    let actions =
        bench.run(|nat, cx| nat.handle_witnesses(cx, id(20), &[known.clone(), prober(5)]));
    let at = prober(5).addrs[0];
    assert_eq!(actions[..2], [punch(&at.to_string()), Action::Reach { peer: id(5), addr: at }]);
    bench.dial_at(5, at);
    // Other hosts had 500 ports meanwhile.
    bench.pong(5, "203.0.113.7:2016");
    let (nonce, first, step, count) = bench.told().expect("it is told");
    assert_eq!((first, step, count), (2_018, 2, 16));
    assert_eq!(bench.ack(20, nonce), [], "it is no answer to an attempt");
    // The peer hits: what is sent to it now gets in.
    let actions = bench.punched(PEER);
    assert!(actions.contains(&punch(PEER)), "{actions:?}");
}

#[test]
fn without_a_witness_the_destinations_since_the_last_report_are_counted() {
    let mut bench = sequential(HardPunch::Predict);
    bench.run(|nat, cx| nat.handle_sent(cx, addr("198.51.101.1:1")));
    bench.connect_from(20, NONCE, PEER, &easy());
    bench.run(|nat, cx| nat.handle_witnesses(cx, id(20), &[]));
    let (_, first, step, count) = bench.told().expect("it is told");
    assert_eq!((first, step, count), (1_020, 2, 40));
}

#[test]
fn ports_are_predicted_for_a_peer_with_one_endpoint_alone_and_only_by_policy() {
    let hard = Signals::new([Signal::Nat {
        mapping: Mapping::AddressAndPortDependent,
        allocator: Allocator::Random,
    }]);
    let open = Signals::new(easy().entries.into_iter().chain([Signal::Reachable(true)]));
    let cases = [
        (HardPunch::Predict, easy(), true),
        (HardPunch::Predict, hard, false),
        (HardPunch::Predict, open, false),
        (HardPunch::Predict, Signals::default(), false),
        (HardPunch::Off, easy(), false),
    ];
    for (policy, signals, expected) in cases {
        let mut bench = sequential(policy);
        let actions = bench.connect_from(20, NONCE, PEER, &signals);
        assert_eq!(actions.iter().any(is_find), expected, "{policy:?} {signals:?}");
    }
    let mut bench = Bench::confirmed();
    let actions = bench.connect_from(20, NONCE, PEER, &easy());
    assert!(!actions.iter().any(is_find), "its own port is known");
}

#[test]
fn four_witnesses_at_once_are_dialed_and_one_in_ten_seconds() {
    let mut bench = sequential(HardPunch::Predict);
    let mut dialed = 0;
    for number in 0..100_u8 {
        bench.around.pass(Duration::from_millis(100));
        let at = format!("198.51.{number}.1:1");
        bench.connect_from(100 + number, NONCE, &at, &easy());
        let actions =
            bench.run(|nat, cx| nat.handle_witnesses(cx, id(100 + number), &[prober(number)]));
        dialed += actions.iter().filter(|one| matches!(one, Action::Reach { .. })).count();
    }
    assert_eq!(dialed, 4);
}

fn ports(count: u16) -> Signals {
    let addr = Addr::from_socket_addr(addr("198.51.100.1:2000"));
    Signals::new([Signal::Ports { addr, step: 3, count }])
}

#[test]
fn every_predicted_port_gets_one_punch_and_no_address_a_burst() {
    let mut bench = Bench::confirmed();
    let mut sent = bench.connect_from(20, NONCE, "198.51.100.1:2000", &ports(15));
    sent.retain(|action| matches!(action, Action::Punch { .. }));
    for action in 0..3 {
        let more = bench.timer();
        assert!(!more.iter().any(|one| matches!(one, Action::Punch { .. })), "{action}: {more:?}");
    }
    let expected: Vec<Action> =
        (0..15).map(|number| punch(&format!("198.51.100.1:{}", 2_000 + 3 * number))).collect();
    assert_eq!(sent, expected);
}

/// THREATS.md#e8
#[test]
fn a_sweep_has_no_more_bytes_than_three_times_the_message_that_asks_for_it() {
    let mut bench = Bench::confirmed();
    let mut bytes = 0;
    let mut messages = 0;
    for number in 0..100_u8 {
        let mut nonce = OTHER;
        nonce[0] = number;
        let actions = bench.connect_from(20, nonce, "198.51.100.1:2000", &ports(u16::MAX));
        messages += 1;
        let punches = actions.iter().filter(|one| matches!(one, Action::Punch { .. })).count();
        bytes += punches as u64 * punch::datagram_len(addr(PEER));
        bench.around.pass(Duration::from_millis(10));
    }
    // An envelope of the bench has 180 bytes; four messages of one originator are taken at once.
    assert!(bytes <= 4 * 3 * 180 && bytes > 3 * 180, "{bytes} for {messages} messages");
}

#[test]
fn no_sweep_goes_where_no_punch_may_go() {
    let mut bench = Bench::confirmed();
    for (number, at) in ["127.0.0.1:2000", "224.0.0.1:2000", OWN].into_iter().enumerate() {
        let addr = Addr::from_socket_addr(addr(at));
        let signals = Signals::new([Signal::Ports { addr, step: 1, count: 9 }]);
        let actions = bench.connect_from(20, [number as u8; 16], PEER, &signals);
        assert!(!actions.iter().any(|one| matches!(one, Action::Punch { .. })), "{at}");
        assert_eq!(bench.drops, [(DropReason::ImplausibleAddress, 1)], "{at}");
    }
}
