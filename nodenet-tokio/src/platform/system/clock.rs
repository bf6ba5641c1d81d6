//! Wall clock of the operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use nodenet_proto::env::UnixNanos;

/// Wall time now; a clock set before 1970 reads as 1970.
pub(crate) fn wall() -> UnixNanos {
    #[expect(clippy::disallowed_methods, reason = "the adapter owns the wall clock")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
