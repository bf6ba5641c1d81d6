//! Report of a run: figures of each phase, growth of tables, shape of the network, failure.
//!
//! Responsible for: the results of a run as values, as rows for programs and as pages for readers.
//! Never: carries out a stage.

pub(crate) mod failure;
mod figures;
pub mod growth;
pub mod html;
pub mod row;
mod shape;

use std::time::Duration;

use crate::clock::Moment;
use crate::report::growth::Growth;
use crate::world::Host;

pub use failure::{Failure, PROGRAM};
pub(crate) use figures::{Costs, Evidence, drops};
pub use figures::{Distribution, Figures};
pub use shape::Shape;

/// Results of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Name of the scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Results of each measuring stage, in order.
    pub phases: Vec<Phase>,
    /// Shape of the network at the end of the first measuring stage, or at the end of the run.
    pub shape: Shape,
    /// Drops of live nodes since their start, by reason, most frequent first.
    pub drops: Vec<(&'static str, u64)>,
    /// Entries of all tables, day by day.
    pub growth: Growth,
    /// Text of each expectation that was met.
    pub held: Vec<String>,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Steps taken.
    pub events: u64,
    /// Hash of all steps ([`crate::hash::TraceHash`]).
    pub trace_hash: u64,
}

impl Report {
    /// The first phase without churn.
    pub fn steady(&self) -> Option<&Phase> {
        self.phases.iter().find(|phase| !phase.churn)
    }

    /// The first phase with churn.
    pub fn churn(&self) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.churn)
    }
}

/// Results of a measuring stage.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Whether the stage is churn.
    pub churn: bool,
    /// Figures of all nodes; costs are those of routers if there are others.
    pub figures: Figures,
    /// Figures of light nodes, if there are any.
    pub light: Option<Figures>,
    /// The first messages that were lost.
    pub lost: Vec<Lost>,
}

/// A message that did not arrive although its target was up, and the edges of both hosts at the end
/// of the phase.
#[derive(Debug, Clone)]
pub struct Lost {
    /// The host that sent it.
    pub from: Host,
    /// The host that it was for.
    pub to: Host,
    /// Time of sending.
    pub sent_at: Moment,
    /// Number of live edges of the two hosts.
    pub edges: [usize; 2],
}
