//! Report of the demo: a table for people, or JSON for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use nodenet_tokio::proto::stats::{DropReason, Stats};
use serde::Serialize;

use super::exchange::Outcome;
use crate::output::Output;
use crate::output::json::drops;

/// Lost messages in the text for people, at most (guess).
const MISSING_SHOWN: usize = 10;
/// Lost messages in the JSON, at most: a thousand nodes could lose a million (guess).
const LOST_PAIRS_MAX: usize = 1_000;

/// Results of a demo.
pub(crate) struct Report {
    pub(crate) nodes: usize,
    pub(crate) first: SocketAddr,
    pub(crate) last: SocketAddr,
    pub(crate) caps_lifted: bool,
    pub(crate) joined: usize,
    pub(crate) joined_after: Duration,
    pub(crate) elapsed: Duration,
    pub(crate) outcome: Outcome,
    /// Edges of each node.
    pub(crate) edges: Vec<usize>,
    /// Drops of all nodes, added up.
    pub(crate) drops: Stats,
}

/// The results as figures; the names are an interface for scripts (docs/JSON.md).
#[derive(Debug, Serialize)]
struct Figures {
    nodes: usize,
    joined: usize,
    joined_ms: f64,
    expected: usize,
    delivered: usize,
    duplicates: usize,
    foreign: usize,
    hops_mean: f64,
    hops_max: u8,
    latency_ms_p50: f64,
    latency_ms_p99: f64,
    edges_min: usize,
    edges_mean: f64,
    edges_max: usize,
    elapsed_ms: f64,
    caps_lifted: bool,
    lost_pairs: Vec<(usize, usize)>,
    send_error: Option<String>,
    drops: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Whether every message arrived exactly once.
    pub(crate) fn is_success(&self) -> bool {
        let outcome = &self.outcome;
        outcome.delivered() == outcome.expected()
            && outcome.duplicates() == 0
            && outcome.foreign == 0
    }

    /// The table, or one JSON object.
    pub(crate) fn result(&self, json: bool) -> String {
        let figures = self.figures();
        let mut result = String::new();
        let made = if json {
            let object = serde_json::to_string(&figures);
            object.map_err(|_| fmt::Error).and_then(|object| writeln!(result, "{object}"))
        } else {
            self.write_table(&figures, &mut result)
        };
        made.expect("figures are numbers and text, and a string takes what is written to it");
        result
    }

    fn write_table(&self, figures: &Figures, out: &mut impl Write) -> fmt::Result {
        let Figures { expected, delivered, duplicates, .. } = figures;
        writeln!(out, "{} nodes from {} to {}", self.nodes, self.first, self.last)?;
        writeln!(out, "  joined in       {:.0} ms", figures.joined_ms)?;
        writeln!(out, "  delivered       {delivered} of {expected}")?;
        writeln!(out, "  duplicates      {duplicates}")?;
        writeln!(out, "  hops            mean {:.2}, max {}", figures.hops_mean, figures.hops_max)?;
        writeln!(
            out,
            "  latency         p50 {:.2} ms, p99 {:.2} ms",
            figures.latency_ms_p50, figures.latency_ms_p99
        )?;
        writeln!(
            out,
            "  edges per node  min {}, mean {:.1}, max {}",
            figures.edges_min, figures.edges_mean, figures.edges_max
        )?;
        writeln!(out, "  in all          {:.1} s", self.elapsed.as_secs_f64())
    }

    /// Explains on standard error why messages did not arrive, as far as that is known.
    pub(crate) fn explain_loss(&self, err: &Output) {
        if self.is_success() {
            return;
        }
        if self.joined < self.nodes {
            let missing = self.nodes - self.joined;
            err.print(format_args!("{missing} of {} nodes did not join", self.nodes));
        }
        if let Some(error) = self.outcome.send_error {
            err.print(format_args!("some messages did not leave: {error}"));
        }
        for (from, to) in self.outcome.missing().take(MISSING_SHOWN) {
            err.print(format_args!("lost: node {} to node {}", from + 1, to + 1));
        }
        for reason in DropReason::ALL {
            match self.drops.drops(*reason) {
                0 => {}
                count => err.print(format_args!("dropped: {} {count}", reason.name())),
            }
        }
    }

