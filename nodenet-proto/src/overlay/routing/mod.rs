//! Finding a way over the edges: the forwarding decision, transit, and messages that begin or end
//! here.

pub mod decide;
pub mod duplicates;
pub(crate) mod forward;
pub(crate) mod originate;
pub(crate) mod skew;
