//! Tests of simulated conns: order, delay, loss, NAT rules, partition, crash, traffic.

use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::transport::{Class, CloseMode, Command, ConnDownReason, DialError, DialId};
use nodenet_proto::wire::nat::PUNCH_DATAGRAM;

use super::scripted::{Heard, Lab, Pair};
use crate::net::Nat;
use crate::world::overlay::WorldConfig;
use crate::world::{Host, Join, Traffic, World};

const SECOND: Duration = Duration::from_secs(1);

fn lab() -> Lab {
    Lab::new(WorldConfig::default())
}

#[test]
fn both_ends_are_up_after_one_and_a_half_round_trips() {
    let mut lab = lab();
    let (a, b) = (lab.host(Nat::Public), lab.host(Nat::Public));
    let dial = lab.dial(a, b, b);
    lab.pass(SECOND);
    let (up_a, up_b) = (lab.heard_at(a), lab.heard_at(b));
    let [(at_a, Heard::Up { conn, peer, outgoing, remote })] = &up_a[..] else {
        panic!("{up_a:?}")
    };
    assert_eq!((*peer, *outgoing, *remote), (lab.world.id(b), Some(dial), lab.world.addr(b)));
    let conn = *conn;
    let [(at_b, Heard::Up { peer, outgoing: None, remote, .. })] = &up_b[..] else {
        panic!("{up_b:?}")
    };
    assert_eq!((*peer, *remote), (lab.world.id(a), lab.world.addr(a)));
    assert_eq!(at_a, at_b);
    let path = lab.path(a, conn).expect("the conn is up");
    let expected = path.rtt.as_millis() * 3 / 2;
    assert!(at_a.abs_diff(expected) <= expected / 10 + 1, "{at_a} ms, about {expected}");
}

#[test]
fn frames_arrive_once_and_in_order_despite_loss() {
    for loss in [0.0, 0.3] {
        let mut lab = Lab::new(WorldConfig { loss, ..WorldConfig::default() });
        let (a, b) = (lab.host(Nat::Public), lab.host(Nat::Public));
        // At this loss a handshake may fail, but not ten times in a row.
        let up = (0..10).find_map(|_| {
            lab.dial(a, b, b);
            lab.pass(SECOND * 20);
            match (lab.heard(a).pop(), lab.heard(b).pop()) {
                (Some(Heard::Up { conn, .. }), Some(Heard::Up { conn: conn_b, .. })) => {
                    Some((conn, conn_b))
                }
                _ => None,
            }
        });
        let (conn, conn_b) = up.expect("one of ten dials comes up");
        for number in 0..200_u8 {
            assert_eq!(lab.send(a, conn, Class::Own, vec![1, 64, number]), None);
            lab.pass(Duration::from_millis(3));
        }
        lab.pass(SECOND * 120);
        let heard = lab.heard(b);
        let expected: Vec<_> =
            (0..200_u8).map(|n| Heard::Frame(conn_b, vec![1, 64, n].into())).collect();
        assert_eq!(heard, expected, "loss {loss}");
    }
}

#[test]
fn a_frame_takes_the_latency_of_the_path_and_can_be_answered() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    let rtt = lab.path(a, conn_a).unwrap().rtt.as_millis();
    let sent_at = lab.world.now().as_nanos() as u128 / 1_000_000;
    lab.send(a, conn_a, Class::Control, vec![1, 2, 0]);
    lab.pass(SECOND);
    let heard = lab.heard_at(b);
    let [(at, Heard::Frame(conn, _))] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(*conn, conn_b);
    assert!((at - sent_at).abs_diff(rtt / 2) <= rtt / 20 + 1);
    lab.send(b, conn_b, Class::Control, vec![1, 3, 0]);
    lab.pass(SECOND);
    assert_eq!(lab.heard(a), [Heard::Frame(conn_a, vec![1, 3, 0].into())]);
}

