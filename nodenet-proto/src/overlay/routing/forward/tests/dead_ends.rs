//! Dead ends, and detours around them.

use super::*;
use crate::env::Rate;

impl Room {
    /// Detour tokens that a neighbour is sure of, eight at most.
    fn sure(&self, neighbour: u8) -> usize {
        let may = |pieces| self.edges.may_detour(self.around.now, &id(neighbour), pieces);
        (1..=9).take_while(|&pieces| may(pieces)).count()
    }

    /// Detour tokens that all neighbours share, 128 at most.
    fn shared(&self) -> usize {
        let Self { routing, around, .. } = self;
        let holds = |count| routing.detours.holds(around.now, Rate::DETOUR_SHARED, count);
        (1..=129).take_while(|&count| holds(count)).count()
    }
}

/// Every message towards the target is at its dead end here: no neighbour is closer.
fn dead_end() -> Room {
    Room::new(&[0x40, 0x80, 0x20, 0x10])
}

/// What hands a message to each of these neighbours.
fn offers(ways: &[u8], sent: &Envelope) -> Vec<String> {
    shown(ways.iter().map(|&way| offer(&[way], FrameType::Route, sent)))
}

#[test]
fn a_dead_end_offers_a_message_to_every_way_around_it() {
    let mut room = dead_end();
    let sent = message(1, TARGET, b"around");
    let expected = offers(&[0x80, 0x20, 0x10], &with_hop_limit(&sent, 15));
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, expected));
    assert_eq!((room.drops(), room.remembered()), (vec![], 1));
    assert_eq!((room.sure(0x40), room.shared(), room.routing.originators.count()), (7, 128, 1));
}

#[test]
fn a_detour_begins_with_neighbours_that_any_node_can_dial() {
    let mut room = dead_end();
    room.anchors = vec![id(0x10), id(0x40)];
    let sent = message(1, TARGET, b"around");
    let expected = offers(&[0x10, 0x80, 0x20], &with_hop_limit(&sent, 15));
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, expected));
}

#[test]
fn a_detour_leaves_out_nodes_that_the_message_avoids() {
    let mut room = dead_end();
    let sent = avoiding(&message(1, TARGET, b"around"), &[id(0x80)]);
    let expected = offers(&[0x20, 0x10], &with_hop_limit(&sent, 15));
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, expected));
}

#[test]
fn a_detour_lowers_the_hop_limit_and_needs_one_more() {
    for (received, passed_on) in [(2, 1), (16, 15), (255, 15)] {
        let sent = message(1, TARGET, b"around");
        let expected = offers(&[0x80, 0x20, 0x10], &with_hop_limit(&sent, passed_on));
        let sent = with_hop_limit(&sent, received);
        let arrived = dead_end().route(0x40, FrameType::Route, &sent);
        assert_eq!(arrived, (Arrived::Done, expected), "{received}");
    }
    for mut room in [dead_end(), Room::new(&[0x40])] {
        let sent = with_hop_limit(&message(1, TARGET, b"tired"), 1);
        assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::HopLimitSpent, 1)]);
        assert_eq!((room.sure(0x40), room.remembered()), (8, 0));
    }
}

#[test]
fn a_dead_end_without_a_way_around_discards() {
    let mut room = Room::new(&[0x40]);
    let sent = message(1, TARGET, b"nowhere");
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::DeadEnd, 1)]);
    assert_eq!((room.sure(0x40), room.shared(), room.remembered()), (8, 128, 0));
}

#[test]
fn an_answer_takes_no_detour() {
    let mut room = dead_end();
    let sent = sign(&identity(1), FrameType::Neighbors, TARGET, WALL, b"near");
    assert_eq!(room.route(0x40, FrameType::Neighbors, &sent), (Arrived::Done, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::DeadEnd, 1)], 0));
}

#[test]
fn a_message_that_avoids_its_own_target_takes_no_detour() {
    let mut room = dead_end();
    let sent = avoiding(&message(1, TARGET, b"never there"), &[id(0x01), TARGET]);
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::DeadEnd, 1)], 0));
}

#[test]
fn a_question_is_answered_where_it_finds_a_dead_end() {
    let mut room = dead_end();
    let arrived = room.route(0x40, FrameType::Lookup, &question(1, TARGET));
    assert_eq!(arrived, (asked(1, TARGET), vec![]));
    assert_eq!((room.drops(), room.sure(0x40)), (vec![], 8));
}

#[test]
fn a_message_on_a_detour_goes_to_its_target_alone() {
    let mut room = Room::new(&[0x80, 0xf0, 0xf8]);
    let sent = message(1, TARGET, b"on a detour");
    // From a neighbour that is nearer, and from one that is near and gone.
    for from in [0xf0, 0xf4] {
        assert_eq!(room.route(from, FrameType::Route, &sent), (Arrived::Done, vec![]));
        assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::DeadEnd, 1)], 0));
    }
    let target = id(0xff);
    room.attach(0xff, [0xff; 32]);
    let sent = message(1, target, b"on a detour");
    let expected = offer(&[0xff], FrameType::Route, &with_hop_limit(&sent, 15));
    let arrived = room.route(0xf0, FrameType::Route, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
}

