use hex_literal::hex;

use super::{CANDIDATES, Decision, DecisionInputs, decide, decide_among, detours};
use crate::NodeId;
use crate::env::{Seed, test_base};
use crate::overlay::edges::EdgeTable;
use crate::overlay::edges::budgets::EdgeBudgets;
use crate::transport::ConnId;

/// An identifier that starts with these bytes and ends in zeros.
const fn id<const N: usize>(start: [u8; N]) -> NodeId {
    let (mut bytes, mut i) = ([0; 32], 0);
    while i < N {
        bytes[i] = start[i];
        i += 1;
    }
    NodeId::from_bytes(bytes)
}

/// A table of edges to `peers`; the number of each conn is the position of its peer.
fn edges(own: NodeId, peers: &[NodeId]) -> EdgeTable {
    let mut edges = EdgeTable::new(own);
    for (i, peer) in peers.iter().enumerate() {
        let budgets = || EdgeBudgets::new(test_base());
        edges.attach(test_base(), *peer, [0; 32], ConnId(i as u64), true, budgets);
    }
    edges
}

/// A message for `target` that this node originates.
const fn towards(target: &NodeId) -> DecisionInputs<'_> {
    let (hop_limit, from) = (10, None);
    DecisionInputs { target, hop_limit, avoid: &[], from, on_detour: false, second_best: false }
}

/// The decision, with the next hops by their position in `peers`.
fn decided(
    own: NodeId,
    target: NodeId,
    hop_limit: u8,
    avoid: &[NodeId],
    peers: &[NodeId],
    candidates_max: usize,
) -> Result<(u8, Vec<u64>), Decision> {
    let routing = DecisionInputs { hop_limit, avoid, ..towards(&target) };
    match decide_among(&edges(own, peers), routing, candidates_max) {
        Decision::Forward { hop_limit, hops } => {
            Ok((hop_limit, hops.iter().map(|conn| conn.0).collect()))
        }
        other => Err(other),
    }
}

const ZERO: NodeId = id([0]);
const FF: NodeId = id([0xff]);

#[test]
fn a_message_for_this_node_is_delivered_with_any_head() {
    let us = NodeId::from_bytes([0x42; 32]);
    for (hop_limit, avoid) in [(10, &[][..]), (0, &[]), (5, &[us])] {
        assert_eq!(decided(us, us, hop_limit, avoid, &[id([0x42])], 8), Err(Decision::Deliver));
    }
}

#[test]
fn the_hop_limit_is_clamped_and_lowered() {
    let forwarded = |hop_limit| decided(ZERO, FF, hop_limit, &[], &[id([0xf0])], 8);
    assert_eq!(forwarded(0), Err(Decision::HopLimitSpent));
    for (received, sent) in [(1, 0), (16, 15), (17, 15), (255, 15)] {
        assert_eq!(forwarded(received), Ok((sent, vec![0])), "{received}");
    }
}

#[test]
fn no_closer_neighbour_is_a_dead_end() {
    assert_eq!(decided(ZERO, FF, 10, &[], &[], 8), Err(Decision::DeadEnd));
    let mut nearly = [0xff; 32];
    nearly[31] = 0xfe;
    let (nearly, all) = (NodeId::from_bytes(nearly), NodeId::from_bytes([0xff; 32]));
    assert_eq!(decided(nearly, all, 10, &[], &[ZERO], 8), Err(Decision::DeadEnd));
}

#[test]
fn the_nearest_comes_first_and_those_farther_than_this_node_are_left_out() {
    let hops = |own, peers: &[NodeId]| decided(own, FF, 10, &[], peers, 8);
    assert_eq!(hops(ZERO, &[FF, id([0xf0])]), Ok((9, vec![0, 1])));
    assert_eq!(hops(ZERO, &[id([0xa0]), id([0xf0]), id([0xc0])]), Ok((9, vec![1, 2, 0])));
    assert_eq!(hops(id([0xf0]), &[id([0xfe]), id([0x0f]), id([0xe0])]), Ok((9, vec![0])));
}

#[test]
fn avoided_nodes_are_left_out_and_so_is_an_avoided_target() {
    let [f0, e0] = [id([0xf0]), id([0xe0])];
    assert_eq!(decided(ZERO, FF, 10, &[f0], &[f0, e0], 8), Ok((9, vec![1])));
    assert_eq!(decided(ZERO, FF, 10, &[f0, e0], &[f0, e0], 8), Err(Decision::DeadEnd));
    assert_eq!(decided(ZERO, FF, 10, &[FF], &[FF, f0], 8), Ok((9, vec![1])));
}

