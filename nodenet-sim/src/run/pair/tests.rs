//! Leaf tests of single pairs; the matrix of all is a test of the program.

use super::connect_pair;
use crate::net::access::{Access, kinds};
use crate::net::oracle::{DirectPath, direct_path_between};

fn kind(name: &str) -> Access {
    kinds().into_iter().find(|kind| kind.name == name).expect("a kind of the matrix")
}

#[test]
fn all() {
    let only = std::env::var("PAIR").ok();
    let (mut good, mut bad, mut early) = (0, 0, 0);
    for a in kinds() {
        for b in kinds() {
            let label = format!("{} {}", a.name, b.name);
            if only.as_ref().is_some_and(|only| *only != label) {
                continue;
            }
            let (path, _) = direct_path_between(a.reach(), b.reach(), a.relation(&b));
            let outcome = connect_pair(1, &a, &b).expect("invariants hold");
            let direct = outcome.took.is_some() && !outcome.is_relayed;
            let is_good = direct == (path == DirectPath::Possible);
            early += outcome.early;
            if is_good {
                good += 1
            } else {
                bad += 1
            }
            if !is_good || only.is_some() || outcome.early > 0 {
                let text = outcome.explanation.as_ref().map(ToString::to_string);
                println!(
                    "{label}: {path:?} took {:?} R {:?} rtt {:?} early {} {text:?}",
                    outcome.took, outcome.rendezvous, outcome.round_trip, outcome.early
                );
                if only.is_some() {
                    for step in outcome.explanation.into_iter().flat_map(|e| e.steps) {
                        println!("   {:?} {}", step.at, step.kind);
                    }
                }
            }
        }
    }
    println!("good {good} bad {bad} early {early}");
    assert!(kind("open").boxes.is_empty());
}
