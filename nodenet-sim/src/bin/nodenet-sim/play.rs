//! Subcommands `scale` and `replay`: one run of a scenario from arguments or from a file.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nodenet_sim::crypto::Signatures;
use nodenet_sim::report::html;
use nodenet_sim::report::row::{Cost, Rows};
use nodenet_sim::run::{Progress, Run};
use nodenet_sim::scenario::WorldName;
use nodenet_sim::scenario::packet::PacketScenario;
use nodenet_sim::{Bootstrap, Failure, Report, Scenario, Stage};

use crate::args::{self, Output, Replay, Scale, WorldArgs};
use crate::text::{read, say, write};
use crate::{machine, packet, table};

/// Interval of progress lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Part of every progress line, and of no other line.
const REAL_TIME: &str = "× real time";

pub(crate) fn scale(args: &Scale) -> Result<(), String> {
    let scenario = scenario(args.nodes, args.seed, &args.world);
    if let Some(file) = &args.save {
        write(file, &scenario.to_toml())?;
    }
    play(scenario, &args.output)
}

pub(crate) fn replay(args: &Replay) -> Result<(), String> {
    let file = args.file.display();
    let text = read(&args.file)?;
    if PacketScenario::is_meant(&text) {
        return packet::replay(args, &text);
    }
    let mut scenario =
        Scenario::from_toml(&text).map_err(|error| format!("{file} is not a scenario: {error}"))?;
    if let Some(nodes) = args.nodes {
        if !scenario.grows() {
            return Err(format!(
                "{file} has no stage that grows the network, so there is nothing that --nodes \
                 {nodes} could change: leave it out, or add such a stage"
            ));
        }
        scenario = scenario.resize(nodes);
        // Failed runs of different sizes must not overwrite one another's files.
        scenario.name = format!("{}-{nodes}", scenario.name);
    }
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    play(scenario, &args.output)
}

/// The scenario of `scale`.
pub(crate) fn scenario(nodes: u32, seed: u64, world: &WorldArgs) -> Scenario {
    let bootstrap = match world.bootstrap {
        args::Bootstrap::Ten => Bootstrap::Ten,
        args::Bootstrap::Any => Bootstrap::Any,
    };
    let signatures = if world.real_crypto { Signatures::Real } else { Signatures::StandIn };
    let kind = match world.name {
        args::WorldName::Overlay => WorldName::Overlay,
        args::WorldName::Packet => WorldName::Packet,
    };
    let (probe, messages) = world.probes();
    let scenario = Scenario::new(&name(nodes, world), seed)
        .in_world(kind)
        .signatures(signatures)
        .loss(world.loss / 100.0)
        .nat_share(world.nat_share / 100.0)
        .light_share(world.light_share / 100.0)
        .silent_share(world.silent_share / 100.0)
        .relay_share(world.relay_share / 100.0)
        .probe(probe)
        .grow(nodes, bootstrap)
        .settle(Duration::from_secs(60 * world.minutes))
        .send(messages);
    match world.churn {
        None => scenario,
        Some(args::Churn { percent, every_secs }) => scenario.stage(Stage::Churn {
            percent,
            every_secs,
            over_secs: 60 * world.churn_minutes,
            messages,
        }),
    }
}

/// Names a scenario of `scale` by its size and by every option that differs from its default.
/// Failed runs that differ must not overwrite one another's files.
fn name(nodes: u32, world: &WorldArgs) -> String {
    let mut parts = vec![format!("scale-{nodes}")];
    if world.name == args::WorldName::Packet {
        parts.push("packet".to_owned());
    }
    if let args::Bootstrap::Any = world.bootstrap {
        parts.push("any".to_owned());
    }
    let shares = [
        ("nat", world.nat_share),
        ("light", world.light_share),
        ("silent", world.silent_share),
        ("relay", world.relay_share),
        ("loss", world.loss),
    ];
    let some = shares.into_iter().filter(|(_, percent)| *percent > 0.0);
    parts.extend(some.map(|(what, percent)| format!("{what}{percent}")));
    if let Some(args::Churn { percent, every_secs }) = world.churn {
        parts.push(format!("churn{percent}-{every_secs}s"));
        if world.churn_minutes != args::CHURN_MINUTES {
            parts.push(format!("for{}m", world.churn_minutes));
        }
    }
    if world.minutes != args::MINUTES {
        parts.push(format!("settle{}m", world.minutes));
    }
    if world.messages != args::MESSAGES {
        parts.push(format!("messages{}", world.messages));
    }
    if world.rendezvous {
        parts.push("rendezvous".to_owned());
    }
    if let Some(connects) = world.connects {
        parts.push(format!("connects{connects}"));
    }
    if world.real_crypto {
        parts.push("real".to_owned());
    }
    parts.join("-")
}

fn play(scenario: Scenario, output: &Output) -> Result<(), String> {
    output.check()?;
    let started = machine::now();
    let mut log = ProgressLog::new(started);
    let outcome = Run::new(scenario)
        .measure_heap(machine::heap_in_use)
        .on_progress(move |progress| log.tell(progress))
        .finish();
    let real = started.elapsed().as_secs_f64().max(1e-9);
    let rows = |report: &Report| {
        let cost = Cost {
            events_per_s: report.events as f64 / real,
            sim_over_real: report.simulated.as_secs_f64() / real,
            peak_rss_bytes: machine::peak_rss_bytes(),
        };
        Rows::of(report, cost)
    };
    match outcome {
        Ok(report) => show(&report, &rows(&report), output),
        Err(failure) => {
            let shown = show_failed(&failure, rows, output);
            let failure_text = failure_text(*failure);
            Err(shown
                .err()
                .map_or_else(|| failure_text.clone(), |error| format!("{error}\n{failure_text}")))
        }
    }
}