#[test]
fn candidates_are_counted_before_they_are_filtered() {
    let [fe, fd] = [id([0xfe]), id([0xfd])];
    let peers = [fe, fd, id([0xf0]), id([0xe0])];
    assert_eq!(decided(ZERO, FF, 10, &[fe, fd], &peers, 2), Err(Decision::DeadEnd));
    assert_eq!(decided(ZERO, FF, 10, &[], &[fe], 0), Err(Decision::DeadEnd));
    let peers = [0xfe, 0xfd, 0xf0, 0xe0, 0xd0, 0xc0, 0xb0, 0xa0, 0x90].map(|byte| id([byte]));
    assert_eq!(decided(ZERO, FF, 10, &[], &peers, 8), Ok((9, (0..8).collect())));
}

#[test]
fn the_neighbour_it_came_from_is_no_candidate() {
    let peers = [id([0xf0]), id([0xe0])];
    let edges = edges(ZERO, &peers);
    let from = Some(&peers[0]);
    let routing = DecisionInputs { from, ..towards(&FF) };
    let hops = heapless::Vec::from_iter([ConnId(1)]);
    assert_eq!(decide(&edges, routing), Decision::Forward { hop_limit: 9, hops });
    let only = DecisionInputs { avoid: &peers[1..], ..routing };
    assert_eq!(decide(&edges, only), Decision::DeadEnd, "so that a Lookup is answered here");
}

#[test]
fn on_a_detour_a_message_goes_to_the_target_alone() {
    let [near, nearer] = [id([0xf0]), id([0xf8])];
    let routing = |from| DecisionInputs { from: Some(from), on_detour: true, ..towards(&FF) };
    let without = edges(ZERO, &[near, nearer]);
    assert_eq!(decide(&without, routing(&nearer)), Decision::DeadEnd);
    let with = edges(ZERO, &[near, nearer, FF]);
    let hops = heapless::Vec::from_iter([ConnId(2)]);
    assert_eq!(decide(&with, routing(&nearer)), Decision::Forward { hop_limit: 9, hops });
}

#[test]
fn a_dead_end_offers_neighbours_near_the_target_and_first_those_that_any_node_can_dial() {
    let own = id([0xfe]);
    let peers: Vec<NodeId> = (0..32_u8).map(|high| id([high << 3])).collect();
    let edges = edges(own, &peers);
    let (from, avoid) = (Some(&peers[31]), &peers[30..31]);
    let routing = DecisionInputs { avoid, from, ..towards(&FF) };
    assert_eq!(decide(&edges, routing), Decision::DeadEnd);
    let hops = |routing, anchors: &[NodeId]| {
        let hops = detours(&edges, routing, |peer| anchors.contains(peer));
        hops.iter().map(|conn| conn.0).collect::<Vec<_>>()
    };
    let nearest: Vec<u64> = (14..30).rev().collect();
    assert_eq!(hops(routing, &[]), nearest);
    let anchors = [peers[31], peers[30], peers[20], peers[3]];
    let others = nearest.into_iter().filter(|&peer| peer != 20).take(14);
    assert_eq!(hops(routing, &anchors), [20, 3].into_iter().chain(others).collect::<Vec<_>>());
    let routing = DecisionInputs { from: None, avoid: &[], ..routing };
    assert_eq!(hops(routing, &[]), (16..32).rev().collect::<Vec<_>>());
}

