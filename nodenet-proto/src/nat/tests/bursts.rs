//! Answers to Connects and punches of own attempts: exact actions.

use super::*;
use crate::wire::nat::{Signal, Signals};

/// The punches among `actions`.
fn punches(actions: &[Action]) -> Vec<&Action> {
    actions.iter().filter(|action| matches!(action, Action::Punch { .. })).collect()
}

#[test]
fn a_connect_is_answered_and_punched_towards() {
    let mut bench = Bench::confirmed();
    bench.around.own.set_reflexive_addrs(&[addr(OWN)]);
    let actions = bench.connect(9, &["198.51.100.1:1", "198.51.100.1:1", "198.51.101.1:2"]);
    let ack =
        ConnectAck { nonce: NONCE, addrs: AddrList::first_of([Addr::from_socket_addr(addr(OWN))]) };
    let nat = Signal::Nat {
        mapping: Mapping::EndpointIndependent,
        allocator: crate::wire::nat::Allocator::Preserving,
    };
    let payload = ack.to_bytes_with(&Signals::new([nat]));
    let frame_type = FrameType::ConnectAck;
    let targets = ["198.51.100.1:1", "198.51.101.1:2"];
    let [first, second] = targets.map(|remote| punch_with(remote, Some(2)));
    let ack = Action::Originate { frame_type, target: id(9), payload };
    let begun = bench.around.now;
    let full = Action::Set(begun + Duration::from_millis(100));
    assert_eq!(actions, [ack, first, second, full]);
    for volley in 0..5 {
        assert_eq!(bench.timer()[..2], targets.map(punch));
        let at = Duration::from_millis(100) + volley * punch::SPACING;
        assert_eq!(bench.around.now, begun + at);
    }
    assert_eq!(bench.timer()[0], Action::FindProbers, "the burst is over");
}

#[test]
fn the_full_volleys_follow_when_the_initiator_has_sent() {
    let mut bench = Bench::confirmed();
    bench.connect(9, &["198.51.100.1:1", "[2001:db8::1]:2"]);
    bench.around.pass(Duration::from_millis(30));
    assert_eq!(bench.punched("198.51.102.1:1"), []);
    assert_eq!(bench.drops, [(DropReason::Punch, 1)], "another host has sent");
    // Its NAT may give it another port towards this node.
    let actions = bench.punched("198.51.100.1:7777");
    let next = Action::Set(bench.around.now + punch::SPACING);
    assert_eq!(actions, [punch("198.51.100.1:1"), punch("[2001:db8::1]:2"), next]);
    assert_eq!(bench.drops, []);
    assert_eq!(bench.punched("198.51.100.1:7777"), [], "what has begun goes on");
}

#[test]
fn no_short_volley_goes_to_ipv6() {
    let mut bench = Bench::confirmed();
    let actions = bench.connect(9, &["[2001:db8::1]:2", "198.51.100.1:1"]);
    assert_eq!(punches(&actions), [&punch_with("198.51.100.1:1", Some(2))]);
    assert_eq!(bench.timer()[..2], ["[2001:db8::1]:2", "198.51.100.1:1"].map(punch));
}

#[test]
fn a_short_volley_passes_two_nats_if_neighbours_are_between_them() {
    let mut bench = Bench::confirmed();
    for number in 5..=7 {
        // Other customers of the carrier.
        bench.dial_at(number, addr(&format!("100.64.{number}.1:4242")));
        bench.pong(number, "100.64.3.4:4242");
    }
    assert!(bench.nat.report().addrs.contains(&addr("100.64.3.4:4242")));
    let actions = bench.connect(9, &["198.51.100.1:1"]);
    assert_eq!(punches(&actions), [&punch_with("198.51.100.1:1", Some(3))]);
    // A node that has such an address itself is behind one NAT.
    bench.around.own.set_local_addrs(&[addr("100.64.3.4:4242")]);
    let actions = bench.connect(8, &["198.51.101.1:1"]);
    assert_eq!(punches(&actions), [&punch_with("198.51.101.1:1", Some(2))]);
}

