//! Counters, gauges and drop reasons: every discarded input has a reason, every reason has a
//! counter.
//!
//! Each machine counts into a [`Stats`] of its own; [`crate::node::Node::stats`] adds them up.

/// Declares [`DropReason`] with a stable name for each reason.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $variant:ident => $name:literal,)+) => {
        /// Why input was discarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
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
    // Datagrams (node).
    /// A datagram that is neither QUIC nor a punch.
    NotQuic => "not_quic",
    /// A punch that answers no test: it has opened a hole in its sender's NAT and asks for nothing.
    Punch => "punch",
    /// A datagram on a socket, or a report about one, that no machine asked for or needs any more.
    UnknownSocket => "unknown_socket",

    // Splices (splice).
    /// A datagram on a side of a splice from another remote than the one that is pinned there.
    SpliceOtherRemote => "splice_other_remote",
    /// A datagram on a side of a splice whose other side is not pinned to a remote yet.
    SpliceNotPinned => "splice_not_pinned",
    /// A datagram beyond the rates of its splice, or of all splices together.
    SpliceRateLimited => "splice_rate_limited",
    /// A datagram on a side of a splice that is no QUIC packet, or belongs to no handshake that was
    /// begun there.
    SpliceNotQuic => "splice_not_quic",
    /// A datagram beyond what this node relays in a month.
    SpliceQuotaUsed => "splice_quota_used",

    // Conns (quic).
    /// A datagram that QUIC has no use for: malformed, of an unknown version or of no known conn.
    Stray => "stray",
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
    /// A handshake for an application protocol that is not served, that of media included.
    ProtocolNotServed => "protocol_not_served",
    /// A stream that no peer may open on an overlay conn.
    ExtraStream => "extra_stream",
    /// A length prefix above 65,536 or beyond 64 bits; the conn is closed.
    BadLengthPrefix => "bad_length_prefix",
    /// A frame that was begun and not completed in time; the conn is closed.
    FrameTimeout => "frame_timeout",
    /// A QUIC datagram frame on an overlay conn.
    UnexpectedDatagram => "unexpected_datagram",
    /// A ready datagram (retry, refusal, reset, punch, relayed) beyond the queue's cap.
    ReadyQueueFull => "ready_queue_full",
    /// Input for a conn that is not known (any more).
    UnknownConn => "unknown_conn",
    /// A frame that had arrived on a conn, but was not processed before the node closed the conn.
    ConnClosed => "conn_closed",
    /// A frame in the send queue of a conn when the conn ended.
    UnsentAtEnd => "unsent_at_end",

    // Own address and punches (nat).
    /// A report that names the address of its reporter: it came over a relay, or from behind the
    /// same NAT.
    ReportOfReporter => "report_of_reporter",
    /// A report beyond the cap of reporters.
    ReportersFull => "reporters_full",
    /// A Connect that gets no punches because too many bursts are under way.
    PunchesFull => "punches_full",
    /// A Connect of a node that may not learn the addresses of this node. It is answered without
    /// any, and gets no punches.
    AddressWithheld => "address_withheld",
    /// Punches beyond the budget of their originator, their destination or this node.
    PunchRateLimited => "punch_rate_limited",

    // Relaying (relay).
    /// A request to relay that is refused: this node does not relay, or not to that target, or the
    /// requester has its share.
    RelayRefused => "relay_refused",
    /// A bind of a neighbour that neither says of itself that it relays nor was dialed.
    BindRefused => "bind_refused",
    /// A grant or bind with an address that is not one of the volunteer that sent it.
    RelayAddressForeign => "relay_address_foreign",
    /// A grant or bind beyond the addresses of volunteers that are remembered.
    RelayPathsFull => "relay_paths_full",

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
    /// A conn from the node's own identifier.
    SelfEdge => "self_edge",
    /// A control frame beyond the edge's control budget.
    ControlRateLimited => "control_rate_limited",
    /// A routed or application frame beyond the edge's forward budget.
    ForwardRateLimited => "forward_rate_limited",
    /// A message whose detour around a dead end is beyond the detour budget of its neighbour or of
    /// all neighbours.
    DetourRateLimited => "detour_rate_limited",
    /// A verified message beyond its originator's budget.
    OriginatorRateLimited => "originator_rate_limited",
    /// A routed message outside the freshness window.
    Stale => "stale",
    /// A routed message whose signature does not verify.
    BadSignature => "bad_signature",
    /// A copy of a message that was accepted before.
    Duplicate => "duplicate",
    /// A message that the full duplicate table could not remember, so a copy could be accepted
    /// again.
    DuplicatesFull => "duplicates_full",
    /// A routed message that no closer edge could take: greedy routing ended here.
    DeadEnd => "dead_end",
    /// A routed message whose hop limit was spent.
    HopLimitSpent => "hop_limit_spent",
    /// Every candidate edge refused the message (queue full or gone).
    RepairExhausted => "repair_exhausted",
    /// A control frame of this node that its conn did not take: the peer has not read for a while.
    ControlUnsent => "control_unsent",
    /// A delivery beyond the application's queue.
    DeliveryQueueFull => "delivery_queue_full",
    /// An answer without an open request, or too late.
    Unsolicited => "unsolicited",
    /// An address that must not be dialed or advertised, or that is no literal.
    ImplausibleAddress => "implausible_address",
    /// A contact without a key or with a wrong key, without the required work, evicted recently, or
    /// whose subnet is full.
    ContactRejected => "contact_rejected",

    // Rendezvous and sealed messages (rendezvous).
    /// A Hello beyond the rate of answers of its neighbour and of all neighbours.
    HelloRateLimited => "hello_rate_limited",
    /// A Hello with a nonce of its originator that was answered before.
    HelloRepeated => "hello_repeated",
    /// A Hello whose own signature does not hold for its originator and this node: it was made for
    /// another node, or altered.
    HelloRefused => "hello_refused",
    /// A Reply to a question that is settled already, for example a copy over another route.
    ReplyRepeated => "reply_repeated",
    /// A Reply whose envelope or key is of another node than the one that was asked.
    ReplyForeign => "reply_foreign",
    /// A Reply whose own signature does not hold.
    ReplyRefused => "reply_refused",
    /// A sealed message whose box is older, or further ahead, than its window.
    SealedStale => "sealed_stale",
    /// A sealed message that was delivered before, in another envelope.
    SealedReplayed => "sealed_replayed",
    /// A sealed message not newer than those that are no longer remembered.
    SealedForgotten => "sealed_forgotten",
    /// A frame of a family that this node does not serve.
    NotServed => "not_served",
}

