//! Wire format: the byte layout of every message.
//!
//! One family of messages has one file, with its byte table on top. Endpoints use owned values,
//! transit a view of the received bytes. Malformed input is an error, never a panic; limits are
//! checked before memory is allocated. Non-minimal `uvarint`s are accepted and never emitted.

pub mod addr;
pub mod codec;
pub mod contact;
pub mod control;
pub mod envelope;
pub mod frame;
#[cfg(test)]
mod generic_tests;
pub mod media;
pub mod nat;
pub mod rendezvous;
pub mod sealed_box;

pub use addr::{ADDRS_MAX, Addr, AddrList};
pub use codec::{Decode, DecodeError, Encode, Reader};
pub use contact::{Capabilities, Contact, ContactList};
pub use control::{CapablePing, Leave, Lookup, Neighbors, Nonce, Ping, Pong, Siblings};
pub use envelope::{AvoidSet, Envelope, RoutedFrame, Signer};
pub use frame::{FrameHeader, FrameType, Message, PayloadTooLarge};

/// Largest payload of [`crate::api::Command::Send`] that fits with any number of first hops (two
/// avoid entries; PROTOCOL.md#payload-limits).
pub const SEND_PAYLOAD_MAX: usize = 65_326;
/// Largest payload of [`crate::api::Command::SendDirect`] (PROTOCOL.md#payload-limits).
pub const DIRECT_PAYLOAD_MAX: usize = 65_531;
