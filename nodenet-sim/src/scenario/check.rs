//! Validation of a scenario: ranges of its numbers, and sums over its stages.
//!
//! Responsible for: refusing a scenario that a run could not carry out, or would carry out with
//! another meaning, before a run of hours begins.

use std::time::Duration;

use super::{Scenario, Stage, WorldName};
use crate::net::AddressPlan;

/// Longest stage in seconds: ten years.
pub const STAGE_SECS_MAX: u64 = 10 * 365 * 86_400;
/// Longest run. Virtual time is counted in nanoseconds and ends after 584 years.
const SPAN_MAX: Duration = Duration::from_secs(10 * STAGE_SECS_MAX);
/// Most nodes of a run: each has an address of its own, which is never reused.
const NODES_MAX: u64 = AddressPlan::HOSTS_MAX as u64;
/// Tables are sampled once a simulated second at most. A minute has enough samples to be a day.
const DAY_SECS_MIN: u64 = 60;
/// Largest difference of a wall clock: a day. Nodes ignore a peer whose clock differs by more than
/// seconds (PROTOCOL.md#clock-skew).
const CLOCK_SKEW_MS_MAX: u64 = 86_400_000;

/// Why a text or value is not a valid scenario.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, or a field is missing or unknown.
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// A number is out of range: its name, value and range.
    #[error("{0}")]
    Value(String),
}

impl Scenario {
    /// Checks the range of every number.
    ///
    /// # Errors
    /// The first number that is out of range: its name, its value and its range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_settings().map_err(ScenarioError::Value)?;
        for (number, stage) in (1..).zip(&self.stages) {
            let at = |what| ScenarioError::Value(format!("stage {number}: {what}"));
            stage.check().map_err(at)?;
        }
        self.check_sums().map_err(ScenarioError::Value)
    }

    fn check_settings(&self) -> Result<(), String> {
        share("loss", self.loss)?;
        share("nat_share", self.nat_share)?;
        share("light_share", self.light_share)?;
        share("silent_share", self.silent_share)?;
        share("relay_share", self.relay_share)?;
        if self.silent_share > 0.0 && self.world == WorldName::Packet {
            return Err("silent_share must be 0 in the packet world, whose nodes are whole: use \
                        the overlay world"
                .to_owned());
        }
        number("clock_skew_ms_max", self.clock_skew_ms_max, 0, CLOCK_SKEW_MS_MAX)?;
        number("day_secs", self.day_secs, DAY_SECS_MIN, STAGE_SECS_MAX)
    }

    fn check_sums(&self) -> Result<(), String> {
        let (mut size, mut ever) = (0, 0);
        for stage in &self.stages {
            match *stage {
                Stage::Grow { nodes, .. } => {
                    size += u64::from(nodes);
                    ever += u64::from(nodes);
                }
                Stage::Churn { percent, every_secs, over_secs, .. } => {
                    let rounds = over_secs.div_ceil(every_secs) as f64;
                    ever += (rounds * size as f64 * percent / 100.0) as u64;
                }
                _ => {}
            }
        }
        number("nodes, of all stages and those that churn adds,", ever, 0, NODES_MAX)?;
        let secs = self.span().as_secs();
        number("seconds, of all stages,", secs, 0, SPAN_MAX.as_secs())
    }
}

impl Stage {
    fn check(&self) -> Result<(), String> {
        match *self {
            Self::Grow { nodes, over_ms, .. } => {
                number("nodes", nodes.into(), 1, NODES_MAX)?;
                number("over_ms", over_ms, 0, 1_000 * STAGE_SECS_MAX)
            }
            Self::Settle { secs } => number("secs", secs, 0, STAGE_SECS_MAX),
            Self::Send { over_secs, .. } => number("over_secs", over_secs, 0, STAGE_SECS_MAX),
            Self::Churn { percent, every_secs, over_secs, .. } => {
                if !(percent > 0.0 && percent <= 100.0) {
                    return Err(format!("percent is {percent}; it can be more than 0, up to 100"));
                }
                number("every_secs", every_secs, 1, STAGE_SECS_MAX)?;
                number("over_secs", over_secs, 0, STAGE_SECS_MAX)
            }
            Self::Crash { share: 0.0 } | Self::Leave { share: 0.0 } => {
                Err("share is 0, which is no node; it can be more than 0, up to 1".to_owned())
            }
            Self::Crash { share: value } | Self::Leave { share: value } => share("share", value),
            Self::Expect { delivered_share } => share("delivered_share", delivered_share),
            Self::ExpectBounded { earlier_day, later_day, growth_share_max, .. } => {
                number("earlier_day", earlier_day.into(), 1, u64::from(u32::MAX))?;
                let after = u64::from(earlier_day) + 1;
                number("later_day", later_day.into(), after, u64::from(u32::MAX))?;
                if !(0.0..f64::INFINITY).contains(&growth_share_max) {
                    let value = growth_share_max;
                    return Err(format!("growth_share_max is {value}; it can be 0 or more"));
                }
                Ok(())
            }
            Self::Partition | Self::Heal | Self::Restart => Ok(()),
        }
    }
}

