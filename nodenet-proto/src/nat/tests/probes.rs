//! Extra pings: who is asked, when, and when none is.

use super::*;
use crate::api::Profile;

const PERIOD: Duration = Duration::from_secs(15);

/// A node that dialed these, and whose first pings were not answered.
fn dialed(remotes: &[&str]) -> Bench {
    let mut bench = Bench::new(Config::default());
    for (number, remote) in (1..).zip(remotes) {
        dial(&mut bench, number, remote);
    }
    bench
}

fn dial(bench: &mut Bench, number: u8, remote: &str) {
    let remote = addr(remote);
    bench.around.paths.set(ConnId(number.into()), remote, Duration::ZERO);
    bench.run(|nat, cx| {
        nat.handle_sent(cx, remote);
        nat.handle_edge_up(cx, id(number), remote, false);
    });
}

/// The next neighbours that are asked, and how long after the one before; at most `count`, within
/// ten minutes.
fn asked(bench: &mut Bench, count: usize) -> Vec<(NodeId, Duration)> {
    let (begin, mut last) = (bench.around.now, bench.around.now);
    let mut all = Vec::new();
    while all.len() < count
        && let Some(at) = bench.nat.timer
        && at <= begin + Duration::from_secs(600)
    {
        for action in bench.timer() {
            if let Action::Ask(peer) = action {
                all.push((peer, bench.around.now.duration_since(last)));
                last = bench.around.now;
            }
        }
    }
    all
}

#[test]
fn a_neighbour_that_did_not_report_is_asked_after_the_wait_for_its_first_answer() {
    let mut bench = dialed(&["20.1.0.1:1"]);
    let at = bench.around.now + Duration::from_secs(5);
    assert_eq!(bench.nat.timer, Some(at));
    let next = at + Duration::from_secs(60);
    assert_eq!(bench.timer(), [Action::Ask(id(1)), Action::Set(next)]);
    assert_eq!(bench.timer()[0], Action::Ask(id(1)), "and again a minute later");
}

#[test]
fn four_pings_follow_each_other_and_then_one_every_quarter_of_a_minute() {
    let remotes: Vec<String> = (1..=12).map(|net| format!("20.{net}.0.1:1")).collect();
    let remotes: Vec<&str> = remotes.iter().map(String::as_str).collect();
    let mut bench = dialed(&remotes);
    let spans: Vec<Duration> = asked(&mut bench, 12).iter().map(|(_, span)| *span).collect();
    let short = Duration::from_millis(200);
    assert_eq!(spans[..4], [Duration::from_secs(5), short, short, short]);
    for four in spans[1..].windows(4) {
        assert!(four.iter().sum::<Duration>() >= 4 * PERIOD - 3 * short, "{spans:?}");
    }
}

#[test]
fn subnets_without_a_report_come_first() {
    let mut bench = dialed(&["20.1.0.1:1", "20.1.0.2:1", "20.2.0.1:1"]);
    bench.pong(1, OWN);
    let order: Vec<NodeId> = asked(&mut bench, 2).iter().map(|(peer, _)| *peer).collect();
    assert_eq!(order, [id(3), id(2)]);
}

#[test]
fn whether_the_port_counts_is_asked_at_an_address_that_reported() {
    let mut bench = dialed(&[
        "20.1.0.1:1",
        "20.2.0.1:1",
        "20.3.0.1:1",
        "20.4.0.1:1",
        "20.5.0.1:1",
        "20.6.0.1:1",
        "20.7.0.1:1",
        "20.3.0.1:2",
    ]);
    for number in 1..=6 {
        bench.pong(number, &format!("203.0.113.7:{}", 1000 * u16::from(number)));
    }
    assert_eq!(bench.nat.report().mapping, Mapping::Dependent);
    let order: Vec<NodeId> = asked(&mut bench, 2).iter().map(|(peer, _)| *peer).collect();
    assert_eq!(order, [id(8), id(7)]);
    bench.pong(8, "203.0.113.7:9000");
    assert_eq!(bench.nat.report().mapping, Mapping::AddressAndPortDependent);
}

