//! Tests of expectations: a met expectation is listed, a violated one fails the run with a reason.

use std::time::Duration;

use nodenet_sim::report::growth::Measure;
use nodenet_sim::{Bootstrap, Scenario, Stage};

/// Three days of a minute; on the second day the network is three times as large.
fn growing() -> Scenario {
    let grow = |nodes| Stage::Grow { nodes, over_ms: 5_000, bootstrap: Bootstrap::Ten };
    let mut scenario = Scenario::new("growing", 1).stage(grow(6)).settle(Duration::from_secs(55));
    scenario.day_secs = 60;
    scenario.stage(grow(12)).settle(Duration::from_secs(55 + 60))
}

fn bounded(earlier_day: u32, later_day: u32, growth_share_max: f64) -> Stage {
    Stage::ExpectBounded { of: Measure::Most, earlier_day, later_day, growth_share_max }
}

#[test]
fn a_table_that_grows_from_day_to_day_fails_the_run() {
    let failure = growing().stage(bounded(1, 2, 0.02)).run().unwrap_err();
    let said = failure.to_string();
    assert!(said.contains("contacts grew from 5 to 17, usually from 4."), "{said}");
    assert!(said.contains("no table fuller on day 2 than on day 1 by more than 2 %"), "{said}");
}

#[test]
fn a_table_that_grows_on_average_fails_the_run() {
    let of = Measure::Mean;
    let bounded = Stage::ExpectBounded { of, earlier_day: 1, later_day: 2, growth_share_max: 0.02 };
    let said = growing().stage(bounded).run().unwrap_err().to_string();
    assert!(said.contains("contacts grew from 5 to 17"), "{said}");
    assert!(said.contains("no table on average fuller on day 2 than on day 1"), "{said}");
}

#[test]
fn expectations_that_hold_are_listed() {
    let report = growing()
        .stage(bounded(1, 2, 99.0))
        .send(50)
        .expect_delivered(0.999)
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(
        report.held,
        [
            "no table fuller on day 2 than on day 1 by more than 9900 %",
            "at least 99.9 % of messages delivered, none twice"
        ]
    );
}

#[test]
fn an_expectation_about_a_day_after_the_run_fails() {
    let said = growing().stage(bounded(2, 7, 0.02)).run().unwrap_err().to_string();
    assert!(said.contains("FAIL the run was over before day 7"), "{said}");
}

#[test]
fn a_light_node_that_starts_again_counts_as_one() {
    let report = Scenario::new("light", 1)
        .light_share(0.5)
        .grow(40, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .send(20)
        .stage(Stage::Crash { share: 0.5 })
        .stage(Stage::Restart)
        .settle(Duration::from_secs(60))
        .send(20)
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    let light: Vec<_> = report.phases.iter().filter_map(|phase| phase.light.as_ref()).collect();
    assert!((10..20).contains(&light[0].nodes), "{} are light", light[0].nodes);
    assert_eq!(light[1].nodes, light[0].nodes);
}

/// Of twenty nodes two are replaced four times, so not all are up for the whole stage.
#[test]
fn steps_are_those_of_all_live_nodes() {
    let churn = Stage::Churn { percent: 10.0, every_secs: 30, over_secs: 120, messages: 20 };
    let report = Scenario::new("steps", 1)
        .grow(20, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .stage(churn)
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    let steps = &report.phases[0].figures.steps;
    let joins = steps.iter().find(|(kind, _)| *kind == "join").map(|(_, an_hour)| *an_hour);
    let expected = 8.0 / 20.0 * 30.0;
    assert!((joins.unwrap() - expected).abs() < 1e-9, "{joins:?}, not {expected}");
}
