//! Control of a running node by requests, one JSON object to a line (docs/CONTROL.md).
//!
//! Responsible for: that each line has one answer, and that what is under way is bounded. Never:
//! where lines come from. [`Control`] takes lines and calls a function with each answer, so any
//! stream of bytes can carry both.

mod answer;
mod request;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use nodenet_tokio::{ConnectOutcome, FoundPeer, KnownPeer, Node, NodeId};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cascade;
use crate::clock::now;
use crate::output::json::{self, connect as json_connect};
use crate::stdin::Input;
use answer::{Refusal, RefusalCode};
use request::Request;

/// Requests under way at once, at most; further ones are refused (guess).
const UNDER_WAY_MAX: usize = 64;
/// Bytes of a line, at most: the largest payload as hexadecimal digits, and the other fields with
/// eight addresses.
pub(crate) const LINE_LEN_MAX: usize = 2 * nodenet_tokio::proto::wire::DIRECT_PAYLOAD_MAX + 4_096;
/// Time for an answer of another node, unless the request says otherwise (that of the library).
const WITHIN: Duration = Duration::from_secs(10);

/// Takes a line for the requester.
pub(crate) type Answers = Arc<dyn Fn(Value) + Send + Sync>;

/// The requests of one requester to one node.
pub(crate) struct Control {
    node: Node,
    answers: Answers,
    places: Arc<Semaphore>,
}

impl Control {
    pub(crate) fn new(node: Node, answers: Answers) -> Self {
        Self { node, answers, places: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }

    /// Takes a line. Breaks if it asks the node to leave; its answer is given then.
    pub(crate) fn handle(&self, input: &Input) -> ControlFlow<()> {
        let line = match input {
            Input::Line(line) if line.trim().is_empty() => return ControlFlow::Continue(()),
            Input::Line(line) => line,
            Input::TooLong(len) => {
                let text =
                    format!("a line has at most {LINE_LEN_MAX} bytes, this one {len} or more");
                self.refuse(&Value::Null, &Refusal { code: RefusalCode::TooLong, text });
                return ControlFlow::Continue(());
            }
            Input::End => return ControlFlow::Continue(()),
        };
        let (id, request) = request::parse(line);
        match request {
            Err(refusal) => self.refuse(&id, &refusal),
            Ok(Request::Leave {}) => {
                (self.answers)(answer::done(&id, Value::Null));
                return ControlFlow::Break(());
            }
            Ok(request) => match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => self.begin(id, request, place),
                Err(_) => {
                    let text = format!(
                        "{UNDER_WAY_MAX} requests are under way; wait for the answer to one"
                    );
                    self.refuse(&id, &Refusal { code: RefusalCode::Busy, text });
                }
            },
        }
        ControlFlow::Continue(())
    }

    fn refuse(&self, id: &Value, refusal: &Refusal) {
        (self.answers)(answer::refused(id, refusal));
    }

    fn begin(&self, id: Value, request: Request, place: OwnedSemaphorePermit) {
        let (node, answers) = (self.node.clone(), Arc::clone(&self.answers));
        tokio::spawn(async move {
            let answer = match carry_out(&node, &id, request, &answers).await {
                Ok(result) => answer::done(&id, result),
                Err(refusal) => answer::refused(&id, &refusal),
            };
            drop(place);
            answers(answer);
        });
    }
}

async fn carry_out(
    node: &Node,
    id: &Value,
    request: Request,
    answers: &Answers,
) -> Result<Value, Refusal> {
    match request {
        Request::Connect { peer, addrs, steps } => {
            let attempted = cascade::connect(node, peer, addrs, |step| {
                if steps {
                    answers(answer::step(id, json_connect::step(step)));
                }
            })
            .await;
            match attempted.outcome() {
                // What happened is asked for with `explain`.
                ConnectOutcome::Failed(error) => Err(Refusal::failed(error)),
                _ => Ok(Value::Object(json_connect::attempted(&attempted))),
            }
        }
        Request::Explain { peer } => {
            let why = node.explain(peer).await.map_err(Refusal::failed)?;
            Ok(why.map_or(Value::Null, |why| Value::Object(json_connect::explanation(&why))))
        }
        Request::Ping { peer, within_s } => ping(node, peer, time(within_s)).await,
        Request::Rendezvous { peer, within_s } => {
            let found = node.rendezvous_within(peer, time(within_s)).await;
            found.map(|found| found_peer(&found)).map_err(Refusal::failed)
        }
        Request::Send { peer, payload_hex } => {
            let copies = node.send(peer, payload_hex).await;
            copies.map(|copies| json!({ "copies": copies })).map_err(Refusal::failed)
        }
        Request::SendDirect { peer, payload_hex } => {
            let sent = node.send_direct(peer, payload_hex).await;
            sent.map(|()| json!({ "copies": 1 })).map_err(Refusal::failed)
        }
        Request::SendSealed { peer, payload_hex } => {
            let copies = node.send_sealed(peer, payload_hex).await;
            copies.map(|copies| json!({ "copies": copies })).map_err(Refusal::failed)
        }
        Request::Edges {} => {
            let edges = node.edges().await.map_err(Refusal::failed)?;
            Ok(edges.iter().map(json::edge).collect())
        }
        Request::Nat {} => {
            let report = node.nat_report().await.map_err(Refusal::failed)?;
            Ok(without_event(json::nat(&report)))
        }
        Request::Stats {} => {
            let stats = node.stats().await.map_err(Refusal::failed)?;
            Ok(without_event(json::stats(&stats)))
        }
        Request::Export {} => {
            let peers = node.export_peers().await.map_err(Refusal::failed)?;
            Ok(peers.iter().map(known_peer).collect())
        }
        Request::Close { peer } => {
            let existed = node.close_edge(peer).await.map_err(Refusal::failed)?;
            Ok(json!({ "existed": existed }))
        }
        // Handled where the line was read.
        Request::Leave {} => Ok(Value::Null),
    }
}

async fn ping(node: &Node, peer: NodeId, within: Duration) -> Result<Value, Refusal> {
    let begun = now();
    node.rendezvous_within(peer, within).await.map_err(Refusal::failed)?;
    let routed = now().saturating_duration_since(begun);
    let edge = cascade::edge_to(node, peer).await;
    Ok(json!({
        "routed_ms": json_connect::ms(routed),
        "edge_rtt_ms": edge.map(|edge| json_connect::ms(edge.rtt)),
    }))
}

fn time(within_s: Option<u64>) -> Duration {
    within_s.map_or(WITHIN, Duration::from_secs)
}

fn found_peer(found: &FoundPeer) -> Value {
    json!({
        "peer": found.id.to_string(),
        "key_hex": json::hex(&found.key),
        "exchange_key_hex": json::hex(&found.exchange_key),
        "addrs": json_connect::texts(&found.addrs),
    })
}

fn known_peer(known: &KnownPeer) -> Value {
    json!({ "peer": known.id.to_string(), "addrs": json_connect::texts(&known.addrs) })
}

/// The fields of a line that is an event elsewhere.
fn without_event(line: Value) -> Value {
    let mut fields: Map<String, Value> = json_connect::object(line);
    fields.remove("event");
    Value::Object(fields)
}

#[cfg(test)]
mod tests;
