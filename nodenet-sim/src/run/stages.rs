//! Stages of a scenario: grow, settle, send, churn, partition, restart.
//!
//! Responsible for: the events in the world during a stage, and their times. Never: draws hosts;
//! see [`super::select`].

use std::time::Duration;

use nodenet_proto::api::{self, Profile, RelayPolicy};
use nodenet_proto::env::Random;

use super::{DRAWS_MAX, Run, text_of};
use crate::clock::Moment;
use crate::hash;
use crate::net::Nat;
use crate::scenario::{Between, Bootstrap, Probe};
use crate::world::{Host, Join};

/// Idle costs are those of the last ten minutes of settling, in which every edge is pinged.
const IDLE_WINDOW: Duration = Duration::from_secs(600);
/// Time since the join of both ends of a message: a node that is still joining has no guarantee of
/// delivery (guess).
const JOINED_BEFORE: Duration = Duration::from_secs(30);
/// Number of well-known contacts (reference).
const CONTACTS: usize = 10;

impl Run {
    pub(super) fn split(&mut self) {
        let half = self.drawn("sides", 0.5, |_| true);
        // A host that is down may start again before the network heals, on either side.
        let mut random = self.random("sides of those who are down");
        let side = |host| match self.world.is_up(host) {
            true => u8::from(half.contains(&host)),
            false => random.below(2) as u8,
        };
        let sides: Vec<u8> = self.world.hosts().map(side).collect();
        self.world.partition(&mut |host| sides[host.index()]);
    }

    pub(super) fn grow(
        &mut self,
        nodes: u32,
        over_ms: u64,
        bootstrap: Bootstrap,
    ) -> Result<(), String> {
        self.bootstrap = bootstrap;
        let start = self.world.now();
        let mut random = self.random("joins");
        for number in 0..u64::from(nodes) {
            let offset = u128::from(over_ms) * 1_000_000 * u128::from(number) / u128::from(nodes);
            self.pass_until(start + Duration::from_nanos(offset as u64))?;
            self.join(&mut random)?;
        }
        self.pass_until(start + Duration::from_millis(over_ms))
    }

