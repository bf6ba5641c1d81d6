//! Finding and forwarding: frames over edges.

pub mod bucket;
pub mod budgets;
pub mod decide;
pub mod duplicates;
pub mod edges;
