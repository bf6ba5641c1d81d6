//! Virtual clock: moments of a run, and the queue of its events.

mod queue;
mod time;

pub use queue::EventQueue;
pub(crate) use time::nanos;
pub use time::{Epoch, Moment};