#[test]
fn a_close_reaches_the_peer_behind_what_was_sent_before() {
    for mode in [CloseMode::Abort, CloseMode::Drain] {
        let mut lab = lab();
        let Pair { a, b, conn_a, conn_b } = lab.pair();
        lab.send(a, conn_a, Class::Control, vec![1, 7, 0]);
        lab.close(a, conn_a, mode);
        assert_eq!(lab.send(a, conn_a, Class::Own, vec![1, 64, 0]), Some("gone"));
        // Frames that the peer sends on a conn that is closing are not delivered.
        lab.send(b, conn_b, Class::Own, vec![1, 64, 0]);
        lab.pass(SECOND * 3);
        assert_eq!(lab.heard(a), [Heard::Down(conn_a, ConnDownReason::ClosedHere)]);
        let last = Heard::Frame(conn_b, vec![1, 7, 0].into());
        assert_eq!(lab.heard(b), [last, Heard::Down(conn_b, ConnDownReason::ClosedByPeer)]);
        assert_eq!(lab.send(b, conn_b, Class::Own, vec![1, 64, 0]), Some("gone"));
        assert_eq!(lab.path(b, conn_b), None);
    }
}

#[test]
fn a_crash_causes_no_event() {
    let mut lab = lab();
    let Pair { a, b, conn_a, .. } = lab.pair();
    lab.world.crash(b);
    assert_eq!(lab.send(a, conn_a, Class::Own, vec![1, 64, 0]), None);
    lab.pass(SECOND * 1_000);
    assert_eq!(lab.heard(a), []);
    lab.close(a, conn_a, CloseMode::Abort);
    lab.pass(SECOND);
    assert_eq!(lab.heard(a), [Heard::Down(conn_a, ConnDownReason::ClosedHere)]);
}

#[test]
fn a_dead_conn_fills_up() {
    let mut lab = lab();
    let Pair { a, b, conn_a, .. } = lab.pair();
    lab.world.crash(b);
    let refused = (0..20).find_map(|_| lab.send(a, conn_a, Class::Transit, vec![0; 60_000]));
    assert_eq!(refused, Some("full"));
}

#[test]
fn a_full_queue_reports_when_it_takes_frames_again() {
    let mut lab = lab();
    let Pair { a, b, conn_a, .. } = lab.pair();
    let sent = (0..20)
        .take_while(|_| lab.send(a, conn_a, Class::Transit, vec![0; 60_000]).is_none())
        .count();
    assert_eq!(sent, 2);
    // A more urgent class is still accepted.
    assert_eq!(lab.send(a, conn_a, Class::Own, vec![0; 60_000]), None);
    assert_eq!(lab.send(a, conn_a, Class::Control, vec![0; 60_000]), None);
    lab.pass(SECOND);
    assert_eq!(lab.heard(a), [Heard::Writable(conn_a)]);
    assert_eq!(lab.heard(b).len(), 4);
    assert_eq!(lab.send(a, conn_a, Class::Transit, vec![0; 60_000]), None);
}

#[test]
fn dials_fail_for_their_reason_and_in_their_time() {
    let mut lab = lab();
    let [a, b, c] = [0; 3].map(|_| lab.host(Nat::Public));
    let wrong = lab.dial(a, b, c);
    lab.pass(SECOND);
    assert_eq!(lab.heard(a), [Heard::Failed(wrong, DialError::IdentityMismatch)]);
    assert_eq!(lab.heard(b), []);

    lab.world.crash(c);
    let dead = lab.dial(a, c, c);
    lab.pass(Duration::from_millis(9_900));
    assert_eq!(lab.heard(a), []);
    lab.pass(Duration::from_millis(200));
    assert_eq!(lab.heard(a), [Heard::Failed(dead, DialError::NoRoute)]);

    let (id, addr) = (lab.world.id(c), lab.world.addr(c));
    let hasty = lab.dial_addr(a, id, addr, SECOND);
    lab.pass(Duration::from_millis(1_100));
    assert_eq!(lab.heard(a), [Heard::Failed(hasty, DialError::TimedOut)]);

    let nowhere = lab.dial_addr(a, id, "0.0.0.0:1".parse().unwrap(), SECOND);
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.heard(a), [Heard::Failed(nowhere, DialError::BadAddress)]);
}

