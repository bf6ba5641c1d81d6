//! The transport over quinn-proto: one endpoint, authenticated conns, frames on one stream each.

mod config;

pub use config::Config;
