//! Carrying a scenario out.

mod expect;
mod victims;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nodenet_proto::api::{self, Profile};
use nodenet_proto::env::{Random, Seed};

use crate::failure::Failure;
use crate::growth::Growth;
use crate::hash;
use crate::overlay::{Factory, Host, Join, Nat, Violation, World, WorldConfig, engines};
use crate::report::{Costs, Evidence, GRACE, Phase, Report, Shape, drops};
use crate::scenario::{Between, Bootstrap, LEAVE_TIME, Scenario, Stage};
use crate::time::Moment;

/// Idle costs are those of the last ten minutes of settling: long enough for every edge to be
/// asked.
const IDLE_WINDOW: Duration = Duration::from_secs(600);
/// Ends of messages joined at least so long ago: whoever is on the way in is not promised anything.
const JOINED_BEFORE: Duration = Duration::from_secs(30);
/// Well-known contacts: as many as the figures of the reference were measured with.
const CONTACTS: usize = 10;
/// Of so many steps one is followed by a check: a run has millions, and with 256 checks were 3 % of
/// it.
const CHECK_EVERY: u64 = 1024;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Draws of a pair before giving up on finding one.
const DRAWS_MAX: u32 = 100_000;

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Virtual time in all.
    pub total: Duration,
    /// What is going on.
    pub label: &'static str,
    /// Nodes that are up.
    pub nodes: usize,
    /// Steps taken.
    pub events: u64,
}

/// A scenario being carried out.
pub struct Run {
    scenario: Scenario,
    world: World,
    seed: Seed,
    progress: Box<dyn FnMut(Progress)>,
    heap: Option<fn() -> u64>,
    heap_before: u64,
    contacts: Vec<Host>,
    light: BTreeSet<Host>,
    bootstrap: Bootstrap,
    /// Replacements that churn owes: fractions of a node.
    owed: f64,
    stage: usize,
    /// What nodes cost in the last settling, or in the churn that is being concluded.
    costs: Option<Costs>,
    /// Heap for each node after the last settling.
    state: Option<f64>,
    steps_before: Vec<u64>,
    phases: Vec<Phase>,
    shape: Option<Shape>,
    growth: Growth,
    /// Expectations that were met.
    held: Vec<String>,
}

impl Scenario {
    /// Carries it out.
    ///
    /// # Errors
    /// If a number makes no sense, or an expectation or an invariant does not hold; the failure
    /// tells all that is needed to see it again.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        Run::new(self.clone()).finish()
    }
}

impl Run {
    /// A run with whole engines.
    pub fn new(scenario: Scenario) -> Self {
        Self::with_machines(scenario, engines())
    }

    /// A run with whatever `factory` makes.
    pub fn with_machines(scenario: Scenario, factory: Factory) -> Self {
        let config = WorldConfig {
            seed: scenario.seed,
            signatures: scenario.signatures,
            loss: scenario.loss,
            clock_skew_max: Duration::from_millis(scenario.clock_skew_ms_max),
            check_every: CHECK_EVERY,
        };
        Self {
            seed: Seed::from_u64(scenario.seed).child("scenario", 0),
            world: World::with_machines(config, factory),
            growth: Growth::new(Duration::from_secs(scenario.day_secs)),
            held: Vec::new(),
            scenario,
            progress: Box::new(|_| {}),
            heap: None,
            heap_before: 0,
            contacts: Vec::new(),
            light: BTreeSet::new(),
            bootstrap: Bootstrap::Ten,
            owed: 0.0,
            stage: 0,
            costs: None,
            state: None,
            steps_before: Vec::new(),
            phases: Vec::new(),
            shape: None,
        }
    }

