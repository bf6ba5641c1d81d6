use std::collections::BTreeSet;

use super::*;

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The questions that a bench has now. It does nothing else.
fn questions(bench: &mut Bench, fill: Option<&Fill>) -> Vec<Ask> {
    let (asks, actions) =
        bench.act(|topology, cx, rooms| topology.questions(cx, rooms.view(), fill));
    assert_eq!(actions, []);
    asks.into_iter().collect()
}

/// Which peers a bench asks this, over many streams of random numbers.
fn asked(make: impl Fn() -> Bench, question: Question) -> Vec<NodeId> {
    let peer = |seed| {
        let mut bench = make();
        bench.reseed(seed);
        let asks = questions(&mut bench, None);
        assert_eq!(asks.iter().map(|ask| ask.question).collect::<Vec<_>>(), [question]);
        asks[0].peer
    };
    (0..200).map(peer).collect()
}

fn set(peers: &[NodeId]) -> BTreeSet<NodeId> {
    peers.iter().copied().collect()
}

/// A node with eighteen edges: sixteen near ones, and one in each of the first two buckets. No
/// question is due.
fn quiet() -> Bench {
    let mut bench = Bench::joined(Config::default());
    bench.edge(id(0, 0, 0), true, 20);
    bench.edge(id(1, 0, 0), true, 20);
    let now = bench.around.now;
    bench.topology.schedule.own.due = now + NEVER;
    bench.topology.schedule.vicinity.due = now + NEVER;
    let schedule = &mut bench.topology.schedule;
    schedule.bucket_due(now, 0..31);
    for bucket in 0..31 {
        // Each time the period is twice as long.
        (0..10).for_each(|_| schedule.on_bucket_asked(now, &mut bench.around.rng, bucket));
    }
    bench.around.pass(SECOND);
    bench
}

fn with_own_due() -> Bench {
    let mut bench = quiet();
    bench.topology.schedule.own.due = bench.around.now;
    bench
}

fn with_vicinity_due() -> Bench {
    let mut bench = quiet();
    bench.topology.schedule.vicinity.due = bench.around.now;
    bench
}

#[test]
fn nothing_is_asked_before_it_is_due_or_without_edges() {
    assert_eq!(questions(&mut quiet(), None), []);
    let mut bench = Bench::default();
    let now = bench.around.now;
    (bench.topology.schedule.own.due, bench.topology.schedule.vicinity.due) = (now, now);
    assert_eq!(questions(&mut bench, None), []);
    assert!(bench.topology.schedule.own.is_due(now), "it still is");
}

#[test]
fn the_own_identifier_is_asked_for_at_one_of_the_three_nearest_or_at_a_random_place() {
    let peers = asked(with_own_due, Question::Own);
    let nearest: Vec<NodeId> = (13..16).map(near).collect();
    let (of_nearest, of_others): (Vec<_>, Vec<_>) =
        peers.iter().copied().partition(|peer| nearest.contains(peer));
    assert_eq!(set(&of_nearest), set(&nearest));
    assert!((80..=120).contains(&of_nearest.len()), "about every other time: {peers:?}");
    let count = |peer| of_others.iter().filter(|other| **other == peer).count();
    assert!(count(id(0, 0, 0)) > 30, "half of all identifiers are nearest to it");
    assert!(count(id(1, 0, 0)) > 10, "a quarter");
    assert!(of_others.len() - count(id(0, 0, 0)) - count(id(1, 0, 0)) < 40, "another quarter");
}

#[test]
fn a_neighbour_among_the_sixteen_nearest_is_asked_for_its_vicinity() {
    let peers = asked(with_vicinity_due, Question::Vicinity);
    assert_eq!(set(&peers), (0..16).map(near).collect());
}

#[test]
fn light_neighbours_are_asked_only_if_there_is_no_other() {
    let make = || {
        let mut bench = with_vicinity_due();
        (0..15).for_each(|number| bench.rooms.edges.set_light(&near(number), true));
        bench
    };
    assert_eq!(set(&asked(make, Question::Vicinity)), set(&[near(15)]));
    let make = || {
        let mut bench = make();
        bench.rooms.edges.set_light(&near(15), true);
        bench
    };
    assert_eq!(set(&asked(make, Question::Vicinity)), (0..16).map(near).collect());
    let make = || {
        let mut bench = with_own_due();
        (13..16).for_each(|number| bench.rooms.edges.set_light(&near(number), true));
        bench
    };
    let peers = set(&asked(make, Question::Own));
    assert!((10..13).all(|number| peers.contains(&near(number))), "the next ones are asked");
    assert!((13..16).all(|number| !peers.contains(&near(number))));
    let make = || {
        let mut bench = with_own_due();
        (0..16).for_each(|number| bench.rooms.edges.set_light(&near(number), true));
        [id(0, 0, 0), id(1, 0, 0)].iter().for_each(|id| bench.rooms.edges.set_light(id, true));
        bench
    };
    let peers = asked(make, Question::Own);
    let near = (10..16).map(near).filter(|peer| peers.contains(peer)).collect::<Vec<_>>();
    assert_eq!(near, (13..16).map(super::near).collect::<Vec<_>>(), "three of them at most");
}

