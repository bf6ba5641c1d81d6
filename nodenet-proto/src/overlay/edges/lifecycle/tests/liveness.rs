//! Looks at conns: when they are planned, when they ping, and when they find a peer dead.

use super::*;
use crate::env::Seed;
use crate::overlay::edges::keepalive::ANSWER_WAIT;
use crate::wire::Ping;

impl Room {
    fn check_liveness(&mut self, conn: u64) -> (Lost, Vec<String>) {
        let (loss, actions) = self.run(|edges, cx| edges.check_liveness(cx, ConnId(conn)));
        (lost(loss), actions)
    }

    /// A ping was answered on this conn before.
    fn set_told(&mut self, conn: u64, peer: Peer) {
        self.edge_mut(peer).conn_mut(ConnId(conn)).expect("it is there").is_told = true;
    }

    fn on_death(&mut self) -> Vec<String> {
        self.run(|edges, cx| edges.on_death(cx)).1
    }
}

/// The answer of a ping at this second is overdue.
fn doubt(conn: u64, pinged: u64) -> Action {
    set(conn, at(pinged) + SECOND / 2)
}

#[test]
fn a_conn_that_belongs_to_no_edge_is_not_looked_at() {
    let mut room = router();
    room.accept(1, peer(1));
    let _ = room.run(|edges, cx| edges.refuse(cx, ConnId(2)));
    for conn in [1, 2, 3] {
        assert_eq!(room.check_liveness(conn), (Lost::Nothing, vec![]));
    }
    assert_eq!(room.drops(), []);
}

#[test]
fn a_conn_heard_lately_is_looked_at_again_in_a_batch() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.set_told(1, peer(1));
    room.around.pass(10 * SECOND);
    assert!(room.charge(1, peer(1), Some(FrameType::Ping)).0);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, shown([set(1, at(40))])));
    assert_eq!(room.ping_state(1, peer(1)), (at(0), false, false));
}

#[test]
fn a_silent_conn_is_pinged() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.around.pass(27 * SECOND);
    let expected = shown([control(1, &Ping), doubt(1, 27)]);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, expected));
    assert_eq!(room.ping_state(1, peer(1)), (at(27), true, true));
}

#[test]
fn among_many_edges_a_conn_may_be_silent_for_longer() {
    let mut room = router();
    for index in 1..=60 {
        room.attach(index.into(), peer(index), true);
    }
    room.set_told(1, peer(1));
    room.around.pass(27 * SECOND);
    let expected = shown([set(1, at(64))]);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, expected), "66 s, jittered and aligned");
}

#[test]
fn a_silent_conn_that_frames_do_not_leave_on_is_not_pinged() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.attach(2, peer(1), true);
    room.around.pass(27 * SECOND);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, shown([set(1, at(56))])));
    let expected = shown([control(2, &Ping), doubt(2, 27)]);
    assert_eq!(room.check_liveness(2), (Lost::Nothing, expected));
}

#[test]
fn a_ping_that_may_still_be_answered_is_waited_for() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    assert_eq!(room.check_liveness(1), (Lost::Nothing, shown([doubt(1, 0)])));
}

#[test]
fn an_edge_without_an_answer_is_in_doubt_and_pinged_every_second() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    room.around.pass(2 * SECOND);
    for second in 3..=5 {
        let doubtful = Action::Doubtful(peer(1).id);
        let expected = shown([control(1, &Ping), set(1, at(second)), doubtful]);
        assert_eq!(room.check_liveness(1), (Lost::Nothing, expected));
        assert_eq!(room.ping_state(1, peer(1)), (at(0), true, true));
        room.around.pass(SECOND);
    }
}

#[test]
fn every_edge_is_probed_anew_whatever_it_waits_for() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    room.attach(2, peer(2), false);
    room.edges.set_light(&peer(2).id, true);
    room.around.pass(3 * SECOND);
    let ((), actions) = room.run(|edges, cx| edges.probe_all(cx));
    assert_eq!(actions.len(), 4);
    for conn in [1, 2] {
        assert_eq!(room.ping_state(conn.into(), peer(conn)), (at(3), true, true));
    }
    let ((), actions) = room.run(|edges, cx| edges.probe_all(cx));
    assert_eq!(actions, NONE, "the driver says it twice");
}

#[test]
fn an_unanswered_ping_closes_its_conn_after_five_seconds() {
    let mut room = router();
    room.attach_and_ping(1, peer(1));
    room.around.pass(5 * SECOND);
    let ended = Lost::Edge(peer(1).id, EdgeDownReason::Dead, vec![1]);
    assert_eq!(room.check_liveness(1), (ended, shown([abort(1), stop(1)])));
    assert_eq!((room.sender(1), room.drops()), (SentBy::Gone, vec![]));
}

#[test]
fn a_dead_conn_leaves_the_edge_to_the_others() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.attach_and_ping(2, peer(1));
    room.around.pass(5 * SECOND);
    assert_eq!(room.check_liveness(2), (Lost::Spare, shown([abort(2), stop(2)])));
    assert_eq!(room.sender(1), SentBy::Edge(peer(1).id));
}

