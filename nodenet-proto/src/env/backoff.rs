//! Exponential backoff: the wait before the next attempt (PROTOCOL.md#dial-backoff).

use std::time::Duration;

/// Jitter of every wait, in percent (PROTOCOL.md#dial-backoff).
pub(crate) const JITTER_PERCENT: u32 = 20;
/// Failures for which a seed that this node does not admit waits (PROTOCOL.md#dial-backoff).
pub(crate) const FAILURES_MAX: u32 = 10;
/// Longest wait for a seed while there is no edge at all. With jitter and an attempt of ten
/// seconds, an attempt begins every 30 s (PROTOCOL.md#dial-backoff).
pub(crate) const ISOLATED_WAIT_MAX: Duration = Duration::from_secs(16);
/// The first wait; each further one doubles (PROTOCOL.md#dial-backoff).
const BASE: Duration = Duration::from_secs(1);
/// The longest wait (PROTOCOL.md#dial-backoff).
const CEILING: Duration = Duration::from_secs(300);

/// The wait after this number of failures.
pub(crate) fn wait(failures: u32, urgent: bool) -> Duration {
    let ceiling = if urgent { ISOLATED_WAIT_MAX } else { CEILING };
    BASE.saturating_mul(1 << failures.min(16)).min(ceiling)
}

#[cfg(test)]
mod tests {
    use super::wait;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<u64> = (0..12).map(|failures| wait(failures, false).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(wait(u32::MAX, false).as_secs(), 300);
    }

    #[test]
    fn an_isolated_node_does_not_wait_long_for_its_seeds() {
        let waits: Vec<u64> = (0..7).map(|failures| wait(failures, true).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
    }
}
