//! Which peers the node wants as edges, and the schedule on which it looks after that.

pub(crate) mod choose;
pub(crate) mod maintain;
pub(crate) mod period;
pub(crate) mod schedule;