/// The next hops of a message that must be forwarded.
fn hops(edges: &EdgeTable, target: &NodeId, second_best: bool) -> Vec<u64> {
    match decide(edges, DecisionInputs { second_best, ..towards(target) }) {
        Decision::Forward { hops, .. } => hops.iter().map(|conn| conn.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_light_node_comes_last_unless_it_is_the_target() {
    let peers = [id([0xf8]), id([0xf0]), id([0xe0]), id([0xc0])];
    let mut edges = edges(ZERO, &peers);
    let set_light = |edges: &mut EdgeTable, peer| edges.get_mut(peer).unwrap().light = true;
    assert_eq!(hops(&edges, &FF, false), [0, 1, 2, 3]);
    set_light(&mut edges, &peers[0]);
    set_light(&mut edges, &peers[2]);
    assert_eq!(hops(&edges, &FF, false), [1, 3, 0, 2]);
    assert_eq!(hops(&edges, &FF, true), [3, 1, 0, 2]);
    assert_eq!(hops(&edges, &peers[0], false)[0], 0, "it is the target");
    set_light(&mut edges, &peers[1]);
    set_light(&mut edges, &peers[3]);
    assert_eq!(hops(&edges, &FF, false), [0, 1, 2, 3], "no other neighbour is closer");
}

#[test]
fn one_copy_takes_the_second_best_hop_unless_the_target_is_a_neighbour() {
    let peers = [id([0xf8]), id([0xf0]), id([0xe0])];
    let (only_one, edges) = (edges(ZERO, &peers[..1]), edges(ZERO, &peers));
    assert_eq!(hops(&edges, &FF, false), [0, 1, 2]);
    assert_eq!(hops(&edges, &FF, true), [1, 0, 2]);
    assert_eq!(hops(&edges, &peers[0], true), [0, 1, 2], "the target is a neighbour");
    assert_eq!(hops(&only_one, &FF, true), [0]);
}

#[test]
fn it_agrees_with_a_scan_of_every_edge() {
    let mut random = Seed::from_u64(1).stream("test");
    for count in 0..200 {
        // Every second table has few prefixes, as identifiers that a search made would have.
        let mut draw = || {
            let mut bytes: [u8; 32] = random.array();
            if count % 2 == 1 {
                let crowded = bytes[8] & 1;
                bytes[..8].fill(crowded);
            }
            NodeId::from_bytes(bytes)
        };
        let own = draw();
        let peers: Vec<NodeId> = (0..count).map(|_| draw()).collect();
        let target = draw();
        let avoid = [draw(), *peers.first().unwrap_or(&own)];
        let mut expected: Vec<usize> = (0..peers.len()).collect();
        expected.sort_by(|&a, &b| target.compare_distance(&peers[a], &peers[b]));
        expected.truncate(CANDIDATES);
        expected.retain(|&i| target.compare_distance(&peers[i], &own).is_lt());
        expected.retain(|&i| !avoid.contains(&peers[i]));
        let expected: Vec<u64> = expected.into_iter().map(|i| i as u64).collect();
        let hops = decided(own, target, 9, &avoid, &peers, CANDIDATES);
        assert_eq!(hops.map(|(_, hops)| hops).unwrap_or_default(), expected, "{count} edges");
    }
}

/// Own identifier, target, hop limit, avoid set, edges, candidates, outcome.
struct Known {
    own: [u8; 32],
    target: [u8; 32],
    hop_limit: u8,
    avoid: &'static [[u8; 32]],
    peers: &'static [[u8; 32]],
    candidates_max: usize,
    outcome: Option<(u8, &'static [u64])>,
}

#[test]
fn it_agrees_with_the_reference_on_random_tables() {
    for known in KNOWN {
        let peers: Vec<NodeId> = known.peers.iter().copied().map(NodeId::from_bytes).collect();
        let avoid: Vec<NodeId> = known.avoid.iter().copied().map(NodeId::from_bytes).collect();
        let outcome = decided(
            NodeId::from_bytes(known.own),
            NodeId::from_bytes(known.target),
            known.hop_limit,
            &avoid,
            &peers,
            known.candidates_max,
        );
        assert_eq!(outcome.ok(), known.outcome.map(|(limit, hops)| (limit, hops.to_vec())));
    }
}

const KNOWN: &[Known] = &[
    Known {
        own: hex!("7d24010b32dfa9b92e3d96cb815306c1a211d4dd17782a4b31f615948642049f"),
        target: hex!("e21349fad245931a3559b0c8dc96f8b45348fd9a4d9000390e2e131219c3224b"),
        hop_limit: 18,
        avoid: &[hex!("c64d8f744ded27039178dd71c47b44c06285ab3e7c6f23bd770464a2702e2bc1")],
        peers: &[
            hex!("78fb39346ddec80097713a7d1b03e9f5992f5b779440e404e42704596907a0f5"),
            hex!("7df8b3adbfb30693344699488d1038958a9abdec607e2a91a2f3888945ea7aa4"),
            hex!("c64d8f744ded27039178dd71c47b44c06285ab3e7c6f23bd770464a2702e2bc1"),
            hex!("7d24ddab935724f8ae87847e6cd084dddafdef43e292d9b6fe74ef3f12b54e5a"),
            hex!("7d5a868f9f6673631b220dcd941357704f3744ea5e505f6bec4bbf7c3ebe8a5a"),
        ],
        candidates_max: 1,
        outcome: None,
    },
    Known {
        own: hex!("7aa786bb54dbc1276f183ef960d1b9d64fc5b5ff193bc9f99dd48a3e041216c5"),
        target: hex!("8a497ee668b9ac654c24ef0db3324313c86843006d633c530eb4706ee9aa871b"),
        hop_limit: 18,
        avoid: &[
            hex!("7a2e9ac25c346330d77a50d1e5f57c088c5e9659a6b96a3c3082fca621b704f8"),
            hex!("7aa7800f5a2bcc8949f63efc5914e74149b80461ec762e166ba4d7318c068a71"),
        ],
        peers: &[
            hex!("7a2e9ac25c346330d77a50d1e5f57c088c5e9659a6b96a3c3082fca621b704f8"),
            hex!("7aa76464a630589f353cee81a0aac70d66f0ccd6dbabb07574a8a3cacd7eefa3"),
            hex!("7aa7800f5a2bcc8949f63efc5914e74149b80461ec762e166ba4d7318c068a71"),
            hex!("0df126e8018380439baffb3bfc6db6f6e8f227d1bebb05775034dd79bbe88329"),
            hex!("7a6bd5d24554d112656651a10746a92252569060975e587b7d77c16cbb4eb5a2"),
            hex!("e291afb9a93308802dc415daa4feba949840414de21710a8e49d47e8996c6af6"),
            hex!("7aa7be196ff306a21c2cb7ba44a0e7b1ad868a277a63f479e31303cb19e80f55"),
        ],
        candidates_max: 8,
        outcome: Some((15, &[5, 3, 4, 1, 6])),
    },
    Known {
        own: hex!("a95167e39c783b3a33bb054686a1d470f164154102c437c79976cb143510783b"),
        target: hex!("66cf2e5063ce0a96c50a711690b3a75ae2ad3d55e3111084094893eaed456ea4"),
        hop_limit: 1,
        avoid: &[hex!("a9d3b0479013deb3285e364a82e35b35100addfcd0bb9ee86b27fdce28d9db6d")],
        peers: &[
            hex!("6dff46ee8d3638fd60335960a848280a96c20a6b4e47bba6088bce6afed1b18b"),
            hex!("a9d3b0479013deb3285e364a82e35b35100addfcd0bb9ee86b27fdce28d9db6d"),
            hex!("123f1b8779cd4f44bf4d4eaee9c186d7d8b2d8aa33e017dca3d3ebaa329d9570"),
            hex!("a989a2ea2adc8c473e86b6eb75d1d5bef529a1f11b82d2f8250f5f03571e05bf"),
            hex!("37c1774a44e3a4aa8f3e2fb5f554c9ffeba57be10d944e7bcc7ff659275d8c05"),
            hex!("e0af980b15e00a69b45beecfbcff0367e98da3a7d44907e27536444555475f2d"),
            hex!("24c52d8e6e1bc6c906db8c5901851218b1b9f08affde15f7c9ebe16e6c05675e"),
            hex!("a9d9f39f3574ae22cfa2ded4ae4793a38618ecce37fc62264e08e08f4a7d8343"),
            hex!("a9dcbe52942924612c6a6394a73fae0ca537ea492f391f3b5930e2f78fb1973d"),
        ],
        candidates_max: 3,
        outcome: Some((0, &[0, 6, 4])),
    },
    Known {
        own: hex!("7444482988dfb55eb47a3274f1e7ccc0708154ce74678a7c2f64aa7dc9232f39"),
        target: hex!("5e15e88ac94e490406f7d448f395b1c35ab4008309ce77484b0051eaca04bc78"),
        hop_limit: 3,
        avoid: &[
            hex!("16e8048f2b57615aaa6bc5b4c999db0dfef9296db5232ea3881bdeadd2e3b38c"),
            hex!("8c06905b9b7ddc95dc5f5b15d224a753b0c12b1a5617a6a0053659f81744abdb"),
            hex!("8c06905b9b7ddc95dc5f5b15d224a753b0c12b1a5617a6a0053659f81744abdb"),
        ],
        peers: &[
            hex!("3e63e10765ede40b1b8d142614c661d2d39158ef91d6369f689effc845dc814f"),
            hex!("8c06905b9b7ddc95dc5f5b15d224a753b0c12b1a5617a6a0053659f81744abdb"),
            hex!("16e8048f2b57615aaa6bc5b4c999db0dfef9296db5232ea3881bdeadd2e3b38c"),
            hex!("59d7843654680388265c7285ad73cdabec6b27b1e16c8da269cba5613bd25e79"),
            hex!("14b4cacebe221d09abde27fe9ce08b0c09c98daa7c94aeab8df049035c4d688a"),
            hex!("7b9fb6d1bd3373a49926af94474da2f5bf24bc8504e870db508dbf0a2abab124"),
            hex!("84f9e9456441d0d37cf370217f2a6ca187e7c593f52a94c0e1e72ca3e1bab438"),
            hex!("f8d1862fd6896b572b8664e66a968e5f2318d9b073d9ac7195cccaf8b6c268a1"),
            hex!("834601fd760d29ed61cea7c245c4968196df2ad6eb6d83488eaf879b154cb531"),
            hex!("6a4166b674bb4c492705cf63bf5dbd369353d78d0936f88bf15ffc5b6aac1689"),
            hex!("9ca8f6aaa9570af69421f3bfad5c071be8a56132416608383fd400bf7be6d0c4"),
            hex!("19a628ffb6729722b95638d5c1b3a37038dcf902e33600ff0c8b70f5364a0ae2"),
        ],
        candidates_max: 3,
        outcome: Some((2, &[3, 5])),
    },
];
