//! `nodenet connect`: an edge to one node, with the steps that led to it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nodenet_tokio::{ConnectOutcome, ConnectStep, NodeId};
use serde_json::{Map, Value};
use tokio::time::timeout_at;

use super::{Cmd, Ended};
use crate::args::LogLevel;
use crate::cascade::{self, Attempted};
use crate::clock::now;
use crate::output::json::connect as json;
use crate::output::{Output, Outputs};
use crate::signals::Signals;
use crate::visit::{Visit, VisitArgs};

/// Longest wait to join if there are addresses to dial at once (guess).
const JOIN_BOUND: Duration = Duration::from_secs(5);

/// Flags of `nodenet connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The node to connect to: 64 hexadecimal digits.
    #[arg(value_name = "ID")]
    pub(crate) peer: NodeId,
    #[command(flatten)]
    pub(crate) visit: VisitArgs,
    /// An address at which that node may be. May be given several times; without it the node is
    /// asked for its addresses over the network.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) addr: Vec<SocketAddr>,
    /// Print one JSON object at the end; docs/JSON.md in the source explains it.
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds until this is given up, those to join included.
    #[arg(
        long, value_name = "SECS", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    pub(crate) within: u32,
}

impl Cmd for ConnectArgs {
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

async fn run(args: ConnectArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    // The cascade goes where it does not mix with the object.
    let shown = if args.json { &outputs.err } else { &outputs.out };
    let on_this_machine = args.addr.iter().any(|addr| addr.ip().is_loopback());
    let mut visit = Visit::start(&args.visit, &mut signals, &outputs.err, |builder| {
        builder.protocol(|config| config.engine.allow_local_addrs |= on_this_machine)
    })
    .await?;
    let result = tokio::select! {
        result = attempt(&args, &mut visit, shown) => result,
        signal = signals.stop() => {
            visit.leave().await;
            return Ok(signal.exit_status().into());
        }
    };
    visit.leave().await;
    if args.json {
        let object = Value::Object(result.fields(&args));
        outputs.write_result(format!("{object}\n")).await?;
    }
    Ok(if result.is_edge() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of the command.
struct Outcome {
    /// Time until the node had joined, if it has.
    joined: Option<Duration>,
    attempted: Result<Attempted, String>,
    /// Duration of the attempt.
    took: Duration,
}

impl Outcome {
    fn is_edge(&self) -> bool {
        let outcome = self.attempted.as_ref().map(Attempted::outcome);
        !matches!(outcome, Err(_) | Ok(ConnectOutcome::Failed(_)))
    }

    fn fields(&self, args: &ConnectArgs) -> Map<String, Value> {
        let mut fields = match &self.attempted {
            Ok(attempted) => json::attempted(attempted),
            Err(error) => json::not_connected(&args.peer.to_string(), self.took, error),
        };
        fields.insert("joined_ms".to_owned(), self.joined.map(json::ms).into());
        fields
    }
}

/// Joins, connects, and shows both as they happen.
async fn attempt(args: &ConnectArgs, visit: &mut Visit, shown: &Output) -> Outcome {
    let give_up_at = visit.begun + Duration::from_secs(args.within.into());
    let joined = match join(args, visit, give_up_at, shown).await {
        Ok(joined) => joined,
        Err(error) => {
            line(shown, visit.elapsed(), &error);
            return Outcome { joined: None, attempted: Err(error), took: Duration::ZERO };
        }
    };
    let offset = visit.elapsed();
    let connecting = cascade::connect(&visit.node, args.peer, args.addr.clone(), |step| {
        let ConnectStep { at, kind } = step;
        line(shown, offset + *at, kind);
    });
    let attempted = timeout_at(give_up_at.into(), connecting).await;
    let took = visit.elapsed().saturating_sub(offset);
    let attempted = attempted.map_err(|_| {
        format!("no outcome within {} s; give it more time with --within", args.within)
    });
    match &attempted {
        Ok(attempted) => line(shown, visit.elapsed(), sentence(attempted)),
        Err(error) => line(shown, visit.elapsed(), error),
    }
    Outcome { joined, attempted, took }
}

/// Joins, if there is something to join through. Returns the time that it took.
async fn join(
    args: &ConnectArgs,
    visit: &mut Visit,
    give_up_at: Instant,
    shown: &Output,
) -> Result<Option<Duration>, String> {
    if !visit.has_peers() && !args.addr.is_empty() {
        return Ok(None);
    }
    line(shown, visit.elapsed(), "joining");
    let join_until = match args.addr.is_empty() {
        true => give_up_at,
        false => give_up_at.min(now() + JOIN_BOUND),
    };
    let edge = match visit.join(join_until).await {
        Ok(edge) => edge,
        Err(error) if args.addr.is_empty() => return Err(error.to_string()),
        Err(error) => {
            line(shown, visit.elapsed(), error);
            return Ok(None);
        }
    };
    let joined = visit.elapsed();
    line(shown, joined, format_args!("joined: edge to {} at {}", edge.peer, edge.remote));
    // On this machine no NAT is in the way.
    if edge.peer != args.peer && !edge.remote.ip().is_loopback() {
        let addrs = visit.learn_own_address(args.peer, give_up_at).await;
        match addrs.is_empty() {
            true => line(shown, visit.elapsed(), "no address of this node is confirmed yet"),
            false => {
                let addrs = json::texts(&addrs).join(", ");
                line(shown, visit.elapsed(), format_args!("others see this node at {addrs}"));
            }
        }
    }
    Ok(Some(joined))
}

/// The end, for people: the path and its round trip, or why there is none.
fn sentence(attempted: &Attempted) -> String {
    let rtt = attempted.edge.as_ref().map(|edge| json::ms(edge.rtt));
    let rtt = rtt.map(|ms| format!("; round trip {ms:.1} ms")).unwrap_or_default();
    let prefix = if attempted.explanation.is_none() { "there was an edge already: " } else { "" };
    match (attempted.outcome(), &attempted.explanation) {
        (ConnectOutcome::Direct { remote }, _) => format!("{prefix}direct path to {remote}{rtt}"),
        (ConnectOutcome::Relayed { volunteer, .. }, None) => {
            format!("{prefix}relayed by volunteer {volunteer}{rtt}")
        }
        (ConnectOutcome::Relayed { .. }, Some(why)) => format!("{why}{rtt}"),
        (_, Some(why)) => why.to_string(),
        (ConnectOutcome::Failed(error), None) => format!("no path: {error}"),
        (other, None) => other.name().to_owned(),
    }
}

fn line(out: &Output, at: Duration, text: impl std::fmt::Display) {
    out.print(format_args!("{:8.3} s  {text}", at.as_secs_f64()));
}
