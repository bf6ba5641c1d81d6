//! The exchange with the peer, punches and volunteers: exact actions.

use super::*;
use crate::api::{Guess, Obstacle, Reachability};
use crate::wire::nat::Mapping;

/// A peer that says this of itself.
fn side(addrs: &[SocketAddr], reachability: Reachability) -> PathSide {
    PathSide { addrs: addrs.to_vec(), reachability, ..PathSide::default() }
}

fn hard(addrs: &[SocketAddr]) -> PathSide {
    let mapping = Mapping::AddressAndPortDependent;
    PathSide { mapping, ..side(addrs, Reachability::Unreachable) }
}

/// Wants a contact of which gossip says these addresses.
fn want_gossiped(bench: &mut Bench, addrs: &[SocketAddr]) -> Vec<Did> {
    want_gossiped_for(bench, Purpose::Request, addrs)
}

fn want_gossiped_for(bench: &mut Bench, purpose: Purpose, addrs: &[SocketAddr]) -> Vec<Did> {
    let of = |&addr: &SocketAddr| Candidate { is_open: false, ..Candidate::given(addr) };
    let candidates = addrs.iter().map(of).collect();
    let want = Want { peer: PEER, candidates, purpose };
    bench.act(|connect, cx| connect.want(cx, want).expect("it is asked"))
}

#[test]
fn an_unknown_peer_is_asked_for_its_addresses_and_then_dialed() {
    let mut bench = Bench::routed();
    assert_eq!(bench.want(Purpose::Request, &[]), [Did::Begun, Did::Ask(0)]);
    bench.pass(SECOND / 10);
    let open = side(&[addr(1), addr(2)], Reachability::Reachable);
    assert_eq!(bench.answer(open, PathSide::default()), [Did::Dial(0, addr(1))]);
    let stagger = SECOND / 10;
    assert_eq!(bench.pass(stagger), [Did::Dial(1, addr(2))], "one round trip later");
    assert_eq!(bench.edge_up_at(addr(2), true)[2..], [Did::Settle(Ok(()))]);
    let outcome = ConnectOutcome::Direct { remote: addr(2) };
    assert_eq!(bench.explain().outcome, Some(outcome));
}

#[test]
fn what_the_peer_names_in_a_family_of_this_node_is_dialed_first() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let v6 = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port));
    let open = side(&[addr(1), addr(2), v6(3)], Reachability::Reachable);
    let own = side(&[v6(9)], Reachability::Unknown);
    assert_eq!(bench.answer(open, own), [Did::Dial(0, v6(3))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(1, addr(1)), Did::Dial(2, addr(2))]);
}

#[test]
fn an_address_that_opened_after_its_dial_is_dialed_once_more() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    let punched =
        |bench: &mut Bench| bench.act(|connect, cx| assert!(connect.handle_punched(cx, addr(1))));
    assert_eq!(punched(&mut bench), [], "the answer may be on its way");
    assert_eq!(bench.pass(Duration::from_millis(29)), []);
    assert_eq!(bench.pass(Duration::from_millis(1)), [Did::Dial(1, addr(1))]);
    assert_eq!(punched(&mut bench), []);
    assert_eq!(bench.pass(SECOND / 2), [], "its handshake repeats itself");
    bench.connect.handle_dial_up(DialId(1));
    assert_eq!(bench.edge_up(true)[0], Did::Cancel(0));
}

/// THREATS.md#early-packets
#[test]
fn an_address_that_may_be_behind_a_nat_waits_for_the_peer_to_send() {
    let mut bench = Bench::routed();
    let lan = SocketAddr::from(([192, 168, 1, 2], 1));
    let begun = want_gossiped(&mut bench, &[addr(1), lan]);
    let short = Did::PunchShort(vec![addr(1)]);
    assert_eq!(begun, [Did::Begun, Did::Dial(0, lan), Did::Ask(0), short]);
    assert_eq!(bench.pass(SECOND * 9 / 10), [], "it is not dialed");
    let answered = bench.answer(side(&[addr(7)], Reachability::Unknown), PathSide::default());
    assert_eq!(answered, [Did::Punch(vec![addr(7)]), Did::Dial(1, addr(7))]);
    assert_eq!(bench.pass(SECOND / 4), [Did::Dial(2, addr(1))], "what gossip says comes last");
}

