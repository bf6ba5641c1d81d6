//! Tests of requests to volunteers: who is asked, when, and which answer counts.

use super::*;
use crate::relay::request::{ANSWER_WAIT, LATE_WAIT, REACH_WAIT, SEARCHES_MAX};

#[test]
fn two_volunteers_are_asked_at_once_and_both_grants_are_passed_on() {
    let mut bench = Bench::new();
    let near = bench.table.volunteer(1, Claim::Signed, 10);
    let far = bench.table.volunteer(2, Claim::Signed, 90);
    bench.table.volunteer(3, Claim::Gossiped, 1);
    bench.table.volunteer(4, Claim::None, 1);
    let asked = bench.ask(id(9), &[]);
    let nonces = requests(&asked);
    assert_eq!(nonces.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(asked[2..], [Action::Set(bench.around.now + ANSWER_WAIT)]);
    let granted = |volunteer, text| Action::Granted { target: id(9), volunteer, addr: addr(text) };
    assert_eq!(
        bench.grant(near, nonces[0].1, "0.0.0.0:50001"),
        [granted(id(1), "203.0.1.1:50001")]
    );
    assert_eq!(
        bench.grant(far, nonces[1].1, "203.0.2.1:50001"),
        [granted(id(2), "203.0.2.1:50001"), Action::Stop]
    );
    assert_eq!(bench.relay.is_relayed(addr("203.0.1.1:50001")), Some(id(1)));
    assert_eq!(bench.grant(far, nonces[1].1, "203.0.2.1:50001"), []);
    assert_eq!(bench.drops(), [(DropReason::Unsolicited, 1)]);
}

/// THREATS.md#e15
#[test]
fn a_silent_volunteer_is_passed_over_after_a_second_and_asked_last_from_then_on() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.table.volunteer(number, Claim::Signed, number.into());
    }
    bench.ask(id(9), &[]);
    bench.around.pass(ANSWER_WAIT);
    let next = bench.time();
    assert_eq!(requests(&next).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [id(3)]);
    bench.around.pass(ANSWER_WAIT);
    let reason = RelayUnavailable::Silent;
    assert_eq!(bench.time(), [Action::Unavailable { target: id(9), asked: 3, reason }]);
    bench.table.volunteer(4, Claim::Gossiped, 200);
    let asked: Vec<NodeId> = requests(&bench.ask(id(8), &[])).iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [id(4), id(1)], "those that answered nothing come last");
}

/// Where datagrams get lost, a request and its answer take longer than a second.
#[test]
fn a_grant_counts_for_five_seconds_after_its_volunteer_was_passed_over() {
    for (late, counts) in [(LATE_WAIT / 2, true), (LATE_WAIT, false)] {
        let mut bench = Bench::new();
        let volunteer = bench.table.volunteer(1, Claim::Signed, 10);
        let nonce = requests(&bench.ask(id(9), &[]))[0].1;
        bench.around.pass(ANSWER_WAIT);
        let reason = RelayUnavailable::Silent;
        assert_eq!(bench.time(), [Action::Unavailable { target: id(9), asked: 1, reason }]);
        bench.around.pass(late);
        let granted = bench.grant(volunteer, nonce, "203.0.1.1:5");
        let addr = addr("203.0.1.1:5");
        let expected = Action::Granted { target: id(9), volunteer: id(1), addr };
        assert_eq!(granted, if counts { vec![expected] } else { vec![] });
        assert_eq!(bench.grant(volunteer, nonce, "203.0.1.1:5"), [], "it counts once");
        bench.ask(id(9), &[]);
        bench.run(|relay, cx, _| relay.stop_asking(cx, &id(9)));
    }
}

#[test]
fn a_refusal_turns_to_the_next_volunteer_at_once() {
    let mut bench = Bench::new();
    let volunteers = [1, 2, 3].map(|number| bench.table.volunteer(number, Claim::Signed, 10));
    let named = [3, 1, 9, 2];
    let asked = requests(&bench.ask(id(9), &named));
    assert_eq!(asked.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [id(3), id(1)], "as named");
    let next = bench.refuse(volunteers[2], asked[0].1, RelayRefusal::NoEdge);
    let next = requests(&next);
    assert_eq!(next[0].0, id(2));
    assert_eq!(bench.refuse(volunteers[1], next[0].1, RelayRefusal::Full), []);
    let reason = RelayUnavailable::Refused(RelayRefusal::RequesterFull);
    assert_eq!(
        bench.refuse(volunteers[0], asked[1].1, RelayRefusal::RequesterFull),
        [Action::Unavailable { target: id(9), asked: 3, reason }, Action::Stop]
    );
}

