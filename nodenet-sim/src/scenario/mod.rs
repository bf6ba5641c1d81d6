//! Scenario: settings of a world, its stages and expectations, as a value and as a TOML file.
//!
//! Responsible for: the data, and whether its numbers are valid. Never: carries it out; see
//! [`crate::run`].

mod check;
pub mod packet;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crypto::Signatures;
use crate::report::growth::Measure;
use crate::world::{CONNECT_TIME, MESSAGE_TIME};

pub use check::{STAGE_SECS_MAX, ScenarioError};

/// A scenario. With its seed it determines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the scenario.
    pub name: String,
    /// The seed of all random streams.
    pub seed: u64,
    /// The world in which it runs.
    #[serde(default, skip_serializing_if = "WorldName::is_overlay")]
    pub world: WorldName,
    /// Kind of signatures.
    #[serde(default)]
    pub signatures: Signatures,
    /// Share of packets that are lost, 0 to 1.
    #[serde(default)]
    pub loss: f64,
    /// Share of nodes behind a NAT, 0 to 1; three tenths of these are hard.
    #[serde(default)]
    pub nat_share: f64,
    /// Share of nodes that run the light profile, 0 to 1. Well-known contacts never do.
    #[serde(default)]
    pub light_share: f64,
    /// Share of nodes that take messages for others and forward none, 0 to 1. Well-known contacts
    /// never do.
    #[serde(default)]
    pub silent_share: f64,
    /// Share of the nodes without a NAT that relay for others, 0 to 1. Well-known contacts and
    /// light nodes never do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub relay_share: f64,
    /// What the sending stages measure.
    #[serde(default)]
    pub probe: Probe,
    /// Largest difference of a wall clock from the true time.
    #[serde(default = "default_clock_skew_ms")]
    pub clock_skew_ms_max: u64,
    /// Seconds of a day, for the comparison of tables from day to day. A short day tests the stages
    /// of a long run.
    #[serde(default = "default_day_secs")]
    pub day_secs: u64,
    /// The stages, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

fn default_clock_skew_ms() -> u64 {
    2_000
}

fn default_day_secs() -> u64 {
    86_400
}

/// A kind of world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldName {
    /// Engines on conns in memory.
    #[default]
    Overlay,
    /// Whole nodes on a network of datagrams. Signatures are real there.
    Packet,
}

impl WorldName {
    fn is_overlay(&self) -> bool {
        *self == Self::Overlay
    }
}

/// Nodes through which a newcomer joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bootstrap {
    /// Through the first ten nodes, which are public and spared by churn.
    Ten,
    /// Through one live public member, drawn for each newcomer.
    Any,
}

/// What is measured between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A message: it is delivered when its first copy arrives.
    #[default]
    Message,
    /// A rendezvous: it is delivered when its answer arrives, within ten seconds.
    Rendezvous,
    /// A connect: it is delivered when there is an edge, direct or relayed, within fifteen seconds.
    Connect,
}

impl Probe {
    /// Time after which one that did not arrive is lost.
    pub const fn within(self) -> Duration {
        match self {
            Self::Message | Self::Rendezvous => MESSAGE_TIME,
            Self::Connect => CONNECT_TIME,
        }
    }
}

/// Nodes between which messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Any two live nodes.
    #[default]
    All,
    /// Two live nodes that the last partition put on different sides.
    Sides,
}

/// One part of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// New nodes join, evenly spread.
    Grow {
        /// Number of nodes.
        nodes: u32,
        /// Duration in milliseconds.
        over_ms: u64,
        /// Nodes through which they join.
        bootstrap: Bootstrap,
    },
    /// Time passes. The costs of nodes in its last ten minutes are their idle costs.
    Settle {
        /// Seconds.
        secs: u64,
    },
    /// Messages are sent, evenly spread, and their delivery is measured.
    Send {
        /// Number of messages.
        messages: u32,
        /// Duration in seconds.
        over_secs: u64,
        /// Nodes between which they are sent.
        #[serde(default)]
        between: Between,
    },
    /// Nodes crash and the same number of new nodes joins, while messages are sent.
    Churn {
        /// Percent of the live nodes that are replaced each time; fractions of a node add up.
        percent: f64,
        /// Interval in seconds, from the begin of the stage to its end, with any number of
        /// messages.
        every_secs: u64,
        /// Duration in seconds.
        over_secs: u64,
        /// Messages sent in the stage, evenly spread.
        messages: u32,
    },
    /// The network is split in two: half of the live nodes, drawn at random, cannot reach the
    /// others.
    Partition,
    /// The partition heals.
    Heal,
    /// Some nodes crash at once.
    Crash {
        /// Share of the live nodes, up to 1, rounded down to whole nodes; at least one.
        share: f64,
    },
    /// Every node that crashed or left and is still down starts again, with the same identity and
    /// empty tables.
    Restart,
    /// Some nodes leave and send Leave to their peers.
    Leave {
        /// Share of the live nodes, up to 1, rounded down to whole nodes; at least one.
        share: f64,
    },
    /// The run fails unless at least this share of the messages of the last sending stage was
    /// delivered.
    Expect {
        /// Smallest delivered share.
        delivered_share: f64,
    },
    /// The run fails if some table grew from one day to another (see [`crate::report::growth`]).
    /// Days count from 1, and begin with the run.
    ExpectBounded {
        /// Value to compare: the maximum over all nodes, or the mean.
        #[serde(default)]
        of: Measure,
        /// The day to compare with.
        earlier_day: u32,
        /// The day that is compared.
        later_day: u32,
        /// Allowed growth, as a share of the earlier value.
        growth_share_max: f64,
    },
}

