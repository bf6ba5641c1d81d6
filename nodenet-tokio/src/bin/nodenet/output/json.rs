//! JSON lines of `run --json`: one object to a line, for a supervising program.
//!
//! Responsible for: the names in these objects (docs/JSON.md). Never: when to print one.

pub(crate) mod connect;

use std::collections::BTreeMap;

use nodenet_tokio::proto::stats::{DropReason, Stats};
use nodenet_tokio::{
    Delivery, DeliveryPath, EdgeInfo, Event, NatReport, Node, NodeEvent, NodeStats,
};
use serde_json::{Value, json};

use super::Output;
use crate::CommandError;
use crate::health::Warning;

/// JSON on standard output, one object to a line, if the flag is given.
pub(crate) struct JsonLines(Option<Output>);

impl JsonLines {
    pub(crate) fn new(wanted: bool, out: &Output) -> Self {
        Self(wanted.then(|| out.clone()))
    }

    /// Prints the result of `make`, which is called only if there is an output with room.
    pub(crate) fn print_with(&self, make: impl FnOnce() -> Value) {
        if let Some(out) = &self.0 {
            out.print_with(make);
        }
    }

    /// Prints the last line, also without room.
    pub(crate) fn print_last(&self, line: &Value) {
        if let Some(out) = &self.0 {
            out.print_last(line);
        }
    }

    /// Lines that were missed, since the start.
    pub(crate) fn missed(&self) -> u64 {
        self.0.as_ref().map_or(0, Output::missed)
    }

    /// The error that keeps lines from being written, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.as_ref().and_then(Output::problem)
    }
}

pub(crate) fn started(node: &Node, bootstrap: Option<&str>) -> Value {
    json!({
        "event": "started",
        "id": node.id().to_string(),
        "listening": node.local_addr().to_string(),
        "bootstrap": bootstrap,
    })
}

