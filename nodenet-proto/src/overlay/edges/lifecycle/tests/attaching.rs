//! Conns that join an edge, and the first ping on them.

use super::*;
use crate::addr::Subnet;
use crate::wire::{Capabilities, CapablePing, Ping};

fn up(conn: u64, peer: Peer, [is_outgoing, is_new, is_taken]: [bool; 3]) -> EdgeUp {
    EdgeUp { peer, conn: ConnId(conn), is_outgoing, is_new, is_taken }
}

#[test]
fn the_first_conn_of_a_dial_makes_an_edge_that_the_peer_has_not_taken() {
    let mut room = router();
    let (attached, actions) = room.run(|edges, cx| edges.attach(cx, ConnId(1), peer(1), true));
    assert_eq!(actions, shown([edge_up(peer(1), true)]));
    assert_eq!(lost(attached.loss), Lost::Nothing);
    assert_eq!(attached.up, Some(up(1, peer(1), [true, true, false])));
    assert_eq!(room.sender(1), SentBy::Edge(peer(1).id));
    let edge = room.edge(peer(1));
    assert_eq!((edge.key, edge.since, edge.is_taken()), (peer(1).key, at(0), false));
    assert_eq!(edge.subnet, Some(Subnet::of([192, 0, 2, 0].into())));
    assert_eq!(room.drops(), []);
}

#[test]
fn an_edge_over_loopback_counts_for_no_subnet() {
    let mut room = router();
    let remote = SocketAddr::from(([127, 0, 0, 1], 4242));
    room.attach(1, Peer { remote, ..peer(1) }, true);
    assert_eq!(room.edge(peer(1)).subnet, None);
}

#[test]
fn the_first_conn_that_the_peer_opened_gives_the_edge_its_subnet() {
    let mut room = router();
    let mapped = std::net::Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped();
    let peer = Peer { remote: SocketAddr::from((mapped, 4242)), ..peer(1) };
    assert_eq!(room.attach(1, peer, false), up(1, peer, [false, true, true]));
    assert_eq!(room.edge(peer).subnet, Some(Subnet::of([198, 51, 100, 0].into())));
}

#[test]
fn a_second_conn_joins_the_edge_without_an_event() {
    let mut room = router();
    room.attach(1, peer(1), true);
    let elsewhere = Peer { remote: SocketAddr::from(([198, 51, 100, 1], 4242)), ..peer(1) };
    let (attached, actions) = room.run(|edges, cx| edges.attach(cx, ConnId(2), elsewhere, false));
    assert_eq!(actions, NONE);
    assert_eq!(lost(attached.loss), Lost::Nothing);
    assert_eq!(attached.up, Some(up(2, elsewhere, [false, false, true])));
    assert_eq!(room.sender(2), SentBy::Edge(peer(1).id));
    let subnet = room.edge(peer(1)).subnet;
    assert_eq!(subnet, Some(Subnet::of([192, 0, 2, 0].into())), "the peer chose the other one");
}

#[test]
fn a_dial_to_another_address_moves_the_edge_to_its_subnet() {
    let mut room = router();
    room.attach(1, peer(1), false);
    let elsewhere = Peer { remote: SocketAddr::from(([198, 51, 100, 1], 4242)), ..peer(1) };
    assert_eq!(room.attach(2, elsewhere, true), up(2, elsewhere, [true, false, true]));
    assert_eq!(room.edge(peer(1)).subnet, Some(Subnet::of([198, 51, 100, 0].into())));
}

#[test]
fn a_fourth_conn_closes_the_one_silent_longest() {
    let mut room = router();
    for conn in 1..=3 {
        room.attach(conn, peer(1), true);
    }
    let (attached, actions) = room.run(|edges, cx| edges.attach(cx, ConnId(4), peer(1), true));
    assert_eq!(actions, shown([stop(1), abort(1)]));
    assert_eq!(lost(attached.loss), Lost::Spare);
    assert_eq!(attached.up, Some(up(4, peer(1), [true, false, false])));
    assert_eq!((room.sender(1), room.sender(4)), (SentBy::Gone, SentBy::Edge(peer(1).id)));
    assert_eq!(room.drops(), []);
}

