//! `nodenet ping`: round trips to one node, over routing and over an edge.
//!
//! A ping over routing is a rendezvous: a question that other nodes forward, over several routes at
//! once, and the signed answer of the target. Its time includes two signatures and the routes, and
//! the first one is slower where the target does not know this node yet. The round trip over the
//! edge is that of QUIC, smoothed.

use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nodenet_tokio::NodeId;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Cmd, Ended};
use crate::args::LogLevel;
use crate::cascade::{self, Attempted};
use crate::clock::now;
use crate::output::json::connect::{attempted, ms};
use crate::output::{Output, Outputs};
use crate::signals::Signals;
use crate::visit::{Visit, VisitArgs};

/// Time from one ping to the next, as in ping(8).
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait to join (guess).
const JOIN_BOUND: Duration = Duration::from_secs(15);

/// Flags of `nodenet ping`.
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// The node to ask: 64 hexadecimal digits.
    #[arg(value_name = "ID")]
    pub(crate) peer: NodeId,
    #[command(flatten)]
    pub(crate) visit: VisitArgs,
    /// Pings over routing.
    #[arg(
        long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(crate) count: u32,
    /// Seconds to wait for the answer to one ping. An unanswered question is repeated over other
    /// routes meanwhile.
    #[arg(
        long, value_name = "SECS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=300)
    )]
    pub(crate) timeout: u32,
    /// Ask over routing alone, and get no edge to the node.
    #[arg(long)]
    pub(crate) routed_only: bool,
    /// Print one JSON object at the end; docs/JSON.md in the source explains it.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cmd for PingArgs {
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

async fn run(args: PingArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    let shown = if args.json { &outputs.err } else { &outputs.out };
    let mut visit =
        Visit::start(&args.visit, &mut signals, &outputs.err, |builder| builder).await?;
    let mut report = Report::default();
    let signal = tokio::select! {
        () = ping(&args, &mut visit, &mut report, shown) => None,
        signal = signals.stop() => Some(signal),
    };
    visit.leave().await;
    report.show_summary(shown);
    if args.json {
        let object = report.object(args.peer);
        outputs.write_result(format!("{object}\n")).await?;
    }
    // As ping(8), which is often stopped by a signal, this has a result then.
    Ok(match (report.answered() > 0, signal) {
        (true, _) => ExitCode::SUCCESS,
        (false, Some(signal)) => signal.exit_status().into(),
        (false, None) => ExitCode::FAILURE,
    })
}

/// Round trips so far.
#[derive(Default)]
struct Report {
    /// Those over routing; none where no answer came.
    routed: Vec<Option<Duration>>,
    /// The connect that follows, if there was an answer.
    edge: Option<Attempted>,
    /// Why something has no result.
    error: Option<String>,
}

impl Report {
    fn answered(&self) -> usize {
        self.routed.iter().flatten().count()
    }

    /// Least, mean and longest time over routing.
    fn spread(&self) -> Option<(Duration, Duration, Duration)> {
        let times = || self.routed.iter().flatten().copied();
        let (min, max) = (times().min()?, times().max()?);
        let count = u32::try_from(self.answered()).unwrap_or(u32::MAX);
        Some((min, times().sum::<Duration>() / count, max))
    }

    fn object(&self, peer: NodeId) -> Value {
        let spread = self.spread();
        json!({
            "peer": peer.to_string(),
            "sent": self.routed.len(),
            "answered": self.answered(),
            "routed_ms": self.routed.iter().map(|time| time.map(ms)).collect::<Vec<_>>(),
            "routed_ms_min": spread.map(|(min, _, _)| ms(min)),
            "routed_ms_mean": spread.map(|(_, mean, _)| ms(mean)),
            "routed_ms_max": spread.map(|(_, _, max)| ms(max)),
            "edge": self.edge.as_ref().map(attempted),
            "error": self.error,
        })
    }

    fn show_summary(&self, out: &Output) {
        if let Some((min, mean, max)) = self.spread() {
            let (min, mean, max) = (ms(min), ms(mean), ms(max));
            let (answered, sent) = (self.answered(), self.routed.len());
            out.print(format_args!(
                "{answered} of {sent} answered over routing; min {min:.1}, mean {mean:.1}, max \
                 {max:.1} ms"
            ));
        }
        if let Some(error) = &self.error {
            out.print(error);
        }
    }
}

async fn ping(args: &PingArgs, visit: &mut Visit, report: &mut Report, shown: &Output) {
    let give_up_at: Instant = now() + JOIN_BOUND;
    if let Err(error) = visit.join(give_up_at).await {
        report.error = Some(error.to_string());
        return;
    }
    let bound = Duration::from_secs(args.timeout.into());
    let mut ticks = interval(PING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1..=args.count {
        ticks.tick().await;
        let begun = now();
        match visit.node.rendezvous_within(args.peer, bound).await {
            Ok(_) => {
                let time = now().saturating_duration_since(begun);
                shown.print(format_args!("routed {number}: {:.1} ms", ms(time)));
                report.routed.push(Some(time));
                report.error = None;
            }
            Err(error) => {
                shown.print(format_args!("routed {number}: {error}"));
                report.routed.push(None);
                report.error = Some(error.to_string());
            }
        }
    }
    if args.routed_only || report.answered() == 0 {
        return;
    }
    // A connect ends by itself, but not before this.
    let connecting = cascade::connect(&visit.node, args.peer, Vec::new(), |_| {});
    let Ok(connected) = timeout(2 * JOIN_BOUND, connecting).await else { return };
    match (&connected.edge, &connected.explanation) {
        (Some(edge), _) => {
            let (kind, rtt) = (connected.outcome().name(), ms(edge.rtt));
            shown.print(format_args!("{kind}: {rtt:.1} ms, at {}", edge.remote));
        }
        (None, Some(why)) => shown.print(format_args!("no edge: {why}")),
        (None, None) => shown.print("no edge"),
    }
    report.edge = Some(connected);
}
