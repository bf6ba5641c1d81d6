//! Benchmark of the forwarding decision.

use core::cmp::Ordering;

use nodenet_benches::{Limit, Row};
use nodenet_proto::NodeId;
use nodenet_proto::env::Seed;
use nodenet_proto::overlay::edges::EdgeTable;
use nodenet_proto::overlay::edges::budgets::EdgeBudgets;
use nodenet_proto::overlay::routing::decide::{DecisionInputs, decide};
use nodenet_proto::testkit::base;
use nodenet_proto::transport::ConnId;

/// Targets of successive decisions, so that no result stays in a cache.
const TARGETS: usize = 256;

pub(crate) fn rows() -> Vec<Row> {
    let promised = |count| if count == 64 { Limit::Nanos(100.0) } else { Limit::None };
    [64, 256, 320].map(|count| at(count, promised(count))).into()
}

fn at(count: u64, limit: Limit) -> Row {
    let mut rng = Seed::from_u64(count).stream("decide");
    let mut id = || NodeId::from_bytes(rng.array());
    let now = base();
    let own = id();
    let mut edges = EdgeTable::new(own);
    for conn in 0..count {
        edges.attach(now, id(), [0; 32], ConnId(conn), true, || EdgeBudgets::new(now));
    }
    let targets: Vec<NodeId> = (0..TARGETS).map(|_| id()).collect();
    let from = *edges.iter().map(|edge| &edge.peer).next().expect("there are edges");
    let avoid = [id(), id()];
    let peers: Vec<NodeId> = edges.iter().map(|edge| edge.peer).collect();

    let all = || {
        targets.iter().for_each(|target| {
            let routing = DecisionInputs {
                target,
                hop_limit: 16,
                avoid: &avoid,
                from: Some(&from),
                on_detour: false,
                second_best: false,
            };
            std::hint::black_box(decide(&edges, routing));
        })
    };
    let scan = || {
        targets.iter().for_each(|target| {
            let closer = |a: &&NodeId, b: &&NodeId| -> Ordering { target.compare_distance(a, b) };
            std::hint::black_box(peers.iter().min_by(closer));
        })
    };
    let name = format!("decide at {count} edges");
    Row::time(name, "scan for the one nearest", limit, TARGETS as u32, (all, scan))
}
