//! Exponential backoff: the wait before the next attempt (PROTOCOL.md#dial-backoff).

use std::time::Duration;

/// Jitter of every wait, in percent (PROTOCOL.md#dial-backoff).
pub(crate) const JITTER_PERCENT: u32 = 20;
/// The longest wait (PROTOCOL.md#dial-backoff, PROTOCOL.md#failed-dials).
pub(crate) const CEILING: Duration = Duration::from_secs(300);
/// The first wait; each further one doubles (PROTOCOL.md#dial-backoff, PROTOCOL.md#failed-dials).
const BASE: Duration = Duration::from_secs(1);

/// The wait after this number of failures before the last one, at most `ceiling`.
pub(crate) fn wait(failures: u32, ceiling: Duration) -> Duration {
    BASE.saturating_mul(1 << failures.min(16)).min(ceiling)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CEILING, wait};

    fn waits(count: u32, ceiling: Duration) -> Vec<u64> {
        (0..count).map(|failures| wait(failures, ceiling).as_secs()).collect()
    }

    #[test]
    fn waits_double_up_to_their_ceiling() {
        assert_eq!(waits(12, CEILING), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(waits(7, Duration::from_secs(16)), [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(wait(u32::MAX, CEILING), CEILING);
    }
}
