//! The end of conns and edges: by the transport, by this node, by the peer.

use super::*;
use crate::overlay::edges::EndedEdge;
use crate::transport::ConnDownReason;

impl Room {
    fn conn_down(&mut self, conn: u64) -> (Lost, Vec<String>) {
        let reason = ConnDownReason::Reset;
        let (loss, actions) = self.run(|edges, cx| edges.conn_down(cx, ConnId(conn), reason));
        (lost(loss), actions)
    }

    fn close_conn(&mut self, peer: Peer, conn: u64) -> (Lost, Vec<String>) {
        let reason = EdgeDownReason::Left;
        let (loss, actions) =
            self.run(|edges, cx| edges.close_conn(cx, &peer.id, ConnId(conn), reason));
        (lost(loss), actions)
    }

    fn close_spare_conn(&mut self, settled: usize) -> (Lost, Vec<String>) {
        let (loss, actions) = self.run(|edges, cx| edges.close_spare_conn(cx, settled));
        (lost(loss), actions)
    }
}

#[test]
fn the_end_of_its_last_conn_ends_an_edge() {
    let mut room = router();
    room.attach(1, peer(1), true);
    let reason = EdgeDownReason::Conn(ConnDownReason::Reset);
    let ended = Lost::Edge(peer(1).id, reason, vec![1]);
    assert_eq!(room.conn_down(1), (ended, shown([stop(1)])));
    assert_eq!((room.edges.table().len(), room.edges.has_conns()), (0, false));
    assert_eq!(room.drops(), []);
}

#[test]
fn an_edge_lives_on_over_its_other_conns() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.attach(2, peer(1), false);
    assert_eq!(room.conn_down(1), (Lost::Spare, shown([stop(1)])));
    assert_eq!((room.sender(1), room.sender(2)), (SentBy::Gone, SentBy::Edge(peer(1).id)));
    assert_eq!((room.edges.table().inbound(), room.drops()), (1, vec![]));
}

#[test]
fn an_edge_that_lost_the_conn_dialed_here_takes_the_last_place_for_inbound_edges() {
    let mut room = Room::with_places(1);
    room.attach(1, peer(1), true);
    room.attach(2, peer(1), false);
    assert_eq!(room.conn_down(1), (Lost::Spare, shown([stop(1)])));
    assert_eq!((room.sender(2), room.drops()), (SentBy::Edge(peer(1).id), vec![]));
}

#[test]
fn an_edge_that_lost_the_conn_dialed_here_may_be_one_inbound_edge_too_many() {
    let mut room = Room::with_places(1);
    room.attach(1, peer(1), false);
    room.attach(2, peer(2), true);
    room.attach(3, peer(2), false);
    let mut expected = vec![stop(2)];
    expected.extend(leave(&[3]));
    let ended = Lost::Edge(peer(2).id, EdgeDownReason::ClosedHere, vec![3]);
    assert_eq!(room.conn_down(2), (ended, shown(expected)));
    assert_eq!((room.sender(2), room.sender(3)), (SentBy::Gone, SentBy::Gone));
    assert_eq!(room.drops(), [(DropReason::InboundFull, 1)]);
}

#[test]
fn the_end_of_an_unproven_conn_changes_no_edge() {
    let mut room = router();
    room.accept(1, peer(1));
    assert_eq!(room.conn_down(1), (Lost::Nothing, vec![]));
    assert_eq!((room.edges.unproven, room.edges.has_conns()), (0, false));
    assert_eq!(room.drops(), []);
}

#[test]
fn the_end_of_a_conn_that_was_closed_here_is_expected() {
    let mut room = router();
    let _ = room.run(|edges, cx| edges.refuse(cx, ConnId(1)));
    assert_eq!(room.conn_down(1), (Lost::Nothing, vec![]));
    assert!(!room.edges.has_conns());
    assert_eq!(room.drops(), []);
}

#[test]
fn the_end_of_an_unknown_conn_is_counted() {
    let mut room = router();
    assert_eq!(room.conn_down(1), (Lost::Nothing, vec![]));
    assert_eq!(room.drops(), [(DropReason::UnknownConn, 1)]);
}

#[test]
fn closing_one_of_several_conns_keeps_the_edge() {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.attach(2, peer(1), true);
    assert_eq!(room.close_conn(peer(1), 2), (Lost::Spare, shown([abort(2), stop(2)])));
    assert_eq!((room.sender(1), room.sender(2)), (SentBy::Edge(peer(1).id), SentBy::Gone));
    assert!(room.edges.has_conns());
}

