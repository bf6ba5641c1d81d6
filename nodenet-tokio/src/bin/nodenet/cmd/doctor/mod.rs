//! `nodenet doctor`: what keeps a node on this machine from its peers, and what would help.

mod checks;
mod probe;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nodenet_tokio::{Event, NodeEvent, Reachability};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout_at};

use super::{Cmd, Ended};
use crate::args::LogLevel;
use crate::clock::now;
use crate::output::json::connect::{ms, object, parameter, texts};
use crate::output::{Output, Outputs};
use crate::signals::Signals;
use crate::visit::{Visit, VisitArgs};
use checks::{Check, Observed, Status};
use probe::{Answer, Probes};

/// Longest wait for the first edge, so that there is a verdict within five seconds.
const JOIN_BOUND: Duration = Duration::from_millis(4_700);
/// Time for further neighbours before the few there are count as all (guess).
const FEW_EDGES_BOUND: Duration = Duration::from_secs(3);
/// The same where all are on this machine.
const LOOPBACK_BOUND: Duration = Duration::from_secs(1);
/// Edges from which on the behaviour of a NAT can be named (PROTOCOL.md#nat-behaviour).
const EDGES_MIN: usize = 3;
/// Time between two looks at the node (guess).
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Flags of `nodenet doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) visit: VisitArgs,
    /// Seconds to gather evidence once the node has joined. What is not found out by then is
    /// unknown.
    #[arg(
        long, value_name = "SECS", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=600)
    )]
    pub(crate) within: u32,
    /// Print one JSON object at the end; docs/JSON.md in the source explains it.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cmd for DoctorArgs {
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(run(*self, signals, outputs))
    }

    fn log_level(&self) -> Option<LogLevel> {
        self.visit.log_level
    }

    fn default_log_level(&self) -> LogLevel {
        LogLevel::Error
    }
}

async fn run(args: DoctorArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    let mut visit =
        Visit::start(&args.visit, &mut signals, &outputs.err, |builder| builder).await?;
    let observed = tokio::select! {
        observed = observe(&args, &mut visit, &outputs.err) => observed,
        signal = signals.stop() => {
            visit.leave().await;
            return Ok(signal.exit_status().into());
        }
    };
    visit.leave().await;
    let checks = checks::all(&observed);
    let is_healthy = checks.iter().all(|check| check.status != Status::Wrong);
    let result = match args.json {
        true => format!("{}\n", report(&observed, &checks, is_healthy)),
        false => table(&checks),
    };
    outputs.write_result(result).await?;
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gathers all that is to be known within the time.
async fn observe(args: &DoctorArgs, visit: &mut Visit, err: &Output) -> Observed {
    err.print("sending to the nodes to join through");
    let mut events = visit.node.events();
    let join_until = visit.begun + JOIN_BOUND;
    let peers = args.visit.bootstrap.0.clone();
    let (probes, joined) = tokio::join!(probe::probe(&peers), async {
        let joined = visit.join(join_until).await;
        joined.map(|_| visit.elapsed())
    });
    let mut skew_s = None;
    if joined.is_ok() {
        err.print(format_args!("joined; gathering evidence for at most {} s", args.within));
        let until = now() + Duration::from_secs(args.within.into());
        let watch = async {
            while let Some(event) = events.recv().await {
                if let NodeEvent::Protocol(Event::ClockSkewSuspected { offset_s }) = event {
                    skew_s = Some(offset_s);
                }
            }
        };
        tokio::select! {
            _ = timeout_at(until.into(), watch) => {}
            () = gather(visit, until) => {}
        }
    }
    let node = &visit.node;
    Observed {
        probes,
        routes: probe::routes(),
        joined,
        edges: node.edges().await.unwrap_or_default(),
        nat: node.nat_report().await.unwrap_or_default(),
        local: node.reachable_addrs(),
        named: node.named_addrs().await.unwrap_or_default(),
        stats: node.stats().await.map(|stats| stats.protocol).unwrap_or_default(),
        skew_s,
        work: (node.id().leading_zeros(), args.visit.difficulty()),
    }
}

/// Waits until the NAT and the reachability are known, or until no more is to be expected.
async fn gather(visit: &Visit, until: Instant) {
    let begun = now();
    loop {
        let nat = visit.node.nat_report().await.unwrap_or_default();
        let edges = visit.node.edges().await.unwrap_or_default();
        let is_known = !nat.addrs.is_empty() && nat.reachability != Reachability::Unknown;
        let bound = match edges.len() {
            _ if edges.iter().all(|edge| edge.remote.ip().is_loopback()) => LOOPBACK_BOUND,
            0..EDGES_MIN => FEW_EDGES_BOUND,
            _ => Duration::MAX,
        };
        let gives_up = now().saturating_duration_since(begun) >= bound;
        if is_known || gives_up || now() >= until {
            return;
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// The checks for people, one to a line, with the advice below.
fn table(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.status {
            Status::Wrong => "WRONG",
            other => other.name(),
        };
        text.push_str(&format!("{mark:8} {:10} {}\n", check.name, check.text));
        if let Some(advice) = check.advice {
            text.push_str(&format!("{:19} -> {advice}\n", ""));
        }
    }
    text
}

/// The same for programs.
fn report(observed: &Observed, checks: &[Check], is_healthy: bool) -> Value {
    let nat = &observed.nat;
    let checks = checks.iter().map(|check| {
        json!({
            "name": check.name,
            "status": check.status.name(),
            "code": check.code,
            "text": check.text,
            "advice": check.advice,
        })
    });
    let mut fields = object(json!({
        "healthy": is_healthy,
        "checks": checks.collect::<Vec<_>>(),
        "joined_ms": observed.joined.ok().map(ms),
        "edges": observed.edges.len(),
        "relays": observed.edges.iter().filter(|edge| edge.relays).count(),
        "addrs": texts(&nat.addrs),
        "mapping": nat.mapping.name(),
        "allocator": nat.allocator.name(),
        "parameter": parameter(nat.allocator),
        "reachability": nat.reachability.name(),
        "evidence": {
            "reports": nat.evidence.reports,
            "subnets": nat.evidence.subnets,
            "addrs": nat.evidence.addrs,
        },
        "local_addrs": texts(&observed.local),
        "named_addrs": texts(&observed.named),
        "clock_offset_s": observed.skew_s,
        "leading_zero_bits": observed.work.0,
    }));
    fields.insert("probes".to_owned(), probes(&observed.probes));
    fields.insert("unresolved".to_owned(), json!(observed.probes.unresolved));
    Value::Object(fields)
}

fn probes(probes: &Probes) -> Value {
    let object = |probe: &probe::Probe| {
        let (answer, after, error) = match &probe.answer {
            Answer::Datagram(after) => ("datagram", Some(ms(*after)), None),
            Answer::PortClosed => ("port_closed", None, None),
            Answer::Unreachable(error) => ("unreachable", None, Some(error)),
            Answer::NotSent(error) => ("not_sent", None, Some(error)),
            Answer::Silence => ("silence", None, None),
        };
        json!({
            "addr": probe.addr.to_string(),
            "answer": answer,
            "after_ms": after,
            "error": error,
            "answers_tcp": probe.answers_tcp,
            "path_mtu": probe.path_mtu,
        })
    };
    probes.probes.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::checks::{all, tests::nothing};
    use super::*;
    use crate::output::json::DOCUMENT;

    #[test]
    fn every_name_of_the_object_and_every_check_is_documented() {
        let observed = nothing();
        let checks = all(&observed);
        let report = report(&observed, &checks, false);
        let mut names: Vec<String> = checks.iter().map(|check| check.name.to_owned()).collect();
        for inner in [&report, &report["checks"][0], &report["evidence"], &report["probes"][0]] {
            names.extend(inner.as_object().expect("it is an object").keys().cloned());
        }
        for name in names {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/JSON.md lacks `{name}`");
        }
        let table = table(&checks);
        assert!(table.contains("WRONG    udp"), "{table}");
        assert!(table.contains("-> "), "{table}");
    }
}
