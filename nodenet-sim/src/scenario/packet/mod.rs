//! Packet scenario: networks, hosts and timed steps of a packet world, as a value and as a TOML
//! file.
//!
//! Responsible for: the data, and whether it is consistent. Never: carries it out; see
//! [`crate::run::packet`].
//!
//! Each step has an absolute time, and hosts and networks are known by name. A step or a host less
//! thus leaves all others as they were, which the reduction of a failing scenario needs.

mod check;
mod settings;

use serde::{Deserialize, Deserializer, Serialize};

use super::ScenarioError;

pub use settings::{AccessName, BehaviorName, BoxName, EarlyName, LinkChange, NatSettings};

/// Kind of world, the first line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldKind {
    /// Whole nodes on a network of datagrams.
    Packet,
}

/// A packet scenario. With its seed it determines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketScenario {
    /// Kind of world.
    pub world: WorldKind,
    /// Name of the scenario.
    pub name: String,
    /// The seed of all random streams.
    pub seed: u64,
    /// The networks.
    #[serde(rename = "network", default)]
    pub networks: Vec<NetworkEntry>,
    /// The hosts.
    #[serde(rename = "host", default)]
    pub hosts: Vec<HostEntry>,
    /// The steps. Those of one time are taken in their order.
    #[serde(rename = "step", default)]
    pub steps: Vec<StepEntry>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkEntry {
    /// Its name.
    pub name: String,
    /// The network outside; the internet if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// The box towards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatSettings>,
    /// How this network reaches the one outside.
    #[serde(default)]
    pub access: AccessName,
    /// How its hosts reach one another behind the box.
    #[serde(default = "lan")]
    pub inside: AccessName,
    /// Whether hosts have IPv4 addresses.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether hosts have IPv6 addresses.
    #[serde(default)]
    pub ipv6: bool,
    /// Whether hosts without an IPv4 address send to IPv4 addresses through the NAT64 (464XLAT).
    #[serde(default)]
    pub clat: bool,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// Its name.
    pub name: String,
    /// The networks that its interfaces are in, the one of its default route first.
    pub networks: Vec<String>,
    /// Whether its node dials, pings and looks up on its own.
    #[serde(default = "yes")]
    pub maintenance: bool,
    /// Whether its node runs the light profile.
    #[serde(default)]
    pub light: bool,
    /// Milliseconds by which its wall clock is ahead of the true time.
    #[serde(default)]
    pub clock_offset_ms: i64,
    /// Parts per million by which its clocks are fast.
    #[serde(default)]
    pub clock_rate_ppm: i32,
}

/// A step and its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepEntry {
    /// Milliseconds since the begin of the world.
    pub at_ms: u64,
    /// What happens.
    #[serde(flatten)]
    pub step: PacketStage,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PacketStage {
    /// A node starts, for the first time or again.
    Start {
        /// Its host.
        host: String,
        /// The hosts through which it joins.
        #[serde(default)]
        bootstrap: Vec<String>,
    },
    /// A node stops at once.
    Crash {
        /// Its host.
        host: String,
    },
    /// A node leaves the network.
    Leave {
        /// Its host.
        host: String,
    },
    /// A node is asked for an edge, at the addresses of the other host's interfaces.
    Connect {
        /// The host that dials.
        from: String,
        /// The other host.
        to: String,
    },
    /// Tracked messages are sent.
    Send {
        /// The host that sends.
        from: String,
        /// The target.
        to: String,
        /// Hosts that the messages are to cross, in order. The run fails if an edge on this path is
        /// missing when a message is sent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        over: Vec<String>,
        /// Whether they go over the edge to the target, not by routing.
        #[serde(default)]
        direct: bool,
        /// Number of messages.
        #[serde(default = "one")]
        messages: u32,
        /// Milliseconds from one to the next.
        #[serde(default)]
        every_ms: u64,
    },
    /// A host moves to other networks; to none, if the list is empty.
    Roam {
        /// The host.
        host: String,
        /// The networks.
        networks: Vec<String>,
    },
    /// A host falls asleep.
    Sleep {
        /// The host.
        host: String,
        /// Whether its monotonic clock stands still meanwhile, as that of Linux does.
        #[serde(default)]
        monotonic_stands: bool,
    },
    /// A host wakes up.
    Wake {
        /// The host.
        host: String,
    },
    /// The sockets of a host take nothing for a time.
    Block {
        /// The host.
        host: String,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The wall clock of a host is set forward or back.
    SetClock {
        /// The host.
        host: String,
        /// By how many milliseconds.
        by_ms: i64,
    },
    /// The box of a network reboots.
    Reboot {
        /// The network.
        network: String,
        /// Whether it has another external address afterwards.
        #[serde(default)]
        new_address: bool,
        /// Whose datagrams to its hosts are under way meanwhile, and may come first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        early: Option<EarlyName>,
    },
    /// The link between two hosts changes.
    SetLink {
        /// One host.
        from: String,
        /// The other.
        to: String,
        /// Whether the way back changes, too.
        #[serde(default = "yes")]
        both_ways: bool,
        /// What changes.
        #[serde(default)]
        link: LinkChange,
    },
    /// Hosts are split from all others, with what shares a NAT with them.
    Partition {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// All partitions end.
    Heal,
    /// The run fails unless messages that were sent so far have arrived, none twice.
    ExpectDelivered {
        /// Only those of this host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Only those for this host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The smallest share.
        #[serde(default = "whole")]
        share: f64,
    },
    /// The run fails unless there is an edge, or is none, as both ends see it.
    ExpectEdge {
        /// One host.
        from: String,
        /// The other.
        to: String,
        /// Whether there is to be one.
        #[serde(default = "yes")]
        up: bool,
    },
    /// The run fails unless each of these hosts has edges.
    ExpectEdges {
        /// The hosts; all that are up and awake, if it is empty.
        #[serde(default)]
        hosts: Vec<String>,
        /// The smallest number of edges.
        at_least: usize,
    },
    /// Time passes until this step. The last step of a scenario ends it.
    End,
}

/// `at_ms` beside the fields of the step, which may be no others.
impl<'de> Deserialize<'de> for StepEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut table = toml::Table::deserialize(deserializer)?;
        let shown =
            table.get("do").map_or_else(|| "a step".to_owned(), |name| format!("step {name}"));
        let at = table.remove("at_ms").ok_or_else(|| {
            D::Error::custom(format!("{shown} has no at_ms: give its time in milliseconds"))
        })?;
        let at_ms = at.as_integer().and_then(|at| u64::try_from(at).ok()).ok_or_else(|| {
            D::Error::custom(format!("at_ms of {shown} is {at}; it is a number, 0 or more"))
        })?;
        let step = PacketStage::deserialize(table).map_err(|error| {
            D::Error::custom(format!("{shown} at {at_ms} ms: {}", error.message()))
        })?;
        Ok(Self { at_ms, step })
    }
}

