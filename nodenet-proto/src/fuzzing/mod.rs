//! The bodies of the fuzz targets.
//!
//! Not part of the public API, and not part of a build without the feature `fuzzing`. They are in
//! this crate, so that ordinary tests run the committed corpora through the same code. A body takes
//! any bytes and panics if an invariant is broken; no bytes that a peer can send may cause a panic.

mod connect_machine;
#[cfg(test)]
mod corpora;
mod nat_machine;
mod node;
mod relay_machine;
mod rendezvous;
#[cfg(test)]
mod tests;
mod wire;

pub use connect_machine::connect_machine;
pub use nat_machine::nat_machine;
pub use node::node_bytes;
pub use relay_machine::relay_machine;
pub use rendezvous::rendezvous_engine;
pub use wire::{
    addr, certificate, contact, control, envelope, frame, media, nat, rendezvous, sealed_box, text,
};

#[cfg(test)]
pub(crate) use wire::check_decoder;

/// A fuzz target: its name, which is also the name of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every fuzz target.
pub const TARGETS: &[Target] = &[
    ("addr", addr),
    ("certificate", certificate),
    ("connect_machine", connect_machine),
    ("contact", contact),
    ("control", control),
    ("envelope", envelope),
    ("frame", frame),
    ("media", media),
    ("nat", nat),
    ("nat_machine", nat_machine),
    ("node_bytes", node_bytes),
    ("relay_machine", relay_machine),
    ("rendezvous", rendezvous),
    ("rendezvous_engine", rendezvous_engine),
    ("sealed_box", sealed_box),
    ("text", text),
];

/// Writes a seed into the corpus of `target` if the environment variable is set. Tests offer valid
/// inputs; `NODENET_WRITE_CORPORA=1 cargo test -p nodenet-proto` refreshes the committed files.
///
/// # Panics
/// If there is no such target, or the file cannot be written.
#[cfg(test)]
pub(crate) fn keep_seed(target: &str, name: &str, bytes: &[u8]) {
    /// Larger seeds add no coverage and enlarge the repository.
    const SEED_LEN_MAX: usize = 2_048;

    assert!(TARGETS.iter().any(|(known, _)| *known == target), "no fuzz target {target}");
    if bytes.len() > SEED_LEN_MAX || std::env::var_os("NODENET_WRITE_CORPORA").is_none() {
        return;
    }
    let corpus =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).expect("the corpus can be made");
    std::fs::write(corpus.join(name), bytes).expect("the seed can be written");
}
