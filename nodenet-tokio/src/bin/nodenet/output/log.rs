//! Log on standard error, with bounds on what peers can make it write.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use super::Output;
use crate::args::LogLevel;

/// Bytes of a message that are shown (PROTOCOL.md#message-preview).
const PREVIEW_LEN: usize = 64;
/// Messages shown at once, and then per second (guesses: enough to follow by eye).
const SHOWN_BURST: f64 = 10.0;
const SHOWN_PER_S: f64 = 2.0;

/// Starts logging to `err`: at the level of the flag, without it as `RUST_LOG` says, without both
/// at the default level.
pub(crate) fn start(flag: Option<LogLevel>, default: LogLevel, err: Output) {
    let filter = match (flag, EnvFilter::try_from_default_env()) {
        (None, Ok(filter)) => filter,
        (None, Err(_)) => at_level(default),
        (Some(level), _) => at_level(level),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || err.clone())
        // These would go to standard error past the queue.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// This level for the crates of this project, and warnings for all others.
fn at_level(level: LogLevel) -> EnvFilter {
    let ours = level.name();
    EnvFilter::new(format!("warn,nodenet={ours},nodenet_tokio={ours},nodenet_proto={ours}"))
}

/// The beginning of a payload, quoted, with all control characters escaped.
pub(crate) fn preview(payload: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(PREVIEW_LEN)]);
    let more = if payload.len() > PREVIEW_LEN { "…" } else { "" };
    format!("{shown:?}{more}")
}

/// Rate limit: a burst, then a few per second; counts the rest.
#[derive(Debug)]
pub(crate) struct RateLimit {
    tokens: f64,
    at: Instant,
    suppressed: u64,
}

impl RateLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: SHOWN_BURST, at: now, suppressed: 0 }
    }

    /// Returns how many were suppressed since the last one, if one more may be shown.
    pub(crate) fn allow(&mut self, now: Instant) -> Option<u64> {
        let elapsed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.tokens = (self.tokens + elapsed.as_secs_f64() * SHOWN_PER_S).min(SHOWN_BURST);
        if self.tokens < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RateLimit, preview};

    #[test]
    fn a_preview_is_short_and_harmless() {
        assert_eq!(preview(b"hi"), "\"hi\"");
        assert_eq!(preview(b"a\x1b[2J\n\"\xff"), "\"a\\u{1b}[2J\\n\\\"\u{fffd}\"");
        let long = preview(&[b'x'; 65]);
        assert_eq!(long, format!("\"{}\"…", "x".repeat(64)));
        assert!(!preview(&[b'x'; 64]).contains('…'));
    }

    #[test]
    fn a_flood_is_cut_to_a_burst_and_a_trickle() {
        let start = tokio::time::Instant::now().into_std();
        let mut limit = RateLimit::new(start);
        let shown = (0..1_000).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(shown, 10);
        assert_eq!(limit.allow(start + Duration::from_millis(499)), None);
        assert_eq!(limit.allow(start + Duration::from_millis(500)), Some(991));
        assert_eq!(limit.allow(start + Duration::from_millis(501)), None);
        let later = start + Duration::from_secs(100);
        assert_eq!((0..100).filter(|_| limit.allow(later).is_some()).count(), 10);
    }
}
