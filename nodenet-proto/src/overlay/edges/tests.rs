use std::time::Duration;

use super::budgets::EdgeBudgets;
use super::{Attached, CONNS_PER_EDGE, Detached, Edge, EdgeTable, Phase, SIBLINGS};
use crate::NodeId;
use crate::env::{Seed, test_base};
use crate::transport::ConnId;

pub(super) const OWN: NodeId = NodeId::from_bytes([0; 32]);

/// The identifier with this bit set alone, counted from the most significant.
pub(super) fn bit(index: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[index / 8] = 0x80 >> (index % 8);
    NodeId::from_bytes(bytes)
}

pub(super) fn attach(edges: &mut EdgeTable, peer: NodeId, conn: u64, outgoing: bool) -> Attached {
    let now = test_base();
    let budgets = || EdgeBudgets::new(now);
    let attached = edges.attach(now, peer, [0; 32], ConnId(conn), outgoing, budgets);
    edges.check();
    attached
}

pub(super) fn remove(edges: &mut EdgeTable, peer: NodeId) {
    assert!(edges.remove(&peer).is_some());
    edges.check();
}

pub(super) fn siblings(edges: &EdgeTable) -> Vec<NodeId> {
    edges.iter().filter(|edge| edge.is_sibling()).map(|edge| edge.peer).collect()
}

#[test]
fn the_counts_follow_every_change() {
    let mut edges = EdgeTable::new(OWN);
    assert_eq!((edges.outgoing(), edges.inbound(), edges.phase()), (0, 0, Phase::Bootstrap));
    assert_eq!(attach(&mut edges, bit(10), 0, true), Attached::NewEdge);
    assert_eq!(attach(&mut edges, bit(11), 1, false), Attached::NewEdge);
    assert_eq!((edges.outgoing(), edges.inbound(), edges.phase()), (1, 1, Phase::Critical));
    assert!(edges.remove(&bit(12)).is_none());
    remove(&mut edges, bit(10));
    assert_eq!((edges.outgoing(), edges.inbound(), edges.phase()), (0, 1, Phase::Bootstrap));
}

#[test]
fn phases_have_their_bands_and_normal_holds_on() {
    let mut edges = EdgeTable::new(OWN);
    let mut seen = Vec::new();
    for index in 1..=65 {
        attach(&mut edges, bit(index), index as u64, true);
        seen.push(edges.phase());
    }
    let band = |phase| seen.iter().filter(|&&other| other == phase).count();
    assert_eq!(band(Phase::Critical), 3);
    assert_eq!(band(Phase::Urgent), 5);
    assert_eq!(band(Phase::NeedsFill), 55);
    assert_eq!(band(Phase::Normal), 2);
    let mut seen = Vec::new();
    for index in (1..=65).rev() {
        remove(&mut edges, bit(index));
        seen.push((edges.outgoing(), edges.phase()));
    }
    for (outgoing, phase) in seen {
        let expected = match outgoing {
            0 => Phase::Bootstrap,
            1..=3 => Phase::Critical,
            4..=8 => Phase::Urgent,
            9..=59 => Phase::NeedsFill,
            _ => Phase::Normal,
        };
        assert_eq!(phase, expected, "{outgoing}");
    }
}

#[test]
fn climbing_back_to_sixty_does_not_make_it_normal() {
    let mut edges = EdgeTable::new(OWN);
    for index in 1..=64 {
        attach(&mut edges, bit(index), index as u64, true);
    }
    for index in 60..=64 {
        remove(&mut edges, bit(index));
    }
    assert_eq!((edges.outgoing(), edges.phase()), (59, Phase::NeedsFill));
    attach(&mut edges, bit(60), 100, true);
    assert_eq!((edges.outgoing(), edges.phase()), (60, Phase::NeedsFill));
}

#[test]
fn the_sixteen_nearest_are_siblings_in_either_direction() {
    let mut edges = EdgeTable::new(OWN);
    for index in 41..=60 {
        attach(&mut edges, bit(index), index as u64, index % 2 == 0);
    }
    let nearest = |from: usize| (from..=60).rev().map(bit).collect::<Vec<_>>();
    assert_eq!(siblings(&edges), nearest(45));
    remove(&mut edges, bit(53));
    assert_eq!(siblings(&edges).len(), SIBLINGS);
    assert!(siblings(&edges).contains(&bit(44)));
    attach(&mut edges, bit(100), 100, true);
    assert!(siblings(&edges).contains(&bit(100)));
    assert!(!siblings(&edges).contains(&bit(44)));
}

