//! Simulator program `nodenet-sim`: networks of thousands of nodes, reproducible from a seed.
#![forbid(unsafe_code)]

mod args;
mod machine;
mod nat_matrix;
mod packet;
mod packet_scale;
mod play;
mod sweep;
mod table;
mod text;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use crate::args::{Args, Verb};

/// Counts the requested bytes of heap that are in use, at the cost of one atomic addition a call.
/// The resident set would also count memory that the allocator retains.
#[global_allocator]
static HEAP: cap::Cap<MiMalloc> = cap::Cap::new(MiMalloc, usize::MAX);

fn main() -> ExitCode {
    let outcome = match Args::parse().verb {
        Verb::Scale(scale) => play::scale(&scale),
        Verb::Replay(replay) => play::replay(&replay),
        Verb::Sweep(sweep) => sweep::sweep(&sweep),
        Verb::Shrink(shrink) => packet::shrink_file(&shrink),
        Verb::PacketScale(scale) => packet_scale::packet_scale(&scale),
        Verb::NatMatrix(matrix) => nat_matrix::nat_matrix(&matrix),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
