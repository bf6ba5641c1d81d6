//! Endpoint: what all conns of one node share below the boundary.
//!
//! Responsible for: QUIC's endpoint, admission of handshakes, certificates, the settings of QUIC,
//! storage for frames, events for the engine. Never: the life of one conn.

pub(crate) mod admission;
pub(crate) mod config;
pub(crate) mod congestion;
pub(crate) mod profile;
pub(crate) mod ready;
pub mod tls;

use std::collections::{BTreeMap, VecDeque};

use quinn_proto::ConnectionHandle;

use super::edge::send::Pool;
use crate::stats::{DropReason, Stats};
use crate::transport::{ConnId, DialId, Event};
use admission::Admission;
use congestion::{AckAllowance, Acknowledged, Hooks};

/// What all conns share. A conn borrows it for each call.
pub(crate) struct Endpoint {
    /// QUIC's side of it.
    pub(crate) quic: quinn_proto::Endpoint,
    /// Caps on conns that peers open.
    pub(crate) admission: Admission,
    /// Room beyond a full window for the next packet that is built.
    pub(crate) allowance: AckAllowance,
    /// When packets left that are acknowledged now.
    pub(crate) acknowledged: Acknowledged,
    /// Events for the engine, in order: the frames of one turn, and a few for each conn.
    pub(crate) events: VecDeque<Event>,
    /// Storage for frames.
    pub(crate) pool: Pool,
    /// Counters.
    pub(crate) stats: Stats,
    /// Dials that are not settled.
    pub(crate) dials: BTreeMap<DialId, ConnId>,
    /// The conn of each handle. QUIC uses handles again.
    handles: Vec<Option<ConnId>>,
}

impl Endpoint {
    /// For no conns yet.
    pub(crate) fn new(quic: quinn_proto::Endpoint, admission: Admission, hooks: Hooks) -> Self {
        Self {
            quic,
            admission,
            allowance: hooks.allowance,
            acknowledged: hooks.acknowledged,
            events: VecDeque::new(),
            pool: Pool::default(),
            stats: Stats::default(),
            dials: BTreeMap::new(),
            handles: Vec::new(),
        }
    }

    /// Takes back frames of a conn that were read and not yet reported.
    pub(crate) fn discard_frames(&mut self, id: ConnId) {
        let before = self.events.len();
        self.events.retain(|event| !matches!(event, Event::Frame { conn, .. } if *conn == id));
        self.stats.count_drops(DropReason::ConnClosed, (before - self.events.len()) as u64);
    }

    /// From now on the handle means this conn.
    pub(crate) fn bind(&mut self, handle: ConnectionHandle, id: ConnId) {
        if self.handles.len() <= handle.0 {
            self.handles.resize(handle.0 + 1, None);
        }
        self.handles[handle.0] = Some(id);
    }

    /// From now on the handle means no conn.
    pub(crate) fn unbind(&mut self, handle: ConnectionHandle) {
        self.handles[handle.0] = None;
    }

    /// The conn that QUIC means.
    #[inline]
    pub(crate) fn conn_of(&self, handle: ConnectionHandle) -> Option<ConnId> {
        self.handles[handle.0]
    }

    /// Every handle that means a conn.
    pub(crate) fn bound(&self) -> impl Iterator<Item = (ConnectionHandle, ConnId)> {
        let bound =
            |(handle, id): (usize, &Option<ConnId>)| Some((ConnectionHandle(handle), (*id)?));
        self.handles.iter().enumerate().filter_map(bound)
    }
}
