//! Rows of a report: flat figures with stable names, for programs
//! (SIMULATOR.md#figures-for-programs).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::growth::{Fill, Growth};
use crate::report::{Figures, Phase, Report};
use crate::scenario::Probe;

/// Speed and memory of a run, measured by the program that runs it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Steps for each second of real time.
    pub events_per_s: f64,
    /// Virtual over real time.
    pub sim_over_real: f64,
    /// Largest resident set of the process, if the system reports it.
    pub peak_rss_bytes: Option<u64>,
}

/// The figures of a phase; `None` if not measured. Names never change; new names may be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is documented at its origin, Figures or Cost")]
pub struct Row {
    pub nodes: u64,
    pub sent: u64,
    pub delivered: u64,
    pub delivered_share: Option<f64>,
    pub duplicates: u64,
    pub targets_lost: u64,
    pub refused: u64,
    pub hops_mean: Option<f64>,
    pub hops_p50: Option<f64>,
    pub hops_p99: Option<f64>,
    pub hops_max: Option<f64>,
    pub stretch_p50: Option<f64>,
    pub stretch_p99: Option<f64>,
    pub taken_ms_p50: Option<f64>,
    pub taken_ms_p99: Option<f64>,
    /// What was connected, if connects were measured, and how.
    #[serde(flatten)]
    pub connects: ConnectRow,
    pub edges_mean: Option<f64>,
    pub edges_max: Option<f64>,
    pub state_bytes_per_node: Option<f64>,
    pub idle_bytes_per_node_day: Option<f64>,
    pub idle_wakeups_per_node_hour: Option<f64>,
    /// The idle bytes by kind of traffic.
    pub idle_traffic: BTreeMap<String, f64>,
    pub join_ms_p50: Option<f64>,
    pub join_ms_p99: Option<f64>,
    pub not_joined: u64,
    pub events_per_s: f64,
    pub sim_over_real: f64,
    pub peak_rss_bytes: Option<u64>,
    pub trace_hash: String,
}

/// Connects of a phase; nothing if it measured something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectRow {
    /// Connects to targets that were up until the outcome.
    pub connects: Option<u64>,
    /// Share of these that led to an edge.
    pub connected_share: Option<f64>,
    /// Share with a direct path.
    pub connect_direct_share: Option<f64>,
    /// Share with a path through a volunteer.
    pub connect_relayed_share: Option<f64>,
    /// Median of the milliseconds until there was an edge.
    pub connect_ms_p50: Option<f64>,
    /// 99th percentile of these.
    pub connect_ms_p99: Option<f64>,
}

impl ConnectRow {
    fn of(figures: &Figures) -> Self {
        if figures.probe != Probe::Connect {
            return Self::default();
        }
        let share = |legs: usize| {
            let count = figures.hop_histogram.get(legs).copied().unwrap_or(0);
            (figures.sent > 0).then(|| count as f64 / figures.sent as f64)
        };
        Self {
            connects: Some(figures.sent),
            connected_share: figures.delivered_share(),
            connect_direct_share: share(1),
            connect_relayed_share: share(2),
            connect_ms_p50: figures.taken_ms.map(|taken| taken.p50),
            connect_ms_p99: figures.taken_ms.map(|taken| taken.p99),
        }
    }
}

/// One measuring stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseRow {
    /// Whether the stage is churn.
    pub under_churn: bool,
    /// All nodes.
    #[serde(flatten)]
    pub all: Row,
    /// Light nodes, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light: Option<Row>,
}

/// The rows of a run: steady state, churn and light nodes, and every measuring stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Name of the scenario.
    pub name: String,
    /// Seed of the run.
    pub seed: u64,
    /// Steady state.
    #[serde(flatten)]
    pub steady: Row,
    /// Under churn, if there was any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Row>,
    /// Light nodes in steady state, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light: Option<Row>,
    /// Every measuring stage, in order, the steady phase and churn included.
    pub phases: Vec<PhaseRow>,
    /// Text of each expectation that was met.
    pub held: Vec<String>,
    /// The reason of the failure, if the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Entries of each table, day by day; empty if the run was shorter than a day.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub days: BTreeMap<String, Vec<Fill>>,
}