/// THREATS.md#early-packets
#[test]
fn a_dial_of_the_topology_waits_for_the_peer_to_send_too() {
    for purpose in [Purpose::Edge, Purpose::Probe] {
        let mut bench = Bench::routed();
        let begun = want_gossiped_for(&mut bench, purpose, &[addr(1)]);
        assert_eq!(begun, [Did::Begun, Did::Ask(0), Did::PunchShort(vec![addr(1)])]);
        let in_flight: Vec<_> = bench.connect.in_flight().collect();
        assert_eq!(in_flight, [(PEER, Some(addr(1)))]);
        let (own, peer) = (hard(&[]), hard(&[addr(1)]));
        let answered = bench.answer(peer, own);
        assert_eq!(answered, [Did::Punch(vec![addr(1)]), Did::Dial(0, addr(1))], "no volunteer");
        let failed = Did::Failed(dial_error(DialError::TimedOut));
        assert_eq!(bench.fail(0, DialError::TimedOut), [failed]);
    }
}

#[test]
fn a_dial_of_the_topology_without_an_answer_ends_after_three_seconds() {
    let mut bench = Bench::routed();
    want_gossiped_for(&mut bench, Purpose::Edge, &[addr(1)]);
    assert_eq!(bench.pass(SECOND), [Did::Ask(3)]);
    assert_eq!(bench.pass(SECOND), [Did::Ask(3)]);
    assert_eq!(bench.pass(SECOND), [Did::Failed(ConnectError::Unanswered)]);
    assert_eq!(bench.due, None);
}

#[test]
fn a_request_that_joins_an_answered_dial_of_the_topology_gets_its_volunteers() {
    let mut bench = Bench::routed();
    want_gossiped_for(&mut bench, Purpose::Edge, &[addr(1)]);
    bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    assert_eq!(want_gossiped(&mut bench, &[addr(1)]), []);
    assert_eq!(bench.pass(SECOND * 6 / 10), [Did::AskRelay]);

    let mut bench = Bench::routed();
    want_gossiped_for(&mut bench, Purpose::Edge, &[addr(1)]);
    bench.answer(hard(&[addr(1)]), hard(&[addr(2)]));
    assert_eq!(want_gossiped(&mut bench, &[addr(1)]), [Did::AskRelay], "nothing else will do");
    let (volunteer, remote) = (NodeId::from_bytes([7; 32]), addr(99));
    bench.edge_up_over(ConnectOutcome::Relayed { remote, volunteer }, true);
    assert_eq!(bench.explain().obstacle, Some(Obstacle::ChangingPorts), "it did answer");
}

#[test]
fn a_bootstrap_peer_is_dialed_without_a_question() {
    let mut bench = Bench::routed();
    let begun = want_gossiped_for(&mut bench, Purpose::Bootstrap, &[addr(1)]);
    assert_eq!(begun, [Did::Begun, Did::Dial(0, addr(1))]);
}

#[test]
fn without_a_route_what_is_known_is_dialed() {
    let mut bench = Bench::new();
    let begun = want_gossiped(&mut bench, &[addr(1)]);
    assert_eq!(begun[..2], [Did::Begun, Did::Dial(0, addr(1))]);
    let mut bench = Bench::new();
    let error = ConnectError::NoAddress;
    let failed = [Did::Begun, Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.want(Purpose::Request, &[]), failed, "nothing is known");
}

#[test]
fn a_connect_is_repeated_over_other_hops_and_fails_without_an_answer() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let nonce = bench.nonce;
    assert_eq!(bench.pass(SECOND), [Did::Ask(3)]);
    assert_eq!(bench.nonce, nonce);
    assert_eq!(bench.pass(SECOND), [Did::Ask(3)]);
    assert_eq!(bench.pass(SECOND * 2), [Did::Ask(3)]);
    let error = ConnectError::Unanswered;
    assert_eq!(bench.pass(SECOND * 3), [Did::Settle(Err(error)), Did::Failed(error)]);
    assert_eq!(bench.explain().obstacle, Some(Obstacle::NoAnswer));
    assert_eq!(bench.due, None);
}

