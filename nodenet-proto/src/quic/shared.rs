//! What all conns share: QUIC's endpoint, admission, storage, counters, and the queues that say
//! which conn has something to do.

use std::collections::{BTreeMap, VecDeque};

use quinn_proto::Endpoint;

use super::edge::send::Pool;
use super::endpoint::admission::Admission;
use crate::stats::{DropReason, Stats};
use crate::transport::{ConnId, DialId, Event};

/// What all conns share.
pub(super) struct Shared {
    /// QUIC's side of what all conns share.
    pub(super) endpoint: Endpoint,
    /// Caps on what others open.
    pub(super) admission: Admission,
    /// What the engine is to be told, in order. Frames of one turn, and a few events for each conn.
    pub(super) events: VecDeque<Event>,
    /// Conns that may have something to send, each once.
    pub(super) dirty: VecDeque<ConnId>,
    /// Conns that may have something to read, each once.
    pub(super) readable: VecDeque<ConnId>,
    /// Storage for frames.
    pub(super) pool: Pool,
    /// Counters.
    pub(super) stats: Stats,
    /// Which conn QUIC means by a handle; it uses handles again.
    pub(super) by_handle: Vec<Option<ConnId>>,
    /// Dials that are not settled.
    pub(super) dials: BTreeMap<DialId, ConnId>,
}

impl Shared {
    /// For an endpoint without conns.
    pub(super) fn new(endpoint: Endpoint, admission: Admission) -> Self {
        Self {
            endpoint,
            admission,
            events: VecDeque::new(),
            dirty: VecDeque::new(),
            readable: VecDeque::new(),
            pool: Pool::default(),
            stats: Stats::default(),
            by_handle: Vec::new(),
            dials: BTreeMap::new(),
        }
    }

    /// Takes back frames of a conn that were read and not yet reported.
    pub(super) fn discard_frames(&mut self, id: ConnId) {
        let before = self.events.len();
        self.events.retain(|event| !matches!(event, Event::Frame { conn, .. } if *conn == id));
        self.stats.count_drops(DropReason::ConnClosed, (before - self.events.len()) as u64);
    }

    /// Remembers which conn a handle means.
    pub(super) fn bind_handle(&mut self, handle: usize, id: ConnId) {
        if self.by_handle.len() <= handle {
            self.by_handle.resize(handle + 1, None);
        }
        self.by_handle[handle] = Some(id);
    }
}
