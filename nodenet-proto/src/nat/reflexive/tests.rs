//! Known answers of the reference's consolidator of reports (its vectors `nat-reflexive`), and what
//! goes beyond it.
//!
//! Not reproduced: `zero-address-ignored`, because a report without an IP address is refused before
//! it gets here (`super::super::tests`). `dual-stack-false-symmetric` differs on purpose: reports
//! of two families are not compared, and so disagree about nothing.

use super::*;
use crate::env::test_base;

/// Addresses by letter.
fn letter(letter: char) -> SocketAddr {
    let text = match letter {
        'A' => "203.0.113.7:4242",
        'B' => "203.0.113.7:5555",
        'C' => "203.0.113.7:6000",
        'L' => "198.51.100.1:6666",
        'S' => "[2001:db8::7]:4242",
        other => panic!("{other} stands for no address"),
    };
    text.parse().expect("a literal")
}

/// Each step is a reporter, what it names and its subnet, or a reporter that leaves; then what is
/// confirmed, and `!` if the NAT counts as symmetric.
const SCENARIOS: &[(&str, &str)] = &[
    ("grow-to-quorum", "1A/1= 2A/2= 3A/1=A"),
    ("one-subnet-never-confirms", "1A/1= 2A/1= 3A/1= 4A/1= 5A/1= 6A/2=A"),
    ("three-way-disagreement", "1A/1= 2B/2= 3C/3=!"),
    ("symmetric-clears", "1A/1= 2B/2= 3C/3=! 2A/2=! 3A/3=A"),
    ("lone-dissenter", "1A/1= 2A/2= 3A/3=A 4B/4=A"),
    ("latest-replaces", "1B/1= 2A/2= 3A/3=! 1A/1=A"),
    ("reporter-changes-its-mind", "1A/1= 2A/2= 3A/3=A 3B/3=!"),
    ("remove-breaks-quorum", "1A/1= 2A/2= 3A/3=A -1= -99="),
    ("larger-one-subnet-cluster-cannot-veto", "1A/1= 2A/2= 3A/3=A 4L/9=A 5L/9=A 6L/9=A 7L/9=A"),
    ("tie-smaller-address-wins", "1A/1= 2A/2= 3A/3=A 4L/4=A 5L/5=A 6L/6=L"),
    ("more-votes-win", "1A/1= 2A/2= 3A/3=A 4L/4=A 5L/5=A 6L/6=L 7A/7=A"),
    ("no-subnet-info", "1A= 2A= 3A=A"),
    ("mixed-subnet-info", "1A= 2A= 3A/1= 4A/1= 5A/2=A"),
    ("dual-stack-false-symmetric", "1A/1= 2A/2= 3S/3=! 4S/4=!"),
    ("two-sybil-subnets-confirm", "1L/1= 2L/1= 3L/2=L"),
];

fn id(number: u32) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A report of a neighbour that was dialed, in the subnet 10.x.y.0 of this number.
fn report(addr: SocketAddr, subnet: Option<u32>, at: Instant) -> Report {
    // Loopback is in no subnet.
    let ip = subnet.map_or([127, 0, 0, 1], |number| [10, (number >> 8) as u8, number as u8, 1]);
    let remote = SocketAddr::from((ip, 1));
    let subnet = Subnet::counted(remote.ip());
    Report { addr, remote, subnet, dialed: Some(0), at, since: at }
}

/// What is confirmed in any group, and whether any is symmetric.
fn outcome(reports: &Reports, now: Instant) -> String {
    let views = reports.groups(now).into_iter().map(|group| reports.view(now, group));
    let mut text = String::new();
    for view in views {
        let named = "ABCLS".chars().filter(|name| view.addr == Some(letter(*name)));
        text.extend(named);
        text.extend(view.is_symmetric.then_some('!'));
    }
    text
}

#[test]
fn scenarios_of_the_reference_end_as_there_after_every_step() {
    for (name, steps) in SCENARIOS {
        let (mut reports, now) = (Reports::default(), test_base());
        for step in steps.split(' ') {
            let (what, expected) = step.split_once('=').expect("a step has an outcome");
            if let Some(gone) = what.strip_prefix('-') {
                reports.remove(&id(gone.parse().expect("a number")));
            } else {
                let (who, subnet) = what.split_once('/').unwrap_or((what, ""));
                let (number, addr) = who.split_at(who.len() - 1);
                let subnet = subnet.parse().ok();
                let addr = letter(addr.chars().next().expect("one letter"));
                let taken = reports
                    .record(id(number.parse().expect("a number")), report(addr, subnet, now));
                assert!(taken.is_some());
            }
            let expected = if *name == "dual-stack-false-symmetric" { "" } else { expected };
            assert_eq!(outcome(&reports, now), expected, "{name} after {step}");
        }
    }
}

#[test]
fn a_thousand_reporters_are_held_and_a_known_one_may_change_its_report() {
    let (mut reports, now) = (Reports::default(), test_base());
    for number in 0..1074 {
        let taken = reports.record(id(number), report(letter('A'), Some(number), now));
        assert_eq!(taken.is_some(), number < 1024);
    }
    assert_eq!(reports.len(), REPORTERS_MAX);
    assert_eq!(reports.record(id(5), report(letter('B'), Some(5), now)), Some(true));
    assert_eq!(reports.record(id(5), report(letter('B'), Some(5), now)), Some(false));
    assert_eq!(reports.get(&id(5)).map(|report| report.addr), Some(letter('B')));
    reports.check();
}

