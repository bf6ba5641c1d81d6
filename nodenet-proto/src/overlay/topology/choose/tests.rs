use std::net::Ipv4Addr;

use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;
use crate::env::{Random, Seed};

const OWN: NodeId = NodeId::from_bytes([0; 32]);

fn random_id(rng: &mut Random) -> NodeId {
    NodeId::from_bytes(rng.array())
}

fn subnet(number: u32) -> Option<Subnet> {
    Some(Subnet::of(Ipv4Addr::from(0x0a00_0000 + (number << 8)).into()))
}

fn candidate(id: NodeId) -> Candidate {
    Candidate {
        id,
        subnet: None,
        verified: true,
        light: Light::No,
        reachable: true,
        rtt_ms: 0,
        stale: false,
    }
}

fn edge(id: NodeId, outgoing: bool) -> LiveEdge {
    LiveEdge { id, outgoing, subnet: None, rtt_ms: 50, settled: true, light: false, kept: false }
}

fn dial(id: NodeId) -> InFlight {
    InFlight { id, subnet: None }
}

/// An identifier in bucket 0 of [`OWN`], in this quarter of it.
fn far(quarter: u8, last: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = 0x80 | quarter << 5;
    bytes[31] = last;
    NodeId::from_bytes(bytes)
}

/// An identifier that shares this many bits with [`OWN`].
fn sharing(bits: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[usize::from(bits / 8)] = 0x80 >> (bits % 8);
    NodeId::from_bytes(bytes)
}

fn arranged(live: &[LiveEdge]) -> Live {
    Live::new(&OWN, live)
}

fn choose(live: &[LiveEdge], candidates: &[Candidate], want: usize) -> Vec<NodeId> {
    let (edge_targets, live) = (EdgeTargets::ROUTER, &arranged(live));
    choose_edges(
        &ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight: &[], candidates },
        want,
    )
}

/// Sixteen edges near enough that nothing in bucket 0 is a sibling.
fn near_edges(outgoing: bool) -> Vec<LiveEdge> {
    (100..116).map(|bits| edge(sharing(bits), outgoing)).collect()
}

#[test]
fn the_nearest_eight_come_first_then_one_for_every_empty_bucket() {
    let mut rng = Seed::from_u64(1).stream("test");
    let candidates: Vec<Candidate> = (0..2000).map(|_| candidate(random_id(&mut rng))).collect();
    let chosen = choose(&[], &candidates, 16);
    let mut nearest: Vec<NodeId> = candidates.iter().map(|contact| contact.id).collect();
    nearest.sort_by(|a, b| OWN.compare_distance(a, b));
    assert_eq!(chosen[..8], nearest[..8]);
    let buckets: Vec<u16> = chosen[8..].iter().map(|id| OWN.common_prefix_len(id)).collect();
    let covered: Vec<u16> = nearest[..8].iter().map(|id| OWN.common_prefix_len(id)).collect();
    let farthest_near = *covered.iter().min().unwrap();
    let expected: Vec<u16> = (0..farthest_near).take(8).collect();
    assert_eq!(buckets[..expected.len()], expected);
}

#[test]
fn every_slot_of_a_far_bucket_gets_one_outgoing_edge() {
    let live = near_edges(true);
    let candidates: Vec<Candidate> =
        (0..4).flat_map(|quarter| (0..5).map(move |n| candidate(far(quarter, n)))).collect();
    let chosen = choose(&live, &candidates, 48);
    let mut slots: Vec<Slot> = chosen.iter().map(|id| Slot::of(&OWN, id, 2)).collect();
    slots.sort();
    assert_eq!(slots, [0, 1, 2, 3].map(|part| Slot { bucket: 0, part }));
}

#[test]
fn edges_that_peers_opened_fill_no_slot_but_do_make_a_bucket_reachable() {
    let mut live = near_edges(true);
    live.extend((0..4).map(|quarter| edge(far(quarter, 9), false)));
    let candidates: Vec<Candidate> = (0..4).map(|quarter| candidate(far(quarter, 0))).collect();
    assert_eq!(choose(&live, &candidates, 48).len(), 4);
    live.extend((0..4).map(|quarter| edge(far(quarter, 8), true)));
    assert_eq!(choose(&live, &candidates, 48), []);
}

