//! Work, freshness, signatures, duplicates and the budget of originators.

use super::*;
use crate::api::Event;

const NANOS_PER_S: i64 = 1_000_000_000;

impl Room {
    /// Remembers so many more messages that came over a neighbour.
    fn fill_duplicates(&mut self, neighbour: u8, count: usize) {
        for number in self.remembered()..self.remembered() + count {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
            self.routing.duplicates.insert(&digest, id(neighbour), WALL);
        }
    }
}

/// Messages that are remembered of one neighbour if there are none of others.
fn duplicates_max() -> usize {
    let mut room = Room::new(&[0x80]);
    let mut has_room = || {
        room.fill_duplicates(0x80, 1);
        room.routing.duplicates.has_room(WALL, &id(0x80))
    };
    1 + (0..40_000).take_while(|_| has_room()).count()
}

/// The first identity whose identifier begins with exactly so many zero bits.
fn with_work(zeros: u16) -> Identity {
    let mut identities = (1..).map(identity);
    identities.find(|identity| identity.id().leading_zeros() == zeros).expect("the range is long")
}

/// A message for this node that was made so many nanoseconds ahead of its clock.
fn ahead(originator: u64, nanos: i64, payload: &[u8]) -> Envelope {
    let sent = UnixNanos(WALL.0 + nanos);
    sign(&identity(originator), FrameType::Route, id(OWN), sent, payload)
}

#[test]
fn a_message_whose_originator_lacks_the_work_of_the_network_is_discarded() {
    let config = || Config { difficulty: 3, ..Config::default() };
    for target in [id(OWN), TARGET] {
        let mut room = Room::with_config(&[0x80, 0xf0], config());
        let sent = sign(&with_work(2), FrameType::Route, target, UnixNanos(0), b"cheap");
        assert_eq!(room.route(0x80, FrameType::Route, &sent), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::OriginatorWorkUnmet, 1)], "however old it is");
        let sent = sign(&with_work(3), FrameType::Route, target, WALL, b"dear");
        assert_eq!(room.route(0x80, FrameType::Route, &sent).1.len(), 1);
        assert_eq!(room.drops(), []);
    }
}

#[test]
fn a_message_is_fresh_for_half_a_minute_in_either_direction() {
    let age_max = 30 * NANOS_PER_S;
    let mut room = Room::new(&[0x80]);
    for nanos in [-age_max, age_max] {
        let arrived = room.route(0x80, FrameType::Route, &ahead(1, nanos, b"fresh"));
        assert_eq!(arrived, (delivered(1), shown([deliver(1, b"fresh", 1)])));
        assert_eq!(room.drops(), []);
    }
    for nanos in [-age_max - 1, age_max + 1] {
        let arrived = room.route(0x80, FrameType::Route, &ahead(1, nanos, b"stale"));
        assert_eq!(arrived, (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::Stale, 1)]);
    }
    assert_eq!(room.remembered(), 2);
}

#[test]
fn a_stale_message_does_not_go_on() {
    let mut room = Room::new(&[0x80, 0xf0]);
    let sent = sign(&identity(1), FrameType::Route, TARGET, UnixNanos(0), b"stale");
    assert_eq!(room.route(0x80, FrameType::Route, &sent), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::Stale, 1)]);
}

#[test]
fn stale_messages_that_agree_raise_the_suspicion_of_a_wrong_clock_once() {
    let mut room = Room::new(&[0x80, 0x40]);
    let mut events = Vec::new();
    for count in 0..40 {
        let from = if count % 2 == 0 { 0x80 } else { 0x40 };
        let sent = ahead(1, 3600 * NANOS_PER_S, b"from the future");
        let (arrived, actions) = room.route(from, FrameType::Route, &sent);
        assert_eq!(arrived, Arrived::Done);
        events.extend(actions.into_iter().map(|action| (count, action)));
    }
    let suspected = Action::Event(Event::ClockSkewSuspected { offset_s: 3600 });
    let [suspected] = &shown([suspected])[..] else { unreachable!("there is one") };
    assert_eq!(events, [(11, suspected.clone())]);
    assert_eq!(room.drops(), [(DropReason::Stale, 40)]);
}

#[test]
fn one_neighbour_of_several_raises_no_suspicion_and_the_only_one_does() {
    for (neighbours, suspicions) in [(&[0x80][..], 1), (&[0x80, 0x40], 0)] {
        let mut room = Room::new(neighbours);
        let sent = ahead(1, 3600 * NANOS_PER_S, b"from the future");
        let acts = (0..40).map(|_| room.route(0x80, FrameType::Route, &sent).1.len());
        assert_eq!(acts.sum::<usize>(), suspicions);
    }
}

#[test]
fn fresh_messages_among_the_stale_ones_dispel_the_suspicion() {
    let mut room = Room::new(&[0x80]);
    let stale = ahead(1, 3600 * NANOS_PER_S, b"from the future");
    let fresh = forged(&ahead(1, 0, b"of now"));
    for _ in 0..4 {
        for _ in 0..11 {
            assert_eq!(room.route(0x80, FrameType::Route, &stale), (Arrived::Done, vec![]));
        }
        for _ in 0..16 {
            assert_eq!(room.route(0x80, FrameType::Route, &fresh), (Arrived::Done, vec![]));
        }
    }
}