#[test]
fn a_replacement_that_leaves_one_inbound_edge_too_many_ends_the_edge() {
    let mut room = Room::with_places(1);
    room.attach(1, peer(1), false);
    for (conn, is_outgoing) in [(2, true), (3, false), (4, false)] {
        room.attach(conn, peer(2), is_outgoing);
    }
    let (attached, actions) = room.run(|edges, cx| edges.attach(cx, ConnId(5), peer(2), false));
    let mut expected = vec![stop(2), abort(2)];
    expected.extend(leave(&[3, 4, 5]));
    assert_eq!(actions, shown(expected));
    let ended = Lost::Edge(peer(2).id, EdgeDownReason::ClosedHere, vec![3, 4, 5]);
    assert_eq!((lost(attached.loss), attached.up), (ended, None));
    assert_eq!([2, 3, 4, 5].map(|conn| room.sender(conn)), [const { SentBy::Gone }; 4]);
    assert_eq!(room.edges.table().len(), 1);
    assert_eq!(room.drops(), [(DropReason::InboundFull, 1)]);
}

#[test]
fn a_peer_that_comes_back_finds_its_budgets_as_it_left_them() {
    let mut room = router();
    room.attach(1, peer(1), false);
    assert_eq!(room.spend(1, peer(1), Some(FrameType::Ping)), 32);
    let spent = room.edge(peer(1)).budgets;
    let (ended, _) = room.run(|edges, cx| edges.close_edge(cx, &peer(1).id));
    assert!(ended.is_some());
    room.attach(2, peer(1), false);
    assert_eq!(room.edge(peer(1)).budgets, spent);
    room.attach(3, peer(2), false);
    assert_ne!(room.edge(peer(2)).budgets, spent);
}

#[test]
fn a_conn_that_this_node_dialed_is_pinged_at_once() {
    let mut room = router();
    let up = room.attach(1, peer(1), true);
    room.around.pass(SECOND);
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
    assert_eq!(actions, shown([control(1, &Ping), set(1, at(1) + SECOND / 2)]));
    assert_eq!(lost(loss), Lost::Nothing);
    assert_eq!(room.ping_state(1, peer(1)), (at(1), true, true));
}

#[test]
fn a_light_node_pings_an_accepted_conn_too_and_says_what_it_is() {
    let mut room = light();
    let up = room.attach(1, peer(1), false);
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
    let ping = CapablePing { capabilities: Capabilities::default().with(Capabilities::LIGHT) };
    assert_eq!(actions, shown([control(1, &ping), set(1, at(0) + SECOND / 2)]));
    assert_eq!(lost(loss), Lost::Nothing);
}

#[test]
fn an_accepted_conn_is_not_pinged_but_looked_at_later() {
    let mut room = router();
    let up = room.attach(1, peer(1), false);
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
    assert_eq!(actions, shown([set(1, at(32))]), "half a minute, aligned to eight seconds");
    assert_eq!(lost(loss), Lost::Nothing);
    assert_eq!(room.ping_state(1, peer(1)), (at(0), false, false));
}

#[test]
fn a_node_without_maintenance_sets_no_timer() {
    let mut room = without_maintenance();
    let up = room.attach(1, peer(1), false);
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
    assert_eq!((lost(loss), actions), (Lost::Nothing, vec![]));
    let up = room.attach(2, peer(2), true);
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &up));
    assert_eq!((lost(loss), actions), (Lost::Nothing, shown([control(2, &Ping)])));
}