/// Declares [`Counters`] and [`Gauges`]: numbers with a stable name each.
macro_rules! numbers {
    ($(#[$doc:meta])+ $name:ident { $($(#[$field_doc:meta])+ $field:ident,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])+ pub $field: u64,)+
        }

        impl $name {
            /// Every number with its stable name, in the order of declaration.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }

            /// Adds the numbers of another machine.
            pub fn merge(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

numbers! {
    /// What happened since start.
    Counters {
        /// UDP datagrams received.
        datagrams_received,
        /// Bytes in these.
        bytes_received,
        /// UDP datagrams sent.
        datagrams_sent,
        /// Bytes in these.
        bytes_sent,
        /// Bytes that splices passed on for others.
        bytes_relayed,
        /// Whole frames received.
        frames_received,
        /// Whole frames handed to the QUIC stack.
        frames_sent,
        /// Conns that this node dialed and that came up.
        conns_dialed,
        /// Conns that the peer dialed and that came up.
        conns_accepted,
        /// Dials that failed.
        dials_failed,
        /// Handshakes answered with Retry, for address validation (RFC 9000 §8.1).
        retries_sent,
        /// Frames copied into one piece because their chunks pinned much more than their length.
        frames_coalesced,
        /// Sends refused because the conn's queue was full.
        sends_refused,
        /// Corrections of the wall clock that set it back.
        wall_clock_setbacks,
        /// Payloads with the layout and the sender of a sealed message that did not open, and were
        /// delivered as they came.
        boxes_unopened,
    }
}

numbers! {
    /// Current numbers.
    Gauges {
        /// Conns that are up.
        conns,
        /// Accepted conns that hold an admission slot, those that are closing included.
        conns_accepted,
        /// Inbound handshakes in progress.
        handshakes,
        /// Dials in progress.
        dials,
        /// Conns that are closing or draining (RFC 9000 §10.2).
        conns_closing,
        /// Bytes of frames that wait in send queues.
        queued_bytes,
        /// Bytes of frames that are not complete yet.
        buffered_bytes,
        /// Live edges.
        edges,
        /// Live edges that the peer opened.
        edges_inbound,
        /// Known contacts.
        contacts,
        /// Contacts in replacement caches.
        replacements,
        /// Contacts evicted recently.
        evicted,
        /// Open requests to neighbours.
        questions,
        /// Contacts that wait to be probed.
        probes,
        /// Peers that are dialed, or wait to be: bootstrap peers and connect requests.
        dial_targets,
        /// Retained budgets of former neighbours.
        retained_budgets,
        /// Budgets of originators.
        originators,
        /// Entries of the duplicate table.
        duplicates,
        /// Open exchanges of rendezvous.
        exchanges,
        /// Requesters that were answered.
        requesters,
        /// X25519 keys bound to a node.
        exchange_keys,
        /// Sealed messages that were opened and are fresh.
        opened_boxes,
        /// Neighbours whose report of this node's address is held.
        address_reports,
        /// Bursts of punches under way.
        punch_bursts,
        /// Direct messages that wait for an edge.
        held_messages,
        /// Pairs that this node relays for.
        relay_sessions,
        /// Targets for which volunteers are asked.
        relay_searches,
        /// Addresses of volunteers that lead to other nodes.
        relay_paths,
        /// Timers that are set.
        timers,
    }
}

/// Counters since start and gauges of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    drops: [u64; DropReason::ALL.len()],
    /// What happened since start.
    pub counters: Counters,
    /// Current numbers, filled in by a query of the node and not updated in between.
    pub gauges: Gauges,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            drops: [0; DropReason::ALL.len()],
            counters: Counters::default(),
            gauges: Gauges::default(),
        }
    }
}

impl Stats {
    /// Number of inputs discarded for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Counts one discarded input.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    /// Counts `count` inputs discarded for `reason`.
    pub fn count_drops(&mut self, reason: DropReason, count: u64) {
        self.drops[reason as usize] += count;
    }

    /// Adds the numbers of another machine.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.drops.iter_mut().zip(&other.drops) {
            *sum += count;
        }
        self.counters.merge(&other.counters);
        self.gauges.merge(&other.gauges);
    }
}