    fn figures(&self) -> Figures {
        let outcome = &self.outcome;
        let mut latencies = outcome.latencies.clone();
        latencies.sort_unstable();
        let hops = outcome.hops.iter().map(|hops| f64::from(*hops));
        Figures {
            nodes: self.nodes,
            joined: self.joined,
            joined_ms: ms(self.joined_after),
            expected: outcome.expected(),
            delivered: outcome.delivered(),
            duplicates: outcome.duplicates(),
            foreign: outcome.foreign,
            hops_mean: mean(hops),
            hops_max: outcome.hops.iter().copied().max().unwrap_or(0),
            latency_ms_p50: ms(percentile(&latencies, 50)),
            latency_ms_p99: ms(percentile(&latencies, 99)),
            edges_min: self.edges.iter().copied().min().unwrap_or(0),
            edges_mean: mean(self.edges.iter().map(|edges| *edges as f64)),
            edges_max: self.edges.iter().copied().max().unwrap_or(0),
            elapsed_ms: ms(self.elapsed),
            caps_lifted: self.caps_lifted,
            lost_pairs: outcome
                .missing()
                .take(LOST_PAIRS_MAX)
                .map(|(from, to)| (from + 1, to + 1))
                .collect(),
            send_error: outcome.send_error.map(|error| error.to_string()),
            drops: drops(&self.drops),
        }
    }
}

fn ms(span: Duration) -> f64 {
    // More digits than microseconds are noise.
    span.as_micros() as f64 / 1e3
}

/// The mean; 0 of nothing.
fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = numbers.fold((0_u32, 0.0), |(count, sum), number| (count + 1, sum + number));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// The smallest value that at least `percent` of a hundred values do not exceed (nearest rank);
/// zero of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nodenet_tokio::SendError;
    use nodenet_tokio::proto::stats::{DropReason, Stats};

    use super::{Outcome, Report, mean, percentile};
    use crate::output::json::DOCUMENT;

    /// The report of two nodes whose messages to each other did not arrive.
    fn nothing_arrived() -> Report {
        let (mut outcome, mut drops) = (Outcome::new(2), Stats::default());
        outcome.send_error = Some(SendError::Unroutable);
        drops.count_drop(DropReason::DeadEnd);
        Report {
            nodes: 2,
            first: ([127, 0, 1, 1], 1).into(),
            last: ([127, 0, 2, 1], 1).into(),
            caps_lifted: false,
            joined: 2,
            joined_after: Duration::from_millis(3),
            elapsed: Duration::from_secs(6),
            outcome,
            edges: vec![1, 1],
            drops,
        }
    }

    #[test]
    fn lost_messages_are_in_the_figures_with_a_reason_and_each_figure_is_documented() {
        let figures = serde_json::to_value(nothing_arrived().figures()).expect("figures are plain");
        assert_eq!(figures["lost_pairs"], serde_json::json!([[1, 2], [2, 1]]));
        assert_eq!(
            (&figures["drops"]["dead_end"], &figures["drops"]["stale"]),
            (&1.into(), &0.into())
        );
        let error = figures["send_error"].as_str().expect("there is one");
        assert!(error.starts_with("unroutable"), "{error}");
        for name in figures.as_object().expect("it is one object").keys() {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/JSON.md lacks `{name}`");
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn the_mean_of_nothing_is_nothing() {
        assert_eq!(mean(std::iter::empty()), 0.0);
        assert_eq!(mean([1.0, 2.0, 6.0].into_iter()), 3.0);
    }
}
