//! Contracts as test suites: cases that run against any driver and against any transport.

pub mod drive;
pub mod transport;