#[test]
fn an_answer_counts_once_and_only_with_the_nonce_of_the_connect() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let peer = side(&[addr(1)], Reachability::Unknown);
    let mut answer = Answer {
        nonce: [9; 16],
        len: 100,
        has_signals: true,
        peer,
        own: PathSide::default(),
        is_unsure: false,
    };
    let mut is_taken = |answer: &Answer, from| {
        let mut taken = false;
        bench.act(|connect, cx| taken = connect.handle_answer(cx, from, answer));
        taken
    };
    assert!(!is_taken(&answer, PEER), "another nonce");
    answer.nonce = bench.nonce;
    let mut is_taken = |answer: &Answer, from| {
        let mut taken = false;
        bench.act(|connect, cx| taken = connect.handle_answer(cx, from, answer));
        taken
    };
    assert!(!is_taken(&answer, NodeId::from_bytes([8; 32])), "another node: THREATS.md#w8");
    assert!(is_taken(&answer, PEER));
    assert!(!is_taken(&answer, PEER), "the copy over the second route");
}

#[test]
fn a_datagram_of_the_peer_from_another_port_is_followed() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    let punched = |bench: &mut Bench, remote| {
        let mut taken = false;
        let did = bench.act(|connect, cx| taken = connect.handle_punched(cx, remote));
        (taken, did)
    };
    assert_eq!(punched(&mut bench, addr(5)), (true, vec![Did::Dial(1, addr(5))]));
    assert_eq!(punched(&mut bench, addr(5)), (true, vec![]), "it is being dialed");
    let other = SocketAddr::from(([198, 51, 100, 1], 1));
    assert_eq!(punched(&mut bench, other), (false, vec![]), "no attempt is made at that host");
}

#[test]
fn volunteers_are_asked_when_punching_brings_nothing_and_at_once_if_it_cannot() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    assert_eq!(bench.pass(SECOND * 6 / 10), [Did::AskRelay]);
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let answered = bench.answer(hard(&[addr(1)]), hard(&[addr(2)]));
    let all_at_once = [Did::Punch(vec![addr(1)]), Did::AskRelay, Did::Dial(0, addr(1))];
    assert_eq!(answered, all_at_once);
    let (volunteer, socket) = (NodeId::from_bytes([7; 32]), addr(99));
    let granted = bench.act(|connect, cx| connect.handle_granted(cx, PEER, volunteer, socket));
    assert_eq!(granted, [Did::Dial(1, socket)]);
    let outcome = ConnectOutcome::Relayed { remote: socket, volunteer };
    let up = bench.edge_up_over(outcome, true);
    assert_eq!(up, [Did::Cancel(0), Did::Cancel(1), Did::StopRelay, Did::Settle(Ok(()))]);
    let explanation = bench.explain();
    assert_eq!(explanation.outcome, Some(outcome));
    assert_eq!(explanation.obstacle, Some(Obstacle::ChangingPorts));
}

#[test]
fn without_a_path_and_a_volunteer_a_connect_fails_with_the_reason() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let nothing = bench.answer(PathSide::default(), PathSide::default());
    assert_eq!(nothing, [Did::AskRelay]);
    let error = ConnectError::NoPath;
    let over = bench.act(|connect, cx| connect.handle_no_relay(cx, PEER, 0));
    assert_eq!(over, [Did::Settle(Err(error)), Did::Failed(error)]);
    assert_eq!(bench.explain().obstacle, Some(Obstacle::Withheld));
}

#[test]
fn volunteers_that_did_not_answer_are_asked_again_until_the_deadline() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(PathSide::default(), PathSide::default());
    let in_vain = |bench: &mut Bench| {
        bench.act(|connect, cx| connect.handle_no_relay(cx, PEER, 2));
    };
    for _ in 0..9 {
        in_vain(&mut bench);
        assert_eq!(bench.pass(SECOND), [Did::AskRelay]);
    }
    let error = ConnectError::NoPath;
    let over = bench.act(|connect, cx| connect.handle_no_relay(cx, PEER, 2));
    assert_eq!(over, [Did::Settle(Err(error)), Did::Failed(error)]);
}

