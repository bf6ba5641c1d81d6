//! How things are measured here: ours and a baseline in turns, in one process.
//!
//! Absolute times are noise on a shared machine; a ratio of two things that were measured in turns
//! is not. So every figure stands beside a baseline that does the least that could do the job, and
//! limits are put on ratios wherever they can be.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns that each side takes. A guess: the median of 41 survives a busy machine.
const TURNS: usize = 41;
/// Turns where a limit is a time: no ratio makes up for a machine that is slow for half a second,
/// which was seen, so these are spread over one to two seconds.
const TURNS_TIMED: usize = 401;
/// How long one turn lasts at least: long beside the resolution of the clock.
const TURN_MIN: Duration = Duration::from_millis(2);

/// What a row of the report must stay within.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Nothing was promised.
    None,
    /// Ours at most so many times the baseline.
    Ratio(f64),
    /// Ours at most so many nanoseconds, whatever the baseline.
    Nanos(f64),
    /// Ours at most so many bytes more than the baseline.
    BytesAbove(f64),
}

/// What the figures of a row count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Time of one operation.
    Nanos,
    /// Memory of one thing.
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
    /// What was measured.
    pub name: String,
    /// What it is compared with.
    pub baseline_name: &'static str,
    /// What the figures count.
    pub unit: Unit,
    /// Ours.
    pub ours: Figures,
    /// The baseline's.
    pub baseline: Figures,
    /// Ours over the baseline: the median over the pairs of turns.
    pub ratio: f64,
    /// What was promised.
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

    /// Like [`Row::time`], but each call says itself how long the part of it took that counts.
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

    /// Both sides make as many calls as they are told and say how long that took.
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
            // Whoever goes second finds a warmer machine, so they take that in turns, too.
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

    /// A row about memory, which needs no turns: the same run takes the same bytes.
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

    /// Whether the limit is kept; true without one.
    pub fn is_within_limit(&self) -> bool {
        match self.limit {
            Limit::None => true,
            Limit::Ratio(most) => self.ratio <= most,
            // The best turn: others on the machine only ever add to it.
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

/// How many calls make a turn last [`TURN_MIN`].
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

/// How long `work` takes.
pub fn time_once(work: impl FnOnce()) -> Duration {
    let start = clock();
    work();
    clock() - start
}

#[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
fn clock() -> Instant {
    Instant::now()
}