#[test]
fn a_second_copy_is_not_delivered_whichever_way_it_comes() {
    let mut room = Room::new(&[0x80, 0x40]);
    let sent = message(1, id(OWN), b"once");
    assert_eq!(room.route(0x80, FrameType::Route, &sent).0, delivered(1));
    assert_eq!(room.drops(), []);
    let copy = with_hop_limit(&avoiding(&sent, &[id(0x80)]), 9);
    for (from, copy) in [(0x80, sent.clone()), (0x40, copy), (0x80, forged(&sent))] {
        assert_eq!(room.route(from, FrameType::Route, &copy), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::Duplicate, 1)]);
    }
    assert_eq!(room.remembered(), 1);
}

#[test]
fn a_question_is_taken_once() {
    let mut room = Room::new(&[0x80]);
    let sent = question(1, TARGET);
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (asked(1, TARGET), vec![]));
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (Arrived::Done, vec![]));
    assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::Duplicate, 1)], 1));
}

#[test]
fn a_message_that_can_not_be_remembered_is_not_delivered() {
    let mut room = Room::new(&[0x80, 0x40]);
    room.fill_duplicates(0x80, duplicates_max());
    let sent = message(1, id(OWN), b"no room");
    for sent in [forged(&sent), sent.clone()] {
        assert_eq!(room.route(0x80, FrameType::Route, &sent), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::DuplicatesFull, 1)]);
    }
    let arrived = room.route(0x40, FrameType::Route, &sent);
    assert_eq!(arrived, (delivered(1), shown([deliver(1, b"no room", 1)])));
    assert_eq!(room.drops(), []);
    room.pass(31);
    let sent = ahead(1, 31 * NANOS_PER_S, b"room again");
    assert_eq!(room.route(0x80, FrameType::Route, &sent).0, delivered(1));
}

#[test]
fn a_message_takes_room_of_the_neighbour_that_it_came_over() {
    let expected = [(FrameType::Route, delivered(1)), (FrameType::Lookup, asked(1, id(OWN)))];
    for (frame_type, last) in expected {
        let mut room = Room::new(&[0x80]);
        room.fill_duplicates(0x80, duplicates_max() - 1);
        let sent = |nonce| sign(&identity(1), frame_type, id(OWN), WALL, nonce);
        assert_eq!(room.route(0x80, frame_type, &sent(&NONCE)).0, last);
        assert_eq!(room.route(0x80, frame_type, &sent(&[8; 8])), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::DuplicatesFull, 1)]);
    }
}

#[test]
fn a_forged_message_is_discarded_and_leaves_no_trace() {
    let mut room = Room::new(&[0x80]);
    let sent = message(1, id(OWN), b"genuine");
    let other_key = Envelope { key: *identity(2).public_key(), ..sent.clone() };
    for sent in [forged(&sent), other_key] {
        assert_eq!(room.route(0x80, FrameType::Route, &sent), (Arrived::Done, vec![]));
        assert_eq!((room.drops(), room.remembered()), (vec![(DropReason::BadSignature, 1)], 0));
    }
    assert_eq!(room.route(0x80, FrameType::Route, &sent).0, delivered(1));
}

#[test]
fn a_forged_question_costs_no_originator_a_token() {
    let mut room = Room::new(&[0x80]);
    let sent = forged(&question(1, TARGET));
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::BadSignature, 1)]);
    assert_eq!((room.routing.originators.count(), room.remembered()), (0, 0));
}

#[test]
fn a_malformed_question_is_charged_and_not_answered() {
    let mut room = Room::new(&[0x80]);
    for (count, payload) in [&[7; 7][..], &[7; 9], &[]].into_iter().enumerate() {
        let sent = sign(&identity(1), FrameType::Lookup, TARGET, WALL, payload);
        assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (Arrived::Done, vec![]));
        assert_eq!(room.drops(), [(DropReason::MalformedMessage, 1)]);
        assert_eq!((room.routing.originators.count(), room.remembered()), (1, count + 1));
    }
}

#[test]
fn an_originator_out_of_tokens_is_refused_and_its_message_not_remembered() {
    let mut room = Room::new(&[0x80]);
    for first in 0..32 {
        let sent = question(1, id(first));
        assert_eq!(room.route(0x80, FrameType::Lookup, &sent).0, asked(1, id(first)));
    }
    assert_eq!((room.drops(), room.remembered()), (vec![], 32));
    let sent = question(1, TARGET);
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent), (Arrived::Done, vec![]));
    assert_eq!(room.drops(), [(DropReason::OriginatorRateLimited, 1)]);
    assert_eq!(room.remembered(), 32);
    let other = question(2, TARGET);
    assert_eq!(room.route(0x80, FrameType::Lookup, &other).0, asked(2, TARGET));
    room.pass(1);
    assert_eq!(room.route(0x80, FrameType::Lookup, &sent).0, asked(1, TARGET), "the same message");
    assert_eq!(room.drops(), []);
}