/// A handshake doubles its waits with every loss.
#[test]
fn the_socket_of_a_volunteer_is_dialed_again_after_each_second_six_times_at_most() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(PathSide::default(), PathSide::default());
    let (volunteer, socket) = (NodeId::from_bytes([7; 32]), addr(99));
    let granted = bench.act(|connect, cx| connect.handle_granted(cx, PEER, volunteer, socket));
    assert_eq!(granted, [Did::Dial(0, socket)]);
    for dial in 1..=6 {
        assert_eq!(bench.pass(SECOND), [Did::Dial(dial, socket)]);
    }
    assert_eq!(bench.pass(SECOND), []);
    let outcome = ConnectOutcome::Relayed { remote: socket, volunteer };
    let up = bench.edge_up_over(outcome, true);
    assert_eq!(up.iter().filter(|did| matches!(did, Did::Cancel(_))).count(), 7);
}

/// An upgrade looks for a direct path alone, and leaves nothing behind.
#[test]
fn an_upgrade_asks_the_peer_and_no_volunteer_and_changes_nothing_if_it_fails() {
    let mut bench = Bench::routed();
    let asked = bench.want(Purpose::Upgrade, &[]);
    assert_eq!(asked, [Did::Ask(0)]);
    let answered = bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    assert_eq!(answered, [Did::Punch(vec![addr(1)]), Did::Dial(0, addr(1))]);
    assert_eq!(bench.pass(SECOND), [], "no volunteer is asked");
    let outcome =
        ConnectOutcome::Relayed { remote: addr(9), volunteer: NodeId::from_bytes([7; 32]) };
    assert_eq!(bench.edge_up_over(outcome, true), [], "another relayed conn does not end it");
    assert_eq!(bench.fail(0, DialError::TimedOut), []);
    assert!(bench.connect.explain(&PEER).is_none());
}

/// A node of the reference closes a second conn of a pair.
#[test]
fn an_upgrade_ends_at_an_answer_without_signals() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Upgrade, &[]);
    let peer = side(&[addr(1)], Reachability::Unknown);
    let own = PathSide::default();
    let answer =
        Answer { nonce: bench.nonce, len: 100, has_signals: false, peer, own, is_unsure: false };
    let ended = bench.act(|connect, cx| assert!(connect.handle_answer(cx, PEER, &answer)));
    assert_eq!((ended, bench.due), (vec![], None));
}

/// THREATS.md#early-packets
#[test]
fn what_the_peer_cannot_have_sent_to_is_neither_dialed_nor_punched_after_its_answer() {
    let mut bench = Bench::unnamed();
    let v4 = SocketAddr::from(([203, 0, 113, 1], 4242));
    let v6 = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port));
    bench.around.own.set_local_addrs(&[v4]);
    let begun = want_gossiped(&mut bench, &[addr(1), v6(1)]);
    assert_eq!(begun, [Did::Begun, Did::Ask(0), Did::PunchShort(vec![addr(1), v6(1)])]);
    let peer = side(&[addr(2), v6(2)], Reachability::Unknown);
    let answered = bench.answer(peer, PathSide::default());
    assert_eq!(answered, [Did::Punch(vec![addr(2)]), Did::Dial(0, addr(2))]);
    assert_eq!(bench.pass(SECOND / 2), [Did::Dial(1, addr(1))], "nothing of IPv6");
    let volunteer = NodeId::from_bytes([7; 32]);
    let granted = bench.act(|connect, cx| connect.handle_granted(cx, PEER, volunteer, addr(99)));
    assert_eq!(granted, [Did::Dial(2, addr(99))]);
    assert_eq!(bench.pass(SECOND / 2), [Did::AskRelay], "a volunteer is no word of the peer");
    let seen = bench.act(|connect, cx| assert!(connect.handle_punched(cx, v6(1))));
    assert_eq!(seen, [Did::Dial(3, v6(1))], "it has sent now");
    let mut bench = Bench::unnamed();
    bench.around.own.set_local_addrs(&[v4]);
    want_gossiped(&mut bench, &[v6(1)]);
    let open = side(&[v6(2)], Reachability::Reachable);
    assert_eq!(bench.answer(open, PathSide::default()), [Did::Dial(0, v6(2))], "any may dial it");
}

