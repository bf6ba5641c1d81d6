//! Message exchange of the demo: each node sends one message to each other, and arrivals are
//! counted.
//!
//! Arrivals pace the senders: the number of messages under way is bounded, so that a slow machine
//! is not flooded and no edge runs out of routing budget. A lost message is not sent again; its
//! place is free after a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nodenet_tokio::proto::NodeId;
use nodenet_tokio::proto::api::DeliveryPath;
use nodenet_tokio::{Node, SendError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::now;

/// Messages under way at once, in the whole network (guess).
const UNDER_WAY_MAX: usize = 256;
/// Time after which a sender goes on without a place, because a message was lost (guess).
const PACE_BOUND: Duration = Duration::from_millis(250);
/// Pause before a message that was refused is offered again (guess).
const OFFER_INTERVAL: Duration = Duration::from_millis(20);
/// Offers of a message before it counts as lost (guess).
const OFFERS_MAX: usize = 250;
/// Time without an arrival after the last message left, after which the exchange ends (guess).
const SILENCE_BOUND: Duration = Duration::from_secs(5);
/// Time to wait for copies after all messages have arrived (guess).
const DUPLICATE_BOUND: Duration = Duration::from_millis(300);
/// Length of a message: sender, target, and the time at which it left, in microseconds since the
/// start.
const MESSAGE_LEN: usize = 12;

/// Result of an exchange.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Number of arrivals of each message, by sender and target.
    arrivals: Vec<u32>,
    /// Edges crossed by each first copy.
    pub(crate) hops: Vec<u8>,
    /// Time each first copy took.
    pub(crate) latencies: Vec<Duration>,
    /// Messages that arrived and were never sent.
    pub(crate) foreign: usize,
    /// The last reason for which a message did not leave, if there is one.
    pub(crate) send_error: Option<SendError>,
    nodes: usize,
}

impl Outcome {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            arrivals: vec![0; nodes * nodes],
            hops: Vec::new(),
            latencies: Vec::new(),
            foreign: 0,
            send_error: None,
            nodes,
        }
    }

    /// Messages that were to arrive.
    pub(crate) fn expected(&self) -> usize {
        self.nodes * (self.nodes - 1)
    }

    /// Messages that arrived at least once.
    pub(crate) fn delivered(&self) -> usize {
        self.arrivals.iter().filter(|count| **count > 0).count()
    }

    /// Copies beyond the first that an application saw.
    pub(crate) fn duplicates(&self) -> usize {
        self.arrivals.iter().map(|count| count.saturating_sub(1) as usize).sum()
    }

    /// Sender and target of the messages that did not arrive, by number.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to && self.arrivals[from * self.nodes + to] == 0)
    }

    /// Takes one arrival. True if it is the first of its message.
    fn take(&mut self, arrival: &Arrival) -> bool {
        let Arrival { from, to, hops, latency } = *arrival;
        if from >= self.nodes || to >= self.nodes || from == to {
            self.foreign += 1;
            return false;
        }
        let count = &mut self.arrivals[from * self.nodes + to];
        *count += 1;
        let first = *count == 1;
        if first {
            self.hops.push(hops);
            self.latencies.push(latency);
        }
        first
    }
}

struct Arrival {
    from: usize,
    to: usize,
    hops: u8,
    latency: Duration,
}

/// An exchange that is about to start.
pub(crate) struct Exchange<'a> {
    nodes: &'a [Node],
    started: Instant,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(nodes: &'a [Node]) -> Self {
        Self { nodes, started: now() }
    }

    /// Runs it to its end; `step` is called for every message that arrives for the first time.
    pub(crate) async fn run(self, mut step: impl FnMut()) -> Outcome {
        let ids: Arc<[NodeId]> = self.nodes.iter().map(Node::id).collect();
        let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let (report, mut arrivals) = mpsc::channel(UNDER_WAY_MAX);
        // Dropped at the end, and every task with them.
        let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
        for (index, node) in self.nodes.iter().enumerate() {
            let receiver =
                receive_all(node.clone(), index, ids.clone(), self.started, report.clone());
            receivers.spawn(receiver);
            senders.spawn(send_all(node.clone(), index, ids.clone(), places.clone(), self.started));
        }

        let mut outcome = Outcome::new(self.nodes.len());
        let mut remaining = outcome.expected();
        loop {
            let all_left = senders.is_empty();
            let patience = if remaining == 0 { DUPLICATE_BOUND } else { SILENCE_BOUND };
            tokio::select! {
                Some(arrival) = arrivals.recv() => {
                    if outcome.take(&arrival) {
                        remaining -= 1;
                        places.add_permits(1);
                        step();
                    }
                }
                Some(ended) = senders.join_next() => {
                    outcome.send_error = outcome.send_error.or(ended.ok().flatten());
                }
                () = sleep(patience), if all_left => return outcome,
            }
        }
    }
}

