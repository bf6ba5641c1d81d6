use super::*;
use crate::env::{Seed, test_base};

const SECOND: Duration = Duration::from_secs(1);

/// A schedule and its clock.
struct Bench {
    schedule: Schedule,
    now: Instant,
    rng: Random,
}

impl Bench {
    fn new(profile: Profile) -> Self {
        let now = test_base();
        Self { schedule: Schedule::new(now, profile), now, rng: Seed::from_u64(1).stream("test") }
    }

    fn pass(&mut self, span: Duration) {
        self.schedule.check();
        self.now += span;
    }

    fn bucket_due(&mut self, far: core::ops::Range<u16>) -> Option<u16> {
        self.schedule.bucket_due(self.now, far)
    }

    fn ask(&mut self, bucket: u16) {
        self.schedule.on_bucket_asked(self.now, &mut self.rng, bucket);
    }

    /// How long until a task is due, with these buckets for lookups.
    fn wait(&self, far: core::ops::Range<u16>) -> Duration {
        self.schedule.due(far, true).saturating_duration_since(self.now)
    }

    /// Tries as many as may be tried now, and returns how many.
    fn try_all(&mut self) -> usize {
        let tries = self.schedule.tries_now(self.now);
        self.schedule.on_tried(self.now, tries, tries);
        tries
    }

    fn next_probe(&mut self) -> Option<NodeId> {
        self.schedule.next_probe(self.now)
    }
}

fn id(first: u8) -> NodeId {
    NodeId::from_bytes([first; 32])
}

/// Whether a jittered period is about `ideal`.
fn is_about(wait: Duration, ideal: Duration) -> bool {
    ideal * 9 / 10 <= wait && wait <= ideal * 11 / 10
}

#[test]
fn the_bucket_that_is_overdue_longest_is_looked_into_first() {
    let mut bench = Bench::new(Profile::Router);
    for bucket in [2, 0, 1] {
        assert_eq!(bench.bucket_due(bucket..bucket + 1), Some(bucket));
        bench.ask(bucket);
        bench.pass(5 * SECOND);
    }
    assert_eq!(bench.bucket_due(0..3), None);
    bench.pass(60 * SECOND);
    for bucket in [2, 0, 1] {
        assert_eq!(bench.bucket_due(0..3), Some(bucket));
        bench.ask(bucket);
        bench.pass(SECOND);
    }
    assert_eq!(bench.bucket_due(0..3), None);
}

#[test]
fn lookups_into_buckets_are_half_a_second_apart() {
    let mut bench = Bench::new(Profile::Router);
    for bucket in 0..4 {
        assert_eq!(bench.bucket_due(0..4), Some(bucket));
        bench.ask(bucket);
        if bucket < 3 {
            assert_eq!(bench.wait(0..4), Duration::from_millis(500), "the others are due");
        }
        bench.pass(Duration::from_millis(499));
        assert_eq!(bench.bucket_due(0..4), None);
        bench.pass(Duration::from_millis(1));
    }
}

#[test]
fn a_bucket_without_news_is_looked_into_ever_more_rarely_down_to_once_an_hour() {
    let router = [20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600];
    for (profile, waits) in
        [(Profile::Router, &router[..]), (Profile::Light, &[20, 80, 320, 1280, 3600, 3600])]
    {
        let mut bench = Bench::new(profile);
        for ideal in waits {
            assert_eq!(bench.bucket_due(0..1), Some(0));
            bench.ask(0);
            let wait = bench.schedule.buckets[0].due - bench.now;
            assert!(is_about(wait, *ideal * SECOND), "{wait:?} {ideal}");
            bench.pass(wait);
        }
    }
}

