//! Commands, events, errors and settings: the vocabulary between an application and its node.
//!
//! Data only. Machines below the engine use it for their reports to the application.

mod command;
mod config;
mod error;
mod event;
mod explain;
mod nat_report;
mod relay;
mod report;
mod self_description;

pub use command::{BootstrapPeer, Command, KnownPeer, RequestId};
pub(crate) use config::Disclosure;
pub use config::{
    AddressPolicy, Config, EdgePolicy, HardPunch, INBOUND_EDGES_CAP, NAMED_ADDRS_MAX,
    OWN_ADDRS_MAX, Profile,
};
pub use error::{ConnectError, EdgeDownReason, RendezvousError, SendFailure};
pub use event::{DeliveryPath, Event};
pub use explain::{
    CONNECT_STEPS_MAX, ConnectOutcome, ConnectStep, ConnectStepKind, Explanation, Obstacle,
    PathSide,
};
pub use nat_report::{NatEvidence, NatReport, Reachability};
pub use relay::{BadMonth, Month, RelayObstacle, RelayPolicy, RelayReport, RelayUsage};
pub use report::{EdgeInfo, FoundPeer};
pub(crate) use self_description::{Families, Guess, SelfDescription};
