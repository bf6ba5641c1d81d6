//! Selection of hosts that crash, leave or are replaced, and of bootstrap hosts for new nodes.
//!
//! Responsible for: drawing them, and refusing a stage that would take none or fewer than its
//! numbers say. A run that continued would measure another scenario than the given one.

use std::collections::BTreeSet;

use nodenet_proto::env::Random;

use super::{DRAWS_MAX, Run};
use crate::net::Nat;
use crate::scenario::Bootstrap;
use crate::world::Host;

impl Run {
    /// A share of the live nodes, drawn; well-known contacts are spared.
    pub(super) fn victims(&self, share: f64) -> Result<BTreeSet<Host>, String> {
        let live = self.world.live().len();
        let due = live as f64 * share;
        if due < 1.0 {
            return Err(format!(
                "a share of {share} of {live} live nodes comes to {due:.2} nodes, so it would take \
                 none: give a larger share, or grow more nodes"
            ));
        }
        self.can_lose(due as usize)?;
        Ok(self.drawn("victims", share, |host| !self.is_spared(host)))
    }

    /// One live node, drawn for churn; well-known contacts are spared.
    pub(super) fn draw_victim(&self, random: &mut Random) -> Result<Host, String> {
        let live = self.world.live().len() as u64;
        (0..DRAWS_MAX)
            .map(|_| self.world.live_at(random.below(live) as usize))
            .find(|&host| !self.is_spared(host))
            .ok_or_else(|| self.too_few(1))
    }

    /// Checks that churn replaces at least one whole node before it ends. Fractions add up from
    /// round to round.
    pub(super) fn check_churn(
        &self,
        percent: f64,
        every_secs: u64,
        over_secs: u64,
    ) -> Result<(), String> {
        let live = self.world.live().len();
        let rounds = over_secs.div_ceil(every_secs.max(1));
        let mut owed = self.owed;
        let mut round = || {
            owed += live as f64 * percent / 100.0;
            owed >= 1.0
        };
        if (0..rounds).any(|_| round()) {
            return Ok(());
        }
        Err(format!(
            "{percent} % of {live} live nodes every {every_secs} s for {over_secs} s comes to \
             {owed:.2} nodes, so churn would replace none: give a larger percentage or more \
             time, or grow more nodes"
        ))
    }

    /// Checks that at least this number of live nodes is not spared.
    pub(super) fn can_lose(&self, count: usize) -> Result<(), String> {
        let live = self.world.live().len();
        if count <= live - self.spared() { Ok(()) } else { Err(self.too_few(count)) }
    }

    fn too_few(&self, count: usize) -> String {
        format!(
            "{count} of {} live nodes would have to go, but {} of these are well-known contacts, \
             which are spared: take fewer, grow more nodes, or let them join through any node",
            self.world.live().len(),
            self.spared()
        )
    }

    fn spared(&self) -> usize {
        let spared = |&&host: &&Host| self.is_spared(host) && self.world.is_up(host);
        self.contacts.iter().filter(spared).count()
    }

    fn is_spared(&self, host: Host) -> bool {
        self.bootstrap == Bootstrap::Ten && self.contacts.contains(&host)
    }

    /// Hosts through which a new node joins; none for the first.
    pub(super) fn ways_in(&self, random: &mut Random) -> Result<Vec<Host>, String> {
        let live = self.world.live().len() as u64;
        let draws = if live == 0 { 0 } else { DRAWS_MAX };
        let contacts: Vec<Host> = match self.bootstrap {
            Bootstrap::Ten => self.contacts.clone(),
            Bootstrap::Any => (0..draws)
                .map(|_| self.world.live_at(random.below(live) as usize))
                .find(|&host| self.is_way_in(host))
                .into_iter()
                .collect(),
        };
        let is_up = |&host: &Host| self.world.is_up(self.world.latest(host));
        if live > 0 && !contacts.iter().any(is_up) {
            return Err(self.no_way_in());
        }
        Ok(contacts)
    }

    fn no_way_in(&self) -> String {
        let live = self.world.live().len();
        let none = match self.bootstrap {
            Bootstrap::Ten => {
                "one of the ten well-known nodes: restart these first, or let new nodes join \
                 through any"
            }
            Bootstrap::Any => {
                "public and in the network itself: put fewer nodes behind NATs, or let time pass \
                 first"
            }
        };
        format!("no bootstrap host for a new node: none of {live} live nodes is {none}")
    }

    /// Whether every host can dial this one, and it has joined itself. If a host that has not
    /// joined crashes, a node that joined through it has no other peer.
    fn is_way_in(&self, host: Host) -> bool {
        self.world.nat(host) == Nat::Public && self.world.joined_at(host).is_some()
    }

    /// Hosts drawn among those that `may`, as many as the share of the live hosts.
    pub(super) fn drawn(
        &self,
        purpose: &'static str,
        share: f64,
        may: impl Fn(Host) -> bool,
    ) -> BTreeSet<Host> {
        let mut random = self.random(purpose);
        let mut pool: Vec<_> = self.world.live().filter(|&host| may(host)).collect();
        let count = (self.world.live().len() as f64 * share) as usize;
        for place in 0..count.min(pool.len()) {
            let other = place + random.below((pool.len() - place) as u64) as usize;
            pool.swap(place, other);
        }
        pool.into_iter().take(count).collect()
    }
}