#[test]
fn a_dial_can_be_cancelled_once() {
    let mut lab = lab();
    let (a, b) = (lab.host(Nat::Public), lab.host(Nat::Public));
    let dial = lab.dial(a, b, b);
    let cancel = Command::CancelDial(DialId(dial));
    lab.execute(a, cancel.clone());
    lab.execute(a, cancel);
    lab.pass(SECOND * 20);
    assert_eq!(lab.heard(a), [Heard::Failed(dial, DialError::Cancelled)]);
    assert_eq!(lab.heard(b), []);
}

#[test]
fn an_accepted_conn_that_stays_silent_is_closed_and_an_idle_one_too() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    lab.pass(SECOND * 32);
    assert_eq!(lab.heard(b), [Heard::Down(conn_b, ConnDownReason::Silent)]);
    assert_eq!(lab.heard(a), [Heard::Down(conn_a, ConnDownReason::ClosedByPeer)]);

    let (conn_a, conn_b) = lab.connect(a, b);
    lab.send(a, conn_a, Class::Control, vec![1, 2, 0]);
    lab.pass(SECOND * 290);
    lab.heard(b);
    assert_eq!(lab.heard(a), []);
    lab.pass(SECOND * 50);
    assert_eq!(lab.heard(a), [Heard::Down(conn_a, ConnDownReason::TimedOut)]);
    assert_eq!(lab.heard(b), [Heard::Down(conn_b, ConnDownReason::TimedOut)]);
}

#[test]
fn a_partition_holds_frames_back_until_it_heals() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    lab.send(a, conn_a, Class::Control, vec![1, 2, 0]);
    lab.pass(SECOND);
    lab.heard(b);
    lab.send(a, conn_a, Class::Control, vec![1, 64, 0]);
    lab.world.partition(&mut |host| u8::from(host == a));
    lab.send(a, conn_a, Class::Control, vec![1, 64, 1]);
    let dial = lab.dial(b, a, a);
    lab.pass(SECOND * 60);
    assert_eq!(lab.heard(b), [Heard::Failed(dial, DialError::NoRoute)]);
    lab.world.heal();
    lab.pass(SECOND * 20);
    let expected = [0, 1].map(|n| Heard::Frame(conn_b, vec![1, 64, n].into()));
    assert_eq!(lab.heard(b), expected);
}

/// A frame with its sequence number.
fn numbered(number: u8) -> Vec<u8> {
    vec![1, 64, number]
}

/// Frames that were held back arrive late, and frames that were sent after them arrive after them.
#[test]
fn frames_sent_around_the_healing_arrive_in_order() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    let latency = lab.path(a, conn_a).unwrap().rtt / 2;
    lab.world.partition(&mut |host| u8::from(host == a));
    for number in 0..2 {
        lab.send(a, conn_a, Class::Own, numbered(number));
    }
    lab.pass(SECOND);
    for number in 2..4 {
        lab.send(a, conn_a, Class::Own, numbered(number));
    }
    lab.pass(latency / 2);
    lab.world.heal();
    lab.send(a, conn_a, Class::Own, numbered(4));
    lab.close(a, conn_a, CloseMode::Abort);
    lab.pass(SECOND * 20);
    let mut expected: Vec<_> =
        (0..5).map(|number| Heard::Frame(conn_b, numbered(number).into())).collect();
    expected.push(Heard::Down(conn_b, ConnDownReason::ClosedByPeer));
    assert_eq!(lab.heard(b), expected);
}

