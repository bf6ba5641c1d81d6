//! Keeping an eye on growth: the largest every table ever was, day by day.
//!
//! A table that a peer can fill has a cap; a table that nobody empties grows below it for days before
//! anyone notices. This is where it shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::overlay::World;
use crate::time::Moment;

/// How often tables are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// The largest value of each gauge over all nodes, for each day of a run.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    days: Vec<BTreeMap<&'static str, u64>>,
    looked_at: Moment,
}

impl Watch {
    /// Looks at every node, if it is time.
    pub(crate) fn look(&mut self, world: &World, heap: Option<u64>) {
        if world.now().since(self.looked_at) < LOOK_EVERY {
            return;
        }
        self.looked_at = world.now();
        let day = (world.now().since(Moment::START).as_secs() / DAY.as_secs()) as usize;
        self.days.resize(self.days.len().max(day + 1), BTreeMap::new());
        let largest = &mut self.days[day];
        let mut note = |name, value: u64| {
            let most = largest.entry(name).or_insert(0);
            *most = value.max(*most);
        };
        for machine in world.live().filter_map(|host| world.machine(host)) {
            for (name, value) in machine.gauges() {
                note(name, value);
            }
        }
        if let Some(heap) = heap {
            note("heap_bytes_of_all", heap);
        }
    }

    /// For each day, every gauge by name and the largest it was.
    pub fn days(&self) -> &[BTreeMap<&'static str, u64>] {
        &self.days
    }

    /// Gauges whose largest value of the last day exceeds that of the second day by more than this
    /// share, with both values. Empty for runs of less than three days.
    pub fn grown(&self, share: f64) -> Vec<(&'static str, u64, u64)> {
        let [_, second, .., last] = &self.days[..] else { return Vec::new() };
        last.iter()
            .map(|(name, value)| (*name, second.get(name).copied().unwrap_or(0), *value))
            .filter(|(_, before, after)| *after as f64 > *before as f64 * (1.0 + share))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Watch;

    #[test]
    fn growth_is_seen_between_the_second_day_and_the_last() {
        let day = |a, b| BTreeMap::from([("a", a), ("b", b)]);
        let mut watch = Watch { days: vec![day(1, 1), day(100, 50)], ..Watch::default() };
        assert_eq!(watch.grown(0.02), []);
        watch.days.push(day(102, 52));
        assert_eq!(watch.grown(0.02), [("b", 50, 52)]);
    }
}