#[test]
fn if_peers_opened_all_the_nearest_edges_four_farther_ones_are_dialed() {
    let mut live = near_edges(false);
    let candidates: Vec<Candidate> = (60..70).map(|bits| candidate(sharing(bits))).collect();
    let dialed = choose(&live, &candidates, 4);
    assert_eq!(dialed, [69, 68, 67, 66].map(sharing));
    for edge in &mut live[..4] {
        edge.outgoing = true;
    }
    assert_eq!(choose(&live, &candidates, 64), [], "enough of them are ours");
}

/// With any number of inbound edges from identifiers next to the victim it dials the next nearest
/// (THREATS.md#e18).
#[test]
fn inbound_edges_of_near_peers_do_not_stop_dials_to_the_next_nearest() {
    let mut live: Vec<LiveEdge> = (100..200).map(|bits| edge(sharing(bits), false)).collect();
    // Every bucket has an edge, so that only the nearest count.
    live.extend((0..60).map(|bits| edge(sharing(bits), false)));
    let behind = |bits: u8| {
        let mut bytes = *sharing(bits).as_bytes();
        bytes[31] |= 1;
        NodeId::from_bytes(bytes)
    };
    let honest: Vec<Candidate> = (40..60).map(|bits| candidate(behind(bits))).collect();
    let nearest = [59, 58, 57, 56].map(behind);
    assert_eq!(choose(&live, &honest, 64), nearest);
    let (edge_targets, candidates) = (EdgeTargets::ROUTER, honest.as_slice());
    let in_flight = &nearest[..3].iter().map(|id| dial(*id)).collect::<Vec<_>>();
    let live = &arranged(&live);
    let inputs =
        ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight, candidates };
    assert!(Vacancies::of(&inputs).welcomes(&OWN, &behind(56)));
    let inputs = ChoiceInputs { candidates: &honest[..17], ..inputs };
    assert_eq!(choose_edges(&inputs, 64), [behind(56)], "dials in flight count");
}

#[test]
fn a_slot_takes_the_reachable_then_the_verified_then_the_fast_and_avoids_full_subnets() {
    let mut live = near_edges(true);
    live[0].subnet = subnet(1);
    live[1].subnet = subnet(1);
    let crowded = Candidate { subnet: subnet(1), rtt_ms: 5, ..candidate(far(0, 1)) };
    let unreachable = Candidate { reachable: false, rtt_ms: 5, ..candidate(far(0, 2)) };
    let unverified = Candidate { verified: false, rtt_ms: 5, ..candidate(far(0, 3)) };
    let slow = Candidate { rtt_ms: 300, ..candidate(far(0, 4)) };
    let unknown = candidate(far(0, 5));
    let fast = Candidate { rtt_ms: 20, ..candidate(far(0, 6)) };
    let light = Candidate { light: Light::Itself, rtt_ms: 1, ..candidate(far(0, 7)) };
    let claimed = Candidate { light: Light::Claimed, rtt_ms: 1, ..candidate(far(0, 8)) };
    let mut all = vec![light, claimed, crowded, unreachable, unverified, slow, unknown, fast];
    let mut order = Vec::new();
    while !all.is_empty() {
        let chosen = choose(&live, &all, 48)[0];
        order.push(chosen.as_bytes()[31]);
        all.retain(|contact| contact.id != chosen);
    }
    assert_eq!(order, [6, 5, 4, 8, 3, 2, 1, 7]);
}