/// The frame is due during the partition, the close behind it only after the heal.
#[test]
fn a_close_does_not_overtake_what_a_short_partition_held_back() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    let latency = lab.path(a, conn_a).unwrap().rtt / 2;
    lab.send(a, conn_a, Class::Own, numbered(0));
    lab.pass(latency / 2);
    lab.close(a, conn_a, CloseMode::Abort);
    lab.world.partition(&mut |host| u8::from(host == a));
    lab.pass(latency * 3 / 5 + Duration::from_millis(1));
    lab.world.heal();
    lab.pass(SECOND * 20);
    let frame = Heard::Frame(conn_b, numbered(0).into());
    assert_eq!(lab.heard(b), [frame, Heard::Down(conn_b, ConnDownReason::ClosedByPeer)]);
}

#[test]
fn closes_and_resets_do_not_cross_a_partition() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    let cut = |lab: &mut Lab| {
        lab.world.partition(&mut |host| u8::from(host == a));
        lab.pass(SECOND);
        lab.world.heal();
        lab.pass(SECOND);
        lab.heard(b)
    };
    lab.close(a, conn_a, CloseMode::Abort);
    assert_eq!(cut(&mut lab), [], "the close was under way");
    let latency = lab.path(b, conn_b).unwrap().rtt / 2;
    lab.send(b, conn_b, Class::Own, numbered(0));
    lab.pass(latency * 3 / 2);
    assert_eq!(cut(&mut lab), [], "so was the reset that the frame drew");
    lab.send(b, conn_b, Class::Own, numbered(1));
    lab.pass(SECOND);
    assert_eq!(lab.heard(b), [Heard::Down(conn_b, ConnDownReason::Reset)]);
}

#[test]
fn a_host_that_starts_during_a_partition_is_on_the_side_of_its_bootstrap_host() {
    let mut lab = lab();
    let hosts = [(); 2].map(|()| lab.host(Nat::Public));
    lab.world.partition(&mut |host| u8::from(host == hosts[1]));
    for (side, way_in) in (0..).zip(hosts) {
        let (nat, bootstrap) = (Nat::Public, vec![way_in]);
        let config = nodenet_proto::api::Config::default();
        let newcomer = lab.world.join(Join { nat, bootstrap, config }).unwrap();
        lab.world.crash(way_in);
        let again = lab.world.restart(way_in, Vec::new()).unwrap();
        assert_eq!([newcomer, again].map(|host| lab.world.side(host)), [side; 2]);
        let across = hosts[usize::from(1 - side)];
        let dials = [way_in, across].map(|host| lab.dial(newcomer, host, host));
        lab.pass(SECOND * 11);
        let heard = lab.heard(newcomer);
        let [Heard::Up { outgoing, .. }, Heard::Failed(failed, DialError::NoRoute)] = heard[..]
        else {
            panic!("{heard:?}")
        };
        assert_eq!([outgoing, Some(failed)], dials.map(Some));
    }
}

#[test]
fn a_close_lost_in_a_partition_becomes_a_reset() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    lab.world.partition(&mut |host| u8::from(host == a));
    lab.close(a, conn_a, CloseMode::Abort);
    lab.pass(SECOND);
    lab.world.heal();
    lab.pass(SECOND);
    assert_eq!(lab.heard(b), []);
    lab.send(b, conn_b, Class::Control, vec![1, 2, 0]);
    lab.pass(SECOND);
    assert_eq!(lab.heard(b), [Heard::Down(conn_b, ConnDownReason::Reset)]);
}

