//! JSON lines of `run --json`, as a supervising program reads them.

mod kit;

use std::net::UdpSocket;

use kit::{Running, Scratch, run_to_end};
use serde_json::Value;

fn assert_numbers(line: &Value, group: &str, names: &[&str]) {
    for name in names {
        assert!(line[group][name].is_u64(), "{group}.{name} in {line}");
    }
}

#[test]
fn a_failed_start_is_the_last_json_line() {
    let scratch = Scratch::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = taken.local_addr().expect("it is bound").to_string();
    let output = run_to_end(&["run", "--addr", &addr, "--seed", &scratch.arg("seed"), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let line: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(line["event"], "failed");
    let error = line["error"].as_str().expect("a text");
    assert!(error.contains("another process uses that port"), "{error}");
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains(error), "the text for people is the same: {shown}");
}

#[cfg(unix)]
#[test]
fn counters_come_at_the_interval_and_the_last_line_is_stopped() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let args = ["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--json", "--stats-interval", "1"];
    let mut node = Running::start(&args);
    node.event("started");
    for _ in 0..2 {
        let line = node.event("stats");
        assert_numbers(&line, "counters", &["datagrams_received", "bytes_sent", "dials_failed"]);
        assert_numbers(&line, "gauges", &["edges", "queued_bytes", "timers"]);
        assert_numbers(&line, "drops", &["stale", "dead_end", "duplicate"]);
        assert_numbers(&line, "sockets", &["send_errors", "receive_errors"]);
    }
    node.signal("TERM");
    node.event("stopped");
    assert_eq!(node.end().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn peers_that_close_at_once_are_a_warning_in_json_and_in_text() {
    let scratch = Scratch::new();
    let seed = scratch.arg("hub");
    let args = ["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--json", "--pow", "8"];
    let hub = Running::start(&args);
    let line = hub.event("started")["bootstrap"].as_str().expect("loopback will do").to_owned();
    // Fixed identities without the proof of work.
    scratch.write_secret("node", &[1; 32]);
    scratch.write_secret("chat", &[2; 32]);
    let seed = scratch.arg("node");
    let node = Running::start(&["run", "--bootstrap", &line, "--seed", &seed, "--json"]);
    let seed = scratch.arg("chat");
    let chat = Running::start(&["chat", "--bootstrap", &line, "--seed", &seed]);
    let (first, warning) = (node.event("warning"), node.event("warning"));
    assert_eq!(first["name"], "bootstrap_failed", "{first}");
    let why = first["text"].as_str().expect("it is text");
    assert!(why.contains("did not take the edge"), "{why}");
    assert_eq!(warning["name"], "closed_at_once", "{warning}");
    let text = warning["text"].as_str().expect("it is text");
    assert!(text.contains("--pow is the same on both sides"), "{text}");
    assert_eq!(chat.line("peers close"), format!("({text})"));
}

#[test]
fn the_help_names_the_document_of_the_lines() {
    let help = String::from_utf8(run_to_end(&["run", "--help"]).stdout).expect("text");
    assert!(help.contains("docs/JSON.md") && help.contains("--stats-interval"), "{help}");
}
