//! Runner of scenarios: carries out the stages in a world and makes the report.
//!
//! Responsible for: progress, panics of machines, phases. Never: the effect of a stage; see
//! `stages`.

mod expect;
pub mod packet;
pub mod pair;
mod select;
mod stages;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nodenet_proto::env::{Random, Seed};

use crate::clock::Moment;
use crate::report::Failure;
use crate::report::growth::Growth;
use crate::report::{Costs, Evidence, Phase, Report, Shape, drops};
use crate::scenario::{Bootstrap, LEAVE_TIME, Scenario, Stage, WorldName};
use crate::world::overlay::{Factory, OverlayWorld, WorldConfig, engines};
use crate::world::packet::{PacketSwarm, SwarmConfig};
use crate::world::{Host, StepKind, Violation, World};

/// Steps from one check of a machine to the next. With 256 checks took 3 % of a run (measured).
const CHECK_EVERY: u64 = 1024;
/// Interval of progress, in virtual time.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Draws of a pair until the search fails.
const DRAWS_MAX: u32 = 100_000;

/// Progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Virtual time in all.
    pub total: Duration,
    /// Label of the stage.
    pub label: &'static str,
    /// Nodes that are up.
    pub nodes: usize,
    /// Steps taken.
    pub events: u64,
}

/// The execution of a scenario.
pub struct Run {
    scenario: Scenario,
    world: Box<dyn World>,
    seed: Seed,
    progress: Box<dyn FnMut(Progress)>,
    heap: Option<fn() -> u64>,
    heap_before: u64,
    contacts: Vec<Host>,
    light: BTreeSet<Host>,
    bootstrap: Bootstrap,
    /// Fraction of a node that churn still has to replace.
    owed: f64,
    stage: usize,
    /// Costs of nodes in the last settling, or in the churn that is ending.
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
    /// Carries out the scenario.
    ///
    /// # Errors
    /// If a number is out of range, or an expectation or an invariant does not hold. The failure
    /// contains the command that replays the run.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        Run::new(self.clone()).finish()
    }
}

impl Run {
    /// A run with whole engines, or with whole nodes in the packet world.
    pub fn new(scenario: Scenario) -> Self {
        match scenario.world {
            WorldName::Overlay => Self::with_machines(scenario, engines()),
            WorldName::Packet => {
                let world = PacketSwarm::new(SwarmConfig {
                    seed: scenario.seed,
                    loss: scenario.loss,
                    clock_skew_max: Duration::from_millis(scenario.clock_skew_ms_max),
                    check_every: CHECK_EVERY,
                });
                Self::in_world(scenario, Box::new(world))
            }
        }
    }

    /// A run in an overlay world whose machines `factory` makes.
    pub fn with_machines(scenario: Scenario, factory: Factory) -> Self {
        let config = WorldConfig {
            seed: scenario.seed,
            signatures: scenario.signatures,
            loss: scenario.loss,
            clock_skew_max: Duration::from_millis(scenario.clock_skew_ms_max),
            check_every: CHECK_EVERY,
        };
        Self::in_world(scenario, Box::new(OverlayWorld::with_machines(config, factory)))
    }

