//! Proof of work on identifiers (spec 10 §5).
