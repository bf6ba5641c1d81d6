//! `nodenet demo --nat`: pairs behind emulated NATs.

mod kit;

use std::process::Stdio;
use std::time::Duration;

use kit::{nodenet, wait};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/JSON.md");

#[test]
fn every_pair_gets_an_edge_direct_where_nats_allow_it_and_relayed_elsewhere() {
    let mut child = nodenet(&["demo", "--nat", "--nodes", "8", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    wait(&mut child, Duration::from_secs(120));
    let output = child.wait_with_output().expect("the child is ours");
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&result["nodes"], &result["joined"]), (&8.into(), &8.into()));
    let connects = result["connects"].as_array().expect("a list");
    assert_eq!(connects.len(), 28);
    let places = result["places"].as_array().expect("a list");
    for line in places {
        assert_eq!(line["failed"], 0, "{line}");
        // A port that is random for each destination meets a filter that admits known ports.
        let is_hard = line["b"] == "hard" && line["a"] != "open";
        let other = if is_hard { "direct" } else { "relayed" };
        assert_eq!(line[other], 0, "{line}");
    }
    for object in [&result, &connects[0], &places[0]] {
        for name in object.as_object().expect("it is an object").keys() {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/JSON.md lacks `{name}`");
        }
    }
}
