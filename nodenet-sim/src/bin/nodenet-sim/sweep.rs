//! Subcommand `sweep`: runs of many sizes and seeds, each in a process that counts its own memory.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use nodenet_sim::report::PROGRAM;
use nodenet_sim::report::html::{self, count, decimals, megabytes, or_dash, share};
use nodenet_sim::report::row::{Row, Rows};

use crate::args::{self, Sweep, WorldArgs};
use crate::play::{is_progress, present};

pub(crate) fn sweep(args: &Sweep) -> Result<(), String> {
    args.output.check()?;
    let program = std::env::current_exe()
        .map_err(|error| format!("the path of this program cannot be found: {error}"))?;
    let (mut finished, mut failed) = (Vec::new(), Vec::new());
    for outcome in run_all(&program, args) {
        match outcome {
            Ok(rows) => finished.push(rows),
            Err(error) => failed.push(error),
        }
    }
    // The runs that finished may have taken hours, so they are presented even if others failed.
    let shown = show(&finished, &failed, args);
    if failed.is_empty() {
        return shown;
    }
    let head = format!("{} of {} runs failed", failed.len(), finished.len() + failed.len());
    let errors: Vec<_> = shown.err().into_iter().chain([head]).chain(failed).collect();
    Err(errors.join("\n\n"))
}

