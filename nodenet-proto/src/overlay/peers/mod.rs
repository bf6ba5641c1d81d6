//! Peers: the contacts of a node, the lookups that find more, and the answers to the lookups of
//! others.
//!
//! Responsible for: the provenance of what is stored, which contacts are near a target, and
//! correlation of answers with questions. Never: dials, or decides when or what to ask, or which
//! peer becomes an edge.

mod contact;
mod evicted;
mod export;
mod k_bucket;
mod lookup;
mod observe;
mod respond;
mod table;

use std::time::Instant;

use self::lookup::Lookups;
use crate::NodeId;
use crate::api::Config;
use crate::stats::Gauges;

pub(crate) use self::contact::{ADDRS_MAX, Contact, Provenance};
pub(crate) use self::k_bucket::Bucket;
pub(crate) use self::lookup::{Ask, Question};
pub(crate) use self::observe::Observed;
#[cfg(test)]
pub(crate) use self::table::OwnKey;
pub(crate) use self::table::{ContactTable, HOLD_OFF, Observation, Outcome};

/// The contacts of a node, and its open questions.
pub(crate) struct Peers {
    table: ContactTable,
    lookups: Lookups,
}

impl Peers {
    /// No contacts.
    pub(crate) fn new(own: NodeId, config: &Config, now: Instant) -> Self {
        Self { table: ContactTable::new(own, config.difficulty, now), lookups: Lookups::default() }
    }

    /// The contacts.
    pub(crate) fn table(&self) -> &ContactTable {
        &self.table
    }

    /// The contacts, for tests of rooms that read them.
    #[cfg(test)]
    pub(crate) fn table_mut(&mut self) -> &mut ContactTable {
        &mut self.table
    }

    /// Sets how full the tables of this room are.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.contacts = self.table.len() as u64;
        gauges.replacements = self.table.replacements() as u64;
        gauges.evicted = self.table.evicted() as u64;
        gauges.questions = self.lookups.open() as u64;
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.table.check();
        self.lookups.check();
    }
}
