//! Virtual clock: moments of a run, and the queue of events in their order.

mod queue;
mod time;

pub use queue::EventQueue;
pub(crate) use time::nanos;
pub use time::{Epoch, Moment};
