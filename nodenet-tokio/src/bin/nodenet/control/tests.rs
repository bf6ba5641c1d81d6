//! Requests to nodes on a hub.

use std::sync::Mutex;

use nodenet_tokio::testing::Hub;
use tokio::time::{sleep, timeout};

use super::*;

/// The document of this vocabulary.
const DOCUMENT: &str = include_str!("../../../../../docs/CONTROL.md");

/// A control and the lines that it answered.
struct Bench {
    control: Control,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Bench {
    fn new(node: &Node) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let answers: Answers = Arc::new(move |line| sink.lock().unwrap().push(line));
        Self { control: Control::new(node.clone(), answers), lines }
    }

    fn type_line(&self, line: impl ToString) -> ControlFlow<()> {
        self.control.handle(&Input::Line(line.to_string()))
    }

    fn answer(&self, id: &Value) -> Option<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().find(|line| line["event"] == "answer" && line["id"] == *id).cloned()
    }

    /// Types a request, and waits for its answer.
    async fn ask(&self, request: Value) -> Value {
        assert_eq!(self.type_line(&request), ControlFlow::Continue(()));
        timeout(Duration::from_secs(60), async {
            loop {
                if let Some(answer) = self.answer(&request["id"]) {
                    return answer;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("each request is answered")
    }
}

/// The result of a request that succeeds. Its names are documented.
fn result(answer: &Value) -> &Value {
    assert_eq!(answer["ok"], true, "{answer}");
    let result = &answer["result"];
    let one = result.as_array().and_then(|list| list.first()).unwrap_or(result);
    for name in one.as_object().into_iter().chain(answer.as_object()).flat_map(Map::keys) {
        let is_there = |document: &str| document.contains(&format!("`{name}`"));
        assert!(is_there(DOCUMENT) || is_there(json::DOCUMENT), "docs/CONTROL.md lacks `{name}`");
    }
    result
}

#[tokio::test(start_paused = true)]
async fn every_request_has_an_answer_with_its_id() {
    let hub = Hub::new(1);
    let a = hub.builder(1).start().await.unwrap();
    let b = hub.builder(2).start().await.unwrap();
    let bench = Bench::new(&a);
    let (peer, addr) = (b.id().to_string(), b.local_addr().to_string());
    let answer = bench
        .ask(json!({"id": 1, "request": "connect", "peer": peer, "addrs": [addr], "steps": true}))
        .await;
    assert_eq!(result(&answer)["outcome"], "direct");
    let steps: Vec<Value> = bench.lines.lock().unwrap().clone();
    let steps: Vec<&Value> = steps.iter().filter(|line| line["event"] == "step").collect();
    assert!(steps.iter().all(|step| step["id"] == 1), "{steps:?}");
    assert_eq!(steps[0]["step"], "begun");

    let answer = bench.ask(json!({"id": "why", "request": "explain", "peer": peer})).await;
    assert_eq!(result(&answer)["remote"], addr);
    let answer = bench.ask(json!({"id": 3, "request": "ping", "peer": peer})).await;
    assert!(result(&answer)["routed_ms"].as_f64() > Some(0.0), "{answer}");
    assert!(result(&answer)["edge_rtt_ms"].as_f64() > Some(0.0), "{answer}");
    let answer = bench.ask(json!({"id": 4, "request": "rendezvous", "peer": peer})).await;
    assert_eq!(result(&answer)["key_hex"].as_str().map(str::len), Some(64));
    for (id, request) in [(5, "send"), (6, "send_direct"), (7, "send_sealed")] {
        let line = json!({"id": id, "request": request, "peer": peer, "payload_hex": "00ff"});
        assert_eq!(result(&bench.ask(line).await)["copies"], 1);
        assert_eq!(&b.deliveries().recv().await.unwrap().payload[..], [0, 255]);
    }
    let answer = bench.ask(json!({"id": 8, "request": "edges"})).await;
    assert_eq!(result(&answer)[0]["peer"], peer);
    let answer = bench.ask(json!({"id": 9, "request": "nat"})).await;
    assert_eq!(result(&answer)["mapping"], "unknown");
    let answer = bench.ask(json!({"id": 10, "request": "stats"})).await;
    assert_eq!(result(&answer)["gauges"]["edges"], 1);
    let answer = bench.ask(json!({"id": 11, "request": "export"})).await;
    assert_eq!(result(&answer)[0]["addrs"], json!([addr]));
    let answer = bench.ask(json!({"id": 12, "request": "close", "peer": peer})).await;
    assert_eq!(result(&answer)["existed"], true);
    assert_eq!(bench.type_line(json!({"id": 13, "request": "leave"})), ControlFlow::Break(()));
    assert_eq!(result(&bench.answer(&json!(13)).unwrap()), &Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_success_says_why() {
    let hub = Hub::new(1);
    let a = hub.builder(1).start().await.unwrap();
    let bench = Bench::new(&a);
    let absent = hub.peer(2).id().to_string();
    for (id, request) in [(1, "connect"), (2, "ping"), (3, "rendezvous")] {
        let answer = bench.ask(json!({"id": id, "request": request, "peer": absent})).await;
        assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &"failed".into()));
        assert!(answer["error"].as_str().is_some_and(|text| text.len() > 20), "{answer}");
    }
    let line = json!({"id": 4, "request": "send_direct", "peer": absent, "payload_hex": ""});
    let answer = bench.ask(line).await;
    assert!(answer["error"].as_str().unwrap().contains("there is no edge"), "{answer}");
    let answer = bench.ask(json!({"id": 5, "request": "close", "peer": absent})).await;
    assert_eq!(result(&answer)["existed"], false);
    a.shutdown().await.unwrap();
    let answer = bench.ask(json!({"id": 6, "request": "edges"})).await;
    assert!(answer["error"].as_str().unwrap().contains("the node is closed"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn bad_lines_are_answered_and_lose_nothing() {
    let hub = Hub::new(1);
    let a = hub.builder(1).start().await.unwrap();
    let bench = Bench::new(&a);
    let _ = bench.control.handle(&Input::TooLong(LINE_LEN_MAX + 1));
    for line in ["", "  ", "no json", "{\"id\":1,\"request\":\"fly\"}"] {
        assert_eq!(bench.type_line(line), ControlFlow::Continue(()));
    }
    let answer = bench.ask(json!({"id": 2, "request": "edges"})).await;
    assert_eq!(result(&answer), &json!([]));
    let lines = bench.lines.lock().unwrap();
    let codes: Vec<&Value> = lines.iter().map(|line| &line["code"]).collect();
    assert_eq!(json!(codes), json!(["too_long", "bad_json", "bad_request", null]));
    assert_eq!(lines[2]["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_have_a_place_are_refused_until_there_is_one() {
    let hub = Hub::new(1);
    let a = hub.builder(1).start().await.unwrap();
    let _b = hub.builder(2).bootstrap([hub.peer(1)]).start().await.unwrap();
    a.joined().await.unwrap();
    let bench = Bench::new(&a);
    let absent = hub.peer(3).id().to_string();
    let ping = |id: usize| json!({"id": id, "request": "ping", "peer": absent, "within_s": 5});
    for id in 0..=UNDER_WAY_MAX {
        let _ = bench.type_line(ping(id));
    }
    let refused = bench.answer(&json!(UNDER_WAY_MAX)).expect("it is answered at once");
    assert_eq!(refused["code"], "busy");
    assert_eq!(bench.answer(&json!(0)), None, "the others wait for the node");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.answer(&json!(0)).expect("its time is over")["code"], "failed");
    let answer = bench.ask(json!({"id": "late", "request": "edges"})).await;
    assert_eq!(answer["ok"], true);
}
