//! Messages that go on, and messages that are for this node.

use super::*;

#[test]
fn a_message_goes_on_to_the_closer_neighbours_nearest_first() {
    let mut room = Room::new(&[0x80, 0xf0, 0xfe, 0xe0]);
    let sent = message(1, TARGET, b"onward");
    let expected = offer(&[0xfe, 0xf0, 0xe0], FrameType::Route, &with_hop_limit(&sent, 15));
    let arrived = room.route(0x80, FrameType::Route, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
    assert_eq!((room.drops(), room.remembered()), (vec![], 0));
}

#[test]
fn each_hop_lowers_the_hop_limit_which_is_sixteen_at_most() {
    for (received, passed_on) in [(1, 0), (7, 6), (16, 15), (255, 15)] {
        let mut room = Room::new(&[0x80, 0xf0]);
        let sent = message(1, TARGET, b"onward");
        let expected = offer(&[0xf0], FrameType::Route, &with_hop_limit(&sent, passed_on));
        let arrived = room.route(0x80, FrameType::Route, &with_hop_limit(&sent, received));
        assert_eq!(arrived, (Arrived::Done, shown([expected])), "{received}");
    }
}

#[test]
fn a_message_goes_neither_back_nor_to_nodes_that_it_avoids() {
    let mut room = Room::new(&[0xc8, 0xf0, 0xfe, 0xe0]);
    let key = *identity(1).public_key();
    room.attach(0xf8, key);
    let sent = avoiding(&message(1, TARGET, b"onward"), &[id(0xfe)]);
    let expected = offer(&[0xf0, 0xe0, 0xc8], FrameType::Route, &with_hop_limit(&sent, 15));
    let arrived = room.route(0xf8, FrameType::Route, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
}

#[test]
fn the_copy_that_takes_the_second_best_way_swaps_the_first_two_hops() {
    let mut room = Room::new(&[0x80, 0xf0, 0xfe, 0xe0]);
    for (avoid, hops) in [([0x01, 0x41], [0xf0, 0xfe, 0xe0]), ([0x41, 0x01], [0xfe, 0xf0, 0xe0])] {
        let sent = avoiding(&message(1, TARGET, b"copy"), &avoid.map(id));
        let expected = offer(&hops, FrameType::Route, &with_hop_limit(&sent, 15));
        let arrived = room.route(0x80, FrameType::Route, &sent);
        assert_eq!(arrived, (Arrived::Done, shown([expected])));
    }
}

#[test]
fn nothing_is_verified_or_remembered_in_transit() {
    let mut room = Room::new(&[0x80, 0xf0]);
    let sent = forged(&message(1, TARGET, b"onward"));
    let expected = shown([offer(&[0xf0], FrameType::Route, &with_hop_limit(&sent, 15))]);
    for _ in 0..2 {
        let arrived = room.route(0x80, FrameType::Route, &sent);
        assert_eq!(arrived, (Arrived::Done, expected.clone()));
    }
    assert_eq!((room.drops(), room.remembered()), (vec![], 0));
}

#[test]
fn a_question_goes_on_while_a_closer_neighbour_is_awake() {
    let mut room = Room::new(&[0x80, 0xf0, 0xfe]);
    room.edges.set_light(&id(0xfe), true);
    let sent = question(1, TARGET);
    let expected = offer(&[0xf0, 0xfe], FrameType::Lookup, &with_hop_limit(&sent, 15));
    let arrived = room.route(0x80, FrameType::Lookup, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
}

#[test]
fn a_question_that_would_wake_a_light_neighbour_is_answered_here() {
    let mut room = Room::new(&[0x80, 0xfe]);
    room.edges.set_light(&id(0xfe), true);
    let arrived = room.route(0x80, FrameType::Lookup, &question(1, TARGET));
    assert_eq!(arrived, (asked(1, TARGET), vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![], 1));
}

#[test]
fn a_message_that_is_no_question_wakes_a_light_neighbour() {
    let mut room = Room::new(&[0x80, 0xfe]);
    room.edges.set_light(&id(0xfe), true);
    let sent = message(1, TARGET, b"wake up");
    let expected = offer(&[0xfe], FrameType::Route, &with_hop_limit(&sent, 15));
    let arrived = room.route(0x80, FrameType::Route, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
}

#[test]
fn a_message_whose_hop_limit_is_spent_goes_no_farther() {
    let mut room = Room::new(&[0x80, 0xf0]);
    for frame_type in [FrameType::Route, FrameType::Neighbors, FrameType::Hello] {
        let sent = sign(&identity(1), frame_type, TARGET, WALL, b"tired");
        let arrived = room.route(0x80, frame_type, &with_hop_limit(&sent, 0));
        assert_eq!(arrived, (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::HopLimitSpent, 1)]);
    }
    assert_eq!(room.remembered(), 0);
}

#[test]
fn a_question_whose_hop_limit_is_spent_is_answered_here() {
    let mut room = Room::new(&[0x80, 0xf0]);
    let sent = with_hop_limit(&question(1, TARGET), 0);
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (asked(1, TARGET), vec![]));
    assert_eq!(room.drops(), []);
}

#[test]
fn a_message_for_this_node_is_delivered_with_the_edges_it_crossed() {
    for (hop_limit, hops) in [(16, 1), (15, 2), (1, 16), (0, 17), (17, 1), (255, 1)] {
        let mut room = Room::new(&[0x80, 0xf0]);
        let sent = with_hop_limit(&message(1, id(OWN), b"here"), hop_limit);
        let arrived = room.route(0x80, FrameType::Route, &sent);
        let expected = shown([deliver(1, b"here", hops)]);
        assert_eq!(arrived, (delivered(1), expected), "{hop_limit}");
        assert_eq!((room.drops(), room.remembered()), (vec![], 1));
    }
}

#[test]
fn deliveries_are_not_charged_to_their_originator() {
    let mut room = Room::new(&[0x80]);
    for count in 0..40_u8 {
        let sent = message(1, id(OWN), &[count]);
        assert_eq!(room.route(0x80, FrameType::Route, &sent).0, delivered(1));
    }
    assert_eq!((room.drops(), room.remembered()), (vec![], 40));
    assert_eq!(room.routing.originators.count(), 0);
}

#[test]
fn a_question_for_this_node_is_answered_here() {
    let mut room = Room::new(&[0x80, 0xf0]);
    let arrived = room.route(0x80, FrameType::Lookup, &question(1, id(OWN)));
    assert_eq!(arrived, (asked(1, id(OWN)), vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![], 1));
    assert_eq!(room.routing.originators.count(), 1, "which is charged");
}

#[test]
fn an_answer_for_this_node_is_handed_on_unchecked() {
    let mut room = Room::new(&[0x80]);
    let sent = forged(&sign(&identity(1), FrameType::Neighbors, id(OWN), WALL, b"near"));
    let expected = Arrived::Neighbors(FrameType::Neighbors, Bytes::from_static(b"near"));
    assert_eq!(room.route(0x80, FrameType::Neighbors, &sent), (expected, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![], 0));
}

#[test]
fn a_message_for_a_service_is_handed_on_unchecked() {
    use FrameType::{Connect, ConnectAck, Hello, Reply};
    let mut room = Room::new(&[0x80]);
    for frame_type in [Hello, Reply, Connect, ConnectAck] {
        let sent = forged(&sign(&identity(1), frame_type, id(OWN), WALL, b"service"));
        let expected = Arrived::Unserved(frame_type, Bytes::from_static(b"service"));
        assert_eq!(room.route(0x80, frame_type, &sent), (expected, vec![]));
    }
    assert_eq!((room.drops(), room.remembered()), (vec![], 0));
}
