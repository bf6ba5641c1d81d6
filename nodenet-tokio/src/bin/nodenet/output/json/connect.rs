//! JSON of connects: outcome, steps and explanation.

use std::net::SocketAddr;
use std::time::Duration;

use nodenet_tokio::proto::wire::nat::Allocator;
use nodenet_tokio::{ConnectOutcome, ConnectStep, ConnectStepKind, Explanation, PathSide};
use serde_json::{Map, Value, json};

use crate::cascade::Attempted;

/// Milliseconds; more digits than microseconds are noise.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}

/// What came of a connect.
pub(crate) fn attempted(attempted: &Attempted) -> Map<String, Value> {
    let outcome = attempted.outcome();
    let (remote, volunteer) = path(&outcome);
    let explanation = attempted.explanation.as_ref();
    let error = match outcome {
        ConnectOutcome::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let edge = attempted.edge.as_ref();
    object(json!({
        "peer": attempted.peer.to_string(),
        "outcome": outcome.name(),
        "ms": ms(attempted.took),
        "rtt_ms": edge.map(|edge| ms(edge.rtt)),
        "remote": remote,
        "volunteer": volunteer,
        "steps": explanation.map_or_else(Vec::new, steps),
        "obstacle": explanation.and_then(|why| why.obstacle).map(|obstacle| obstacle.name()),
        "advice": explanation.and_then(Explanation::advice),
        "error": error,
    }))
}

/// A connect that was not made, or that did not end in time.
pub(crate) fn not_connected(peer: &str, took: Duration, error: &str) -> Map<String, Value> {
    object(json!({
        "peer": peer,
        "outcome": "failed",
        "ms": ms(took),
        "rtt_ms": null,
        "remote": null,
        "volunteer": null,
        "steps": [],
        "obstacle": null,
        "advice": null,
        "error": error,
    }))
}

/// What is known of the last attempt to connect to a peer.
pub(crate) fn explanation(why: &Explanation) -> Map<String, Value> {
    let (remote, volunteer) = why.outcome.as_ref().map(path).unwrap_or_default();
    object(json!({
        "peer": why.peer.to_string(),
        "outcome": why.outcome.map(ConnectOutcome::name),
        "remote": remote,
        "volunteer": volunteer,
        "steps": steps(why),
        "obstacle": why.obstacle.map(|obstacle| obstacle.name()),
        "advice": why.advice(),
        "text": why.to_string(),
    }))
}

/// The fields of an object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

fn path(outcome: &ConnectOutcome) -> (Option<String>, Option<String>) {
    match outcome {
        ConnectOutcome::Direct { remote } => (Some(remote.to_string()), None),
        ConnectOutcome::Relayed { remote, volunteer } => {
            (Some(remote.to_string()), Some(volunteer.to_string()))
        }
        _ => (None, None),
    }
}

fn steps(why: &Explanation) -> Vec<Value> {
    why.steps.iter().map(|one| Value::Object(step(one))).collect()
}

/// A step, with the fields of its kind.
pub(crate) fn step(step: &ConnectStep) -> Map<String, Value> {
    let mut fields = object(json!({ "at_ms": ms(step.at), "step": step.kind.name() }));
    fields.extend(object(details(&step.kind)));
    fields
}

fn details(kind: &ConnectStepKind) -> Value {
    match kind {
        ConnectStepKind::Begun { open, held } => json!({ "open": open, "held": held }),
        ConnectStepKind::Asked { copies } => json!({ "copies": copies }),
        ConnectStepKind::Answered(side) => path_side(side),
        ConnectStepKind::Punching { addrs, is_short } => {
            json!({ "addrs": texts(addrs), "short": is_short })
        }
        ConnectStepKind::Predicted { first, step, count } => {
            json!({ "first": first, "step": step, "count": count })
        }
        ConnectStepKind::PeerSeen { addr } | ConnectStepKind::PortMoved { addr } => {
            json!({ "addr": addr.to_string() })
        }
        ConnectStepKind::Dialed { addr, volunteer } => json!({
            "addr": addr.to_string(),
            "volunteer": volunteer.map(|id| id.to_string()),
        }),
        ConnectStepKind::DialFailed { addr, error } => {
            json!({ "addr": addr.to_string(), "error": error.to_string() })
        }
        ConnectStepKind::RelayGranted { volunteer, addr } => {
            json!({ "volunteer": volunteer.to_string(), "addr": addr.to_string() })
        }
        ConnectStepKind::RelayUnavailable { asked } => json!({ "asked": asked }),
        ConnectStepKind::Ended(outcome) => json!({ "outcome": outcome.name() }),
        // A step without fields, or one of a later version of the library.
        _ => json!({}),
    }
}

fn path_side(side: &PathSide) -> Value {
    json!({
        "addrs": texts(&side.addrs),
        "mapping": side.mapping.name(),
        "allocator": side.allocator.name(),
        "parameter": parameter(side.allocator),
        "reachability": side.reachability.name(),
    })
}

/// The step or the ports of a block of an allocator, if it has one.
pub(crate) fn parameter(allocator: Allocator) -> Option<u16> {
    match allocator {
        Allocator::Sequential { step } => Some(step),
        Allocator::Block { span } => Some(span),
        _ => None,
    }
}

pub(crate) fn texts(addrs: &[SocketAddr]) -> Vec<String> {
    addrs.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use nodenet_tokio::testing::Hub;
    use nodenet_tokio::{ConnectError, NodeId};

    use super::*;
    use crate::cascade;
    use crate::output::json::DOCUMENT;

    /// A step of every kind.
    fn kinds() -> Vec<ConnectStepKind> {
        let (id, addr) = (NodeId::from_bytes([7; 32]), SocketAddr::from(([192, 0, 2, 1], 4242)));
        let side = PathSide { addrs: vec![addr], ..PathSide::default() };
        vec![
            ConnectStepKind::Begun { open: 1, held: 2 },
            ConnectStepKind::Asked { copies: 3 },
            ConnectStepKind::Unroutable,
            ConnectStepKind::Answered(side),
            ConnectStepKind::Unanswered,
            ConnectStepKind::Punching { addrs: vec![addr], is_short: true },
            ConnectStepKind::Predicted { first: 5_000, step: 1, count: 16 },
            ConnectStepKind::PortMoved { addr },
            ConnectStepKind::PeerSeen { addr },
            ConnectStepKind::Dialed { addr, volunteer: Some(id) },
            ConnectStepKind::DialFailed {
                addr,
                error: nodenet_tokio::proto::transport::DialError::TimedOut,
            },
            ConnectStepKind::RelayWanted,
            ConnectStepKind::RelayGranted { volunteer: id, addr },
            ConnectStepKind::RelayUnavailable { asked: 2 },
            ConnectStepKind::Ended(ConnectOutcome::Failed(ConnectError::NoPath)),
        ]
    }

    fn assert_documented(fields: &Map<String, Value>) {
        for name in fields.keys() {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/JSON.md lacks `{name}`");
        }
    }

    #[test]
    fn every_step_and_every_field_of_it_is_documented() {
        for kind in kinds() {
            let name = kind.name();
            assert!(DOCUMENT.contains(&format!("| `{name}` |")), "docs/JSON.md lacks `{name}`");
            assert_documented(&step(&ConnectStep { at: Duration::ZERO, kind }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watched_connect_shows_each_step_once_and_its_object_has_them() {
        let hub = Hub::new(1);
        let a = hub.builder(1).start().await.expect("a hub has addresses");
        let b = hub.builder(2).start().await.expect("a hub has addresses");
        let mut shown = Vec::new();
        let result = cascade::connect(&a, b.id(), vec![b.local_addr()], |step| {
            shown.push(step.kind.name());
        })
        .await;
        let fields = attempted(&result);
        assert_documented(&fields);
        assert_eq!(fields["outcome"], "direct", "{fields:?}");
        assert_eq!(fields["remote"], b.local_addr().to_string());
        assert!(fields["rtt_ms"].as_f64() > Some(0.0), "{fields:?}");
        let steps = fields["steps"].as_array().expect("a list");
        assert!(steps.iter().map(|step| &step["step"]).eq(&shown), "{steps:?} {shown:?}");
        assert_eq!((shown[0], shown[shown.len() - 1]), ("begun", "ended"));
        let why = result.explanation.as_ref().expect("it was an attempt");
        assert_documented(&explanation(why));

        let again = cascade::connect(&a, b.id(), Vec::new(), |step| panic!("{step:?}")).await;
        let fields = attempted(&again);
        assert_eq!((&fields["outcome"], &fields["steps"]), (&"direct".into(), &json!([])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connect_that_failed_has_a_reason_and_an_advice() {
        let hub = Hub::new(1);
        let a = hub.builder(1).start().await.expect("a hub has addresses");
        let result = cascade::connect(&a, hub.peer(2).id(), Vec::new(), |_| {}).await;
        let fields = attempted(&result);
        assert_eq!((&fields["outcome"], &fields["remote"]), (&"failed".into(), &Value::Null));
        assert_eq!(fields["obstacle"], "no_route");
        assert!(fields["advice"].is_string() && fields["error"].is_string(), "{fields:?}");
        let same = not_connected("", Duration::ZERO, "");
        assert!(same.keys().eq(fields.keys()), "both have the same names");
    }
}
