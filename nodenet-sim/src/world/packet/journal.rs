//! Journal of the last steps of a packet world, printed on failure.

use core::fmt;
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::clock::Moment;
use crate::world::Host;

/// Steps that are kept (SIMULATOR.md#when-a-run-fails).
const STEPS_MAX: usize = 20;

/// Kind of a step. The discriminant enters the trace hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketStepKind {
    /// A node started.
    Start = 1,
    /// A node crashed.
    Crash = 2,
    /// A node left.
    Left = 3,
    /// The application gave a command.
    Command = 4,
    /// A timer fired.
    Timeout = 5,
    /// A datagram arrived.
    Datagram = 6,
    /// A datagram was sent. It enters the trace hash and not the journal.
    Sent = 7,
    /// The application got an event.
    Event = 8,
    /// The host moved to other networks.
    Roam = 9,
    /// The host fell asleep.
    Sleep = 10,
    /// The host woke up.
    Wake = 11,
    /// The socket of the host takes nothing for a time.
    Block = 12,
    /// The socket of the host takes datagrams again.
    Writable = 13,
    /// A wall clock was set.
    ClockSet = 14,
    /// A NAT box rebooted.
    Reboot = 15,
    /// A link has another profile.
    LinkSet = 16,
    /// The network was split.
    Partition = 17,
    /// The network was joined again.
    Heal = 18,
    /// A datagram that no node sent is under way.
    Injected = 19,
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct PacketStep {
    /// Time of the step.
    pub at: Moment,
    /// The host that took it; none if it is the network's.
    pub host: Option<Host>,
    /// Its kind.
    pub kind: PacketStepKind,
    /// Bytes that came with it.
    pub bytes: u32,
    /// Source and destination of a datagram.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// Formatted in fixed columns; [`PACKET_HEADINGS`] names them.
impl fmt::Display for PacketStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.map_or_else(|| "-".to_owned(), |host| host.to_string());
        let kind = format!("{:?}", self.kind);
        write!(f, "{:>12} {host:<6} {kind:<10} {:>7}", self.at, self.bytes)?;
        match self.ends {
            Some((from, to)) => write!(f, "  {from} to {to}"),
            None => Ok(()),
        }
    }
}

/// Names of the columns of a [`PacketStep`].
pub const PACKET_HEADINGS: &str = "           t host   event        bytes  detail";

/// The last steps.
#[derive(Debug, Clone, Default)]
pub struct PacketJournal(VecDeque<PacketStep>);

impl PacketStepKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 19] = [
        Self::Start,
        Self::Crash,
        Self::Left,
        Self::Command,
        Self::Timeout,
        Self::Datagram,
        Self::Sent,
        Self::Event,
        Self::Roam,
        Self::Sleep,
        Self::Wake,
        Self::Block,
        Self::Writable,
        Self::ClockSet,
        Self::Reboot,
        Self::LinkSet,
        Self::Partition,
        Self::Heal,
        Self::Injected,
    ];
    /// The largest discriminant.
    pub(super) const LAST: usize = Self::Injected as usize;
}

impl PacketJournal {
    pub(super) fn push(&mut self, step: PacketStep) {
        if self.0.len() == STEPS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(step);
    }

    /// The steps, oldest first.
    pub fn steps(&self) -> impl Iterator<Item = &PacketStep> {
        self.0.iter()
    }
}
