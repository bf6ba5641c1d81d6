//! Settings of a relay volunteer, and what it reports of itself (PROTOCOL.md#relay-volunteers).

use core::fmt;
use core::str::FromStr;

use crate::NodeId;
use crate::env::UnixNanos;
use crate::transport::SPLICE_BYTES_PER_S;

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    /// The year.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
}

impl Month {
    /// The month of this wall time (H. Hinnant, "chrono-compatible low-level date algorithms").
    pub fn of(wall: UnixNanos) -> Self {
        const DAY_NS: i64 = 86_400_000_000_000;
        // Days since 1 March of the year 0; years begin in March, so that a leap day ends one.
        let days = wall.0.div_euclid(DAY_NS) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year: year as i32, month: month as u8 }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// The text is no month in the form 2026-11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a month has the form 2026-11")]
pub struct BadMonth;

impl FromStr for Month {
    type Err = BadMonth;

    fn from_str(text: &str) -> Result<Self, BadMonth> {
        let (year, month) = text.split_once('-').ok_or(BadMonth)?;
        let (year, month) = (year.parse(), month.parse());
        match (year, month) {
            (Ok(year), Ok(month @ 1..=12)) => Ok(Self { year, month }),
            _ => Err(BadMonth),
        }
    }
}

/// What a volunteer passed on in one month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayUsage {
    /// The month.
    pub month: Month,
    /// Bytes of UDP payloads.
    pub bytes: u64,
}

/// What a node relays for others. What it gives away is its operator's: each setting is a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPolicy {
    /// Whether it relays at all. A node of [`super::Profile::Light`] never does.
    pub volunteer: bool,
    /// Bytes that it passes on in a second, for all pairs together (reference).
    pub bytes_per_s: u64,
    /// Bytes that it passes on in a calendar month; any number without this.
    pub bytes_per_month: Option<u64>,
    /// What it passed on before it started, as its operator kept it.
    pub used: RelayUsage,
    /// The nodes that it relays for: one end of each pair is among them. Any if there is none.
    pub only_for: Vec<NodeId>,
}

impl Default for RelayPolicy {
    fn default() -> Self {
        Self {
            volunteer: false,
            bytes_per_s: SPLICE_BYTES_PER_S,
            bytes_per_month: None,
            used: RelayUsage::default(),
            only_for: Vec::new(),
        }
    }
}

/// Why a node that is set to relay does not do so now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayObstacle {
    /// Its profile is the one for batteries.
    #[error("a light node relays nothing; use the router profile")]
    LightProfile,
    /// It does not know to be reachable.
    #[error(
        "this node does not know that others can reach it; wait until it tested that, or configure \
         its public address"
    )]
    NotReachable,
    /// No address of this machine is known to be seen from outside.
    #[error(
        "no address of this machine is known to be the one that others see; configure its public \
         address, and let UDP to all ports in"
    )]
    NoAddress,
    /// The quota of this month is used up.
    #[error("the relay quota of this month is used up; it begins again next month (UTC)")]
    QuotaUsed,
}

/// What a relay volunteer does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayReport {
    /// Whether the node is set to relay.
    pub volunteer: bool,
    /// Why it does not, although it is set to.
    pub obstacle: Option<RelayObstacle>,
    /// Pairs that it relays for now.
    pub sessions: usize,
    /// What it may pass on in a month, if it has a quota.
    pub bytes_per_month: Option<u64>,
    /// What it passed on this month. Counted only if it has a quota.
    pub used: RelayUsage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_the_one_of_the_calendar() {
        let month_of = |seconds: i64| Month::of(UnixNanos(seconds * 1_000_000_000)).to_string();
        assert_eq!(month_of(0), "1970-01");
        assert_eq!(month_of(-1), "1969-12");
        assert_eq!(month_of(951_782_399), "2000-02", "28 February, one second to midnight");
        assert_eq!(month_of(951_868_799), "2000-02", "29 February");
        assert_eq!(month_of(951_868_800), "2000-03");
        assert_eq!(month_of(1_796_083_199), "2026-11");
        assert_eq!(month_of(1_796_083_200), "2026-12");
        assert_eq!("2026-11".parse(), Ok(Month { year: 2026, month: 11 }));
        for text in ["", "2026", "2026-13", "2026-0", "-1", "a-b"] {
            assert_eq!(text.parse::<Month>(), Err(BadMonth), "{text}");
        }
    }
}
