//! Growth of tables: number of entries of every table, day by day, to find leaks.
//!
//! A table that a peer can fill has a cap. A table whose entries are never removed grows below the
//! cap for days before it is noticed; here the growth shows.
//!
//! A table has three values for each day:
//! - the maximum over all nodes and samples: memory must suffice for it, and it varies at random
//!   like the largest of some hundred thousand draws;
//! - the usual value: the mean over the samples of a day of the entries of the fullest table;
//! - the mean over all nodes, which varies so little that growth of a hundredth shows. New nodes
//!   weigh in it as much as old nodes, and in churn most nodes are new. So a slow leak shows in the
//!   fullest table first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::world::World;

/// Samples of a day: one a minute. With fewer samples, entries of a few seconds, such as dials, are
/// seen on some days and not on others.
const SAMPLES_A_DAY: u32 = 1_440;

/// Entries of the tables of one name on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// Maximum of the fullest table.
    pub most: u64,
    /// Mean of the fullest table over the day.
    pub usual: f64,
    /// Mean of all tables over the day.
    pub mean: f64,
}

/// Value of a day by which growth is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// [`Fill::most`].
    #[default]
    Most,
    /// [`Fill::mean`].
    Mean,
}

impl Measure {
    fn of(self, fill: Fill) -> f64 {
        match self {
            Self::Most => fill.most as f64,
            Self::Mean => fill.mean,
        }
    }
}

/// A table that grew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrownTable {
    /// Its name.
    pub name: &'static str,
    /// Its entries on the day to compare with.
    pub earlier: Fill,
    /// Its entries on the day that is compared.
    pub later: Fill,
}

/// The tables of one name in one sample, or the sum of a day.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Maximum of the fullest table.
    most: u64,
    /// Sum over all samples of the entries of the fullest table.
    fullest: u64,
    /// Sum over all samples of the entries of all tables.
    all: u64,
}

#[derive(Debug, Clone, Default)]
struct Day {
    samples: u32,
    /// Nodes in all samples, each counted once for every sample.
    nodes: u64,
    tables: BTreeMap<&'static str, Seen>,
    heap: u64,
}

/// Entries of all tables on each day of a run.
#[derive(Debug, Clone)]
pub struct Growth {
    day: Duration,
    days: Vec<Day>,
    next_sample: Moment,
}

impl Growth {
    /// Without samples, with days of this length.
    pub fn new(day: Duration) -> Self {
        Self { day, days: Vec::new(), next_sample: Moment::START + day / SAMPLES_A_DAY }
    }

    /// Takes a sample of every node, if one is due.
    pub(crate) fn sample(&mut self, world: &dyn World, heap: Option<u64>) {
        if world.now() < self.next_sample {
            return;
        }
        self.next_sample = world.now() + self.day / SAMPLES_A_DAY;
        let mut nodes = 0;
        let mut tables: BTreeMap<&'static str, Seen> = BTreeMap::new();
        for host in world.live() {
            nodes += 1;
            for (name, value) in world.gauges(host) {
                let seen = tables.entry(name).or_default();
                seen.most = value.max(seen.most);
                seen.all += value;
            }
        }
        self.note(world.now(), nodes, &tables, heap.unwrap_or(0));
    }

    fn note(&mut self, at: Moment, nodes: u64, tables: &BTreeMap<&'static str, Seen>, heap: u64) {
        // A sample at the very end of a day belongs to that day.
        let elapsed = at.since(Moment::START).as_nanos().saturating_sub(1);
        let number = (elapsed / self.day.as_nanos().max(1)) as usize;
        self.days.resize_with(self.days.len().max(number + 1), Day::default);
        let day = &mut self.days[number];
        day.samples += 1;
        day.nodes += nodes;
        day.heap = day.heap.max(heap);
        for (name, now) in tables.iter().filter(|(_, now)| now.most > 0) {
            let seen = day.tables.entry(name).or_default();
            seen.most = seen.most.max(now.most);
            seen.fullest += now.most;
            seen.all += now.all;
        }
    }

    /// Number of days of the run; the last day may be short.
    pub fn days(&self) -> u32 {
        self.days.len() as u32
    }

