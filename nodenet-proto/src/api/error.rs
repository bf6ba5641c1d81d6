//! Outcomes of commands that failed, and why edges end.

use crate::transport::{ConnDownReason, DialError};

/// Why a message did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// There is no edge to send it over.
    #[error("there is no edge to send over; wait until the node has joined")]
    Unroutable,
    /// No candidate edge has room: its peer's budget for this node is spent (480 messages a second
    /// and 32 at once, those in transit included), 32 messages are not acknowledged, or its queue
    /// is full. [`super::Event::SendReady`] tells when to try again. For a message to this node
    /// itself its own queue is full, and nothing is told.
    #[error("no edge has room for another message now; try again in a moment")]
    Backpressure,
    /// The payload does not fit a frame.
    #[error("the payload has {len} bytes, at most {max} fit")]
    TooLarge {
        /// Its length.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The node has left.
    #[error("the node has left the network")]
    Closed,
}

/// Why there is no edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address to dial.
    #[error("no address of that node is known")]
    NoAddress,
    /// Dialing failed; the last error.
    #[error("dialing failed: {0}")]
    Dial(DialError),
    /// The peer proved who it is, and the edge ended before it said anything: it may be full,
    /// refuse this node, or ask for more proof of work.
    #[error("the peer did not take the edge: {0}")]
    NotTaken(EdgeDownReason),
    /// The peer proved its identifier, which lacks the required work.
    #[error("the peer's identifier lacks the required proof of work")]
    WorkUnmet,
    /// The application's policy refused it.
    #[error("the edge policy refused the peer")]
    Refused,
    /// That is this node itself.
    #[error("that is this node itself")]
    SelfEdge,
    /// Too many dials are under way.
    #[error("too many dials are under way; try again in a moment")]
    Busy,
    /// The node has left.
    #[error("the node has left the network")]
    Closed,
}

/// Why an edge is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeDownReason {
    /// The peer said goodbye.
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