    /// A run in this world, which must be empty and have the seed and the settings of the scenario.
    pub fn in_world(scenario: Scenario, world: Box<dyn World>) -> Self {
        Self {
            seed: Seed::from_u64(scenario.seed).child("scenario", 0),
            world,
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

    /// Calls `progress` about once a simulated second.
    pub fn on_progress(mut self, progress: impl FnMut(Progress) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Measures state with this function, which returns the bytes of heap in use.
    pub fn measure_heap(mut self, heap: fn() -> u64) -> Self {
        self.heap = Some(heap);
        self.heap_before = heap();
        self
    }

    /// The current state of the world.
    pub fn world(&self) -> &dyn World {
        &*self.world
    }

    /// Carries out all stages that are left.
    ///
    /// # Errors
    /// If a number of the scenario is out of range, an expectation or an invariant does not hold,
    /// or a machine panics.
    pub fn finish(mut self) -> Result<Report, Box<Failure>> {
        if let Err(error) = self.scenario.check() {
            return Err(self.fail(error.to_string(), true));
        }
        while let Some(stage) = self.scenario.stages.get(self.stage).cloned() {
            // A panic of a machine is a failure of the run, reported with the journal.
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

    /// The end of a run that failed. After a panic in the middle of a step, the world is
    /// inconsistent (not `sane`) and must not be queried.
    fn fail(self, what: String, sane: bool) -> Box<Failure> {
        Box::new(Failure {
            what,
            at: self.world.now(),
            step: self.world.trace().events(),
            journal: self.world.journal(),
            scenario: self.scenario.clone(),
            file: None,
            report: sane.then(|| self.into_report()),
        })
    }

    fn into_report(mut self) -> Report {
        // A run without a sending stage, or that failed before it, still has the figures of its
        // network.
        if self.phases.is_empty() && self.world.live().len() > 0 {
            let stage = self.scenario.stages.get(self.stage);
            let churn = matches!(stage, Some(Stage::Churn { .. }));
            let sent = self.world.probes().tracked().len();
            self.conclude(churn, sent, Moment::START..self.world.now());
        }
        let shape = self.shape.take().unwrap_or_else(|| Shape::of(&*self.world));
        Report {
            name: self.scenario.name,
            seed: self.scenario.seed,
            phases: self.phases,
            shape,
            drops: drops(&*self.world),
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
                self.expect_bounded(earlier_day, later_day, of, growth_share_max)
            }
        }
    }

    fn conclude(&mut self, churn: bool, first: usize, started: core::ops::Range<Moment>) {
        let evidence = Evidence {
            probe: self.scenario.probe,
            world: &*self.world,
            tracked: &self.world.probes().tracked()[first..],
            costs: self.costs.as_ref(),
            started,
        };
        let mut figures = evidence.figures(|_| true);
        // The heap is counted as a whole, so there is no figure for light nodes alone.
        figures.state_bytes_per_node = self.state;
        let lost = evidence.lost();
        let light = (!self.light.is_empty()).then(|| {
            // Traffic and wake-ups are those of routers alone, other figures those of all nodes.
            let routers = evidence.figures(|host| !self.light.contains(&host));
            figures.idle_bytes_per_node_day = routers.idle_bytes_per_node_day;
            figures.idle_wakeups_per_node_hour = routers.idle_wakeups_per_node_hour;
            figures.traffic = routers.traffic;
            evidence.figures(|host| self.light.contains(&host))
        });
        self.phases.push(Phase { churn, figures, light, lost });
        self.shape.get_or_insert_with(|| Shape::of(&*self.world));
    }

    fn begin_costs(&mut self) {
        self.world.clear_meters();
        self.steps_before = StepKind::ALL.map(|kind| self.world.tally(kind)).to_vec();
    }

    fn read_costs(&mut self, since: Moment) {
        self.world.settle_meters();
        self.costs = Some(Costs::read(&*self.world, since, &self.steps_before));
    }

    /// Heap for each node, as long as no node stopped, because the world keeps some state of
    /// stopped nodes.
    fn state_per_node(&self) -> Option<f64> {
        let live = self.world.live().len();
        let growth = self.heap?().saturating_sub(self.heap_before);
        (live > 0 && self.world.hosts().count() == live).then(|| growth as f64 / live as f64)
    }

    fn pass_until(&mut self, end: Moment) -> Result<(), String> {
        while self.world.now() < end {
            let stop = end.min(self.world.now() + TELL_EVERY);
            self.world.run_until(stop).map_err(text_of)?;
            self.growth.sample(&*self.world, self.heap.map(|heap| heap()));
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

fn panic_message(panic: &(dyn core::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "no message".to_owned()))
}