#[test]
fn a_lookup_that_taught_something_is_repeated_and_a_lack_begins_the_periods_anew() {
    let mut bench = Bench::new(Profile::Router);
    for _ in 0..12 {
        assert_eq!(bench.bucket_due(0..1), Some(0));
        bench.ask(0);
        bench.pass(7200 * SECOND);
    }
    bench.ask(0);
    bench.schedule.on_bucket_taught(bench.now, 0);
    bench.pass(SECOND);
    assert_eq!(bench.bucket_due(0..1), Some(0));
    bench.ask(0);
    assert!(is_about(bench.schedule.buckets[0].due - bench.now, 3600 * SECOND), "once only");
    bench.schedule.on_bucket_lacks(bench.now, 0);
    bench.pass(20 * SECOND);
    assert_eq!(bench.bucket_due(0..1), Some(0));
    bench.ask(0);
    assert!(is_about(bench.schedule.buckets[0].due - bench.now, 20 * SECOND));
    // A bucket without a lookup so far has nothing to repeat.
    bench.schedule.on_bucket_taught(bench.now, 9);
    bench.schedule.on_bucket_lacks(bench.now, 9);
}

#[test]
fn faster_peers_are_tried_four_at_a_time_twelve_seconds_apart_and_eighty_in_all() {
    let mut bench = Bench::new(Profile::Router);
    for _ in 0..20 {
        assert_eq!(bench.try_all(), 4);
        assert_eq!(bench.try_all(), 0);
        bench.pass(11 * SECOND);
        assert_eq!(bench.try_all(), 0);
        bench.pass(SECOND);
    }
    assert_eq!(bench.try_all(), 0, "the budget is spent");
    // The grant began with the first round.
    bench.pass((300 - 20 * 12 - 1) * SECOND);
    assert_eq!(bench.try_all(), 0);
    bench.pass(SECOND);
    assert_eq!(bench.try_all(), 1, "one more every five minutes");
    bench.pass(300 * SECOND);
    assert_eq!(bench.try_all(), 1);
}

#[test]
fn a_month_without_tries_leaves_eighty_and_no_more() {
    let mut bench = Bench::new(Profile::Router);
    assert_eq!(bench.try_all(), 4);
    bench.pass(30 * 24 * 3600 * SECOND);
    let mut tried = 0;
    for _ in 0..24 {
        tried += bench.try_all();
        bench.pass(12 * SECOND);
    }
    assert_eq!(tried, 80);
}

#[test]
fn without_a_contact_to_try_the_next_try_is_in_five_minutes() {
    let mut bench = Bench::new(Profile::Router);
    assert_eq!(bench.schedule.tries_now(bench.now), 4);
    bench.schedule.on_tried(bench.now, 0, 0);
    assert_eq!(bench.schedule.tries_now(bench.now), 4, "none was allowed, so nothing was learned");
    bench.schedule.on_tried(bench.now, 4, 0);
    bench.pass(299 * SECOND);
    assert_eq!(bench.schedule.tries_now(bench.now), 0);
    bench.pass(SECOND);
    assert_eq!(bench.schedule.tries_now(bench.now), 4);
}

#[test]
fn what_is_learned_together_is_chosen_from_together() {
    let mut bench = Bench::new(Profile::Router);
    // No faster contact is tried meanwhile.
    bench.schedule.tries = 0;
    let ms = Duration::from_millis;
    let mut filled = |content, wake: fn(&mut Schedule, Instant)| {
        bench.now += 60 * SECOND;
        bench.schedule.on_filled(bench.now, &mut bench.rng, None, content);
        wake(&mut bench.schedule, bench.now + ms(10));
        bench.schedule.fill - bench.now
    };
    assert_eq!(
        [false, true].map(|content| filled(content, Schedule::wake_fill)),
        [ms(200), 2 * SECOND]
    );
    assert_eq!(filled(true, Schedule::expedite_fill), ms(200));
    assert_eq!(filled(false, Schedule::wake_fill_if_wanting), ms(200));
    assert!(is_about(filled(true, Schedule::wake_fill_if_wanting), 60 * SECOND));
}

