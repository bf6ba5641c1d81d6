//! Identifiers of simulated hosts.

/// One process of a node in a world. After a restart the same node is another host at the same
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub u32);

impl core::fmt::Display for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(&format!("n{:05}", self.0))
    }
}

impl Host {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}
