//! Rendezvous in a network of whole engines, beside nodes that forward nothing.

use std::time::Duration;

use nodenet_sim::report::row::{Cost, Rows};
use nodenet_sim::{Bootstrap, Probe, Scenario};

/// Sixty nodes, four fifths of which drop what they should forward: far more than any network has,
/// so that a few hundred probes show it.
fn delivered(probe: Probe) -> (u64, u64) {
    let scenario = Scenario::new("silent", 3)
        .silent_share(0.8)
        .probe(probe)
        .grow(60, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .send(500);
    let report = scenario.run().expect("no invariant is violated");
    let row = Rows::of(&report, Cost::default()).steady;
    (row.delivered, row.sent)
}

/// A question is repeated over other first hops; a message is not.
#[test]
fn a_rendezvous_gets_around_silent_nodes_that_lose_messages() {
    let (delivered_messages, sent) = delivered(Probe::Message);
    assert!(delivered_messages < sent, "{delivered_messages} of {sent}");
    let (found, asked) = delivered(Probe::Rendezvous);
    assert!(found > delivered_messages && found * 100 >= asked * 99, "{found} of {asked}");
}