/// Presents the figures of a run until its failure, because the run may have taken hours. A page is
/// always written, so that a page of an earlier run is not taken for that of this run.
fn show_failed(
    failure: &Failure,
    rows: impl FnOnce(&Report) -> Rows,
    output: &Output,
) -> Result<(), String> {
    let what = Some(failure.what.clone());
    match &failure.report {
        Some(report) => {
            let rows = Rows { failure: what, ..rows(report) };
            if report.phases.is_empty() {
                return write_page(output, || html::of_run(report, &rows));
            }
            show(report, &rows, output)
        }
        None => {
            let Scenario { name, seed, .. } = failure.scenario.clone();
            let rows = Rows { name, seed, failure: what, ..Rows::default() };
            write_page(output, || html::of_failed(&rows))
        }
    }
}

fn show(report: &Report, rows: &Rows, output: &Output) -> Result<(), String> {
    let table = || table::of(rows) + &table::of_details(report) + &table::of_growth(&report.growth);
    present(output, rows, table, || html::of_run(report, rows))
}

/// Presents the figures in every requested form, even if another form fails, because the run may
/// have taken hours.
pub(crate) fn present(
    output: &Output,
    figures: &impl serde::Serialize,
    table: impl FnOnce() -> String,
    page: impl FnOnce() -> String,
) -> Result<(), String> {
    let written = write_page(output, page);
    let said = say(&if output.json {
        serde_json::to_string(figures).expect("rows are numbers and text") + "\n"
    } else {
        table()
    });
    written.and(said)
}

/// Writes the page, if it was requested.
fn write_page(output: &Output, page: impl FnOnce() -> String) -> Result<(), String> {
    let Some(file) = &output.report else { return Ok(()) };
    write(file, &page())?;
    eprintln!("report  {}", file.display());
    Ok(())
}

/// Saves the scenario of a failed run, and returns the text with the command that replays it.
fn failure_text(mut failure: Failure) -> String {
    let mut text = String::new();
    if let Err(error) = failure.save(Path::new("target/sim")) {
        let _ = writeln!(text, "the scenario could not be kept in target/sim: {error}");
    }
    text + &failure.to_string()
}

/// Whether a line of a run is a progress line.
pub(crate) fn is_progress(line: &str) -> bool {
    line.contains(REAL_TIME)
}

/// Progress of a run: a bar on a terminal, otherwise lines.
struct ProgressLog {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
}

impl ProgressLog {
    fn new(started: Instant) -> Self {
        let style = "{msg:>10} {wide_bar} {prefix}  left {eta}";
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(style).expect("the template is a constant");
            ProgressBar::new(1).with_style(style.progress_chars("━╸─"))
        });
        Self { bar, started, last_line: started }
    }

    fn tell(&mut self, progress: Progress) {
        let real = self.started.elapsed().as_secs_f64().max(1e-9);
        let (done, total) = (progress.simulated.as_secs(), progress.total.as_secs());
        let speed = progress.simulated.as_secs_f64() / real;
        let state = format!(
            "{} of {}  {} nodes  {speed:.1}{REAL_TIME}  {:.0} k events/s",
            clock(done),
            clock(total),
            progress.nodes,
            progress.events as f64 / real / 1e3
        );
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_message(progress.label);
            bar.set_prefix(state);
            bar.set_position(done);
            if done >= total {
                bar.finish_and_clear();
            }
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = machine::now();
            let left = clock(((total - done.min(total)) as f64 / speed.max(1e-9)) as u64);
            eprintln!("{:>10}  {state}  {left} left", progress.label);
        }
    }
}

/// Minutes and seconds, or hours, minutes and seconds.
fn clock(secs: u64) -> String {
    let (hours, minutes, secs) = (secs / 3_600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{secs:02}")
    } else {
        format!("{minutes}:{secs:02}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::scenario;
    use crate::args::{Args, Verb};

    fn name(options: &str) -> String {
        let line = format!("nodenet-sim scale --nodes 1000 --seed 7 {options}");
        let verb = Args::parse_from(line.split_whitespace()).verb;
        let Verb::Scale(scale) = verb else { panic!("a scale") };
        scenario(scale.nodes, scale.seed, &scale.world).name
    }

    #[test]
    fn a_scenario_is_named_by_its_size_and_by_options_that_differ_from_their_default() {
        for usual in ["", "--minutes 10 --bootstrap ten --loss 0"] {
            assert_eq!(name(usual), "scale-1000", "{usual}");
        }
        assert_eq!(name("--churn 2%/30s --churn-minutes 15"), "scale-1000-churn2-30s");
        assert_eq!(name("--bootstrap any --nat-share 60%"), "scale-1000-any-nat60");
        assert_eq!(name("--world packet --loss 1"), "scale-1000-packet-loss1");
        assert_eq!(name("--light-share 5 --loss 0.1"), "scale-1000-light5-loss0.1");
        assert_eq!(name("--silent-share 20 --rendezvous"), "scale-1000-silent20-rendezvous");
        assert_eq!(name("--relay-share 5 --connects 90"), "scale-1000-relay5-connects90");
        assert_eq!(name("--churn 2.5%/30s"), "scale-1000-churn2.5-30s");
        assert_eq!(
            name("--churn 2%/30s --churn-minutes 5 --minutes 3 --messages 70 --real-crypto"),
            "scale-1000-churn2-30s-for5m-settle3m-messages70-real"
        );
    }
}
