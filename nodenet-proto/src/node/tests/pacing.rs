//! Pacing of whole nodes: a node sends no faster than its neighbour takes, so messages that were
//! taken arrive.

use std::time::Duration;

use crate::NodeId;
use crate::api::{Event, RequestId, SendFailure};
use crate::stats::DropReason;
use crate::testkit::{Host, Net, NodeHost};

const SECOND: Duration = Duration::from_secs(1);

/// Offers numbered messages as fast as a node takes them.
struct Flood {
    target: NodeId,
    /// The message that is offered now.
    next: u32,
    waits: bool,
}

impl Flood {
    /// Offers until one is refused.
    fn offer(&mut self, net: &mut Net, from: &mut NodeHost) {
        while !self.waits {
            let request = from.send_direct(net, self.target, &self.next.to_be_bytes());
            net.settle(&mut [from]);
            self.observe(from, request);
        }
    }

    fn observe(&mut self, from: &mut NodeHost, request: RequestId) {
        for event in from.events.drain(..) {
            match event {
                Event::Sent { request: settled, copies: 1 } if settled == request => self.next += 1,
                Event::SendFailed { error: SendFailure::Backpressure, .. } => self.waits = true,
                Event::SendReady => self.waits = false,
                other => panic!("nothing else happens: {other:?}"),
            }
        }
    }
}

/// Floods one edge for `minutes`, with a stall of the path of one second and one of four in every
/// minute. Returns how many messages were taken and asserts that each arrived, once, in order.
fn flood(minutes: u32, latency: Duration) -> u32 {
    let mut net = Net::new(40);
    net.link.latency = latency;
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 5 * SECOND);
    b.events.clear();
    let mut flood = Flood { target: a.id, next: 0, waits: false };
    let mut arrived = 0_u32;
    for second in 0..minutes * 60 {
        match second % 60 {
            20 => net.stalled_until = Some(net.now + SECOND),
            40 => net.stalled_until = Some(net.now + 4 * SECOND),
            _ => {}
        }
        let until = net.now + SECOND;
        loop {
            flood.offer(&mut net, &mut b);
            let goes_on = net.step(&mut [&mut a as &mut dyn Host, &mut b], until);
            flood.observe(&mut b, RequestId(0));
            if !goes_on {
                break;
            }
        }
        for (_, payload) in a.take_delivered() {
            assert_eq!(payload, arrived.to_be_bytes()[..]);
            arrived += 1;
        }
    }
    net.run(&mut [&mut a, &mut b], SECOND);
    arrived += a.take_delivered().len() as u32;
    assert_eq!(arrived, flood.next, "what was taken arrives");
    let stats = a.node.stats();
    assert_eq!(stats.drops(DropReason::ForwardRateLimited), 0);
    assert_eq!(stats.drops(DropReason::DeliveryQueueFull), 0);
    flood.next
}

#[test]
fn what_a_neighbour_takes_at_full_rate_arrives_through_stalls_of_the_path() {
    let taken = flood(10, Duration::from_millis(10));
    // 480 a second but for the five seconds of each minute in which 32 are under way.
    assert!((480 * 54 * 10..480 * 56 * 10).contains(&taken), "{taken}");
}

#[test]
fn a_long_path_is_limited_by_what_is_not_acknowledged() {
    let taken = flood(1, Duration::from_millis(100));
    // 32 in each round trip of 200 ms.
    assert!((7_500..=9_600).contains(&taken), "{taken}");
}