/// THREATS.md#early-packets
#[test]
fn a_node_without_an_address_to_name_waits_two_seconds_for_one() {
    let ms = Duration::from_millis;
    let mut bench = Bench::unnamed();
    assert_eq!(bench.want(Purpose::Request, &[]), [Did::Begun]);
    assert_eq!(bench.pass(ms(150)), []);
    let addr_of_own = SocketAddr::from(([203, 0, 113, 1], 4242));
    let guess = Guess { addr: addr_of_own, is_ip_sure: false };
    bench.around.own.set_guesses(vec![guess]);
    assert_eq!(bench.pass(ms(50)), [Did::Ask(0)]);
    let answered = bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    assert_eq!(answered, [Did::Punch(vec![addr(1)]), Did::Dial(0, addr(1))]);

    let mut bench = Bench::unnamed();
    bench.want(Purpose::Request, &[]);
    assert_eq!(bench.pass(2 * SECOND), [Did::Ask(0)]);
    let peer = side(&[addr(1)], Reachability::Unknown);
    assert_eq!(bench.answer(peer, PathSide::default()), [], "a volunteer alone can help");
    assert_eq!(bench.pass(SECOND * 6 / 10), [Did::AskRelay]);

    let mut bench = Bench::unnamed();
    let begun = want_gossiped_for(&mut bench, Purpose::Edge, &[addr(1)]);
    assert_eq!(begun, [Did::Begun, Did::PunchShort(vec![addr(1)])]);
    let failed = [Did::Failed(ConnectError::NoPath)];
    assert_eq!(bench.pass(2 * SECOND), failed, "the topology has other contacts");
}

#[test]
fn a_peer_of_the_same_link_is_dialed_there_first_and_no_volunteer_is_hurried() {
    let mut bench = Bench::routed();
    let at = |last| SocketAddr::from(([192, 168, 1, last], 4242));
    let outside = SocketAddr::from(([203, 0, 113, 1], 4242));
    bench.around.own.set_local_addrs(&[at(1), outside]);
    bench.want(Purpose::Request, &[]);
    let answered = bench.answer(hard(&[addr(1), at(2)]), hard(&[addr(1)]));
    assert_eq!(answered, [Did::Punch(vec![addr(1), at(2)]), Did::Dial(0, at(2))]);
    assert_eq!(bench.pass(SECOND / 10), [Did::Dial(1, addr(1))]);
    assert_eq!(bench.pass(SECOND / 2), [Did::AskRelay]);
}

#[test]
fn an_address_that_few_vouch_for_keeps_no_volunteer_waiting() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    let (peer, own) = (side(&[addr(1)], Reachability::Unknown), PathSide::default());
    let nonce = bench.nonce;
    let answer = Answer { nonce, len: 100, has_signals: true, peer, own, is_unsure: true };
    let did = bench.act(|connect, cx| assert!(connect.handle_answer(cx, PEER, &answer)));
    assert_eq!(did, [Did::Punch(vec![addr(1)]), Did::AskRelay, Did::Dial(0, addr(1))]);
}

#[test]
fn a_pair_without_a_path_to_expect_fails_three_seconds_after_the_last_volunteer() {
    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(hard(&[addr(1)]), hard(&[addr(2)]));
    assert_eq!(bench.act(|connect, cx| connect.handle_no_relay(cx, PEER, 0)), []);
    assert_eq!(bench.pass(SECOND * 29 / 10), []);
    let error = ConnectError::NoPath;
    let over = [Did::Cancel(0), Did::Settle(Err(error)), Did::Failed(error)];
    assert_eq!(bench.pass(SECOND / 10), over);
    assert_eq!(bench.explain().obstacle, Some(Obstacle::ChangingPorts));
    assert_eq!(bench.due, None);

    let mut bench = Bench::routed();
    bench.want(Purpose::Request, &[]);
    bench.answer(side(&[addr(1)], Reachability::Unknown), PathSide::default());
    bench.pass(SECOND);
    bench.act(|connect, cx| connect.handle_no_relay(cx, PEER, 0));
    assert_eq!(bench.pass(5 * SECOND), [], "a punch may still get through");
}
