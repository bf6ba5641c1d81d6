//! Counters and gauges: every discarded input has a reason, every reason has a counter.
//!
//! Each machine counts into a [`Stats`] of its own; the front door adds them up.

/// Declares [`DropReason`] with a stable name for each reason.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $variant:ident => $name:literal,)+) => {
        /// Why input was discarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A stable name for logs and machine-readable output.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    // Datagrams and conns (quic).
    /// A datagram whose first byte is not QUIC's and for which nobody here has a use.
    NotQuic => "not_quic",
    /// A handshake refused because too many are half open.
    HandshakesFull => "handshakes_full",
    /// A conn refused because too many are accepted in all.
    ConnsFull => "conns_full",
    /// A conn refused because too many are accepted from one IPv4 address or IPv6 /64.
    ConnsPerAddressFull => "conns_per_address_full",
    /// A handshake that did not finish in time.
    HandshakeTimeout => "handshake_timeout",
    /// An accepted conn that did not complete a first frame in time.
    FirstFrameTimeout => "first_frame_timeout",
    /// A stream nobody may open on an overlay conn.
    ExtraStream => "extra_stream",
    /// A length prefix above 65,536 or beyond 64 bits; the conn is closed.
    BadLengthPrefix => "bad_length_prefix",
    /// A frame that was begun and not completed in time; the conn is closed.
    FrameTimeout => "frame_timeout",
    /// A QUIC datagram frame on an overlay conn.
    UnexpectedDatagram => "unexpected_datagram",
    /// A ready datagram (retry, refusal, reset) beyond the queue's cap.
    ReadyQueueFull => "ready_queue_full",
    /// Input for a conn or socket that is not known (any more).
    UnknownConn => "unknown_conn",

    // Frames and edges (overlay).
    /// A frame that does not parse, or has bytes after it.
    MalformedFrame => "malformed_frame",
    /// A routed message or control payload that does not decode.
    MalformedMessage => "malformed_message",
    /// A frame of a type that is not assigned.
    UnknownType => "unknown_type",
    /// A peer whose identifier lacks the required work.
    PeerWorkUnmet => "peer_work_unmet",
    /// A routed message whose originator lacks the required work.
    OriginatorWorkUnmet => "originator_work_unmet",
    /// An edge refused by the application's policy.
    EdgeRefused => "edge_refused",
    /// An inbound edge beyond the cap.
    InboundFull => "inbound_full",
    /// A conn from our own identifier.
    SelfEdge => "self_edge",
    /// A control frame beyond the edge's control budget.
    ControlRateLimited => "control_rate_limited",
    /// A routed or application frame beyond the edge's forward budget.
    ForwardRateLimited => "forward_rate_limited",
    /// A verified message beyond its originator's budget.
    OriginatorRateLimited => "originator_rate_limited",
    /// A routed message outside the freshness window.
    Stale => "stale",
    /// A routed message whose signature does not verify.
    BadSignature => "bad_signature",
    /// A copy of a message that was taken before.
    Duplicate => "duplicate",
    /// A routed message that no closer edge could take: greedy routing ended here.
    DeadEnd => "dead_end",
    /// A routed message whose hop limit was spent.
    HopLimitSpent => "hop_limit_spent",
    /// Every candidate edge refused the message (queue full or gone).
    RepairExhausted => "repair_exhausted",
    /// A delivery beyond the application's queue.
    DeliveryQueueFull => "delivery_queue_full",
    /// An answer nobody asked for, or too late.
    Unsolicited => "unsolicited",
    /// An address nobody may dial or advertise.
    ImplausibleAddress => "implausible_address",
    /// A frame of a family that this node does not serve (yet).
    NotServed => "not_served",
}

/// Counters since start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    drops: [u64; DropReason::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self { drops: [0; DropReason::ALL.len()] }
    }
}

impl Stats {
    /// How many inputs were discarded for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Counts one discarded input.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Adds the counters of another machine.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.drops.iter_mut().zip(&other.drops) {
            *sum += count;
        }
    }
}