/// THREATS.md#w8
#[test]
fn a_grant_counts_only_from_the_volunteer_that_was_asked_and_for_an_address_of_its_own() {
    let mut bench = Bench::new();
    let asked = bench.table.volunteer(1, Claim::Signed, 10);
    let other = bench.table.add(id(2), "203.0.2.1:4242");
    let nonce = requests(&bench.ask(id(9), &[]))[0].1;
    assert_eq!(bench.grant(other, nonce, "203.0.2.1:50001"), []);
    assert_eq!(bench.grant(asked, NONCE, "203.0.1.1:50001"), []);
    assert_eq!(bench.drops(), [(DropReason::Unsolicited, 2)]);
    let reason = RelayUnavailable::BadGrant;
    assert_eq!(
        bench.grant(asked, nonce, "192.0.2.99:50001"),
        [Action::Unavailable { target: id(9), asked: 1, reason }, Action::Stop]
    );
    assert_eq!(bench.drops(), [(DropReason::RelayAddressForeign, 1)]);
}

#[test]
fn a_volunteer_whose_edge_ends_is_passed_over_at_once() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.table.volunteer(number, Claim::Signed, number.into());
    }
    bench.ask(id(9), &[]);
    bench.table.0.remove(&id(1));
    let next = bench.run(|relay, cx, table| relay.handle_edge_down(cx, table, &id(1)));
    assert_eq!(requests(&next).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [id(3)]);
}

#[test]
fn without_a_volunteer_a_search_ends_at_once_and_searches_have_a_cap() {
    let mut bench = Bench::new();
    let unavailable = |target, reason| vec![Action::Unavailable { target, asked: 0, reason }];
    let none = RelayUnavailable::NoVolunteer;
    assert_eq!(bench.ask(id(9), &[]), unavailable(id(9), none));
    bench.table.volunteer(1, Claim::Signed, 10);
    assert_eq!(bench.ask(id(1), &[]), unavailable(id(1), none), "the target itself");
    for number in 0..SEARCHES_MAX as u8 {
        assert_eq!(requests(&bench.ask(id(100 + number), &[])).len(), 1);
    }
    assert_eq!(bench.ask(id(9), &[]), unavailable(id(9), RelayUnavailable::Busy));
    let stopped = bench.run(|relay, cx, _| relay.stop_asking(cx, &id(100)));
    assert_eq!(stopped, []);
    assert_eq!(requests(&bench.ask(id(9), &[])).len(), 1);
}

/// In a large network the caller has no edge to a volunteer of the target.
#[test]
fn a_volunteer_that_the_target_named_is_dialed_and_asked_once_there_is_an_edge() {
    let mut bench = Bench::new();
    let reach = |number| Action::Reach { volunteer: id(number), addr: at(number) };
    let until = bench.around.now + REACH_WAIT;
    let asked = bench.ask(id(9), &[1, 2, 3, 9]);
    assert_eq!(asked, [reach(1), reach(2), Action::Set(until)], "two at most");
    bench.table.volunteer(2, Claim::None, 10);
    let next = bench.run(|relay, cx, table| relay.handle_edge_up(cx, table, &id(2)));
    let [(to, nonce)] = requests(&next)[..] else { panic!("{next:?}") };
    assert_eq!(to, id(2));
    let granted = bench.grant(bench.table.0[&id(2)], nonce, "203.0.2.1:5");
    assert!(matches!(granted[..], [Action::Granted { .. }, Action::Stop]), "{granted:?}");
    // One that is not reached in time is given up.
    bench.ask(id(9), &[1]);
    bench.around.pass(REACH_WAIT);
    let reason = RelayUnavailable::NoVolunteer;
    let over = bench.time();
    assert_eq!(over, [Action::Unavailable { target: id(9), asked: 0, reason }], "{over:?}");
}
