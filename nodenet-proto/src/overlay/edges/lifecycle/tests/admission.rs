//! Unproven conns: their bound, their first frame, and their end.

use super::*;
use crate::overlay::edges::admit::Refusal;
use crate::overlay::edges::lifecycle::unproven_max;

#[test]
fn an_accepted_conn_is_unproven_and_no_edge_yet() {
    let mut room = router();
    assert_eq!(room.accept(1, peer(1)), NONE);
    assert_eq!(room.sender(1), SentBy::Unproven(peer(1)));
    assert_eq!((room.edges.table().len(), room.edges.unproven), (0, 1));
    assert_eq!(room.drops(), []);
}

#[test]
fn a_node_without_places_closes_every_accepted_conn() {
    let mut room = Room::with_places(0);
    assert_eq!(room.accept(1, peer(1)), shown([abort(1)]));
    assert_eq!((room.sender(1), room.edges.unproven), (SentBy::Gone, 0));
    assert!(room.edges.has_conns(), "until the transport reports its end");
    assert_eq!(room.drops(), [(DropReason::InboundFull, 1)]);
}

#[test]
fn one_unproven_conn_too_many_closes_the_oldest() {
    let mut room = Room::with_places(4);
    for conn in [4, 2, 5, 3] {
        assert_eq!(room.accept(conn, peer(conn as u8)), NONE);
    }
    assert_eq!((room.edges.unproven, room.drops()), (4, vec![]));
    assert_eq!(room.accept(6, peer(6)), shown([abort(2)]));
    assert_eq!((room.sender(2), room.edges.unproven), (SentBy::Gone, 4));
    for conn in [3, 4, 5, 6] {
        assert_eq!(room.sender(conn), SentBy::Unproven(peer(conn as u8)));
    }
    assert_eq!(room.drops(), [(DropReason::InboundFull, 1)]);
}

#[test]
fn an_edge_is_not_closed_for_an_unproven_conn() {
    let mut room = Room::with_places(2);
    room.attach(1, peer(1), false);
    room.attach(2, peer(2), true);
    for conn in [3, 4] {
        assert_eq!(room.accept(conn, peer(conn as u8)), NONE);
    }
    assert_eq!(room.accept(5, peer(5)), shown([abort(3)]));
    assert_eq!(room.edges.table().len(), 2);
}

#[test]
fn unproven_conns_have_a_quarter_of_the_places_or_eight() {
    let places = [0, 1, 7, 8, 9, 32, 35, 36, 256, 1 << 15];
    let bounds = [0, 1, 7, 8, 8, 8, 8, 9, 64, 1 << 13];
    assert_eq!(places.map(unproven_max), bounds);
}

#[test]
fn every_unproven_conn_is_closed_and_the_edges_are_not() {
    let mut room = router();
    room.attach(2, peer(2), false);
    for conn in [3, 1] {
        room.accept(conn, peer(conn as u8));
    }
    let ((), actions) = room.run(|edges, cx| edges.reject_all_unproven(cx));
    assert_eq!(actions, shown([abort(3), abort(1)]));
    assert_eq!(
        [1, 2, 3].map(|conn| room.sender(conn)),
        [SentBy::Gone, SentBy::Edge(peer(2).id), SentBy::Gone]
    );
    assert_eq!((room.edges.unproven, room.drops()), (0, vec![]));
}

#[test]
fn a_rejected_conn_makes_room_for_another() {
    let mut room = Room::with_places(1);
    room.accept(1, peer(1));
    let ((), actions) = room.run(|edges, cx| edges.reject_unproven(cx, ConnId(1)));
    assert_eq!(actions, shown([abort(1)]));
    assert_eq!((room.sender(1), room.edges.unproven), (SentBy::Gone, 0));
    assert_eq!(room.accept(2, peer(2)), NONE);
    assert_eq!(room.drops(), [], "what the conn did wrong was counted before");
}

#[test]
fn a_refused_conn_is_closed_at_once() {
    let mut room = router();
    let ((), actions) = room.run(|edges, cx| edges.refuse(cx, ConnId(1)));
    assert_eq!(actions, shown([abort(1)]));
    assert!(room.edges.has_conns() && room.sender(1) == SentBy::Gone);
    assert_eq!(room.drops(), []);
}

#[test]
fn the_first_frame_makes_an_unproven_conn_an_inbound_edge() {
    let mut room = router();
    room.accept(1, peer(1));
    let (attached, actions) = room.run(|edges, cx| edges.prove(cx, ConnId(1), peer(1)));
    assert_eq!(actions, shown([edge_up(peer(1), false)]));
    let attached = attached.expect("it is admitted");
    assert_eq!(lost(attached.loss), Lost::Nothing);
    let (is_outgoing, is_new, is_taken) = (false, true, true);
    let up = EdgeUp { peer: peer(1), conn: ConnId(1), is_outgoing, is_new, is_taken };
    assert_eq!(attached.up, Some(up));
    assert_eq!((room.sender(1), room.edges.unproven), (SentBy::Edge(peer(1).id), 0));
    assert_eq!(room.edges.table().inbound(), 1);
    assert_eq!(room.drops(), []);
}

#[test]
fn the_first_frame_of_a_peer_that_is_not_admitted_closes_its_conn() {
    let mut room = Room::with_places(1);
    room.attach(1, peer(1), false);
    room.accept(2, peer(2));
    let (attached, actions) = room.run(|edges, cx| edges.prove(cx, ConnId(2), peer(2)));
    assert!(attached.is_none());
    assert_eq!(actions, shown([abort(2)]));
    assert_eq!((room.sender(2), room.edges.unproven), (SentBy::Gone, 0));
    assert_eq!(room.edges.table().len(), 1);
    assert_eq!(room.drops(), [(DropReason::InboundFull, 1)]);
}

#[test]
fn a_peer_without_the_work_of_the_network_is_counted_as_such() {
    let mut room = Room::new(Config { difficulty: 5, ..Config::default() });
    room.accept(1, peer(4));
    let (attached, actions) = room.run(|edges, cx| edges.prove(cx, ConnId(1), peer(4)));
    assert!(attached.is_none());
    assert_eq!(actions, shown([abort(1)]));
    assert_eq!(room.drops(), [(DropReason::PeerWorkUnmet, 1)]);
}

#[test]
fn admission_looks_at_the_edges_there_are_and_at_the_direction() {
    let mut room = Room::with_places(1);
    room.attach(1, peer(1), false);
    let Room { edges, around } = &room;
    let admit = |peer: Peer, is_outgoing| edges.admit(&around.config, &peer.id, is_outgoing);
    assert_eq!(admit(peer(1), false), Ok(()));
    assert_eq!(admit(peer(2), false), Err(Refusal::InboundFull));
    assert_eq!(admit(peer(2), true), Ok(()));
}