/// Reports of this address by reporters in subnets of their own.
fn record(reports: &mut Reports, numbers: core::ops::Range<u32>, addr: SocketAddr, at: Instant) {
    for number in numbers {
        reports.record(id(number), report(addr, Some(number), at));
    }
}

fn minutes(minutes: u64) -> Instant {
    test_base() + Duration::from_secs(60 * minutes)
}

#[test]
fn families_and_scopes_are_judged_apart() {
    let (mut reports, now) = (Reports::default(), test_base());
    record(&mut reports, 0..2, letter('A'), now);
    record(&mut reports, 2..4, letter('S'), now);
    record(&mut reports, 4..6, "192.168.1.2:4242".parse().expect("a literal"), now);
    assert_eq!(
        outcome(&reports, now),
        "",
        "two reports of each prove nothing, and disprove nothing"
    );
    record(&mut reports, 6..7, letter('A'), now);
    record(&mut reports, 7..8, letter('S'), now);
    assert_eq!(outcome(&reports, now), "AS");
}

#[test]
fn a_report_ages_unless_it_is_repeated() {
    let mut reports = Reports::default();
    record(&mut reports, 0..4, letter('A'), minutes(0));
    assert_eq!(outcome(&reports, minutes(10)), "A");
    assert_eq!(outcome(&reports, minutes(11)), "");
    record(&mut reports, 0..3, letter('A'), minutes(11));
    assert_eq!(outcome(&reports, minutes(12)), "A");
    assert_eq!(reports.groups(minutes(30)), []);
}

#[test]
fn one_honest_nat_that_moved_a_port_is_judged_by_the_newest_reports() {
    let mut reports = Reports::default();
    record(&mut reports, 0..12, letter('A'), minutes(0));
    for (number, expected) in [(12, "A"), (13, "A"), (14, "B")] {
        record(&mut reports, number..number + 1, letter('B'), minutes(u64::from(number) - 10));
        // The old neighbours go on seeing the old port.
        record(&mut reports, 0..12, letter('A'), minutes(u64::from(number) - 10));
        assert_eq!(outcome(&reports, minutes(5)), expected, "after {number}");
    }
}

#[test]
fn a_new_external_ip_makes_older_reports_stale() {
    let mut reports = Reports::default();
    record(&mut reports, 0..12, letter('A'), minutes(0));
    let other = |last: u8| SocketAddr::from(([198, 51, 100, 9], 4000 + u16::from(last)));
    // All different: nothing is confirmed, but the old address is not named any more either.
    for number in 12..15 {
        record(&mut reports, number..number + 1, other(number as u8), minutes(3));
    }
    let group = Group::of(letter('A')).expect("a global address");
    assert_eq!(reports.view(minutes(4), group), View { addr: None, is_symmetric: true });
    assert_eq!(reports.current(minutes(4), group).len(), 3);
}

/// THREATS.md#e17
#[test]
fn liars_in_two_subnets_choose_no_address_and_make_none_stale() {
    for is_last in [false, true] {
        let mut reports = Reports::default();
        let liars_at = minutes(if is_last { 5 } else { 0 });
        for liar in 0..10 {
            reports.record(id(1000 + liar), report(letter('L'), Some(1000 + liar % 2), liars_at));
        }
        // A NAT whose ports all differ: nothing true can be confirmed.
        for number in 0..20 {
            let seen = SocketAddr::from(([203, 0, 113, 7], 10_000 + 7 * number as u16));
            reports.record(id(number), report(seen, Some(number), minutes(2)));
        }
        let named = outcome(&reports, minutes(6));
        assert_eq!(named.trim_end_matches('!'), "", "last: {is_last}");
        record(&mut reports, 0..20, letter('A'), minutes(3));
        assert_eq!(outcome(&reports, minutes(6)), "A", "last: {is_last}");
        // The same IP with another port.
        for liar in 0..10 {
            reports.record(id(1000 + liar), report(letter('B'), Some(1000 + liar % 2), liars_at));
        }
        assert_eq!(outcome(&reports, minutes(6)), "A", "last: {is_last}");
    }
}

#[test]
fn behind_changing_ports_the_ip_address_that_most_see_has_the_newest_port() {
    let (mut reports, now) = (Reports::default(), test_base());
    let group = Group::of(letter('A')).expect("a group");
    let mut say = |number: u32, name, dialed| {
        let report = Report { dialed: Some(dialed), ..report(letter(name), Some(number), now) };
        reports.record(id(number), report);
        let guess = reports.guess(now, group).expect("there are reports");
        (reports.view(now, group).addr, guess.addr, guess.is_ip_sure)
    };
    assert_eq!(say(1, 'A', 0), (None, letter('A'), false), "one neighbour is better than none");
    assert_eq!(say(2, 'B', 2), (None, letter('B'), false), "two subnets may lie");
    assert_eq!(say(3, 'C', 1), (None, letter('B'), true));
    assert_eq!(say(4, 'L', 3), (None, letter('B'), true), "one names another IP address");
}
