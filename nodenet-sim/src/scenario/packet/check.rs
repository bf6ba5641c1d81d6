//! Consistency of a packet scenario: names, ranges, order of steps that need each other.
//!
//! Responsible for: refusing a scenario that a run could not carry out, with what to change. Never:
//! whether an expectation holds.

use std::collections::BTreeSet;

use super::{BoxName, NetworkEntry, PacketScenario, PacketStage};
use crate::scenario::ScenarioError;
use crate::scenario::check::{STAGE_SECS_MAX, number, share};
use crate::world::packet::CLOCK_RATE_PPM_MAX;

/// Most hosts and networks of a scenario (guess: what a person still writes by a program).
const ENTRIES_MAX: usize = 100_000;
/// Networks in a row from a host to the internet (guess: home, carrier and two more).
const DEPTH_MAX: usize = 4;
/// Largest error of a wall clock, in milliseconds: a year.
const CLOCK_MS_MAX: i64 = 365 * 86_400_000;

impl PacketScenario {
    /// Checks names, ranges, and that steps find their hosts in a state that suits them.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_networks()
            .and_then(|()| self.check_hosts())
            .and_then(|()| self.check_steps())
            .map_err(ScenarioError::Value)
    }

    fn check_networks(&self) -> Result<(), String> {
        number("networks", self.networks.len() as u64, 1, ENTRIES_MAX as u64)?;
        let mut known = BTreeSet::new();
        for network in &self.networks {
            let at = |what: String| format!("network {}: {what}", network.name);
            // In this order there is no circle.
            if let Some(outside) = network.behind.as_deref().filter(|name| !known.contains(name)) {
                return Err(at(format!(
                    "it is behind {outside}, and no network before it has this name"
                )));
            }
            if !network.ipv4 && !network.ipv6 {
                return Err(at("it has neither ipv4 nor ipv6; give it one".to_owned()));
            }
            let is_nat64 = network.nat.as_ref().is_some_and(|nat| nat.kind == BoxName::Nat64);
            if is_nat64 && (network.ipv4 || !network.ipv6) {
                return Err(at("a nat64 needs ipv4 = false and ipv6 = true".to_owned()));
            }
            if self.depth(network) > DEPTH_MAX {
                return Err(at(format!("more than {DEPTH_MAX} networks are in a row")));
            }
            if let Some(secs) = network.nat.as_ref().and_then(|nat| nat.lifetime_secs) {
                number("lifetime_secs", secs, 1, STAGE_SECS_MAX).map_err(at)?;
            }
            if !known.insert(network.name.as_str()) {
                return Err(format!("two networks have the name {}", network.name));
            }
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), String> {
        number("hosts", self.hosts.len() as u64, 1, ENTRIES_MAX as u64)?;
        let mut known = BTreeSet::new();
        for host in &self.hosts {
            let at = |what: String| format!("host {}: {what}", host.name);
            for network in &host.networks {
                self.has_network(network).map_err(at)?;
            }
            number("clock_offset_ms", host.clock_offset_ms.unsigned_abs(), 0, CLOCK_MS_MAX as u64)
                .map_err(at)?;
            let rate_max = u64::from(CLOCK_RATE_PPM_MAX.unsigned_abs());
            number("clock_rate_ppm", host.clock_rate_ppm.unsigned_abs().into(), 0, rate_max)
                .map_err(at)?;
            if !known.insert(host.name.as_str()) {
                return Err(format!("two hosts have the name {}", host.name));
            }
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), String> {
        let known: BTreeSet<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        let mut up = BTreeSet::new();
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|index| self.steps[*index].at_ms);
        for index in order {
            let entry = &self.steps[index];
            let at = |what: String| format!("step {} at {} ms: {what}", index + 1, entry.at_ms);
            number("at_ms", entry.last_ms(), 0, 1_000 * STAGE_SECS_MAX).map_err(at)?;
            if let Some(name) = entry.step.hosts().into_iter().find(|name| !known.contains(name)) {
                return Err(at(format!("no host has the name {name}")));
            }
            for network in entry.step.networks() {
                self.has_network(network).map_err(at)?;
            }
            self.check_step(&entry.step, &mut up).map_err(at)?;
        }
        Ok(())
    }

    fn check_step<'a>(
        &self,
        step: &'a PacketStage,
        up: &mut BTreeSet<&'a str>,
    ) -> Result<(), String> {
        match step {
            PacketStage::Start { host, .. } if !up.insert(host) => Err(format!("{host} is up")),
            PacketStage::Crash { host } | PacketStage::Leave { host }
                if !up.remove(host.as_str()) =>
            {
                Err(format!("{host} is not up; start it first"))
            }
            PacketStage::Connect { from, .. } | PacketStage::Send { from, .. }
                if !up.contains(from.as_str()) =>
            {
                Err(format!("{from} is not up; start it first"))
            }
            PacketStage::Reboot { network, .. } if self.is_open(network) => {
                Err(format!("network {network} has no box that could reboot; give it a nat"))
            }
            PacketStage::SetLink { link, .. } => {
                for (name, value) in [
                    ("loss", link.loss),
                    ("reordering", link.reordering),
                    ("duplication", link.duplication),
                ] {
                    share(name, value.unwrap_or(0.0))?;
                }
                number("latency_ms", link.latency_ms.unwrap_or(0), 0, 3_600_000)?;
                number("jitter_ms", link.jitter_ms.unwrap_or(0), 0, 3_600_000)
            }
            PacketStage::SetClock { by_ms, .. } => {
                number("by_ms", by_ms.unsigned_abs(), 0, CLOCK_MS_MAX as u64)
            }
            PacketStage::Block { for_ms, .. } => {
                number("for_ms", *for_ms, 1, 1_000 * STAGE_SECS_MAX)
            }
            PacketStage::ExpectDelivered { share: value, .. } => share("share", *value),
            _ => Ok(()),
        }
    }

    fn has_network(&self, name: &str) -> Result<(), String> {
        match self.networks.iter().any(|network| network.name == name) {
            true => Ok(()),
            false => Err(format!("no network has the name {name}")),
        }
    }

    fn is_open(&self, name: &str) -> bool {
        self.networks.iter().any(|network| network.name == name && network.nat.is_none())
    }

    fn depth(&self, network: &NetworkEntry) -> usize {
        let outside = |network: &&NetworkEntry| {
            let behind = network.behind.as_deref()?;
            self.networks.iter().find(|network| network.name == behind)
        };
        std::iter::successors(Some(network), outside).take(DEPTH_MAX + 1).count()
    }
}