impl Scenario {
    /// A scenario without stages.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            world: WorldName::Overlay,
            signatures: Signatures::StandIn,
            loss: 0.0,
            nat_share: 0.0,
            light_share: 0.0,
            silent_share: 0.0,
            relay_share: 0.0,
            probe: Probe::Message,
            clock_skew_ms_max: default_clock_skew_ms(),
            day_secs: default_day_secs(),
            stages: Vec::new(),
        }
    }

    /// Loses this share of packets.
    pub fn loss(mut self, share: f64) -> Self {
        self.loss = share;
        self
    }

    /// Puts this share of nodes behind NATs.
    pub fn nat_share(mut self, share: f64) -> Self {
        self.nat_share = share;
        self
    }

    /// Lets this share of nodes run the light profile.
    pub fn light_share(mut self, share: f64) -> Self {
        self.light_share = share;
        self
    }

    /// Lets this share of nodes drop what they should forward.
    pub fn silent_share(mut self, share: f64) -> Self {
        self.silent_share = share;
        self
    }

    /// Lets this share of the nodes without a NAT relay for others.
    pub fn relay_share(mut self, share: f64) -> Self {
        self.relay_share = share;
        self
    }

    /// Measures this.
    pub fn probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Runs in this world.
    pub fn in_world(mut self, world: WorldName) -> Self {
        self.world = world;
        self
    }

    /// Uses these signatures.
    pub fn signatures(mut self, signatures: Signatures) -> Self {
        self.signatures = signatures;
        self
    }

    /// Adds a stage.
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Grows the network: one join every half second up to 1,000 nodes. For more nodes the joins
    /// spread over 500 seconds (reference).
    pub fn grow(self, nodes: u32, bootstrap: Bootstrap) -> Self {
        let over_ms = spread_ms(nodes);
        self.stage(Stage::Grow { nodes, over_ms, bootstrap })
    }

    /// The same scenario with another number of nodes. The first stage that grows the network gets
    /// the duration of [`Self::grow`]; further stages do not change.
    pub fn resize(mut self, count: u32) -> Self {
        let grow = |stage: &&mut Stage| matches!(stage, Stage::Grow { .. });
        if let Some(Stage::Grow { nodes, over_ms, .. }) = self.stages.iter_mut().find(grow) {
            (*nodes, *over_ms) = (count, spread_ms(count));
        }
        self
    }

    /// Whether some stage grows the network. Otherwise the scenario cannot be resized.
    pub fn grows(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Grow { .. }))
    }

    /// Lets time pass.
    pub fn settle(self, span: Duration) -> Self {
        self.stage(Stage::Settle { secs: span.as_secs() })
    }

    /// Sends messages between random pairs, spread over a minute.
    pub fn send(self, messages: u32) -> Self {
        self.stage(Stage::Send { messages, over_secs: 60, between: Between::All })
    }

    /// Splits the network in halves for this time, then heals the partition.
    pub fn partition(self, span: Duration) -> Self {
        self.stage(Stage::Partition).settle(span).stage(Stage::Heal)
    }

    /// Fails unless at least this share of the messages of the last sending stage arrived.
    pub fn expect_delivered(self, delivered_share: f64) -> Self {
        self.stage(Stage::Expect { delivered_share })
    }

    /// Virtual time of the scenario.
    pub fn span(&self) -> Duration {
        self.stages.iter().map(|stage| stage.span(self.probe)).sum()
    }

    /// Reads a scenario from the text of a file.
    ///
    /// # Errors
    /// If the text is not TOML or not a scenario, or a number in it is out of range; the error
    /// names the position.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as the text of a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every scenario can be written as TOML")
    }
}

