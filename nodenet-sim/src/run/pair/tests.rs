//! Whole nodes behind every pair of kinds; the command `nat-matrix` runs more seeds.

use super::{Losses, Pair, connect_pair, matrix};
use crate::net::access::{Access, kinds};

fn kind(name: &str) -> Access {
    kinds().into_iter().find(|kind| kind.name == name).expect("a kind of the matrix")
}

#[test]
fn nodes_find_the_path_that_the_oracle_expects_for_every_pair_of_the_matrix() {
    let kinds = kinds();
    let matrix = matrix(&kinds, 1, 1, Losses::None, &mut |_, _| ()).expect("invariants hold");
    assert_eq!(matrix.pairs.len(), kinds.len() * kinds.len());
    let odd: Vec<_> = matrix.surprises().collect();
    assert!(odd.is_empty(), "{} pairs: {odd:#?}", odd.len());
}

#[test]
fn the_same_seed_gives_the_same_connect() {
    let (a, b) = (kind("linux-open"), kind("eim-adf-port"));
    let run = |seed| connect_pair(seed, &a, &b, Losses::None).expect("invariants hold");
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
