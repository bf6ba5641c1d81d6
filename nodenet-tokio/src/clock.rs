//! Monotonic time of the runtime: under tokio's paused clock it is virtual.

use std::time::Instant;

/// Monotonic time now.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
