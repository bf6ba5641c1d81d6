//! Send budget of one edge: rate, burst, and [`Event::SendReady`].

use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, Who, identity};
use super::puppets::{drops, flood, route};
use crate::api::{Command, Event, RequestId, SendFailure};
use crate::stats::DropReason;
use crate::transport::{self, Class, ConnDownReason, ConnId};
use crate::wire::{self, Message};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two engines with an edge that has a conn of each of the `dialers`.
fn pair(dialers: &[Who]) -> EngineNet {
    let mut world = EngineNet::still(2);
    for &dialer in dialers {
        world.connect(dialer, 1 - dialer);
    }
    world.run_for(SECOND);
    world.events(0);
    world
}

/// Offers one message to the edge of 0 to 1.
fn offer(world: &mut EngineNet) -> RequestId {
    let (target, payload) = (world.id(1), Bytes::from_static(b"direct"));
    world.command(0, |request| Command::SendDirect { request, target, payload })
}

/// Offers messages until one is refused. Returns how many were taken.
fn offer_until_refused(world: &mut EngineNet) -> usize {
    for taken in 0.. {
        let request = offer(world);
        let refused = Event::SendFailed { request, error: SendFailure::Backpressure };
        match world.events(0)[..] {
            [Event::Sent { request: sent, copies: 1 }] if sent == request => {}
            [ref event] if *event == refused => return taken,
            ref events => panic!("one outcome: {events:?}"),
        }
        assert!(taken < 1_000, "an edge has a limit");
    }
    unreachable!("a loop without end")
}

#[test]
fn an_edge_takes_32_messages_at_once_and_reports_when_it_takes_16_more() {
    let mut world = pair(&[0]);
    assert_eq!(offer_until_refused(&mut world), 32);
    world.run_for(33 * MS);
    assert_eq!(world.events(0), [], "fifteen and a bit");
    world.run_for(MS);
    assert_eq!(world.events(0), [Event::SendReady]);
    assert_eq!(offer_until_refused(&mut world), 16);
    world.run_for(10 * SECOND);
    assert_eq!(world.events(0), [Event::SendReady], "reported once");
    assert_eq!(offer_until_refused(&mut world), 32);
}

#[test]
fn an_edge_takes_480_messages_a_second() {
    let mut world = pair(&[0]);
    offer_until_refused(&mut world);
    let mut taken = 0;
    for _ in 0..10_000 {
        world.run_for(MS);
        world.events(0);
        taken += offer_until_refused(&mut world);
    }
    assert_eq!(taken, 4_799, "0.48 of one in each millisecond");
}

#[test]
fn without_a_refused_message_nothing_is_reported() {
    let mut world = pair(&[0]);
    for _ in 0..32 {
        offer(&mut world);
    }
    world.events(0);
    world.run_for(SECOND);
    assert_eq!(world.events(0), []);
}

#[test]
fn transit_is_paid_from_the_same_budget_and_leaves_a_quarter_to_the_application() {
    let mut world = pair(&[0]);
    let puppet = world.add_puppet(identity(50));
    let conn = world.open(puppet, 0);
    world.say(conn, wire::Ping.to_frame());
    world.events(0);
    for number in 0..40 {
        let frame = route(1000 + number, world.id(1), world.wall(), b"transit");
        flood(&mut world, conn, frame);
    }
    let sent =
        world.wire.sent.iter().filter(|(who, _, class, _)| (*who, *class) == (0, Class::Transit));
    assert_eq!(sent.count(), 24);
    assert_eq!(drops(&world, DropReason::RepairExhausted), 16);
    assert_eq!(offer_until_refused(&mut world), 8);
}

/// Two conns of one edge, the one on which frames leave last.
fn two_conns(world: &EngineNet) -> [ConnId; 2] {
    let sends_on =
        world.wire.sent.iter().rev().find(|(who, _, class, _)| (*who, *class) == (0, Class::Own));
    let sends_on = sends_on.expect("something was sent").1;
    let mut conns = world.conns_between(0, 1);
    conns.sort_by_key(|conn| *conn == sends_on);
    conns.try_into().expect("two dialed")
}

#[test]
fn an_edge_of_two_conns_refuses_as_a_whole() {
    let mut world = pair(&[0, 1]);
    offer(&mut world);
    world.events(0);
    let [_, sends_on] = two_conns(&world);
    world.set_full(sends_on, true);
    assert_eq!(offer_until_refused(&mut world), 0, "though the other conn has room");
    world.set_full(sends_on, false);
    world.give(0, transport::Event::Writable(sends_on));
    assert_eq!(world.events(0), [Event::SendReady]);
    assert_eq!(offer_until_refused(&mut world), 31, "what was refused costs nothing");
}

#[test]
fn a_message_leaves_on_the_other_conn_when_one_is_gone() {
    let mut world = pair(&[0, 1]);
    offer(&mut world);
    world.events(0);
    let [other, sends_on] = two_conns(&world);
    world.wire.close_unnoticed(sends_on);
    let request = offer(&mut world);
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
    assert_eq!(world.wire.sent.last().map(|(_, conn, ..)| *conn), Some(other));
    let reason = ConnDownReason::Reset;
    world.give(0, transport::Event::ConnDown { conn: sends_on, reason });
    assert_eq!(offer_until_refused(&mut world), 30, "the budget is the edge's");
}