#[test]
fn with_sixteen_reports_an_allocator_is_known() {
    let remotes: Vec<String> =
        (0..20).map(|number| format!("20.{}.0.1:{number}", number / 2)).collect();
    let remotes: Vec<&str> = remotes.iter().map(String::as_str).collect();
    let mut bench = dialed(&remotes);
    let mut count = 0;
    while let [(peer, _)] = asked(&mut bench, 1)[..] {
        count += 1;
        let number = peer.as_bytes()[0];
        bench.pong(number, &format!("203.0.113.7:{}", 3000 * u16::from(number)));
    }
    assert_eq!(count, 16);
    assert_eq!(bench.nat.report().mapping, Mapping::AddressAndPortDependent);
}

#[test]
fn none_is_asked_while_the_answer_is_known() {
    let mut bench = Bench::confirmed();
    dial(&mut bench, 4, "20.4.0.1:1");
    assert_eq!(bench.nat.probes.next_at(), None);
    // A neighbour that never agreed changes nothing.
    bench.pong(4, "203.0.113.7:5000");
    bench.pong(4, "203.0.113.7:5001");
    assert_eq!(bench.nat.probes.next_at(), None);
}

#[test]
fn a_neighbour_that_sees_another_port_has_the_others_asked_again() {
    let mut bench = Bench::confirmed();
    for number in 4..=6 {
        bench.dial(number);
        bench.pong(number, OWN);
    }
    bench.around.pass(Duration::from_secs(30));
    // The NAT began anew.
    bench.pong(2, "203.0.113.7:9999");
    assert_eq!(bench.nat.report().addrs, [addr(OWN)]);
    for (peer, _) in asked(&mut bench, 2) {
        bench.pong(peer.as_bytes()[0], "203.0.113.7:9999");
    }
    assert_eq!(bench.nat.report().addrs, [addr("203.0.113.7:9999")]);
    assert!(bench.around.now < crate::env::test_base() + Duration::from_secs(31));
    // The rest is asked as well, and then there is no doubt any more.
    assert!(asked(&mut bench, 9).len() <= 4);
    assert_eq!(bench.nat.probes.next_at(), None);
}

#[test]
fn old_reports_that_tell_nothing_are_asked_for_again_after_five_minutes() {
    let mut bench = dialed(&["20.1.0.1:1"]);
    bench.pong(1, OWN);
    let due = bench.around.now + Duration::from_secs(300);
    assert_eq!(bench.nat.probes.next_at(), Some(due));
}

#[test]
fn a_relayed_neighbour_is_not_asked_again() {
    let mut bench = dialed(&["20.1.0.1:1"]);
    bench.pong(1, "20.1.0.1:50001");
    assert_eq!(bench.drops, [(DropReason::ReportOfReporter, 1)]);
    assert_eq!(asked(&mut bench, 1), []);
}

#[test]
fn a_neighbour_that_dialed_this_node_is_not_asked() {
    let mut bench = Bench::new(Config::default());
    bench.run(|nat, cx| nat.handle_edge_up(cx, id(1), addr("20.1.0.1:1"), true));
    assert_eq!(bench.nat.timer, None);
}

#[test]
fn light_nodes_and_those_without_maintenance_ask_for_nothing() {
    for config in [
        Config { maintenance: false, ..Config::default() },
        Config { profile: Profile::Light, ..Config::default() },
    ] {
        let mut bench = Bench::new(config);
        bench.dial(1);
        assert_eq!(bench.nat.timer, None);
    }
}

#[test]
fn a_node_that_leaves_asks_no_more() {
    let mut bench = dialed(&["20.1.0.1:1"]);
    assert_eq!(bench.run(Nat::stop), [Action::Stop]);
}
