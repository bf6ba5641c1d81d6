//! Errors of commands and reasons for which edges end, with texts for people.
//!
//! An error that a caller can act on advises what to do. Drivers pass these types on as they are,
//! so the advice stands here and nowhere else.

use crate::transport::{ConnDownReason, DialError};

/// Why a message did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// There is no edge at all to send a routed message over.
    #[error(
        "unroutable: this node has no edge to send over; wait until it has joined, and check the \
         bootstrap peers if it does not"
    )]
    Unroutable,
    /// There is no edge to the target of a direct message.
    #[error("there is no edge to that node; connect to it first, or send by routing")]
    NoEdge,
    /// No candidate edge has room: its peer's budget for this node is spent (480 messages a second
    /// and 32 at once, those in transit included), 32 messages are not acknowledged, or its queue
    /// is full. [`super::Event::SendReady`] follows when to try again. For a message to this node
    /// itself its own delivery queue is full, and no event follows when there is room.
    #[error("no edge has room for another message now; send more slowly and try again in a moment")]
    Backpressure,
    /// The payload does not fit a frame.
    #[error("the payload has {len} bytes, at most {max} fit; send it in parts")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// What fits, in bytes.
        max: usize,
    },
    /// The target did not answer the question for the key to seal with.
    #[error(
        "that node did not answer the question for its key in time; it may be offline, or behind \
         nodes that drop messages: try again"
    )]
    NoKey,
    /// The target named a key with which nothing can be sealed.
    #[error("that node named a key of low order, with which nothing can be sealed")]
    UnusableKey,
    /// The node has left the network or failed.
    #[error("the node is closed; start a new one")]
    Closed,
}

/// Why a rendezvous failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousError {
    /// There is no edge at all to send the question over.
    #[error(
        "unroutable: this node has no edge to ask over; wait until it has joined, and check the \
         bootstrap peers if it does not"
    )]
    Unroutable,
    /// The target did not answer in time.
    #[error(
        "that node did not answer in time; it may be offline, or behind nodes that drop messages: \
         check the identifier and try again"
    )]
    Unanswered,
    /// Too many questions are open.
    #[error("too many questions to other nodes are open; try again in a moment")]
    Busy,
    /// The node has left the network or failed.
    #[error("the node is closed; start a new one")]
    Closed,
}

/// Why a connect brought no edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no address to dial.
    #[error("no usable address of that node is known; give one that this node's socket can reach")]
    NoAddress,
    /// The peer did not answer over the network, and no address of it is known.
    #[error(
        "that node did not answer in time; it may be offline, or behind nodes that drop messages: \
         check the identifier and try again"
    )]
    Unanswered,
    /// The peer answered, and no direct path to it was found, nor a volunteer that relays.
    #[error(
        "that node answered, but there is no direct path to it, and no volunteer relays; ask for \
         the explanation of this connect"
    )]
    NoPath,
    /// The dial of each address failed; the last error.
    #[error("dialing failed: {0}; check the address and that the node is up")]
    Dial(DialError),
    /// The peer proved its id, and the edge ended before its first frame. The peer may be full,
    /// refuse this node, or require more proof of work.
    #[error(
        "the peer did not take the edge ({0}); it may be full, refuse this node, or ask for more \
         proof of work: both sides must use the same difficulty"
    )]
    NotTaken(EdgeDownReason),
    /// The peer proved its id, which lacks the required proof of work.
    #[error(
        "the peer's identifier lacks the proof of work that this node asks for; both sides must \
         use the same difficulty"
    )]
    WorkUnmet,
    /// The edge policy of this node refused the peer.
    #[error("edge refused: this node's edge policy does not admit the peer")]
    Refused,
    /// The target is this node itself.
    #[error("that is this node itself")]
    SelfEdge,
    /// Too many dials are under way, or too many requests wait for them.
    #[error("too many dials are under way; try again in a moment")]
    Busy,
    /// The node has left the network or failed.
    #[error("the node is closed; start a new one")]
    Closed,
}

/// Why an edge is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeDownReason {
    /// The peer sent a Leave.
    #[error("the peer left")]
    Left,
    /// The peer did not answer.
    #[error("the peer does not answer")]
    Dead,
    /// Its last conn is gone.
    #[error("{0}")]
    Conn(ConnDownReason),
    /// Closed by a command.
    #[error("closed here")]
    ClosedHere,
}