#[test]
fn copies_of_a_connect_draw_nothing_and_a_repetition_draws_an_answer() {
    let mut bench = Bench::confirmed();
    let addrs = ["198.51.100.1:1"];
    assert_eq!(bench.connect(9, &addrs).len(), 3);
    for _ in 0..2 {
        bench.around.pass(Duration::from_millis(10));
        assert_eq!(bench.connect(9, &addrs), []);
        assert_eq!(bench.drops, [(DropReason::Duplicate, 1)]);
    }
    assert_eq!(bench.connect(8, &addrs).len(), 2, "of another originator; its timer is set");
    // The burst of the first one was delayed until now.
    bench.around.pass(Duration::from_millis(480));
    let actions = bench.connect(9, &addrs);
    assert!(matches!(actions[..], [Action::Originate { .. }, ..]));
    assert!(punches(&actions).is_empty(), "{actions:?}");
    assert_eq!(bench.drops, []);
    // Once it is over, a repetition begins another.
    for _ in 0..9 {
        bench.timer();
    }
    assert_eq!(bench.nat.punches.len(), 0);
    bench.around.pass(Duration::from_secs(1));
    assert_eq!(punches(&bench.connect(9, &addrs)), [&punch_with(addrs[0], Some(2))]);
}

#[test]
fn an_edge_to_the_initiator_ends_the_burst() {
    let mut bench = Bench::confirmed();
    let before = bench.nat.timer;
    bench.connect(9, &["198.51.100.1:1"]);
    assert_ne!(bench.nat.timer, before);
    bench.run(|nat, cx| nat.handle_edge_up(cx, id(9), addr("198.51.100.1:1"), true));
    assert_eq!((bench.nat.punches.len(), bench.nat.timer), (0, before));
}

#[test]
fn an_attempt_opens_its_own_nats_first_and_bursts_once_the_peer_answered() {
    let mut bench = Bench::confirmed();
    let targets = [addr("198.51.100.1:1"), addr("[2001:db8::1]:2"), addr("198.51.100.1:1")];
    let short = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Short, 0));
    assert_eq!(short, [punch_with("198.51.100.1:1", Some(2))]);
    assert!(bench.nat.destinations.ordinal(targets[0]).is_some());
    assert!(bench.nat.destinations.ordinal(targets[1]).is_none());
    let full = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Full, 0));
    let volley = [punch("198.51.100.1:1"), punch("[2001:db8::1]:2")];
    let set = Action::Set(bench.around.now + punch::SPACING);
    assert_eq!(full, [&volley[..], &[set]].concat());
    assert_eq!(bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Full, 0)), []);
    for _ in 0..4 {
        assert_eq!(bench.timer()[..2], volley);
    }
    assert_eq!(bench.nat.punches.len(), 0);
}

/// THREATS.md#c19
#[test]
fn an_attempt_punches_at_no_address_that_a_peer_may_not_choose() {
    let mut bench = Bench::confirmed();
    let refused = ["127.0.0.1:80", "0.0.0.0:1", "224.0.0.1:9", "198.51.100.1:0", OWN].map(addr);
    for volley in [Volley::Short, Volley::Full] {
        assert_eq!(bench.run(|nat, cx| nat.burst(cx, id(9), &refused, volley, 0)), []);
        assert_eq!(bench.drops, [(DropReason::ImplausibleAddress, refused.len() as u64)]);
    }
}

/// THREATS.md#e8
#[test]
fn a_host_that_answered_may_get_more_punches_than_one_that_did_not() {
    let mut bench = Bench::confirmed();
    let eight = |ip: [u8; 4]| Vec::from_iter((1..=8).map(|port| SocketAddr::from((ip, port))));
    let mut sent = |ip: [u8; 4]| {
        let mut count = 0;
        for _ in 0..6 {
            let targets = eight(ip);
            let actions = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Short, 0));
            count += punches(&actions).len();
        }
        count
    };
    // 1,536 bytes are 48 datagrams. So are the 48 of the subnet.
    assert_eq!([sent([20, 1, 0, 1]), sent([198, 51, 100, 1])], [48, 48]);
    bench.around.pass(Duration::from_secs(12));
    let mut sent = |ip: [u8; 4]| {
        let targets = eight(ip);
        let actions = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Short, 0));
        punches(&actions).len()
    };
    assert_eq!([sent([20, 1, 0, 1]), sent([198, 51, 100, 1])], [8, 0]);
    // What a message of the peer names may have three times its length.
    let targets = eight([198, 51, 100, 1]);
    let actions = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Short, 2 * 32));
    assert_eq!(punches(&actions).len(), 6);
}