#[test]
fn what_was_asked_is_asked_again_later() {
    let mut bench = with_own_due();
    let now = bench.around.now;
    bench.topology.schedule.vicinity.due = now;
    let asks = questions(&mut bench, None);
    let asked: Vec<Question> = asks.iter().map(|ask| ask.question).collect();
    assert_eq!(asked, [Question::Own, Question::Vicinity]);
    assert_ne!(asks[0].nonce, asks[1].nonce);
    let until = |due: Instant| (due - now).as_millis();
    assert!((900..=1100).contains(&until(bench.topology.schedule.own.due)));
    assert!((27_000..=33_000).contains(&until(bench.topology.schedule.vicinity.due)));
    assert_eq!(questions(&mut bench, None), []);
}

#[test]
fn a_node_that_is_not_reachable_asks_for_its_own_identifier_once_a_minute() {
    for (is_reachable, waits) in [(false, 57..71), (true, 800..u64::MAX)] {
        let mut bench = with_own_due();
        if is_reachable {
            bench.around.own.set_reachable(true);
        }
        for _ in 0..12 {
            bench.topology.schedule.own.due = bench.around.now;
            questions(&mut bench, None);
        }
        let wait = bench.topology.schedule.own.due - bench.around.now;
        assert!(waits.contains(&wait.as_secs()), "{wait:?}");
    }
}

/// The target of the one question for a bucket, whether its slot lacks a peer, and who is asked.
fn bucket_question(bench: &mut Bench, fill: Option<&Fill>) -> (NodeId, bool, NodeId) {
    let asks = questions(bench, fill);
    let [Ask { question: Question::Near { target, lacking }, peer, .. }] = asks[..] else {
        panic!("{asks:?}")
    };
    (target, lacking, peer)
}

/// The slots that a bench asks for over many streams of random numbers, and whether they lack a
/// peer. All lie in the bucket, and one of the three edges nearest to the target is asked.
fn slots(make: impl Fn() -> (Bench, Option<Fill>), bucket: u16) -> (BTreeSet<u8>, BTreeSet<bool>) {
    let (mut slots, mut lacks) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..60 {
        let (mut bench, fill) = make();
        bench.reseed(seed);
        let (target, lacking, peer) = bucket_question(&mut bench, fill.as_ref());
        let slot = Slot::of(&OWN, &target, 2);
        assert_eq!(slot.bucket, bucket);
        let nearest = bench.rooms.table().closest::<3>(&target);
        assert!(nearest.iter().any(|edge| edge.peer == peer));
        slots.insert(slot.part);
        lacks.insert(lacking);
    }
    (slots, lacks)
}

/// A node that has joined, with an edge in the first slot of the first bucket.
fn first_bucket_due() -> Bench {
    let mut bench = Bench::joined(Config::default());
    bench.edge(id(0, 0, 0), true, 20);
    bench
}

#[test]
fn a_bucket_is_asked_for_in_a_slot_without_an_edge_a_dial_or_a_contact() {
    let all_lack = (BTreeSet::from([1, 2, 3]), BTreeSet::from([true]));
    assert_eq!(slots(|| (first_bucket_due(), None), 0), all_lack);
    let one_lacks = || {
        let mut bench = first_bucket_due();
        bench.dial(id(0, 1, 0), vec![verified(addr(1))]);
        bench.gossip(id(0, 2, 0), addr(2));
        bench
    };
    let expected = (BTreeSet::from([3]), BTreeSet::from([true]));
    assert_eq!(slots(|| (one_lacks(), None), 0), expected);
    let none_lacks = || {
        let mut bench = one_lacks();
        bench.gossip(id(0, 3, 0), addr(3));
        bench
    };
    let expected = (BTreeSet::from([0, 1, 2, 3]), BTreeSet::from([false]));
    assert_eq!(slots(|| (none_lacks(), None), 0), expected);
    let wanted_just_now = || {
        let mut bench = none_lacks();
        let (fill, _) = bench.fill();
        assert!(fill.wanted.contains(&id(0, 3, 0)));
        bench.hold_off(&id(0, 3, 0), MINUTE);
        (bench, Some(fill))
    };
    assert_eq!(slots(wanted_just_now, 0), expected);
    let held_off = || {
        let (bench, _) = wanted_just_now();
        (bench, None)
    };
    assert_eq!(slots(held_off, 0), (BTreeSet::from([3]), BTreeSet::from([true])));
}

#[test]
fn contacts_of_other_buckets_take_no_slot_of_this_one() {
    let make = || {
        let mut bench = first_bucket_due();
        (0..4).for_each(|part| bench.gossip(id(1, part, 0), addr(part)));
        (bench, None)
    };
    assert_eq!(slots(make, 0), (BTreeSet::from([1, 2, 3]), BTreeSet::from([true])));
}

