//! Table of dials under way, by key and by the name that the dialer gave.

use indexmap::IndexMap;
use nodenet_proto::NodeId;
use nodenet_proto::transport::{DialError, DialId};
use slab::Slab;

use super::splices::SideRef;
use crate::clock::Moment;
use crate::world::Host;

/// A dial under way.
#[derive(Debug)]
pub(crate) struct Dial {
    /// Counted up with every dial: an event about an earlier dial under this key is stale.
    pub(crate) serial: u32,
    pub(crate) host: Host,
    pub(crate) id: DialId,
    pub(crate) expected: NodeId,
    /// The host that the first flight goes to: at first the volunteer, if it goes to a splice.
    pub(crate) target: Option<Host>,
    /// The side of a splice that is dialed.
    pub(crate) via: Option<SideRef>,
    /// First flights that a splice did not pass on.
    pub(crate) unpassed: u32,
    pub(crate) started: Moment,
    /// Whether the target sent its flight of the handshake.
    pub(crate) answered: bool,
}

/// Next step of a dial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DialStep {
    /// The first flight arrives at a splice.
    AtSplice,
    /// The first flight arrives.
    FirstFlight,
    /// Both ends are up.
    Up,
    /// The dial fails.
    Fail(DialError),
}

/// Dials under way.
#[derive(Debug, Default)]
pub(crate) struct DialTable {
    dials: Slab<Dial>,
    names: IndexMap<(Host, DialId), u32>,
    serial: u32,
}

impl DialTable {
    /// Takes in a dial; gives its key and its serial.
    pub(crate) fn insert(
        &mut self,
        host: Host,
        id: DialId,
        expected: NodeId,
        target: Option<Host>,
        via: Option<SideRef>,
        started: Moment,
    ) -> (u32, u32) {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let dial =
            Dial { serial, host, id, expected, target, via, unpassed: 0, started, answered: false };
        let key = self.dials.insert(dial) as u32;
        self.names.insert((host, id), key);
        (key, serial)
    }

    /// Key and serial of the dial that `host` knows by that name.
    pub(crate) fn named(&self, host: Host, id: DialId) -> Option<(u32, u32)> {
        let &key = self.names.get(&(host, id))?;
        Some((key, self.dials[key as usize].serial))
    }

    /// The dial, unless it is over and the key stands for another.
    pub(crate) fn current(&self, key: u32, serial: u32) -> Option<&Dial> {
        self.dials.get(key as usize).filter(|dial| dial.serial == serial)
    }

    pub(crate) fn get(&self, key: u32) -> &Dial {
        &self.dials[key as usize]
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> &mut Dial {
        &mut self.dials[key as usize]
    }

    pub(crate) fn remove(&mut self, key: u32) {
        let dial = self.dials.remove(key as usize);
        self.names.swap_remove(&(dial.host, dial.id));
    }
}
