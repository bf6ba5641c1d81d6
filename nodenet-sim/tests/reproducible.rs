//! Reproducibility: a run is a function of its scenario.

use std::time::Duration;

use nodenet_sim::crypto::Signatures;
use nodenet_sim::{Bootstrap, Report, Scenario, Stage};

/// A scenario with all random draws: loss, NATs, churn, a partition, a crash, restarts.
fn eventful(seed: u64) -> Scenario {
    Scenario::new("eventful", seed)
        .loss(0.01)
        .nat_share(0.6)
        .light_share(0.2)
        .grow(40, Bootstrap::Ten)
        .settle(Duration::from_secs(30))
        .send(200)
        .stage(Stage::Churn { percent: 5.0, every_secs: 10, over_secs: 40, messages: 100 })
        .partition(Duration::from_secs(40))
        .stage(Stage::Crash { share: 0.2 })
        .stage(Stage::Leave { share: 0.1 })
        .settle(Duration::from_secs(30))
        .stage(Stage::Restart)
        .settle(Duration::from_secs(30))
        .send(200)
}

fn run(scenario: &Scenario) -> Report {
    scenario.run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// All outcomes of a report, without traffic in bytes.
fn outcome(report: &Report) -> String {
    let Report { phases, shape, drops, simulated, events, .. } = report;
    format!("{phases:?} {shape:?} {drops:?} {simulated:?} {events}")
}

#[test]
fn the_same_seed_gives_the_same_trace_twice_in_one_process() {
    let (one, two, other) = (run(&eventful(1)), run(&eventful(1)), run(&eventful(2)));
    assert_eq!((one.trace_hash, outcome(&one)), (two.trace_hash, outcome(&two)));
    assert_ne!(one.trace_hash, other.trace_hash);
    assert_eq!(one.phases.len(), 3);
    assert!(one.phases.iter().all(|phase| phase.figures.delivered > 0));
}

/// The keyed hash in place of signatures changes no behaviour. Every message is delivered, lost or
/// refused as with real signatures, over the same hops, in the same time.
#[test]
fn real_signatures_give_the_same_outcome() {
    let cheap = run(&eventful(3));
    let real = run(&eventful(3).signatures(Signatures::Real));
    assert_eq!(outcome(&cheap), outcome(&real));
    assert_ne!(cheap.trace_hash, real.trace_hash, "signatures are part of the trace");
}
