//! Known answers of the reference's table of live edges (its vectors `edges`; `add_remove_errors`
//! and `phase_bands_and_hysteresis` are in `tests`, what concerns contacts is in
//! `topology::choose`).
//!
//! Not reproduced:
//!
//! - `EDGE_EXISTS`: a second conn of a peer joins its edge (PROTOCOL.md#conns-of-an-edge), in
//!   either direction.
//! - `idle` with a time for siblings and one for fingers: the time follows from how many edges
//!   there are and how many die (`keepalive`, `liveness`).
//! - `touch` of a peer without an edge: frames arrive on conns, each of which belongs to an edge.
//! - budgets by identifier: they are part of the edge, so without one there is nothing to charge.
//!   This node's own messages are charged to no budget (in the reference the all-zero identifier is
//!   free).
//! - fresh budgets for an edge that ends and begins again (`rate_buckets`, a weak spot): they
//!   outlive it (`budgets`).

use std::time::Duration;

use super::admit::{Refusal, admit};
use super::tests::{OWN, attach, bit, remove, siblings};
use super::*;
use crate::api::Config;
use crate::env::test_base;

#[test]
fn siblings_closest_idle() {
    let mut edges = EdgeTable::new(OWN);
    for index in 41..=60 {
        attach(&mut edges, bit(index), index as u64, index % 2 == 0);
    }
    let nearest = |from: usize| (from..=60).rev().map(bit).collect::<Vec<_>>();
    assert_eq!(siblings(&edges), nearest(45));

    let closest = |target: NodeId| -> Vec<NodeId> {
        edges.closest::<6>(&target).iter().map(|edge| edge.peer).collect()
    };
    assert_eq!(closest(OWN)[..5], nearest(56));
    let mut target = *bit(45).as_bytes();
    target[31] = 0x63;
    let beside = [45, 60, 59, 58, 57, 56].map(bit);
    assert_eq!(closest(NodeId::from_bytes(target)), beside);
    assert_eq!(closest(NodeId::from_bytes([0xff; 32]))[..3], [41, 42, 43].map(bit));

    let touched = test_base() + Duration::from_secs(30);
    edges.get_mut(&bit(60)).unwrap().observe_frame(ConnId(60), touched, false);
    let heard_since = |at| edges.iter().filter(|edge| edge.heard() >= at).count();
    assert_eq!((heard_since(touched), heard_since(test_base())), (1, 20));

    remove(&mut edges, bit(57));
    let mut expected = nearest(44);
    expected.retain(|id| *id != bit(57));
    assert_eq!(siblings(&edges), expected);
    let mut nearer = [0; 32];
    (nearer[12], nearer[31]) = (0x80, 1);
    let nearer = NodeId::from_bytes(nearer);
    attach(&mut edges, nearer, 100, true);
    expected.pop();
    expected.insert(0, nearer);
    assert_eq!(siblings(&edges), expected);
}

#[test]
fn inbound_cap() {
    let (mut edges, config) = (EdgeTable::new(OWN), Config::default());
    let variant = |number: u32| {
        let mut bytes = *bit(10).as_bytes();
        bytes[28..].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    };
    let may_enter = |edges: &EdgeTable, peer, outgoing| admit(&config, edges, &peer, outgoing);
    let counts =
        |edges: &EdgeTable| (edges.phase(), edges.outgoing(), edges.len(), edges.inbound());
    for number in 1..=256 {
        assert_eq!(may_enter(&edges, variant(number), false), Ok(()));
        attach(&mut edges, variant(number), number.into(), false);
    }
    assert_eq!(counts(&edges), (Phase::Bootstrap, 0, 256, 256));
    assert_eq!(may_enter(&edges, variant(257), false), Err(Refusal::InboundFull));
    assert_eq!(may_enter(&edges, bit(11), true), Ok(()));
    attach(&mut edges, bit(11), 257, true);
    remove(&mut edges, variant(1));
    assert_eq!(may_enter(&edges, variant(257), false), Ok(()));
    attach(&mut edges, variant(257), 258, false);
    assert_eq!(counts(&edges), (Phase::Critical, 1, 257, 256));
}
