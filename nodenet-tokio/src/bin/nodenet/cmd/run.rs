//! `nodenet run`: a node that routes until it is stopped.

use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use nodenet_tokio::Delivery;
use tokio::io::{BufReader, Stdin};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::{Cmd, Ended};
use crate::CommandError;
use crate::args::{LogLevel, NodeArgs};
use crate::clock::now;
use crate::control::{self, Control};
use crate::health::{Health, Notice};
use crate::output::json::{self, JsonLines};
use crate::output::log::{RateLimit, preview};
use crate::output::{self, Output, Outputs};
use crate::session::{Session, TICK_INTERVAL, describe_path};
use crate::signals::Signals;
use crate::stdin::{Input, Lines};

/// Ticks between two summaries of the counters.
const TICKS_PER_SUMMARY: u32 = 12;

/// Flags of `nodenet run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print events as JSON, one object to a line, on standard output, and take requests of the
    /// same form on standard input if that is no terminal. docs/JSON.md and docs/CONTROL.md in the
    /// source explain the lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a line with all counters as well, in this interval of seconds. Needs --json.
    #[arg(
        long, value_name = "SECS", requires = "json",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    stats_interval: Option<u32>,
}

impl RunArgs {
    /// Time between two lines with all counters, if the flag is given.
    pub(crate) fn stats_interval(&self) -> Option<Duration> {
        self.stats_interval.map(|secs| Duration::from_secs(secs.into()))
    }
}

impl Cmd for RunArgs {
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(run(*self, signals, outputs))
    }

    fn node_args(&self) -> Option<&NodeArgs> {
        Some(&self.node)
    }

    fn default_log_level(&self) -> LogLevel {
        LogLevel::Info
    }

    fn missed_line(&self) -> fn(u64) -> String {
        if self.json { |count| json::missed(count).to_string() } else { output::missed_text }
    }
}

async fn run(args: RunArgs, signals: Signals, outputs: &Outputs) -> Ended {
    let lines = Arc::new(JsonLines::new(args.json, &outputs.out));
    let ended = route(&args, signals, &lines, outputs).await;
    // The last line says how it ended, in each case.
    lines.print_last(&match &ended {
        Ok(()) => json::stopped(),
        Err(error) => json::failed(error),
    });
    ended.map(|()| ExitCode::SUCCESS)
}

async fn route(
    args: &RunArgs,
    mut signals: Signals,
    lines: &Arc<JsonLines>,
    outputs: &Outputs,
) -> Result<(), CommandError> {
    let session = Session::start(&args.node, &mut signals, &outputs.err).await?;
    let node = session.node.clone();
    let deliveries = node.deliveries();
    let mut events = node.events();
    let mut ticks = tokio::time::interval(TICK_INTERVAL);
    let mut requests = args.json.then(Requests::listen).flatten();
    let sink = Arc::clone(lines);
    let control = Control::new(node.clone(), Arc::new(move |line| sink.print_with(|| line)));
    let mut stats_ticks = args.stats_interval().map(interval_from_now);
    let mut tick_count = 0;
    let mut relaying = None;
    let mut health = Health::new(now());
    let mut limit = RateLimit::new(now());

    session.announce();
    let line = session.bootstrap_line();
    lines.print_with(|| json::started(&node, line.as_deref()));
    announce_bootstrap_line(line, args.json, &outputs.out);
    // A closed node returns errors here. The next round of the loop has the reason.
    loop {
        tokio::select! {
            _ = signals.stop() => break,
            ended = node.closed() => {
                ended?;
                break;
            }
            input = next_request(&mut requests) => if control.handle(&input).is_break() {
                break;
            },
            Some(delivery) = deliveries.recv() => {
                lines.print_with(|| json::message(&delivery));
                log_message(&delivery, &mut limit);
            }
            Some(event) = events.recv() => {
                lines.print_with(|| json::event(&event));
                report(lines, session.observe(&mut health, &event).await);
            }
            _ = ticks.tick() => {
                report(lines, health.handle_tick(now()));
                session.announce_relaying(&mut relaying).await;
                report(lines, health.handle_reachability(now(), session.is_globally_reachable()));
                report(lines, health.handle_missed_lines(now(), lines.missed(), lines.problem()));
                tick_count += 1;
                if tick_count % TICKS_PER_SUMMARY == 0 && let Ok(stats) = node.stats().await {
                    report(lines, health.handle_stats(&stats.protocol));
                }
            }
            () = next_tick(&mut stats_ticks) => if let Ok(stats) = node.stats().await {
                lines.print_with(|| json::stats(&stats));
            },
        }
    }
    tracing::info!("shutting down");
    session.leave().await
}

/// Requests on standard input.
struct Requests(Lines<BufReader<Stdin>>);

impl Requests {
    /// Begins to read, unless standard input is a terminal: a job in the background that reads it
    /// would be stopped.
    fn listen() -> Option<Self> {
        if io::stdin().is_terminal() {
            return None;
        }
        let source = BufReader::new(tokio::io::stdin());
        Some(Self(Lines::up_to(control::LINE_LEN_MAX, source)))
    }
}

/// The next line of requests; without end if none can come any more. Cancel safe.
async fn next_request(requests: &mut Option<Requests>) -> Input {
    if let Some(Requests(lines)) = requests {
        match lines.next().await {
            Ok(Input::End) => {}
            Ok(input) => return input,
            // A node that was started without an input that can be read routes all the same.
            Err(error) => tracing::debug!(%error, "standard input can not be read any more"),
        }
        *requests = None;
    }
    std::future::pending().await
}

/// Ticks, the first after one period. Late ones are skipped.
fn interval_from_now(period: Duration) -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Waits for the next tick; without end if there are none. Cancel safe.
async fn next_tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

fn announce_bootstrap_line(line: Option<String>, json: bool, out: &Output) {
    match line {
        Some(_) if json => {}
        Some(line) => {
            tracing::info!("others join through this node with --bootstrap and this line:");
            out.print(line);
        }
        None => tracing::warn!("this machine has no address through which others could join"),
    }
}

/// Logs notices, and prints warnings as JSON as well.
fn report(lines: &JsonLines, notices: impl IntoIterator<Item = Notice>) {
    for notice in notices {
        notice.log();
        if let Notice::Warning(warning, text) = notice {
            lines.print_with(|| json::warning(warning, &text));
        }
    }
}

fn log_message(delivery: &Delivery, limit: &mut RateLimit) {
    let Some(suppressed) = limit.allow(now()) else { return };
    if suppressed > 0 {
        tracing::info!("{suppressed} more messages, not shown");
    }
    tracing::info!(
        "message from {} ({} bytes, {}): {}",
        delivery.originator,
        delivery.payload.len(),
        describe_path(delivery.path),
        preview(&delivery.payload)
    );
}
