//! Whole nodes behind every pair of kinds; the command `nat-matrix` runs more seeds.

use std::time::Duration;

use nodenet_proto::api::{ConnectStep, ConnectStepKind, Explanation, Obstacle as Told};

use super::{Conditions, Pair, UPGRADED, connect_pair, matrix};
use crate::net::access::{Access, kinds};

fn kind(name: &str) -> Access {
    kinds().into_iter().find(|kind| kind.name == name).expect("a kind of the matrix")
}

#[test]
fn nodes_find_the_path_that_the_oracle_expects_for_every_pair_of_the_matrix() {
    let kinds = kinds();
    let matrix = matrix(&kinds, 1, 1, Conditions::IDEAL, &mut |_, _| ()).expect("invariants hold");
    assert_eq!(matrix.pairs.len(), kinds.len() * kinds.len());
    let odd: Vec<_> = matrix.surprises().collect();
    assert!(odd.is_empty(), "{} pairs: {odd:#?}", odd.len());
}

#[test]
fn the_same_seed_gives_the_same_connect() {
    let (a, b) = (kind("linux-open"), kind("eim-adf-port"));
    let run = |seed| connect_pair(seed, &a, &b, Conditions::IDEAL).expect("invariants hold");
    let (first, second) = (run(1), run(1));
    assert_eq!((first.took, first.packets), (second.took, second.packets));
    assert_eq!(first.explanation, second.explanation);
    assert_ne!(run(2).took, first.took);
}

#[test]
fn two_hosts_that_connect_to_each_other_at_once_have_one_edge() {
    for (a, b) in [("open", "linux"), ("linux", "linux"), ("linux-open", "linux-open")] {
        let mut pair = Pair::new(1, &kind(a), &kind(b));
        pair.join().expect("invariants hold");
        for edges in pair.connect_both().expect("invariants hold") {
            let [edge] = &edges[..] else { panic!("{a} {b}: one edge, not {edges:?}") };
            assert!(edge.relayed_by.is_none() && edge.conns <= 2, "{a} {b}: {edge:?}");
        }
    }
}

/// The seeds of a pair that find a direct path while other hosts begin as many flows a second.
fn direct(a: &str, b: &str, background: u32, seeds: u64) -> u64 {
    let (a, b) = (kind(a), kind(b));
    let conditions = Conditions { background, ..Conditions::IDEAL };
    let run = |seed| connect_pair(seed, &a, &b, conditions).expect("invariants hold");
    (1..=seeds).map(run).filter(|run| run.took.is_some() && !run.is_relayed).count() as u64
}

#[test]
fn predicted_ports_lead_to_a_direct_path_whatever_other_hosts_take() {
    for background in [0, 5, 20] {
        for (easy, hard) in
            [("linux", "apdm-seq"), ("eim-apdf-port", "apdm-seq"), ("linux", "apdm-block")]
        {
            for (a, b) in [(easy, hard), (hard, easy)] {
                assert_eq!(
                    direct(a, b, background, 3),
                    3,
                    "{a} to {b} with {background} flows a second"
                );
            }
        }
    }
}

/// A datagram from the endpoint of one host reaches the router of the other one, `moved`, before
/// that has sent. Returns what the first host says of a connect after that, and whether the path
/// is direct in the end.
fn connect_after_early(kinds: [&str; 2], moved: usize) -> (Explanation, bool) {
    let [a, b] = kinds.map(kind);
    let mut pair = Pair::new(1, &a, &b);
    pair.join().expect("invariants hold");
    let seen = pair.hosts.map(|host| {
        let report = pair.world.node(host).expect("it runs").nat_report();
        *report.addrs.first().expect("it has one endpoint")
    });
    pair.world.inject(seen[1 - moved], seen[moved], b"early");
    pair.world.run_for(Duration::from_millis(200)).expect("invariants hold");
    assert_eq!(pair.early(), 1, "the router took it for itself: {seen:?}");
    pair.connect().expect("invariants hold");
    // The check of the port comes before the upgrade, whose explanation takes the place of this.
    pair.world.run_for(Duration::from_secs(1)).expect("invariants hold");
    let explanation = pair.world.explain(pair.hosts[0], pair.hosts[1]).expect("it ended");
    pair.world.run_for(UPGRADED).expect("invariants hold");
    (explanation, pair.world.has_edge(pair.hosts[0], pair.hosts[1]) && !pair.is_relayed())
}

#[test]
fn a_port_that_an_early_packet_moved_is_told_to_the_peer() {
    let (explanation, is_direct) = connect_after_early(["linux-open", "linux"], 0);
    let is_moved = |step: &ConnectStep| matches!(step.kind, ConnectStepKind::PortMoved { .. });
    assert!(explanation.steps.iter().any(is_moved), "{explanation:#?}");
    assert_eq!(explanation.obstacle, Some(Told::MovedPort));
    let text = explanation.to_string();
    assert!(text.contains("an early packet moved the port"), "{text}");
    assert!(is_direct, "{explanation:#?}");
    // The same where it is the peer's port.
    let (explanation, is_direct) = connect_after_early(["linux", "linux-open"], 1);
    assert!(is_direct, "{explanation:#?}");
}