/// Five candidates of one subnet are not all taken because none of them is an edge yet
/// (PROTOCOL.md#subnet-spread).
#[test]
fn dials_in_flight_and_picks_of_the_same_choice_count_for_their_subnets() {
    let live = near_edges(true);
    let mates = (0..4).map(|quarter| Candidate { subnet: subnet(1), ..candidate(far(quarter, 0)) });
    let others = (0..4).map(|quarter| Candidate {
        subnet: subnet(u32::from(10 + quarter)),
        reachable: false,
        ..candidate(far(quarter, 1))
    });
    let candidates: Vec<Candidate> = mates.chain(others).collect();
    let of_subnet = |chosen: &[NodeId]| chosen.iter().filter(|id| id.as_bytes()[31] == 0).count();
    assert_eq!(of_subnet(&choose(&live, &candidates, 48)), 2);
    let (edge_targets, live) = (EdgeTargets::ROUTER, &arranged(&live));
    let in_flight = &[InFlight { id: sharing(2), subnet: subnet(1) }];
    let candidates = candidates.as_slice();
    let inputs =
        ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight, candidates };
    assert_eq!(of_subnet(&choose_edges(&inputs, 48)), 1);
}

#[test]
fn no_contact_of_a_full_subnet_is_tried_for_its_speed() {
    let mut live = near_edges(true);
    live[0].subnet = subnet(1);
    live.push(LiveEdge { rtt_ms: 200, ..edge(far(0, 0), true) });
    live.push(LiveEdge { rtt_ms: 300, ..edge(far(1, 0), true) });
    let (edge_targets, in_flight, live) = (EdgeTargets::ROUTER, &[], &arranged(&live));
    let inputs =
        ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight, candidates: &[] };
    let mate = |slot: Slot| {
        let quarter = if slot == Slot::of(&OWN, &far(1, 0), 2) { 1 } else { 0 };
        vec![Candidate { subnet: subnet(1), ..candidate(far(quarter, 1)) }]
    };
    assert_eq!(choose_faster(&inputs, 2, |slot, _| mate(slot)), [far(1, 1)], "one makes it two");
}

#[test]
fn outgoing_edges_and_dials_in_flight_stay_within_the_cap() {
    let mut rng = Seed::from_u64(2).stream("test");
    let live: Vec<LiveEdge> = (0..60).map(|_| edge(random_id(&mut rng), true)).collect();
    let candidates: Vec<Candidate> = (0..500).map(|_| candidate(random_id(&mut rng))).collect();
    let in_flight: Vec<InFlight> = (0..3).map(|_| dial(random_id(&mut rng))).collect();
    let edge_targets = EdgeTargets::ROUTER;
    let inputs = ChoiceInputs {
        own: &OWN,
        difficulty: 0,
        edge_targets,
        live: &arranged(&live),
        in_flight: &in_flight,
        candidates: &candidates,
    };
    assert_eq!(choose_edges(&inputs, 100).len(), 1);
}

/// Identifiers searched for next to the victim are at most its siblings (THREATS.md#e18).
#[test]
fn a_neighbourhood_full_of_sybils_leaves_every_other_bucket_alone() {
    let mut rng = Seed::from_u64(3).stream("test");
    let honest: Vec<NodeId> = (0..1000).map(|_| random_id(&mut rng)).collect();
    let sybils = (60..160).map(sharing);
    let candidates: Vec<Candidate> = honest.iter().copied().chain(sybils).map(candidate).collect();
    let chosen = choose(&[], &candidates, 64);
    let far = chosen.iter().filter(|id| honest.contains(id)).count();
    assert!(far >= 30, "{far}");
}

