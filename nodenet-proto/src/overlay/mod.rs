//! Finding and forwarding: frames over edges.
