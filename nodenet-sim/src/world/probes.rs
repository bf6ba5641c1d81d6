//! Tracked messages: sending, outcome, arrival, hops and duplicates of each.
//!
//! Responsible for: recognising tracked payloads, and violations of delivery: a message at the
//! wrong host, or settled twice. Never: sends.

use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{Event, RequestId, SendFailure};

use crate::clock::Moment;
use crate::hash;
use crate::world::Host;

/// Bytes of a tracked payload: a mark, the number of the message, and a check.
pub const PAYLOAD_LEN: usize = 64;
/// First bytes of a tracked payload.
const MAGIC: [u8; 8] = *b"sim post";

/// A tracked message.
#[derive(Debug, Clone, Copy)]
pub struct Tracked {
    /// The host that sent it.
    pub from: Host,
    /// The host that it is for.
    pub to: Host,
    /// Time of the command to send it.
    pub sent_at: Moment,
    /// One-way latency from one end to the other, without jitter; of a rendezvous or a connect both
    /// ways.
    pub direct: Duration,
    /// Time after which it is lost.
    pub within: Duration,
    /// Outcome that the sending node reported.
    pub settled: Settled,
    /// Arrival of the first copy.
    pub arrival: Option<Arrival>,
    /// Further copies that the application saw.
    pub duplicates: u32,
}

/// Outcome of a send, as the sending node reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// No outcome yet.
    Pending,
    /// Number of copies that were sent.
    Sent(u8),
    /// No copy was sent.
    Failed(SendFailure),
}

/// Arrival of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Time of arrival.
    pub at: Moment,
    /// Edges crossed. Of a connect 1 if its path is direct, 2 if it is relayed.
    pub hops: u8,
}

/// Every tracked message of a world.
#[derive(Debug, Default)]
pub struct Probes {
    tracked: Vec<Tracked>,
    arrived: u64,
}

/// Edges crossed by an answer, which says nothing of them.
const HOPS_OF_ANSWER: u8 = 0;

impl Probes {
    /// Every message, in the order of sending.
    pub fn tracked(&self) -> &[Tracked] {
        &self.tracked
    }

    /// Copies of tracked messages that arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Registers a message before it is sent; returns the request and the payload.
    pub(crate) fn register(&mut self, message: Tracked) -> (RequestId, Bytes) {
        let number = self.tracked.len() as u64;
        self.tracked.push(message);
        (RequestId(number), payload(number))
    }

    /// Evaluates an event of a node, which has a direct or relayed edge to some peers.
    ///
    /// # Errors
    /// The violation, if the event is one.
    pub(crate) fn observe(
        &mut self,
        host: Host,
        at: Moment,
        event: &Event,
        is_relayed: impl Fn(NodeId) -> bool,
        origin: impl Fn(Host) -> NodeId,
    ) -> Result<(), String> {
        let (&request, settled) = match event {
            Event::Sent { request, copies } => (request, Settled::Sent(*copies)),
            Event::SendFailed { request, error } => (request, Settled::Failed(*error)),
            Event::RendezvousFailed { request, .. } => {
                (request, Settled::Failed(SendFailure::NoKey))
            }
            Event::Found { request, peer } => {
                let Some(question) = self.tracked.get_mut(request.0 as usize) else {
                    return Err(format!("question {} was never asked", request.0));
                };
                if origin(question.to) != peer.id {
                    return Err(format!("question {} is for {}", request.0, question.to));
                }
                question.arrival.get_or_insert(Arrival { at, hops: HOPS_OF_ANSWER });
                (request, Settled::Sent(0))
            }
            Event::ConnectFailed { request, .. } => (request, Settled::Failed(SendFailure::NoEdge)),
            Event::Connected { request, peer } => {
                let hops = 1 + u8::from(is_relayed(*peer));
                self.observe_edge(*request, *peer, Arrival { at, hops }, &origin)?;
                (request, Settled::Sent(0))
            }
            Event::Delivered { originator, payload, path, request, .. } => {
                let Some(number) = number(payload) else { return Ok(()) };
                let Some(message) = self.tracked.get_mut(number as usize) else {
                    return Err(format!("message {number} arrived but was never sent"));
                };
                if message.to != host || origin(message.from) != *originator {
                    return Err(format!(
                        "message {number} is for {} from {}",
                        message.to, message.from
                    ));
                }
                self.arrived += 1;
                if message.arrival.is_some() {
                    message.duplicates += 1;
                } else {
                    let hops = match path {
                        nodenet_proto::api::DeliveryPath::Direct => 1,
                        nodenet_proto::api::DeliveryPath::Routed { hops } => *hops,
                    };
                    message.arrival = Some(Arrival { at, hops });
                }
                if request.is_some() {
                    message.settled = Settled::Sent(0);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        match self.tracked.get_mut(request.0 as usize) {
            Some(message) if message.from == host && message.settled == Settled::Pending => {
                message.settled = settled;
                Ok(())
            }
            Some(message) if message.from == host => {
                Err(format!("send {} is settled twice: {settled:?}", request.0))
            }
            _ => Ok(()),
        }
    }

    /// Evaluates the edge that a connect led to.
    fn observe_edge(
        &mut self,
        request: RequestId,
        peer: NodeId,
        arrival: Arrival,
        origin: impl Fn(Host) -> NodeId,
    ) -> Result<(), String> {
        let Some(connect) = self.tracked.get_mut(request.0 as usize) else { return Ok(()) };
        if origin(connect.to) != peer {
            return Err(format!("connect {} is for {}", request.0, connect.to));
        }
        connect.arrival.get_or_insert(arrival);
        Ok(())
    }
}

fn payload(number: u64) -> Bytes {
    let mut bytes = [0; PAYLOAD_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    for (i, word) in bytes[8..].chunks_exact_mut(8).enumerate() {
        let word_of = if i == 0 { number } else { hash::fate(number, i as u64, 0) };
        word.copy_from_slice(&word_of.to_le_bytes());
    }
    Bytes::copy_from_slice(&bytes)
}

/// The number of a tracked payload that arrived unchanged.
fn number(bytes: &Bytes) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    (*bytes == payload(number)).then_some(number)
}
