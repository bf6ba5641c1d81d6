//! The transport over quinn-proto: one endpoint, authenticated conns, frames on one stream each.

mod config;
pub mod tls;

pub use config::Config;