pub(crate) fn message(delivery: &Delivery) -> Value {
    let (path, hops) = match delivery.path {
        DeliveryPath::Direct => ("direct", None),
        DeliveryPath::Routed { hops } => ("routed", Some(hops)),
    };
    json!({
        "event": "message",
        "from": delivery.originator.to_string(),
        "path": path,
        "hops": hops,
        "sealed": delivery.sealed,
        "payload_hex": hex(&delivery.payload),
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An edge as it is now.
pub(crate) fn edge(edge: &EdgeInfo) -> Value {
    json!({
        "peer": edge.peer.to_string(),
        "remote": edge.remote.to_string(),
        "outgoing": edge.outgoing,
        "sibling": edge.sibling,
        "volunteer": edge.relayed_by.map(|id| id.to_string()),
        "relays": edge.relays,
        "rtt_ms": connect::ms(edge.rtt),
        "age_s": edge.age.as_secs(),
        "idle_s": edge.idle.as_secs(),
        "conns": edge.conns,
    })
}

pub(crate) fn nat(report: &NatReport) -> Value {
    json!({
        "event": "nat_changed",
        "addrs": report.addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mapping": report.mapping.name(),
        "allocator": report.allocator.name(),
        "parameter": connect::parameter(report.allocator),
        "reachability": report.reachability.name(),
    })
}

pub(crate) fn event(event: &NodeEvent) -> Value {
    match event {
        NodeEvent::Protocol(Event::EdgeUp { peer, outgoing, remote }) => json!({
            "event": "edge_up",
            "peer": peer.to_string(),
            "outgoing": outgoing,
            "remote": remote.to_string(),
        }),
        NodeEvent::Protocol(Event::EdgeDown { peer, reason }) => json!({
            "event": "edge_down",
            "peer": peer.to_string(),
            "reason": reason.to_string(),
        }),
        NodeEvent::Protocol(Event::BootstrapFailed { peer, error }) => json!({
            "event": "bootstrap_failed",
            "peer": peer.to_string(),
            "error": error.to_string(),
        }),
        NodeEvent::DeliveriesDropped(count) => {
            json!({ "event": "deliveries_dropped", "count": count })
        }
        NodeEvent::Protocol(Event::ClockSkewSuspected { offset_s }) => {
            json!({ "event": "clock_skew_suspected", "offset_s": offset_s })
        }
        NodeEvent::Protocol(Event::NatChanged(report)) => nat(report),
        NodeEvent::Missed(count) => missed(*count),
        // The library may have events that this program does not know. A name must not follow their
        // Debug form.
        other => json!({ "event": "other", "text": format!("{other:?}") }),
    }
}

/// Events that this program did not take in time, or lines that did not fit.
pub(crate) fn missed(count: u64) -> Value {
    json!({ "event": "missed", "count": count })
}

pub(crate) fn warning(warning: Warning, text: &str) -> Value {
    json!({ "event": "warning", "name": warning.name(), "text": text })
}

pub(crate) fn stats(stats: &NodeStats) -> Value {
    let NodeStats { protocol, sockets, .. } = stats;
    json!({
        "event": "stats",
        "counters": protocol.counters.named().collect::<BTreeMap<_, _>>(),
        "gauges": protocol.gauges.named().collect::<BTreeMap<_, _>>(),
        "drops": drops(protocol),
        "sockets": {
            "send_errors": sockets.send_errors,
            "family_mismatches": sockets.family_mismatches,
            "sources_lost": sockets.sources_lost,
            "ttl_unsupported": sockets.ttl_unsupported,
            "receive_errors": sockets.receive_errors,
        },
    })
}

/// The number of drops for each reason, zeros included, so that a missing name means nothing else.
pub(crate) fn drops(stats: &Stats) -> BTreeMap<&'static str, u64> {
    DropReason::ALL.iter().map(|reason| (reason.name(), stats.drops(*reason))).collect()
}

pub(crate) fn stopped() -> Value {
    json!({ "event": "stopped" })
}

pub(crate) fn failed(error: &CommandError) -> Value {
    json!({ "event": "failed", "error": error.to_string() })
}

/// The document for readers of these lines.
#[cfg(test)]
pub(crate) const DOCUMENT: &str = include_str!("../../../../../docs/JSON.md");

#[cfg(test)]
mod tests {
    use nodenet_tokio::proto::NodeId;
    use nodenet_tokio::proto::api::{DeliveryPath, EdgeDownReason};
    use nodenet_tokio::proto::stats::{DropReason, Stats};
    use nodenet_tokio::proto::wire::nat::Allocator;
    use nodenet_tokio::testing::Hub;
    use nodenet_tokio::{ConnectError, Delivery, Event, NatReport, NodeEvent};
    use serde_json::Value;

    use super::{DOCUMENT, drops, event, failed, message, started, stats, stopped, warning};
    use crate::CommandError;
    use crate::health::Warning;

    /// One of every kind of line.
    async fn samples() -> Vec<Value> {
        let node = Hub::new(1).builder(1).start().await.expect("a hub has addresses");
        let peer = NodeId::from_bytes([7; 32]);
        let delivery = Delivery {
            originator: peer,
            payload: vec![0, 255].into(),
            path: DeliveryPath::Routed { hops: 2 },
            sealed: true,
        };
        vec![
            started(&node, None),
            message(&delivery),
            event(&NodeEvent::Protocol(Event::EdgeUp {
                peer,
                outgoing: true,
                remote: node.local_addr(),
            })),
            event(&NodeEvent::Protocol(Event::EdgeDown { peer, reason: EdgeDownReason::Left })),
            event(&NodeEvent::Protocol(Event::BootstrapFailed {
                peer,
                error: ConnectError::NoAddress,
            })),
            event(&NodeEvent::DeliveriesDropped(3)),
            event(&NodeEvent::Protocol(Event::ClockSkewSuspected { offset_s: -40 })),
            event(&NodeEvent::Protocol(Event::NatChanged(Box::new(NatReport {
                addrs: vec![node.local_addr()],
                allocator: Allocator::Sequential { step: 2 },
                ..NatReport::default()
            })))),
            event(&NodeEvent::Missed(3)),
            warning(Warning::NoEdges, "no edge"),
            stats(&node.stats().await.expect("it runs")),
            stopped(),
            failed(&CommandError::Other("no".to_owned())),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn every_name_in_every_line_is_documented() {
        let mut names: Vec<String> =
            Warning::ALL.iter().map(|warning| warning.name().to_owned()).collect();
        for line in samples().await {
            names.push(line["event"].as_str().expect("a line has a kind").to_owned());
            for (key, value) in line.as_object().expect("a line is an object") {
                names.push(key.clone());
                // The reasons for drops are explained where they are declared.
                if let Some(inner) = value.as_object().filter(|_| key != "drops") {
                    names.extend(inner.keys().cloned());
                }
            }
        }
        for name in names {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/JSON.md lacks `{name}`");
        }
    }

    #[test]
    fn every_reason_for_a_drop_is_there() {
        let mut stats = Stats::default();
        stats.count_drop(DropReason::Stale);
        let drops = drops(&stats);
        assert_eq!(drops.len(), DropReason::ALL.len());
        assert_eq!((drops["stale"], drops["dead_end"]), (1, 0));
    }
}