#[test]
fn a_faster_contact_is_tried_only_where_it_is_worth_a_change() {
    let mut live = near_edges(true);
    live.push(LiveEdge { rtt_ms: 100, ..edge(far(0, 0), true) });
    live.push(LiveEdge { rtt_ms: 200, ..edge(far(1, 0), true) });
    let tried = |live: &[LiveEdge], candidates: &[Candidate], want| {
        let (edge_targets, in_flight, live) = (EdgeTargets::ROUTER, &[], &arranged(live));
        let inputs = ChoiceInputs {
            own: &OWN,
            difficulty: 0,
            edge_targets,
            live,
            in_flight,
            candidates: &[],
        };
        choose_faster(&inputs, want, |slot, slowness_ms| {
            let is_there = |contact: &&Candidate| Slot::of(&OWN, &contact.id, 2) == slot;
            let there = candidates.iter().filter(is_there);
            there.filter(|contact| is_faster(contact.rtt_ms, slowness_ms)).copied().collect()
        })
    };
    let slower = Candidate { rtt_ms: 190, ..candidate(far(1, 1)) };
    assert_eq!(tried(&live, &[slower], 2), [], "not by a fifth");
    let untried = candidate(far(0, 1));
    assert_eq!(tried(&live, &[slower, untried], 2), [far(0, 1)]);
    let slandered = Candidate { light: Light::Claimed, ..untried };
    assert_eq!(tried(&live, &[slandered], 2), [], "it may be light");
    let faster = Candidate { rtt_ms: 60, ..candidate(far(1, 2)) };
    let all = [slower, untried, faster];
    assert_eq!(tried(&live, &all, 1), [far(1, 2)], "the slowest finger first");
    assert_eq!(tried(&live, &all, 2), [far(1, 2), far(0, 1)]);
    live.iter_mut().filter(|edge| edge.id == far(0, 0)).for_each(|edge| edge.light = true);
    assert_eq!(tried(&live, &all, 1), [far(0, 1)], "a light peer is slower than any");
}

#[test]
fn a_peer_that_answered_is_an_improvement_where_it_is_the_fastest_or_one_of_the_nearest() {
    let mut live = near_edges(true);
    live.push(LiveEdge { rtt_ms: 100, ..edge(far(0, 0), true) });
    live.push(LiveEdge { rtt_ms: 10, ..edge(far(1, 0), false) });
    let is_one = |live: &[LiveEdge], id, rtt_ms| {
        let (edge_targets, in_flight, live) = (EdgeTargets::ROUTER, &[], &arranged(live));
        let inputs = ChoiceInputs {
            own: &OWN,
            difficulty: 0,
            edge_targets,
            live,
            in_flight,
            candidates: &[],
        };
        is_improvement(&inputs, &id, rtt_ms)
    };
    assert!(is_one(&live, far(0, 1), 99));
    assert!(!is_one(&live, far(0, 1), 100), "as fast is not faster");
    assert!(is_one(&live, far(1, 1), 500), "what others opened takes no slot");
    assert!(is_one(&live, sharing(200), 500), "it is nearer than all");
    let last = live.len() - 2;
    live[last].light = true;
    assert!(is_one(&live, far(0, 1), 500), "a light peer is slower than any");
    live[last].light = false;
    live.push(LiveEdge { rtt_ms: 50, ..edge(far(0, 2), true) });
    assert!(!is_one(&live, far(0, 1), 60), "one of two is faster");
    assert!(is_one(&[], far(0, 1), 500));
}

#[test]
fn a_light_peer_is_chosen_by_the_nearest_and_for_empty_buckets_and_is_closed_first() {
    let live: Vec<LiveEdge> = (100..116).map(|bits| edge(sharing(bits), true)).collect();
    // A contact a little farther than an edge.
    let behind = |bits| {
        let mut bytes = *sharing(bits).as_bytes();
        bytes[31] |= 1;
        NodeId::from_bytes(bytes)
    };
    let light = |bits| Candidate { light: Light::Itself, ..candidate(behind(bits)) };
    // Eight edges are nearer than the first, seven than the second.
    assert_eq!(choose(&live, &[light(108)], 16), []);
    assert_eq!(choose(&live, &[light(108), light(109)], 16), [behind(109)]);
    assert_eq!(choose(&live, &[candidate(behind(108))], 16), [behind(108)], "it is no light one");

    let (edge_targets, in_flight) = (EdgeTargets::LIGHT, &[]);
    let candidates = &[light(117), candidate(behind(109))];
    let live = &arranged(&live);
    let inputs =
        ChoiceInputs { own: &OWN, difficulty: 0, edge_targets, live, in_flight, candidates };
    assert_eq!(choose_edges(&inputs, 16), [behind(109)], "and by no other light one");

    let mut live = near_edges(true);
    let distant = Candidate { light: Light::Itself, ..candidate(far(0, 0)) };
    assert_eq!(choose(&live, &[distant], 16), [far(0, 0)], "there is no other peer in its bucket");
    live.push(edge(far(1, 0), false));
    assert_eq!(choose(&live, &[distant], 16), []);
    let slandered = Candidate { light: Light::Claimed, ..distant };
    assert_eq!(choose(&live, &[slandered], 16), [far(0, 0)], "others have no say in that");

    let mut live: Vec<LiveEdge> = (100..132).map(|bits| edge(sharing(bits), true)).collect();
    live.push(LiveEdge { rtt_ms: 1, light: true, ..edge(far(0, 0), true) });
    live.push(LiveEdge { rtt_ms: 200, ..edge(far(0, 1), true) });
    assert_eq!(surplus_outgoing(&OWN, EdgeTargets::ROUTER, &arranged(&live)), Some(far(0, 0)));
}

