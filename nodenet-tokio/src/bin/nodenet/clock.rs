//! Monotonic clock of the program, which is that of the runtime.

use std::time::Instant;

/// Monotonic time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
