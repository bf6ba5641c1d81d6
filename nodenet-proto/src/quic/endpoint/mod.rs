//! What all conns of one node share below the boundary.
//!
//! Responsible for: who may begin a handshake, certificates, the settings of QUIC, datagrams that
//! QUIC answers with. Never: the life of one conn.

pub(crate) mod admission;
pub(crate) mod config;
pub(crate) mod profile;
pub(crate) mod ready;
pub mod tls;
