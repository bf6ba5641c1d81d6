//! Delta debugging of packet scenarios: a failing one is reduced to the smallest that still fails
//! in the same way.
//!
//! Responsible for: which hosts, steps and networks are left out, and which attempt counts. Never:
//! a change of what is left.
//!
//! The algorithm is ddmin (Zeller and Hildebrandt, IEEE TSE 28(2), 2002), on hosts first, for a
//! host takes its steps with it, then on steps, again and again until neither gets fewer. No single
//! host and no single step can then be left out. Each attempt is a whole run with the same seed, so
//! the result is a function of the scenario.

use std::collections::BTreeSet;

use super::{FailureKind, PacketFailure};
use crate::scenario::packet::{PacketScenario, PacketStage, StepEntry};

/// State of a reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShrinkProgress {
    /// Runs so far.
    pub runs: u32,
    /// Hosts of the smallest scenario so far.
    pub hosts: usize,
    /// Its steps.
    pub steps: usize,
}

/// A reduced scenario.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// Its failure, which has the scenario.
    pub failure: Box<PacketFailure>,
    /// Runs that it took.
    pub runs: u32,
}

/// Reduces a scenario that fails; none if it does not fail.
pub fn shrink(
    scenario: &PacketScenario,
    progress: &mut dyn FnMut(ShrinkProgress),
) -> Option<Shrunk> {
    let failure = scenario.run().err()?;
    let mut search = Search { kind: failure.kind.clone(), smallest: failure, runs: 1, progress };
    search.tell();
    loop {
        let before = size(&search.smallest.scenario);
        search.reduce_hosts();
        search.reduce_steps();
        search.reduce_networks();
        if size(&search.smallest.scenario) == before {
            return Some(Shrunk { failure: search.smallest, runs: search.runs });
        }
    }
}

struct Search<'a> {
    /// The failure that is looked for.
    kind: FailureKind,
    smallest: Box<PacketFailure>,
    runs: u32,
    progress: &'a mut dyn FnMut(ShrinkProgress),
}

impl Search<'_> {
    fn reduce_hosts(&mut self) {
        let scenario = self.smallest.scenario.clone();
        let names: Vec<String> = scenario.hosts.iter().map(|host| host.name.clone()).collect();
        minimize(names.len(), &mut |kept| {
            let kept: BTreeSet<&str> = kept.iter().map(|index| names[*index].as_str()).collect();
            self.fails(of_hosts(&scenario, &kept))
        });
    }

    fn reduce_steps(&mut self) {
        let scenario = self.smallest.scenario.clone();
        minimize(scenario.steps.len(), &mut |kept| {
            let steps = kept.iter().map(|index| scenario.steps[*index].clone()).collect();
            self.fails(PacketScenario { steps, ..scenario.clone() })
        });
    }

    fn reduce_networks(&mut self) {
        let scenario = self.smallest.scenario.clone();
        minimize(scenario.networks.len(), &mut |kept| {
            let networks = kept.iter().map(|index| scenario.networks[*index].clone()).collect();
            self.fails(PacketScenario { networks, ..scenario.clone() })
        });
    }

    /// Whether a scenario fails in the same way. If so, it is the smallest so far.
    fn fails(&mut self, scenario: PacketScenario) -> bool {
        // Not a run, but a scenario that could not begin.
        if scenario.check().is_err() {
            return false;
        }
        self.runs += 1;
        let failure = scenario.run().err().filter(|failure| failure.kind == self.kind);
        let is_same = failure.is_some();
        if let Some(failure) = failure {
            self.smallest = failure;
        }
        self.tell();
        is_same
    }

    fn tell(&mut self) {
        let PacketScenario { hosts, steps, .. } = &self.smallest.scenario;
        (self.progress)(ShrinkProgress { runs: self.runs, hosts: hosts.len(), steps: steps.len() });
    }
}

/// Leaves out as many of `count` things as possible. `fails` says whether those that are kept are
/// enough; all together are. Returns those that are kept in the end.
fn minimize(count: usize, fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut parts = 2;
    while !kept.is_empty() {
        parts = parts.min(kept.len());
        let len = kept.len().div_ceil(parts);
        let without = |part: usize| -> Vec<usize> {
            let (from, to) = (part * len, ((part + 1) * len).min(kept.len()));
            [&kept[..from.min(to)], &kept[to..]].concat()
        };
        match (0..kept.len().div_ceil(len)).map(without).find(|rest| fails(rest)) {
            Some(rest) => {
                kept = rest;
                parts = (parts - 1).max(2);
            }
            None if len == 1 => return kept,
            None => parts *= 2,
        }
    }
    kept
}

/// The scenario of these hosts alone. A step that needs another is left out.
fn of_hosts(scenario: &PacketScenario, kept: &BTreeSet<&str>) -> PacketScenario {
    let mut scenario = scenario.clone();
    scenario.hosts.retain(|host| kept.contains(host.name.as_str()));
    scenario.steps = scenario.steps.iter().filter_map(|entry| step_of_hosts(entry, kept)).collect();
    scenario
}

fn step_of_hosts(entry: &StepEntry, kept: &BTreeSet<&str>) -> Option<StepEntry> {
    let mut entry = entry.clone();
    let is_kept = |name: &String| kept.contains(name.as_str());
    match &mut entry.step {
        PacketStage::Start { bootstrap, .. } => bootstrap.retain(is_kept),
        // An empty list of hosts would be another step.
        PacketStage::Partition { hosts } | PacketStage::ExpectEdges { hosts, .. }
            if !hosts.is_empty() =>
        {
            hosts.retain(is_kept);
            if hosts.is_empty() {
                return None;
            }
        }
        _ => {}
    }
    entry.step.hosts().iter().all(|name| kept.contains(name)).then_some(entry)
}

fn size(scenario: &PacketScenario) -> [usize; 3] {
    [scenario.hosts.len(), scenario.steps.len(), scenario.networks.len()]
}

#[cfg(test)]
mod tests {
    use super::minimize;

    #[test]
    fn what_is_kept_is_enough_and_nothing_of_it_can_be_left_out() {
        for needed in [&[][..], &[0], &[19], &[3, 11], &[0, 1, 2], &[0, 7, 13, 19]] {
            let mut runs = 0;
            let kept = minimize(20, &mut |kept| {
                runs += 1;
                needed.iter().all(|index| kept.contains(index))
            });
            assert_eq!(kept, needed, "after {runs} runs");
            assert!(runs <= 120, "{runs} runs for {needed:?}");
        }
    }

    #[test]
    fn of_two_reasons_one_is_kept() {
        let kept = minimize(16, &mut |kept| [3, 12].iter().any(|index| kept.contains(index)));
        assert_eq!(kept.len(), 1);
    }
}
