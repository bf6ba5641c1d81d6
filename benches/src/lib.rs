//! Measurement harness: nodenet and a baseline, timed in turns in one process.
//!
//! Absolute times vary on a shared machine; the ratio of two measurements in turns does not. So
//! every figure stands beside a baseline that does the least possible work for the task. Limits are
//! on ratios wherever possible.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns of each side. The median of 41 is stable on a busy machine (guess).
const TURNS: usize = 41;
/// Turns if a limit is a time. No ratio compensates for a machine that is slow for half a second
/// (measured), so these turns are spread over one to two seconds.
const TURNS_TIMED: usize = 401;
/// Shortest turn: long in comparison with the resolution of the clock.
const TURN_MIN: Duration = Duration::from_millis(2);

/// Limit of a row of the report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// No limit.
    None,
    /// At most this multiple of the baseline.
    Ratio(f64),
    /// At most this number of nanoseconds, independent of the baseline.
    Nanos(f64),
    /// At most this number of bytes more than the baseline.
    BytesAbove(f64),
}

/// Unit of the figures of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Time of one operation.
    Nanos,
    /// Memory of one item.
    Bytes,
}

/// The figures of one side.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The best turn.
    pub min: f64,
    /// The middle turn.
    pub median: f64,
}

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name of the measurement.
    pub name: String,
    /// Name of the baseline.
    pub baseline_name: &'static str,
    /// Unit of the figures.
    pub unit: Unit,
    /// Figures of nodenet.
    pub ours: Figures,
    /// Figures of the baseline.
    pub baseline: Figures,
    /// Ratio to the baseline: the median over the pairs of turns.
    pub ratio: f64,
    /// The limit.
    pub limit: Limit,
}

impl Row {
    /// Times `ours` and `baseline` in turns. Each call does `operations` operations.
    pub fn time<A, B>(
        name: impl Into<String>,
        baseline_name: &'static str,
        limit: Limit,
        operations: u32,
        (mut ours, mut baseline): (impl FnMut() -> A, impl FnMut() -> B),
    ) -> Self {
        let ours = |calls| time_calls(calls, &mut ours);
        let baseline = |calls| time_calls(calls, &mut baseline);
        Self::turns((name.into(), baseline_name, limit), operations, (ours, baseline))
    }

    /// Like [`Row::time`], but each call returns the duration of its measured part.
    pub fn stopwatch(
        name: impl Into<String>,
        baseline_name: &'static str,
        limit: Limit,
        operations: u32,
        (mut ours, mut baseline): (impl FnMut() -> Duration, impl FnMut() -> Duration),
    ) -> Self {
        let ours = |calls: u32| (0..calls).map(|_| ours()).sum();
        let baseline = |calls: u32| (0..calls).map(|_| baseline()).sum();
        Self::turns((name.into(), baseline_name, limit), operations, (ours, baseline))
    }

    /// Both sides make the given number of calls and return the duration.
    fn turns(
        (name, baseline_name, limit): (String, &'static str, Limit),
        operations: u32,
        (mut ours, mut baseline): (impl FnMut(u32) -> Duration, impl FnMut(u32) -> Duration),
    ) -> Self {
        let calls = (calls_per_turn(&mut ours), calls_per_turn(&mut baseline));
        let per_call = |calls: u32, taken: Duration| taken.as_nanos() as f64 / f64::from(calls);
        let count = if matches!(limit, Limit::Nanos(_)) { TURNS_TIMED } else { TURNS };
        let mut turns = Vec::with_capacity(count);
        for turn in 0..count {
            // The second side finds warm caches, so the order alternates.
            turns.push(if turn % 2 == 0 {
                let first = per_call(calls.0, ours(calls.0));
                (first, per_call(calls.1, baseline(calls.1)))
            } else {
                let first = per_call(calls.1, baseline(calls.1));
                (per_call(calls.0, ours(calls.0)), first)
            });
        }
        let per_operation = f64::from(operations);
        Self {
            name,
            baseline_name,
            unit: Unit::Nanos,
            ours: Figures::of(turns.iter().map(|(ours, _)| ours / per_operation)),
            baseline: Figures::of(turns.iter().map(|(_, baseline)| baseline / per_operation)),
            ratio: Figures::of(turns.iter().map(|(ours, baseline)| ours / baseline)).median,
            limit,
        }
    }

    /// A row for memory, which needs no turns: the same run takes the same bytes.
    pub fn memory(
        name: impl Into<String>,
        baseline_name: &'static str,
        limit: Limit,
        (ours, baseline): (f64, f64),
    ) -> Self {
        let exactly = |bytes| Figures { min: bytes, median: bytes };
        Self {
            name: name.into(),
            baseline_name,
            unit: Unit::Bytes,
            ours: exactly(ours),
            baseline: exactly(baseline),
            ratio: ours / baseline,
            limit,
        }
    }

    /// Whether the figures are within the limit; true without a limit.
    pub fn is_within_limit(&self) -> bool {
        match self.limit {
            Limit::None => true,
            Limit::Ratio(most) => self.ratio <= most,
            // The best turn, because other processes only add time.
            Limit::Nanos(most) => self.ours.min <= most,
            Limit::BytesAbove(most) => self.ours.median - self.baseline.median <= most,
        }
    }
}

impl Figures {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self { min: values[0], median: values[values.len() / 2] }
    }
}

/// The heading of the report, in the columns of [`Row`]'s text.
pub fn heading() -> String {
    format!(
        "{:<44} {:>10} {:>10}   {:>10} {:>10} {:>7}  {:<16} {}",
        "", "ours min", "median", "base min", "median", "ratio", "limit", "baseline"
    )
}

impl core::fmt::Display for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let figure = |value| match self.unit {
            Unit::Nanos => time(value),
            Unit::Bytes => format!("{value:.0} B"),
        };
        let verdict = if self.is_within_limit() { "kept" } else { "BROKEN" };
        let limit = match self.limit {
            Limit::None => "-".to_owned(),
            Limit::Ratio(most) => format!("≤ {most:.2} {verdict}"),
            Limit::Nanos(most) => format!("≤ {} {verdict}", time(most)),
            Limit::BytesAbove(most) => format!("≤ +{most:.0} B {verdict}"),
        };
        write!(
            f,
            "{:<44} {:>10} {:>10}   {:>10} {:>10} {:>7.2}  {limit:<16} {}",
            self.name,
            figure(self.ours.min),
            figure(self.ours.median),
            figure(self.baseline.min),
            figure(self.baseline.median),
            self.ratio,
            self.baseline_name,
        )
    }
}

fn time(nanos: f64) -> String {
    match nanos {
        0.0..1e3 => format!("{nanos:.1} ns"),
        1e3..1e6 => format!("{:.2} µs", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

/// Number of calls for a turn of [`TURN_MIN`].
fn calls_per_turn(work: &mut impl FnMut(u32) -> Duration) -> u32 {
    let mut calls = 1;
    while work(calls) < TURN_MIN {
        calls *= 2;
    }
    calls
}

fn time_calls<T>(calls: u32, work: &mut impl FnMut() -> T) -> Duration {
    let start = clock();
    for _ in 0..calls {
        black_box(work());
    }
    clock() - start
}

/// Duration of `work`.
pub fn time_once(work: impl FnOnce()) -> Duration {
    let start = clock();
    work();
    clock() - start
}

#[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
fn clock() -> Instant {
    Instant::now()
}