#[test]
fn of_two_edges_in_a_slot_the_slower_is_surplus() {
    let mut live: Vec<LiveEdge> = (100..132).map(|bits| edge(sharing(bits), true)).collect();
    live.push(LiveEdge { rtt_ms: 100, ..edge(far(0, 0), true) });
    live.push(LiveEdge { rtt_ms: 60, ..edge(far(0, 1), true) });
    live.push(LiveEdge { rtt_ms: 300, ..edge(far(1, 0), true) });
    let surplus = |live: &[LiveEdge]| surplus_outgoing(&OWN, EdgeTargets::ROUTER, &arranged(live));
    assert_eq!(surplus(&live), Some(far(0, 0)));
    let last = live.len() - 3;
    live[last].settled = false;
    assert_eq!(surplus(&live), None, "a newcomer is not judged yet");
    live.remove(last);
    assert_eq!(surplus(&live), None);
}

/// 256 identities from few hosts do not hold every slot for ever (THREATS.md#e12).
#[test]
fn the_least_useful_inbound_edge_is_far_and_from_a_full_subnet() {
    let mut live = near_edges(false);
    live.extend(
        (0..20).map(|n| LiveEdge { subnet: subnet(n.into()), ..edge(sharing(1 + n), false) }),
    );
    live.extend(
        (0..5).map(|n| LiveEdge { subnet: subnet(50 + u32::from(n)), ..edge(far(1, n), false) }),
    );
    live.extend((10..13).map(|n| LiveEdge { subnet: subnet(99), ..edge(far(2, n), false) }));
    let shed = least_useful_inbound(&OWN, 32, &arranged(&live)).unwrap();
    assert!((10..13).contains(&shed.as_bytes()[31]), "{shed}");
    let all_new: Vec<LiveEdge> =
        live.iter().map(|edge| LiveEdge { settled: false, ..*edge }).collect();
    assert_eq!(least_useful_inbound(&OWN, 32, &arranged(&all_new)), None);
    assert_eq!(
        least_useful_inbound(&OWN, 32, &arranged(&near_edges(false))),
        None,
        "the nearest are kept"
    );
}

