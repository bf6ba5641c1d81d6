//! Tests of whole scenarios with simplified nodes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::stand_in::stand_ins;
use crate::report::Report;
use crate::run::Run;
use crate::scenario::{Between, Bootstrap, Scenario, Stage};
use crate::world::overlay::Factory;

fn run(scenario: &Scenario) -> Report {
    Run::with_machines(scenario.clone(), stand_ins())
        .finish()
        .unwrap_or_else(|fail| panic!("{fail}"))
}

fn small(seed: u64) -> Scenario {
    Scenario::new("small", seed).grow(30, Bootstrap::Ten).settle(Duration::from_secs(60)).send(200)
}

#[test]
fn a_mesh_delivers_everything_at_the_cost_of_the_path() {
    let report = run(&small(1));
    let figures = &report.steady().unwrap().figures;
    assert_eq!((figures.sent, figures.delivered, figures.duplicates), (200, 200, 0));
    assert_eq!(figures.hops.unwrap().max, 1.0);
    assert!((0.9..=1.1).contains(&figures.stretch.unwrap().p50), "{:?}", figures.stretch);
    assert_eq!(figures.edges.unwrap().mean, 29.0);
    assert_eq!(figures.not_joined, 0);
    assert!((50.0..600.0).contains(&figures.join_ms.unwrap().p50), "{:?}", figures.join_ms);
    // A ping every 10 s each way on each of 29 edges: 2 × 63 + 2 × 63 B and two acknowledgements
    // at most, a day.
    let exchanges = 29.0 * 2.0 * 8_640.0;
    let each = figures.idle_bytes_per_node_day.unwrap() / exchanges;
    assert!((2.0 * 63.0..=2.0 * 63.0 + 2.0 * 66.0).contains(&each), "{each} B an exchange");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    let [one, same, other] = [1, 1, 2].map(|seed| run(&small(seed)));
    assert_eq!(one.trace_hash, same.trace_hash);
    assert_eq!(one.events, same.events);
    assert_eq!(one.phases[0].figures, same.phases[0].figures);
    assert_ne!(one.trace_hash, other.trace_hash);
    // The hash is the same on another machine and in another build profile. Update it when the
    // simplified node or the world changes on purpose.
    assert_eq!(format!("{:016x}", one.trace_hash), "d454c7e27a3359b4");
}

#[test]
fn crashes_are_survived_and_messages_to_stopped_nodes_do_not_count() {
    let scenario = Scenario::new("churn", 3)
        .grow(30, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .stage(Stage::Churn { percent: 50.0, every_secs: 30, over_secs: 60, messages: 10_000 });
    let figures = run(&scenario).churn().unwrap().figures.clone();
    assert_eq!(figures.nodes, 30);
    assert!(figures.targets_lost > 0, "{figures:?}");
    assert_eq!(figures.sent + figures.targets_lost, 10_000);
    assert!(figures.delivered_share() > Some(0.95), "{figures:?}");
}

/// Every ten seconds as many nodes are replaced as there are, so hardly any is up for the whole
/// stage.
#[test]
fn nodes_that_start_and_stop_meanwhile_are_in_the_costs() {
    let churn = Stage::Churn { percent: 100.0, every_secs: 10, over_secs: 30, messages: 0 };
    let scenario = Scenario::new("costs", 3).grow(20, Bootstrap::Any);
    let report = run(&scenario.settle(Duration::from_secs(60)).stage(churn));
    let figures = &report.churn().unwrap().figures;
    assert!(figures.idle_bytes_per_node_day > Some(1e6), "{figures:?}");
    assert_eq!((figures.delivered_share(), figures.hops), (None, None));
    let joins = figures.steps.iter().find(|(kind, _)| *kind == "join").unwrap().1;
    assert!((joins - 360.0).abs() < 1e-9, "one for each node every 10 s, not {joins} an hour");
}

/// Seconds from the first start of a node to every start of a run.
fn spawns(scenario: &Scenario) -> Vec<u64> {
    let spawns = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&spawns);
    let mut make = stand_ins();
    let factory: Factory = Box::new(move |spawn| {
        seen.borrow_mut().push(spawn.now);
        make(spawn)
    });
    Run::with_machines(scenario.clone(), factory).finish().unwrap_or_else(|fail| panic!("{fail}"));
    let spawns = spawns.take();
    spawns.iter().map(|&at| (at - spawns[0]).as_secs()).collect()
}

