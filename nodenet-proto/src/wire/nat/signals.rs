//! Signals: a versioned list of typed entries behind the addresses of a Connect or ConnectAck
//! (WIRE.md#signals).
//!
//! ```text
//! signals   6e 61 ‖ version(1) ‖ uvarint(count) ‖ entry × count
//! entry     type(1) ‖ uvarint(len) ‖ len bytes
//!
//!  type  bytes
//!     1  volunteer   id (32) ‖ address
//!     2  reachable   1 yes, 2 no
//!     3  nat         mapping (1) ‖ allocator (1) ‖ parameter (2)
//!     4  ports       address ‖ step (2) ‖ count (2)
//! ```
//!
//! Responsible for: the layout, and what an older reader makes of a newer list. Never: decides what
//! is believed. The envelope signs these bytes, so they are the word of its originator.
//!
//! The layout of an entry never changes. An entry of an unknown type, with an unknown value or that
//! does not decode is skipped by its length. Bytes at the end of a known entry are ignored, so that
//! a later version may add some.

use bytes::BufMut;

use super::{Addr, Connect, ConnectAck};
use crate::NodeId;
use crate::wire::codec::{Decode, DecodeError, Encode, Reader, put_uvarint, uvarint_len};

/// First bytes of the list, so that bytes of another implementation are not taken for it.
const MARK: [u8; 2] = *b"na";
/// Version of the lists that this node writes.
pub const SIGNALS_VERSION: u8 = 1;
/// Entries that are kept of one list; the rest is skipped.
pub const SIGNALS_MAX: usize = 16;
/// Volunteers in one list, at most (a guess: as many as a caller would try).
pub const VOLUNTEERS_MAX: usize = 4;
/// Shortest entry: a type and a length.
const ENTRY_LEN_MIN: usize = 2;

const VOLUNTEER: u8 = 1;
const REACHABLE: u8 = 2;
const NAT: u8 = 3;
const PORTS: u8 = 4;

/// Dependence of an external port on the destination (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mapping {
    /// There is not enough evidence.
    #[default]
    Unknown,
    /// One external endpoint for all destinations, or no translation at all.
    EndpointIndependent,
    /// Another one for each address.
    AddressDependent,
    /// Another one for each address and port.
    AddressAndPortDependent,
    /// Another one for each address; no two destinations shared one, so that the port is not known
    /// to matter.
    Dependent,
}

impl Mapping {
    /// A stable name for logs and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::EndpointIndependent => "endpoint_independent",
            Self::AddressDependent => "address_dependent",
            Self::AddressAndPortDependent => "address_and_port_dependent",
            Self::Dependent => "dependent",
        }
    }

    const CODES: [(u8, Self); 5] = [
        (0, Self::Unknown),
        (1, Self::EndpointIndependent),
        (2, Self::AddressDependent),
        (3, Self::AddressAndPortDependent),
        (4, Self::Dependent),
    ];
}

/// Choice of the external port of a new mapping (RFC 4787 §4.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Allocator {
    /// There is not enough evidence.
    #[default]
    Unknown,
    /// The internal port.
    Preserving,
    /// The last one plus `step`.
    Sequential {
        /// From one new mapping to the next.
        step: u16,
    },
    /// Any of a block of ports, without order.
    Block {
        /// Ports from the lowest to the highest that was seen.
        span: u16,
    },
    /// Any port, without order.
    Random,
}

impl Allocator {
    /// A stable name for logs and machine-readable output, without the parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Preserving => "preserving",
            Self::Sequential { .. } => "sequential",
            Self::Block { .. } => "block",
            Self::Random => "random",
        }
    }

    const fn code(self) -> (u8, u16) {
        match self {
            Self::Unknown => (0, 0),
            Self::Preserving => (1, 0),
            Self::Sequential { step } => (2, step),
            Self::Block { span } => (3, span),
            Self::Random => (4, 0),
        }
    }

    const fn of(code: u8, parameter: u16) -> Option<Self> {
        Some(match (code, parameter) {
            (0, 0) => Self::Unknown,
            (1, 0) => Self::Preserving,
            (2, step) => Self::Sequential { step },
            (3, span) => Self::Block { span },
            (4, 0) => Self::Random,
            _ => return None,
        })
    }
}

/// One statement of a node about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// This node relays to the originator, and can be reached there.
    Volunteer {
        /// Its identifier.
        id: NodeId,
        /// Its address.
        addr: Addr,
    },
    /// Whether nodes that the originator never sent to can reach it. Left out if it does not know.
    Reachable(bool),
    /// The NAT in front of the originator.
    Nat {
        /// On what an external port depends.
        mapping: Mapping,
        /// How it is chosen.
        allocator: Allocator,
    },
    /// Where the reader is to see the originator, by prediction: the address, or one of the ports
    /// that follow by this step, likely ones first.
    Ports {
        /// With the first port.
        addr: Addr,
        /// From one port to the next.
        step: u16,
        /// How many ports.
        count: u16,
    },
}

impl Signal {
    fn value_len(&self) -> usize {
        match self {
            Self::Volunteer { addr, .. } => 32 + addr.encoded_len(),
            Self::Reachable(_) => 1,
            Self::Nat { .. } => 4,
            Self::Ports { addr, .. } => addr.encoded_len() + 4,
        }
    }

