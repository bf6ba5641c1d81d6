//! Outlet of the driver: carries out the outputs of the node on sockets and channels.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nodenet_proto::api::{Event, RequestId, SendFailure};
use nodenet_proto::drive::Outlet;
use nodenet_proto::io::{SocketId, Transmit};
use nodenet_proto::stats::{DropReason, Stats};

use super::dropped::DroppedDeliveries;
use super::pending::Pending;
use crate::channels::Outlets;
use crate::events::{Delivery, NodeEvent};
use crate::platform::{Platform, Socket, SocketStats};

/// A send that did not fit, from `done` on.
pub(super) struct Blocked {
    pub(super) transmit: Transmit,
    pub(super) bytes: Vec<u8>,
    pub(super) done: usize,
}

/// Sockets and channels of one node.
pub(super) struct DriverOutlet {
    pub(super) platform: Arc<dyn Platform>,
    pub(super) sockets: BTreeMap<SocketId, Box<dyn Socket>>,
    pub(super) blocked: Option<Blocked>,
    pub(super) socket_stats: SocketStats,
    pub(super) pending: Pending,
    pub(super) outlets: Outlets,
    /// Deliveries that found the queue of the application full.
    pub(super) dropped: DroppedDeliveries,
    /// Drops here, which the node does not count.
    pub(super) stats: Stats,
    /// Sockets that a drain asked for, with their address if they could be bound.
    pub(super) opened: Vec<(SocketId, Option<SocketAddr>)>,
    pub(super) left: bool,
}

impl DriverOutlet {
    pub(super) fn new(
        platform: Arc<dyn Platform>,
        socket: Box<dyn Socket>,
        outlets: Outlets,
    ) -> Self {
        Self {
            platform,
            sockets: BTreeMap::from([(SocketId::MAIN, socket)]),
            blocked: None,
            socket_stats: SocketStats::default(),
            pending: Pending::default(),
            outlets,
            dropped: DroppedDeliveries::default(),
            stats: Stats::default(),
            opened: Vec::new(),
            left: false,
        }
    }

    /// Sends the rest of a blocked send. False if there is still no room.
    pub(super) fn resume(&mut self) -> bool {
        let Some(mut blocked) = self.blocked.take() else { return true };
        let Some(socket) = self.sockets.get(&blocked.transmit.socket) else { return true };
        let Blocked { transmit, bytes, done } = &mut blocked;
        let sent = socket.try_send(transmit, bytes, done, &mut self.socket_stats);
        if !sent {
            self.blocked = Some(blocked);
        }
        sent
    }

    /// Reports the number of dropped messages to the application, if there is one.
    pub(super) fn report_dropped(&self, count: Option<u64>) {
        if let Some(count) = count {
            self.publish(NodeEvent::DeliveriesDropped(count));
        }
    }

    /// Hands an event to all subscribers; there may be none.
    fn publish(&self, event: NodeEvent) {
        let _ = self.outlets.events.send(event);
    }

    /// Hands a message to the application if its queue has room. A message from this node itself
    /// settles the request that sent it, in either case.
    fn deliver(&mut self, delivery: Delivery, request: Option<RequestId>) {
        let has_room = self.outlets.deliveries.try_send(delivery).is_ok();
        if !has_room {
            self.stats.count_drop(DropReason::DeliveryQueueFull);
            self.dropped.note();
        }
        if let Some(request) = request {
            self.pending.settle(match has_room {
                true => Event::Sent { request, copies: 0 },
                false => Event::SendFailed { request, error: SendFailure::Backpressure },
            });
        }
    }

    pub(super) fn segments_max(&self) -> usize {
        self.sockets[&SocketId::MAIN].segments_max()
    }
}

impl Outlet for DriverOutlet {
    fn transmit(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let Some(socket) = self.sockets.get(&transmit.socket) else {
            self.socket_stats.send_errors += 1;
            return true;
        };
        let mut done = 0;
        let sent = socket.try_send(transmit, bytes, &mut done, &mut self.socket_stats);
        if !sent {
            self.blocked = Some(Blocked { transmit: *transmit, bytes: bytes.to_vec(), done });
        }
        sent
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Delivered { originator, payload, path, sealed, request } => {
                self.deliver(Delivery { originator, payload, path, sealed }, request);
            }
            Event::SendReady => {
                self.outlets.send_ready.send_replace(());
            }
            settling if settling.request().is_some() => self.left |= self.pending.settle(settling),
            other => self.publish(NodeEvent::Protocol(other)),
        }
    }

    fn open_socket(&mut self, id: SocketId, local_ip: IpAddr) {
        let opened = self.platform.bind(SocketAddr::new(local_ip, 0));
        if let Err(error) = &opened {
            tracing::debug!(%error, %local_ip, "can not open another socket");
        }
        self.opened.push((id, opened.as_ref().ok().map(|socket| socket.local_addr())));
        if let Ok(socket) = opened {
            self.sockets.insert(id, socket);
        }
    }

    fn close_socket(&mut self, id: SocketId) {
        self.sockets.remove(&id);
    }
}
