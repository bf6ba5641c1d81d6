//! Deterministic worlds for nodenet: virtual time, links, faults and reports.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod crypto;
pub mod failure;
pub mod hash;
pub mod html;
pub mod overlay;
pub mod queue;
pub mod report;
pub mod row;
pub mod run;
pub mod scenario;
pub mod space;
pub mod time;

pub use failure::Failure;
pub use report::Report;
pub use scenario::{Bootstrap, Scenario, Stage};