#[test]
fn in_a_bucket_that_the_nearest_peers_reach_no_slot_lacks_a_peer() {
    let make = || {
        let mut bench = Bench::default();
        bench.edges([0, 5, 9].map(|bucket| id(bucket, 0, 0)), true);
        (bench, None)
    };
    let everywhere = (BTreeSet::from([0, 1, 2, 3]), BTreeSet::from([false]));
    assert_eq!(slots(make, 0), everywhere);
    let mut bench = Bench::default();
    bench.edges((0..14).map(near), true);
    bench.edges([3, 4].map(|bucket| id(bucket, 0, 0)), true);
    let mut lacks = BTreeSet::new();
    for bucket in 0..4 {
        let (target, lacking, _) = bucket_question(&mut bench, None);
        assert_eq!(OWN.common_prefix_len(&target), bucket);
        lacks.extend(lacking.then_some(bucket));
        bench.around.pass(SECOND);
    }
    assert_eq!(lacks, BTreeSet::from([0, 1, 2]), "the sixteenth nearest is in the fourth");
}

#[test]
fn buckets_are_asked_for_one_by_one_half_a_second_apart() {
    let mut bench = first_bucket_due();
    let now = bench.around.now;
    let mut buckets = Vec::new();
    for _ in 0..4 {
        let (target, ..) = bucket_question(&mut bench, None);
        buckets.push(OWN.common_prefix_len(&target));
        assert_eq!(questions(&mut bench, None), []);
        bench.around.pass(500 * MS - MS);
        assert_eq!(questions(&mut bench, None), []);
        bench.around.pass(MS);
    }
    assert_eq!((buckets, bench.around.now - now), (vec![0, 1, 2, 3], 2 * SECOND));
}

#[test]
fn buckets_begin_behind_the_difficulty_and_need_three_edges() {
    let config = Config { difficulty: 5, ..Config::default() };
    let make = || (Bench::joined(config.clone()), None);
    assert_eq!(slots(make, 5), (BTreeSet::from([0, 1, 2, 3]), BTreeSet::from([true])));
    let mut bench = Bench::default();
    bench.edge(near(0), true, 20);
    bench.edge(near(1), true, 20);
    assert_eq!(questions(&mut bench, None), []);
    bench.edge(near(2), true, 20);
    assert_eq!(questions(&mut bench, None).len(), 1);
}

/// Probes the next doubtful incumbent, if there is one.
fn probe(bench: &mut Bench) -> (Option<NodeId>, Vec<Did>) {
    bench.act(|topology, cx, rooms| topology.probe(cx, rooms.view()))
}

fn doubt(bench: &mut Bench, incumbent: NodeId) {
    bench.topology.on_observed(Observed { is_new: true, doubtful: Some(incumbent) });
}

#[test]
fn a_doubtful_incumbent_is_probed_twice_a_minute_at_most() {
    let mut bench = Bench::default();
    assert_eq!(probe(&mut bench), (None, vec![]));
    bench.topology.on_observed(Observed { is_new: true, doubtful: None });
    assert_eq!(probe(&mut bench), (None, vec![]));
    for tail in [1, 2] {
        bench.gossip(id(0, 0, tail), addr(tail));
        doubt(&mut bench, id(0, 0, tail));
    }
    assert_eq!(probe(&mut bench), (None, vec![wants(id(0, 0, 1), addr(1), Purpose::Probe)]));
    bench.around.pass(30 * SECOND - MS);
    assert_eq!(probe(&mut bench), (None, vec![]));
    bench.around.pass(MS);
    assert_eq!(probe(&mut bench), (None, vec![wants(id(0, 0, 2), addr(2), Purpose::Probe)]));
}

#[test]
fn a_doubtful_incumbent_with_an_edge_is_known_to_live() {
    let mut bench = Bench::default();
    bench.gossip(id(0, 0, 1), addr(1));
    bench.edge(id(0, 0, 1), true, 20);
    doubt(&mut bench, id(0, 0, 1));
    assert_eq!(probe(&mut bench), (Some(id(0, 0, 1)), vec![]));
}

#[test]
fn a_doubtful_incumbent_that_is_gone_or_waits_for_a_place_is_not_probed() {
    let mut bench = Bench::default();
    doubt(&mut bench, id(0, 0, 1));
    assert_eq!(probe(&mut bench), (None, vec![]));
    (0..21).for_each(|tail| bench.gossip(id(0, 0, tail), addr(tail)));
    let waiting = id(0, 0, 20);
    assert!(bench.contacts().get(&waiting).is_none() && bench.contacts().find(&waiting).is_some());
    doubt(&mut bench, waiting);
    bench.around.pass(30 * SECOND);
    assert_eq!(probe(&mut bench), (None, vec![]));
}

#[test]
fn a_doubtful_incumbent_that_the_policy_refuses_is_not_probed() {
    let mut bench = Bench::new(refusing(id(0, 0, 1)));
    bench.gossip(id(0, 0, 1), addr(1));
    doubt(&mut bench, id(0, 0, 1));
    assert_eq!(probe(&mut bench), (None, vec![]));
}
