//! Everything outside the node, as far as it carries out what the node wants done.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nodenet_proto::api::Event;
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

/// Everything that carries out what the node wants done.
pub(super) struct DriverOutlet {
    pub(super) platform: Arc<dyn Platform>,
    pub(super) sockets: BTreeMap<SocketId, Box<dyn Socket>>,
    pub(super) blocked: Option<Blocked>,
    pub(super) socket_stats: SocketStats,
    pub(super) pending: Pending,
    pub(super) outlets: Outlets,
    /// Messages for which the application had no room.
    pub(super) lost: DroppedDeliveries,
    /// What was dropped here rather than in the node.
    pub(super) stats: Stats,
    /// Sockets that were asked for during a drain, with what became of them.
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
            lost: DroppedDeliveries::default(),
            stats: Stats::default(),
            opened: Vec::new(),
            left: false,
        }
    }

    /// Sends what did not fit before. False if it still does not.
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

    /// Tells the application that so many messages were lost, if any were.
    pub(super) fn tell_lost(&self, count: Option<u64>) {
        if let Some(count) = count {
            // Nobody has to listen.
            let _ = self.outlets.events.send(NodeEvent::DeliveriesDropped(count));
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
        let told = match event {
            Event::Delivered { originator, payload, path, request } => {
                let delivery = Delivery { originator, payload, path };
                let sent = self.outlets.deliveries.try_send(delivery);
                if sent.is_err() {
                    self.stats.count_drop(DropReason::DeliveryQueueFull);
                    self.lost.note();
                }
                if let Some(request) = request {
                    self.pending.settle_own(request, sent.is_ok());
                }
                return;
            }
            Event::EdgeUp { peer, outgoing, remote } => {
                NodeEvent::EdgeUp { peer, outgoing, remote }
            }
            Event::EdgeDown { peer, reason } => NodeEvent::EdgeDown { peer, reason },
            Event::BootstrapFailed { peer, error } => {
                NodeEvent::BootstrapFailed { peer, error: error.into() }
            }
            Event::ClockSkewSuspected { offset_s } => NodeEvent::ClockSkewSuspected { offset_s },
            Event::SendReady => {
                self.outlets.send_ready.send_replace(());
                return;
            }
            settling => {
                self.left |= self.pending.settle(settling);
                return;
            }
        };
        // Nobody has to listen.
        let _ = self.outlets.events.send(told);
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