#[test]
fn a_message_from_a_farther_neighbour_is_on_no_detour() {
    let mut room = Room::new(&[0x80, 0xf0, 0xf8]);
    let sent = message(1, TARGET, b"on its way");
    let expected = offer(&[0xf8, 0xf0], FrameType::Route, &with_hop_limit(&sent, 15));
    let arrived = room.route(0x80, FrameType::Route, &sent);
    assert_eq!(arrived, (Arrived::Done, shown([expected])));
}

#[test]
fn a_message_that_a_nearer_neighbour_made_is_on_no_detour() {
    let mut room = Room::new(&[0x80, 0x40]);
    room.attach(0xf0, *identity(1).public_key());
    let sent = message(1, TARGET, b"its own");
    let expected = offers(&[0x80, 0x40], &with_hop_limit(&sent, 15));
    assert_eq!(room.route(0xf0, FrameType::Route, &sent), (Arrived::Done, expected));
    let others = message(2, TARGET, b"of another");
    assert_eq!(room.route(0xf0, FrameType::Route, &others), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::DeadEnd, 1)]);
}

#[test]
fn a_detour_is_charged_by_pieces_of_four_kibibytes() {
    for (len, pieces) in [(0, 1), (1, 1), (4096, 1), (4097, 2), (8192, 2), (32_768, 8)] {
        let mut room = dead_end();
        let sent = message(1, TARGET, &vec![0; len]);
        assert_eq!(room.route(0x40, FrameType::Route, &sent).1.len(), 3);
        assert_eq!((room.sure(0x40), room.shared()), (8 - pieces, 128), "{len}");
    }
}

#[test]
fn a_detour_of_more_than_a_neighbour_is_sure_of_is_charged_to_all() {
    let mut room = dead_end();
    let sent = message(1, TARGET, &[0; 8 * 4096 + 1]);
    assert_eq!(room.route(0x40, FrameType::Route, &sent).1.len(), 3);
    assert_eq!((room.sure(0x40), room.shared()), (8, 119));
}

#[test]
fn a_neighbour_may_cause_detours_from_its_budget_and_then_from_that_of_all() {
    let mut room = dead_end();
    let mut messages = (0_u64..).map(|count| message(count / 16, TARGET, &count.to_be_bytes()));
    let mut detour = |room: &mut Room, from| {
        let sent = messages.next().expect("there is no end");
        room.route(from, FrameType::Route, &sent).1.len()
    };
    for left in (0..8).rev() {
        assert_eq!(detour(&mut room, 0x40), 3);
        assert_eq!((room.sure(0x40), room.shared()), (left, 128));
    }
    for left in (0..128).rev() {
        assert_eq!(detour(&mut room, 0x40), 3);
        assert_eq!((room.sure(0x40), room.shared()), (0, left));
    }
    assert_eq!((room.drops(), room.remembered()), (vec![], 136));
    assert_eq!(detour(&mut room, 0x40), 0);
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::DetourRateLimited, 1)], 136));
    assert_eq!(detour(&mut room, 0x80), 3, "another neighbour is sure of its own");
    assert_eq!((room.sure(0x80), room.drops()), (7, vec![]));
}

#[test]
fn a_flood_of_detours_costs_no_signature_check() {
    let mut room = dead_end();
    for count in 0..17_u8 {
        let sent = message(count.into(), TARGET, &vec![count; 8 * 4096]);
        assert_eq!(room.route(0x40, FrameType::Route, &sent).1.len(), 3);
    }
    let sent = forged(&message(99, TARGET, b"flood"));
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::DetourRateLimited, 1)]);
}

#[test]
fn a_forged_message_takes_no_detour_and_no_budget() {
    let mut room = dead_end();
    let sent = forged(&message(1, TARGET, b"around"));
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::BadSignature, 1)], 0));
    assert_eq!((room.sure(0x40), room.shared(), room.routing.originators.count()), (8, 128, 0));
}

#[test]
fn a_message_takes_one_detour_whichever_way_its_copies_come() {
    let mut room = dead_end();
    let sent = message(1, TARGET, b"around");
    assert_eq!(room.route(0x40, FrameType::Route, &sent).1.len(), 3);
    assert_eq!(room.route(0x80, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::Duplicate, 1)], 1));
    assert_eq!((room.sure(0x40), room.sure(0x80), room.shared()), (7, 8, 128));
}

#[test]
fn an_originator_pays_for_detours_as_for_questions() {
    let mut room = dead_end();
    for first in OWN + 1..=OWN + 32 {
        let sent = question(1, id(first));
        assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (asked(1, id(first)), vec![]));
    }
    let sent = message(1, TARGET, b"around");
    assert_eq!(room.route(0x40, FrameType::Route, &sent), (Arrived::Done, vec![]));
    let limited = vec![(DropReason::OriginatorRateLimited, 1)];
    assert_eq!((room.drops(), room.remembered()), (limited, 32));
    assert_eq!((room.sure(0x40), room.shared()), (8, 128), "nor does the neighbour pay");
    room.pass(1);
    assert_eq!(room.route(0x40, FrameType::Route, &sent).1.len(), 3, "the same message");
    assert_eq!((room.drops(), room.remembered()), (vec![], 33));
}