#[test]
fn the_closest_come_in_order_of_distance() {
    let mut edges = EdgeTable::new(OWN);
    for index in 41..=60 {
        attach(&mut edges, bit(index), index as u64, true);
    }
    let peers = |target: NodeId| -> Vec<NodeId> {
        edges.closest::<3>(&target).iter().map(|edge| edge.peer).collect()
    };
    assert_eq!(peers(OWN), [bit(60), bit(59), bit(58)]);
    assert_eq!(peers(bit(45)), [bit(45), bit(60), bit(59)]);
    assert_eq!(peers(NodeId::from_bytes([0xff; 32])), [bit(41), bit(42), bit(43)]);
    assert!(EdgeTable::new(OWN).closest::<3>(&OWN).is_empty());
}

#[test]
fn those_that_share_a_prefix_lie_side_by_side() {
    let mut rng = Seed::from_u64(1).stream("test");
    let mut edges = EdgeTable::new(OWN);
    for conn in 0..200 {
        attach(&mut edges, NodeId::from_bytes(rng.array()), conn, true);
    }
    let anyone = edges.iter().nth(70).expect("there are 200").peer;
    for target in [anyone, NodeId::from_bytes(rng.array()), NodeId::from_bytes([0xff; 32]), OWN] {
        for bits in [0, 1, 3, 7, 63, 64] {
            let shares = |edge: &&Edge| target.common_prefix_len(&edge.peer) >= bits;
            let expected: Vec<NodeId> = edges.iter().filter(shares).map(|edge| edge.peer).collect();
            let found: Vec<NodeId> =
                edges.sharing(&target, bits).iter().map(|edge| edge.peer).collect();
            assert_eq!(found, expected, "{bits} bits");
        }
    }
}

#[test]
fn frames_leave_on_the_conn_that_last_received_one() {
    let mut edges = EdgeTable::new(OWN);
    assert_eq!(attach(&mut edges, bit(1), 1, true), Attached::NewEdge);
    assert_eq!(attach(&mut edges, bit(1), 2, false), Attached::AnotherConn);
    let edge = edges.get_mut(&bit(1)).unwrap();
    assert_eq!(edge.send_conn().id, ConnId(2));
    edge.observe_frame(ConnId(1), test_base() + Duration::from_secs(1), false);
    assert_eq!(edge.send_conn().id, ConnId(1));
    assert_eq!(edge.heard(), test_base() + Duration::from_secs(1));
    edges.check();
}

#[test]
fn a_fourth_conn_takes_the_place_of_the_one_silent_longest() {
    let mut edges = EdgeTable::new(OWN);
    for conn in 1..=CONNS_PER_EDGE as u64 {
        attach(&mut edges, bit(1), conn, false);
    }
    let edge = edges.get_mut(&bit(1)).unwrap();
    edge.observe_frame(ConnId(1), test_base() + Duration::from_secs(1), false);
    let now = test_base() + Duration::from_secs(2);
    let attached =
        edges.attach(now, bit(1), [0; 32], ConnId(4), true, || EdgeBudgets::new(test_base()));
    assert_eq!(attached, Attached::Instead(ConnId(2)));
    assert_eq!(edges.len(), 1);
    edges.check();
}

#[test]
fn an_edge_lasts_as_long_as_any_of_its_conns() {
    let mut edges = EdgeTable::new(OWN);
    attach(&mut edges, bit(1), 1, false);
    attach(&mut edges, bit(1), 2, true);
    assert_eq!((edges.outgoing(), edges.inbound()), (1, 0));
    assert!(matches!(edges.detach(&bit(1), ConnId(9)), Detached::Unknown));
    assert!(matches!(edges.detach(&bit(1), ConnId(2)), Detached::LivesOn));
    assert_eq!((edges.outgoing(), edges.inbound()), (0, 1));
    assert!(matches!(edges.detach(&bit(1), ConnId(1)), Detached::EdgeGone(_)));
    assert!(matches!(edges.detach(&bit(1), ConnId(1)), Detached::Unknown));
    assert!(edges.is_empty());
    edges.check();
}

#[test]
fn a_conn_that_an_edge_can_spare_is_one_of_several_that_its_peer_opened() {
    let mut edges = EdgeTable::new(OWN);
    attach(&mut edges, bit(1), 1, true);
    attach(&mut edges, bit(1), 2, false);
    attach(&mut edges, bit(2), 3, false);
    assert_eq!((edges.accepted_conns(), edges.spare_conn()), (2, None));
    for conn in 4..=5 {
        attach(&mut edges, bit(2), conn, false);
    }
    let edge = edges.get_mut(&bit(2)).unwrap();
    edge.observe_frame(ConnId(3), test_base() + Duration::from_secs(1), false);
    assert_eq!((edges.accepted_conns(), edges.spare_conn()), (4, Some((bit(2), ConnId(4)))));
}
