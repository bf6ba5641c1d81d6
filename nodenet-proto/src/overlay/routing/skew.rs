//! Detection of a wrong clock of this node from the time stamps of messages
//! (PROTOCOL.md#clock-skew).
//!
//! A node whose clock is off by more than the freshness window is cut off without an error. All
//! that it receives is stale, and all that it sends is dropped. The detector reports once that most
//! recent messages are stale by about the same amount. Never: corrects a clock. Time stamps in
//! transit are not verified, so its report is a suspicion.

use heapless::{Deque, Vec as FixedVec};

use crate::NodeId;
use crate::env::UnixNanos;

/// Recent messages that count (a guess: enough that one odd originator does not decide).
const SAMPLES: usize = 16;
/// Of these, stale by about the same amount.
const AGREEING: usize = 12;
/// How far offsets that agree may lie apart, in seconds (a guess: honest clocks and queueing).
const SPREAD_S: i64 = 10;

#[derive(Debug, Clone, Copy)]
struct Sample {
    from: NodeId,
    offset_s: Option<i64>,
}

/// The freshness of recent messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClockSkewDetector {
    recent: Deque<Sample, SAMPLES>,
    reported: bool,
}

impl ClockSkewDetector {
    /// Notes a message that arrived over the edge from `from`. Returns once by how many seconds the
    /// clocks of others are ahead, if most recent messages agree on it. With two edges or more, no
    /// single one decides.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        wall: UnixNanos,
        from: NodeId,
        sent: UnixNanos,
        fresh: bool,
        edges: usize,
    ) -> Option<i64> {
        if self.reported {
            return None;
        }
        let offset_s = (!fresh).then(|| {
            let ahead = i128::from(sent.0) - i128::from(wall.0);
            (ahead + 500_000_000).div_euclid(1_000_000_000) as i64
        });
        if self.recent.is_full() {
            self.recent.pop_front();
        }
        let _ = self.recent.push_back(Sample { from, offset_s });
        if fresh {
            return None;
        }
        let stale: FixedVec<Sample, SAMPLES> =
            self.recent.iter().copied().filter(|sample| sample.offset_s.is_some()).collect();
        let median = median(&stale)?;
        let near = |sample: &&Sample| {
            sample.offset_s.is_some_and(|offset| offset.abs_diff(median) <= SPREAD_S as u64)
        };
        let agreeing: FixedVec<&Sample, SAMPLES> = stale.iter().filter(near).collect();
        let one_witness = agreeing.iter().all(|sample| sample.from == from);
        if agreeing.len() < AGREEING || (one_witness && edges > 1) {
            return None;
        }
        self.reported = true;
        Some(median)
    }
}

fn median(samples: &[Sample]) -> Option<i64> {
    let mut offsets: FixedVec<i64, SAMPLES> = samples.iter().filter_map(|s| s.offset_s).collect();
    offsets.sort_unstable();
    offsets.get(offsets.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{AGREEING, ClockSkewDetector};
    use crate::NodeId;
    use crate::env::UnixNanos;

    const S: i64 = 1_000_000_000;

    fn feed(skew: &mut ClockSkewDetector, count: usize, offset_s: i64, witnesses: u8) -> Vec<i64> {
        let wall = UnixNanos(1_700_000_000 * S);
        let sent = UnixNanos(wall.0 + offset_s * S);
        let fresh = offset_s.abs() <= 30;
        (0..count)
            .filter_map(|i| {
                let from = NodeId::from_bytes([i as u8 % witnesses; 32]);
                skew.observe(wall, from, sent, fresh, witnesses.into())
            })
            .collect()
    }

    #[test]
    fn a_skew_is_reported_once_when_most_messages_agree() {
        let mut skew = ClockSkewDetector::default();
        assert_eq!(feed(&mut skew, 100, 3600, 2), [3600]);
        assert_eq!(feed(&mut skew, 100, 3600, 2), []);
    }

    #[test]
    fn the_sign_of_a_skew_shows_which_clock_is_behind() {
        assert_eq!(feed(&mut ClockSkewDetector::default(), 100, -45, 2), [-45]);
    }

    #[test]
    fn fresh_messages_lead_to_no_report() {
        let mut skew = ClockSkewDetector::default();
        for _ in 0..50 {
            assert_eq!(feed(&mut skew, 2, 60, 2), []);
            assert_eq!(feed(&mut skew, 2, 0, 2), []);
        }
    }

    #[test]
    fn offsets_that_do_not_agree_lead_to_no_report() {
        let mut skew = ClockSkewDetector::default();
        for age in 1..50 {
            assert_eq!(feed(&mut skew, 1, -100 * age, 1), []);
        }
    }

    #[test]
    fn one_neighbour_of_several_does_not_decide() {
        let wall = UnixNanos(0);
        let mut skew = ClockSkewDetector::default();
        let liar = NodeId::from_bytes([9; 32]);
        for _ in 0..100 {
            assert_eq!(skew.observe(wall, liar, UnixNanos(99 * S), false, 2), None);
        }
        let mut alone = ClockSkewDetector::default();
        let heard =
            (0..AGREEING).find_map(|_| alone.observe(wall, liar, UnixNanos(99 * S), false, 1));
        assert_eq!(heard, Some(99));
    }

    #[test]
    fn time_stamps_at_the_ends_of_the_range_do_no_harm() {
        let mut skew = ClockSkewDetector::default();
        for sent in [i64::MIN, i64::MAX] {
            let from = NodeId::from_bytes([1; 32]);
            assert_eq!(skew.observe(UnixNanos(0), from, UnixNanos(sent), false, 1), None);
        }
    }
}