#[test]
fn nodes_are_replaced_in_every_round_for_any_number_of_messages() {
    for messages in [0, 2, 900] {
        let scenario = Scenario::new("rounds", 8)
            .grow(30, Bootstrap::Ten)
            .settle(Duration::from_secs(60))
            .stage(Stage::Churn { percent: 10.0, every_secs: 30, over_secs: 90, messages });
        let spawns = spawns(&scenario);
        // They grow for 15 s and settle for 60 s. There is no round at 165 s, the end.
        let expected = [75, 75, 75, 105, 105, 105, 135, 135, 135];
        assert_eq!(spawns[30..], expected, "{messages} messages");
    }
}

#[test]
fn a_partition_stops_delivery_and_healing_restores_it() {
    let cut = Scenario::new("cut", 4)
        .grow(20, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .stage(Stage::Partition)
        .settle(Duration::from_secs(60))
        .stage(Stage::Send { messages: 50, over_secs: 10, between: Between::Sides });
    let figures = run(&cut).steady().unwrap().figures.clone();
    assert_eq!((figures.sent, figures.delivered), (50, 0));
    let healed = Scenario::new("healed", 4)
        .grow(20, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .partition(Duration::from_secs(60))
        .settle(Duration::from_secs(60))
        .stage(Stage::Send { messages: 50, over_secs: 10, between: Between::Sides })
        .expect_delivered(1.0);
    run(&healed);
}

#[test]
fn a_leave_is_announced_to_the_peers_and_a_restart_rejoins() {
    let scenario = Scenario::new("leave", 5)
        .grow(20, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .stage(Stage::Leave { share: 0.3 })
        .send(100)
        .expect_delivered(1.0)
        .stage(Stage::Restart)
        .settle(Duration::from_secs(60))
        .send(100)
        .expect_delivered(1.0);
    let report = run(&scenario);
    assert_eq!(report.phases[0].figures.edges.unwrap().mean, 13.0);
    assert_eq!(report.phases[1].figures.nodes, 20);
}

#[test]
fn a_second_restart_starts_no_node_that_is_up_already() {
    let minute = Duration::from_secs(60);
    let mut scenario = Scenario::new("again", 9).grow(20, Bootstrap::Ten).settle(minute);
    for _ in 0..2 {
        // Six of the ten that are not spared, so that some crash twice and some only once.
        scenario = scenario.stage(Stage::Crash { share: 0.3 }).settle(minute);
        scenario = scenario.stage(Stage::Restart).settle(minute);
    }
    // The ring of a small network shows every node that is up in the end.
    let mut ring = run(&scenario).shape.ring;
    assert_eq!(ring.len(), 20);
    ring.sort_unstable();
    ring.dedup();
    assert_eq!(ring.len(), 20, "no node is up twice");
}

#[test]
fn a_failed_expectation_prints_the_scenario_and_its_replay_command() {
    let scenario = Scenario::new("doomed", 6)
        .grow(5, Bootstrap::Ten)
        .settle(Duration::from_secs(60))
        .stage(Stage::Partition)
        .settle(Duration::from_secs(60))
        .send(50)
        .expect_delivered(1.0);
    let failure = Run::with_machines(scenario.clone(), stand_ins()).finish().unwrap_err();
    let text = failure.to_string();
    assert!(text.starts_with("FAIL delivered "), "{text}");
    assert!(text.contains("save what follows as doomed-6.toml"), "{text}");
    assert!(text.contains(" -- replay doomed-6.toml\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" n000")).count(), 20, "{text}");
    let toml = text.split_once("\n\n").unwrap().1;
    assert_eq!(Scenario::from_toml(toml).unwrap(), scenario);
}