/// Milliseconds in which this number of nodes joins; see [`Scenario::grow`].
fn spread_ms(nodes: u32) -> u64 {
    500 * u64::from(nodes.min(1_000))
}

impl Stage {
    /// Virtual time of the stage, if it measures this.
    pub fn span(&self, probe: Probe) -> Duration {
        match *self {
            Self::Grow { over_ms, .. } => Duration::from_millis(over_ms),
            Self::Settle { secs } => Duration::from_secs(secs),
            Self::Send { over_secs, .. } | Self::Churn { over_secs, .. } => {
                Duration::from_secs(over_secs) + probe.within()
            }
            Self::Leave { .. } => LEAVE_TIME,
            _ => Duration::ZERO,
        }
    }

    /// Label of the stage, for progress.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Grow { .. } => "growing",
            Self::Settle { .. } => "settling",
            Self::Send { .. } => "sending",
            Self::Churn { .. } => "churning",
            Self::Partition => "splitting",
            Self::Heal => "healing",
            Self::Crash { .. } => "crashing",
            Self::Restart => "restarting",
            Self::Leave { .. } => "leaving",
            Self::Expect { .. } | Self::ExpectBounded { .. } => "judging",
        }
    }
}

/// Time in which leaving nodes notify their peers: 1 s and a round trip (PROTOCOL.md#shutdown).
pub(crate) const LEAVE_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::packet::PacketScenario;
    use super::{Between, Bootstrap, Measure, Probe, Scenario, Stage, WorldName};

    #[test]
    fn a_scenario_survives_its_file() {
        let scenario = Scenario::new("everything", 7)
            .loss(0.01)
            .nat_share(0.6)
            .light_share(0.1)
            .relay_share(0.05)
            .probe(Probe::Rendezvous)
            .grow(300, Bootstrap::Any)
            .settle(Duration::from_secs(60))
            .stage(Stage::Send { messages: 10, over_secs: 5, between: Between::Sides })
            .stage(Stage::Churn { percent: 2.0, every_secs: 30, over_secs: 900, messages: 9 })
            .partition(Duration::from_secs(600))
            .stage(Stage::Crash { share: 0.5 })
            .stage(Stage::Restart)
            .stage(Stage::Leave { share: 0.1 })
            .expect_delivered(0.999)
            .stage(Stage::ExpectBounded {
                of: Measure::Mean,
                earlier_day: 2,
                later_day: 7,
                growth_share_max: 0.02,
            });
        for world in [WorldName::Overlay, WorldName::Packet] {
            let silent_share = if world == WorldName::Overlay { 0.2 } else { 0.0 };
            let scenario = scenario.clone().in_world(world).silent_share(silent_share);
            let text = scenario.to_toml();
            assert_eq!(Scenario::from_toml(&text).unwrap(), scenario, "{text}");
        }
    }

    #[test]
    fn whole_nodes_are_not_asked_to_drop_messages() {
        let scenario = Scenario::new("silent", 1).in_world(WorldName::Packet).silent_share(0.2);
        let error = Scenario::from_toml(&scenario.to_toml()).unwrap_err().to_string();
        assert!(error.starts_with("silent_share must be 0 in the packet world"), "{error}");
    }

    #[test]
    fn a_file_may_leave_out_what_has_a_default() {
        let text = "name = 'small'\nseed = 3\n[[stage]]\ndo = 'settle'\nsecs = 5\n";
        let scenario = Scenario::from_toml(text).unwrap();
        assert_eq!(scenario, Scenario::new("small", 3).settle(Duration::from_secs(5)));
        assert!(Scenario::from_toml("name = 'x'\nseed = 1\nstages = []\n").is_err());
    }

    #[test]
    fn another_size_changes_only_the_number_and_the_rate_of_joins() {
        let of = |nodes| Scenario::new("size", 3).grow(nodes, Bootstrap::Any).send(9);
        assert_eq!(of(20).resize(5_000), of(5_000));
        assert_eq!(of(5_000).resize(300), of(300));
    }

    #[test]
    fn the_scenarios_that_come_with_the_crate_can_be_read() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = match PacketScenario::is_meant(&text) {
                true => PacketScenario::from_toml(&text).unwrap().name,
                false => Scenario::from_toml(&text).unwrap().name,
            };
            assert_eq!(path.file_stem().unwrap(), name.as_str());
            count += 1;
        }
        assert!(count >= 2);
    }
}
