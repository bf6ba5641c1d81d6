//! Table of the splices of relay volunteers: addresses, pinned hosts, idle time.
//!
//! Responsible for: the two addresses of a splice, which host is pinned to each, when it is idle.
//! Never: rates and quotas, which the packet world has.

use core::num::NonZeroU32;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use indexmap::IndexMap;
use nodenet_proto::transport::{SpliceId, SpliceSide};

use crate::clock::Moment;
use crate::world::Host;

/// A splice that passed nothing on for this long is over (PROTOCOL.md#relay-splices).
const IDLE: Duration = Duration::from_secs(30);
/// One that passed nothing on at all is over after this long (PROTOCOL.md#relay-splices).
pub(super) const UNUSED: Duration = Duration::from_secs(10);
/// First port of splices. Each has two of its own in a world of fewer than 20,000 at a time.
const FIRST_PORT: u16 = 20_000;
/// Number of ports for splices.
const PORTS: u32 = 40_000;

/// Names a splice in the world. Counted up, never reused.
pub(crate) type SpliceKey = NonZeroU32;

/// One side of a splice: the key of the splice, and which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SideRef(u32);

impl SideRef {
    fn new(splice: SpliceKey, side: u32) -> Self {
        Self(splice.get() << 1 | side)
    }

    /// The splice.
    pub(crate) fn splice(self) -> SpliceKey {
        SpliceKey::new(self.0 >> 1).expect("it was made of a key")
    }

    fn near(self) -> usize {
        (self.0 & 1) as usize
    }

    fn far(self) -> usize {
        1 - self.near()
    }
}

/// Next step of a splice.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpliceStep {
    /// A punch of this host arrives at a side.
    Punch(SideRef, Host),
    /// Both sockets are bound.
    Opened(SpliceKey),
    /// The first of those that their volunteers closed is over.
    Closed,
    /// It may have been idle for too long.
    Idle(SpliceKey),
}

/// A splice.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) host: Host,
    pub(super) id: SpliceId,
    pub(super) locals: [SocketAddrV4; 2],
    prefers: [Option<IpAddr>; 2],
    pins: [Option<Host>; 2],
    active_at: Moment,
    is_used: bool,
}

impl Splice {
    pub(super) fn idle_at(&self) -> Moment {
        self.active_at + if self.is_used { IDLE } else { UNUSED }
    }
}

/// All splices of a world.
#[derive(Debug, Default)]
pub(crate) struct SpliceTable {
    splices: IndexMap<SpliceKey, Splice>,
    names: IndexMap<(Host, SpliceId), SpliceKey>,
    by_addr: IndexMap<SocketAddrV4, SideRef>,
    opened: u32,
    /// Those that their volunteers closed, until these know it.
    pub(super) closed: VecDeque<(Host, SpliceId)>,
}

impl SpliceTable {
    /// The side whose address this is.
    pub(crate) fn at(&self, addr: &SocketAddr) -> Option<SideRef> {
        let SocketAddr::V4(addr) = addr else { return None };
        self.by_addr.get(addr).copied()
    }

    pub(super) fn get(&self, splice: SpliceKey) -> Option<&Splice> {
        self.splices.get(&splice)
    }

    /// The splice that its volunteer knows by that name.
    pub(super) fn named(&self, host: Host, id: SpliceId) -> Option<SpliceKey> {
        self.names.get(&(host, id)).copied()
    }

    /// The volunteer, unless the splice is over.
    pub(crate) fn volunteer(&self, splice: SpliceKey) -> Option<Host> {
        self.splices.get(&splice).map(|splice| splice.host)
    }

    /// The host that is pinned to the side opposite of this one.
    pub(crate) fn beyond(&self, at: SideRef) -> Option<Host> {
        self.splices.get(&at.splice())?.pins[at.far()]
    }

    /// The addresses at which the ends of a conn see each other, the end on this side first.
    pub(crate) fn seen_at(&self, at: SideRef) -> Option<[SocketAddrV4; 2]> {
        let locals = self.splices.get(&at.splice())?.locals;
        Some([locals[at.far()], locals[at.near()]])
    }

    /// A datagram of `host`, from this address, gets to a side. Gives whether it is taken.
    pub(super) fn pin(&mut self, at: SideRef, host: Host, ip: IpAddr) -> bool {
        let Some(splice) = self.splices.get_mut(&at.splice()) else { return false };
        let (pin, prefers) = (&mut splice.pins[at.near()], splice.prefers[at.near()]);
        let is_taken = pin.is_none() || *pin == Some(host) || prefers == Some(ip);
        if is_taken {
            *pin = Some(host);
        }
        is_taken
    }

    pub(super) fn touch(&mut self, splice: SpliceKey, now: Moment) {
        if let Some(splice) = self.splices.get_mut(&splice) {
            (splice.active_at, splice.is_used) = (now, true);
        }
    }

    pub(super) fn insert(
        &mut self,
        now: Moment,
        host: Host,
        ip: Ipv4Addr,
        id: SpliceId,
        sides: [SpliceSide; 2],
    ) -> SpliceKey {
        self.opened += 1;
        let splice = SpliceKey::new(self.opened).expect("it is counted from one");
        let first = 2 * (self.opened - 1) % PORTS;
        let locals = [0, 1].map(|side| SocketAddrV4::new(ip, FIRST_PORT + (first + side) as u16));
        for (side, local) in (0..).zip(locals) {
            self.by_addr.insert(local, SideRef::new(splice, side));
        }
        self.names.insert((host, id), splice);
        let prefers = sides.map(|side| side.prefers);
        let entry =
            Splice { host, id, locals, prefers, pins: [None; 2], active_at: now, is_used: false };
        self.splices.insert(splice, entry);
        splice
    }

    pub(super) fn remove(&mut self, key: SpliceKey) -> Option<Splice> {
        let splice = self.splices.swap_remove(&key)?;
        self.names.swap_remove(&(splice.host, splice.id));
        for local in &splice.locals {
            self.by_addr.swap_remove(local);
        }
        Some(splice)
    }

    /// The splices of a host end without an event: it crashed.
    pub(crate) fn remove_all_of(&mut self, host: Host) {
        let of_host = self.splices.iter().filter(|(_, splice)| splice.host == host);
        for key in of_host.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.remove(key);
        }
    }
}
