//! The media plane of a call: conns with an application protocol of their own (RFC 7301).
//!
//! No machine for it exists. The protocol is known by name, no listener offers it, and a conn that
//! has it is refused (PROTOCOL.md#alpn).

/// The application protocol of media conns (PROTOCOL.md#alpn).
pub(crate) const ALPN: &[u8] = b"nodenet-media/1";
