//! Determinism of a hub: the same seed gives the same run; and real time instead of virtual.

use std::process::Command;
use std::time::Duration;

use nodenet_tokio::Node;
use nodenet_tokio::testing::{Hub, HubStats, LinkProfile};
use tokio::time::{Instant, sleep, timeout};

use super::cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_on_several_threads_talk_in_real_time() {
    let hub = Hub::new(11);
    let cluster = cluster(&hub, 4).await;
    let (from, to) = (&cluster[3], &cluster[2]);
    from.send(to.id(), "hello").await.unwrap();
    let delivery = timeout(Duration::from_secs(20), to.deliveries().recv()).await.unwrap();
    assert_eq!(delivery.unwrap().originator, from.id());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let reference = scenario(9);
    assert_eq!(scenario(9), reference);
    let (stats, log) = scenario(10);
    assert_ne!(stats.trace_hash, reference.0.trace_hash);
    assert_ne!(log, reference.1);
    assert!(reference.1.iter().any(|line| line.contains("EdgeDown")), "{:?}", reference.1);
}

/// Set in the environment of the other process, which runs the same test.
const ELSEWHERE: &str = "NODENET_TEST_ELSEWHERE";
/// The name of that test.
const ELSEWHERE_TEST: &str = "determinism::the_same_seed_gives_the_same_run_in_another_process";

#[test]
fn the_same_seed_gives_the_same_run_in_another_process() {
    let here = scenario(9).0.trace_hash;
    if std::env::var_os(ELSEWHERE).is_some() {
        return println!("trace {here}");
    }
    let this = std::env::current_exe().expect("this test runs");
    let only = ["--exact", ELSEWHERE_TEST, "--nocapture"];
    let other = Command::new(this).args(only).env(ELSEWHERE, "1").output();
    let output = other.expect("this test can run again");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let trace = text.lines().find_map(|line| line.split_once("trace ")).expect("it prints it").1;
    assert_eq!(trace, here.to_string());
}

/// A run with loss and a partition in which each node sends to each: what each received, and when.
fn scenario(seed: u64) -> (HubStats, Vec<String>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("it needs one thread");
    runtime.block_on(async {
        let begin = Instant::now();
        let hub = Hub::new(seed);
        hub.set_links(LinkProfile { loss: 0.05, ..LinkProfile::LTE });
        let cluster = cluster(&hub, 6).await;
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        for (number, node) in cluster.iter().enumerate() {
            let (mut events, deliveries) = (node.events(), node.deliveries());
            let report = report.clone();
            tokio::spawn(async move {
                loop {
                    let what = tokio::select! {
                        biased;
                        Some(event) = events.recv() => format!("{event:?}"),
                        Some(delivery) = deliveries.recv() => format!("{delivery:?}"),
                        else => return,
                    };
                    let line = format!("{:?} n{number} {what}", begin.elapsed());
                    let _ = report.send(line);
                }
            });
        }
        drop(report);
        for round in 0..20_u8 {
            if round == 5 {
                hub.partition(cluster[3..].iter().map(Node::local_addr));
            }
            if round == 15 {
                hub.heal();
            }
            for from in &cluster {
                for to in &cluster {
                    let _ = from.send(to.id(), vec![round; 100]).await;
                }
            }
            sleep(Duration::from_secs(10)).await;
        }
        for node in &cluster {
            node.shutdown().await.expect("nothing failed");
        }
        drop(cluster);
        let mut log = Vec::new();
        while let Some(line) = reports.recv().await {
            log.push(line);
        }
        (hub.stats(), log)
    })
}