#[test]
fn the_next_fill_waits_for_a_retry_or_a_try_but_not_for_long() {
    let mut bench = Bench::new(Profile::Router);
    let soon = bench.now + 7 * SECOND;
    bench.schedule.next_try = bench.now + 3 * SECOND;
    let mut filled = |retry, content| {
        bench.schedule.on_filled(bench.now, &mut bench.rng, retry, content);
        bench.schedule.fill - bench.now
    };
    assert_eq!(filled(Some(soon), false), 7 * SECOND);
    assert_eq!(filled(Some(soon), true), 3 * SECOND, "it may try a faster contact");
    assert!(is_about(filled(None, false), 60 * SECOND));
    assert!(is_about(filled(Some(soon + 3600 * SECOND), false), 60 * SECOND));
}

#[test]
fn what_is_due_first_is_what_the_timer_is_set_to() {
    let mut bench = Bench::new(Profile::Router);
    assert_eq!(bench.wait(0..0), 60 * SECOND);
    bench.schedule.fill += 3600 * SECOND;
    assert_eq!(bench.wait(0..0), 600 * SECOND);
    bench.schedule.on_seed_checked(bench.now, &mut bench.rng);
    assert!(is_about(bench.wait(0..0), 600 * SECOND));
    bench.schedule.seed_check += 3600 * SECOND;
    assert_eq!(bench.wait(0..0), 900 * SECOND);
    bench.schedule.vicinity.due += 3600 * SECOND;
    assert_eq!(bench.wait(0..0), 1800 * SECOND);
    bench.bucket_due(0..2);
    bench.ask(1);
    assert_eq!(bench.wait(2..9), 1800 * SECOND, "others are not looked into");
    assert!(is_about(bench.wait(1..2), 20 * SECOND));
    bench.schedule.doubt(id(1));
    assert_eq!(bench.wait(1..2), Duration::ZERO);
    assert_eq!(bench.next_probe(), Some(id(1)));
    assert!(is_about(bench.wait(1..2), 20 * SECOND), "no contact waits for a probe");
    bench.schedule.on_joined(bench.now);
    assert_eq!(bench.wait(0..0), Duration::ZERO);
}

#[test]
fn sixteen_incumbents_wait_for_a_probe_and_each_of_them_once() {
    let mut bench = Bench::new(Profile::Router);
    for incumbent in [1, 1, 2, 1].into_iter().chain(1..=20) {
        bench.schedule.doubt(id(incumbent));
        bench.schedule.check();
    }
    assert_eq!(bench.schedule.probes(), 16);
    for incumbent in 1..=16 {
        assert_eq!(bench.next_probe(), Some(id(incumbent)), "in the order of doubt");
        bench.pass(30 * SECOND);
    }
    assert_eq!(bench.next_probe(), None, "the others are forgotten");
}

#[test]
fn probes_are_half_a_minute_apart() {
    let mut bench = Bench::new(Profile::Router);
    assert_eq!(bench.next_probe(), None);
    bench.schedule.doubt(id(1));
    bench.schedule.doubt(id(2));
    assert_eq!(bench.next_probe(), Some(id(1)), "an empty look does not put it off");
    assert_eq!(bench.wait(0..0), 30 * SECOND);
    bench.pass(29 * SECOND);
    assert_eq!(bench.next_probe(), None);
    bench.pass(SECOND);
    assert_eq!(bench.next_probe(), Some(id(2)));
}

#[test]
fn the_fewer_edges_of_its_own_the_more_a_node_dials_at_once() {
    use Phase::{Bootstrap, Critical, NeedsFill, Normal, Urgent};
    let dials = [Bootstrap, Critical, Urgent, NeedsFill, Normal].map(dials_max);
    assert_eq!(dials, [16, 16, 16, 8, 4]);
}

#[test]
fn without_edges_no_question_is_due() {
    let mut bench = Bench::new(Profile::Router);
    bench.schedule.on_joined(bench.now);
    assert_eq!(bench.wait(0..0), Duration::ZERO, "everything is asked at once");
    let alone = bench.schedule.due(0..0, false);
    assert_eq!(alone, bench.schedule.fill);
    assert!(alone > bench.now);
}
