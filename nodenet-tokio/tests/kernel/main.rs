//! Processes of the program behind NATs of the kernel, each host in a network namespace.
#![cfg(target_os = "linux")]

#[path = "../kit/mod.rs"]
mod kit;
mod lab;
mod moves;
mod pairs;