impl PacketScenario {
    /// A scenario without networks, hosts and steps.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            world: WorldKind::Packet,
            name: name.to_owned(),
            seed,
            networks: Vec::new(),
            hosts: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds a network.
    pub fn network(mut self, entry: NetworkEntry) -> Self {
        self.networks.push(entry);
        self
    }

    /// Adds a host.
    pub fn host(mut self, entry: HostEntry) -> Self {
        self.hosts.push(entry);
        self
    }

    /// Adds a step.
    pub fn step(mut self, at_ms: u64, step: PacketStage) -> Self {
        self.steps.push(StepEntry { at_ms, step });
        self
    }

    /// Whether the text of a file has networks, hosts or steps, which other scenarios have not.
    pub fn is_meant(text: &str) -> bool {
        let own = ["network", "host", "step"];
        toml::from_str::<toml::Table>(text)
            .is_ok_and(|table| own.iter().any(|name| table.contains_key(*name)))
    }

    /// Reads a scenario from the text of a file.
    ///
    /// # Errors
    /// If the text is not TOML or not a packet scenario, or something in it is not consistent.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as the text of a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every scenario can be written as TOML")
    }

    /// Milliseconds until the last step and the last message.
    pub fn span_ms(&self) -> u64 {
        self.steps.iter().map(StepEntry::last_ms).max().unwrap_or(0)
    }
}

impl NetworkEntry {
    /// A network of IPv4 on the internet, without a box.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            behind: None,
            nat: None,
            access: AccessName::default(),
            inside: lan(),
            ipv4: true,
            ipv6: false,
            clat: false,
        }
    }
}

impl HostEntry {
    /// A host with one interface.
    pub fn new(name: &str, network: &str) -> Self {
        Self {
            name: name.to_owned(),
            networks: vec![network.to_owned()],
            maintenance: true,
            light: false,
            clock_offset_ms: 0,
            clock_rate_ppm: 0,
        }
    }
}

impl StepEntry {
    /// When the last part of the step happens.
    fn last_ms(&self) -> u64 {
        match self.step {
            PacketStage::Send { messages, every_ms, .. } => {
                let more = u64::from(messages.saturating_sub(1)).saturating_mul(every_ms);
                self.at_ms.saturating_add(more)
            }
            _ => self.at_ms,
        }
    }
}

impl PacketStage {
    /// The hosts that the step names.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Start { host, bootstrap } => std::iter::once(host).chain(bootstrap).collect(),
            Self::Crash { host }
            | Self::Leave { host }
            | Self::Roam { host, .. }
            | Self::Sleep { host, .. }
            | Self::Wake { host }
            | Self::Block { host, .. }
            | Self::SetClock { host, .. } => vec![host],
            Self::Send { from, to, over, .. } => [from, to].into_iter().chain(over).collect(),
            Self::Connect { from, to }
            | Self::SetLink { from, to, .. }
            | Self::ExpectEdge { from, to, .. } => vec![from, to],
            Self::Partition { hosts } | Self::ExpectEdges { hosts, .. } => hosts.iter().collect(),
            Self::ExpectDelivered { from, to, .. } => from.iter().chain(to).collect(),
            Self::Reboot { .. } | Self::Heal | Self::End => Vec::new(),
        }
        .into_iter()
        .map(String::as_str)
        .collect()
    }

    /// The networks that the step names.
    pub fn networks(&self) -> Vec<&str> {
        match self {
            Self::Roam { networks, .. } => networks.iter().map(String::as_str).collect(),
            Self::Reboot { network, .. } => vec![network],
            _ => Vec::new(),
        }
    }
}

fn lan() -> AccessName {
    AccessName::Lan
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

#[cfg(test)]
mod tests;
