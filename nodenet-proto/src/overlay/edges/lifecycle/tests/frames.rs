//! Frames on an edge: sender, charge, pings and pongs.

use super::*;
use crate::overlay::edges::whole_ms;
use crate::wire::{Addr, Pong};

impl Room {
    /// A conn of the edge gets this address and round-trip time.
    fn set_path(&mut self, conn: u64, rtt_ms: u64) {
        self.around.paths.set(ConnId(conn), remote(77), Duration::from_millis(rtt_ms));
    }

    /// A Pong arrives that is due. Returns what is new about the round-trip time.
    fn pong(&mut self, rtt_ms: u64) -> Option<u16> {
        self.set_path(1, rtt_ms);
        self.edge_mut(peer(1)).conn_mut(ConnId(1)).expect("it is there").pongs_due = 1;
        let ((news, was_due), actions) =
            self.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, true));
        assert_eq!((was_due, actions, self.drops()), (true, vec![], vec![]));
        assert!(!self.ping_state(1, peer(1)).2, "it is not due any more");
        news
    }
}

/// How many frames of a type pass before the budget of the edge is spent, 2000 at most, and what is
/// discarded then.
fn passed(frame_type: Option<FrameType>) -> (usize, Vec<(DropReason, u64)>) {
    let mut room = router();
    room.attach(1, peer(1), false);
    (room.spend(1, peer(1), frame_type), room.drops())
}

#[test]
fn a_frame_is_from_the_peer_of_its_conn() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.accept(2, peer(2));
    let _ = room.run(|edges, cx| edges.refuse(cx, ConnId(3)));
    assert_eq!(
        [1, 2, 3, 4].map(|conn| room.sender(conn)),
        [SentBy::Edge(peer(1).id), SentBy::Unproven(peer(2)), SentBy::Gone, SentBy::Gone,]
    );
}

#[test]
fn each_type_of_frame_is_charged_to_its_budget() {
    use FrameType::{App, Leave, Ping, RelayBind, RelayGrant, RelayRequest, Siblings};
    let forward = (1024, vec![(DropReason::ForwardRateLimited, 1)]);
    let control = (32, vec![(DropReason::ControlRateLimited, 1)]);
    for frame_type in FrameType::ALL {
        let expected = match frame_type {
            routed if routed.is_routed() => forward.clone(),
            App => forward.clone(),
            Leave => (2000, vec![]),
            _ => control.clone(),
        };
        assert_eq!(passed(Some(frame_type)), expected, "{frame_type:?}");
    }
    assert_eq!(passed(None), control);
    for frame_type in [Ping, FrameType::Pong, Siblings, RelayRequest, RelayGrant, RelayBind] {
        assert_eq!(passed(Some(frame_type)), control, "{frame_type:?}");
    }
}

#[test]
fn the_two_budgets_of_an_edge_do_not_share() {
    let mut room = router();
    room.attach(1, peer(1), false);
    assert_eq!(room.spend(1, peer(1), Some(FrameType::Ping)), 32);
    assert!(room.charge(1, peer(1), Some(FrameType::Route)).0);
    assert_eq!(room.spend(1, peer(1), Some(FrameType::Route)), 1023);
    room.around.pass(SECOND);
    assert!(room.charge(1, peer(1), Some(FrameType::Ping)).0, "16 a second");
}

#[test]
fn a_pong_is_free_while_it_is_due_on_its_conn() {
    let mut room = router();
    room.attach(2, peer(1), true);
    room.attach_and_ping(1, peer(1));
    assert!(room.charge(1, peer(1), Some(FrameType::Ping)).0);
    assert_eq!(room.spend(1, peer(1), Some(FrameType::Ping)), 31);
    assert_eq!(room.drops(), [(DropReason::ControlRateLimited, 1)]);
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Pong)), (true, vec![]));
    assert_eq!(room.charge(2, peer(1), Some(FrameType::Pong)), (false, vec![]));
    assert_eq!(room.drops(), [(DropReason::ControlRateLimited, 1)]);
    room.pong(10);
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Pong)), (false, vec![]));
}

#[test]
fn a_free_frame_takes_no_token() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    let mut charge = |frame_type| room.charge(1, peer(1), Some(frame_type)).0;
    for _ in 0..40 {
        assert!(charge(FrameType::Leave) && charge(FrameType::Pong));
    }
    assert_eq!((0..40).filter(|_| charge(FrameType::Ping)).count(), 32);
}