/// The rows of every run, or the reason why it has no rows, in the order of the arguments.
fn run_all(program: &Path, args: &Sweep) -> Vec<Result<Rows, String>> {
    let all: Vec<_> = args
        .nodes
        .iter()
        .flat_map(|&nodes| args.seeds.0.iter().map(move |&seed| (nodes, seed)))
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let jobs = args.jobs.unwrap_or(cores).clamp(1, all.len().max(1));
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} runs  left {eta}")
        .expect("the template is a constant");
    let bar = ProgressBar::new(all.len() as u64).with_style(style);
    let waiting: Mutex<VecDeque<_>> = Mutex::new(all.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((place, (nodes, seed))) = next(&waiting) {
                    let line = arguments(nodes, seed, &args.world);
                    let outcome = run(program, &line).map_err(|error| {
                        let again = line.join(" ");
                        format!("{nodes} nodes, seed {seed}: {error}\n  again   {PROGRAM} {again}")
                    });
                    bar.inc(1);
                    tell(&bar, (nodes, seed), &outcome);
                    done.lock().unwrap_or_else(|poison| poison.into_inner()).push((place, outcome));
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|poison| poison.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// A line for each run that ended, if there is no terminal for a bar.
fn tell(bar: &ProgressBar, (nodes, seed): (u32, u64), outcome: &Result<Rows, String>) {
    if !bar.is_hidden() {
        return;
    }
    let became = match outcome {
        Ok(rows) => format!("{} delivered", or_dash(rows.steady.delivered_share, share)),
        Err(_) => "failed".to_owned(),
    };
    let (done, all) = (bar.position(), bar.length().unwrap_or(0));
    eprintln!("{done} of {all} runs  {nodes} nodes, seed {seed}: {became}");
}

fn next<T>(waiting: &Mutex<VecDeque<T>>) -> Option<T> {
    waiting.lock().unwrap_or_else(|poison| poison.into_inner()).pop_front()
}

/// One run in a process of its own.
fn run(program: &Path, line: &[String]) -> Result<Rows, String> {
    let output = Command::new(program)
        .args(line)
        .arg("--json")
        .output()
        .map_err(|error| format!("could not be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // A process that was killed, for example because memory ran out, printed no reason.
        let mut lines = vec![output.status.to_string()];
        lines.extend(said.lines().filter(|line| !is_progress(line)).map(str::to_owned));
        return Err(lines.join("\n"));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("gave no figures: {error}"))
}

/// The command line of one run, without output options.
fn arguments(nodes: u32, seed: u64, world: &WorldArgs) -> Vec<String> {
    let bootstrap = match world.bootstrap {
        args::Bootstrap::Ten => "ten",
        args::Bootstrap::Any => "any",
    };
    let mut all = vec!["scale".to_owned()];
    let mut option = |name: &str, value: String| all.extend([format!("--{name}"), value]);
    option("nodes", nodes.to_string());
    option("seed", seed.to_string());
    option("minutes", world.minutes.to_string());
    option("nat-share", world.nat_share.to_string());
    option("light-share", world.light_share.to_string());
    option("silent-share", world.silent_share.to_string());
    option("loss", world.loss.to_string());
    option("bootstrap", bootstrap.to_owned());
    option("relay-share", world.relay_share.to_string());
    match world.connects {
        Some(connects) => option("connects", connects.to_string()),
        None => option("messages", world.messages.to_string()),
    }
    if let Some(args::Churn { percent, every_secs }) = world.churn {
        option("churn", format!("{percent}%/{every_secs}s"));
        option("churn-minutes", world.churn_minutes.to_string());
    }
    if world.name == args::WorldName::Packet {
        option("world", "packet".to_owned());
    }
    if world.rendezvous {
        all.push("--rendezvous".to_owned());
    }
    if world.real_crypto {
        all.push("--real-crypto".to_owned());
    }
    all
}

fn show(all: &[Rows], failed: &[String], args: &Sweep) -> Result<(), String> {
    let page = || html::of_sweep("Delivery against size", all, failed);
    present(&args.output, &all, || table(all), page)
}

fn table(all: &[Rows]) -> String {
    let mut lines = vec![format!(
        "{:>9}{:>7}{:>8}{:>12}{:>6}{:>7}{:>5}{:>9}{:>8}{:>11}{:>12}{:>9}  trace",
        "nodes",
        "seed",
        "phase",
        "delivered",
        "dup",
        "hops",
        "p99",
        "stretch",
        "edges",
        "state KiB",
        "idle a day",
        "join ms"
    )];
    for rows in all {
        lines.push(line(rows.seed, "steady", &rows.steady));
        lines.extend(rows.churn.as_ref().map(|churn| line(rows.seed, "churn", churn)));
    }
    lines.join("\n") + "\n"
}

fn line(seed: u64, phase: &str, row: &Row) -> String {
    format!(
        "{:>9}{seed:>7}{phase:>8}{:>12}{:>6}{:>7}{:>5}{:>9}{:>8}{:>11}{:>12}{:>9}  {}",
        count(row.nodes),
        or_dash(row.delivered_share, share),
        row.duplicates,
        decimals(row.hops_mean, 2),
        decimals(row.hops_p99, 0),
        decimals(row.stretch_p50, 2),
        decimals(row.edges_mean, 1),
        decimals(row.state_bytes_per_node.map(|bytes| bytes / 1024.0), 1),
        or_dash(row.idle_bytes_per_node_day, megabytes),
        decimals(row.join_ms_p50, 0),
        row.trace_hash
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::arguments;
    use crate::args::{Args, Verb};
    use crate::play::scenario;

    /// A child process must run exactly what the arguments of the sweep say.
    #[test]
    fn a_run_of_a_sweep_is_a_run_of_scale() {
        is_a_run_of_scale(&["--rendezvous", "--messages", "70"]);
        is_a_run_of_scale(&["--connects", "80"]);
    }

    fn is_a_run_of_scale(probes: &[&str]) {
        let given = [
            "nodenet-sim",
            "sweep",
            "--minutes",
            "3",
            "--churn",
            "2.5%/20s",
            "--churn-minutes",
            "4",
            "--nat-share",
            "60",
            "--world",
            "packet",
            "--loss",
            "0.1",
            "--light-share",
            "5",
            "--silent-share",
            "20",
            "--relay-share",
            "5",
            "--bootstrap",
            "any",
            "--real-crypto",
        ];
        let given = given.iter().chain(probes);
        let Verb::Sweep(sweep) = Args::parse_from(given).verb else { panic!("a sweep") };
        let line = arguments(40, 9, &sweep.world);
        let child = Args::parse_from(std::iter::once("nodenet-sim".to_owned()).chain(line));
        let Verb::Scale(scale) = child.verb else { panic!("a scale") };
        let expected = scenario(40, 9, &sweep.world);
        assert_eq!(scenario(scale.nodes, scale.seed, &scale.world), expected);
    }
}