    fn put(&self, out: &mut impl BufMut) {
        let entry_type = match self {
            Self::Volunteer { .. } => VOLUNTEER,
            Self::Reachable(_) => REACHABLE,
            Self::Nat { .. } => NAT,
            Self::Ports { .. } => PORTS,
        };
        out.put_u8(entry_type);
        put_uvarint(out, self.value_len() as u64);
        match self {
            Self::Volunteer { id, addr } => {
                out.put_slice(id.as_bytes());
                addr.encode(out);
            }
            Self::Reachable(reachable) => out.put_u8(if *reachable { 1 } else { 2 }),
            Self::Nat { mapping, allocator } => {
                let code = Mapping::CODES.iter().find(|(_, known)| known == mapping);
                let (allocator, parameter) = allocator.code();
                out.put_u8(code.map_or(0, |(code, _)| *code));
                out.put_u8(allocator);
                out.put_u16(parameter);
            }
            Self::Ports { addr, step, count } => {
                addr.encode(out);
                out.put_u16(*step);
                out.put_u16(*count);
            }
        }
    }

    /// The value of an entry; nothing if it is of no known type or means nothing here.
    fn of(entry_type: u8, value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        match entry_type {
            VOLUNTEER => {
                let id = reader.node_id().ok()?;
                Some(Self::Volunteer { id, addr: Addr::decode(&mut reader).ok()? })
            }
            REACHABLE => match reader.u8().ok()? {
                1 => Some(Self::Reachable(true)),
                2 => Some(Self::Reachable(false)),
                _ => None,
            },
            NAT => {
                let (mapping, allocator) = (reader.u8().ok()?, reader.u8().ok()?);
                let (_, mapping) = Mapping::CODES.iter().find(|(code, _)| *code == mapping)?;
                let allocator = Allocator::of(allocator, reader.u16().ok()?)?;
                Some(Self::Nat { mapping: *mapping, allocator })
            }
            PORTS => {
                let addr = Addr::decode(&mut reader).ok()?;
                let (step, count) = (reader.u16().ok()?, reader.u16().ok()?);
                Some(Self::Ports { addr, step, count })
            }
            _ => None,
        }
    }
}

/// What a node says of itself in a Connect or ConnectAck. The default is what a node of another
/// implementation says: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// The version of its writer. It changes with the entries that a writer knows.
    pub version: u8,
    /// The statements, at most [`SIGNALS_MAX`].
    pub entries: Vec<Signal>,
}

impl Signals {
    /// A list as this version writes it: the first [`SIGNALS_MAX`] of `entries`.
    pub fn new(entries: impl IntoIterator<Item = Signal>) -> Self {
        let entries = entries.into_iter().take(SIGNALS_MAX).collect();
        Self { version: SIGNALS_VERSION, entries }
    }

    /// Whether any node can reach the originator, if it says so.
    pub fn reachable(&self) -> Option<bool> {
        self.entries.iter().find_map(|entry| match entry {
            Signal::Reachable(reachable) => Some(*reachable),
            _ => None,
        })
    }

    /// The NAT in front of the originator, as far as it knows.
    pub fn nat(&self) -> (Mapping, Allocator) {
        let nat = self.entries.iter().find_map(|entry| match entry {
            Signal::Nat { mapping, allocator } => Some((*mapping, *allocator)),
            _ => None,
        });
        nat.unwrap_or_default()
    }

    /// The ports at which the originator is to be seen, if it predicts them: the address with the
    /// first one, the step and the count.
    pub fn ports(&self) -> Option<(&Addr, u16, u16)> {
        self.entries.iter().find_map(|entry| match entry {
            Signal::Ports { addr, step, count } => Some((addr, *step, *count)),
            _ => None,
        })
    }

    /// The nodes that relay to the originator, the first [`VOLUNTEERS_MAX`].
    pub fn volunteers(&self) -> impl Iterator<Item = (&NodeId, &Addr)> {
        let volunteers = self.entries.iter().filter_map(|entry| match entry {
            Signal::Volunteer { id, addr } => Some((id, addr)),
            _ => None,
        });
        volunteers.take(VOLUNTEERS_MAX)
    }
}

impl Encode for Signals {
    fn encoded_len(&self) -> usize {
        let entry_len = |entry: &Signal| {
            let len = entry.value_len();
            1 + uvarint_len(len as u64) + len
        };
        let entries: usize = self.entries.iter().map(entry_len).sum();
        MARK.len() + 1 + uvarint_len(self.entries.len() as u64) + entries
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&MARK);
        out.put_u8(self.version);
        put_uvarint(out, self.entries.len() as u64);
        for entry in &self.entries {
            entry.put(out);
        }
    }
}

impl Decode<'_> for Signals {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.array()? != MARK {
            return Err(DecodeError::ShortBuffer);
        }
        let version = reader.u8()?;
        let mut entries = Vec::new();
        for _ in 0..reader.count(ENTRY_LEN_MIN)? {
            let (entry_type, value) = (reader.u8()?, reader.len_prefixed()?);
            let entry = Signal::of(entry_type, value);
            entries.extend(entry.filter(|_| entries.len() < SIGNALS_MAX));
        }
        Ok(Self { version, entries })
    }
}

/// A message that may have [`Signals`] behind it.
pub trait WithSignals: Encode + for<'a> Decode<'a> {
    /// The message and what follows it. A list that does not decode is as none.
    ///
    /// # Errors
    /// If the message itself does not decode.
    fn decode_with_signals(bytes: &[u8]) -> Result<(Self, Option<Signals>), DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader)?;
        Ok((message, Signals::decode_front(reader.rest()).ok()))
    }

    /// The payload of the message with `signals` behind it.
    fn to_bytes_with(&self, signals: &Signals) -> bytes::Bytes {
        let mut out = bytes::BytesMut::with_capacity(self.encoded_len() + signals.encoded_len());
        self.encode(&mut out);
        signals.encode(&mut out);
        out.freeze()
    }
}

impl WithSignals for Connect {}
impl WithSignals for ConnectAck {}