#[test]
fn a_restarted_host_is_reached_at_its_address_and_has_no_old_conn() {
    let mut lab = lab();
    let Pair { a, b, conn_a, .. } = lab.pair();
    lab.world.crash(b);
    let again = lab.world.restart(b, Vec::new()).unwrap();
    assert_eq!(lab.world.id(again), lab.world.id(b));
    assert_eq!([b, again].map(|host| lab.world.successor(host)), [Some(again), None]);
    lab.send(a, conn_a, Class::Control, vec![1, 2, 0]);
    lab.pass(SECOND);
    assert_eq!(lab.heard(again), []);
    lab.dial(a, again, b);
    lab.pass(SECOND);
    assert!(matches!(lab.heard(again)[..], [Heard::Up { .. }]));
}

#[test]
fn a_node_can_be_restarted_by_any_of_its_hosts_and_repeatedly() {
    let mut lab = lab();
    let first = lab.host(Nat::Public);
    lab.world.crash(first);
    let second = lab.world.restart(first, Vec::new()).unwrap();
    lab.world.crash(second);
    let third = lab.world.restart(first, Vec::new()).unwrap();
    assert_eq!(lab.world.id(third), lab.world.id(first));
    let successors = [first, second, third].map(|host| lab.world.successor(host));
    assert_eq!(successors, [Some(second), Some(third), None]);
}

#[test]
#[should_panic(expected = "is still up")]
fn a_node_that_is_up_as_another_host_is_not_restarted() {
    let mut lab = lab();
    let host = lab.host(Nat::Public);
    lab.world.crash(host);
    for _ in 0..2 {
        lab.world.restart(host, Vec::new()).unwrap();
    }
}

#[test]
fn hosts_behind_nats_are_reached_by_the_rule_only() {
    let mut lab = lab();
    let (public, third) = (lab.host(Nat::Public), lab.host(Nat::Public));
    let [easy, easy2] = [0; 2].map(|_| lab.host(Nat::Easy));
    let hard = lab.host(Nat::Hard);
    let reaches = |lab: &mut Lab, from, to| {
        lab.heard(from);
        lab.dial(from, to, to);
        lab.pass(SECOND * 11);
        let mut heard = lab.heard(from);
        heard.retain(|heard| !matches!(heard, Heard::Down(..)));
        match &heard[..] {
            [Heard::Up { conn, .. }] => Some(*conn),
            [Heard::Failed(_, DialError::NoRoute)] => None,
            other => panic!("{other:?}"),
        }
    };
    // Without an earlier dial of its own, never, from no peer.
    assert_eq!(reaches(&mut lab, public, easy), None);
    // In return, for two minutes after its dial. The conn itself ends because it has no first
    // frame.
    let conn = reaches(&mut lab, easy, public).expect("every host reaches a public one");
    lab.close(easy, conn, CloseMode::Abort);
    assert!(reaches(&mut lab, public, easy).is_some());
    lab.pass(SECOND * 125);
    assert_eq!(reaches(&mut lab, public, easy), None);
    // After a punch, even one that does not get there.
    let punch = |lab: &mut Lab, from, remote| {
        let bytes = Bytes::from_static(&PUNCH_DATAGRAM);
        lab.execute(from, Command::Punch { remote, bytes, ttl: Some(2) });
    };
    let easy_addr = lab.world.addr(easy);
    assert_eq!(reaches(&mut lab, easy2, easy), None);
    lab.pass(SECOND * 125);
    let easy2_addr = lab.world.addr(easy2);
    punch(&mut lab, easy, easy2_addr);
    assert!(reaches(&mut lab, easy2, easy).is_some());
    for host in [hard, public] {
        let conn = reaches(&mut lab, host, third).expect("every host reaches a public one");
        lab.send(host, conn, Class::Control, vec![1, 2, 0]);
        lab.pass(SECOND);
    }
    // A hard NAT maps another port for every peer, which leads nowhere for others.
    let hard_id = lab.world.id(hard);
    let seen = lab.heard(third).into_iter().find_map(|heard| match heard {
        Heard::Up { peer, remote, .. } if peer == hard_id => Some(remote),
        _ => None,
    });
    let seen = seen.expect("it dialed");
    assert_ne!(seen, lab.world.addr(hard));
    punch(&mut lab, hard, easy_addr);
    let public_addr = lab.world.addr(public);
    punch(&mut lab, hard, public_addr);
    for from in [public, easy] {
        let dial = lab.dial_addr(from, hard_id, seen, SECOND * 60);
        lab.pass(SECOND * 11);
        assert!(lab.heard(from).contains(&Heard::Failed(dial, DialError::NoRoute)), "{from}");
    }
    lab.dial_addr(third, hard_id, seen, SECOND * 60);
    lab.pass(SECOND);
    assert!(lab.heard(third).iter().any(|heard| matches!(heard, Heard::Up { .. })));
}

