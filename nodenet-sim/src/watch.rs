//! Keeping an eye on growth: how full the fullest of every table was, day by day.
//!
//! A table that a peer can fill has a cap; a table that nobody empties grows below it for days before
//! anyone notices. This is where it shows.
//!
//! Growth is judged by the largest value of a day alone. Beside it stands the usual value, the mean
//! over the day of what the fullest held: a leak moves both, luck in a small table only the largest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::overlay::World;
use crate::time::Moment;

/// A day is divided into so many looks: one a minute. What stands in a table for seconds only, such as
/// whom a node dials, is seen at its fullest on some days and not on others if they are rare.
const LOOKS_A_DAY: u32 = 1_440;

/// How full the fullest of the tables of one name was on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Fullest {
    /// At most.
    pub most: u64,
    /// On average.
    pub usual: f64,
}

/// A table that grew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Its name.
    pub name: &'static str,
    /// On the day to compare with.
    pub earlier: Fullest,
    /// On the day that is compared.
    pub later: Fullest,
}

#[derive(Debug, Clone, Default)]
struct Day {
    looks: u32,
    /// For each table what the fullest held at most, and the sum of that over all looks.
    tables: BTreeMap<&'static str, (u64, u64)>,
    heap: u64,
}

/// How full tables were on each day of a run.
#[derive(Debug, Clone)]
pub struct Watch {
    day: Duration,
    days: Vec<Day>,
    next_look: Moment,
}

impl Watch {
    /// Nothing seen so far, with days of this length.
    pub fn new(day: Duration) -> Self {
        Self { day, days: Vec::new(), next_look: Moment::START + day / LOOKS_A_DAY }
    }

    /// Looks at every node, if it is time.
    pub(crate) fn look(&mut self, world: &World, heap: Option<u64>) {
        if world.now() < self.next_look {
            return;
        }
        self.next_look = world.now() + self.day / LOOKS_A_DAY;
        let mut fullest = BTreeMap::new();
        for machine in world.live().filter_map(|host| world.machine(host)) {
            for (name, value) in machine.gauges() {
                let most: &mut u64 = fullest.entry(name).or_default();
                *most = value.max(*most);
            }
        }
        self.note(world.now(), &fullest, heap.unwrap_or(0));
    }

    fn note(&mut self, at: Moment, fullest: &BTreeMap<&'static str, u64>, heap: u64) {
        // What is seen at the very end of a day belongs to it.
        let elapsed = at.since(Moment::START).as_nanos().saturating_sub(1);
        let number = (elapsed / self.day.as_nanos().max(1)) as usize;
        self.days.resize_with(self.days.len().max(number + 1), Day::default);
        let day = &mut self.days[number];
        day.looks += 1;
        day.heap = day.heap.max(heap);
        for (name, value) in fullest.iter().filter(|(_, value)| **value > 0) {
            let (most, sum) = day.tables.entry(name).or_default();
            *most = (*most).max(*value);
            *sum += value;
        }
    }

    /// How many days the run had; the last one may be short.
    pub fn days(&self) -> u32 {
        self.days.len() as u32
    }

    /// Every table that was ever seen with something in it.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        let names: BTreeSet<_> =
            self.days.iter().flat_map(|day| day.tables.keys().copied()).collect();
        names.into_iter()
    }

    /// How full the fullest of these tables was on this day, counted from 1; nothing if there was no
    /// such day.
    pub fn fullest(&self, table: &str, day: u32) -> Option<Fullest> {
        let day = self.day(day)?;
        let (most, sum) = day.tables.get(table).copied().unwrap_or_default();
        Some(Fullest { most, usual: sum as f64 / f64::from(day.looks.max(1)) })
    }

    /// Bytes of heap in use at most on this day, if they were counted: those of the world as well, which
    /// remembers everybody who ever lived in it.
    pub fn heap(&self, day: u32) -> Option<u64> {
        self.day(day).map(|day| day.heap).filter(|bytes| *bytes > 0)
    }

    /// Tables whose largest value on day `later` exceeds that of day `earlier` by more than this share.
    /// Nothing if the run had no such days.
    pub fn grown(&self, earlier: u32, later: u32, share: f64) -> Option<Vec<Growth>> {
        let mut grown = Vec::new();
        // There may have been no table at all.
        self.day(earlier).and(self.day(later))?;
        for name in self.tables() {
            let (earlier, later) = (self.fullest(name, earlier)?, self.fullest(name, later)?);
            if later.most as f64 > earlier.most as f64 * (1.0 + share) {
                grown.push(Growth { name, earlier, later });
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

    use super::{Fullest, Watch};
    use crate::time::Moment;

    const DAY: Duration = Duration::from_secs(1_000);

    fn watch(seen: &[(u64, u64)]) -> Watch {
        let mut watch = Watch::new(DAY);
        for &(secs, value) in seen {
            watch.note(Moment::from_secs(secs), &BTreeMap::from([("table", value)]), secs);
        }
        watch
    }

    fn grown(watch: &Watch, earlier: u32, later: u32) -> Option<usize> {
        watch.grown(earlier, later, 0.02).map(|grown| grown.len())
    }

    #[test]
    fn a_day_has_a_largest_and_a_usual_value() {
        let watch = watch(&[(1, 0), (500, 7), (1_000, 2), (1_001, 4)]);
        assert_eq!(watch.fullest("table", 1), Some(Fullest { most: 7, usual: 3.0 }));
        assert_eq!(watch.fullest("table", 2), Some(Fullest { most: 4, usual: 4.0 }));
        assert_eq!(watch.fullest("table", 3), None);
        assert_eq!(watch.fullest("other", 1), Some(Fullest::default()));
        assert_eq!([watch.heap(1), watch.heap(2), watch.heap(3)], [Some(1_000), Some(1_001), None]);
    }

    #[test]
    fn growth_is_told_between_the_days_that_were_named() {
        let watch = watch(&[(1, 1), (1_500, 100), (2_500, 102), (3_500, 103), (4_500, 1)]);
        assert_eq!(grown(&watch, 2, 3), Some(0));
        assert_eq!(grown(&watch, 2, 4), Some(1));
        assert_eq!(grown(&watch, 2, 5), Some(0));
        assert_eq!(grown(&watch, 2, 6), None, "there was no such day");
        assert_eq!(grown(&watch, 0, 1), None);
    }

    #[test]
    fn a_table_that_was_empty_before_has_grown() {
        assert_eq!(grown(&watch(&[(1, 0), (1_500, 1)]), 1, 2), Some(1));
    }
}
