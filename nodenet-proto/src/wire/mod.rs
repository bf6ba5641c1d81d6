//! Every byte layout.

/// Largest frame on an edge, its header included (spec 10 §10).
pub const FRAME_MAX: usize = 65_536;
/// Largest payload of [`crate::engine::Command::Send`] that fits whatever the number of first hops
/// (spec 10 §10: two avoid entries).
pub const SEND_PAYLOAD_MAX: usize = 65_326;
/// Largest payload of [`crate::engine::Command::SendDirect`] (spec 70 §6.1).
pub const DIRECT_PAYLOAD_MAX: usize = 65_531;
