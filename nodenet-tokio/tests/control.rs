//! Requests on the standard input of `run --json` (docs/CONTROL.md).

mod kit;

use kit::{ABSENT, Host, Scratch, host};
use serde_json::{Value, json};

/// Types a request, and returns its answer.
fn ask(node: &mut Host, request: &Value) -> Value {
    node.running.type_line(&request.to_string());
    let answer = node.running.event("answer");
    assert_eq!(answer["id"], request["id"], "{answer}");
    answer
}

#[test]
fn a_running_node_answers_requests_and_leaves_at_one() {
    let scratch = Scratch::new();
    let mut first = host(&scratch, "first", None);
    let mut second = host(&scratch, "second", None);
    let addrs = [&second.addr];
    let connect = json!({"id": 1, "request": "connect", "peer": second.id, "addrs": addrs});
    let answer = ask(&mut first, &connect);
    assert_eq!((&answer["ok"], &answer["result"]["outcome"]), (&true.into(), &"direct".into()));
    let payload = "ff".repeat(65_531);
    let send =
        json!({"id": "s", "request": "send_direct", "peer": second.id, "payload_hex": payload});
    assert_eq!(ask(&mut first, &send)["result"]["copies"], 1, "the longest line fits");
    let message = second.running.event("message");
    assert_eq!((&message["from"], &message["payload_hex"]), (&json!(first.id), &json!(payload)));

    let answer = ask(&mut second, &json!({"id": 2, "request": "edges"}));
    assert_eq!(answer["result"].as_array().map(Vec::len), Some(1), "{answer}");
    first.running.type_line("{\"id\":3,\"request\":\"leave\"}");
    assert_eq!(first.running.event("answer")["ok"], true);
    first.running.event("stopped");
    assert_eq!(first.running.end().code(), Some(0));
}

#[test]
fn bad_lines_are_answered_and_the_next_ones_are_read() {
    let scratch = Scratch::new();
    let mut node = host(&scratch, "node", None);
    let unknown = json!({"id": 1, "request": "fly"}).to_string();
    let short = json!({"id": 2, "request": "close", "peer": "12ab"}).to_string();
    let long = "x".repeat(1 << 20);
    for (line, code, text) in [
        ("hello", "bad_json", "line 1"),
        (&unknown, "bad_request", "expected one of `connect`"),
        (&short, "bad_request", "64 hexadecimal digits"),
        (&long, "too_long", "135158 bytes"),
    ] {
        node.running.type_line(line);
        let answer = node.running.event("answer");
        assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &code.into()));
        let error = answer["error"].as_str().expect("a text");
        assert!(error.contains(text), "{text:?} is missing in: {error}");
    }
    node.running.type_bytes(b"\xff\xfe\n\n");
    assert_eq!(node.running.event("answer")["code"], "bad_json");
    let answer = ask(&mut node, &json!({"id": 3, "request": "explain", "peer": ABSENT}));
    assert_eq!((&answer["ok"], &answer["result"]), (&true.into(), &Value::Null));

    // The end of the input ends nothing.
    node.running.close_stdin();
    node.running.signal("TERM");
    node.running.event("stopped");
    assert_eq!(node.running.end().code(), Some(0));
}
