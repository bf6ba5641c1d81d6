//! Measurements of the real machine: time, heap, resident set. None of it enters a simulation.

use std::time::{Duration, Instant};

/// The current time, to measure the speed of a simulation.
pub(crate) fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the speed of a run is measured in real time; the run itself never reads it"
    )]
    Instant::now()
}

/// Bytes of heap in use.
pub(crate) fn heap_in_use() -> u64 {
    crate::HEAP.allocated() as u64
}

/// The largest resident set of this process so far, in bytes, if the system reports it.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
}

/// CPU time of this process so far, in user mode and in the kernel, if the system reports it. Linux
/// counts in hundredths of a second (`USER_HZ`, the same for every process).
pub(crate) fn cpu_time() -> Option<(Duration, Duration)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let mut ticks = |skip| Some(Duration::from_millis(10 * fields.nth(skip)?.parse::<u64>().ok()?));
    Some((ticks(11)?, ticks(0)?))
}