/// Grows a small network by the policy alone, with perfect knowledge: greedy routing must then
/// reach every node from every other.
#[test]
fn greedy_routing_over_chosen_edges_reaches_every_node() {
    let mut rng = Seed::from_u64(4).stream("test");
    let ids: Vec<NodeId> = (0..300).map(|_| random_id(&mut rng)).collect();
    let tables: Vec<Vec<NodeId>> = ids
        .iter()
        .map(|own| {
            let candidates: Vec<Candidate> =
                ids.iter().filter(|id| *id != own).map(|id| candidate(*id)).collect();
            let edge_targets = EdgeTargets::ROUTER;
            let inputs = ChoiceInputs {
                own,
                difficulty: 0,
                edge_targets,
                live: &Live::new(own, &[]),
                in_flight: &[],
                candidates: &candidates,
            };
            choose_edges(&inputs, TARGET_EDGES)
        })
        .collect();
    let mut hops = 0;
    for (from, start) in ids.iter().enumerate() {
        for target in ids.iter().filter(|id| *id != start) {
            let mut at = from;
            while ids[at] != *target {
                let next = tables[at].iter().min_by(|a, b| target.compare_distance(a, b)).unwrap();
                assert!(target.compare_distance(next, &ids[at]).is_lt(), "a dead end");
                at = ids.iter().position(|id| id == next).unwrap();
                hops += 1;
            }
        }
    }
    let mean = f64::from(hops) / (300.0 * 299.0);
    assert!(mean < 2.5, "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_choice_is_small_free_of_repeats_and_among_the_candidates(
        seed in any::<u64>(),
        live in 0_usize..80,
        known in 0_usize..300,
        want in 0_usize..80,
    ) {
        let mut rng = Seed::from_u64(seed).stream("test");
        let live: Vec<LiveEdge> =
            (0..live).map(|n| edge(random_id(&mut rng), n % 2 == 0)).collect();
        let candidates: Vec<Candidate> = (0..known)
            .map(|n| Candidate {
                subnet: subnet(n as u32 % 7),
                rtt_ms: n as u16 % 90,
                stale: n % 5 == 0,
                ..candidate(random_id(&mut rng))
            })
            .collect();
        let chosen = choose(&live, &candidates, want);
        prop_assert!(chosen.len() <= want);
        let distinct: BTreeSet<&NodeId> = chosen.iter().collect();
        prop_assert_eq!(distinct.len(), chosen.len());
        prop_assert!(chosen.iter().all(|id| candidates.iter().any(|contact| contact.id == *id)));
        // Repeated choices come to an end.
        let (mut live, mut rest) = (live, candidates);
        for _ in 0..6 {
            let chosen = choose(&live, &rest, 80);
            live.extend(chosen.iter().map(|id| edge(*id, true)));
            rest.retain(|contact| !chosen.contains(&contact.id));
        }
        prop_assert_eq!(choose(&live, &rest, 80), []);
    }

    /// Contacts in a bucket without a vacancy change nothing.
    #[test]
    fn only_buckets_with_a_vacancy_matter(
        seed in any::<u64>(),
        live in 0_usize..200,
        known in 0_usize..600,
        flying in 0_usize..8,
        difficulty in 0_u16..3,
        light in any::<bool>(),
    ) {
        let mut rng = Seed::from_u64(seed).stream("test");
        let mut random_id = || {
            let mut bytes: [u8; 32] = rng.array();
            bytes[0] &= 0xff >> difficulty;
            NodeId::from_bytes(bytes)
        };
        let live: Vec<LiveEdge> = (0..live).map(|n| edge(random_id(), n % 3 != 0)).collect();
        let in_flight: Vec<InFlight> = (0..flying).map(|_| dial(random_id())).collect();
        let all: Vec<Candidate> = (0..known).map(|_| candidate(random_id())).collect();
        let edge_targets = if light { EdgeTargets::LIGHT } else { EdgeTargets::ROUTER };
        let edge_targets = EdgeTargets { outgoing_max: 300, ..edge_targets };
        let live = arranged(&live);
        let inputs = |candidates| ChoiceInputs {
            own: &OWN, difficulty, edge_targets, live: &live, in_flight: &in_flight, candidates,
        };
        let vacancies = Vacancies::of(&inputs(&[]));
        let chosen = choose_edges(&inputs(&all), 64);
        prop_assert!(chosen.iter().all(|id| vacancies.welcomes(&OWN, id)));
        let in_openings: Vec<Candidate> = all
            .iter()
            .filter(|contact| vacancies.contains(OWN.common_prefix_len(&contact.id)))
            .copied()
            .collect();
        prop_assert_eq!(chosen, choose_edges(&inputs(&in_openings), 64));
    }
}

/// A peer that never answers a ping must not count as the fastest.
#[test]
fn an_edge_that_never_answered_is_the_slowest() {
    let silent = LiveEdge { rtt_ms: 0, ..edge(sharing(3), true) };
    let fresh = LiveEdge { settled: false, ..silent };
    let measured = LiveEdge { rtt_ms: 300, ..silent };
    assert_eq!([silent, fresh, measured].map(|edge| edge.slowness_ms()), [u16::MAX, 0, 300]);
}
