//! The two clocks of the machine; the core reads neither.
//!
//! Monotonic time comes from tokio, so that a test under tokio's paused clock is in virtual time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nodenet_proto::env::UnixNanos;

/// Monotonic time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall time; a clock set before 1970 reads as 1970.
pub(crate) fn wall() -> UnixNanos {
    #[expect(clippy::disallowed_methods, reason = "the adapter owns the wall clock")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