/// Sends one message from this node to every other, beginning with its successor, so that not all
/// begin with the same. Returns the last reason for which one did not leave.
async fn send_all(
    node: Node,
    index: usize,
    ids: Arc<[NodeId]>,
    places: Arc<Semaphore>,
    started: Instant,
) -> Option<SendError> {
    let mut last_error = None;
    for to in (1..ids.len()).map(|step| (index + step) % ids.len()) {
        if let Ok(Ok(place)) = timeout(PACE_BOUND, places.acquire()).await {
            // The arrival of the message gives the place back.
            place.forget();
        }
        let mut offers = 0;
        // A message that was refused was not sent, so each message is sent at most once.
        while let Err(error) = node.send(ids[to], message(index, to, started)).await {
            offers += 1;
            if offers == OFFERS_MAX || error == SendError::Closed {
                last_error = Some(error);
                break;
            }
            sleep(OFFER_INTERVAL).await;
        }
    }
    last_error
}

async fn receive_all(
    node: Node,
    index: usize,
    ids: Arc<[NodeId]>,
    started: Instant,
    report: mpsc::Sender<Arrival>,
) {
    let deliveries = node.deliveries();
    while let Some(delivery) = deliveries.recv().await {
        let hops = match delivery.path {
            DeliveryPath::Direct => 1,
            DeliveryPath::Routed { hops } => hops,
        };
        let stated = read_message(&delivery.payload)
            .filter(|(from, to, _)| *to == index && ids.get(*from) == Some(&delivery.originator));
        let arrival = match stated {
            Some((from, to, sent_at)) => {
                let latency = (now() - started).saturating_sub(sent_at);
                Arrival { from, to, hops, latency }
            }
            // No node sends to itself, so this counts as foreign.
            None => Arrival { from: index, to: index, hops, latency: Duration::ZERO },
        };
        if report.send(arrival).await.is_err() {
            return;
        }
    }
}

fn message(from: usize, to: usize, started: Instant) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MESSAGE_LEN);
    bytes.extend((from as u16).to_be_bytes());
    bytes.extend((to as u16).to_be_bytes());
    bytes.extend(((now() - started).as_micros() as u64).to_be_bytes());
    bytes
}

fn read_message(bytes: &[u8]) -> Option<(usize, usize, Duration)> {
    let bytes: &[u8; MESSAGE_LEN] = bytes.try_into().ok()?;
    let [a, b, c, d, micros @ ..] = *bytes;
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some((from.into(), to.into(), Duration::from_micros(u64::from_be_bytes(micros))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrival, Outcome, message, read_message};
    use crate::clock::now;

    fn arrival(from: usize, to: usize) -> Arrival {
        Arrival { from, to, hops: 2, latency: Duration::from_millis(3) }
    }

    #[test]
    fn first_copies_duplicates_and_foreign_messages_are_counted_apart() {
        let mut outcome = Outcome::new(3);
        assert_eq!((outcome.expected(), outcome.missing().count()), (6, 6));
        assert!(outcome.take(&arrival(0, 1)));
        assert!(!outcome.take(&arrival(0, 1)));
        assert!(outcome.take(&arrival(2, 1)));
        assert!(!outcome.take(&arrival(1, 1)));
        assert!(!outcome.take(&arrival(0, 3)));
        assert_eq!((outcome.delivered(), outcome.duplicates(), outcome.foreign), (2, 1, 2));
        assert_eq!(outcome.hops, [2, 2]);
        assert_eq!(outcome.missing().collect::<Vec<_>>(), [(0, 2), (1, 0), (1, 2), (2, 0)]);
    }

    #[test]
    fn a_message_has_sender_target_and_time() {
        let started = now();
        let (from, to, at) = read_message(&message(3, 999, started)).unwrap();
        assert_eq!((from, to), (3, 999));
        assert!(at <= now() - started);
        assert_eq!(read_message(b"something else"), None);
    }
}
