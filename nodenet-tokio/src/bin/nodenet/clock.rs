//! Monotonic time of the program, by the clock of the runtime.

use std::time::Instant;

/// Monotonic time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
