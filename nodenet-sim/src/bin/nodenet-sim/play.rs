//! Running one scenario: `scale` makes it from its arguments, `replay` reads it from a file.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nodenet_sim::crypto::Signatures;
use nodenet_sim::row::{Cost, Rows};
use nodenet_sim::run::{Progress, Run};
use nodenet_sim::{Bootstrap, Failure, Report, Scenario, Stage, html};

use crate::args::{self, Output, Replay, Scale, World};
use crate::{machine, table};

/// Without a terminal, how often a line tells of the progress.
const LINE_EVERY: Duration = Duration::from_secs(30);

pub(crate) fn scale(args: &Scale) -> Result<(), String> {
    let scenario = scenario(args.nodes, args.seed, &args.world);
    if let Some(file) = &args.save {
        write(file, &scenario.to_toml())?;
    }
    play(scenario, &args.output)
}

pub(crate) fn replay(args: &Replay) -> Result<(), String> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| format!("the scenario {file} can not be read: {error}"))?;
    let mut scenario =
        Scenario::from_toml(&text).map_err(|error| format!("{file} is not a scenario: {error}"))?;
    if let Some(nodes) = args.nodes {
        scenario = scenario.resize(nodes);
    }
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    play(scenario, &args.output)
}

/// The scenario of `scale` (issue 3).
pub(crate) fn scenario(nodes: u32, seed: u64, world: &World) -> Scenario {
    let bootstrap = match world.bootstrap {
        args::Bootstrap::Ten => Bootstrap::Ten,
        args::Bootstrap::Any => Bootstrap::Any,
    };
    let signatures = if world.real_crypto { Signatures::Real } else { Signatures::StandIn };
    let scenario = Scenario::new(&format!("scale-{nodes}"), seed)
        .signatures(signatures)
        .loss(world.loss / 100.0)
        .nat_share(world.nat_share / 100.0)
        .light_share(world.light_share / 100.0)
        .grow(nodes, bootstrap)
        .settle(Duration::from_secs(60 * world.minutes))
        .send(world.messages);
    match world.churn {
        None => scenario,
        Some(args::Churn { percent, every_secs }) => scenario.stage(Stage::Churn {
            percent,
            every_secs,
            over_secs: 60 * world.churn_minutes,
            messages: world.messages,
        }),
    }
}

fn play(scenario: Scenario, output: &Output) -> Result<(), String> {
    output.check()?;
    let started = machine::now();
    let mut teller = Teller::new(started);
    let outcome = Run::new(scenario)
        .measure_heap(machine::heap_in_use)
        .on_progress(move |progress| teller.tell(progress))
        .finish();
    let real = started.elapsed().as_secs_f64().max(1e-9);
    let show = |report: &Report| {
        let cost = Cost {
            events_per_s: report.events as f64 / real,
            sim_over_real: report.simulated.as_secs_f64() / real,
            peak_rss_bytes: machine::peak_rss_bytes(),
        };
        show(report, &Rows::of(report, cost), output)
    };
    match outcome {
        Ok(report) => show(&report),
        Err(failure) => {
            // What a long run showed is worth seeing all the same.
            if let Some(report) = failure.report.as_ref().filter(|report| !report.phases.is_empty())
            {
                show(report)?;
            }
            Err(lament(*failure))
        }
    }
}

fn show(report: &Report, rows: &Rows, output: &Output) -> Result<(), String> {
    if output.json {
        println!("{}", serde_json::to_string(rows).expect("rows are numbers and text"));
    } else {
        print!("{}{}", table::of(rows), table::of_details(report));
        print!("{}", table::of_watch(&report.watch));
    }
    if let Some(file) = &output.report {
        write(file, &html::of_run(report, rows))?;
        eprintln!("report  {}", file.display());
    }
    Ok(())
}

/// Keeps the scenario of a failed run, so that it can be seen again, and says how.
fn lament(mut failure: Failure) -> String {
    let mut text = String::new();
    if let Err(error) = failure.save(Path::new("target/sim")) {
        let _ = writeln!(text, "the scenario could not be kept in target/sim: {error}");
    }
    text + &failure.to_string()
}

pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text)
        .map_err(|error| format!("{} can not be written: {error}", file.display()))
}

/// Tells how far a run is: a bar on a terminal, else a line now and then.
struct Teller {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
}

impl Teller {
    fn new(started: Instant) -> Self {
        let style = "{msg:>10} {wide_bar} {prefix}  left {eta}";
        let bar = std::io::stderr().is_terminal().then(|| {
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
            "{} of {}  {} nodes  {speed:.1}× real time  {:.0} k events/s",
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