impl Rows {
    /// The rows of a report. In a run without a steady phase the first phase is in its place. If no
    /// node was up, only the cost is there.
    pub fn of(report: &Report, cost: Cost) -> Self {
        let steady = report.steady().or(report.phases.first());
        let row = |figures: &Figures| Row::of(figures, cost, report.trace_hash);
        let phase = |phase: &Phase| PhaseRow {
            under_churn: phase.churn,
            all: row(&phase.figures),
            light: phase.light.as_ref().map(row),
        };
        Self {
            name: report.name.clone(),
            seed: report.seed,
            steady: row(steady.map_or(&Figures::default(), |phase| &phase.figures)),
            churn: report.churn().map(|phase| row(&phase.figures)),
            light: steady.and_then(|phase| phase.light.as_ref()).map(row),
            phases: report.phases.iter().map(phase).collect(),
            held: report.held.clone(),
            failure: None,
            days: days(&report.growth),
        }
    }

    /// The first phase without churn, if there was one.
    pub fn steady_phase(&self) -> Option<&Row> {
        self.phases.iter().find(|phase| !phase.under_churn).map(|phase| &phase.all)
    }

    /// Every measuring stage by its name, each followed by its light nodes.
    pub fn named_phases(&self) -> Vec<(String, &Row)> {
        let mut named = Vec::new();
        for (number, phase) in self.phases.iter().enumerate() {
            let name = if phase.under_churn { "churn" } else { "steady" };
            let alike = |other: &&PhaseRow| other.under_churn == phase.under_churn;
            let name = match self.phases[..number].iter().filter(alike).count() {
                0 => name.to_owned(),
                before => format!("{name} {}", before + 1),
            };
            let light = phase.light.as_ref().map(|row| (format!("{name}, light"), row));
            named.push((name, &phase.all));
            named.extend(light);
        }
        named
    }
}

fn days(growth: &Growth) -> BTreeMap<String, Vec<Fill>> {
    if growth.days() < 2 {
        return BTreeMap::new();
    }
    let of = |table| (1..=growth.days()).filter_map(move |day| growth.fill(table, day)).collect();
    growth.tables().map(|table| (table.to_owned(), of(table))).collect()
}

impl Row {
    fn of(figures: &Figures, cost: Cost, trace_hash: u64) -> Self {
        Self {
            nodes: figures.nodes,
            sent: figures.sent,
            delivered: figures.delivered,
            delivered_share: figures.delivered_share(),
            duplicates: figures.duplicates,
            targets_lost: figures.targets_lost,
            refused: figures.refused,
            hops_mean: figures.hops.map(|hops| hops.mean),
            hops_p50: figures.hops.map(|hops| hops.p50),
            hops_p99: figures.hops.map(|hops| hops.p99),
            hops_max: figures.hops.map(|hops| hops.max),
            stretch_p50: figures.stretch.map(|stretch| stretch.p50),
            stretch_p99: figures.stretch.map(|stretch| stretch.p99),
            taken_ms_p50: figures.taken_ms.map(|taken| taken.p50),
            taken_ms_p99: figures.taken_ms.map(|taken| taken.p99),
            connects: ConnectRow::of(figures),
            edges_mean: figures.edges.map(|edges| edges.mean),
            edges_max: figures.edges.map(|edges| edges.max),
            state_bytes_per_node: figures.state_bytes_per_node,
            idle_bytes_per_node_day: figures.idle_bytes_per_node_day,
            idle_wakeups_per_node_hour: figures.idle_wakeups_per_node_hour,
            idle_traffic: figures.traffic.iter().map(|&(k, b)| (k.to_owned(), b)).collect(),
            join_ms_p50: figures.join_ms.map(|join| join.p50),
            join_ms_p99: figures.join_ms.map(|join| join.p99),
            not_joined: figures.not_joined,
            events_per_s: cost.events_per_s,
            sim_over_real: cost.sim_over_real,
            peak_rss_bytes: cost.peak_rss_bytes,
            trace_hash: format!("{trace_hash:016x}"),
        }
    }
}