#[test]
fn a_look_at_an_accepted_conn_that_finds_it_dead_ends_the_edge() {
    let mut room = router();
    let dialed = room.attach(1, peer(1), true);
    let _ = room.run(|edges, cx| edges.greet(cx, &dialed));
    room.around.pass(5 * SECOND);
    let accepted = EdgeUp { is_outgoing: false, ..dialed };
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &accepted));
    assert_eq!(actions, shown([abort(1), stop(1)]));
    assert_eq!(lost(loss), Lost::Edge(peer(1).id, EdgeDownReason::Dead, vec![1]));
}

#[test]
fn a_conn_that_ended_before_its_first_ping_is_left_alone() {
    let mut room = router();
    let up = room.attach(1, peer(1), true);
    let gone = EdgeUp { conn: ConnId(9), ..up };
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &gone));
    assert_eq!((lost(loss), actions), (Lost::Nothing, vec![]));
    let unknown = EdgeUp { peer: peer(2), ..up };
    let (loss, actions) = room.run(|edges, cx| edges.greet(cx, &unknown));
    assert_eq!((lost(loss), actions), (Lost::Nothing, vec![]));
}

/// An edge with a relayed conn, and a direct one that this node dialed beside it.
fn upgrading() -> Room {
    let mut room = router();
    room.attach(1, peer(1), true);
    room.run(|edges, cx| edges.set_path(cx, &peer(1).id, ConnId(1), PathKind::Relayed));
    room.attach(2, peer(1), true);
    let (_, actions) =
        room.run(|edges, cx| edges.set_path(cx, &peer(1).id, ConnId(2), PathKind::Direct));
    assert_eq!(actions, NONE);
    room
}

#[test]
fn a_direct_conn_replaces_a_relayed_one_once_the_peer_sent_on_it() {
    let mut room = upgrading();
    assert_eq!(room.edge(peer(1)).send_conn().id, ConnId(1), "the peer may not take it");
    let (_, actions) = room.charge(2, peer(1), Some(FrameType::Pong));
    let last = Action::Offer {
        class: Class::Leave,
        frame: Ping.to_frame(),
        hops: heapless::Vec::from_iter([ConnId(1)]),
    };
    assert_eq!(actions, shown([Action::FirstFrame(peer(1).id), last, set(1, at(10))]));
    assert_eq!(room.edge(peer(1)).send_conn().id, ConnId(2));
    room.charge(1, peer(1), Some(FrameType::App));
    assert_eq!(room.edge(peer(1)).send_conn().id, ConnId(2), "what was under way changes nothing");
    assert!(!room.edges.is_retired(&peer(1).id, ConnId(1)));
    room.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, true));
    assert!(room.edges.is_retired(&peer(1).id, ConnId(1)));
}

#[test]
fn a_ping_that_was_under_way_before_the_last_one_takes_a_pong_more() {
    let mut room = upgrading();
    room.edge_mut(peer(1)).conn_mut(ConnId(1)).expect("it is there").pongs_due = 1;
    room.charge(2, peer(1), Some(FrameType::Pong));
    for retired in [false, true] {
        room.run(|edges, cx| edges.observe_pong(cx, ConnId(1), &peer(1).id, true));
        assert_eq!(room.edges.is_retired(&peer(1).id, ConnId(1)), retired);
    }
}

#[test]
fn the_last_pong_goes_behind_all_that_waits_on_the_relayed_conn() {
    let mut room = router();
    room.attach(1, peer(1), false);
    room.run(|edges, cx| edges.set_path(cx, &peer(1).id, ConnId(1), PathKind::Relayed));
    room.attach(2, peer(1), false);
    room.run(|edges, cx| edges.set_path(cx, &peer(1).id, ConnId(2), PathKind::Direct));
    room.around.paths.set(ConnId(1), peer(1).remote, Duration::from_millis(10));
    let (_, actions) = room.run(|edges, cx| edges.answer_ping(cx, ConnId(1)));
    let pong = wire::Pong { observed: wire::Addr::default() };
    let hops = heapless::Vec::from_iter([ConnId(1)]);
    let last = Action::Offer { class: Class::Leave, frame: pong.to_frame(), hops };
    assert_eq!(actions, shown([last]));
}