    /// Every table that had an entry in some sample.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        let names: BTreeSet<_> =
            self.days.iter().flat_map(|day| day.tables.keys().copied()).collect();
        names.into_iter()
    }

    /// Entries of these tables on this day, counted from 1; `None` if there was no such day.
    pub fn fill(&self, table: &str, day: u32) -> Option<Fill> {
        let day = self.day(day)?;
        let Seen { most, fullest, all } = day.tables.get(table).copied().unwrap_or_default();
        let usual = fullest as f64 / f64::from(day.samples.max(1));
        Some(Fill { most, usual, mean: all as f64 / day.nodes.max(1) as f64 })
    }

    /// Bytes of heap in use at most on this day, if they were counted. They include the heap of the
    /// world, which keeps some state of every host of the run.
    pub fn heap(&self, day: u32) -> Option<u64> {
        self.day(day).map(|day| day.heap).filter(|bytes| *bytes > 0)
    }

    /// Tables whose value of day `later` exceeds that of day `earlier` by more than this share.
    /// `None` if the run had no such days.
    pub fn grown(
        &self,
        earlier: u32,
        later: u32,
        of: Measure,
        share: f64,
    ) -> Option<Vec<GrownTable>> {
        let mut grown = Vec::new();
        // There may be no table at all.
        self.day(earlier).and(self.day(later))?;
        for name in self.tables() {
            let (earlier, later) = (self.fill(name, earlier)?, self.fill(name, later)?);
            if of.of(later) > of.of(earlier) * (1.0 + share) {
                grown.push(GrownTable { name, earlier, later });
            }
        }
        Some(grown)
    }

    fn day(&self, number: u32) -> Option<&Day> {
        self.days.get((number as usize).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Fill, Growth, Measure, Seen};
    use crate::clock::Moment;

    const DAY: Duration = Duration::from_secs(1_000);

    /// Growth of two nodes' tables: pairs of a second and their entries then.
    fn growth(seen: &[(u64, [u64; 2])]) -> Growth {
        let mut growth = Growth::new(DAY);
        for &(secs, [a, b]) in seen {
            let seen = Seen { most: a.max(b), all: a + b, ..Seen::default() };
            growth.note(Moment::from_secs(secs), 2, &BTreeMap::from([("table", seen)]), secs);
        }
        growth
    }

    fn grown(growth: &Growth, days: (u32, u32), of: Measure) -> Option<usize> {
        growth.grown(days.0, days.1, of, 0.02).map(|grown| grown.len())
    }

    #[test]
    fn a_day_has_a_largest_a_usual_and_a_mean_value() {
        let growth = growth(&[(1, [0, 0]), (500, [7, 1]), (1_000, [2, 2]), (1_001, [4, 0])]);
        assert_eq!(growth.fill("table", 1), Some(Fill { most: 7, usual: 3.0, mean: 2.0 }));
        assert_eq!(growth.fill("table", 2), Some(Fill { most: 4, usual: 4.0, mean: 2.0 }));
        assert_eq!(growth.fill("table", 3), None);
        assert_eq!(growth.fill("other", 1), Some(Fill::default()));
        assert_eq!(
            [growth.heap(1), growth.heap(2), growth.heap(3)],
            [Some(1_000), Some(1_001), None]
        );
    }

    #[test]
    fn growth_is_found_between_the_days_that_were_named() {
        let seen = [(1, 1), (1_500, 100), (2_500, 102), (3_500, 103), (4_500, 1)];
        let growth = growth(&seen.map(|(secs, most)| (secs, [most, 0])));
        for of in [Measure::Most, Measure::Mean] {
            assert_eq!(grown(&growth, (2, 3), of), Some(0));
            assert_eq!(grown(&growth, (2, 4), of), Some(1));
            assert_eq!(grown(&growth, (2, 5), of), Some(0));
            assert_eq!(grown(&growth, (2, 6), of), None, "there was no such day");
            assert_eq!(grown(&growth, (0, 1), of), None);
        }
    }

    #[test]
    fn the_fullest_and_all_of_them_grow_apart() {
        let lucky = growth(&[(1, [3, 3]), (1_500, [4, 2])]);
        assert_eq!(grown(&lucky, (1, 2), Measure::Most), Some(1));
        assert_eq!(grown(&lucky, (1, 2), Measure::Mean), Some(0));
        let leaking = growth(&[(1, [4, 2]), (1_500, [4, 3])]);
        assert_eq!(grown(&leaking, (1, 2), Measure::Most), Some(0));
        assert_eq!(grown(&leaking, (1, 2), Measure::Mean), Some(1));
    }

    #[test]
    fn a_table_that_was_empty_before_has_grown() {
        let growth = growth(&[(1, [0, 0]), (1_500, [1, 0])]);
        assert_eq!(grown(&growth, (1, 2), Measure::Most), Some(1));
        assert_eq!(grown(&growth, (1, 2), Measure::Mean), Some(1));
    }
}