#[test]
fn conn_names_count_up_and_are_not_reused() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    lab.close(a, conn_a, CloseMode::Abort);
    lab.pass(SECOND);
    let (next_a, next_b) = lab.connect(a, b);
    assert!(next_a > conn_a && next_b > conn_b);
    assert_eq!(lab.path(a, conn_a), None);
}

/// Bytes that two hosts spent on setting up and closing conns since the last call.
fn spent(lab: &mut Lab, hosts: [Host; 2]) -> [u64; 2] {
    let of = |host| lab.world.meters().host(host).kinds();
    let spent = hosts.map(|host| of(host).find(|(kind, _)| *kind == Traffic::Handshake));
    lab.world.clear_meters();
    spent.map(|kind| kind.expect("every kind is listed").1)
}

#[test]
fn handshake_path_mtu_discovery_and_close_are_counted_at_both_ends() {
    let mut lab = lab();
    let Pair { a, b, conn_a, .. } = lab.pair();
    // A handshake, and a probe of 1,452 B with its acknowledgement each way.
    assert_eq!(spent(&mut lab, [a, b]), [3_833 + 2 * (1_480 + 62); 2]);
    lab.close(a, conn_a, CloseMode::Abort);
    lab.pass(SECOND);
    assert_eq!(spent(&mut lab, [a, b]), [2 * 67; 2]);
}

#[test]
fn an_answered_dial_costs_a_handshake_also_if_it_fails() {
    let mut lab = lab();
    let [a, b, c] = [(); 3].map(|()| lab.host(Nat::Public));
    lab.dial(a, b, c);
    lab.pass(SECOND);
    assert_eq!(spent(&mut lab, [a, b]), [3_833; 2], "b is not c");

    let Pair { a, b, conn_a, .. } = lab.pair();
    let rtt = lab.path(a, conn_a).expect("the conn is up").rtt;
    spent(&mut lab, [a, b]);
    let dial = DialId(lab.dial(a, b, b));
    lab.pass(rtt * 9 / 10);
    lab.execute(a, Command::CancelDial(dial));
    lab.pass(SECOND);
    assert_eq!(spent(&mut lab, [a, b]), [3_833; 2], "cancelled while the answer was under way");

    lab.world.crash(b);
    lab.dial(a, b, b);
    lab.pass(SECOND * 20);
    assert_eq!(spent(&mut lab, [a, b]), [4 * 1_228, 0], "four flights without an answer");
}

#[test]
fn a_reset_costs_a_packet_each() {
    let mut lab = lab();
    let Pair { a, b, conn_a, conn_b } = lab.pair();
    lab.send(a, conn_a, Class::Own, vec![1, 64]);
    lab.pass(SECOND);
    lab.world.partition(&mut |host| u8::from(host == b));
    spent(&mut lab, [a, b]);
    lab.close(b, conn_b, CloseMode::Abort);
    lab.pass(SECOND);
    assert_eq!(spent(&mut lab, [a, b]), [0, 67], "the close is dropped");
    lab.world.heal();
    lab.send(a, conn_a, Class::Own, vec![1, 64]);
    lab.pass(SECOND);
    assert_eq!(spent(&mut lab, [a, b]), [67, 67]);
}
