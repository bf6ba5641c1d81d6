//! The nodenet program.
fn main() {}
