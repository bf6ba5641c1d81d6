//! Framed stream of an edge: frames read from a stream of bytes, and written to one.
//!
//! Responsible for: length prefixes, send queues, frames that are not acknowledged.
//! Never: the life of the conn, or what is in a frame.

pub(crate) mod receive;
pub(crate) mod send;
mod unacked;
