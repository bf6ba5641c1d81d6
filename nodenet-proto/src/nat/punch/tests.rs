//! The schedule and its limits: exact times and destinations.

use super::*;
use crate::env::test_base;

fn id(first: u8) -> NodeId {
    NodeId::from_bytes([first; 32])
}

fn addr(third: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, third, 7], port))
}

fn ms(ms: u64) -> Instant {
    test_base() + Duration::from_millis(ms)
}

const NONCE: [u8; NAT_NONCE_LEN] = [7; NAT_NONCE_LEN];
/// As long as a Connect that names one address (reference).
const LEN: usize = 180;

fn unvalidated(_: IpAddr) -> bool {
    false
}

fn named() -> Naming<'static> {
    Naming::new(LEN, &unvalidated)
}

/// Answers a Connect that was just received, with full volleys from then on.
fn answer(punches: &mut Punches, peer: u8, targets: &[SocketAddr]) -> Vec<DropReason> {
    let targets = targets.iter().copied();
    let planned = punches.answer(ms(0), id(peer), [peer; 16], targets, named(), ms(0));
    punches.check();
    planned.refused
}

#[test]
fn a_burst_is_five_volleys_fifty_milliseconds_apart() {
    let mut punches = Punches::new(ms(0));
    let targets = [addr(1, 1), addr(2, 1)];
    let planned = punches.answer(ms(0), id(1), NONCE, targets, named(), ms(80));
    assert_eq!((&planned.targets[..], &planned.refused[..]), (&targets[..], &[][..]));
    for volley in 0..5 {
        let at = 80 + 50 * volley;
        assert_eq!(punches.next_at(), Some(ms(at)));
        assert_eq!(punches.due(ms(at - 1)), []);
        assert!(punches.is_answering(&id(1), NONCE));
        assert_eq!(punches.due(ms(at)), targets);
    }
    assert_eq!((punches.next_at(), punches.due(ms(1000))), (None, vec![]));
    assert!(!punches.is_answering(&id(1), NONCE));
    punches.check();
}

#[test]
fn a_punch_from_the_host_of_a_target_ends_the_wait_and_no_other_does() {
    let mut punches = Punches::new(ms(0));
    punches.answer(ms(0), id(1), NONCE, [addr(1, 1), addr(2, 1)], named(), ms(80));
    punches.answer(ms(0), id(2), NONCE, [addr(3, 1)], named(), ms(90));
    assert!(!punches.handle_punched(ms(10), addr(9, 1).ip()));
    assert!(punches.handle_punched(ms(10), addr(2, 1).ip()));
    assert_eq!(punches.due(ms(10)), [addr(1, 1), addr(2, 1)]);
    // What has begun goes on as it was.
    assert!(!punches.handle_punched(ms(20), addr(2, 1).ip()));
    assert_eq!((punches.due(ms(59)), punches.next_at()), (vec![], Some(ms(60))));
    punches.check();
}

#[test]
fn an_edge_ends_every_burst_of_its_peer() {
    let mut punches = Punches::new(ms(0));
    answer(&mut punches, 1, &[addr(1, 1)]);
    answer(&mut punches, 2, &[addr(2, 1)]);
    punches.attempt(ms(0), id(1), [addr(3, 1)], named());
    punches.end(&id(1));
    assert_eq!(punches.due(ms(0)), [addr(2, 1)]);
}

#[test]
fn the_full_volleys_wait_as_long_as_the_connect_took() {
    const AT: i64 = 1_000_000_000_000_000_000;
    let after = |ms: i64| delay(UnixNanos(AT + ms * 1_000_000), UnixNanos(AT)).as_millis();
    let delays = [0, 19, 21, 130, 499, 501, 30_000, -1, -30_000].map(after);
    assert_eq!(delays, [20, 20, 21, 130, 499, 500, 500, 500, 500]);
    let extreme = [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX)];
    assert_eq!(extreme.map(|(wall, sent)| delay(UnixNanos(wall), UnixNanos(sent))), [DELAY_MAX; 2]);
}

