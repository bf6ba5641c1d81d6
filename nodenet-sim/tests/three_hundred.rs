//! Test of churn and a partition among three hundred nodes, some of them behind NATs.

use std::time::Duration;

use nodenet_sim::scenario::Between;
use nodenet_sim::{Bootstrap, Scenario, Stage};

#[test]
fn three_hundred_nodes_survive_churn_and_a_partition() {
    let messages = 1_000;
    let report = Scenario::new("three-hundred", 1)
        .nat_share(0.3)
        .light_share(0.1)
        .grow(300, Bootstrap::Ten)
        .settle(Duration::from_secs(120))
        .send(messages)
        .expect_delivered(1.0)
        .stage(Stage::Churn { percent: 2.0, every_secs: 30, over_secs: 90, messages })
        .expect_delivered(0.995)
        .partition(Duration::from_secs(60))
        .settle(Duration::from_secs(180))
        .stage(Stage::Send { messages, over_secs: 30, between: Between::Sides })
        .expect_delivered(1.0)
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    let figures = &report.steady().unwrap().figures;
    assert_eq!((figures.nodes, figures.not_joined), (300, 0));
    assert!(figures.hops.unwrap().mean < 2.5, "{:?}", figures.hops);
    assert!(figures.edges.unwrap().p50 >= 16.0, "{:?}", figures.edges);
    let newcomers = report.churn().unwrap().figures.join_ms.unwrap();
    assert!(newcomers.p99 < 10_000.0, "{newcomers:?}");
}
