//! Packet scenarios: their part of `replay`, and subcommand `shrink`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use nodenet_sim::run::packet::shrink::{ShrinkProgress, Shrunk, shrink};
use nodenet_sim::run::packet::{PacketFailure, PacketReport, PacketRun};
use nodenet_sim::scenario::packet::PacketScenario;

use crate::args::{Replay, Shrink};
use crate::{machine, text};

/// Interval of progress lines.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Runs a packet scenario of this text.
pub(crate) fn replay(args: &Replay, content: &str) -> Result<(), String> {
    let file = args.file.display();
    if args.nodes.is_some() {
        return Err(format!("{file} names each of its hosts, so --nodes cannot be applied to it"));
    }
    if args.output.report.is_some() {
        return Err(format!("there is no page for packet scenarios such as {file}: use --json"));
    }
    let mut scenario = read(&args.file, content)?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let outcome = PacketRun::new(scenario).and_then(|run| {
        let mut last_line = machine::now();
        run.on_progress(move |simulated, total| {
            if last_line.elapsed() >= LINE_EVERY {
                last_line = machine::now();
                eprintln!("{} s of {} s simulated", simulated.as_secs(), total.as_secs());
            }
        })
        .finish()
    });
    match outcome {
        Ok(report) if args.output.json => {
            text::say(&(serde_json::to_string(&report).expect("figures and text") + "\n"))
        }
        Ok(report) => text::say(&table(&report)),
        Err(failure) => Err(failure_text(*failure)),
    }
}

/// Reduces a packet scenario that fails.
pub(crate) fn shrink_file(args: &Shrink) -> Result<(), String> {
    let content = text::read(&args.file)?;
    let scenario = read(&args.file, &content)?;
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("small.toml"));
    let mut shown = None;
    let mut last_line = machine::now();
    let reduced = shrink(&scenario, &mut |progress| {
        let ShrinkProgress { runs, hosts, steps } = progress;
        if shown != Some((hosts, steps)) || last_line.elapsed() >= LINE_EVERY {
            (shown, last_line) = (Some((hosts, steps)), machine::now());
            eprintln!("after {runs} runs: {hosts} hosts, {steps} steps");
        }
    });
    let Some(Shrunk { failure, runs }) = reduced else {
        let file = args.file.display();
        return Err(format!("{file} does not fail, so there is nothing to reduce"));
    };
    text::write(&out, &failure.scenario.to_toml())?;
    let failure = PacketFailure { file: Some(out.clone()), ..*failure };
    let PacketScenario { hosts, steps, .. } = &failure.scenario;
    text::say(&format!(
        "{} of {} hosts and {} of {} steps are left after {runs} runs, in {}\n{failure}\n",
        hosts.len(),
        scenario.hosts.len(),
        steps.len(),
        scenario.steps.len(),
        out.display()
    ))
}

fn read(file: &Path, content: &str) -> Result<PacketScenario, String> {
    PacketScenario::from_toml(content)
        .map_err(|error| format!("{} is not a packet scenario: {error}", file.display()))
}

fn table(report: &PacketReport) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<28}{value}");
    };
    line("simulated", format!("{:.3} s", report.simulated_s));
    line("messages delivered", format!("{} of {}", report.delivered, report.sent));
    line("datagrams", report.datagrams.to_string());
    line("lost on the way", report.datagrams_lost.to_string());
    line("without a socket", report.datagrams_dropped.to_string());
    line("events", report.events.to_string());
    line("trace hash", report.trace_hash.clone());
    for held in &report.held {
        line("as expected", held.clone());
    }
    text
}

/// Keeps the scenario of a failed run, and returns the text with the command that replays it.
fn failure_text(mut failure: PacketFailure) -> String {
    let mut text = String::new();
    if let Err(error) = failure.save(Path::new("target/sim")) {
        let _ = writeln!(text, "the scenario could not be kept in target/sim: {error}");
    }
    text + &failure.to_string()
}
