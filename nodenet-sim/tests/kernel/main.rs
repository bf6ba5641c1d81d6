//! The kernel's NAT in network namespaces beside the NAT boxes of the test kit: one script on both
//! gives the same (docs/SIMULATOR.md#box-and-kernel).
//!
//! Real time passes only where an entry has to expire.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "the kernel works in real time")]

mod agent;
mod carrier;
mod compare;
mod family;
mod lab;
mod lead;
#[path = "../../../nodenet-tokio/tests/kit/namespaces.rs"]
mod namespaces;
mod nat44;
mod pools;
mod reboot;
mod router;
mod rules;
mod topology;
mod v6;