#[test]
fn a_light_peer_is_asked_only_when_its_own_pings_are_overdue() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.edges.set_light(&peer(1).id, true);
    room.around.pass(215 * SECOND);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, shown([set(1, at(232))])));
    room.around.pass(SECOND);
    let expected = shown([control(1, &Ping), doubt(1, 216)]);
    assert_eq!(room.check_liveness(1), (Lost::Nothing, expected));
}

/// Thirty edges, looked at every 33 s while none dies. Their conns are named by their bits.
fn thirty_edges() -> Room {
    let mut room = router();
    for index in 1..=30 {
        let up = room.attach(index.into(), peer(index), false);
        let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
        assert_eq!((lost(loss), actions.len()), (Lost::Nothing, 1));
    }
    room
}

#[test]
fn one_death_among_many_edges_brings_no_look_forward() {
    let mut room = thirty_edges();
    assert_eq!(room.on_death(), NONE);
    assert_eq!(room.on_death(), NONE);
}

#[test]
fn several_deaths_bring_the_looks_at_all_other_edges_forward() {
    let mut room = thirty_edges();
    let _ = (room.on_death(), room.on_death());
    // Silent for 15 s each since the start, and edges are in the order of their identifiers.
    let expected = (1..=30).rev().map(|conn| set(conn, at(15)));
    assert_eq!(room.on_death(), shown(expected));
    assert_eq!(room.on_death(), NONE, "they are planned for 15 s already");
}

#[test]
fn a_look_that_is_overdue_comes_soon_and_not_with_all_others() {
    let mut room = thirty_edges();
    room.around.pass(20 * SECOND);
    room.charge(7, peer(7), Some(FrameType::Ping));
    let _ = (room.on_death(), room.on_death());
    let seed = Seed::from_u64(9);
    room.around.rng = seed.stream("looks");
    let mut rng = seed.stream("looks");
    let expected = (1..=30).rev().map(|conn| {
        let soon = at(20) + rng.jitter(ANSWER_WAIT, 100);
        set(conn, if conn == 7 { at(35) } else { soon })
    });
    assert_eq!(room.on_death(), shown(expected));
}

#[test]
fn deaths_leave_light_peers_and_awaited_answers_alone() {
    let mut room = thirty_edges();
    room.edges.set_light(&peer(3).id, true);
    room.attach_and_ping(40, peer(5));
    let _ = (room.on_death(), room.on_death());
    let others = (1..=30).rev().filter(|conn| ![3, 5].contains(conn));
    assert_eq!(room.on_death(), shown(others.map(|conn| set(conn, at(15)))));
}

#[test]
fn a_look_planned_at_a_light_peer_makes_no_death_urgent() {
    let mut room = router();
    for index in 1..=30 {
        room.attach(index.into(), peer(index), false);
    }
    room.edges.set_light(&peer(1).id, true);
    let (loss, actions) = room.check_liveness(1);
    assert_eq!((loss, actions.len()), (Lost::Nothing, 1));
    assert_eq!(room.on_death(), NONE);
}

#[test]
fn without_maintenance_deaths_bring_no_look_forward() {
    let mut room = without_maintenance();
    for index in 1..=3 {
        room.attach(index.into(), peer(index), false);
        let _ = room.check_liveness(index.into());
    }
    for _ in 0..10 {
        assert_eq!(room.on_death(), NONE);
    }
}

/// A volunteer ends a session that passes nothing on for 30 s, whatever the profile.
#[test]
fn a_relayed_conn_is_pinged_after_twelve_seconds_and_its_pong_names_no_address() {
    let relayed = PathKind::Relayed;
    let light = Config { profile: Profile::Light, ..Config::default() };
    for mut room in [router(), Room::new(light)] {
        room.attach(1, peer(1), true);
        room.set_told(1, peer(1));
        let (_, actions) =
            room.run(|edges, cx| edges.set_path(cx, &peer(1).id, ConnId(1), relayed));
        assert_eq!(actions, shown([set(1, at(12))]));
        room.around.pass(12 * SECOND);
        let (loss, actions) = room.check_liveness(1);
        assert_eq!((loss, &actions[1..]), (Lost::Nothing, &shown([doubt(1, 12)])[..]));
        assert_eq!(room.ping_state(1, peer(1)), (at(12), true, true));
        room.around.pass(SECOND);
        assert!(room.charge(1, peer(1), Some(FrameType::Ping)).0);
        let (_, actions) = room.check_liveness(1);
        assert_eq!(actions.len(), 1, "it waits for less than a batch: {actions:?}");
        room.around.paths.set(ConnId(1), remote(1), SECOND);
        let nothing = wire::Pong { observed: wire::Addr::default() };
        let (_, actions) = room.run(|edges, cx| edges.answer_ping(cx, ConnId(1)));
        assert_eq!(actions, shown([control(1, &nothing)]));
    }
}
