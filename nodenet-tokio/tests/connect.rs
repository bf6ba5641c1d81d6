//! `nodenet connect` on loopback.

mod kit;

use std::time::Duration;

use kit::{ABSENT, PATIENCE, Scratch, failure, host, nodenet, now, run_to_end};
use serde_json::Value;

fn object(output: &[u8]) -> Value {
    serde_json::from_slice(output).expect("one object")
}

#[test]
fn a_node_is_connected_to_by_its_identifier_alone() {
    let scratch = Scratch::new();
    let first = host(&scratch, "first", None);
    let second = host(&scratch, "second", Some(&first.line));
    let output = run_to_end(&["connect", &second.id, "--bootstrap", &first.line, "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let result = object(&output.stdout);
    assert_eq!(result["outcome"], "direct", "{result}");
    assert_eq!((&result["peer"], &result["remote"]), (&second.id.into(), &second.addr.into()));
    for name in ["ms", "joined_ms", "rtt_ms"] {
        assert!(result[name].is_number(), "{name} in {result}");
    }
    let shown = String::from_utf8(output.stderr).expect("text");
    assert!(shown.contains("joined: edge to"), "the cascade is for people: {shown}");
}

#[test]
fn the_cascade_is_shown_and_ends_with_path_and_round_trip() {
    let scratch = Scratch::new();
    let target = host(&scratch, "target", None);
    let output = run_to_end(&["connect", &target.id, "--addr", &target.addr]);
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).expect("text");
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in: {shown}"));
    let dialed = at(&format!(" s  dialing {}", target.addr));
    let direct = at(&format!(" s  direct path to {}; round trip ", target.addr));
    assert!(dialed < direct, "{shown}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_node_that_does_not_answer_is_a_failure_with_the_reason() {
    let scratch = Scratch::new();
    let first = host(&scratch, "first", None);
    let output = run_to_end(&["connect", ABSENT, "--bootstrap", &first.line, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let result = object(&output.stdout);
    assert_eq!((&result["outcome"], &result["remote"]), (&"failed".into(), &Value::Null));
    assert_eq!(result["obstacle"], "no_answer", "{result}");
    let steps = result["steps"].as_array().expect("a list");
    let has = |name: &str| steps.iter().any(|step| step["step"] == name);
    assert!(has("begun") && has("asked") && has("unanswered") && has("ended"), "{result}");
    let shown = String::from_utf8(output.stderr).expect("text");
    let advice = result["advice"].as_str().expect("there is some");
    assert!(shown.contains(advice), "{shown}");
}

#[test]
fn a_network_that_is_not_there_is_a_failure_within_the_time() {
    let begun = now();
    let line = format!("{ABSENT}@127.0.0.1:9");
    let args = ["connect", ABSENT, "--bootstrap", &line, "--within", "2", "--json"];
    let output = run_to_end(&args);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let result = object(&output.stdout);
    assert_eq!((&result["outcome"], &result["joined_ms"]), (&"failed".into(), &Value::Null));
    let error = result["error"].as_str().expect("a text");
    assert!(error.contains("`nodenet doctor`"), "{error}");

    let output = run_to_end(&["connect", ABSENT]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("give --bootstrap"), "{shown}");
}

#[test]
fn only_a_named_key_file_is_kept_and_it_is_for_one_node() {
    let scratch = Scratch::new();
    let target = host(&scratch, "target", None);
    let seed = scratch.arg("own");
    let connect = ["connect", &target.id, "--bootstrap", &target.line, "--seed"];
    let run = |seed: &str| run_to_end(&[&connect[..], &[seed]].concat()).status.code();
    assert_eq!(run(&seed), Some(0));
    assert!(scratch.path("own").exists());
    let text = failure(1, &[&connect[..], &[&scratch.arg("target")]].concat());
    assert!(text.contains("in use: another node was first"), "{text}");
    // Without the flag a node of this user, whose key file is the default one, is not disturbed.
    let mut child = nodenet(&connect[..4])
        .env("HOME", scratch.path("home"))
        .env_remove("XDG_CONFIG_HOME")
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    assert_eq!(kit::wait(&mut child, PATIENCE).code(), Some(0));
    assert!(!scratch.path("home").exists());
}
