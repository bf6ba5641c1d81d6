//! Changes of the network under a driver, and sleep of the machine.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::platform::{NetworkMonitor, Platform};

/// From the first report of a change to the reading of the addresses. A change comes as several
/// reports, and what is read between them may be neither the old state nor the new one (guess: a
/// new address and its route come within milliseconds).
const SETTLE: Duration = Duration::from_millis(100);
/// Between two changes that the node follows, at least (guess: a change of address takes a second
/// where the system checks the new one first).
const APART: Duration = Duration::from_millis(500);
/// The same after [`SEVERAL`] changes in a row: the node sends a packet on every edge for each
/// (guess).
const APART_SEVERAL: Duration = Duration::from_secs(5);
/// Changes that are followed quickly (guess: carrier, address, route and the check of the address).
const SEVERAL: usize = 4;
/// A machine that slept for less than this lost nothing by it (guess: QUIC retransmits for longer).
const SLEEP_MIN: Duration = Duration::from_secs(2);

/// What a driver knows of the network under it.
pub(super) struct Network {
    monitor: Option<Box<dyn NetworkMonitor>>,
    slept: Duration,
    /// When a change that was reported is followed.
    due: Option<Instant>,
    /// When the last changes were followed, the last one at the end.
    followed: VecDeque<Instant>,
}

impl Network {
    /// Watches the network of this platform.
    pub(super) fn new(platform: &dyn Platform) -> Self {
        Self {
            monitor: platform.network_monitor(),
            slept: platform.slept(),
            due: None,
            followed: VecDeque::with_capacity(SEVERAL),
        }
    }

    /// Waits for a change; for ever where the platform reports none.
    pub(super) async fn changed(&mut self) {
        poll_fn(|cx| match &mut self.monitor {
            Some(monitor) => monitor.poll_changed(cx),
            None => Poll::Pending,
        })
        .await;
    }

    /// A change was reported.
    pub(super) fn on_change(&mut self, now: Instant) {
        let is_several = self.followed.len() == SEVERAL
            && self.followed.front().is_some_and(|at| *at + APART_SEVERAL * SEVERAL as u32 > now);
        let apart = if is_several { APART_SEVERAL } else { APART };
        let earliest = self.followed.back().map_or(now, |at| *at + apart);
        self.due.get_or_insert((now + SETTLE).max(earliest));
    }

    /// When a change is to be followed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a change is to be followed now.
    pub(super) fn take_due(&mut self, now: Instant, platform: &dyn Platform) -> bool {
        let slept = platform.slept();
        let has_slept = slept.saturating_sub(self.slept) >= SLEEP_MIN;
        self.slept = slept;
        let is_due = has_slept || self.due.is_some_and(|at| at <= now);
        if is_due {
            self.due = None;
            if self.followed.len() == SEVERAL {
                self.followed.pop_front();
            }
            self.followed.push_back(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::testing::Hub;

    #[test]
    fn changes_in_a_row_are_followed_once_and_the_next_one_later() {
        let hub = Hub::new(1);
        let (mut network, now) = (Network::new(&hub), clock::now());
        assert!(!network.take_due(now, &hub));
        network.on_change(now);
        network.on_change(now + SETTLE / 2);
        assert!(!network.take_due(now + SETTLE / 2, &hub));
        assert!(network.take_due(now + SETTLE, &hub));
        assert!(!network.take_due(now + SETTLE, &hub), "once");
        network.on_change(now + SETTLE);
        assert_eq!(network.due(), Some(now + SETTLE + APART));
    }

    #[test]
    fn an_interface_that_comes_and_goes_is_followed_every_five_seconds() {
        let hub = Hub::new(1);
        let (mut network, began) = (Network::new(&hub), clock::now());
        let (mut now, mut times) = (began, Vec::new());
        while times.len() < 7 {
            network.on_change(now);
            now = network.due().expect("a change was reported");
            assert!(network.take_due(now, &hub));
            times.push((now - began).as_millis());
        }
        assert_eq!(times, [100, 600, 1_100, 1_600, 6_600, 11_600, 16_600]);
        network.on_change(now + Duration::from_secs(60));
        assert_eq!(network.due(), Some(now + Duration::from_secs(60) + SETTLE));
    }
}