/// THREATS.md#c19
#[test]
fn punches_go_to_no_address_that_a_peer_may_not_choose() {
    let mut bench = Bench::confirmed();
    let refused = [
        "127.0.0.1:80",
        "0.0.0.0:1",
        "255.255.255.255:9",
        "224.0.0.1:9",
        "169.254.1.1:9",
        "nodes.example.com:443",
        "198.51.100.1:0",
        // This node itself.
        OWN,
    ];
    let actions = bench.connect(9, &refused);
    assert!(matches!(actions[..], [Action::Originate { .. }]), "{actions:?}");
    assert_eq!(bench.drops, [(DropReason::ImplausibleAddress, refused.len() as u64)]);
}

/// THREATS.md#c4
#[test]
fn a_node_that_may_not_learn_the_address_gets_none_and_no_punches() {
    use AddressPolicy::{Known, RelayOnly};
    for (address_policy, asker) in [(Known, 9), (RelayOnly, 9), (RelayOnly, 1)] {
        let mut bench = Bench::confirmed_with(address_policy);
        let actions = bench.connect(asker, &["198.51.100.1:1"]);
        let [Action::Originate { frame_type: FrameType::ConnectAck, payload, .. }] = &actions[..]
        else {
            panic!("an ack and nothing else, not {actions:?}");
        };
        let ack = ConnectAck::decode_front(payload).expect("it was just written");
        assert_eq!(ack.addrs.as_slice(), []);
        assert_eq!(bench.drops, [(DropReason::AddressWithheld, 1)]);
    }
    let mut bench = Bench::confirmed_with(Known);
    let to_neighbour = bench.connect(1, &["198.51.100.1:1"]);
    assert_eq!(to_neighbour[1], punch_with("198.51.100.1:1", Some(2)));
}

#[test]
fn a_node_that_leaves_stops_its_bursts() {
    let mut bench = Bench::confirmed();
    bench.connect(9, &["198.51.100.1:1"]);
    bench.dial(4);
    bench.pong(4, OWN);
    assert_eq!(bench.run(Nat::stop), [Action::Stop]);
    assert_eq!(bench.nat.punches.len(), 0);
    let targets = [addr("198.51.100.1:1")];
    assert_eq!(bench.run(|nat, cx| nat.burst(cx, id(9), &targets, Volley::Full, 0)), []);
    // The address is still confirmed by three, and is not tested.
    assert_eq!(bench.run(|nat, cx| nat.handle_edge_down(cx, id(4))), []);
}

/// A node that many want to reach has its volunteer bind for each of them.
#[test]
fn a_volunteer_binds_sixteen_times_at_once_and_leaves_room_for_another() {
    let mut bench = Bench::confirmed();
    for volunteer in [1, 2] {
        let remote = SocketAddr::from(([198, 51, volunteer, 1], 4242));
        bench.run(|nat, cx| nat.handle_edge_up(cx, id(volunteer), remote, false));
    }
    let mut binds = |volunteer: u8, ports: core::ops::Range<u16>| {
        let mut sent = 0;
        for port in ports {
            let target = SocketAddr::from(([198, 51, volunteer, 1], port));
            let actions = bench.run(|nat, cx| nat.handle_bind(cx, id(volunteer), target));
            sent += punches(&actions).len();
        }
        sent
    };
    assert_eq!(binds(1, 1..16), 15);
    assert_eq!(binds(1, 15..16), 0, "the same one is under way");
    assert_eq!(binds(1, 16..40), 1, "half of what may be under way");
    assert_eq!(binds(2, 1..9), 8, "another volunteer is not kept out");
    let attempt = bench.run(|nat, cx| {
        nat.burst(cx, id(9), &[addr("198.51.1.1:999")], Volley::Full, 100);
    });
    assert_eq!(punches(&attempt), [&punch("198.51.1.1:999")], "nor are attempts");
}
