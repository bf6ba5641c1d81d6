//! `nodenet ping` on loopback.

mod kit;

use kit::{ABSENT, Scratch, host, run_to_end};
use serde_json::Value;

fn object(output: &[u8]) -> Value {
    serde_json::from_slice(output).expect("one object")
}

#[test]
fn a_node_answers_over_routing_and_then_over_an_edge() {
    let scratch = Scratch::new();
    let first = host(&scratch, "first", None);
    let second = host(&scratch, "second", Some(&first.line));
    let args = ["ping", &second.id, "--bootstrap", &first.line, "--count", "2"];
    let output = run_to_end(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let result = object(&output.stdout);
    assert_eq!((&result["sent"], &result["answered"]), (&2.into(), &2.into()), "{result}");
    let times = result["routed_ms"].as_array().expect("a list");
    assert!(times.iter().all(|time| time.as_f64() > Some(0.0)), "{result}");
    let bounds = ["routed_ms_min", "routed_ms_mean", "routed_ms_max"];
    assert!(bounds.map(|name| result[name].as_f64()).is_sorted(), "{result}");
    let edge = &result["edge"];
    assert_eq!((&edge["outcome"], &edge["remote"]), (&"direct".into(), &second.addr.into()));
    assert!(edge["rtt_ms"].as_f64() > Some(0.0), "{result}");
    assert_eq!(result["error"], Value::Null);

    let output = run_to_end(&[&args[..], &["--routed-only"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).expect("text");
    for text in ["routed 1: ", "routed 2: ", "2 of 2 answered over routing; min "] {
        assert!(shown.contains(text), "{text:?} is missing in: {shown}");
    }
    assert!(!shown.contains("direct"), "{shown}");
}

#[test]
fn a_node_that_is_not_there_does_not_answer() {
    let scratch = Scratch::new();
    let first = host(&scratch, "first", None);
    let args = ["ping", ABSENT, "--bootstrap", &first.line, "--count", "2", "--timeout", "1"];
    let output = run_to_end(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let result = object(&output.stdout);
    assert_eq!((&result["sent"], &result["answered"]), (&2.into(), &0.into()), "{result}");
    assert_eq!((&result["edge"], &result["routed_ms_mean"]), (&Value::Null, &Value::Null));
    let error = result["error"].as_str().expect("a text");
    assert!(error.contains("did not answer in time"), "{error}");
    let shown = String::from_utf8(output.stderr).expect("text");
    assert!(shown.contains("routed 2: that node did not answer"), "{shown}");

    let output = run_to_end(&["ping", ABSENT]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("give --bootstrap"), "{shown}");
}