/// THREATS.md#c17
#[test]
fn bursts_are_limited_by_originator_destination_and_number() {
    let mut punches = Punches::new(ms(0));
    for number in 0..4 {
        assert_eq!(answer(&mut punches, 1, &[addr(number, 1)]), []);
    }
    let limited = [DropReason::PunchRateLimited];
    assert_eq!(answer(&mut punches, 1, &[addr(9, 1)]), limited, "of one originator");
    // Eight hosts of one subnet use up what it gets.
    let eight = |last: u8| SocketAddr::from(([203, 0, 20, last], 1));
    assert_eq!(answer(&mut punches, 2, &Vec::from_iter((0..8).map(eight))), []);
    assert_eq!(answer(&mut punches, 3, &[addr(20, 1)]), limited, "to one subnet");
    for number in 0..27 {
        assert_eq!(answer(&mut punches, 10 + number, &[addr(50 + number, 1)]), []);
    }
    assert_eq!(punches.len(), BURSTS_MAX);
    assert_eq!(answer(&mut punches, 200, &[addr(200, 1)]), [DropReason::PunchesFull]);
}

/// THREATS.md#e8
#[test]
fn a_host_gets_three_times_the_message_that_names_it_and_little_more() {
    let mut punches = Punches::new(ms(0));
    let eight: Vec<SocketAddr> = (1..=8).map(|port| addr(1, port)).collect();
    // 8 × 6 × 32 bytes are asked for. 3 × 180 bytes come with the message, 512 are free.
    let refused = answer(&mut punches, 1, &eight);
    assert_eq!(refused, [DropReason::PunchRateLimited; 3]);
    assert_eq!(punches.due(ms(0)), eight[..5]);
    // Later, what is still free suffices for one more beside those that come with the message.
    let planned = punches.answer(ms(20_000), id(2), NONCE, eight.clone(), named(), ms(20_000));
    assert_eq!(planned.targets, eight[..3]);
    let empty = Naming::new(0, &unvalidated);
    let planned = punches.answer(ms(20_000), id(3), NONCE, eight.clone(), empty, ms(20_000));
    assert_eq!(planned.refused, [DropReason::PunchRateLimited; 8]);
    // A host that answered has no such limit.
    let answered = |_: IpAddr| true;
    let named = Naming::new(LEN, &answered);
    let planned = punches.answer(ms(40_000), id(4), NONCE, eight.clone(), named, ms(40_000));
    assert_eq!(planned.targets, eight[..]);
    punches.check();
}

#[test]
fn attempts_and_answers_have_limits_of_their_own() {
    let mut punches = Punches::new(ms(0));
    for number in 0..BURSTS_MAX as u8 {
        let planned = punches.attempt(ms(0), id(1), [addr(number, 1)], named());
        assert_eq!((planned.targets.len(), planned.refused.len()), (1, 0));
    }
    let planned = punches.attempt(ms(0), id(1), [addr(99, 1)], named());
    assert_eq!(planned.refused, [DropReason::PunchesFull]);
    punches.check();
    assert_eq!(answer(&mut punches, 1, &[addr(1, 1)]), []);
    assert_eq!(punches.len(), BURSTS_MAX + 1);
}

#[test]
fn an_attempt_does_not_begin_anew_what_is_under_way() {
    let mut punches = Punches::new(ms(0));
    let both = [addr(1, 1), addr(2, 1)];
    punches.attempt(ms(0), id(1), [addr(1, 1)], named());
    assert_eq!(punches.attempt(ms(0), id(1), both, named()).targets, both[1..]);
    assert_eq!(punches.attempt(ms(0), id(1), both, named()), Planned::default());
    assert_eq!(punches.due(ms(0)), both);
    assert_eq!(punches.attempt(ms(0), id(2), both, named()).targets, both, "another peer");
}

#[test]
fn a_short_volley_goes_to_ipv4_alone_and_is_charged_as_one_datagram() {
    let mut punches = Punches::new(ms(0));
    let v6: SocketAddr = "[2001:db8::1]:1".parse().expect("a literal");
    for _ in 0..48 {
        let planned = punches.attempt_short(ms(0), id(1), [v6, addr(1, 1)], named());
        assert_eq!((&planned.targets[..], planned.refused.len()), (&[addr(1, 1)][..], 0));
    }
    let planned = punches.attempt_short(ms(0), id(1), [v6, addr(1, 1)], named());
    assert_eq!(planned.refused, [DropReason::PunchRateLimited]);
    assert_eq!(punches.len(), 0);
}

/// THREATS.md#c18
#[test]
fn no_more_than_eight_addresses_get_a_volley() {
    let mut punches = Punches::new(ms(0));
    let many = (0..20).map(|third| addr(third, 1));
    assert_eq!(answer(&mut punches, 1, &distinct(many)), []);
    assert_eq!(punches.due(ms(0)).len(), TARGETS_MAX);
}