    /// Is told about once a simulated second how far the run is.
    pub fn on_progress(mut self, progress: impl FnMut(Progress) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Measures state with this function, which says how many bytes of heap are in use.
    pub fn measure_heap(mut self, heap: fn() -> u64) -> Self {
        self.heap = Some(heap);
        self.heap_before = heap();
        self
    }

    /// The world as it is.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Carries out all stages that are left.
    ///
    /// # Errors
    /// If a number of the scenario makes no sense, an expectation or an invariant does not hold, or
    /// a machine panics.
    pub fn finish(mut self) -> Result<Report, Box<Failure>> {
        if let Err(error) = self.scenario.check() {
            return Err(self.fail(error.to_string(), true));
        }
        while let Some(stage) = self.scenario.stages.get(self.stage).cloned() {
            // A machine that panics is a finding, to be reported with its history.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.carry_out(&stage)));
            let (what, sane) = match outcome {
                Ok(Ok(())) => {
                    self.stage += 1;
                    continue;
                }
                Ok(Err(what)) => (what, true),
                Err(panic) => (panic_message(&*panic), false),
            };
            return Err(self.fail(what, sane));
        }
        Ok(self.into_report())
    }

    /// The end of a run that failed. Half-way through a step the world is not sane and can not be
    /// asked.
    fn fail(self, what: String, sane: bool) -> Box<Failure> {
        Box::new(Failure {
            what,
            at: self.world.now(),
            step: self.world.trace().events(),
            journal: self.world.journal().clone(),
            scenario: self.scenario.clone(),
            file: None,
            report: sane.then(|| self.into_report()),
        })
    }

    fn into_report(mut self) -> Report {
        // A run that sends nothing, or gets no further, shows what its network was like all the
        // same.
        if self.phases.is_empty() && self.world.live().len() > 0 {
            let stage = self.scenario.stages.get(self.stage);
            let churn = matches!(stage, Some(Stage::Churn { .. }));
            let sent = self.world.probes().tracked().len();
            self.conclude(churn, sent, Moment::START..self.world.now());
        }
        let shape = self.shape.take().unwrap_or_else(|| Shape::of(&self.world));
        Report {
            name: self.scenario.name,
            seed: self.scenario.seed,
            phases: self.phases,
            shape,
            drops: drops(&self.world),
            growth: self.growth,
            held: self.held,
            simulated: self.world.now().since(Moment::START),
            events: self.world.trace().events(),
            trace_hash: self.world.trace().value(),
        }
    }

    fn carry_out(&mut self, stage: &Stage) -> Result<(), String> {
        match *stage {
            Stage::Grow { nodes, over_ms, bootstrap } => self.grow(nodes, over_ms, bootstrap),
            Stage::Settle { secs } => self.settle(Duration::from_secs(secs)),
            Stage::Send { messages, over_secs, between } => self.send(messages, over_secs, between),
            Stage::Churn { percent, every_secs, over_secs, messages } => {
                self.churn(percent, every_secs, over_secs, messages)
            }
            Stage::Partition => {
                self.split();
                Ok(())
            }
            Stage::Heal => {
                self.world.heal();
                Ok(())
            }
            Stage::Crash { share } => {
                for host in self.victims(share)? {
                    self.world.crash(host);
                }
                Ok(())
            }
            Stage::Restart => self.restart(),
            Stage::Leave { share } => {
                for host in self.victims(share)? {
                    self.world.leave(host).map_err(text_of)?;
                }
                self.pass_until(self.world.now() + LEAVE_TIME)
            }
            Stage::Expect { delivered_share } => self.expect_delivered(delivered_share),
            Stage::ExpectBounded { of, earlier_day, later_day, growth_share_max } => {
                self.expect_bounded((earlier_day, later_day), of, growth_share_max)
            }
        }
    }

    fn split(&mut self) {
        let half = self.drawn("sides", 0.5, |_| true);
        // Whoever is down may start again before the network heals, on either side.
        let mut coin = self.random("sides of those who are down");
        let side = |host| match self.world.is_up(host) {
            true => u8::from(half.contains(&host)),
            false => coin.below(2) as u8,
        };
        let sides: Vec<u8> = self.world.hosts().map(side).collect();
        self.world.partition(|host| sides[host.index()]);
    }

    fn grow(&mut self, nodes: u32, over_ms: u64, bootstrap: Bootstrap) -> Result<(), String> {
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
        let config = api::Config { profile, ..api::Config::default() };
        let host = self.world.join(Join { nat, bootstrap, config }).map_err(text_of)?;
        if light {
            self.light.insert(host);
        }
        if is_contact {
            self.contacts.push(host);
        }
        Ok(())
    }

    /// Whom a newcomer is told of: nobody if it is to be the first.
    fn ways_in(&self, random: &mut Random) -> Result<Vec<Host>, String> {
        let live = self.world.live().len() as u64;
        let draws = if live == 0 { 0 } else { DRAWS_MAX };
        let told: Vec<Host> = match self.bootstrap {
            Bootstrap::Ten => self.contacts.clone(),
            Bootstrap::Any => (0..draws)
                .map(|_| self.world.live_at(random.below(live) as usize))
                .find(|&host| self.is_way_in(host))
                .into_iter()
                .collect(),
        };
        let is_up = |&host: &Host| self.world.is_up(self.world.latest(host));
        if live > 0 && !told.iter().any(is_up) {
            return Err(self.no_way_in());
        }
        Ok(told)
    }

    fn no_way_in(&self) -> String {
        let live = self.world.live().len();
        let none = match self.bootstrap {
            Bootstrap::Ten => {
                "one of the ten well-known ones: restart these first, or let newcomers join \
                 through any"
            }
            Bootstrap::Any => {
                "public and in the network itself: put fewer nodes behind NATs, or let time pass \
                 first"
            }
        };
        format!("no way in for a newcomer: none of {live} live nodes is {none}")
    }

    /// Whether a host can be dialed by a stranger and is itself in the network: whoever is told
    /// only of a node that is on its way in, and dies there, is told of nobody.
    fn is_way_in(&self, host: Host) -> bool {
        self.world.nat(host) == Nat::Public && self.world.joined_at(host).is_some()
    }

    fn settle(&mut self, span: Duration) -> Result<(), String> {
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

    fn send(&mut self, messages: u32, over_secs: u64, between: Between) -> Result<(), String> {
        let first = self.world.probes().tracked().len();
        let start = self.world.now();
        let span = Duration::from_secs(over_secs);
        let mut random = self.random("pairs");
        for number in 0..messages {
            self.pass_until(start + nth(span, number, messages))?;
            self.send_one(&mut random, between)?;
        }
        self.pass_until(start + span + GRACE)?;
        self.world.check_all();
        self.conclude(false, first, Moment::START..start);
        Ok(())
    }

    fn churn(
        &mut self,
        percent: f64,
        every_secs: u64,
        over_secs: u64,
        messages: u32,
    ) -> Result<(), String> {
        self.check_churn(percent, every_secs, over_secs)?;
        let first = self.world.probes().tracked().len();
        let start = self.world.now();
        // What was measured in a settled network says nothing of this one.
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
        // Rounds do not end with the messages. One at the very end would have no time to matter.
        while round < start + span {
            self.replace_at(round, percent, &mut joins)?;
            round = round + every;
        }
        self.pass_until(start + span)?;
        self.read_costs(start);
        self.pass_until(start + span + GRACE)?;
        self.world.check_all();
        self.conclude(true, first, start..start + span);
        self.costs = None;
        Ok(())
    }

    /// At this time some nodes crash and as many new ones join.
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

    fn restart(&mut self) -> Result<(), String> {
        let mut random = self.random("restarts");
        // Whoever was started again lives on as another host, or died as that one.
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
                return self.world.send(from, to).map_err(text_of);
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

    /// As many hosts as are a share of the live ones, drawn among those that `may`.
    fn drawn(
        &self,
        purpose: &'static str,
        share: f64,
        may: impl Fn(Host) -> bool,
    ) -> BTreeSet<Host> {
        let mut random = self.random(purpose);
        let mut urn: Vec<_> = self.world.live().filter(|&host| may(host)).collect();
        let count = (self.world.live().len() as f64 * share) as usize;
        for place in 0..count.min(urn.len()) {
            let other = place + random.below((urn.len() - place) as u64) as usize;
            urn.swap(place, other);
        }
        urn.into_iter().take(count).collect()
    }

    fn conclude(&mut self, churn: bool, first: usize, born: core::ops::Range<Moment>) {
        let evidence = Evidence {
            world: &self.world,
            tracked: &self.world.probes().tracked()[first..],
            costs: self.costs.as_ref(),
            born,
        };
        let mut figures = evidence.figures(|_| true);
        // The heap is counted as a whole: of light nodes alone nothing is known.
        figures.state_bytes_per_node = self.state;
        let lost = evidence.lost();
        let light = (!self.light.is_empty()).then(|| {
            // What the others spend stands on its own; everything else is about all.
            let routers = evidence.figures(|host| !self.light.contains(&host));
            figures.idle_bytes_per_node_day = routers.idle_bytes_per_node_day;
            figures.idle_wakeups_per_node_hour = routers.idle_wakeups_per_node_hour;
            figures.traffic = routers.traffic;
            evidence.figures(|host| self.light.contains(&host))
        });
        self.phases.push(Phase { churn, figures, light, lost });
        self.shape.get_or_insert_with(|| Shape::of(&self.world));
    }

    fn begin_costs(&mut self) {
        self.world.clear_meters();
        self.steps_before = self.world.tally().map(|(_, count)| count).collect();
    }

    fn read_costs(&mut self, since: Moment) {
        self.world.settle_meters();
        self.costs = Some(Costs::read(&self.world, since, &self.steps_before));
    }

    /// Heap for each node. Once somebody died it holds remains as well, and says nothing of the
    /// living.
    fn state_per_node(&self) -> Option<f64> {
        let live = self.world.live().len();
        let growth = self.heap?().saturating_sub(self.heap_before);
        (live > 0 && self.world.hosts().count() == live).then(|| growth as f64 / live as f64)
    }

    fn pass_until(&mut self, end: Moment) -> Result<(), String> {
        while self.world.now() < end {
            let stop = end.min(self.world.now() + TELL_EVERY);
            self.world.run_until(stop).map_err(text_of)?;
            self.growth.look(&self.world, self.heap.map(|heap| heap()));
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        (self.progress)(Progress {
            simulated: self.world.now().since(Moment::START),
            total: self.scenario.span(),
            label: self.scenario.stages[self.stage].label(),
            nodes: self.world.live().len(),
            events: self.world.trace().events(),
        });
    }

    /// The random stream for one purpose of this stage.
    fn random(&self, purpose: &'static str) -> Random {
        self.seed.child("stage", self.stage as u64).stream(purpose)
    }
}

fn text_of(violation: Violation) -> String {
    violation.to_string()
}

fn nth(span: Duration, number: u32, of: u32) -> Duration {
    Duration::from_nanos((span.as_nanos() * u128::from(number) / u128::from(of)) as u64)
}

fn panic_message(panic: &(dyn core::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "no message".to_owned()))
}