pub(super) fn number(name: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it can be {least} to {most}"))
}

pub(super) fn share(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it is a share, 0 to 1, and 0.02 means two percent"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{STAGE_SECS_MAX, ScenarioError};
    use crate::report::growth::Measure;
    use crate::scenario::{Bootstrap, Scenario, Stage};

    fn refused(scenario: &Scenario) -> String {
        match Scenario::from_toml(&scenario.to_toml()) {
            Err(ScenarioError::Value(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_out_of_range_are_named_with_their_stage() {
        let new = || Scenario::new("wrong", 1);
        let churn = |percent, every_secs| {
            new().grow(9, Bootstrap::Ten).stage(Stage::Churn {
                percent,
                every_secs,
                over_secs: 60,
                messages: 9,
            })
        };
        let bounded = |earlier_day, later_day, growth_share_max| {
            let of = Measure::Most;
            new().stage(Stage::ExpectBounded { of, earlier_day, later_day, growth_share_max })
        };
        let day = |day_secs| Scenario { day_secs, ..new() };
        let wrong = [
            (new().loss(2.0), "loss is 2; it is a share"),
            (new().nat_share(-0.1), "nat_share is -0.1"),
            (new().light_share(f64::NAN), "light_share is NaN"),
            (new().silent_share(1.1), "silent_share is 1.1"),
            (new().relay_share(2.0), "relay_share is 2"),
            (day(0), "day_secs is 0; it can be 60 to"),
            (new().grow(0, Bootstrap::Ten), "stage 1: nodes is 0"),
            (new().settle(Duration::MAX), "stage 1: secs is"),
            (churn(f64::INFINITY, 30), "stage 2: percent is inf"),
            (churn(f64::NAN, 30), "stage 2: percent is NaN"),
            (churn(2.0, 0), "stage 2: every_secs is 0"),
            (churn(0.0, 30), "stage 2: percent is 0; it can be more than 0"),
            (new().grow(7_000_001, Bootstrap::Ten), "stage 1: nodes is 7000001; it can be 1 to"),
            (new().stage(Stage::Leave { share: 0.0 }), "stage 1: share is 0, which is no node"),
            (new().stage(Stage::Crash { share: 50.0 }), "stage 1: share is 50"),
            (new().expect_delivered(99.9), "stage 1: delivered_share is 99.9"),
            (bounded(2, 7, f64::NAN), "stage 1: growth_share_max is NaN"),
            (bounded(0, 7, 0.1), "stage 1: earlier_day is 0"),
            (bounded(7, 2, 0.1), "stage 1: later_day is 2; it can be 8 to"),
        ];
        for (scenario, what) in wrong {
            let refused = refused(&scenario);
            assert!(refused.starts_with(what), "{refused}, not {what}");
            // A scenario built in Rust is refused as well.
            assert!(scenario.run().unwrap_err().what.starts_with(what));
        }
        let long = Stage::Settle { secs: STAGE_SECS_MAX };
        let long = (0..11).fold(new(), |scenario, _| scenario.stage(long.clone()));
        assert!(refused(&long).starts_with("seconds, of all stages, is"));
        let (every_secs, over_secs) = (30, 365 * 86_400);
        let year = Stage::Churn { percent: 2.0, every_secs, over_secs, messages: 9 };
        let crowd = new().grow(400, Bootstrap::Ten).stage(year);
        let ever =
            "nodes, of all stages and those that churn adds, is 8410000; it can be 0 to 7000000";
        assert_eq!(refused(&crowd), ever);
    }
}