    fn join(&mut self, random: &mut Random) -> Result<(), String> {
        let is_contact = self.contacts.len() < CONTACTS;
        let drawn = Nat::draw(self.scenario.nat_share, random);
        let nat = if is_contact { Nat::Public } else { drawn };
        let light = hash::hit(random.next_u64(), self.scenario.light_share) && !is_contact;
        let profile = if light { Profile::Light } else { Profile::Router };
        let bootstrap = self.ways_in(random)?;
        let relay_share = self.scenario.relay_share;
        let volunteers = relay_share > 0.0 && hash::hit(random.next_u64(), relay_share);
        let volunteer = volunteers && nat == Nat::Public && !light && !is_contact;
        // The traces of before have no such tests (SIMULATOR.md). A volunteer needs them.
        let test_reachability = relay_share > 0.0;
        let relay = RelayPolicy { volunteer, ..RelayPolicy::default() };
        let config = api::Config { profile, test_reachability, relay, ..api::Config::default() };
        let host = self.world.join(Join { nat, bootstrap, config }).map_err(text_of)?;
        if light {
            self.light.insert(host);
        }
        let silent_share = self.scenario.silent_share;
        // Without such nodes nothing is drawn, so that the run is that of before.
        if silent_share > 0.0 && hash::hit(random.next_u64(), silent_share) && !is_contact {
            self.world.silence(host);
        }
        if is_contact {
            self.contacts.push(host);
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, span: Duration) -> Result<(), String> {
        let end = self.world.now() + span;
        let window_start = self.world.now().max(end.before(IDLE_WINDOW));
        self.pass_until(window_start)?;
        self.begin_costs();
        self.pass_until(end)?;
        self.read_costs(window_start);
        self.state = self.state_per_node();
        self.world.check_all();
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        messages: u32,
        over_secs: u64,
        between: Between,
    ) -> Result<(), String> {
        let first = self.world.probes().tracked().len();
        let start = self.world.now();
        let span = Duration::from_secs(over_secs);
        let mut random = self.random("pairs");
        for number in 0..messages {
            self.pass_until(start + nth(span, number, messages))?;
            self.send_one(&mut random, between)?;
        }
        self.pass_until(start + span + self.scenario.probe.within())?;
        self.world.check_all();
        self.conclude(false, first, Moment::START..start);
        Ok(())
    }

    pub(super) fn churn(
        &mut self,
        percent: f64,
        every_secs: u64,
        over_secs: u64,
        messages: u32,
    ) -> Result<(), String> {
        self.check_churn(percent, every_secs, over_secs)?;
        let first = self.world.probes().tracked().len();
        let start = self.world.now();
        // Measurements of a settled network are not valid for this one.
        (self.costs, self.state) = (None, None);
        self.begin_costs();
        let span = Duration::from_secs(over_secs);
        let every = Duration::from_secs(every_secs.max(1));
        let (mut pairs, mut joins) = (self.random("pairs"), self.random("joins"));
        let mut round = start;
        for number in 0..messages {
            let at = start + nth(span, number, messages);
            while round <= at {
                self.replace_at(round, percent, &mut joins)?;
                round = round + every;
            }
            self.pass_until(at)?;
            self.send_one(&mut pairs, Between::All)?;
        }
        // Rounds continue after the last message. A round at the very end would have no effect in
        // the stage.
        while round < start + span {
            self.replace_at(round, percent, &mut joins)?;
            round = round + every;
        }
        self.pass_until(start + span)?;
        self.read_costs(start);
        self.pass_until(start + span + self.scenario.probe.within())?;
        self.world.check_all();
        self.conclude(true, first, start..start + span);
        self.costs = None;
        Ok(())
    }

    /// At this time some nodes crash and the same number of new nodes joins.
    fn replace_at(&mut self, at: Moment, percent: f64, random: &mut Random) -> Result<(), String> {
        self.pass_until(at)?;
        self.owed += self.world.live().len() as f64 * percent / 100.0;
        self.can_lose(self.owed as usize)?;
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let victim = self.draw_victim(random)?;
            self.world.crash(victim);
            self.join(random)?;
        }
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<(), String> {
        let mut random = self.random("restarts");
        // A restarted node is another host now, up or not.
        let is_last = |host| self.world.successor(host).is_none();
        let is_down = |&host: &Host| !self.world.is_up(host) && is_last(host);
        let down: Vec<_> = self.world.hosts().filter(is_down).collect();
        for host in down {
            let bootstrap = self.ways_in(&mut random)?;
            let again = self.world.restart(host, bootstrap).map_err(text_of)?;
            if self.light.contains(&host) {
                self.light.insert(again);
            }
        }
        Ok(())
    }

    fn send_one(&mut self, random: &mut Random, between: Between) -> Result<(), String> {
        let live = self.world.live().len() as u64;
        if live == 0 {
            return Err("no node is up that could send a message".to_owned());
        }
        let joined_by = self.world.now().before(JOINED_BEFORE);
        let world = &self.world;
        let mut draw = || {
            (0..DRAWS_MAX)
                .map(|_| world.live_at(random.below(live) as usize))
                .find(|&host| world.joined_at(host).is_some_and(|at| at <= joined_by))
        };
        for _ in 0..DRAWS_MAX {
            let (Some(from), Some(to)) = (draw(), draw()) else { break };
            let apart = world.side(from) != world.side(to);
            if from != to && (apart || between == Between::All) {
                let probed = match self.scenario.probe {
                    Probe::Message => self.world.send(from, to),
                    Probe::Rendezvous => self.world.ask(from, to),
                    Probe::Connect => self.world.connect(from, to),
                };
                return probed.map_err(text_of);
            }
        }
        let secs = JOINED_BEFORE.as_secs();
        Err(match between {
            Between::All => {
                format!("no two nodes joined {secs} s ago, to send a message between them")
            }
            Between::Sides => format!(
                "no two nodes that joined {secs} s ago stand on different sides of a partition, to \
                 send a message between them"
            ),
        })
    }
}

fn nth(span: Duration, number: u32, of: u32) -> Duration {
    Duration::from_nanos((span.as_nanos() * u128::from(number) / u128::from(of)) as u64)
}