#[test]
fn closing_the_last_conn_ends_the_edge_for_the_reason_given() {
    let mut room = router();
    room.attach(1, peer(1), true);
    let ended = Lost::Edge(peer(1).id, EdgeDownReason::Left, vec![1]);
    assert_eq!(room.close_conn(peer(1), 1), (ended, shown([abort(1), stop(1)])));
    assert!(room.edges.has_conns(), "until the transport reports its end");
    assert_eq!(room.drops(), []);
}

#[test]
fn closing_a_conn_that_is_not_part_of_the_edge_ends_no_edge() {
    let mut room = router();
    room.attach(1, peer(1), true);
    assert_eq!(room.close_conn(peer(1), 9), (Lost::Nothing, shown([abort(9)])));
    assert_eq!(room.sender(1), SentBy::Edge(peer(1).id));
}

#[test]
fn an_edge_closes_with_a_leave_on_every_conn_behind_what_is_queued() {
    let mut room = router();
    for conn in [5, 3, 4] {
        room.attach(conn, peer(1), true);
    }
    room.attach(6, peer(2), true);
    let (ended, actions) = room.run(|edges, cx| edges.close_edge(cx, &peer(1).id));
    assert_eq!(actions, shown(leave(&[5, 3, 4])));
    let ended = lost(ended.map_or(Loss::Nothing, Loss::Edge));
    assert_eq!(ended, Lost::Edge(peer(1).id, EdgeDownReason::ClosedHere, vec![5, 3, 4]));
    assert_eq!([3, 4, 5].map(|conn| room.sender(conn)), [const { SentBy::Gone }; 3]);
    assert_eq!((room.sender(6), room.drops()), (SentBy::Edge(peer(2).id), vec![]));
}

#[test]
fn closing_an_edge_that_is_not_there_does_nothing() {
    let mut room = router();
    room.attach(1, peer(1), true);
    let (ended, actions) = room.run(|edges, cx| edges.close_edge(cx, &peer(2).id));
    assert!(ended.is_none());
    assert_eq!((actions, room.edges.table().len()), (vec![], 1));
}

#[test]
fn a_leave_ends_its_conn_and_the_older_ones() {
    let mut room = router();
    for conn in [5, 1, 3] {
        room.attach(conn, peer(1), true);
    }
    room.attach(2, peer(2), true);
    let ended = |conn| room.edges.ended_by_leave(&peer(1).id, ConnId(conn)).to_vec();
    assert_eq!(ended(5), [ConnId(1), ConnId(3), ConnId(5)]);
    assert_eq!(ended(3), [ConnId(1), ConnId(3)]);
    assert_eq!(ended(1), [ConnId(1)]);
    assert_eq!(room.edges.ended_by_leave(&peer(3).id, ConnId(9)), []);
}

#[test]
fn a_spare_conn_is_closed_when_more_are_accepted_than_settled() {
    let mut room = router();
    room.attach(1, peer(1), false);
    room.attach(2, peer(1), false);
    room.attach(3, peer(2), true);
    room.accept(4, peer(4));
    assert_eq!(room.close_spare_conn(3), (Lost::Nothing, vec![]));
    assert_eq!(room.close_spare_conn(2), (Lost::Spare, shown([abort(1), stop(1)])));
    assert_eq!(room.close_spare_conn(0), (Lost::Nothing, vec![]), "no edge has two");
    assert_eq!((room.sender(1), room.drops()), (SentBy::Gone, vec![]));
}

#[test]
fn an_edge_that_ended_without_a_close_of_the_peer_was_silent() {
    use ConnDownReason::{
        ClosedByPeer, ClosedHere, PeerMisbehaved, Reset, Silent, Stalled, TimedOut,
    };
    let mut room = router();
    room.attach(1, peer(1), true);
    let edge = room.edge(peer(1)).clone();
    let is_silent = |reason| EndedEdge { edge: edge.clone(), reason }.is_silent();
    for reason in [TimedOut, Stalled] {
        assert!(is_silent(EdgeDownReason::Conn(reason)), "{reason:?}");
    }
    for reason in [ClosedHere, ClosedByPeer, PeerMisbehaved, Silent, Reset] {
        assert!(!is_silent(EdgeDownReason::Conn(reason)), "{reason:?}");
    }
    assert!(is_silent(EdgeDownReason::Dead));
    assert!(!is_silent(EdgeDownReason::Left) && !is_silent(EdgeDownReason::ClosedHere));
}
