//! Notices about a running node, for people and for programs.

/// A state that may need an action of the operator. Programs know it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warning {
    /// There is no lasting edge.
    NoEdges,
    /// Edges come up, and the peers close them at once.
    ClosedAtOnce,
    /// There is no edge to a bootstrap peer.
    BootstrapFailed,
    /// Messages came faster than this program takes them.
    DeliveriesDropped,
    /// No address of this node can be dialed from outside.
    Unreachable,
    /// The wall clock is off.
    ClockSkew,
    /// Events came faster than this program takes them, or lines did not fit.
    Missed,
    /// Input was discarded.
    Drops,
}

impl Warning {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::NoEdges,
        Self::ClosedAtOnce,
        Self::BootstrapFailed,
        Self::DeliveriesDropped,
        Self::Unreachable,
        Self::ClockSkew,
        Self::Missed,
        Self::Drops,
    ];

    /// The stable name in JSON (docs/JSON.md).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoEdges => "lonely",
            Self::ClosedAtOnce => "closed_at_once",
            Self::BootstrapFailed => "bootstrap_failed",
            Self::DeliveriesDropped => "deliveries_dropped",
            Self::Unreachable => "unreachable",
            Self::ClockSkew => "clock_skew",
            Self::Missed => "missed",
            Self::Drops => "drops",
        }
    }
}

/// A line about the node, with its severity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    Debug(String),
    Info(String),
    Warning(Warning, String),
}

impl Notice {
    /// Writes the line to the log.
    pub(crate) fn log(&self) {
        match self {
            Self::Debug(text) => tracing::debug!("{text}"),
            // Input is dropped in every large network, so this is no reason for alarm.
            Self::Info(text) | Self::Warning(Warning::Drops, text) => tracing::info!("{text}"),
            Self::Warning(_, text) => tracing::warn!("{text}"),
        }
    }
}