#[test]
fn a_frame_of_a_peer_without_an_edge_may_not_pass() {
    let mut room = router();
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Leave)), (false, vec![]));
    assert_eq!(room.drops(), []);
}

#[test]
fn the_first_frame_of_an_edge_dialed_here_is_reported_once() {
    let mut room = router();
    room.attach(1, peer(1), true);
    assert_eq!(room.charge(1, peer(1), None), (true, vec![]), "it may be noise");
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Leave)), (true, vec![]));
    assert!(!room.edge(peer(1)).is_taken());
    let first = shown([Action::FirstFrame(peer(1).id)]);
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Route)), (true, first));
    assert!(room.edge(peer(1)).is_taken());
    assert_eq!(room.charge(1, peer(1), Some(FrameType::Route)), (true, vec![]));
}

#[test]
fn a_frame_of_a_known_type_proves_life_and_one_of_no_type_does_not() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    room.attach(2, peer(1), true);
    room.around.pass(SECOND);
    let _ = room.charge(1, peer(1), None);
    assert_eq!(room.edge(peer(1)).send_conn().id, ConnId(2));
    assert_eq!((room.edge(peer(1)).heard(), room.ping_state(1, peer(1)).1), (at(0), true));
    let _ = room.charge(1, peer(1), Some(FrameType::Leave));
    assert_eq!(room.edge(peer(1)).send_conn().id, ConnId(1));
    assert_eq!((room.edge(peer(1)).heard(), room.ping_state(1, peer(1)).1), (at(1), false));
}

#[test]
fn a_ping_is_answered_with_the_address_of_the_moment() {
    let mut room = router();
    room.attach(1, peer(1), false);
    let answer = |edges: &mut Edges, cx: &mut Context<'_, Action>| edges.answer_ping(cx, ConnId(1));
    assert_eq!(room.run(answer).1, NONE, "the conn has no path any more");
    room.set_path(1, 20);
    let pong = Pong { observed: Addr::from_socket_addr(remote(77)) };
    assert_eq!(room.run(answer).1, shown([control(1, &pong)]));
}

#[test]
fn a_round_trip_time_is_news_if_it_differs_by_more_than_a_quarter() {
    let mut room = router();
    room.attach(1, peer(1), true);
    assert_eq!(room.pong(100), Some(100));
    assert_eq!(room.pong(125), None);
    assert_eq!(room.pong(75), None);
    assert_eq!(room.edge(peer(1)).rtt_ms, 100, "the one noted stays");
    assert_eq!(room.pong(126), Some(126));
    assert_eq!(room.edge(peer(1)).rtt_ms, 126);
    assert_eq!(room.pong(94), Some(94));
}

#[test]
fn a_conn_without_a_path_has_the_shortest_round_trip_time() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    let observe = |edges: &mut Edges, cx: &mut Context<'_, Action>| {
        edges.observe_pong(cx, ConnId(1), &peer(1).id, true)
    };
    assert_eq!(room.run(observe), ((Some(1), true), vec![]));
}

#[test]
fn a_pong_that_was_not_asked_for_is_counted() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.set_path(1, 100);
    for (is_valid, news) in [(true, Some(100)), (false, None)] {
        let (seen, actions) =
            room.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, is_valid));
        assert_eq!((seen, actions), ((news, false), vec![]));
        assert_eq!(room.drops(), [(DropReason::Unsolicited, 1)]);
    }
}

#[test]
fn a_malformed_pong_that_was_asked_for_is_counted() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    room.set_path(1, 100);
    let (news, actions) =
        room.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, false));
    assert_eq!((news, actions), ((Some(100), true), vec![]));
    assert_eq!(room.drops(), [(DropReason::MalformedMessage, 1)]);
    assert!(!room.ping_state(1, peer(1)).2);
}

#[test]
fn a_pong_of_a_peer_without_an_edge_is_nothing() {
    let mut room = router();
    room.set_path(1, 100);
    let (news, actions) =
        room.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, true));
    assert_eq!((news, actions, room.drops()), ((None, false), vec![], vec![]));
}

#[test]
fn round_trip_times_are_whole_milliseconds_and_never_zero() {
    let us = Duration::from_micros;
    let spans = [0, 999, 1_000, 1_999, 2_000, 65_535_000, 65_536_000, 1 << 40];
    assert_eq!(spans.map(|span| whole_ms(us(span))), [1, 1, 1, 1, 2, 65_535, 65_535, 65_535]);
}
