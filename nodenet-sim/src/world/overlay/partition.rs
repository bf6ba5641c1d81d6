//! Network partition: frames that are held back, and their order once the partition heals.
//!
//! Responsible for: that no frame, close or reset passes between the sides, and that frames of a
//! conn keep their order. Never: assigns hosts to sides; see [`super::OverlayWorld::partition`].

use std::collections::BTreeSet;
use std::time::Duration;

use nodenet_proto::transport::ConnDownReason;

use super::conns::EndRef;
use super::net::{Net, Scheduled};
use crate::hash;
use crate::world::Host;

impl Net {
    pub(crate) fn apart(&self, a: Host, b: Host) -> bool {
        self.partitioned && self.host_state(a).side != self.host_state(b).side
    }

    /// Splits the network: no packet passes between hosts of different sides.
    pub(crate) fn partition(&mut self) {
        self.partitioned = true;
    }

    /// Heals the partition. Frames that were held back are sent when the sender's probe timer (RFC
    /// 9002 §6.2) fires, after its backoff.
    pub(crate) fn heal(&mut self) {
        self.partitioned = false;
        let held = core::mem::take(&mut self.held);
        let behind = self.behind(&held);
        for packet in held {
            let Some(from) = self.sender(packet) else {
                self.packets.remove(packet as usize);
                continue;
            };
            let conn = self.conns.conn(from);
            let fate = hash::fate(self.config.salt, conn.link, u64::from(packet));
            let backoff = hash::below(fate, 8_000_000_000);
            let at = self.now + Duration::from_nanos(backoff + conn.delay_nanos);
            self.schedule_arrival(from, packet, at);
        }
        // Their arrivals in the queue would come before the frames that were held back.
        for (from, _, packet) in behind {
            let moved = self.packets[packet as usize].take();
            let packet = self.packets.insert(moved) as u32;
            self.schedule_arrival(from, packet, self.now);
        }
    }

    /// Packets in flight from ends of which another packet is held back, in the order of sending.
    fn behind(&self, held: &[u32]) -> Vec<(EndRef, u32, u32)> {
        let waiting: BTreeSet<u32> = held.iter().copied().collect();
        let ends: BTreeSet<EndRef> =
            held.iter().filter_map(|&packet| self.sender(packet)).collect();
        let under_way = self.packets.iter().filter_map(|(key, packet)| {
            let (key, number) = (key as u32, packet.as_ref()?.number);
            let from = self.sender(key).filter(|from| ends.contains(from))?;
            (!waiting.contains(&key)).then_some((from, number, key))
        });
        let mut behind: Vec<_> = under_way.collect();
        behind.sort_unstable();
        behind
    }

    /// The end that sent a packet, if its conn is not over.
    pub(super) fn sender(&self, packet: u32) -> Option<EndRef> {
        let packet = self.packets[packet as usize].as_ref()?;
        self.conns.is_current(packet.from, packet.generation).then_some(packet.from)
    }

    /// Whether the two ends of a conn, or one and the volunteer between them, cannot reach each
    /// other.
    pub(super) fn crosses_partition(&self, end: EndRef) -> bool {
        let [host, peer] = [end, end.peer()].map(|end| self.conns.end(end).host);
        let splice = self.conns.conn(end).splice;
        let volunteer = splice.and_then(|splice| self.splices.volunteer(splice));
        self.apart(host, peer) || volunteer.is_some_and(|volunteer| self.apart(host, volunteer))
    }

    /// Whether the close or reset of the peer reaches `end` now. It is lost in a partition, and a
    /// close stays behind the frames that were sent before it.
    pub(crate) fn gone_arrives(&mut self, end: EndRef, reason: ConnDownReason) -> bool {
        if !matches!(reason, ConnDownReason::ClosedByPeer | ConnDownReason::Reset) {
            return true;
        }
        if self.crosses_partition(end) {
            // The next frame to a host without the conn causes another reset (RFC 9000 §10.3).
            self.conns.end_mut(end.peer()).reset_sent = false;
            return false;
        }
        let last_frame = self.conns.end(end.peer()).last_arrival;
        if reason == ConnDownReason::ClosedByPeer && last_frame > self.now {
            let generation = self.conns.generation(end);
            self.queue.push(last_frame, Scheduled::Gone { end, generation, reason });
            return false;
        }
        true
    }
}
